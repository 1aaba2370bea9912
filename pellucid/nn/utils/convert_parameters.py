"""Parameters as one flat vector, and back.

In: parameters in a fixed order. Out: a vector of all their values, or the parameters with values taken from one.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...tensor import Tensor
from ...tensor import functions as T

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All values of ``parameters``, flattened and joined (1-d; differentiable).

    Raises:
        TypeError: the parameters are on different devices.
    """
    parameters = list(parameters)
    _require_one_device(parameters)
    return T.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make slices of ``vec`` the data of ``parameters`` (they share its memory).

    Raises:
        TypeError: ``vec`` is not a tensor, or the parameters are on different devices.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _require_one_device(parameters)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = vec[start:end].view_as(parameter).data
        start = end


def _require_one_device(parameters: list[Tensor]) -> None:
    if len({str(parameter.device) for parameter in parameters}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
