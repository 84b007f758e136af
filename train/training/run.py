"""A run's folder: what it was run with, the checkpoint that an interrupted run goes on from, and the best weights so far.

run.json           what it was run with
log.txt            the seed's lines; tensorboard/ the curves
history.json       one object an epoch: losses and scores
resume.pt          the last moment that was saved; read with weights_only, so that nothing in it can run
best.safetensors   the best weights so far (train.training.model.save_model); epoch-<n>.safetensors: those to be averaged
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

import framecap
from framecap.config import TrainConfig
from framecap.errors import ConfigError
from train.data.batches import PhotoSet, TrainingData
from train.data.features import digest
from train.files import claimed, make_folder, parse_json, write_durably
from train.training.distributed import Processes
from train.training.ema import MovingAverage
from train.training.log import NullLog, TrainingLog
from train.training.model import Model, load_model, save_model
from train.training.precision import Precision

RESUME, BEST = "resume.pt", "best.safetensors"
_MAY_CHANGE = ("workers", "checkpoint_seconds")  # settings that change no number


@contextmanager
def folder_of_its_own(folder: Path, here: Processes) -> Iterator[None]:
    """The folder is made, and no other run is in it until the end. Raises ConfigError where that cannot be."""
    make_folder(folder)
    with claimed(folder) if here.first else nullcontext():
        yield


@dataclass
class EpochProgress:
    """Where a run stands, beside its weights. `loss` and `measure`: of the epoch's steps so far, summed."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    measure: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    start: dict[str, Any] | None = None  # scores of what was trained on from
    average: dict[str, Any] | None = None  # scores of the averaged weights
    log_length: int = 0

    by: Literal["cider_d", "validation_loss"] = "cider_d"  # what decides which weights are the best

    def merit(self, entry: Mapping[str, Any]) -> float:
        """How good a judgement is; more is better."""
        value = float(entry[self.by])
        return value if self.by == "cider_d" else -value

    def best(self) -> float:
        """The merit of the best judgement so far, -inf before the first."""
        return max([-math.inf, *(self.merit(entry) for entry in [*self.history, self.start, self.average] if entry)])

    def stale(self) -> int:
        """Epochs since the best one."""
        merits = [self.merit(entry) for entry in self.history]
        return len(merits) - 1 - merits.index(max(merits)) if merits else 0

    def best_epochs(self, count: int) -> list[int]:
        """The best epochs' numbers, the best first."""
        order = sorted(self.history, key=lambda entry: (-self.merit(entry), entry["epoch"]))
        return [entry["epoch"] for entry in order[:count]]


