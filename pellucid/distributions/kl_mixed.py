"""Divergences of distributions of two families: minus the entropy of p, minus the mean of log q under p.

The mean of log q needs few facts of p: its mean and variance, the means of log x, log(1 - x) or exp(-t x), and its ends.
"""
from __future__ import annotations

import math
from typing import Any

from ..ops import F
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .kl import infinite, register_kl
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .poisson import Poisson
from .uniform import Uniform
from .utils import EULER

INFINITY = float("inf")


def outside(p: Any, low: Any, high: Any) -> Tensor | bool:
    """Whether p may fall outside [low, high]."""
    if isinstance(p, Uniform):
        return (p.low < low) | (p.high > high)
    if isinstance(p, (Beta, ContinuousBernoulli)):
        return (F.zeros_like(p.mean) < low) | (F.ones_like(p.mean) > high)
    return False                                    # the pairs registered below need no more


def finite(moment: Tensor) -> Tensor:
    """A moment with 0 for infinity: where it is infinite, the divergence is, and has no gradient."""
    return moment.masked_fill(moment.isinf(), 0.0)


def within(kl: Tensor, p: Any, low: Any, high: Any) -> Tensor:
    bad = outside(p, low, high)
    return kl if bad is False else F.where(bad, INFINITY, kl)


def x_log_x(x: Tensor) -> Tensor:
    return F.xlogy(x, x)


def mean_log(p: Any) -> Tensor:
    """The mean of log x."""
    if isinstance(p, Beta):
        return F.digamma(p.concentration1) - F.digamma(p.concentration1 + p.concentration0)
    if isinstance(p, Exponential):
        return -EULER - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return (x_log_x(p.high) - x_log_x(p.low)) / (p.high - p.low) - 1


def mean_log_rest(p: Uniform) -> Tensor:
    """The mean of log(1 - x)."""
    return (x_log_x(1 - p.low) - x_log_x(1 - p.high)) / (p.high - p.low) - 1


def mean_exp(p: Any, t: Tensor) -> Tensor:
    """The mean of exp(-t x)."""
    if isinstance(p, Exponential):
        return p.rate / (p.rate + t)
    if isinstance(p, Gamma):
        return (1 + t / p.rate).pow(-p.concentration)
    if isinstance(p, Normal):
        return (-t * p.loc + 0.5 * (t * p.scale).square()).exp()
    return ((-t * p.low).exp() - (-t * p.high).exp()) / (t * (p.high - p.low))


def to_normal(p: Any, q: Normal) -> Tensor:
    square = finite(p.variance) + (finite(p.mean) - q.loc).square()
    kl = -p.entropy() + 0.5 * (2 * math.pi * q.variance).log() + square / (2 * q.variance)
    return F.where(p.variance.isinf(), INFINITY, kl)


def to_exponential(p: Any, q: Exponential) -> Tensor:
    kl = -p.entropy() - q.rate.log() + q.rate * finite(p.mean)
    return within(F.where(p.mean.isinf(), INFINITY, kl), p, 0, INFINITY)


def to_gamma(p: Any, q: Gamma) -> Tensor:
    c, r = q.concentration, q.rate
    kl = -p.entropy() + F.lgamma(c) - c * r.log() - (c - 1) * mean_log(p) + r * finite(p.mean)
    return within(F.where(p.mean.isinf(), INFINITY, kl), p, 0, INFINITY)


def to_gumbel(p: Any, q: Gumbel) -> Tensor:
    t = q.scale.reciprocal()
    return -p.entropy() + q.scale.log() + (p.mean - q.loc) * t + (q.loc * t).exp() * mean_exp(p, t)


def to_uniform(p: Any, q: Uniform) -> Tensor:
    return within(-p.entropy() + (q.high - q.low).log(), p, q.low, q.high)


def to_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> Tensor:
    return within(-p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._cont_bern_log_norm(), p, 0, 1)


def to_infinity(p: Any, q: Any) -> Tensor:
    """p has values that q cannot have."""
    return infinite(p.rate if isinstance(p, Poisson) else p.mean)


for _rule, _kind, _from in (
    (to_normal, Normal, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform)),
    (to_exponential, Exponential, (Beta, ContinuousBernoulli, Gamma, Pareto, Uniform)),
    (to_gamma, Gamma, (Beta, Exponential, Pareto, Uniform)),
    (to_gumbel, Gumbel, (Exponential, Gamma, Normal, Uniform)),
    (to_uniform, Uniform, (Beta, ContinuousBernoulli)),
    (to_continuous_bernoulli, ContinuousBernoulli, (Beta, Uniform)),
    (to_infinity, Beta, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (to_infinity, ContinuousBernoulli, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (to_infinity, Exponential, (Gumbel, Laplace, Normal)),
    (to_infinity, Gamma, (Gumbel, Laplace, Normal)),
    (to_infinity, Pareto, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Normal)),
    (to_infinity, Uniform, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (to_infinity, Bernoulli, (Poisson,)),
    (to_infinity, Binomial, (Poisson,)),
):
    for _p in _from:
        register_kl(_p, _kind)(_rule)


@register_kl(Bernoulli, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Normal, Laplace)
def _(p: Any, q: Any) -> Tensor:
    far = p.loc - q.loc
    mean_far = p.scale * math.sqrt(2 / math.pi) * (-0.5 * (far / p.scale).square()).exp() + far * F.erf(far / (p.scale * math.sqrt(2)))
    return -p.entropy() + (2 * q.scale).log() + mean_far / q.scale


@register_kl(Uniform, Beta)
def _(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    norm = F.lgamma(a) + F.lgamma(b) - F.lgamma(a + b)
    return within(-p.entropy() - (a - 1) * mean_log(p) - (b - 1) * mean_log_rest(p) + norm, p, 0, 1)


@register_kl(Uniform, Pareto)
def _(p: Any, q: Any) -> Tensor:
    return within(-p.entropy() - (q.alpha * q.scale.pow(q.alpha)).log() + (q.alpha + 1) * mean_log(p), p, q.scale, INFINITY)
