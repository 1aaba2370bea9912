"""What distributions promise whether or not PyTorch is there to compare with."""
from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest

import pellucid as torch
from pellucid import distributions as D
from pellucid.distributions import constraints, distribution, transforms
from pellucid.distributions.utils import (broadcast_all, clamp_probs, lazy_property, logits_to_probs, probs_to_logits, tril_matrix_to_vec,
                                          vec_to_tril_matrix)


def test_parameters_and_values_are_checked():
    with pytest.raises(ValueError, match="Expected parameter scale .* to satisfy the constraint GreaterThan"):
        D.Normal(0.0, -1.0)
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0
    with pytest.raises(ValueError, match="within the support"):
        D.Exponential(1.0).log_prob(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="right-most size of value must match event_shape"):
        D.Dirichlet(torch.ones(3)).log_prob(torch.ones(2))
    with pytest.raises(ValueError, match="not broadcastable"):
        D.Normal(torch.zeros(3), 1.0).log_prob(torch.zeros(2))
    with pytest.raises(ValueError, match="must be a Tensor"):
        D.Normal(0.0, 1.0).log_prob(0.5)
    with pytest.raises(ValueError, match="Either `probs` or `logits`"):
        D.Bernoulli()
    with pytest.raises(ValueError, match="Uniform is not defined"):
        D.Uniform(1.0, 0.0)
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)


def test_samples_have_the_moments():
    torch.manual_seed(0)
    for d in (D.Normal(1.0, 2.0), D.Gamma(3.0, 2.0), D.Beta(2.0, 3.0), D.Binomial(12, 0.3), D.Poisson(4.0), D.StudentT(8.0), D.Weibull(1.0, 2.0),
              D.FisherSnedecor(5.0, 20.0), D.NegativeBinomial(4.0, 0.4), D.Gumbel(0.0, 1.0), D.Kumaraswamy(2.0, 3.0)):
        x = d.sample((4000,))
        assert abs(x.mean() - d.mean) < 6 * d.stddev / math.sqrt(4000), d
        assert abs(x.var() / d.variance - 1) < 0.5, d


@pytest.mark.parametrize("d", [D.Normal(0.5, 2.0), D.Laplace(0.0, 1.0), D.Cauchy(0.0, 1.0), D.HalfNormal(2.0), D.Exponential(0.7), D.Uniform(-1.0, 3.0),
                               D.Pareto(1.0, 2.0), D.Gumbel(1.0, 0.5), D.Weibull(2.0, 1.5), D.Kumaraswamy(2.0, 3.0), D.LogNormal(0.0, 0.5),
                               D.ContinuousBernoulli(0.3), D.GeneralizedPareto(0.0, 1.0, 0.2)], ids=lambda d: type(d).__name__)
def test_the_density_is_the_derivative_of_the_cdf(d):
    u = torch.tensor([0.1, 0.4, 0.8])
    x = d.icdf(u).detach().requires_grad_()
    p = d.cdf(x)
    np.testing.assert_allclose(p.detach().numpy(), u.numpy(), rtol=1e-4)
    np.testing.assert_allclose(torch.autograd.grad(p.sum(), x)[0].numpy(), d.log_prob(x).exp().detach().numpy(), rtol=1e-3)


def test_a_rule_of_your_own():
    class Mine(D.Normal):
        pass

    class Other(D.Laplace):
        pass

    with pytest.raises(NotImplementedError, match="No KL"):
        D.kl_divergence(Other(0.0, 1.0), Mine(0.0, 1.0).expand([2]) and D.StudentT(3.0))
    assert torch.equal(D.kl_divergence(Mine(0.0, 1.0), Mine(1.0, 1.0)), torch.tensor(0.5))

    @D.register_kl(Mine, Other)
    def rule(p, q):
        return torch.tensor(42.0)

    assert D.kl_divergence(Mine(0.0, 1.0), Other(0.0, 1.0)).item() == 42.0
    with pytest.raises(TypeError):
        D.register_kl(int, Mine)


def test_a_subclass_with_its_own_init_must_expand_itself():
    class Mine(D.Normal):
        def __init__(self):
            super().__init__(0.0, 1.0)

    with pytest.raises(NotImplementedError, match="custom .expand"):
        Mine().expand([2])


