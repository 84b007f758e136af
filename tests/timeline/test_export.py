"""Exports: read back by the parsers and tools that others use; nothing half-written; everything in time order."""

from __future__ import annotations

import importlib
import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from framecap.config import StoreConfig
from framecap.errors import ConfigError, StoreUnavailable
from framecap.frames import embed_position
from framecap.sidecars.sidecar import Alternative, FirstLook, Sidecar, Token, decode
from framecap.stores import open_store
from framecap.stores.base import Store
from framecap.timeline.export import image_datasets
from framecap.timeline.export.atomic_output import finished_file
from framecap.timeline.export.formats import FORMATS
from framecap.timeline.export.lines import image_id
from framecap.timeline.export.subtitles import Srt, WebVtt
from framecap.timeline.export.writer import Writer
from framecap.timeline.segments import segments
from tests.sidecars.committing import MODEL, NOON, SECOND, make, own
from tests.system_packages import needs_package

GAP = timedelta(seconds=60)
JPEG = b"\xff\xd8\xff\xe0 an image \xff\xd9"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(frames=str(tmp_path / "frames")))


def at(second: float, caption: str | None, position: bool = True, **changed: Any) -> Sidecar:
    address = {"position": second} if position else {}
    return make(own("clip", NOON + second * SECOND), caption=caption, **address, **changed)


def written(form: str, sidecars: list[Sidecar], store: Store, to: Path) -> Writer:
    writer = FORMATS[form](store, GAP)
    writer.write(sidecars, to)
    assert not [path for path in to.parent.iterdir() if path.name.startswith(".")]  # no temporary file is left
    return writer


def everything() -> list[Sidecar]:
    return [
        at(0, "A dog & a <cat>."),
        at(1, "A dog & a <cat>.", tokens=[Token(text="a", log_probability=-0.5)], steady_caption="A dog.", new_scene=True),
        at(2, None),
        at(3, "Ünïcode, 狗, \u2028 and\nlines --> \x00.", alternatives=[Alternative(caption="A.", confidence=0.1)]),
        make(
            "photos/COCO_val2014_000000391895.jpg",
            NOON + 9 * SECOND,
            "A bike.",
            uncertain=True,
            first_look=FirstLook(caption="A dog.", confidence=0.1, uncertain=True, model=MODEL),
        ),
    ]


# --- subtitles ---


def test_the_subtitles_of_a_video(tmp_path: Path, store: Store) -> None:
    sidecars = [at(0.25, "A dog runs."), at(1.25, "A dog runs."), at(2.25, "A cat.", uncertain=True), at(3.25, "A dog.")]
    written("vtt", sidecars, store, tmp_path / "captions.vtt")
    assert (tmp_path / "captions.vtt").read_text() == (
        "WEBVTT\n\nNOTE clip: 00:00:00.000 is 2026-11-22T12:00:00.000Z\n\n"
        "00:00:00.250 --> 00:00:02.250\nA dog runs.\n\n"
        "00:00:02.250 --> 00:00:03.250\nA cat. (?)\n\n"
        "00:00:03.250 --> 00:00:04.250\nA dog.\n"
    )
    written("srt", sidecars, store, tmp_path / "captions.srt")
    assert (tmp_path / "captions.srt").read_text() == (
        "1\n00:00:00,250 --> 00:00:02,250\nA dog runs.\n\n"
        "2\n00:00:02,250 --> 00:00:03,250\nA cat. (?)\n\n"
        "3\n00:00:03,250 --> 00:00:04,250\nA dog.\n\n"
    )


def test_a_live_camera_counts_from_its_first_caption(tmp_path: Path, store: Store) -> None:
    sidecars = [at(5, None, position=False), at(7, "A dog.", position=False), at(100_000, "A cat.", position=False)]
    written("vtt", sidecars, store, tmp_path / "captions.vtt")
    text = (tmp_path / "captions.vtt").read_text()
    assert "00:00:00.000 is 2026-11-22T12:00:07.000Z" in text
    assert "00:00:00.000 --> 00:00:01.000\nA dog." in text
    assert "27:46:33.000 --> 27:46:34.000\nA cat." in text


