"""Every distribution beside PyTorch's: densities, moments, entropies, samples from the same seed, gradients, divergences."""
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import pellucid
from pellucid import distributions
from pellucid.distributions.kl import rule_for

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Singular sample")

S = {"a": [[0.5], [2.0]], "b": [1.5, 0.7, 3.0], "p": [[0.2], [0.8]], "q": [0.3, 0.5, 0.9], "x": [-1.0, 0.25, 2.0], "n": [3.0, 9.0, 40.0],
     "probs": [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], "logits": [[0.2, -0.3, 0.5], [1.6, 0.3, -1.1]], "df": [3.5, 5.0, 8.0],
     "cov": [[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]], "tril": [[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 1.5]],
     "factor": [[0.5, 0.1], [-0.4, 0.2], [0.3, 0.9]], "one": [1.5], "two": [0.4, 0.6]}

# name: (class, {parameter: name in S or a number})
CASES = {
    "Bernoulli": ("Bernoulli", {"probs": "p"}), "Bernoulli-logits": ("Bernoulli", {"logits": "x"}),
    "Beta": ("Beta", {"concentration1": "a", "concentration0": "b"}),
    "Binomial": ("Binomial", {"total_count": 6, "probs": "p"}), "Binomial-many": ("Binomial", {"total_count": "n", "logits": "x"}),
    "Categorical": ("Categorical", {"probs": "probs"}), "Categorical-logits": ("Categorical", {"logits": "logits"}),
    "Cauchy": ("Cauchy", {"loc": "x", "scale": "a"}), "Chi2": ("Chi2", {"df": "df"}),
    "ContinuousBernoulli": ("ContinuousBernoulli", {"probs": "q"}), "ContinuousBernoulli-logits": ("ContinuousBernoulli", {"logits": "x"}),
    "Dirichlet": ("Dirichlet", {"concentration": "b"}), "Exponential": ("Exponential", {"rate": "b"}),
    "FisherSnedecor": ("FisherSnedecor", {"df1": "df", "df2": "n"}), "Gamma": ("Gamma", {"concentration": "b", "rate": "a"}),
    "GeneralizedPareto": ("GeneralizedPareto", {"loc": "x", "scale": "b", "concentration": [-0.4, 0.0, 0.3]}),
    "Geometric": ("Geometric", {"probs": "q"}), "Geometric-logits": ("Geometric", {"logits": "x"}),
    "Gumbel": ("Gumbel", {"loc": "x", "scale": "a"}), "HalfCauchy": ("HalfCauchy", {"scale": "b"}),
    "HalfNormal": ("HalfNormal", {"scale": "b"}), "InverseGamma": ("InverseGamma", {"concentration": "b", "rate": "a"}),
    "Kumaraswamy": ("Kumaraswamy", {"concentration1": "b", "concentration0": "a"}), "Laplace": ("Laplace", {"loc": "x", "scale": "a"}),
    "LKJCholesky": ("LKJCholesky", {"dim": 3, "concentration": "two"}), "LogNormal": ("LogNormal", {"loc": "x", "scale": "a"}),
    "LogisticNormal": ("LogisticNormal", {"loc": "x", "scale": "b"}),
    "LowRankMultivariateNormal": ("LowRankMultivariateNormal", {"loc": "x", "cov_factor": "factor", "cov_diag": "b"}),
    "Multinomial": ("Multinomial", {"total_count": 7, "probs": "probs"}), "Multinomial-logits": ("Multinomial", {"total_count": 7, "logits": "logits"}),
    "MultivariateNormal": ("MultivariateNormal", {"loc": "x", "covariance_matrix": "cov"}),
    "MultivariateNormal-tril": ("MultivariateNormal", {"loc": "x", "scale_tril": "tril"}),
    "MultivariateNormal-precision": ("MultivariateNormal", {"loc": "x", "precision_matrix": "cov"}),
    "NegativeBinomial": ("NegativeBinomial", {"total_count": "n", "probs": "p"}),
    "NegativeBinomial-logits": ("NegativeBinomial", {"total_count": "n", "logits": "x"}),
    "Normal": ("Normal", {"loc": "x", "scale": "a"}), "Normal-numbers": ("Normal", {"loc": 0.5, "scale": 2.0}),
    "OneHotCategorical": ("OneHotCategorical", {"probs": "probs"}),
    "OneHotCategoricalStraightThrough": ("OneHotCategoricalStraightThrough", {"logits": "logits"}),
    "Pareto": ("Pareto", {"scale": "a", "alpha": "b"}), "Poisson": ("Poisson", {"rate": "n"}),
    "RelaxedBernoulli": ("RelaxedBernoulli", {"temperature": "one", "probs": "q"}),
    "RelaxedOneHotCategorical": ("RelaxedOneHotCategorical", {"temperature": "one", "probs": "probs"}),
    "StudentT": ("StudentT", {"df": "df", "loc": "x", "scale": "a"}), "Uniform": ("Uniform", {"low": "x", "high": [4.0, 5.0, 6.0]}),
    "VonMises": ("VonMises", {"loc": "x", "concentration": "a"}), "Weibull": ("Weibull", {"scale": "a", "concentration": "b"}),
    "Wishart": ("Wishart", {"df": "df", "covariance_matrix": "cov"}), "Wishart-tril": ("Wishart", {"df": "df", "scale_tril": "tril"}),
}
MOMENTS = ("mean", "mode", "variance", "stddev")


