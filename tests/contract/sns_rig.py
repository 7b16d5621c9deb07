"""Messages as SNS signs them, with a certificate of our own in the place of Amazon's."""

import base64
import datetime
import json
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sentinel.clock import iso
from sentinel.telemetry.sns import parse

NOW = 1_700_000_000_000
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


@cache
def _key(bits: int, name: str) -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=bits)


def key(bits: int = 2048, name: str = "sns") -> RSAPrivateKey:
    """A key by name, made once a run."""
    return _key(bits, name)


@cache
def certificate(bits: int = 2048, name: str = "sns", *, days: int = 365) -> bytes:
    """A self-signed certificate in PEM form that is valid from a day before NOW, for `days`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = datetime.datetime.fromtimestamp(NOW / 1000, datetime.UTC) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key(bits, name).public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .sign(key(bits, name), SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def message(
    text: str = "{}", *, version: str = "2", at_ms: int = NOW, signed_by: RSAPrivateKey | None = None, **changes: Any
) -> bytes:
    """A message that SNS signed, and then `changes` in it that it signed as well; None leaves a field out."""
    body = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": text,
        "Timestamp": iso(at_ms),
        "SignatureVersion": version,
        "Signature": "",
        "SigningCertURL": CERTIFICATE_URL,
        **changes,
    }
    body = {name: value for name, value in body.items() if value is not None}
    signed = parse(json.dumps(body).encode()).signed
    hash_ = SHA1() if version == "1" else SHA256()
    signature = (signed_by or key()).sign(signed, PKCS1v15(), hash_)
    return json.dumps({**body, "Signature": base64.b64encode(signature).decode()}).encode()


def confirmation(**changes: Any) -> bytes:
    """The offer of a subscription."""
    offer = {
        "Type": "SubscriptionConfirmation",
        "Token": "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92",
        "SubscribeURL": "http://169.254.169.254/latest/meta-data/",
    }
    return message("You have chosen to subscribe", **{**offer, **changes})


def headers(body: bytes) -> dict[str, str]:
    """What SNS sends beside `body`."""
    told = json.loads(body)
    return {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": told["Type"],
        "x-amz-sns-message-id": told["MessageId"],
        "x-amz-sns-topic-arn": told["TopicArn"],
    }


class Certificates:
    """Stands in for the fetch of a certificate, and counts what would have been fetched."""

    def __init__(self, pem: bytes | Exception | None = None) -> None:
        self.pem = pem if pem is not None else certificate()
        self.fetched: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.fetched.append(url)
        if isinstance(self.pem, Exception):
            raise self.pem
        return self.pem
