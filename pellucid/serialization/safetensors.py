"""The safetensors format: a dict of tensors in one file, with text metadata.

In: a dict of tensors by name, or a `.safetensors` file. Out: the file, or the dict. True always: the file is an 8-byte
length, a JSON header and the tensors' bytes, which the header's ranges cover exactly, without gaps or overlaps; a
header that says otherwise is refused before memory is taken; files are replaced atomically.
Format: https://github.com/huggingface/safetensors (README, "Format"); written byte for byte as that package does.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from typing import Any, Iterator, NamedTuple

import numpy as np

from ..core.device import check as check_device
from ..core.dtype import (bfloat16, bool_, complex64, dtype, float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float16,
                          float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64)
from . import bridge
from .atomic import atomic_writer
from .errors import CheckpointLimitError, CorruptCheckpointError, UnsupportedCheckpointError, brief
from .limits import Limits
from .source import Source

__all__ = ["load", "load_file", "safe_open", "save", "save_file"]

# In the order in which the format's own library lays tensors out: from the last to the first.
_NAMES = {bool_: "BOOL", uint8: "U8", int8: "I8", float8_e5m2: "F8_E5M2", float8_e4m3fn: "F8_E4M3",
          float8_e4m3fnuz: "F8_E4M3FNUZ", float8_e5m2fnuz: "F8_E5M2FNUZ", int16: "I16", uint16: "U16", float16: "F16",
          bfloat16: "BF16", int32: "I32", uint32: "U32", float32: "F32", complex64: "C64", float64: "F64", int64: "I64", uint64: "U64"}
_RANK = {kind: rank for rank, kind in enumerate(_NAMES)}
_DTYPES = {name: kind for kind, name in _NAMES.items()}
_ALIGNMENT = 8
_DAMAGED = "the file is damaged or was altered: fetch it again, or save it again"


class _Entry(NamedTuple):
    """A tensor in the file: its type, shape and the range of its bytes behind the header."""

    kind: dtype
    shape: tuple[int, ...]
    begin: int
    end: int


# -- reading -----------------------------------------------------------------------------------------------------------


def load_file(filename: str | os.PathLike[str], device: Any = "cpu", *, limits: Limits | None = None) -> dict[str, Any]:
    """The tensors of a `.safetensors` file by name.

    Raises CorruptCheckpointError, TruncatedCheckpointError, UnsupportedCheckpointError or CheckpointLimitError for what
    the file holds, OSError where it cannot be opened, RuntimeError for another device than the CPU.
    """
    with safe_open(filename, device=device, limits=limits) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def load(data: bytes, *, limits: Limits | None = None) -> dict[str, Any]:
    """The tensors of a safetensors file given as bytes. Raises as `load_file`."""
    with Source(io.BytesIO(data)) as source:
        source.name = "<bytes>"
        entries, _, start = _read_header(source, limits or Limits())
        return {name: _read_tensor(source, name, entry, start) for name, entry in entries.items()}


class safe_open:
    """A `.safetensors` file opened for reading tensors one by one; use as a context manager.

    `framework` and `device` are accepted as in the safetensors package; tensors are pellucid's, on the CPU.
    """

    def __init__(self, filename: str | os.PathLike[str], framework: str = "pt", device: Any = "cpu", *, limits: Limits | None = None):
        if framework not in ("pt", "torch", "pytorch", "pellucid", "np", "numpy"):
            raise ValueError(f"framework {framework!r} is not known: pass 'pt' for tensors or 'np' for arrays")
        check_device(device)
        self._arrays = framework in ("np", "numpy")
        self._source = Source(filename)
        try:
            self._entries, self._metadata, self._start = _read_header(self._source, limits or Limits())
        except BaseException:
            self._source.close()
            raise

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.close()

    def keys(self) -> list[str]:
        """The tensors' names."""
        return list(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def metadata(self) -> dict[str, str] | None:
        """The file's metadata, None if it has none."""
        return self._metadata

    def get_tensor(self, name: str) -> Any:
        """One tensor. Raises KeyError for another name."""
        if name not in self._entries:
            raise KeyError(f"{self._source.name} holds no tensor {name!r}; it holds {', '.join(list(self._entries)[:8])}")
        tensor = _read_tensor(self._source, name, self._entries[name], self._start)
        return tensor._a if self._arrays else tensor


def _read_header(source: Source, limits: Limits) -> tuple[dict[str, _Entry], dict[str, str] | None, int]:
    """The entries in file order, the metadata, and the place of the first tensor byte."""

    def corrupt(what: str, found: str | None = None) -> CorruptCheckpointError:
        return CorruptCheckpointError(f"this is not a well-formed safetensors file: {what}", file=source.name, found=found, mend=_DAMAGED)

    length = int.from_bytes(source.read(0, 8, "the length of the header"), "little")
    if length > limits.header_bytes:
        raise CheckpointLimitError("the safetensors header is too long", file=source.name,
                                   found=f"{length:,} bytes announced, at most {limits.header_bytes:,} are read",
                                   mend="this may be no safetensors file; else pass limits=Limits(header_bytes=...)")
    raw = source.read(8, length, "the header")
    if not raw.startswith(b"{"):
        raise corrupt("the header does not begin with '{'", brief(raw[:40]))
    if raw.count(b"[") + raw.count(b"{") > limits.header_items:
        raise CheckpointLimitError("the safetensors header holds too many items", file=source.name,
                                   found=f"more than {limits.header_items:,} brackets", mend="pass limits=Limits(header_items=...)")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:         # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise corrupt("the header is not plain JSON", str(error)[:200]) from None
    metadata = header.pop("__metadata__", None)
    if metadata is not None and (type(metadata) is not dict or any(type(v) is not str for v in metadata.values())):
        raise corrupt("the metadata is not a dict of strings", brief(metadata))
    entries = {name: _entry(name, fields, source, corrupt) for name, fields in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    at = 0
    for name, entry in ordered.items():
        if entry.begin != at:
            raise corrupt("the tensors do not lie one behind the other", f"{brief(name)} begins at {entry.begin:,}, expected {at:,}")
        at = entry.end
    start = 8 + length
    source.check(start, at, "the tensors")
    if start + at != source.size:
        raise corrupt("there are bytes behind the last tensor", f"{source.size - start - at:,}")
    return ordered, metadata, start


def _entry(name: str, fields: Any, source: Source, corrupt: Any) -> _Entry:
    """Check one entry of the header."""
    if type(fields) is not dict or not {"dtype", "shape", "data_offsets"} <= set(fields):
        raise corrupt("a tensor's entry lacks dtype, shape or data_offsets", f"{brief(name)}: {brief(fields)}")
    shape, offsets = fields["shape"], fields["data_offsets"]
    for numbers in (shape, offsets):
        if type(numbers) is not list or any(type(n) is not int or not 0 <= n < 1 << 63 for n in numbers):
            raise corrupt("a shape or range is not a list of non-negative integers", f"{brief(name)}: {brief(numbers)}")
    if type(fields["dtype"]) is not str or fields["dtype"] not in _DTYPES:
        raise UnsupportedCheckpointError(f"the tensor {brief(name)} has elements pellucid has no form for", file=source.name,
                                         found=f"dtype {brief(fields['dtype'])}", mend=f"convert it to one of {', '.join(_DTYPES)}")
    kind = _DTYPES[fields["dtype"]]
    if len(offsets) != 2 or len(shape) > 64 or math.prod(shape) * kind.itemsize != offsets[1] - offsets[0]:
        raise corrupt("a tensor's range does not fit its shape", f"{brief(name)}: {kind.name}{brief(shape)}, bytes {brief(offsets)}")
    return _Entry(kind, tuple(shape), *offsets)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("the same name appears twice")
    return out


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:40]} is not an integer")


