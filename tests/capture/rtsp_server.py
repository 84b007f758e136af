"""An RTSP camera for tests, run by the system's Python (GStreamer's bindings live there): rtsp_server.py PORT USER PASSWORD.

Serves rtsp://127.0.0.1:PORT/live and prints "ready"; without a password (empty) to anybody.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

IMAGES = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=15/1"
    " ! x264enc tune=zerolatency key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
)


def main(port: str, user: str, password: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(IMAGES)
    factory.set_shared(True)
    if password:
        protect(server, factory, user, password)
    server.connect("client-connected", lambda *_: print("client", flush=True))
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


def protect(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, user: str, password: str) -> None:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    may = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    factory.add_role_from_structure(Gst.Structure.new_from_string(may))


main(*sys.argv[1:])
