"""Where deploy/ is, and linters of the development packages run on its files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HALF_A_MINUTE = 30  # that a worker may take to end after its grace time


def lint(tool: str, *arguments: str | Path) -> None:
    """Fails with what the tool says."""
    command = [str(Path(sys.executable).parent / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
