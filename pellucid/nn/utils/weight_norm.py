"""Weight normalisation by a forward hook (the older form; see ``parametrizations.weight_norm``).

In: a module with a parameter. Out: the module with that parameter replaced by a magnitude ``<name>_g`` and a direction
``<name>_v``, from which it is computed before every forward (Salimans and Kingma, 2016).
"""

from __future__ import annotations

import warnings
from typing import Any

from ...tensor import Tensor
from ..parameter import Parameter, is_lazy
from ..modules.module import Module

__all__ = ["WeightNorm", "weight_norm", "remove_weight_norm", "norm_except_dim", "normalized_weight"]


def norm_except_dim(v: Tensor, p: float = 2, dim: int = 0) -> Tensor:
    """The p-norm over all dimensions but ``dim``, which keeps its size (the others get size 1); -1: the norm of all."""
    if dim == -1:
        return v.norm(p)
    rows = v.transpose(0, dim)
    norms = rows.reshape(rows.size(0), -1).norm(p, 1)
    return norms.reshape([-1 if d == dim else 1 for d in range(v.dim())])


def normalized_weight(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """``v`` scaled so that its norm along ``dim`` is ``g``."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The forward pre-hook that computes the weight."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight from the magnitude and the direction held by ``module``."""
        return normalized_weight(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Split the parameter ``name`` of ``module`` and register the hook."""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm) and hook.name == name:
                raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        norm = WeightNorm(name, dim)
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run the dummy "
                "forward before applying weight normalization"
            )
        del module._parameters[name]
        module.register_parameter(name + "_g", Parameter(norm_except_dim(weight, 2, norm.dim).data))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, norm.compute_weight(module))
        module.register_forward_pre_hook(norm)
        return norm

    def remove(self, module: Module) -> None:
        """Put the weight back as one parameter."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"]
        del module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Deprecated: apply weight normalisation to the parameter ``name``. Use ``parametrizations.weight_norm``.

    Args:
        dim: the dimension that keeps its own norms; None: one norm for the whole tensor.

    Raises:
        RuntimeError: it is applied already.
        ValueError: the parameter has no shape yet.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo ``weight_norm``: the parameter ``name`` is one tensor again.

    Raises:
        ValueError: it was not applied.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
