"""CloudWatch alarms in the two shapes that SNS carries."""

import json
from typing import Any

import pytest

from sentinel.errors import Invalid
from sentinel.telemetry.cloudwatch import decode_alarm
from sentinel.telemetry.events import Event
from sentinel.telemetry.series import DEFAULT_SERVICE_LABELS

NOW = 1_700_000_000_000
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
AT = "2023-11-14T22:10:00.000+0000"
TRIGGER = {
    "MetricName": "CPUUtilization",
    "Namespace": "AWS/ECS",
    "Statistic": "AVERAGE",
    "Dimensions": [{"name": "ServiceName", "value": "payments"}, {"name": "ClusterName", "value": "prod"}],
    "Period": 60,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Threshold": 80.0,
}


def alarm(**changes: Any) -> str:
    """What CloudWatch puts into `Message`."""
    return json.dumps(
        {
            "AlarmName": "payments-cpu",
            "AlarmDescription": "Payments is out of cpu",
            "AWSAccountId": "123456789012",
            "NewStateValue": "ALARM",
            "OldStateValue": "OK",
            "NewStateReason": "Threshold Crossed: 3 datapoints were greater than the threshold (80.0).",
            "StateChangeTime": AT,
            "Region": "EU (Ireland)",
            "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:payments-cpu",
            "OKActions": [],
            "Trigger": TRIGGER,
            **changes,
        }
    )


def bridged(state: str = "ALARM") -> str:
    """What EventBridge sends of the same alarm."""
    metric = {"namespace": "AWS/ECS", "name": "CPUUtilization", "dimensions": {"ServiceName": "payments"}}
    return json.dumps(
        {
            "version": "0",
            "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
            "detail-type": "CloudWatch Alarm State Change",
            "source": "aws.cloudwatch",
            "account": "123456789012",
            "time": "2023-11-14T22:10:00Z",
            "region": "eu-west-1",
            "resources": ["arn:aws:cloudwatch:eu-west-1:123456789012:alarm:payments-cpu"],
            "detail": {
                "alarmName": "payments-cpu",
                "state": {"value": state, "reason": "crossed", "timestamp": AT},
                "previousState": {"value": "OK"},
                "configuration": {"metrics": [{"id": "m1", "metricStat": {"metric": metric, "period": 60}}]},
            },
        }
    )


def decode(message: str, message_id: str = "id-1") -> Event | None:
    return decode_alarm(message, message_id, TOPIC, DEFAULT_SERVICE_LABELS, NOW)


def event(message: str) -> Event:
    found = decode(message)
    assert found is not None
    return found


def test_an_alarm_fires() -> None:
    found = event(alarm())
    assert (found.source, found.event_id, found.status) == ("cloudwatch", "id-1", "firing")
    assert (found.title, found.metric, found.service) == ("payments-cpu", "CPUUtilization", "payments")
    assert (found.started_at_ms, found.ended_at_ms) == (NOW - 200_000, None)
    assert found.description == "Payments is out of cpu"
    assert found.labels["ClusterName"] == "prod"


def test_an_alarm_that_is_ok_is_resolved_and_the_same_thing() -> None:
    found = event(alarm(NewStateValue="OK"))
    assert (found.status, found.ended_at_ms) == ("resolved", NOW - 200_000)
    assert found.fingerprint == event(alarm()).fingerprint


def test_no_data_is_neither() -> None:
    assert decode(alarm(NewStateValue="INSUFFICIENT_DATA")) is None


def test_the_same_alarm_by_way_of_eventbridge_is_the_same_thing() -> None:
    found = event(bridged())
    assert (found.fingerprint, found.service, found.metric) == (
        event(alarm()).fingerprint,
        "payments",
        "CPUUtilization",
    )
    assert event(bridged("OK")).status == "resolved"


def test_what_people_edit_does_not_change_what_it_is() -> None:
    edited = event(alarm(AlarmDescription="other", Trigger={**TRIGGER, "Threshold": 90.0, "Dimensions": []}))
    assert edited.fingerprint == event(alarm()).fingerprint
    assert event(alarm(AlarmName="other")).fingerprint != event(alarm()).fingerprint
    assert event(alarm(AWSAccountId="210987654321")).fingerprint != event(alarm()).fingerprint


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("payments-cpu", "warning"),
        ("payments-CRITICAL-5xx", "critical"),
        ("P1 checkout", "critical"),
        ("sev1-db", "critical"),
        ("api-p100-latency", "warning"),
        ("info: backup done", "info"),
        ("infosec-login", "warning"),
    ],
)
def test_the_name_says_how_bad(name: str, level: str) -> None:
    assert event(alarm(AlarmName=name)).severity == level


def test_an_operator_says_which_way() -> None:
    assert event(alarm()).direction == "up"
    below = {**TRIGGER, "ComparisonOperator": "LessThanThreshold"}
    assert event(alarm(Trigger=below)).direction == "down"


def test_a_composite_alarm_has_no_trigger() -> None:
    found = json.loads(alarm())
    del found["Trigger"]
    found = event(json.dumps(found))
    assert (found.metric, found.service) == ("payments-cpu", "unknown")


@pytest.mark.parametrize(
    "message",
    [
        "Hello",
        "{}",
        "[]",
        alarm(NewStateValue="FINE"),
        alarm(StateChangeTime="noon"),
        alarm(AlarmName=" "),
        alarm(AlarmName=5),
        alarm(Trigger="x"),
        "[" * 10_000,
        bridged().replace("aws.cloudwatch", "aws.ec2"),
    ],
)
def test_what_is_no_alarm_is_invalid(message: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(message)
    assert "\n" not in str(caught.value)
