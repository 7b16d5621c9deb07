"""Amazon SNS: the envelope of a message, what its signature covers, and what is refused before anything is fetched.

Source: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages" and "HTTP/HTTPS headers".
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

import msgspec

from sentinel.clock import iso
from sentinel.errors import Forbidden, Invalid, Unauthenticated
from sentinel.telemetry.events import MAX_AHEAD_MS, UNREADABLE, checked_id, instant_ms, line, why

Type = Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
ONE_HOUR_MS = 3_600_000  # SNS itself gives a delivery up after that
TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]{3,}):\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_CERTIFICATE_HOST = re.compile(r"sns\.([a-z0-9-]{3,})\.amazonaws\.com(\.cn)?")
_CERTIFICATE_PATH = re.compile(r"/[A-Za-z0-9_-]{1,200}\.pem")
_SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        ("SubscriptionConfirmation", "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}


class _Body(msgspec.Struct, rename="pascal"):
    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature_version: str
    signature: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One SNS message. Nothing in it is believed before its signature was verified over `signed`."""

    type: Type
    message_id: str
    topic_arn: str
    region: str
    message: str
    token: str
    timestamp: str
    signature_version: Literal["1", "2"]
    signature: bytes
    certificate_url: str
    signed: bytes


def parse(body: bytes) -> Envelope:
    """The envelope in `body`. Raises Invalid if it is none, as with raw message delivery."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except UNREADABLE as error:
        expected = f"an SNS message with its envelope, raw message delivery off ({why(error)})"
        raise Invalid("body", body[:40], expected) from None
    if found.type not in _SIGNED:
        raise Invalid("Type", found.type, f"one of {', '.join(_SIGNED)}")
    topic = TOPIC_ARN.fullmatch(found.topic_arn)
    if topic is None:
        raise Invalid("TopicArn", found.topic_arn, "arn:aws:sns:REGION:ACCOUNT:NAME")
    if found.signature_version not in ("1", "2"):
        raise Invalid("SignatureVersion", found.signature_version, "1 or 2")
    try:
        signature = base64.b64decode(found.signature, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Signature", found.signature[:20], "Base64") from None
    return Envelope(
        type=cast("Type", found.type),
        message_id=checked_id("MessageId", found.message_id),
        topic_arn=found.topic_arn,
        region=topic.group(1),
        message=found.message,
        token=found.token or "",
        timestamp=found.timestamp,
        signature_version=cast("Literal['1', '2']", found.signature_version),
        signature=signature,
        certificate_url=found.signing_cert_url,
        signed=_string_to_sign(found),
    )


def _string_to_sign(body: _Body) -> bytes:
    values = {
        "Message": body.message,
        "MessageId": body.message_id,
        "Subject": body.subject,
        "SubscribeURL": body.subscribe_url,
        "Timestamp": body.timestamp,
        "Token": body.token,
        "TopicArn": body.topic_arn,
        "Type": body.type,
    }
    # A field that is not there is left out with its name: a message without a subject is signed without one.
    given = ((name, values[name]) for name in _SIGNED[body.type])
    return "".join(f"{name}\n{value}\n" for name, value in given if value is not None).encode()


def check_headers(headers: Mapping[str, str], envelope: Envelope) -> None:
    """Raises Invalid where the HTTP headers (names in lower case) tell of another message than the body."""
    told = {
        "x-amz-sns-message-type": envelope.type,
        "x-amz-sns-message-id": envelope.message_id,
        "x-amz-sns-topic-arn": envelope.topic_arn,
    }
    for name, value in told.items():
        given = headers.get(name)
        if given is None and name == "x-amz-sns-message-type":
            raise Invalid(name, None, "the header that SNS sends with every message")
        if given is not None and given != value:
            raise Invalid(name, line(given), f"{value}, as in the body")


def check(envelope: Envelope, topic_arns: Collection[str], now_ms: int, max_age_ms: int = ONE_HOUR_MS) -> None:
    """What can be refused by looking alone; only after it may the certificate be fetched.

    Raises Forbidden for a topic that is not in `topic_arns`, and Unauthenticated for a message that is too old (a
    replay) and for a certificate that is not at SNS in the topic's own region.
    """
    if envelope.topic_arn not in topic_arns:
        hint = "add it to sns.topic_arns" if topic_arns else "sns.topic_arns is empty, which refuses every topic"
        raise Forbidden(f"TopicArn {envelope.topic_arn} is not allowed: {hint}")
    sent_ms = instant_ms("Timestamp", envelope.timestamp, now_ms)
    if now_ms - sent_ms > max_age_ms:
        raise Unauthenticated(
            f"Timestamp: got {iso(sent_ms)}, expected one from {iso(now_ms - max_age_ms)} "
            f"to {iso(now_ms + MAX_AHEAD_MS)}: an old message is a replay"
        )
    if not _is_certificate_of(envelope.certificate_url, envelope.region):
        raise Unauthenticated(
            f"SigningCertURL: expected https://sns.{envelope.region}.amazonaws.com/NAME.pem, and nothing was fetched"
        )


def _is_certificate_of(url: str, region: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = parts.port is None and parts.username is None and parts.password is None
    except ValueError:
        return False
    host = _CERTIFICATE_HOST.fullmatch(parts.netloc)
    return (
        parts.scheme == "https"
        and plain
        and host is not None
        and host.group(1) == region
        and _CERTIFICATE_PATH.fullmatch(parts.path) is not None
        and not (parts.query or parts.fragment)
        # Parsers differ in what they skip; a URL that is not exactly its parts is not one SNS wrote.
        and url == f"https://{parts.netloc}{parts.path}"
    )
