"""The exception tree: as it is drawn, and each with its kind, its retry and its exit code."""

from __future__ import annotations

import re

from framecap import errors
from framecap.errors import FramecapError


def everything(root: type[FramecapError]) -> list[type[FramecapError]]:
    return [root] + [below for child in root.__subclasses__() for below in everything(child)]


def test_the_drawing_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^[\s│├└─]*(?:([A-Z]\w+))\b(.*)$", errors.__doc__.partition("FramecapError")[2], re.MULTILINE)
    tree = {name: notes for name, notes in drawn if name in vars(errors)}
    classes = [
        error for error in everything(FramecapError) if error is not FramecapError and error.__module__ == errors.__name__
    ]
    assert sorted(tree) == sorted(error.__name__ for error in classes)
    for error in classes:
        notes = tree[error.__name__]
        assert ("retry" in notes) == error.retryable, error
        assert f"exit {error.exit_code}" in notes or error.exit_code == 1, error


def test_every_kind_is_a_word_of_its_own() -> None:
    kinds = [error.kind for error in everything(FramecapError) if error.__module__ == errors.__name__]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z_]+", kind) for kind in kinds)
