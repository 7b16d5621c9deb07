"""Our own JSON: an array, or NDJSON, of {"metric", "labels", "timestamp", "value"}.

`timestamp` is a number or RFC 3339 text with an offset. A number from 1e11 on is in milliseconds (1973 on),
a smaller one in seconds (to the year 5138): the two ranges do not meet in any time this system sees.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid, UnsupportedFormat
from sentinel.telemetry.decoded import (
    EARLIEST_MS,
    LATEST_MS,
    TIMESTAMP_EXPECTED,
    Decoded,
    Fault,
    Rejections,
    key_or_fault,
)
from sentinel.telemetry.rows import Known

JSON = "application/json"
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_REMEMBERED_BYTES = 4096  # of labels as written, which may be mostly spaces
_MILLISECONDS_FROM = 1e11
_TIMESTAMP_TYPES = "a number (seconds or milliseconds) or RFC 3339 text with an offset"


class _Row(msgspec.Struct):
    # Labels stay raw: equal bytes are equal labels, so they are parsed once a distinct text, not once a sample.
    metric: str
    timestamp: int | float | str
    value: float
    labels: msgspec.Raw = msgspec.Raw(b"{}")


# msgspec raises the last two bare: for text that is not UTF-8, and for nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_rows = msgspec.json.Decoder(list[_Row])
_row = msgspec.json.Decoder(_Row)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_labels = msgspec.json.Decoder(dict[str, str])

_Numbered = tuple[list[_Row], list[int]]  # rows and their places in the body


def decode_json(body: bytes, content_type: str) -> Decoded:
    """Decode `body` as `content_type` says; a bad sample is rejected alone, with its index (array) or line from 0.

    Raises Invalid if the body is not JSON of that form, naming line or byte; UnsupportedFormat for another type;
    TooLarge for too many new series.
    """
    return JsonDecoder().decode(body, content_type)


class JsonDecoder:
    """Decodes bodies, remembering up to `max_known` series by their labels as written; that changes only the speed."""

    def __init__(self, max_known: int = 200_000) -> None:
        self._max_known = max_known
        self._known = Known()
        self._seen: dict[tuple[str, bytes], int] = {}

    def decode(self, body: bytes, content_type: str) -> Decoded:
        """As `decode_json`."""
        if max(len(self._known), len(self._seen)) > self._max_known:
            self._known.clear()
            self._seen.clear()
        self._known.begin()
        media_type = content_type.partition(";")[0].strip().lower()
        rejections = Rejections()
        if media_type == JSON:
            rows, places = _array(body, rejections)
        elif media_type in NDJSON:
            rows, places = _lines(body, rejections)
        else:
            raise UnsupportedFormat(f"content type {media_type[:80]!r}: expected {JSON} or application/x-ndjson")
        faults: list[Fault] = []
        return _columns(rows, places, self._numbers(rows, faults), faults, self._known, rejections)

    def _numbers(self, rows: list[_Row], faults: list[Fault]) -> list[int]:
        """The number of each row's series, or -1 less the position of its fault in `faults`."""
        texts = [(row.metric, bytes(row.labels)) for row in rows]
        numbers = list(map(self._seen.get, texts))
        bad: dict[tuple[str, bytes], int] = {}
        for place, number in enumerate(numbers):
            if number is None:
                text = texts[place]
                # What this very body brought further up is known by now.
                found = self._seen.get(text, bad.get(text))
                if found is None:
                    found = self._identify(*text, faults)
                    if found < 0:
                        bad[text] = found
                    elif len(text[1]) <= _REMEMBERED_BYTES:
                        self._seen[text] = found
                numbers[place] = found
        return cast("list[int]", numbers)

    def _identify(self, metric: str, labels: bytes, faults: list[Fault]) -> int:
        try:
            key, fault = key_or_fault(metric, _labels.decode(labels))
        except _UNREADABLE:
            key, fault = None, ("labels", labels[:60], "an object of texts")
        if key is not None:
            return self._known.number(key)
        assert fault is not None
        faults.append(fault)
        return -len(faults)


# No JSON, yet what Python's json module writes for such values. As a text it spoils its own sample only.
_NO_NUMBER = re.compile(rb'((?<!\\)"value"\s*:\s*)(-?(?:NaN|Infinity))(?=[\s,}])')


