"""The worker from lease to commit: every frame ends in one sidecar, whatever happens on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from framecap import frames, telemetry
from framecap.captioning.caption import Caption, Images
from framecap.config import IngestConfig, WorkerConfig
from framecap.decoding.pool import DecoderPool, DecoderSettings
from framecap.errors import DeviceMemoryError, MissingError, NonFiniteOutput
from framecap.frames import MAX_SIDECAR_BYTES, FrameName, make_key
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Entry
from framecap.worker import model
from tests.decoding.test_pool import COMMAND
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner, check_oracle, fill, local_store, work
from tests.worker.images import encoded, huge_png, quadrants, scene

GOOD = encoded(scene(64, 48))
ONE_DECODER = WorkerConfig(decoders=1)


@pytest.fixture
def scripted_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders that crash, hang or raise for images that ask for it."""
    monkeypatch.setattr(model, "DecoderSettings", partial(DecoderSettings, command=COMMAND))


def test_a_frame_of_our_own_capture_gets_a_whole_sidecar(tmp_path: Path) -> None:
    at = datetime(2026, 11, 22, 10, 30, 1, 250_000, tzinfo=UTC)
    key = make_key(FrameName("gate", at, 7))
    jpeg = encoded(scene(64, 48))
    fill(tmp_path, {key: frames.embed_position(jpeg, 12.5)})
    best = Caption(
        "A dog runs.", 0.8, ("a", "dog", "runs"), (-0.1, -0.2, 0.0), uncertain=True, alternatives=(("A dog.", 0.5),)
    )
    before = telemetry.frames_committed.labels("captioned")._value.get()
    done = work(local_store(tmp_path), ScriptedCaptioner(lambda images: [best] * len(images)))
    (made,) = check_oracle(tmp_path, done.committed).values()
    assert made == done.committed[0]
    assert (made.status, made.caption, made.confidence, made.uncertain) == ("captioned", "A dog runs.", 0.8, True)
    assert [(token.text, token.log_probability) for token in made.tokens] == [("a", -0.1), ("dog", -0.2), ("runs", 0.0)]
    assert [(other.caption, other.confidence) for other in made.alternatives] == [("A dog.", 0.5)]
    assert (made.frame.camera, made.frame.captured_at, made.frame.sequence, made.frame.position) == ("gate", at, 7, 12.5)
    assert (made.frame.width, made.frame.height) == (64, 48)
    assert made.model == sidecar.Model(name="scripted", bundle="1" * 64, runtime="scripted")
    assert made.timings is not None
    assert made.timings.total >= made.timings.decode > 0
    assert telemetry.frames_committed.labels("captioned")._value.get() == before + 1


def test_a_foreign_frame_has_its_folders_camera_and_its_own_time(tmp_path: Path) -> None:
    fill(tmp_path, {"yard/IMG 1.JPG": encoded(quadrants(), "PNG"), "loose.webp": GOOD})
    done = work(local_store(tmp_path))
    made = check_oracle(tmp_path, done.committed)
    assert made["yard/IMG 1.JPG"].frame.camera == "yard"
    assert made["loose.webp"].frame.camera == "unsorted"
    modified = (tmp_path / "loose.webp").stat().st_mtime
    assert made["loose.webp"].frame.captured_at.timestamp() == pytest.approx(modified, abs=1e-5)
    assert made["loose.webp"].frame.sequence is None
    assert done.summary.captioned == 2


@pytest.mark.faults(5)
def test_a_backlog_is_captioned_once_each(tmp_path: Path, full: bool, figure: Callable[[str], None]) -> None:
    count = 10_000 if full else 500
    tiny = encoded(scene(16, 12))
    fill(tmp_path, {f"camera-{number % 7}/{number:05d}.jpg": tiny for number in range(count)})
    captioner = ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))
    done = work(local_store(tmp_path), captioner)
    assert len(check_oracle(tmp_path, done.committed)) == count
    assert done.summary.captioned == count
    assert max(captioner.batches) <= 16
    assert len(captioner.batches) < count / 2  # batches do form
    figure(f"{count} frames, {done.summary.captioned} captioned, {count / done.summary.seconds:.0f} frames/s")


