"""Captions and references in, METEOR and SPICE out, where Java and their parts are there; else the reason why not.

Both are Java programs that come with pycocoevalcap: METEOR 1.5 whole, SPICE without its language models, which
`python -m pycocoevalcap.spice.get_stanford_models` downloads once.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from framecap.errors import MissingError, ModelError
from train.evaluation.scores import Array, Interval, Words, as_text, intervals

SPICE_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


@dataclass(frozen=True)
class JavaScore:
    """A score and its 95% interval."""

    value: float
    interval: Interval


def meteor(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> JavaScore:
    """METEOR of one caption for each photo. Raises MissingError without Java, ModelError when its program fails."""
    jar = _package() / "meteor" / "meteor-1.5.jar"
    _need_java("METEOR")
    with _Meteor(jar) as program:
        pairs = zip(as_text(captions), map(as_text, references), strict=True)
        found = np.array([program.statistics(output, meant) for output, meant in pairs])
        (value,) = program.scores(found.sum(axis=0, keepdims=True))
        interval = intervals(len(found), lambda weights: {"meteor": program.scores(weights @ found)})["meteor"]
    return JavaScore(float(value), interval)


def spice(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> JavaScore:
    """SPICE of one caption for each photo. Raises MissingError without Java or its models, ModelError when it fails."""
    _need_java("SPICE")
    for name in SPICE_MODELS:
        if not (_package() / "spice" / "lib" / name).is_file():
            raise MissingError(
                f"SPICE: its language models are not there ({name}): download them once with "
                "`python -m pycocoevalcap.spice.get_stanford_models`"
            )
    from pycocoevalcap.spice.spice import Spice

    output = {number: [text] for number, text in enumerate(as_text(captions))}
    meant = {number: as_text(several) for number, several in enumerate(references)}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            _, found = Spice().compute_score(meant, output)
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise ModelError(f"SPICE: its program failed ({error}): it needs 8 GB of memory, and was made for Java 8") from None
    values = np.nan_to_num(np.array([scores["All"]["f"] for scores in found], np.float64))

    def mean(weights: Array) -> dict[str, Array]:
        return {"spice": weights @ values / weights.sum(axis=1)}

    return JavaScore(float(values.mean()), intervals(len(values), mean)["spice"])


class _Meteor:
    """The METEOR program. A photo's statistics add up: the program scores sums of them, too."""

    def __init__(self, jar: Path) -> None:
        command = ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
        )

    def __enter__(self) -> _Meteor:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what it did not read before it died
            self.process.communicate()

    def statistics(self, output: str, meant: Sequence[str]) -> list[float]:
        """The numbers that one photo's score is made of."""
        sentences = [text.replace("|||", " ") for text in (*meant, output)]
        (answer,) = self._ask(" ||| ".join(("SCORE", *sentences)), 1)
        return [float(number) for number in answer.split()]

    def scores(self, sums: Array) -> Array:
        """The scores of these sums of statistics, a row each."""
        lines = ("EVAL ||| " + " ".join(f"{number:.1f}" for number in row) for row in sums)
        return np.array([float(list(self._ask(line, 2))[1]) for line in lines])  # of each part, then of all parts

    def _ask(self, line: str, answers: int) -> Iterator[str]:
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: PT018 (narrows both)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it died: it answers nothing
        for _ in range(answers):
            answer = self.process.stdout.readline()
            if not answer:
                raise ModelError(f"METEOR: its program ended (exit code {self.process.wait()}): it needs 2 GB of memory")
            yield answer


def _package() -> Path:
    import pycocoevalcap

    return Path(next(iter(pycocoevalcap.__path__)))


def _need_java(what: str) -> None:
    if shutil.which("java") is None:
        raise MissingError(f"{what}: no Java here: install a JRE (Debian: apt-get install default-jre-headless)")
