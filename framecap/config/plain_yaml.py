"""YAML as a configuration needs it: text in, plain values out; everything clever in it is refused."""

from __future__ import annotations

import re
from typing import Any

import yaml

from framecap.errors import ConfigError
from framecap.telemetry import mask


class _PlainLoader(yaml.SafeLoader):
    """YAML as a configuration needs it: no tags, no anchors (which can make a small file huge), no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not used here", event.start_mark)
        if getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, "tags (!...) are not used here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# As in YAML 1.2: `off` and `no` are words, or `hints: off` would be `hints: false`.
_BOOL = "tag:yaml.org,2002:bool"
_PlainLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(_BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))

# And `1e-3` is a number, though it has no point.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


def parse_value(text: str | bytes, where: str) -> Any:
    """A value as config.yaml would read it. Raises ConfigError, naming `where`."""
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {_one_line(error)}") from None
    except ValueError:  # 2026-02-30, or a number of ten thousand digits
        raise ConfigError(f"{where}: not valid YAML: a date or number in it does not exist") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None


def _one_line(error: yaml.YAMLError) -> str:
    """What and where, without the excerpt and the values (they may hold a password)."""
    mark = getattr(error, "problem_mark", None)
    problem = mask(getattr(error, "problem", None) or "it cannot be read as text")
    return f"line {mark.line + 1}: {problem}" if mark else problem
