"""Decoder processes: what they hand back, and what happens when an image, or somebody else, ends one of them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from framecap.decoding.pool import DecoderPool, DecoderSettings
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import (
    CaptionerUnavailable,
    DecodeError,
    DecoderCrashed,
    DecoderTimeout,
    EmptyFrame,
    MissingError,
    OversizedFrame,
    TruncatedFrame,
    UndecodableFrame,
)
from tests.decoding.image_files import RGBA, png, several_scans
from tests.worker.images import encoded, flipped, huge_png, scene

SIZE = 32
LIMIT = 1_000_000
# The real decoder, with a codec that misbehaves for images that ask for it.
SCRIPTED = """
import os, sys, time
import framecap.decoding.child as child
decode = child.decode
def scripted(data, *rest):
    if b"CRASH" in data: os.abort()
    if b"HANG" in data:
        open(data.partition(b"HANG ")[2] or os.devnull, "w").close()
        time.sleep(1000)
    if b"GREEDY" in data: return bytearray(1 << 30)
    if b"RAISE" in data: raise RuntimeError("a bug in here")
    return decode(data, *rest)
child.decode = scripted
child.main(*map(int, sys.argv[1:]))
"""
COMMAND = (sys.executable, "-c", SCRIPTED)
GOOD = encoded(scene(64, 48))


@contextmanager
def pool_of(count: int = 1, timeout: float = 30.0) -> Iterator[DecoderPool]:
    pool = DecoderPool(DecoderSettings(SIZE, LIMIT, timeout, COMMAND), count)
    try:
        yield pool
    finally:
        processes = [psutil.Process(pid) for pid in pool.pids]
        pool.close()
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert not alive


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """For tests that leave the decoder as it was."""
    with pool_of() as pool:
        yield pool


def test_the_pool_decodes_as_training_does(pool: DecoderPool) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(scene(64, 48), kind)
        decoded = pool.decode(data)
        image = decode(data, Preprocessing(SIZE), LIMIT)
        assert np.array_equal(decoded.pixels, image.pixels)
        assert (decoded.width, decoded.height, decoded.warnings) == (64, 48, ())


def test_the_real_command_starts() -> None:
    pool = DecoderPool(DecoderSettings(SIZE, LIMIT, 30.0, square_resize=False), 1)
    try:
        assert pool.decode(GOOD).pixels.shape == (24, SIZE, 3)
        assert pool.decode(encoded(scene(20, 40))).pixels.shape == (SIZE, 16, 3)
    finally:
        pool.close()


@pytest.mark.faults(11)
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyFrame),
        (b"<html>", UndecodableFrame),
        (GOOD[:-2], TruncatedFrame),
        (encoded(scene(1001, 1000)), OversizedFrame),
    ],
)
def test_what_is_wrong_with_an_image_is_reported_and_the_decoder_lives(
    pool: DecoderPool, data: bytes, error: type[DecodeError]
) -> None:
    pids = pool.pids
    with pytest.raises(error, match=r"\w+ \w+"):
        pool.decode(data)
    assert pool.decode(GOOD).width == 64
    assert pool.pids == pids


@pytest.mark.faults(10)
def test_flipped_bits_never_crash_a_decoder(pool: DecoderPool, full: bool, figure: Callable[[str], None]) -> None:
    pids = pool.pids
    seen = {"decoded": 0, "with warnings": 0, "refused": 0}
    image_files = [encoded(scene(160, 120), subsampling=2), encoded(scene(64, 48), progressive=True)]
    count = 10_000 if full else 400
    for seed in range(count):
        try:
            decoded = pool.decode(flipped(image_files[seed % 2], seed))
            seen["with warnings" if decoded.warnings else "decoded"] += 1
        except (UndecodableFrame, TruncatedFrame, OversizedFrame):
            seen["refused"] += 1
    figure(f"{count} mutants, 0 crashes: {seen}")
    assert seen["with warnings"] > count / 20
    assert pool.decode(GOOD).warnings == ()  # complaints are about the image at hand only
    assert pool.pids == pids


@pytest.mark.faults(12)
def test_a_huge_image_costs_no_memory(full: bool, figure: Callable[[str], None]) -> None:
    with pool_of() as pool:
        pool.decode(GOOD)
        processes = [psutil.Process(), psutil.Process(pool.pids[0])]
        bombs = [huge_png(16_384), *([huge_png(60_000)] if full else [])]
        before = [process.memory_info().rss for process in processes]
        for bomb in bombs:
            with pytest.raises(OversizedFrame):
                pool.decode(bomb)
        grown = [process.memory_info().rss - rss for process, rss in zip(processes, before, strict=True)]
        figure(f"memory grew by {max(grown) / 1e6:.1f} MB")
        assert max(grown) < 100e6
        peak = int(Path(f"/proc/{pool.pids[0]}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
        assert peak - before[1] < 100e6


COSTLY = {  # each within LIMIT pixels
    "16-bit RGBA PNG": png(np.zeros((750, 750, 4), np.uint16), RGBA, 16),
    "progressive JPEG of full colour": encoded(scene(950, 950), progressive=True),
    "progressive CMYK JPEG": encoded(scene(900, 900).convert("CMYK"), progressive=True),
    "JPEG of several scans": several_scans(encoded(scene(950, 950))),
    "animated WebP": encoded(scene(850, 850), "WEBP", save_all=True, append_images=[scene(850, 850, seed=1)]),
}


@pytest.mark.faults(12)
@pytest.mark.parametrize("kind", COSTLY)
def test_an_image_within_the_pixels_that_costs_too_much_memory_is_refused(pool: DecoderPool, kind: str) -> None:
    pids = pool.pids
    with pytest.raises(OversizedFrame, match="bytes each to decode"):
        pool.decode(COSTLY[kind])
    assert pool.pids == pids


@pytest.mark.faults(12)
def test_a_bomb_below_the_pixel_limit_costs_no_memory(full: bool, figure: Callable[[str], None]) -> None:
    """0.8 MB of PNG, 100 million pixels of 16-bit RGBA: 1.6 GB, were they decoded."""
    side = 10_000 if full else 4_000
    bomb = png(np.broadcast_to(np.zeros(4, np.uint16), (side, side, 4)), RGBA, 16)
    pool = DecoderPool(DecoderSettings(SIZE, side * side, 30.0, COMMAND), 1)
    try:
        pool.decode(GOOD)
        before = peak_of(pool.pids[0])
        with pytest.raises(OversizedFrame, match="bytes each to decode"):
            pool.decode(bomb)
        grown = peak_of(pool.pids[0]) - before
        figure(f"a bomb of {len(bomb) / 1e6:.1f} MB below the pixel limit: memory grew by {grown / 1e6:.1f} MB")
        assert grown < 100e6
    finally:
        pool.close()


@pytest.mark.faults(12)
def test_an_image_that_lies_about_its_memory_gets_no_more_than_the_limit(pool: DecoderPool) -> None:
    pids = pool.pids
    pool.decode(GOOD)
    soft, _ = resource.prlimit(pids[0], resource.RLIMIT_AS)
    assert soft != resource.RLIM_INFINITY
    with pytest.raises(OversizedFrame, match="takes more memory than"):
        pool.decode(b"GREEDY")
    assert pool.decode(GOOD).width == 64
    assert pool.pids == pids


@pytest.mark.faults(12)
def test_a_large_file_of_few_pixels_is_decoded(pool: DecoderPool) -> None:
    """The limit is for pixels: a file's own bytes come on top of it."""
    comment = b"\xff\xfe\xff\xff" + bytes(65_533)
    assert pool.decode(GOOD[:2] + comment * 2500 + GOOD[2:]).width == 64


