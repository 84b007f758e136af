"""The spool's directory: whole frames or none, in order, over restarts; what is damaged or foreign is never a frame."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap import telemetry
from framecap.capture import spool as spool_module
from framecap.capture import spool_file
from framecap.capture.captured import CapturedFrame
from framecap.capture.spool import CameraSpool, Spool, open_spool
from framecap.capture.spool_file import DamagedSpoolFile
from framecap.config import SpoolConfig
from framecap.errors import ConfigError
from framecap.stores.mounts import FileSystem
from tests import command
from tests.capture.numbered import frame, number_of

CAPACITY = 1_000_000


class Losses(Counter[str]):
    def __call__(self, reason: str, count: int) -> None:
        self[reason] += count


def take_all(part: CameraSpool) -> list[CapturedFrame]:
    frames = []
    while (taken := part.take()) is not None:
        part.remove(taken[0])
        frames.append(taken[1])
    return frames


def fill(root: Path, *numbers: int, camera: str = "cam") -> list[Path]:
    """Frames that an earlier run left; their files."""
    root.mkdir(exist_ok=True)
    with Spool(root, CAPACITY, drops_oldest=False) as spool:
        part = spool.camera(camera, Losses())
        for number in numbers:
            assert part.put(frame(number, camera))
    return sorted((root / camera).glob("*.frame"))


def what_is_left(root: Path, losses: Losses | None = None, camera: str = "cam") -> list[int]:
    with Spool(root, CAPACITY, drops_oldest=False) as spool:
        return [number_of(captured) for captured in take_all(spool.camera(camera, Losses() if losses is None else losses))]


def test_frames_survive_a_restart_in_the_order_of_their_arrival_whatever_their_times(tmp_path: Path) -> None:
    fill(tmp_path, 5, 3)
    fill(tmp_path, 9, 1)
    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        assert spool.left() == ["cam"]
        part = spool.camera("cam", Losses())
        assert take_all(part) == [frame(5), frame(3), frame(9), frame(1)]
        assert part.bytes == 0
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_was_in_hand_when_the_process_died_comes_again(tmp_path: Path) -> None:
    fill(tmp_path, 0, 1)
    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        assert spool.camera("cam", Losses()).take() is not None
    assert what_is_left(tmp_path) == [0, 1]


def test_the_metrics_say_how_much_waits(tmp_path: Path) -> None:
    files = fill(tmp_path, 0, 1, 2, camera="gauged")
    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        assert telemetry.spooled_frames.labels("gauged")._value.get() == 3
        assert telemetry.spooled_bytes.labels("gauged")._value.get() == sum(file.stat().st_size for file in files)
        take_all(spool.camera("gauged", Losses()))
    assert telemetry.spooled_frames.labels("gauged")._value.get() == 0
    assert telemetry.spooled_bytes.labels("gauged")._value.get() == 0


def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    (file,) = fill(tmp_path / "spool", 0)
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o600, 0o700]


def truncated(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def of_another_camera(data: bytes) -> bytes:
    return spool_file.encode(frame(1, "other"))


def renamed_key(data: bytes) -> bytes:
    header = json.loads(data.partition(b"\n")[0])
    return json.dumps({**header, "key": "../../etc/passwd.jpg"}).encode() + b"\n" + data.partition(b"\n")[2]


DAMAGES = [
    truncated,
    flipped,
    of_another_camera,
    renamed_key,
    lambda data: b"",
    lambda data: b"hello",
    lambda data: b"[" * 9999,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_frame_is_put_aside_named_and_counted_and_the_others_are_delivered(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    files = fill(tmp_path, 0, 1, 2)
    files[1].write_bytes(damage(files[1].read_bytes()))
    losses = Losses()
    assert what_is_left(tmp_path, losses) == [0, 2]
    assert losses == {"spool_damaged": 1}
    assert [path.name for path in files[1].parent.iterdir()] == ["000000000001.frame.damaged"]
    assert "000000000001.frame.damaged" in caplog.text
    assert what_is_left(tmp_path, losses) == []
    assert losses == {"spool_damaged": 1}


@given(st.binary(max_size=300))
def test_no_bytes_but_a_frames_are_a_frame(data: bytes) -> None:
    with pytest.raises(DamagedSpoolFile):
        spool_file.decode(data, "cam")


@given(st.integers(0, 400), st.integers(0, 7))
def test_no_changed_bit_is_overlooked(address: int, bit: int) -> None:
    data = bytearray(spool_file.encode(frame(7, size=100)))
    data[address % len(data)] ^= 1 << bit
    try:
        decoded = spool_file.decode(bytes(data), "cam")
    except DamagedSpoolFile:
        return
    assert decoded.data == frame(7, size=100).data  # in the header: another time or flag is a frame as well


def test_links_and_folders_in_the_address_of_frames_are_no_frames(tmp_path: Path) -> None:
    files = fill(tmp_path / "spool", 0, 1, 2)
    (tmp_path / "elsewhere").write_bytes(files[0].read_bytes())
    files[0].unlink()
    files[0].symlink_to(tmp_path / "elsewhere")
    files[1].unlink()
    files[1].mkdir()
    losses = Losses()
    assert what_is_left(tmp_path / "spool", losses) == [2]
    assert losses == {"spool_damaged": 2}
    assert (tmp_path / "elsewhere").exists()


def test_what_is_not_framecaps_is_left_alone_and_reported_and_what_a_dead_writer_left_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = fill(tmp_path, 0)
    mine = {tmp_path / "notes.txt", file.parent / "holiday.jpg", tmp_path / ".hidden" / "0.frame"}
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    unfinished = file.with_name("000000000001.frame.tmp")
    unfinished.write_bytes(file.read_bytes()[:20])
    assert what_is_left(tmp_path) == [0]
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert not unfinished.exists()
    assert "3 things that are not framecap's, such as '.hidden'" in caplog.text


def test_a_frame_that_somebody_took_away_is_ignored(tmp_path: Path) -> None:
    files = fill(tmp_path, 0, 1, 2)
    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        files[1].unlink()
        assert [number_of(captured) for captured in take_all(spool.camera("cam", Losses()))] == [0, 2]


def test_a_folder_that_somebody_tidied_away_is_made_again(tmp_path: Path) -> None:
    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        part = spool.camera("cam", Losses())
        assert part.put(frame(0))
        for path in (tmp_path / "cam").iterdir():
            path.unlink()
        (tmp_path / "cam").rmdir()
        assert part.put(frame(1))
        assert take_all(part) == [frame(1)]


@pytest.mark.parametrize("drops_oldest", [True, False])
def test_it_never_holds_more_than_it_may_and_the_largest_backlog_makes_space(tmp_path: Path, drops_oldest: bool) -> None:
    losses = {name: Losses() for name in ("much", "little")}
    with Spool(tmp_path, 12_000, drops_oldest) as spool:
        much, little = (spool.camera(name, losses[name]) for name in losses)
        kept = [much.put(frame(number, "much", size=1000)) for number in range(20)]
        assert kept == [drops_oldest or number < 10 for number in range(20)]
        assert little.put(frame(0, "little", size=1000)) is drops_oldest
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.frame")) <= 12_000
        assert [number_of(captured) for captured in take_all(much)] == (
            list(range(11, 20)) if drops_oldest else list(range(10))
        )
    assert losses == {"much": {"drop_oldest": 11} if drops_oldest else {}, "little": {}}


def test_a_frame_that_is_larger_than_everything_drops_nothing(tmp_path: Path) -> None:
    losses = Losses()
    with Spool(tmp_path, 10_000, drops_oldest=True) as spool:
        part = spool.camera("cam", losses)
        assert part.put(frame(0))
        assert not part.put(frame(1, size=20_000))
        assert (take_all(part), losses) == ([frame(0)], {})


def test_that_it_is_full_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Spool(tmp_path, 12_000, drops_oldest=True) as spool:
        part = spool.camera("cam", Losses())
        for number in range(30):
            part.put(frame(number, size=1000))
    assert caplog.text.count("is full") == 1


@pytest.mark.faults(18)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_disk_that_takes_nothing_is_reported_once_and_leaves_nothing_truncated(
    tmp_path: Path, number: int, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **values: object) -> None:
        raise OSError(number, os.strerror(number))

    with Spool(tmp_path, CAPACITY, drops_oldest=False) as spool:
        part = spool.camera("cam", Losses())
        assert part.put(frame(0))
        with monkeypatch.context() as broken:
            broken.setattr(os, step, fail)
            assert not part.put(frame(1))
            assert not part.put(frame(2))
        assert [path.name for path in (tmp_path / "cam").iterdir()] == ["000000000000.frame"]
        assert caplog.text.count(os.strerror(number)) == 1
        assert part.put(frame(3))
        assert take_all(part) == [frame(0), frame(3)]


@pytest.mark.faults(18)
def test_a_full_disk_costs_the_oldest_where_the_user_chose_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, write = Losses(), spool_file.write_all

    def full(file: int, data: bytes) -> None:
        if len(list(tmp_path.rglob("*.frame"))) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, data)

    monkeypatch.setattr(spool_file, "write_all", full)
    with Spool(tmp_path, CAPACITY, drops_oldest=True) as spool:
        part = spool.camera("cam", losses)
        assert all(part.put(frame(number)) for number in range(10))
        assert [number_of(captured) for captured in take_all(part)] == [7, 8, 9]
    assert losses == {"drop_oldest": 7}


@pytest.mark.faults(18)
def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of one megabyte, where this machine lets us mount one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with Spool(small, 1 << 30, drops_oldest=False) as spool:
            part = spool.camera("cam", Losses())
            put = [part.put(frame(number, size=100_000)) for number in range(20)]
            kept = put.index(False)
            assert not any(put[kept:])
            assert [number_of(captured) for captured in take_all(part)] == list(range(kept))
            assert kept > 5
            assert part.put(frame(20, size=100_000))
    finally:
        subprocess.run(["umount", "-l", small], check=True)


KILLED = """
import sys
from pathlib import Path
from framecap.capture.spool import Spool
from tests.capture.numbered import frame
with Spool(Path(sys.argv[1]), 1 << 30, drops_oldest=False) as spool:
    part = spool.camera("cam", lambda reason, count: None)
    number = int(sys.argv[2])
    while True:
        assert part.put(frame(number, size=300_000))
        print(number, flush=True)
        number += 1
