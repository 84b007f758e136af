"""A captioner that fails in every way: what each frame of the batch gets."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from framecap.captioning.caption import Caption, Images
from framecap.errors import DeviceMemoryError, ModelError, NonFiniteOutput
from framecap.worker.captions import SteadyCaptioner
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner


def pictures(*shades: int) -> list[Images]:
    return [np.full((2, 2, 3), shade, np.uint8) for shade in shades]


def shades_as_captions(images: Images) -> list[Caption]:
    return [Caption(str(image[0, 0, 0]), 0.5, ("a",), (-1.0,)) for image in images]


def test_answers_stay_in_order_across_batches() -> None:
    captioner = ScriptedCaptioner(shades_as_captions)
    answers = SteadyCaptioner(captioner, 4).caption(pictures(*range(10)))
    assert [answer.text for answer in answers if isinstance(answer, Caption)] == [str(n) for n in range(10)]
    assert captioner.batches == [4, 4, 2]


def test_the_batch_is_halved_until_it_fits_and_doubled_again_later() -> None:
    room = 3

    def answer(images: Images) -> Sequence[Caption]:
        if len(images) > room:
            raise DeviceMemoryError("full")
        return shades_as_captions(images)

    captioner = ScriptedCaptioner(answer)
    steady = SteadyCaptioner(captioner, 16)
    answers = steady.caption(pictures(*range(16)))
    assert [answer.text for answer in answers if isinstance(answer, Caption)] == [str(n) for n in range(16)]
    assert captioner.batches[:4] == [16, 8, 4, 2]
    room = 16
    for _ in range(40):
        steady.caption(pictures(*range(steady.limit)))
    assert steady.limit == 16


def test_one_picture_that_does_not_fit_is_told_so() -> None:
    def answer(images: Images) -> Sequence[Caption]:
        raise DeviceMemoryError("full")

    answers = SteadyCaptioner(ScriptedCaptioner(answer), 2).caption(pictures(1, 2))
    assert [type(one) for one in answers] == [DeviceMemoryError] * 2


def test_a_batch_that_raises_is_tried_one_by_one() -> None:
    def answer(images: Images) -> Sequence[Caption]:
        if (images == 3).any():
            raise ZeroDivisionError
        return shades_as_captions(images)

    answers = SteadyCaptioner(ScriptedCaptioner(answer), 8).caption(pictures(1, 2, 3, 4))
    assert [type(one) for one in answers] == [Caption, Caption, ZeroDivisionError, Caption]


def test_too_few_answers_are_no_answers() -> None:
    answers = SteadyCaptioner(ScriptedCaptioner(lambda images: [A_CAPTION]), 8).caption(pictures(1, 2))
    assert answers == [A_CAPTION, A_CAPTION]  # one by one they fit
    answers = SteadyCaptioner(ScriptedCaptioner(lambda images: []), 8).caption(pictures(1, 2))
    assert [type(one) for one in answers] == [ModelError] * 2


@pytest.mark.faults(16)
def test_many_failures_in_a_row_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    steady = SteadyCaptioner(ScriptedCaptioner(lambda images: [NonFiniteOutput("NaN")] * len(images)), 8)
    with caplog.at_level(logging.ERROR, "framecap"):
        for _ in range(10):
            steady.caption(pictures(*range(8)))
    assert [entry.getMessage() for entry in caplog.records] == [
        "16 frames in a row could not be captioned, the last because: NaN"
    ]


@pytest.mark.faults(16)
def test_many_failures_in_a_row_make_it_unready_until_a_frame_is_captioned() -> None:
    def answer(images: Images) -> Sequence[Caption | Exception]:
        return [NonFiniteOutput("NaN") if image[0, 0, 0] else A_CAPTION for image in images]

    captioner = SteadyCaptioner(ScriptedCaptioner(answer), 4)
    captioner.caption(pictures(*[1] * 15))
    assert captioner.problem() is None
    captioner.caption(pictures(1))
    assert captioner.problem() == "16 frames in a row could not be captioned"
    captioner.caption(pictures(0))
    assert captioner.problem() is None
