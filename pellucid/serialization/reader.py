"""`load`: checkpoints of PyTorch and pellucid, read without unpickling.

In: a path or file-like object holding a `.pt` file (zip, or the format before PyTorch 1.6) or a `.safetensors` file.
Out: the object that was saved, built of tensors, plain containers, modules of `nn` and what the caller allowed with
`safe_globals`. True always: nothing named in the file is imported, or called unless it was allowed; memory is bounded by
the file's size; whatever is wrong with the file raises a `CheckpointError`.
Formats: https://pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..core.device import device
from . import safetensors
from .errors import CheckpointError, CheckpointLimitError, CorruptCheckpointError, TruncatedCheckpointError, UnsupportedCheckpointError, brief
from .interpreter import Cursor, Interpreter
from .limits import Budget, Limits
from .names import find, persistent
from .numpy_values import set_state
from .objects import Noting, Objects
from .source import Source, is_path
from .storages import LegacyStorages, Restore, ZipStorages, restorer
from .zip_reader import LOCAL_MAGIC, ZipReader, check_not_foreign

__all__ = ["get_unsafe_globals_in_checkpoint", "load"]

LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_ENCODINGS = ("utf-8", "utf8", "ascii", "ASCII", "latin1", "latin-1", "bytes")


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = True,
    mmap: bool | None = None,
    limits: Limits | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save` (PyTorch's or pellucid's) wrote.

    Args:
        f: a path, or an object with `read`, `seek` and `tell`, read from its current position.
        map_location: where storages go, as in PyTorch: None, a device or its name, a dict of names, or a callable
            `(storage, location) -> storage or None`.
        pickle_module: accepted for compatibility; only None and the standard `pickle` (which is not used).
        weights_only: accepted for compatibility. Both values read the same: tensors, plain containers, modules of `nn`, and objects
            of the classes allowed by `serialization.safe_globals` or `add_safe_globals`.
        mmap: map the file instead of reading it: tensors are loaded when touched, and writing to them changes memory
            only. Checksums are not verified. `f` must be a path to a zip-format file.
        limits: bounds on what the file may ask for (default `Limits()`).
        encoding: how strings written by Python 2 are decoded ("utf-8", "latin1", "ascii", or "bytes" to keep bytes).

    Returns tensors, parameters, dtypes, devices, sizes and plain containers, numbers, strings and NumPy values. Tensors
    that shared a storage share it again; strides and offsets are kept.

    Raises CheckpointError (a RuntimeError): UnsafeCheckpointError where the file holds other objects (also a
    pickle.UnpicklingError), CorruptCheckpointError or TruncatedCheckpointError where it is damaged,
    CheckpointLimitError, UnsupportedCheckpointError; OSError where it cannot be opened; ValueError and TypeError for
    wrong arguments.
    """
    if pickle_module is not None:
        if weights_only:
            raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
        if getattr(pickle_module, "__name__", None) != "pickle":
            raise TypeError(f"pickle_module {brief(pickle_module)} is not used: pellucid reads checkpoints without unpickling")
    encoding = pickle_load_args.pop("encoding", "utf-8")
    if pickle_load_args:
        raise TypeError(f"load() got an unexpected keyword argument '{next(iter(pickle_load_args))}'")
    if encoding not in _ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(_ENCODINGS)}, got {brief(encoding)}")
    if mmap and not is_path(f):
        raise ValueError("f must be a file path in order to use the mmap argument")
    limits = limits or Limits()
    if is_path(f) and str(f).endswith(".safetensors"):
        if not (map_location is None or isinstance(map_location, (str, device))):
            raise RuntimeError("Loading safetensors file with dict or callable map_location is not supported. "
                               "Use a device string or device instead.")
        return safetensors.load_file(f, device=map_location or "cpu", limits=limits)
    with Source(f) as source:
        restore = restorer(map_location, source.name)
        if source.size == 0:
            raise TruncatedCheckpointError("Ran out of input: the file is empty", file=source.name,
                                           mend="the save or download did not finish: save or fetch it again")
        if source.read(0, min(4, source.size), "the first bytes") == LOCAL_MAGIC:
            return _load_zip(source, restore, limits, bool(mmap), encoding)
        check_not_foreign(source)
        if mmap:
            raise CheckpointError(
                "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True)`, please "
                "torch.save your checkpoint with this option in order to use mmap.", file=source.name,
                mend="load it without mmap, and save it again",
            )
        return _load_legacy(source, restore, limits, encoding)


