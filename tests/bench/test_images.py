"""The images that are measured with: as many as asked for, of the size of a camera's, no two the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from framecap.bench.images import make_images
from framecap.errors import SourceNotFound
from tests.tiny import draw_image


def test_they_are_made(tmp_path: Path) -> None:
    paths = make_images(tmp_path / "made", 12)
    assert len(paths) == 12
    assert len({path.read_bytes() for path in paths}) == 12
    assert {cv2.imread(str(path)).shape for path in paths} == {(480, 640, 3)}
    again = make_images(tmp_path / "again", 12)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_a_jpeg_is_as_large_as_a_photo_s(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in make_images(tmp_path / "made", 20)]
    assert 50_000 < sum(sizes) / len(sizes) < 85_000  # Flickr8k: 57,000; the shipped clip: 82,000


def test_they_are_taken_from_a_folder_or_a_video(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), cv2.cvtColor(draw_image("red", "ball"), cv2.COLOR_RGB2BGR))
    (folder / "note.txt").write_text("no image")
    (folder / "broken.jpg").write_bytes(b"no JPEG")
    for name, source in (("of-folder", folder), ("of-video", clip)):
        paths = make_images(tmp_path / name, 5, source)
        assert len({path.read_bytes() for path in paths}) == 5
        assert cv2.imread(str(paths[0])).shape == (480, 640, 3)
    blue, _, red = cv2.split(cv2.imread(str(tmp_path / "of-folder" / "000000.jpg")).astype(int))
    assert (red - blue).max() > 100  # the ball


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_source_without_images_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFound, match="no images or video here"):
        make_images(tmp_path / "out", 1, tmp_path / name)
