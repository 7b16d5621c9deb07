"""The identity of a series: a metric name with labels, and the service it speaks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.ids import Fingerprint, fingerprint

NAME_LABEL = "__name__"
DEFAULT_SERVICE_LABELS = ("service", "job", "service.name", "service_name")
UNKNOWN_SERVICE = "unknown"


@dataclass(frozen=True, slots=True)
class Series:
    """One series. `id` is its fingerprint as an unsigned 64-bit number, the same on every machine."""

    fingerprint: Fingerprint
    metric: str
    service: str
    labels: Mapping[str, str]

    @property
    def id(self) -> int:
        return int(self.fingerprint, 16)


def identify(metric: str, labels: Mapping[str, str], service_labels: Sequence[str] = DEFAULT_SERVICE_LABELS) -> Series:
    """The series of `metric` with `labels` (name left out); the first of `service_labels` present names its service."""
    service = next((labels[name] for name in service_labels if labels.get(name)), UNKNOWN_SERVICE)
    return Series(
        fingerprint=fingerprint({**labels, NAME_LABEL: metric}), metric=metric, service=service, labels=dict(labels)
    )


def partition_of(service: str, partitions: int) -> int:
    """The partition, 0 <= p < partitions, that all series of `service` belong to; stable for ever."""
    return int(fingerprint({"service": service}), 16) % partitions
