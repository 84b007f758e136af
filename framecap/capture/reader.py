"""The child process of one camera, `python -m framecap.capture.reader`: a Request on standard input, Messages on its output.

It opens the source, grabs, samples and encodes, and dies when its input closes, that is when its parent does. OpenCV and
FFmpeg write their own errors, addresses included, to standard error: a bounded file in memory that no terminal shows.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.capture.protocol import (
    MAX_PIXELS,
    Alive,
    Dropped,
    Ended,
    EndReason,
    GrabbedImage,
    LogNote,
    Message,
    Opened,
    Ready,
    Request,
    encode,
)
from framecap.capture.sampling import Sampler, Sampling
from framecap.errors import DecodeError

if TYPE_CHECKING:
    from framecap.capture.grabbers import Grabber, Image

BEAT_SECONDS = 0.5
BLOCKED_SECONDS = 0.5  # so long without anyone reading our pipe, and what a live source sent meanwhile is stale
MAX_CHATTER_BYTES = 1 << 20
# What a source may make us allocate: a camera can say that its next image has two gigabytes. 8K video takes some 600 MB
# (50 MB an image, of which a decoder remembers six, and one more for each core that decodes).
STREAM_BYTES, STREAM_BYTES_PER_CORE = 1 << 30, 32 << 20

# FFmpeg opens what a file or stream tells it to: a playlist named .mp4 must not reach other files or the network. So a file
# must hold its images itself: these are the names of such formats, and hls, concat, dash and sdp are not among them.
_FILE_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,ivf,evc,avs,avs2,avs3,"
    "cavsvideo,dirac,dnxhd,vc1,vc1test,flv,live_flv,kux,asf,asf_o,ogg,nut,mxf,gxf,lxf,gif,apng,mjpeg,mjpeg_2000,mpjpeg,smjpeg,"
    "ingenient,ipmovie,yuv4mpegpipe,dv,dhav,rm,nsv,wtv,pva,ty,ivr,nuv,swf,flic,4xm,smk,bink,roq,cine,mlv,r3d,jpegxl_anim,"
    "bmp_pipe,gif_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,png_pipe,ppm_pipe,tiff_pipe,webp_pipe"
)
_FILE_OPTIONS = f"protocol_whitelist;file|format_whitelist;{_FILE_FORMATS}"
_STREAM_OPTIONS = (
    "rtsp_transport;tcp|protocol_whitelist;rtsp,rtsps,rtp,srtp,rtmp,rtmps,http,https,httpproxy,hls,crypto,tcp,udp,tls"
    "|extension_picky;0"  # HLS segments behind signed addresses have no media extension; the protocols are listed as it is
)

# What FFmpeg says, and what that means. Of the rest of its chatter the last line is passed on, without addresses.
_STATUS = re.compile(r"(?:failed:|HTTP error|returned) (?P<status>[45]\d\d)\b")
_NOT_LISTED = "Format not on whitelist"
_REFUSALS = {"401": "401 Unauthorized", "403": "403 Forbidden"}
_ADDRESS = re.compile(r"\S+://\S+")
_SPEAKER = re.compile(r"^\[[^\]]*\]\s*")
MAX_WORDS = 300  # characters
_FAILURES = re.compile(
    r"Connection refused|No route to host|Network is unreachable|Connection reset by peer|Connection timed out"
    r"|Failed to resolve hostname|Stream timeout triggered|Device or resource busy"
    r"|Invalid data found when processing input|moov atom not found"
)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; when to end is the parent's decision
    output = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not break the protocol
    request = Request.decode(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _STREAM_OPTIONS if request.kind == "stream" else _FILE_OPTIONS
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "24"  # AV_LOG_WARNING: HTTP's 401 is one
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    pipe = Pipe(output)
    pipe.send(_read(request, pipe))


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


class Pipe:
    """Where the messages go. `blocked` is how long (seconds) the last one had to wait for a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.sent_at = time.monotonic()
        self.blocked = 0.0

    def send(self, message: Message) -> None:
        view = memoryview(encode(message))
        begin = time.monotonic()
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BrokenPipeError:
            os._exit(0)
        self.sent_at = time.monotonic()
        self.blocked = self.sent_at - begin


