"""The dropout family: multiply by random noise that is 0 with probability p and keeps the mean.

In: a tensor, the probability, whether in training. Out: the tensor itself when nothing is to be done, else a new one (or
the same, written in place). Derivatives follow from the product. `dropout(input, p, train)` and its relatives in the main
namespace have PyTorch's positional signatures; `nn.functional` has the usual ones.
"""
from __future__ import annotations

import math
import warnings

from ._common import describe, dt, fail
from .op import F, composite
from .random import number

ALPHA = 1.7580993408473766      # of SELU: the value that alpha dropout saturates to


def check_probability(p: float, kind=RuntimeError) -> None:
    if not 0.0 <= p <= 1.0:
        fail(kind, "P628", f"dropout probability has to be between 0 and 1, but got {p}", fix="give p in [0, 1]")


def noise_of(input, p: float, scaled: bool):
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        fail(RuntimeError, "P213", f"result type Float can't be cast to the desired output type {input.dtype.type_name}",
             got=describe(input), fix="convert the input to a floating dtype first")
    return F.dropout_noise(input, p, scaled)


def feature_view(input):
    """One element per sample and channel, of shape [N, C, 1, ...]."""
    if input.ndim < 2:
        fail(RuntimeError, "P670", "Feature dropout requires at least 2 dimensions in the input", got=describe(input),
             fix="give [batch, channels, ...]")
    return F.empty((*input.shape[:2], *[1] * (input.ndim - 2)), dtype=input.dtype)


def times(input, noise, inplace: bool):
    return input.mul_(noise) if inplace else F.mul(input, noise)


def drop(input, p: float, train: bool, inplace: bool, *, feature: bool = False, alpha: bool = False):
    """The four dropouts of PyTorch: elements or whole channels; to zero or, keeping SELU's moments, to a constant."""
    check_probability(p)
    if p == 0 or not train or input.numel() == 0:
        return input
    if p == 1:
        return times(input, F.zeros((), dtype=input.dtype), inplace)
    noise = noise_of(feature_view(input) if feature else input, p, not alpha)
    if not alpha:
        return times(input, noise, inplace)
    a = 1 / math.sqrt((ALPHA * ALPHA * p + 1) * (1 - p))
    shift = F.add(F.mul(F.add(noise, -1), ALPHA * a), ALPHA * a * p)
    out = times(input, F.mul(noise, a), inplace)
    return out.add_(shift) if inplace else F.add(out, shift)


def samples(m):
    return [((m.t(2, 3, 4), 0.4, True), {}), ((m.t(2, 3, 4), 0.0, True), {}), ((m.t(17, 5), 0.5, False), {}),
            ((m.t(2, 3, 4), 1.0, True), {}), ((m.t(0, 3), 0.5, True), {})]


def main_namespace(name: str, feature: bool, alpha: bool, doc: str) -> None:
    def dropout(input, p, train):
        return drop(input, float(p), train, False, feature=feature, alpha=alpha)

    def dropout_(input, p, train):
        return drop(input, float(p), train, True, feature=feature, alpha=alpha)
    composite(dropout, name=name, doc=doc + " `name(input, p, train)`, all positional.".replace("name", name), samples=samples)
    composite(dropout_, name=name + "_", doc=f"`{name}`, in place.", samples=samples)


main_namespace("dropout", False, False, "Zero each element with probability p and scale the rest by 1 / (1 - p).")
main_namespace("feature_dropout", True, False, "Zero whole channels with probability p and scale the rest by 1 / (1 - p).")
main_namespace("alpha_dropout", False, True, "Dropout that keeps the mean and variance of SELU activations.")
main_namespace("feature_alpha_dropout", True, True, "Alpha dropout of whole channels.")


@composite(samples=samples)
def native_dropout(input, p, train):
    """(output, mask): dropout, and the bool mask of what was kept."""
    if input.numel() == 0:
        return input, F.empty(tuple(input.shape), dtype=dt.bool_)
    if train is False:
        return F.clone(input), F.ones(tuple(input.shape), dtype=dt.bool_)
    keep = 1.0 - float(p)
    mask = F.bernoulli(F.empty(tuple(input.shape), dtype=dt.bool_), keep)
    return F.mul(F.mul(input, mask), 0.0 if keep == 0 else 1 / keep), mask


# ---------------------------------------------------------------------------------------------------- nn.functional
def functional(name: str, *, dims=(2, 3, 4)):
    """Decorator over a function of `nn.functional`."""
    def cases(m):
        return [((m.t(*shape), p), {"training": train}) for shape in (dims, (0, *dims[1:]))
                for p, train in ((0.4, True), (0.0, True), (0.5, False), (1.0, True))]
    return composite(name="functional_" + name, public=name, ns="nn.functional", samples=cases)


def warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=4)      # this function, the operator's, its entry point, the user's line


