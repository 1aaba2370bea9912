"""Whole functions and training steps as one native function: `pellucid.compile`, `pellucid.trace`.

    driver.py     compile, trace; a compiled function and its versions
    guards.py     what a version relies on, as generated Python
    entry.py      one version: guard, run, hand out results, gradients and writes
    history.py    compiled forwards in autograd
    modules.py    the modules that a function calls; a module that is compiled when called
    backends.py   what runs a graph
    report.py     what came out
"""
from __future__ import annotations

from .driver import Compiled, compile, trace

__all__ = ["Compiled", "compile", "trace"]
