"""Files that are either the old ones or the new ones, whatever happens while they are written.

In: a path. Out: a file object to write to. True always: until the new content is complete and on the disk, the path
shows what it showed before; a process killed at any moment leaves the old file or the new one. Where the system can
(Linux), the new content has no name until it is complete; what a process killed during the rename may leave, the next save
of the same file removes.
"""

from __future__ import annotations

import os
import platform
import re
import stat
from contextlib import contextmanager
from typing import BinaryIO, Iterator

from ..core.errors import fail

__all__ = ["atomic_writer"]


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A context whose file replaces `path` when the block ends, and is dropped when the block raises.

    A symbolic link is followed, and the permissions of a file that is replaced are kept. Devices and pipes are written
    in place. Raises OSError.
    """
    target = os.path.realpath(path)
    try:
        old = os.stat(target)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(target, "wb") as file:                  # /dev/stdout, a pipe; a directory raises IsADirectoryError
            yield file
        return
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        given = os.path.dirname(os.fspath(path))
        fail(FileNotFoundError, "P520", f"Parent directory {given} does not exist.", fix=f"os.makedirs({given!r}, exist_ok=True)")
    # The last part of the name may be cut, so that a name of the greatest allowed length gets a temporary one too.
    stem = f".{name[:100]}.{platform.node()[:40]}"
    _remove_strays(folder, stem)
    temporary = os.path.join(folder, f"{stem}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    unnamed = _open_unnamed(folder)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666) if unnamed is None else unnamed
    named = unnamed is None
    try:
        with os.fdopen(descriptor, "wb") as file:
            if old is not None:
                _keep_mode(descriptor, old)
            yield file
            file.flush()
            os.fsync(descriptor)
            if unnamed is not None:
                named = _give_name(descriptor, folder, temporary)
        os.replace(temporary, target)
        named = False
    finally:
        if named:
            _remove(temporary)
    _sync_folder(folder)


def _remove_strays(folder: str, stem: str) -> None:
    """Remove what saves of this file, on this machine, left when they were killed in the microseconds of a rename."""
    pattern = re.compile(re.escape(stem) + r"\.(\d+)-[0-9a-f]{8}\.tmp")
    for name in os.listdir(folder):
        match = pattern.fullmatch(name)
        if match and not _alive(int(match[1])):
            _remove(os.path.join(folder, name))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:                                       # somebody else's process
        pass
    return True


def _open_unnamed(folder: str) -> int | None:
    """A file without a name in `folder` (Linux's O_TMPFILE), or None where the file system has none."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_RDWR | flag, 0o666)
    except OSError:                                       # an old kernel, NFS, or no permission: the named way will say
        return None


def _give_name(descriptor: int, folder: str, temporary: str) -> bool:
    """Name the unnamed file; a named one is needed because only rename() can replace another file."""
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # With a directory given, Python uses linkat(AT_SYMLINK_FOLLOW), which this needs.
        os.link(f"/proc/self/fd/{descriptor}", os.path.basename(temporary), dst_dir_fd=parent, follow_symlinks=True)
    finally:
        os.close(parent)
    return True


def _keep_mode(descriptor: int, old: os.stat_result) -> None:
    if hasattr(os, "fchmod"):
        try:
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        except OSError:                                   # a file system without permissions
            pass


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _sync_folder(folder: str) -> None:
    """Make the rename durable. Where directories cannot be opened (Windows) the system does so itself."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:                                       # a file system that does not sync directories
        pass
    finally:
        os.close(descriptor)
