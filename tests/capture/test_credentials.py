"""Credentials of a source's address are seen by the reader process and by nobody else (row 28)."""

from __future__ import annotations

import logging
import os
import socket
import string
import traceback
from collections.abc import Callable
from urllib.parse import quote

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from framecap.capture.plan import make_plans
from framecap.capture.process import ReaderProcess
from framecap.capture.protocol import Request
from framecap.capture.source import parse_source
from framecap.capture.stats import CaptureStats
from framecap.config import CameraConfig, CaptureConfig
from framecap.errors import FramecapError
from framecap.telemetry import JsonFormatter, TextFormatter
from tests.capture.memory_store import MemoryStore
from tests.capture.running import capture_config, eventually, readers, running

TOKEN = "Qz7Xv"  # stands in every secret and nowhere else
ANY = string.ascii_letters + string.digits + string.punctuation + " äß漢\t"
secrets = st.lists(st.text(ANY, max_size=8), min_size=2, max_size=3).map(TOKEN.join)
hosts = st.sampled_from(["camera", "192.168.1.20", "192.168.1.20:554", "[fe80::1]:554", "cam-1.example.com"])
paths = st.sampled_from(["", "/", "/live", "/Streaming/Channels/101", "/cam/realmonitor?channel=1&subtype=0", "/a@b"])


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Addresses with a secret in each place where cameras and relays want one, rightly encoded or not."""
    encode = draw(st.sampled_from([quote, lambda text: quote(text, safe=""), lambda text: text]))
    scheme = draw(st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP"]))
    secret, user, host, path = (
        encode(draw(secrets)),
        draw(st.sampled_from(["admin", "", "u.s-er"])),
        draw(hosts),
        draw(paths),
    )
    return draw(
        st.sampled_from(
            [
                f"{scheme}://{user}:{secret}@{host}{path}",
                f"{scheme}://{secret}@{host}{path}",
                f"{scheme}://{secret}:@{host}{path}",
                f"{scheme}://{host}/live?user=admin&password={secret}",
                f"{scheme}://{host}/live?{secret}",
                f"rtmp://{host.partition(':')[0] or 'h'}/app/{quote(secret, safe='')}",
            ]
        )
    )


def all_output(url: str) -> str:
    """All that any part of capture could show of a camera with this address."""
    shown = []
    try:
        (plan,) = make_plans(CaptureConfig(cameras=(CameraConfig(source=url),)))
    except FramecapError as error:
        return "".join(traceback.format_exception(error))
    source = plan.source
    shown += [
        repr(plan),
        source.shown,
        plan.name,
        repr(_request(url)),
        repr(CaptureStats(plan.name, source.shown).summary()),
    ]
    chatter = f"[tcp @ 0x55] Connection to {url} failed\nmethod DESCRIBE failed: 401\nuser info of {url!r} is wrong"
    shown.append(source.scrub(chatter))
    record = logging.makeLogRecord({"msg": "camera %s: %s", "args": (plan.name, source.shown), "levelname": "INFO"})
    shown += [TextFormatter().format(record), JsonFormatter().format(record)]
    return "\n".join(shown)


def _request(url: str) -> Request:
    return Request(
        kind="stream",
        address=url,
        images=(),
        fps=None,
        every=None,
        jpeg_quality=90,
        max_size=None,
        open_timeout=1.0,
        read_timeout=1.0,
    )


@pytest.mark.faults(28)
def test_no_secret_is_shown(full: bool, figure: Callable[[str], None]) -> None:
    cases = 5000 if full else 300

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(addresses())
    def check(url: str) -> None:
        assert TOKEN not in all_output(url)

    check()
    figure(f"0 leaks in {cases} generated addresses")


@pytest.mark.faults(28)
@pytest.mark.parametrize(
    "credentials",
    [f"admin:{TOKEN}", f"admin:{TOKEN}%40%2F{TOKEN}", f"{TOKEN}:x", f"ad:min:{TOKEN}", f"a:{TOKEN}@{TOKEN}"],
    ids=range(5),
)
def test_a_camera_that_fails_tells_no_one_its_password(
    credentials: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        silent = f"rtsp://{credentials}@127.0.0.1:{port}/x"
        closed = f"http://{credentials}@127.0.0.1:9/x"
        config = capture_config(silent, closed, open_timeout_seconds=0.5)
        titles: list[str] = []

        def look() -> bool:
            titles.extend(_titles())
            return caplog.text.count("trying again") >= 3

        with running(config, MemoryStore()) as run:
            eventually(look)
            summary = run.finish()
    assert "last words of its reader" in caplog.text  # FFmpeg's, which holds the address
    assert titles
    output = [caplog.text, repr(summary), *titles, *capfd.readouterr(), generate_latest().decode()]
    output += ["".join(traceback.format_exception(problem)) for problem in summary.problems]
    assert TOKEN not in "\n".join(output)


def _titles() -> list[str]:
    found = []
    for reader in readers():
        try:
            found.append(" ".join(reader.cmdline()) + reader.name())
        except psutil.NoSuchProcess:
            continue
    return found


def test_the_last_words_begin_with_a_whole_line() -> None:
    """Half an address could not be recognised as one."""
    source = parse_source(f"rtsp://admin:{TOKEN * 1000}@camera/x")
    process = ReaderProcess(_request(source.address))
    process.kill()
    process.close()
    os.write(process._chatter, f"cannot open {source.address}\n".encode())
    assert TOKEN not in source.scrub(process.last_words())
