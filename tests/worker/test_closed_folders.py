"""A folder that refuses is tried by one frame at a time, and ever more seldom."""

from __future__ import annotations

from framecap.worker.closed_folders import ClosedFolders

ERROR = OSError("no right")


def test_one_frame_tries_while_the_others_wait() -> None:
    now = 0.0
    folders = ClosedFolders(lambda: now)
    assert folders.wait("a/1.jpg") == 0
    assert folders.refused("a/1.jpg", ERROR) == 1
    assert folders.refused("a/2.jpg", ERROR) == 1, "it was on the way already"
    assert (folders.wait("a/3.jpg"), folders.wait("b/1.jpg"), folders.wait("a/b/1.jpg")) == (1, 0, 0)
    pauses = []
    for _ in range(10):
        now += folders.wait("a/1.jpg")
        assert folders.wait("a/1.jpg") == 0
        pauses.append(folders.wait("a/2.jpg"))
        assert folders.refused("a/1.jpg", ERROR) == pauses[-1]
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    folders.took("a/1.jpg")
    assert folders.wait("a/2.jpg") == 0


def test_it_is_a_problem_of_the_whole_when_nothing_was_written_since() -> None:
    folders = ClosedFolders()
    assert folders.problem() is None
    folders.refused("a/1.jpg", ERROR)
    assert "no right" in str(folders.problem())
    folders.took("b/1.jpg")
    assert folders.problem() is None
