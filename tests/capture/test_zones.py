"""What lies in a zone never reaches the store, for every kind of source, size and shape; wrong polygons are refused."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from framecap.capture.plan import make_plans
from framecap.capture.zones import Zone, blacken
from framecap.config import CaptureConfig, load_config
from framecap.errors import ConfigError
from tests.capture import mjpeg_camera
from tests.capture.memory_store import MemoryStore
from tests.capture.running import capture_config, eventually, running
from tests.capture.videos import Image as DrawnImage
from tests.capture.videos import make_raw_mjpeg, size_of

LEFT_THIRD: Zone = ((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0))
TRIANGLE: Zone = ((1.0, 0.0), (1.0, 1.0), (0.6, 0.5))
DARK, BRIGHT = 40, 200  # what a JPEG makes of black beside white, and of white beside black


def zoned(source: object, *zones: Zone, **values: object) -> CaptureConfig:
    config = capture_config(source, **values)
    camera = config.cameras[0].model_copy(update={"zones": zones or (LEFT_THIRD, TRIANGLE)})
    return config.model_copy(update={"cameras": (camera,)})


def capture_until(config: CaptureConfig, count: int) -> list[bytes]:
    store = MemoryStore()
    with running(config, store):
        store.wait_for(count)
    return store.in_order()


def white(number: int = 0, size: tuple[int, int] = (160, 96)) -> DrawnImage:
    return np.full((size[1], size[0], 3), 255, np.uint8)


def check_masked(jpeg: bytes) -> tuple[int, int]:
    """Every pixel of the two zones is black and the rest is white, but for four pixels beside an edge; its size."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    height, width = image.shape
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    x, y = xs / width, ys / height
    into_triangle = x - 0.6 - 0.8 * abs(y - 0.5)
    inside, outside = (x < 0.3) | (into_triangle > 0), (x > 0.3 + 4 / width) & (into_triangle < -4 / width - 4 / height)
    edge = (abs(x - 0.3) < 4 / width) | (abs(into_triangle) < 4 / width + 4 / height)
    assert image[inside & ~edge].max() < DARK / 4
    assert image[inside].max() < DARK
    assert image[outside].min() > BRIGHT
    assert outside.sum() > width * height / 4
    return width, height


@pytest.mark.parametrize(("max_size", "size"), [(None, (161, 97)), (100, (100, 60))])
def test_a_video(tmp_path: Path, max_size: int | None, size: tuple[int, int]) -> None:
    """OpenCV brings images of other sizes in a video to the size of the first."""
    images = [white(size=each) for each in ((161, 97), (320, 240), (64, 48))]
    video = make_raw_mjpeg(tmp_path / "a.mjpeg", images)
    frames = capture_until(zoned(video, max_size=max_size), len(images))
    assert [check_masked(jpeg) for jpeg in frames] == [size] * 3


def test_a_live_stream_and_its_new_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg_camera, "numbered_image", white)
    camera, store = mjpeg_camera.MjpegCamera(), MemoryStore()
    try:
        with running(zoned(camera.url()), store):
            store.wait_for(3)
            camera.size = (320, 240)
            camera.drop()
            eventually(lambda: size_of(store.in_order()[-1]) == (320, 240))
    finally:
        camera.close()
    assert {check_masked(jpeg) for jpeg in store.frames.values()} == {(160, 96), (320, 240)}


def photo(path: Path, rotate: int) -> Path:
    """A white JPEG with a white thumbnail and a place in its EXIF, stored lying on its side when `rotate` is 6."""
    exif, thumbnail = Image.Exif(), io.BytesIO()
    exif[0x0112] = rotate
    exif[0x010E] = "at home, garden gate"
    Image.new("RGB", (32, 24), "white").save(thumbnail, "jpeg")
    size = (96, 160) if rotate == 6 else (160, 96)
    image_file = io.BytesIO()
    Image.new("RGB", size, "white").save(image_file, "jpeg", exif=exif)
    data = image_file.getvalue()
    comment = b"\xff\xfe" + (len(thumbnail.getvalue()) + 2).to_bytes(2) + thumbnail.getvalue()
    path.write_bytes(data[:2] + comment + data[2:])
    return path


