"""A vision server that speaks OpenAI's chat completions (vLLM, Ollama, ...) as the captioner: images in, captions out.

Each image is a request of its own, several at a time: the server makes the batches. What goes wrong is told apart by
whose fault it is: a server that is away or overloaded fails no frame, an answer that is no caption fails its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import math
import os
import threading
import unicodedata
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

import cv2
import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from framecap.captioning.caption import Caption, ImageBatch, Images, ModelName
from framecap.captioning.vocabulary import sentence
from framecap.config import CaptioningConfig, OpenAIConfig
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
from framecap.telemetry.masking import MASK

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1 << 20
_MAX_SHOWN = 300  # characters of what a server says of an error
_MAX_CAPTION = 8192  # characters: with a probability for each word it fits into a sidecar with room to spare
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn the text around them
_CONNECT_SECONDS = 5.0  # a server that is there takes a connection at once
_JPEG_QUALITY = 90
_AWAY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class OpenAICaptioner:
    """See `caption.Captioner`. Its requests run in an event loop of its own, until `close`."""

    square_input = False
    lanes, batch_size = 1, 16

    def __init__(self, config: CaptioningConfig) -> None:
        self._config, self._server = config, config.openai
        if self._server.model is None:
            raise ConfigError("captioning.openai.model: name the model, as the server does (GET /v1/models lists them)")
        self.model = ModelName(self._server.model, _hash(self._server), "openai")
        self.image_size = self._server.image_size
        self._key = _key(self._server)
        self._client = httpx2.AsyncClient(
            base_url=self._server.base_url,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(
                self._server.timeout_seconds, connect=min(_CONNECT_SECONDS, self._server.timeout_seconds)
            ),
            limits=httpx2.Limits(max_connections=self._server.concurrency),
        )
        self._slots = asyncio.Semaphore(self._server.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vision server", daemon=True)
        self._thread.start()

    def caption(self, images: ImageBatch) -> Sequence[Caption | Exception]:
        """See `caption.Captioner`."""
        image_files = [_data_url(image) for image in images]
        return asyncio.run_coroutine_threadsafe(self._caption_all(image_files), self._loop).result()

    def close(self) -> None:
        """End the connections and the loop."""
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _caption_all(self, image_files: Sequence[str]) -> list[Caption | Exception]:
        return await asyncio.gather(*map(self._caption_one, image_files))

    async def _caption_one(self, image_file: str) -> Caption | Exception:
        try:
            async with self._slots:
                status, body = await self._ask(image_file)
            if status != HTTPStatus.OK:
                return self._error(status, body)
            return _caption(body, self._config, self._masked)
        except ModelError as error:  # a server may repeat what it was sent, in a line that is no HTTP too
            return type(error)(self._masked(str(error)))

    async def _ask(self, image_file: str) -> tuple[int, bytes]:
        """Status and body of the server's answer. Raises ModelErrors where there is none."""
        server = self._server
        content = [{"type": "text", "text": server.prompt}, {"type": "image_url", "image_url": {"url": image_file}}]
        request = {
            "model": server.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": server.max_tokens,
            "temperature": 0,
            **({"logprobs": True} if server.logprobs else {}),
        }
        try:
            async with (
                asyncio.timeout(server.timeout_seconds),  # the client's own ones begin again with every byte
                self._client.stream("POST", "chat/completions", json=request) as response,
            ):
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        raise CaptionerFault(f"{server.base_url}: an answer of more than {MAX_ANSWER_BYTES} bytes")
                return response.status_code, body
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise CaptionerUnavailable(f"{server.base_url}: no connection ({error or 'time-out'})") from None
        except (TimeoutError, httpx2.TimeoutException):
            raise CaptionTimeout(
                f"no caption within captioning.openai.timeout_seconds ({server.timeout_seconds:g} s)"
            ) from None
        except httpx2.HTTPError as error:
            raise CaptionerFault(f"{server.base_url}: the connection broke off: {error or type(error).__name__}") from None

    def _error(self, status: int, body: bytes) -> ModelError:
        """What an answer that is not 200 means."""
        where, name = self._server.base_url, f"{status} {_phrase(status)}"
        if status in _DENIED or status < HTTPStatus.BAD_REQUEST:
            reason = "" if status == HTTPStatus.UNAUTHORIZED else self._shown(body)  # which may repeat part of the key
            return CaptionerDenied(
                f"{where}: {name}{reason}: check captioning.openai: its base_url, model ({self._server.model}) and "
                "api_key_variable"
            )
        if status in _AWAY:
            return CaptionerUnavailable(f"{where}: {name}{self._shown(body)}")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return RequestRefused(f"{where}: {name}{self._shown(body)}")
        return CaptionerFault(f"{where}: {name}{self._shown(body)}")

    def _shown(self, body: bytes) -> str:
        text = " ".join(self._masked(_plain(body.decode("utf-8", "replace"))).split())[:_MAX_SHOWN]
        return f": {text}" if text else ""

    def _masked(self, text: str) -> str:
        """Without the key. To be done before anything is cut: a part of a key is not found."""
        return text.replace(self._key, MASK) if self._key else text


