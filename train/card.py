"""A bundle's bundle.json in, its model card (README.md beside it) out: the same figures, for people."""

from __future__ import annotations

from framecap.captioning.bundle import BundleCard
from train.scores import Scores, table

LIMITS = """It has seen a few thousand photos of people, dogs, sports and outdoor scenes, and knows only their words. What is
not among them (most animals and vehicles, text, most indoor things, night and infrared pictures, views from above as a
security camera has them) it describes as the nearest thing that it knows. It calls what lies "running" and a bright floor
"snow". It counts badly. `confidence` is the model's own and not yet calibrated: on pictures unlike its photos it can be
sure and wrong. It must not decide anything about a person."""


def model_card(card: BundleCard) -> str:
    """The card as Markdown."""
    decoder, size = card.decoder, card.preprocessing.size
    rows, columns = card.places
    scores = [(name, Scores(**figures)) for name, figures in card.scores.items()]
    licences = "\n".join(f"- {what}: {licence}" for what, licence in card.licences.items())
    return f"""# Model card: {card.name}

One English sentence for a picture. Bundle hash `{card.hash}`.

## What it is
- Pictures are squashed to {size} x {size} RGB.
- Encoder: {card.encoder.name}; {rows} x {columns} places of {decoder.features} features.
- Decoder: an LSTM of width {decoder.hidden} with soft attention over features projected to {decoder.memory}.
- Vocabulary: {decoder.words} words.

## Training
{card.training.get("data", "not said")}. Cross-entropy on the frozen encoder's features; every setting and each epoch's
scores are in `bundle.json`. Data: {card.training.get("citation", "not said")}.

Make it again (the photos are not part of the project):

    {card.training.get("command", "not said")}

## Scores
One caption a photo, free running, against all raw references as Karpathy's tokens; BLEU, ROUGE-L and CIDEr-D by
pycocoevalcap; none of these photos was trained on or chose the epoch.

{table(scores) if scores else "not measured"}

## Limits
{LIMITS}

## Licences
{licences}
"""
