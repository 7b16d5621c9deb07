"""The lock files pin every package by hash and name no package index."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)(?:\s*;[^\\]*?)?(?P<hashes>(?:\s+--hash=\S+)*)\s*"
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(text: str) -> list[str]:
    """The requirements of a lock file, continued lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def unpinned(text: str) -> list[str]:
    """The requirements without an exact version or without a SHA-256 for it."""
    wrong = []
    for requirement in requirements(text):
        pin = _PIN.fullmatch(requirement)
        hashes = pin["hashes"].split() if pin else []
        if not hashes or not all(_HASH.fullmatch(each) for each in hashes):
            wrong.append(requirement[:100])
    return wrong


def test_both_lock_files_are_there():
    assert LOCKS == ["requirements-dev.lock", "requirements.lock"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_its_hashes(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(requirements(text)) > 50, "the file was read"
    assert unpinned(text) == []


@pytest.mark.parametrize("name", LOCKS)
def test_no_address_of_an_index(name: str):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.search(r"https?://|--(extra-)?index|--find-links", line)] == []


@pytest.mark.parametrize("offence", ["ray", "ray>=2", "ray==2.60.0", "ray==2.60.0 --hash=md5:00", "ray @ file:///x"])
def test_an_open_requirement_is_seen(offence: str):
    assert unpinned(f"# a comment\n{offence}\n") == [offence]


def test_a_pin_with_a_marker_is_fine():
    digest = "a" * 64
    assert (
        unpinned(f"x[y]==1.0 ; python_version < '3.12' \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{digest}\n")
        == []
    )
