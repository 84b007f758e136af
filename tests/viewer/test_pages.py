"""What the page is answered: cameras, frames, images, news; and nothing that is outside the store."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from framecap.errors import DecoderTimeout
from framecap.sidecars.sidecar import encode
from framecap.viewer.images import SIDE, ImageCache, ServedImage
from tests.s3 import Bucket
from tests.viewer.served import Page, captioned_frame, commit, failed_frame, jpeg, key_of, make, page_over, put_frame, until


def camera_page(page: Page, **query: str) -> list[str]:
    return [shown["camera"] for shown in page.ask("/api/cameras", **query).json["cameras"]]


def test_the_newest_frame_of_each_camera(page: Page, frames: Path) -> None:
    for second in range(3):
        captioned_frame(frames, "door", second, f"A dog, {second}.")
    captioned_frame(frames, "yard", 1, "A cat.", confidence=0.2, uncertain=True)
    shown = until(lambda: (found := page.ask("/api/cameras").json)["total"] == 2 and found)["cameras"]
    until(lambda: page.ask("/api/cameras").json["cameras"][0]["caption"] == "A dog, 2.")
    assert (shown[1]["camera"], shown[1]["confidence"], shown[1]["uncertain"]) == ("yard", 0.2, True)
    assert next(one["key"] for one in page.ask("/api/last").json["frames"]) in (key_of("door", 2), key_of("yard", 1))


def test_what_was_there_before_the_page_is_shown(frames: Path, tmp_path: Path) -> None:
    captioned_frame(frames, "door", 0, "Before.")
    put_frame(frames, "image.jpg")
    commit(frames, "image.jpg", "In no folder.")
    put_frame(frames, "uploads/x.png")
    commit(frames, "uploads/x.png", "Foreign.")
    with page_over(frames, tmp_path / "index") as page:
        until(lambda: camera_page(page) == ["door", "unsorted", "uploads"])


def test_a_thousand_cameras_come_in_pages(page: Page, frames: Path) -> None:
    for number in range(1000):
        commit(frames, key_of(f"camera-{number:04d}", 0), "A dog.")
    until(lambda: page.ask("/api/cameras").json["total"] == 1000, 60)
    first = camera_page(page)
    assert len(first) == 60
    assert camera_page(page, after=first[-1], limit="2") == ["camera-0060", "camera-0061"]
    assert camera_page(page, containing="CAMERA-07", limit="500")[-1] == "camera-0799"
    assert len(camera_page(page, limit="100000")) == 200


def test_news_come_without_asking(page: Page, frames: Path) -> None:
    with page.news() as news:
        assert next(news)[0] == "health"
        key = captioned_frame(frames, "door", 5, "A dog comes.")
        name, output = next(one for one in news if one[0] == "frames")
        assert [shown["key"] for shown in output["frames"]] == [key]
        assert name == "frames"
        assert not output["missed"]


def test_health_tells_of_what_is_pending(page: Page, frames: Path) -> None:
    key = key_of("door", 0)
    put_frame(frames, key)
    health = until(lambda: (found := page.ask("/api/health").json)["pending"] == 1 and found)
    assert health["oldest"] == pytest.approx((frames / key).stat().st_mtime)
    commit(frames, key, "A dog.")
    until(lambda: page.ask("/api/health").json["pending"] == 0)
    until(lambda: page.ask("/api/health").json["done"] == 1)


def test_a_frame_s_own_page(page: Page, frames: Path) -> None:
    key = captioned_frame(frames, "door", 5, "A dog comes.")
    answer = page.ask("/api/frame", key=key).json
    assert answer["shown"]["caption"] == answer["sidecar"]["caption"] == "A dog comes."
    assert page.ask("/sidecar", key=key).json == json.loads((frames / f"{key}.json").read_text())


def test_a_renamed_folder_s_frames_are_shown_where_they_are(page: Page, frames: Path) -> None:
    until(lambda: page.ask("/api/health").json["done"] == 0)
    key = captioned_frame(frames, "door", 5, "A dog comes.")
    until(lambda: [shown["key"] for shown in page.ask("/api/last").json["frames"]] == [key])
    (frames / "door").rename(frames / "gate")
    renamed = f"gate{key.removeprefix('door')}"
    until(lambda: page.ask("/api/cameras").json["cameras"][0]["key"] == renamed)
    answer = page.ask("/api/frame", key=renamed).json
    assert answer["shown"]["key"] == answer["sidecar"]["frame"]["key"] == renamed
    assert page.ask("/api/attention", key=renamed).json["none"] == "the runtime null tells nothing of its attention"


def test_a_day_s_pages_leave_nothing_out_and_end(page: Page, frames: Path) -> None:
    """Frames of one instant are not ignored between two pages."""
    for number in range(5):
        put_frame(frames, f"photos/{number}.jpg")
        commit(frames, f"photos/{number}.jpg", f"Photo {number}.")
    until(lambda: len(page.ask("/api/timeline").json["hits"]) == 5)
    first = page.ask("/api/timeline", limit="2").json
    second = page.ask("/api/timeline", limit="2", before=first["before"]).json
    last = page.ask("/api/timeline", limit="2", before=second["before"]).json
    assert [hit["key"] for one in (first, second, last) for hit in one["hits"]] == [
        hit["key"] for hit in page.ask("/api/timeline").json["hits"]
    ]
    assert (first["more"], last["more"], last["before"]) == (True, False, None)
    assert [page.ask("/api/search", q="photo", limit=limit).json["more"] for limit in ("4", "5")] == [True, False]


def test_failed_frames_come_in_pages(page: Page, frames: Path) -> None:
    for second in range(51):
        failed_frame(frames, "door", second)
    first = until(lambda: (found := page.ask("/api/failed").json)["failed"] == 51 and found)
    rest = page.ask("/api/failed", before=first["before"]).json
    assert [frame["key"] for frame in rest["frames"]] == [key_of("door", 0)]
    assert rest["before"] is None


def test_lists_show_the_scene_s_steady_caption_and_a_frame_s_page_its_own(page: Page, frames: Path) -> None:
    key = captioned_frame(frames, "door", 5, "A dog comes.", steady_caption="A dog.")
    answer = page.ask("/api/frame", key=key).json
    assert (answer["shown"]["caption"], answer["sidecar"]["caption"]) == ("A dog.", "A dog comes.")


def test_images(page: Page, frames: Path) -> None:
    key = key_of("door", 0)
    put_frame(frames, key, jpeg(width=1200, height=600))
    small = page.ask("/small", key=key, mark="1")
    assert small.headers["content-type"] == "image/jpeg"
    assert "immutable" in small.headers["cache-control"]
    assert "sandbox" in small.headers["content-security-policy"]
    pixels = cv2.imdecode(np.frombuffer(small.body, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (SIDE // 2, SIDE, 3)
    assert page.ask("/small", key=key, mark="1").body == small.body
    assert page.ask("/image", key=key).body == (frames / key).read_bytes()


def test_what_is_no_image_is_not_handed_out(page: Page, frames: Path) -> None:
    put_frame(frames, "door/page.jpg", b"<html><script>alert(1)</script></html>")
    assert page.ask("/image", key="door/page.jpg").status == 422
    instead = page.ask("/small", key="door/page.jpg")
    assert (instead.status, instead.headers["content-type"]) == (200, "image/svg+xml")
    assert b"script" not in instead.body
    assert "immutable" not in instead.headers["cache-control"]


OUTSIDE = (
    "../secret.jpg",
    "/etc/passwd",
    "door/../../secret.jpg",
    "door//x.jpg",
    "door/link.jpg",
    "linked/secret.jpg",
    "door/\0.jpg",
    "door/.hidden.jpg",
    "door/x.jpg.json",
    "door/x.txt",
    "",
    "door/gone.jpg",
)


def test_frames_that_hang_their_decoder_hold_up_no_other_answer(
    page: Page, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many small images as a page shows, none of which comes: everything else is answered meanwhile."""
    release, begun = threading.Event(), threading.Semaphore(0)

    def hang(_: ImageCache, key: str) -> ServedImage:
        begun.release()
        release.wait(60)
        raise DecoderTimeout(key)

    monkeypatch.setattr(ImageCache, "_make", hang)
    keys = [key_of("door", second) for second in range(24)]
    for key in keys:
        put_frame(frames, key)
    with ThreadPoolExecutor(len(keys) + 1) as threads:
        try:
            asked = [threads.submit(page.ask, "/small", key=key) for key in keys]
            for _ in range(2):
                assert begun.acquire(timeout=20)
            for path in ("/api/search", "/api/timeline", "/api/failed"):
                assert threads.submit(page.ask, path, q="dog").result(timeout=20).status == 200
            assert threads.submit(page.ask, "/image", key=keys[0]).result(timeout=20).status == 200
        finally:
            release.set()
        assert {answer.result().headers["content-type"] for answer in asked} == {"image/svg+xml"}


