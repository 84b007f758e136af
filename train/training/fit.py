"""The training recipe. A model, photos and a configuration in; the best weights of the run out.

An epoch is every photo once; after it the model describes the judge's photos on its own, and CIDEr-D (of few photos: the
loss of people's captions) decides which epoch was the best and when to stop. Learning rates, order, views, dropout: every
number is a function of the seed and the step, so a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from framecap.config import TrainConfig
from framecap.errors import ModelError
from train.data.batches import Epoch, TrainingData, steps_of
from train.training.distributed import Processes
from train.training.ema import MovingAverage
from train.training.log import CURVE_EVERY, LINE_EVERY, Clock, Meter, TrainingLog
from train.training.model import Model
from train.training.objectives import FEWEST_FOR_CIDER, CrossEntropy
from train.training.precision import Groups, Precision, choose
from train.training.run import BEST, Run, folder_of_its_own, record_of
from train.training.stages import trained_stages
from train.training.validation import BEAM, validate

RISE_FROM = 0.1  # of the highest learning rate, where the warm-up begins


def fit(
    config: TrainConfig,
    material: TrainingData,
    model: Model,
    out: Path,
    here: Processes,
    *,
    resume: bool = False,
    judge_first: bool = False,
) -> Model:
    """Cross-entropy training into the folder `out`; `judge_first` where the model has been trained already."""
    objective = CrossEntropy(model, config, from_images=material.train.features is None)
    with folder_of_its_own(out, here):
        run = Run(out, record_of("fit", config, material, model, here), model, here, resume)
        return train_model(objective, material, config, run, judge_first=judge_first)


def train_model(
    objective: CrossEntropy, material: TrainingData, config: TrainConfig, run: Run, *, judge_first: bool
) -> Model:
    """Train until the epochs are over or it has got no better for `patience` epochs; the best weights."""
    here, progress = run.here, run.progress
    objective.to(here.device)
    precision = choose(config.amp, here.device)
    optimizer = precision.optimizer(parameter_groups(objective, config))
    prepared, optimizer = precision.prepare(objective, optimizer)
    average = MovingAverage(objective, config.ema)
    run.restore(objective, optimizer, precision, average)
    log = run.open_log(steps_of(material.train, config))
    progress.by = objective.judged_by(len(material.judge))
    if progress.by == "validation_loss" and log.length == 0:  # a resumed run has said it
        log.line(
            f"judged by validation loss, not by CIDEr-D: {len(material.judge)} image(s) are too few for it (from "
            f"{FEWEST_FOR_CIDER} on it decides)"
        )
    try:
        if judge_first and progress.start is None:
            progress.start = _judged(objective, material, run, log, -1)
            run.keep(BEST, {"epoch": -1, **progress.start})
        trainer = Trainer(here.parallel(prepared), objective, optimizer, precision, average, config, run, log)
        while progress.epoch < config.epochs and progress.stale() < config.patience:
            trainer.one_epoch(material)
            best = progress.best()
            loss = {"loss": progress.loss / progress.step, objective.measure_key: progress.measure / progress.step}
            with average.applied():
                judged = _judged(objective, material, run, log, progress.epoch)
                progress.history.append({"epoch": progress.epoch, **loss, **judged})
                if progress.best() > best:
                    run.keep(BEST, {"epoch": progress.epoch})
                run.keep_epoch(progress.epoch, config.average)
            progress.epoch, progress.step, progress.loss, progress.measure = progress.epoch + 1, 0, 0.0, 0.0
            run.save(objective, optimizer, precision, average, log)
        if config.average > 1 and progress.average is None:
            _average(objective, material, config, run, log)
            run.save(objective, optimizer, precision, average, log)
    finally:
        log.close()
    return run.best()


class Trainer:
    """The inside of an epoch: a batch, its loss, one update of the weights."""

    def __init__(
        self,
        parallel: nn.Module,
        objective: CrossEntropy,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        average: MovingAverage,
        config: TrainConfig,
        run: Run,
        log: TrainingLog,
    ) -> None:
        self.average = average
        self.parallel, self.objective, self.optimizer, self.precision = parallel, objective, optimizer, precision
        self.config, self.run, self.log = config, run, log
        self.here, self.progress = run.here, run.progress
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def one_epoch(self, material: TrainingData) -> None:
        """The rest of the epoch that the run is in."""
        progress, config = self.progress, self.config
        epoch = Epoch(material.train, config, progress.epoch, self.here)
        clock = Clock()
        loss = Meter(4, total=progress.loss, count=progress.step)
        measure = Meter(3, total=progress.measure, count=progress.step)
        self.parallel.train()
        for batch in epoch.batches(progress.step, config.workers, self.here.device):
            clock.loaded()
            done = (progress.epoch + progress.step / len(epoch)) / config.epochs  # part of the run
            factor = set_learning_rates(self.optimizer, config, done)
            self.objective.sampling = config.scheduled_sampling * done
            torch.manual_seed(_seed(config.seed, progress.epoch, progress.step, self.here.rank))
            with self.precision.forward():
                outcome = self.parallel(batch)
            totals = self.here.total(torch.stack(outcome))
            loss.add(totals[0].item())
            measure.add(totals[1].item())
            if not math.isfinite(loss.last):
                raise ModelError(
                    f"the loss is {loss.last} at step {progress.step} of epoch {progress.epoch}: lower train.learning_rate"
                )
            norm = self.precision.update(outcome.loss * self.here.count, self.optimizer, config.clip_norm)
            self.average.update()
            clock.done()
            self._say(clock, loss, measure, len(epoch), {"learning rate": factor, "gradient norm": norm})
            progress.loss, progress.measure, progress.step = loss.total, measure.total, progress.step + 1
            if progress.step < len(epoch) and self.run.due(config.checkpoint_seconds):
                self.run.save(self.objective, self.optimizer, self.precision, self.average, self.log)

    def _say(self, clock: Clock, loss: Meter, measure: Meter, steps: int, values: Mapping[str, float]) -> None:
        epoch, step, name = self.progress.epoch, self.progress.step, self.objective.measure
        if step % LINE_EVERY == 0 or step == steps - 1:
            self.log.line(
                f"Epoch: [{epoch}][{step}/{steps}]\tBatch Time {clock.step}\tData Load Time {clock.loading}\tLoss {loss}\t"
                f"{name} {measure}"
            )
        if step % CURVE_EVERY == 0:
            curves = {"train/loss": loss.last, f"train/{name}": measure.last, **{f"train/{k}": v for k, v in values.items()}}
            self.log.curves(curves, epoch * steps + step)


def parameter_groups(objective: CrossEntropy, config: TrainConfig) -> Groups:
    """Decoder and encoder with their learning rates, matrices with weight decay; what is not trained is frozen."""
    stages = [] if objective.encoder is None else trained_stages(objective.encoder, config.fine_tune)
    objective.requires_grad_(False)
    groups: Groups = []
    for modules, rate in (([objective.decoder], config.learning_rate), (stages, config.encoder_learning_rate)):
        parameters = [parameter.requires_grad_() for module in modules for parameter in module.parameters()]
        for chosen, decay in (
            ([p for p in parameters if p.ndim > 1], config.weight_decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": rate, "highest": rate})
    return groups


def set_learning_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, done: float) -> float:
    """The rates when this part of the run is done; the decoder's."""
    factor = learning_rate_factor(config, done)
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * factor
    return config.learning_rate * factor


