"""What is generated is up to date."""

from pathlib import Path

from sentinel.incidents.diagram import put_into


def test_the_lives_in_the_architecture_page_are_those_of_the_tables():
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert put_into(page) == page, "run `make diagram`"
