"""What is kept in memory is bounded, and what is skipped comes in the order of keys, each once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from framecap.ingest.admission import Admission, folder_of

KEYS = st.sampled_from([f"{folder}{number}.jpg" for folder in ("", "a/", "b/x/") for number in range(8)])


@given(st.sets(KEYS, min_size=1), st.integers(1, 6), st.integers(1, 4), st.data())
def test_every_frame_is_kept_in_the_end_in_the_order_of_its_folder(
    keys: set[str], limit: int, least: int, data: st.DataObject
) -> None:
    admission = Admission(limit, least)
    kept: list[str] = []
    order: list[str] = []
    admission.recount()
    for key in sorted(keys):
        if admission.admit(key):
            kept.append(key)
        else:
            admission.skip(key, counts=True)
    assert len(kept) + admission.skipped == len(keys)
    assert admission.is_whole == (len(kept) == len(keys))
    while kept:
        assert len(kept) <= limit + least * 3
        done = kept.pop(data.draw(st.integers(0, len(kept) - 1)) if len(kept) > limit else 0)
        order.append(done)
        admission.gone(done)
        for refill in admission.refills():
            listed = [key for key in sorted(keys - set(order) - set(kept)) if folder_of(key) == refill.prefix]
            first = next((key for key in listed if key > refill.after and not _took(admission, kept, key)), None)
            admission.refilled(refill, first)
    assert Counter(order) == Counter(keys)
    assert (admission.is_whole, admission.skipped) == (True, 0)


def _took(admission: Admission, kept: list[str], key: str) -> bool:
    taken = admission.admit(key, refilling=True)
    if taken:
        kept.append(key)
    return taken


def test_a_new_frame_behind_one_that_was_skipped_waits_for_the_refill() -> None:
    admission = Admission(1, least=1)
    assert admission.admit("a/1.jpg")
    assert not admission.admit("a/2.jpg")
    admission.skip("a/2.jpg", counts=True)
    admission.gone("a/1.jpg")
    assert not admission.admit("a/3.jpg"), "before the one that was skipped"
    assert admission.admit("a/0.jpg")
    assert admission.admit("b/1.jpg"), "each folder has a little room of its own"
    assert admission.skipped == 1
