"""Tracing: run a function once on fake tensors and write down what it does.

In: a Python function and its arguments, or the Specs of its tensors. Out: a Graph, and what the caller must know to run it
in the function's place: which tensors its inputs are, which of its results go where, which gradients and which memories
change, and what was relied on. Python's control flow is followed once.

True always: after a trace, also a failed one, every tensor is as it was before.
"""
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.collecting import uncollected
from ..core.errors import describe, message
from ..core.late import late
from ..core.spec import Spec
from ..core.storage import root
from ..graph.ir import Graph, Value
from ..ops.dispatch import interpreting, local
from ..ops.op import RANDOM
from .core import Slots
from .fake import Cell, Fake, TraceError
from .symbolic import Guard, SymNumber
from .tracer import Tracer

__all__ = ["Guard", "Input", "Leaf", "Result", "SymNumber", "TraceError", "Traced", "Tracer", "flatten", "rebuild", "trace", "trace_specs"]


# ---------------------------------------------------------------------------------------------------- structures
class Leaf:
    """A place in a structure: item `index` of its flat list."""

    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index

    def __repr__(self) -> str:
        return f"*{self.index}"


def flatten(x: Any, leaves: list) -> Any:
    """`x` with each tensor replaced by a Leaf, the tensors being appended to `leaves`. Looks into lists, tuples and dicts (and
    what derives from them)."""
    if isinstance(x, Slots):
        leaves.append(x)
        return Leaf(len(leaves) - 1)
    if isinstance(x, (list, tuple)):
        parts = [flatten(v, leaves) for v in x]
        return x if all(a is b for a, b in zip(parts, x)) else _make(x, parts)
    if isinstance(x, dict):
        parts = {k: flatten(v, leaves) for k, v in x.items()}
        return x if all(parts[k] is v for k, v in x.items()) else _make(x, parts)
    return x


def rebuild(template: Any, values: Sequence) -> Any:
    """The structure with its Leaves replaced by `values`."""
    if type(template) is Leaf:
        return values[template.index]
    if isinstance(template, (list, tuple)):
        parts = [rebuild(v, values) for v in template]
        return template if all(a is b for a, b in zip(parts, template)) else _make(template, parts)
    if isinstance(template, dict):
        parts = {k: rebuild(v, values) for k, v in template.items()}
        return template if all(parts[k] is v for k, v in template.items()) else _make(template, parts)
    return template


def _make(like: Any, parts: Any) -> Any:
    """A container of the kind of `like`."""
    kind = type(like)
    if kind in (list, tuple, dict):
        return kind(parts)
    if hasattr(kind, "_fields"):
        return kind(*parts)
    if isinstance(like, (list, tuple)) and type(kind.__new__) is type(list.__new__):     # past an __init__ of its own
        new = tuple.__new__(kind, parts) if isinstance(like, tuple) else list.__new__(kind)
        if isinstance(like, list):
            list.extend(new, parts)
        vars(new).update(vars(like)) if hasattr(like, "__dict__") else None
        return new
    if isinstance(like, dict):
        new = kind.__new__(kind)
        new.__dict__.update(getattr(like, "__dict__", {}))
        for k, v in parts.items():
            dict.__setitem__(new, k, v) if kind.__setitem__ is dict.__setitem__ else new.__setitem__(k, v)
        return new
    return kind(parts)


# ---------------------------------------------------------------------------------------------------- what a trace gives
@dataclass(eq=False)
class Input:
    """One input of the graph. `tensor`: the real tensor whose memory it is (None for a scalar). `place`: for an argument, its
    number among the tensors of (args, kwargs). `source`: for a scalar, (container, path) it is read from, or None. `writes`: how often
    the program wrote to the memory."""

    value: Value
    role: str
    tensor: Any = None
    place: int | None = None
    source: tuple | None = None
    writes: int = 0


@dataclass(eq=False)
class Result:
    """One tensor that the function returned. `index`: its memory is output number `index` of the graph; or, if None, that of
    `input` number `input`. `chain`: the views that lead from that memory to the tensor. `same`: it is this very tensor object, which
    was there before. `spec` has its strides if they are not row-major."""

    spec: Spec
    requires_grad: bool
    index: int | None
    input: int | None = None
    chain: tuple = ()
    same: Any = None


@dataclass(eq=False)
class Traced:
    """A traced function. `graph.outputs` are the results' memories, then the new gradients in the order of `grads`."""

    graph: Graph
    inputs: list[Input]
    arguments: tuple[Any, int]                 # the structure of (args, kwargs), and how many tensors are in it
    outputs: Any                               # what the function returned, a Leaf for each tensor
    results: list[Result]                      # one for each Leaf
    grads: dict[Any, Value | None]             # tensors that got another `.grad`: its value, None if it was removed
    grad_at: dict[Any, int | None]             # the same as places in graph.outputs
    flags: dict[Any, bool] = field(default_factory=dict)            # tensors whose requires_grad changed
    guards: list[Guard] = field(default_factory=list)               # relations of run-time numbers
    items: list[tuple] = field(default_factory=list)                # (container, path, value) that were relied on

    def tensors(self) -> list:
        """The real tensor of each input; None for scalars."""
        return [i.tensor for i in self.inputs]

    def rebuild(self, values: Sequence) -> Any:
        """What the function returned, with these tensors in it."""
        return rebuild(self.outputs, values)


