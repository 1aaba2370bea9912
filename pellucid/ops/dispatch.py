"""Who runs an operator: a stack of interpreters per thread (tracing, fake tensors, vmap, ...), eager beneath them.

The fast path of every entry point reads one flag, `state.slow`. It is 0 unless some thread has an interpreter, a mode or
a Tensor subclass that overrides behaviour; only then does `dispatch` look closer.

True always: while an interpreter handles a call, it is off the stack, so what it calls reaches the one below; unless it
`stays`, because it sees what it calls itself as calls of the program too.
"""
from __future__ import annotations

import contextlib
from _thread import _local, allocate_lock
from collections.abc import Iterator
from typing import Any

from .op import COMPOSITE, Op


class _State:
    """`slow` counts reasons to leave the fast path, over all threads; `moves` how often something about a tensor changed that seldom does: it
    was given other memory, wants gradients or not, has another hook; `grads` how often a gradient was handed out or replaced. Both are
    moved after the change."""

    __slots__ = ("slow", "moves", "grads")

    def __init__(self):
        self.slow = self.moves = self.grads = 0


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
    autocast = None             # the active autocast block (tensor.autocast.Autocast)

    def __init__(self):
        self.stack: list[Interpreter] = []


state = _State()
local = _ThreadState()
_lock = allocate_lock()


def add_slow(n: int) -> None:
    """Count a reason for the slow path in (+1) or out (-1)."""
    with _lock:
        state.slow += n


def watched() -> bool:
    """Whether somebody wants to see every operator of this thread: an interpreter, a mode, hooks of saved tensors, anomaly detection."""
    return bool(local.stack or local.function_modes or local.saved_hooks or local.anomaly)


class Interpreter:
    """Sees every operator called inside `with interpreting(self)`.

    `call` gets the operator and the user's arguments. `canonical(op, args, kwargs)` gives (tensors, attrs).
    A composite that an interpreter does not want whole is run by `decompose`, whose parts come back to it.
    """

    stays = False           # on top of the stack while it handles a call
    values = True           # tensors hold values that may be looked at
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
