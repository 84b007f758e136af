"""A model in training and photos in; the captions that it gives them on its own, and their scores, out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framecap.captioning.beam import BeamSettings, search
from framecap.captioning.model.inference import InferenceDecoder
from framecap.captioning.repetition import repeatable_numbers
from framecap.captioning.runtimes.pytorch import TorchDecoder
from framecap.captioning.vocabulary import Vocabulary
from framecap.errors import ModelError
from train.data.batches import PhotoSet, even_size, plain_batches
from train.evaluation.evaluate import scores_by_set
from train.evaluation.scores import Scores, mean_of, score
from train.training.distributed import Processes
from train.training.log import LINE_EVERY, Clock, Meter, TrainingLog
from train.training.objectives import CrossEntropy

BATCH = 100  # photos
BEAM = 3
MAX_WORDS = 24

_NOTHING = -1  # fills up the rows of word numbers


@dataclass(frozen=True)
class ValidationResult:
    """Scores of free-running captions; loss and top-5 accuracy (%) of people's captions with teacher forcing.

    `sets`: the scores of each data set's photos by its name, where there are several; `scores` are then their mean, so that
    each set counts alike.
    """

    scores: Scores
    sets: dict[str, Scores]
    loss: float
    top_5: float


@torch.no_grad()
def validate(
    objective: CrossEntropy, photos: PhotoSet, vocabulary: Vocabulary, here: Processes, log: TrainingLog
) -> ValidationResult:
    """Judge a model by photos; every process does its part, and all get the same answer."""
    objective.eval()
    captions: list[list[str]] = []
    clock, loss, top_5 = Clock(), Meter(4), Meter(3)
    batches = -(-len(photos) // even_size(BATCH, here))
    for number, batch in enumerate(plain_batches(photos, BATCH, here)):
        clock.loaded()
        features = objective.features(batch.seen)
        totals = here.total(torch.stack(objective.outcome(features, batch)))
        loss.add(totals[0].item())
        top_5.add(totals[1].item())
        rows = here.gather(_captions(objective, features, vocabulary))
        captions += [vocabulary.decode(word for word in row if word != _NOTHING) for row in rows.tolist()]
        clock.done()
        if number % LINE_EVERY == 0 or number == batches - 1:
            log.line(f"Validation: [{number}/{batches}]\tBatch Time {clock.step}\tLoss {loss}\tTop-5 Accuracy {top_5}\t")
    sets = scores_by_set(captions[: len(photos)], photos.split)
    scores = mean_of(list(sets.values())) if sets else score(captions[: len(photos)], photos.split.references)
    return ValidationResult(scores, sets, loss.mean, top_5.mean)


def _captions(objective: CrossEntropy, features: Tensor, vocabulary: Vocabulary) -> Tensor:
    """The best sentence of each photo, (photos, max_words) word numbers."""
    rows = torch.full((len(features), MAX_WORDS), _NOTHING, device=features.device)
    settings = BeamSettings(beam=BEAM, max_words=MAX_WORDS, repeatable=repeatable_numbers(vocabulary))
    decoder = InferenceDecoder(objective.decoder, vocabulary.suppressed, features.dtype)
    frames = TorchDecoder(decoder, features, vocabulary.start)
    for row, sentences in zip(rows, search(frames, vocabulary.end, settings), strict=True):
        if sentences is None:
            raise ModelError("the decoder gives NaN: the run has diverged: lower train.learning_rate")
        words = sentences[0].words
        row[: len(words)] = torch.tensor(words, dtype=rows.dtype)
    return rows
