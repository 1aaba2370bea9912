"""Automatic mixed precision: inside `autocast("cpu")`, matrix products and convolutions run in bfloat16, losses in float32.

In: an operator about to run, with the user's arguments. Out: the same call with its float32 (or low-precision) operands
converted to what the operator's class asks for (`Op.cast`). The conversions are recorded, so gradients come back in each
tensor's own dtype. True always: inside an operator that was cast, autocast is off; a parameter is converted once per block.

Which operator is in which class follows PyTorch's CPU lists
(https://pytorch.org/docs/stable/amp.html#cpu-op-specific-behavior).
"""
from __future__ import annotations

import warnings
from typing import Any

from ..core import dtype as dt
from ..core.errors import fail
from ..ops.dispatch import add_slow, local
from ..ops.op import F, Op
from .core import Slots
from .modes import _Context

_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "xla")
_CPU_DTYPES = (dt.bfloat16, dt.float16)
_NARROWER = frozenset((dt.float32, dt.bfloat16, dt.float16))


class _Settings:
    """What `set_autocast_dtype` and `set_autocast_cache_enabled` say."""

    dtype = dt.bfloat16
    cache = True


class Autocast:
    """One thread's active autocast: the low precision, and the parameters already converted (None: no cache)."""

    __slots__ = ("dtype", "cache")

    def __init__(self, dtype: dt.dtype, cache: bool):
        self.dtype = dtype
        self.cache: dict[int, tuple] | None = {} if cache else None

    def convert(self, x, target: dt.dtype):
        """`x` in `target`, if it is a tensor of another precision of float32's family."""
        if type(x) in (list, tuple):
            return type(x)([self.convert(v, target) for v in x])
        if not isinstance(x, Slots) or x.dtype is target or x.dtype not in _NARROWER:
            return x
        leaf = self.cache is not None and target is self.dtype and x._rg and x._fn is None and local.grad and not local.stack
        if not leaf:
            return F.convert(x, target)
        kept = self.cache.get(id(x))
        if kept is None or kept[0] is not x or kept[1] != version(x):
            kept = self.cache[id(x)] = (x, version(x), F.convert(x, target))
        return kept[2]


def version(x) -> int:
    return 0 if x._st is None else x._st.version


def call(active: Autocast, op: Op, args: tuple, kwargs: dict) -> Any:
    """Run `op` with its operands cast, and autocast off inside."""
    target = active.dtype if op.cast == "low" else dt.float32
    args = tuple([active.convert(a, target) for a in args])
    kwargs = {k: v if k == "out" else active.convert(v, target) for k, v in kwargs.items()}
    local.autocast = None
    try:
        return getattr(F, op.name)(*args, **kwargs)
    finally:
        local.autocast = active


class autocast(_Context):
    """`with autocast("cpu"):` or `@autocast("cpu")`: matrix products, convolutions and attention take their operands in
    `dtype` (bfloat16 unless said otherwise), losses in float32, everything else what it is given.

    Args:
        device_type: "cpu"; another device's name warns and changes nothing, since only CPUs are there.
        dtype: bfloat16 or float16.
        enabled: False switches an outer autocast off.
        cache_enabled: convert each parameter once per outermost block.
    """

    def __init__(self, device_type: str, dtype: dt.dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            fail(ValueError, "P790", f"Expected `device_type` of type `str`, got: `{type(device_type)}`", fix='write autocast("cpu")')
        if device_type.split(":")[0] not in _DEVICES:
            fail(RuntimeError, "P791", f"User specified an unsupported autocast device_type '{device_type}'", fix='write autocast("cpu")')
        self.device, self.fast_dtype = device_type, _Settings.dtype if dtype is None else dtype
        self._cache_enabled = _Settings.cache if cache_enabled is None else cache_enabled
        if enabled and device_type != "cpu":
            warnings.warn(f"{device_type} is not available. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype not in _CPU_DTYPES:
            warnings.warn("In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU Autocast only supports "
                          f"dtypes of {', '.join(map(str, _CPU_DTYPES))} currently.", stacklevel=2)
            enabled = False
        self._enabled = enabled
        self._before: list[Autocast | None] = []

    def clone(self):
        return autocast(self.device, self.fast_dtype, self._enabled, self._cache_enabled)

    def __enter__(self):
        before = local.autocast
        self._before.append(before)
        if self.device == "cpu":
            local.autocast = _entered(before, self.fast_dtype, self._cache_enabled) if self._enabled else None
        add_slow(1)
        return self

    def __exit__(self, *exc):
        add_slow(-1)
        local.autocast = self._before.pop()
        return False


def _entered(before: Autocast | None, dtype: dt.dtype, cache: bool) -> Autocast:
    """A block inside another of the same dtype shares its cache."""
    if before is not None and before.dtype is dtype and (before.cache is not None) == cache:
        return before
    return Autocast(dtype, cache)


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for `device_type` ("cuda" unless named, as in PyTorch)."""
    return device_type == "cpu" and local.autocast is not None


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU."""
    return local.autocast is not None


def get_autocast_dtype(device_type: str) -> dt.dtype:
    """The low precision that autocast uses on `device_type`."""
    if device_type == "cpu":
        return _Settings.dtype if local.autocast is None else local.autocast.dtype
    return dt.float16


def get_autocast_cpu_dtype() -> dt.dtype:
    """The low precision that autocast uses on the CPU."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> dt.dtype:
    """The low precision that autocast would use on a GPU."""
    return get_autocast_dtype("cuda")


def set_autocast_dtype(device_type: str, dtype: dt.dtype) -> None:
    """The low precision of autocast blocks that name none."""
    if device_type == "cpu":
        _Settings.dtype = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether autocast blocks keep converted parameters."""
    return _Settings.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether autocast blocks keep converted parameters."""
    _Settings.cache = bool(enabled)


def clear_autocast_cache() -> None:
    """Forget the converted parameters of the active block."""
    if local.autocast is not None and local.autocast.cache is not None:
        local.autocast.cache.clear()


def is_autocast_available(device_type: str) -> bool:
    """Whether `device_type` is one that autocast knows."""
    if device_type not in _DEVICES:
        fail(RuntimeError, "P791", f"User specified an unsupported autocast device_type '{device_type}'", fix='write "cpu"')
    return True
