"""Layer 2: programs as data. A traced function is a Graph of operators; passes rewrite it; it prints as Python that runs."""
from __future__ import annotations

from .ir import Graph, Loc, Node, Value
from .printer import text

__all__ = ["Graph", "Loc", "Node", "Value", "text"]
