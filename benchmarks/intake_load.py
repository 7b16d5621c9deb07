"""Requests for `benchmarks.intake`: the same series and values in each format that a sender may use."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import cramjam
import numpy as np

from benchmarks.decoders import OTLP

REQUEST = 2000
Values = np.ndarray  # float64[n]


@dataclass(frozen=True)
class Load:
    """Requests that are ready to be sent, in rounds of one sample a series."""

    path: str
    headers: dict[str, str]
    series: int
    bodies: list[list[bytes]]

    @property
    def samples(self) -> int:
        return sum(len(each) for each in self.bodies) * REQUEST


def labels_of(index: int) -> dict[str, str]:
    """The labels of one series, sorted by name as Prometheus sorts them."""
    return {
        "__name__": f"request_duration_mean_{index % 20}",
        "cluster": "prod-eu-1",
        "instance": f"10.{index // 65536 % 256}.{index // 256 % 256}.{index % 256}:9090",
        "namespace": f"team-{index % 37}",
        "pod": f"shop-{index % 50}-{index * 2654435761 % 2**32:08x}-{index % 977:05d}",
        "region": "eu-central-1",
        "service": f"shop-{index % 50}",
        "version": f"1.{index % 7}.{index % 13}",
    }


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def sample(value: float, at_ms: int) -> bytes:
    return field(2, b"\x09" + np.float64(value).tobytes() + b"\x10" + varint(at_ms))


class RemoteWrite:
    """Remote-write 1.0: `prometheus.WriteRequest` in snappy."""

    path = "/api/v1/write"
    headers: ClassVar = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }

    def __init__(self, first: int) -> None:
        self._labels = [
            b"".join(
                field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in labels_of(index).items()
            )
            for index in range(first, first + REQUEST)
        ]

    def body(self, values: Values, at_ms: int) -> bytes:
        series = (
            field(1, told + sample(value, at_ms)) for told, value in zip(self._labels, values.tolist(), strict=True)
        )
        return bytes(cramjam.snappy.compress_raw(b"".join(series)))


class RemoteWrite2:
    """Remote-write 2.0: `io.prometheus.write.v2.Request` in snappy, each series a gauge."""

    path = "/api/v1/write"
    headers: ClassVar = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    }

    def __init__(self, first: int) -> None:
        symbols: dict[str, int] = {"": 0}
        self._refs = []
        for index in range(first, first + REQUEST):
            texts = [text for pair in labels_of(index).items() for text in pair]
            refs = b"".join(varint(symbols.setdefault(text, len(symbols))) for text in texts)
            self._refs.append(field(1, refs))
        self._symbols = b"".join(field(4, text.encode()) for text in symbols)

    def body(self, values: Values, at_ms: int) -> bytes:
        gauge = field(5, b"\x08\x02")
        series = (
            field(5, refs + sample(value, at_ms) + gauge)
            for refs, value in zip(self._refs, values.tolist(), strict=True)
        )
        return bytes(cramjam.snappy.compress_raw(self._symbols + b"".join(series)))


class Otlp:
    """OTLP/HTTP in protobuf and gzip: a resource a service, a gauge a metric, the other labels as attributes."""

    path = "/v1/metrics"
    headers: ClassVar = {"Content-Encoding": "gzip", "Content-Type": "application/x-protobuf"}

    def __init__(self, first: int) -> None:
        self._request = OTLP["Request"]()
        self._points = []
        resources, metrics = {}, {}
        for index in range(first, first + REQUEST):
            labels = labels_of(index)
            name, service = labels.pop("__name__"), labels.pop("service")
            if service not in resources:
                resources[service] = self._request.resource_metrics.add()
                resources[service].resource.attributes.add(key="service.name").value.string_value = service
                resources[service].scope_metrics.add()
            if (service, name) not in metrics:
                metrics[service, name] = resources[service].scope_metrics[0].metrics.add(name=name)
            point = metrics[service, name].gauge.data_points.add()
            for key, value in labels.items():
                point.attributes.add(key=key).value.string_value = value
            self._points.append(point)

    def body(self, values: Values, at_ms: int) -> bytes:
        for point, value in zip(self._points, values.tolist(), strict=True):
            point.time_unix_nano, point.as_double = at_ms * 1_000_000, value
        return bytes(cramjam.gzip.compress(self._request.SerializeToString(), 1))


class NdJson:
    """Our own JSON, a line a sample, in gzip."""

    path = "/api/v1/samples"
    headers: ClassVar = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}

    def __init__(self, first: int) -> None:
        self._heads = []
        for index in range(first, first + REQUEST):
            labels = labels_of(index)
            self._heads.append(json.dumps({"metric": labels.pop("__name__"), "labels": labels})[:-1])

    def body(self, values: Values, at_ms: int) -> bytes:
        lines = (
            f'{head}, "timestamp": {at_ms}, "value": {value!r}}}'
            for head, value in zip(self._heads, values.tolist(), strict=True)
        )
        return bytes(cramjam.gzip.compress("\n".join(lines).encode(), 1))


FORMATS: dict[str, Callable[[int], RemoteWrite | RemoteWrite2 | Otlp | NdJson]] = {
    "remote-write 1.0": RemoteWrite,
    "remote-write 2.0": RemoteWrite2,
    "OTLP protobuf": Otlp,
    "NDJSON": NdJson,
}


def make_load(series: int, rounds: int, start_ms: int, form: str = "remote-write 1.0") -> Load:
    """`rounds` samples of each series, 15 s apart, in compressed requests of 2,000 distinct series."""
    generator = np.random.default_rng(7)
    values = generator.normal(100, 5, (rounds, series))
    bodies: list[list[bytes]] = [[] for _ in range(rounds)]
    for first in range(0, series, REQUEST):
        made = FORMATS[form](first)
        for each in range(rounds):
            bodies[each].append(made.body(values[each, first : first + REQUEST], start_ms + each * 15_000))
    return Load(made.path, made.headers, series, bodies)