def _array(body: bytes, rejections: Rejections) -> _Numbered:
    try:
        rows = _rows.decode(body)
    except _UNREADABLE:
        pass
    else:
        return rows, list(range(len(rows)))
    try:
        raws = _raws.decode(body)
    except msgspec.ValidationError:
        raise Invalid("body", body[:40], "a JSON array of samples") from None
    except _UNREADABLE as error:
        quoted = _NO_NUMBER.sub(rb'\1"\2"', body)
        if quoted != body:
            return _array(quoted, rejections)
        raise Invalid("body", body[:40], f"JSON ({_reason(error)})") from None
    return _one_by_one([bytes(raw) for raw in raws], rejections)


def _lines(body: bytes, rejections: Rejections) -> _Numbered:
    try:
        rows = _row.decode_lines(body)
    except _UNREADABLE:
        pass
    else:
        return rows, list(range(len(rows)))
    lines = body.split(b"\n")
    rows, places = _one_by_one(lines, rejections)
    if not rows and rejections.count and not any(_is_json(line) for line in lines if line.strip()):
        first = next(number for number, line in enumerate(lines) if line.strip())
        raise Invalid(f"line {first + 1}", lines[first][:40], "one JSON sample a line")
    return rows, places


def _one_by_one(items: Sequence[bytes], rejections: Rejections) -> _Numbered:
    rows: list[_Row] = []
    places: list[int] = []
    for place, item in enumerate(items):
        if not item.strip():
            continue
        try:
            rows.append(_row.decode(item))
        except _UNREADABLE:
            rejections.add(place, _why(item))
        else:
            places.append(place)
    return rows, places


def _why(item: bytes) -> Fault:
    """The fault of a sample that the typed decoder refused, by field."""
    try:
        sample = msgspec.json.decode(item)
    except _UNREADABLE as error:
        return "sample", item[:60], f"JSON ({_reason(error)})"
    if not isinstance(sample, dict):
        return "sample", sample, "an object with metric, timestamp and value"
    if not isinstance(sample.get("metric"), str):
        return "metric", sample.get("metric"), "text"
    if not _is_number(sample.get("value")):
        return "value", sample.get("value"), "a finite number"
    stamp = sample.get("timestamp")
    if not (isinstance(stamp, str) or _is_number(stamp)):
        return "timestamp", stamp, _TIMESTAMP_TYPES
    return "sample", item[:60], "a sample whose numbers fit 64 bits"


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except _UNREADABLE:
        return False
    return True


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _columns(
    rows: list[_Row], places: list[int], found: list[int], faults: list[Fault], known: Known, rejections: Rejections
) -> Decoded:
    index = np.array(found, np.int64)
    given_values, given_stamps = [row.value for row in rows], [row.timestamp for row in rows]
    values, stamps = np.array(given_values, np.float64), _timestamps(given_stamps)
    # One sample is counted once, whatever else is wrong with it: the series first, then the value, then the time.
    named, finite, timed = index >= 0, np.isfinite(values), stamps >= 0
    for position in np.flatnonzero(~named).tolist():
        rejections.add(places[position], faults[-1 - found[position]])
    for position in np.flatnonzero(named & ~finite).tolist():
        rejections.add(places[position], ("value", given_values[position], "a finite number"))
    for position in np.flatnonzero(named & finite & ~timed).tolist():
        rejections.add(places[position], ("timestamp", given_stamps[position], TIMESTAMP_EXPECTED))
    good = named & finite & timed
    return Decoded(
        known.keys,
        index[good],
        stamps[good],
        values[good],
        rejected=rejections.first(),
        rejected_count=rejections.count,
    )


def _timestamps(stamps: list[int | float | str]) -> NDArray[np.int64]:
    """Unix milliseconds, int64[n]; -1 for what is no time between 2000 and 2100."""
    numbers = stamps if str not in set(map(type, stamps)) else [_instant(each) for each in stamps]
    given = np.array(numbers, np.float64)
    with np.errstate(over="ignore"):
        ms = np.rint(np.where(given >= _MILLISECONDS_FROM, given, given * 1000))
    sensible = (ms >= EARLIEST_MS) & (ms < LATEST_MS)
    return np.where(sensible, ms, -1).astype(np.int64)


def _instant(stamp: float | str) -> float:
    if not isinstance(stamp, str):
        return stamp
    try:
        moment = datetime.fromisoformat(stamp)
        return moment.timestamp() * 1000 if moment.tzinfo else -1.0
    except (ValueError, OverflowError):
        return -1.0
