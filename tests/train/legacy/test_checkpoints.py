"""Old checkpoints: what is read is what was saved, and a file that would run code runs none."""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from framecap.errors import ConfigError
from tests.train.old_models import DecoderWithAttention, Encoder, models_module
from train.legacy.checkpoints import read_legacy_checkpoint

ZIP, LEGACY = True, False


class Small(torchvision.models.ResNet):
    """A residual network of real blocks, with few channels."""

    def __init__(self) -> None:
        super().__init__(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])


def checkpoint(**more: object) -> dict[str, Any]:
    """What the tutorial's save_checkpoint writes, after a step of each optimizer."""
    torch.manual_seed(5)
    encoder, decoder = Encoder(Small()), DecoderWithAttention(12, 16, 20, 30, 512)
    optimizers = [torch.optim.Adam(part.parameters(), lr=1e-4) for part in (encoder, decoder)]
    (decoder.fc(torch.randn(2, 20)).sum() + encoder.resnet[0].weight.sum()).backward()
    for optimizer in optimizers:
        optimizer.step()
    return {
        "epoch": 4,
        "epochs_since_improvement": 0,
        "bleu-4": np.float64(0.2415),
        "encoder": encoder,
        "decoder": decoder,
        "encoder_optimizer": optimizers[0],
        "decoder_optimizer": optimizers[1],
        **more,
    }


