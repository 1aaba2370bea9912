"""Calling a module with other tensors in place of its own.

In: a module and a dictionary of dotted names to tensors. Out: what the module returns with those. What stays true: the
module has its own tensors again afterwards, also after an error; a buffer that the call replaced by another tensor is
found in the dictionary.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from ...tensor import Tensor
from ..modules.module import Module

__all__ = ["functional_call"]

_MISSING = object()


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Deprecated: use ``func.functional_call``, which takes the same arguments."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)


def _functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module(*args, **kwargs)`` with ``parameters_and_buffers`` in place of its own tensors.

    Args:
        args: the positional arguments: a tuple, or a single one.
        tie_weights: a tensor that the module holds under several names is replaced under all of them.
        strict: require a replacement for every tensor of the module, and no others.
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def _reparametrize_module(
    module: Module, parameters_and_buffers: dict[str, Tensor], tie_weights: bool = False, strict: bool = False
) -> Iterator[None]:
    replacements = dict(parameters_and_buffers)
    if tie_weights:
        replacements = _with_tied_names(module, replacements)
    if strict:
        _check_names(module, replacements)
    originals: dict[str, Any] = {}
    try:
        for name, tensor in replacements.items():
            originals[name] = _swap(module, name, tensor)
        yield
    finally:
        for name, tensor in originals.items():
            now = _swap(module, name, tensor)
            if name in parameters_and_buffers:
                parameters_and_buffers[name] = now


def _own_tensors(module: Module) -> dict[str, Tensor]:
    tensors = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    return tensors


def _with_tied_names(module: Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """``given``, with each tensor also under the other names that the module holds the replaced one under."""
    groups: dict[int, list[str]] = {}
    for name, tensor in _own_tensors(module).items():
        groups.setdefault(id(tensor), []).append(name)
    result = dict(given)
    for names in groups.values():
        values = [given[name] for name in names if name in given]
        if len(names) > 1 and values:
            if any(value is not values[0] for value in values):
                raise ValueError(
                    f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                    "tie_weights=False"
                )
            result.update(dict.fromkeys(names, values[0]))
    return result


def _check_names(module: Module, given: dict[str, Tensor]) -> None:
    own = _own_tensors(module)
    errors = []
    unexpected = [repr(name) for name in given if name not in own]
    missing = [repr(name) for name in own if name not in given]
    if unexpected:
        errors.append(f"Unexpected key(s): {', '.join(unexpected)}.")
    if missing:
        errors.append(f"Missing key(s): {', '.join(missing)}.")
    if errors:
        listed = "\n\t".join(errors)
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{listed}")


def _swap(module: Module, path: str, tensor: Any) -> Any:
    """Put ``tensor`` (or nothing, for _MISSING) at ``path``; returns what was there (or _MISSING)."""
    if tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    prefix, _, name = path.rpartition(".")
    owner = module.get_submodule(prefix)
    # The registries are written directly: a parameter may be stood in for by any tensor.
    for registry in (owner._parameters, owner._buffers):
        if name in registry:
            before = registry[name]
            registry[name] = None if tensor is _MISSING else tensor
            return before
    before = getattr(owner, name, _MISSING)
    if before is not _MISSING and before is not None and not isinstance(before, Tensor):
        raise TypeError(f"attribute `{name}`: {before} is not an instance of torch.Tensor")
    if tensor is _MISSING:
        if before is not _MISSING:
            delattr(owner, name)
    else:
        setattr(owner, name, tensor)
    return before
