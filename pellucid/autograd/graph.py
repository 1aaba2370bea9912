"""Looking at and steering the recorded graph: drawing it, saved-tensor hooks, nodes and edges, hooks over several tensors."""
from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence

from ..core.storage import root
from ..ops.dispatch import local
from ..tensor.autograd import place_of
from ..tensor.core import GradientEdge, Node, accumulator, node_extras
from ..tensor.hooks import RemovableHandle
from ..tensor.modes import disable_saved_tensors_hooks, no_grad, save_on_cpu, saved_tensors_hooks
from .drawing import Drawing, draw

__all__ = ["Drawing", "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "draw", "get_gradient_edge",
           "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks"]


def get_gradient_edge(tensor) -> GradientEdge:
    """The edge that the gradient of `tensor` flows through. Raises RuntimeError if it does not require grad."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    node, oi = tensor.grad_fn, tensor.output_nr
    if node is None:
        return GradientEdge(accumulator(tensor), 0)
    x = node_extras(node)                     # so that backward from the edge knows its shape
    specs = list(x.out_specs or [None] * type(node)._nout)
    specs[oi] = (tensor._a.shape, tensor._a.dtype)
    x.out_specs = specs
    return GradientEdge(node, oi)


def increment_version(tensor) -> None:
    """Say that `tensor` (or each of several) was written by code autograd does not see."""
    for t in (tensor,) if not isinstance(tensor, (list, tuple)) else tensor:
        t._bump()


class _Handles(RemovableHandle):
    """Several handles as one."""

    def __init__(self, handles: Sequence[RemovableHandle]):
        self.handles = tuple(handles)

    def remove(self) -> None:
        for h in self.handles:
            h.remove()

    def __getstate__(self):
        return self.handles

    def __setstate__(self, state):
        self.handles = state


def register_multi_grad_hook(tensors: Sequence, fn: Callable, *, mode: str = "all") -> RemovableHandle:
    """Call `fn` once per backward pass that reaches any of `tensors`.

    mode "all": `fn(grads)` when the last of their gradients is known, with None for tensors the pass does not reach;
    "any": `fn(grad)` at the first one. Returns a handle that removes the hook.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    passes: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()      # backward pass -> [gradients, how many are to come]

    def seen(task) -> list:
        """The state of the pass, new at its first gradient."""
        if task not in passes:
            passes[task] = [[None] * len(tensors), sum(task.will_reach(place_of(t)[0]) for t in tensors if t.requires_grad)]
        return passes[task]

    def hook_of(i: int):
        def all_hook(g):
            with lock:
                now = seen(local.task)
                now[0][i] = g
                now[1] -= 1
                done = now[1] == 0
            if done:
                fn(now[0])

        def any_hook(g):
            with lock:
                first = local.task not in passes
                passes[local.task] = None
            if first:
                fn(g)
        return all_hook if mode == "all" else any_hook

    return _Handles([t.register_hook(hook_of(i)) for i, t in enumerate(tensors) if t.requires_grad])


# ------------------------------------------------------------------------------------------------ mutation of saved tensors
class _Handle:
    """Stands for a saved tensor in the graph; when the node that holds it goes, what was kept for it goes too."""

    __slots__ = ("__weakref__",)


class _Mutable:
    """The state of one `allow_mutation_on_saved_tensors` block."""

    def __init__(self):
        self.original: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()               # handle -> the tensor saved
        self.cloned: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()                 # handle -> its value before a write
        self.tid_to_weakhandle: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # (tensor, version) -> handle

    def pack(self, t) -> _Handle:
        key = (id(t), t._version)
        handle = self.tid_to_weakhandle.get(key)
        if handle is None:
            handle = self.tid_to_weakhandle[key] = _Handle()
            self.original[handle] = t
        return handle

    def unpack(self, handle: _Handle):
        if handle in self.cloned:
            return self.cloned[handle]
        if handle not in self.original:
            raise AssertionError("Trying to backward outside of the 'allow_mutation_on_saved_tensors' context in which the graph was "
                                 "originally recorded.")
        return self.original[handle]

    def before_write(self, t) -> None:
        """Keep the values of saved tensors that share the memory about to be written."""
        memory = root(t._a)
        for handle, old in list(self.original.items()):
            if root(old._a) is memory:
                with no_grad():
                    self.cloned[handle] = old.detach().clone()
                del self.original[handle]
                self.tid_to_weakhandle.pop((id(old), old._version), None)

    def clear(self) -> None:
        self.original.clear()
        self.cloned.clear()
        self.tid_to_weakhandle.clear()


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[_Mutable]:
    """Inside, a tensor that backward needs may be written in place: its value is copied before the first write.

    Backward must run inside the block too. Blocks cannot be nested (RuntimeError)."""
    if local.before_write is not None:
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
    kept = _Mutable()
    with saved_tensors_hooks(kept.pack, kept.unpack):
        local.before_write = kept.before_write
        try:
            yield kept
        finally:
            local.before_write = None
            kept.clear()
