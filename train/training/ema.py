"""An exponential moving average of the weights that are trained: what is judged and kept, while the weights train on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """`decay` of the average is kept at each step; 0: there is none, and the weights themselves are used.

    The first steps keep less, (1 + steps) / (10 + steps), so that the random start is soon forgotten.
    Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._weights = {name: value for name, value in model.named_parameters() if value.requires_grad} if decay else {}
        self._average = {name: value.detach().clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in self._weights.items():
            self._average[name].lerp_(value, 1 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights in here, and its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._weights.items():
            own = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(own)

    def state(self) -> dict[str, int | dict[str, Tensor]]:
        """For `restore`."""
        return {"steps": self.steps, "average": dict(self._average)}

    @torch.no_grad()
    def restore(self, state: dict[str, int | dict[str, Tensor]]) -> None:
        """Put back what `state` gave. Raises KeyError or TypeError for anything else."""
        steps, average = state["steps"], state["average"]
        if not isinstance(steps, int) or not isinstance(average, dict):
            raise TypeError("no state of a moving average")
        self.steps = steps
        for name, value in self._average.items():
            value.copy_(average[name])
