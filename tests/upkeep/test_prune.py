"""Old frames go with their sidecars, and nothing else does, whoever works there or is killed in the middle."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from framecap.config import StoreConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.frames import FrameName, make_key, sidecar_key
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.stores.s3_client import make_client
from framecap.upkeep.prune import OldFrame, Pruned, parse_age, prune
from tests import command
from tests.s3 import Bucket
from tests.stores.killed import store_of
from tests.upkeep.test_retry import failed
from tests.worker.fakes import fill

NOW = datetime.now(UTC)
MONTH_AGO = NOW - timedelta(days=30)
DONE = b'{"status": "captioned", "frame": {}}'
OLD = [make_key(FrameName("door", MONTH_AGO - timedelta(hours=hour, days=1), hour)) for hour in range(5)]
NEW = [make_key(FrameName("door", NOW - timedelta(hours=hour), hour)) for hour in range(5)]


def done(keys: list[str]) -> dict[str, bytes]:
    return {name: data for key in keys for name, data in ((key, b"image"), (sidecar_key(key), DONE))}


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def age(root: Path, *names: str) -> None:
    for name in names:
        os.utime(root / name, ((NOW - timedelta(days=40)).timestamp(),) * 2)


def take(store: Store, old: OldFrame | None = None, dry_run: bool = False) -> Pruned:
    return prune(store, old or OldFrame(MONTH_AGO), dry_run, lambda: None)


@pytest.mark.parametrize("kind", ["local", "mounted"])
def test_what_is_old_goes_with_its_sidecar_and_the_empty_hours_and_nothing_else(tmp_path: Path, kind: str) -> None:
    others = {
        "captions.vtt": b"x",
        "door/captions.vtt": b"x",
        OLD[0].rpartition("/")[0] + "/notes.txt": b"x",
        "door/plan.pdf": b"x",
        "yard/young.jpg": b"x",
        "yard/young.jpg.json": DONE,
    }
    fill(tmp_path, done([*OLD, *NEW]) | others | done(["yard/old.jpg", "loose.PNG"]))
    age(tmp_path, "yard/old.jpg", "loose.PNG", "captions.vtt", "door/plan.pdf")
    (tmp_path / ".git").mkdir()
    store = store_of(kind, tmp_path.resolve())
    before = files(tmp_path)
    for _ in range(2):
        would_go = take(store, dry_run=True)
    assert files(tmp_path) == before
    pruned = take(store)
    assert pruned == would_go
    assert (pruned.everything.frames, pruned.everything.bytes) == (7, 7 * len(b"image"))
    assert {name: gone.frames for name, gone in pruned.cameras.items()} == {"door": 5, "yard": 1, "unsorted": 1}
    assert files(tmp_path) == set(done(NEW)) | set(others)
    folders = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()}
    kept = {str(parent) for name in files(tmp_path) for parent in Path(name).parents} - {"."}
    assert folders == kept | {".git"}, "of hours, days and months the empty ones are gone; what is not ours stays"
    assert take(store).everything.frames == 0


def test_a_camera_whose_frames_are_all_gone_keeps_its_folder_and_so_do_other_programs(tmp_path: Path) -> None:
    fill(tmp_path, done([*OLD, "incoming/deep/a.jpg"]))
    age(tmp_path, "incoming/deep/a.jpg")
    take(store_of("local", tmp_path.resolve()))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "door",
        "incoming",
        "incoming/deep",
    ]


def test_pending_and_failed_frames_and_other_cameras_as_is_asked(tmp_path: Path) -> None:
    fill(tmp_path, done(OLD[:2]) | {OLD[2]: b"x", OLD[3]: b"x", sidecar_key(OLD[3]): b""} | done(["gate/old.jpg"]))
    fill(tmp_path, {OLD[4]: b"x", sidecar_key(OLD[4]): failed(OLD[4], "truncated")})
    age(tmp_path, "gate/old.jpg")
    store = store_of("local", tmp_path.resolve())
    pruned = take(store, OldFrame(MONTH_AGO, camera="door", failed=False))
    assert (pruned.everything.frames, pruned.kept_failed, pruned.kept_pending) == (2, 1, 2)
    assert files(tmp_path) == {OLD[2], OLD[3], sidecar_key(OLD[3]), OLD[4], sidecar_key(OLD[4]), *done(["gate/old.jpg"])}
    pruned = take(store, OldFrame(MONTH_AGO, camera="door", pending=True))
    assert (pruned.everything.frames, pruned.kept_failed, pruned.kept_pending) == (3, 0, 0)
    assert files(tmp_path) == {*done(["gate/old.jpg"])}


def test_sidecars_without_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.upkeep.prune._BATCH", 2)
    young = {sidecar_key(key): DONE for key in NEW}
    fill(tmp_path, {sidecar_key(key): DONE for key in OLD} | young | {"yard/x.jpg.json": DONE})
    store = store_of("local", tmp_path.resolve())
    assert take(store, OldFrame(MONTH_AGO, orphans=False)).orphans == 0
    assert len(files(tmp_path)) == 11
    assert take(store).orphans == 5
    assert files(tmp_path) == set(young) | {"yard/x.jpg.json"}


def test_a_sidecar_whose_frame_only_was_not_listed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, done(OLD))
    store = store_of("local", tmp_path.resolve())
    everything = list(store.list())
    monkeypatch.setattr(store, "list", lambda prefix="": iter([one for one in everything if one.key != OLD[0]]))
    assert take(store).orphans == 0
    assert files(tmp_path) == set(done(OLD[:1]))


def test_a_frame_that_was_replaced_since_it_was_listed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, done(["yard/latest.jpg", "yard/old.jpg"]))
    age(tmp_path, "yard/latest.jpg", "yard/old.jpg")
    store = store_of("local", tmp_path.resolve())
    listed = list(store.list())
    monkeypatch.setattr(store, "list", lambda prefix="": iter(listed))
    (tmp_path / "yard/latest.jpg").write_bytes(b"new")
    pruned = take(store)
    assert (pruned.everything.frames, pruned.kept_changed) == (1, 1)
    assert files(tmp_path) == set(done(["yard/latest.jpg"]))


def test_sidecars_in_an_address_of_their_own_go_with_their_frames(tmp_path: Path) -> None:
    fill(tmp_path / "frames", dict.fromkeys([*OLD, *NEW], b"image"))
    fill(tmp_path / "sidecars", {sidecar_key(key): DONE for key in (*OLD, *NEW, "lone/a.jpg")} | {"report.json": b"x"})
    age(tmp_path / "sidecars", "lone/a.jpg.json")
    store = open_store(StoreConfig(frames=str(tmp_path / "frames"), sidecars=str(tmp_path / "sidecars")))
    assert take(store, OldFrame(MONTH_AGO, orphans=False)).everything.frames == 5
    assert files(tmp_path / "frames") == set(NEW)
    assert files(tmp_path / "sidecars") == {sidecar_key(key) for key in (*NEW, "lone/a.jpg")} | {"report.json"}
    assert not (tmp_path / "sidecars" / OLD[4]).parent.exists()


DYING = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from framecap.upkeep.prune import OldFrame, prune
from tests.stores.killed import store_of

left, unlink = int(sys.argv[2]), os.unlink
def unlink_or_die(*arguments, **options):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    unlink(*arguments, **options)
os.unlink = unlink_or_die
prune(store_of("local", Path(sys.argv[1])), OldFrame(datetime.fromisoformat(sys.argv[3])), False, lambda: None)
"""


