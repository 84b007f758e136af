"""Work in every lane: in so many threads at once, each answer once, an error as it was raised."""

from __future__ import annotations

import threading

import pytest

from framecap.captioning.lanes import in_every_lane


def test_all_are_at_work_at_the_same_time() -> None:
    met = threading.Barrier(3)

    def work() -> int:
        met.wait(20)  # breaks unless three are here
        return threading.get_ident()

    assert len(set(in_every_lane(3, work))) == 3


def test_an_error_is_raised() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_every_lane(2, work)
