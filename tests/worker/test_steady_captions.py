"""Steady captions: what is kept and what is not, per camera, in time; what the worker commits; where there are none."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.captioning.caption import Caption, Images
from framecap.config import WorkerConfig
from framecap.frames import FrameName, make_key
from framecap.worker.jobs import Job
from framecap.worker.steady_captions import Scores, SteadyCaptions, TicketOrder
from tests.worker.fakes import ScriptedCaptioner, check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene
from tests.worker.test_near_duplicates import START, job

MARGIN = 0.2
STEADY = WorkerConfig.model_validate({"decoders": 1, "steady_captions": {"enabled": True, "margin": MARGIN}})
WORDS = {"A": ("a", "dog"), "B": ("a", "cat"), "C": ("a", "car"), "D": ("a", "man")}


def caption(name: str) -> Caption:
    return Caption(name, 0.5, WORDS[name], (-0.1, -0.1))


@dataclass
class Scripted(ScriptedCaptioner):
    """Scores stand in a table: by the time of the frame (its pixels) and the words."""

    table: dict[tuple[int, str], float]
    asked: list[list[list[str]]] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)
    remembers: bool = False

    def encode(self, images: Sequence[Images], captions: Sequence[Caption]) -> Scores:
        names = {words: name for name, words in WORDS.items()}
        assert len(images) == len(captions)
        self.looked.append(len(images))

        def scores(sentences: Sequence[Sequence[tuple[str, ...]]]) -> list[list[float]]:
            self.asked.append([[names[words] for words in several] for several in sentences])
            return [
                [self.table.get((int(image[0, 0, 0]), names[words]), -1.0) for words in several]
                for image, several in zip(images, sentences, strict=True)
            ]

        return scores


def frame(second: int, camera: str = "gate") -> Job:
    made = job(second, 0, camera)
    assert made.image is not None
    made.image = type(made.image)(np.full((2, 2, 3), second, np.uint8), 2, 2, 0, ())
    return made


def settle(steady: SteadyCaptions, output: Sequence[tuple[Job, str]], scorer: Scripted) -> list[str | None]:
    steady.settle([(one, caption(name)) for one, name in output], scorer)
    return [one.steady for one, _ in output]


def test_a_caption_is_kept_while_it_is_nearly_as_probable() -> None:
    scorer = Scripted({(1, "B"): -1.0, (1, "A"): -1.0 - MARGIN, (2, "C"): -1.0, (2, "A"): -1.3, (3, "B"): -2, (3, "C"): -1})
    steady = SteadyCaptions(MARGIN)
    assert settle(steady, [(frame(0), "A")], scorer) == ["A"]
    assert settle(steady, [(frame(1), "B")], scorer) == ["A"]
    assert settle(steady, [(frame(2), "C")], scorer) == ["C"]
    assert settle(steady, [(frame(3), "B")], scorer) == ["C"]
    assert scorer.asked == [[["B", "A"]], [["C", "A"]], [["B", "C"]]], "only where the caption differs"


def test_a_batch_is_judged_as_one_frame_after_the_other() -> None:
    scorer = Scripted({(1, "A"): -1.1, (2, "A"): -3.0, (2, "B"): -1.0, (3, "C"): -1.0, (3, "B"): -1.1, (3, "A"): -9.0})
    steady = SteadyCaptions(MARGIN)
    output = [(frame(0), "A"), (frame(1), "B"), (frame(2), "B"), (frame(3), "C")]
    assert settle(steady, output[::-1], scorer)[::-1] == ["A", "A", "B", "B"]
    assert scorer.looked == [3], "once"
    assert scorer.asked == [[["B", "A", "C"], ["B", "A", "C"], ["C", "A", "B"]]], "what is said often is asked ahead"


def test_a_change_that_was_not_asked_ahead_takes_one_round_more() -> None:
    scorer = Scripted({(n, "A"): -3.0 for n in range(1, 7)})
    output = [(frame(n), name) for n, name in enumerate("ADBBCCB")]
    assert settle(SteadyCaptions(MARGIN), output, scorer) == ["A", *"DDDDDD"]
    assert scorer.looked == [6], "once"
    assert len(scorer.asked) == 2
    assert scorer.asked[1][1:] == [["D"]] * 5


def test_a_batch_of_one_scene_takes_one_round_whoever_says_what() -> None:
    scorer = Scripted({})
    output = [(frame(n, camera), name) for camera in ("gate", "yard") for n, name in enumerate("ABCBA")]
    assert settle(SteadyCaptions(MARGIN), output, scorer) == ["A"] * 10
    assert len(scorer.asked) == 1


def test_where_all_say_the_same_nothing_is_asked() -> None:
    scorer = Scripted({})
    assert settle(SteadyCaptions(MARGIN), [(frame(n), "A") for n in range(4)], scorer) == ["A"] * 4
    assert scorer.looked == []


def test_cameras_are_apart_and_a_late_frame_is_no_measure() -> None:
    scorer = Scripted({})
    steady = SteadyCaptions(MARGIN)
    settle(steady, [(frame(5), "A"), (frame(5, "yard"), "B")], scorer)
    assert settle(steady, [(frame(4), "C"), (frame(6), "C"), (frame(6, "yard"), "C")], scorer) == ["C", "A", "B"]


@pytest.mark.parametrize("kept", [float("nan"), float("-inf")])
def test_numbers_that_are_none_keep_nothing(kept: float) -> None:
    steady = SteadyCaptions(MARGIN)
    assert settle(steady, [(frame(0), "A"), (frame(1), "B")], Scripted({(1, "A"): kept})) == ["A", "B"]


def test_what_is_next_to_impossible_for_both_keeps_nothing() -> None:
    nothing = float("-inf")
    assert settle(
        SteadyCaptions(MARGIN), [(frame(0), "A"), (frame(1), "B")], Scripted({(1, "A"): nothing, (1, "B"): nothing})
    ) == [
        "A",
        "B",
    ]


def test_another_model_has_words_of_its_own() -> None:
    steady = SteadyCaptions(MARGIN)
    settle(steady, [(frame(0), "A")], Scripted({}))
    assert settle(steady, [(frame(1), "B")], Scripted({})) == ["B"]


def test_a_frame_of_the_future_is_no_measure_for_the_present() -> None:
    steady, scorer = SteadyCaptions(MARGIN), Scripted({})
    late = frame(100)
    late.entry = replace(late.entry, key=make_key(FrameName("gate", datetime(2199, 1, 1, tzinfo=UTC), 0)))
    settle(steady, [(late, "A")], scorer)
    now = frame(101)
    now.entry = replace(now.entry, key=make_key(FrameName("gate", datetime.now(UTC), 0)))
    assert settle(steady, [(now, "B")], scorer) == ["A"], "judged against the scene, not as a late frame"


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("ABC"), st.floats(-3, 0), st.floats(-3, 0)), max_size=12),
    st.data(),
)
def test_how_frames_are_cut_into_batches_makes_no_difference(
    frames: list[tuple[str, str, float, float]], data: st.DataObject
) -> None:
    table = {}
    for second, (_, _, first, other) in enumerate(frames):
        table |= {(second, "A"): first, (second, "B"): other, (second, "C"): -1.0}
    outcomes = []
    for sizes in ([1] * len(frames), data.draw(st.lists(st.integers(1, 5), min_size=len(frames), max_size=len(frames)))):
        steady, scorer, left, found = SteadyCaptions(MARGIN), Scripted(table), list(enumerate(frames)), []
        for size in sizes:
            batch, left = left[:size], left[size:]
            found += settle(steady, [(frame(n, camera), name) for n, (camera, name, _, _) in batch], scorer)
        outcomes.append(found)
    assert outcomes[0] == outcomes[1]


def test_batches_side_by_side_are_settled_in_the_order_in_which_they_began() -> None:
    order, ended = TicketOrder(), []
    with ThreadPoolExecutor() as threads, ExitStack() as first:
        wait = first.enter_context(order.turn(0))
        began = threading.Barrier(3)

        def later(number: int) -> None:
            with order.turn(number) as wait_for_turn:
                began.wait()
                if number == 2:
                    raise ZeroDivisionError
                wait_for_turn()
                ended.append(number)

        others = [threads.submit(later, number) for number in (1, 2)]
        began.wait()
        assert isinstance(others[1].exception(), ZeroDivisionError)
        wait()
        assert ended == []
        ended.append(0)
        first.close()
        others[0].result()
    assert ended == [0, 1]


def test_the_worker_writes_it_beside_the_frame_s_own(tmp_path: Path) -> None:
    names = "AABAB"
    keys = [make_key(FrameName("gate", START + timedelta(seconds=n), n)) for n in range(len(names))]
    fill(tmp_path, {key: encoded(scene(64, 48, seed=n)) for n, key in enumerate(keys)})
    seen: list[str] = list(names)

    class Flickering(Scripted):
        def caption(self, images: object) -> list[Caption]:
            return [caption(seen.pop(0)) for _ in images]  # type: ignore[attr-defined]

    config = STEADY.model_copy(update={"queue": 1})
    made = check_oracle(tmp_path, work(local_store(tmp_path), Flickering({}), config).committed)
    assert [made[key].caption for key in keys] == list(names)
    assert [made[key].steady_caption for key in keys] == ["A"] * 5


def test_a_captioner_that_tells_no_probabilities_gives_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, {f"a/{n}.jpg": encoded(scene(64, 48, seed=n)) for n in range(3)})
    made = check_oracle(tmp_path, work(local_store(tmp_path), config=STEADY).committed)
    assert {(one.status, one.steady_caption) for one in made.values()} == {("captioned", None)}
    assert [entry.getMessage() for entry in caplog.records] == [
        "worker.steady_captions: null tells no probabilities: there are none"
    ]


def test_where_scoring_fails_the_frame_is_captioned_all_the_same(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n}.jpg": encoded(scene(64, 48, seed=n)) for n in range(4)})
    seen = list("ABAB")

    class Failing(Scripted):
        def caption(self, images: object) -> list[Caption]:
            return [caption(seen.pop(0)) for _ in images]  # type: ignore[attr-defined]

        def encode(self, images: object, captions: object) -> Scores:
            raise ZeroDivisionError

    made = check_oracle(tmp_path, work(local_store(tmp_path), Failing({}), STEADY).committed)
    assert {one.status for one in made.values()} == {"captioned"}
