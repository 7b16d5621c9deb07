"""What an operator may write under `correlation`, and what a mistake is told."""

import pytest

from sentinel.errors import Invalid
from sentinel.settings import Correlation
from sentinel.settings_loader import load


def loaded(tmp_path, text: str) -> Correlation:
    path = tmp_path / "sentinel.yaml"
    path.write_text(text)
    return load({"SENTINEL_CONFIG": str(path)}).correlation


def test_a_cycle_is_a_graph_like_another(tmp_path):
    found = loaded(tmp_path, "correlation: {topology: {a: [b], b: [a]}}")
    assert found.topology == {"a": ("b",), "b": ("a",)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("correlation: {topology: {a: [a]}}", r"correlation\.topology.*other services than the caller itself"),
        ("correlation: {topology: {a: ['']}}", r"correlation\.topology.*none of them empty"),
        ("correlation: {topology: {a: b}}", r"correlation\.topology"),
        ("correlation: {topolgy: {a: [b]}}", "topology"),
        ("correlation: {dedup_similarity: 1.2}", r"correlation\.dedup_similarity.*less than or equal to 1"),
        ("correlation: {dedup_similarity: -0.1}", r"correlation\.dedup_similarity"),
        ("correlation: {dedup_similarity: .nan}", r"correlation\.dedup_similarity"),
        ("correlation: {dedup_window_s: 0}", r"correlation\.dedup_window_s"),
        ("correlation: {max_incident_age_s: -1}", r"correlation\.max_incident_age_s"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text: str, says: str):
    with pytest.raises(Invalid, match=says):
        loaded(tmp_path, text)


def test_the_policy_is_what_was_written(tmp_path):
    policy = loaded(tmp_path, "correlation: {dedup_similarity: 0.9, max_incident_age_s: 60}").policy
    assert (policy.dedup_similarity, policy.max_incident_age_s, policy.dedup_window_s) == (0.9, 60, 1800)