def _plain(text: str) -> str:
    """The text without what draws on a terminal or ends a text: control characters, white space apart, and directions."""
    return "".join(c for c in text if c.isspace() or not (unicodedata.category(c) == "Cc" or c in _DIRECTIONS))


_Plain = Annotated[str, AfterValidator(_plain)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Token(_Part):
    token: _Plain
    logprob: Annotated[float, Field(allow_inf_nan=False)]


class _LogProbabilities(_Part):
    content: list[_Token] | None = None


class _Message(_Part):
    content: _Plain | None = None
    refusal: _Plain | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None
    logprobs: _LogProbabilities | None = None


class _Answer(_Part):
    choices: list[_Choice] = Field(min_length=1)


def _caption(body: bytes, config: CaptioningConfig, masked: Callable[[str], str]) -> Caption:
    """The caption in an answer, its texts `masked`. Raises CaptionerFault, CaptionRefused and CaptionTooLong."""
    try:
        choice = _Answer.model_validate_json(body).choices[0]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        index = ".".join(map(str, first["loc"])) or "the whole"
        raise CaptionerFault(f"its answer is no chat completion: {index}: {first['msg']}") from None
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise CaptionRefused(f"the model refused: {masked(choice.message.refusal or 'its content filter')[:_MAX_SHOWN]}")
    if choice.finish_reason == "length":
        raise CaptionTooLong(f"the answer has more than captioning.openai.max_tokens ({config.openai.max_tokens})")
    content = choice.message.content or ""
    if len(content) > _MAX_CAPTION:
        raise CaptionTooLong(f"the answer has {len(content)} characters: more than {_MAX_CAPTION} are no caption")
    words = masked(content).split()
    if not words:
        raise CaptionerFault("its answer is empty")
    tokens = (choice.logprobs.content if choice.logprobs else None) or []
    output, log_probabilities = _words(tokens)
    return Caption(
        text=sentence(words, config.capitalise, config.full_stop and words[-1][-1] not in ".!?"),
        confidence=math.exp(sum(min(token.logprob, 0.0) for token in tokens) / len(tokens)) if tokens else None,
        words=tuple(output) if output == words else (),
        log_probabilities=tuple(log_probabilities) if output == words else (),
    )


def _words(tokens: Sequence[_Token]) -> tuple[list[str], list[float]]:
    """Words and their log-probabilities, which are the sums of their tokens'."""
    words: list[str] = []
    log_probabilities: list[float] = []
    apart = True
    for token in tokens:
        parts = token.token.split()
        if not parts:
            apart = True
            continue
        if apart or token.token[0].isspace():
            words.append("")
            log_probabilities.append(0.0)
        words[-1] += parts[0]
        log_probabilities[-1] += min(token.logprob, 0.0)
        words += parts[1:]
        log_probabilities += [0.0] * (len(parts) - 1)  # the rest of a token that spans words is sure
        apart = token.token[-1].isspace()
    return words, log_probabilities


def _data_url(image: Images) -> str:
    """The image as a JPEG in a data URL."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _hash(server: OpenAIConfig) -> str:
    """What stands for the model: SHA-256 of all that we know to change what it says. Its weights are not ours to see."""
    known = {"kind": "openai", "model": server.model, "prompt": server.prompt, "image_size": server.image_size}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _key(server: OpenAIConfig) -> str | None:
    """The server's key, from the environment. Raises ConfigError, which does not show it."""
    if server.api_key_variable is None:
        return None
    key = os.environ.get(server.api_key_variable, "").strip()
    if not key:
        raise ConfigError(f"captioning.openai.api_key_variable: the environment has no {server.api_key_variable}: set it")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{server.api_key_variable}: what it holds is no key: only ASCII characters can be sent")
    address = urlsplit(server.base_url)
    if address.scheme == "http" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
        logger.warning("%s: the key goes there without encryption: https:// would hide it", server.base_url)
    return key


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
