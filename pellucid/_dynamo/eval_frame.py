"""`torch._dynamo.eval_frame`: what `compile` gives for a module, and whether this Python's bytecode is captured."""
from __future__ import annotations

from ..capture.decode import SUPPORTED
from ..compiler.modules import OptimizedModule

__all__ = ["OptimizedModule", "is_dynamo_supported"]


def is_dynamo_supported() -> bool:
    """Whether compiled functions are compiled by this Python; if not, they run as they are."""
    return SUPPORTED
