"""`compile` and `trace`: from a Python function to what runs in its place.

In: a function, a module, or a training step. Out: `Compiled`, called like the function: it looks for a compiled version that
fits the arguments and the state of things, and traces and compiles one if there is none. What stays true: the results are those
of the function itself; a function that cannot be traced runs as it is, with one warning that names the line, unless
`fullgraph=True` asks for the error.
"""
from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import grad as gradients
from ..core import dtype as dt
from ..core.errors import fail
from ..core.spec import Spec
from ..graph.ir import Graph
from ..graph.partition import partition
from ..kernel.ir import Kernel
from ..nn import Module
from ..native.execute import BeingTraced
from ..ops.dispatch import local, state
from ..optim._traced import FirstStep
from ..tensor import Tensor
from ..tensor.core import PLAIN, Node, new
from ..tensor.tracing import TraceError, Traced, Tracer, flatten, rebuild, trace as trace_function, turn
from . import backends
from .entry import Constant, Entry, own_memory
from .guards import MISS
from .history import Joint
from .modules import Called, share
from .report import Report

__all__: list[str] = []

LARGE = 1024                        # elements of a weight that is worth another memory layout
LIMIT = 16                          # compiled versions of one function; past it the function runs as it is


class Compiled:
    """A compiled function. `compiles` counts traces that became executables; `report()` says what they consist of."""

    def __init__(self, fn: Callable, *, backend: str | Callable, fullgraph: bool, keep_grads: bool, options: dict[str, Any],
                 dynamic: bool | None = None):
        backends.check_backend(backend)
        functools.update_wrapper(self, fn)
        self.fn, self.backend, self.fullgraph, self.keep_grads, self.options = fn, backend, fullgraph, keep_grads, options
        self.numbers = Numbers(dynamic)
        self.compiles = 0
        self.gave_up: str | None = None             # why the function runs as it is, if it does
        self.entries: dict[tuple, list[Entry]] = {}
        self._calls: dict[tuple, list[Callable]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.slow and watched():
            return self.fn(*args, **kwargs)
        key = self._key()
        for call in self._calls.get(key, ()):
            try:
                r = call(args, kwargs)
            except Exception as error:
                return self._failed(call, error, args, kwargs)
            if r is not MISS:
                return r
        if self.gave_up is not None:
            return self.fn(*args, **kwargs)
        with turn():
            return self._miss(key, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method, `compile` as a decorator in a class: bound to the instance, which becomes the first argument."""
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {name_of(self.fn)}: {self.compiles} version{'s' * (self.compiles != 1)}>"

    def _miss(self, key: tuple, args: tuple, kwargs: dict) -> Any:
        """Make an entry for these arguments and call it."""
        for call in tuple(self._calls.get(key, ())):            # another thread may have made it
            r = call(args, kwargs)
            if r is not MISS:
                return r
        if sum(map(len, self.entries.values())) >= LIMIT:
            return self._give_up(f"it was compiled {LIMIT} times for different arguments or states", args, kwargs)
        try:
            entry = self._entry(args, kwargs)
        except FirstStep:
            return self.fn(*args, **kwargs)
        except TraceError as error:
            if self.fullgraph:
                raise
            return self._give_up(str(error), args, kwargs)
        except ImportError as error:
            if self.fullgraph or "llvmlite" not in str(error):
                raise
            return self._give_up(str(error), args, kwargs)
        self._enter(key, entry)
        try:
            r = entry.call(args, kwargs)
        except Exception as error:
            return self._failed(entry.call, error, args, kwargs)
        if r is MISS and not self.fullgraph:
            return self._give_up("the version just compiled does not fit the arguments it was compiled for", args, kwargs)
        if r is MISS:
            fail(RuntimeError, "P3104", f"{self!r}: the version just compiled does not fit the arguments it was compiled for",
                 fix="a module or container that the function reads changes while it runs: move that change out of the function")
        return r

    def _entry(self, args: tuple, kwargs: dict) -> Entry:
        paths = self.numbers.look(args, kwargs)
        if paths:
            try:
                return make_entry(self, args, kwargs, paths)
            except TraceError:
                self.numbers.fix(paths)
        return make_entry(self, args, kwargs)

    def prepared(self, *args: Any, **kwargs: Any) -> Entry:
        """Compile for these arguments, without running: the version, for looking at."""
        key = self._key()
        entry = self._entry(args, kwargs)
        self._enter(key, entry)
        return entry

    def _enter(self, key: tuple, entry: Entry) -> None:
        self.compiles += 1
        self.entries.setdefault(key, []).insert(0, entry)
        self._calls.setdefault(key, []).insert(0, entry.call)

    @staticmethod
    def _key() -> tuple:
        """The modes that every version depends on."""
        cast = local.autocast
        return local.grad, local.inference, cast if cast is None else cast.dtype, dt.get_default_dtype()

    def _failed(self, call: Callable, error: Exception, args: tuple, kwargs: dict) -> Any:
        """A call ended with an error. If it is an operator's, which refuses its operands, nothing was written that eager would not have
        written, and the function itself says what eager says."""
        if isinstance(error, (BeingTraced, TraceError)):
            with turn():                            # another thread has finished tracing
                r = call(args, kwargs)
                return self._miss(self._key(), args, kwargs) if r is MISS else r
        entry = next((e for e in self.versions if e.call is call), None)
        if entry is None or not getattr(error, "refused", False):
            raise error
        kept = [(a, a.copy()) for a in entry.early(error.early, args, kwargs)]
        try:
            self.fn(*args, **kwargs)
        finally:                                    # what eager writes before the error is written already
            for a, before in kept:
                a[...] = before
        raise error

    def _give_up(self, why: str, args: tuple, kwargs: dict) -> Any:
        self.gave_up = why
        warnings.warn(f"{name_of(self.fn)} runs uncompiled: {why}", stacklevel=4)
        return self.fn(*args, **kwargs)

    # ------------------------------------------------------------------------------------------------ looking
    @property
    def versions(self) -> list[Entry]:
        """The compiled versions: `.graph` is what was traced (`.joint.graph` its backward, cut off), `.source` the guard."""
        return [e for entries in self.entries.values() for e in entries]

    @property
    def graphs(self) -> list[Graph]:
        """The graphs of all versions, each followed by that of its backward, if it was cut off; before any pass."""
        return [g for e in self.versions for g in (e.graph, *([e.joint.graph] if e.joint else ()))]

    @property
    def kernels(self) -> list[Kernel]:
        """The generated kernels of all versions."""
        executables = [x for e in self.versions for x in (e.execute, *([e.joint.execute] if e.joint else ()))]
        return [k for x in executables if getattr(x, "plan", None) is not None for k in x.plan.kernels]

    def report(self) -> Report:
        """What the compiled versions consist of: kernels, library calls, memory, what was not fused and why, times."""
        return Report(name_of(self.fn), self.versions, self.gave_up)

    def reset(self) -> None:
        """Forget all compiled versions."""
        self.entries.clear()
        self._calls.clear()
        self.gave_up = None


def watched() -> bool:
    """Whether somebody wants to see every operator: an outer trace, a mode, hooks of saved tensors, anomaly detection."""
    return bool(local.stack or local.function_modes or local.saved_hooks or local.anomaly)


def name_of(fn: Callable) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__name__


# ---------------------------------------------------------------------------------------------------- making an entry
def make_entry(compiled: Compiled, args: tuple, kwargs: dict, paths: frozenset = frozenset(), apart: bool = True,
               themselves: frozenset = frozenset()) -> Entry:
    """Trace the function and compile what it does. `paths`: where in the arguments run-time numbers are; `apart`: arguments may be
    taken for memory of their own; `themselves`: the ids of arguments that must be the very objects of this call."""
    start = time.perf_counter()
    leaves: list[Tensor] = []
    tracer = Tracer(name_of(compiled.fn).rpartition(".")[2])
    given = args, kwargs
    template = flatten(lifted(given, (), paths, tracer, given), leaves)
    stands = {id(t): t if id(t) in themselves else stand_in(t, apart) for t in leaves}
    seen = [stands[id(t)] for t in leaves]
    called = Called()
    work = Work(compiled.fn, tracer, seen)
    with called:
        traced = trace_function(work, *rebuild(template, seen), name=tracer.graph.name, tracer=tracer, watch=called.watch(compiled.fn))
    also = met_otherwise(tracer, leaves, stands)
    if also or apart and shared(traced, leaves, seen):
        return make_entry(compiled, args, kwargs, paths, apart and bool(also), themselves | also)
    if any(t._fn is not None and traced.grads.get(stands[id(t)]) is not None for t in leaves):
        fail(TraceError, "P3108", "backward() inside the function would go on into the history of an argument",
             fix="call backward() outside, on what the function returns, or detach() the argument")
    ties = met_within(tracer, seen)
    for container, path in (i.source for i in traced.inputs if i.source is not None and i.source[0] is not given):
        check_unchanged(tracer, container, path)
    release(tracer)
    traced.outputs, extra = traced.outputs[0], work.extra
    joint, graph = None, traced.graph
    seconds = {"trace": time.perf_counter() - start}
    if not compiled.keep_grads:
        drop_gradients(traced)
    if work.live:
        graph, joint = joint_of(compiled, traced, work, extra)
    constant, options = None, compiled.options
    if compiled.backend == "llvm" and not local.grad:
        constant, options = weights(traced, called.modules(), options)
    execute = backends.build(graph, compiled.backend, options)
    execute.graph = None                            # the function itself explains what went wrong
    fixed = {k for k, t in enumerate(leaves) if id(t) in themselves}
    entry = Entry(traced, execute, given, leaves, seen, called.modules(), called.roots(compiled.fn), tracer.grad_uses, joint, paths,
                  compiled.keep_grads, constant, fixed, ties, compiled.fn)
    seconds["all"] = time.perf_counter() - start
    entry.seconds, entry.graph = seconds, graph
    return entry


def lifted(x: Any, path: tuple, paths: frozenset, tracer: Tracer, given: tuple) -> Any:
    """The arguments with run-time numbers in them."""
    if path in paths:
        return tracer.scalar(x, "n", (given, path))
    if not paths or not isinstance(x, (tuple, list, dict)):
        return x
    if isinstance(x, dict):
        return {k: lifted(v, (*path, k), paths, tracer, given) for k, v in x.items()}
    return type(x)([lifted(v, (*path, k), paths, tracer, given) for k, v in enumerate(x)])


class Numbers:
    """Which Python numbers among the arguments are run-time numbers: those that were seen to change, unless a trace needed their
    value (as a size, an index). `dynamic`: True takes all from the first call, False none."""

    def __init__(self, dynamic: bool | None):
        self.dynamic = dynamic
        self.seen: dict[tuple, float | int] = {}
        self.changing: set[tuple] = set()
        self.fixed: set[tuple] = set()

    def look(self, args: tuple, kwargs: dict) -> frozenset:
        """The paths of the run-time numbers in these arguments."""
        if self.dynamic is False:
            return frozenset()
        found: dict[tuple, float | int] = {}
        collect((args, kwargs), (), found)
        for path, value in found.items():
            if self.dynamic or self.seen.setdefault(path, value) != value:
                self.changing.add(path)
        return frozenset(found.keys() & self.changing - self.fixed)

    def fix(self, paths: frozenset) -> None:
        self.fixed |= paths


def collect(x: Any, path: tuple, found: dict[tuple, float | int]) -> None:
    """Numbers in a structure by path; not those inside of special containers, and no NaN."""
    if type(x) is float and x == x or type(x) is int and abs(x) < 1 << 53:
        found[path] = x
    elif type(x) in (tuple, list):
        for k, v in enumerate(x):
            collect(v, (*path, k), found)
    elif type(x) is dict:
        for k, v in x.items():
            collect(v, (*path, k), found)


def stand_in(t: Tensor, apart: bool) -> Tensor:
    """What the trace sees for an argument: a tensor without base or history, with memory of its own (which nobody touches) or
    the real one. Thus what the function reaches otherwise, through a closure say, is told apart from its arguments."""
    plain = t._fn is None and (t._x is None or t._x.base is None)
    if plain and (type(t) not in PLAIN or t.__dict__ or t._x is not None and t._x.__dict__.keys() - {"acc"}):
        return t
    s = new(type(t) if plain else Tensor)
    s._a = like(t._a) if apart else t._a
    s._rg, s._grad = t._rg, t._grad if plain else None
    s._fn = s._st = s._x = None
    s._oi = 0
    return s


def met_otherwise(tracer: Tracer, leaves: list[Tensor], stands: dict[int, Tensor]) -> frozenset:
    """The ids of arguments that want gradients and that the function also reaches otherwise: their gradients are one."""
    return frozenset(id(t) for t in leaves if t._rg and t._fn is None and stands[id(t)] is not t and (
        id(t) in tracer.grad_uses or id(t) in tracer.saved and tracer.saved[id(t)].fake is not None))


def met_within(tracer: Tracer, seen: list[Tensor]) -> list[tuple[Tensor, int]]:
    """(tensor, place of an argument): tensors that the function reaches otherwise, and that lie in an argument's memory."""
    places = {id(t): k for k, t in reversed(list(enumerate(seen)))}
    found = []
    for saved in tracer.saved.values():
        if saved.fake is not None and id(saved.tensor) not in places:
            owner = tracer.lifted.get(saved.fake.cell.input)
            if id(owner) in places:
                found.append((saved.tensor, places[id(owner)]))
    return found


def like(a: np.ndarray) -> np.ndarray:
    """Untouched memory with the geometry of `a`."""
    if not a.size or min(a.strides, default=0) < 0:
        return np.empty(a.shape, a.dtype)
    span = a.itemsize + sum((n - 1) * s for n, s in zip(a.shape, a.strides))
    return np.ndarray(a.shape, a.dtype, np.empty(span, np.uint8), 0, a.strides)


def shared(traced: Traced, leaves: list[Tensor], seen: list[Tensor]) -> bool:
    """Whether an argument that was traced as memory of its own shares memory with something that the function writes, or is written
    and shares memory with anything."""
    targets = {id(v) for v, _ in traced.graph.writebacks}
    real = [(leaves[i.place]._a if i.place is not None else i.tensor._a, id(i.value) in targets,
             i.place is not None and leaves[i.place] is not seen[i.place]) for i in traced.inputs if i.tensor is not None]
    return any(np.may_share_memory(a, b) for j, (a, wrote, alone) in enumerate(real) if alone
               for k, (b, other, _) in enumerate(real) if j != k and (wrote or other))


class Work:
    """The traced function: `fn`, and where its results want gradients, those too."""

    def __init__(self, fn: Callable, tracer: Tracer, arguments: list[Tensor]):
        self.fn, self.tracer, self.arguments = fn, tracer, arguments
        self.wrt: list[Tensor] = []
        self.live: list[int] = []
        self.extra = 0
        self.given: list[bool] = []

    def __call__(self, *args: Any, **kwargs: Any) -> tuple:
        out = self.fn(*args, **kwargs)
        leaves: list[Tensor] = []
        flatten(out, leaves)
        if local.grad:
            self.live = [k for k, t in enumerate(leaves) if isinstance(t._fn, Node) and alive(t._fn)]
        if not self.live or self.stepped():
            self.live = []
            return out, []
        tracer = self.tracer
        live = [leaves[k] for k in self.live]
        lifted = [t for t in tracer.lifted.values() if t._rg]
        self.wrt = list({id(t): t for t in [*[t for t in self.arguments if t._rg], *lifted]}.values())
        tangents = [tracer.tensor(tracer.graph.input(Spec(tuple(t.shape), t.dtype), "g", "tangent")) for t in live]
        found = gradients(live, self.wrt, tangents, allow_unused=True)
        self.given = [g is not None for g in found]
        self.extra = sum(self.given)
        return out, [g for g in found if g is not None]

    def stepped(self) -> bool:
        """Whether backward() ran inside: some tensor has a new gradient."""
        return any(s.tensor._grad is not s.grad and s.tensor._grad is not None for s in self.tracer.saved.values())


def alive(node: Node) -> bool:
    """Whether nothing of the history was used up by a backward pass."""
    seen, stack = {node}, [node]
    while stack:
        n = stack.pop()
        if n._saved is None:
            return False
        for e in n._edges:
            if isinstance(e, Node) and e not in seen:
                seen.add(e)
                stack.append(e)
    return True


def joint_of(compiled: Compiled, traced: Traced, work: Work, extra: int) -> tuple[Graph, Joint]:
    """Cut the traced forward and gradients in two; the forward graph, and the compiled backward."""
    g = traced.graph
    gradient_at = [r.index for r in traced.results[len(traced.results) - extra:]]
    places = {at: k for k, at in enumerate(dict.fromkeys(gradient_at))}
    count = len(g.outputs) - len(places)                 # of the forward's own: gradients come last
    g.outputs = [*[v for k, v in enumerate(g.outputs) if k not in places], *[g.outputs[k] for k in places]]
    native = not callable(compiled.backend) and compiled.backend != "eager"
    forward, backward, saved = partition(backends.prepare(g) if native else g, count)
    inputs = {v: k for k, v in enumerate(forward.inputs)}
    results = {v: k for k, v in reversed(list(enumerate(forward.outputs[:count])))}
    forward.outputs[count:] = [v for v in saved if v not in inputs and v not in results]
    made = results | {v: k for k, v in enumerate(forward.outputs) if k >= count}
    sources = [("in", inputs[v]) if v in inputs else ("out", made[v]) for v in saved]
    given = iter(gradient_at)
    at = [places[next(given)] if yes else None for yes in work.given]
    specs = [traced.results[k].spec for k in work.live]
    joint = Joint(work.wrt, work.live, extra, sources, backends.build(backward, compiled.backend, compiled.options), at,
                  [(s.shape, s.dtype.np) for s in specs])
    joint.graph = backward
    joint.numbers = frozenset(k for k, i in enumerate(traced.inputs) if i.role == "scalar")
    traced.inputs = [i for i in traced.inputs if i.role != "tangent"]
    return forward, joint


def weights(traced: Traced, modules: list[Module], options: dict[str, Any]) -> tuple[Constant | None, dict[str, Any]]:
    """The modules' parameters and buffers that the function only reads, and the options that say so to the backend."""
    held = {id(t) for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None}
    written = {id(v) for v, _ in traced.graph.writebacks}
    places = [k for k, i in enumerate(traced.inputs) if id(i.tensor) in held and id(i.value) not in written and i.tensor._a.size >= LARGE
              and own_memory(i.tensor)]
    if not places:
        return None, options
    return Constant([traced.inputs[k].tensor for k in places]), {**options, "constant": tuple(places)}


def drop_gradients(traced: Traced) -> None:
    """Compute no gradient for the sake of `.grad`."""
    places = [at for at in traced.grad_at.values() if at is not None]
    if places:
        g = traced.graph
        results = {r.index for r in traced.results}
        last = max((k for k in results if k is not None), default=-1)
        g.outputs = g.outputs[:last + 1]


def check_unchanged(tracer: Tracer, container: Any, path: tuple) -> None:
    """A number that the trace lifted must be what it was: a traced function changes no Python numbers."""
    symbol = tracer.symbols.get(("item", id(container), path))
    value = container
    for k in path:
        value = value[k]
    if symbol is not None and value != symbol.now:
        fail(TraceError, "P3105", f"the function changed {path[0]!r} of a parameter group, which a compiled step would do only once",
             got=f"{symbol.now} became {value}", fix="call scheduler.step() outside the compiled function")


def release(tracer: Tracer) -> None:
    """Let go of the memory that the trace looked at: fakes and their cells hold each other."""
    for cells in tracer.cells.values():
        for cell in cells:
            cell.fake = cell.array = None
    for kept in (tracer.cells, tracer.saved, tracer._buffers, tracer._storages):
        kept.clear()


# ---------------------------------------------------------------------------------------------------- public
def compile(fn: Callable | None = None, *, backend: str | Callable = "llvm", fullgraph: bool = False, dynamic: bool | None = None,
            keep_grads: bool = True, options: dict[str, Any] | None = None, disable: bool = False) -> Any:
    """Make a function, a module or a whole training step fast: it is traced at the first call, and becomes one native function.

    Python's control flow is followed once, at the first call with arguments of new shapes, dtypes or values; shapes, dtypes,
    Python arguments, the modes of modules and of autograd are checked at each call. Numbers in the `param_groups` of optimisers and
    step counts are read anew each time, so that a learning-rate schedule (outside the function) causes no second compile.

    Args:
        fn: what to compile; without it, `compile(...)` is a decorator. A module gives a module with the same parameters and
            attributes.
        backend: "llvm", native code; "python", the printed kernels; "eager", the operators' references; or a function that
            takes a Graph and returns a function from a list of arrays to a list of arrays.
        fullgraph: raise TraceError for a function that cannot be traced, instead of warning and running it as it is.
        dynamic: numbers among the arguments become run-time numbers once they are seen to change (None), at once (True), or never
            (False). Every shape is compiled for itself.
        keep_grads: store the gradients that are in `.grad` when a step ends; with False they are dropped, which saves
            memory traffic, and reading `.grad` raises. A step that sets them to None at its end stores none either way.
        options: for the backend ("isa", "threads", ...).
        disable: return `fn` unchanged.
    """
    if fn is None:
        return functools.partial(compile, backend=backend, fullgraph=fullgraph, dynamic=dynamic, keep_grads=keep_grads, options=options,
                                 disable=disable)
    if disable:
        return fn
    if not callable(fn):
        fail(TypeError, "P3102", f"compile() takes a function or a module, not {type(fn).__name__}", fix="pass the function itself")
    settings = {"backend": backend, "fullgraph": fullgraph, "keep_grads": keep_grads, "options": dict(options or {}), "dynamic": dynamic}
    if isinstance(fn, Module):
        return share(fn, Compiled(fn, **settings), lambda copied: compile(copied, **settings))
    return Compiled(fn, **settings)


def trace(fn: Callable, *args: Any, **kwargs: Any) -> Graph:
    """The graph of what `fn(*args, **kwargs)` does: `print()` shows it as Python that runs.

    Nothing is computed. Whole steps give one graph with the backward pass and the optimiser's writes in it. Raises TraceError, which
    names the line, where the function needs a value.
    """
    return trace_function(fn, args, kwargs).graph
