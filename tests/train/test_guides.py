"""The guides to training: their commands are accepted as typed, and their error messages are the program's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from framecap.cli.parser import make_parser
from framecap.config import load_config
from train.__main__ import _parser
from train.commands.settings import with_settings

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "docs" / "train.md", ROOT / "docs" / "train-on-coco.md", ROOT / "docs" / "guide-train.md"]


def commands(guide: Path) -> Iterator[list[str]]:
    for block in re.findall(r"```\n(.*?)```", guide.read_text(), re.DOTALL):
        for line in block.replace(".venv/bin/", "").splitlines():
            if line.startswith(("python -m train", "torchrun", "framecap")):
                yield shlex.split(line)


TYPED = [command for guide in GUIDES for command in commands(guide)]


@pytest.mark.parametrize("command", TYPED, ids=" ".join)
def test_a_command_of_the_guides_is_accepted(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if command[0] == "framecap":
        assert make_parser().parse_args(command[1:])
        return
    options = _parser().parse_args(command[command.index("train") + 1 :])
    assert load_config(options.config)
    assert with_settings(options)


def test_every_command_is_in_the_guide() -> None:
    (choices,) = (action.choices for action in _parser()._actions if action.choices)
    assert set(choices or ()) == {command[3] for command in commands(GUIDES[0]) if command[0] == "python"} - {"--config"}


def test_the_error_messages_of_the_guide_are_the_programs() -> None:
    page = GUIDES[0].read_text()
    output = re.findall(r"^\| `([^`]+)` \|", page[page.index("## When it fails") :], re.MULTILINE)
    packages = (ROOT / "train", ROOT / "framecap" / "captioning")
    files = [path for module in packages for path in sorted(module.rglob("*.py"))]
    source = " ".join(re.sub(r'"\n\s+f?"', "", path.read_text()) for path in files)
    assert len(output) > 5
    for message in output:
        for part in re.split(r"nan|: no Java here|not measured: METEOR|\*", message):
            assert part in source, message
