"""What an older model captioned is captioned again: whose captions, what stays, and what a kill leaves."""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framecap.captioning.runtimes.null import NullCaptioner
from framecap.config import IngestConfig, WorkerConfig
from framecap.errors import ConfigError, NonFiniteOutput
from framecap.sidecars import sidecar
from framecap.sidecars.sidecar import Frame, Model, Sidecar
from framecap.upkeep.recaption import WrittenBy
from framecap.upkeep.retry import RetryIngest, chosen_frames
from framecap.worker.run import WorkSummary, run_worker
from tests import command
from tests.stores.killed import store_of
from tests.worker.fakes import ScriptedCaptioner, check_oracle, fill, local_store
from tests.worker.images import encoded, scene

GOOD = encoded(scene(32, 24))
OLD, OTHER = "a1b2c3" + "0" * 58, "ffff00" + "1" * 58
NOW = NullCaptioner().model.bundle_hash


def captioned(key: str, name: str, bundle: str, **changes: object) -> bytes:
    made = Sidecar(
        status="captioned",
        frame=Frame(key=key, camera=key.partition("/")[0], captured_at=datetime(2026, 11, 22, tzinfo=UTC)),
        caption="An old caption.",
        model=Model(name=name, bundle=bundle, runtime="onnxruntime"),
        worker=sidecar.Worker(host="there", pid=1, version="0"),
        committed_at=datetime(2026, 11, 22, tzinfo=UTC),
    )
    return sidecar.encode(made.model_copy(update=changes))


def fill_captioned(root: Path, models: dict[str, tuple[str, str]]) -> None:
    fill(root, dict.fromkeys(models, GOOD))
    fill(root, {f"{key}.json": captioned(key, *model) for key, model in models.items()})


MODELS = {
    "a/1.jpg": ("default", OLD),
    "a/2.jpg": ("default", OTHER),
    "a/3.jpg": ("mine", OLD),
    "b/1.jpg": ("default", OLD),
    "b/2.jpg": ("default", NOW),
}


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (WrittenBy("default", NOW), {"a/1.jpg", "a/2.jpg", "b/1.jpg", "c/copy.jpg"}),
        (WrittenBy("mine", NOW), {"a/3.jpg"}),
        (WrittenBy(OLD, NOW), {"a/1.jpg", "a/3.jpg", "b/1.jpg", "c/copy.jpg"}),
        (WrittenBy("a1b2c3", NOW), {"a/1.jpg", "a/3.jpg", "b/1.jpg", "c/copy.jpg"}),
        (WrittenBy("a1b2c3", NOW, camera="b"), {"b/1.jpg"}),
        (WrittenBy("a1b2", NOW), set()),
        (WrittenBy("def", NOW), set()),
    ],
)
def test_whose_captions(tmp_path: Path, choice: WrittenBy, keys: set[str]) -> None:
    fill_captioned(tmp_path, MODELS)
    copy = captioned("c/copy.jpg", "default", OLD, status="duplicate", duplicate_of="a/1.jpg")
    fill(tmp_path, {"c/copy.jpg": GOOD, "c/copy.jpg.json": copy, "c/pending.jpg": GOOD})
    fill(
        tmp_path,
        {
            "c/failed.jpg": GOOD,
            "c/failed.jpg.json": b'{"status": "failed", "frame": {}, "error": {"kind": "empty", "message": ""}}',
        },
    )
    assert {read.frame.key for read in chosen_frames(local_store(tmp_path), choice, None)} == keys


def test_the_model_that_writes_now_is_no_older_one() -> None:
    with pytest.raises(ConfigError, match="is the model that is to write now"):
        WrittenBy(NOW[:12], NOW)