# ---------------------------------------------------------------------------------------------------- tracing
def trace(fn: Callable, args: tuple = (), kwargs: dict | None = None, *, name: str | None = None, watch: Iterable = (),
          tracer: Tracer | None = None) -> Traced:
    """Run `fn(*args, **kwargs)` once on fakes and record it.

    args, kwargs: real tensors in any structure of lists, tuples and dicts; other values are constants of the trace (a
    SymNumber of `tracer` stays a run-time number). `watch`: tensors whose `.grad` must be reported if it changes, though no
    operator sees them. Modes (grad, inference, autocast) are those of the caller.
    Raises TraceError where the function needs a value, and whatever the function raises.
    """
    with turn():
        return _trace(fn, args, kwargs or {}, tracer or Tracer(name or getattr(fn, "__name__", "graph")), watch)


@uncollected
def _trace(fn: Callable, args: tuple, kwargs: dict, tracer: Tracer, watch: Iterable) -> Traced:
    leaves: list = []
    structure = flatten((args, kwargs), leaves)
    try:
        for t in watch:
            tracer.touch(t)
        for t in widest_first(leaves):
            tracer.lift(t, "argument")
        with interpreting(tracer):
            out = fn(*args, **kwargs)
            traced = finish(tracer, out)
    finally:
        tracer.restore()
    traced.arguments = structure, len(leaves)
    places = {id(t): i for i, t in reversed(list(enumerate(leaves)))}
    for i in traced.inputs:
        if i.role == "argument":
            i.place = places.get(id(i.tensor))
    return traced


class _Turn:
    """The lock of whoever traces: meanwhile real tensors look as if they had no values."""

    lock = threading.Condition(threading.RLock())
    running: dict[int, int] = {}                    # threads that run a function as plain Python, and how deep


def turn() -> threading.Condition:
    """The lock held while a function is traced, one thread at a time."""
    return _Turn.lock


def undisturbed(fn: Callable, *args: Any) -> Any:
    """`fn(*args)`, while no other thread begins to trace (see `quiet`)."""
    if threading.active_count() == 1:
        return fn(*args)
    lock, running, me = _Turn.lock, _Turn.running, threading.get_ident()
    with lock:
        running[me] = running.get(me, 0) + 1
    try:
        return fn(*args)
    finally:
        with lock:
            running[me] -= 1
            if not running[me]:
                del running[me]
                lock.notify_all()


def quiet(seconds: float) -> bool:
    """For the holder of `turn()`: wait until no other thread is in `undisturbed`; False if that takes longer."""
    running, me = _Turn.running, threading.get_ident()
    return not running or _Turn.lock.wait_for(lambda: not running.keys() - {me}, seconds)


def _after_fork() -> None:
    _Turn.lock, _Turn.running = threading.Condition(threading.RLock()), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def widest_first(leaves: list) -> list:
    """Tensors in an order in which those that look at part of another's memory come after it."""
    owners = {id(root(t._a)) for t in leaves}
    if len(owners) == len(leaves):
        return leaves
    return sorted(leaves, key=lambda t: -np.subtract(*np.lib.array_utils.byte_bounds(t._a)[::-1]))


def finish(tracer: Tracer, out: Any) -> Traced:
    """What has become of everything, as outputs and write-backs of the graph."""
    g = tracer.graph
    leaves: list = []
    template = flatten(out, leaves)
    template = _numbers(template, leaves)
    grads, flags = changed(tracer)
    arrays = [_array(tracer, t) for t in leaves]
    values = {t: None if a is None else a.read() for t, a in grads.items()}
    results = place_results(tracer, leaves, arrays)
    grad_at: dict = {}
    for t, v in values.items():
        grad_at[t] = None if v is None else len(g.outputs)
        if v is not None:
            g.outputs.append(v)
    for cells in tracer.cells.values():
        for cell in cells:
            if cell.input is not None and cell.value is not cell.input:
                g.writebacks.append((cell.input, cell.value))
    name_gradients(tracer)
    prune(g)
    targets = {id(v) for v, _ in g.writebacks}
    inputs = []
    for v in g.inputs:
        t = tracer.lifted.get(v)
        writes = 0 if t is None else max(tracer.writes(t), id(v) in targets)        # `.data` counts its writes apart: one at least
        inputs.append(Input(v, g.roles[v], t, None, tracer.sources.get(v), int(writes)))
    return Traced(g, inputs, (None, 0), template, results, values, grad_at, flags, tracer.guards, list(tracer.items.values()))


def _numbers(x: Any, leaves: list) -> Any:
    """Run-time numbers among the results, as 0-d tensors."""
    if type(x) is SymNumber:
        leaves.append(x.tensor)
        return Leaf(len(leaves) - 1)
    if type(x) in (list, tuple):
        return type(x)([_numbers(v, leaves) for v in x])
    return {k: _numbers(v, leaves) for k, v in x.items()} if type(x) is dict else x