def build(lib, name: str, dtype: str = "float64", grad: bool = False):
    """(the distribution, its tensor parameters)"""
    dtype = "float32" if name == "GeneralizedPareto" else dtype          # PyTorch's takes no other
    kind, given = CASES[name]
    parts, tensors = {}, []
    for key, value in given.items():
        value = S.get(value, value) if isinstance(value, str) else value
        if isinstance(value, list):
            value = lib.tensor(value, dtype=getattr(lib, dtype), requires_grad=grad)
            tensors.append(value)
        parts[key] = value
    return getattr(lib.distributions, kind)(**parts), tensors


def draw(d, *args):
    """PyTorch's Wishart draws its samples again unless told not to (it takes the good ones for singular)."""
    return d.rsample(*args, max_try_correction=0).detach() if type(d).__name__ == "Wishart" else d.sample(*args)


def close(got, want, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    assert tuple(got.shape) == tuple(want.shape) and str(got.dtype) == str(want.dtype)
    if got.dtype in (pellucid.float32, torch.float32):
        rtol, atol = max(rtol, 2e-5), max(atol, 2e-6)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=rtol, atol=atol)


def value_of(name: str, dtype: str = "float64"):
    """Samples of torch's distribution, as an array."""
    torch.manual_seed(7)
    return draw(build(torch, name, dtype)[0], (4,)).numpy()


