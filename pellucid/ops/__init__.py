"""Layer 1: every operator, each defined once. `F` holds their entry points, `REGISTRY` their definitions."""
from __future__ import annotations

import importlib
import pkgutil

from .op import REGISTRY, F, Kind, Op, composite, point, primitive, register, unregister

__all__ = ["REGISTRY", "F", "Kind", "Op", "composite", "point", "primitive", "register", "unregister"]

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):      # each family registers itself
    importlib.import_module("." + _module, __name__)