def save(state: object, path: Path, zipped: bool) -> Path:
    with models_module(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch cannot find the source of classes whose module is made up
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    folder = tmp_path_factory.mktemp("saved")
    state = checkpoint()
    return {zipped: save(state, folder / "checkpoint.pth.tar", zipped).read_bytes() for zipped in (ZIP, LEGACY)}


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_the_weights_are_those_that_were_saved(tmp_path: Path, zipped: bool) -> None:
    state = checkpoint()
    read = read_legacy_checkpoint(save(state, tmp_path / "checkpoint.pth.tar", zipped))
    for part, weights in (("encoder", read.encoder), ("decoder", read.decoder)):
        expected = state[part].state_dict()
        assert set(weights) == set(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (read.grid, read.epoch) == (14, 4)


def test_half_precision_views_and_shared_storages_are_read(tmp_path: Path) -> None:
    state = checkpoint()
    decoder = state["decoder"].half()
    both = torch.arange(0, 40, dtype=torch.float16)
    decoder.init_h.bias, decoder.init_c.bias = nn.Parameter(both[::2]), nn.Parameter(both[20:])
    read = read_legacy_checkpoint(save(state, tmp_path / "checkpoint.pth.tar", ZIP))
    assert read.decoder["init_h.bias"].tolist() == list(range(0, 40, 2))
    assert read.decoder["init_c.bias"].tolist() == list(range(20, 40))
    assert read.decoder["fc.weight"].dtype == torch.float32


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


CODE = "import pathlib; pathlib.Path('SENTINEL').touch()"
CALLS: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
    "posix.system": (os.system, ("touch SENTINEL",)),
    "__builtin__.eval": (eval, ("open('SENTINEL', 'w')",)),
    "__builtin__.exec": (exec, (CODE,)),
    "__builtin__.getattr": (getattr, (os, "system")),
    "__builtin__.__import__": (builtins.__import__, ("os",)),
    "io.open": (open, ("SENTINEL", "w")),
    "functools.partial": (functools.partial, (os.system, "touch SENTINEL")),
    "torch.serialization.load": (torch.load, ("other.pth",)),
    "torch.hub.load": (torch.hub.load, ("somebody/repository", "model")),
    "torch.jit._serialization.load": (torch.jit.load, ("other.pth",)),
    "torch._utils._import_dotted_name": (torch._utils._import_dotted_name, ("os.system",)),
    "torch._utils._rebuild_device_tensor_from_numpy": (torch._utils._rebuild_device_tensor_from_numpy, (1, 2, "cpu", False)),
    "numpy.load": (np.load, ("other.npy",)),
    "numpy.fromfile": (np.fromfile, ("/etc/hostname",)),
    "collections.namedtuple": (collections.namedtuple, ("A", "b")),  # it makes source text and runs it
    "torch.nn.modules.utils._ntuple": (nn.modules.utils._ntuple, (2,)),
    "torch.nn.init.xavier_uniform_": (nn.init.xavier_uniform_, (1,)),
}


def hand_made(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."


def as_zip(pickled: bytes, path: Path, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in records.items():
            archive.writestr(f"archive/data/{name}", data)
    return path


def as_legacy(pickled: bytes, path: Path) -> Path:
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, info)]
    path.write_bytes(b"".join([*parts, pickled, pickle.dumps([], 2)]))
    return path


@pytest.mark.faults(29)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_a_checkpoint_that_runs_code_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, zipped: bool, figure: Callable[[str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]
    arguments = tuple(None if type(argument) is type(os) else argument for argument in arguments)
    path = save({**checkpoint(), "bleu-4": Call(function, *arguments)}, tmp_path / "evil.pth.tar", zipped)
    with pytest.raises(ConfigError, match=r"evil\.pth\.tar: refused, and nothing of it was executed: it asks for") as caught:
        read_legacy_checkpoint(path)
    assert f"'{name}'" in str(caught.value)
    assert not (tmp_path / "SENTINEL").exists()
    figure(f"{name} in a {'zip' if zipped else 'legacy'} file: refused by name, no sentinel")


def test_the_oracle_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded as the seed loads it, such a file does run code."""
    monkeypatch.chdir(tmp_path)
    path = save({"bleu-4": Call(os.system, "touch SENTINEL")}, tmp_path / "evil.pth.tar", ZIP)
    torch.load(path, weights_only=False)
    assert (tmp_path / "SENTINEL").exists()


GLOBALS = {
    "a dotted name": (b"ctorch.nn.modules.module\nModule.__setstate__\n", "'torch.nn.modules.module.Module.__setstate__'"),
    "a name in an allowed module": (b"ctorch.nn.modules.module\nwarnings\n", "'torch.nn.modules.module.warnings'"),
    "a builtin below a class": (b"c__builtin__\ngetattr\n", "'__builtin__.getattr'"),
    "a longer module": (b"ctorch.nn.modules.module.os\nsystem\n", "'torch.nn.modules.module.os.system'"),
    "an optimizer's function": (b"ctorch.optim\nlr_scheduler.types.FunctionType\n", "lr_scheduler.types.FunctionType'"),
    "unprintable": (b"c\x1b[2J\nx\n", r"'\x1b[2J.x'"),
    "a call of a class with arguments": (
        b"ctorch.nn.modules.linear\nLinear\nK\x01K\x01\x86R",
        "it calls torch.nn.modules.linear.Linear with arguments",
    ),
    "a call of a storage": (b"ctorch\nFloatStorage\nK\x01\x85R", "it calls torch.FloatStorage"),
    "a dictionary made of a list": (b"ccollections\nOrderedDict\n]\x85R", "it makes a dictionary of what is no plain data"),
    "a call of what is no name": (b"X\x01\x00\x00\x00aK\x01\x85R", "it calls what is no name"),
    "a state for a list": (b"]}b", "it gives a state to what is no object"),
    "a protocol 4 name": (b"\x8c\x02os\x8c\x06system\x93", "the instruction SHORT_BINUNICODE"),
    "a stacked name": (b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93", "the instruction STACK_GLOBAL"),
    "an extension": (b"\x82\x01", "the instruction EXT1"),
    "an instance": (b"(ios\nsystem\n", "the instruction INST"),
    "an object": (b"(cos\nsystem\no", "'os.system'"),
    "eight gigabytes": (b"\x96\x00\x00\x00\x00\x02\x00\x00\x00", "8589934592"),
    "keys that take for ever": (b"}K\x01K\x01\x86K\x01s", "a tuple is a key of a dictionary"),
    "a list as a key": (b"}]K\x01s", "a list is a key of a dictionary"),
    "nothing stacked": (b"R", "pop from empty list"),
    "marks without an end": (b"((\x85", "its instructions make no sense"),
    "unknown": (b"\xff", "unknown"),
    "another persistent id": (b"X\x01\x00\x00\x00aQ", "neither a storage nor a module"),
    "a tensor of no storage": (
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85\x89NtR",
        "a tensor from what is no storage",
    ),
}


@pytest.mark.faults(29)
@pytest.mark.parametrize("case", GLOBALS)
def test_hand_made_pickles_are_refused(tmp_path: Path, case: str) -> None:
    instructions, output = GLOBALS[case]
    for make in (as_zip, as_legacy):
        with pytest.raises(ConfigError, match="refused, and nothing of it was executed") as caught:
            read_legacy_checkpoint(make(hand_made(instructions), tmp_path / "evil.pth.tar"))
        assert output in str(caught.value)


def tensor(numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A decoder whose only parameter is this tensor, by hand; the encoder has none."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if value == "the storage" else None

    class Rebuilt:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor_v2, ("the storage", offset, size, stride, False, collections.OrderedDict())

    file = io.BytesIO()
    with models_module():
        decoder, encoder = (kind.__new__(kind) for kind in (DecoderWithAttention, Encoder))
        vars(decoder)["_parameters"] = {"x": Rebuilt()}
        vars(encoder)["enc_image_size"] = 14
        Pickler(file, 2).dump({"encoder": encoder, "decoder": decoder})
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((2, 3), (3, 1), 0), ((3, 2), (1, 3), 0), ((3,), (2,), 1), ((6,), (1,), 0), ((), (), 5)],
)
def test_tensors_within_their_storage_are_read(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    numbers = torch.arange(6.0)
    path = as_zip(tensor(6, offset, size, stride), tmp_path / "c.pth.tar", **{"0": numbers.numpy().tobytes()})
    assert torch.equal(read_legacy_checkpoint(path).decoder["x"], numbers.as_strided(size, stride, offset))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((2, 3), (3, 1), 1),
        ((7,), (1,), 0),
        ((1 << 30,), (0,), 0),
        ((1 << 30, 1 << 30), (0, 0), 0),
        ((2,), (6,), 0),
        ((0,), (1,), 0),
    ],
)
def test_tensors_beyond_their_storage_are_refused(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    path = as_zip(tensor(6, offset, size, stride), tmp_path / "c.pth.tar", **{"0": bytes(24)})
    with pytest.raises(ConfigError, match="is not within its storage of 6 numbers"):
        read_legacy_checkpoint(path)


def test_sizes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for size, stride in (((-1,), (1,)), ((1 << 41,), (0,)), ((True,), (1,)), ((2, 2), (1,))):
        with pytest.raises(ConfigError, match="refused"):
            read_legacy_checkpoint(as_zip(tensor(6, 0, size, stride), tmp_path / "c.pth.tar", **{"0": bytes(24)}))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    data = np.full(6, np.nan, np.float32).tobytes()
    with pytest.raises(ConfigError, match="not finite"):
        read_legacy_checkpoint(as_zip(tensor(6, 0, (6,), (1,)), tmp_path / "c.pth.tar", **{"0": data}))


def test_bombs_are_refused(tmp_path: Path) -> None:
    """Compressed entries could be far larger than the file; entries that claim more than they need, too."""
    path = tmp_path / "bomb.pth.tar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor(6, 0, (6,), (1,)))
    with pytest.raises(ConfigError, match="is compressed or too large"):
        read_legacy_checkpoint(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"'archive/data/0' is compressed or too large"):
        read_legacy_checkpoint(as_zip(tensor(6, 0, (6,), (1,)), path, **{"0": bytes(1000)}))
    nested = b"".join([b"cmodels\nEncoder\n)\x81q\x00}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00su", b"b"])
    pickled = hand_made(
        b"}(X\x07\x00\x00\x00encoder", nested, b"X\x07\x00\x00\x00decodercmodels\nDecoderWithAttention\n)\x81u"
    )
    with pytest.raises(ConfigError, match="nested too deep"):
        read_legacy_checkpoint(as_zip(pickled, tmp_path / "deep.pth.tar"))


@pytest.mark.parametrize(
    ("state", "output"),
    [
        ({"epoch": 1}, "it has no 'encoder' that is a whole models.Encoder"),
        ([1, 2], "it has no 'encoder'"),
        ({"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)}, "it has no 'encoder' that is a whole models.Encoder"),
        ({"encoder": collections.OrderedDict(a=torch.ones(1))}, "it has no 'encoder' that is a whole models.Encoder"),
    ],
)
@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_other_checkpoints_are_reported_apart(tmp_path: Path, state: object, output: str, zipped: bool) -> None:
    with pytest.raises(ConfigError, match=output):
        read_legacy_checkpoint(save(state, tmp_path / "other.pth.tar", zipped))


def test_files_that_are_none_are_reported_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.pth.tar"
    with pytest.raises(ConfigError, match="No such file"):
        read_legacy_checkpoint(path)
    for data, output in (
        (b"", "not a checkpoint that torch"),
        (b"hello" * 99, "not a checkpoint that torch"),
        (b"\x80\x02K\x01.", "not a"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=output):
            read_legacy_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(ConfigError, match=r"it has no data\.pkl"):
        read_legacy_checkpoint(path)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_checkpoint_is_reported(saved: dict[bool, bytes], tmp_path: Path, zipped: bool, part: float) -> None:
    data = saved[zipped]
    (tmp_path / "torn.pth.tar").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ConfigError, match=r"torn\.pth\.tar"):
        read_legacy_checkpoint(tmp_path / "torn.pth.tar")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(address=st.floats(0, 1), value=st.binary(min_size=1, max_size=6), zipped=st.booleans())
def test_damaged_checkpoints_end_in_one_clear_error_or_none(
    saved: dict[bool, bytes], tmp_path: Path, address: float, value: bytes, zipped: bool
) -> None:
    data = bytearray(saved[zipped])
    pickled = data.find(b"\x80\x02", 0 if zipped else 40)
    start = pickled + int(address * 30_000)
    data[start : start + len(value)] = value
    (tmp_path / "damaged.pth.tar").write_bytes(data)
    with contextlib.suppress(ConfigError):
        read_legacy_checkpoint(tmp_path / "damaged.pth.tar")


def test_a_storage_of_another_length_is_refused(saved: dict[bool, bytes], tmp_path: Path) -> None:
    first_layer = struct.pack("<q", 64 * 3 * 7 * 7)
    assert first_layer in saved[LEGACY]
    (tmp_path / "c.pth.tar").write_bytes(saved[LEGACY].replace(first_layer, struct.pack("<q", 5)))
    with pytest.raises(ConfigError, match=r"a storage of 9408 numbers is not in the file"):
        read_legacy_checkpoint(tmp_path / "c.pth.tar")
