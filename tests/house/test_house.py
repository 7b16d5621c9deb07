"""The rules of the house that no linter holds. The layers are import-linter's, in `make check`."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("sentinel", "actors", "serve_apps")
PYTHON = (*PRODUCT, "tests", "benchmarks", "cluster")
MAX_LINES = 350
MAX_TEST_LINES = 450  # a table of cases is one purpose, however long

PACKAGES = (
    *("sentinel", "actors", "serve_apps", "cluster", "benchmarks", "docs"),
    *(f"sentinel/{name}" for name in ("telemetry", "detection", "incidents", "correlation", "remediation")),
    *(f"sentinel/{name}" for name in ("adapters", "sandbox", "cli")),
    *(f"tests/{name}" for name in ("unit", "house", "contract", "actors", "serve", "scenarios", "chaos")),
)
ENTRY_POINTS = re.compile(r"sentinel/cli/.+|serve_apps/app\.py|sentinel/sandbox/(.+/)?__main__\.py")

_MADE_BY_TOOLS = {"__pycache__", "build", "dist", "node_modules"}
# Not preceded by a word, or else a folder of that name inside the repository would be taken for the machine's.
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|farm)/")
_INDEX = re.compile(r"--(?:extra-)?index[-]url|https?://[^\s\"']+/simple\b|\"resolved\": \"http")


def files(*below: str, suffix: str = "") -> Iterator[Path]:
    """Our files as paths relative to the repository, without what tools make; all of them if `below` is empty."""
    for start in below or (".",):
        for folder, folders, names in os.walk(ROOT / start):
            folders[:] = [
                name
                for name in folders
                if name not in _MADE_BY_TOOLS
                and not name.endswith(".egg-info")
                and (not name.startswith(".") or name in (".ci", ".github"))
            ]
            ours = (name for name in names if name.endswith(suffix) and name != ".git")  # a file in a worktree
            yield from ((Path(folder) / name).relative_to(ROOT) for name in ours)


def trees(*below: str) -> Iterator[tuple[Path, ast.Module]]:
    """Our Python files and what they say."""
    for path in files(*below, suffix=".py"):
        yield path, ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def places(path: Path, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """`path:line` of each node."""
    return (f"{path.as_posix()}:{getattr(node, 'lineno', 0)}" for node in nodes)


def remote_calls(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls of `<handle>.remote(…)`; `ray.remote(…)` makes a class and calls nobody."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="ray"), attr="remote")):
                pass
            case ast.Call(func=ast.Attribute(attr="remote")):
                yield node


def reads_of_time(tree: ast.Module) -> Iterator[ast.AST]:
    """Imports of `time`, and calls such as `datetime.now(…)` and `date.today()`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name == "time" for alias in names):
                yield node
            case ast.ImportFrom(module="time"):
                yield node
            case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr="now" | "utcnow" | "today"):
                yield node
            case ast.Attribute(value=ast.Attribute(attr="datetime" | "date"), attr="now" | "utcnow" | "today"):
                yield node


def reads_of_environment(tree: ast.Module) -> Iterator[ast.AST]:
    """`os.environ`, `os.getenv`, and imports of them."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "getenv" | "putenv"):
                yield node
            case ast.ImportFrom(module="os", names=names) if any(
                alias.name in ("environ", "getenv", "putenv") for alias in names
            ):
                yield node


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """`path:line: text` of every line of every text file of ours that `pattern` finds."""
    found = []
    for path in files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or another binary
        if pattern.search(text):
            found += [
                f"{path.as_posix()}:{number}: {line.strip()[:100]}"
                for number, line in enumerate(text.splitlines(), start=1)
                if pattern.search(line)
            ]
    return found


def test_every_package_of_the_design_exists():
    assert [name for name in PACKAGES if not (ROOT / name).is_dir()] == []


def test_files_have_one_purpose_and_are_short():
    sizes = {
        path.as_posix(): len((ROOT / path).read_text(encoding="utf-8").splitlines())
        for path in files(*PYTHON, suffix=".py")
        if not path.name.endswith("_pb2.py")
    }
    assert len(sizes) > 20, "the walk found the files"
    limits = {path: MAX_TEST_LINES if path.startswith("tests/") else MAX_LINES for path in sizes}
    assert {path: size for path, size in sizes.items() if size > limits[path]} == {}


def test_actors_are_called_through_their_typed_handles_only():
    found = [place for path, tree in trees(*PRODUCT) for place in places(path, remote_calls(tree))]
    assert [place for place in found if not place.startswith("actors/handle.py:")] == []


def test_only_the_clock_reads_the_time():
    found = [place for path, tree in trees(*PRODUCT) for place in places(path, reads_of_time(tree))]
    assert any(place.startswith("sentinel/clock.py:") for place in found), "the check sees what it looks for"
    assert [place for place in found if not place.startswith("sentinel/clock.py:")] == []


def test_only_entry_points_read_the_environment():
    found = [place for path, tree in trees(*PRODUCT) for place in places(path, reads_of_environment(tree))]
    assert [place for place in found if not ENTRY_POINTS.fullmatch(place.rpartition(":")[0])] == []


def test_no_file_names_a_machine_or_a_package_index():
    assert lines_with(_MACHINE_PATH) == []
    assert lines_with(_INDEX) == []


@pytest.mark.parametrize(
    ("check", "offence", "innocent"),
    [
        (remote_calls, "handle.submit.remote(x)", "ray.remote(Class)"),
        (reads_of_time, "import time", "from sentinel.clock import iso"),
        (reads_of_time, "datetime.now(UTC)", "datetime.fromtimestamp(0, UTC)"),
        (reads_of_time, "datetime.datetime.utcnow()", "clock.now_ms()"),
        (reads_of_environment, "os.environ['A']", "os.getpid()"),
        (reads_of_environment, "from os import getenv", "from os import getpid"),
    ],
)
def test_the_checks_see_an_offence_and_spare_the_innocent(check, offence, innocent):
    assert list(check(ast.parse(offence)))
    assert not list(check(ast.parse(innocent)))


def test_the_patterns_see_an_offence_and_spare_the_innocent():
    slash = "/"
    assert _MACHINE_PATH.search(f"cd {slash}work/main")
    assert not _MACHINE_PATH.search("src" + "/work" + "/main and ." + "/work" + "/x")
    assert _INDEX.search("--extra-index" + "-url x")
    assert _INDEX.search("https:" + "//mirror.example/pypi/simple")
    assert not _INDEX.search("https:" + "//pypi.org/project/ray")
