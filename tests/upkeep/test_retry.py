"""Failed frames are captioned again: the chosen ones, each once, and nothing is lost whoever is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framecap.captioning.runtimes.null import NullCaptioner
from framecap.config import IngestConfig, WorkerConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Failure, Frame, Sidecar
from framecap.stores.base import Store
from framecap.upkeep.retry import RetryFilter, RetryIngest, chosen_frames
from framecap.worker.run import WorkSummary, run_worker
from tests import command
from tests.stores.killed import store_of
from tests.worker.fakes import check_oracle, fill, local_store
from tests.worker.images import encoded, scene

GOOD = encoded(scene(32, 24))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def failed(key: str, kind: str) -> bytes:
    return sidecar.encode(
        Sidecar(
            status="failed",
            frame=Frame(key=key, camera=key.partition("/")[0], captured_at=NOW),
            error=Failure(kind=kind, message="it was so", attempts=3),
            worker=sidecar.Worker(host="there", pid=1, version="0"),
            committed_at=NOW,
        )
    )


def fill_failed(root: Path, kinds: dict[str, str], data: bytes = GOOD) -> None:
    fill(root, dict.fromkeys(kinds, data))
    fill(root, {f"{key}.json": failed(key, kind) for key, kind in kinds.items()})


def retry(store: Store, choice: RetryFilter | None = None, stop: threading.Event | None = None) -> WorkSummary:
    finish = threading.Event()
    finish.set()
    ingest = RetryIngest(IngestConfig(settle_seconds=0.3), store, chosen_frames(store, choice or RetryFilter(), None))
    ingest.start()
    try:
        return run_worker(WorkerConfig(decoders=1), store, ingest, NullCaptioner(32), stop or threading.Event(), finish)
    finally:
        ingest.close()


KINDS = {
    "a/1.jpg": "truncated",
    "a/2.jpg": "undecodable",
    "a/3.jpg": "non_finite",
    "b/1.jpg": "truncated",
    "b/2.jpg": "poison",
    "c.jpg": "a-kind-of-the-future",
}


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (RetryFilter(), {*KINDS, "b/torn.jpg"}),
        (RetryFilter(kind="truncated"), {"a/1.jpg", "b/1.jpg"}),
        (RetryFilter(kind="decode"), {"a/1.jpg", "a/2.jpg", "b/1.jpg"}),
        (RetryFilter(kind="model"), {"a/3.jpg"}),
        (RetryFilter(kind="poison"), {"b/2.jpg"}),
        (RetryFilter(kind="torn"), {"b/torn.jpg"}),
        (RetryFilter(camera="a"), {"a/1.jpg", "a/2.jpg", "a/3.jpg"}),
        (RetryFilter(camera="unsorted"), {"c.jpg"}),
        (RetryFilter(camera="a", kind="poison"), set()),
    ],
)
def test_what_is_chosen(tmp_path: Path, choice: RetryFilter, keys: set[str]) -> None:
    fill_failed(tmp_path, KINDS)
    fill(tmp_path, {"a/done.jpg": GOOD, "a/done.jpg.json": b'{"status": "captioned", "frame": {}}', "a/pending.jpg": GOOD})
    fill(tmp_path, {"b/torn.jpg": GOOD, "b/torn.jpg.json": b'{"stat', "b/young.jpg": GOOD, "b/young.jpg.json": b'{"stat'})
    os.utime(tmp_path / "b/torn.jpg.json", (time.time() - 100,) * 2)
    assert {read.frame.key for read in chosen_frames(local_store(tmp_path), choice, None)} == keys


def test_a_share_takes_its_own(tmp_path: Path) -> None:
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(50)})
    shares = [{read.frame.key for read in chosen_frames(local_store(tmp_path), RetryFilter(), f"{n}/3")} for n in (1, 2, 3)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == 50
    assert min(map(len, shares)) > 5


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no error is of kind 'decoding'; there are: .* decode, .* poison, ") as refused:
        RetryFilter(kind="decoding")
    assert not re.search("config|queue_unavailable|source|event", str(refused.value)), "those are in no frame's sidecar"


@pytest.mark.parametrize("kind", ["local", "mounted"])
def test_what_can_be_captioned_now_is_and_the_rest_has_failed_again(tmp_path: Path, kind: str) -> None:
    good = {f"a/{n}.jpg": "device_memory" for n in range(30)}
    bad = {"a/cut.jpg": GOOD[:-40], "a/empty.jpg": b"", "a/html.jpg": b"<html>"}
    fill_failed(tmp_path, good)
    fill(tmp_path, bad | {f"{key}.json": failed(key, "model") for key in bad})
    done = retry(store_of(kind, tmp_path.resolve()))
    assert (done.captioned, done.failed, done.already_there) == (30, 3, 0)
    made = check_oracle(tmp_path)
    kinds = {key: one.error.kind for key, one in made.items() if one.error}
    assert kinds == {"a/cut.jpg": "truncated", "a/empty.jpg": "empty", "a/html.jpg": "undecodable"}
    again = retry(store_of(kind, tmp_path.resolve()))
    assert (again.captioned, again.failed) == (0, 3), "what was captioned is not touched"


def test_more_failed_frames_than_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.upkeep.retry._IN_MEMORY", 5)
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(60)})
    assert retry(local_store(tmp_path)).captioned == 60
    check_oracle(tmp_path)


def test_to_stop_leaves_the_rest_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.upkeep.retry._IN_MEMORY", 5)
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(60)})
    stop = threading.Event()
    stop.set()
    assert retry(local_store(tmp_path), stop=stop).captioned == 0
    assert {one.status for one in framecap_sidecars(tmp_path)} == {"failed"}


def framecap_sidecars(root: Path) -> list[Sidecar]:
    """Of every frame: raises for one without a whole sidecar."""
    return [sidecar.decode(path.with_name(path.name + ".json").read_bytes()) for path in sorted(root.rglob("*.jpg"))]


@pytest.mark.faults(1)
def test_a_killed_retry_has_lost_nothing_and_goes_on(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    count, kills = (2000, 40) if full else (200, 3)
    fill_failed(tmp_path, {f"camera-{n % 7}/{n}.jpg": "decoder_timeout" for n in range(count)})
    reported: list[str] = []
    arguments = ("retry", "--runtime", "null", "--frames", tmp_path)
    for kill in range(kills):
        with command.start(*arguments, cwd=tmp_path) as process:
            assert process.stdout is not None
            reported += [json.loads(line)["key"] for line, _ in zip(process.stdout, range(1 + kill % 7), strict=False)]
            process.kill()
            reported += [json.loads(line)["key"] for line in process.stdout if line.endswith("\n")]
        statuses = Counter(one.status for one in framecap_sidecars(tmp_path))
        assert statuses["captioned"] + statuses["failed"] == count
    rest = command.run(*arguments, cwd=tmp_path)
    assert rest.returncode == 0, rest.stderr
    reported += [json.loads(line)["key"] for line in rest.stdout.splitlines()]
    assert {one.status for one in check_oracle(tmp_path).values()} == {"captioned"}
    assert max(Counter(reported).values()) == 1
    figure(f"{kills} kills of retry over {count} failed frames: 0 missing, 0 torn, 0 double")


def test_two_retries_and_a_worker_at_once_replace_each_sidecar_once(tmp_path: Path) -> None:
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(150)})
    fill(tmp_path, {f"b/{n}.jpg": GOOD for n in range(50)})
    common = ("--runtime", "null", "--frames", tmp_path)
    commands = [("retry", *common), ("retry", *common), ("work", "--once", *common)]
    processes = [command.start(*arguments, cwd=tmp_path) for arguments in commands]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    reported = Counter(json.loads(line)["key"] for out, _ in outputs for line in out.splitlines())
    assert len(reported) == 200
    assert max(reported.values()) == 1
    assert {one.status for one in check_oracle(tmp_path).values()} == {"captioned"}


def test_a_signal_drains_it(tmp_path: Path) -> None:
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(500)})
    with command.start("retry", "--runtime", "null", "--frames", tmp_path, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out = process.stdout.read()  # communicate would miss what is in the buffer already
    assert process.returncode == 0
    statuses = Counter(one.status for one in framecap_sidecars(tmp_path))
    assert statuses["captioned"] == 1 + len(out.splitlines())
    assert statuses["captioned"] < 500


def test_a_dry_run_shows_and_changes_nothing(tmp_path: Path) -> None:
    fill_failed(tmp_path, KINDS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = command.run("retry", "--frames", tmp_path, "--kind", "decode", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["key"], line["error"]) for line in shown] == [
        ("a/1.jpg", "truncated: it was so"),
        ("a/2.jpg", "undecodable: it was so"),
        ("b/1.jpg", "truncated: it was so"),
    ]
    assert done.stderr == "3 frames would be captioned again\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    done = command.run("retry", "--frames", tmp_path, "--kind", "oversized", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 frames would be captioned again\n")


@pytest.mark.parametrize("more", [("--dry-run",), ("--runtime", "null")])
def test_a_camera_that_there_is_not_is_reported_with_those_there_are(more: tuple[str, ...], tmp_path: Path) -> None:
    fill_failed(tmp_path, KINDS)
    done = command.run("retry", "--frames", tmp_path, "--camera", "nosuch", *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is nothing of 'nosuch' here; there are: a, b, unsorted" in done.stderr


def test_what_failed_again_and_a_wrong_address_are_reported_by_the_exit_code(tmp_path: Path) -> None:
    fill_failed(tmp_path, {"a/1.jpg": "undecodable"}, data=b"<html>")
    assert command.run("retry", "--runtime", "null", "--frames", tmp_path, cwd=tmp_path).returncode == 1
    assert command.run("retry", "--runtime", "null", "--frames", tmp_path / "x", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "x").exists()


def test_a_store_that_goes_away_in_the_search_ends_it(tmp_path: Path) -> None:
    fill_failed(tmp_path, {f"a/{n}.jpg": "model" for n in range(200)})
    store = local_store(tmp_path)

    class Away:
        left = 100

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def read_sidecar(self, key: str) -> bytes | None:
            self.left -= 1
            if self.left < 0:
                raise StoreUnavailable("away")
            return store.read_sidecar(key)

    away: Store = Away()  # type: ignore[assignment]
    ingest = RetryIngest(IngestConfig(), away, chosen_frames(away, RetryFilter(), None))
    ingest.start()
    finish = threading.Event()
    finish.set()
    done = run_worker(WorkerConfig(decoders=1), store, ingest, NullCaptioner(32), threading.Event(), finish)
    ingest.close()
    assert isinstance(ingest.failure, StoreUnavailable)
    assert 0 < done.captioned <= 100
    framecap_sidecars(tmp_path)
