"""Whole functions and training steps as one native function: `pellucid.compile`, `pellucid.trace`.

    driver.py     compile, trace; a compiled function and its versions
    guards.py     what a version relies on, as generated Python
    standing.py   which guards words of memory stand for
    entry.py      one version: guard, run, hand out results, gradients and writes
    held.py       what it holds meanwhile: gradients it lends, memories it writes, facts about tensors
    history.py    compiled forwards in autograd
    modules.py    the modules that a function calls; a module that is compiled when called
    backends.py   what runs a graph
    report.py     what came out
    making.py     from a captured function to a version of it
    why.py        why a version does not fit
    explain.py    all of it, for people and for programs
    control.py    disable, stances, reset
    logs.py       what is said on the way: set_logs, PELLUCID_LOG
    naming.py     what a compiled function is called, where it is written
    sizes.py      sizes that vary: which are compiled, which run as plain Python
    worth.py      which parts between breaks are worth compiling
    bytecode.py   what generated Python is compiled to, kept on disk
    cost.py       what compiling and guards take, for explain
"""
from __future__ import annotations

from .control import (allow_in_graph, assume_constant_result, cudagraph_mark_step_begin, disable, is_compiling, is_exporting, list_backends,
                      reset, set_stance, substitute_in_graph)
from .driver import Compiled, compile, trace
from .explain import Explanation, explain, explain_all
from .logs import set_logs
from .sizes import mark_dynamic, mark_static

is_dynamo_compiling = is_compiling              # PyTorch's name

__all__ = ["Compiled", "Explanation", "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "explain",
           "explain_all", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "mark_dynamic", "mark_static", "reset",
           "set_logs", "set_stance", "substitute_in_graph", "trace"]
