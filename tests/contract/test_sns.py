"""SNS messages: what proves one, what is refused, and how often anything is fetched."""

import json
import socket
from typing import Any
from urllib.parse import parse_qs

import pytest

from sentinel.adapters.sns import MAX_CERTIFICATE_BYTES, SnsTopics, fetch_certificate
from sentinel.errors import Forbidden, Invalid, SentinelError, Unauthenticated, Unavailable
from sentinel.sandbox.http_server import LoopbackServer, Reply, Request
from sentinel.telemetry.sns import parse
from tests.contract.sns_rig import NOW, TOPIC, Certificates, certificate, confirmation, key, message
from tests.unit.telemetry.test_sns import HOSTILE


def verify(body: bytes, certificates: Certificates | None = None, now_ms: int = NOW) -> Certificates:
    """Verify, and answer what was fetched for it."""
    certificates = certificates or Certificates()
    SnsTopics([TOPIC], fetch=certificates).verify(parse(body), now_ms)
    return certificates


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("made", [message, confirmation])
def test_what_sns_signed_is_proven(version: str, made: Any) -> None:
    assert len(verify(made(version=version)).fetched) == 1


def test_a_subject_is_signed_when_there_is_one() -> None:
    verify(message("Ä ☕\nzwei", Subject="ALARM: payments"))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Message", '{"x": 1}'),
        ("MessageId", "another"),
        ("Subject", "added"),
        ("Timestamp", "2023-11-14T22:13:19.000Z"),
        ("Signature", "AAAA"),
        ("Signature", ""),
    ],
)
def test_one_changed_field_is_a_forgery(version: str, field: str, value: str) -> None:
    forged = {**json.loads(message(version=version)), field: value}
    with pytest.raises(Unauthenticated, match="Signature"):
        verify(json.dumps(forged).encode())


@pytest.mark.parametrize("field", ["Token", "SubscribeURL"])
def test_token_and_url_of_a_confirmation_are_signed(field: str) -> None:
    forged = {**json.loads(confirmation()), field: "https://evil.example/"}
    with pytest.raises(Unauthenticated, match="Signature"):
        verify(json.dumps(forged).encode())


def test_a_version_that_does_not_fit_the_signature_is_a_forgery() -> None:
    for signed, told in (("1", "2"), ("2", "1")):
        forged = {**json.loads(message(version=signed)), "SignatureVersion": told}
        with pytest.raises(Unauthenticated):
            verify(json.dumps(forged).encode())


def test_another_key_is_a_forgery() -> None:
    with pytest.raises(Unauthenticated, match="Signature"):
        verify(message(signed_by=key(2048, "other")))


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_certificate_url_is_never_fetched(url: str) -> None:
    certificates = Certificates()
    with pytest.raises(Unauthenticated, match="nothing was fetched"):
        verify(message(SigningCertURL=url), certificates)
    assert certificates.fetched == []


@pytest.mark.parametrize(
    ("body", "now_ms"),
    [
        (message(TopicArn=f"{TOPIC}-of-a-stranger"), NOW),
        (message(TopicArn="arn:aws:sns:eu-west-1:999999999999:alarms"), NOW),
        (message(), NOW + 3_600_001),
        (message(), NOW - 3_600_000),
    ],
    ids=["wrong topic", "wrong account", "old", "from the future"],
)
def test_what_can_be_refused_by_looking_is_never_fetched_for(body: bytes, now_ms: int) -> None:
    certificates = Certificates()
    with pytest.raises(SentinelError):
        verify(body, certificates, now_ms)
    assert certificates.fetched == []


def test_a_certificate_is_fetched_once() -> None:
    certificates = Certificates()
    topics = SnsTopics([TOPIC], fetch=certificates)
    for n in range(5):
        topics.verify(parse(message(MessageId=str(n))), NOW)
    assert len(certificates.fetched) == 1


def test_a_certificate_that_ran_out_proves_nothing_though_it_is_kept() -> None:
    topics = SnsTopics([TOPIC], fetch=Certificates(certificate(days=2)))
    topics.verify(parse(message()), NOW)
    later = NOW + 86_400_001
    with pytest.raises(Unauthenticated, match="valid from"):
        topics.verify(parse(message(at_ms=later)), later)


