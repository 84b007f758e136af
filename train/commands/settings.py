"""Keys of the configuration's train section in, flags of the same names out: `--learning-rate` is train.learning_rate."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from framecap.config import Config, load_config
from framecap.config.reading import ENVIRONMENT_PREFIX

_MARK = "setting "  # before the names of these flags' values, so that no other flag is taken for one


def add_settings(parser: argparse.ArgumentParser, section: type[BaseModel], path: str, keys: Iterable[str]) -> None:
    """A flag for each of these keys of the section that stands at `path` (train, train.reinforce)."""
    group = parser.add_argument_group(f"settings (the {path} section of config.yaml)")
    for key in keys:
        field = section.model_fields[key]
        text = f"{field.description or ''} ({json.dumps(field.default)})".strip().replace("%", "%%")
        group.add_argument(f"--{key.replace('_', '-')}", dest=f"{_MARK}{path}.{key}", metavar="VALUE", help=text)


def with_settings(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration with the flags that were given; their texts are read as the environment's are (YAML)."""
    flags = {
        ENVIRONMENT_PREFIX + name.removeprefix(_MARK).upper().replace(".", "__"): text
        for name, text in vars(options).items()
        if name.startswith(_MARK) and text is not None
    }
    return load_config(options.config, environment={**environment, **flags})