class Run:
    """A run's folder. Only the first process writes."""

    def __init__(self, folder: Path, record: dict[str, Any], model: Model, here: Processes, resume: bool) -> None:
        """Raises ConfigError when the folder holds a run that would be overwritten or was made with other settings."""
        self.folder, self.here, self.record = folder, here, record
        self.model = model
        self._saved = time.monotonic()
        self._state: dict[str, Any] | None = None
        self.progress = EpochProgress()
        if before := self._read() if resume else None:
            self._state, self.progress = before
        if not resume and any((folder / name).exists() for name in (RESUME, BEST)):
            raise ConfigError(f"{folder}: holds a run already: go on with it (--resume), or name another folder")
        if self._state is None and here.first:
            write_durably(folder / "run.json", json.dumps(record, indent=1).encode())

    def open_log(self, steps: int) -> TrainingLog:
        """The log, cut back to the moment that the run goes on from; an epoch has `steps` steps."""
        if not self.here.first:
            return NullLog()
        return TrainingLog(self.folder, self.progress.log_length, self.progress.epoch * steps + self.progress.step)

    def restore(
        self, objective: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, average: MovingAverage
    ) -> None:
        """Put back what was saved, where something was."""
        if self._state is not None:
            try:
                objective.load_state_dict(self._state["lesson"])
                optimizer.load_state_dict(self._state["optimizer"])
                precision.restore(self._state["precision"])
                average.restore(self._state["ema"])
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise _not_whole(self.folder / RESUME, error) from None
            self._state = None

    def due(self, seconds: float) -> bool:
        """Whether the last save is so long ago."""
        return time.monotonic() - self._saved >= seconds

    def save(
        self,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        average: MovingAverage,
        log: TrainingLog,
    ) -> None:
        """Save this moment, whole or not at all."""
        self.progress.log_length = log.length
        self._saved = time.monotonic()
        if not self.here.first:
            return
        state = {
            "record": json.dumps(self.record),
            "progress": json.dumps(asdict(self.progress)),
            "lesson": objective.state_dict(),
            "optimizer": optimizer.state_dict(),
            "precision": precision.state(),
            "ema": average.state(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_durably(self.folder / "history.json", json.dumps(self.progress.history, indent=1).encode())
        write_durably(self.folder / RESUME, buffer.getbuffer())  # last: until it is there, everything is done again

    def keep(self, name: str, output: Mapping[str, Any]) -> None:
        """Write the model as it is now, with what is to be said of it."""
        if self.here.first:
            about = {
                "run": self.record,
                "epochs": self.progress.history,
                "is": dict(output),
                "before": dict(self.model.about),
            }
            save_model(replace(self.model, about=about), self.folder / name)

    def keep_epoch(self, epoch: int, average: int) -> None:
        """Keep the epoch's weights when they are among those that will be averaged, and no others."""
        wanted = {_epoch_file(number) for number in self.progress.best_epochs(average)} if average > 1 else set()
        if _epoch_file(epoch) in wanted:
            self.keep(_epoch_file(epoch), {"epoch": epoch})
        if self.here.first:
            for path in self.folder.glob("epoch-*.safetensors"):
                if path.name not in wanted:
                    path.unlink()

    def averaged(self, average: int) -> dict[str, Tensor]:
        """The mean of the best epochs' weights; what is no fraction (counters) is the best one's."""
        self.here.wait()
        models = [load_model(self.folder / _epoch_file(epoch)) for epoch in self.progress.best_epochs(average)]
        weights = [model.weights().state_dict() for model in models]
        return {
            name: torch.stack([each[name] for each in weights]).mean(dim=0) if value.is_floating_point() else value
            for name, value in weights[0].items()
        }

    def best(self) -> Model:
        """The best weights of the run."""
        self.here.wait()
        return load_model(self.folder / BEST)

    def _read(self) -> tuple[dict[str, Any], EpochProgress] | None:
        """The last moment that was saved; None where the run was interrupted before the first."""
        path = self.folder / RESUME
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            wrong = _differences(parse_json(state["record"]), self.record)
            progress = TypeAdapter(EpochProgress).validate_json(state["progress"])
        except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise _not_whole(path, error) from None
        if wrong:
            raise ConfigError(f"{self.folder}: cannot be resumed with other settings: {'; '.join(wrong)}")
        return state, progress


def record_of(command: str, config: TrainConfig, material: TrainingData, model: Model, here: Processes) -> dict[str, Any]:
    """What a run is run with."""
    judged = material.judge
    return {
        "command": command,
        "arguments": sys.argv[1:],
        "settings": config.model_dump(mode="json"),
        "data": {
            "folder": str(material.train.split.images.parent.absolute()),
            "train": f"{len(material.train)} photos of {material.train.split.images.name}",
            "judge": f"{len(judged)} photos of {judged.split.images.name}, {_which(judged)}",
            "held_out": material.held_out,
            "vocabulary": hashlib.sha256(material.vocabulary.to_json().encode()).hexdigest(),
        },
        "weights at the start": digest(model.weights()),
        "versions": {"framecap": framecap.__version__, "python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "timm", "numpy", "pycocoevalcap")},
        "commit": _commit(),
        "device": str(here.device),
        "processes": here.count,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _which(photos: PhotoSet) -> str:
    """Which photos of their file these are, in a few words that differ where the photos do."""
    rows = photos.split.in_file(np.arange(len(photos)))
    if rows[-1] - rows[0] == len(rows) - 1:
        return f"from number {rows[0]} on"
    return f"numbers {rows[0]} to {rows[-1]} ({hashlib.sha256(rows.tobytes()).hexdigest()[:8]})"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two records makes them two different runs."""
    wrong = [
        f"train.{key} was {value!r}, now it is {now['settings'].get(key)!r}"
        for key, value in before["settings"].items()
        if key not in _MAY_CHANGE and now["settings"].get(key) != value
    ]
    wrong += [
        f"data.{key} was {before['data'][key]!r}, now it is {now['data'][key]!r}"
        for key in ("train", "judge", "vocabulary")
        if before["data"][key] != now["data"][key]
    ]
    if before["command"] != now["command"]:
        wrong.append(f"it was made by `python -m train {before['command']}`")
    if not wrong and before["weights at the start"] != now["weights at the start"]:
        wrong.append("it began with other weights (another --from, or other pretrained ones)")
    return wrong


def _not_whole(path: Path, error: Exception) -> ConfigError:
    why = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        why = "it holds other things than numbers"  # torch's own words tell how to run what is in it
    return ConfigError(f"{path}: not a whole checkpoint of a run ({why}): start the run anew elsewhere")


def _commit() -> str | None:
    """The commit of this checkout; None where the program is installed, or git is not there."""
    root, git = Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    done = subprocess.run([git, "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or None


def _epoch_file(epoch: int) -> str:
    return f"epoch-{epoch}.safetensors"
