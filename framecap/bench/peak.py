"""A file and framecap's arguments in; framecap run with them in this process, its largest size in bytes in the file, out.

Only a process itself can tell at its end how large it was: what its parent is told then (rusage) is no less than what the
parent held when it started it, and a benchmark with a model and images holds much.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from framecap.bench.children import peak_bytes


def main() -> None:
    """What `Bench.run` starts."""
    path = Path(sys.argv.pop(1))
    try:
        runpy.run_module("framecap", run_name="__main__", alter_sys=True)
    finally:
        path.write_text(str(peak_bytes(os.getpid())))


if __name__ == "__main__":
    main()
