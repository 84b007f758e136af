"""Sidecars in; JSON Lines, or COCO's results, out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from framecap.sidecars.sidecar import Sidecar
from framecap.timeline.export.writer import TextWriter

_COCO_NAME = re.compile(r"(?:.*/)?(?:COCO_[a-z]+[0-9]+_)?([0-9]{1,15})\.[A-Za-z]+")


def json_line(sidecar: Sidecar) -> str:
    """The whole sidecar as one line: what `decode` reads back."""
    return sidecar.model_dump_json() + "\n"


class JsonLinesWriter(TextWriter):
    """One sidecar a line, all of it, failed ones too."""

    def pieces(self, sidecars: Iterable[Sidecar]) -> Iterator[str]:
        for sidecar in sidecars:
            self.written += 1
            yield json_line(sidecar)


class CocoResultsWriter(TextWriter):
    """COCO's format of results: a list of image_id and caption, the frame's own.

    A frame that is named as COCO names its images (000000391895.jpg, COCO_val2014_000000391895.jpg) has that number; the
    image_id of others is their key, as it may be in an annotation file of one's own.
    """

    def pieces(self, sidecars: Iterable[Sidecar]) -> Iterator[str]:
        before = "[\n"
        for sidecar in sidecars:
            if sidecar.caption is not None:
                self.written += 1
                result = {"image_id": image_id(sidecar.frame.key), "caption": sidecar.caption}
                yield before + json.dumps(result, ensure_ascii=False)
                before = ",\n"
        yield "[]\n" if before == "[\n" else "\n]\n"


def image_id(key: str) -> int | str:
    """See CocoResultsWriter."""
    match = _COCO_NAME.fullmatch(key)
    return int(match[1]) if match else key
