"""Two shares of one directory in two processes, killed again and again: every frame is committed once (row 21)."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from framecap.frames import FrameName, make_key
from framecap.ingest.shard import Shard
from tests import command
from tests.worker.fakes import check_oracle, fill
from tests.worker.images import encoded, scene

IMAGE = encoded(scene(32, 24))
IN_FLIGHT = 64  # worker.queue's default: what a kill can cost at most


@dataclass
class Worker:
    """A worker of one share; started again as often as it was killed."""

    root: Path
    shard: str
    kill_at: list[int]
    committed: list[str] = field(default_factory=list)

    def run(self) -> None:
        for at in (*self.kill_at, None):
            arguments = ("work", "--once", "--runtime", "null", "--shard", self.shard, "--frames", self.root)
            with command.start(*arguments, "--set", "log.level=error", cwd=self.root) as process:
                self._listen(process, at)

    def _listen(self, process: subprocess.Popen[str], kill_at: int | None) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.committed.append(json.loads(line)["key"])
            if len(self.committed) == kill_at:
                process.kill()
        if kill_at is None:
            assert process.wait(30) == 0


@pytest.mark.faults(21)
def test_two_shares_of_a_directory_commit_each_frame_once_whoever_is_killed(
    tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    count, kills = (10_000, 5) if full else (300, 1)
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    own = [make_key(FrameName(f"camera-{n % 20}", at + timedelta(seconds=n), n)) for n in range(count // 2)]
    foreign = [f"from elsewhere/{n}.jpg" for n in range(count - len(own))]
    fill(tmp_path, dict.fromkeys(own + foreign, IMAGE))
    each = count // 2 // (kills + 2)
    workers = [Worker(tmp_path, f"{n}/2", [each * (k + 1) for k in range(kills)]) for n in (1, 2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(check_oracle(tmp_path)) == count
    reported = Counter(key for worker in workers for key in worker.committed)
    assert max(reported.values()) == 1, "committed twice"
    for number, worker in enumerate(workers, 1):
        assert all(Shard(number, 2).holds(key) for key in worker.committed)
    # Told before it died or not, each frame was committed by one; a kill leaves untold what was in flight.
    assert count - len(reported) <= 2 * kills * IN_FLIGHT
    figure(f"{count} frames, two shares of {[len(worker.committed) for worker in workers]}, {2 * kills} kills: 0 double")
