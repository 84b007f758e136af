"""The observer: what it tells, and that it is replaced when any thread of it dies."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileCreatedEvent

from framecap.ingest.directory_watch import DirectoryWatch

Reported = queue.SimpleQueue[tuple[str, bool | None]]


@pytest.fixture
def actions() -> Reported:
    return queue.SimpleQueue()


@pytest.fixture
def watch(tmp_path: Path, actions: Reported) -> Iterator[DirectoryWatch]:
    root = tmp_path.resolve() / "frames"
    root.mkdir()
    watch = DirectoryWatch(root, lambda key, finished: actions.put((key, finished)), lambda key: actions.put((key, None)))
    assert watch.start()
    yield watch
    watch.stop()


def wait_for(actions: Reported, wanted: tuple[str, bool | None]) -> None:
    while actions.get(timeout=10) != wanted:
        pass


def hears(watch: DirectoryWatch, actions: Reported, name: str) -> bool:
    (watch._root / name).write_bytes(b"x")
    try:
        wait_for(actions, (name, True))
    except queue.Empty:
        return False
    return True


def test_closed_renamed_moved_in_and_new_folders(watch: DirectoryWatch, actions: Reported, tmp_path: Path) -> None:
    root = watch._root
    assert hears(watch, actions, "a.jpg")
    (root / "b.tmp").write_bytes(b"x")
    (root / "b.tmp").rename(root / "b.jpg")
    wait_for(actions, ("b.jpg", True))
    (tmp_path / "c.jpg").write_bytes(b"x")
    (tmp_path / "c.jpg").rename(root / "c.jpg")
    wait_for(actions, ("c.jpg", False))
    (root / "new").mkdir()
    wait_for(actions, ("new/", None))
    (root / "new").rename(root / "renamed")
    wait_for(actions, ("renamed/", None))


def kill_emitter(observer: Any) -> None:
    for emitter in observer.emitters:
        emitter.stop()
        emitter.join()


def kill_observer(observer: Any) -> None:
    observer.stop()
    observer.join()


def kill_reader(observer: Any) -> None:
    observer._inotify_fd.stop()
    observer._inotify_fd.join()


@pytest.mark.parametrize("kill", [kill_emitter, kill_observer, kill_reader])
def test_a_dead_thread_is_noticed_and_the_observer_replaced(
    watch: DirectoryWatch, actions: Reported, kill: Callable[[Any], None]
) -> None:
    assert watch.is_alive()
    kill(watch._observer)
    assert not watch.is_alive()
    assert watch.renew()
    assert watch.is_alive()
    assert hears(watch, actions, "a.jpg")


def test_a_root_that_was_replaced_is_noticed(watch: DirectoryWatch, actions: Reported) -> None:
    watch._root.rename(watch._root.with_name("old"))
    assert not watch.is_alive()
    watch._root.mkdir()
    assert not watch.is_alive()
    assert watch.renew()
    assert hears(watch, actions, "a.jpg")


def test_a_handler_that_raises_kills_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard = threading.Event()

    def fail(key: str, finished: bool) -> None:
        if key == "bad.jpg":
            raise ValueError(key)
        heard.set()

    watch = DirectoryWatch(tmp_path.resolve(), fail, lambda key: None)
    watch.start()
    try:
        (tmp_path / "bad.jpg").write_bytes(b"x")
        (tmp_path / "good.jpg").write_bytes(b"x")
        assert heard.wait(10)
        assert watch.is_alive()
        assert "a hint was lost" in caplog.text
    finally:
        watch.stop()


def test_events_from_elsewhere_are_no_hints(watch: DirectoryWatch, actions: Reported) -> None:
    watch._handler.dispatch(FileCreatedEvent("/etc/passwd.jpg"))
    watch._handler.dispatch(FileCreatedEvent(f"{watch._root}-other/a.jpg"))
    assert actions.empty()


def test_a_limit_of_the_system_is_reported_once_and_no_hints_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_more(*_: object) -> int:
        raise OSError(28, "inotify watch limit reached")

    import watchdog.observers.inotify_c as kernel

    watch = DirectoryWatch(tmp_path.resolve(), lambda key, finished: None, lambda key: None)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(kernel, "inotify_add_watch", no_more)
        assert watch.start() is False
        assert watch.renew() is False
    assert caplog.text.count("max_user_watches") == 1
    assert not watch.is_alive()
    assert watch.renew() is True
    watch.stop()


def test_stopping_leaves_no_threads(watch: DirectoryWatch) -> None:
    shutil.rmtree(watch._root)
    watch.stop()
    ends = time.monotonic() + 10
    while any("watchdog" in type(thread).__module__ for thread in threading.enumerate()):
        assert time.monotonic() < ends
        time.sleep(0.01)
