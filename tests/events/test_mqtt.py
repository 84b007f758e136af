"""Messages to a real broker count as delivered when it took them, over its death; wrong passwords, topics, certificates."""

from __future__ import annotations

import gc
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from framecap.config import MqttConfig
from framecap.errors import ConfigError, EndpointUnavailable, EventRefused
from framecap.events.identifiers import MQTT_LEVEL
from framecap.events.mqtt import Mqtt
from tests.events.broker import PASSWORD, USER, Broker, serving_broker, with_password, with_tls
from tests.events.factory import an_event


def mqtt(broker: Broker, timeout: float = 10.0, **options: Any) -> Mqtt:
    return Mqtt(MqttConfig(host="127.0.0.1", port=broker.port, **options), timeout, "rule 'dog': mqtt")


def test_what_is_delivered_is_there_over_the_broker_s_death(tmp_path: Path) -> None:
    with serving_broker(tmp_path) as broker:
        messages = mqtt(broker)
        with broker.listening():
            for number in range(3):
                messages.deliver(an_event(number))
            broker.wait_got(3)
        broker.kill()
        with pytest.raises(EndpointUnavailable):
            messages.deliver(an_event(3))
        broker.start()
        with broker.listening():
            for number in (3, 4):
                messages.deliver(an_event(number))
            broker.wait_got(5)
        messages.close()
        assert [topic for topic, _, _ in broker.got] == ["framecap/door/dog"] * 5
        assert [json.loads(payload)["frame"] for _, payload, _ in broker.got] == [f"door/{n}.jpg" for n in range(5)]


def test_a_topic_of_one_s_own_which_the_broker_keeps(tmp_path: Path) -> None:
    with serving_broker(tmp_path) as broker:
        messages = mqtt(broker, topic="home/{rule}/{camera}/seen", retain=True)
        event = an_event()
        messages.deliver(event)
        messages.deliver(type(event)(event.id, event.rule, "a+b#c", event.body))
        messages.close()
        with broker.listening():
            broker.wait_got(2)
        assert {(topic, kept) for topic, _, kept in broker.got} == {
            ("home/dog/door/seen", True),
            (f"home/dog/{MQTT_LEVEL.identifier('a+b#c')}/seen", True),
        }


def test_passwords_and_rights(tmp_path: Path) -> None:
    with serving_broker(tmp_path, *with_password(tmp_path)) as broker, broker.listening():
        good = {"username": USER, "password": SecretStr(PASSWORD)}
        messages = mqtt(broker, **good)
        messages.deliver(an_event())
        broker.wait_got(1)
        messages.close()
        for wrong in ({}, {"username": USER}, {**good, "password": SecretStr("s3cret")}):
            with pytest.raises(EndpointUnavailable, match=r"refuses the connection: .*username and password") as refused:
                mqtt(broker, **wrong).deliver(an_event())
            assert "s3cret" not in str(refused.value)
        forbidden = mqtt(broker, topic="else/where", **good)
        with pytest.raises(EventRefused, match="does not take messages to 'else/where': Not authorized"):
            forbidden.deliver(an_event())
        forbidden.close()
        assert len(broker.got) == 1


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # paho leaves the refused one to the collector
def test_tls(tmp_path: Path) -> None:
    with serving_broker(tmp_path, *with_tls(tmp_path)) as broker:
        messages = mqtt(broker, tls=True, ca=str(tmp_path / "certificate.pem"))
        messages.deliver(an_event())
        messages.close()
        assert "certificate" in refusal(mqtt(broker, tls=True)).lower()
        assert refusal(mqtt(broker, timeout=1.0))  # no TLS, but the broker wants it
        gc.collect()
        with pytest.raises(ConfigError, match="no certificates can be read there"):
            mqtt(broker, tls=True, ca="/nowhere")


def refusal(messages: Mqtt) -> str:
    """What is said; neither the error nor its sockets are kept."""
    try:
        messages.deliver(an_event())
    except EndpointUnavailable as error:
        return str(error)
    return ""


def test_what_is_no_broker_costs_a_time_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        messages = Mqtt(MqttConfig(host="127.0.0.1", port=silent.getsockname()[1]), 0.3, "rule 'dog'")
        with pytest.raises(EndpointUnavailable, match="does not answer as an MQTT broker does"):
            messages.deliver(an_event())
    with pytest.raises(EndpointUnavailable, match="refused"):
        Mqtt(MqttConfig(host="127.0.0.1", port=1), 0.3, "rule 'dog'").deliver(an_event())
