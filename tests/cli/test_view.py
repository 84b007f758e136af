"""`framecap view` as it is typed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import command

TOKEN = "a-token-that-nobody-guesses"


def test_it_serves_until_it_is_reported_to_end(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    viewing = command.start(
        "view", "--port", "0", "--frames", tmp_path / "frames", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path)
    )
    assert viewing.stdout is not None
    address = viewing.stdout.readline().strip()
    news = HTTPConnection(urlsplit(address).netloc, timeout=20)
    news.request("GET", "/api/news")
    assert news.getresponse().status == 200  # and stays open
    viewing.send_signal(signal.SIGTERM)
    out, err = viewing.communicate(timeout=20)
    news.close()
    assert (viewing.returncode, out, err) == (0, "", "")


def test_an_address_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    done = command.run("view", "--frames", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "no such directory" in done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command.run("view", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 2
    assert "Address already in use: give another viewer.port (--port; 0 takes a free one)" in done.stderr


def test_elsewhere_only_with_a_token_which_is_never_shown(tmp_path: Path) -> None:
    done = command.run("view", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "viewer.token" in done.stderr
    done = command.run("view", "--port", "0", cwd=tmp_path, FRAMECAP__VIEWER__TOKEN="short")
    assert done.returncode == 2
    assert "16 or more" in done.stderr
    assert "short" not in done.stderr
    done = command.run("check", "--runtime", "null", cwd=tmp_path, FRAMECAP__VIEWER__TOKEN=TOKEN)
    assert "token: '**" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_its_packages_it_says_how_to_get_them(tmp_path: Path, package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
sys.modules.pop({package!r})
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else find_spec(name, *rest)
from framecap.cli import main
sys.exit(main(["view"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=command.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert f"{package} not installed: pip install 'framecap[viewer]'" in done.stderr
