"""Commands of train/ in two processes each, as torchrun would start them: a JSON list of argument lists in.

The libraries are loaded once; the two are forks.
"""

from __future__ import annotations

import json
import os
import sys

import torch

from tests.train.synthetic import free_port
from train.__main__ import main


def run(arguments: list[str]) -> bool:
    """Whether both ended well."""
    port = str(free_port())
    children = []
    for rank in ("0", "1"):
        child = os.fork()
        if child == 0:
            os.environ |= {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            status = main(arguments)
            sys.stdout.flush()
            os._exit(status)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return ended == [0, 0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(0 if all(run(arguments) for arguments in json.loads(sys.argv[1])) else 1)