@pytest.mark.parametrize("rotate", [1, 6])
def test_photos_of_a_folder_are_masked_as_they_are_seen_and_nothing_hidden_comes_along(tmp_path: Path, rotate: int) -> None:
    data = photo(tmp_path / "a.jpg", rotate).read_bytes()
    assert data.count(b"\xff\xd8\xff") == 2
    assert b"garden gate" in data
    (jpeg,) = capture_until(zoned(tmp_path), 1)
    assert check_masked(jpeg) == (160, 96)
    assert jpeg.count(b"\xff\xd8\xff") == 1
    assert b"garden gate" not in jpeg
    assert b"Exif" not in jpeg


def test_without_zones_nothing_is_masked() -> None:
    image_file = white()
    assert blacken(image_file, ()) is image_file


parts = st.floats(0, 1)
points = st.tuples(parts, parts)


def side(a: tuple[float, float], b: tuple[float, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice the area of the triangle of a, b and each point, with its sign."""
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@given(st.tuples(points, points, points), st.integers(1, 300), st.integers(1, 300))
def test_no_pixel_of_a_triangle_is_left_and_none_far_from_it_is_taken(zone: Zone, width: int, height: int) -> None:
    image_file = white(size=(width, height))
    before = image_file.copy()
    masked = blacken(image_file, (zone,))
    assert (image_file == before).all()
    black = (masked == 0).all(axis=2)
    assert ((masked == 255).all(axis=2) | black).all()
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    corners = [(x * width, y * height) for x, y in zone]
    sides = [side(a, b, xs, ys) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    inside = np.logical_and.reduce([s > 0 for s in sides]) | np.logical_and.reduce([s < 0 for s in sides])
    assert black[inside].all()
    xs_of, ys_of = [x for x, _ in corners], [y for _, y in corners]
    near = (min(xs_of) - 4 < xs) & (xs < max(xs_of) + 4) & (min(ys_of) - 4 < ys) & (ys < max(ys_of) + 4)
    assert not black[~near].any()


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        ("[[[0, 0], [1, 1]]]", "capture.cameras.0.zones.0"),
        ("[[[0, 0], [1, 0], [1.5, 1]]]", "less than or equal to 1"),
        ("[[[0, 0], [1, 0], [-0.1, 1]]]", "greater than or equal to 0"),
        ("[[[0, 0], [640, 0], [640, 480]]]", "less than or equal to 1"),
        ("[[[0, 0], [1, 0, 1], [1, 1]]]", "capture.cameras.0.zones.0.1"),
        ("[[[0, 0], [1, 0], [.nan, 1]]]", "zones"),
        ("[[0, 0], [1, 0], [1, 1]]", "capture.cameras.0.zones.0"),
        ("left", "capture.cameras.0.zones"),
    ],
)
def test_what_is_no_polygon_is_refused_by_the_schema(tmp_path: Path, zones: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(f"capture: {{cameras: [{{source: '0', zones: {zones}}}]}}")
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        (((0, 0), (0.5, 0.5), (1, 1)), "on one line"),
        (((0.2, 0.2), (0.2, 0.2), (0.2, 0.2)), "on one line"),
        (((0, 0), (1, 1), (1, 0), (0, 1)), "list the corners in the order"),
        # a star through its own corners: what is enclosed twice would stay visible
        (((0.5, 0), (0.8, 1), (0, 0.35), (1, 0.35), (0.2, 1)), "list the corners in the order"),
        (((0, 0), (0.5, 0), (0.5, 1), (0.2, 0), (0, 1)), "meet"),
    ],
)
def test_a_polygon_that_would_mask_less_than_it_seems_is_refused(tmp_path: Path, zone: Zone, words: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), white())
    with pytest.raises(ConfigError, match=rf"zones\.1: .*{words}"):
        make_plans(zoned(tmp_path, LEFT_THIRD, zone))


@pytest.mark.parametrize(
    "zone",
    [
        (*LEFT_THIRD, LEFT_THIRD[0]),  # closed as GeoJSON does it
        ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.2), (0.1, 0.9)),  # not convex
    ],
)
def test_other_ways_of_writing_a_polygon_are_accepted(tmp_path: Path, zone: Zone) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), white())
    (plan,) = make_plans(zoned(tmp_path, zone))
    assert plan.zones == (zone,)


def test_the_shipped_example_of_a_zone_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    example = next(line for line in text.splitlines() if "zones: [[[" in line).partition("zones: ")[2].partition("#")[0]
    (tmp_path / "config.yaml").write_text(f"capture: {{cameras: [{{source: '{tmp_path}', zones: {example}}}]}}")
    assert load_config(tmp_path / "config.yaml").capture.cameras[0].zones == (LEFT_THIRD,)
