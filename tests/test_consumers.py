"""What docs/sidecar.md gives to those who read sidecars, run as it stands there: Python, JavaScript and jq say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from framecap.config import StoreConfig
from framecap.stores import open_store
from tests.sidecars.committing import NOON, SECOND, commit, own
from tests.system_packages import needs_package

PAGE = Path(__file__).parents[1] / "docs" / "sidecar.md"
EXPECTED = [
    "2026-11-22T12:00:00Z\tdoor\tA dog.",
    "2026-11-22T12:00:00.500000Z\tyard\tÜnïcode.",
    "2026-11-22T12:00:01Z\tdoor\tA dog.",
    "2026-11-22T12:00:02Z\tdoor\tA dog.",
]


@pytest.fixture
def address(tmp_path: Path) -> Path:
    """A folder with frames/ in it, as each example expects."""
    store = open_store(StoreConfig(frames=str(tmp_path / "frames")))
    copied = {"status": "duplicate", "duplicate_of": own("door", NOON)}
    commit(store, own("door", NOON + 2 * SECOND), caption="A cat.", steady_caption="A dog.")
    commit(store, own("door", NOON), caption="A dog.", uncertain=False)
    commit(store, own("door", NOON + SECOND), caption="A dog.", **copied)
    commit(store, own("door", NOON + 3 * SECOND), caption="A guess.", uncertain=True)
    commit(store, own("door", NOON + 4 * SECOND))
    commit(store, own("yard", NOON + 0.5 * SECOND), caption="Ünïcode.")
    (tmp_path / "frames" / "dead.jpg.json").touch()
    return tmp_path


@pytest.mark.parametrize("language", ["python", "javascript", "sh"])
def test_an_example_prints_what_it_should(language: str, address: Path) -> None:
    examples = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = (example for example in examples if "read_sidecars" not in example)
    assert len(code.strip().splitlines()) <= 11
    if language == "python":
        command = [sys.executable, "-I", "-c", code]  # -I: without framecap
    elif language == "javascript":
        node = needs_package("nodejs", shutil.which("node") or "/usr/bin/node")
        (address / "captions.mjs").write_text(code)
        command = [str(node), "captions.mjs"]
    else:
        needs_package("jq", "/usr/bin/jq")
        command = ["sh", "-c", code]
    done = subprocess.run(command, cwd=address, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == EXPECTED
