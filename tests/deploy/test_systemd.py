"""The units of a camera box: systemd's own verdict on them."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from framecap.config import Config
from tests.deploy.tools import DEPLOY, HALF_A_MINUTE
from tests.system_packages import needs_package

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
PROGRAM = "/opt/framecap/bin/framecap"


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units as on a machine where framecap is."""
    program = tmp_path / "framecap"
    program.write_text("#!/bin/true\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for unit in (*UNITS, *TIMERS):
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, str(program)))
    return [tmp_path / unit.name for unit in UNITS]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = needs_package("systemd", "/usr/bin/systemd-analyze")
    return subprocess.run([str(tool), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_systemd_understands_every_line(installed: list[Path]) -> None:
    assert len(installed) == 4
    done = analyze("verify", *installed, *(installed[0].parent / timer.name for timer in TIMERS))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_exposure_is_low(installed: list[Path]) -> None:
    for unit in installed:
        done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", unit)  # 2.0 of 10
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_waits_longer_than_framecap(unit: Path) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    settings = yaml.safe_load((DEPLOY / "systemd" / "config.yaml").read_text())
    assert int(seconds) > Config.model_validate(settings).worker.grace_seconds + HALF_A_MINUTE


def test_every_timer_starts_a_service_that_is_there_and_ends_by_itself() -> None:
    assert TIMERS
    for timer in TIMERS:
        assert "Type=oneshot" in timer.with_suffix(".service").read_text()


def test_the_spool_is_in_the_state_directory() -> None:
    settings = Config.model_validate(yaml.safe_load((DEPLOY / "systemd" / "config.yaml").read_text()))
    unit = (DEPLOY / "systemd" / "framecap-capture.service").read_text()
    (name,) = re.findall(r"^StateDirectory=(.+)$", unit, re.MULTILINE)
    assert str(settings.capture.spool.directory).startswith(f"/var/lib/{name}/")
