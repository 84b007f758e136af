"""The words that framecap's code does not use: each has a common word of the field instead (see CONTRIBUTING.md)."""

from __future__ import annotations

import io
import re
import tokenize
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = {"tests/test_glossary.py", "framecap/config/renamed.py", "tests/test_renamed_keys.py", "CHANGELOG.md"}
CODE = [*sorted(ROOT.glob("framecap/**/*.py")), *sorted(ROOT.glob("train/**/*.py")), *sorted(ROOT.glob("tests/**/*.py"))]
CODE += [*sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("deploy/**/*.py")), *sorted(ROOT.glob("docs/*.py"))]
TEXTS = [ROOT / "config.yaml", ROOT / "setup.cfg", *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
TEXTS += sorted(path for path in ROOT.glob("deploy/**/*") if path.suffix in {".yaml", ".json", ".conf", ".service", ".tpl"})
TEXTS += sorted(path for path in ROOT.glob("framecap/viewer/static/*") if path.suffix in {".js", ".html"})

# word in an identifier: the word to use
IDENTIFIERS = {
    "board": "live state",
    "glance": "poll",
    "glances": "poll",
    "hangup": "reload on SIGHUP",
    "hangups": "reload on SIGHUP",
    "lesson": "objective",
    "lessons": "objective",
    "look_back": "lookback",
    "nobody": "no one, or name it",
    "picture": "image",
    "pictures": "images",
    "place": "address, location, sort key, slot",
    "places": "addresses, locations, slots",
    "room": "byte budget, package, capacity",
    "rooms": "packages",
    "said": "reported, logged, output",
    "squash": "square input",
    "squashes": "square input",
    "teach": "train",
    "told": "actions, callbacks",
    "trouble": "outage, error, failure",
    "vitals": "health",
    "wishes": "reload requests",
}
WHOLE = {  # whole identifiers
    "Again": "RetryJob",
    "Chosen": "SidecarFilter",
    "Given": "MemoryCursor",
    "Hand": "InFlight",
    "Held": "InFlightMessages",
    "Lesson": "Objective",
    "Patience": "Backoff",
    "Room": "ByteBudget",
    "Said": "CaptionSummary",
    "Shown": "CaptionSummary",
    "Standing": "StoreStatus",
    "SteadyCaptioner": "ResilientCaptioner",
    "Told": "Callbacks",
    "Turns": "TicketOrder",
    "Vitals": "WorkerHealth",
    "given_up": "terminal_error",
    "in_hand": "in flight",
    "torn": "replaces",
}
PHRASES = {  # in code, messages, configuration and pages
    r"\bmodels? in the box\b": "the bundled model",
    r"\bglanc(e|es|ing)\b": "poll",
    r"\blook_back\w*": "lookback",
    r"\bquiet_minutes\b": "cooldown_minutes",
    r"\bbreaks the quiet\b": "cooldown elapsed",
    r"\ban essay\b": "response too long",
    r"\bwhat, was said\b": "see the log",
    r"\bsomething failed;": "one or more frames failed",
    r"\bthe rule of rooms\b": "the import rule",
    r"\bpass(es|ed)? over\b": "ignore",
    r"\bpictures?\b": "image",
    r"\bsquash(es|ed)?\b": "square input",
}
EXCEPTIONS = {  # text: why it stays
    "A picture.": "what the model says that is none: words of a caption, not of ours",
    '("a", "picture")': "the same",
}
ON_DISK = {"places"}  # bundle.json's key, and so the field of BundleCard
ON_DISK_FILES = {"bundle.py", "captioner.py", "model_card.py", "test_explain.py", "test_bundle.py", "tiny.py"}
# Keys that stay as they are on disk, and are no identifiers: "lesson" of checkpoints and bundle.json, "places" of
# bundle.json.
TORN = "an incomplete sidecar or line is called torn in file names, statuses and locals; on a lease it is `replaces`"


def words(name: str) -> set[str]:
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", name)]
    return {*parts, *("_".join(pair) for pair in pairwise(parts))}


def tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text()).readline))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_identifiers_use_the_glossary(path: Path) -> None:
    if name_of(path) in SKIPPED:
        return
    found = []
    for token in tokens(path):
        if token.type == tokenize.NAME:
            if token.string in WHOLE and not (token.string == "torn" and TORN and not is_attribute(path, token)):
                found.append(f"line {token.start[0]}: {token.string}: use {WHOLE[token.string]}")
            for word in words(token.string) & IDENTIFIERS.keys():
                if not (token.string in ON_DISK and (path.name in ON_DISK_FILES or "card.places" in token.line)):
                    found.append(f"line {token.start[0]}: {token.string}: use {IDENTIFIERS[word]}")
    assert not found, "\n".join(found)


def is_attribute(path: Path, token: tokenize.TokenInfo) -> bool:
    return path.parts[-3] == "framecap" and token.line[: token.start[1]].endswith(".")


@pytest.mark.parametrize("path", [*CODE, *TEXTS], ids=name_of)
def test_texts_use_the_glossary(path: Path) -> None:
    if name_of(path) in SKIPPED:
        return
    text = path.read_text()
    for exception in EXCEPTIONS:
        text = text.replace(exception, "")
    found = []
    for pattern, instead in PHRASES.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            found.append(f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()}: use {instead}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_file_names_use_the_glossary(path: Path) -> None:
    assert not words(path.stem) & IDENTIFIERS.keys()
