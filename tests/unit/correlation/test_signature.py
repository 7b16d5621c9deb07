import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.codec import entry_of
from sentinel.correlation.signature import (
    DIMENSIONS,
    SIGNATURE_VERSION,
    opening_of,
    signature,
    similarity,
    token_of,
    vectors,
    vectors_of,
)
from sentinel.errors import Invalid
from sentinel.incidents.history import replay
from sentinel.telemetry.kinds import KINDS
from tests.unit.correlation.make import CPU_FAULT, alert
from tests.unit.incidents.golden import read

THRESHOLD = 0.8


def test_it_is_a_unit_vector_of_the_declared_shape():
    vector = signature(CPU_FAULT, "payments")
    assert (vector.shape, vector.dtype) == ((DIMENSIONS,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_the_vector_of_this_version_is_pinned():
    """Memories outlive processes and releases: another vector for the same alerts needs another version."""
    vector = signature((alert("payments", "cpu", score=1000),), "payments")
    assert SIGNATURE_VERSION == "sig-2"
    assert {int(n): round(float(vector[n]), 4) for n in np.flatnonzero(vector)} == {107: -0.8944, 176: 0.4472}


def test_another_process_with_another_hash_seed_makes_the_same_vector():
    program = (
        "from sentinel.correlation.signature import signature;"
        "from tests.unit.correlation.make import CPU_FAULT;"
        "print(signature(CPU_FAULT, 'payments').tobytes().hex())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert printed == signature(CPU_FAULT, "payments").tobytes().hex()


def test_order_time_value_and_pod_do_not_matter():
    expected = signature(CPU_FAULT, "payments")
    for order in itertools.permutations(CPU_FAULT):
        assert np.array_equal(signature(order, "payments"), expected)
    later = (alert("payments", "cpu", score=40, started_s=500, labels={"pod": "b"}), *CPU_FAULT[1:])
    assert np.array_equal(signature(later, "payments"), expected)


@pytest.mark.parametrize(
    ("rule", "other", "root"),
    [
        ("one affected service more", (*CPU_FAULT, alert("search", score=9)), "payments"),
        ("one affected service fewer", CPU_FAULT[:2], "payments"),
        ("twice as strong", (alert("payments", "cpu", score=80), *CPU_FAULT[1:]), "payments"),
    ],
)
def test_the_same_fault_stays_above_the_threshold(rule: str, other, root: str):
    assert similarity(signature(CPU_FAULT, "payments"), signature(other, root)) >= THRESHOLD, rule


@pytest.mark.parametrize(
    ("rule", "other", "root"),
    [
        ("another kind on the same root", (alert("payments", "memory", score=40), *CPU_FAULT[1:]), "payments"),
        ("the other direction", (alert("payments", "cpu", "down", score=40), *CPU_FAULT[1:]), "payments"),
        ("the same kind on another root", (alert("search", "cpu", score=40), *CPU_FAULT[1:]), "search"),
        ("the same alerts, blamed on another root", CPU_FAULT, "web"),
    ],
)
def test_another_fault_stays_below_the_threshold(rule: str, other, root: str):
    assert similarity(signature(CPU_FAULT, "payments"), signature(other, root)) < THRESHOLD, rule


def test_nothing_has_no_signature():
    with pytest.raises(Invalid, match="alerts"):
        signature((), "payments")


def test_a_call_measured_by_its_caller_is_a_kind_of_its_own():
    assert token_of(alert("checkout", "latency")) == "checkout|latency|up"
    assert token_of(alert("checkout", "latency", labels={"peer.service": "db"})) == "db|call-latency|up"


ALERTS = st.lists(
    st.builds(
        alert,
        st.text(min_size=1, max_size=8),
        st.sampled_from(KINDS),
        st.sampled_from(["up", "down"]),
        score=st.floats(min_value=8, max_value=1e6),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, derandomize=True)
@given(ALERTS, ALERTS)
def test_similarity_is_a_cosine(ours, theirs):
    a, b = signature(ours, ours[0].service), signature(theirs, theirs[0].service)
    assert similarity(a, a) == pytest.approx(1, abs=1e-5)
    assert similarity(a, b) == similarity(b, a)
    assert -1 <= similarity(a, b) <= 1


def test_what_the_remedy_itself_shook_is_no_part_of_the_fault():
    incident = replay([entry_of(record) for record in read("fixed")[1]])
    assert incident is not None
    (record,) = incident.plans
    assert record.started_at_ms is not None
    shaken = replace(
        alert("web", "errors", score=900), started_at_ms=record.started_at_ms + 1, last_at_ms=record.started_at_ms + 9
    )
    later = replace(incident, alerts=(*incident.alerts, shaken))
    np.testing.assert_array_equal(vectors_of(later).sig, vectors_of(incident).sig)
    np.testing.assert_array_equal(opening_of(later), opening_of(incident))
    only = replace(incident, alerts=(shaken,))
    np.testing.assert_array_equal(vectors_of(only).sig, vectors((shaken,), incident.suspects[0].service).sig)
