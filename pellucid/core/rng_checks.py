"""What the random draws check and how they convert: bounds, dtypes and rounding, in PyTorch's words.

In: parameters and dtypes of a draw, or its values. Out: values in the dtype; or the error PyTorch raises, before any
number is drawn.
"""
from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np

from . import dtype as dt
from .errors import fail

F16, BF16, F32, F64 = (np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
HALVES = (F16, BF16)
REAL_OF = {np.dtype(np.complex64): F32, np.dtype(np.complex128): F64}
DIGITS = {F16: 11, BF16: 8, F32: 24, F64: 53}          # bits of the mantissa, the hidden one included
_C_NAME = {"Half": "c10::Half", "BFloat16": "c10::BFloat16", "Float": "float", "Double": "double", "Byte": "unsigned char",
           "Char": "signed char", "Short": "short", "Int": "int", "Long": "long", "Bool": "bool", "UInt16": "short unsigned int",
           "UInt32": "unsigned int", "UInt64": "long unsigned int"}
C_NAME_OF = {d.np: _C_NAME[d.type_name] for d in dt.ALL if d.type_name in _C_NAME}
WIDE_UNSIGNED = tuple(np.dtype(t) for t in (np.uint16, np.uint32, np.uint64))   # PyTorch draws them by `randint` only
DRAWN = frozenset(C_NAME_OF) - frozenset(WIDE_UNSIGNED)


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 or float32 values as C casts them: half precision by way of float32, integers by truncation."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(F32).astype(dtype) if dtype in HALVES else x.astype(dtype)


def cast_integers(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Integers in `dtype`, half precision by way of float32."""
    return x.astype(F32).astype(dtype) if dtype in HALVES else x.astype(dtype)


# How to mend what `check` refuses, by the code of the error.
FIX = {"P291": "a standard deviation is 0 or more", "P292": "use a dtype this distribution has, such as float32",
       "P293": "the bounds must lie in the dtype's range, the lower one below the upper one",
       "P294": "a permutation has 0 or more entries, as many as the dtype can count", "P295": "probabilities lie between 0 and 1",
       "P296": "the parameters of the distribution must be positive",
       "P297": "give weights that are finite and 0 or more with a positive sum, and draw at most as many as there are",
       "P298": "the bounds must lie in the dtype's range, the lower one below the upper one"}


def check(ok: bool, code: str, text: str, *values) -> None:
    """Raise RuntimeError with the formatted text unless `ok`."""
    if not ok:
        fail(RuntimeError, code, text.format(*values), fix=FIX[code])


def unsupported(kernel: str, dtype: np.dtype) -> None:
    """Raise PyTorch's error for a dtype that a distribution lacks."""
    d = dt.of(dtype)
    fail(NotImplementedError, "P292", f"\"{kernel}\" not implemented for '{d.type_name}'", got=f"dtype {d.name}",
         fix="use a dtype this distribution has, such as float32")


def check_bounds(low: float, high: float, dtype: np.dtype) -> None:
    """The bounds of a uniform draw: finite in `dtype`, in order, not too far apart."""
    most = float(ml_dtypes.finfo(dtype).max)
    for name, value in (("from", low), ("to", high)):
        check(-most <= value <= most, "P298", "{} is out of bounds for {}", name, C_NAME_OF[dtype])
    check(low <= high, "P298", "uniform_ expects to return a [from, to) range, but found from={:g} > to={:g}", low, high)
    check(high - low <= most, "P298", "uniform_ expects to-from <= std::numeric_limits<{}>::max(), but found to={:g} and "
           "from={:g} which result in to-from to exceed the limit", dt.of(dtype).type_name, high, low)


def check_integers(low: int, last: int, dtype: np.dtype) -> None:
    """The first and last integer of a draw: both in `dtype`, with a warning where it cannot hold all between."""
    if dtype in DIGITS:
        most = float(ml_dtypes.finfo(dtype).max)
        least = -most
    else:
        least, most = (0, 1) if dtype == BOOL else (int(np.iinfo(dtype).min), min(int(np.iinfo(dtype).max), (1 << 63) - 1))
    for name, value in (("from", low), ("to - 1", last)):
        check(least <= value <= most, "P293", "{} is out of bounds for {}", name, C_NAME_OF[dtype])
        digits = DIGITS.get(dtype)
        if digits and abs(value) > 1 << digits:
            warnings.warn(f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations {C_NAME_OF[dtype]} "
                          "can support discrete uniform distribution only within this range. This warning will become an "
                          "error in version 1.7 release, please fix the code in advance", UserWarning, stacklevel=2)


def _to_float(value: int, dtype: np.dtype) -> int:
    """The integer after a round trip through `dtype`; infinity becomes C's most negative integer."""
    with np.errstate(over="ignore"):
        x = float(cast_integers(np.array([value], I64), dtype)[0])
    return int(x) if abs(x) < 2.0**63 else -(1 << 63)


def round_up(low: int, dtype: np.dtype) -> int:
    """The first integer from `low` on such that no larger one falls below `low` when cast to `dtype`."""
    nearest = _to_float(low + 1, dtype)
    if nearest < low:
        low = nearest + _step(low + 1, dtype)
    return low


def round_down(high: int, dtype: np.dtype) -> int:
    """The last bound up to `high` such that no integer below it reaches `high` when cast to `dtype`."""
    nearest = _to_float(high - 1, dtype)
    if nearest >= high:
        high = nearest - _step(high - 1, dtype)
    return high


def _step(value: int, dtype: np.dtype) -> int:
    """The distance of neighbours of `dtype` at `value`."""
    return 1 << max(abs(value).bit_length() - DIGITS[dtype], 0)