def peak_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.faults(14)
def test_a_crash_costs_one_image() -> None:
    with pool_of() as pool:
        pool.decode(GOOD)
        pids = pool.pids
        with pytest.raises(DecoderCrashed, match="signal 6"):
            pool.decode(b"CRASH")
        with pytest.raises(DecoderCrashed, match="RuntimeError: a bug in here"):
            pool.decode(b"RAISE")
        assert pool.decode(GOOD).width == 64
        assert pool.pids != pids
        assert len(pool.pids) == 1


@pytest.mark.faults(14)
def test_a_hang_costs_the_timeout_and_others_go_on() -> None:
    with pool_of(count=2, timeout=1.0) as pool, ThreadPoolExecutor() as threads:
        pool.decode(GOOD)
        pool.decode(GOOD)
        started = time.monotonic()
        hanging = threads.submit(pool.decode, b"HANG")
        for _ in range(20):
            assert pool.decode(GOOD).width == 64
        others = time.monotonic() - started
        with pytest.raises(DecoderTimeout, match="decode_timeout_seconds"):
            hanging.result()
        assert 1.0 <= time.monotonic() - started < 2.0
        assert others < 1.0


def test_a_stopped_decoder_is_killed_and_replaced() -> None:
    with pool_of(timeout=0.5) as pool:
        pool.decode(GOOD)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderTimeout):
            pool.decode(bytes(3_000_000))  # more than fits into the socket: sending hangs
        assert not psutil.pid_exists(pid)
        assert pool.decode(GOOD).width == 64


