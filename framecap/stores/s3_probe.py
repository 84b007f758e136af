"""A bucket in; what its server does of what the promise rests on, tried with one small hidden object, out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from botocore.exceptions import ClientError

from framecap.stores.base import ProbeFinding
from framecap.stores.s3_errors import CLIENT_ERRORS, CONFLICT, EXISTS, explain, is_missing, refuses_conditions, status_of
from framecap.stores.s3_listing import Keys
from framecap.stores.s3_objects import Objects

ONE_COMMIT = "no frame is committed twice, whatever number of workers and machines there are"
WEAKER = (
    "this server ignores conditional writes (If-None-Match): a frame ends in one sidecar, but two workers may both caption "
    "it, and the later sidecar stays: give workers shards or a queue, and each camera one capture"
)

REFUSES = (
    "this server refuses conditional writes (If-None-Match, If-Match): framecap looks, then writes: a frame ends in one "
    "sidecar, but two workers at the same moment may both caption it, and the later sidecar stays: give workers shards or a "
    "queue, and each camera one capture"
)
REFUSES_REPLACING = (
    "this server refuses to replace an object on a condition (If-Match): retry and recaption look, then write: run one of "
    "them at a time"
)

_OBJECT = ".framecap-probe.jpg.json"  # the right to write sidecars is enough for it; it stays where nobody may delete
_CONTENT = b"framecap check was here: this may be deleted\n"


class _Answer(Enum):
    """To a conditional write whose condition does not hold."""

    REFUSED = "it says that the condition does not hold"
    WRITTEN = "it writes all the same"
    UNKNOWN = "it takes no conditional writes"


_AGAIN = {_Answer.REFUSED: ONE_COMMIT, _Answer.WRITTEN: WEAKER, _Answer.UNKNOWN: REFUSES}
_OTHER = {
    _Answer.REFUSED: "of two workers that replace a torn sidecar, one does",
    _Answer.WRITTEN: "this server ignores If-Match: two workers may both replace a torn sidecar, and the later one's stays",
    _Answer.UNKNOWN: REFUSES_REPLACING,
}


def probe(objects: Objects, keys: Keys) -> tuple[ProbeFinding, ...]:
    """Write, write again, read back, list, delete."""
    try:
        keys.look()
        first = _try(lambda: objects.put_new(_OBJECT, _CONTENT))  # an earlier probe's may be there still
        if first is _Answer.UNKNOWN:
            objects.put(_OBJECT, _CONTENT)
        again = _try(lambda: objects.put_new(_OBJECT, _CONTENT))
        other = _try(lambda: objects.put_over(_OBJECT, _CONTENT, "0" * 32))
        whole = objects.holds(_OBJECT, _CONTENT)
        deleted = _delete(objects)
    except CLIENT_ERRORS as error:
        meaning = explain(error)
        return (ProbeFinding("list, write and read back", False, f"{meaning.reason}: {meaning.advice}"),)
    order = "folder by folder, as this server lists; put in order here" if keys.by_folder else "in the byte order of keys"
    return (
        ProbeFinding("list", True, order),
        ProbeFinding(
            "write an object and read it back", whole, "sidecars are never torn: an object appears whole or not at all"
        ),
        ProbeFinding("refuse to create it again", again is _Answer.REFUSED, _AGAIN[again]),
        ProbeFinding("refuse to replace what is not expected", other is _Answer.REFUSED, _OTHER[other]),
        ProbeFinding(
            "delete", True, "only `framecap prune` needs it" if deleted else f"not allowed, nor needed: {_OBJECT} stays"
        ),
    )


def _try(put: Callable[[], None]) -> _Answer:
    """What the server does with a conditional write that it should refuse."""
    try:
        put()
    except ClientError as error:
        if status_of(error) in (EXISTS, CONFLICT) or is_missing(error):
            return _Answer.REFUSED
        if not refuses_conditions(error):
            raise
        return _Answer.UNKNOWN
    return _Answer.WRITTEN


def _delete(objects: Objects) -> bool:
    try:
        objects.delete(_OBJECT)
    except ClientError as error:
        if status_of(error) != 403:
            raise
        return False
    return True
