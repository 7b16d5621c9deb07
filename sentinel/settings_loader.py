"""Reads the settings once: YAML named by `SENTINEL_CONFIG`, with the environment over it.

`${VAR}` in the file is filled from the environment. A key that nobody knows is an error that names the
nearest known key.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pydantic import BaseModel, ValidationError

from sentinel.errors import Invalid
from sentinel.settings import (
    Api,
    Approval,
    Correlation,
    Detection,
    Executor,
    Qdrant,
    RaySettings,
    Section,
    Settings,
    Slack,
    Sns,
    Store,
)

_SECTIONS: Mapping[str, tuple[tuple[str, ...], type[Section]]] = {
    "API": (("api",), Api),
    "SNS": (("sns",), Sns),
    "STORE": (("store",), Store),
    "QDRANT": (("qdrant",), Qdrant),
    "SLACK": (("webhooks", "slack"), Slack),
    "EXECUTOR": (("executor",), Executor),
    "DETECTION": (("detection",), Detection),
    "CORRELATION": (("correlation",), Correlation),
    "APPROVAL": (("approval",), Approval),
    "RAY": (("ray",), RaySettings),
}
_PREFIX = "SENTINEL_"
_STANDARD_NAMES = {"AWS_ENDPOINT_URL": ("executor", "aws_endpoint_url"), "RAY_ADDRESS": ("ray", "address")}
# Names with our prefix that are no field: where the file is, and what the commands take. SENTINEL_TEST_* as well.
_NOT_SETTINGS = frozenset({"SENTINEL_CONFIG", "SENTINEL_API_URL", "SENTINEL_KEY"})


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises Invalid, one line that names the field, the value and what was expected."""
    path = environ.get("SENTINEL_CONFIG", "")
    tree = _read_yaml(path, environ) if path else {}
    _overlay(tree, environ)
    for name, field in _STANDARD_NAMES.items():
        if environ.get(name):
            _put(tree, field, environ[name], keep=True)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise _explain(error) from None
    settings.require_shared_key()
    return settings


# What the door, the actors and their adapters were built with.
_FIXED = ("partitions", "actors", "max_series", "max_pending_calls", "checkpoint_path", "checkpoint_endpoint_url")
_FIXED_TOO = ("checkpoint_every_s", "curve_bytes", "watch", "ignore")


def retuned(settings: Settings, over: object) -> Settings:
    """The settings with the section `detection` of `over` laid over theirs, for a system that runs.

    Raises Invalid for anything else in `over`, for a wrong value, and for a field that takes a restart to change.
    """
    if not isinstance(over, Mapping) or not isinstance(over.get("detection", {}), Mapping):
        raise Invalid("user_config", over, "a mapping with the section detection")
    tree = {"detection": {**settings.detection.model_dump(mode="json"), **over.get("detection", {})}}
    tree |= {name: section for name, section in over.items() if name != "detection"}
    if len(tree) > 1:
        raise Invalid("user_config", sorted(tree), "the section detection alone; the rest takes a restart")
    try:
        detection = Settings.model_validate(tree).detection
    except ValidationError as error:
        raise _explain(error) from None
    for name in (*_FIXED, *_FIXED_TOO):
        if getattr(detection, name) != getattr(settings.detection, name):
            now = getattr(settings.detection, name)
            raise Invalid(f"detection.{name}", getattr(detection, name), f"{now}, as it is; another takes a restart")
    return settings.model_copy(update={"detection": detection})


def _read_yaml(path: str, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid("SENTINEL_CONFIG", path, f"a readable YAML file ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Invalid("SENTINEL_CONFIG", path, "a YAML file in UTF-8") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" (line {line + 1})" if line is not None else ""
        raise Invalid("SENTINEL_CONFIG", path, f"valid YAML{where}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise Invalid("SENTINEL_CONFIG", path, "a YAML mapping of sections")
    filled = _fill(tree, environ)
    assert isinstance(filled, dict)
    return filled


def _fill(node: object, environ: Mapping[str, str]) -> object:
    """`${VAR}` in every text of the tree. Filled after parsing, so that a value cannot add YAML of its own."""

    def variable(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise Invalid(f"${{{name}}}", "unset", "the environment variable to be set")
        return environ[name]

    match node:
        case dict():
            return {key: _fill(value, environ) for key, value in node.items()}
        case list():
            return [_fill(value, environ) for value in node]
        case str():
            return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", variable, node)
        case _:
            return node


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    for name, text in environ.items():
        if not name.startswith(_PREFIX) or name in _NOT_SETTINGS or name.startswith("SENTINEL_TEST_"):
            continue
        section, _, field = name[len(_PREFIX) :].partition("_")
        known = _SECTIONS.get(section)
        if known is None or field.lower() not in known[1].model_fields:
            raise Invalid(name, "set", f"a known setting{_nearest(name, _environment_names())}")
        path, model = known
        _put(tree, (*path, field.lower()), _value(name, text, model, field.lower()), keep=False)


def _value(name: str, text: str, model: type[Section], field: str) -> object:
    """Lists and mappings are given as JSON; everything else as plain text that pydantic reads."""
    default = model.model_fields[field].get_default(call_default_factory=True)
    if not isinstance(default, (tuple, Mapping)):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise Invalid(name, text, 'JSON, such as ["a", "b"]') from None


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object, *, keep: bool) -> None:
    for key in path[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise Invalid(key, below, "a mapping")
        tree = below
    if not (keep and path[-1] in tree):
        tree[path[-1]] = value


def _environment_names() -> list[str]:
    return [
        f"{_PREFIX}{section}_{field.upper()}"
        for section, (_, model) in _SECTIONS.items()
        for field in model.model_fields
    ]


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: ValidationError) -> Invalid:
    """The first failure of a validation as one line; a secret's value is never shown."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        siblings = _keys_at(first["loc"][:-1])
        return Invalid(where, "set", f"a known key{_nearest(str(first['loc'][-1]), siblings)}")
    value = first["input"]
    if isinstance(value, dict) or re.search(r"token|secret|key|webhook_url|url$", where):
        value = "(not shown)"
    message = first["msg"].removeprefix("Value error, ")
    return Invalid(where, value, message[0].lower() + message[1:])


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in loc:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = [annotation, *getattr(annotation, "__args__", ())]
        model = next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return list(model.model_fields)
