"""Messages survive the pipe, cut anywhere; what no reader sends is an error, not memory."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.capture.protocol import (
    Alive,
    Dropped,
    Ended,
    GrabbedImage,
    LogNote,
    Message,
    MessageDecoder,
    Opened,
    Ready,
    Request,
    encode,
)
from framecap.errors import SourceError

messages = st.one_of(
    st.just(Ready()),
    st.just(Alive()),
    st.builds(Opened, st.booleans()),
    st.builds(GrabbedImage, st.integers(0, 1 << 40), st.integers(0, 1 << 60), st.binary(max_size=200)),
    st.builds(Dropped, st.text(), st.integers(0, 1 << 30)),
    st.builds(LogNote, st.text()),
    st.builds(Ended, st.sampled_from(["end", "refused"]), st.text()),
)


@given(st.lists(messages), st.data())
def test_round_trip_in_pieces(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(encode(message) for message in sent)
    decoder = MessageDecoder()
    received = []
    while stream:
        length = data.draw(st.integers(1, len(stream)))
        decoder.feed(stream[:length])
        stream = stream[length:]
        while (message := decoder.next()) is not None:
            received.append(message)
    assert received == sent
    assert decoder.next() is None


def test_a_length_that_no_reader_sends() -> None:
    decoder = MessageDecoder()
    decoder.feed(struct.pack(">II", 100, 1 << 31))
    with pytest.raises(SourceError, match="broken"):
        decoder.next()


def test_the_request_and_its_repr() -> None:
    request = Request(
        kind="stream",
        address="rtsp://admin:secret@camera/\udcff",
        images=("a", "b"),
        fps=1.0,
        every=None,
        jpeg_quality=90,
        max_size=None,
        open_timeout=1.0,
        read_timeout=2.0,
        skip=7,
    )
    line = request.encode()
    assert line.endswith(b"\n")
    assert Request.decode(line) == request
    assert "secret" not in repr(request)
