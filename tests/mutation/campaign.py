"""Mutants of the safety, approval, stepper and digest code, each against the unit tests of its module.

    pip install --target build/mutants cosmic-ray==8.7.0
    PYTHONPATH=build/mutants python -m tests.mutation.campaign [--only budget stepper] [--sample 150] [--jobs 2]

The mutants are Cosmic Ray's. Only the runs are our own: a fork that has pytest loaded already, and imports the mutated
text in place of the file, takes half a second and leaves the work tree alone, so that several run at once.

Left out is what says nothing of a judgement: annotations (a mutated one fails at import, and counts as killed for
nothing) and decorators (whether a record is frozen is mypy's to hold).
"""

import argparse
import ast
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tests.mutation.modules import EQUIVALENT, TESTS

ROOT = Path(__file__).parents[2]
LEAST_S = 15.0  # before a run counts as hung, and its mutant as killed
FORKED = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change to one module."""

    path: str
    line: int
    operator: str
    text: str
    change: str

    @property
    def equivalent(self) -> str:
        """Why no test could tell it from the module; empty where one should."""
        known = EQUIVALENT.get(self.path, {})
        return next((why for change, why in known.items() if change in self.change), "")


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `text` where the module of that file is asked for."""

    def __init__(self, path: str, text: str) -> None:
        self._name = path.removesuffix(".py").replace("/", ".")
        self._path, self._text = str(ROOT / path), text

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        code: CodeType = compile(self._text, self._path, "exec")
        exec(code, module.__dict__)


def mutants_of(path: str) -> Iterator[Mutant]:
    """Every mutant that Cosmic Ray makes of the judgements in that file."""
    source = (ROOT / path).read_text(encoding="utf-8")
    left_out = _not_judgements(source)
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator_class = get_operator(name)
        if operator_class.arguments() or name == "core/NoOp":
            continue
        operator = operator_class()
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, _end) in enumerate(places):
            if any(first <= start < last for first, last in left_out):
                continue
            text = mutate_code(source, operator, occurrence)
            if text is not None and text != source:
                yield Mutant(path=path, line=start[0], operator=name, text=text, change=_change(source, text))


def outcome(mutant: Mutant, tests: tuple[str, ...], limit_s: float) -> str:
    """`killed` or `survived`: whether the tests noticed."""
    run = FORKED.Process(target=_run, args=(mutant.path, mutant.text, tests))
    run.start()
    run.join(limit_s)
    if run.is_alive():
        run.kill()
        run.join()
    return "survived" if run.exitcode == 0 else "killed"


def _run(path: str, text: str, tests: tuple[str, ...]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.meta_path.insert(0, Instead(path, text))
    plugins = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
    os._exit(pytest.main(["-x", "-q", *plugins, *tests]))


def _not_judgements(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and decorators are: (line, column) of the first sign, and of what follows the last."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(decorator_list=decorators, returns=returns):
                found += [*decorators, *([returns] if returns else [])]
            case ast.ClassDef(decorator_list=decorators):
                found += decorators
            case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
                found.append(annotation)
    # From the @ on, where Cosmic Ray says a decorator begins.
    return [((each.lineno, each.col_offset - 1), (each.end_lineno or 0, each.end_col_offset or 0)) for each in found]


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return " => ".join(line[1:].strip() for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Prints the survivors and a line for every module; fails where fewer than `--mark` of 100 are killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="modules by the name of their file, without .py")
    parser.add_argument("--sample", type=int, default=0, help="so many mutants of each module at most; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mark", type=float, default=90.0)
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ["CI"] = "true"  # Hypothesis tries the same examples each time
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    table, below = [], False
    for path, tests in TESTS.items():
        if args.only and Path(path).stem not in args.only:
            continue
        every = list(mutants_of(path))
        if not every:
            _say(f"{path:44} nothing that Cosmic Ray mutates")
            continue
        chosen = every
        if 0 < args.sample < len(every):
            chosen = random.Random(args.seed).sample(every, args.sample)
        unchanged = Mutant(path=path, line=0, operator="", text=(ROOT / path).read_text(encoding="utf-8"), change="")
        began = time.monotonic()
        if outcome(unchanged, tests, 600) != "survived":
            raise SystemExit(f"the tests of {path} fail without any mutant: {' '.join(tests)}")
        limit_s = max(LEAST_S, 10 * (time.monotonic() - began))
        with ThreadPoolExecutor(args.jobs) as pool:
            found = list(pool.map(partial(outcome, tests=tests, limit_s=limit_s), chosen))
        alive = [mutant for mutant, what in zip(chosen, found, strict=True) if what == "survived"]
        equal = [mutant for mutant in alive if mutant.equivalent]
        for mutant in sorted(alive, key=lambda each: each.line):
            label = "equivalent" if mutant.equivalent else "survived"
            _say(f"{label}  {path}:{mutant.line}  {mutant.change}")
        share = 100 * (len(chosen) - len(alive)) / len(chosen)
        below = below or share < args.mark
        killed = len(chosen) - len(alive)
        row = f"{path:44} {len(every):6} {len(chosen):6} {killed:6} {len(alive):8} {len(equal):10} {share:5.1f}%"
        table.append(row)
        _say(row)
    _say(f"\n{'module':44} {'all':>6} {'run':>6} {'killed':>6} {'survived':>8} {'equivalent':>10} {'killed':>6}")
    _say("\n".join(table))
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
