"""`save`: checkpoints that PyTorch and pellucid read without unpickling.

In: an object of the closed set (tensors, plain containers, numbers, strings, ...). Out: a `.pt` file: the zip format
of PyTorch 1.6 and later, or the format before it. True always: a path shows the old file or the complete new one,
whenever the process ends; what cannot be restored raises TypeError before anything is written.
Formats: https://pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from .atomic import atomic_writer
from .emitter import Emitter
from .errors import brief
from .reader import LEGACY_MAGIC, LEGACY_VERSION
from .source import is_path
from .zip_writer import ALIGNMENT, ZipWriter

__all__ = ["save"]


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write `obj` to `f`.

    Args:
        obj: tensors, parameters, dtypes, devices, sizes, None, bool, int, float, complex, str, bytes, bytearray, tuple,
            list, dict, set, frozenset, OrderedDict (with attributes, such as a state_dict's `_metadata`), defaultdict,
            Counter, storages, NumPy scalars and arrays of plain dtypes; modules of `nn`. Objects of other classes are written as
            pickle does, by the class's name and the object's state; `load` needs these classes in `serialization.safe_globals`.
            A module or optimizer is best saved by its `state_dict()`.
        f: a path, replaced atomically; or an object with `write`, written front to back (no `seek` is needed).
        pickle_module: accepted for compatibility; only None and the standard `pickle` (which is not used).
        pickle_protocol: accepted for compatibility; the stream is always of protocol 2, which every reader knows.
        _use_new_zipfile_serialization: False writes the format before PyTorch 1.6.

    Views are saved with the whole storage they look at; save `t.clone()` to keep only the view.

    Raises TypeError for what no name leads to (lambdas, classes defined in functions) and what has no state to save, ValueError
    for objects that contain themselves, RuntimeError where one storage is seen with two dtypes, OSError where the file cannot be written.
    """
    if pickle_module is not None and getattr(pickle_module, "__name__", None) != "pickle":
        raise TypeError(f"pickle_module {brief(pickle_module)} is not used: pellucid writes a closed set of types by itself")
    if type(pickle_protocol) is not int or not -1 <= pickle_protocol <= 5:
        raise ValueError(f"pickle protocol must be an integer from 0 to 5, got {brief(pickle_protocol)}")
    if not is_path(f) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    emitter = Emitter(legacy=not _use_new_zipfile_serialization)
    stream = emitter.dump(obj)
    write = _write_zip if _use_new_zipfile_serialization else _write_legacy
    if is_path(f):
        with atomic_writer(f) as file:
            write(file, _folder(os.fspath(f)), stream, emitter)
    else:
        write(f, "archive", stream, emitter)
        flush = getattr(f, "flush", None)
        if flush is not None:
            flush()


def _folder(path: str | bytes) -> str:
    """The folder inside the archive: the file's name without its last suffix, as PyTorch has it."""
    name = os.fsdecode(path).replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0] or name.lstrip(".")
    return stem if stem.isascii() and stem.strip(".") else "archive"


def _write_zip(file: Any, folder: str, stream: bytes, emitter: Emitter) -> None:
    archive = ZipWriter(file, folder)
    archive.write("data.pkl", stream)
    archive.write(".format_version", b"1")
    archive.write(".storage_alignment", str(ALIGNMENT).encode())
    archive.write("byteorder", sys.byteorder.encode())
    for stored in emitter.storages.values():
        archive.write(f"data/{stored.key}", stored.data)
    archive.write("version", b"3\n")
    # PyTorch writes a hash of the names and one of the contents, twenty digits each.
    archive.write(".data/serialization_id", f"{archive.names_checksum:020d}{archive.checksum:020d}".encode())
    archive.close()


def _write_legacy(file: Any, folder: str, stream: bytes, emitter: Emitter) -> None:
    system = {"protocol_version": LEGACY_VERSION, "little_endian": sys.byteorder == "little",
              "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for header in (LEGACY_MAGIC, LEGACY_VERSION, system):
        file.write(Emitter().dump(header))
    file.write(stream)
    stored = sorted(emitter.storages.values(), key=lambda one: one.key)
    file.write(Emitter().dump([one.key for one in stored]))
    for one in stored:
        file.write((len(one.data) // one.itemsize).to_bytes(8, "little"))
        file.write(memoryview(_little_endian(one.data, one)) if len(one.data) else b"")


def _little_endian(data: np.ndarray, stored: Any) -> np.ndarray:
    """This format is little-endian on every machine."""
    width = stored.itemsize // 2 if stored.kind is not None and stored.kind.is_complex else stored.itemsize
    if sys.byteorder == "little" or width == 1:
        return data
    whole = len(data) // width * width
    return data[:whole].view(f"u{width}").byteswap().view(np.uint8)
