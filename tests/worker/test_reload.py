"""Another model while the worker runs: by real signals, with frames in flight, and what happens when it does not load."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framecap.captioning.caption import Caption, Images, ModelName
from framecap.config import WorkerConfig
from framecap.errors import BundleError
from framecap.runtime.signals import reload_on_sighup, stop_on_signals
from framecap.worker.reload import Reload
from framecap.worker.run import run_worker
from tests import command
from tests.worker.fakes import ScriptedCaptioner, check_oracle, fill, ingest_of, local_store
from tests.worker.images import encoded, scene

GOOD = encoded(scene(96, 64))


class Sized(ScriptedCaptioner):
    """A captioner that only takes images of its own size, and says which."""

    def __init__(self, size: int, then: Callable[[], object] = lambda: None) -> None:
        super().__init__(self._answers)
        self.image_size, self.model, self._then = size, ModelName(f"of {size}", str(size % 10) * 64, "scripted"), then

    def _answers(self, images: Images) -> list[Caption]:
        assert images.shape[1:] == (self.image_size, self.image_size, 3)
        self._then()
        return [Caption(f"Size {self.image_size}.", 0.5, (), ())] * len(images)


def test_a_model_of_another_image_size_takes_over_between_batches(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{n:03}.jpg": GOOD for n in range(120)})
    changed = threading.Event()

    def load() -> Sized:
        return Sized(48)

    def change_after_the_first() -> None:
        if not changed.is_set():
            changed.set()
            reload.ask()

    reload = Reload(load)
    committed, finish = [], threading.Event()
    finish.set()
    with ingest_of(local_store(tmp_path)) as ingest:
        run_worker(
            WorkerConfig(decoders=2, batch_size=4, queue=16),
            local_store(tmp_path),
            ingest,
            Sized(32, change_after_the_first),
            threading.Event(),
            finish,
            committed.append,
            reload,
        )
    made = check_oracle(tmp_path, committed)
    named = {(one.model.name, one.caption) for one in made.values() if one.model}
    assert named == {("of 32", "Size 32."), ("of 48", "Size 48.")}, "each caption names the model that said it"
    assert {one.status for one in made.values()} == {"captioned"}


def test_what_does_not_load_changes_nothing_and_is_reported(caplog: Any) -> None:
    def load() -> Sized:
        raise BundleError("x: no model bundle here")

    heard: list[object] = []
    reload = Reload(load)
    reload.poll(heard.append)
    reload.ask()
    reload.poll(heard.append)
    for thread in threading.enumerate():
        if thread.name == "reload":
            thread.join()
    assert heard == []
    assert [entry.getMessage() for entry in caplog.records] == [
        "the model was not changed, the one before goes on: x: no model bundle here"
    ]


class Lines:
    """What a process says on standard error, as JSON lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []

    def wait_for(self, part: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            message = str(json.loads(line)["message"])
            self.output.append(message)
            if part in message:
                return message
        raise AssertionError(self.output)


def wait_for_caption(process: subprocess.Popen[str], key: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["key"] == key:
            return
    raise AssertionError(f"{key} was never captioned")


def start_work(folder: Path) -> subprocess.Popen[str]:
    (folder / "frames").mkdir()
    (folder / "config.yaml").write_text('captioning: {runtime: "null"}\n')
    return command.start("work", cwd=folder, new_session=True)


def test_sighup_takes_the_bundle_that_the_settings_name_by_then(tiny_bundle: Path, tmp_path: Path) -> None:
    with start_work(tmp_path) as process:
        try:
            lines = Lines(process)
            lines.wait_for("captioning the frames")
            fill(tmp_path / "frames", {"a/1.jpg": GOOD})
            wait_for_caption(process, "a/1.jpg")
            (tmp_path / "config.yaml").write_text(f"captioning: {{bundle: {tmp_path}/nothing}}\n")
            process.send_signal(signal.SIGHUP)
            assert "no model bundle here" in lines.wait_for("the model was not changed")
            (tmp_path / "config.yaml").write_text("captioning: {bundel: x}\n")
            process.send_signal(signal.SIGHUP)
            assert "bundel" in lines.wait_for("the model was not changed")
            fill(tmp_path / "frames", {"a/2.jpg": GOOD})
            wait_for_caption(process, "a/2.jpg")
            (tmp_path / "config.yaml").write_text(f"captioning: {{bundle: {tiny_bundle}}}\n")
            process.send_signal(signal.SIGHUP)
            lines.wait_for("the model is now tiny")
            fill(tmp_path / "frames", {"a/3.jpg": GOOD})
            wait_for_caption(process, "a/3.jpg")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    made = check_oracle(tmp_path / "frames")
    assert {key: one.model.name for key, one in made.items() if one.model} == {
        "a/1.jpg": "null",
        "a/2.jpg": "null",
        "a/3.jpg": "tiny",
    }


def test_run_hands_a_sighup_on_to_its_worker(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "config.yaml").write_text('captioning: {runtime: "null"}\n')
    with command.start("run", str(clip), "--all", cwd=tmp_path, new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            (tmp_path / "config.yaml").write_text(f"captioning: {{bundle: {tiny_bundle}}}\n")
            process.send_signal(signal.SIGHUP)
            Lines(process).wait_for("the model is now tiny")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_sighup_of_a_terminal_that_has_gone_stops(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
        os.chdir(tmp_path)
        os.execve(command.COMMAND[0], [*command.COMMAND, "work", "--runtime", "null"], command.environment())
    output = b""
    while b"captioning the frames" not in output:
        output += os.read(terminal, 4096)
    os.close(terminal)  # the kernel sends SIGHUP, and the terminal is gone
    deadline = time.monotonic() + 30
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert os.WIFEXITED(status)
    assert os.WEXITSTATUS(status) == 0, "it drained, and was not killed by the signal"


def test_a_signal_asks_and_does_not_stop() -> None:
    before = signal.getsignal(signal.SIGHUP)
    asked: list[int] = []
    with stop_on_signals() as stop, reload_on_sighup(lambda: asked.append(1), stop):
        os.kill(os.getpid(), signal.SIGHUP)
        assert (asked, stop.is_set()) == ([1], False)
    assert signal.getsignal(signal.SIGHUP) is before
