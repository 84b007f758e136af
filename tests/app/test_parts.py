"""A worker that is ready has warmed its captioner: with one lane by one image, with more in every lane at once."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from framecap.app import parts
from framecap.app.parts import _warm
from framecap.captioning.caption import Caption, Images
from framecap.config import CaptioningConfig, OpenAIConfig
from framecap.errors import CaptionerDenied, DeviceMemoryError, FramecapError
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner


def test_one_lane_gets_one_image_in_this_thread() -> None:
    threads: list[int] = []

    def answer(images: Images) -> Sequence[Caption]:
        threads.append(threading.get_ident())
        return [A_CAPTION] * len(images)

    captioner = ScriptedCaptioner(answer)
    _warm(captioner, 16)
    assert captioner.batches == [1]
    assert threads == [threading.get_ident()]


def test_every_lane_gets_a_batch_and_an_image_while_the_others_have_theirs() -> None:
    met = threading.Barrier(3)

    def answer(images: Images) -> Sequence[Caption]:
        if len(captioner.batches) > 1:
            met.wait(20)  # breaks unless all three lanes are at work
        return [A_CAPTION] * len(images)

    captioner = ScriptedCaptioner(answer)
    captioner.lanes = 3
    _warm(captioner, 16)
    assert captioner.batches == [1, 16, 16, 16, 1, 1, 1]


def test_what_one_lane_says_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception] = [DeviceMemoryError("no memory for a batch of 16")]

    def answer(images: Images) -> Sequence[Caption | Exception]:
        if len(images) > 1 and answers:
            raise answers.pop(0)
        return [A_CAPTION] * len(images)

    captioner = ScriptedCaptioner(answer)
    captioner.lanes = 2
    _warm(captioner, 16)
    assert "no memory for a batch of 16" in caplog.text
    answers.append(CaptionerDenied("no"))
    with pytest.raises(CaptionerDenied):
        _warm(captioner, 16)


def test_captioners_that_do_not_answer_are_closed_when_a_reload_fails() -> None:
    config = CaptioningConfig(kind="openai", openai=OpenAIConfig(base_url="http://127.0.0.1:9/v1", model="m"))

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    for _ in range(10):
        with pytest.raises(FramecapError):
            parts.load_another(config)
    after = held()
    assert after[0] - before[0] <= 1
    assert after[1] - before[1] <= 5
