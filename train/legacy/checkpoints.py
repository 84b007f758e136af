"""A checkpoint of the tutorial or of the seed in (pickled modules, `*.pth.tar`), its encoder's and decoder's weights out.

Such files are pickles, and a pickle can run anything. This one is read by `inert_pickle` with a closed list of names: the
tutorial's three classes, torch.nn's modules and torchvision's residual blocks (all as plain data), torch's rebuilding of
tensors and its storages, OrderedDict and numpy's scalars; what stands in optimizers (torch.optim.*) is dropped. Everything
else is refused by its name. Both of torch's containers are read: zip (since 1.6) and the pickles one after the other of 1.4.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from framecap.errors import ConfigError
from train.legacy.inert_pickle import Inert, Known, Table, load

MAX_FILE_BYTES = 16 << 30
MAX_PICKLE_BYTES = 64 << 20
MAX_DEPTH = 32  # of modules in modules
MAX_ENTRIES = 100_000  # of a zip file
MAX_GRID = 64  # places of an encoder's side
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
CLASSES = frozenset(
    {
        "models.Encoder",
        "models.DecoderWithAttention",
        "models.Attention",
        "torchvision.models.resnet.BasicBlock",
        "torchvision.models.resnet.Bottleneck",
    }
)
FAMILIES = re.compile(r"torch\.(nn\.modules|optim)(\.[a-z_]+)*")  # of modules, all of whose classes are plain data here
CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
DROPPED = frozenset(  # numbers that say how the training went, and what else stands around them
    {
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "_codecs.encode",
        *(f"{module}.{name}" for module in ("__builtin__", "builtins") for name in ("set", "dict")),
    }
)


@dataclass(frozen=True)
class LegacyCheckpoint:
    """What is taken over: weights by their old names, float32 but for counters; `grid` is the encoder's pooled side."""

    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]
    grid: int
    epoch: int | None


@dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    dtype: torch.dtype
    elements: int


@dataclass(frozen=True, eq=False)
class _OldTensor:
    """Where a tensor's numbers stand in its storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Container(Protocol):
    def storage(self, storage: _Storage) -> bytearray: ...


def read_legacy_checkpoint(path: Path) -> LegacyCheckpoint:
    """The weights of a checkpoint. Raises ConfigError, naming what is refused or does not fit."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES >> 30} GB: no checkpoint of the tutorial is")
            root, container = _zip(path, file) if zipfile.is_zipfile(file) else _legacy(path, file)
            return _checkpoint(path, root, container)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:  # the last: a compression zipfile lacks
        raise ConfigError(f"{path}: cannot be read ({error}): is it the whole file?") from None


