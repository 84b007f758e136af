"""Trainings in processes of their own that can be killed: a request a line in, how it ended a line out.

The libraries are loaded once; each training is a fork, so that a kill costs no start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch

import train.training.run
from tests.train.synthetic import CONFIG, HERE, plain_material, plain_model
from train.data.dataset import DataFolder
from train.training.fit import fit

LONG = CONFIG.model_copy(
    update={
        "batch_size": 15,
        "dropout": 0.3,
        "scheduled_sampling": 0.3,
        "average": 2,
        "checkpoint_seconds": 0.0,
        "learning_rate": 0.01,
    }
)  # 12 steps an epoch, a checkpoint after each


def main() -> None:
    torch.set_num_threads(1)
    folder = DataFolder(Path(sys.argv[1]))
    material, model = plain_material(folder), plain_model(LONG, folder)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a training says goes nowhere
            _die_in_a_save(request["die_in_save"], request["torn"])
            fit(LONG, material, model, Path(request["out"]), HERE, resume=True)
            os._exit(0)
        killer = threading.Timer(request["kill_after"] or 3600, os.kill, (child, signal.SIGKILL))
        killer.start()
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # its number stays its own until the killer is gone
        killer.cancel()
        killer.join()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _die_in_a_save(number: int | None, truncated: bool) -> None:
    """At the save of this number: kill -9 when half of the file is written, or just before it gets its name."""
    if number is None:
        return
    saves = 0
    write = train.training.run.write_durably

    def killed(path: Path, data: bytes | memoryview) -> None:
        nonlocal saves
        saves += 1
        if saves < number:
            write(path, data)
            return
        whole = memoryview(data)
        path.with_name(f".{path.name}.part").write_bytes(whole[: len(whole) // 2] if truncated else whole)
        os.kill(os.getpid(), signal.SIGKILL)

    train.training.run.write_durably = killed


if __name__ == "__main__":
    main()