def recaption(root: Path, kind: str, captioner: ScriptedCaptioner | NullCaptioner) -> WorkSummary:
    store = store_of(kind, root.resolve())
    finish = threading.Event()
    finish.set()
    chosen = chosen_frames(store, WrittenBy(OLD, captioner.model.bundle_hash), None)
    ingest = RetryIngest(IngestConfig(settle_seconds=0.3), store, chosen)
    ingest.start()
    try:
        return run_worker(WorkerConfig(decoders=1), store, ingest, captioner, threading.Event(), finish)
    finally:
        ingest.close()


@pytest.mark.parametrize("kind", ["local", "mounted"])
def test_a_caption_is_never_replaced_by_a_failure(tmp_path: Path, kind: str) -> None:
    fill_captioned(tmp_path, {f"a/{n}.jpg": ("default", OLD) for n in range(6)})
    (tmp_path / "a/0.jpg").write_bytes(b"<html>")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    failing = ScriptedCaptioner(lambda images: [NonFiniteOutput("NaN")] * len(images))
    done = recaption(tmp_path, kind, failing)
    assert (done.captioned, done.failed) == (0, 6)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
    done = recaption(tmp_path, kind, NullCaptioner(32))
    assert (done.captioned, done.failed) == (5, 1)


@pytest.mark.faults(1)
def test_a_killed_one_has_lost_nothing_and_goes_on(tmp_path: Path) -> None:
    count = 120
    fill_captioned(tmp_path, {f"camera-{n % 7}/{n}.jpg": ("null", OLD) for n in range(count)})
    reported: list[str] = []
    arguments = ("recaption", "--model", "null", "--runtime", "null", "--frames", tmp_path)
    for kill in range(2):
        with command.start(*arguments, cwd=tmp_path) as process:
            assert process.stdout is not None
            reported += [json.loads(line)["key"] for line, _ in zip(process.stdout, range(1 + kill), strict=False)]
            process.kill()
            reported += [json.loads(line)["key"] for line in process.stdout if line.endswith("\n")]
        assert len(list(tmp_path.rglob("*.json"))) == count
    rest = command.run(*arguments, cwd=tmp_path)
    assert rest.returncode == 0, rest.stderr
    reported += [json.loads(line)["key"] for line in rest.stdout.splitlines()]
    made = check_oracle(tmp_path)
    assert {one.model.bundle for one in made.values() if one.model} == {NOW}
    assert max(Counter(reported).values()) == 1
    assert command.run(*arguments, cwd=tmp_path).stdout == "", "nothing is left to do"


def test_a_dry_run_shows_and_changes_nothing(tmp_path: Path) -> None:
    fill_captioned(tmp_path, MODELS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    arguments = ("recaption", "--runtime", "null", "--frames", tmp_path, "--dry-run")
    done = command.run(*arguments, "--model", "a1b2c3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["key"], line["caption"]) for line in shown] == [
        (key, "An old caption.") for key in ("a/1.jpg", "a/3.jpg", "b/1.jpg")
    ]
    assert done.stderr == "3 frames would be captioned again\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_why_there_is_nothing_to_do_is_reported(tmp_path: Path) -> None:
    fill_captioned(tmp_path, {"a/1.jpg": ("default", OLD), "b/1.jpg": ("null", NOW)})
    arguments = ("recaption", "--runtime", "null", "--frames", tmp_path)
    unknown = f"no sidecar names model 'nosuch'; there are: default ({OLD[:12]}), null ({NOW[:12]})"
    in_use = f"null ({NOW[:12]}) is the model in use: nothing to do"
    for model, exit_code, output in (("nosuch", 2, unknown), ("null", 0, in_use)):
        done = command.run(*arguments, "--model", model, "--dry-run", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (exit_code, "")
        assert output in done.stderr
        done = command.run(*arguments, "--model", model, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, ""), "to start it again when all is done is no mistake"
        assert output in done.stderr
    done = command.run(*arguments, "--model", "default", "--camera", "c", "--dry-run", cwd=tmp_path)
    assert (done.returncode, "there is nothing of 'c' here; there are: a, b" in done.stderr) == (2, True)