def deprecated_rank(fn: str, n: int, spatial: int, ranks: str) -> str:
    return (f"{fn}: Received a {n}-D input to {fn}, which is deprecated and will result in an error in a future release. To retain "
            f"the behavior and silence this warning, please use dropout instead. Note that {fn} exists to provide channel-wise "
            f"dropout on inputs with {spatial} spatial dimensions, a channel dimension, and an optional batch dimension "
            f"(i.e. {ranks} inputs).")


@functional("dropout")
def functional_dropout(input, p=0.5, training=True, inplace=False):
    """Zero each element with probability `p` and scale the rest by 1 / (1 - p); nothing outside training."""
    check_probability(p, ValueError)
    return drop(input, float(p), training, inplace)


@functional("alpha_dropout")
def functional_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps the mean and variance of SELU activations (Klambauer et al. 2017)."""
    check_probability(p, ValueError)
    return drop(input, float(p), training, inplace, alpha=True)


@functional("feature_alpha_dropout")
def functional_feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Alpha dropout of whole channels: one draw per sample and channel of [N, C, ...]."""
    check_probability(p, ValueError)
    return drop(input, float(p), training, inplace, feature=True, alpha=True)


def batched(input, add: bool, inplace: bool):
    """`input` with a batch dimension in front, if it needs one."""
    return input if not add else input.unsqueeze_(0) if inplace else F.unsqueeze(input, 0)


def unbatched(result, added: bool, inplace: bool):
    return result if not added else result.squeeze_(0) if inplace else F.squeeze(result, 0)


@functional("dropout1d")
def functional_dropout1d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of [N, C, L] or [C, L] with probability `p` and scale the rest by 1 / (1 - p)."""
    check_probability(p, ValueError)
    n = input.ndim
    if n not in (2, 3):
        fail(RuntimeError, "P671", f"dropout1d: Expected 2D or 3D input, but received a {n}D input. Note that dropout1d exists to "
             "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch "
             "dimension (i.e. 2D or 3D inputs).", got=describe(input))
    x = batched(input, n == 2, inplace)
    return unbatched(drop(x, float(p), training, inplace, feature=True), n == 2, inplace)


@functional("dropout2d", dims=(2, 3, 4, 5))
def functional_dropout2d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of [N, C, H, W] with probability `p` and scale the rest by 1 / (1 - p)."""
    check_probability(p, ValueError)
    n = input.ndim
    if n not in (3, 4):
        warn(deprecated_rank("dropout2d", n, 2, "3D or 4D"))
    if n == 3:
        warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - input is "
             "interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future release to interpret "
             "the input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise dropout behavior, "
             "please switch to using dropout1d instead.")
    return drop(input, float(p), training, inplace, feature=True)


@functional("dropout3d", dims=(2, 2, 1, 3, 2))
def functional_dropout3d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of [N, C, D, H, W] or [C, D, H, W] with probability `p` and scale the rest by 1 / (1 - p)."""
    check_probability(p, ValueError)
    n = input.ndim
    if n not in (4, 5):
        warn(deprecated_rank("dropout3d", n, 3, "4D or 5D"))
    x = batched(input, n != 5, inplace)
    return unbatched(drop(x, float(p), training, inplace, feature=True), n != 5, inplace)


# ---------------------------------------------------------------------------------------------------- rrelu
def rrelu_with(input, lower, upper, training: bool, inplace: bool, generator=None):
    lower, upper = number(lower, "rrelu", "lower"), number(upper, "rrelu", "upper")
    if not lower <= upper:
        fail(RuntimeError, "P672", "Lower bound should be less than or equal to the upper bound",
             got=f"lower {lower}, upper {upper}")
    if not training:
        slope = (lower + upper) / 2
        return F.nn_leaky_relu(input, slope, inplace)
    return times(input, F.rrelu_noise(input, lower, upper, generator), inplace)


def rrelu_samples(m):
    return [((m.t(*shape), lower, upper, train), {}) for shape in ((2, 3), (17,), (0, 3))
            for lower, upper, train in ((0.1, 0.3, True), (0.25, 0.3, False))]


@composite(samples=rrelu_samples)
def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    """`input` where positive, else times a slope: uniform in [lower, upper) in training, their mean otherwise (Xu et al. 2015)."""
    return rrelu_with(input, lower, upper, training, False, generator)


@composite(name="rrelu_", samples=rrelu_samples)
def rrelu_(input, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    """`rrelu`, in place."""
    return rrelu_with(input, lower, upper, training, True, generator)


@composite(name="functional_rrelu", public="rrelu", ns="nn.functional", samples=rrelu_samples)
def functional_rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    """`input` where positive, else times a slope: uniform in [lower, upper) in training, their mean otherwise (Xu et al. 2015)."""
    return rrelu_with(input, lower, upper, training, inplace)


@composite(name="functional_rrelu_", public="rrelu_", ns="nn.functional", samples=rrelu_samples)
def functional_rrelu_(input, lower=1 / 8, upper=1 / 3, training=False):
    """`rrelu`, in place."""
    return rrelu_with(input, lower, upper, training, True)
