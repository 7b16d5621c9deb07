"""CloudWatch alarms, as SNS carries them: the alarm's own JSON, or EventBridge's "Alarm State Change".

Sources: Amazon CloudWatch User Guide, "Notifying users on alarm changes" and "Alarm events and EventBridge".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from sentinel.errors import Invalid
from sentinel.telemetry.events import (
    CLOUDWATCH,
    MAX_TITLE,
    UNREADABLE,
    Event,
    Level,
    checked_labels,
    cut,
    fingerprint_of,
    instant_ms,
    line,
    service_of,
    why,
)

# Dimensions that name a service where no label of the setting does: ECS, Lambda, RDS, SQS, DynamoDB.
_SERVICE_DIMENSIONS = ("ServiceName", "FunctionName", "DBInstanceIdentifier", "QueueName", "TableName")
# An alarm has no severity: people write it into the name.
_NAMED: tuple[tuple[Level, re.Pattern[str]], ...] = (
    ("critical", re.compile(r"crit|page|sev-?1|(?<![a-z0-9])p1(?![a-z0-9])|fatal", re.IGNORECASE)),
    ("info", re.compile(r"(?<![a-z])info(?![a-z])", re.IGNORECASE)),
)


class _Dimension(msgspec.Struct, frozen=True):
    name: str
    value: str


class _Trigger(msgspec.Struct, frozen=True, rename="pascal"):
    metric_name: str = ""
    namespace: str = ""
    comparison_operator: str = ""
    dimensions: list[_Dimension] = []


class _Alarm(msgspec.Struct, frozen=True, rename="pascal"):
    alarm_name: str
    new_state_value: str
    state_change_time: str
    alarm_description: str | None = None
    aws_account_id: str = msgspec.field(name="AWSAccountId", default="")
    region: str = ""
    alarm_arn: str = ""
    new_state_reason: str = ""
    trigger: _Trigger = _Trigger()


class _Metric(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    dimensions: dict[str, str] = {}


class _MetricStat(msgspec.Struct, frozen=True):
    metric: _Metric = _Metric()


class _Query(msgspec.Struct, frozen=True, rename="camel"):
    metric_stat: _MetricStat | None = None


class _Configuration(msgspec.Struct, frozen=True):
    description: str | None = None
    metrics: list[_Query] = []


class _State(msgspec.Struct, frozen=True):
    value: str
    timestamp: str = ""
    reason: str = ""


class _Detail(msgspec.Struct, frozen=True, rename="camel"):
    alarm_name: str
    state: _State
    configuration: _Configuration = _Configuration()


class _Bridged(msgspec.Struct, frozen=True):
    detail: _Detail
    source: Literal["aws.cloudwatch"]
    time: str
    account: str = ""
    region: str = ""
    resources: list[str] = []


def decode_alarm(
    message: str, message_id: str, topic_arn: str, service_labels: Sequence[str], now_ms: int
) -> Event | None:
    """The alarm in the `Message` of an SNS notification, or None for INSUFFICIENT_DATA.

    No data neither raises an alarm nor ends one: to end it would call a fault mended that nobody can see.
    Raises Invalid for a message that is no alarm.
    """
    alarm = _alarm(message)
    match alarm.new_state_value:
        case "INSUFFICIENT_DATA":
            return None
        case "ALARM":
            status: Literal["firing", "resolved"] = "firing"
        case "OK":
            status = "resolved"
        case other:
            raise Invalid("NewStateValue", other, "ALARM, OK or INSUFFICIENT_DATA")
    name = cut(alarm.alarm_name, MAX_TITLE)
    if not name:
        raise Invalid("AlarmName", alarm.alarm_name, "a name")
    labels = checked_labels(name, _labels(alarm, topic_arn))
    at_ms = instant_ms("StateChangeTime", alarm.state_change_time, now_ms)
    _, _, _, region, account, *_ = topic_arn.split(":")
    # Not by dimensions or description, which people edit while it fires.
    whose = {"name": line(alarm.alarm_name), "account": alarm.aws_account_id or account, "region": region}
    metric = cut(alarm.trigger.metric_name, MAX_TITLE)
    return Event(
        source=CLOUDWATCH,
        event_id=message_id,
        kind="alert",
        service=service_of(labels, (*service_labels, *_SERVICE_DIMENSIONS)),
        title=name,
        labels=labels,
        severity=_severity(name),
        status=status,
        # An OK does not say when the alarm began; the open alert does.
        started_at_ms=at_ms,
        ended_at_ms=at_ms if status == "resolved" else None,
        description=cut(alarm.alarm_description or alarm.new_state_reason),
        url="",
        fingerprint=fingerprint_of(CLOUDWATCH, whose),
        metric=metric or name,
        direction="down" if alarm.trigger.comparison_operator.startswith("LessThan") else "up",
    )


def _alarm(message: str) -> _Alarm:
    try:
        return msgspec.json.decode(message, type=_Alarm)
    except UNREADABLE as error:
        first = error
    try:
        bridged = msgspec.json.decode(message, type=_Bridged)
    except UNREADABLE:
        raise Invalid("Message", message[:60], f"a CloudWatch alarm as JSON ({why(first)})") from None
    detail = bridged.detail
    stat = next((query.metric_stat for query in detail.configuration.metrics if query.metric_stat), _MetricStat())
    return _Alarm(
        alarm_name=detail.alarm_name,
        new_state_value=detail.state.value,
        state_change_time=detail.state.timestamp or bridged.time,
        alarm_description=detail.configuration.description,
        aws_account_id=bridged.account,
        region=bridged.region,
        alarm_arn=next(iter(bridged.resources), ""),
        new_state_reason=detail.state.reason,
        trigger=_Trigger(
            metric_name=stat.metric.name,
            namespace=stat.metric.namespace,
            dimensions=[_Dimension(name=name, value=value) for name, value in stat.metric.dimensions.items()],
        ),
    )


def _labels(alarm: _Alarm, topic_arn: str) -> Mapping[str, str]:
    about = {
        "alarm_name": alarm.alarm_name,
        "alarm_arn": alarm.alarm_arn,
        "account": alarm.aws_account_id,
        "region": topic_arn.split(":")[3],
        "namespace": alarm.trigger.namespace,
        "metric_name": alarm.trigger.metric_name,
    }
    return {**{each.name: each.value for each in alarm.trigger.dimensions}, **about}


def _severity(name: str) -> Level:
    return next((level for level, words in _NAMED if words.search(name)), "warning")
