"""A captioner that fails in every way: what each frame of the batch gets."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from framecap.captioning.caption import Caption, Images
from framecap.errors import DeviceMemoryError, ModelError, NonFiniteOutput
from framecap.worker.resilient_captioner import ResilientCaptioner
from tests.worker.fakes import A_CAPTION, ScriptedCaptioner


def image_files(*shades: int) -> list[Images]:
    return [np.full((2, 2, 3), shade, np.uint8) for shade in shades]


def shades_as_captions(images: Images) -> list[Caption]:
    return [Caption(str(image[0, 0, 0]), 0.5, ("a",), (-1.0,)) for image in images]


def test_answers_stay_in_order_across_batches() -> None:
    captioner = ScriptedCaptioner(shades_as_captions)
    answers = ResilientCaptioner(captioner, 4).caption(image_files(*range(10)))
    assert [answer.text for answer in answers if isinstance(answer, Caption)] == [str(n) for n in range(10)]
    assert captioner.batches == [4, 4, 2]


def test_the_batch_is_halved_until_it_fits_and_doubled_again_later() -> None:
    byte_budget = 3

    def answer(images: Images) -> Sequence[Caption]:
        if len(images) > byte_budget:
            raise DeviceMemoryError("full")
        return shades_as_captions(images)

    captioner = ScriptedCaptioner(answer)
    steady = ResilientCaptioner(captioner, 16)
    answers = steady.caption(image_files(*range(16)))
    assert [answer.text for answer in answers if isinstance(answer, Caption)] == [str(n) for n in range(16)]
    assert captioner.batches[:4] == [16, 8, 4, 2]
    byte_budget = 16
    for _ in range(40):
        steady.caption(image_files(*range(steady.limit)))
    assert steady.limit == 16


def test_one_image_that_does_not_fit_is_reported_so() -> None:
    def answer(images: Images) -> Sequence[Caption]:
        raise DeviceMemoryError("full")

    answers = ResilientCaptioner(ScriptedCaptioner(answer), 2).caption(image_files(1, 2))
    assert [type(one) for one in answers] == [DeviceMemoryError] * 2


def test_a_batch_that_raises_is_tried_one_by_one() -> None:
    def answer(images: Images) -> Sequence[Caption]:
        if (images == 3).any():
            raise ZeroDivisionError
        return shades_as_captions(images)

    answers = ResilientCaptioner(ScriptedCaptioner(answer), 8).caption(image_files(1, 2, 3, 4))
    assert [type(one) for one in answers] == [Caption, Caption, ZeroDivisionError, Caption]


def test_too_few_answers_are_no_answers() -> None:
    answers = ResilientCaptioner(ScriptedCaptioner(lambda images: [A_CAPTION]), 8).caption(image_files(1, 2))
    assert answers == [A_CAPTION, A_CAPTION]  # one by one they fit
    answers = ResilientCaptioner(ScriptedCaptioner(lambda images: []), 8).caption(image_files(1, 2))
    assert [type(one) for one in answers] == [ModelError] * 2


@pytest.mark.faults(16)
def test_many_failures_in_a_row_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    steady = ResilientCaptioner(ScriptedCaptioner(lambda images: [NonFiniteOutput("NaN")] * len(images)), 8)
    with caplog.at_level(logging.ERROR, "framecap"):
        for _ in range(10):
            steady.caption(image_files(*range(8)))
    assert [entry.getMessage() for entry in caplog.records] == [
        "16 frames in a row could not be captioned, the last because: NaN"
    ]


@pytest.mark.faults(16)
def test_many_failures_in_a_row_make_it_unready_until_a_frame_is_captioned() -> None:
    def answer(images: Images) -> Sequence[Caption | Exception]:
        return [NonFiniteOutput("NaN") if image[0, 0, 0] else A_CAPTION for image in images]

    captioner = ResilientCaptioner(ScriptedCaptioner(answer), 4)
    captioner.caption(image_files(*[1] * 15))
    assert captioner.problem() is None
    captioner.caption(image_files(1))
    assert captioner.problem() == "16 frames in a row could not be captioned"
    captioner.caption(image_files(0))
    assert captioner.problem() is None
