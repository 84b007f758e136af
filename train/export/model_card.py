"""A bundle's bundle.json in, its model card (README.md beside it) out: the same figures, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from framecap.captioning.bundle import BundleCard
from train.evaluation.scores import Scores, table

LIMITS = """It has seen a few thousand photos of people, dogs, sports and outdoor scenes, and knows only their words. What is
not among them (most animals and vehicles, text, most indoor things, night and infrared images, views from above as a
security camera has them) it describes as the nearest thing that it knows. It calls what lies "running" and a bright floor
"snow" or "water". It counts badly, and sometimes says a thing twice ("in a boat on a boat"). On images unlike its photos
`confidence` is low, but can still be too high. It must not decide anything about a person."""
CONFIDENCE = "confidence on val"  # the entry of the scores that says how far confidences hold


# Things that a camera owner asks for.
EVERYDAY = """
airplane apple baby banana bear bed bench bicycle bird boat book bottle bowl bread bridge broccoli bus cake camera car
carrot cat chair child church clock computer couch cow cup desk dog donut door elephant fence fire flag flower
forklift fork fridge giraffe guitar hat helicopter helmet horse keyboard kitchen knife ladder lamp laptop motorcycle
mouse oven parcel phone pizza plate police refrigerator road sandwich sheep sink skateboard smoke snow spoon stairs
suitcase table television tie toilet toothbrush tractor traffic train tree truck umbrella van vase window zebra
"""


def model_card(card: BundleCard, words: Collection[str] = ()) -> str:
    """The card as Markdown; with the bundle's words it says what it has no word for."""
    decoder, size = card.decoder, card.preprocessing.size
    rows, columns = card.places
    scores = [(name, Scores(**figures)) for name, figures in card.scores.items() if name != CONFIDENCE]
    quantised = card.training.get("quantised")
    numbers = f"\n- In int8 for ONNX Runtime, ranges by {quantised['photos']} photos; not for PyTorch." if quantised else ""
    licences = "\n".join(f"- {what}: {licence}" for what, licence in card.licences.items())
    return f"""# Model card: {card.name}

One English sentence for an image. Bundle hash `{card.hash}`.

## What it is
- Images are resized to a square to {size} x {size} RGB.
- Encoder: {card.encoder.name}; {rows} x {columns} places of {decoder.features} features.
- Decoder: an LSTM of width {decoder.hidden} with soft attention over features projected to {decoder.memory}.{numbers}
- Vocabulary: {decoder.words} words.

## Training
{card.training.get("data", "not said")}. Stages: {_stages(card.training)}; every setting and each epoch's scores are in
`bundle.json`. Data: {card.training.get("citation", "not said")}.

Make it again (the photos are not part of the project):

    {card.training.get("command", "not said")}

## Scores
One caption a photo, free running, against all raw references as Karpathy's tokens; BLEU, ROUGE-L and CIDEr-D by
pycocoevalcap; none of these photos was trained on or chose the epoch.

{table(scores) if scores else "not measured"}

## Confidence
{_confidence(card)}

## Limits
{LIMITS}{_unsayable(words)}

## Licences
{licences}
"""


def _unsayable(words: Collection[str]) -> str:
    """The everyday things that no caption can name."""
    missing = [word for word in EVERYDAY.split() if word not in words] if words else []
    return f"\n\nIt has no word for: {', '.join(missing)}." if missing else ""


def _stages(training: Mapping[str, Any]) -> str:
    """What was trained, one stage after the other."""
    before = _stages(training["before"]) + ", then " if "before" in training else ""
    settings = training.get("settings", {})
    objective = "by CIDEr-D reward" if training.get("lesson") == "reinforce" else "by cross-entropy"
    encoder = {"last": " with the second half of the encoder", "all": " with the encoder"}
    return f"{before}the decoder{encoder.get(settings.get('fine_tune'), '')} {objective}"


def _confidence(card: BundleCard) -> str:
    """What the confidence means, and how far that held on photos that it was not calibrated by."""
    calibration, held = card.calibration, card.scores.get(CONFIDENCE)
    if calibration is None:
        return "Raw: it compares captions of this model, and is no probability of being right."
    text = f"""The probability that the caption fits: that its CIDEr-D is {calibration.target:g} at least, which three of
four captions by people reach when each is compared with the others of its photo. Fitted on {calibration.photos} photos that
were held out."""
    if held is None:
        return text
    rows = "\n".join(f"| {sure:.2f} | {true:.2f} |" for sure, true in zip(held["confidence"], held["fitting"], strict=True))
    return f"""{text} On val, in five equal
parts by confidence (mean distance {held["error"]:.3f}):

| confidence said | share that fits |
| ---: | ---: |
{rows}"""
