"""Kills at every step of prepare: what is under a final name is whole, and the next run goes on where this one stopped."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from framecap.errors import ConfigError
from tests.tiny import make_data_set
from train.data import image_writer
from train.data.dataset import DataFolder
from train.data.image_file import ImageFile, ImageShape
from train.data.image_writer import ImageWriter, in_order, read_lines
from train.data.prepare import Recipe, prepare

RECIPE = Recipe(dataset="tiny", size=32, minimum_word_frequency=3)
SHAPE = ImageShape(10, 5, 4, "pixels")
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.train.data.test_image_writer"])
STEPS = {"open", "os.rename", "os.remove", "os.truncate"}


def image(number: int) -> bytes:
    return bytes([number]) * (3 * 4 * 4)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def prepare_and_die(source: tuple[Path, Path], out: Path, step: int) -> None:
    """kill -9 of itself before the given step: one that changes a file in `out`, or an image added."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def seen(event: str, arguments: tuple[object, ...]) -> None:
        if event in STEPS and str(out) in str(arguments[0]) and (event != "open" or arguments[1] not in ("r", "rb")):
            count()

    def add(self: ImageWriter, data: bytes) -> None:
        count()
        added(self, data)

    added = ImageWriter.add
    image_writer.PHOTOS_A_LINE = 7
    ImageWriter.add = add  # type: ignore[method-assign]
    sys.addaudithook(seen)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    prepare(RECIPE, *source, out)
    os._exit(0)


def killed(source: tuple[Path, Path], out: Path, step: int) -> bool:
    child = CHILDREN.Process(target=prepare_and_die, args=(source, out, step))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_data_set(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole")
    prepare(RECIPE, *source, out)
    return hashes(out)


def test_killed_at_each_step_it_goes_on(
    source: tuple[Path, Path], expected: dict[str, str], tmp_path: Path, full: bool, figure: Callable[[str], None]
) -> None:
    step = kills = 0
    while True:
        step += 1 if full else 9
        out = tmp_path / str(step)
        if not killed(source, out, step):
            break
        kills += 1
        truncated = {path.name: path for path in out.glob("[!.]*")} if out.exists() else {}
        assert {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in truncated.items()
        }.items() <= expected.items()
        prepare(RECIPE, *source, out)
        assert hashes(out) == expected
    assert step > 100
    figure(f"{kills} kills of prepare, one at each {'' if full else 'ninth '}step: 0 torn, all gone on with")


def test_killed_again_and_again_it_gets_done(source: tuple[Path, Path], expected: dict[str, str], tmp_path: Path) -> None:
    """Each run lives a little longer than the one before it."""
    runs = 1
    while killed(source, tmp_path, 10 + 6 * runs):
        runs += 1
    assert runs > 4
    assert hashes(tmp_path) == expected


def test_what_is_safe_is_not_read_again(tmp_path: Path) -> None:
    karpathy, images = make_data_set(tmp_path / "source")
    out = tmp_path / "data"
    assert killed((karpathy, images), out, 45)
    (journal,) = out.glob(".TRAIN*.journal")
    safe = sum(len(line["lengths"]) for line in read_lines(journal)[1:])
    assert safe > 7
    for number in range(10):
        (images / f"{number:03}.jpg").unlink() if number % 8 > 1 else None
    assert prepare(RECIPE, karpathy, images, out) == []


def test_other_photos_or_another_size_start_anew(
    source: tuple[Path, Path], expected: dict[str, str], tmp_path: Path
) -> None:
    assert killed(source, tmp_path, 45)
    other = Recipe(dataset="tiny", size=16, minimum_word_frequency=3)
    prepare(other, *source, tmp_path)
    assert DataFolder(tmp_path).split("TRAIN").read_images(0, 40).shape == (36, 16, 16, 3)


def test_a_second_run_that_is_killed_does_not_pass_for_the_first(source: tuple[Path, Path], tmp_path: Path) -> None:
    """Its images would stand beside the captions of the first."""
    prepare(RECIPE, *source, tmp_path)
    assert killed(source, tmp_path, 60)
    with pytest.raises(ConfigError, match="prepare was stopped here"):
        DataFolder(tmp_path)


def made(path: Path, *photos: int | str, plan: str = "x") -> ImageWriter:
    writer = ImageWriter(path, SHAPE, plan)
    with writer:
        for photo in photos:
            writer.skip(photo) if isinstance(photo, str) else writer.add(image(photo))
    return writer


@pytest.fixture
def three_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_writer, "PHOTOS_A_LINE", 3)


@pytest.mark.usefixtures("three_a_line")
def test_what_the_journal_does_not_hold_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "images.hdf5"
    made(path, 0, 1, "missing", 3, 4)
    writer = ImageWriter(path, SHAPE, "x")
    assert (writer.progress.photos, writer.progress.skipped) == (3, {2: "missing"})
    with writer:
        for photo in range(3, 10):
            writer.add(image(photo))
        writer.finish()
    with h5py.File(path) as file:
        assert file["images"][:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert ImageWriter(path, SHAPE, "x").finished
    assert not ImageWriter(path, SHAPE, "y").finished


@pytest.mark.usefixtures("three_a_line")
def test_a_truncated_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    writer = made(tmp_path / "images.hdf5", 0, 1, 2)
    with writer.journal.open("a") as file:
        file.write('{"lengths": [48, 4')
    assert ImageWriter(tmp_path / "images.hdf5", SHAPE, "x").progress.photos == 3
    assert writer.journal.read_text().endswith("}\n")


@pytest.mark.usefixtures("three_a_line")
@pytest.mark.parametrize("lost", ["all of it", "its end"])
def test_images_that_vanished_are_made_again(tmp_path: Path, lost: str) -> None:
    writer = made(tmp_path / "images.hdf5", 0, 1, 2)
    if lost == "all of it":
        writer.part.unlink()
    else:
        os.truncate(writer.part, writer.part.stat().st_size - 1)
    assert ImageWriter(tmp_path / "images.hdf5", SHAPE, "x").progress.photos == 0


def test_jpegs_of_different_lengths_are_found_again(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "images.hdf5"
    writer = ImageWriter(path, ImageShape(3, 5, 16, "jpeg"), "x")
    grey = [np.full((16, 16, 3), level, np.uint8) for level in (0, 128)]
    with writer:
        for pixels in grey:
            writer.add(cv2.imencode(".jpg", pixels)[1].tobytes())
        writer.skip("broken")
        writer.finish()
    file = ImageFile(path)
    assert (len(file), file.shape.size) == (2, 16)
    np.testing.assert_array_equal(np.stack([file[0], file[1]]), np.stack(grey))
    file.close()
    with h5py.File(path, "r+") as damaged:
        damaged["jpegs"][:] = 7
    with pytest.raises(ConfigError, match="photo 1 cannot be read"):
        file[1]


def test_results_come_in_order_and_not_too_far_ahead() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        return -number

    with ThreadPoolExecutor(3) as pool:
        results = in_order(pool, work, range(50), 5)
        assert [next(results) for _ in range(10)] == [-number for number in range(10)]
        assert max(started) < 15
        assert list(results) == [-number for number in range(10, 50)]
        broken = in_order(pool, partial(divmod, 1), [1, 0, 1], 2)
        assert next(broken) == (1, 0)
        with pytest.raises(ZeroDivisionError):
            list(broken)
