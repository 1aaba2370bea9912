"""Every function of the public top-level namespace: operators' entry points and what makes tensors from Python data.

`namespace(ns)` gives the public functions of one namespace; `pellucid`, `pellucid.nn.functional`, `pellucid.linalg`, ...
are filled from it. Nothing is listed by hand.
"""
from __future__ import annotations

from ..core import layout as _layout
from ..ops.op import REGISTRY, F
from . import checks as _checks
from . import convert as _convert
from . import devices as _devices
from . import misc as _misc
from . import random as _random
from .tensor import Tensor


def namespace(ns: str) -> dict:
    """{public name: function} of the operators in namespace `ns` ("" is pellucid itself)."""
    found = {}
    for op in REGISTRY.values():
        if ns in op.ns and "function" in op.forms:
            entry = getattr(F, op.name)
            for name in (op.public, *op.aliases):
                found[name] = entry
                if not op.forms.isdisjoint(("inplace", "relabel")) and len(op.args) <= 1:     # `relu_(x)`, but no `add_(x, y)`
                    found[name + "_"] = getattr(Tensor, name + "_")
    return found


def public() -> dict:
    """Everything pellucid's own namespace takes from this layer."""
    found = namespace("")
    for module in (_checks, _convert, _devices, _misc, _random):
        found.update((name, getattr(module, name)) for name in module.PUBLIC)
    return found


PUBLIC = public()
globals().update(PUBLIC)
globals().update({n: v for n, v in vars(_layout).items() if isinstance(v, (_layout.layout, _layout.memory_format))})
