"""A vision server as the captioner: what it is asked, what its answers mean, and whose fault it is when there is none."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from framecap.captioning.caption import Caption
from framecap.captioning.load import load_captioner
from framecap.captioning.openai_server import MAX_ANSWER_BYTES, OpenAICaptioner
from framecap.config import CaptioningConfig, WorkerConfig
from framecap.errors import (
    CaptionerDenied,
    CaptionerFault,
    CaptionerUnavailable,
    CaptionRefused,
    CaptionTimeout,
    CaptionTooLong,
    ConfigError,
    ModelError,
    RequestRefused,
)
from tests import command
from tests.vision_server import ANSWER, Answer, Request, VisionServer, completion, vision_server
from tests.worker.fakes import check_oracle, fill, local_store, work
from tests.worker.images import encoded, scene

KEY = "sk-Very.Secret-0123456789"
IMAGE = np.full((60, 100, 3), (200, 30, 30), np.uint8)


@pytest.fixture
def server() -> Iterator[VisionServer]:
    with vision_server() as one:
        yield one


@contextmanager
def captioner_of(base_url: str, **changes: object) -> Iterator[OpenAICaptioner]:
    settings = {"base_url": base_url, "model": "eyes-7b", "timeout_seconds": 20.0, **changes}
    captioner = load_captioner(CaptioningConfig.model_validate({"kind": "openai", "openai": settings}))
    assert isinstance(captioner, OpenAICaptioner)
    try:
        yield captioner
    finally:
        captioner.close()


def answer_of(server: VisionServer, answer: Answer, **changes: object) -> Caption | Exception:
    server.answer = answer
    with captioner_of(server.base_url, **changes) as captioner:
        (found,) = captioner.caption([IMAGE])
    return found


def test_what_is_asked(server: VisionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS_KEY", f" {KEY}\n")
    with captioner_of(server.base_url, api_key_variable="SERVERS_KEY", prompt="What is it?", max_tokens=33) as captioner:
        captioner.caption([IMAGE])
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    document = request.document
    assert (document["model"], document["max_tokens"], document["temperature"]) == ("eyes-7b", 33, 0)
    assert document["logprobs"] is True
    assert document["messages"][0]["content"][0] == {"type": "text", "text": "What is it?"}
    image = request.image
    assert image.shape == IMAGE.shape, "its proportions are kept"
    assert np.abs(image.astype(int) - IMAGE).max() <= 3, "red stays red"


def test_no_key_is_sent_and_no_log_probabilities_are_asked_for_where_none_are_wanted(
    server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = answer_of(server, lambda request: completion(), logprobs=False)
    assert isinstance(found, Caption)
    assert "Authorization" not in server.requests[0].headers
    assert "logprobs" not in server.requests[0].document


def test_log_probabilities_make_the_confidence_and_the_words(server: VisionServer) -> None:
    found = answer_of(server, lambda request: completion(logprobs=True))
    assert isinstance(found, Caption)
    assert (found.text, found.words) == (ANSWER, ("A", "red", "box."))
    assert found.log_probabilities == pytest.approx((-0.1, -0.2, -0.45))
    assert found.confidence == pytest.approx(math.exp(-0.75 / 5))
    without = answer_of(server, lambda request: completion())
    assert isinstance(without, Caption)
    assert (without.text, without.confidence, without.words) == (ANSWER, None, ())


def test_an_answer_becomes_one_sentence(server: VisionServer) -> None:
    found = answer_of(server, lambda request: completion(" a dog\n\n runs on\tgrass "))
    assert isinstance(found, Caption)
    assert found.text == "A dog runs on grass."


def test_what_draws_on_a_terminal_is_skipped(server: VisionServer) -> None:
    found = answer_of(server, lambda request: completion("a\0 \x1b[2Jdog\x07\u202e runs"))
    assert isinstance(found, Caption)
    assert found.text == "A [2Jdog runs."


def text_of(status: int, text: str) -> Answer:
    return lambda request: (status, text.encode())


@pytest.mark.parametrize(
    ("answer", "kind", "output"),
    [
        (lambda request: completion(None, refusal="I cannot look at this"), CaptionRefused, "I cannot look at this"),
        (lambda request: completion("", reason="content_filter"), CaptionRefused, "content filter"),
        (text_of(400, '{"error": "bad image"}'), RequestRefused, "400 Bad Request.*bad image"),
        (text_of(413, ""), RequestRefused, "413"),
        (lambda request: completion("a dog " * 80, reason="length"), CaptionTooLong, r"max_tokens \(80\)"),
        (lambda request: completion("a " * 5000), CaptionTooLong, "10000 characters"),
        (lambda request: completion(" \n"), CaptionerFault, "empty"),
        (lambda request: completion("\x1b\0\u202e"), CaptionerFault, "empty"),
        (lambda request: (200, b"<html>"), CaptionerFault, "no chat completion"),
        (lambda request: (200, b'{"choices": []}'), CaptionerFault, "no chat completion: choices"),
        (lambda request: (200, b"[" * 200_000), CaptionerFault, "no chat completion"),
        (lambda request: (200, b" " * (MAX_ANSWER_BYTES + 1)), CaptionerFault, "more than"),
        (text_of(500, "Traceback ..."), CaptionerFault, "500 Internal Server Error: Traceback"),
        (text_of(429, "slow down"), CaptionerUnavailable, "429 Too Many Requests: slow down"),
        (text_of(503, ""), CaptionerUnavailable, "503"),
        (text_of(401, f"wrong key {KEY}"), CaptionerDenied, "401 Unauthorized: check"),
        (text_of(404, "no such model"), CaptionerDenied, "404 Not Found: no such model"),
        (text_of(302, ""), CaptionerDenied, "302"),
    ],
)
def test_what_an_answer_means(server: VisionServer, answer: Answer, kind: type[ModelError], output: str) -> None:
    found = answer_of(server, answer)
    assert type(found) is kind
    with pytest.raises(kind, match=output):
        raise found


def test_whose_fault_it_is_decides_whether_to_try_again() -> None:
    retryable = {error: error.retryable for error in ModelError.__subclasses__()}
    assert retryable[CaptionerUnavailable]
    assert retryable[CaptionTimeout]
    assert retryable[CaptionerFault]
    assert not retryable[CaptionRefused]
    assert not RequestRefused.retryable
    assert not retryable[CaptionTooLong]


def test_a_server_that_hangs_costs_the_time_out_of_its_own_frames(server: VisionServer) -> None:
    stuck = threading.Event()

    def answer(request: Request) -> tuple[int, bytes]:
        if request.image[0, 0, 0] < 100:
            stuck.wait()
        return completion()

    server.answer = answer
    with captioner_of(server.base_url, timeout_seconds=1.0) as captioner:
        found = captioner.caption([IMAGE, np.zeros_like(IMAGE), IMAGE])
    stuck.set()
    assert [type(one) for one in found] == [Caption, CaptionTimeout, Caption]


def test_no_one_listens() -> None:
    with vision_server() as gone:
        pass
    with captioner_of(gone.base_url) as captioner:
        (found,) = captioner.caption([IMAGE])
    assert type(found) is CaptionerUnavailable


def test_so_many_at_a_time_and_answers_in_order(server: VisionServer) -> None:
    together = threading.Barrier(3, timeout=30)

    def answer(request: Request) -> tuple[int, bytes]:
        together.wait()
        return completion(f"shade {request.image[0, 0, 0] // 10}")

    server.answer = answer
    with captioner_of(server.base_url, concurrency=3) as captioner:
        found = captioner.caption([np.full((40, 40, 3), 10 * n + 5, np.uint8) for n in range(12)])
    assert [one.text for one in found if isinstance(one, Caption)] == [f"Shade {n}." for n in range(12)]
    assert server.at_once == 3


def test_the_key_is_in_no_error(server: VisionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS_KEY", KEY)
    for status in (302, 400, 401, 403, 404, 429, 500, 503):
        found = answer_of(server, text_of(status, f"your key {KEY} is {KEY}"), api_key_variable="SERVERS_KEY")
        assert isinstance(found, ModelError)
        assert KEY not in str(found)


@pytest.mark.parametrize(
    "answer",
    [
        text_of(400, "y" * 280 + KEY),  # what is shown ends within the key
        text_of(429, " " * 1180 + KEY),
        lambda request: completion(None, refusal="y" * 280 + KEY),
        lambda request: completion(f"Bearer {KEY} on grass"),
        lambda request: completion(f"Bearer {KEY[:5]}\0{KEY[5:]} on grass"),
    ],
)
def test_no_part_of_a_key_that_is_repeated_is_shown(
    server: VisionServer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVERS_KEY", KEY)
    found = answer_of(server, answer, api_key_variable="SERVERS_KEY")
    text = found.text if isinstance(found, Caption) else str(found)
    assert "***" in text
    assert KEY[:6] not in text


@pytest.mark.parametrize(
    ("value", "complaint"), [(None, "has no SERVERS_KEY: set it"), (" ", "has no SERVERS_KEY"), ("a\nb", "is no key")]
)
def test_a_key_that_is_not_there_or_cannot_be_one(
    value: str | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("SERVERS_KEY", value)
    settings = {"model": "m", "api_key_variable": "SERVERS_KEY"}
    with pytest.raises(ConfigError, match=complaint):
        OpenAICaptioner(CaptioningConfig.model_validate({"kind": "openai", "openai": settings}))


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"captioning\.openai\.model: name the model"):
        OpenAICaptioner(CaptioningConfig(kind="openai"))


def test_the_hash_stands_for_model_and_prompt_and_not_for_the_address(server: VisionServer) -> None:
    def name(**changes: object) -> str:
        with captioner_of(**{"base_url": server.base_url, **changes}) as captioner:  # type: ignore[arg-type]
            return captioner.model.bundle_hash

    assert name() == name(base_url="https://elsewhere/v1", timeout_seconds=3.0)
    assert len({name(), name(model="eyes-8b"), name(prompt="What?"), name(image_size=512)}) == 4


# With a worker


def frames(root: Path, count: int) -> None:
    fill(root, {f"a/{n}.jpg": encoded(scene(160, 90, seed=n)) for n in range(count)})


def test_a_worker_gives_it_larger_images_with_their_proportions(server: VisionServer, tmp_path: Path) -> None:
    fill(tmp_path, {"a/wide.jpg": encoded(scene(1600, 900)), "a/tall.jpg": encoded(scene(90, 160))})
    server.answer = lambda request: completion(logprobs=True)
    with captioner_of(server.base_url, image_size=512) as captioner:
        done = work(local_store(tmp_path), captioner)
    made = check_oracle(tmp_path, done.committed)
    assert {one.caption for one in made.values()} == {ANSWER}
    assert {(one.frame.width, one.frame.height) for one in made.values()} == {(1600, 900), (90, 160)}
    assert {request.image.shape[:2] for request in server.requests} == {(288, 512), (160, 90)}


def test_a_server_that_is_away_fails_no_frame(tmp_path: Path) -> None:
    frames(tmp_path, 4)
    with vision_server() as first:
        port = first.port
    finished = threading.Event()

    def later() -> None:
        with vision_server(port) as server:
            server.answer = lambda request: (503, b"") if len(server.requests) < 4 else completion()
            finished.wait()

    with captioner_of(f"http://127.0.0.1:{port}/v1") as captioner:
        (away,) = captioner.caption([IMAGE])
        assert isinstance(away, CaptionerUnavailable)
        thread = threading.Thread(target=later)
        thread.start()
        done = work(local_store(tmp_path), captioner)
    finished.set()
    thread.join()
    assert done.summary.captioned == 4
    assert {one.confidence for one in check_oracle(tmp_path, done.committed).values()} == {None}


def test_refusals_and_time_outs_fail_their_own_frames(server: VisionServer, tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"a/ok.jpg": encoded(scene(64, 48)), "a/no.jpg": encoded(scene(48, 48)), "a/slow.jpg": encoded(scene(48, 64))},
    )
    over = threading.Event()

    def answer(request: Request) -> tuple[int, bytes]:
        shape = request.image.shape[:2]
        if shape == (64, 48):
            over.wait()
        return completion(None, refusal="no") if shape == (48, 48) else completion()

    server.answer = answer
    with captioner_of(server.base_url, timeout_seconds=0.5) as captioner:
        done = work(local_store(tmp_path), captioner, WorkerConfig(decoders=1, attempts=2))
    over.set()
    made = check_oracle(tmp_path, done.committed)
    errors = {key: (one.error.kind, one.error.attempts) for key, one in made.items() if one.error}
    assert errors == {"a/no.jpg": ("caption_refused", 1), "a/slow.jpg": ("caption_timeout", 2)}
    assert made["a/ok.jpg"].caption == ANSWER


# As a user starts it


def settings(server: VisionServer) -> dict[str, str]:
    found = {"KIND": "openai", "OPENAI__BASE_URL": server.base_url, "OPENAI__MODEL": "eyes-7b"}
    return {f"FRAMECAP__CAPTIONING__{name}": value for name, value in found.items()}


def test_work_and_caption_with_a_server(server: VisionServer, tmp_path: Path) -> None:
    frames(tmp_path / "frames", 3)
    done = command.run("work", "--once", cwd=tmp_path, **settings(server))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["caption"] for line in done.stdout.splitlines()] == [ANSWER] * 3
    done = command.run("caption", "frames/a/0.jpg", cwd=tmp_path, **settings(server))
    assert done.stdout == f"frames/a/0.jpg: {ANSWER}\n"


@pytest.mark.parametrize(
    ("answer", "exit_code", "output"),
    [
        (text_of(401, ""), 2, "401 Unauthorized: check captioning.openai"),
        (text_of(400, "logprobs are not supported"), 1, "400 Bad Request: logprobs are not supported"),
    ],
)
def test_a_server_that_would_fail_every_frame_is_reported_before_any_fails(
    server: VisionServer, answer: Callable[[Request], tuple[int, bytes]], exit_code: int, output: str, tmp_path: Path
) -> None:
    frames(tmp_path / "frames", 3)
    server.answer = answer
    done = command.run("work", "--once", cwd=tmp_path, **settings(server))
    assert done.returncode == exit_code
    assert output in done.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_a_model_that_refuses_a_grey_image_may_like_the_frames(server: VisionServer, tmp_path: Path) -> None:
    frames(tmp_path / "frames", 2)
    server.answer = lambda request: completion(None, refusal="grey") if len(server.requests) == 1 else completion()
    done = command.run("work", "--once", cwd=tmp_path, **settings(server))
    assert done.returncode == 0, done.stderr
    assert "does not caption a grey image: the model refused: grey" in done.stderr
    assert len(done.stdout.splitlines()) == 2
