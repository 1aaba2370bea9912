"""`compile` and `trace`: from a Python function to what runs in its place.

In: a function, a module, or a training step. Out: `Compiled`, called like the function: it looks for a compiled version that
fits the arguments and the state of things, and captures and compiles one if there is none. What stays true: the results are those
of the function itself; what cannot be captured runs as it is, between the parts that can, unless `fullgraph=True` asks for the error.
"""
from __future__ import annotations

import functools
import sys
import traceback
import types
import warnings
import weakref
from _thread import _count as other_threads         # threading.active_count takes longer than small functions do
from collections.abc import Callable
from typing import Any

from ..capture import calls
from ..capture.blocks import continuation
from ..capture.attempt import Unrepeatable
from ..capture.breaks import Break
from ..capture.frame import Frame
from ..capture.sources import known
from ..capture.segment import Finished, Goto, Key, Spec, frames_of
from ..capture.tables import NULL
from ..core import dtype as dt
from ..core.config import config
from ..core.errors import fail, message
from ..graph.ir import Graph
from ..kernel.ir import Kernel
from ..native.execute import BeingTraced
from ..nn import Module
from ..ops.dispatch import local, state, watched
from ..optim._traced import FirstStep
from ..tensor import Tensor
from ..tensor.core import PLAIN
from ..tensor.fake import without_data
from ..tensor.tracing import TraceError, flatten, quiet, trace as trace_function, turn, undisturbed
from . import backends, logs
from .entry import Entry
from .guards import MISS
from .making import make_entry
from .modules import OptimizedModule, share
from .naming import name_of
from .report import Report
from .sizes import Sizes, leaves, timed
from .why import Recompile, moved, why
from .worth import Balance, elements

__all__: list[str] = []

every: weakref.WeakSet[Compiled] = weakref.WeakSet()           # all compiled functions
MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile")


class Stance:
    """What compiled functions do: see control.set_stance."""

    now = "default"


SIZES = 4                           # times config.recompile_limit: versions that may differ from each other in sizes only
PATIENCE = 1.0                      # seconds that a trace waits for functions that run as plain Python in other threads