def test_transforms_of_a_constraint_of_your_own():
    class Even(constraints.Constraint):
        def check(self, value):
            return value % 2 == 0

    with pytest.raises(NotImplementedError, match="Cannot transform Even"):
        D.biject_to(Even())
    D.biject_to.register(Even, lambda constraint: D.AffineTransform(0.0, 2.0))
    assert D.biject_to(Even())(torch.tensor(3.0)).item() == 6.0
    assert isinstance(D.transform_to(constraints.simplex), D.SoftmaxTransform)
    assert constraints.is_dependent(D.Uniform.support) and constraints.is_dependent(constraints.dependent)
    assert repr(constraints.dependent_property(event_dim=0).event_dim) == "0"


def test_a_transform_keeps_what_it_made():
    t = D.SigmoidTransform(cache_size=1)
    x = torch.tensor([30.0])
    assert t.inv(t(x)) is x and copy.deepcopy(t)(x).item() == t(x).item()
    assert D.ComposeTransform([t, D.ExpTransform()]).inv.inv(x).item() == D.ComposeTransform([t, D.ExpTransform()])(x).item()
    assert transforms.identity_transform(x) is x and isinstance(D.CumulativeDistributionTransform(D.Normal(0.0, 1.0)), D.Transform)


def test_little_helpers():
    a, b = broadcast_all(1, torch.ones(2, dtype=torch.float64))
    assert a.dtype is torch.float64 and a.shape == (2,) and issubclass(D.Gamma, D.ExponentialFamily)
    with pytest.raises(ValueError, match="instances of Number"):
        broadcast_all("1")
    p = torch.tensor([0.0, 0.5, 1.0])
    assert 0 < clamp_probs(p)[0] and clamp_probs(p)[2] < 1
    assert torch.allclose(logits_to_probs(probs_to_logits(p, True), True), p, atol=1e-6)
    m = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    assert tril_matrix_to_vec(m).tolist() == [1.0, 2.0, 3.0] and torch.equal(vec_to_tril_matrix(tril_matrix_to_vec(m)), m)

    class Lazy:
        count = 0

        @lazy_property
        def x(self):
            self.count += 1
            return torch.ones(1)

    lazy = Lazy()
    assert lazy.x is lazy.x and lazy.count == 1


def test_distributions_inside_a_compiled_function():
    def score(x, loc):
        return D.Independent(D.Normal(loc, 2.0), 1).log_prob(x).sum()

    x, loc = torch.randn(3, 4), torch.randn(4)
    assert torch.allclose(torch.compile(score)(x, loc), score(x, loc))


def test_constraints_say_the_same_of_arrays_as_of_tensors(monkeypatch):
    nan, inf = float("nan"), float("inf")
    floats = [[0.5, 0.5], [0.2, 0.7], [1.0, 0.0], [nan, 1.0], [inf, 0.0], [-1.0, 2.0], [3.0, 4.0]]
    values = [torch.tensor(v, dtype=d) for v in floats for d in (torch.float32, torch.float64)]
    values += [torch.tensor(v) for v in ([0, 1], [5, -3], [1, 1])] + [torch.tensor(1), torch.tensor(0.5), torch.empty(0, 2)]
    found = [constraints.boolean, constraints.real, constraints.simplex, constraints.real_vector, constraints.positive, constraints.unit_interval,
             constraints.nonnegative_integer, constraints.integer_interval(0, 4), constraints.half_open_interval(0, 1), constraints.less_than(2),
             constraints.interval(torch.tensor(0.0), 1.0), constraints.greater_than_eq(0.5)]
    asked = []
    for c, v in itertools.product(found, values):
        if v.ndim < c.event_dim or not v.numel() and c.event_dim:
            continue
        by_array = distribution.holds(c, v)
        asked.append(constraints.takes_arrays(c, v.dtype is torch.int64))
        monkeypatch.setattr(distribution, "SMALL", 0)
        assert distribution.holds(c, v) == by_array, (c, v)
        monkeypatch.undo()
    assert any(asked) and not all(asked)
