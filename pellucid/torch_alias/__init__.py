"""`import torch`, and everything below it, means pellucid from here on, in this process and in those it starts with multiprocessing.

In: `import pellucid.torch_alias` (in a notebook, a `conftest.py`), or `python -m pellucid.torch_alias train.py` and `pellucid run
train.py`, which run a script unmodified. Out: `torch` is a thin module (`torch_alias.torch`) with pellucid's names and a version that
scripts can compare; `torch.nn`, `torch.utils.data`, … are pellucid's own modules; `torchvision` is `pellucid.vision`.
What stays true: each module and class is one object under both names; PyTorch, if it is installed, is not looked at; a name that is not
here is an error that says so and names the nearest one.
"""
from __future__ import annotations

import multiprocessing
import multiprocessing.spawn
import os
import sys
from types import ModuleType
from typing import Any

from ..core.alias import HEADS
from . import torch
from .absent import absent
from .float64 import float64

__all__ = ["absent", "float64", "install", "run"]


def install() -> None:
    """Make it so; importing this package has done it. RuntimeError if PyTorch itself was imported before."""
    for head in ("torch", "torchvision"):
        known = sys.modules.get(head)
        if known is not None and head not in HEADS:
            raise RuntimeError(f"pellucid.torch_alias: {head} has been imported already, from {getattr(known, '__file__', '?')}; "
                               "import pellucid.torch_alias before anything that imports it, or start with: pellucid run script.py")
    sys.modules["torch"] = torch
    HEADS.update(torch="pellucid", torchvision="pellucid.vision")
    if multiprocessing.spawn.get_preparation_data is not _preparation_data:
        multiprocessing.spawn.get_preparation_data = _preparation_data
        multiprocessing.set_forkserver_preload([__name__])      # and not the script, which needs this first


def run(script: str | os.PathLike[str], arguments: list[str] | tuple[str, ...] = ()) -> None:
    """Run `script` as `python script *arguments` does: it is `__main__`, its folder comes first in `sys.path`."""
    path = os.path.abspath(script)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    main = ModuleType("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sys.argv[:] = [str(script), *arguments]
    sys.path[:0 if sys.flags.safe_path else 1] = [os.path.dirname(path)]
    exec(code, vars(main))


_prepare = multiprocessing.spawn.get_preparation_data


def _preparation_data(name: str) -> dict[str, Any]:
    """What a process started anew is told before it imports the script: that, besides, torch is pellucid there too."""
    return _prepare(name) | {__name__: _Here(torch.float32 is torch.float64)}


class _Here:
    """Reading its pickle does in the new process what was done in this one: the package is imported for it."""

    def __init__(self, wide: bool):
        self.wide = wide

    def __reduce__(self) -> tuple:
        return (_here, (self.wide,))


def _here(wide: bool) -> None:
    if wide:
        float64(torch)


install()
