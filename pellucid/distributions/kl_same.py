"""Divergences of two distributions of one family."""
from __future__ import annotations

from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .kl import kl_divergence, register_kl
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal, lowrank_logdet, lowrank_mahalanobis
from .multivariate_normal import MultivariateNormal, batch_mahalanobis, log_diagonal
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import EULER, sum_rightmost

INFINITY = float("inf")


def unless(value: Tensor, condition: Tensor, otherwise: float) -> Tensor:
    return F.where(condition, otherwise, value)


@register_kl(Bernoulli, Bernoulli)
def _(p: Any, q: Any) -> Tensor:
    yes = p.probs * (F.softplus(-q.logits) - F.softplus(-p.logits))
    no = (1 - p.probs) * (F.softplus(q.logits) - F.softplus(p.logits))
    yes = unless(unless(yes, q.probs == 0, INFINITY), p.probs == 0, 0.0)
    return yes + unless(unless(no, q.probs == 1, INFINITY), p.probs == 1, 0.0)


@register_kl(Beta, Beta)
def _(p: Any, q: Any) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    norms = F.lgamma(c) + F.lgamma(d) + F.lgamma(a + b) - F.lgamma(a) - F.lgamma(b) - F.lgamma(c + d)
    return norms + (a - c) * F.digamma(a) + (b - d) * F.digamma(b) + (c + d - a - b) * F.digamma(a + b)


@register_kl(Binomial, Binomial)
def _(p: Any, q: Any) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        fail(NotImplementedError, "P698", "KL between Binomials where q.total_count > p.total_count is not implemented")
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return unless(kl, p.total_count > q.total_count, INFINITY)


@register_kl(Categorical, Categorical)
def _(p: Any, q: Any) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    return unless(unless(terms, q.probs == 0, INFINITY), p.probs == 0, 0.0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    norms = p._cont_bern_log_norm() + (-p.probs).log1p() - q._cont_bern_log_norm() - (-q.probs).log1p()
    return p.mean * (p.logits - q.logits) + norms


@register_kl(Dirichlet, Dirichlet)
def _(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    norms = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return norms + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Exponential, Exponential)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p: Any, q: Any) -> Tensor:
    """The Bregman divergence of the log-normaliser."""
    if type(p) is not type(q):
        fail(NotImplementedError, "P698", "The cross KL-divergence between different exponential families cannot be computed using "
             "Bregman divergences", got=f"{type(p).__name__}, {type(q).__name__}")
    points, value, means = p._normalizer_and_means()
    others = q._natural_params
    result = q._log_normalizer(*others) - value
    for point, other, mean in zip(points, others, means):
        result = result - sum_rightmost((other - point) * mean, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    return (b * (p.rate / q.rate).log() + F.lgamma(b) - F.lgamma(a) + (a - b) * F.digamma(a) + (q.rate - p.rate) * (a / p.rate))


@register_kl(Gumbel, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return ratio * EULER - ratio.log() - shift + (shift + F.lgamma(1 + ratio)).exp() - (1 + EULER)


@register_kl(Geometric, Geometric)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _(p: Any, q: Any) -> Tensor:
    ratio, far = p.scale / q.scale, (p.loc - q.loc).abs()
    return far / q.scale + ratio * (-far / p.scale).exp() - ratio.log() - 1


@register_kl(Normal, Normal)
def _(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Cauchy, Cauchy)
def _(p: Any, q: Any) -> Tensor:
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(Pareto, Pareto)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    kl = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return unless(kl, p.scale < q.scale, INFINITY)


@register_kl(Poisson, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _(p: Any, q: Any) -> Tensor:
    return unless(((q.high - q.low) / (p.high - p.low)).log(), (q.low > p.low) | (q.high < p.high), INFINITY)


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        fail(NotImplementedError, "P698", "the divergence of differently transformed distributions is not implemented")
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        fail(NotImplementedError, "P698", "the divergence needs equally many reinterpreted dimensions")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# ---------------------------------------------------------------------------------------------------- multivariate normal
def squares(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1))


def same_size(p: Any, q: Any) -> None:
    if p.event_shape != q.event_shape:
        fail(ValueError, "P698", "KL-divergence between two multivariate normals with different event shapes cannot be computed",
             got=f"{tuple(p.event_shape)}, {tuple(q.event_shape)}")


def halves(p: Any) -> list[Tensor]:
    """Matrices A, B, ... with covariance A A^T + B B^T + ..."""
    if isinstance(p, MultivariateNormal):
        return [p._unbroadcasted_scale_tril]
    return [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]


def logdet(p: Any) -> Tensor:
    return 2 * log_diagonal(p._unbroadcasted_scale_tril) if isinstance(p, MultivariateNormal) else lowrank_logdet(*p._parts())


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, MultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    same_size(p, q)
    low = q._unbroadcasted_scale_tril
    trace: Any = 0
    for half in halves(p):
        shape = tuple(F.broadcast_tensors(low[..., 0], half[..., 0])[0].shape)
        trace = trace + squares(F.linalg_solve_triangular(low.expand(shape + (-1,)), half.expand(shape + (-1,)), upper=False))
    return 0.5 * (logdet(q) - logdet(p) + trace + batch_mahalanobis(low, q.loc - p.loc) - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    same_size(p, q)
    w, d, low = q._parts()
    inner = F.linalg_solve_triangular(low, w.mT / d.unsqueeze(-2), upper=False)      # the inverse is 1/D - inner^T inner
    trace: Any = 0
    for half in halves(p):
        trace = trace + squares(half / d.sqrt().unsqueeze(-1)) - squares(inner @ half)
    return 0.5 * (logdet(q) - logdet(p) + trace + lowrank_mahalanobis(w, d, q.loc - p.loc, low) - p.event_shape[0])
