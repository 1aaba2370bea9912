"""Where bytes come from: a path or a file-like object, read at given places.

In: a path, or an object with `read`, `seek`, `tell`. Out: a `Source` with a known size; every read names its place and
length. True always: no read goes outside [0, size), and a length is checked against the size before memory is taken.
A file-like object is read from its current position to its end; that position is place 0.
"""

from __future__ import annotations

import io
import mmap
import os
from typing import Any, BinaryIO

import numpy as np

from .errors import CheckpointError, TruncatedCheckpointError

__all__ = ["Source", "is_path"]


def is_path(f: Any) -> bool:
    """Whether `f` names a file, as opposed to being one."""
    return isinstance(f, (str, os.PathLike))


class Source:
    """A bounded, seekable run of bytes. Use as a context manager; only files opened here are closed here."""

    def __init__(self, f: Any):
        self._owned = is_path(f)
        if self._owned:
            self.path: str | None = os.path.abspath(os.fspath(f))
            self.name = os.fspath(f)
            self.file: BinaryIO = open(f, "rb")
        else:
            self.path = None
            for method in ("read", "seek", "tell"):
                if not hasattr(f, method):
                    raise AttributeError(
                        f"'{type(f).__name__}' object has no attribute '{method}'. You can only load from a file that is "
                        f"seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
                    )
            self.file = f
            given = getattr(f, "name", None)
            self.name = given if isinstance(given, str) else f"<{type(f).__name__}>"
        try:
            self.base = self.file.tell()
            self.size = self.file.seek(0, os.SEEK_END)
            if self.size is None:                       # file-likes whose seek() returns nothing
                self.size = self.file.tell()
            self.size -= self.base
            self.file.seek(self.base)
        except io.UnsupportedOperation as error:
            raise type(error)(
                f"{error}. You can only load from a file that is seekable. Please pre-load the data into a buffer like "
                f"io.BytesIO and try to load from it instead."
            ) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._owned:
            self.file.close()

    def check(self, place: int, length: int, what: str) -> None:
        """Raise unless [place, place + length) lies inside the file."""
        if place < 0 or length < 0 or place + length > self.size:
            raise TruncatedCheckpointError(
                f"unexpected end of file while reading {what}",
                file=self.name,
                found=f"{length:,} bytes at {place:,} announced, the file has {self.size:,}",
                mend="the copy or download was cut short: fetch the file again and compare its size with the original's",
            )

    def read(self, place: int, length: int, what: str) -> bytes:
        """The bytes [place, place + length)."""
        self.check(place, length, what)
        self.file.seek(self.base + place)
        data = self.file.read(length)
        while len(data) < length:                       # raw and remote files may return less than asked
            more = self.file.read(length - len(data))
            if not more:
                self.check(place, self.size + 1, what)
            data += more
        return data

    def read_array(self, place: int, length: int, what: str) -> np.ndarray:
        """The same bytes as a fresh uint8 array; large files are read straight into it."""
        self.check(place, length, what)
        out = np.empty(length, np.uint8)
        if not length:
            return out
        self.file.seek(self.base + place)
        view, done = memoryview(out), 0
        into = getattr(self.file, "readinto", None)
        while done < length:
            if into is not None:
                n = into(view[done:])
            else:
                piece = self.file.read(min(length - done, 1 << 24))
                n = len(piece)
                view[done : done + n] = piece
            if not n:
                self.check(place, self.size + 1, what)
            done += n
        return out

    def map(self) -> mmap.mmap:
        """The whole file mapped copy-on-write: writing to it changes memory, never the file."""
        if self.path is None or self.size == 0:
            raise CheckpointError("only a non-empty file given by its path can be mapped", file=self.name)
        return mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_COPY)