def learning_rate_factor(config: TrainConfig, done: float) -> float:
    """Up in a straight line, then along half a cosine down to 0, or constant."""
    if done < config.warm_up:
        return RISE_FROM + (1 - RISE_FROM) * done / config.warm_up
    if config.schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (done - config.warm_up) / (1 - config.warm_up))


def _judged(objective: CrossEntropy, material: TrainingData, run: Run, log: TrainingLog, epoch: int) -> dict[str, Any]:
    """The scores as history.json has them, said and drawn."""
    found = validate(objective, material.judge, material.vocabulary, run.here, log)
    scores = {"validation_loss": found.loss, "validation_top_5": found.top_5, **found.scores.rounded()}
    sets = {name: of_set.rounded() for name, of_set in found.sets.items()}
    log.line(f"Epoch {epoch} (beam {BEAM}): {_listed(scores)}")
    for name, of_set in sets.items():
        log.line(f"Epoch {epoch} (beam {BEAM}), {name}: {_listed(of_set)}")
        log.curves({f"judge/{name}/{score}": value for score, value in of_set.items()}, epoch)
    log.curves({f"judge/{name}": value for name, value in scores.items()}, epoch)
    return {"beam": BEAM, **scores, **({"sets": sets} if sets else {})}


def _listed(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def _average(objective: CrossEntropy, material: TrainingData, config: TrainConfig, run: Run, log: TrainingLog) -> None:
    """Judge the mean of the best epochs' weights, and keep it where it is better than each of them."""
    progress, best = run.progress, run.progress.best()
    epochs = progress.best_epochs(config.average)
    run.model.weights().load_state_dict(run.averaged(config.average))
    progress.average = {"epochs": epochs, **_judged(objective, material, run, log, progress.epoch)}
    if progress.best() > best:
        run.keep(BEST, {"average of epochs": epochs})


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
