"""From a captured function to a compiled version of it.

In: a compiled function, the arguments of this call. Out: an Entry. What stays true: a function that meets a break is captured again up
to there; arguments are traced as memory of their own unless they turn out to share memory with something.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import grad as gradients
from ..capture.attempt import Attempt, Located
from ..capture.breaks import Break
from ..capture.sources import Source, evaluate
from ..core.collecting import uncollected
from ..core.errors import fail, message
from ..core.layout import preserve_format
from ..core.spec import Spec
from ..graph.ir import Graph
from ..graph.partition import partition
from ..native import ahead, onednn
from ..nn import Module
from ..ops.dispatch import local, state
from ..ops.op import REGISTRY
from ..tensor import Tensor
from ..tensor.core import PLAIN, Node, new
from ..tensor.fake import Fake
from ..tensor.tracing import TraceError, Traced, Tracer, flatten, rebuild, trace as trace_function
from . import backends
from .entry import Entry
from .held import Constant, own_memory
from .history import Joint
from .modules import reachable

__all__: list[str] = []

LARGE = 1024                        # elements of a weight that is worth another memory layout


@uncollected
def make_entry(compiled: Any, args: tuple, kwargs: dict, paths: frozenset = frozenset(), apart: bool = True,
               themselves: frozenset = frozenset(), end: Located | None = None) -> Entry:
    """Capture the function and compile what it does. `paths`: where in the arguments run-time numbers are; `apart`: arguments may be
    taken for memory of their own; `themselves`: the ids of arguments that must be the very objects of this call; `end`: where the
    segment ends."""
    start = time.perf_counter()
    if compiled.backend == "llvm":
        onednn.library_soon()
    leaves: list[Tensor] = []
    tracer = Tracer(compiled.name)
    tracer.apart = True
    places, extras = promoted(compiled.promoted, (args, kwargs))
    given = args, kwargs, extras
    template = flatten(lifted(given, (), paths, tracer, given), leaves)
    stands = {id(t): t if id(t) in themselves else stand_in(t, apart) for t in leaves}
    seen = [stands[id(t)] for t in leaves]
    attempt = Attempt(compiled.start, given, tracer, compiled.point, end, compiled.varying, places)
    work = Work(attempt, tracer, seen)
    watch = [p for m in reachable(compiled.fn) for p in m.parameters()]
    try:
        traced = trace_function(work, rebuild(template, seen), name=tracer.graph.name, tracer=tracer, watch=watch)
    except TraceError as error:
        error.places = needed(tracer, error, given)
        raise
    except Break as error:                          # in what autograd calls back
        raise TraceError(f"{error.reason} ({error.remedy})") from error
    except Lost as lost:
        return make_entry(compiled, args, kwargs, paths, apart, themselves, before_backward(compiled, attempt, end, lost.reason))
    except Located as located:
        if compiled.fullgraph and located.error.number in ("PX013", "PX014"):
            raise located.__cause__ from None       # the function's own error
        compiled.met(located.error)
        if end is not None and located.steps >= end.steps:
            raise TraceError(f"capture does not come to the same end twice: {located.error.reason}") from located
        again = located.with_traceback(None)
        again.__cause__ = again.__context__ = again.error.__traceback__ = None
        attempt.release()
    else:
        again = None
    if again is not None:
        return make_entry(compiled, args, kwargs, paths, apart, themselves, again)
    if work.hooked:
        step, error = work.hooked[0]
        compiled.met(error)
        attempt.release()
        return make_entry(compiled, args, kwargs, paths, apart, themselves, Located(error, step))
    arrays = arrays_written(attempt, traced, leaves, given)
    numbers, tensors = attempt.rewritten
    if compiled.vary(numbers, tensors | arrays):
        attempt.release()
        return make_entry(compiled, args, kwargs, paths, apart, themselves, end)
    if arrays:
        fail(TraceError, "P3130", "the function writes into the memory of a NumPy array whose values it needs when it is compiled",
             fix="copy the array before it is written to")
    also = met_otherwise(tracer, leaves, stands)
    if also or apart and shared(traced, leaves, seen):
        return make_entry(compiled, args, kwargs, paths, apart and bool(also), themselves | also, end)
    if any(t._fn is not None and traced.grads.get(stands[id(t)]) is not None for t in leaves) or any(
            s.fn is not None and traced.grads.get(s.tensor) is not None for s in tracer.saved.values()):
        return make_entry(compiled, args, kwargs, paths, apart, themselves, before_backward(compiled, attempt, end))
    ties, met = met_within(tracer, seen)
    for container, path in (i.source for i in traced.inputs if i.source is not None and type(i.source[0]) is dict):
        check_unchanged(tracer, container, path)
    release(tracer)
    ahead.touch(memory_written(traced, leaves))
    traced.outputs, extra = traced.outputs[0], work.extra
    joint, graph, nodes = None, traced.graph, tuple(traced.graph.nodes)
    seconds = {"trace": time.perf_counter() - start}
    if not compiled.keep_grads:
        drop_gradients(traced)
    if work.live:
        graph, joint = joint_of(compiled, traced, work, extra)
    constant, options = None, options_of(compiled)
    modules = list(attempt.world.modules.values())
    if compiled.backend == "llvm" and not local.grad and joint is None:
        constant, options = weights(traced, modules, options)
    if graph.nodes or graph.outputs or graph.writebacks:
        execute = backends.build(graph, compiled.backend, options)
    else:
        execute = Nothing()
    execute.graph = None                            # the function itself explains what went wrong
    fixed = {k for k, t in enumerate(leaves) if id(t) in themselves}
    entry = Entry(traced, execute, given, leaves, seen, modules, attempt, tracer.grad_uses, joint, paths, compiled.keep_grads, constant,
                  fixed, ties, met, nodes)
    attempt.release()
    state.grads += 1                                # the trace has looked at gradients, and keeps some
    seconds["all"] = time.perf_counter() - start
    entry.seconds, entry.graph = seconds, graph
    return entry


class Lost(Exception):
    """Something of a history that goes on was written before the segment ended."""

    def __init__(self, reason: str):
        self.reason = reason


def before_backward(compiled: Any, attempt: Attempt, end: Located | None, what: str = "") -> Located:
    """The segment must end before the first backward(), which runs on its own then."""
    where = attempt.world.backwards
    if not where or end is not None and where[0][0] >= end.steps:
        fail(TraceError, "P3108", "backward() inside the function would go on into what was computed before it", got=what or None,
             fix="call backward() outside, on what the function returns, or detach() what was computed before")
    step, place = where[0]
    error = Break("PX009", what)
    error.file, error.line, error.function = place
    compiled.met(error)
    return Located(error, step)


def needed(tracer: Tracer, error: TraceError, given: tuple) -> tuple[set, set]:
    """The run-time numbers that a capture needed the values of: paths in the arguments, and places outside of them."""
    paths, places = set(), set()
    stack = [error.number] if error.number is not None else []
    while stack:
        expr = stack.pop()
        if type(expr) is tuple and expr[0] == "input":
            container, path = tracer.sources.get(tracer.graph.inputs[expr[1]], (None, ()))
            if container is given:
                paths.add(path)
            elif type(container) is Source:
                places.add(container)
        elif type(expr) is tuple:
            stack += expr[1:]
    return paths, places


def promoted(places: frozenset, given: tuple[tuple, dict]) -> tuple[tuple[Source, ...], tuple[Tensor, ...]]:
    """Places outside the arguments whose tensors were seen to be replaced: they are read at each call, like arguments."""
    found = {}
    for place in sorted(places, key=str):
        try:
            value = evaluate(place, given)
        except Exception:
            continue
        if isinstance(value, Tensor) and type(value._a) is np.ndarray:
            found[place] = value
    return tuple(found), tuple(found.values())


class Nothing:
    """What runs where a segment computes nothing."""

    report: dict[str, Any] = {"seconds": {}}
    plan = None

    def __call__(self, arrays: list, kept: Any = None) -> list:
        return []


def lifted(x: Any, path: tuple, paths: frozenset, tracer: Tracer, given: tuple) -> Any:
    """The arguments with run-time numbers in them."""
    if path in paths:
        return tracer.scalar(x, "n", (given, path))
    if not paths or not isinstance(x, (tuple, list, dict)):
        return x
    if isinstance(x, dict):
        return {k: lifted(v, (*path, k), paths, tracer, given) for k, v in x.items()}
    return type(x)([lifted(v, (*path, k), paths, tracer, given) for k, v in enumerate(x)])


def stand_in(t: Tensor, apart: bool) -> Tensor:
    """What the trace sees for an argument: a tensor without base or history, with memory of its own (which nobody touches) or
    the real one. Thus what the function reaches otherwise, through a closure say, is told apart from its arguments."""
    plain = t._fn is None and (t._x is None or t._x.base is None)
    if plain and (type(t) not in PLAIN or t.__dict__ or t._x is not None and t._x.__dict__.keys() - {"acc", "marks"}):
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


def met_within(tracer: Tracer, seen: list[Tensor]) -> tuple[list[tuple[Tensor, int]], dict[Tensor, Tensor]]:
    """[(tensor, place of an argument)]: tensors that the function reaches otherwise, and that lie in an argument's memory; {tensor:
    owner}: others that lie in the memory of another."""
    places = {id(t): k for k, t in reversed(list(enumerate(seen)))}
    within, others = [], {}
    for saved in tracer.saved.values():
        if saved.fake is not None and id(saved.tensor) not in places:
            owner = tracer.lifted.get(saved.fake.cell.input)
            if id(owner) in places:
                within.append((saved.tensor, places[id(owner)]))
            elif owner is not None and owner is not saved.tensor:
                others[saved.tensor] = owner
    return within, others


def memory_written(traced: Traced, leaves: list[Tensor]) -> list[np.ndarray]:
    """The memory that the function writes to."""
    targets = {id(v) for v, _ in traced.graph.writebacks}
    return [(leaves[i.place] if i.place is not None else i.tensor)._a for i in traced.inputs if id(i.value) in targets]


def arrays_written(attempt: Attempt, traced: Traced, leaves: list[Tensor], given: tuple) -> set[Source]:
    """The arrays relied on by value into whose memory the function writes, as places of tensors over them."""
    targets = memory_written(traced, leaves)
    arrays = [c.source for c in attempt.world.checks.values() if c.kind == "array" and isinstance(c.what, np.ndarray)] if targets else ()
    return {Source("array", None, p) for p in arrays if any(np.may_share_memory(evaluate(p, given), a) for a in targets)}


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
        self.hooked: Any = None                                 # hooks that backward() outside would need

    def __call__(self, args: tuple, kwargs: dict, extras: tuple) -> tuple:
        out = self.fn(args, kwargs, extras)
        leaves: list[Tensor] = []
        flatten(out, leaves)
        saved = self.tracer.saved
        self.live = [k for k, t in enumerate(leaves) if isinstance(t._fn, Node) and alive(t._fn) and not (
            type(t._a) is not Fake or id(t) in saved and saved[id(t)].fn is t._fn)]       # what was there before keeps its history
        world, stepped = self.fn.world, self.stepped()
        self.hooked = self.live and not stepped and world.hooked
        if not self.live or self.hooked:
            self.live = []
            return out, []
        tracer = self.tracer
        live = [leaves[k] for k in self.live]
        lifted = [t for t in tracer.lifted.values() if t._rg]
        own = [t for t in leaves if t._rg and t._fn is None and (       # made in here, to be differentiated by
            id(t) not in tracer.saved or tracer.saved[id(t)].fake is None and type(tracer.saved[id(t)].array) is Fake)]
        self.wrt = list({id(t): t for t in [*[t for t in self.arguments if t._rg], *lifted, *own]}.values())
        tangents = [tracer.tensor(tracer.graph.input(Spec(tuple(t.shape), t.dtype), "g", "tangent")) for t in live]
        for t in self.wrt:
            if t._fn is None and t._x is not None:              # they run when the gradient gets there
                t._x.hooks = t._x.post_hooks = t._x.kept = None
        try:
            with self.fn.watching():
                found = gradients(live, self.wrt, tangents, allow_unused=True) if self.wrt else ()
        except RuntimeError as error:
            if not stepped or isinstance(error, TraceError):
                raise
            world.journal.restore()
            if self.fn.stop is not None:
                raise Lost(str(error).partition("\n")[0]) from None
            self.live = []                          # as in eager, it cannot be differentiated any more
            return out, []
        if stepped and world.hooked:                # what is differentiated twice has hooks
            world.journal.restore()
            self.hooked, self.live = world.hooked, []
            return out, []
        if world.journal.changes():
            world.journal.restore()
            raise TraceError(message("P3114", "the backward of a custom Function changes something other than its results",
                                     fix="leave out the change, or call backward() in the compiled function too"))
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


def joint_of(compiled: Any, traced: Traced, work: Work, extra: int) -> tuple[Graph, Joint]:
    """Cut the traced forward and gradients in two; the forward graph, and the compiled backward."""
    g = traced.graph
    gradient_at = [r.index for r in traced.results[len(traced.results) - extra:]]
    places = {at: k for k, at in enumerate(dict.fromkeys(gradient_at))}
    count = len(g.outputs) - len(places)                 # of the forward's own: gradients come last
    order = [*[k for k in range(len(g.outputs)) if k not in places], *places]
    g.outputs = [g.outputs[k] for k in order]
    traced.grad_at = {t: None if at is None else order.index(at) for t, at in traced.grad_at.items()}
    native = not callable(compiled.backend) and compiled.backend != "eager"
    forward, backward, saved = partition(backends.prepare(g) if native else g, count)
    inputs = {v: k for k, v in enumerate(forward.inputs)}
    results = {v: k for k, v in reversed(list(enumerate(forward.outputs[:count])))}
    written = {v for v, _ in forward.writebacks}
    saved = [forward.add(REGISTRY["clone"], (v,), {"fmt": preserve_format}, (v.spec,), None).outs[0] if v in written else v for v in saved]
    forward.outputs[count:] = [v for v in saved if v not in inputs and v not in results]
    made = results | {v: k for k, v in enumerate(forward.outputs) if k >= count}
    sources = [("in", inputs[v]) if v in inputs else ("out", made[v]) for v in saved]
    given = iter(gradient_at)
    at = [places[next(given)] if yes else None for yes in work.given]
    specs = [traced.results[k].spec for k in work.live]
    joint = Joint(work.wrt, work.live, extra, sources, backends.build(backward, compiled.backend, options_of(compiled)), at,
                  [(s.shape, s.dtype.np) for s in specs])
    joint.graph = backward
    joint.numbers = frozenset(k for k, i in enumerate(traced.inputs) if i.role == "scalar")
    traced.inputs = [i for i in traced.inputs if i.role != "tangent"]
    return forward, joint


def options_of(compiled: Any) -> dict[str, Any]:
    """What the backend is told about a function: the user's options, and what varied in its programs so far."""
    return compiled.options if compiled.backend != "llvm" else {**compiled.options, "varying": compiled.sizes.code}


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
