"""The schema of config.yaml's section refine: which frames get a second caption, from what, and how many."""

from __future__ import annotations

from pydantic import Field, model_validator

from framecap.config.captioning import CaptioningConfig
from framecap.config.events import Words
from framecap.config.fields import PositiveSeconds, Section, Text


class RefineWhenConfig(Section):
    """Which frames deserve a second look: those of `cameras` for which any of the other conditions holds."""

    uncertain: bool = Field(True, description="the first caption is marked uncertain")
    new_scene: bool = Field(True, description="the worker marked the frame as the first of a scene")
    words: tuple[Words, ...] = Field(
        (), strict=False, max_length=1000, description="the first caption has any of them, whole, in any case"
    )
    cameras: tuple[Text, ...] = Field(("*",), strict=False, min_length=1, max_length=1000, description="patterns (door*)")
    every_seconds: PositiveSeconds | None = Field(None, description="a frame of each camera at least so often")


class RefineBudgetConfig(Section):
    """How many requests may be sent; null: no limit. Several refiners of one store share it (ingest.shard)."""

    per_minute: int | None = Field(20, ge=1, le=1_000_000)
    per_day: int | None = Field(5000, ge=1, le=100_000_000)
    per_camera_per_minute: int | None = Field(None, ge=1, le=1_000_000)


class RefineConfig(Section):
    """framecap refine."""

    captioner: CaptioningConfig | None = Field(
        None, description="what looks again, with the keys of the section captioning; null: nothing does"
    )
    when: RefineWhenConfig = RefineWhenConfig()
    budget: RefineBudgetConfig = RefineBudgetConfig()
    max_age_seconds: PositiveSeconds = Field(3600.0, description="older frames are skipped")
    attempts: int = Field(3, ge=1, le=100, description="requests for a frame before its first caption stays")
    state: Text | None = Field(
        None, description="folder of the cursor and of what was spent; null: below ~/.local/state/framecap"
    )

    @model_validator(mode="after")
    def _minutes_fit_into_days(self) -> RefineConfig:
        minute, camera = self.budget.per_minute, self.budget.per_camera_per_minute
        if minute is not None and camera is not None and camera > minute:
            raise ValueError("refine.budget: per_camera_per_minute is at most per_minute")
        return self