def _array(tracer: Tracer, t) -> Fake:
    a = t._a
    return a if type(a) is Fake and a.cell.tracer is tracer else tracer.lift(t)


def changed(tracer: Tracer) -> tuple[dict, dict]:
    """({tensor: array of its new gradient, or None}, {tensor: requires_grad now}) of the real tensors; `.data` that was
    set becomes a write."""
    grads: dict = {}
    flags: dict = {}
    for saved in list(tracer.saved.values()):
        t = saved.tensor
        if t._grad is not saved.grad:
            grads[t] = None if t._grad is None else _array(tracer, t._grad)
        if t._rg != saved.rg and t._fn is None and type(saved.array) is not Fake:
            flags[t] = t._rg
        now, fake = t._a, saved.fake
        before = saved.array if fake is None else fake
        if now is before or type(now) is Fake and type(before) is Fake and now.cell is before.cell and now.chain == before.chain and now.shape == before.shape:
            continue
        if now.shape != before.shape or now.dtype != before.dtype:
            raise TraceError(message("P3006", "a tensor that was there before the traced function got another shape or dtype",
                                     got=f"{describe(saved.array)}, now {describe(now)}",
                                     fix="return a new tensor instead of changing this one's geometry"))
        source = _array(tracer, t)
        t._a = saved.array
        saved.fake = None
        tracer.lift(t).write(source)
    for t, read, _ in tracer.grad_uses.values():            # set to None where it was None: at another call it may not be
        if not read and t._grad is None:
            grads.setdefault(t, None)
    return grads, flags


def place_results(tracer: Tracer, leaves: list, arrays: list[Fake]) -> list[Result]:
    """Where each result comes from; results that share memory share an output."""
    g = tracer.graph
    inputs = {v: i for i, v in enumerate(g.inputs)}
    uses: dict[Cell, int] = {}
    for t in {id(a): a for a in arrays}.values():
        uses[t.cell] = uses.get(t.cell, 0) + 1
    places: dict = {}
    results = []
    for t, a in zip(leaves, arrays):
        cell = a.cell
        same = t if id(t) in tracer.saved and tracer.saved[id(t)].fake is not None else None
        spec = Spec(a.shape, dt.of(a.dtype), None if a.flags.c_contiguous else tuple([s // a.itemsize for s in a.strides]))
        if cell.input is not None:
            results.append(Result(spec, t._rg, None, inputs[cell.input], a.chain, same))
            continue
        alone = uses[cell] == 1
        key = id(a) if alone else cell
        if key not in places:
            places[key] = len(g.outputs)
            value = a.read() if alone else cell.value
            if a.chain and spec.strides is not None and alone:
                value = _strided(value, spec)
            g.outputs.append(value)
        results.append(Result(spec, t._rg, places[key], None, () if alone else a.chain, same))
    return results


def _strided(value: Value, spec: Spec) -> Value:
    if value.spec.strides is None and value.node is not None:
        value.spec = spec
    return value


def name_gradients(tracer: Tracer) -> None:
    """Inputs that are the gradients of tensors have the role "grad"."""
    gradients = {id(s.grad) for s in tracer.saved.values() if s.grad is not None}
    for v, t in tracer.lifted.items():
        if id(t) in gradients and tracer.graph.roles[v] == "state":
            tracer.graph.roles[v] = "grad"


def prune(g: Graph) -> None:
    """Drop nodes that nothing needs. Draws of random numbers stay: they move the generator."""
    needed = set(g.results())
    nodes = []
    for node in reversed(g.nodes):
        if node.op.kind is RANDOM or not needed.isdisjoint(node.outs):
            needed.update(node.operands())
            nodes.append(node)
    g.nodes = nodes[::-1]
    g.consts = {v: a for v, a in g.consts.items() if v in needed}


def trace_specs(fn: Callable, specs: Sequence, *, name: str = "graph", requires_grad: Sequence[bool] | None = None) -> Graph:
    """The graph of `fn` on tensors of the given Specs (numbers and None are passed on as they are). Its outputs are the tensors
    of the result, in order; real tensors it meets are constants. Nothing is recorded for backward unless `requires_grad`
    says for which inputs.
    """
    tracer = Tracer(name, constants=True)
    args = []
    for i, s in enumerate(specs):
        if isinstance(s, Spec):
            t = tracer.tensor(tracer.graph.input(s, "x"))
            t._rg = bool(requires_grad and requires_grad[i])
            s = t
        args.append(s)
    before, local.grad = local.grad, bool(requires_grad)
    inference, local.inference = local.inference, False
    autocast, local.autocast = local.autocast, None
    try:
        with interpreting(tracer):
            leaves: list = []
            flatten(fn(*args), leaves)
            tracer.graph.outputs = [_array(tracer, t).read() for t in leaves]
    finally:
        tracer.restore()
        local.grad, local.inference, local.autocast = before, inference, autocast
    prune(tracer.graph)
    return tracer.graph


late.trace = trace_specs
