"""Which file system a path lies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from framecap.stores.mounts import FileSystem, file_system_of

MOUNTINFO = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /mnt/bucket rw,nosuid,nodev - fuse.s3fs s3fs rw,user_id=0
41 27 0:41 / /mnt/my\040photos rw shared:7 - nfs4 server:/photos rw
42 27 8:1 / /mnt/stick rw - fuseblk /dev/sda1 rw
43 27 8:2 / /mnt/again rw - ext4 /dev/sda2 rw
44 43 0:44 / /mnt/again rw - 9p host rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "mount_point", "kind", "remote"),
    [
        ("/home/me/frames", "/", "ext4", False),
        ("/mnt/bucket", "/mnt/bucket", "fuse.s3fs", True),
        ("/mnt/bucket/frames", "/mnt/bucket", "fuse.s3fs", True),
        ("/mnt/bucket2", "/", "ext4", False),
        ("/mnt/my photos/cam", "/mnt/my photos", "nfs4", True),
        ("/mnt/stick/cam", "/mnt/stick", "fuseblk", False),
        ("/mnt/again/cam", "/mnt/again", "9p", True),
    ],
)
def test_the_longest_and_latest_mount_point_counts(
    tmp_path: Path, path: str, mount_point: str, kind: str, remote: bool
) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTINFO)
    found = file_system_of(Path(path), mountinfo)
    assert found == FileSystem(mount_point, kind)
    assert found.remote is remote


def test_this_machine_says_something(tmp_path: Path) -> None:
    found = file_system_of(tmp_path.resolve())
    assert found.type != "unknown"
    assert tmp_path.resolve().is_relative_to(found.mount_point)


def test_a_machine_that_does_not_say_counts_as_local(tmp_path: Path) -> None:
    assert not file_system_of(tmp_path, tmp_path / "none").remote
