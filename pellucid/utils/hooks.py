"""Handles for hooks, and the machinery behind a module's backward hooks.

In: the arguments and results of one module call. Out: the same, their gradients passing through the user's hooks; and
``RemovableHandle``, which takes a hook away again. What stays true: values and gradients are unchanged where no hook
returns new ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from ..tensor import Function, RemovableHandle, Tensor, is_grad_enabled

__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks", "BackwardHook"]


def unserializable_hook(f: Callable) -> Callable:
    """Mark a tensor hook as known to be lost when the tensor is saved, which silences the warning about it."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor: Tensor) -> None:
    """Warn for every backward hook on ``tensor`` that saving it would lose."""
    hooks = tensor._x.hooks if tensor._x is not None else None
    for hook in (hooks or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate the "
                "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )


class BackwardHookFunction(Function):
    """The identity, as a node of the graph: the place where a module's gradients can be seen and changed."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> tuple[Tensor, ...]:
        ctx.mark_non_differentiable(*[arg for arg in args if not arg.requires_grad])
        return args

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return grads


class BackwardHook:
    """One module call seen from the backward pass.

    The inputs and the outputs of the call each go through an identity node. The output node runs the user's pre-hooks
    and keeps the gradients; the input node, reached later, runs the user's hooks with both.

    Args:
        module: passed to the hooks as first argument.
        user_hooks: called ``hook(module, grad_inputs, grad_outputs)``; may return new ``grad_inputs``.
        user_pre_hooks: called ``hook(module, grad_outputs)``; may return new ``grad_outputs``.
    """

    def __init__(self, module: Any, user_hooks: Iterable[Callable], user_pre_hooks: Iterable[Callable]) -> None:
        self.module = module
        self.user_hooks = list(user_hooks)
        self.user_pre_hooks = list(user_pre_hooks)
        self.grad_outputs: tuple | None = None  # set by the output node, consumed by the input node
        self.n_inputs = self.n_outputs = -1
        self.input_tensors_index: list[int] | None = None
        self.output_tensors_index: list[int] | None = None

    def setup_input_hook(self, args: tuple) -> tuple:
        """Thread the positional arguments of the call through the input node."""
        args, self.input_tensors_index, node = _through_identity(args)
        self.n_inputs = len(args)
        if node is not None:
            node.register_hook(self._at_inputs)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        """Thread the result of the call (a tensor or a tuple) through the output node."""
        results = result if isinstance(result, tuple) else (result,)
        results, self.output_tensors_index, node = _through_identity(results)
        self.n_outputs = len(results)
        if node is not None:
            node.register_hook(self._at_outputs)
        return results if isinstance(result, tuple) else results[0]

    def _at_outputs(self, _: Any, grad_output: tuple) -> tuple | None:
        grads = _spread(self.output_tensors_index, grad_output, self.n_outputs)
        for hook in self.user_pre_hooks:
            grads = self._replaced(
                grads, hook(self.module, grads), "Backward pre hook returned an invalid number of grad_output"
            )
        self.grad_outputs = grads
        if self.input_tensors_index is None:
            self._without_inputs()
        return tuple(grads[i] for i in self.output_tensors_index)

    def _at_inputs(self, grad_input: tuple, _: Any) -> tuple | None:
        if self.grad_outputs is None:
            return None  # the gradient reached the input without passing the output, as in double backward
        grads = _spread(self.input_tensors_index, grad_input, self.n_inputs)
        for hook in self.user_hooks:
            grads = self._replaced(
                grads,
                hook(self.module, grads, self.grad_outputs),
                "Backward hook returned an invalid number of grad_input",
            )
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_tensors_index)

    def _without_inputs(self) -> None:
        """No input needs a gradient, so there is no input node: the hooks run here and may change nothing."""
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients. See "
            "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
            "#torch.nn.Module.register_full_backward_hook for more details.",
            stacklevel=5,
        )
        for hook in self.user_hooks:
            returned = hook(self.module, (None,) * self.n_inputs, self.grad_outputs)
            if returned is not None and not (isinstance(returned, tuple) and all(g is None for g in returned)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None for "
                    "all gradients."
                )
        self.grad_outputs = None

    @staticmethod
    def _replaced(grads: tuple, returned: Any, message: str) -> tuple:
        if returned is None:
            return grads
        if not isinstance(returned, tuple):
            returned = (returned,)
        if len(returned) != len(grads):
            raise RuntimeError(f"{message}, got {len(returned)}, but expected {len(grads)}")
        return returned


def _spread(indices: Iterable[int], values: Iterable[Any], size: int) -> tuple:
    """Put ``values`` at ``indices`` of a tuple of ``None``."""
    spread: list[Any] = [None] * size
    for index, value in zip(indices, values):
        spread[index] = value
    return tuple(spread)


def _through_identity(values: tuple) -> tuple[tuple, list[int] | None, Any]:
    """Send the tensors among ``values`` through one identity node.

    Returns the new values, the places of the tensors, and the node; the last two are None when nothing needs a gradient.
    """
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not is_grad_enabled() or not any(values[i].requires_grad for i in places):
        return values, None, None
    tensors = BackwardHookFunction.apply(*[values[i] for i in places])
    node = next(t.grad_fn for t in tensors if t.grad_fn is not None and t.grad_fn.name() == "BackwardHookFunctionBackward")
    replaced = list(values)
    for place, tensor in zip(places, tensors):
        replaced[place] = tensor
    if type(values) is tuple:
        return tuple(replaced), places, node
    return type(values)(*replaced), places, node  # a namedtuple
