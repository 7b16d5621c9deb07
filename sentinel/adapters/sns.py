"""Amazon SNS: proves that a message is SNS's own, and confirms subscriptions.

No URL from a message is ever fetched but that of the certificate, and that only at SNS in the region of a topic that is
allowed (`telemetry.sns.check`). The certificate is believed because TLS proves the host it came from. Source: Amazon
SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from sentinel.adapters.aws import classify
from sentinel.clock import iso
from sentinel.errors import Invalid, Unauthenticated, Unavailable
from sentinel.telemetry.sns import ONE_HOUR_MS, Envelope, check

MAX_CERTIFICATE_BYTES = 64 * 1024
LEAST_KEY_BITS = 2048
_TIMEOUT_S = 5.0
_KEPT = 16  # SNS has one certificate a region, and a new one every year or so

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    key: RSAPublicKey
    from_ms: int
    to_ms: int


def fetch_certificate(url: str) -> bytes:
    """What lies at `url`, which the caller has checked.

    Raises Unauthenticated for another answer than 200, a redirect among them, and for more than 64 KiB; Unavailable
    if the host does not answer.
    """
    try:
        with (
            httpx.Client(follow_redirects=False, timeout=_TIMEOUT_S) as client,
            # Not compressed: the cap is on what is held, and a bomb is small on the wire.
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code >= 500:
                raise Unavailable(f"SigningCertURL: {httpx.URL(url).host} answered {answer.status_code}")
            if answer.status_code != 200:
                raise Unauthenticated(f"SigningCertURL: got {answer.status_code}, expected a certificate")
            held = b""
            for part in answer.iter_raw():
                held += part
                if len(held) > MAX_CERTIFICATE_BYTES:
                    raise Unauthenticated(f"SigningCertURL: over {MAX_CERTIFICATE_BYTES} bytes, no certificate")
            return held
    except httpx.HTTPError as error:
        host = httpx.URL(url).host
        raise Unavailable(f"SigningCertURL: {host} does not answer ({type(error).__name__})") from None


class SnsTopics:
    """Keeps `ports.AlarmTopics`. Holds the certificates it fetched, up to 16, for as long as they are valid."""

    def __init__(
        self, topic_arns: Collection[str], *, endpoint_url: str = "", fetch: Fetch = fetch_certificate
    ) -> None:
        self._topic_arns = frozenset(topic_arns)
        self._endpoint_url = endpoint_url
        self._fetch = fetch
        self._certificates: dict[str, _Certificate] = {}
        self._lock = threading.Lock()

    def verify(self, envelope: Envelope, now_ms: int, max_age_ms: int = ONE_HOUR_MS) -> None:
        check(envelope, self._topic_arns, now_ms, max_age_ms)
        certificate = self._certificate(envelope.certificate_url)
        if not certificate.from_ms <= now_ms <= certificate.to_ms:
            raise Unauthenticated(
                f"SigningCertURL: the certificate is valid from {iso(certificate.from_ms)} to {iso(certificate.to_ms)}"
            )
        # SHA-1 is what SNS signs with until a topic asks for version 2; to find a second text for a signature that
        # exists is still out of reach.
        algorithm = SHA1() if envelope.signature_version == "1" else SHA256()  # noqa: S303
        try:
            certificate.key.verify(envelope.signature, envelope.signed, PKCS1v15(), algorithm)
        except InvalidSignature:
            raise Unauthenticated("Signature: it is not that of the certificate over this message") from None

    def confirm(self, envelope: Envelope) -> str:
        if not envelope.token:
            raise Invalid("Token", envelope.token, "the token that SNS sends with a subscription")
        client: Any = boto3.client(
            "sns",
            region_name=envelope.region,
            endpoint_url=self._endpoint_url or None,
            # Needs no credentials: the token is the proof.
            config=Config(signature_version=UNSIGNED, connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S),
        )
        try:
            answer = client.confirm_subscription(TopicArn=envelope.topic_arn, Token=envelope.token)
        except (ClientError, BotoCoreError) as error:
            raise classify(error, "sns.confirm_subscription", effect=False) from None
        return str(answer["SubscriptionArn"])

    def _certificate(self, url: str) -> _Certificate:
        # One fetch at a time: a burst of messages after a start asks once.
        with self._lock:
            known = self._certificates.get(url)
            if known is None:
                known = _read(self._fetch(url))
                if len(self._certificates) >= _KEPT:
                    self._certificates.clear()
                self._certificates[url] = known
            return known


def _read(pem: bytes) -> _Certificate:
    if len(pem) > MAX_CERTIFICATE_BYTES:
        raise Unauthenticated(f"SigningCertURL: over {MAX_CERTIFICATE_BYTES} bytes, no certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError:
        raise Unauthenticated("SigningCertURL: what lies there is no certificate in PEM form") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < LEAST_KEY_BITS:
        raise Unauthenticated(f"SigningCertURL: expected an RSA key of at least {LEAST_KEY_BITS} bits")
    return _Certificate(
        key=key,
        from_ms=round(certificate.not_valid_before_utc.timestamp() * 1000),
        to_ms=round(certificate.not_valid_after_utc.timestamp() * 1000),
    )