def _read(request: Request, pipe: Pipe) -> Ended:
    from framecap.capture.grabbers import open_grabber

    pipe.send(Ready())
    if request.kind in ("stream", "images"):
        limit_memory(STREAM_BYTES + STREAM_BYTES_PER_CORE * len(os.sched_getaffinity(0)))
    try:
        grabber = open_grabber(request)
    except UnicodeEncodeError:
        return Ended("unreadable", "its name is not valid UTF-8: rename it")
    if grabber is None:
        reason, text = _why()
        return Ended("unreadable" if request.kind == "video" else reason, text)
    if grabber.pixels > MAX_PIXELS:  # each would take gigabytes, and no worker would take it
        return Ended("unreadable", f"its images have more than {MAX_PIXELS} pixels")
    pipe.send(Opened(grabber.recorded))
    _copy(request, grabber, pipe)
    if grabber.note:
        pipe.send(LogNote(grabber.note))
    if grabber.shortfall:
        words = _last_words()
        return Ended("incomplete", f"{grabber.shortfall}{f': {words}' if words else ''}")
    return Ended("end") if grabber.recorded else Ended("lost", _why()[1])


def limit_memory(more: int) -> None:
    """At most so many bytes more than now: what asks for more is told that there are none."""
    with contextlib.suppress(OSError, ValueError):  # another system, or a limit that is lower already
        status = Path("/proc/self/status").read_text()
        held = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (held + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _copy(request: Request, grabber: Grabber, pipe: Pipe) -> None:
    """Send the frames that sampling keeps, until the source ends."""
    from framecap.capture.grabbers import encode_jpeg

    # Somebody chose each image of a sequence, and file times say nothing of its pace: only `every` thins it out.
    fps = None if request.kind == "images" else request.fps
    sampler = Sampler(Sampling(fps, request.every), grabber.slack)
    _drain(grabber, pipe)
    index = 0
    while moment := grabber.grab():
        if time.monotonic() - pipe.sent_at > BEAT_SECONDS:
            pipe.send(Alive())
            _limit_chatter()
        if grabber.note:
            pipe.send(LogNote(grabber.note))
            grabber.note = ""
        if sampler.keeps(index, moment.seconds) and index > request.skip:
            image, text = _retrieve(grabber)
            jpeg = None if image is None else encode_jpeg(image, request.jpeg_quality, request.max_size, request.zones)
            pipe.send(Dropped("undecodable", 1, index, text) if jpeg is None else GrabbedImage(index, moment.at, jpeg))
            if pipe.blocked > BLOCKED_SECONDS:
                _drain(grabber, pipe)
        index += 1


def _retrieve(grabber: Grabber) -> tuple[Image | None, str]:
    """The frame that was grabbed last, or None and what is wrong with it, where that is known."""
    try:
        return grabber.retrieve(), ""
    except DecodeError as error:
        return None, str(error)


def _drain(grabber: Grabber, pipe: Pipe) -> None:
    stale = grabber.drain()
    if stale:
        pipe.send(Dropped("stale", stale))


def _why() -> tuple[EndReason, str]:
    """What FFmpeg's last words say about a source that does not open or goes away."""
    chatter = _chatter()
    if _NOT_LISTED in chatter:
        return "unreadable", "a playlist, or a format that is not known: name the video itself"
    statuses = _STATUS.findall(chatter)
    if statuses:
        status = statuses[-1]
        return ("refused", _REFUSALS[status]) if status in _REFUSALS else ("unreachable", f"status {status}")
    failures = _FAILURES.findall(chatter)
    return "unreachable", failures[-1] if failures else _last_words()


def _chatter() -> str:
    return os.pread(2, MAX_CHATTER_BYTES, max(0, os.fstat(2).st_size - MAX_CHATTER_BYTES)).decode(errors="replace")


def _last_words() -> str:
    """The last line that FFmpeg or OpenCV said, without the part of it that spoke."""
    lines = [line for line in _chatter().splitlines() if line.strip()]
    return _ADDRESS.sub("(address)", _SPEAKER.sub("", lines[-1])).strip()[:MAX_WORDS] if lines else ""


def _limit_chatter() -> None:
    if os.fstat(2).st_size > MAX_CHATTER_BYTES:
        os.ftruncate(2, 0)


if __name__ == "__main__":
    main()
