"""A real MQTT broker (Debian's mosquitto) on loopback, and what its topics got."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.events.endpoint import WAIT_SECONDS, wait_until
from tests.system_packages import needs_package

USER, PASSWORD = "framecap", "s3cret word"


@dataclass
class Broker:
    """Where it listens; who may publish to `framecap/...` is USER with PASSWORD, or anybody."""

    folder: Path
    port: int
    options: list[str]
    got: list[tuple[str, bytes, bool]] = field(default_factory=list)  # topic, payload, retained
    _process: subprocess.Popen[bytes] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        program = needs_package("mosquitto", "/usr/sbin/mosquitto")
        settings = self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "user root", f"persistence_location {self.folder}/", *self.options]
        settings.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([str(program), "-c", str(settings)], stdout=log, stderr=log)
        wait_until(self._answers, f"mosquitto does not start: {self.log()}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()[-2000:]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, what is published comes into `got`."""

        def on_message(client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
            with self._changed:
                self.got.append((message.topic, message.payload, message.retain))
                self._changed.notify_all()

        subscribed = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        client.username_pw_set(USER, PASSWORD)
        client.on_message = on_message
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert subscribed.wait(WAIT_SECONDS), self.log()
        try:
            yield
        finally:
            client.disconnect()
            client.loop_stop()

    def wait_got(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, WAIT_SECONDS), f"{self.got}: {self.log()}"


@contextmanager
def serving_broker(folder: Path, *options: str) -> Iterator[Broker]:
    """Within, it runs: for everybody, unless `options` (lines of its configuration) say otherwise."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    broker = Broker(folder, port, list(options) or ["allow_anonymous true"])
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def with_password(folder: Path) -> list[str]:
    """Options: only USER comes in, and publishes below framecap/ only."""
    passwords = folder / "passwords"
    program = needs_package("mosquitto", "/usr/bin/mosquitto_passwd")
    subprocess.run([str(program), "-c", "-b", str(passwords), USER, PASSWORD], check=True, capture_output=True)
    (folder / "rights").write_text(f"user {USER}\ntopic write framecap/#\ntopic read #\n")
    return ["allow_anonymous false", f"password_file {passwords}", f"acl_file {folder / 'rights'}"]


def with_tls(folder: Path) -> list[str]:
    """Options: TLS, with a certificate for 127.0.0.1 that nobody trusts but who has `certificate.pem`."""
    program = needs_package("openssl", "/usr/bin/openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([str(program), *request, *names], check=True, capture_output=True)
    return ["allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"]
