"""Delivering from an outbox that cannot always be written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from framecap.config import WebhookConfig
from framecap.errors import StateUnavailable
from framecap.events import delivery as delivering
from framecap.events.delivery import Delivery
from framecap.events.state import EventState
from framecap.events.webhook import Webhook
from tests.events.endpoint import serving_endpoint, wait_until
from tests.events.factory import an_event, settings


def test_what_is_delivered_and_cannot_be_written_down_is_not_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_POLL_SECONDS", 0.02)
    state = EventState(tmp_path / "state", "/frames")
    real, tries = state.delivered, 0

    def full(seq: int) -> None:
        nonlocal tries
        tries += 1
        if tries <= 5:
            raise StateUnavailable("the disk is full")
        real(seq)

    monkeypatch.setattr(state, "delivered", full)
    for number in range(2):
        state.put("dog/webhook", an_event(number), time.time())
    with serving_endpoint() as endpoint:
        webhook = Webhook(WebhookConfig.model_validate({"url": endpoint.url}), 2.0, "rule 'dog'")
        delivery = Delivery("dog/webhook", "dog", webhook, state, settings())
        delivery.start()
        wait_until(lambda: state.count("dog/webhook")[0] == 0, "it is not written down")
        delivery.stop()
        delivery.join(10)
        assert [posted.event["frame"] for posted in endpoint.posted] == ["door/0.jpg", "door/1.jpg"]
    state.close()
