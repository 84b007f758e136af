"""The HTTP endpoint: three paths, what is said when, and clients that idle, hang up or ask for nonsense."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.parser import text_string_to_metric_families

from framecap.errors import ConfigError
from framecap.telemetry import frames_committed
from framecap.telemetry import server as module
from framecap.telemetry.server import ThisProcess, serving


class Patient:
    """Whatever a test says of it."""

    def __init__(self) -> None:
        self.alive: list[str] = []
        self.ready: list[str] = []
        self.registry = CollectorRegistry()

    def not_alive(self) -> list[str]:
        return self.alive

    def not_ready(self) -> list[str]:
        return self.ready

    def collect(self) -> Iterable[Metric]:
        return self.registry.collect()


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def address(patient: Patient) -> Iterator[str]:
    with serving("127.0.0.1", 0, patient) as address:
        yield address


def ask(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_what_is_well_is_ok(address: str) -> None:
    assert ask(address, "/livez") == (200, "ok\n")
    assert ask(address, "/readyz") == (200, "ok\n")


def test_what_is_not_says_why_in_one_line_without_credentials(address: str, patient: Patient) -> None:
    patient.alive = ["leasing has not moved for 40 s"]
    patient.ready = ["cannot write at 's3://key:Qz7Xv@bucket/x':\nno space", "and more"]
    assert ask(address, "/livez") == (503, "leasing has not moved for 40 s\n")
    status, output = ask(address, "/readyz?probe=1")
    assert status == 503
    assert "no space; and more\n" in output
    assert output.count("\n") == 1
    assert "Qz7Xv" not in output
    patient.ready = ["x" * 10_000]
    assert len(ask(address, "/readyz")[1]) == 501


def test_metrics_are_what_prometheus_reads(address: str, patient: Patient) -> None:
    Gauge("framecap_pending_frames", "Frames", registry=patient.registry).set(3)
    status, page = ask(address, "/metrics")
    assert status == 200
    (family,) = text_string_to_metric_families(page)
    assert [(sample.name, sample.value) for sample in family.samples] == [("framecap_pending_frames", 3)]


def test_this_process_shows_its_own_metrics() -> None:
    frames_committed.labels("skipped").inc(0)
    with serving("127.0.0.1", 0, ThisProcess()) as address:
        status, page = ask(address, "/metrics?name[]=framecap_frames_total")
        assert ask(address, "/readyz")[0] == 503, "nothing is at work here"
    assert status == 200
    assert 'framecap_frames_total{status="skipped"} 0.0' in page


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/../etc", 404),
        ("GET", "/livez/", 404),
        ("POST", "/livez", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/" + "x" * 70_000, 414),
    ],
)
def test_anything_else_is_refused(address: str, method: str, path: str, status: int) -> None:
    assert ask(address, path, method)[0] == status
    assert ask(address, "/livez")[0] == 200


@pytest.mark.filterwarnings("error")
def test_clients_that_idle_hang_up_or_talk_nonsense_hold_no_one_up(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    parsed = urlsplit(address)
    assert parsed.hostname is not None
    assert parsed.port is not None
    idle = [socket.create_connection((parsed.hostname, parsed.port), 10) for _ in range(3 * module._MAX_CONNECTIONS)]
    for number, connection in enumerate(idle):
        connection.sendall((b"", b"GET /metrics HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x00\xff\r\n\r\n")[number % 3])
    began = time.monotonic()
    assert ask(address, "/livez")[0] == 200
    assert time.monotonic() - began < 3
    mine = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    assert len(mine) <= module._MAX_CONNECTIONS
    for connection in idle:
        connection.close()
    assert ask(address, "/livez")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_silent_client_is_left_after_a_while(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.2)
    with serving("127.0.0.1", 0, patient) as address:
        parsed = urlsplit(address)
        assert parsed.port is not None
        with socket.create_connection((parsed.hostname, parsed.port), 10) as connection:
            assert connection.recv(100) == b""


def test_a_port_in_use_or_an_unknown_host_is_a_wrong_configuration(address: str, patient: Patient) -> None:
    port = urlsplit(address).port
    assert port is not None
    with pytest.raises(ConfigError, match=rf"port {port}: Address already in use"), serving("127.0.0.1", port, patient):
        pass
    with pytest.raises(ConfigError, match=r"'no-such-host\.invalid'"), serving("no-such-host.invalid", 0, patient):
        pass


def test_who_can_reach_it_is_reported(patient: Patient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "framecap"):
        with serving("127.0.0.1", 0, patient):
            pass
        assert "open to everybody" not in caplog.text
        with serving("0.0.0.0", 0, patient) as address:
            port = urlsplit(address).port
            assert ask(f"http://127.0.0.1:{port}", "/livez")[0] == 200
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "open to everybody who can reach this machine" in warning.getMessage()


def test_the_port_is_free_again_afterwards(patient: Patient) -> None:
    with serving("127.0.0.1", 0, patient) as address:
        port = urlsplit(address).port
        assert ask(address, "/livez")[0] == 200
    assert port is not None
    with serving("127.0.0.1", port, patient) as again:
        assert ask(again, "/livez")[0] == 200
