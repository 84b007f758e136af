"""What is pending, by listings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from framecap.config import IngestConfig, StoreConfig
from framecap.errors import StoreUnavailable
from framecap.stores import open_store
from framecap.viewer import store_status
from framecap.viewer.store_status import StoreSnapshot, StoreStatusWatcher
from tests.viewer.served import captioned_frame, commit, key_of, put_frame, until


@contextmanager
def watching(watch: StoreStatusWatcher) -> Iterator[Callable[[], StoreSnapshot]]:
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    try:
        yield lambda: watch.snapshot
    finally:
        stop.set()
        thread.join()


def make_watch(frames: Path, **config: float) -> StoreStatusWatcher:
    return StoreStatusWatcher(
        IngestConfig(scan_seconds=0.02, **config), open_store(StoreConfig(frames=str(frames))), lambda: None
    )


def test_what_comes_and_goes_is_counted(frames: Path) -> None:
    captioned_frame(frames, "door", 0, "A dog.")
    late = put_frame(frames, key_of("door", 1))
    with watching(make_watch(frames)) as seen:
        until(lambda: (seen().pending, seen().done, seen().frames) == (1, 1, 2))
        assert seen().oldest == pytest.approx(late.stat().st_mtime)
        put_frame(frames, key_of("yard", 5))
        until(lambda: seen().pending == 2)
        late.unlink()
        commit(frames, key_of("yard", 5), "A cat.")
        until(lambda: (seen().pending, seen().oldest) == (0, None))


def test_where_listing_all_takes_long_what_is_new_is_seen_all_the_same(
    frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_status, "_SMALL_SHARE", 1e-9)
    watch = make_watch(frames)
    with watching(watch) as seen:
        until(lambda: seen().pending == 0)
        put_frame(frames, key_of("door", 1))
        until(lambda: seen().pending == 1)
        watch.committed(key_of("door", 1))
        assert seen().pending == 0
        put_frame(frames, key_of("door", 2))
        commit(frames, key_of("door", 1), "A dog.")
        until(lambda: seen().pending == 1)
        assert seen().frames == 0  # counted by full listings only


def test_of_very_many_pending_frames_only_the_number_is_kept(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_status, "_KNOWN", 3)
    for second in range(5):
        put_frame(frames, key_of("door", second))
    with watching(make_watch(frames)) as seen:
        until(lambda: seen().pending == 5)
        assert seen().at_least


def test_a_store_that_is_away_is_reported_and_tried_again(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = make_watch(frames)
    listing = watch._store.list
    away = True

    def sometimes(*arguments: str) -> object:
        if away:
            raise StoreUnavailable("the mount is away")
        return listing(*arguments)

    monkeypatch.setattr(watch._store, "list", sometimes)
    with watching(watch) as seen:
        until(lambda: seen().failure == "the mount is away")
        away = False
        until(lambda: seen().failure is None and seen().frames == 0)
