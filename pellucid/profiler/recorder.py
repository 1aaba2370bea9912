"""Writing down what runs: an observer of eager operators, of backward passes, of native programs and of named spans.

In: what `ops.dispatch.Observer` is told, from all threads. Out: to every `Session` that is open, a `Record` for each thing that ran
and ended meanwhile. True always: without a session nobody observes, so nothing is paid; what runs is the same with and without one;
a record ends with what began before it, also when an exception takes the way out.
"""
from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.errors import PACKAGE
from ..core.storage import root
from ..nn.modules.module import Module
from ..ops.dispatch import Observer, observe, state
from ..ops.op import Op
from ..tensor.core import Slots
from ..tensor.eager import apply, interpreted, spec_of, unobserved

__all__: list[str] = []

OPERATOR, BACKWARD, KERNEL, MEMORY, ANNOTATION = "cpu_op", "backward", "kernel", "memory", "user_annotation"
# Operators under the names that PyTorch's users know, where those here are others.
_KNOWN = {"convert": "to", "getitem": "index", "setitem": "index_put_", "basic_index": "slice", "gemm": "mm", "bgemm": "bmm",
          "cross_entropy": "cross_entropy_loss", "relu_backward": "threshold_backward"}
_MODULE_CALL = Module.__call__.__code__
BASE_NS = time_ns() - perf_counter_ns()         # what turns the clock's times into those since 1970


class Record:
    """One thing that ran: what it is called, when, in which thread, within what."""

    __slots__ = ("name", "kind", "start", "end", "thread", "parent", "sessions", "owner", "shapes", "strides", "dtypes", "values", "stack",
                 "modules", "sequence", "bytes", "call", "step")

    def __init__(self, name: str, kind: str, parent: Record | None, thread: int, sessions: tuple, owner: Any):
        self.name, self.kind, self.parent, self.thread, self.sessions, self.owner = name, kind, parent, thread, sessions, owner
        self.shapes = self.strides = self.dtypes = self.values = self.stack = self.modules = self.call = self.step = None
        self.sequence, self.bytes, self.end = -1, 0, 0


class Session:
    """What one profile wants to know, and what it has been told."""

    def __init__(self, shapes: bool = False, memory: bool = False, stacks: bool = False, flops: bool = False, modules: bool = False):
        self.shapes, self.memory, self.stacks, self.flops, self.modules = shapes, memory, stacks, flops, modules
        self.records: list[Record] = []
        self.open = False

    def start(self) -> None:
        _recorder.add(self)
        self.open = True

    def stop(self) -> None:
        if self.open:
            self.open = False
            _recorder.remove(self)


class _Thread(threading.local):
    """The records of a thread that have not ended, the innermost last."""

    def __init__(self) -> None:
        self.open: list[Record] = []
        self.id = threading.get_native_id()
        self.silent = 0


