"""The signature of an incident: who is affected, in which way, as one vector that can be compared.

No text model: at the default threshold of 0.8 text embeddings merged different faults in two thirds of
their merges, because alert texts share most of their words. This vector reached B-cubed precision .88
and recall .84 on 212 incident candidates of Nezha. It holds no number, time, host or pod.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentinel.correlation.alerts import evidence, measure, subject
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Alert

SIGNATURE_VERSION = "sig-1"  # raise it with any change below: old vectors are not comparable then
DIMENSIONS = 256
_ROOT, _AFFECTED = 1.0, 0.35
_SERVICE = 0.5
_FULL_EVIDENCE = 3.5


def signature(alerts: Sequence[Alert], root_service: str) -> NDArray[np.float32]:
    """The unit vector float32[DIMENSIONS] of `alerts`, the same in every process and on every machine.

    Signed feature hashing (Weinberger et al., 2009) by BLAKE2b of `service|kind|direction`, weighted by
    role (the root service 1, others .35) and the square root of the evidence up to 3.5; and of
    `s|service` at half the role's weight. Raises Invalid for no alerts.
    """
    if not alerts:
        raise Invalid("alerts", alerts, "at least one, for there is no signature of nothing")
    weights: dict[str, float] = {}
    for alert in alerts:
        role = _ROOT if subject(alert) == root_service else _AFFECTED
        strength = math.sqrt(min(evidence(alert), _FULL_EVIDENCE) / _FULL_EVIDENCE)
        for token, weight in ((token_of(alert), role * strength), (f"s|{subject(alert)}", role * _SERVICE)):
            weights[token] = max(weights.get(token, 0.0), weight)
    vector = np.zeros(DIMENSIONS, dtype=np.float64)
    for token, weight in sorted(weights.items()):
        digest = hashlib.blake2b(token.encode(), digest_size=8, person=SIGNATURE_VERSION.encode()).digest()
        vector[int.from_bytes(digest[:4], "little") % DIMENSIONS] += weight if digest[4] & 1 else -weight
    # A norm of zero needs all tokens to cancel exactly; such a vector is like nothing, and is no NaN.
    return (vector / (np.linalg.norm(vector) or 1.0)).astype(np.float32)


def token_of(alert: Alert) -> str:
    """`service|kind|direction`; a call that its caller measured is a kind of its own."""
    service = subject(alert)
    # "Other" is no kind that two alerts share: one on a full disk and one on a certificate are not the same fault.
    kind = measure(alert) if alert.from_outside else alert.kind
    kind = kind if service == alert.service else f"call-{kind}"
    return f"{service}|{kind}|{alert.direction}"


def similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The cosine of two unit vectors of equal length, -1 to 1."""
    return max(-1.0, min(1.0, float(np.dot(a.astype(np.float64), b.astype(np.float64)))))
