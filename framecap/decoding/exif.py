"""The orientation that an Exif block states, as Pillow, ExifTool and OpenCV read it: whatever integer type it has.

Source: the Exif 2.32 and TIFF 6.0 specifications.
"""

from __future__ import annotations

import struct

MAGIC = b"Exif\0\0"
UPRIGHT = 1

_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_TIFF_VERSIONS = (b"*\0", b"\0*")  # 42; cameras have written it in the wrong byte order
_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # TIFF's integer types as struct has them
_INLINE_BYTES = 4  # values that need more stand elsewhere in the block


def read_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in an Exif block's first directory; 1, upright, where it states none that makes sense."""
    while exif.startswith(MAGIC):
        exif = exif[len(MAGIC) :]
    order = _BYTE_ORDERS.get(exif[:2])
    if order is None or exif[2:4] not in _TIFF_VERSIONS:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, entry)
            if tag == _ORIENTATION and kind in _FORMATS and count:
                value = _first_value(exif, order, _FORMATS[kind], count, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:  # it breaks off
        pass
    return UPRIGHT


def _first_value(exif: bytes, order: str, letter: str, count: int, position: int) -> int:
    """The first of `count` numbers, in the entry itself (at `position`) or where it points to."""
    if struct.calcsize(order + letter) * count > _INLINE_BYTES:
        (position,) = struct.unpack_from(order + "I", exif, position)
    value: int = struct.unpack_from(order + letter, exif, position)[0]
    return value
