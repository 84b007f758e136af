"""This machine in; its cores, and how many operations a second its matrix products reach, out.

`python -m framecap.bench.machine` measures in a process of its own and prints JSON: PyTorch, where it is installed, must not
share a process with what is measured afterwards.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_SIDE = 2048  # of the square matrices on a CPU
_GPU_SIDE = 8192
_GPU_BYTES = 1 << 30  # of a copy
_SECONDS = 0.4  # that a product is repeated for
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Peak:
    """Operations a second of a matrix product, by the runs; a multiplication and an addition are two operations."""

    fp32: tuple[float, ...]
    bf16: tuple[float, ...]
    copy: tuple[float, ...] = ()  # bytes a second that a copy in the GPU's memory reads and writes

    @property
    def missing(self) -> str:
        return "" if self.bf16 else "needs torch: pip install 'framecap[gpu]'"


def describe() -> str:
    """`2 cores, Intel(R) Xeon(R) Processor`."""
    return f"{cores()} cores, {cpu_model()}"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel names it; the architecture where it does not."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure_peaks(device: str) -> Peak:
    """In a process of its own, of `cpu` or `cuda`."""
    done = subprocess.run(
        [sys.executable, "-m", "framecap.bench.machine", device], capture_output=True, text=True, check=True
    )
    return Peak(**{name: tuple(values) for name, values in json.loads(done.stdout).items()})


def _peaks(device: str) -> Peak:
    if find_spec("torch") is None:
        return Peak(_numpy_rates(), ())
    import torch

    if device == "cuda":
        return Peak(_torch_rates("float32", device), _torch_rates("bfloat16", device), _copy_rates())
    torch.set_num_threads(cores())
    fp32 = max(_numpy_rates(), _torch_rates("float32", device), key=max)
    return Peak(fp32, _torch_rates("bfloat16", device))


def _numpy_rates() -> tuple[float, ...]:
    left = np.random.default_rng(1).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    return _rates(lambda: left @ left, lambda: None, 2.0 * _SIDE**3)


def _torch_rates(dtype: str, device: str) -> tuple[float, ...]:
    import torch

    side = _GPU_SIDE if device == "cuda" else _SIDE
    left = torch.randn(side, side, dtype=getattr(torch, dtype), device=device)
    return _rates(lambda: left @ left, _finisher(device), 2.0 * side**3)


def _copy_rates() -> tuple[float, ...]:
    import torch

    source = torch.empty(_GPU_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return _rates(lambda: target.copy_(source), _finisher("cuda"), 2.0 * _GPU_BYTES)


def _finisher(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def _rates(work: Callable[[], Any], finish: Callable[[], None], amount: float) -> tuple[float, ...]:
    """`amount` a second, of several tries."""
    for _ in range(2):
        work()
    finish()
    rates = []
    for _ in range(_TRIES):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < _SECONDS:
            work()
            count += 1
            if count % 8 == 0:
                finish()  # else a GPU's queue fills up while the clock says that nothing takes long
        finish()
        rates.append(count * amount / (time.perf_counter() - started))
    return tuple(rates)


if __name__ == "__main__":
    peak = _peaks(sys.argv[1])
    print(json.dumps({"fp32": peak.fp32, "bf16": peak.bf16, "copy": peak.copy}))  # noqa: T201
