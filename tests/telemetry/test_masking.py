"""Credentials never pass the mask: generated passwords, in every form in which a line is written (row 28)."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framecap.telemetry import JsonFormatter, TextFormatter, mask, mask_all, without_secrets

# A password is made of tokens that stand nowhere else, with anything between them; no token may survive.
TOKEN = "Qz7Xv"
HARD = "".join(chr(code) for code in range(33, 127)) + "äß漢"
passwords = st.lists(st.text(HARD, max_size=6), min_size=2, max_size=4).map(TOKEN.join)
spaced_passwords = st.lists(st.text(HARD + " ", max_size=6), min_size=2, max_size=4).map(TOKEN.join)
parameter_values = st.lists(st.text(HARD.replace("&", ""), max_size=6), min_size=2, max_size=4).map(TOKEN.join)
schemes = st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP", "s3", "git+ssh"])
hosts = st.sampled_from(["camera", "192.168.1.20:554", "[fe80::1]:554", "cam.example.com"])
messages = st.sampled_from(
    [
        "{}",
        "cannot open {}",
        "cannot open '{}': time-out",
        'source "{}" (3 tries) refused; next try in 4 s',
        '{{"source":"{}","fps":1}}',
        "first {} then rtsp://other/stream",
        "rtsp://other:x@y/stream, then {}, and more",
        "line one\nline two {}\nline three",
    ]
)
parameters = st.sampled_from(
    ["password", "passwd", "pwd", "token", "api_key", "API-KEY", "secret", "sig", "X-Amz-Signature"]
)


def address(scheme: str, user: str, password: str, host: str) -> str:
    return f"{scheme}://{user}:{password}@{host}/stream?channel=1"


addresses = st.builds(address, schemes, st.sampled_from(["admin", "", "u.s-er"]), passwords, hosts)
spaced_addresses = st.builds(address, schemes, st.just("admin"), spaced_passwords, hosts)


@pytest.mark.faults(28)
@settings(max_examples=5000, deadline=None)
@given(addresses | spaced_addresses, messages)
@example("rtsp://admin:x://Qz7Xv@host/stream", "cannot open {}")
@example("rtsp://admin:Qz7Xv Qz7Xv@host/stream", "cannot open '{}'")
def test_no_part_of_a_password_survives(url: str, message: str) -> None:
    assert TOKEN not in mask(message.format(url))


@settings(max_examples=3000, deadline=None)
@given(parameters, parameter_values, st.sampled_from(["?{}={}", "?channel=1&{}={}", "?{}={}&channel=1"]), messages)
def test_no_part_of_a_parameter_survives(name: str, value: str, query: str, message: str) -> None:
    assert TOKEN not in mask(message.format("https://camera/stream" + query.format(name, value)))


def fail(text: str) -> None:
    raise ValueError(text) from OSError(text)


@settings(max_examples=300, deadline=None)
@given(addresses, messages, st.sampled_from([JsonFormatter(), TextFormatter()]))
def test_log_lines_hold_no_password(url: str, message: str, formatter: logging.Formatter) -> None:
    try:
        fail(message.format(url))
    except ValueError:
        record = logging.LogRecord("framecap.x", logging.ERROR, "f", 1, "trouble: %s", (url,), sys.exc_info())
    record.source = url
    record.nested = {url: [url, {"of": (url, 3, None, True)}]}
    line = formatter.format(record)
    assert TOKEN not in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["nested"] is not None


@settings(max_examples=300, deadline=None)
@given(addresses, messages)
def test_tracebacks_hold_no_password(url: str, message: str) -> None:
    try:
        fail(message.format(url))
    except ValueError:
        assert TOKEN not in mask(traceback.format_exc())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://admin:hunter2@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://admin@camera/stream", "rtsp://***@camera/stream"),
        ("a rtsp://a:b@one/x and rtsp://c:d@two/y", "a rtsp://***@one/x and rtsp://***@two/y"),
        ("admin:hunter2@camera/stream", "***@camera/stream"),
        ("http://camera/?user=a&password=hunter2&channel=1", "http://camera/?user=a&password=***&channel=1"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ('{"password": "a b c", "channel": 1}', '{"password": *** "channel": 1}'),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://camera:554/stream",
        "door/2026/11/22/10/door-20261122T100000.000000Z-00000001.jpg: captioned",
        "mail to admin@example.com about rtsp://camera/stream",
        "17 tokens, 3 passed, at 10:20:30",
        "the file 2026-11-22T10:00:01@door.jpg is empty",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert mask(text) == text


def test_masking_twice_changes_nothing() -> None:
    once = mask("rtsp://admin:hunter2@camera/stream?token=abc&x=1")
    assert mask(once) == once


@pytest.mark.parametrize("piece", ["a.", "a:", "a://", "a:b@", "a:@ ", "password=", "a://b:c "])
def test_masking_a_long_text_is_quick(piece: str) -> None:
    began = time.thread_time()  # whatever else the machine does
    mask(piece * 10_000)
    assert time.thread_time() - began < 5


def test_mask_all_keeps_numbers_and_shape() -> None:
    assert mask_all({"a": [1, 2.5, None, True, "rtsp://u:p@h"]}) == {"a": [1, 2.5, None, True, "rtsp://***@h"]}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["a://", "a:b", "a:", "@", "@a", "x-amz-", "token ", "a://:", "u:p@", 'token="', "a:// @"])
def test_a_text_made_up_to_be_slow_is_not(part: str) -> None:
    """Quadratic time would be minutes."""
    for text in (part * 50_000, part * 25_000 + "@" + part * 25_000 + " @h/"):
        assert len(mask(text)) > 0


def test_what_child_processes_need_not_know() -> None:
    secret = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "FRAMECAP__CAPTURE__CAMERAS", "OPENAI_API_KEY", "DB_PASSWORD", "hf_token")
    kept = {"PATH": "/bin", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": "/x", "OMP_NUM_THREADS": "1"}
    assert without_secrets({**kept, **dict.fromkeys(secret, "s3cret")}) == kept
