"""Captions in, events delivered: nothing lost through kills and dead endpoints, nobody held up by another's endpoint."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from framecap.config import EventsConfig, IngestConfig, S3Config, StoreConfig
from framecap.errors import StoreUnavailable
from framecap.events.engine import Done, Engine
from framecap.events.event import Previous
from framecap.events.state import EventState
from framecap.stores import open_store
from framecap.stores.base import Entry, Store
from framecap.telemetry import health
from tests import command
from tests.events.broker import serving_broker
from tests.events.endpoint import Endpoint, serving_endpoint, wait_until
from tests.events.factory import one_rule, settings
from tests.sidecars.committing import NOON, commit, replace

QUICK = IngestConfig(scan_seconds=0.05)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving_endpoint() as one:
        yield one


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path / "frames")))


def hook(endpoint: Endpoint, path: str = "/") -> dict[str, Any]:
    return {"webhook": {"url": f"{endpoint.url}{path}"}}


def make_engine(config: EventsConfig, store: Store, folder: Path) -> tuple[Engine, EventState]:
    state = EventState(folder / "state", store.address)
    return Engine(config, S3Config(), QUICK, store, state), state


@contextmanager
def running(config: EventsConfig, store: Store, folder: Path) -> Iterator[EventState]:
    """Within, it follows and delivers."""
    engine, state = make_engine(config, store, folder)
    stop = threading.Event()
    thread = threading.Thread(target=engine.run, args=(stop, False))
    thread.start()
    try:
        yield state
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        state.close()


def once(config: EventsConfig, store: Store, folder: Path) -> Done:
    engine, state = make_engine(config, store, folder)
    done = engine.run(threading.Event(), once=True)
    state.close()
    return done


def captions(endpoint: Endpoint) -> list[str]:
    return [posted.event["caption"] for posted in endpoint.taken]


def test_from_the_first_start_on_each_caption_that_meets_a_rule(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    commit(store, "door/old.jpg", NOON - timedelta(hours=1), "An old dog.")
    os.utime(tmp_path / "frames/door/old.jpg.json", (time.time() - 60,) * 2)
    config = settings(one_rule({"words": ["dog"]}, [hook(endpoint)]))
    assert once(config, store, tmp_path).fired == 0
    commit(store, "door/1.jpg", NOON, "A dog.")
    commit(store, "door/2.jpg", NOON + timedelta(seconds=1), "A cat.")
    commit(store, "gate/1.jpg", NOON + timedelta(seconds=2), "Two dog lovers.")
    assert once(config, store, tmp_path) == Done(looked_at=3, fired=2, waiting=0)
    first, second = (posted.event for posted in endpoint.taken)
    assert first["previous"] == {
        "frame": "door/old.jpg",
        "time": (NOON - timedelta(hours=1)).isoformat(),
        "caption": "An old dog.",
    }
    assert (first["frame"], first["camera"], first["rule"]) == ("door/1.jpg", "door", "dog")
    assert (first["status"], first["confidence"], first["address"]) == ("captioned", 0.5, store.address)
    assert (second["camera"], second["previous"]) == ("gate", None)
    assert once(config, store, tmp_path) == Done(0, 0, 0)


def test_a_failed_frame_that_is_captioned_after_all_is_an_event(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    config = settings(
        one_rule({"words": ["dog"]}, [hook(endpoint)]), one_rule({"statuses": ["failed"]}, [hook(endpoint)], "broken")
    )
    once(config, store, tmp_path)
    commit(store, "door/1.jpg", NOON)
    once(config, store, tmp_path)
    replace(store, "door/1.jpg", "A dog.", NOON)
    once(config, store, tmp_path)
    broken, dog = (posted.event for posted in endpoint.taken)
    assert (broken["rule"], broken["caption"], broken["error"]["kind"]) == ("broken", None, "empty")
    assert (dog["rule"], dog["caption"]) == ("dog", "A dog.")


def test_a_quiet_camera_s_first_over_restarts(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    config = settings(one_rule({"words": ["dog"], "cooldown_minutes": 10}, [hook(endpoint)]))
    once(config, store, tmp_path)
    for number, (camera, minute) in enumerate([("a", 0), ("a", 9), ("b", 9), ("a", 18), ("a", 28), ("a", 29), ("a", 20)]):
        commit(store, f"{camera}/{number}.jpg", NOON + timedelta(minutes=minute), "A dog.")
        once(config, store, tmp_path)
    assert [posted.event["frame"] for posted in endpoint.taken] == ["a/0.jpg", "b/2.jpg", "a/4.jpg"]


def test_a_frame_of_the_future_silences_no_one(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    config = settings(one_rule({"words": ["dog"], "cooldown_minutes": 10}, [hook(endpoint)]))
    once(config, store, tmp_path)
    commit(store, "a/0.jpg", datetime(2099, 1, 1, tzinfo=UTC), "A dog of 2099.")
    once(config, store, tmp_path)
    state = EventState(tmp_path / "state", store.address)
    state.set_last_match("dog", "b", datetime(2099, 1, 1, tzinfo=UTC))  # when this machine's clock was wrong, too
    state.set_previous("b", Previous("b/0.jpg", datetime(2099, 1, 1, tzinfo=UTC), "A dog of 2099."))
    state.close()
    for number, (camera, caption) in enumerate([("b", "A dog."), ("a", "A cat."), ("a", "Another dog.")], 1):
        commit(store, f"{camera}/{number}.jpg", datetime.now(UTC), caption)
        once(config, store, tmp_path)
    assert [posted.event["frame"] for posted in endpoint.taken] == ["a/0.jpg", "b/1.jpg"]
    assert endpoint.taken[1].event["previous"] is None
    state = EventState(tmp_path / "state", store.address)
    newest = state.previous("a")
    last = state.last_match("dog", "a")
    state.close()
    assert newest is not None
    assert newest.caption == "Another dog."
    assert last is not None
    assert last <= datetime.now(UTC)


def test_a_renamed_folder_s_events_name_the_frames_that_are_there(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    config = settings(one_rule({"words": ["dog"]}, [hook(endpoint)]))
    once(config, store, tmp_path)
    key = commit(store, "door/1.jpg", NOON, "A dog.")
    once(config, store, tmp_path)
    (tmp_path / "frames/door").rename(tmp_path / "frames/gate")
    once(config, store, tmp_path)
    first, second = (posted.event for posted in endpoint.taken)
    assert (first["frame"], second["frame"]) == (key, "gate/1.jpg")
    assert first["id"] == second["id"]


def test_a_long_listing_is_no_hanging(
    store: Store, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framecap.events.engine._HANGS_AFTER_SECONDS", 1.0)
    monkeypatch.setattr("framecap.sidecars.follower._GATHER_SECONDS", 0.05)
    for number in range(15):
        commit(store, f"door/{number:02}.jpg", NOON, "A dog.")
    real = store.list
    problems: list[str] = []

    def slow(prefix: str = "", after: str = "") -> Iterator[Entry]:
        for entry in real(prefix, after):
            time.sleep(0.1)
            problems.extend(health.not_alive())
            yield entry

    monkeypatch.setattr(store, "list", slow)
    assert once(settings(one_rule(None, [hook(endpoint)])), store, tmp_path).looked_at == 15
    assert problems == []


def test_frames_of_long_ago_may_be_skipped(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    config = settings(one_rule(None, [hook(endpoint)]), max_age_seconds=1e8)
    once(config, store, tmp_path)
    commit(store, "door/1.jpg", NOON - timedelta(days=3000), "A dog.")
    commit(store, "door/2.jpg", NOON, "A cat.")
    assert once(config, store, tmp_path).fired == 1
    assert captions(endpoint) == ["A cat."]


def test_a_dead_endpoint_holds_up_neither_other_rules_nor_the_looking(
    store: Store, endpoint: Endpoint, tmp_path: Path
) -> None:
    with serving_endpoint() as dead:
        dead.answer = dead.hang
        config = settings(
            one_rule(None, [hook(dead), hook(endpoint)], "both"),
            one_rule(None, [{"webhook": {"url": "http://127.0.0.1:1/"}}], "nobody"),
            one_rule(None, [{"command": {"argv": ["sleep", "60"], "timeout_seconds": 0.5}}], "slow"),
        )
        with running(config, store, tmp_path) as state:
            wait_until(lambda: state.position > 0, "it never began")
            for number in range(100):
                commit(store, f"door/{number:03d}.jpg", NOON + timedelta(seconds=number), f"Dog {number}.")
            endpoint.wait_taken(100)
            assert captions(endpoint) == [f"Dog {number}." for number in range(100)]
            assert [state.count(f"{name}")[0] for name in ("both/webhook", "nobody/webhook", "slow/command")] == [100] * 3
            assert 0 < len(dead.posted) < 50, "an endpoint that hangs is not asked for every event"
            dead.ended.set()
            dead.wait_taken(100)
            wait_until(lambda: state.count("both/webhook")[0] == 0, "what was answered still waits")


def test_an_event_that_alone_is_refused_lets_the_others_pass(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    refused = threading.Event()
    endpoint.answer = lambda posted: 400 if posted.event["frame"] == "door/0.jpg" and not refused.is_set() else 200
    with running(settings(one_rule(None, [hook(endpoint)])), store, tmp_path) as state:
        wait_until(lambda: state.position > 0, "it never began")
        for number in range(5):
            commit(store, f"door/{number}.jpg", NOON + timedelta(seconds=number), f"Dog {number}.")
        endpoint.wait_taken(4)
        assert captions(endpoint) == [f"Dog {number}." for number in (1, 2, 3, 4)]
        refused.set()
        endpoint.wait_taken(5)


def test_an_endpoint_that_fails_half_of_the_time_gets_all_in_the_end(
    store: Store, endpoint: Endpoint, tmp_path: Path
) -> None:
    dice = random.Random(1)
    endpoint.answer = lambda posted: dice.choice([200, 500, 503, 404])
    with running(settings(one_rule(None, [hook(endpoint)])), store, tmp_path) as state:
        wait_until(lambda: state.position > 0, "it never began")
        for number in range(50):
            commit(store, f"door/{number:03d}.jpg", NOON + timedelta(seconds=number), f"Dog {number}.")
        endpoint.wait_taken(50)
        wait_until(lambda: state.count("dog/webhook")[0] == 0, "what was answered still waits")
    assert Counter(captions(endpoint)) == Counter(f"Dog {number}." for number in range(50))


def test_what_is_given_up_is_counted_listed_and_delivered_when_asked(
    store: Store, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = lambda posted: 503
    config = settings(one_rule(None, [hook(endpoint)], "late"), give_up_seconds=0.3, max_dead=3)
    once(config, store, tmp_path)
    for number in range(5):
        commit(store, f"door/{number}.jpg", NOON + timedelta(seconds=number), f"Dog {number}.")
    assert once(config, store, tmp_path) == Done(5, 5, 5)
    time.sleep(0.35)
    assert once(config, store, tmp_path).waiting == 0
    state = EventState(tmp_path / "state", store.address)
    assert [one.event.body for one in state.dead()] != []
    assert len(state.dead()) == 3
    assert "answers 503" in str(state.dead()[0].error) or "not tried" in str(state.dead()[0].error)
    endpoint.answer = lambda posted: 200
    assert state.requeue(time.time()) == 3
    state.close()
    assert once(config, store, tmp_path).waiting == 0
    assert captions(endpoint) == ["Dog 2.", "Dog 3.", "Dog 4."]
    counted = {name: value("late", name) for name in ("fired", "dead", "dropped", "delivered")}
    assert counted == {"fired": 5, "dead": 5, "dropped": 2, "delivered": 3}
    assert value("never", "fired") is None
    make_engine(settings(one_rule(name="never")), store, tmp_path / "never")[1].close()
    assert value("never", "fired") == 0.0


def value(rule: str, outcome: str) -> float | None:
    return REGISTRY.get_sample_value("framecap_events_total", {"rule": rule, "outcome": outcome})


def test_an_outbox_that_is_full_gives_the_oldest_up(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.answer = lambda posted: 503
    config = settings(one_rule(None, [hook(endpoint)]), max_waiting=3)
    once(config, store, tmp_path)
    for number in range(8):
        commit(store, f"door/{number}.jpg", NOON + timedelta(seconds=number), f"Dog {number}.")
    once(config, store, tmp_path)
    once(config, store, tmp_path)
    state = EventState(tmp_path / "state", store.address)
    assert [json.loads(one.event.body)["caption"] for one in state.dead()] == [f"Dog {number}." for number in range(5)]
    state.close()


def test_a_store_that_is_away_is_waited_for(
    store: Store, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = store.top, threading.Event()

    def top() -> Iterator[Any]:
        if away.is_set():
            raise StoreUnavailable("away")
        return real()

    monkeypatch.setattr(store, "top", top)
    with running(settings(one_rule(None, [hook(endpoint)])), store, tmp_path) as state:
        wait_until(lambda: state.position > 0, "it never began")
        commit(store, "door/1.jpg", NOON, "A dog.")
        endpoint.wait_taken(1)
        away.set()
        commit(store, "door/2.jpg", NOON, "A dog.")
        time.sleep(0.2)
        assert len(endpoint.taken) == 1
        away.clear()
        endpoint.wait_taken(2)


# The command


def write_settings(folder: Path, *rules: dict[str, Any], **more: Any) -> None:
    quick = {"retry_min_seconds": 0.05, "retry_max_seconds": 0.3, "state": "state", **more}
    text = yaml.safe_dump({"events": {"rules": list(rules), **quick}, "ingest": {"scan_seconds": 0.05}})
    (folder / "config.yaml").write_text(text)


@pytest.mark.faults(1)
def test_killed_at_random_moments_nothing_is_lost_and_what_comes_twice_has_the_same_id(
    store: Store, endpoint: Endpoint, tmp_path: Path, full: bool
) -> None:
    """The endpoint fails now and then as well; a broker gets the same events."""
    dice = random.Random(7)
    kills, frames = (60, 3000) if full else (4, 240)
    endpoint.answer = lambda posted: dice.choice([200, 200, 200, 503])
    (tmp_path / "broker").mkdir()
    with serving_broker(tmp_path / "broker") as broker, broker.listening():
        actions = [hook(endpoint), {"mqtt": {"host": "127.0.0.1", "port": broker.port}}]
        write_settings(tmp_path, {"name": "dog", "when": {"words": ["dog"]}, "do": actions})
        assert command.run("events", "--once", cwd=tmp_path).returncode == 0
        expected = set()
        for number in range(kills):
            with command.start("events", cwd=tmp_path) as process:
                before = len(endpoint.posted)
                for frame in range(frames // kills):
                    name = f"{number:03d}-{frame:04d}"
                    caption = "A dog." if frame % 3 else "A cat."
                    commit(store, f"door/{name}.jpg", NOON + timedelta(seconds=1000 * number + frame), caption)
                    expected |= {f"door/{name}.jpg"} if frame % 3 else set()
                wanted = before + dice.randint(1, 60)
                endpoint.wait_for(lambda wanted=wanted: len(endpoint.posted) >= wanted, "it delivers nothing")  # type: ignore[misc]
                process.kill()
        endpoint.answer = lambda posted: 200
        last = command.run("events", "--once", cwd=tmp_path)
        assert last.returncode == 0, last.stderr
        broker.wait_got(len(expected))
    got = {"webhook": [posted.event for posted in endpoint.taken], "mqtt": [json.loads(body) for _, body, _ in broker.got]}
    for kind, events in got.items():
        assert {event["frame"] for event in events} == expected, kind
        assert len({event["id"] for event in events}) == len(expected), "one id each, however often it came"
        assert len(events) - len(expected) <= kills + 1, "only what was in flight comes twice"


def test_it_ends_when_reported_shows_what_it_does_and_hides_what_is_secret(
    store: Store, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = lambda posted: 200 if posted.path == "/s3cret-path" else 404
    rule = {"name": "dog", "do": [{"webhook": {"url": f"{endpoint.url}/${{HOOK}}", "secret": "s3cret-key"}}]}
    wrong = {"name": "cat", "do": [{"webhook": {"url": f"{endpoint.url}/s3cret-wrong", "secret": "s3cret-key"}}]}
    write_settings(tmp_path, rule, wrong)
    with command.start("events", "--metrics-port", "0", cwd=tmp_path, HOOK="s3cret-path") as process:
        wait_until((tmp_path / "state" / "lock").exists, "it does not start")
        commit(store, "door/1.jpg", NOON, "A dog.")
        endpoint.wait_taken(1)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "answers 404" in errors
    checked = command.run("check", "--runtime", "null", cwd=tmp_path, HOOK="s3cret-path")
    assert f"dog/webhook: {endpoint.url} (nothing was sent)" in checked.stdout
    assert "s3cret" not in out + errors + checked.stdout + checked.stderr


def test_what_would_have_fired_is_shown_and_nothing_is_sent(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    write_settings(
        tmp_path,
        {"name": "dog", "when": {"words": ["dog"], "cooldown_minutes": 5}, "do": [hook(endpoint)]},
        {"name": "cat", "when": {"words": ["cat"]}, "do": [hook(endpoint)]},
    )
    for number, caption in enumerate(["A dog.", "A dog.", "A cat.", None, "A dog."]):
        commit(store, f"door/{number}.jpg", NOON + timedelta(minutes=2 * number), caption)
    shown = command.run("events", "--test", "dog", cwd=tmp_path)
    assert [json.loads(line)["frame"] for line in shown.stdout.splitlines()] == ["door/0.jpg", "door/4.jpg"]
    assert len(command.run("events", "--test", cwd=tmp_path).stdout.splitlines()) == 3
    assert (endpoint.posted, (tmp_path / "state").exists()) == ([], False)
    wrong = command.run("events", "--test", "god", cwd=tmp_path)
    assert (wrong.returncode, "there are: dog, cat" in wrong.stderr) == (2, True)


def test_dead_letters_are_listed_and_put_back(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.answer = lambda posted: 410
    write_settings(tmp_path, {"name": "dog", "do": [hook(endpoint)]}, give_up_seconds=0.05)
    command.run("events", "--once", cwd=tmp_path)
    commit(store, "door/1.jpg", NOON, "A dog.")
    waits = command.run("events", "--once", cwd=tmp_path)
    assert waits.returncode in (0, 1)
    command.run("events", "--once", cwd=tmp_path)
    (line,) = command.run("events", "--dead", cwd=tmp_path).stdout.splitlines()
    assert (json.loads(line)["action"], json.loads(line)["event"]["caption"]) == ("dog/webhook", "A dog.")
    assert json.loads(command.run("events", "--requeue", cwd=tmp_path).stdout) == {"requeued": 1}
    assert command.run("events", "--dead", cwd=tmp_path).stdout == ""


def test_without_rules_or_an_address_it_says_what_to_do(tmp_path: Path) -> None:
    none = command.run("events", cwd=tmp_path)
    assert (none.returncode, "docs/events.md shows how" in none.stderr) == (2, True)
    write_settings(tmp_path, {"name": "dog", "do": [{"command": {"argv": ["true"]}}]})
    nowhere = command.run("events", "--frames", "nowhere", cwd=tmp_path)
    assert (nowhere.returncode, "no such directory" in nowhere.stderr) == (2, True)
    write_settings(tmp_path, {"name": "dog", "when": {"expression": "foo"}, "do": [{"command": {"argv": ["true"]}}]})
    (tmp_path / "frames").mkdir()
    wrong = command.run("events", cwd=tmp_path)
    assert (wrong.returncode, "rule 'dog': expression: at 1:1: undeclared reference" in wrong.stderr) == (2, True)