"""


def test_killed_at_any_moment_each_frame_is_whole_or_not_there(tmp_path: Path, full: bool) -> None:
    output: list[int] = []
    for kills in range(20 if full else 3):
        first = output[-1] + 1 if output else 0
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(first)],
            stdout=subprocess.PIPE,
            env=command.environment(),
            text=True,
        ) as process:
            assert process.stdout is not None
            output += [int(process.stdout.readline()) for _ in range(2 + kills)]
            process.send_signal(signal.SIGKILL)
            output += map(int, process.stdout)
    losses = Losses()
    left = what_is_left(tmp_path, losses)
    assert losses == {}
    assert left == sorted(left)
    assert set(output) <= set(left), "what was said to be there is there"
    assert len(left) - len(set(left)) <= (20 if full else 3)  # one may be there though nobody heard of it any more


def test_a_second_capture_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    config = SpoolConfig(directory=str(tmp_path))
    with open_spool(config, False, None) as first:  # type: ignore[union-attr]
        assert first is not None
        with pytest.raises(ConfigError, match="another running capture's"):
            open_spool(config, False, None)
    again = open_spool(config, False, None)
    assert again is not None
    with again:
        pass


def test_there_is_none_unless_configured() -> None:
    assert open_spool(SpoolConfig(), False, None) is None


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    spool = open_spool(SpoolConfig(directory=str(tmp_path / "a" / "b")), False, None)
    assert spool is not None
    with spool:
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("file", "is a file"),
        ("file/x", "Not a directory"),
        ("~nobody-of-that-name/x", "no such user's home"),
        ("/proc/x", ""),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(tmp_path: Path, address: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=rf"capture\.spool\.directory: .*{words}"):
        open_spool(SpoolConfig(directory=address if address[0] in "~/" else str(tmp_path / address)), False, None)


def test_an_address_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ConfigError, match=r"Permission denied.*that this user can write"):
        open_spool(SpoolConfig(directory=str(tmp_path)), False, None)


def test_an_address_on_a_mount_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "file_system_of", lambda path: FileSystem(str(tmp_path), "fuse.s3fs"))
    with pytest.raises(ConfigError, match=r"is on fuse\.s3fs.*on a disk of this machine"):
        open_spool(SpoolConfig(directory=str(tmp_path / "spool")), False, None)


@pytest.mark.parametrize(("spool", "store"), [("frames/spool", "frames"), ("data", "data/frames"), ("same", "same")])
def test_an_address_inside_the_store_or_around_it_is_refused(tmp_path: Path, spool: str, store: str) -> None:
    (tmp_path / store).mkdir(parents=True)
    with pytest.raises(ConfigError, match="one in the other"):
        open_spool(SpoolConfig(directory=str(tmp_path / spool)), False, tmp_path / store)


def test_the_lock_goes_with_its_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), "0"], stdout=subprocess.PIPE, env=command.environment(), text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigError, match="another running capture's"):
            open_spool(SpoolConfig(directory=str(tmp_path)), False, None)
        process.kill()
        process.stdout.read()
    assert what_is_left(tmp_path)[0] == 0
