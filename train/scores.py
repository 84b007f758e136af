"""Captions and references in, the field's scores out.

BLEU-1..4 (corpus, COCO's definition), ROUGE-L and CIDEr-D come from pycocoevalcap, the COCO caption challenge's own code.
A caption is scored against every raw reference of its photo; both are lists of words as Karpathy's files have them (lower
case, no punctuation).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

Words = Sequence[str]


@dataclass(frozen=True, slots=True)
class Scores:
    """BLEU and ROUGE-L from 0 to 1; CIDEr-D as published, a hundred times the formula's value."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    cider_d: float

    def rounded(self) -> dict[str, float]:
        """For a card or a table: BLEU and ROUGE to four places, CIDEr-D to two."""
        return {name: round(value, 2 if name == "cider_d" else 4) for name, value in asdict(self).items()}


def score(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Scores:
    """The scores of one caption for each photo."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {number: [" ".join(words)] for number, words in enumerate(captions)}
    meant = {number: [" ".join(words) for words in several] for number, several in enumerate(references)}
    with contextlib.redirect_stdout(io.StringIO()):  # the scorers print
        bleu, _ = Bleu(4).compute_score(meant, said)
        rouge, _ = Rouge().compute_score(meant, said)
        cider, _ = Cider().compute_score(meant, said)
    return Scores(*map(float, (*bleu, rouge, 100 * cider)))


def table(rows: Sequence[tuple[str, Scores]]) -> str:
    """The scores as a Markdown table."""
    names = list(rows[0][1].rounded())
    lines = [f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    lines += [f"| {title} | {' | '.join(str(value) for value in scores.rounded().values())} |" for title, scores in rows]
    return "\n".join(lines)
