"""Folders of runs: claimed by one process at a time, and nobody claims them any more when it is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from framecap.errors import ConfigError
from train.files import claimed, one_at_a_time, parse_json

CLAIM_AND_FORK = """
import os, sys
from pathlib import Path
from train.files import claimed
claim = claimed(Path(sys.argv[1]))
claim.__enter__()
reader, writer = os.pipe()
if os.fork() == 0:
    os.close(writer)
    print("ready", flush=True)
    os.read(int(sys.argv[2]), 1)  # as a reader of images that outlives a killed run
    os._exit(0)
os.close(reader)
os.read(int(sys.argv[2]), 1)
"""


def test_a_claimed_folder_is_refused_until_its_process_is_dead(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", CLAIM_AND_FORK, str(tmp_path), str(reader)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[reader], cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(ConfigError, match="another process is at work there"), claimed(tmp_path):
            pass
        process.kill()
        process.wait()
        with claimed(tmp_path):  # though its child lives
            pass
        os.close(writer)
    os.close(reader)


def test_a_folder_that_cannot_be_claimed_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written \(No such"), claimed(tmp_path / "nowhere"):
        pass


def test_one_at_a_time_lets_the_next_in(tmp_path: Path) -> None:
    for _ in range(2):
        with one_at_a_time(tmp_path):
            pass


def test_json_nested_without_end_is_no_json() -> None:
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    for wrong in (b"[" * 100_000, b"[1", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            parse_json(wrong)
