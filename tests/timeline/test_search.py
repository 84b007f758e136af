"""Search: what is found and in which order; any input; kept up to date at a cost in proportion; damage, death, company."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framecap.config import IngestConfig, StoreConfig, TimelineConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.frames import sidecar_key
from framecap.sidecars.sidecar import Failure, encode
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.timeline.search.hits import HitPage
from framecap.timeline.search.index import Index, open_index
from framecap.timeline.search.update import Updated
from tests.command import environment
from tests.sidecars.committing import NOON, SECOND, commit, make, own, replace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path / "frames")))


@pytest.fixture
def index(store: Store, tmp_path: Path) -> Index:
    return Index(store, tmp_path / "cache" / "index.sqlite", gap_seconds=60)


def caption(store: Store, second: float, text: str | None, camera: str = "door", confidence: float = 0.5) -> str:
    changed = {} if text is None else {"confidence": confidence}
    return commit(store, own(camera, NOON + second * SECOND), caption=text, **changed)


def many(store: Store, count: int) -> None:
    """Sidecars that nobody needs to be durable."""
    assert store.directory is not None
    for number in range(count):
        key = own("door", NOON + 100 * number * SECOND)
        path = store.directory / sidecar_key(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(make(key, caption=f"Dog {number}.")))


def found(index: Index, text: str, **how: object) -> list[str]:
    return [hit.caption for hit in index.search(text, **how).hits]  # type: ignore[arg-type]


@pytest.fixture
def filled(store: Store, index: Index) -> Index:
    caption(store, 0, "A dog runs on the beach.")
    caption(store, 1000, "Two dogs are running on grass.")
    caption(store, 2000, "A man on a beach with a red ball.", "yard")
    caption(store, 3000, "A cat.", confidence=0.9)
    caption(store, 4000, None)
    commit(store, "photos/a.jpg", NOON + 5000 * SECOND, "A dog near a dog.")
    assert index.update() == Updated(read=6, full=True)
    return index


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("dog beach", ["A dog runs on the beach."]),
        ("beach DOG", ["A dog runs on the beach."]),
        ("run", ["Two dogs are running on grass.", "A dog runs on the beach."]),
        ("running dogs", ["Two dogs are running on grass.", "A dog runs on the beach."]),
        ('"dog runs"', ["A dog runs on the beach."]),
        ('"runs dog"', []),
        ('"dog runs', ["A dog runs on the beach."]),
        ("beach -dog", ["A man on a beach with a red ball."]),
        ("gra*", ["Two dogs are running on grass."]),
        ("dog -beach -grass", ["A dog near a dog."]),
        ("zebra", []),
        ("c1", []),
        ("all", []),
        ("place", []),
        ("dog, beach!", ["A dog runs on the beach."]),
        ("caption:dog", []),
        ("dog (beach", ["A dog runs on the beach."]),
    ],
)
def test_what_is_found(filled: Index, asked: str, expected: list[str]) -> None:
    assert found(filled, asked, newest=True) == expected


def test_the_best_of_the_newest_come_first(filled: Index) -> None:
    assert found(filled, "dog") == [
        "A dog near a dog.",  # two of five words
        "Two dogs are running on grass.",  # as the next one, and newer
        "A dog runs on the beach.",
    ]
    (hit,) = filled.search("dog beach").hits
    assert hit.score == pytest.approx(2 / 6 * 0.5)
    assert hit.parts == (("A ", False), ("dog", True), (" runs on the ", False), ("beach", True), (".", False))
    assert (hit.camera, hit.start, hit.frames, hit.key) == ("door", NOON, 1, own("door", NOON))


def test_without_words_the_newest_come(filled: Index) -> None:
    everything = ["A dog near a dog.", "A cat.", "A man on a beach with a red ball.", "Two dogs are running on grass."]
    assert found(filled, "", limit=4) == everything
    assert found(filled, "... !?", limit=2) == everything[:2]
    assert found(filled, "-dog") == ["A cat.", "A man on a beach with a red ball."]


def test_by_camera_and_time(filled: Index) -> None:
    assert found(filled, "beach", camera="yard") == ["A man on a beach with a red ball."]
    assert found(filled, "beach", camera="nowhere") == []
    assert found(filled, "dog", since=NOON + SECOND, until=NOON + 5000 * SECOND) == ["Two dogs are running on grass."]
    assert found(filled, "dog", until=NOON) == []
    assert len(found(filled, "dog", since=NOON, until=NOON + 0.001 * SECOND)) == 1
    assert found(filled, "", camera="door", limit=1) == ["A cat."]


def test_neighbours_that_say_the_same_are_one_hit(store: Store, index: Index) -> None:
    for second in range(50):
        caption(store, second, "A dog." if second % 2 else "a dog", confidence=second / 100)
    caption(store, 20.5, "A dog.", "yard")
    caption(store, 200, "A dog.")
    index.update()
    late, run, yard = index.search("dog", newest=True).hits
    assert (late.frames, run.frames, yard.frames) == (1, 50, 1)
    assert (run.start, run.end, run.key) == (NOON, NOON + 49 * SECOND, own("door", NOON + 49 * SECOND))


@pytest.mark.parametrize("at_most", [3, 10_000])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_leave_out_nothing_and_the_last_one_says_so(
    store: Store, index: Index, monkeypatch: pytest.MonkeyPatch, at_most: int, limit: int
) -> None:
    """Of frames of one instant, and of one hit that has more matches than are looked at."""
    monkeypatch.setattr("framecap.timeline.search.hits._MATCHES_AT_MOST", at_most)
    for number in range(4):
        commit(store, f"photos/{number}.jpg", NOON, f"Dog {number}.")
    for second in range(100, 107):
        caption(store, second, "A dog.")
    index.update()
    page = index.search("dog", limit=limit, newest=True)
    frames = sum(hit.frames for hit in page.hits)
    while page.before is not None:
        assert page.more
        page = index.search("dog", limit=limit, newest=True, before=page.before)
        frames += sum(hit.frames for hit in page.hits)
    assert frames == 11
    assert not page.more


def test_whether_there_is_more_than_the_best(filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [filled.search("dog", limit=limit).more for limit in (2, 3)] == [True, False]
    monkeypatch.setattr("framecap.timeline.search.hits._MATCHES_AT_MOST", 2)
    assert filled.search("dog", limit=3).more


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.text() | st.text(alphabet="ab -*\"'():^{}+.\0\ud800NEAROT", max_size=30))
def test_nothing_that_is_typed_is_an_error(filled: Index, asked: str) -> None:
    for camera in (None, "door"):
        assert isinstance(filled.search(asked, camera=camera).hits, list)


def test_an_update_reads_what_is_new_and_nothing_else(store: Store, filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = store.read_sidecar
    monkeypatch.setattr(store, "read_sidecar", lambda key: read.append(key) or real(key))
    assert filled.update() == Updated()
    key = caption(store, 6000, "A horse.")
    again = Index(store, filled.path, gap_seconds=60)  # as the next command does
    assert again.update() == Updated(read=1)
    assert read == [key]
    assert again.update(full=True) == Updated(full=True)
    assert read == [key]
    assert found(filled, "horse") == ["A horse."]


def test_an_update_lists_from_where_its_cameras_stood(store: Store, filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[tuple[str, str]] = []
    real = store.list
    monkeypatch.setattr(store, "list", lambda prefix="", after="": listed.append((prefix, after)) or real(prefix, after))
    Index(store, filled.path, gap_seconds=60).update()
    assert sorted(prefix for prefix, after in listed if after) == ["door/", "yard/"]
    assert [prefix for prefix, after in listed if not after] == ["photos/"]


def test_what_is_replaced_or_deleted_is_noticed(store: Store, filled: Index) -> None:
    assert store.directory is not None
    replace(store, own("door", NOON + 4000 * SECOND), "A horse, at last.")
    (store.directory / (own("yard", NOON + 2000 * SECOND) + ".json")).unlink()
    replace(store, "photos/a.jpg", "A zebra.", NOON)
    assert filled.update() == Updated(read=2)
    assert filled.update(full=True) == Updated(removed=1, full=True)
    assert found(filled, "horse") == ["A horse, at last."]
    assert found(filled, "ball") == []
    assert found(filled, "near") == []
    assert found(filled, "", limit=9)[-1:] == ["A dog runs on the beach."]
    assert found(filled, "zebra", until=NOON + SECOND) == ["A zebra."]


def test_many_frames_of_one_moment(store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.timeline.search.rows._CAPACITY", 2)
    for number in range(11):
        commit(store, f"photos/{number:02}.jpg", NOON, f"Photo {number}.")
    commit(store, "photos/later.jpg", NOON + SECOND, "The last photo.")
    index.update()
    assert found(index, "photo", newest=True) == ["The last photo.", *(f"Photo {number}." for number in reversed(range(11)))]


def test_keys_whose_sidecars_sort_otherwise(store: Store, index: Index) -> None:
    """a.jpg sorts before a.jpg.jpg, and its sidecar after that one's."""
    for number, key in enumerate(["a.jpg", "a.jpg.jpg", "a.jpg.jpg.jpg", "a-b.jpg", "ü/ü.jpg"]):
        commit(store, key, NOON + 100 * number * SECOND, f"Photo {number}.")
    assert index.update() == Updated(read=5, full=True)
    assert index.update(full=True) == Updated(full=True)
    assert len(found(index, "photo")) == 5


