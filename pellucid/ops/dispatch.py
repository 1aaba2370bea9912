"""Who runs an operator: a stack of interpreters per thread (tracing, fake tensors, vmap, ...), eager beneath them.

The fast path of every entry point reads one flag, `state.slow`. It is 0 unless some thread has an interpreter, a mode or
a Tensor subclass that overrides behaviour; only then does `dispatch` look closer.

True always: while an interpreter handles a call, it is off the stack, so what it calls reaches the one below; unless it
`stays`, because it sees what it calls itself as calls of the program too.
"""
from __future__ import annotations

import contextlib
from _thread import RLock, _local
from collections.abc import Callable, Iterator
from typing import Any

from .op import COMPOSITE, Op


class _State:
    """`slow` counts reasons to leave the fast path, over all threads; `moves` how often something about a tensor changed that seldom does: it
    was given other memory, wants gradients or not, has another hook; `grads` how often a gradient was handed out or replaced. Both are
    moved after the change. `observer`: who is told of what runs, in every thread. `meta`: the interpreter of tensors without data."""

    __slots__ = ("slow", "moves", "grads", "observer", "meta")

    def __init__(self):
        self.slow = self.moves = self.grads = 0
        self.observer: Observer | None = None
        self.meta: Any = None


class _ThreadState(_local):
    """What each thread decides for itself."""

    grad = True                 # gradients are recorded
    beneath = None              # (n, grad): `grad` above is for interpreters from number n on; those below record as this one says
    inference = False           # inference_mode
    anomaly = False             # anomaly mode: remember the user's line of every node
    check_nan = True
    partial = False             # the running backward pass stops at chosen inputs
    task = None                 # the running backward pass (tensor.engine.Task)
    node = None                 # in anomaly mode and while tracing: the node whose backward is running
    before_write = None         # called with a tensor about to be written in place (allow_mutation_on_saved_tensors)
    saved_hooks: tuple = ()     # stack of (pack, unpack)
    hooks_disabled = None       # the message of disable_saved_tensors_hooks
    function_modes: tuple = ()  # stack of TorchFunctionMode-like objects
    in_override = False         # inside DisableTorchFunction
    device = None               # where functions make tensors, if not on the CPU
    outer_devices: tuple = ()   # what that was outside of each `with device(...)`
    autocast = None             # the active autocast block (tensor.autocast.Autocast)

    def __init__(self):
        self.stack: list[Interpreter] = []


state = _State()
local = _ThreadState()
_lock = RLock()             # the end of a tensor may count a reason out wherever the collector runs, in add_slow too


def add_slow(n: int) -> None:
    """Count a reason for the slow path in (+1) or out (-1)."""
    with _lock:
        state.slow += n


def watched() -> bool:
    """Whether somebody wants to see every operator of this thread: an interpreter, a mode, hooks of saved tensors, anomaly detection, a
    default device."""
    return bool(local.stack or local.function_modes or local.saved_hooks or local.anomaly or local.device is not None)


class Interpreter:
    """Sees every operator called inside `with interpreting(self)`.

    `call` gets the operator and the user's arguments. `canonical(op, args, kwargs)` gives (tensors, attrs).
    A composite that an interpreter does not want whole is run by `decompose`, whose parts come back to it.
    """

    stays = False           # on top of the stack while it handles a call
    values = True           # tensors hold values that may be looked at
    covers = True           # where `values` is False: also those of tensors that it has not met yet
    single = True           # a tensor stands for one value, not for one per example

    def copied(self, t) -> None:
        """`t`, which eager makes as a view, is a copy here."""

    def call(self, op: Op, args: tuple, kwargs: dict) -> Any:
        raise TypeError(f"{type(self).__name__} must define call(op, args, kwargs)")

    def decompose(self, op: Op, args: tuple, kwargs: dict) -> Any:
        if op.kind is not COMPOSITE or op.body is None:
            raise TypeError(f"{op.name} is primitive: {type(self).__name__} must handle it")
        with interpreting(self):
            return op.body(*args, **kwargs)


