"""What a person types in, an FTS5 expression that is never a syntax error out.

Words must all be there, in any order and form (dog, dogs); "words in quotes" stand side by side; `runn*` is a beginning;
`-word` must not be there. Whatever else is typed is no word and counts for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 1000  # of what is typed; the rest is skipped
EVERY_CAPTION = "all"  # stands in the column `scope` of each caption
_PART = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for; without words every caption is meant."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> Query:
        wanted: list[str] = []
        unwanted: list[str] = []
        text = text[:MAX_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode()
        for minus, quoted, word in _PART.findall(text):
            if not any(character.isalnum() for character in quoted + word):
                continue
            begins = "*" if word.endswith("*") else ""
            phrase = (quoted or word).replace('"', '""')
            (unwanted if minus else wanted).append(f'"{phrase}"{begins}')
        return Query(tuple(wanted), tuple(unwanted))

    def expression(self, camera: int | None) -> str:
        """For MATCH; `camera` is its number in the index."""
        wanted = [f"caption : {phrase}" for phrase in self.wanted]
        if camera is not None:
            wanted.append(f'scope : "{camera_word(camera)}"')
        expression = " AND ".join(wanted) or f'scope : "{EVERY_CAPTION}"'
        if not self.unwanted:
            return expression
        return f"({expression}) NOT ({' OR '.join(f'caption : {phrase}' for phrase in self.unwanted)})"


def camera_word(number: int) -> str:
    """The word that stands in the column `scope` of that camera's captions."""
    return f"c{number}"
