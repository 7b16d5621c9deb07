"""Our JSON: what is taken, what is refused alone, and what is refused whole."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid, UnsupportedFormat
from sentinel.telemetry.decoded import KEPT_REJECTIONS, MAX_LABELS, Decoded, refuse_after
from sentinel.telemetry.json_samples import JsonDecoder, decode_json

ARRAY = "application/json"
LINES = "application/x-ndjson"
NOW_MS = 1_700_000_000_000


def sample(**changes: object) -> dict[str, object]:
    return {"metric": "cpu", "labels": {"service": "web"}, "timestamp": NOW_MS, "value": 1.5, **changes}


def decode(*samples: object, content_type: str = ARRAY) -> Decoded:
    if content_type == ARRAY:
        return decode_json(json.dumps(samples).encode(), content_type)
    return decode_json("\n".join(json.dumps(each) for each in samples).encode(), content_type)


@pytest.mark.parametrize("content_type", [ARRAY, LINES, "application/json; charset=utf-8", "Application/JSONL"])
def test_both_forms_read_alike(content_type: str) -> None:
    form = ARRAY if "jsonl" not in content_type.lower() and "ndjson" not in content_type else LINES
    body = (
        json.dumps([sample(), sample(value=2)])
        if form == ARRAY
        else f"{json.dumps(sample())}\n\n{json.dumps(sample(value=2))}\n"
    )
    decoded = decode_json(body.encode(), content_type)
    assert decoded.present == (("cpu", (("service", "web"),)),)
    assert decoded.values.tolist() == [1.5, 2.0]
    assert decoded.index.tolist() == [0, 0]
    assert decoded.timestamps_ms.tolist() == [NOW_MS, NOW_MS]
    assert decoded.rejected_count == 0


@pytest.mark.parametrize(
    ("given_time", "at_ms"),
    [
        (NOW_MS, NOW_MS),
        (1_700_000_000, NOW_MS),
        (1_700_000_000.25, NOW_MS + 250),
        ("2023-11-14T22:13:20Z", NOW_MS),
        ("2023-11-14T23:13:20.5+01:00", NOW_MS + 500),
    ],
)
def test_times(given_time: object, at_ms: int) -> None:
    assert decode(sample(timestamp=given_time)).timestamps_ms.tolist() == [at_ms]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metric": ""}, "metric"),
        ({"metric": 7}, "metric"),
        ({"metric": "m" * 300}, "metric"),
        ({"labels": {"a": 1}}, "labels"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": {f"l{n}": "x" for n in range(MAX_LABELS + 1)}}, "labels"),
        ({"labels": {"n" * 129: "x"}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": "v" * 1025}}, "labels.a"),
        ({"labels": {"__name__": "other"}}, "labels.__name__"),
        ({"value": "1"}, "value"),
        ({"value": None}, "value"),
        ({"value": True}, "value"),
        ({"value": 10**400}, "value"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2023-11-14T22:13:20"}, "timestamp"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": -NOW_MS}, "timestamp"),
        ({"timestamp": NOW_MS * 1_000_000}, "timestamp"),
        ({"timestamp": 10**30}, "timestamp"),
    ],
)
@pytest.mark.parametrize("content_type", [ARRAY, LINES])
def test_one_bad_sample_does_not_sink_the_batch(change: dict[str, object], field: str, content_type: str) -> None:
    decoded = decode(sample(value=1), sample(**change), sample(value=3), content_type=content_type)
    assert decoded.values.tolist() == [1, 3]
    assert decoded.rejected_count == 1
    assert [(each.index, each.field) for each in decoded.rejected] == [(1, field)]


def test_a_missing_field_is_named() -> None:
    incomplete = sample()
    del incomplete["metric"]
    assert decode(incomplete).rejected[0].field == "metric"
    assert decode(5).rejected[0].field == "sample"


def test_labels_may_be_left_out_and_empty_ones_count_as_none() -> None:
    bare = sample()
    del bare["labels"]
    decoded = decode(bare, sample(labels={}), sample(labels={"a": ""}), sample(labels={"b": "1", "a": "2"}))
    assert decoded.present == (("cpu", ()), ("cpu", (("a", "2"), ("b", "1"))))
    assert decoded.index.tolist() == [0, 0, 0, 1]


def test_a_line_that_is_not_json_is_refused_alone() -> None:
    body = b'{"metric": "m", "timestamp": 1700000000, "value": NaN}\n' + json.dumps(sample()).encode()
    decoded = decode_json(body, LINES)
    assert len(decoded) == 1
    assert (decoded.rejected[0].index, decoded.rejected[0].field) == (0, "sample")


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity"])
def test_what_pythons_json_writes_for_no_number_is_refused_alone(written: str) -> None:
    bad = f'{{"metric": "m", "labels": {{"a": "say \\"value\\": NaN"}}, "timestamp": 1700000000, "value": {written}}}'
    decoded = decode_json(f"[{bad}, {json.dumps(sample())}]".encode(), ARRAY)
    assert len(decoded) == 1
    rejected = decoded.rejected[0]
    assert (rejected.index, rejected.field, rejected.value) == (0, "value", repr(written))


def test_text_that_is_not_utf8_is_refused_alone() -> None:
    bad = [
        b'{"metric": "\xff", "timestamp": 1700000000, "value": 1}',
        b'{"metric": "m", "labels": {"a": "\xff"}, "timestamp": 1700000000, "value": 1}',
        b'{"metric": "m", "timestamp": "\xff", "value": 1}',
        b'{"metric": "m", "\xff": 1, "timestamp": "x", "value": []}',
    ]
    decoded = decode_json(b"\n".join([*bad, json.dumps(sample()).encode()]), LINES)
    assert (len(decoded), decoded.rejected_count) == (1, len(bad))
    for each in bad:
        assert decode_json(b"[" + each + b"]", ARRAY).rejected_count == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"7", b"[", b"hello", b'[{"at": NaN}]', b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_array_is_refused_whole(body: bytes) -> None:
    with pytest.raises(Invalid, match="body"):
        decode_json(body, ARRAY)


def test_a_broken_array_names_the_byte() -> None:
    with pytest.raises(Invalid, match="byte 8"):
        decode_json(b'[{"a":1}x]', ARRAY)


def test_lines_that_are_no_json_name_the_first() -> None:
    with pytest.raises(Invalid, match="line 2"):
        decode_json(b"\nhello\nworld", LINES)


def test_nothing_is_nothing() -> None:
    assert len(decode_json(b"[]", ARRAY)) == 0
    assert len(decode_json(b"", LINES)) == 0


def test_another_content_type_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="text/plain"):
        decode_json(b"[]", "text/plain")


def test_refusals_are_counted_and_the_first_kept() -> None:
    decoded = decode(*[sample(value="x" * 500)] * 50, sample())
    assert len(decoded) == 1
    assert decoded.rejected_count == 50
    assert len(decoded.rejected) == KEPT_REJECTIONS
    assert all(len(each.value) <= 80 for each in decoded.rejected)


def test_samples_from_the_future_are_refused() -> None:
    decoded = refuse_after(decode(sample(), sample(timestamp=NOW_MS + 5000), sample(value="x")), NOW_MS + 1000)
    assert decoded.timestamps_ms.tolist() == [NOW_MS]
    assert decoded.rejected_count == 2
    assert refuse_after(decoded, NOW_MS) is decoded


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(["a", "b"]) | JSON_VALUES,
        "labels": st.dictionaries(st.sampled_from(["x", "y"]), st.text(max_size=2)) | JSON_VALUES,
        "timestamp": st.integers(10**9, 2 * 10**9) | JSON_VALUES,
        "value": st.floats(allow_nan=False, allow_infinity=False) | JSON_VALUES,
    },
)


@given(st.lists(FIELDS | JSON_VALUES, max_size=6), st.sampled_from([ARRAY, LINES]))
def test_every_sample_is_taken_or_counted(samples: list[object], content_type: str) -> None:
    encoded = [msgspec.json.encode(each) for each in samples]
    body = b"[" + b",".join(encoded) + b"]" if content_type == ARRAY else b"\n".join(encoded)
    decoded = decode_json(body, content_type)
    assert len(decoded) + decoded.rejected_count == len(samples)
    assert not len(decoded) or decoded.index.max() < len(decoded.keys)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:0e-ntruals\\ \n', max_size=80).map(str.encode))
def test_bytes_give_samples_or_a_named_error(body: bytes) -> None:
    for content_type in (ARRAY, LINES):
        with contextlib.suppress(Invalid):
            decoded = decode_json(body, content_type)
            assert len(decoded.index) == len(decoded.values) == len(decoded.timestamps_ms)


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                [
                    '{"metric":"m","timestamp":1700000000,"value":1,"labels":{"a":"1"}}',
                    '{"metric":"m","timestamp":1700000001,"value":2,"labels":{ "a" : "1" }}',
                    '{"metric":"m","timestamp":1700000002,"value":3,"labels":{"a":1}}',
                    '{"metric":"n","timestamp":1700000003,"value":4}',
                    '{"metric":"","timestamp":1700000004,"value":5}',
                    '{"metric":"n","timestamp":1,"value":6}',
                ]
            ),
            max_size=6,
        ),
        max_size=5,
    ),
    st.sampled_from([1, 100]),
)
def test_what_is_remembered_changes_only_the_speed(bodies: list[list[str]], most: int) -> None:
    remembering = JsonDecoder(most)
    for rows in bodies * 2:
        body = "\n".join(rows).encode()
        again, fresh = remembering.decode(body, LINES), decode_json(body, LINES)
        assert [again.keys[each] for each in again.index] == [fresh.keys[each] for each in fresh.index]
        assert again.values.tolist() == fresh.values.tolist()
        assert (again.rejected, again.rejected_count) == (fresh.rejected, fresh.rejected_count)
