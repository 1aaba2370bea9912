"""Filling tensors with initial values.

In: a tensor, changed in place and returned. Out: the values of the named scheme, drawn from the default generator or
from ``generator``. What stays true: nothing is recorded by autograd, and the random stream is consumed exactly as in
PyTorch, so that the same seed gives the same weights.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from ..core.errors import describe, fail, unknown as _unknown
from .. import linalg
from ..tensor import Tensor, no_grad
from ..tensor import functions as T

__all__ = [
    "calculate_gain",
    "uniform_",
    "normal_",
    "trunc_normal_",
    "constant_",
    "ones_",
    "zeros_",
    "eye_",
    "dirac_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "orthogonal_",
    "sparse_",
    "uniform",
    "normal",
    "constant",
    "eye",
    "dirac",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
    "sparse",
]

_GAINS = {"sigmoid": 1, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4, "linear": 1}
_GAINS |= {f"conv{kind}{n}d": 1 for kind in ("", "_transpose") for n in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param: int | float | None = None) -> float:
    """By how much weights should be scaled to keep the variance through ``nonlinearity``.

    Args:
        nonlinearity: 'linear', 'conv1d', ..., 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'.
        param: the negative slope of 'leaky_relu' (default 0.01).

    Raises:
        ValueError: the name is unknown, or ``param`` is not a number.
    """
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        elif isinstance(param, bool) or not isinstance(param, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + param**2))
    if nonlinearity not in _GAINS:
        fail(ValueError, "P640", f"Unsupported nonlinearity {nonlinearity}",
             fix="choose among linear, conv1d to conv3d, sigmoid, tanh, relu, leaky_relu, selu")
    return _GAINS[nonlinearity]


# -- plain distributions and constants -------------------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Values uniform in [a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normally distributed values."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normally distributed values restricted to [a, b], by rejection sampling.

    ``a`` and ``b`` are absolute values, not multiples of ``std``.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
            "incorrect.",
            stacklevel=2,
        )
    if tensor.is_meta:
        return tensor
    with no_grad():
        inside = _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std)
        if inside > 0.3:
            return _redraw_normal(tensor, mean, std, a, b, generator)
        return _reject_uniform(tensor, mean, std, a, b, generator)


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redraw_normal(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> Tensor:
    """Most normal values lie inside: draw them, and redraw those outside until none is left."""
    low, high = tensor.new_tensor(a).item(), tensor.new_tensor(b).item()  # the bounds as the tensor's dtype holds them
    values = tensor.normal_(mean, std, generator=generator)
    while (outside := (values < low) | (values > high)).any():
        fresh = T.empty_like(values).normal_(mean, std, generator=generator)
        values = T.where(outside, fresh, values)
    return tensor if values is tensor else tensor.copy_(values)


def _reject_uniform(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> Tensor:
    """Few normal values lie inside: draw uniform ones in [a, b] and accept them with the normal density over its peak."""
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2

    def rejected(candidates: Tensor) -> Tensor:
        log_density = candidates.sub(mean).div_(std).pow_(2).mul_(-0.5).sub_(peak)
        return T.empty_like(candidates).uniform_(generator=generator).log_().gt(log_density)

    values = tensor.uniform_(a, b, generator=generator)
    pending = rejected(values)
    while pending.any():
        candidates = T.empty_like(tensor).uniform_(a, b, generator=generator)
        values = T.where(pending, candidates, values)
        pending = T.where(pending, rejected(candidates), pending)
    return tensor if values is tensor else tensor.copy_(values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The value ``val`` everywhere."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    with no_grad():
        return tensor.fill_(1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    with no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix; ``tensor`` must have 2 dimensions (ValueError otherwise)."""
    if tensor.ndimension() != 2:
        fail(ValueError, "P642", "Only tensors with 2 dimensions are supported",
             got=describe(tensor), fix="pass a matrix")
    with no_grad():
        tensor.zero_()
        tensor.diagonal().fill_(1)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights that pass each input channel on unchanged, as far as there are output channels.

    ``tensor``: (out, in / groups, *kernel) with 1 to 3 kernel dimensions.

    Raises:
        ValueError: another number of dimensions, or ``out`` is not divisible by ``groups``.
    """
    dimensions = tensor.ndimension()
    if dimensions not in (3, 4, 5):
        fail(ValueError, "P643", "Only tensors with 3, 4, or 5 dimensions are supported",
             got=describe(tensor), fix="pass the weight of a convolution")
    out_channels, in_channels, *kernel = tensor.shape
    if out_channels % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    if tensor.is_meta:
        return tensor
    per_group = out_channels // groups
    centre = tuple(size // 2 for size in kernel)
    with no_grad():
        tensor.zero_()
        for group in range(groups):
            for d in range(min(per_group, in_channels)):
                tensor[(group * per_group + d, d, *centre)] = 1
    return tensor


# -- schemes that scale by the size of a layer -----------------------------------------------------------------------


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output of a weight sees, and how many outputs each input feeds."""
    if tensor.dim() < 2:
        fail(ValueError, "P641", "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions",
             got=describe(tensor), fix="biases and other vectors take normal_, uniform_ or zeros_")
    receptive_field = math.prod(tensor.shape[2:])
    return tensor.size(1) * receptive_field, tensor.size(0) * receptive_field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    modes = ["fan_in", "fan_out"]
    if mode not in modes:
        fail(ValueError, "P645", f"Mode {mode} not supported, please use one of {modes}",
             fix="fan_in keeps the variance forward, fan_out backward")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode)]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with std = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Uniform in [-b, b) with b = gain * sqrt(3 / fan) (He et al., 2015).

    Args:
        a: the negative slope of the leaky ReLU that follows.
        mode: 'fan_in' keeps the variance in the forward pass, 'fan_out' in the backward pass.
        nonlinearity: what follows the layer (see ``calculate_gain``).
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan)
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Normal with std = gain / sqrt(fan) (He et al., 2015). Arguments as for ``kaiming_uniform_``."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    return normal_(tensor, 0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix times ``gain`` (Saxe et al., 2013); further dimensions are flattened into the second.

    Raises:
        ValueError: fewer than 2 dimensions.
    """
    if tensor.ndimension() < 2:
        fail(ValueError, "P644", "Only tensors with 2 or more dimensions are supported",
             got=describe(tensor), fix="biases and other vectors take normal_, uniform_ or zeros_")
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    rows = tensor.size(0)
    cols = tensor.numel() // rows
    with no_grad():
        matrix = tensor.new_empty((rows, cols)).normal_(0, 1, generator=generator)
        q, r = linalg.qr(matrix.t() if rows < cols else matrix)
        q = q * T.diag(r).sign()  # makes Q uniformly distributed (Mezzadri, 2007)
        tensor.copy_((q.t() if rows < cols else q).reshape(tensor.shape))
        return tensor.mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal values with a fraction ``sparsity`` of every column set to zero (Martens, 2010).

    The rows to clear are drawn from the default generator.

    Raises:
        ValueError: ``tensor`` does not have 2 dimensions.
    """
    if tensor.ndimension() != 2:
        fail(ValueError, "P642", "Only tensors with 2 dimensions are supported",
             got=describe(tensor), fix="pass a matrix")
    if tensor.is_meta:
        return tensor
    rows, cols = tensor.shape
    cleared = math.ceil(sparsity * rows)
    with no_grad():
        tensor.normal_(0, std, generator=generator)
        for col in range(cols):
            tensor[T.randperm(rows)[:cleared], col] = 0
    return tensor


# -- the old names ---------------------------------------------------------------------------------------------------


def _deprecated(new: Callable[..., Tensor]) -> Callable[..., Tensor]:
    old_name = new.__name__[:-1]

    @functools.wraps(new)
    def old(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old_name}` is now deprecated in favor of `nn.init.{new.__name__}`.", FutureWarning, stacklevel=2
        )
        return new(*args, **kwargs)

    old.__name__ = old.__qualname__ = old_name
    old.__doc__ = f"Deprecated: use ``{new.__name__}``."
    return old


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)

__getattr__ = _unknown(globals())