class Recorder(Observer):
    """The one observer, for all sessions."""

    def __init__(self) -> None:
        self.sessions: tuple[Session, ...] = ()
        self.lock = threading.Lock()
        self.here = _Thread()
        self.shapes = self.memory = self.stacks = self.flops = self.modules = False
        self.alive: dict[int, weakref.ref] = {}         # memory that was seen to come, by the id of the array that owns it

    # ------------------------------------------------------------------------------------------------ sessions
    def add(self, session: Session) -> None:
        with self.lock:
            if state.observer is not self:
                observe(self)
            self._now((*self.sessions, session))

    def remove(self, session: Session) -> None:
        with self.lock:
            self._now(tuple([s for s in self.sessions if s is not session]))
            if not self.sessions and state.observer is self:
                observe(None)
                self.alive.clear()

    def _now(self, sessions: tuple[Session, ...]) -> None:
        self.sessions = sessions
        for what in ("shapes", "memory", "stacks", "flops", "modules"):
            setattr(self, what, any(getattr(s, what) for s in sessions))

    # ------------------------------------------------------------------------------------------------ records
    def begin(self, name: str, kind: str, owner: Any = None) -> Record:
        here = self.here
        opened = here.open
        r = Record(name, kind, opened[-1] if opened else None, here.id, self.sessions, owner)
        if (self.stacks or self.modules) and kind != KERNEL:
            self._look(r)
        opened.append(r)
        r.start = perf_counter_ns()
        return r

    def end(self, token: Record) -> None:
        token.end = perf_counter_ns()
        opened = self.here.open
        if opened and opened[-1] is token:
            opened.pop()
            ended = [token]
        elif token not in opened:                       # begun in another thread
            ended = [token]
        else:
            at = opened.index(token)
            ended = opened[at:]
            del opened[at:]
        for r in ended:
            r.end = r.end or token.end
            r.owner = None
            for s in r.sessions:
                if s.open:
                    s.records.append(r)

    def span(self, name: str, kind: str, run: Callable, *args: Any, **kwargs: Any) -> Any:
        r = self.begin(name, kind)
        try:
            result = run(*args, **kwargs)
            self._made(r, result, ())
        finally:
            self.end(r)
        return result

    def inside(self, owner: Any) -> bool:
        opened = self.here.open
        return bool(opened) and opened[-1].owner is owner

    # ------------------------------------------------------------------------------------------------ what is told
    def operator(self, name: str, run: Callable, op: Op, args: tuple, kwargs: dict) -> Any:
        if self.here.silent:
            return run(op, args, kwargs)
        r = self.begin("aten::" + _KNOWN.get(name, name.lstrip("_")), OPERATOR)
        if self.shapes:
            _describe(r, args, kwargs)
        try:
            if self.flops and run is unobserved:
                def noted(op: Op, flat: tuple, attrs: dict) -> Any:
                    r.call = op, [spec_of(t) for t in flat], attrs
                    return apply(op, flat, attrs)
                result = interpreted(op, args, kwargs, noted)
            else:
                if self.flops:                          # a call in canonical form
                    r.call = op, [spec_of(t) for t in args], kwargs
                result = run(op, args, kwargs)
            self._made(r, result, args)
        finally:
            self.end(r)
        return result

    def inplace(self, name: str, run: Callable, args: tuple, kwargs: dict) -> Any:
        here = self.here
        if here.silent:
            return run(*args, **kwargs)
        r = self.begin("aten::" + name.lstrip("_"), OPERATOR)
        if self.shapes:
            _describe(r, args, kwargs)
        here.silent += 1
        try:
            result = run(*args, **kwargs)
            self._made(r, result, args)
        finally:
            here.silent -= 1
            self.end(r)
        return result

    def node(self, run: Callable, node: Any, g: Any) -> Any:
        name = node.name()
        outer = self.begin("autograd::engine::evaluate_function: " + name, BACKWARD)
        outer.sequence = node._seq
        try:
            inner = self.begin(name, BACKWARD)
            inner.sequence = node._seq
            if self.shapes:
                _describe(inner, g if type(g) is tuple else (g,), {})
            return run(node, g)
        finally:
            self.end(outer)

    def wants_steps(self) -> bool:
        opened = self.here.open
        return not opened or opened[-1].kind != OPERATOR        # an operator's own kernel is the operator

    def step(self, exe: Any, index: int, run: Callable) -> None:
        s = exe.program.steps[index]
        r = self.begin(s["name"], KERNEL)
        r.step = exe, index
        try:
            run()
        finally:
            self.end(r)

    # ------------------------------------------------------------------------------------------------ looking closer
    def _made(self, r: Record, result: Any, args: tuple) -> None:
        """What a call's results say: the node they were recorded with, and new memory."""
        for t in result if type(result) in (tuple, list) else (result,):
            if not isinstance(t, Slots):
                continue
            if t._fn is not None and r.sequence < 0:
                r.sequence = t._fn._seq
            if self.memory and type(t._a) is np.ndarray:
                self._came(r, root(t._a), args)

    def _came(self, r: Record, owner: np.ndarray, args: tuple) -> None:
        key = id(owner)
        if key in self.alive:
            return
        for x in args:
            if isinstance(x, Slots) and root(x._a) is owner:
                return
        nbytes = owner.nbytes
        r.bytes += nbytes

        def gone(_: Any) -> None:
            self.alive.pop(key, None)
            self._went(nbytes)
        self.alive[key] = weakref.ref(owner, gone)

    def _went(self, nbytes: int) -> None:
        """Memory was freed. (Called whenever Python lets go of an array: it takes no lock.)"""
        opened = self.here.open
        if opened:
            opened[-1].bytes -= nbytes
        elif self.sessions:
            r = Record("[memory]", MEMORY, None, self.here.id, self.sessions, None)
            r.start = r.end = perf_counter_ns()
            r.bytes = -nbytes
            for s in r.sessions:
                s.records.append(r)

    def _look(self, r: Record) -> None:
        """The user's lines on the way to a call, the innermost first, and the modules around it, the outermost first."""
        frame = sys._getframe(2)
        stack, modules = [], []
        while frame is not None:
            code = frame.f_code
            name = code.co_filename
            if code is _MODULE_CALL and self.modules:
                modules.append(frame.f_locals["self"])
            if self.stacks and (not name.startswith((PACKAGE, "<frozen")) or name.startswith(_DEMO)):
                stack.append((name, frame.f_lineno, code.co_name))
            frame = frame.f_back
        if self.stacks:
            r.stack = stack
        if self.modules and modules:
            r.modules = hierarchy(modules[::-1])


_DEMO = os.path.join(PACKAGE, "demo")


def hierarchy(modules: list[Module]) -> str:
    """Modules that call one another as PyTorch writes it: `TOP(Net).first(Linear)`."""
    out = [f"TOP({type(modules[0]).__name__})"]
    for outer, inner in zip(modules, modules[1:]):
        name = next((n for n, m in outer.named_modules() if m is inner), "?")
        out.append(f"{name}({type(inner).__name__})")
    return ".".join(out)


def _describe(r: Record, args: tuple, kwargs: dict) -> None:
    """Shapes, strides and dtypes of a call's arguments; a list of tensors gives a list of shapes."""
    given = [*args, *kwargs.values()]
    r.shapes, r.strides, r.dtypes, r.values = [], [], [], []
    for x in given:
        tensors = [t for t in x if isinstance(t, Slots)] if type(x) in (tuple, list) else None
        if isinstance(x, Slots):
            r.shapes.append(list(x._a.shape))
            r.strides.append([s // x._a.itemsize for s in x._a.strides])
            r.dtypes.append(dt.of(x._a.dtype).type_name.lower())
            r.values.append("")
        elif tensors:
            r.shapes.append([list(t._a.shape) for t in tensors])
            r.strides.append([[s // t._a.itemsize for s in t._a.strides] for t in tensors])
            r.dtypes.append("TensorList")
            r.values.append("")
        else:
            r.shapes.append([])
            r.strides.append([])
            r.dtypes.append("Scalar" if isinstance(x, (int, float, complex)) else "")
            r.values.append("" if x is None else repr(x)[:100])


_recorder = Recorder()


def _after_fork() -> None:
    """Nobody in a new process asked for a profile of it. (It has one thread, which takes no lock that another may have held.)"""
    r = _recorder
    r.here, r.lock, r.sessions = _Thread(), threading.Lock(), ()
    if state.observer is r:
        state.observer = None
        state.slow -= 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
