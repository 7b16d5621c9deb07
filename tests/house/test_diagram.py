"""What is generated is up to date."""

from pathlib import Path

from sentinel.incidents.diagram import put_into
from sentinel.remediation.iam import role_policy, text_of


def test_the_lives_in_the_architecture_page_are_those_of_the_tables():
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert put_into(page) == page, "run `make diagram`"


def test_the_iam_policy_is_that_of_the_catalog():
    policy = (Path(__file__).parents[2] / "cluster" / "iam-policy.json").read_text(encoding="utf-8")
    assert text_of(role_policy()) == policy, "run `make iam`"