def test_a_decoder_that_died_before_the_image_came_is_replaced_in_silence() -> None:
    with pool_of() as pool:
        pool.decode(GOOD)
        process = psutil.Process(pool.pids[0])
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert pool.decode(GOOD).width == 64


def test_decoders_leave_the_stop_signals_to_their_parent(pool: DecoderPool) -> None:
    pool.decode(GOOD)
    pids = pool.pids
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pids[0], number)
    assert pool.decode(GOOD).width == 64
    assert pool.pids == pids


PARENT = f"""
import sys, threading, time
from framecap.decoding.pool import DecoderPool, DecoderSettings
pool = DecoderPool(DecoderSettings(32, 1000, 100.0, {COMMAND!r}), 2)
threading.Thread(target=pool.decode, args=(b"HANG",), daemon=True).start()
try: pool.decode(b"")
except Exception: print(*pool.pids, flush=True)
time.sleep(100)
"""


def test_decoders_end_when_their_parent_is_killed_even_in_mid_hang() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(processes) == 2
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


def test_a_decoder_that_does_not_start_says_why() -> None:
    command = (sys.executable, "-c", "raise ImportError('no cv2 here')")
    pool = DecoderPool(DecoderSettings(SIZE, LIMIT, 5.0, command), 1)
    try:
        with pytest.raises(MissingError, match=r"no cv2 here.*framecap check"):
            pool.decode(GOOD)
    finally:
        pool.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_is_killed_while_it_starts_costs_one_try(tmp_path: Path, number: signal.Signals) -> None:
    """Out of memory, or the end of a service: no sign that no decoder can start on this machine."""
    first = tmp_path / "first"
    die_once = f"""
import os, pathlib
first = pathlib.Path({str(first)!r})
if not first.exists():
    first.touch()
    os.kill(os.getpid(), {int(number)})
"""
    pool = DecoderPool(DecoderSettings(SIZE, LIMIT, 30.0, (sys.executable, "-c", die_once + SCRIPTED)), 1)
    try:
        with pytest.raises(DecoderCrashed, match=f"killed while it started .signal {int(number)}"):
            pool.decode(GOOD)
        assert pool.decode(GOOD).width == 64
    finally:
        pool.close()


def test_closing_ends_a_decode_that_hangs(tmp_path: Path) -> None:
    pool = DecoderPool(DecoderSettings(SIZE, LIMIT, 100.0, COMMAND), 1)
    errors: list[Exception] = []
    processes = [psutil.Process(pid) for pid in pool.pids]

    def hang() -> None:
        try:
            pool.decode(b"HANG %s" % os.fsencode(tmp_path / "hangs"))
        except DecoderCrashed as error:
            errors.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    pool.close()
    thread.join(5)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert not psutil.wait_procs(processes, timeout=5)[1]


def test_nothing_is_left_open() -> None:
    before = psutil.Process().num_fds()
    for _ in range(3):
        with pool_of() as pool, pytest.raises(DecoderCrashed):
            pool.decode(b"CRASH")
    assert psutil.Process().num_fds() <= before


def test_a_machine_that_can_start_no_process_fails_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with pool_of() as pool:
        pool.decode(GOOD)
        monkeypatch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(CaptionerUnavailable, match="no decoder process can be started"):
            pool.decode(b"CRASH")
        with pytest.raises(CaptionerUnavailable):
            pool.decode(GOOD)
        monkeypatch.setattr(subprocess, "Popen", start)
        assert pool.decode(GOOD).width == 64
