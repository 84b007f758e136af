"""An event in, a message to an MQTT broker out, which has said that it took it (quality of service 1)."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

from framecap.config import MqttConfig
from framecap.errors import ConfigError, EndpointUnavailable, EventRefused, MissingError
from framecap.events.action import reveal
from framecap.events.event import Event
from framecap.events.identifiers import MQTT_LEVEL

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_KEEP_ALIVE_SECONDS = 30
_POLL_SECONDS = 0.2  # how soon a lost connection is seen


class Mqtt:
    """One broker. The connection is kept; after any trouble a new one is made, so that no message waits in a client."""

    def __init__(self, config: MqttConfig, timeout: float, where: str) -> None:
        """Raises ConfigError and MissingError."""
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise MissingError(f"{where}: MQTT needs one more package: pip install 'framecap[events]'") from None
        self._paho = paho
        self._interface = CallbackAPIVersion.VERSION2
        self._config = config
        self._timeout = timeout
        self._password = reveal(config.password, f"{where}: password")
        self._versions = [paho.MQTTv5, paho.MQTTv311]  # the first one that the broker takes stays
        self._client: Client | None = None
        self.target = f"mqtt{'s' if config.tls else ''}://{config.host}:{config.port}"
        try:
            self._tls = ssl.create_default_context(cafile=config.ca) if config.tls else None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: ca: {config.ca!r}: no certificates can be read there ({error})") from None

    def deliver(self, event: Event) -> None:
        topic = self._config.topic.replace("{camera}", MQTT_LEVEL.identifier(event.camera)).replace("{rule}", event.rule)
        try:
            self._publish(self._connected(), topic, event.body)
        except EndpointUnavailable:
            self.close()
            raise
        except (OSError, ValueError, RuntimeError) as error:  # ssl.SSLError is an OSError; paho raises the others, too
            self.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise EndpointUnavailable(f"{self.target}: {reason}") from None

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def abort(self) -> None:
        """It ends with the process."""

    def _publish(self, client: Client, topic: str, body: bytes) -> None:
        answers: list[Any] = []
        client.on_publish = lambda client, data, number, reason, properties: answers.append(reason)
        message = client.publish(topic, body, qos=1, retain=self._config.retain)
        end = time.monotonic() + self._timeout
        while not message.is_published() and client.is_connected() and time.monotonic() < end:
            message.wait_for_publish(_POLL_SECONDS)
        if not message.is_published():
            raise EndpointUnavailable(f"{self.target} does not say that it took the message")
        if any(getattr(answer, "is_failure", False) for answer in answers):
            raise EventRefused(f"{self.target} does not take messages to {topic!r}: {answers[0]}")

    def _connected(self) -> Client:
        while self._client is None or not self._client.is_connected():
            self.close()
            client, answer = self._connect(self._versions[0])
            if not answer.is_failure:
                self._client = client
                continue
            client.loop_stop()
            if len(self._versions) > 1 and "version" in str(answer).lower():
                self._versions.pop(0)
                continue
            raise EndpointUnavailable(f"{self.target} refuses the connection: {answer}: look at username and password")
        return self._client

    def _connect(self, version: Any) -> tuple[Client, Any]:
        answered = threading.Event()
        answers: list[Any] = []

        def on_connect(client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            answers.append(reason)
            answered.set()

        client = self._paho.Client(self._interface, protocol=version, reconnect_on_failure=False)
        client.connect_timeout = self._timeout
        client.on_connect = on_connect
        client.on_disconnect = lambda *_: answered.set()
        client.enable_logger(logging.getLogger("framecap.events.paho"))
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._config.username is not None:
            client.username_pw_set(self._config.username, self._password)
        client.connect(self._config.host, self._config.port, _KEEP_ALIVE_SECONDS)
        client.loop_start()
        answered.wait(self._timeout)
        if not answers:
            client.disconnect()
            client.loop_stop()
            raise EndpointUnavailable(f"{self.target} does not answer as an MQTT broker does")
        return client, answers[0]