def test_the_steady_caption_is_shown(tmp_path: Path, store: Store) -> None:
    sidecars = [at(0, "A dog."), at(1, "A cat.", steady_caption="A dog."), at(2, "A dog.")]
    assert written("vtt", sidecars, store, tmp_path / "captions.vtt").written == 1


def test_no_captions_are_an_empty_file(tmp_path: Path, store: Store) -> None:
    written("vtt", [at(0, None)], store, tmp_path / "captions.vtt")
    assert webvtt.read(str(tmp_path / "captions.vtt")).captions == []
    written("srt", [], store, tmp_path / "captions.srt")
    assert (tmp_path / "captions.srt").read_text() == ""


def test_two_recordings_of_one_camera_are_refused(tmp_path: Path, store: Store) -> None:
    later = make(own("clip", NOON + 100 * SECOND), caption="A cat.", position=0)
    with pytest.raises(ConfigError, match=r"began at 2026-11-22T12:00:00.000Z and at 2026-11-22T12:01:40.000Z.*--since"):
        written("vtt", [at(0, "A dog."), later], store, tmp_path / "captions.vtt")
    assert list(tmp_path.glob("*captions*")) == []


captions = st.text(alphabet=string.printable + "äß狗🐕 <>&-\u2028\x85\x00", min_size=1, max_size=40)


