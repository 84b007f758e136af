"""What tests of buckets behind a proxy share: faults for the next writes, a store that knows its server."""

from __future__ import annotations

from collections.abc import Callable

from framecap.stores.base import PutResult, Store
from tests.proxy import Fault, Request

KEY = "cam/a.jpg"
DATA = b'{"status": "captioned", "frame": {}}'
OTHER = b'{"status": "failed", "frame": {}}'


def faults(*planned: Fault) -> Callable[[Request], Fault]:
    """The next PUTs meet these, one after the other; everything else is passed on."""
    left = iter(planned)
    return lambda request: next(left, Fault.NONE) if request.method == "PUT" else Fault.NONE


def known(store: Store) -> Store:
    """The store once it knows that its server honours conditions, as after its first write."""
    assert store.put_frame("known/known.jpg", b"x") is PutResult.STORED
    return store
