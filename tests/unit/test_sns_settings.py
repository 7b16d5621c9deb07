"""The settings of SNS and of the queue."""

import pytest

from sentinel.errors import Invalid
from sentinel.settings_loader import load

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/alarms"


def test_nothing_is_allowed_and_nothing_polled_by_default() -> None:
    found = load({}).sns
    assert (found.topic_arns, found.sqs_queue_url) == ((), "")


def test_topics_and_queue_are_read_from_the_environment() -> None:
    found = load({"SENTINEL_SNS_TOPIC_ARNS": f'["{TOPIC}"]', "SENTINEL_SNS_SQS_QUEUE_URL": QUEUE}).sns
    assert (found.topic_arns, found.sqs_queue_url) == ((TOPIC,), QUEUE)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SENTINEL_SNS_TOPIC_ARNS": '["*"]'}, "arn:aws:sns:REGION:ACCOUNT:NAME"),
        ({"SENTINEL_SNS_TOPIC_ARNS": '["arn:aws:sqs:eu-west-1:123456789012:q"]'}, "arn:aws:sns"),
        ({"SENTINEL_SNS_SQS_QUEUE_URL": QUEUE}, "topic_arns beside sqs_queue_url"),
        (
            {"SENTINEL_SNS_TOPIC_ARNS": f'["{TOPIC}"]', "SENTINEL_SNS_SQS_QUEUE_URL": "http://sqs.example/1/q"},
            "https",
        ),
        ({"SENTINEL_SNS_POLL_S": "0"}, "greater than 0"),
    ],
)
def test_what_would_never_work_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        load(environ)
