"""Every exception that framecap raises on purpose, in one tree.

    FramecapError
    ├── ConfigError            wrong use or configuration                      exit 2
    ├── MissingError           something is missing on this machine            exit 3
    ├── SourceError            a camera, stream or file
    │   ├── SourceNotFound       no such file or device                        exit 2
    │   ├── SourceUnreachable    the stream does not answer                    retry
    │   ├── SourceRefused        the stream wants other credentials            retry, slowly
    │   └── SourceStalled        reads hang or bring nothing new               retry
    ├── StoreError             the place where frames and sidecars live
    │   ├── StoreUnavailable     it is away, full or read-only                 retry
    │   │   └── FolderClosed       this user may not write into that folder    retry
    │   ├── FrameGone            the frame was deleted meanwhile
    │   ├── FrameUnreadable      this user may not read the frame               retry until settled
    │   └── KeyRefused           a key that could leave the store, or no frame
    │       └── NameTaken          another program's file has the sidecar's name
    ├── QueueError             the queue that tells of new frames
    │   ├── QueueUnavailable     it is away, or refuses                        retry
    │   ├── MessageUnreadable    a message that is no S3 event
    │   └── PoisonFrame          a frame that came back from its workers too often
    ├── DecodeError            the bytes of one frame
    │   ├── EmptyFrame           zero bytes                                    retry until settled
    │   ├── TruncatedFrame       the end of the image is missing             retry until settled
    │   ├── UndecodableFrame     not an image, or a broken one
    │   ├── OversizedFrame       more pixels or bytes than allowed
    │   ├── DecoderCrashed       the decoder died of it                        retry
    │   └── DecoderTimeout       the decoder hung on it                        retry
    ├── ModelError             bundle, runtime, captioner
    │   ├── BundleError          a part is missing or does not fit             exit 2
    │   ├── NonFiniteOutput      NaN or Inf came out of the model
    │   ├── DeviceMemoryError    the device has no memory left                 retry
    │   ├── CaptionerUnavailable a vision server is away or overloaded         retry until it is back
    │   │   └── CaptionerDenied    it takes neither this key nor this model    exit 2; retry as above
    │   ├── CaptionTimeout       it did not answer in time                     retry
    │   ├── CaptionerFault       an error of its own, or no readable answer    retry
    │   ├── CaptionRefused       it does not want to caption this image
    │   │   └── RequestRefused     its answer is 4xx: what it was sent is wrong
    │   └── CaptionTooLong       its answer is no caption but response too long
    ├── SidecarError           bytes that are no valid sidecar
    ├── IndexUnavailable       the search index cannot be read or written       retry
    └── EventError             what a rule does with a caption
        ├── EndpointUnavailable  it is away, or overloaded                     retry all
        ├── EventRefused         it does not want this event                   retry this one
        └── StateUnavailable     the state cannot be written just now          retry

`kind` is the word a sidecar's `error.kind` and the metrics carry; `retryable` says whether trying the same
thing again can help; `exit_code` is what the command line ends with when the error reaches it.
"""

from __future__ import annotations

from typing import ClassVar


class FramecapError(Exception):
    """The root: the message says what was wrong, where, and what to do."""

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class ConfigError(FramecapError):
    kind = "config"
    exit_code = 2


class MissingError(FramecapError):
    kind = "missing"
    exit_code = 3


class SourceError(FramecapError):
    kind = "source"


class SourceNotFound(SourceError):
    kind = "source_not_found"
    exit_code = 2


class SourceUnreachable(SourceError):
    kind = "source_unreachable"
    retryable = True


class SourceRefused(SourceError):
    kind = "source_refused"
    retryable = True


class SourceStalled(SourceError):
    kind = "source_stalled"
    retryable = True


class StoreError(FramecapError):
    kind = "store"


class StoreUnavailable(StoreError):
    kind = "store_unavailable"
    retryable = True


class FolderClosed(StoreUnavailable):
    kind = "folder_closed"


class FrameGone(StoreError):
    kind = "gone"


class FrameUnreadable(StoreError):
    kind = "unreadable"
    retryable = True


class KeyRefused(StoreError):
    kind = "key_refused"


class NameTaken(KeyRefused):
    kind = "name_taken"


class QueueError(FramecapError):
    kind = "queue"


class QueueUnavailable(QueueError):
    kind = "queue_unavailable"
    retryable = True


class MessageUnreadable(QueueError):
    kind = "message_unreadable"


class PoisonFrame(QueueError):
    kind = "poison"


class DecodeError(FramecapError):
    kind = "decode"


class EmptyFrame(DecodeError):
    kind = "empty"
    retryable = True


class TruncatedFrame(DecodeError):
    kind = "truncated"
    retryable = True


class UndecodableFrame(DecodeError):
    kind = "undecodable"


class OversizedFrame(DecodeError):
    kind = "oversized"


class DecoderCrashed(DecodeError):
    kind = "decoder_crashed"
    retryable = True


class DecoderTimeout(DecodeError):
    kind = "decoder_timeout"
    retryable = True


class ModelError(FramecapError):
    kind = "model"


class BundleError(ModelError):
    kind = "bundle"
    exit_code = 2


class NonFiniteOutput(ModelError):
    kind = "non_finite"


class DeviceMemoryError(ModelError):
    kind = "device_memory"
    retryable = True


class CaptionerUnavailable(ModelError):
    kind = "captioner_unavailable"
    retryable = True


class CaptionerDenied(CaptionerUnavailable):
    kind = "captioner_denied"
    exit_code = 2


class CaptionTimeout(ModelError):
    kind = "caption_timeout"
    retryable = True


class CaptionerFault(ModelError):
    kind = "captioner_fault"
    retryable = True


class CaptionRefused(ModelError):
    kind = "caption_refused"


class RequestRefused(CaptionRefused):
    kind = "request_refused"


class CaptionTooLong(ModelError):
    kind = "caption_too_long"


class SidecarError(FramecapError):
    kind = "sidecar"


class IndexUnavailable(FramecapError):
    kind = "index_unavailable"
    retryable = True


class EventError(FramecapError):
    kind = "event"


class EndpointUnavailable(EventError):
    kind = "endpoint_unavailable"
    retryable = True


class EventRefused(EventError):
    kind = "event_refused"
    retryable = True


class StateUnavailable(EventError):
    kind = "state_unavailable"
    retryable = True


def kinds_below(kind: str) -> frozenset[str]:
    """The kind itself and those of the tree below it; empty for a word that is no kind."""
    found = set()
    branches = [(FramecapError, False)]
    while branches:
        error, within = branches.pop()
        within = within or error.kind == kind
        if within:
            found.add(error.kind)
        branches += [(below, within) for below in error.__subclasses__()]
    return frozenset(found)
