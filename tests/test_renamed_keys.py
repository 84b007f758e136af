"""Old keys of config.yaml are refused with their new names."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.config import load_config
from framecap.config.renamed import RENAMED_KEYS
from framecap.errors import ConfigError


def document(key: str) -> str:
    if key.startswith("events.rules.when."):
        return f"events: {{rules: [{{name: a, when: {{{key.rpartition('.')[2]}: 5}}}}]}}"
    *sections, last = key.split(".")
    return "".join(f"{section}: {{" for section in sections) + f"{last}: 5" + "}" * len(sections)


@pytest.mark.parametrize("old", RENAMED_KEYS)
def test_renamed_key_is_refused_with_its_new_name(old: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(document(old))
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "config.yaml", environment={})
    assert RENAMED_KEYS[old] in str(refused.value)


@pytest.mark.parametrize("new", RENAMED_KEYS.values())
def test_the_new_name_is_accepted(new: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(document(new).replace("}}]}", "}, do: [{command: {argv: [x]}}]}]}"))
    assert load_config(tmp_path / "config.yaml", environment={})
