"""What can go wrong with a checkpoint, as types.

In: the file's name, what was attempted, what was found there, how to mend it. Out: one exception whose text says all
of it. True always: whatever is in a file, `load` raises a `CheckpointError` (or Python's own `OSError`) and nothing else.
"""

from __future__ import annotations

import reprlib
from pickle import UnpicklingError   # the name PyTorch's users catch; nothing here unpickles

from ..core.errors import at, user_frame

__all__ = [
    "CheckpointError",
    "CheckpointLimitError",
    "CorruptCheckpointError",
    "TruncatedCheckpointError",
    "UnsafeCheckpointError",
    "UnsupportedCheckpointError",
    "brief",
]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read. `file`, `found` and `mend` are the parts of the message."""

    code = "P500"

    def __init__(self, what: str, *, file: str | None = None, found: str | None = None, mend: str | None = None):
        self.what, self.file, self.found, self.mend = what, file, found, mend
        self.where = user_frame(2)
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.file:
            lines.append(f"  file:  {self.file}")
        if self.found:
            lines.append(f"  found: {self.found}")
        lines.append(f"  at:    {at(self.where)}")
        if self.mend:
            lines.append(f"  fix:   {self.mend}")
        lines.append(f"  [{self.code}]")
        return "\n".join(lines)

    def __reduce__(self):
        return _rebuild, (type(self), self.what, self.file, self.found, self.mend), {"where": self.where}


def _rebuild(kind: type[CheckpointError], what: str, file: str | None, found: str | None, mend: str | None) -> CheckpointError:
    return kind(what, file=file, found=found, mend=mend)


class CorruptCheckpointError(CheckpointError, UnpicklingError):
    """The file contradicts itself: a wrong checksum, a view outside its storage, a malformed pickle stream."""

    code = "P501"


class TruncatedCheckpointError(CorruptCheckpointError, EOFError):
    """The file ends before what it announces."""

    code = "P502"


class UnsafeCheckpointError(CheckpointError, UnpicklingError):
    """The file asks for something that is not a tensor or a plain container. Nothing of it was executed."""

    code = "P503"


class CheckpointLimitError(CheckpointError):
    """Reading on would take more memory or time than `Limits` allows."""

    code = "P504"


class UnsupportedCheckpointError(CheckpointError):
    """A well-formed file that holds what pellucid has no form for, such as a quantised tensor or a CUDA device."""

    code = "P505"


class _Brief(reprlib.Repr):
    """A value in a few words, in bounded time: containers are cut, other objects named by their type."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxtuple, self.maxlist, self.maxdict, self.maxset = 2, 8, 8, 4, 4
        self.maxstring = self.maxother = self.maxlong = 80

    def repr_instance(self, x: object, level: int) -> str:
        if type(x) in (bool, float, complex, bytes, type(None)):
            return repr(x if type(x) is not bytes else x[:40])
        return type(x).__name__


brief = _Brief().repr
