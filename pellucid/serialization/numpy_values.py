"""NumPy values in a checkpoint: scalars, arrays and dtypes without Python objects inside.

In: the arguments with which NumPy's own pickles call `dtype`, `scalar`, `_reconstruct` and `_frombuffer`, and the state
they set. Out: NumPy scalars and arrays. True always: only dtypes of fixed-size plain elements exist, and an array's bytes are
exactly as many as its shape says.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from .errors import brief
from .interpreter import Builder, Interpreter

__all__ = ["BUILDERS", "set_state"]

_PLAIN = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9})")
_CLASSES = {                                              # the classes of numpy.dtypes, called without arguments
    "BoolDType": "b1", "Int8DType": "i1", "Int16DType": "i2", "Int32DType": "i4", "Int64DType": "i8",
    "UInt8DType": "u1", "UInt16DType": "u2", "UInt32DType": "u4", "UInt64DType": "u8",
    "Float16DType": "f2", "Float32DType": "f4", "Float64DType": "f8", "Complex64DType": "c8", "Complex128DType": "c16",
}


def _dtype(s: Interpreter, name: str, align: Any = False, copy: Any = True) -> Builder:
    """A dtype on its way to an array: its byte order comes with a later instruction."""
    if type(name) is not str or not _PLAIN.fullmatch(name):
        raise s.unsafe("Only NumPy dtypes of plain numbers and fixed-length strings are allowed.", brief(name))
    return Builder("numpy.dtype", None, np.dtype(name))


def _plain_dtype(given: Any) -> np.dtype:
    if type(given) is not Builder or not isinstance(given.value, np.dtype):
        raise ValueError("a NumPy dtype is missing")
    return given.value


def _scalar(s: Interpreter, given: Builder, data: bytes) -> np.generic:
    kind = _plain_dtype(given)
    if type(data) is not bytes or len(data) != kind.itemsize:
        raise ValueError(f"{kind} needs {kind.itemsize} bytes")
    s.budget.spend(kind.itemsize, "a NumPy scalar")
    return np.frombuffer(data, kind)[0] if kind.itemsize else kind.type()


def _reconstruct(s: Interpreter, array_type: Builder, shape: tuple, code: Any) -> np.ndarray:
    if type(array_type) is not Builder or array_type.value is not np.ndarray or shape != (0,):
        raise s.unsafe("Only plain NumPy arrays are allowed.", getattr(array_type, "name", brief(array_type)))
    return np.empty(0, np.uint8)                          # its state is set by a later instruction


def _check_size(shape: Any, kind: np.dtype, length: int) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > 64 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{brief(shape)} is not a shape")
    if math.prod(shape) * kind.itemsize != length or max(shape, default=0) > 1 << 48:
        raise ValueError(f"an array of shape {brief(shape)} and dtype {kind} does not have {length:,} bytes")
    return shape


def _frombuffer(s: Interpreter, data: Any, given: Builder, shape: tuple, order: str) -> np.ndarray:
    kind = _plain_dtype(given)
    if type(data) not in (bytes, bytearray) or order not in ("C", "F"):
        raise ValueError("an array needs bytes and an order, C or F")
    _check_size(shape, kind, len(data))
    s.budget.spend(len(data), "a NumPy array")
    return np.frombuffer(bytearray(data), kind).reshape(shape, order=order) if len(data) else np.empty(shape, kind)


def set_state(s: Interpreter, target: Any, state: Any) -> bool:
    """BUILD for an array or dtype made above. False where `target` is neither."""
    if type(target) is Builder and isinstance(target.value, np.dtype):
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags[, metadata])
        version, order, subarray, names, fields, itemsize, _, flags = state[:8]
        parts = (subarray, names, fields, *state[8:])
        if version not in (3, 4) or order not in ("<", ">", "|", "=") or flags not in (0, 8) or any(p is not None for p in parts):
            raise ValueError(f"{brief(state)} is not the state of a plain NumPy dtype")
        if itemsize not in (-1, target.value.itemsize):
            raise ValueError(f"{brief(state)} does not belong to {target.value}")
        target.value = target.value.newbyteorder(order)
        return True
    if type(target) is np.ndarray:
        _, shape, given, fortran, data = state
        if type(data) is str and s.encoding in ("latin1", "latin-1"):
            data = data.encode("latin1")                  # Python 2 wrote bytes as its strings
        kind = _plain_dtype(given)
        if type(data) is not bytes or fortran not in (True, False) or target.size:
            raise ValueError("an array's state needs bytes, once")
        _check_size(shape, kind, len(data))
        s.budget.spend(len(data), "a NumPy array")
        target.__setstate__((1, shape, kind, bool(fortran), data))
        return True
    return False


BUILDERS: dict[tuple[str, str], Builder] = {
    ("numpy", "dtype"): Builder("numpy.dtype", _dtype),
    ("numpy", "ndarray"): Builder("numpy.ndarray", None, np.ndarray),
    **{("numpy.dtypes", name): Builder(f"numpy.dtypes.{name}", lambda s, code=code: _dtype(s, code)) for name, code in _CLASSES.items()},
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    BUILDERS[_module, "scalar"] = Builder(f"{_module}.scalar", _scalar)
    BUILDERS[_module, "_reconstruct"] = Builder(f"{_module}._reconstruct", _reconstruct)
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    BUILDERS[_module, "_frombuffer"] = Builder(f"{_module}._frombuffer", _frombuffer)
