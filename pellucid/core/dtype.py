"""Data types and type promotion.

In: NumPy dtypes, Python types, dtypes. Out: `dtype` objects (one per type, compared by identity).
True always: `of(np_dtype).np is np_dtype` for native types; promotion follows PyTorch's tables
(https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc), not NumPy's.
"""
from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from .errors import fail

BOOL, INT, FLOAT, COMPLEX = range(4)           # promotion categories, lowest first


class dtype:
    """A tensor's element type, such as `pellucid.float32`."""

    __slots__ = ("name", "np", "category", "itemsize", "is_floating_point", "is_complex", "is_signed", "type_name")

    def __init__(self, name: str, np_dtype, category: int, type_name: str, signed: bool = True):
        self.name, self.np, self.category, self.type_name = name, np.dtype(np_dtype), category, type_name
        self.itemsize = np.dtype(np_dtype).itemsize
        self.is_floating_point, self.is_complex = category == FLOAT, category == COMPLEX
        self.is_signed = signed

    def __repr__(self) -> str:
        return f"torch.{self.name}"       # as PyTorch prints it, so that scripts print the same

    def __reduce__(self):
        return _by_name, (self.name,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    @property
    def is_integral(self) -> bool:
        """True for the integer types, bool excluded."""
        return self.category == INT

    def to_real(self) -> dtype:
        """The real type of the same precision: complex64 -> float32."""
        return _TO_REAL.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type that holds this type: float32 -> complex64."""
        return self if self.is_complex else (complex128 if self is float64 else complex64)


bool_ = dtype("bool", np.bool_, BOOL, "Bool", signed=False)
uint8 = dtype("uint8", np.uint8, INT, "Byte", signed=False)
uint16 = dtype("uint16", np.uint16, INT, "UInt16", signed=False)
uint32 = dtype("uint32", np.uint32, INT, "UInt32", signed=False)
uint64 = dtype("uint64", np.uint64, INT, "UInt64", signed=False)
int8 = dtype("int8", np.int8, INT, "Char")
int16 = dtype("int16", np.int16, INT, "Short")
int32 = dtype("int32", np.int32, INT, "Int")
int64 = dtype("int64", np.int64, INT, "Long")
float16 = dtype("float16", np.float16, FLOAT, "Half")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOAT, "BFloat16")
float32 = dtype("float32", np.float32, FLOAT, "Float")
float64 = dtype("float64", np.float64, FLOAT, "Double")
complex64 = dtype("complex64", np.complex64, COMPLEX, "ComplexFloat")
complex128 = dtype("complex128", np.complex128, COMPLEX, "ComplexDouble")

float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOAT, "Float8_e4m3fn")
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, FLOAT, "Float8_e5m2")
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, FLOAT, "Float8_e4m3fnuz")
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, FLOAT, "Float8_e5m2fnuz")


class _NameOnly(dtype):
    """A type PyTorch names and tables of types mention; no tensor here can hold it."""

    __slots__ = ()

    def __getattribute__(self, attribute):
        if attribute == "np":
            raise TypeError(f"tensors of dtype {self.name} are not available")
        return dtype.__getattribute__(self, attribute)


complex32 = _NameOnly("complex32", np.complex64, COMPLEX, "ComplexHalf")
NAME_ONLY = (complex32, *(_NameOnly(n, np.int8, INT, t) for n, t in (("qint8", "QInt8"), ("quint8", "QUInt8"), ("qint32", "QInt32"),
                                                                     ("quint4x2", "QUInt4x2"), ("quint2x4", "QUInt2x4"))))

FLOAT8 = (float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz)
ALL = (bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
       float16, bfloat16, float32, float64, complex64, complex128, *FLOAT8)
# The names a user may write: pellucid.half, pellucid.long, ...
ALIASES = {"bool": bool_, "half": float16, "float": float32, "double": float64, "cfloat": complex64,
           "cdouble": complex128, "short": int16, "int": int32, "long": int64,
           "chalf": complex32, **{d.name: d for d in (*ALL, *NAME_ONLY)}}
LOW_PRECISION = frozenset((float16, bfloat16, *FLOAT8))
_TO_REAL = {complex64: float32, complex128: float64}
_OF_NP = {d.np: d for d in ALL}
_OF_PY = {bool: bool_, int: int64}
_UNSIGNED_WIDE = frozenset((uint16, uint32, uint64))
_INT_RANK = {uint8: 0, int8: 0, int16: 1, int32: 2, int64: 3}
_FLOAT_RANK = {float16: 0, bfloat16: 0, float32: 1, float64: 2}

_default = float32


def _by_name(name: str) -> dtype:
    return ALIASES[name]


def get_default_dtype() -> dtype:
    """The floating type of tensors made from Python floats (float32 unless changed)."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the floating type of tensors made from Python floats. Raises TypeError unless `d` is floating."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        fail(TypeError, "P011", "only floating-point types are supported as the default type",
             got=repr(d), fix="choose float16, bfloat16, float32 or float64")
    _default = d


def of(np_dtype) -> dtype:
    """The dtype of a NumPy dtype. Raises TypeError for types no tensor can hold."""
    d = _OF_NP.get(np_dtype)
    if d is None:
        d = _OF_NP.get(np.dtype(np_dtype).newbyteorder("="))
        if d is None:
            fail(TypeError, "P012", f"can't convert np.ndarray of type {np.dtype(np_dtype)}. The only supported types are: "
                 + ", ".join(x.name for x in ALL) + ".", fix="convert it first with array.astype(...)")
    return d


def of_number(x) -> dtype:
    """The dtype a Python number stands for: bool, int64, the default float, or its complex type."""
    if isinstance(x, bool):
        return bool_
    if isinstance(x, int):
        return int64
    if isinstance(x, float):
        return _default
    if isinstance(x, complex):
        return _default.to_complex()
    now = getattr(x, "now", None)           # a number that is known at run time only, by what it is now
    return of_number(now) if now is not None else of(np.asarray(x).dtype)


def _dtype_hint(x) -> str:
    known = isinstance(x, str) and next((d.name for d in ALL if x.removeprefix("torch.") == d.name), None)
    return f"write it without quotes: pellucid.{known}" if known else "pass a dtype, such as pellucid.float32"


def as_dtype(x) -> dtype:
    """Accepts a dtype, a Python type (float means the 64-bit type in PyTorch's `dtype=` arguments) or a NumPy dtype."""
    if isinstance(x, dtype):
        return x
    if x is float:
        return float64
    if x is complex:
        return complex128
    if x in _OF_PY:
        return _OF_PY[x]
    if isinstance(x, (np.dtype, type)):
        return of(x)
    fail(TypeError, "P010", f"expected a pellucid.dtype, got {type(x).__name__}: {x!r}", fix=_dtype_hint(x))


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, by PyTorch's table (int with float gives the float type)."""
    if a is b:
        return a
    if not (isinstance(a, dtype) and isinstance(b, dtype)):
        raise TypeError(f"promote_types(): expected two dtypes, got {type(a).__name__} and {type(b).__name__}")
    return _PROMOTED[a, b]


def _promote(a: dtype, b: dtype) -> dtype | None:
    if a.category > b.category:
        a, b = b, a
    if a.category == BOOL:
        return b
    if b.category == COMPLEX:
        return complex128 if (a is float64 or a is complex128 or b is complex128) else complex64
    if b.category == FLOAT:
        if a.category == INT:
            return b
        if a in FLOAT8 or b in FLOAT8:
            return None
        ra, rb = _FLOAT_RANK[a], _FLOAT_RANK[b]
        return float32 if ra == rb else (a if ra > rb else b)
    if a in _UNSIGNED_WIDE or b in _UNSIGNED_WIDE:     # PyTorch defines these only among unsigned types
        if a.is_signed or b.is_signed:
            return None
        return a if a.itemsize > b.itemsize else b
    if uint8 in (a, b) and int8 in (a, b):
        return int16
    return a if _INT_RANK[a] > _INT_RANK[b] else b


class _Table(dict):
    def __missing__(self, key):
        a, b = key
        if a in FLOAT8 or b in FLOAT8:
            raise RuntimeError(f"Promotion for Float8 Types is not supported, attempted to promote {a.type_name} and {b.type_name}. "
                               "Convert both sides to a wider type first.")
        raise RuntimeError(f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
                           f"{a.type_name} and {b.type_name}. Convert one side with .to(pellucid.int64) first.")


_PROMOTED = _Table({(a, b): r for a in ALL for b in ALL for r in [a if a is b else _promote(a, b)] if r is not None})


def _combine(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """Join priorities: tensors with dimensions outrank 0-d tensors, which outrank Python numbers."""
    if higher is None or lower is None:
        return higher or lower
    if higher.category == COMPLEX:
        return higher
    if higher.category == FLOAT:
        return higher.to_complex() if lower.category == COMPLEX else higher
    if higher.category == BOOL or lower.category >= FLOAT:
        return promote_types(higher, lower)
    return higher


def result_type_of(dims: list[dtype], zeros: list[dtype], numbers: list[dtype]) -> dtype:
    """Result type of an operation over tensors with dimensions, 0-d tensors and Python numbers."""
    groups = []
    for group in (dims, zeros, numbers):
        r = None
        for d in group:
            r = d if r is None or r is d else promote_types(r, d)
        groups.append(r)
    return _combine(_combine(groups[0], groups[1]), groups[2])


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place result of type `from_` may be stored in `to` (PyTorch: never to a lower category)."""
    if from_.category == COMPLEX and to.category != COMPLEX:
        return False
    if from_.category == FLOAT and to.category < FLOAT:
        return False
    if from_.category != BOOL and to.category == BOOL:
        return False
    return True


@cache
def _limits(real: dtype) -> dict[str, Any]:
    """The fields of a real type's `finfo`."""
    info = ml_dtypes.finfo(real.np)
    found = {name: float(getattr(info, name)) for name in ("eps", "max", "min", "smallest_normal", "resolution")}
    return {"bits": real.itemsize * 8, "dtype": real.name, "tiny": found["smallest_normal"], **found}


class finfo:
    """Limits of a floating type: bits, eps, max, min, tiny, smallest_normal, resolution, dtype."""

    def __init__(self, type: dtype | None = None):
        type = _default if type is None else type
        if not isinstance(type, dtype) or type.category < FLOAT:
            raise TypeError(f"pellucid.finfo() requires a floating point input type. Use pellucid.iinfo to handle '{type!r}'")
        self.__dict__.update(_limits(type.to_real()))

    def __repr__(self):
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")

    def __eq__(self, other):
        return isinstance(other, finfo) and self.dtype == other.dtype

    __hash__ = None


class iinfo:
    """Limits of an integer type: bits, min, max, dtype."""

    def __init__(self, type: dtype):
        if not isinstance(type, dtype) or type.category != INT:
            if type is bool_:
                raise RuntimeError("pellucid.bool is not supported by pellucid.iinfo")
            raise TypeError(f"pellucid.iinfo() requires an integer input type. Use pellucid.finfo to handle '{type!r}'")
        info = np.iinfo(type.np)
        self.bits, self.min, self.max, self.dtype = info.bits, int(info.min), int(info.max), type.name

    def __repr__(self):
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other):
        return isinstance(other, iinfo) and self.dtype == other.dtype

    __hash__ = None
