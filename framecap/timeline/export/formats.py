"""A format's name in, its writer out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from framecap.stores.base import Store
from framecap.timeline.export.image_datasets import HuggingFace, TextPairs, WebDataset
from framecap.timeline.export.lines import CocoResultsWriter, JsonLinesWriter
from framecap.timeline.export.subtitles import Srt, WebVtt
from framecap.timeline.export.table import Parquet
from framecap.timeline.export.writer import Writer

FORMATS: dict[str, Callable[[Store, timedelta], Writer]] = {
    "vtt": lambda store, gap: WebVtt(gap),
    "srt": lambda store, gap: Srt(gap),
    "jsonl": lambda store, gap: JsonLinesWriter(),
    "parquet": lambda store, gap: Parquet(),
    "coco": lambda store, gap: CocoResultsWriter(),
    "webdataset": lambda store, gap: WebDataset(store),
    "txt": lambda store, gap: TextPairs(store),
    "huggingface": lambda store, gap: HuggingFace(store),
}
