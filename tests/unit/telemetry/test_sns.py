"""The SNS envelope: what is signed, and what is refused before anything is fetched."""

import json
from typing import Any

import pytest

from sentinel.errors import Forbidden, Invalid, Unauthenticated
from sentinel.telemetry.sns import ONE_HOUR_MS, Envelope, check, check_headers, parse

NOW = 1_700_000_000_000
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


def notification(**changes: Any) -> bytes:
    body = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "My First Message",
        "Message": "Hello\nworld!",
        "Timestamp": "2023-11-14T22:13:20.000Z",
        "SignatureVersion": "1",
        "Signature": "QUJD",
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        **changes,
    }
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def envelope(**changes: Any) -> Envelope:
    return parse(notification(**changes))


def test_a_notification_is_signed_over_these_fields_in_this_order() -> None:
    # As the "Verifying the signatures" page of the developer guide shows it.
    assert envelope().signed == (
        b"Message\nHello\nworld!\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\nSubject\nMy First Message\n"
        b"Timestamp\n2023-11-14T22:13:20.000Z\nTopicArn\narn:aws:sns:eu-west-1:123456789012:alarms\n"
        b"Type\nNotification\n"
    )


def test_a_subject_that_is_not_there_is_not_signed() -> None:
    assert b"Subject" not in envelope(Subject=None).signed
    assert b"Subject\n\n" in envelope(Subject="").signed


def test_a_confirmation_is_signed_over_url_and_token() -> None:
    found = envelope(Type="SubscriptionConfirmation", Subject=None, Token="t0k", SubscribeURL="https://x.example/")
    assert found.signed.split(b"\n")[::2] == [
        *(b"Message", b"world!", b"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", b"https://x.example/"),
        *(b"2023-11-14T22:13:20.000Z", b"t0k", TOPIC.encode(), b"SubscriptionConfirmation"),
    ]
    assert found.token == "t0k"


@pytest.mark.parametrize(
    "changes",
    [
        {"Type": "Other"},
        {"TopicArn": "arn:aws:sqs:eu-west-1:123456789012:q"},
        {"TopicArn": "arn:aws:sns:eu-west-1:1:t"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": 1},
        {"Signature": "not base64!"},
        {"Signature": "ä"},
        {"MessageId": ""},
        {"MessageId": "a\nb"},
        {"MessageId": "x" * 513},
        {"Message": None},
        {"Timestamp": None},
        {"SigningCertURL": None},
    ],
)
def test_what_is_no_envelope_is_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse(notification(**changes))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 50_000, b'{"AlarmName": "raw"}'])
def test_a_body_without_envelope_is_invalid_and_says_so(body: bytes) -> None:
    with pytest.raises(Invalid, match="raw message delivery off"):
        parse(body)


def test_headers_tell_of_the_same_message() -> None:
    found = envelope()
    headers = {
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": found.message_id,
        "x-amz-sns-topic-arn": TOPIC,
    }
    check_headers(headers, found)
    for name in headers:
        with pytest.raises(Invalid, match=name):
            check_headers({**headers, name: "SubscriptionConfirmation"}, found)
    with pytest.raises(Invalid, match="x-amz-sns-message-type"):
        check_headers({}, found)


def test_a_topic_that_is_not_listed_is_refused_with_a_hint() -> None:
    check(envelope(), [TOPIC], NOW)
    with pytest.raises(Forbidden, match=r"add it to sns\.topic_arns"):
        check(envelope(), [f"{TOPIC}2"], NOW)
    with pytest.raises(Forbidden, match=r"sns.topic_arns is empty"):
        check(envelope(), [], NOW)


def test_an_old_message_is_refused() -> None:
    check(envelope(), [TOPIC], NOW + ONE_HOUR_MS)
    with pytest.raises(Unauthenticated, match="replay"):
        check(envelope(), [TOPIC], NOW + ONE_HOUR_MS + 1)
    check(envelope(), [TOPIC], NOW + ONE_HOUR_MS + 1, max_age_ms=2 * ONE_HOUR_MS)
    with pytest.raises(Invalid, match="Timestamp"):
        check(envelope(), [TOPIC], NOW - ONE_HOUR_MS)


HOSTILE = (
    "http://sns.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com.cn.evil.example/a.pem",
    "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com:443@evil.example/a.pem",
    "https://user:pass@sns.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
    "https://sns.us-east-1.amazonaws.com/a.pem",
    "https://s3.eu-west-1.amazonaws.com/a.pem",
    "https://snsXeu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com/a.pem?x=http://169.254.169.254/",
    "https://sns.eu-west-1.amazonaws.com/a.pem#b",
    "https://sns.eu-west-1.amazonaws.com/a.txt",
    "https://sns.eu-west-1.amazonaws.com/../a.pem",
    "https://sns.eu-west-1.amazonaws.com//evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com/%2e%2e/a.pem",
    "https://sns.eu-west-1.amazonaws.com\\@evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com\t.evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com/a.pem\n",
    " https://sns.eu-west-1.amazonaws.com/a.pem",
    "https://SNS.eu-west-1.amazonaws.com/a.pem\0",
    "https://169.254.169.254/latest/meta-data/a.pem",
    "https://[::ffff:169.254.169.254]/a.pem",
    "https://2852039166/a.pem",
    "https://[fd00:ec2::254]/a.pem",
    "https://localhost/a.pem",
    "file:///etc/ssl/a.pem",
    "ftp://sns.eu-west-1.amazonaws.com/a.pem",
    "//sns.eu-west-1.amazonaws.com/a.pem",
    "https://[",
    "",
)


@pytest.mark.parametrize("url", HOSTILE)
def test_a_certificate_elsewhere_is_refused_before_it_is_fetched(url: str) -> None:
    with pytest.raises(Unauthenticated, match="nothing was fetched"):
        check(envelope(SigningCertURL=url), [TOPIC], NOW)


def test_china_has_its_own_domain() -> None:
    topic = "arn:aws-cn:sns:cn-north-1:123456789012:alarms"
    found = envelope(TopicArn=topic, SigningCertURL="https://sns.cn-north-1.amazonaws.com.cn/a.pem")
    check(found, [topic], NOW)
