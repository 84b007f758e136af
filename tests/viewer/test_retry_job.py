"""The button "retry": failed frames are captioned again, those that are meant and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from framecap.config import StoreConfig
from framecap.stores import open_store
from framecap.upkeep.retry import failed_among
from tests.viewer.served import Page, captioned_frame, failed_frame, jpeg, key_of, put_frame, until

OURS = {"X-Framecap": "retry"}


def statuses(frames: Path) -> dict[str, str]:
    return {str(path.relative_to(frames)): json.loads(path.read_text())["status"] for path in frames.rglob("*.json")}


def ended(page: Page) -> dict[str, Any]:
    return until(lambda: (found := page.ask("/api/health").json["retry"])["done"] and not found["running"] and found)


def test_all_or_those_of_one_kind(page: Page, frames: Path) -> None:
    fixed = failed_frame(frames, "door", 0, kind="truncated")
    broken = failed_frame(frames, "door", 1, kind="undecodable")
    put_frame(frames, fixed, jpeg())
    until(lambda: page.ask("/api/failed").json["failed"] == 2)
    assert [one["key"] for one in page.ask("/api/failed", kind="truncated").json["frames"]] == [fixed]
    assert page.ask("/api/retry?kind=truncated", "POST", OURS).status == 202
    assert ended(page)["captioned"] == 1
    assert statuses(frames) == {f"{fixed}.json": "captioned", f"{broken}.json": "failed"}
    until(lambda: page.ask("/api/failed").json["kinds"] == [{"kind": "undecodable", "frames": 1}])


def test_what_fails_again_says_so_and_two_runs_do_not_meet(page: Page, frames: Path) -> None:
    failed_frame(frames, "door", 1, kind="truncated")
    until(lambda: page.ask("/api/failed").json["failed"] == 1)
    assert page.ask("/api/retry", "POST", OURS).status == 202
    assert page.ask("/api/retry", "POST", OURS).status == 409
    assert (ended(page)["done"], ended(page)["captioned"], ended(page)["failure"]) == (1, 0, None)
    until(lambda: page.ask("/api/failed").json["kinds"] == [{"kind": "undecodable", "frames": 1}])


def test_frames_that_are_gone_or_done_by_now_are_ignored(frames: Path) -> None:
    store = open_store(StoreConfig(frames=str(frames)))
    failed = failed_frame(frames, "door", 1)
    done = captioned_frame(frames, "door", 2, "A dog.")
    asked = [failed, done, key_of("door", 3), "../outside.jpg"]
    assert [read.frame.key for read in failed_among(store, asked)] == [failed]
