"""Layer 2: programs as data. A traced function is a Graph of operators; passes rewrite it; it prints as Python that runs."""
from __future__ import annotations

from ..core.lazy import lazily
from .ir import Graph, Loc, Node, Value

__all__ = ["Graph", "Loc", "Node", "Value", "text"]

__getattr__ = lazily(__name__, names={"text": "printer"})
