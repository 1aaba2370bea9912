"""`pellucid.fx`: the one question that models ask about PyTorch's symbolic tracer, which is not part of this build.

`pellucid.trace(function, *arguments)` gives a function's graph.
"""
from __future__ import annotations

from ..core.errors import unknown as _unknown
from . import _symbolic_trace  # noqa: F401

__all__: list[str] = []

__getattr__ = _unknown(globals())
