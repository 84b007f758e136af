"""Second looks end to end: real stores, a real vision server that is slow, dead, refusing or talking nonsense."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from framecap.sidecars import sidecar
from framecap.stores import open_store
from tests.refine.making import FIRST, HOUR, commit_first, read, refining, run_once, settings, wait_for
from tests.vision_server import completion, vision_server


def test_uncertain_frame_gets_the_second_caption_and_keeps_the_first(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url)
        store = open_store(config.store)
        run_once(config, tmp_path / "state")  # begins to follow
        commit_first(store, root, "door/a.jpg")
        commit_first(store, root, "door/sure.jpg", uncertain=False)
        summary = run_once(config, tmp_path / "state")
        assert summary.outcomes == {"refined": 1}
        assert len(server.requests) == 1
    refined = read(store, "door/a.jpg")
    assert refined.caption == "A red box."
    assert refined.model is not None
    assert refined.model.name == "strong"
    assert refined.first_look is not None
    assert (refined.first_look.caption, refined.first_look.confidence, refined.first_look.uncertain) == (
        "A dog is running.", 0.2, True,
    )  # fmt: skip
    assert refined.first_look.model == FIRST
    assert read(store, "door/sure.jpg").caption == "A dog is running."


def test_refined_frame_is_not_refined_again(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url)
        store = open_store(config.store)
        commit_first(store, root, "door/a.jpg")
        for _ in range(3):
            run_once(config, tmp_path / "state", backlog_seconds=600)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("when", "changes", "refined"),
    [
        ({"uncertain": False}, {}, False),
        ({"uncertain": False, "words": ["dog"]}, {}, True),
        ({"uncertain": False, "words": ["cat"]}, {}, False),
        ({"uncertain": False, "new_scene": True}, {"new_scene": True}, True),
        ({"uncertain": False, "new_scene": False}, {"new_scene": True}, False),
        ({"cameras": ["garden*"]}, {}, False),
        ({"uncertain": False, "every_seconds": 60}, {}, True),
    ],
)
def test_conditions_choose_which_frames_are_refined(
    tmp_path: Path, when: dict[str, object], changes: dict[str, object], refined: bool
) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url, when=when)
        commit_first(open_store(config.store), root, "door/a.jpg", **changes)
        summary = run_once(config, tmp_path / "state", backlog_seconds=600)
    assert summary.outcomes == ({"refined": 1} if refined else {})


def test_frame_that_is_too_old_is_skipped_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url, max_age_seconds=60)
        store = open_store(config.store)
        run_once(config, tmp_path / "state")
        commit_first(store, root, "door/old.jpg", datetime.now(UTC) - HOUR)
        frame = sidecar.Frame(key="clip/1.jpg", camera="clip", captured_at=datetime(2020, 1, 1, tzinfo=UTC), position=1.0)
        commit_first(store, root, "clip/1.jpg", frame=frame)
        assert run_once(config, tmp_path / "state").outcomes == {"too_old": 1, "refined": 1}
    assert read(store, "clip/1.jpg").first_look is not None


def test_server_that_is_away_is_waited_for_and_costs_no_budget(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        port = server.port
    config = settings(root, f"http://127.0.0.1:{port}/v1", budget={"per_minute": 1})
    store = open_store(config.store)
    with refining(config, tmp_path / "state") as state:
        commit_first(store, root, "door/a.jpg")
        wait_for(lambda: state.waiting() == 1)
        with vision_server(port):
            wait_for(lambda: read(store, "door/a.jpg").first_look is not None)


def test_refusal_and_nonsense_leave_the_first_caption(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    answers = {"refused": (400, b"{}"), "nonsense": (200, b"not json"), "empty": completion("")}
    for name, answer in answers.items():
        with vision_server() as server:
            server.answer = lambda request, answer=answer: answer  # type: ignore[misc]
            config = settings(root, server.base_url, attempts=1)
            store = open_store(config.store)
            commit_first(store, root, f"door/{name}.jpg")
            assert run_once(config, tmp_path / name, backlog_seconds=600).outcomes["failed"] >= 1
        assert read(store, f"door/{name}.jpg").caption == "A dog is running."


def test_frame_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url)
        store = open_store(config.store)

        def answer(request: object) -> tuple[int, bytes]:  # another writer is faster than this answer
            before = store.read_sidecar("door/a.jpg")
            assert before is not None
            newer = read(store, "door/a.jpg").model_copy(update={"caption": "A recaptioned cat.", "uncertain": False})
            store.replace_sidecar("door/a.jpg", sidecar.encode(newer), if_match=before)
            return completion()

        server.answer = answer
        commit_first(store, root, "door/a.jpg")
        assert run_once(config, tmp_path / "state", backlog_seconds=600).outcomes == {"superseded": 1}
    assert read(store, "door/a.jpg").caption == "A recaptioned cat."


def test_replaced_image_is_not_captioned(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url)
        commit_first(open_store(config.store), root, "door/a.jpg")
        (root / "door/a.jpg").write_bytes(b"another image")
        assert run_once(config, tmp_path / "state", backlog_seconds=600).outcomes == {"superseded": 1}
        assert server.requests == []


def test_budget_bounds_the_requests_of_a_minute(tmp_path: Path) -> None:
    root = tmp_path / "frames"
    with vision_server() as server:
        config = settings(root, server.base_url, budget={"per_minute": 3})
        store = open_store(config.store)
        for n in range(10):
            commit_first(store, root, f"door/{n}.jpg", datetime.now(UTC) - timedelta(seconds=n))
        state_folder = tmp_path / "state"
        with refining(config, state_folder, backlog_seconds=600) as state:
            wait_for(lambda: len(server.requests) == 3)
            wait_for(lambda: state.left() == 0 and state.waiting() == 7)
        with refining(config, state_folder):  # a restart does not refill it
            threading.Event().wait(0.5)
        assert len(server.requests) == 3
    refined = [n for n in range(10) if read(store, f"door/{n}.jpg").first_look is not None]
    assert refined == [0, 1, 2]  # the newest
