"""Slack's request signature (v0): made, and checked over the raw body before anything is parsed.

Format: docs.slack.dev, "Verifying requests from Slack". slack_sdk's own verifier raises on odd headers,
takes timestamps five minutes in the future and is handed one secret only, hence this one.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from sentinel.errors import Unauthenticated

TIMESTAMP_HEADER = "x-slack-request-timestamp"
SIGNATURE_HEADER = "x-slack-signature"
MAX_AGE_S = 300
MAX_AHEAD_S = 30  # clocks differ a little; more than this only widens the window for a replay

_TIMESTAMP = re.compile(r"[0-9]{10}")
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `X-Slack-Signature` for a body sent at `timestamp` (Unix seconds, as text)."""
    message = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_ms: int) -> None:
    """Let a request of Slack's pass. Raises Unauthenticated, which never tells secret, body or signature.

    `headers` has lower-case names; one that came twice must be joined by a comma, so that its form is refused.
    Several `secrets` are accepted while one is being rotated; an empty one never is.
    """
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    signature = headers.get(SIGNATURE_HEADER, "")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthenticated(f"{TIMESTAMP_HEADER}: expected Unix seconds in ten digits")
    if not _SIGNATURE.fullmatch(signature):
        raise Unauthenticated(f"{SIGNATURE_HEADER}: expected v0= and 64 lower-case hex digits")
    age_ms = now_ms - int(timestamp) * 1000
    if age_ms > MAX_AGE_S * 1000:
        raise Unauthenticated(f"{TIMESTAMP_HEADER}: the request is older than {MAX_AGE_S} s")
    if age_ms < -MAX_AHEAD_S * 1000:
        raise Unauthenticated(f"{TIMESTAMP_HEADER}: the request is more than {MAX_AHEAD_S} s ahead of this clock")
    # Every secret is compared, so that the time taken does not tell which one matched.
    matches = [hmac.compare_digest(sign(secret, timestamp, body), signature) for secret in secrets if secret]
    if not any(matches):
        raise Unauthenticated(f"{SIGNATURE_HEADER}: does not match the body")
