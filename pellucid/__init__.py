"""pellucid: a deep-learning framework you can see through.

`import pellucid as torch` gives PyTorch's programming model in readable Python over NumPy: tensors, autograd, `nn`,
`optim`, data loading. Functions come from the operator registry (`pellucid.ops`); nothing here is listed twice.
"""
from __future__ import annotations

import gc as _gc
import warnings as _warnings
from functools import wraps as _wraps
from math import e, inf, nan, pi  # noqa: F401

# NumPy's floating-point notices (division by zero, overflow) are silent in PyTorch; ours are, the user's are not.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"pellucid(\.|$)")

_collecting = _gc.isenabled()
_gc.disable()                # importing makes many objects that all stay: collecting in between is wasted time

from . import core, ops  # noqa: E402
from .core import layout as _layout  # noqa: E402
from .core.device import device  # noqa: E402
from .core.dtype import (ALIASES as _DTYPES, dtype, finfo, get_default_dtype, iinfo, promote_types,  # noqa: E402
                         set_default_dtype)
from .core import return_types  # noqa: E402
from .core.layout import layout, memory_format  # noqa: E402
from .tensor import (Size, Tensor, enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled,  # noqa: E402
                     no_grad, set_grad_enabled)
from .tensor import functions as _functions  # noqa: E402
from .tensor.autocast import (autocast, clear_autocast_cache, get_autocast_cpu_dtype, get_autocast_dtype,  # noqa: E402
                              get_autocast_gpu_dtype, is_autocast_available, is_autocast_cache_enabled, is_autocast_cpu_enabled,
                              is_autocast_enabled, set_autocast_cache_enabled, set_autocast_dtype)

from .version import __version__  # noqa: E402

globals().update(_functions.PUBLIC)
globals().update(_DTYPES)
newaxis = None
globals().update({n: v for n, v in vars(_layout).items() if isinstance(v, (layout, memory_format))})

from . import version  # noqa: E402
from .core.alias import install as _known_by_other_names  # noqa: E402
from .core.late import late as _late  # noqa: E402
from .core.lazy import lazily as _lazily  # noqa: E402

_known_by_other_names()

_LATER = ("__config__", "__future__", "_dynamo", "_foreach", "accelerator", "amp", "array_api", "autograd", "backends", "compiler", "cpu", "cuda",
          "distributed", "distributions",
          "fft", "func", "futures", "fx", "hub", "jit", "linalg", "masked", "mps", "mtia", "multiprocessing",
          "nn", "onnx", "optim", "overrides", "profiler",
          "random", "serialization", "signal", "sparse", "special", "testing", "types", "utils",
          "vision", "xpu")
_FROM = {"load": "serialization", "save": "serialization", "compile": "compiler", "explain": "compiler", "vmap": "func", "GradScaler": "amp",
         **dict.fromkeys(("hspmm", "smm", "sparse_coo_tensor", "spmm", "sspaddmm"), "sparse")}
_stored = _lazily(__name__, _LATER, _FROM)


def __getattr__(name: str):
    return getattr(_stored("_foreach"), name) if name.startswith("_foreach_") else _stored(name)


_late.compile = lambda *args, **kwargs: _stored("compile")(*args, **kwargs)
_late.array_namespace = lambda: __getattr__("array_api")


def __dir__():
    return sorted({*globals(), *_LATER, *_FROM})


_matrix_trace = globals()["trace"]


@_wraps(_matrix_trace)
def trace(input, *args, **kwargs):
    """`trace(matrix)`: the sum of the diagonal. `trace(function, *args, **kwargs)`: the graph of what the function does with these
    arguments (`compiler.trace`)."""
    return (__getattr__("compiler").trace if callable(input) else _matrix_trace)(input, *args, **kwargs)


if not _gc.get_freeze_count():
    # all that is there now counts as old: the collector need not look through it as soon as it runs again (10 ms)
    _gc.freeze()
    _gc.unfreeze()
if _collecting:
    _gc.enable()
