"""Layer 3: loops as data. Groups of a graph's operators become kernels: loop nests over memory, printable as Python."""
from __future__ import annotations

from .ir import Kernel
from .printer import run, text

__all__ = ["Kernel", "run", "text"]
