"""Modules as functions of their tensors: `functional_call`, `stack_module_state`, `replace_all_batch_norm_modules_`.

In: modules. Out: their results with other tensors in place of their own, or the tensors of several modules stacked, so that
`vmap` runs all of them at once. Definitions: torch.func. What stays true: `functional_call` leaves the module as it was.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..core.errors import fail
from ..nn.modules.module import Module
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.utils.stateless import _functional_call
from ..ops.op import F
from ..tensor.tensor import Tensor

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]


def functional_call(module: Module, parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]], args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False) -> Any:
    """`module(*args, **kwargs)` with these tensors in place of its own.

    parameter_and_buffer_dicts: {dotted name: tensor}, or several of them without a common name. args: a tuple, or the only
    argument. tie_weights: a tensor the module holds under several names is replaced under all of them. strict: all the module's
    tensors must be given, and no others. Raises ValueError for a name that is in two dictionaries.
    """
    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        if not isinstance(given, Sequence):
            raise ValueError(f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(given)}")
        if not all([isinstance(d, dict) for d in given]):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        repeated = [k for k, n in Counter([k for d in given for k in d]).items() if n > 1]
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {k: v for d in given for k, v in d.items()}
    return _functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of modules of one class, each {dotted name: tensor with a new first dimension, one per module}. The
    stacked parameters are new leaves, for an optimizer to update.

    Raises RuntimeError for no module, for modules of different classes or modes, or where only some require a gradient.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return ({k: stacked([p[k] for p in parameters], k) for k in parameters[0]}, {k: stacked([b[k] for b in buffers], k) for k in buffers[0]})


def stacked(tensors: list, name: str) -> Tensor:
    """The tensors as one leaf."""
    wants = {t.requires_grad for t in tensors}
    if len(wants) > 1:
        fail(RuntimeError, "P4040", f"Expected {name} from each model to have the same .requires_grad", fix="freeze it in all models or in none")
    return F.stack([t.detach() for t in tensors]).requires_grad_(wants.pop())


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Make every batch norm in `root` use the statistics of its batch only: running ones would have to be written for each example.
    Returns `root`."""
    for module in root.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
