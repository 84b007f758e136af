"""Where a configuration's values come from: YAML, environment and flags in; a tree of values, or what is wrong, out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from framecap.config.plain_yaml import parse_value
from framecap.config.renamed import new_name
from framecap.errors import ConfigError
from framecap.telemetry import mask

ENVIRONMENT_PREFIX = "FRAMECAP__"
MAX_CONFIG_BYTES = 1 << 20

MAX_SHOWN = 200  # characters of a wrong value
_NEVER_SHOWN = {"token", "api_key_variable"}  # somebody may have written the key itself there


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree of a YAML file. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): name another with --config") from None
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: {len(text)} bytes are no configuration (the limit is {MAX_CONFIG_BYTES})")
    tree = parse_value(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a mapping of sections is expected, such as 'store: {{frames: ./frames}}'")
    return tree


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The tree of the variables FRAMECAP__SECTION__KEY, their values read as YAML."""
    tree: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _put(tree, keys, parse_value(text, name), name)
    return tree


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dotted keys; None means that a flag was not given."""
    tree: dict[str, Any] = {}
    for dotted, value in flags.items():
        if value is not None:
            _put(tree, dotted.split("."), value, dotted)
    return tree


def _put(tree: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{name}: '{key}' has a value already, and no keys below it")
        tree = below
    tree[keys[-1]] = value


def merge(tree: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put values over those of the tree, section by section."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        elif value is not None or key not in tree or not isinstance(tree[key], dict):
            tree[key] = value


def refuse_unknown(values: Mapping[str, Any], schema: type[BaseModel], origin: str) -> None:
    """Raises ConfigError for a key that the schema has not, and names the nearest one."""
    _refuse_unknown(values, schema, schema, origin, "")


def _refuse_unknown(
    values: Mapping[str, Any], section: type[BaseModel], schema: type[BaseModel], origin: str, path: str
) -> None:
    for key, value in values.items():
        where = f"{path}{key}"
        if key not in section.model_fields:
            raise ConfigError(mask(f"{origin}: unknown key {where!r}{_nearest(str(key), section, schema, path)}"))
        below = _section_of(section.model_fields[key].annotation)
        if below is None:
            continue
        if value is None and type(None) not in get_args(section.model_fields[key].annotation):
            raise ConfigError(f"{origin}: '{where}' is empty: give it keys, or leave it out")
        for address, item in _items(value, where):
            _refuse_unknown(item, below, schema, origin, f"{address}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, or of the items of a list of sections."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _items(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings of a section (itself) or of a list of sections; what is neither is left to validation."""
    if isinstance(value, dict):
        yield where, value
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield f"{where}.{number}", item


def _nearest(key: str, section: type[BaseModel], schema: type[BaseModel], path: str) -> str:
    if renamed := new_name(f"{path}{key}"):
        return f": it is called '{renamed}' now"
    close = difflib.get_close_matches(key.lower(), section.model_fields, n=1)
    if close:
        return f": did you mean '{path}{close[0]}'?"
    elsewhere = [dotted for dotted in _dotted_keys(schema) if dotted.rpartition(".")[2] == key.lower()]
    if elsewhere:
        return f": did you mean '{elsewhere[0]}'?"
    return f": allowed here are {', '.join(section.model_fields)}"


def _dotted_keys(section: type[BaseModel], path: str = "") -> Iterator[str]:
    for key, field in section.model_fields.items():
        yield f"{path}{key}"
        below = _section_of(field.annotation)
        if below is not None:
            yield from _dotted_keys(below, f"{path}{key}.")


_EXPECTED = {  # pydantic's words for Python programmers, in the words of a YAML file
    "tuple_type": "a list is expected",
    "model_type": "keys and values are expected",
    "model_attributes_type": "keys and values are expected",
    "float_type": "a number is expected",
    "int_type": "a whole number is expected",
    "string_type": "text is expected (in quotes, if it looks like something else)",
    "bool_type": "true or false is expected",
    "missing": "it is needed",
    "too_short": "more items are expected",
    "too_long": "fewer items are expected",
}


def explain(error: ValidationError) -> str:
    """What is wrong, in the words of a YAML file, masked."""
    return "; ".join(mask(_explain_one(problem)) for problem in error.errors(include_url=False))


def _explain_one(problem: ErrorDetails) -> str:
    address = ".".join(str(part) for part in problem["loc"]) or "configuration"
    expected = _EXPECTED.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    got = None if problem["loc"] and problem["loc"][-1] in _NEVER_SHOWN else problem.get("input")
    shown = f", got {_shown(got)}" if problem["type"] != "missing" and isinstance(got, (str, int, float)) else ""
    return f"{address}: {expected}{shown}"


def _shown(value: str | float) -> str:
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
