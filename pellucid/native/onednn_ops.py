"""Operators as oneDNN primitives: which there are, and whether a call can be one.

In: a plan's LibCall. Out: an `onednn.Primitive`, or None where oneDNN has nothing good for these operands (another dtype, an
empty array, strides its fast code does not read): the portable path takes the call then.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache


from ..core import dtype as dt
from ..kernel.plan import LibCall, View
from . import onednn as dnn
from .binding import llvm
from .isa import host_isa
from .onednn import Primitive, Unavailable
from .onednn_conv import (make_avg_pool, make_avg_pool_grad, make_convolution, make_convolution_input, make_convolution_weight,
                          make_max_pool)
from .onednn_matmul import make_added, make_linear, make_mv, make_product
from .onednn_views import Call

FLOATS = (dt.float32, dt.bfloat16)
TABLE: dict[str, Callable[[Call], Primitive]] = {
    "mm": make_product, "bmm": make_product, "gemm": make_product, "bgemm": make_product, "addmm": make_added,
    "baddbmm": make_added, "linear": make_linear, "mv": make_mv, "convolution": make_convolution,
    "convolution_input": make_convolution_input, "convolution_weight": make_convolution_weight,
    "conv_nhwc": make_convolution, "conv_nhwc_input": make_convolution_input, "conv_nhwc_weight": make_convolution_weight,
    "max_pool": make_max_pool, "avg_pool": make_avg_pool, "avg_pool_grad": make_avg_pool_grad,
}


def primitive(call: LibCall, constant: frozenset[int] = frozenset(), later: bool = False) -> Primitive | None:
    """The primitive for a library call, or None. `constant` numbers the views whose contents never change; `later`: it waits for
    `onednn.Making`."""
    make = TABLE.get(call.name)
    if make is None or dnn.library() is None:
        return None
    views = [v for v in (*call.operands, *call.outs) if isinstance(v, View)]
    if any(v.dtype not in FLOATS or 0 in v.shape or len(v.shape) > 6 for v in views):
        return None
    try:
        made = make(Call(call, constant, widen=not native_bfloat16()))
        if not later:
            dnn.Making([made]).finish()
        return made
    except Unavailable:
        return None


@cache
def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 faster than float32: in tiles (AMX). Where it does not, products are computed in float32.
    The library would imitate bfloat16 without AVX512-BF16, five times slower; with it, bfloat16 is multiplied no faster than float32, and
    packing it costs more than widening: steps of GPT and ResNet-18 took 1.3 times as long (Sapphire Rapids)."""
    return host_isa().name == "avx512" and bool(llvm.get_host_cpu_features().get("amx-bf16"))


def serves(name: str, dtypes) -> bool:
    """Whether calls of this operator with operands of these dtypes can be primitives."""
    return name in TABLE and dnn.library() is not None and all(d in FLOATS for d in dtypes)