@given(st.lists(st.tuples(st.integers(0, 10_000_000), captions), unique_by=lambda each: each[0], max_size=20))
def test_what_the_parsers_read_is_what_the_segments_say(drawn: list[tuple[int, str]]) -> None:
    sidecars = [at(milliseconds / 1000, caption) for milliseconds, caption in sorted(drawn)]
    expected = [
        (segment.position, segment.end_position, " ".join(_printable(segment.caption).split()))
        for segment in segments(sidecars)
    ]
    vtt = webvtt.from_string("".join(WebVtt().pieces(sidecars)))
    output = [(_seconds(cue.start), _seconds(cue.end), cue.text) for cue in vtt.captions]
    assert [pytest.approx(each[:2], abs=0.0006) for each in expected if each[2]] == [each[:2] for each in output]
    assert [_unescaped(each[2]) for each in output] == [each[2] for each in expected if each[2]]
    subtitles = list(srt.parse("".join(Srt().pieces(sidecars))))
    assert [each.content for each in subtitles] == [_without_tags(each[2]) for each in expected if each[2]]
    assert [each.start.total_seconds() for each in subtitles] == pytest.approx([each[0] for each in output])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _without_tags(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")  # noqa: RUF001


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


@pytest.mark.parametrize("form", ["vtt", "srt"])
def test_a_player_reads_them(form: str, tmp_path: Path, store: Store) -> None:
    ffmpeg = needs_package("ffmpeg", "/usr/bin/ffmpeg")
    written(form, everything()[:4], store, tmp_path / f"captions.{form}")
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-i", tmp_path / f"captions.{form}", "-f", "webvtt", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "00:00.000 --> 00:01.000\nA dog & a " in done.stdout
    assert "cat" in done.stdout
    assert "00:03.000 --> 00:05.000\nÜnïcode, 狗, and lines" in done.stdout


@pytest.mark.parametrize("form", ["vtt", "srt"])
def test_a_player_shows_them_in_time(form: str, tmp_path: Path, store: Store) -> None:
    """A black video of four seconds, ten images each, with its subtitles drawn: where it is not black, one is shown."""
    ffmpeg = needs_package("ffmpeg", "/usr/bin/ffmpeg")
    written(form, [at(1, "A dog."), at(2, None), at(200, "Later.")], store, tmp_path / f"captions.{form}")
    black = ["-f", "lavfi", "-i", "color=black:size=320x240:rate=10:duration=4"]
    drawn = ["-vf", f"subtitles=captions.{form}", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run([ffmpeg, "-v", "error", *black, *drawn], cwd=tmp_path, capture_output=True, check=True)
    seen = np.frombuffer(done.stdout, np.uint8).reshape(40, 240, 320).max(axis=(1, 2)) > 128
    assert [number for number, shown in enumerate(seen) if shown] == list(range(10, 20))


# --- lines and tables ---


def test_json_lines_are_the_sidecars(tmp_path: Path, store: Store) -> None:
    writer = written("jsonl", everything(), store, tmp_path / "captions.jsonl")
    lines = (tmp_path / "captions.jsonl").read_bytes().splitlines()
    assert [decode(line) for line in lines] == everything()
    assert writer.written == 5


def test_a_parquet_table_has_every_field(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framecap.timeline.export.table._ROWS", 2)
    written("parquet", everything(), store, tmp_path / "captions.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "captions.parquet")
    assert table.num_rows == 5
    for row, sidecar in zip(table.to_pylist(), everything(), strict=True):
        again: dict[str, Any] = {}
        for name, value in row.items():
            part, _, field = name.partition("_")
            if part in ("frame", "error", "model", "timings", "worker"):
                again.setdefault(part, {})[field] = value
            else:
                again[name] = value
        none = {name for name, v in again.items() if isinstance(v, dict) and all(one is None for one in v.values())}
        again |= dict.fromkeys(none)
        assert Sidecar.model_validate(again) == sidecar


def test_the_table_has_the_columns_of_the_schema() -> None:
    from framecap.timeline.export.table import _schema, row

    full = everything()[1].model_copy(update={"error": None})
    parts = {"error": ("kind", "message", "attempts"), "timings": ("read", "decode", "wait", "caption", "total")}
    there = set(row(full)) | {f"{part}_{field}" for part, fields in parts.items() for field in fields}
    assert there == set(_schema().names)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("photos/COCO_val2014_000000391895.jpg", 391895),
        ("000000391895.jpg", 391895),
        ("a/b/1.png", 1),
        ("photos/dog.jpg", "photos/dog.jpg"),
        (own("clip", NOON), own("clip", NOON)),
    ],
)
def test_the_image_id_of_a_frame(key: str, expected: int | str) -> None:
    assert image_id(key) == expected


def test_cocos_own_tools_read_the_results(tmp_path: Path, store: Store) -> None:
    from pycocotools.coco import COCO

    written("coco", everything(), store, tmp_path / "results.json")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [each["caption"] for each in results] == [each.caption for each in everything() if each.caption]
    annotations = {"images": [{"id": each["image_id"]} for each in results], "annotations": [], "info": {}}
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    loaded = COCO(str(tmp_path / "annotations.json")).loadRes(str(tmp_path / "results.json"))
    assert loaded.imgToAnns[391895][0]["caption"] == "A bike."
    written("coco", [], store, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == []


# --- images ---


@pytest.fixture
def photos(store: Store) -> list[Sidecar]:
    """Four captioned frames, one of which is gone, and a failed one."""
    sidecars = [
        at(0, "A dog."),
        make("photos/a.jpg", NOON + SECOND, "A\ncat."),
        make("photos/a.PNG", NOON + 2 * SECOND, "A horse."),
        make("gone/a.jpg", NOON + 3 * SECOND, "Nothing."),
        make("x/photos__a.jpg", NOON + 4 * SECOND),
    ]
    for number, sidecar in enumerate(sidecars):
        if not sidecar.frame.key.startswith("gone"):
            store.put_frame(sidecar.frame.key, embed_position(JPEG, number))
    return sidecars


@pytest.fixture(scope="module")
def webdataset_iterators() -> Any:
    """Of the webdataset package, without torch, which it takes seconds to import and does not need for this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        return importlib.import_module("webdataset.tariterators")


def read_samples(iterators: Any, shards: list[str]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for shard in shards:
        with Path(shard).open("rb") as stream:  # its own opener leaves them open
            samples += iterators.group_by_keys({**each, "__url__": shard} for each in iterators.tar_file_iterator(stream))
    return samples


def test_a_webdataset_reads_back(
    webdataset_iterators: Any, tmp_path: Path, store: Store, photos: list[Sidecar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_datasets, "SAMPLES_OF_A_SHARD", 2)
    writer = written("webdataset", photos, store, tmp_path / "frames-%02d.tar")
    assert (writer.written, writer.skipped) == (3, 1)
    shards = [str(tmp_path / f"frames-{number:02}.tar") for number in range(2)]
    samples = read_samples(webdataset_iterators, shards)
    assert [each["__key__"] for each in samples] == ["000000000", "000000001", "000000002"]
    assert [each["txt"] for each in samples] == [b"A dog.", b"A cat.", b"A horse."]
    assert [decode(each["json"]) for each in samples] == photos[:3]
    assert [samples[0]["jpg"], samples[2]["png"]] == [embed_position(JPEG, 0), embed_position(JPEG, 2)]
    written("webdataset", photos, store, tmp_path / "all.tar")
    assert len(read_samples(webdataset_iterators, [str(tmp_path / "all.tar")])) == 3


@pytest.mark.parametrize("name", ["frames-%s%d.tar", "frames-%.tar", "%%.tar", "frames-%q.tar"])
def test_a_pattern_that_is_none(name: str, tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    with pytest.raises(ConfigError, match=r"frames-%06d\.tar"):
        written("webdataset", photos, store, tmp_path / name)


def test_pairs_of_images_and_texts(tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    written("txt", photos, store, tmp_path / "pairs")
    assert sorted(path.name for path in (tmp_path / "pairs").iterdir()) == [
        "clip-20261122T120000.000000Z-00000000.jpg",
        "clip-20261122T120000.000000Z-00000000.txt",
        "photos__a-2.PNG",
        "photos__a-2.txt",
        "photos__a.jpg",
        "photos__a.txt",
    ]
    assert (tmp_path / "pairs" / "photos__a.txt").read_text() == "A cat.\n"
    assert (tmp_path / "pairs" / "photos__a-2.PNG").read_bytes() == embed_position(JPEG, 2)


def test_a_hugging_face_imagefolder(tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    written("huggingface", photos, store, tmp_path / "dataset")
    lines = [json.loads(line) for line in (tmp_path / "dataset" / "metadata.jsonl").read_text().splitlines()]
    assert [(line["file_name"], line["text"]) for line in lines][1:] == [
        ("photos__a.jpg", "A cat."),
        ("photos__a.PNG", "A horse."),
    ]
    assert all((tmp_path / "dataset" / line["file_name"]).is_file() for line in lines)
    assert lines[1]["key"] == "photos/a.jpg"


def test_a_name_as_long_as_a_key_may_be(tmp_path: Path, store: Store) -> None:
    key = "/".join(["ä" * 60] * 5) + "/a.jpg"
    store.put_frame(key, JPEG)
    assert written("txt", [make(key, NOON, "A dog.")], store, tmp_path / "pairs").written == 1


def test_a_sidecar_whose_key_names_no_frame_is_skipped(tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    hostile = photos[0].model_copy(update={"frame": photos[0].frame.model_copy(update={"key": "../../etc/passwd"})})
    writer = written("txt", [hostile, photos[1]], store, tmp_path / "pairs")
    assert (writer.written, writer.skipped) == (1, 1)


# --- what holds for all of them ---


def dies(sidecars: list[Sidecar]) -> Iterator[Sidecar]:
    yield from sidecars
    raise StoreUnavailable("away")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_not_finished_is_not_there(form: str, tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    to = tmp_path / "out"
    with pytest.raises(StoreUnavailable):
        FORMATS[form](store, GAP).write(dies(photos[:1]), to)
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    if form not in ("txt", "huggingface"):
        to.write_text("what was there")
        with pytest.raises(StoreUnavailable):
            FORMATS[form](store, GAP).write(dies(photos[:1]), to)
        assert to.read_text() == "what was there"
        written(form, photos[:1], store, to)
        assert to.read_bytes()[:8] != b"what was"


@pytest.mark.parametrize("form", ["parquet", "webdataset", "txt", "huggingface"])
def test_what_no_terminal_shows_wants_a_name(form: str, store: Store) -> None:
    with pytest.raises(ConfigError, match=f"--to {form}: .* -o"):
        FORMATS[form](store, GAP).write([], None)


@pytest.mark.parametrize("form", ["txt", "huggingface"])
def test_a_folder_that_is_not_empty_is_left_alone(form: str, tmp_path: Path, store: Store, photos: list[Sidecar]) -> None:
    (tmp_path / "out").mkdir()
    written(form, photos, store, tmp_path / "out")
    with pytest.raises(ConfigError, match="there is something already"):
        written(form, photos, store, tmp_path / "out")


def test_an_address_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*No such file"), finished_file(tmp_path / "nowhere" / "out") as path:
        path.write_text("")
    with pytest.raises(StoreUnavailable, match="No space left"), finished_file(tmp_path / "out"):
        raise OSError(28, os.strerror(28))