@pytest.mark.faults(1)
def test_killed_before_any_deletion_no_frame_is_pending_and_the_next_run_ends_it(tmp_path: Path) -> None:
    for number in range(0, 2 * len(OLD), 2):
        root = tmp_path / str(number)
        fill(root, done([*OLD, *NEW]))
        dying = [sys.executable, "-c", DYING, str(root.resolve()), str(number), MONTH_AGO.isoformat()]
        ended = subprocess.run(dying, env=command.environment(), cwd=command.ROOT, check=False, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        there = files(root)
        frames = {name for name in there if name.endswith(".jpg")}
        assert len(there) == len(done([*OLD, *NEW])) - number
        assert {sidecar_key(frame) for frame in frames} <= there, "a frame without its sidecar would be captioned again"
        take(store_of("local", root.resolve()))
        assert files(root) == set(done(NEW))


def test_a_worker_goes_on_while_frames_are_pruned(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    fill(root, done([*OLD, *NEW]))
    image = (command.ROOT / "docs/images/zones.jpg").read_bytes()
    with command.start("work", "--frames", root, "--runtime", "null", cwd=tmp_path) as worker:
        try:
            fill(root, {"gate/1.jpg": image})
            wait_for(root / "gate/1.jpg.json")
            took = command.run("prune", "--frames", root, "--older-than", "30d", "--yes", cwd=tmp_path)
            assert json.loads(took.stdout)["frames"] == 5, took.stderr
            fill(root, {"gate/2.jpg": image})
            wait_for(root / "gate/2.jpg.json")
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert files(root) == set(done([*NEW, "gate/1.jpg", "gate/2.jpg"]))


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


# A bucket


def test_a_bucket_is_pruned_in_few_requests(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (done([*OLD, *NEW]) | {sidecar_key("door/lone.jpg"): DONE, "captions.vtt": b"x"}).items():
        bucket.put(name, data)
    monkeypatch.setattr("framecap.stores.s3.DELETED_AT_ONCE", 3)
    pruned = take(bucket.store())
    assert (pruned.everything.frames, pruned.orphans) == (5, 0)
    assert set(bucket.paths()) == set(done(NEW)) | {sidecar_key("door/lone.jpg"), "captions.vtt"}
    assert take(bucket.store(), OldFrame(datetime.now(UTC) + timedelta(seconds=5))).orphans == 1
    assert bucket.paths() == ["captions.vtt"]


def test_in_a_bucket_a_foreign_frame_that_was_replaced_since_it_was_listed_stays(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framecap.upkeep.prune._FOREIGN", 2)
    names = [f"yard/{number}.jpg" for number in range(5)]
    for name, data in done([*OLD[:2], *names]).items():
        bucket.put(name, data)
    store = bucket.store()
    monkeypatch.setattr(store, "stat", None)  # a deployment that prunes may read sidecars and no frames
    soon = OldFrame(datetime.now(UTC) + timedelta(seconds=5))

    def seen() -> None:
        nonlocal listed
        listed += 1
        if listed == 2 + len(names):
            for name in names[:1] + names[-1:]:
                bucket.put(name, b"another image")

    listed = 0
    pruned = prune(store, soon, False, seen)
    assert (pruned.everything.frames, pruned.kept_changed) == (5, 2)
    assert set(bucket.paths()) == {*done(names[:1]), *done(names[-1:])}
    assert bucket.get(names[-1]) == b"another image"


def test_who_may_not_delete_in_a_bucket_is_reported_which_right_is_missing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in done(OLD).items():
        bucket.put(name, data)
    store = bucket.store()
    client = make_client(bucket.config().s3)
    refusal = {"Errors": [{"Code": "NoSuchKey"}, {"Code": "AccessDenied"}], "ResponseMetadata": {"HTTPStatusCode": 200}}
    monkeypatch.setattr(client, "delete_objects", lambda **_: refusal)
    monkeypatch.setattr(store._frames._objects, "_client", client)  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable, match=r"access denied: give these credentials .*s3:DeleteObject"):
        take(store)
    assert set(bucket.paths()) == set(done(OLD)), "no sidecar goes before its frame"


# As a user types it


@pytest.mark.parametrize(
    ("text", "age"), [("30d", 30 * 86_400), ("45m", 2700), ("1.5h", 5400), ("8w", 4_838_400), ("0s", 0)]
)
def test_an_age(text: str, age: float) -> None:
    assert parse_age(text).total_seconds() == age


@pytest.mark.parametrize("text", ["30", "d", "", "30 days", "-1d", "1e9d", "999999999w", "30d\n"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ConfigError, match="45m, 12h, 30d or 8w"):
        parse_age(text)


def test_an_age_before_all_years(tmp_path: Path) -> None:
    fill(tmp_path / "frames", done(OLD))
    wrong = command.run("prune", "--older-than", "999999999d", "--yes", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--older-than: '999999999d': that is before the year 1" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_without_a_terminal_it_wants_to_be_reported(tmp_path: Path) -> None:
    fill(tmp_path / "frames", done(OLD))
    arguments = ("prune", "--older-than", "30d")
    reported = command.run(*arguments, cwd=tmp_path)
    assert (reported.returncode, reported.stdout) == (2, "")
    assert "--yes to delete, or --dry-run" in reported.stderr
    seen = command.run(*arguments, "--dry-run", cwd=tmp_path)
    assert (json.loads(seen.stdout)["frames"], json.loads(seen.stdout)["dry_run"]) == (5, True)
    assert files(tmp_path / "frames") == set(done(OLD))
    wrong = command.run(*arguments, "--dry-run", "--camera", "nosuch", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "there is nothing of 'nosuch' here; there are: " in wrong.stderr
    nowhere = command.run(*arguments, "--yes", "--frames", "nowhere", cwd=tmp_path)
    assert (nowhere.returncode, "no such directory" in nowhere.stderr) == (2, True)


@pytest.mark.parametrize(("answer", "goes"), [(b"y\n", True), (b"\n", False), (b"\x04", False)])
def test_on_a_terminal_it_shows_and_asks(tmp_path: Path, answer: bytes, goes: bool) -> None:
    fill(tmp_path / "frames", done([*OLD, *NEW]))
    ours, theirs = pty.openpty()
    arguments = [*command.COMMAND, "prune", "--older-than", "30d"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=command.environment(), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = read_until(ours, b"[y/N] ")
        os.write(ours, answer)
        shown += read_until(ours, b"never to be seen")
        assert process.wait(30) == 0
    os.close(ours)
    assert b"door         5" in shown
    assert (b"deleted" in shown.replace(b"nothing was deleted", b"")) is goes
    assert files(tmp_path / "frames") == set(done(NEW if goes else [*OLD, *NEW]))


def read_until(terminal: int, words: bytes) -> bytes:
    """What a terminal shows until then, or until its end."""
    shown = b""
    while words not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # EIO: nobody has it open any more
            return shown
    return shown
