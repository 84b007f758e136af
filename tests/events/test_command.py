"""Commands: no shell, the event on standard input, and a time that ends."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from framecap.config import CommandConfig
from framecap.errors import EndpointUnavailable, EventRefused
from framecap.events.command import Command
from tests.events.endpoint import wait_until
from tests.events.factory import an_event


def run(*argv: str, timeout: float = 30.0) -> None:
    Command(CommandConfig(argv=argv, timeout_seconds=timeout)).deliver(an_event())


def python(code: str, *argv: str, timeout: float = 30.0) -> None:
    run(sys.executable, "-c", code, *argv, timeout=timeout)


def test_the_event_comes_as_json_and_nothing_of_it_is_a_shell_s(tmp_path: Path) -> None:
    code = "import sys, json; json.dump([json.load(sys.stdin), sys.argv[1:]], open(sys.argv[1], 'w'))"
    python(code, str(tmp_path / "got"), "; touch x", "$(touch y)")
    event, arguments = json.loads((tmp_path / "got").read_text())
    assert event == json.loads(an_event().body)
    assert arguments[1:] == ["; touch x", "$(touch y)"]


def test_who_does_not_read_does_no_harm() -> None:
    run("true")


def test_the_settings_of_framecap_are_none_of_its_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMECAP__EVENTS__RULES", "s3cret")
    monkeypatch.setenv("SOMETHING", "else")
    python("import os, sys; open(sys.argv[1], 'w').write(' '.join(os.environ))", str(tmp_path / "got"))
    names = (tmp_path / "got").read_text().split()
    assert "SOMETHING" in names
    assert "FRAMECAP__EVENTS__RULES" not in names


def test_how_it_fails_is_reported_with_the_last_of_what_it_reported() -> None:
    with pytest.raises(EventRefused, match=r"ended with 3: .*the lamp is broken$"):
        python("import sys; sys.stderr.write('x' * 300_000 + ' the lamp is broken\\n'); sys.exit(3)")
    with pytest.raises(EventRefused, match="ended with -9"):
        python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(EventRefused, match=r"password=\*\*\*"):
        python("import sys; sys.exit('password=s3cret')")


def test_what_cannot_be_started_is_an_endpoint_that_is_away(tmp_path: Path) -> None:
    for program, words in (("/nowhere/ring", "No such file"), (str(tmp_path), "Permission denied")):
        with pytest.raises(EndpointUnavailable, match=words):
            run(program)


def test_its_time_ends_and_so_does_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60'])\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(EventRefused, match="did not end within 1 s and was killed"):
        python(code, str(pids), timeout=1.0)
    assert time.monotonic() - began < 20
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not _lives(int(pid)), f"{pid} still lives")  # type: ignore[misc]


def test_a_child_that_outlives_it_holds_nothing_up() -> None:
    began = time.monotonic()
    python("import subprocess; subprocess.Popen(['sleep', '20'])")
    assert time.monotonic() - began < 15


def test_what_is_in_hand_at_the_end_dies_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60'])\n"
        "open(sys.argv[2], 'w').write(f'{os.getpid()} {child.pid}'); os.rename(sys.argv[2], sys.argv[1]); time.sleep(60)"
    )
    argv = (sys.executable, "-c", code, str(pids), f"{pids}.part")
    command = Command(CommandConfig(argv=argv, timeout_seconds=60.0))
    ended: list[Exception] = []

    def deliver() -> None:
        try:
            command.deliver(an_event())
        except EventRefused as error:
            ended.append(error)

    command.abort()  # nothing is in flight
    thread = threading.Thread(target=deliver)
    thread.start()
    wait_until(pids.exists, "it did not start")
    command.abort()
    thread.join(20)
    assert "ended with -9" in str(ended)
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not _lives(int(pid)), f"{pid} still lives")  # type: ignore[misc]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" and os.getpgid(pid) >= 0
    except (FileNotFoundError, ProcessLookupError):
        return False
