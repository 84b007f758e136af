"""`framecap export`, `search` and `follow` as a user types them, and the subtitles that a run leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import webvtt

from framecap.app.subtitles import leave_subtitles
from framecap.cli import main
from framecap.cli.export import _RECORDS
from framecap.cli.filters import parse_time
from framecap.cli.parsers.reading import FORMATS
from framecap.config import CameraConfig, CaptureConfig, Config, StoreConfig
from framecap.errors import ConfigError
from framecap.sidecars.sidecar import decode
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.timeline.export import formats
from tests import command
from tests.sidecars.committing import NOON, SECOND, commit, own


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return open_store(StoreConfig(frames="frames"))


@pytest.fixture
def filled(store: Store) -> Store:
    for second in range(3):
        commit(store, own("door", NOON + second * SECOND), caption="A dog on a beach.", confidence=0.8, uncertain=False)
    commit(store, own("door", NOON + 500 * SECOND), caption="A cat.")
    commit(store, own("yard", NOON + 86_400 * SECOND), caption="A man on a beach.")
    return store


def typed(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> tuple[str, str]:
    """What a command prints on standard output and on standard error."""
    assert main(arguments) == exit_code
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_the_formats_are_those_there_are() -> None:
    assert tuple(formats.FORMATS) == FORMATS


@pytest.mark.usefixtures("filled")
def test_export_to_a_file_and_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = typed(capsys, "export", "--to", "vtt", "--camera", "door", "-o", "door.vtt")
    assert (out, err) == ("", "2 subtitles written to door.vtt\n")
    assert [cue.text for cue in webvtt.read("door.vtt").captions] == ["A dog on a beach.", "A cat."]
    assert set(_RECORDS) == set(FORMATS)
    out, err = typed(capsys, "export", "--to", "jsonl")
    assert err == "5 sidecars written to standard output\n"
    assert len([decode(line.encode()) for line in out.splitlines()]) == 5
    out, _ = typed(capsys, "export", "--to", "jsonl", "--since", "2026-11-22T12:00:01", "--until", "2026-11-23")
    assert [decode(line.encode()).caption for line in out.splitlines()] == ["A dog on a beach."] * 2 + ["A cat."]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["export", "--to", "vtt"], "this is made of one camera's captions; there are: door, yard"),
        (["export", "--to", "srt", "--camera", "none"], "no sidecars of 'none' here; there are: door, yard"),
        (["export", "--to", "parquet"], "name its place with -o"),
        (["export", "--to", "vtt", "--camera", "door", "-o", "."], ".: this is a folder that is there: name a file"),
        (["export", "--to", "jsonl", "--since", "yesterday"], "--since: 'yesterday': a time is expected"),
        (["search", "dog", "--until", "9999999999w"], "--until: '9999999999w': a time is expected"),
        (["search", "dog", "--frames", "nowhere"], "no such directory"),
        (["search", "dog", "--limit", "0"], "--limit: 1 or more"),
        (["follow", "--frames", "nowhere"], "no such directory"),
    ],
)
def test_wrong_use(arguments: list[str], output: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = typed(capsys, *arguments, exit_code=2)
    assert (out, err.count("\n")) == ("", 1)
    assert output in err


def test_one_camera_need_not_be_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = typed(capsys, "export", "--to", "vtt")
    assert out == "WEBVTT\n"
    commit(store, "a.jpg", NOON, "A dog.")
    (Path("frames") / "empty").mkdir()
    out, _ = typed(capsys, "export", "--to", "srt")
    assert out == "1\n00:00:00,000 --> 00:00:01,000\nA dog.\n\n"
    commit(store, "unsorted/b.jpg", NOON + SECOND, "A dog.")
    assert "00:00:02,000" in typed(capsys, "export", "--to", "srt", "--camera", "unsorted")[0]


def test_times() -> None:
    assert parse_time(None, "--since") is None
    assert parse_time("2026-11-22", "--since") == NOON - timedelta(hours=12)
    assert parse_time("2026-11-22T13:00+01:00", "--since") == NOON
    ago = parse_time("2h", "--since")
    assert ago is not None
    assert abs(ago.timestamp() + 7200 - __import__("time").time()) < 60
    with pytest.raises(ConfigError, match="--since"):
        parse_time("", "--since")


@pytest.mark.usefixtures("filled")
def test_search_prints_what_it_finds(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = typed(capsys, "search", "beaches", "dog")
    assert out == (
        "door  2026-11-22 12:00:00Z to 12:00:02Z  A dog on a beach. (0.80)\n"
        "    ./frames/door/2026/11/22/12/door-20261122T120002.000000Z-00000000.jpg\n"
    )
    out, _ = typed(capsys, "search", "beach", "--json", "--newest", "--limit", "1")
    (found,) = map(json.loads, out.splitlines())
    assert (found["camera"], found["start"], found["frames"]) == ("yard", "2026-11-23T12:00:00.000Z", 1)
    assert found["frame"] == f"./frames/{found['key']}"
    assert "1 or more found: --limit shows more" in typed(capsys, "search", "beach", "--limit", "1")[1]
    assert typed(capsys, "search", "beach", "--camera", "door", "--until", "2026-11-22") == ("", "nothing found\n")
    assert typed(capsys, "search", '"dog on" -cat')[0].count("\n") == 2


def test_search_sees_what_came_and_with_refresh_what_went(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    typed(capsys, "search", "dog")
    key = commit(filled, own("yard", NOON + 86_401 * SECOND), caption="A zebra.")
    assert "zebra" in typed(capsys, "search", "zebra")[0]
    (Path("frames") / f"{key}.json").unlink()
    assert "zebra" in typed(capsys, "search", "zebra")[0]
    assert typed(capsys, "search", "zebra", "--refresh")[0] == ""


class Following:
    """`framecap follow` as a process."""

    def __init__(self, address: Path, *arguments: str) -> None:
        self.process = command.start("follow", *arguments, "--set", "ingest.scan_seconds=0.05", cwd=address)
        assert self.process.stdout is not None
        self.lines: Iterator[str] = iter(self.process.stdout.readline, "")
        assert "following" in self.output()

    def output(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def take(self, count: int) -> list[str]:
        return [decode(next(self.lines).encode()).frame.key for _ in range(count)]

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        assert out == ""
        return self.process.returncode, err


def test_follow_prints_what_comes_over_an_outage(filled: Store, tmp_path: Path) -> None:
    following = Following(tmp_path, "--all", "--camera", "door")
    try:
        assert len(following.take(4)) == 4
        key = commit(filled, own("door", NOON + 600 * SECOND), caption="A dog.")
        assert following.take(1) == [key]
        assert filled.directory is not None
        filled.directory.rename(tmp_path / "away")
        assert "cannot read the sidecars" in following.output()
        (tmp_path / "away").rename(filled.directory)
        commit(filled, own("yard", NOON + 90_000 * SECOND), caption="A dog.")
        key = commit(filled, own("door", NOON + 601 * SECOND), caption="A dog.")
        assert following.take(1) == [key]
    finally:
        assert following.end() == (0, "")


def test_follow_begins_now(filled: Store, tmp_path: Path) -> None:
    assert filled.directory is not None
    for path in filled.directory.rglob("*.json"):
        os.utime(path, (1e9, 1e9))
    following = Following(tmp_path)
    try:
        keys = [commit(filled, own("door", NOON + second * SECOND), caption="A dog.") for second in (700, 701)]
        assert following.take(2) == keys
    finally:
        assert following.end()[0] == 0


def test_a_run_leaves_subtitles_of_its_recording_in_the_videos_own_time(
    clip: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_lines = ("--set", "log.format=text")
    for start in ("2026-11-22T12:00:00Z", "2026-11-22T15:00:00Z"):
        again = ("--set", f"capture.start_time={start}")
        done = command.run("run", clip, "--every", "100", "--runtime", "null", *text_lines, *again, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "subtitles: ./frames/clip/captions.vtt" in done.stderr
        assert f"00:00:00.000 is {start.replace('Z', '.000Z')}" in Path("frames/clip/captions.vtt").read_text()
        (cue,) = webvtt.read("frames/clip/captions.vtt").captions
        assert (cue.start, cue.end) == ("00:00:00.000", "00:00:33.333")  # frames 0, 100, 200 and 300 of 12 a second
    assert "choose it with --since and --until" in typed(capsys, "export", "--to", "vtt", exit_code=2)[1]
    out, _ = typed(capsys, "export", "--to", "vtt", "--until", "2026-11-22T13:00")
    assert "00:00:00.000 is 2026-11-22T12:00:00.000Z" in out


def test_a_source_that_is_gone_after_its_run_has_no_subtitles_and_a_summary(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capture = CaptureConfig(cameras=(CameraConfig(source=str(tmp_path / "stick.mp4")),))
    assert leave_subtitles(Config(capture=capture)) == ()
    assert "no subtitles were written: source" in caplog.text


def test_where_a_reader_has_seen_enough(filled: Store, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{' '.join(command.COMMAND)} export --to jsonl | head -n 1",
        shell=True,
        cwd=tmp_path,
        env=command.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


def below(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_export_writes_no_frames_or_sidecars_into_its_store(
    form: str, filled: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    key = own("door", NOON)
    filled.put_frame(key, b"an image")
    Path("link").symlink_to("frames")
    before = below("frames")
    for address in (f"frames/{key}", f"frames/{key}.json", "link/new.JPG"):
        _, err = typed(capsys, "export", "--to", form, "--camera", "door", "-o", address, exit_code=2)
        assert "name a place outside ./frames" in err
    exit_code = 2 if images(form) else 0
    _, err = typed(capsys, "export", "--to", form, "--camera", "door", "-o", "frames/door/out", exit_code=exit_code)
    assert ("name a place outside" in err) is images(form)
    assert before.items() <= below("frames").items()


def images(form: str) -> bool:
    return form in ("webdataset", "txt", "huggingface")


def test_images_of_a_renamed_folder_are_exported(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    filled.put_frame(own("yard", NOON + 86_400 * SECOND), b"an image")
    Path("frames/yard").rename("frames/garden")
    _, err = typed(capsys, "export", "--to", "txt", "--camera", "garden", "-o", "pairs")
    assert err == "1 image written to pairs\n"
    (text,) = Path("pairs").glob("*.txt")
    assert text.read_text() == "A man on a beach.\n"
