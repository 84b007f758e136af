"""The null runtime: images in, always the same caption out, at once; to test and measure everything but the model."""

from __future__ import annotations

from collections.abc import Sequence

from framecap.captioning.caption import Caption, ImageBatch, ModelName

_CAPTION = Caption("A picture.", 1.0, ("a", "image"), (0.0, 0.0))


class NullCaptioner:
    """A captioner without a model."""

    square_input = True
    lanes, batch_size = 1, 16

    def __init__(self, image_size: int = 224) -> None:
        self._image_size = image_size

    @property
    def model(self) -> ModelName:
        return ModelName("null", "0" * 64, "null")

    @property
    def image_size(self) -> int:
        return self._image_size

    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        return [_CAPTION] * len(images)
