"""What store, ingest and commit promise together, in whatever order things happen: a state machine, on each kind of store.

Two workers share a place without knowing of each other. Frames come, change, come late and go; events are lost, doubled and
late; workers die with frames in their hands, also in the middle of a commit. Only the pending set's clock is a made one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from framecap.captioning.caption import ModelName
from framecap.config import IngestConfig, StoreConfig
from framecap.errors import EmptyFrame, FrameGone
from framecap.frames import FrameName, is_frame_key, make_key, parse_key
from framecap.ingest.admission import Admission
from framecap.ingest.pending import Pending
from framecap.ingest.scanner import ScanIngest, ScanLease
from framecap.sidecars import sidecar
from framecap.stores import open_store
from framecap.stores.base import CommitResult, PutResult, Store
from framecap.stores.directory import DirectoryStore
from framecap.stores.local_backend import LocalBackend
from framecap.stores.mount_backend import MountBackend
from framecap.worker.jobs import Job
from framecap.worker.sidecar_records import record
from tests.s3 import Bucket, MountedBucket
from tests.worker.fakes import A_CAPTION

LOOKING = IngestConfig(scan_seconds=2, settle_seconds=10, lookback_seconds=640, hints="off")
BEGIN = datetime(2025, 1, 1, 9, 55, tzinfo=UTC)
FOREIGN = ("yard/IMG 1.jpg", "yard/deep/er/b+c.png", "a/1 not ours.jpeg", "loose.webp")
SCANS_OF_A_LOOKBACK = 64  # so many scans look back all the way once
MODEL = ModelName("none", "1" * 64, "none")


class Outside(Protocol):
    """The place as everybody else sees it: cameras, other programs, people."""

    def put(self, path: str, data: bytes) -> None: ...

    def replace(self, path: str, data: bytes) -> None: ...

    def delete(self, path: str) -> None: ...

    def get(self, path: str) -> bytes: ...

    def paths(self) -> list[str]: ...


@dataclass(frozen=True)
class Directory:
    root: Path

    def put(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def replace(self, path: str, data: bytes) -> None:
        self.put(path, data)

    def delete(self, path: str) -> None:
        (self.root / path).unlink()

    def get(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def paths(self) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()]


@dataclass(frozen=True)
class Objects(Bucket):
    def replace(self, path: str, data: bytes) -> None:
        self.put(path, data)

    def delete(self, path: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=self.prefix + path)


@dataclass(frozen=True)
class BehindAMount(Objects):
    """New frames come from another host. Changes go through the workers' mount: it may take 15 minutes to see others'."""

    mount: Directory

    def replace(self, path: str, data: bytes) -> None:
        self.mount.put(path, data)

    def delete(self, path: str) -> None:
        self.mount.delete(path)


@dataclass
class Worker:
    """An ingest, and the frames in its hand: what was read of each, and when it was listed."""

    ingest: ScanIngest
    in_flight: list[tuple[Job, bytes]] = field(default_factory=list)


class Contract(RuleBasedStateMachine):
    """`there`: the frames that the place holds. `captioned`: what the frame was when its sidecar was committed."""

    def __init__(self, store: Store, outside: Outside) -> None:
        super().__init__()
        self.store = store
        self.outside = outside
        self.now = 1000.0
        self.workers = [self.new_worker(number) for number in range(2)]
        self.newest = {"a": BEGIN, "b": BEGIN}
        self.numbers = itertools.count()
        self.there: dict[str, bytes] = {}
        self.events: list[tuple[str, bool]] = []
        self.captioned: dict[str, bytes] = {}
        self.commits: Counter[str] = Counter()
        self.replaces: set[str] = set()

    def new_worker(self, number: int) -> Worker:
        """The first one has room for a few frames only."""
        ingest = ScanIngest(LOOKING, self.store, None)
        admission = Admission(2, least=1) if number == 0 else Admission()
        ingest.pending = Pending(LOOKING.settle_seconds, LOOKING.scan_seconds / 2, lambda: self.now, admission)
        return Worker(ingest)

    @initialize(is_running=st.booleans())
    def begin(self, is_running: bool) -> None:
        """In half of the cases the workers know the cameras."""
        if is_running:
            for camera in self.newest:
                self.create(camera, 0, through_us=False)
            for number in range(2):
                self.scan(number, LOOKING.scan_seconds)

    # --- what others do ---

    @rule(camera=st.sampled_from(["a", "b"]), seconds=st.sampled_from([0, 1, 700]), through_us=st.booleans())
    def create(self, camera: str, seconds: int, through_us: bool) -> None:
        self.newest[camera] += timedelta(seconds=seconds)
        key = make_key(FrameName(camera, self.newest[camera], next(self.numbers)))
        self.appear(key, self.content(), through_us)

    @rule(camera=st.sampled_from(["a", "b"]), seconds=st.sampled_from([1, 9, 11, 600, 639, 7000]))
    def create_late(self, camera: str, seconds: int) -> None:
        """A spool that is delivered, a second writer, a clock that jumped."""
        key = make_key(FrameName(camera, self.newest[camera] - timedelta(seconds=seconds), next(self.numbers)))
        self.appear(key, self.content(), through_us=False)

    @rule(key=st.sampled_from(FOREIGN), is_empty=st.booleans())
    def create_foreign(self, key: str, is_empty: bool) -> None:
        if key not in self.there:
            self.appear(key, b"" if is_empty else self.content(), through_us=False)

    def content(self) -> bytes:
        return b"%06d" % next(self.numbers)

    def appear(self, key: str, data: bytes, through_us: bool) -> None:
        if through_us:
            assert self.store.put_frame(key, data) is PutResult.STORED
            assert self.store.put_frame(key, b"other") is PutResult.ALREADY_THERE
        else:
            self.outside.put(key, data)
        self.there[key] = data
        self.events.append((key, bool(data)))

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.there)))
        self.there[key] = self.content() + b"." * data.draw(st.integers(0, 2))
        self.outside.replace(key, self.there[key])
        self.events.append((key, True))

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.there)))
        self.outside.delete(key)
        del self.there[key]

    @precondition(lambda self: self.events)
    @rule(data=st.data(), number=st.integers(0, 1), times=st.integers(1, 2))
    def tell(self, data: st.DataObject, number: int, times: int) -> None:
        """An event comes at last, once or twice; those that are never told are lost."""
        event = data.draw(st.sampled_from(self.events))
        for _ in range(times):
            self.workers[number].ingest._on_file(*event)

    # --- what workers do ---

    @rule(number=st.integers(0, 1), seconds=st.sampled_from([0.1, 2.0]))
    def scan(self, number: int, seconds: float) -> None:
        self.now += seconds
        ingest = self.workers[number].ingest
        full, ingest._full_wanted = ingest._full_wanted, False
        ingest.scan(full)
        ingest.refill()

    @rule(number=st.integers(0, 1))
    def scan_all(self, number: int) -> None:
        self.workers[number].ingest._full_wanted = True
        self.scan(number, 2.0)

    @rule(number=st.integers(0, 1))
    def lease(self, number: int) -> None:
        worker = self.workers[number]
        lease = worker.ingest.lease(0)
        if lease is not None:
            assert all(lease.entry.key != job.key for job, _ in worker.in_flight), "in two hands"
            self.take(worker, lease)

    def take(self, worker: Worker, lease: ScanLease) -> None:
        job = Job(lease, lease.entry)
        try:
            job.entry = self.store.stat(job.key)
            data = self.store.read(job.key, 100)
            seconds = 0.0 if data else lease.settles_in()
        except FrameGone:
            lease.done()
            return
        if seconds > 0:
            lease.release(seconds, counts=False)
            return
        job.sha256 = hashlib.sha256(data).hexdigest()
        job.model = MODEL
        job.outcome = A_CAPTION if data else EmptyFrame("empty")
        worker.in_flight.append((job, data))

    @precondition(lambda self: any(worker.in_flight for worker in self.workers))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.in_flight]))
        self.write(worker, data.draw(st.integers(0, len(worker.in_flight) - 1)))

    def write(self, worker: Worker, number: int) -> None:
        job, data = worker.in_flight.pop(number)
        made = sidecar.encode(record(job))
        try:
            if self.store.stat(job.key) != job.entry:
                job.lease.release(0, counts=False)
                return
        except FrameGone:
            job.lease.done()
            return
        if job.lease.replaces is None:
            outcome = self.store.commit_sidecar(job.key, made)
        else:
            outcome = self.store.replace_sidecar(job.key, made, if_match=job.lease.replaces)
        if outcome is CommitResult.COMMITTED:
            assert self.there[job.key] == data, "a sidecar about an image that is gone"
            self.commits[job.key] += 1
            self.captioned[job.key] = data
            self.replaces.discard(job.key)
        job.lease.done()

    @rule(number=st.integers(0, 1))
    def crash(self, number: int) -> None:
        self.workers[number] = self.new_worker(number)

    @precondition(lambda self: any(worker.in_flight for worker in self.workers))
    @rule(data=st.data(), is_empty=st.booleans())
    def crash_in_commit(self, data: st.DataObject, is_empty: bool) -> None:
        """What a death leaves on a mount: an empty or torn sidecar. A bucket never has a torn one."""
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.in_flight]))
        job, _ = worker.in_flight[0]
        if self.commits[job.key] == 0:
            whole = sidecar.encode(record(job))
            is_empty |= self.store.whole_sidecars
            self.outside.put(f"{job.key}.json", b"" if is_empty else whole[: len(whole) // 2])
            self.replaces.add(job.key)
        self.crash(self.workers.index(worker))

    # --- what holds ---

    @invariant()
    def nothing_is_committed_twice(self) -> None:
        assert [key for key, count in self.commits.items() if count > 1] == []

    def teardown(self) -> None:
        """Cheap scans find all but what is where nobody looks, or torn and come back; new workers find that as well."""
        near = {key for key in self.there if key not in self.replaces and not self.is_out_of_sight(key)}
        self.work_until_there(near, SCANS_OF_A_LOOKBACK + 10)
        for number in range(2):
            self.crash(number)
        self.work_until_there(set(self.there), 10)
        self.check()

    def is_out_of_sight(self, key: str) -> bool:
        """Older than the lookback, or the first foreign key among a camera's own."""
        name = parse_key(key)
        if name is None:
            return key.startswith("a/")
        return self.newest[name.camera] - name.captured_at > timedelta(seconds=LOOKING.lookback_seconds)

    def work_until_there(self, keys: set[str], scans: int) -> None:
        missing: set[str] = set()
        for _ in range(scans):
            for number, worker in enumerate(self.workers):
                self.scan(number, LOOKING.scan_seconds)
                while (lease := worker.ingest.lease(0)) is not None:
                    self.take(worker, lease)
                while worker.in_flight:
                    self.write(worker, 0)
            missing = keys - self.captioned.keys()
            if not missing:
                return
        assert not missing

    def check(self) -> None:
        """The oracle of the fault table, from outside."""
        self.nothing_is_committed_twice()
        paths = set(self.outside.paths())
        assert {path for path in paths if is_frame_key(path)} == self.there.keys(), "no frame is touched"
        assert {f"{key}.json" for key in self.there} <= paths
        for key, data in self.captioned.items():
            made = sidecar.decode(self.outside.get(f"{key}.json"))
            assert made.frame.key == key
            assert made.frame.sha256 == hashlib.sha256(data).hexdigest()


