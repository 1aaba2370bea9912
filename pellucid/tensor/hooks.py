"""Hooks on tensors and nodes, and the handle that removes them."""
from __future__ import annotations

import weakref
from collections import OrderedDict

from ..core.errors import describe, fail
from ..ops.dispatch import state
from .core import AccumulateGrad, Node, node_extras, touch


class RemovableHandle:
    """Removes its hook by `remove()`, or at the end of the `with` block it is used as."""

    _next = 0

    def __init__(self, hooks_dict, *, extra_dict=None):
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.id = RemovableHandle._next
        RemovableHandle._next += 1
        extra = extra_dict if isinstance(extra_dict, (list, tuple)) else () if extra_dict is None else (extra_dict,)
        self.extra_dict_ref = tuple(weakref.ref(d) for d in extra)

    def remove(self) -> None:
        """Take the hook away; doing it twice is harmless."""
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            d = ref()
            if d is not None and self.id in d:
                del d[self.id]
                state.moves += 1

    def follow(self, old, new) -> None:
        """The hooks of `old` are in `new` from now on."""
        if self.hooks_dict_ref() is old:
            self.hooks_dict_ref = weakref.ref(new)

    def __getstate__(self):
        return (self.hooks_dict_ref(), self.id, tuple(r() for r in self.extra_dict_ref))

    def __setstate__(self, state):
        self.hooks_dict_ref = weakref.ref(OrderedDict() if state[0] is None else state[0])
        self.id = state[1]
        RemovableHandle._next = max(RemovableHandle._next, self.id + 1)
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if d is None else d) for d in (state[2] if len(state) > 2 else ()))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


def _add(container: OrderedDict, hook) -> RemovableHandle:
    handle = RemovableHandle(container)
    container[handle.id] = hook
    state.moves += 1
    return handle


def register_hook(self, hook):
    """Call `hook(grad)` when the gradient of this tensor is computed; a returned tensor replaces it."""
    if not self._rg:
        fail(RuntimeError, "P340", "cannot register a hook on a tensor that doesn't require gradient", got=describe(self),
             fix="set requires_grad_() first; hooks see gradients, and this tensor gets none")
    if self.is_leaf:
        touch(self)
        extras = self._extras()
        if extras.hooks is None:
            extras.hooks = OrderedDict()
        return _add(extras.hooks, hook)
    extras = node_extras(self._fn)
    if extras.tensor_hooks is None:
        extras.tensor_hooks = {}
    return _add(extras.tensor_hooks.setdefault(self._oi, OrderedDict()), hook)


def register_post_accumulate_grad_hook(self, hook):
    """Call `hook(tensor)` after a gradient was accumulated into this leaf's `.grad`."""
    if not self._rg:
        fail(RuntimeError, "P340", "cannot register a hook on a tensor that doesn't require gradient", got=describe(self),
             fix="set requires_grad_() first; hooks see gradients, and this tensor gets none")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    touch(self)
    extras = self._extras()
    if extras.post_hooks is None:
        extras.post_hooks = OrderedDict()
    return _add(extras.post_hooks, hook)


def retain_grad(self) -> None:
    """Keep the gradient of this non-leaf in `.grad`."""
    if not self._rg:
        fail(RuntimeError, "P341", "can't retain_grad on Tensor that has requires_grad=False", got=describe(self),
             fix="set requires_grad_() first; this tensor gets no gradient")
    if self.is_leaf or self._extras().retains:
        return
    self._x.retains = True
    extras = node_extras(self._fn)
    if extras.retain is None:
        extras.retain = {}
    extras.retain[self._oi] = weakref.ref(self)


def keep(node: Node):
    """The node's extras; the AccumulateGrad node of a leaf lives as long as the leaf from now on."""
    if type(node) is AccumulateGrad:
        node.variable._x.kept = node
    return node_extras(node)


def _register_hook(self: Node, fn):
    """Call `fn(grad_inputs, grad_outputs)` after the node ran; a returned tuple replaces the gradients."""
    extras = keep(self)
    if extras.post is None:
        extras.post = OrderedDict()
    return _add(extras.post, fn)


def _register_prehook(self: Node, fn):
    """Call `fn(grad_outputs)` before the node runs; a returned tuple replaces them."""
    extras = keep(self)
    if extras.pre is None:
        extras.pre = OrderedDict()
    return _add(extras.pre, fn)


Node.register_hook = _register_hook
Node.register_prehook = _register_prehook
METHODS = {"register_hook": register_hook, "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
           "retain_grad": retain_grad}
