"""A configuration and its store in; the page served, with all that it rests on at work, for as long as somebody wants it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from framecap.config import Config, ViewerConfig
from framecap.errors import ConfigError
from framecap.stores.base import Store
from framecap.telemetry import mask
from framecap.timeline.search.index import open_index
from framecap.viewer.access import Access, is_loopback_host
from framecap.viewer.attention import Attention
from framecap.viewer.catalogue import Catalogue
from framecap.viewer.feed import Feed
from framecap.viewer.images import ImageCache
from framecap.viewer.live_state import LiveState
from framecap.viewer.pages import ViewerParts, make_application
from framecap.viewer.protocol import ImpatientProtocol
from framecap.viewer.retry_job import RetryCallbacks, RetryJob
from framecap.viewer.store_status import StoreStatusWatcher

logger = logging.getLogger(__name__)

_CONNECTIONS = 512
_GRACE_SECONDS = 3  # for answers under way, at the end
_JOIN_SECONDS = 5.0
_POLL_SECONDS = 0.2


@contextmanager
def serving(config: Config, store: Store) -> Iterator[str]:
    """Within, the page is served by threads of its own; gives its address, such as http://127.0.0.1:8080.

    Raises ConfigError when nobody can listen there, or everybody could see it.
    """
    listening = _listen(config.viewer)
    stop = threading.Event()
    live_state = LiveState()
    watch = StoreStatusWatcher(config.ingest, store, live_state.wake)
    images = ImageCache(store, config.worker)
    attention = Attention(store, config.captioning, config.worker)
    catalogue = Catalogue(open_index(store, config.store, config.timeline, config.ingest), live_state.wake)
    feed = Feed(store, config.ingest, live_state, watch, catalogue)
    callbacks = RetryCallbacks(feed.take, catalogue.tell_all, live_state.wake)
    retry_job = RetryJob(store, attention.captioner, config.ingest, config.worker, callbacks)
    token = config.viewer.token
    application = Access(
        make_application(ViewerParts(store, live_state, watch, images, attention, retry_job, catalogue)),
        config.viewer.host,
        token.get_secret_value() if token else None,
    )
    with listening, ExitStack() as ending:
        ending.callback(images.close)
        ending.callback(attention.close)
        ending.callback(retry_job.close)
        for body in (feed.run, _after(feed.opened, watch.run), _after(feed.opened, catalogue.run)):
            ending.callback(_started(body, stop).join, _JOIN_SECONDS)
        ending.callback(stop.set)
        server = _server(application)
        thread = threading.Thread(target=server.run, args=([listening],), name="page", daemon=True)
        thread.start()
        ending.callback(thread.join, _JOIN_SECONDS)
        ending.callback(lambda: setattr(server, "should_exit", True))
        ending.callback(live_state.close)
        yield _address(listening)


def _after(opened: threading.Event, body: Callable[[threading.Event], None]) -> Callable[[threading.Event], None]:
    """What lists and reads everything waits until there is something to see: nobody should wait for it."""

    def run(stop: threading.Event) -> None:
        while not (stop.is_set() or opened.wait(_POLL_SECONDS)):
            pass
        body(stop)

    return run


def _started(body: Callable[[threading.Event], None], stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=body, args=(stop,), daemon=True)
    thread.start()
    return thread


def _server(application: Access) -> uvicorn.Server:
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what goes wrong is said by Access, without credentials
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=ImpatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


def _listen(config: ViewerConfig) -> socket.socket:
    if config.token is None and not is_loopback_host(config.host):
        raise ConfigError(
            f"viewer: who reaches {mask(config.host)!r} could see every frame: set viewer.token (16 characters or more, as "
            "`openssl rand -hex 16` makes them) in config.yaml, or FRAMECAP__VIEWER__TOKEN"
        )
    try:
        family, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listening = socket.create_server(address[:2], family=family, backlog=_CONNECTIONS)
    except OSError as error:  # socket.gaierror is one
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # the address again, as a tuple
        raise ConfigError(
            f"viewer: cannot listen on {mask(config.host)!r}, port {config.port}: {reason}: give another viewer.port "
            "(--port; 0 takes a free one) or viewer.host (--host)"
        ) from None
    return listening


def _address(listening: socket.socket) -> str:
    where, number = listening.getsockname()[:2]
    return f"http://{f'[{where}]' if ':' in where else where}:{number}"
