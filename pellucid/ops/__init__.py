"""Layer 1: every operator, each defined once. `F` holds their entry points, `REGISTRY` their definitions."""
from __future__ import annotations

import importlib
import os

from .op import REGISTRY, F, Kind, Op, composite, point, primitive, register, unregister

__all__ = ["REGISTRY", "F", "Kind", "Op", "composite", "point", "primitive", "register", "unregister"]

for _file in sorted(os.listdir(__path__[0])):            # each family registers itself
    if _file.endswith((".py", ".pyc")) and not _file.startswith("__init__."):
        importlib.import_module("." + _file.partition(".")[0], __name__)