def _read_tensor(source: Source, name: str, entry: _Entry, start: int) -> Any:
    data = source.read_array(start + entry.begin, entry.end - entry.begin, f"the tensor {brief(name)}")
    if entry.kind is bool_:
        np.minimum(data, 1, out=data)                     # any other byte would not behave as a truth value
    width = entry.kind.itemsize // (2 if entry.kind.is_complex else 1)
    if sys.byteorder == "big" and width > 1:              # the format is little-endian
        data.view(f"u{width}").byteswap(inplace=True)
    return bridge.tensor(data.view(entry.kind.np).reshape(entry.shape), None, False)


# -- writing -----------------------------------------------------------------------------------------------------------


def save_file(tensors: dict[str, Any], filename: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name to a file, which is replaced atomically.

    Raises ValueError for what is not a dict of contiguous tensors, TypeError for names and metadata that are not
    strings, RuntimeError for tensors that share memory, OSError where the file cannot be written.
    """
    header, arrays = _layout(tensors, metadata)
    with atomic_writer(filename) as file:
        file.write(header)
        for array in arrays:
            file.write(memoryview(array))


def save(tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file. Raises as `save_file`."""
    header, arrays = _layout(tensors, metadata)
    return b"".join((header, *(array.tobytes() for array in arrays)))


def _layout(tensors: Any, metadata: Any) -> tuple[bytes, list[np.ndarray]]:
    """The header with its length, and the tensors' bytes in the order of the file."""
    _check_tensors(tensors)
    if metadata is not None and (type(metadata) is not dict or any(type(x) is not str for pair in metadata.items() for x in pair)):
        raise TypeError(f"metadata must be a dict of strings, got {brief(metadata)}")
    header: dict[str, Any] = {}
    if metadata is not None:
        header["__metadata__"] = dict(sorted(metadata.items()))
    arrays, at = [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-_RANK[item[1].dtype], item[0])):
        array = np.ascontiguousarray(tensor._a).reshape(-1)
        width = array.itemsize // (2 if tensor.dtype.is_complex else 1)
        array = array.view(np.uint8)
        if sys.byteorder == "big" and width > 1:
            array = array.view(f"u{width}").byteswap().view(np.uint8)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor._a.shape), "data_offsets": [at, at + array.nbytes]}
        arrays.append(array)
        at += array.nbytes
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    raw += b" " * (-len(raw) % _ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw, arrays


def _check_tensors(tensors: Any) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    spans = []
    for name, tensor in tensors.items():
        if type(name) is not str:
            raise TypeError(f"names must be strings, got {brief(name)} ({type(name).__name__})")
        if name == "__metadata__":
            raise ValueError("the name '__metadata__' is reserved: pass metadata=...")
        if not isinstance(tensor, bridge.Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
        if tensor.dtype not in _NAMES:
            raise ValueError(f"Key `{name}` has dtype {tensor.dtype}, which safetensors has no form for: convert it first")
        array = tensor._a
        if not array.flags.c_contiguous:
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. It either means you are trying to "
                "save tensors which are reference of each other in which case it's recommended to save only the full tensors, and "
                "reslice at load time, or simply call `.contiguous()` on your tensor to pack it before saving."
            )
        if array.size:
            spans.append((*np.lib.array_utils.byte_bounds(array), name))
    spans.sort()
    shared: list[set[str]] = []
    reach, group = 0, ""
    for begin, end, name in spans:
        if begin < reach:
            shared[-1].add(name) if shared and group in shared[-1] else shared.append({group, name})
        if end > reach:
            reach, group = end, name
    if shared:
        raise RuntimeError(
            "Some tensors share memory, this will lead to duplicate memory on disk and potential differences when loading them "
            f"again: {[sorted(names) for names in shared]}. Save one name of each group, or clone() the others; "
            "pellucid.save keeps shared memory shared."
        )
