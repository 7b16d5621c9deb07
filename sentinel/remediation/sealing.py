"""HMACs with Sentinel's own key: what a button carries, and what a recorded word can prove. Pure.

A second factor beside Slack's signing secret: whoever stole that one still cannot make a button's value, and whoever
writes to the database cannot make a verdict that bears its seal.
"""

import hashlib
import hmac
from dataclasses import replace

from sentinel.ids import canonical
from sentinel.incidents.nouns import Verdict

CARD = "card"


def modal_for(user: str) -> str:
    """The audience of what was shown to one person in a modal."""
    return f"modal:{user}"


def value_mac(key: bytes, plan_id: str, digest: str, audience: str) -> str:
    """What protects the value of a button: made for one plan as it was shown, in one kind of place."""
    return _mac(key, ["value", plan_id, digest, audience])


def value_fits(key: bytes, plan_id: str, digest: str, audience: str, mac: str) -> bool:
    """Whether `mac` was made by us for exactly this; takes as long for a wrong one as for a right one."""
    return hmac.compare_digest(value_mac(key, plan_id, digest, audience).encode(), mac.encode("utf-8", "replace"))


def sealed(key: bytes, plan_id: str, verdict: Verdict) -> Verdict:
    """`verdict` with its seal: over the plan it is about and everything in it."""
    return replace(verdict, seal=_mac(key, ["verdict", plan_id, replace(verdict, seal="")]))


def seal_holds(key: bytes, plan_id: str, verdict: Verdict) -> bool:
    """Whether `verdict` on this plan was recorded by one who had the key, and is as it was recorded."""
    return hmac.compare_digest(sealed(key, plan_id, verdict).seal.encode(), verdict.seal.encode("utf-8", "replace"))


def _mac(key: bytes, content: object) -> str:
    return hmac.new(key, canonical(content), hashlib.sha256).hexdigest()