def _load_zip(source: Source, restore: Restore, limits: Limits, mapped: bool, encoding: str) -> Any:
    archive = ZipReader(source, limits)
    if "constants.pkl" in archive:
        raise UnsupportedCheckpointError(
            "Cannot load a TorchScript archive: it holds code", file=source.name, found="a record constants.pkl",
            mend="in PyTorch, run torch.save(torch.jit.load(path).state_dict(), new_path) and load that",
        )
    if "data.pkl" not in archive:
        raise CorruptCheckpointError("this zip file is not a checkpoint", file=source.name, found="no record data.pkl",
                                     mend="pass a file written by torch.save or pellucid.save")
    order = archive.read("byteorder", 16).decode("ascii", "replace") if "byteorder" in archive else "little"
    if order not in ("little", "big"):
        raise CorruptCheckpointError(f"Unknown endianness type: {brief(order)}", file=source.name, found="in the record byteorder")
    storages = ZipStorages(archive, restore, order, mapped)
    data = archive.read("data.pkl", limits.pickle_bytes)
    cursor = Cursor(lambda place, length: data[place : place + length], 0, len(data), source.name)
    interpreter = _interpreter(cursor, storages, limits, source, encoding)
    return _checked(interpreter, interpreter.run())


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The classes and functions that a `.pt` file names and `load` would refuse, as "module.name"; nothing of them is run.

    Raises ValueError where `f` is not of the zip format, or holds TorchScript.
    """
    with Source(f) as source:
        if source.size < 4 or source.read(0, 4, "the first bytes") != LOCAL_MAGIC:
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        limits = Limits()
        archive = ZipReader(source, limits)
        if "constants.pkl" in archive or "data.pkl" not in archive:
            raise ValueError("Expected input to be a checkpoint returned by torch.save but got a torchscript checkpoint")
        data = archive.read("data.pkl", limits.pickle_bytes)
        cursor = Cursor(lambda place, length: data[place : place + length], 0, len(data), source.name)
        noting, objects, refused = Noting(), Objects(), []
        Interpreter(cursor, noting.note, lambda identifier: noting, lambda *_: False, noting, limits, Budget(source.size, source.name)).run()
        for module, name in noting.names:
            try:
                find(module, name, source.name, objects)
            except CheckpointError:
                refused.append(f"{module}.{name}")
        return refused


def _checked(interpreter: Interpreter, result: Any) -> Any:
    """What was read, looked at once more now that the storages have their bytes."""
    for check in interpreter.checks:
        check()
    return result


def load_bare(f: Any, *, encoding: str = "utf-8", limits: Limits | None = None) -> Any:
    """What one pickle describes that is not a checkpoint: plain containers, numbers, strings, NumPy arrays of numbers."""
    with Source(f) as source:
        cursor = Cursor(lambda place, length: source.read(place, length, "the pickle"), 0, source.size, source.name)
        storages = LegacyStorages(source, restorer(None, source.name))
        result = _interpreter(cursor, storages, limits or Limits(), source, encoding).run()
        storages.fill([], cursor.place)                   # there are none, or they would be left without their bytes
        return result


def _interpreter(cursor: Cursor, storages: Any, limits: Limits, source: Source, encoding: str) -> Interpreter:
    objects = Objects()
    return Interpreter(
        cursor,
        find=partial(find, file=source.name, objects=objects),
        persistent=lambda identifier: persistent(storages, identifier, source.name),
        set_state=set_state,
        objects=objects,
        limits=limits,
        budget=Budget(source.size, source.name),
        encoding=encoding,
    )


def _load_legacy(source: Source, restore: Restore, limits: Limits, encoding: str) -> Any:
    """Five pickles one behind the other (magic number, version, system, object, storage keys), then the storages."""
    storages = LegacyStorages(source, restore)
    end = min(source.size, limits.pickle_bytes)
    cursor = Cursor(lambda place, length: source.read(place, length, "the pickle stream"), 0, end, source.name)

    def following() -> Any:
        return _interpreter(cursor, storages, limits, source, encoding).run()

    try:
        magic = following()
    except CheckpointLimitError:
        raise
    except CheckpointError as error:
        raise type(error)(
            f"Invalid magic number; corrupt file? It is neither a zip file nor a PyTorch checkpoint of the older format: {error.what}",
            file=source.name, found=f"the first bytes are {source.read(0, min(16, source.size), 'the first bytes')!r}",
            mend=error.mend,
        ) from None
    if magic != LEGACY_MAGIC:
        raise CorruptCheckpointError(
            "Invalid magic number; corrupt file?", file=source.name, found=f"a pickle of {brief(magic)}",
            mend="this is a plain pickle, not a checkpoint: load it where it was written and save it with torch.save",
        )
    version = following()
    if version != LEGACY_VERSION:
        raise CorruptCheckpointError(f"Invalid protocol version: {brief(version)}", file=source.name)
    system = following()
    if type(system) is not dict or type(system.get("little_endian", True)) is not bool:
        raise CorruptCheckpointError("the description of the system that wrote the file is malformed", file=source.name, found=brief(system))
    interpreter = _interpreter(cursor, storages, limits, source, encoding)
    result = interpreter.run()
    storages.fill(following(), cursor.place)
    return _checked(interpreter, result)
