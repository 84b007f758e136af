"""The schema of config.yaml's section timeline: how captions are put together and found."""

from __future__ import annotations

from pydantic import Field

from framecap.config.fields import PositiveSeconds, Section, Text


class TimelineConfig(Section):
    """Segments, subtitles, search."""

    gap_seconds: PositiveSeconds = Field(
        60.0, description="a camera without a caption for longer has stopped: its segment ends"
    )
    index: Text | None = Field(None, description="folder of the search index; null: framecap's in the user's cache folder")