# When it fails, the shortest way to fail is searched for, which takes its time.
pytestmark = [pytest.mark.faults(21), pytest.mark.timeout(900)]

Figure = Callable[[str], None]
Address = Callable[[str], tuple[Store, Outside]]


def run(address: Address, examples: int, steps: int, figure: Figure) -> None:
    """As many histories, each in a place of its own."""
    numbers = itertools.count()

    class Here(Contract):
        def __init__(self) -> None:
            super().__init__(*address(str(next(numbers))))

    checks = list(HealthCheck)  # of how long an example takes: as long as the store
    run_state_machine_as_test(
        Here,
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks),
    )
    figure(f"{examples} histories of up to {steps} steps, each with two workers: 0 missing, 0 double, 0 wrong")


@pytest.mark.parametrize("kind", [LocalBackend, MountBackend])
def test_in_a_directory(kind: type[LocalBackend | MountBackend], tmp_path: Path, full: bool, figure: Figure) -> None:
    """Also as a mount is written to, on a disk: the same steps, hundreds of times as quick."""

    def address(name: str) -> tuple[Store, Outside]:
        root = tmp_path.resolve() / name
        root.mkdir()
        return DirectoryStore(kind(root)), Directory(root)

    run(address, 300 if full else 25, 50, figure)


def test_in_a_bucket(bucket: Bucket, full: bool, figure: Figure) -> None:
    def address(name: str) -> tuple[Store, Outside]:
        objects = Objects(bucket.server, bucket.name, f"{bucket.prefix}{name}/", bucket.client)
        return objects.store(), objects

    run(address, 30 if full else 4, 50 if full else 30, figure)


def test_on_a_mount(mounted_bucket: MountedBucket, full: bool, figure: Figure) -> None:
    client = mounted_bucket.server.client()

    def address(name: str) -> tuple[Store, Outside]:
        root = mounted_bucket.path / name
        store = open_store(StoreConfig(frames=str(root)))
        return store, BehindAMount(mounted_bucket.server, mounted_bucket.bucket, f"{name}/", client, Directory(root))

    run(address, 30 if full else 4, 50 if full else 30, figure)