class Compiled:
    """A compiled function. `compiles` counts traces that became executables; `report()` says what they consist of."""

    made: Callable[[Compiled], None] | None = None      # is told of each

    def __init__(self, fn: Callable, *, backend: str | Callable, fullgraph: bool, keep_grads: bool, options: dict[str, Any],
                 dynamic: bool | None = None):
        backends.check_backend(backend)
        functools.update_wrapper(self, fn, updated=())
        self.name = name_of(fn).rpartition(".")[2]
        self.fn, self.fullgraph, self.keep_grads, self.options = fn, fullgraph, keep_grads, options
        self.backend = "llvm" if backend == "inductor" else backend
        self.breaks: list[Break] = []
        self.recompiles: list[Recompile] = []
        self.points: dict[Key, Resume] = {}
        self.calls_seen = False
        self.whole = self
        self._begin(dynamic)
        every.add(self)
        if Compiled.made is not None:
            Compiled.made(self)

    def _begin(self, dynamic: bool | None) -> None:
        """No version yet, and nothing learnt."""
        self.numbers, self.sizes = Numbers(dynamic), Sizes(dynamic)
        self.varying: frozenset = frozenset()       # places outside the arguments whose numbers were seen to change
        self.promoted: frozenset = frozenset()      # and whose tensors were replaced
        self.fixed: frozenset = frozenset()         # and those whose values a capture needed
        self.compiles = 0
        self.gave_up: str | None = None             # why the function runs as it is where no version fits, if it does
        self.plain: str | None = None               # why it runs as it is though there are versions
        self.plain_size = 0                         # up to how many elements of an argument
        self.fresh = False                          # whether there are versions of which it is not known whether they are worth it
        self.balance, self.balance_size = Balance(), 0
        self.entries: dict[tuple, list[Entry]] = {}
        self._calls: dict[tuple, list[Callable]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.plain is not None:
            for a in args:
                if type(a) is Tensor and a._a.size > self.plain_size:
                    break
            else:
                return self.fn(*args, **kwargs) if not other_threads() else undisturbed(self.plainly, args, kwargs)
        if state.slow:
            if watched():
                return self.fn(*args, **kwargs)
            observer = state.observer
            if observer is not None and not observer.inside(self):
                token = observer.begin(f"Compiled: {self.name}", "compiled", self)
                try:
                    return self(*args, **kwargs)
                finally:
                    observer.end(token)
        if Stance.now != "default" and (Stance.now == "force_eager" or Stance.now == "eager_then_compile" and not self.calls_seen):
            self.calls_seen = True
            return self.fn(*args, **kwargs)
        if self.fresh:
            return self._judged(args, kwargs)
        r = self.segment(args, kwargs)
        while type(r) is Goto:
            stop, values = r
            r = stop.proceed(values)
            if type(r) is Finished:
                return r.value
            point, values = r
            if state.slow and watched():        # from here on somebody does: a level of dual tensors was entered
                return point.plainly(values, NO_KEYWORDS)
            r = point.segment(values, NO_KEYWORDS)
        return r

    def segment(self, args: tuple, kwargs: dict) -> Any:
        """Run up to the next break: the result, or a Goto."""
        key = self._key()
        for call in self._calls.get(key, ()):
            try:
                r = call(args, kwargs)
            except Exception as error:
                return self._failed(call, error, args, kwargs)
            if r is not MISS:
                return r
        if self.gave_up is not None:
            return undisturbed(self.plainly, args, kwargs)
        entries = self.entries.get(key)
        if entries and Stance.now == "default":
            met = self.sizes.plainly(key, tuple(entries), args, kwargs, self.numbers.fixed, self._full(True))
            if met is not None:
                return undisturbed(timed, met, self.plainly, args, kwargs)
        return self._made(key, args, kwargs)

    def followed(self, args: tuple, kwargs: dict, seen: Callable) -> Any:
        """A call; `seen` is told of each version that runs: (version, args, kwargs), or of None where it is not one that does."""
        if self.plain is not None or Stance.now != "default" or state.slow and watched():
            seen(None, args, kwargs)
            return self(*args, **kwargs)
        return self._judged(args, kwargs, seen)

    def _judged(self, args: tuple, kwargs: dict, seen: Callable | None = None) -> Any:
        """A call that notes which parts it goes through, and whether the function is worth running in them."""
        size = elements(args, Tensor)
        if not self.balance_size <= 4 * size <= 16 * self.balance_size:
            self.balance, self.balance_size = Balance(), size
        balance, known, stops = self.balance, True, False
        entry, r = self._noted(args, kwargs, seen)
        part: Compiled = self
        while True:
            if entry is not None:
                balance.part(entry)
            elif part.gave_up is not None:
                balance.rest()
            else:
                known = False
            if type(r) is not Goto:
                break
            stops = True
            balance.stop()
            stop, values = r
            r = stop.proceed(values)
            if type(r) is Finished:
                r = r.value
                break
            part, values = r
            if state.slow and watched():
                return part.plainly(values, NO_KEYWORDS)
            entry, r = part._noted(values, NO_KEYWORDS, seen)
        if known and self.fresh:
            self.fresh = False
            why = balance.verdict() if stops else None
            if why is not None:
                self.plain, self.plain_size = why, max(size, self.plain_size)
                logs.plain(self.fn, why)
                if not any(e.graph.nodes for e in self.versions):       # at no size: without a step in between
                    self.__class__ = type("Compiled", (Compiled,), {"__call__": staticmethod(self.fn), "__module__": __name__})
        return r

    def _noted(self, args: tuple, kwargs: dict, seen: Callable | None) -> tuple[Entry | None, Any]:
        """`segment`, and the version that ran."""
        entries = self.entries.get(self._key(), ())
        for entry in tuple(entries):
            if seen is not None and entry.guard()(args, kwargs) is True:
                seen(entry, args, kwargs)
            try:
                r = entry.call(args, kwargs)
            except Exception as error:
                return None, self._failed(entry.call, error, args, kwargs)
            if r is not MISS:
                return entry, r
        before = self.compiles
        r = self.segment(args, kwargs)
        entries = self.entries.get(self._key(), ())
        entry = entries[0] if entries and self.compiles > before else None
        if seen is not None:
            seen(entry, args, kwargs)
        return entry, r

    def _made(self, key: tuple, args: tuple, kwargs: dict) -> Any:
        """Call a version made for this, once no other thread runs as plain Python what a trace would take the values from."""
        with turn():
            if quiet(PATIENCE):
                return self._miss(key, args, kwargs)
        return undisturbed(self.plainly, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method, `compile` as a decorator in a class: bound to the instance, which becomes the first argument."""
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {name_of(self.fn)}: {self.compiles} version{'s' * (self.compiles != 1)}>"

    def __reduce__(self) -> Any:
        """A function that its name leads to is pickled by that; any other compiled function is compiled again."""
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for part in getattr(self, "__qualname__", "").split("."):
            found = getattr(found, part, None)
        if found is self:
            return self.__qualname__
        return functools.partial(compile, backend=self.backend, fullgraph=self.fullgraph, dynamic=self.numbers.dynamic,
                                 keep_grads=self.keep_grads, options=self.options), (self.fn,)

    def _miss(self, key: tuple, args: tuple, kwargs: dict) -> Any:
        """Make an entry for these arguments and call it."""
        for call in tuple(self._calls.get(key, ())):            # another thread may have made it
            r = call(args, kwargs)
            if r is not MISS:
                return r
        sized = any(e.otherwise(args, kwargs, self.numbers.fixed) for e in tuple(self.entries.get(key, ())))
        if self._full(sized):
            why = f"it was compiled {self.compiles} times for different arguments or states"
            if config.fail_on_recompile_limit_hit:
                fail(RuntimeError, "P3132", f"{self!r} would have to be compiled again, but {why}",
                     fix="a higher limit, or pellucid._dynamo.config.fail_on_recompile_limit_hit = False")
            return self._give_up(why, args, kwargs)
        leaves: list = []
        flatten((args, kwargs), leaves)
        if not PLAIN.issuperset(map(type, leaves)):
            return self.plainly(args, kwargs)                   # results are of the class of the arguments
        if state.slow and any(map(without_data, leaves)):
            return self.plainly(args, kwargs)                   # there is nothing to compute
        self._learn(key, args, kwargs)
        if Stance.now != "default" and self.entries:
            if Stance.now == "eager_on_recompile":
                return self.plainly(args, kwargs)
            if Stance.now == "fail_on_recompile":
                last = self.recompiles[-1] if self.recompiles else None
                fail(RuntimeError, "P3111", f"{self!r} would have to be compiled again",
                     got="" if last is None else f"{last.what}: {last.old} became {last.new}", fix="set_stance('default') allows it")
        try:
            entry = self._entry(args, kwargs)
        except FirstStep:
            return self.plainly(args, kwargs)
        except Unrepeatable as error:
            return self._give_up(error.error.reason, args, kwargs, error)
        except Exception as error:
            expected = isinstance(error, TraceError) or isinstance(error, ImportError) and "llvmlite" in str(error)
            if self.fullgraph or not (expected or config.suppress_errors):
                raise
            return self._give_up(str(error) if expected else f"{type(error).__name__}: {error}", args, kwargs, error)
        entry.sized = sized
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

    def _learn(self, key: tuple, args: tuple, kwargs: dict) -> None:
        """Why no version fits: noted, and numbers outside the arguments that have changed become run-time numbers."""
        known = self.entries.get(key)
        if not known:
            if self.entries:
                self._recompiled(Recompile(self.name, "a mode (grad, inference, autocast, default dtype)", "", "", ""))
            return
        found = why(known[0], args, kwargs)
        if found is None:
            return
        self.vary(*moved(known[0], args, kwargs))
        self._recompiled(Recompile(self.name, *found))

    def _recompiled(self, change: Recompile) -> None:
        self.recompiles.append(change)
        logs.recompiled(self.fn, change)

    def vary(self, numbers: set, tensors: set) -> bool:
        """From now on, read these places at each call, unless a capture needed what was there; whether that is news."""
        before = self.varying, self.promoted
        self.varying |= numbers - self.fixed
        self.promoted |= tensors - self.fixed
        return before != (self.varying, self.promoted)

    def _entry(self, args: tuple, kwargs: dict) -> Entry:
        observer = state.observer
        if observer is not None:
            return observer.span(f"compile: {self.name}", "compile", self._captured, args, kwargs)
        return self._captured(args, kwargs)

    def _captured(self, args: tuple, kwargs: dict) -> Entry:
        """A version for these arguments."""
        paths, first = self.numbers.look(args, kwargs), None
        while True:
            try:
                return make_entry(self, args, kwargs, paths)
            except TraceError as error:
                arrays = frozenset([p for p in self.promoted if p.kind == "array"])
                if arrays:                                      # NumPy does more with what it knows than a graph can
                    self.promoted, self.fixed, first = self.promoted - arrays, self.fixed | arrays, error
                    continue
                if not paths and not self.varying:
                    raise first or error
                wanted, places = error.places
                if not wanted and not places:                   # nobody knows which: all of them
                    wanted, places = paths, self.varying
                self.numbers.fix(frozenset(wanted))
                self.fixed |= places
                paths, self.varying = paths - wanted, self.varying - places

    def prepared(self, *args: Any, **kwargs: Any) -> Entry:
        """Compile for these arguments, without running: the version, for looking at."""
        key = self._key()
        entry = self._entry(args, kwargs)
        self._enter(key, entry)
        return entry

    def _enter(self, key: tuple, entry: Entry) -> None:
        self.compiles += 1
        logs.compiled(self.fn, entry, self.compiles)
        whole = self.whole
        whole.fresh = whole.backend == "llvm" and not whole.fullgraph
        self.entries.setdefault(key, []).insert(0, entry)
        self._calls.setdefault(key, []).insert(0, entry.call)

    def _full(self, sized: bool = False) -> bool:
        """Whether no further version is to be made; `sized`: one that differs from another in sizes only."""
        versions, most = [e for found in tuple(self.entries.values()) for e in found], config.recompile_limit
        return len(versions) >= SIZES * most if sized else sum(not e.sized for e in versions) >= most

    @staticmethod
    def _key() -> tuple:
        """The modes that every version depends on."""
        cast = local.autocast
        return local.grad, local.inference, cast if cast is None else cast.dtype, dt.get_default_dtype(), \
            config.deterministic and config.fill_uninitialized

    def _failed(self, call: Callable, error: Exception, args: tuple, kwargs: dict) -> Any:
        """A call ended with an error. If it is an operator's, which refuses its operands, nothing was written that eager would not have
        written, and the function itself says what eager says."""
        if isinstance(error, (BeingTraced, TraceError)):
            leaves: list = []
            flatten((args, kwargs), leaves)
            if any(map(without_data, leaves)):
                return self.plainly(args, kwargs)
            with turn():                            # another thread has finished tracing
                r = call(args, kwargs)
            return self._made(self._key(), args, kwargs) if r is MISS else r
        entry = next((e for e in self.versions if e.call is call), None)
        if entry is None or not getattr(error, "refused", False):
            raise error
        kept = [(a, a.copy()) for a in entry.early(error.early, args, kwargs)]
        try:
            self.plainly(args, kwargs)
        finally:                                    # what eager writes before the error is written already
            for a, before in kept:
                a[...] = before
        raise error

    def _give_up(self, why: str, args: tuple, kwargs: dict, error: Exception | None = None) -> Any:
        self.gave_up = why
        logs.plain(self.fn, why)
        if config.verbose and error is not None:
            why = "".join(traceback.format_exception(error))
        warnings.warn(f"{name_of(self.fn)} runs uncompiled: {why}", stacklevel=4)
        return self.plainly(args, kwargs)

    # ------------------------------------------------------------------------------------------------ what is captured
    def start(self, world: Any, args: tuple, kwargs: dict) -> Any:
        """The first frame of a capture, or a value."""
        for owner in (self.fn, getattr(self.fn, "__self__", None)):
            if owner is not None and not isinstance(owner, (types.MethodType, types.FunctionType)):
                world.sources[id(owner)] = owner, known(owner)
        return calls.call(world, self.fn, list(args), kwargs)

    def plainly(self, args: tuple, kwargs: dict) -> Any:
        """Run as Python does."""
        return self.fn(*args, **kwargs)

    def point(self, specs: tuple[Spec, ...]) -> Resume:
        """Where the function goes on after a break."""
        key = Key(specs)
        found = self.points.get(key)
        if found is None:
            found = self.points[key] = Resume(self, specs)
        return found

    def met(self, error: Break) -> None:
        """A break: noted, or refused."""
        if self.fullgraph:
            text = message(error.number, error.reason, got=f"{error.file}:{error.line} in {error.function}", fix=error.remedy)
            raise TraceError(text) from error
        error.__traceback__ = error.__cause__ = error.__context__ = None        # they hold the values of this call
        if all((b.number, b.file, b.line) != (error.number, error.file, error.line) for b in self.breaks):
            self.breaks.append(error)
            logs.broke(self.fn, error)

    # ------------------------------------------------------------------------------------------------ looking
    @property
    def versions(self) -> list[Entry]:
        """The compiled versions: `.graph` is what was traced (`.joint.graph` its backward, cut off), `.source` the guard. Those of
        the function's start come first, then those from the points after breaks."""
        return [e for part in (self, *tuple(self.points.values())) for entries in tuple(part.entries.values()) for e in tuple(entries)]

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
        self.sizes = Sizes(self.numbers.dynamic)
        self.plain, self.plain_size, self.fresh = None, 0, False
        if type(self) is not Resume:
            self.__class__ = Compiled
        self.balance, self.balance_size = Balance(), 0
        self.points.clear()
        self.breaks.clear()
        self.recompiles.clear()
        self.gave_up = None


class Resume(Compiled):
    """The rest of a function from a point on: called with the values that are live there."""

    def __init__(self, whole: Compiled, specs: tuple[Spec, ...]):
        self.specs, self.whole = specs, whole
        self.fn, self.name, self.backend, self.options = whole.fn, whole.name, whole.backend, whole.options
        self.fullgraph, self.keep_grads = whole.fullgraph, whole.keep_grads
        self.breaks, self.recompiles, self.points = whole.breaks, whole.recompiles, {}
        self.point, self.met = whole.point, whole.met
        self._begin(whole.numbers.dynamic)

    def start(self, world: Any, args: tuple, kwargs: dict) -> list[Frame]:
        return frames_of(self.specs, args)

    def plainly(self, args: tuple, kwargs: dict) -> Any:
        return continued(self.specs, args)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fail(TypeError, "P3110", "a point inside a function is no function", fix="call the compiled function")


def continued(specs: tuple[Spec, ...], values: tuple) -> Any:
    """Run the rest of a function as Python does."""
    frames = frames_of(specs, values)
    value = error = None
    while frames:
        frame = frames.pop()
        index, stack = frame.index, frame.stack
        if error is not None:
            handler = frame.program.handler[index - 1]
            if handler is None:
                continue
            target, depth, last = handler
            del stack[depth:]
            stack += [index - 1, error] if last else [error]
            index, error = target, None
        elif len(frames) + 1 < len(specs):
            stack.append(value)
        try:
            value = continuation(frame.program, index, frame.space)(frame.slots, stack, frame.exc)
            if frame.result is not NULL:                # an __init__: its call gives the object
                value = frame.result
        except BaseException as raised:
            error = raised
    if error is not None:
        raise error
    return value


NO_KEYWORDS: dict[str, Any] = {}


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
        found = {path: x for path, x in leaves((args, kwargs)) if type(x) is float and x == x or type(x) is int and abs(x) < 1 << 53}
        for path, value in found.items():
            if self.dynamic or self.seen.setdefault(path, value) != value:
                self.changing.add(path)
        return frozenset(found.keys() & self.changing - self.fixed)

    def fix(self, paths: frozenset) -> None:
        self.fixed |= paths


# ---------------------------------------------------------------------------------------------------- public
def compile(fn: Callable | None = None, *, backend: str | Callable = "llvm", fullgraph: bool = False, dynamic: bool | None = None,
            keep_grads: bool = True, options: dict[str, Any] | None = None, disable: bool = False, mode: str | None = None) -> Any:
    """Make a function, a module or a whole training step fast: its Python is captured at the first call, and what it computes becomes
    native code.

    What the function looked at (shapes, dtypes, Python arguments, globals, attributes, the modes of modules and of autograd) is checked
    at each call, and captured anew where it is otherwise. What cannot be part of a graph (a branch on a value, print, C functions)
    cuts the function into segments that run one after another, with the results of plain Python; `explain` shows where. Numbers in the `param_groups` of optimisers and
    step counts are read anew each time, so that a learning-rate schedule (in the function or outside) causes no second compile.

    Args:
        fn: what to compile; without it, `compile(...)` is a decorator. A module gives a module with the same parameters and
            attributes.
        backend: "llvm" (or "inductor", as PyTorch calls its own), native code; "python", the printed kernels; "eager", the operators'
            references; or a function that takes a Graph and returns a function from a list of arrays to a list of arrays.
        fullgraph: raise TraceError, with the line and the reason, instead of cutting the function.
        dynamic: what is done about numbers among the arguments, and about sizes, that change. None: such numbers become run-time
            numbers; of a dimension the first two sizes are compiled, and any other one once running it as plain Python has taken
            longer than compiling it would. True: numbers are run-time numbers at once, and only the first size is compiled before it
            pays. False: all are compiled as they come. `mark_dynamic` and `mark_static` say so of one dimension.
        keep_grads: store the gradients that are in `.grad` when a step ends; with False they are dropped, which saves
            memory traffic, and reading `.grad` raises. A step that sets them to None at its end stores none either way.
        options: for the backend ("isa", "threads", ...).
        disable: return `fn` unchanged.
        mode: PyTorch's choice between ways of compiling ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs").
            There is one way here, which needs no tuning and adds no overhead that a mode could reduce: all of them mean it.
    """
    if mode not in MODES:
        fail(ValueError, "P3129", f"compile(): no mode {mode!r}", fix=f"one of {', '.join(map(repr, MODES[1:]))}")
    if fn is None:
        return functools.partial(compile, backend=backend, fullgraph=fullgraph, dynamic=dynamic, keep_grads=keep_grads, options=options,
                                 disable=disable, mode=mode)
    if disable:
        return fn
    if not callable(fn):
        fail(TypeError, "P3102", f"compile() takes a function or a module, not {type(fn).__name__}", fix="pass the function itself")
    settings = {"backend": backend, "fullgraph": fullgraph, "keep_grads": keep_grads, "options": dict(options or {}), "dynamic": dynamic}
    if isinstance(fn, OptimizedModule):                      # compiled already: anew, with these settings
        fn = fn._orig_mod
    if isinstance(fn, Module):
        return share(fn, Compiled(fn, **settings), lambda copied: compile(copied, **settings))
    return Compiled(fn, **settings)


def trace(fn: Callable, *args: Any, **kwargs: Any) -> Graph:
    """The graph of what `fn(*args, **kwargs)` does: `print()` shows it as Python that runs.

    Nothing is computed. Whole steps give one graph with the backward pass and the optimiser's writes in it. Raises TraceError, which
    names the line, where the function needs a value.
    """
    return trace_function(fn, args, kwargs).graph