@pytest.mark.faults(9)
def test_truncated_images_fail_and_the_decoder_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    pools = []

    class Watched(DecoderPool):
        def close(self) -> None:
            pools.append((self.started, self.pids))
            super().close()

        def __init__(self, settings: DecoderSettings, count: int) -> None:
            super().__init__(settings, count)
            self.started = self.pids

    monkeypatch.setattr(model, "DecoderPool", Watched)
    data = encoded(scene(160, 120))
    fill(tmp_path, {f"cut/{percent:03d}.jpg": data[: max(1, len(data) * percent // 100)] for percent in range(101)})
    done = work(local_store(tmp_path))
    made = check_oracle(tmp_path, done.committed)
    assert made.pop("cut/100.jpg").status == "captioned"
    kinds = [one.error.kind for one in made.values() if one.error]
    assert kinds == ["truncated"] * 100
    ((before, after),) = pools
    assert before == after
    figure("100 of 100 truncated, the decoder's pid unchanged")


@pytest.mark.parametrize("start", [0, 100])
def test_a_frame_that_is_still_being_written_is_waited_for(tmp_path: Path, start: int) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD[:start]})
    writer = threading.Timer(0.5, (tmp_path / "a/1.jpg").write_bytes, (GOOD,))
    writer.start()
    done = work(local_store(tmp_path), looking=IngestConfig(scan_seconds=0.1, settle_seconds=3.0, hints="off"))
    writer.join()
    assert done.summary.failed == 0
    assert check_oracle(tmp_path, done.committed)["a/1.jpg"].status == "captioned"


@pytest.mark.faults(11)
@pytest.mark.faults(12)
def test_what_is_no_image_fails_and_the_next_frame_is_quick(tmp_path: Path, figure: Callable[[str], None]) -> None:
    alone = tmp_path.with_name("alone")
    fill(alone, {"a/6.jpg": GOOD})
    only = work(local_store(alone), config=WorkerConfig(decoders=1)).of("a/6.jpg")
    fill(
        tmp_path,
        {
            "a/1.jpg": b"",
            "a/2.jpg": b"<!DOCTYPE html><title>404</title>",
            "a/3.png": huge_png(10_001),
            "a/4.jpg/inside.txt": b"a directory named like a frame",
            "a/5.jpg": b"x" * 20_001,
            "a/6.jpg": GOOD,
        },
    )
    done = work(local_store(tmp_path), config=WorkerConfig(decoders=1, max_bytes=20_000))
    (tmp_path / "a/5.jpg").write_bytes(b"")  # its sha256 is unknown: it was never read
    kinds = {made.frame.key: made.error.kind for made in done.committed if made.error}
    assert kinds == {"a/1.jpg": "empty", "a/2.jpg": "undecodable", "a/3.png": "oversized", "a/5.jpg": "oversized"}
    good = done.of("a/6.jpg")
    assert good.status == "captioned"
    assert good.timings is not None
    assert only.timings is not None
    figure(f"the frame behind them took {good.timings.total / 1000:.2f} s, without them {only.timings.total / 1000:.2f} s")
    assert good.timings.total - only.timings.total < 1000  # both wait for a decoder's start
    assert done.of("a/2.jpg").frame.sha256 is not None
    assert done.of("a/5.jpg").frame.sha256 is None
    assert all(made.error.attempts == 1 for made in done.committed if made.error)


@pytest.mark.faults(14)
@pytest.mark.usefixtures("scripted_decoders")
def test_a_crash_and_a_hang_fail_after_three_tries_and_hold_no_one_up(
    tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    good = {f"c/{n}.jpg": GOOD for n in range(50)}
    fill(tmp_path / "alone", good)
    fill(tmp_path / "all", {"a/0-hang.jpg": b"HANG", "b/0-crash.jpg": b"CRASH", **good})
    config = WorkerConfig(decoders=2, decode_timeout_seconds=1.0)
    took: dict[str, float] = {}
    for root in ("alone", "all"):
        began = time.monotonic()
        ends: dict[str, float] = {}
        done = work(
            local_store(tmp_path / root),
            config=config,
            on_commit=lambda made, ends=ends: ends.update({made.frame.key: time.monotonic()}),  # type: ignore[misc]
        )
        check_oracle(tmp_path / root, done.committed)
        took[root] = max(ends[key] for key in good) - began
    errors = {made.frame.key: made.error for made in done.committed if made.error}
    assert {key: (error.kind, error.attempts) for key, error in errors.items()} == {
        "a/0-hang.jpg": ("decoder_timeout", 3),
        "b/0-crash.jpg": ("decoder_crashed", 3),
    }
    figure(f"50 frames take {took['alone']:.1f} s alone and {took['all']:.1f} s beside a crash and a hang of 1 s")
    assert took["all"] - took["alone"] < (2.0 if full else 4.0)
    assert done.summary.captioned == 50


def test_a_lone_decoder_that_hangs_holds_the_others_up_for_the_timeout_only(tmp_path: Path, scripted_decoders: None) -> None:
    fill(tmp_path, {"a/0.jpg": b"HANG", "a/1.jpg": GOOD})
    done = work(local_store(tmp_path), config=WorkerConfig(decoders=1, decode_timeout_seconds=1.0, attempts=1))
    good = done.of("a/1.jpg")
    assert good.timings is not None
    assert good.timings.total < 4000  # the time-out, and a new decoder's start on a busy machine
    assert done.of("a/0.jpg").status == "failed"


def test_no_decoder_on_this_machine_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "DecoderSettings", partial(DecoderSettings, command=("false",)))
    fill(tmp_path, {"a/1.jpg": GOOD})
    with pytest.raises(MissingError, match="does not start"):
        work(local_store(tmp_path))
    assert not (tmp_path / "a/1.jpg.json").exists()


def looks(images: Images, colour: tuple[int, int, int]) -> list[bool]:
    return [bool(abs(image.mean((0, 1)) - colour).max() < 8) for image in images]


BAD = encoded(quadrants().resize((1, 1)).resize((64, 48)).point(lambda _: 0))  # a black one


@pytest.mark.faults(16)
def test_numbers_that_are_not_finite_fail_their_frame_only(tmp_path: Path) -> None:
    nan = float("nan")
    broken: list[Caption | Exception] = [
        NonFiniteOutput("NaN came out of the decoder"),
        Caption("A picture.", nan, ("a",), (-1.0,)),
        Caption("A picture.", 0.5, ("a",), (-float("inf"),)),
        Caption("", 0.5, (), ()),
        Caption("A picture.", 0.5, ("a",), ()),
    ]

    def answer(images: Images) -> Sequence[Caption | Exception]:
        return [broken[len(seen) % 5] if black and not seen.append(1) else A_CAPTION for black in looks(images, (0, 0, 0))]

    seen: list[int] = []
    fill(tmp_path, {**{f"a/{n}.jpg": BAD for n in range(5)}, **{f"b/{n}.jpg": GOOD for n in range(5)}})
    done = work(local_store(tmp_path), ScriptedCaptioner(answer), config=WorkerConfig(decoders=1, attempts=1))
    made = check_oracle(tmp_path, done.committed)
    assert {one.status for key, one in made.items() if key.startswith("b/")} == {"captioned"}
    kinds = sorted(one.error.kind for one in made.values() if one.error)
    assert kinds == ["model", "model", "non_finite", "non_finite", "non_finite"]


def test_what_readers_would_refuse_is_not_committed(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD})
    long_response = Caption("a" * MAX_SIDECAR_BYTES, 0.5, (), ())
    done = work(local_store(tmp_path), ScriptedCaptioner(lambda images: [long_response]))
    error = check_oracle(tmp_path, done.committed)["a/1.jpg"].error
    assert error is not None
    assert error.kind == "model"
    assert "does not fit into a sidecar" in error.message


@pytest.mark.faults(17)
def test_a_sentence_that_never_ended_says_so(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD})
    partial_one = Caption("A dog on a", 0.1, ("a", "dog", "on", "a"), (-1.0,) * 4, truncated=True)
    done = work(local_store(tmp_path), ScriptedCaptioner(lambda images: [partial_one]))
    assert check_oracle(tmp_path, done.committed)["a/1.jpg"].truncated


