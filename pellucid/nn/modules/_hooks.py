"""Registering hooks on a module.

In: the user's functions. Out: their place in the module's hook dictionaries, and a handle that removes them again.
What stays true: global hooks (kept in ``module.py``) run before a module's own, ``prepend=True`` puts a hook first
among the module's own, and the list ``_has_hooks`` of a module is not empty wherever one of its hooks might have to run, also
where a hook was put into a dictionary by hand.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...tensor import Tensor
from ...utils.hooks import RemovableHandle

__all__ = ["Hooks", "ModuleHooks", "WrappedHook", "add_hook", "old_style_hook_gap"]

_MIXED_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of them."
)


class Changes:
    """How many attributes of modules were set and hooks added so far: whoever relies on some looks again when this has moved. `equal`:
    how many classes of modules say themselves what is equal to what; as long as there is none, equal modules are the same."""

    count = equal = 0


class WrappedHook:
    """A hook together with (weakly) the module it is to be called with."""

    def __init__(self, hook: Callable, module: Any = None) -> None:
        functools.update_wrapper(self, hook)
        self.hook = hook
        self.with_module = module is not None
        if self.with_module:
            self.module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook = state["hook"]
        self.with_module = state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class Hooks(OrderedDict):
    """Hooks that a call of a module runs. Whoever puts one in raises `flag`, a list that is empty while there is none."""

    flag: list | None = None  # None only while a copy is being made

    @classmethod
    def raising(cls, flag: list) -> Hooks:
        """An empty one."""
        made = cls()
        made.flag = flag
        return made

    def __setitem__(self, key: Any, hook: Any) -> None:
        super().__setitem__(key, hook)
        if self.flag is not None:
            self.flag.append(True)  # after the hook is there: see Module._any_hook_left
        Changes.count += 1

    def __reduce_ex__(self, protocol: Any) -> tuple:
        """As a plain dictionary, which is what PyTorch's modules have; Module.__setstate__ makes it one of these again."""
        return OrderedDict, (), None, None, iter(list(self.items()))


def add_hook(hooks: OrderedDict, hook: Callable, prepend: bool = False, flags: tuple = ()) -> RemovableHandle:
    """Put ``hook`` into ``hooks``. ``flags``: pairs (dictionary, whether to mark the hook in it)."""
    handle = RemovableHandle(hooks, extra_dict=[marked for marked, _ in flags])
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    for marked, wanted in flags:
        if wanted:
            marked[handle.id] = True
    return handle


class ModuleHooks:
    """The part of ``Module`` that registers hooks."""

    # Empty where a call may go straight to forward(): see Hooks. The call path clears it when it finds that the hooks are gone.
    _has_hooks: list

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before every ``forward``.

        It may return the arguments to use instead: a tuple, or a single value. With ``with_kwargs`` it is called
        ``hook(module, args, kwargs)`` and may return ``(args, kwargs)``.
        """
        return add_hook(
            self._forward_pre_hooks, hook, prepend, ((self._forward_pre_hooks_with_kwargs, with_kwargs),)
        )

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every ``forward``.

        It may return the output to use instead. With ``with_kwargs`` it is called
        ``hook(module, args, kwargs, output)``. With ``always_call`` it also runs when the call raised.
        """
        flags = (
            (self._forward_hooks_with_kwargs, with_kwargs),
            (self._forward_hooks_always_called, always_call),
        )
        return add_hook(self._forward_hooks, hook, prepend, flags)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the module's outputs are known.

        It may return the gradients to go on with.
        """
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the module's inputs are known.

        ``grad_input`` has one entry per positional argument, None for those that are not tensors. The hook may return
        the gradients to go on with. Inputs and outputs of such a module must not be modified in place.

        Raises:
            RuntimeError: a hook of ``register_backward_hook`` is registered.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED_HOOKS)
        self._is_full_backward_hook = True
        return add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """Deprecated: a hook on the node that made the output. Use ``register_full_backward_hook``.

        Raises:
            RuntimeError: a full backward hook is registered.
        """
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED_HOOKS)
        self._is_full_backward_hook = False
        return add_hook(self._backward_hooks, hook)


def old_style_hook_gap(inputs: Any, result: Any, grad_fn: Any) -> str | None:
    """What an old-style backward hook, which sits on the node ``grad_fn``, will miss of this call, or None."""
    advice = " Please use register_full_backward_hook to get the documented behavior."
    removed = "is deprecated and will be removed in future versions. This hook will be missing "
    if not _is_tensors(result):
        return (
            "Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors "
            + removed + "some of the grad_output." + advice
        )  # fmt: skip
    if not _is_tensors(inputs):
        return (
            "Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of "
            "Tensors " + removed + "some of the grad_input." + advice
        )
    makers = {out.grad_fn for out in _as_tuple(result) if out.grad_fn is not None}
    if len(makers) > 1:
        return (
            "Using a non-full backward hook when outputs are generated by different autograd Nodes "
            + removed + "some grad_output." + advice
        )  # fmt: skip
    if grad_fn not in makers:
        return (
            "Using a non-full backward hook when outputs are nested in python data structure "
            + removed + "some grad_output."
        )  # fmt: skip
    if {node for node, _ in grad_fn.next_functions} != {x.grad_fn for x in _as_tuple(inputs)} - {None}:
        return (
            "Using a non-full backward hook when the forward contains multiple autograd Nodes "
            + removed + "some grad_input." + advice
        )  # fmt: skip
    return None


def _is_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and all(isinstance(v, Tensor) for v in value))


def _as_tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)