@pytest.mark.parametrize("path", ["/small", "/image", "/sidecar", "/api/frame", "/api/attention"])
def test_nothing_outside_the_store_is_read(page: Page, frames: Path, path: str) -> None:
    secret = put_frame(frames.parent, "secret.jpg")
    commit(frames.parent, "secret.jpg", "A secret.")
    put_frame(frames, "door/x.jpg")
    (frames / "door" / "link.jpg").symlink_to(secret)
    (frames / "door" / "link.jpg.json").symlink_to(frames.parent / "secret.jpg.json")
    (frames / "linked").symlink_to(frames.parent)
    for key in OUTSIDE:
        answer = page.ask(path, key=key)
        if answer.status == 200:  # a drawing, in place of an image that is not there
            assert (path, answer.headers["content-type"]) == ("/small", "image/svg+xml"), key
        else:
            assert answer.status in (400, 404), key
        assert b"secret." not in answer.body.lower()


@pytest.mark.parametrize("path", ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py", "/nothing"])
def test_the_page_s_own_files_and_no_others(page: Page, path: str) -> None:
    assert page.ask(path).status == 404


def test_failed_frames_say_why(page: Page, frames: Path) -> None:
    key = failed_frame(frames, "door", 0)
    shown = page.ask("/api/frame", key=key).json["shown"]
    assert (shown["kind"], shown["reason"]) == ("undecodable", "not a JPEG, PNG or WebP image")
    assert page.ask("/api/attention", key=key).json["none"] == "this frame has no caption"


def test_a_truncated_sidecar_is_reported(page: Page, frames: Path) -> None:
    key = key_of("door", 0)
    put_frame(frames, key)
    (frames / f"{key}.json").write_text('{"status": "capt')
    answer = page.ask("/api/frame", key=key)
    assert answer.status == 500
    assert "not a valid sidecar" in answer.json["error"]


def test_a_bucket_is_shown_as_a_directory_is(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.store()
    keys = [key_of("door", second) for second in range(3)]
    for key in keys[:2]:
        store.put_frame(key, jpeg())
    store.commit_sidecar(keys[0], encode(make(keys[0], "A dog.")))
    with page_over(bucket.config(), tmp_path / "index") as page:
        until(lambda: camera_page(page) == ["door"])
        until(lambda: page.ask("/api/health").json["pending"] == 1)
        store.commit_sidecar(keys[1], encode(make(keys[1], "A cat.")))
        until(lambda: page.ask("/api/cameras").json["cameras"][0]["caption"] == "A cat.")
        until(lambda: len(page.ask("/api/search", q="cat").json["hits"]) == 1)
        assert page.ask("/image", key=keys[1]).body == jpeg()
        assert page.ask("/small", key=keys[1]).headers["content-type"] == "image/jpeg"
        assert page.ask("/api/frame", key=keys[1]).json["previous"] == keys[0]
        assert page.ask("/image", key=keys[2]).status == 404


@pytest.mark.parametrize(("path", "asked"), [("/api/timeline", {"camera": "door"}), ("/api/search", {"q": "dog"})])
def test_a_time_that_there_never_was(page: Page, path: str, asked: dict[str, str]) -> None:
    assert page.ask(path, **asked, since="-99999999999").status == 400
    assert page.ask(path, **asked, since="-62135596800", until="99999999999").status == 200