def _checkpoint(path: Path, root: Any, container: _Container) -> LegacyCheckpoint:
    encoder = _part(path, root, "encoder", "models.Encoder")
    decoder = _part(path, root, "decoder", "models.DecoderWithAttention")
    grid, epoch = encoder.state.get("enc_image_size", 14), root.get("epoch")
    if type(grid) is not int or not 1 <= grid <= MAX_GRID:
        raise ConfigError(f"{path}: its encoder's enc_image_size must be a number from 1 to {MAX_GRID}")
    try:
        encoder_weights, decoder_weights = (
            {name: _tensor(old, container) for name, old in _weights(part)} for part in (encoder, decoder)
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return LegacyCheckpoint(encoder_weights, decoder_weights, grid, epoch if type(epoch) is int else None)


def _part(path: Path, root: Any, name: str, kind: str) -> Inert:
    part = root.get(name) if isinstance(root, dict) else None
    if not isinstance(part, Inert) or part.kind != kind:
        raise ConfigError(f"{path}: not a checkpoint of the tutorial: it has no {name!r} that is a whole {kind}")
    return part


def _weights(module: Inert, prefix: str = "", depth: int = MAX_DEPTH) -> Iterator[tuple[str, _OldTensor]]:
    """Parameters and buffers as `torch.nn.Module.state_dict` would name them."""
    if depth == 0:
        raise ValueError("its modules are nested too deep")
    for kind in ("_parameters", "_buffers", "_modules"):
        children = module.state.get(kind, {})
        if type(children) is not dict:
            raise ValueError(f"{kind} of {module.kind} is no dictionary")
        for name, child in children.items():
            if isinstance(child, Inert) and kind == "_modules" and isinstance(name, str):
                yield from _weights(child, f"{prefix}{name}.", depth - 1)
            elif isinstance(child, _OldTensor) and kind != "_modules" and isinstance(name, str):
                yield f"{prefix}{name}", child
            elif child is not None:
                raise ValueError(f"{kind} of {module.kind} holds a {type(child).__name__}")


def _tensor(old: _OldTensor, container: _Container) -> Tensor:
    """The numbers themselves. Raises ValueError when the tensor does not lie within its storage."""
    last = old.offset + sum((side - 1) * step for side, step in zip(old.size, old.stride, strict=True))
    elements = 1
    for side in old.size:
        elements *= side
    if elements == 0 or last >= old.storage.elements or elements > old.storage.elements:
        raise ValueError(f"a tensor {old.size} is not within its storage of {old.storage.elements} numbers")
    flat = torch.frombuffer(container.storage(old.storage), dtype=old.storage.dtype)
    values = flat.as_strided(old.size, old.stride, old.offset).clone()
    if not values.is_floating_point():
        return values
    if not values.isfinite().all():
        raise ValueError("its weights are not finite numbers: the training had diverged")
    return values.float()


def _find(module: str, name: str) -> Known:
    """The closed list."""
    whole = f"{module}.{name}"
    if whole in CLASSES or (FAMILIES.fullmatch(module) and CLASS.fullmatch(name)):
        return Known(whole, partial(_instance, whole))
    if whole in DROPPED:
        return Known(whole, lambda _: Inert(whole))
    if module == "torch" and name in DTYPES:
        return Known(name, partial(_not_called, whole))
    if whole in _MAKERS:
        return Known(whole, _MAKERS[whole])
    raise ValueError(f"it asks for {ascii(whole)[:200]}, which is not on the list of what a checkpoint needs")


def _instance(name: str, arguments: tuple[Any, ...]) -> Inert:
    if arguments:
        raise ValueError(f"it calls {name} with arguments")
    return Inert(name)


def _not_called(name: str, _: tuple[Any, ...]) -> Any:
    raise ValueError(f"it calls {name}")


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict() and defaultdict(dict): empty; their items follow."""
    if any(not isinstance(argument, Known) for argument in arguments):
        raise ValueError("it makes a dictionary of what is no plain data")
    return {}


def _old_tensor(arguments: tuple[Any, ...]) -> _OldTensor:
    storage, offset, size, stride = arguments[:4]
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 8:
        raise ValueError("it rebuilds a tensor from what is no storage")
    if any(type(number) is not int or not 0 <= number < 1 << 40 for number in numbers):
        raise ValueError("a tensor has a size that makes no sense")
    return _OldTensor(storage, offset, tuple(size), tuple(stride))


def _parameter(arguments: tuple[Any, ...]) -> _OldTensor:
    if not isinstance(arguments[0], _OldTensor):
        raise ValueError("it makes a parameter of what is no tensor")  # noqa: TRY004 (see inert_pickle.load)
    return arguments[0]


_MAKERS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "torch._utils._rebuild_tensor_v2": _old_tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def _persistent(identity: Any) -> Any:
    """torch's persistent ids: a storage, or (1.4) a class together with its source text, which is not looked at."""
    match identity:
        case ("module", Known() as known, _, _):
            return known
        case ("storage", Known(name=name), str() as key, str(), int() as elements, *views) if name in DTYPES:
            if any(view is not None for view in views) or not 0 <= elements < 1 << 40:
                raise ValueError("it has a view of a storage, as torch before 0.4 wrote them: not supported")
            return _Storage(key, DTYPES[name], elements)
        case _:
            raise ValueError("it has a persistent id that is neither a storage nor a module")


TABLE = Table(_find, _persistent)


@dataclass(frozen=True)
class _ZipContainer:
    archive: zipfile.ZipFile
    prefix: str

    def storage(self, storage: _Storage) -> bytearray:
        return bytearray(_record(self.archive, f"{self.prefix}/data/{storage.key}", _bytes_of(storage)))


def _zip(path: Path, file: BinaryIO) -> tuple[Any, _Container]:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist()[:MAX_ENTRIES] if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(names) != 1:
        raise ConfigError(f"{path}: a zip file, but not one of torch's: it has no data.pkl")
    prefix = names[0].partition("/")[0]
    if f"{prefix}/byteorder" in archive.namelist() and _record(archive, f"{prefix}/byteorder", 16) != b"little":
        raise ConfigError(f"{path}: written on a big-endian machine: not supported")
    pickled = io.BytesIO(_record(archive, names[0], MAX_PICKLE_BYTES))
    return load(pickled, TABLE, str(path)), _ZipContainer(archive, prefix)


def _record(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry; torch compresses none, so that none is larger than the file."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ConfigError(f"{archive.filename}: its entry {ascii(name)[:100]} is missing: is it the whole file?") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        raise ConfigError(f"{archive.filename}: its entry {ascii(name)[:100]} is compressed or too large: refused")
    return archive.read(entry)


@dataclass(frozen=True)
class _LegacyContainer:
    file: BinaryIO
    offsets: Mapping[str, tuple[int, int]]  # each storage's first byte and number of elements

    def storage(self, storage: _Storage) -> bytearray:
        start, elements = self.offsets.get(storage.key, (0, -1))
        if elements != storage.elements:
            raise ValueError(f"a storage of {storage.elements} numbers is not in the file: is it the whole file?")
        self.file.seek(start)
        data = bytearray(self.file.read(_bytes_of(storage)))
        if len(data) != _bytes_of(storage):
            raise ValueError("the file breaks off in its weights: copy it again")
        return data


def _legacy(path: Path, file: BinaryIO) -> tuple[Any, _Container]:
    """torch 1.4: magic number, protocol, system, the object and the storages' keys, each a pickle; then the storages."""
    file.seek(0)
    pickles = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    storages: dict[str, _Storage] = {}

    def persistent(identity: Any) -> Any:
        found = _persistent(identity)
        if isinstance(found, _Storage):
            storages[found.key] = found
        return found

    def read() -> Any:
        return load(pickles, Table(_find, persistent), str(path))

    if not pickles.getvalue().startswith(b"\x80") or read() != LEGACY_MAGIC or read() != LEGACY_PROTOCOL:
        raise ConfigError(f"{path}: not a checkpoint that torch has written")
    system, root, keys = read(), read(), read()
    if not isinstance(system, dict) or system.get("little_endian") is not True or not isinstance(keys, list):
        raise ConfigError(f"{path}: written on a big-endian machine, or torn: not supported")
    offsets: dict[str, tuple[int, int]] = {}
    position = pickles.tell()
    for key in keys:
        if key not in storages:
            raise ConfigError(f"{path}: a storage that nothing uses: is it the whole file?")
        file.seek(position)
        head = file.read(8)
        if len(head) != 8:
            raise ConfigError(f"{path}: breaks off before its weights: copy it again")
        offsets[key] = (position + 8, struct.unpack("<q", head)[0])
        position += 8 + _bytes_of(storages[key])
    if file.seek(0, os.SEEK_END) < position:  # also in what we do not read: the optimizers' moments may come last
        raise ConfigError(f"{path}: breaks off in its weights: copy it again")
    return root, _LegacyContainer(file, offsets)


def _bytes_of(storage: _Storage) -> int:
    return storage.elements * storage.dtype.itemsize
