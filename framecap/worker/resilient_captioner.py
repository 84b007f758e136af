"""A captioner that a bad frame or a full device cannot take down: images in, a caption or an exception for each out."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence

import numpy as np

from framecap.captioning.caption import Caption, Captioner, Images, ModelName, close_captioner
from framecap.decoding.pool import DecodedFrame
from framecap.errors import CaptionerUnavailable, DeviceMemoryError, ModelError, NonFiniteOutput
from framecap.worker.jobs import Job
from framecap.worker.steady_captions import SteadyCaptions

logger = logging.getLogger(__name__)

_RECOVERY_BATCHES = 8  # batches in a row that must fit before twice as many images are tried again
_ALARMING_FAILURES = 16  # so many say that it is not the frames


class ResilientCaptioner:
    """Halves the batch when the device's memory is full, doubles it again later, and keeps a frame's error to the frame.

    May be called from any number of threads: as many as the captioner has lanes get through to it at a time.
    """

    def __init__(self, captioner: Captioner, batch_size: int) -> None:
        self._captioner = captioner
        self._batch_size = batch_size
        self._lanes = threading.BoundedSemaphore(captioner.lanes)
        self._counting = threading.Lock()
        self._fitted = 0
        self._failures = 0  # frames in a row without a caption
        self.limit = batch_size

    @property
    def model(self) -> ModelName:
        return self._captioner.model

    def settle(self, captioned: Sequence[tuple[Job, Caption]], steady: SteadyCaptions) -> None:
        """Give the jobs their steady captions; where that fails they have none, and are captioned all the same."""
        try:
            steady.settle(captioned, self._captioner)
        except Exception as error:
            logger.warning("%d frames get no steady caption: %s", len(captioned), error)

    def takes(self, image: DecodedFrame) -> bool:
        """Whether the image has the size that this captioner takes."""
        size, (height, width) = self._captioner.image_size, image.pixels.shape[:2]
        if self._captioner.square_input:
            return bool(height == width == size)
        longest: int = max(height, width)
        return longest == min(size, max(image.height, image.width))

    def caption(self, images: Sequence[Images]) -> list[Caption | Exception]:
        """One caption or exception for each image of shape (height, width, 3)."""
        with self._lanes:
            answers = self._answers(images)
        with self._counting:
            for answer in answers:
                if isinstance(answer, CaptionerUnavailable):  # it says nothing of the frame, and the worker has patience
                    continue
                self._failures = self._failures + 1 if isinstance(answer, Exception) else 0
                if self._failures == _ALARMING_FAILURES:
                    logger.error("%d frames in a row could not be captioned, the last because: %s", self._failures, answer)
        return answers

    def close(self) -> None:
        """Give back what the captioner holds (connections, threads). It captions no more."""
        close_captioner(self._captioner)

    def problem(self) -> str | None:
        """Why no frame gets a caption, when so many in a row got none that it is not the frames."""
        return f"{self._failures} frames in a row could not be captioned" if self._failures >= _ALARMING_FAILURES else None

    def _answers(self, images: Sequence[Images]) -> list[Caption | Exception]:
        answers: list[Caption | Exception] = []
        while len(answers) < len(images):
            batch = images[len(answers) : len(answers) + self.limit]
            try:
                captions = self._checked(batch)
            except DeviceMemoryError as error:
                if len(batch) == 1:
                    answers.append(error)
                else:
                    self._shrink(len(batch))
            except Exception as error:  # whatever it is, it stays with the frame that brings it about
                answers += [error] if len(batch) == 1 else self._one_by_one(batch)
            else:
                answers += captions
                self._grow()
        return answers

    def _checked(self, batch: Sequence[Images]) -> list[Caption | Exception]:
        captions = self._captioner.caption(np.stack(batch) if self._captioner.square_input else batch)
        if len(captions) != len(batch):
            raise ModelError(f"the captioner gave {len(captions)} captions for {len(batch)} images")
        return [_checked(caption) for caption in captions]

    def _one_by_one(self, batch: Sequence[Images]) -> list[Caption | Exception]:
        answers: list[Caption | Exception] = []
        for image in batch:
            try:
                answers += self._checked([image])
            except Exception as error:
                answers.append(error)
        return answers

    def _shrink(self, tried: int) -> None:
        with self._counting:
            self.limit = min(self.limit, tried // 2)
            self._fitted = 0
        logger.warning("the device has no memory for %d images at once: going on with %d", tried, self.limit)

    def _grow(self) -> None:
        with self._counting:
            self._fitted += 1
            if self.limit < self._batch_size and self._fitted >= _RECOVERY_BATCHES:
                self.limit = min(2 * self.limit, self._batch_size)
                self._fitted = 0


def _checked(caption: Caption | Exception) -> Caption | Exception:
    """A caption that can stand in a sidecar, or the reason why it cannot."""
    if isinstance(caption, Exception):
        return caption
    confidences = (caption.confidence, *(confidence for _, confidence in caption.alternatives))
    numbers = (*caption.log_probabilities, *(number for number in confidences if number is not None))
    if not all(map(math.isfinite, numbers)):
        return NonFiniteOutput("the model's numbers are not finite (NaN or infinity): is the bundle damaged?")
    if not caption.text.strip():
        return ModelError("the model gave an empty caption: is the bundle damaged?")
    return caption
