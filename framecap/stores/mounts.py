"""A path in, the file system it lies on out: its mount point, its type, and whether other machines can change it unseen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Served by a program or another machine: events do not tell of every change there, and a rename may be a copy.
# `fuseblk` (NTFS, exFAT) is a disk of this machine, so only the plain `fuse` and its `fuse.<program>` kinds count.
_REMOTE = re.compile(
    r"fuse(\..*)?|nfs\d?|cifs|smb\d?|smbfs|9p|virtiofs|vboxsf|prl_fs|afs|ceph|lustre|beegfs|gpfs|gfs2|ocfs2|davfs|ncpfs"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Where a path lies: the mount point above it and the file system's type, as the kernel names it."""

    mount_point: str
    type: str

    @property
    def remote(self) -> bool:
        return _REMOTE.fullmatch(self.type) is not None


def file_system_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> FileSystem:
    """The file system that holds `path` (absolute, without symbolic links); an unknown one where the kernel does not say."""
    found = FileSystem("/", "unknown")
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount_point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        # of two mounts on one point the later one covers the earlier
        if path.is_relative_to(mount_point) and len(mount_point) >= len(found.mount_point):
            found = FileSystem(mount_point, after.split(" ", 1)[0])
    return found
