"""The module that `import torch` gives: pellucid's names, and PyTorch's version instead of pellucid's.

In: the attributes that a script asks for. Out: pellucid's own objects. `__version__` is the version of PyTorch whose interface and
numbers pellucid follows, with the local part `+pellucid`, as PyTorch's own says `+cpu` or `+cu128`.
What stays true: a name set here (`torch.float32` by `--float64`, or by a script) is set in this module only.
"""
from __future__ import annotations

import pellucid as _pellucid

from ..core.alias import missing as _missing
from .version import TorchVersion as _TorchVersion

__path__ = []                       # a package, whose parts pellucid.core.alias finds
__version__ = _TorchVersion("2.13.0+pellucid")
# All that is there at once: a name found in the module is quicker than one that __getattr__ gives.
globals().update({name: value for name, value in vars(_pellucid).items() if not name.startswith("__")})


def __getattr__(name):
    try:
        value = globals()[name] = getattr(_pellucid, name)
    except AttributeError:
        raise AttributeError(f"module 'torch' has no attribute {name!r}" if name.startswith("_") else _missing(f"torch.{name}", _pellucid)) from None
    return value


def __dir__():
    return sorted({*globals(), *dir(_pellucid)})
