"""`pellucid.array_api`: the Python array API standard (data-apis.org/array-api, version 2025.12) over pellucid's tensors.

In and out: `pellucid.Tensor`s, by the standard's names and signatures. Code written for the standard gets this module from
`x.__array_namespace__()`.

True always: nothing is computed here. Functions are pellucid's operators, with the standard's argument names, and with its type
promotion, in which tensors without dimensions count like all others.
"""
from __future__ import annotations

import sys as _sys
from math import e, inf, nan, pi

from ..core.dtype import ALIASES as _DTYPES
from . import fft, linalg
from .creation import *  # noqa: F403
from .creation import __all__ as _creation
from .dtypes import *  # noqa: F403
from .dtypes import __all__ as _dtypes
from .elementwise import *  # noqa: F403
from .elementwise import __all__ as _elementwise
from .info import DTYPES as _NAMES
from .info import __array_namespace_info__
from .reductions import *  # noqa: F403
from .reductions import __all__ as _reductions
from .searching import *  # noqa: F403
from .searching import __all__ as _searching
from .shape import *  # noqa: F403
from .shape import __all__ as _shape

matmul, matrix_transpose, tensordot, vecdot = linalg.matmul, linalg.matrix_transpose, linalg.tensordot, linalg.vecdot
newaxis = None
globals().update({name: _DTYPES[name] for name in _NAMES})
__array_api_version__ = "2025.12"
_EARLIER = ("2022.12", "2023.12", "2024.12")        # what these ask for is here too


def of_version(api_version: str | None = None):
    """This module, where it serves the version; `x.__array_namespace__(api_version=...)`."""
    if api_version not in (None, __array_api_version__, *_EARLIER):
        raise ValueError(f"version {api_version!r} of the array API standard is not served; "
                         f"these are: {', '.join([*_EARLIER, __array_api_version__])}")
    return _sys.modules[__name__]


__all__ = ["__array_api_version__", "__array_namespace_info__", "e", "fft", "inf", "linalg", "matmul", "matrix_transpose", "nan", "newaxis",
           "pi", "tensordot", "vecdot", *_NAMES, *_creation, *_dtypes, *_elementwise, *_reductions, *_searching, *_shape]
