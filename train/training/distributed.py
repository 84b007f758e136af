"""What torchrun says in the environment in, this process's device and its part of the work out; mostly there is only one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from framecap.errors import DeviceMemoryError

Made = TypeVar("Made")
_TIMEOUT = timedelta(hours=12)  # the others wait while the first one encodes a data set


@dataclass(frozen=True)
class Processes:
    """This process (`rank` of `count`) and its device. Every process must make the same calls in the same order."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over all processes (so a loss must be divided by the sum, times `count`)."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        summed = values.detach().clone()
        if self.count > 1:
            distributed.all_reduce(summed)
        return summed

    def gather(self, values: Tensor) -> Tensor:
        """Every process's rows, where process r holds the rows r, r + count, ...; all must hold equally many."""
        if self.count == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.count)]
        distributed.all_gather(parts, values.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """What `make` makes: first in the first process, which may download, then in the others."""
        if not self.first:
            self.wait()
        made = make()
        if self.first:
            self.wait()
        return made

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.count > 1:
            distributed.barrier()


def one_process() -> Processes:
    """No torchrun: this process alone, on the GPU where there is one."""
    return Processes(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone. Raises DeviceMemoryError where what is done needs too much."""
    try:
        with _processes() as here:
            yield here
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"the GPU's memory is too small for this: lower train.batch_size ({error})") from None


@contextmanager
def _processes() -> Iterator[Processes]:
    """NCCL on GPUs, gloo on CPUs."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield one_process()
        return
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
