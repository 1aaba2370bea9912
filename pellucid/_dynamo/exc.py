"""`torch._dynamo.exc`: what compiling raises. With `fullgraph=True`, what cannot be captured is `Unsupported`."""
from __future__ import annotations

from ..tensor.tracing import TraceError as Unsupported

__all__ = ["Unsupported"]