class Observer:
    """Is told of what runs, in all threads, and changes nothing of it: unlike an interpreter, which sees calls before anything is
    decided, it sees what is left to eager at the bottom of the stack, so that compiled functions stay compiled.

    `run` is what was about to be called; its result is returned. `begin` and `end` are for what cannot be handed over; a token that
    `end` never sees is ended with what began before it.
    """

    def operator(self, name: str, run: Callable, op: Op, args: tuple, kwargs: dict) -> Any:
        """An operator call, with the user's arguments or in canonical form: `run(op, args, kwargs)`."""
        return run(op, args, kwargs)

    def inplace(self, name: str, run: Callable, args: tuple, kwargs: dict) -> Any:
        """The in-place form of an operator, within which nothing else is told of: `run(*args, **kwargs)`."""
        return run(*args, **kwargs)

    def node(self, run: Callable, node: Any, g: Any) -> Any:
        """The derivative of a recorded operator: `run(node, g)`."""
        return run(node, g)

    def begin(self, name: str, kind: str, owner: Any = None) -> Any:
        """Something else worth a name begins. `owner` is what `inside` may ask for."""

    def end(self, token: Any) -> None:
        """It ends."""

    def span(self, name: str, kind: str, run: Callable, *args: Any, **kwargs: Any) -> Any:
        """Something else worth a name: `run(*args, **kwargs)`."""
        token = self.begin(name, kind)
        try:
            return run(*args, **kwargs)
        finally:
            self.end(token)

    def inside(self, owner: Any) -> bool:
        """Whether `owner` has told of itself: what began last in this thread, and has not ended, is its. (Or nobody wants to know.)"""
        return True

    def wants_steps(self) -> bool:
        """Whether to be told of each step of a native program that is about to run."""
        return False

    def step(self, exe: Any, index: int, run: Callable) -> None:
        """Step `index` of a native program: `run()`."""
        run()


def observe(observer: Observer | None) -> None:
    """Let `observer` know what runs, from now on, or nobody. One at a time (RuntimeError)."""
    with _lock:
        if observer is not None and state.observer is not None:
            raise RuntimeError("somebody observes already")
        state.slow += (observer is not None) - (state.observer is not None)
        state.observer = observer


@contextlib.contextmanager
def observed(observer: Observer) -> Iterator[Observer]:
    """Let `observer` know what runs inside the block."""
    observe(observer)
    try:
        yield observer
    finally:
        observe(None)


def canonical(op: Op, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The operator's canonical tensors and attributes for the user's arguments; or (name, args, kwargs) when its front
    hands the call over to another operator."""
    return op.front(*args, **kwargs)


@contextlib.contextmanager
def interpreting(interpreter: Interpreter) -> Iterator[Interpreter]:
    """Put `interpreter` on top of this thread's stack inside the block."""
    local.stack.append(interpreter)
    add_slow(1)
    try:
        yield interpreter
    finally:
        add_slow(-1)
        local.stack.remove(interpreter)


@contextlib.contextmanager
def below(depth: int = 1) -> Iterator[None]:
    """Run the block with the top `depth` interpreters set aside."""
    saved = local.stack
    local.stack = saved[:-depth]
    try:
        yield
    finally:
        local.stack = saved


def values_known() -> bool:
    """Whether tensors' values may be looked at now; checks of values are left out where not."""
    return not local.stack or all([i.values and i.single for i in local.stack])


def top() -> Interpreter | None:
    return local.stack[-1] if local.stack else None


def call_top(op: Op, args: tuple, kwargs: dict) -> Any:
    """Let the interpreter on top handle the call."""
    interpreter = local.stack[-1]
    if interpreter.stays:
        return interpreter.call(op, args, kwargs)
    with below():
        return interpreter.call(op, args, kwargs)