def test_only_the_guilty_frame_of_a_batch_fails(tmp_path: Path) -> None:
    def answer(images: Images) -> Sequence[Caption]:
        if any(looks(images, (0, 0, 0))):
            raise RuntimeError("token=hunter2 cannot be black")
        return [A_CAPTION] * len(images)

    fill(tmp_path, {"a/0.jpg": BAD, **{f"b/{n}.jpg": GOOD for n in range(20)}})
    done = work(local_store(tmp_path), ScriptedCaptioner(answer))
    check_oracle(tmp_path, done.committed)
    assert done.summary.captioned == 20
    error = done.of("a/0.jpg").error
    assert error == sidecar.Failure(kind="error", message="RuntimeError: token=*** cannot be black", attempts=3)


@pytest.mark.faults(15)
def test_a_full_device_halves_the_batch_and_recovers(tmp_path: Path, figure: Callable[[str], None]) -> None:
    full_until = time.monotonic() + 1.0

    def answer(images: Images) -> Sequence[Caption]:
        if len(images) > (0 if time.monotonic() < full_until else 16):
            raise DeviceMemoryError("CUDA out of memory")
        return [A_CAPTION] * len(images)

    fill(tmp_path, {f"a/{n:03d}.jpg": encoded(scene(16, 12)) for n in range(300)})
    captioner = ScriptedCaptioner(answer)
    done = work(local_store(tmp_path), captioner)
    check_oracle(tmp_path, done.committed)
    assert done.summary.captioned == 300
    assert 1 in captioner.batches
    assert captioner.batches.index(1) < len(captioner.batches) - captioner.batches[::-1].index(16)
    figure(f"{done.summary.captioned} of 300 frames captioned; batches of {captioner.batches[0]}, down to 1, and 16 again")


