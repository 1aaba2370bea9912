"""Compiled code on disk, so that a second process compiles nothing.

In: a key and bytes. Out: the bytes, or None. `get` and `put` never raise for reasons of the file system: without a usable
directory everything is compiled anew, and `disk().why` says why.

True always: the directory and every entry belong to this user and nobody else may write them, or they are not read; an entry
is complete, or it is not taken (its checksum comes first; it is written under another name and renamed); keys hold all that
the bytes depend on (`key`), so that an entry never goes stale, it only grows old: beyond `limit` bytes the oldest are removed.
"""
from __future__ import annotations

import hashlib
import os
import platform
import stat
import struct
import sys
import tempfile
import time
from functools import cache

MAGIC = b"pellucid1\n"
HEAD = len(MAGIC) + 8 + 32          # magic, length, SHA-256 of the payload
LIMIT, ENTRIES = 1 << 30, 16384
ROOM = 0.75                         # what is left of either when the oldest are removed, so that it is long until the next time
FRESH = 24 * 3600                   # an entry's time stamp is renewed at most once a day


def place() -> str:
    """The directory: PELLUCID_CACHE_DIR, or `pellucid` in the user's cache directory. "" if the user wants none."""
    if os.environ.get("PELLUCID_CACHE") == "0":
        return ""
    chosen = os.environ.get("PELLUCID_CACHE_DIR")
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "pellucid") if os.path.isabs(base) else ""


def private(status: os.stat_result) -> bool:
    """Whether only this user may have written what `status` describes."""
    return (not hasattr(os, "geteuid") or status.st_uid == os.geteuid()) and not status.st_mode & 0o022


class Cache:
    """Entries in one directory. `hits`, `misses`, `broken` count what `get` met; `why` is set if the directory is unusable."""

    def __init__(self, directory: str, limit: int = LIMIT, entries: int = ENTRIES):
        self.directory, self.limit, self.entries = directory, limit, entries
        self.hits = self.misses = self.broken = 0
        self.why = self._open()

    def _open(self) -> str:
        if not self.directory:
            return "switched off"
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            status = os.lstat(self.directory)
        except OSError as error:
            return f"{self.directory}: {error.strerror}"
        if not stat.S_ISDIR(status.st_mode):
            return f"{self.directory} is no directory (a symbolic link is not followed)"
        if not private(status):
            return f"{self.directory} belongs to another user, or others may write to it: chmod 700 it to use it"
        return ""

    def path(self, key: str) -> str:
        return os.path.join(self.directory, key)

    # ------------------------------------------------------------------------------------------------ reading
    def get(self, key: str) -> bytes | None:
        """The bytes put under `key`, or None. A damaged entry is removed."""
        payload = None if self.why else self._read(self.path(key))
        if payload is None:
            self.misses += 1
        else:
            self.hits += 1
        return payload

    def _read(self, path: str) -> bytes | None:
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return None
        try:
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or not private(status):
                    return None
                data = file.read()
        except OSError:
            return None
        size, digest = struct.unpack_from("<Q32s", data, len(MAGIC)) if len(data) >= HEAD else (-1, b"")
        payload = data[HEAD:]
        if data[:len(MAGIC)] != MAGIC or len(payload) != size or hashlib.sha256(payload).digest() != digest:
            self.broken += 1
            _remove(path)
            return None
        if time.time() - status.st_mtime > FRESH:
            try:
                os.utime(path)
            except OSError:
                pass
        return payload

    # ------------------------------------------------------------------------------------------------ writing
    def put(self, key: str, payload: bytes) -> bool:
        """Keep `payload` under `key`. True if it is on disk now. Writers of the same key may race: one of them wins."""
        if self.why or len(payload) > self.limit // 4:
            return False
        digest = hashlib.sha256(payload).digest()
        head = MAGIC + struct.pack("<Q32s", len(payload), digest)
        temporary = None
        try:
            fd, temporary = tempfile.mkstemp(prefix=".new-", dir=self.directory)     # mode 0600
            with open(fd, "wb") as file:
                file.write(head)
                file.write(payload)
                file.flush()
                os.fsync(fd)
            os.replace(temporary, self.path(key))
        except OSError:
            if temporary is not None:
                _remove(temporary)
            return False
        if digest[0] % 64 == 0:             # once in 64 entries, whichever process writes them
            self.trim()
        return True

    def remove(self, key: str) -> None:
        """Forget an entry."""
        if not self.why:
            _remove(self.path(key))

    def trim(self) -> None:
        """Remove the oldest entries beyond the limits, and what interrupted writers left behind."""
        found, total, now = [], 0, time.time()
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    if entry.name.startswith(".new-"):
                        if now - status.st_mtime > 3600:
                            _remove(entry.path)
                        continue
                    found.append((status.st_mtime, status.st_size, entry.path))
                    total += status.st_size
        except OSError:
            return
        if total <= self.limit and len(found) <= self.entries:
            return
        left = len(found)
        for _, size, path in sorted(found):
            if total <= self.limit * ROOM and left <= self.entries * ROOM:
                break
            _remove(path)
            total, left = total - size, left - 1


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


_open: dict[str, Cache] = {}


def disk() -> Cache:
    """The cache of this process, in the directory that the environment names now."""
    where = place()
    found = _open.get(where)
    if found is None:
        found = _open[where] = Cache(where)
    return found


# ---------------------------------------------------------------------------------------------------- keys
@cache
def fingerprint() -> str:
    """What the code generators themselves look like: sizes and times of the source files of layers 0 to 4. (Both times: an
    installed file may have any time of modification, but not of its change on this disk.)"""
    h = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()} {sys.byteorder}".encode())
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for package in ("core", "ops", "graph", "kernel", "native"):
        with os.scandir(os.path.join(root, package)) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    h.update(f"{package}/{entry.name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return h.hexdigest()


def key(kind: str, *parts: str | bytes) -> str:
    """A file name for what depends on `parts` and on nothing else but the code generators."""
    h = hashlib.sha256(fingerprint().encode())
    for part in (kind, *parts):
        data = part.encode() if isinstance(part, str) else part
        h.update(struct.pack("<Q", len(data)))
        h.update(data)
    return f"{kind}-{h.hexdigest()[:48]}"
