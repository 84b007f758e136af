"""config.yaml and the schema are one; who goes before whom; what is refused, and with which words (row 30)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from framecap.config import CameraConfig, Config, load_config, masked_yaml
from framecap.errors import ConfigError

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "config.yaml"


def load(text: str | bytes, tmp_path: Path, flags: dict[str, Any] | None = None, **environment: str) -> Config:
    file = tmp_path / "settings.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(file, flags, environment)


def leaves(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*path, key))
        else:
            yield (*path, key)


def keys_of(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:  # an empty one is a value, such as train.mix
            yield from keys_of(value, (*path, key))
        else:
            yield (*path, key)


LEAVES = sorted(leaves(Config))


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


# The shipped file


def test_the_shipped_file_is_the_defaults() -> None:
    assert load_config(SHIPPED, environment={}) == Config()


def test_the_shipped_file_has_every_key_and_no_other() -> None:
    assert sorted(keys_of(yaml.safe_load(SHIPPED.read_text()))) == LEAVES


def test_every_key_of_the_shipped_file_has_a_comment() -> None:
    lines = [line for line in SHIPPED.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [line for line in lines if not re.search(r"\S +# \S", line)] == []


def test_the_example_camera_of_the_shipped_file_has_every_key_of_a_camera() -> None:
    text = SHIPPED.read_text()
    example = [
        re.sub(r"^\s*#", "", line) for line in text[text.index("cameras: []") : text.index("  fps: 1.0")].splitlines()[1:]
    ]
    (camera,) = yaml.safe_load(io.StringIO("\n".join(example)))
    assert sorted(camera) == sorted(CameraConfig.model_fields)
    CameraConfig.model_validate({**camera, "fps": float(camera["fps"])})


# Precedence


def test_flags_go_before_the_environment_that_before_the_file_and_that_before_defaults(tmp_path: Path) -> None:
    text = "captioning: {beam: 2, max_words: 10}\nstore: {frames: file}"
    environment = {"FRAMECAP__CAPTIONING__BEAM": "3", "FRAMECAP__STORE__FRAMES": "environment"}
    config = load(text, tmp_path, {"store.frames": "flag", "captioning.beam": None}, **environment)
    assert (config.store.frames, config.captioning.beam, config.captioning.max_words) == ("flag", 3, 10)
    assert config.captioning.alternatives == Config().captioning.alternatives


def test_config_yaml_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(environment={}) == Config()
    (tmp_path / "config.yaml").write_text("captioning: {beam: 2}")
    assert load_config(environment={}).captioning.beam == 2


@pytest.mark.parametrize("path", LEAVES)
def test_every_key_can_be_set_from_the_environment(path: tuple[str, ...]) -> None:
    default: Any = Config().model_dump(mode="json")
    for key in path:
        default = default[key]
    name = "FRAMECAP__" + "__".join(path).upper()
    assert load_config(SHIPPED, environment={name: yaml.safe_dump(default)}) == Config()


def test_cameras_from_the_environment(tmp_path: Path) -> None:
    config = load("", tmp_path, FRAMECAP__CAPTURE__CAMERAS="[{source: 'rtsp://u:p@h/x', name: door}, {source: 0}]")
    assert [camera.source for camera in config.capture.cameras] == ["rtsp://u:p@h/x", "0"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00+00:00"),
        ("2026-11-22 10:00:00+01:00", "2026-11-22T10:00:00+01:00"),
        ("'2026-11-22T10:00:00+01:00'", "2026-11-22T10:00:00+01:00"),
        ("2026-11-22", "2026-11-22T00:00:00+00:00"),
        ("null", None),
    ],
)
def test_a_start_time_may_be_written_with_and_without_quotes(written: str, read: str | None, tmp_path: Path) -> None:
    assert load(f"capture: {{start_time: {written}}}", tmp_path).capture.start_time == read


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load("# nothing\n", tmp_path) == Config()


def test_on_and_off_are_words_and_true_and_false_are_not(tmp_path: Path) -> None:
    assert load("ingest: {hints: off}", tmp_path).ingest.hints == "off"
    assert load("captioning: {full_stop: false}", tmp_path).captioning.full_stop is False
    with pytest.raises(ConfigError, match=r"full_stop: true or false is expected, got 'no'"):
        load("captioning: {full_stop: no}", tmp_path)


@pytest.mark.parametrize(("written", "read"), [("1e-3", 1e-3), ("1e3", 1000.0), ("2.5E+1", 25.0), (".5e1", 5.0)])
def test_a_number_may_have_an_exponent(written: str, read: float, tmp_path: Path) -> None:
    assert load(f"ingest: {{settle_seconds: {written}}}", tmp_path).ingest.settle_seconds == read


@pytest.mark.parametrize("path", LEAVES)
def test_every_choice_can_be_written_as_it_is_shown(path: tuple[str, ...], tmp_path: Path) -> None:
    section: Any = Config
    for key in path[:-1]:
        section = section.model_fields[key].annotation
    for choice in get_args(section.model_fields[path[-1]].annotation):
        if isinstance(choice, str) and choice != "null":
            config: Any = load(f"{path[0]}: {{{': {'.join(path[1:])}: {choice}}}{'}' * (len(path) - 2)}", tmp_path)
            for key in path:
                config = getattr(config, key)
            assert config == choice


# Refusals


@pytest.mark.faults(30)
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("store: {frams: x}", "unknown key 'store.frams': did you mean 'store.frames'?"),
        ("captoning: {beam: 3}", "unknown key 'captoning': did you mean 'captioning'?"),
        ("beam: 3", "unknown key 'beam': did you mean 'captioning.beam'?"),
        ("log: {zzz: 3}", "unknown key 'log.zzz': allowed here are level, format"),
        (
            "capture: {cameras: [{sauce: 0}]}",
            "unknown key 'capture.cameras.0.sauce': did you mean 'capture.cameras.0.source'?",
        ),
        ("worker: {near_duplicates: {enable: true}}", "did you mean 'worker.near_duplicates.enabled'?"),
        ("5: x", "unknown key '5'"),
        ("store:", "'store' is empty: give it keys, or leave it out"),
        ("store: ./frames", "store: keys and values are expected, got './frames'"),
        ("capture: {cameras: x}", "capture.cameras: a list is expected, got 'x'"),
        ("capture: {cameras: [x]}", "capture.cameras.0: keys and values are expected, got 'x'"),
        ("capture: {cameras: [{name: door}]}", "capture.cameras.0.source: it is needed"),
        ("capture: {cameras: [{name: a, source: 0}, {name: a, source: 1}]}", "two cameras are named 'a'"),
        ("capture: {cameras: [{name: ../x, source: 0}]}", "capture.cameras.0.name"),
        (
            "capture: {overflow: crash}",
            "capture.overflow: Input should be 'wait', 'drop_oldest' or 'drop_newest', got 'crash'",
        ),
        ("capture: {start_time: soon}", "an ISO 8601 time is expected"),
        ("capture: {start_time: 2026-02-30}", "a date or number in it does not exist"),
        ("capture: {start_time: '0001-01-01T00:00:00+05:00'}", "a year from 1000 to 9000 is expected"),
        ("capture: {start_time: 9999-12-31}", "a year from 1000 to 9000 is expected"),
        ('store: {frames: "a\\0b"}', "store.frames: a zero character is in no name"),
        ('captioning: {bundle: "\\0"}', "captioning.bundle: a zero character is in no name"),
        ("ingest: {scan_seconds: 1e12}", "ingest.scan_seconds: Input should be less than or equal to 1000000, got"),
        ("ingest: {lookback_seconds: 1e300}", "ingest.lookback_seconds: Input should be less than or equal to 1000000000"),
        ("worker: {max_pixels: 99999999999999999999}", "worker.max_pixels: Input should be less than or equal to"),
        (
            f"captioning: {{beam: 0x{'f' * 20_000}}}",
            "captioning.beam: Input should be less than or equal to 32, got a number of",
        ),
        (f"store: {{frames: {{}}, sidecars: 3}}\nlog: {{level: {'x' * 9000}}}", "xxx..."),
        ("captioning: {beam: 0}", "captioning.beam: Input should be greater than or equal to 1, got 0"),
        ("captioning: {length_penalty: .nan}", "captioning.length_penalty"),
        ("worker: {grace_seconds: .inf}", "worker.grace_seconds"),
        ("captioning: {beam: 3, beam: 4}", "line 1: 'beam' stands here twice"),
        ("? [a]\n: 3", "a key is a plain word"),
        ("a: &x 1\nb: *x", "anchors and aliases are not used here"),
        ("- a", "a mapping of sections is expected"),
        ("just text", "a mapping of sections is expected"),
        ("store: {frames: 'x}", "not valid YAML: line 1: "),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"store: {frames: \x07}", "not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("#" * (1 << 20) + "\n", "are no configuration"),
    ],
)
def test_what_is_refused_and_how(text: str | bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(text, tmp_path)
    assert complaint in str(refused.value)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


TAGS = st.sampled_from(
    [
        "!!python/object/apply:os.system ['touch sentinel']",
        "!!python/object:framecap.config.Config {}",
        "!!python/name:os.system",
        "!!str 5",
        "!!set {a}",
        "!!binary aGk=",
        "!custom x",
        "! x",
    ]
)


@pytest.mark.faults(30)
@settings(max_examples=100, deadline=None)
@given(st.sampled_from(LEAVES), TAGS)
def test_every_tag_is_refused(tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], tagged: str) -> None:
    text = yaml.safe_dump(nested(path, "PLACE")).replace("PLACE", tagged)
    with pytest.raises(ConfigError, match="tags"):
        load(text, tmp_path_factory.mktemp("tags"))


@pytest.mark.faults(30)
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LEAVES), st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.data())
def test_every_unknown_key_is_refused_and_named(path: tuple[str, ...], letter: str, data: st.DataObject) -> None:
    depth = data.draw(st.integers(0, len(path) - 1))
    address = data.draw(st.integers(0, len(path[depth])))
    wrong = path[depth][:address] + letter + path[depth][address:]
    broken = (*path[:depth], wrong, *path[depth + 1 :])
    name = "FRAMECAP__" + "__".join(broken).upper()
    with pytest.raises(ConfigError, match=f"unknown key '{'.'.join(broken[: depth + 1])}': (did you mean|allowed here are)"):
        load_config(SHIPPED, environment={name: "1"})


WRONG: dict[type, list[Any]] = {
    bool: ["maybe", 3, [], {"a": 1}, 0.5],
    int: ["many", 0.5, True, [1], {"a": 1}],
    float: ["many", True, [1.0], {"a": 1}],
    str: [0.5, True, ["x"], {"a": 1}],
    type(None): ["many", True, {"a": 1}, 0.0],
    list: ["x", 3, {"a": 1}, True],
    dict: ["x", 3, [1], {"a": "many"}],
}


@pytest.mark.faults(30)
@pytest.mark.parametrize("path", LEAVES)
def test_every_wrong_type_is_refused_and_named(path: tuple[str, ...], tmp_path: Path) -> None:
    default: Any = Config().model_dump(mode="json")
    for key in path:
        default = default[key]
    for wrong in WRONG[type(default)]:
        if default is None and isinstance(wrong, str):
            continue  # what is null by default may well be text
        with pytest.raises(ConfigError, match=re.escape(".".join(path))):
            load(yaml.safe_dump(nested(path, wrong)), tmp_path)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file or directory\): name another"):
        load_config(Path("none.yaml"))


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


# Secrets


def test_no_refusal_shows_a_password(tmp_path: Path) -> None:
    for text in (
        "capture: {cameras: [{source: 'rtsp://a:Qz7Xv@h/x', fps: 'rtsp://a:Qz7Xv@h'}]}",
        "capture: {cameras: 'rtsp://a:Qz7Xv@h/x'}",
        "rtsp://a:Qz7Xv@h/x: 1",
        "capture: {cameras: [{source: rtsp://a:Qz7Xv@h/x, source: 1}]}",
        "capture: {cameras: [{source: 'rtsp://a:Qz7Xv@h/x]}",
        "capture: {cameras: [{source: %rtsp://a:Qz7Xv@h/x}]}",
    ):
        with pytest.raises(ConfigError) as refused:
            load(text, tmp_path)
        assert "Qz7Xv" not in str(refused.value)


def test_what_check_shows_is_masked_yaml_that_reads_back(tmp_path: Path) -> None:
    text = "capture: {cameras: [{source: 'rtsp://a:Qz 7Xv@h/" + "long/" * 40 + "x', name: door}]}"
    shown = masked_yaml(load(text, tmp_path))
    assert "7Xv" not in shown
    assert yaml.safe_load(shown)["capture"]["cameras"][0]["name"] == "door"
    assert load(masked_yaml(Config()), tmp_path) == Config()