@pytest.mark.faults(32)
def test_a_frame_replaced_while_it_is_worked_on_is_done_again(tmp_path: Path) -> None:
    red = encoded(quadrants().resize((1, 1)).resize((64, 48)).point(lambda _: 0), "PNG") + b"another"
    fill(tmp_path, {"a/1.jpg": GOOD, "a/2.jpg": GOOD})

    def answer(images: Images) -> Sequence[Caption]:
        if not replaced.is_set():
            replaced.set()
            (tmp_path / "new").write_bytes(red)
            (tmp_path / "new").replace(tmp_path / "a/1.jpg")
        return [A_CAPTION] * len(images)

    replaced = threading.Event()
    done = work(local_store(tmp_path), ScriptedCaptioner(answer))
    made = check_oracle(tmp_path, done.committed)  # its sha256 is that of what is there
    assert made["a/1.jpg"].frame.size == len(red)
    assert done.summary.captioned == 2


@pytest.mark.faults(32)
def test_a_frame_deleted_while_it_is_worked_on_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD, "a/2.jpg": BAD})

    def answer(images: Images) -> Sequence[Caption]:
        (tmp_path / "a/1.jpg").unlink(missing_ok=True)
        return [A_CAPTION] * len(images)

    done = work(local_store(tmp_path), ScriptedCaptioner(answer))
    assert not (tmp_path / "a/1.jpg.json").exists()
    assert list(check_oracle(tmp_path, done.committed)) == ["a/2.jpg"]
    assert [lease.ended for lease in done.leases] == [["done"], ["done"]]


@pytest.mark.faults(31)
def test_a_truncated_sidecar_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD, "a/2.jpg": GOOD})
    (tmp_path / "a/1.jpg.json").write_bytes(b'{"schema_version": 1, "sta')
    (tmp_path / "a/2.jpg.json").write_bytes(b"")
    done = work(local_store(tmp_path))
    check_oracle(tmp_path, done.committed)
    assert done.summary.captioned == 2


def test_a_sidecar_that_was_there_first_stays(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD})
    theirs = b'{"status": "captioned", "frame": {}, "from": "another worker"}'

    def answer(images: Images) -> Sequence[Caption]:
        (tmp_path / "a/1.jpg.json").write_bytes(theirs)
        return [A_CAPTION]

    done = work(local_store(tmp_path), ScriptedCaptioner(answer))
    assert (done.summary.already_there, done.summary.captioned, done.committed) == (1, 0, [])
    assert (tmp_path / "a/1.jpg.json").read_bytes() == theirs


def test_stop_drains_what_is_in_the_hand_and_takes_nothing_new(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n:03d}.jpg": GOOD for n in range(100)})
    stop = threading.Event()

    def answer(images: Images) -> Sequence[Caption]:
        stop.set()
        time.sleep(0.1)
        return [A_CAPTION] * len(images)

    done = work(local_store(tmp_path), ScriptedCaptioner(answer), WorkerConfig(decoders=1, queue=20), stop)
    assert 1 <= done.summary.captioned <= 40
    assert {tuple(lease.ended) for lease in done.leases} == {("done",)}
    assert len(list(tmp_path.rglob("*.json"))) == done.summary.captioned


def test_after_the_grace_time_the_rest_is_given_back(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n}.jpg": GOOD for n in range(8)})
    stop, forever = threading.Event(), threading.Event()

    def answer(images: Images) -> Sequence[Caption]:
        stop.set()
        forever.wait(30)
        return [A_CAPTION] * len(images)

    began = time.monotonic()
    try:
        done = work(local_store(tmp_path), ScriptedCaptioner(answer), WorkerConfig(decoders=1, grace_seconds=0.3), stop)
        assert time.monotonic() - began < 4
    finally:
        forever.set()
    assert done.summary.captioned == 0
    assert {tuple(lease.ended) for lease in done.leases} == {("given back",)}
    assert not list(tmp_path.rglob("*.json"))


def test_whoever_hears_of_a_commit_cannot_harm_it(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n}.jpg": GOOD for n in range(5)})

    def fails(made: Sidecar) -> None:
        raise RuntimeError("the terminal has gone")

    done = work(local_store(tmp_path), on_commit=fails)
    assert done.summary.captioned == 5


def test_a_frame_alone_does_not_wait_for_a_batch(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD})
    done = work(local_store(tmp_path), config=WorkerConfig(decoders=1, batch_wait_ms=5000))
    timings = done.of("a/1.jpg").timings
    assert timings is not None
    assert timings.wait < 1000


def test_a_file_of_an_impossible_year_is_a_frame_like_any_other(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": GOOD})
    store = local_store(tmp_path)

    class Timeless:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def stat(self, key: str) -> Entry:
            return Entry(key, len(GOOD), 1e15, "etag")

    done = work(Timeless())  # type: ignore[arg-type]
    assert done.of("a/1.jpg").frame.captured_at.year == 9999
