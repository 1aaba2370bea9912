"""The standard's inspection: what this namespace can do, its dtypes and devices."""
from __future__ import annotations

from ..core import dtype as dt
from ..core.device import CPU, check

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64", "complex128")
_KINDS = {"bool": "bool", "signed integer": "int8 int16 int32 int64", "unsigned integer": "uint8 uint16 uint32 uint64",
          "real floating": "float32 float64", "complex floating": "complex64 complex128"}
_WIDER = {"integral": ("signed integer", "unsigned integer"), "numeric": ("integral", "real floating", "complex floating")}


def is_of_kind(dtype: dt.dtype, kind) -> bool:
    """Whether `dtype` is of a kind of the standard, is another dtype, or is one of a tuple of these. Half-precision types are
    real floating too. Raises ValueError for a kind that the standard does not know."""
    if isinstance(kind, tuple):
        return any([is_of_kind(dtype, k) for k in kind])
    if isinstance(kind, dt.dtype):
        return dtype is kind
    if kind in _WIDER:
        return is_of_kind(dtype, _WIDER[kind])
    if kind not in _KINDS:
        raise ValueError(f"isdtype(): unknown kind of dtype {kind!r}; the standard has {', '.join([*_KINDS, *_WIDER])}")
    if kind == "bool":
        return dtype is dt.bool_
    if kind.endswith("floating"):
        return dtype.is_floating_point if kind == "real floating" else dtype.is_complex
    return dtype.category == dt.INT and dtype.is_signed == (kind == "signed integer")


class Info:
    """What `__array_namespace_info__()` gives."""

    def capabilities(self) -> dict:
        """Boolean masks and results whose shape depends on values are there; how many dimensions a tensor can have."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self):
        """The device of new tensors."""
        return CPU

    def devices(self) -> tuple:
        """The devices that tensors with values can be on."""
        return (CPU,)

    def default_dtypes(self, *, device=None) -> dict:
        """The dtypes that new tensors have unless asked otherwise."""
        check(device)
        real = dt.get_default_dtype()
        return {"real floating": real, "complex floating": real.to_complex(), "integral": dt.int64, "indexing": dt.int64}

    def dtypes(self, *, device=None, kind=None) -> dict:
        """{name: dtype} of the standard's dtypes, or of those of a kind (or of a tuple of kinds)."""
        check(device)
        return {n: dt.ALIASES[n] for n in DTYPES if kind is None or is_of_kind(dt.ALIASES[n], kind)}


def __array_namespace_info__() -> Info:
    """What this namespace can do, its dtypes and devices."""
    return Info()
