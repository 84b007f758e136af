"""Near-duplicates: which frames get another's caption, in what order, and what happens when the other is not committed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from framecap.captioning.caption import Caption, Images
from framecap.config import NearDuplicatesConfig, WorkerConfig
from framecap.decoding.child import perceptual_hash
from framecap.decoding.pool import DecodedFrame
from framecap.decoding.preprocess import Preprocessing, decode
from framecap.errors import NonFiniteOutput
from framecap.frames import FrameName, make_key
from framecap.sidecars.sidecar import Sidecar
from framecap.stores.base import Entry
from framecap.worker.jobs import Job
from framecap.worker.near_duplicates import DuplicateVerdicts, NearDuplicates
from framecap.worker.sidecar_records import record
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner, check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

START = datetime(2025, 11, 22, 10, tzinfo=UTC)
NEAR = NearDuplicatesConfig(enabled=True, distance=3, heartbeat_seconds=60.0)


@dataclass
class FakeLease:
    entry: Entry
    attempt: int = 1


def job(seconds: float, looks: int, camera: str = "gate") -> Job:
    key = make_key(FrameName(camera, START + timedelta(seconds=seconds), 0))
    entry = Entry(key, 1, 0.0, "")
    lease: Any = FakeLease(entry)
    made = Job(lease, entry)
    made.image = DecodedFrame(np.zeros((1, 1, 3), np.uint8), 1, 1, looks, ())
    made.sha256 = "0" * 64
    return made


def captioned(one: Job) -> Sidecar:
    one.outcome, one.model = A_CAPTION, ScriptedCaptioner.model
    return record(one)


def judge(near: NearDuplicates, *jobs: Job) -> DuplicateVerdicts:
    verdicts = DuplicateVerdicts()
    for one in jobs:
        near.leased(one)
    for one in jobs:
        some = near.decoded(one)
        verdicts.to_caption += some.to_caption
        verdicts.duplicates += some.duplicates
    return verdicts


def test_frames_wait_for_their_turn_and_then_for_their_original() -> None:
    near = NearDuplicates(NEAR)
    first, second, third = job(0, 0b1), job(1, 0b11), job(2, 0xFF)
    for one in (first, second, third):
        near.leased(one)
    assert near.decoded(third) == DuplicateVerdicts()
    assert near.decoded(second) == DuplicateVerdicts()
    assert near.decoded(first) == DuplicateVerdicts(to_caption=[first, third])
    made = captioned(first)
    assert near.ended(first, made) == DuplicateVerdicts(duplicates=[second])
    duplicate = record(second)
    assert (duplicate.status, duplicate.duplicate_of, duplicate.caption) == ("duplicate", first.key, made.caption)
    assert near.ended(second, duplicate) == DuplicateVerdicts()


def test_a_duplicate_of_a_committed_frame_need_not_wait() -> None:
    near = NearDuplicates(NEAR)
    first, later = job(0, 0), job(59, 0b111)
    judge(near, first)
    near.ended(first, captioned(first))
    assert judge(near, later) == DuplicateVerdicts(duplicates=[later])


def test_the_heartbeat_goes_by_the_frames_own_times() -> None:
    near = NearDuplicates(NEAR)
    first, later, latest = job(0, 0), job(60, 0), job(61, 0)
    assert judge(near, first, later, latest) == DuplicateVerdicts(to_caption=[first, later])
    assert near.ended(later, captioned(later)) == DuplicateVerdicts(duplicates=[latest])


def test_cameras_are_apart_and_too_much_difference_is_too_much() -> None:
    near = NearDuplicates(NEAR)
    jobs = [job(0, 0), job(1, 0b1111), job(0, 0, "yard")]
    assert judge(near, *jobs).to_caption == jobs


def test_when_the_original_fails_the_next_one_takes_its_address() -> None:
    near = NearDuplicates(NEAR)
    first, second, third = job(0, 0), job(1, 0), job(2, 0)
    assert judge(near, first, second, third).to_caption == [first]
    assert near.ended(first, None) == DuplicateVerdicts(to_caption=[second])
    assert near.ended(second, captioned(second)) == DuplicateVerdicts(duplicates=[third])


def test_a_frame_of_the_future_is_no_measure_for_the_present() -> None:
    near = NearDuplicates(NEAR)
    future = job(75 * 365 * 86400, 0)
    judge(near, future)
    near.ended(future, captioned(future))
    now = job((datetime.now(UTC) - START).total_seconds(), 0)
    assert judge(near, now) == DuplicateVerdicts(duplicates=[now])


def test_a_frame_that_does_not_come_holds_no_one_up() -> None:
    near = NearDuplicates(NEAR)
    bad, good = job(0, 0), job(1, 0)
    near.leased(bad)
    near.leased(good)
    assert near.decoded(good) == DuplicateVerdicts()
    assert near.ended(bad, None) == DuplicateVerdicts(to_caption=[good])


def test_a_late_frame_is_captioned_and_no_measure_for_others() -> None:
    near = NearDuplicates(NEAR)
    first, late, next_one = job(10, 0), job(5, 0xFF), job(11, 0)
    assert judge(near, first, late, next_one).to_caption == [first, late]
    assert near.ended(late, captioned(late)) == DuplicateVerdicts()
    assert near.ended(first, captioned(first)) == DuplicateVerdicts(duplicates=[next_one])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_frame_is_captioned_or_a_duplicate_of_a_committed_one(data: st.DataObject) -> None:
    """Whatever the order in which frames are decoded, captioned, fail and leave."""
    near = NearDuplicates(NEAR)
    looks = data.draw(st.lists(st.sampled_from([0, 1, 0xFF, 0xFFFF]), min_size=1, max_size=12))
    jobs = [job(20 * n, encode, "gate" if n % 3 else "yard") for n, encode in enumerate(looks)]
    undecoded, to_caption, duplicates = list(jobs), [], []
    committed: dict[str, Sidecar] = {}
    for one in jobs:
        near.leased(one)

    def follow(verdicts: DuplicateVerdicts) -> None:
        to_caption.extend(verdicts.to_caption)
        duplicates.extend(verdicts.duplicates)

    left = 0
    while undecoded or to_caption or duplicates:
        pile = data.draw(st.sampled_from([pile for pile in (undecoded, to_caption, duplicates) if pile]))
        one = pile.pop(data.draw(st.integers(0, len(pile) - 1)))
        if data.draw(st.integers(0, 4)) == 0:  # it fails to decode, to be captioned, or to be committed
            left += 1
            follow(near.ended(one, None))
        elif pile is undecoded:
            follow(near.decoded(one))
        else:
            made = captioned(one) if pile is to_caption else record(one)
            if made.duplicate_of:
                original = committed[made.duplicate_of]
                assert original.status == "captioned"
                assert original.frame.camera == made.frame.camera
                assert timedelta(0) <= made.frame.captured_at - original.frame.captured_at < timedelta(seconds=60)
            committed[one.key] = made
            follow(near.ended(one, made))
    assert len(committed) + left == len(jobs)


def test_images_that_look_the_same_have_nearly_the_same_hash() -> None:
    def looks(data: bytes) -> int:
        return perceptual_hash(decode(data, Preprocessing(224), 10**8).pixels)

    image = scene()
    shot = looks(encoded(image))
    assert (shot ^ looks(encoded(image, quality=60, subsampling=2))).bit_count() <= 3
    assert (shot ^ looks(encoded(image.resize((320, 240)), "PNG"))).bit_count() <= 3
    assert min((shot ^ looks(encoded(scene(seed=seed)))).bit_count() for seed in range(1, 20)) > 10


def test_duplicates_from_end_to_end(tmp_path: Path) -> None:
    still, other = scene(64, 48), scene(64, 48, seed=1)
    image_files = [still] * 10 + [other] * 10 + [still]
    keys = [make_key(FrameName("gate", START + timedelta(seconds=n), n)) for n in range(len(image_files))]
    fill(
        tmp_path,
        {
            key: encoded(image_file, quality=80 + n % 5)
            for n, (key, image_file) in enumerate(zip(keys, image_files, strict=True))
        },
    )
    captioner = ScriptedCaptioner(lambda images: [A_CAPTION] * len(images))
    config = WorkerConfig(decoders=2, near_duplicates=NEAR)
    done = work(local_store(tmp_path), captioner, config)
    made = check_oracle(tmp_path, done.committed)
    assert [made[key].status for key in keys] == ["captioned", *["duplicate"] * 9] * 2 + ["captioned"]
    assert {made[key].duplicate_of for key in keys[1:10]} == {keys[0]}
    assert {made[key].caption for key in keys} == {"A picture."}
    assert sum(captioner.batches) == 3
    order = [one.frame.key for one in done.committed]
    assert all(order.index(made[key].duplicate_of or key) <= order.index(key) for key in keys)


def test_a_failed_original_is_no_original(tmp_path: Path) -> None:
    keys = [make_key(FrameName("gate", START + timedelta(seconds=n), n)) for n in range(5)]
    fill(tmp_path, dict.fromkeys(keys, encoded(scene(64, 48))))
    failed = threading.Event()

    def answer(images: Images) -> Sequence[Caption | Exception]:
        if not failed.is_set():
            failed.set()
            return [NonFiniteOutput("NaN")] * len(images)
        return [A_CAPTION] * len(images)

    done = work(local_store(tmp_path), ScriptedCaptioner(answer), WorkerConfig(decoders=1, near_duplicates=NEAR))
    made = check_oracle(tmp_path, done.committed)
    assert [made[key].status for key in keys] == ["failed", "captioned", *["duplicate"] * 3]
    assert made[keys[2]].duplicate_of == keys[1]