@pytest.mark.parametrize("harm", ["rubbish", "cut", "no_table", "older", "gone"])
def test_a_damaged_or_older_index_is_made_anew(filled: Index, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "framecap")
    if harm == "gone":
        filled.path.unlink()
    elif harm == "rubbish":
        filled.path.write_bytes(b"no database at all " * 999)
    elif harm == "cut":
        with closing(sqlite3.connect(filled.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.truncate(filled.path, filled.path.stat().st_size // 2)
    else:
        with closing(sqlite3.connect(filled.path)) as connection, connection:
            connection.execute("DROP TABLE captions" if harm == "no_table" else "PRAGMA user_version = 0")
    assert found(filled, "dog") in ([], ["A dog near a dog.", "Two dogs are running on grass.", "A dog runs on the beach."])
    filled.update(full=True)
    assert len(found(filled, "dog")) == 3
    assert found(filled, "zebra") == []
    assert filled.update() == Updated()


def test_one_updates_while_others_read(store: Store, filled: Index) -> None:
    caption(store, 6000, "A horse.")
    lock = filled.path.with_name(filled.path.name + ".lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert filled.update() == Updated(busy=True)
        assert len(found(filled, "dog")) == 3
    assert filled.update() == Updated(read=1)


def test_updates_and_searches_from_many_threads(store: Store, filled: Index) -> None:
    outage: list[BaseException] = []
    over = threading.Event()

    def guarded(work: object) -> None:
        try:
            while not over.is_set():
                work()  # type: ignore[operator]
        except BaseException as error:
            outage.append(error)

    other = Index(store, filled.path, gap_seconds=60)
    works = [filled.update, other.update, lambda: filled.search("dog"), lambda: other.search("horse")]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for number in range(30):
        caption(store, 7000 + 100 * number, f"Horse {number}.")
    while len(found(filled, "horse", limit=50)) < 30 and not outage:
        pass
    over.set()
    for thread in threads:
        thread.join(20)
    assert outage == []


UPDATE = """
import sys
from pathlib import Path
from framecap.config import StoreConfig
from framecap.frames import sidecar_key
from framecap.sidecars.sidecar import encode
from framecap.stores import open_store
from framecap.timeline.search.index import Index
read = 0
def on_read():
    global read
    read += 1
    print(read, flush=True)
Index(open_store(StoreConfig(frames=sys.argv[1])), Path(sys.argv[2]), gap_seconds=60).update(on_read=on_read)
"""


@pytest.mark.parametrize("after", [10, 700])
def test_killed_in_the_middle_it_goes_on(store: Store, index: Index, after: int) -> None:
    """500 sidecars are written at once: the kill is within the first or the second transaction."""
    many(store, 1200)
    killed = subprocess.Popen(
        [sys.executable, "-c", UPDATE, str(store.directory), str(index.path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    while int(killed.stdout.readline()) < after:
        pass
    killed.kill()
    killed.wait()
    killed.stdout.close()
    there = len(index.search("dog", limit=5000).hits)
    assert there in (0, 500, 1000)
    assert index.update() == Updated(read=1200 - there, full=True)
    assert len(index.search("dog", limit=5000).hits) == 1200
    with closing(sqlite3.connect(index.path)) as connection:
        connection.execute("INSERT INTO captions (captions, rank) VALUES ('integrity-check', 1)")


def test_a_store_that_goes_away_in_the_middle(store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    many(store, 600)
    real = store.read_sidecar
    calls = 0

    def fails(key: str) -> bytes | None:
        nonlocal calls
        calls += 1
        if calls > 550:
            raise StoreUnavailable("away")
        return real(key)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_sidecar", fails)
        with pytest.raises(StoreUnavailable):
            index.update()
    assert index.update() == Updated(read=100, full=True)


def test_a_full_update_is_due_now_and_then(store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    caption(store, 0, "A dog.")
    assert index.update().full
    assert not index.update().full
    monkeypatch.setattr("framecap.timeline.search.update.time.time", lambda: 4e9)
    assert index.update().full


def test_where_the_index_is(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def path(frames: str, **where: str) -> Path:
        return open_index(store, StoreConfig(frames=frames, **where), TimelineConfig(), IngestConfig()).path

    assert path("frames") == path(str(tmp_path / "frames")) == path("./frames/")
    assert path("frames").parent == tmp_path / "cache" / "framecap" / "search"
    assert path("frames").name.startswith("frames-")
    different = [path("frames"), path("other/frames"), path("frames", sidecars="s3://b/p"), path("s3://b/p")]
    assert len(set(different)) == len(different)
    given_folder = TimelineConfig(index=str(tmp_path / "own"))
    assert open_index(store, StoreConfig(), given_folder, IngestConfig()).path.parent == tmp_path / "own"


def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"timeline\.index: the search index cannot be kept in .*file"):
        Index(store, tmp_path / "file" / "index.sqlite", gap_seconds=60).update()


def test_nothing_is_searched_before_the_first_update(index: Index) -> None:
    assert index.search("dog") == HitPage([])
    assert not index.path.exists()


def test_failed_frames_are_known_with_their_reason(store: Store, index: Index) -> None:
    assert index.failed().kinds == {}
    keys = [own("door", NOON + second * SECOND) for second in range(3)]
    for number, key in enumerate(keys):
        commit(store, key, error=Failure(kind="truncated" if number else "empty", message="broken", attempts=1))
    caption(store, 4, "A dog.")
    index.update()
    page = index.failed(limit=2)
    assert page.kinds == {"truncated": 2, "empty": 1}
    assert [(frame.key, frame.kind, frame.message) for frame in page.frames] == [
        (key, "truncated", "broken") for key in (keys[2], keys[1])
    ]
    assert page.frames[0].at == NOON + 2 * SECOND
    rest = index.failed(before=page.before, limit=2)
    assert [frame.key for frame in rest.frames] == keys[:1]
    assert rest.before is None
    assert [frame.key for frame in index.failed("empty").frames] == keys[:1]
    replace(store, keys[0], "A dog.")
    index.update(full=True)
    assert index.failed().kinds == {"truncated": 2}


def test_frames_of_any_year(store: Store, index: Index) -> None:
    for number, year in enumerate((1, 1600, 2248, 2300, 9999, 9999)):
        commit(store, f"photos/{number}.jpg", NOON.replace(year=year), f"Dog {number}.")
    caption(store, 0, "A cat.")
    assert index.update().read == 7
    assert len(found(index, "dog", limit=9)) == 6
    assert found(index, "dog", since=NOON.replace(year=2301), newest=True) == ["Dog 5.", "Dog 4."]
