"""A failing program made smaller, as long as it still fails in the same way.

In: a program and the failure it has. Out: a smaller program with a failure at the same stage. What stays true: every candidate
runs eagerly; steps are dropped (their uses take an earlier value or a fresh input of the same kind), then outputs, gradients, then sizes.
"""
from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pellucid.tensor import Tensor

from .programs import Input, Program
from .stages import Failure, check


def minimise(program: Program, failure: Failure, seconds: float = 60.0) -> tuple[Program, Failure]:
    """The smallest program found in the given time."""
    stages, end = (failure.stage,), time.monotonic() + seconds
    kind = failure.what.partition(":")[0] if "Error" in failure.what.partition(" ")[0] else ""
    again = True
    while again and time.monotonic() < end:
        again = False
        for candidate in smaller(program):
            if time.monotonic() > end:
                break
            found = attempt(candidate, stages)
            if found is not None and found.what.startswith(kind.partition(" ")[0]):
                program, failure, again = candidate, found, True
                break
    return program, failure


def attempt(program: Program, stages: tuple[str, ...]) -> Failure | None:
    """The failure of a candidate; None if it does not even run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check(program, stages)
    except Exception:                      # not a program any more
        return None


def smaller(program: Program) -> Iterator[Program]:
    """Candidates, the most promising first."""
    if program.wrt:
        yield replace(program, wrt=()).pruned()
    if len(program.outputs) > 1:
        for o in program.outputs:
            yield replace(program, outputs=(o,)).pruned()
    values = evaluated(program)
    n = len(program.inputs)
    for k in range(len(program.steps)):
        yield from without(program, k, values)
    for k in reversed(range(len(program.steps) - 1)):          # an earlier value as the result
        if isinstance(values[n + k], Tensor) and program.outputs != (n + k,) and values[n + k].is_floating_point():
            yield replace(program, outputs=(n + k,)).pruned()
    for w in program.wrt:
        if len(program.wrt) > 1:
            yield replace(program, wrt=(w,))
    for i, x in enumerate(program.inputs):
        if x.order != "C":
            yield replace(program, inputs=changed(program.inputs, i, replace(x, order="C")))
    sizes = sorted({s for x in program.inputs for s in x.shape if s > 2}, reverse=True)
    for size in sizes:
        for new in (2, size // 2):
            yield replace(program, inputs=tuple(replace(x, shape=tuple(new if s == size else s for s in x.shape)) for x in program.inputs))


def changed(items: tuple, i: int, value) -> tuple:
    return (*items[:i], value, *items[i + 1:])


def evaluated(program: Program) -> list:
    """Every value of the program, eagerly; None where it has none."""
    space = {"torch": __import__("pellucid")}
    values: list = []
    for i, t in enumerate(program.tensors()):
        space[program.name(i)] = t
        values.append(t)
    n = len(program.inputs)
    for k, step in enumerate(program.steps):
        try:
            v = eval(step.line(program.name), space)
        except Exception:
            v = None
        space[program.name(n + k)] = v
        values.append(v)
    return values


def without(program: Program, k: int, values: list) -> Iterator[Program]:
    """The program without step k, whose value is replaced by an operand of the same shape, or by a fresh input."""
    n = len(program.inputs)
    at, v = n + k, values[n + k]
    if not isinstance(v, Tensor):
        return
    step = program.steps[k]
    for u in step.uses:
        if isinstance(values[u], Tensor) and values[u].shape == v.shape and values[u].dtype is v.dtype:
            yield renumbered(program, k, u, None)
            break
    if step.uses:
        a = v.detach().numpy()
        low, high = (float(np.nanmin(a)), float(np.nanmax(a))) if a.size else (0.0, 1.0)
        fresh = Input(tuple(v.shape), str(v.dtype).rpartition(".")[2], 1000 + k, low, high if high > low else low + 1)
        if fresh.dtype in ("float32", "float64", "int64", "bool", "int32"):
            yield renumbered(program, k, at, fresh)


def renumbered(program: Program, k: int, u: int, fresh: Input | None) -> Program:
    """Step k removed; its uses become value `u`, or the fresh input (which comes after the others)."""
    n = len(program.inputs)
    shift = 1 if fresh is not None else 0

    def new(i: int) -> int:
        if i == n + k:
            return n if fresh is not None else new(u)
        if i < n:
            return i
        return i + shift - (1 if i > n + k else 0)
    steps = tuple(replace(s, uses=tuple(map(new, s.uses))) for j, s in enumerate(program.steps) if j != k)
    inputs = program.inputs + ((fresh,) if fresh is not None else ())
    return replace(program, inputs=inputs, steps=steps, outputs=tuple(dict.fromkeys(map(new, program.outputs))),
                   wrt=tuple(map(new, program.wrt))).pruned()