@pytest.mark.parametrize("name", CASES)
def test_shapes_moments_and_names(name):
    (ours, _), (theirs, _) = build(pellucid, name), build(torch, name)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert repr(ours) == repr(theirs) and ours.has_rsample == theirs.has_rsample
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    assert ours.support.event_dim == theirs.support.event_dim and ours.support.is_discrete == theirs.support.is_discrete
    for moment in MOMENTS:
        try:
            want = getattr(theirs, moment)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(ours, moment)
            continue
        got = getattr(ours, moment)
        if (name, moment) == ("Weibull", "mode"):       # 0 from a concentration of 1 down; PyTorch has nan there
            want = want.nan_to_num()
        close(got, want, rtol=1e-6 if "VonMises" in name else 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_densities_and_their_gradients(name):
    array = value_of(name)
    results = []
    for lib in (pellucid, torch):
        d, parts = build(lib, name, grad=True)
        value = lib.tensor(array)
        if value.is_floating_point() and not d.support.is_discrete and "LKJ" not in name and "Wishart" not in name:
            value.requires_grad_()
            parts = [*parts, value]
        log_prob = d.log_prob(value)
        grads = lib.autograd.grad(log_prob.sum(), parts, allow_unused=True) if parts else []
        results.append((log_prob, grads))
    (got, ours), (want, theirs) = results
    rtol = 1e-6 if "VonMises" in name else 1e-8
    close(got, want, rtol, 1e-6 if "VonMises" in name else 1e-10)
    for g, w in zip(ours, theirs, strict=True):
        if w is None:
            assert g is None or not g.numpy().any()
        else:
            close(g, w, rtol, 1e-6 if "VonMises" in name else 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_entropy_cdf_icdf_perplexity(name):
    array = value_of(name)
    for call in (lambda d, lib: d.entropy(), lambda d, lib: d.perplexity(), lambda d, lib: d.cdf(lib.tensor(array)),
                 lambda d, lib: d.icdf(lib.tensor([0.1, 0.5, 0.9], dtype=getattr(d, "loc", lib.tensor([], dtype=lib.float64)).dtype)), lambda d, lib: d.enumerate_support(),
                 lambda d, lib: d.enumerate_support(expand=False)):
        (ours, _), (theirs, _) = build(pellucid, name), build(torch, name)
        try:
            want = call(theirs, torch)
        except (NotImplementedError, AttributeError):
            with pytest.raises((NotImplementedError, AttributeError)):
                call(ours, pellucid)
            continue
        close(call(ours, pellucid), want, 1e-6 if "Multinomial" in name else 1e-8, 1e-9)         # PyTorch has an lgamma in float32 there


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_samples(name, dtype):
    drawn = []
    for lib in (pellucid, torch):
        lib.manual_seed(11)
        d, _ = build(lib, name, dtype)
        drawn.append([draw(d), draw(d, (5,)), draw(d, (2, 3))] + ([d.rsample((4,))] if d.has_rsample and "Wishart" not in name else []))
    for got, want in zip(*drawn, strict=True):
        close(got, want, 1e-10, 1e-12)


@pytest.mark.parametrize("name", [n for n in CASES if getattr(distributions, CASES[n][0]).has_rsample or n in ("Gumbel", "Pareto", "Weibull")])
def test_gradients_through_samples(name):
    found = []
    for lib in (pellucid, torch):
        lib.manual_seed(5)
        d, parts = build(lib, name, grad=True)
        x = d.rsample((6,), **({"max_try_correction": 0} if "Wishart" in name else {}))
        found.append(lib.autograd.grad((x * x.cos()).sum(), parts, allow_unused=True) if parts else [])
    # PyTorch's derivative of a gamma or Dirichlet draw is good to three digits; ours to ten.
    rough = any(word in name for word in ("Gamma", "Beta", "Dirichlet", "Chi2", "Student", "Fisher", "Wishart"))
    for g, w in zip(*found, strict=True):
        assert (g is None) == (w is None)
        if w is not None:
            close(g, w, *((5e-3, 5e-3) if rough else (1e-8, 1e-9)))


@pytest.mark.parametrize("name", CASES)
def test_expand(name):
    (ours, _), (theirs, _) = build(pellucid, name), build(torch, name)
    shape = (2, *theirs.batch_shape)
    ours, theirs = ours.expand(shape), theirs.expand(shape)
    assert tuple(ours.batch_shape) == shape and tuple(ours.event_shape) == tuple(theirs.event_shape)
    array = value_of(name)[:1, None] if theirs.batch_shape else value_of(name)[:1]
    close(ours.log_prob(pellucid.tensor(array)), theirs.log_prob(torch.tensor(array)), 1e-6, 1e-8)
    pellucid.manual_seed(3), torch.manual_seed(3)
    close(draw(ours, (2,)), draw(theirs, (2,)), 1e-10, 1e-12)


# ---------------------------------------------------------------------------------------------------- divergences
PLAIN = [n for n in CASES if "-" not in n]


def divergence(lib, first: str, second: str, other: bool):
    """The divergence (or None without a rule) and its gradients. `other`: second parameters differ from the first's."""
    try:
        p, parts = build(lib, first, grad=True)
        kind, given = CASES[second]
        changed = {}
        for key, value in given.items():
            value = S.get(value, value) if isinstance(value, str) else value
            if isinstance(value, list):
                value = lib.tensor(value, dtype=lib.float64)
                if other and key in ("loc", "scale", "rate", "concentration", "concentration1", "df", "high", "cov_diag", "alpha", "scale_tril"):
                    value = value * 1.25
                value.requires_grad_()
                parts = [*parts, value]
            changed[key] = value
        kl = lib.distributions.kl_divergence(p, getattr(lib.distributions, kind)(**changed))
    except (NotImplementedError, RuntimeError, IndexError) as error:        # PyTorch's rules do not all broadcast
        return type(error), None
    grads = lib.autograd.grad(kl[kl.isfinite()].sum(), parts, allow_unused=True) if parts and bool(kl.isfinite().any()) else []
    return kl, grads


@pytest.mark.parametrize("first", PLAIN)
def test_divergences(first):
    for second in PLAIN:
        kinds = [[getattr(lib.distributions, CASES[name][0]) for name in (first, second)] for lib in (pellucid, torch)]
        assert (rule_for(*kinds[0]) is None) == (torch.distributions.kl._dispatch_kl(*kinds[1]) is NotImplemented), (first, second)
        if rule_for(*kinds[0]) is None:
            continue
        want, theirs = divergence(torch, first, second, True)
        got, ours = divergence(pellucid, first, second, True)
        if theirs is None:
            assert ours is None or want is not NotImplementedError, (first, second)
            continue
        close(got, want, 1e-8, 1e-10)
        for g, w in zip(ours, theirs):
            if w is not None and g is not None and np.isfinite(w.numpy()).all():
                close(g, w, 1e-7, 1e-9)


# ---------------------------------------------------------------------------------------------------- composed distributions
def composed(lib):
    """{name: distribution} made of others."""
    D = lib.distributions
    t = lambda x: lib.tensor(x, dtype=lib.float64)  # noqa: E731
    loc, scale = t([[0.0, 1.0, -1.0], [2.0, 0.5, 0.1]]), t([[1.0, 0.5, 2.0], [0.3, 0.6, 1.0]])
    mvn = D.MultivariateNormal(loc, t(S["cov"]))
    return {
        "independent": D.Independent(D.Normal(loc, scale), 1),
        "mixture": D.MixtureSameFamily(D.Categorical(t(S["probs"])), D.Normal(loc, scale)),
        "mixture of vectors": D.MixtureSameFamily(D.Categorical(t([0.3, 0.7])), D.Independent(D.Normal(loc, scale), 1)),
        "mixture of multivariate": D.MixtureSameFamily(D.Categorical(t([0.3, 0.7])), mvn),
        "transformed": D.TransformedDistribution(D.Normal(loc, scale), [D.AffineTransform(t([1.0, 2.0, 3.0]), t(-0.5)), D.SigmoidTransform()]),
        "broadcast": D.TransformedDistribution(D.Normal(t(0.0), t(1.0)), D.AffineTransform(t([1.0, 2.0]), t([[2.0], [3.0]]))),
        "stick": D.TransformedDistribution(D.Normal(loc, scale), D.StickBreakingTransform()),
        "reshaped": D.TransformedDistribution(D.Independent(D.Normal(t([0.0] * 6), t([1.0] * 6)), 1), D.ReshapeTransform((6,), (2, 3))),
        "power": D.TransformedDistribution(D.Exponential(scale), [D.PowerTransform(t(0.5)), D.AffineTransform(0.5, 2.0)]),
        "tanh": D.TransformedDistribution(mvn, [D.TanhTransform()]),
        "none": D.TransformedDistribution(D.Normal(loc, scale), []),
    }


@pytest.mark.parametrize("name", composed(pellucid))
def test_composed(name):
    ours, theirs = composed(pellucid)[name], composed(torch)[name]
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    pellucid.manual_seed(2), torch.manual_seed(2)
    got, want = ours.sample((3,)), theirs.sample((3,))
    close(got, want, 1e-10, 1e-12)
    close(ours.log_prob(pellucid.tensor(want.numpy())), theirs.log_prob(want), 1e-9)
    for call in (lambda d, v: d.mean, lambda d, v: d.variance, lambda d, v: d.entropy(), lambda d, v: d.cdf(v), lambda d, v: d.mode,
                 lambda d, v: d.expand((2, *d.batch_shape)).log_prob(v[0]), lambda d, v: d.support.check(v)):
        try:
            right = call(theirs, want)
        except (NotImplementedError, AttributeError, RuntimeError, ValueError):
            continue
        left = call(ours, pellucid.tensor(want.numpy()))
        close(left, right, 1e-9)


# ---------------------------------------------------------------------------------------------------- transforms, constraints
def transforms_of(lib):
    T = lib.distributions.transforms
    D = lib.distributions
    t = lambda x: lib.tensor(x, dtype=lib.float64)  # noqa: E731
    v, w = [-1.2, 0.3, 0.8], [[0.5, -0.2, 0.1], [0.4, 1.3, -0.6], [0.2, 0.7, -0.9]]
    return {
        "abs": (T.AbsTransform(), t(v)), "affine": (T.AffineTransform(t([1.0, 2.0, 3.0]), t(-2.0)), t(v)),
        "affine event": (T.AffineTransform(t([1.0, 2.0, 3.0]), t([2.0, 3.0, 0.5]), event_dim=1), t(w)), "exp": (T.ExpTransform(), t(v)),
        "power": (T.PowerTransform(t(2.5)), t([0.3, 1.0, 2.0])), "sigmoid": (T.SigmoidTransform(), t(v)), "softplus": (T.SoftplusTransform(), t(v)),
        "tanh": (T.TanhTransform(), t(v)), "softmax": (T.SoftmaxTransform(), t(v)), "stick": (T.StickBreakingTransform(), t(v)),
        "corr": (T.CorrCholeskyTransform(), t(w)), "lower": (T.LowerCholeskyTransform(), t(w)), "posdef": (T.PositiveDefiniteTransform(), t(w)),
        "reshape": (T.ReshapeTransform((3, 3), (9,)), t(w)), "independent": (T.IndependentTransform(T.ExpTransform(), 1), t(w)),
        "compose": (T.ComposeTransform([T.AffineTransform(1.0, 2.0), T.ExpTransform(), T.StickBreakingTransform()]), t(w)),
        "cat": (T.CatTransform([T.ExpTransform(), T.TanhTransform()], dim=0, lengths=[1, 2]), t(w)),
        "stack": (T.StackTransform([T.ExpTransform(), T.TanhTransform(), T.SigmoidTransform()], dim=-1), t(w)),
        "cdf": (T.CumulativeDistributionTransform(D.Normal(t(0.5), t(2.0))), t(v)), "inverse": (T.ExpTransform().inv, t([0.5, 2.0, 3.0])),
        "identity": (D.identity_transform, t(v)),
    }


@pytest.mark.parametrize("name", transforms_of(pellucid))
def test_transforms(name):
    (ours, x), (theirs, z) = transforms_of(pellucid)[name], transforms_of(torch)[name]
    y, w = ours(x), theirs(z)
    close(y, w)
    close(ours.inv(y), theirs.inv(w), 1e-7, 1e-9)
    assert ours.bijective == theirs.bijective and ours.inv.inv is ours and (ours == ours)
    assert tuple(ours.forward_shape(tuple(x.shape))) == tuple(y.shape) and tuple(ours.inverse_shape(tuple(y.shape))) == tuple(x.shape)
    assert ours.domain.event_dim == theirs.domain.event_dim and ours.codomain.event_dim == theirs.codomain.event_dim
    assert bool(ours.codomain.check(y).all())
    try:
        want = theirs.log_abs_det_jacobian(z, w)
    except NotImplementedError:
        return
    close(ours.log_abs_det_jacobian(x, y), want, 1e-9)
    cached = ours.with_cache(1)
    assert cached.with_cache(1) is cached
    if name not in ("compose", "inverse", "identity"):
        assert cached.inv(cached(x)) is x


def constraints_of(lib):
    c = lib.distributions.constraints
    t = lambda x: lib.tensor(x, dtype=lib.float64)  # noqa: E731
    numbers, vectors = t([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), t([[0.2, 0.8], [1.0, 0.0], [0.5, 0.6], [-1.0, 2.0]])
    matrices = t([[[1.0, 0.0], [0.6, 0.8]], [[2.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]])
    one = {n: (getattr(c, n), numbers) for n in ("boolean", "nonnegative", "nonnegative_integer", "positive", "positive_integer", "real", "unit_interval")}
    return one | {n: (getattr(c, n), vectors) for n in ("one_hot", "real_vector", "simplex")} | {
        n: (getattr(c, n), matrices) for n in ("corr_cholesky", "lower_cholesky", "lower_triangular", "square", "symmetric", "positive_semidefinite",
                                               "positive_definite")} | {
        "greater_than": (c.greater_than(0.5), numbers), "greater_than_eq": (c.greater_than_eq(0.5), numbers), "less_than": (c.less_than(0.5), numbers),
        "interval": (c.interval(-1, 1), numbers), "half_open_interval": (c.half_open_interval(-1, 1), numbers),
        "integer_interval": (c.integer_interval(-1, 2), numbers), "multinomial": (c.multinomial(1), vectors),
        "independent": (c.independent(c.positive, 1), vectors), "cat": (c.cat([c.positive, c.real], 1), vectors),
        "stack": (c.stack([c.positive, c.unit_interval], 1), vectors),
        "mixture": (c.MixtureSameFamilyConstraint(c.positive), numbers),
    }


@pytest.mark.parametrize("name", constraints_of(pellucid))
def test_constraints_and_the_way_to_them(name):
    (ours, x), (theirs, z) = constraints_of(pellucid)[name], constraints_of(torch)[name]
    assert ours.check(x).tolist() == theirs.check(z).tolist()
    assert (ours.event_dim, ours.is_discrete) == (theirs.event_dim, theirs.is_discrete)
    if name not in ("cat", "stack", "mixture"):
        assert repr(ours) == repr(theirs)
    free = [[0.3, -0.4, 1.0], [0.2, 2.0, -1.0], [0.7, 0.1, 0.0]]
    free = free if ours.event_dim == 2 or name != "cat" and name != "stack" else [row[:2] for row in free]
    for registry in ("biject_to", "transform_to"):
        try:
            want = getattr(torch.distributions, registry)(theirs)(torch.tensor(free, dtype=torch.float64))
        except NotImplementedError:
            with pytest.raises(NotImplementedError, match="Cannot transform"):
                getattr(distributions, registry)(ours)
            continue
        close(getattr(distributions, registry)(ours)(pellucid.tensor(free, dtype=pellucid.float64)), want)


def test_the_names_are_pytorchs():
    mine, theirs = set(distributions.__all__), set(torch.distributions.__all__)
    assert theirs <= mine and mine - theirs == {"constraints"}
    assert set(distributions.constraints.__all__) == set(torch.distributions.constraints.__all__)
    assert set(distributions.transforms.__all__) == set(torch.distributions.transforms.__all__)


def test_parameters_of_gamma_and_dirichlet_draws_against_exact_derivatives():
    """By SciPy: how quantiles move with their parameters."""
    stats = pytest.importorskip("scipy.stats")
    u = np.linspace(0.02, 0.98, 9)
    for a in (0.3, 5.0, 255.0, 257.0, 3000.0):
        h = a * 1e-5
        exact = (stats.gamma.ppf(u, a + h) - stats.gamma.ppf(u, a - h)) / (2 * h)
        shapes = pellucid.full((9,), a, dtype=pellucid.float64)
        got = pellucid._standard_gamma_grad(shapes, pellucid.tensor(stats.gamma.ppf(u, a)))
        np.testing.assert_allclose(got.numpy(), exact, rtol=1e-7)
    for a, b in itertools.product((0.3, 2.0, 300.0), (0.7, 40.0, 2000.0)):
        h, x = a * 1e-5, stats.beta.ppf(u, a, b)
        exact = (stats.beta.ppf(u, a + h, b) - stats.beta.ppf(u, a - h, b)) / (2 * h) / (1 - x)
        first = pellucid.full((9,), a, dtype=pellucid.float64)
        np.testing.assert_allclose(pellucid._dirichlet_grad(pellucid.tensor(x), first, first + b).numpy(), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gamma_dirichlet_and_binomial_draws_are_pytorchs(dtype):
    rng = np.random.default_rng(0)
    shapes, parts = np.exp(rng.uniform(-4, 9, 400)).astype(dtype), np.exp(rng.uniform(-2, 5, (80, 4))).astype(dtype)
    counts, p = np.round(np.exp(rng.uniform(0, 7, 400))).astype(dtype), rng.random(400).astype(dtype)
    pellucid.manual_seed(3), torch.manual_seed(3)
    for name, args in (("_standard_gamma", (shapes,)), ("binomial", (counts, p)), ("_sample_dirichlet", (parts,))):
        got = getattr(pellucid, name)(*map(pellucid.tensor, args)).numpy()
        want = getattr(torch, name)(*map(torch.tensor, args)).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-12)
    assert math.isnan(pellucid.binomial(pellucid.tensor([5.0]), pellucid.tensor([math.nan])).item())