@pytest.mark.parametrize(
    ("pem", "error"),
    [
        (b"", Unauthenticated),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Unauthenticated),
        (b"x" * (MAX_CERTIFICATE_BYTES + 1), Unauthenticated),
        (certificate(1024, "weak"), Unauthenticated),
        (certificate(2048, "other"), Unauthenticated),
        (Unavailable("no route"), Unavailable),
    ],
    ids=["empty", "no certificate", "huge", "weak key", "another key", "not reached"],
)
def test_a_bad_certificate_proves_nothing(pem: bytes | Exception, error: type[Exception]) -> None:
    with pytest.raises(error):
        verify(message(), Certificates(pem))


def test_a_failed_fetch_is_not_remembered() -> None:
    certificates = Certificates(Unavailable("no route"))
    topics = SnsTopics([TOPIC], fetch=certificates)
    with pytest.raises(Unavailable):
        topics.verify(parse(message()), NOW)
    certificates.pem = certificate()
    topics.verify(parse(message()), NOW)


# --- the fetch itself -------------------------------------------------------------------------------------------


class Host:
    """A web server in the place of SNS's."""

    def __init__(self, reply: Reply) -> None:
        self.paths: list[str] = []

        def answer(request: Request) -> Reply:
            self.paths.append(request.path)
            return reply

        self._server = LoopbackServer(answer)
        self._server.start()
        self.url = f"{self._server.url}/a.pem"

    def stop(self) -> None:
        self._server.stop()


def fetched(reply: Reply) -> bytes:
    host = Host(reply)
    try:
        return fetch_certificate(host.url)
    finally:
        host.stop()
        assert host.paths == ["/a.pem"]


def reply(status: int = 200, body: bytes = b"pem") -> Reply:
    return Reply(status=status, content_type="application/x-pem-file", body=body)


def test_a_certificate_is_fetched_as_it_is() -> None:
    assert fetched(reply(body=certificate())) == certificate()


@pytest.mark.parametrize("status", [301, 302, 307, 308, 204, 403, 404])
def test_a_redirect_or_another_answer_is_no_certificate(status: int) -> None:
    with pytest.raises(Unauthenticated, match=str(status)):
        fetched(reply(status))


def test_a_huge_answer_is_cut_off() -> None:
    with pytest.raises(Unauthenticated, match="over 65536 bytes"):
        fetched(reply(body=b"x" * 2_000_000))


def test_a_host_in_trouble_may_be_asked_again() -> None:
    with pytest.raises(Unavailable, match="503"):
        fetched(reply(503))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer"):
        fetch_certificate(f"http://127.0.0.1:{port}/a.pem")


# --- subscriptions ----------------------------------------------------------------------------------------------


CONFIRMED = f"""<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ConfirmSubscriptionResult>
<SubscriptionArn>{TOPIC}:1</SubscriptionArn></ConfirmSubscriptionResult></ConfirmSubscriptionResponse>"""
REFUSED = """<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>
<Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>"""


class Aws:
    """SNS's API in so far as it is asked."""

    def __init__(self, status: int, answer: str) -> None:
        self.asked: list[Request] = []

        def answered(request: Request) -> Reply:
            self.asked.append(request)
            return Reply(status=status, content_type="text/xml", body=answer.encode())

        self._server = LoopbackServer(answered)
        self._server.start()

    def confirm(self, body: bytes) -> str:
        try:
            topics = SnsTopics([TOPIC], endpoint_url=self._server.url, fetch=Certificates())
            return topics.confirm(parse(body))
        finally:
            self._server.stop()


def test_a_subscription_is_confirmed_by_its_token_and_never_by_its_url() -> None:
    aws = Aws(200, CONFIRMED)
    assert aws.confirm(confirmation()) == f"{TOPIC}:1"
    (asked,) = aws.asked
    form = parse_qs(asked.body.decode())
    assert (asked.method, asked.path) == ("POST", "/")
    assert (form["Action"], form["TopicArn"]) == (["ConfirmSubscription"], [TOPIC])
    assert form["Token"] == [json.loads(confirmation())["Token"]]
    # Needs no credentials, and so shows none: the token is the proof.
    assert "authorization" not in asked.headers


def test_what_aws_refuses_is_not_confirmed() -> None:
    with pytest.raises(Forbidden, match="Topic does not exist"):
        Aws(404, REFUSED).confirm(confirmation())


def test_a_confirmation_without_token_is_invalid() -> None:
    with pytest.raises(Invalid, match="Token"):
        SnsTopics([TOPIC], fetch=Certificates()).confirm(parse(confirmation(Token=None)))
