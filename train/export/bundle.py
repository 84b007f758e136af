"""An encoder, a trained decoder and a vocabulary in, a bundle out: the folder that `framecap work --bundle` takes."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from framecap.captioning.bundle import (
    FORMAT,
    NAME,
    PARTS,
    VOCABULARY,
    Bundle,
    BundleCard,
    DecoderCard,
    EncoderCard,
    PreprocessingCard,
    file_hash,
    open_bundle,
)
from framecap.captioning.model.decoder import AttentionDecoder
from framecap.captioning.model.encoder import Encoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.errors import ConfigError, StoreUnavailable
from train.export.graphs import write_graphs
from train.files import make_folder, write_durably

CARD = "bundle.json"
FILES = {CARD, *PARTS, "README.md"}  # of a bundle; a folder that holds others, too, is not replaced


def export(
    out: Path,
    name: str,
    encoder: Encoder,
    decoder: AttentionDecoder,
    vocabulary: Vocabulary,
    about: Mapping[str, Mapping[str, Any]],
) -> Bundle:
    """Write the bundle into a folder beside `out`, check it, and put it in place of what `out` was.

    `about` has the card's `training`, `scores` and `licences`. Raises ConfigError when `out` is a folder of other things.
    """
    need_name(name)
    with staged(out) as unfinished:
        (unfinished / VOCABULARY).write_text(vocabulary.to_json(), encoding="utf-8")
        write_graphs(encoder, decoder, vocabulary.suppressed, unfinished)
        card = _card(name, encoder, decoder, about, {part: file_hash(unfinished / part) for part in PARTS})
        write_card(unfinished, card)
    return open_bundle(str(out))


def need_name(name: str) -> None:
    """Raises ConfigError for a name that no sidecar may carry."""
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"name {name!r}: a bundle's name has at most 64 letters (a to z), digits, dots, hyphens and underscores, a "
            "letter or digit first: give it another one with --name"
        )


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write a bundle into, which is checked and then put in place of what `out` was.

    Raises ConfigError when `out` is a folder of other things, StoreUnavailable when it cannot be written.
    """
    out = out.absolute()
    make_folder(out.parent)
    if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir()} - FILES):
        raise ConfigError(f"{out}: holds other things than a bundle: name another folder")
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        unfinished.chmod(0o755)
        try:
            yield unfinished
            open_bundle(str(unfinished))
            if out.exists():
                shutil.rmtree(out)
            unfinished.rename(out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise StoreUnavailable(f"{out}: cannot be written ({error}): make room or name another folder") from None


def write_card(folder: Path, card: BundleCard) -> None:
    """Write bundle.json, whole or not at all."""
    write_durably(folder / CARD, card.model_dump_json(indent=1).encode() + b"\n")


def _card(
    name: str, encoder: Encoder, decoder: AttentionDecoder, about: Mapping[str, Mapping[str, Any]], files: dict[str, str]
) -> BundleCard:
    return BundleCard(
        format=FORMAT,
        name=name,
        encoder=EncoderCard(name=encoder.name, grid=encoder.grid[0] if encoder.pool_rows is not None else None),
        decoder=DecoderCard(kind="attention_lstm", **asdict(decoder.shape)),
        preprocessing=PreprocessingCard(
            size=encoder.size, mean=tuple(encoder.mean.tolist()), std=tuple((1 / encoder.scale).tolist())
        ),
        places=encoder.grid,
        training=dict(about.get("training", {})),
        scores=dict(about.get("scores", {})),
        licences=dict(about.get("licences", {})),
        files=files,
    )
