"""Gamma, Dirichlet and binomial draws, and the derivatives of the first two with respect to their parameters.

In: tensors of parameters. Out: draws of their shape and dtype (`core.rng_gamma`).
Stays true: a draw x of a distribution function F(x; a) moves with its parameter so that F(x; a) stays what it is:
dx/da = -(dF/da) / (dF/dx) (Figurnov, Mohamed and Mnih, "Implicit reparameterization gradients", 2018).
"""
from __future__ import annotations

from ..core import rng_gamma
from ..core.rng import default_engine
from ._common import Spec, broadcast_shapes, describe, fail, need_tensor, np
from .op import POINT, RANDOM, SAME, F, point_infer, primitive
from .random import engine_of, same_spec, zeros_for
from .special_gamma import digamma64

LARGE = 256.0       # from this shape on, the gamma quantile's asymptotic series is exact to float64's last digits but four


# ---------------------------------------------------------------------------------------------------- derivatives
def summed(start, step):
    """Sums of series with terms t[k] * w[k], one for each element: `start` = (t, w, ...); `step(k, live, *state)` moves on, where
    `live` are the elements that still change."""
    state = start
    total = np.zeros_like(state[0])
    live = np.arange(total.size)
    k = 0
    while live.size:
        add = state[0] * state[1]
        total[live] += add
        # Terms first grow, then fall; a weight may pass through zero on the way.
        go = ~(np.abs(add) + np.abs(state[0]) * 1e-3 <= 1e-17 * np.abs(total[live]) + 1e-300)
        go &= np.isfinite(add)
        live, state = live[go], tuple([s[go] for s in state])
        k += 1
        state = step(k, live, *state)
    return total


def gamma_series(a, x):
    """-dP(a, x)/da divided by the density, from the power series of the incomplete gamma function (DLMF 8.7.1)."""
    def step(k, live, t, w):
        bottom = a[live] + k
        return t * x[live] / bottom, w - 1 / bottom
    return -x * summed((1 / a, np.log(x) - digamma64(a + 1)), step)


def gamma_asymptotic(a, x):
    """The derivative of the Cornish-Fisher expansion of the gamma quantile, at the normal quantile that x belongs to."""
    root = np.sqrt(a)

    def quantile(z):
        s = z * z
        return (a + root * z + (s - 1) / 3 + z * (s - 7) / (36 * root) - (3 * s * s + 7 * s - 16) / (810 * a)
                + z * (9 * s * s + 256 * s - 433) / (38880 * a * root))

    z = (x - a) / root
    for _ in range(8):
        s = z * z
        slope = root + 2 * z / 3 + (3 * s - 7) / (36 * root) - z * (12 * s + 14) / (810 * a)
        z = z - (quantile(z) - x) / slope
    s = z * z
    return (1 + z / (2 * root) - z * (s - 7) / (72 * a * root) + (3 * s * s + 7 * s - 16) / (810 * a * a)
            - z * (9 * s * s + 256 * s - 433) / (25920 * a * a * root))


def gamma_grad_ref(a, x):
    dtype = a.dtype
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    shape, a, x = a.shape, a.ravel(), x.ravel()
    out = np.full_like(a, np.nan)
    usual = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    # Far from the centre of a large shape, the expansion is worse than the series is slow.
    large = usual & (a >= LARGE) & (np.abs(x - a) < 10 * np.sqrt(np.maximum(a, 1)))
    for chosen, how in ((usual & ~large, gamma_series), (large, gamma_asymptotic)):
        if chosen.any():
            out[chosen] = how(a[chosen], x[chosen])
    return out.reshape(shape).astype(dtype)


@primitive(POINT, name="standard_gamma_grad", args="input output", forms="function", public="_standard_gamma_grad", promote=SAME,
           ref=gamma_grad_ref, infer=point_infer, grads=False,
           samples=lambda m: [((m.t(*shape, low=0.3, high=9.0), m.t(*shape, low=0.2, high=8.0)), {}) for shape in ((3, 4), (17,), (0, 2))])
def standard_gamma_grad(input, output):
    """How a draw `output` of the gamma distribution moves with its shape `input`."""
    return (input, output), {}


def beta_series(x, a, b):
    """From the power series of the incomplete beta function about 0 (DLMF 8.17.7)."""
    def step(k, live, t, w):
        top, bottom = a[live] + b[live] + k - 1, a[live] + k
        return t * x[live] * top / bottom, w + 1 / top - 1 / bottom
    return -x / a * summed((np.ones_like(x), np.log(x) + digamma64(a + b) - digamma64(a + 1)), step)


def beta_series_from_one(x, a, b):
    """The same from the series about 1."""
    y = 1 - x

    def step(k, live, t, w):
        top, bottom = a[live] + b[live] + k - 1, b[live] + k
        return t * y[live] * top / bottom, w + 1 / top
    return x / b * summed((np.ones_like(x), np.log(x) + digamma64(a + b) - digamma64(a)), step)


def dirichlet_grad_ref(x, a, total):
    dtype = x.dtype
    x, a, total = np.broadcast_arrays(*[np.asarray(v, np.float64) for v in (x, a, total)])
    shape, x, a, b = x.shape, x.ravel(), a.ravel(), (total - a).ravel()
    out = np.full_like(x, np.nan)
    usual = (x > 0) & (x < 1) & (a > 0) & (b > 0) & np.isfinite(a + b)
    left = x * (a + b + 2) <= a + 1
    for chosen, how in ((usual & left, beta_series), (usual & ~left, beta_series_from_one)):
        if chosen.any():
            out[chosen] = how(x[chosen], a[chosen], b[chosen])
    return out.reshape(shape).astype(dtype)


@primitive(POINT, name="dirichlet_grad", args="x alpha total", forms="function", public="_dirichlet_grad", promote=SAME,
           ref=dirichlet_grad_ref, infer=point_infer, grads=False,
           samples=lambda m: [((m.t(*shape, low=0.1, high=0.9), m.t(*shape, low=0.3, high=3.0), m.t(*shape, low=4.0, high=9.0)), {})
                              for shape in ((3, 4), (17,), (0, 2))])
def dirichlet_grad(x, alpha, total):
    """How a draw `x` of the beta distribution of `alpha` and `total - alpha` moves with `alpha`, divided by `1 - x`."""
    return (x, alpha, total), {}


# ---------------------------------------------------------------------------------------------------- draws
def fixed(*shapes):
    """Samples without gradients: by finite differences of a rejection method, draws move by jumps."""
    return lambda m: [((m.t(*shape, low=0.1, high=9.0).detach(),), {}) for shape in shapes]


@primitive(RANDOM, name="standard_gamma", public="_standard_gamma", args="input", forms="function", infer=same_spec, low=False,
           ref=lambda a, *, engine: rng_gamma.gammas(engine or default_engine(), a),
           vjp={"input": lambda g, input, out: g * F.standard_gamma_grad(input, out)},
           samples=fixed((2, 3), (17,), (0,)))
def standard_gamma(input, generator=None):
    """A gamma number of scale 1 for each shape in `input`."""
    need_tensor(input, "_standard_gamma")
    return (input,), {"engine": engine_of(generator, "_standard_gamma")}


def sample_dirichlet_vjp(g, input, out):
    return F.dirichlet_grad(out, input, input.sum(-1, True).expand_as(input)) * (g - (out * g).sum(-1, True))


@primitive(RANDOM, name="sample_dirichlet", public="_sample_dirichlet", args="input", forms="function", infer=same_spec, low=False,
           ref=lambda a, *, engine: rng_gamma.dirichlets(engine or default_engine(), a), vjp={"input": sample_dirichlet_vjp},
           samples=fixed((2, 3), (5,), (0, 2)))
def sample_dirichlet(input, generator=None):
    """Shares that sum to 1 over the last dimension, of the concentrations in `input`."""
    need_tensor(input, "_sample_dirichlet")
    return (input,), {"engine": engine_of(generator, "_sample_dirichlet")}


def binomial_infer(count: Spec, prob: Spec, *, engine) -> Spec:
    return Spec(broadcast_shapes(count.shape, prob.shape), count.dtype)


@primitive(RANDOM, args="count prob", forms="function", infer=binomial_infer, low=False, vjp={"count": zeros_for, "prob": zeros_for},
           ref=lambda n, p, *, engine: rng_gamma.binomials(engine or default_engine(), n, p),
           samples=lambda m: [((m.t(*shape, low=5.0, high=90.0).detach().round(), m.t(*shape, low=0.1, high=0.9).detach()), {})
                              for shape in ((2, 3), (17,), (0,))])
def binomial(count, prob, generator=None):
    """The successes in `count` trials of probability `prob`, both floating and of one dtype."""
    need_tensor(count, "binomial", "count")
    need_tensor(prob, "binomial", "prob", 2)
    for name, t in (("count", count), ("prob", prob)):
        if not t.dtype.is_floating_point:
            fail(ValueError, "P699", f"binomial only supports floating-point dtypes for {name}, got: {t.dtype.type_name}",
                 got=describe(count, prob), fix="convert with .float()")
    if count.dtype is not prob.dtype:
        fail(RuntimeError, "P213", f"Found dtype {prob.dtype.type_name} but expected {count.dtype.type_name}", got=describe(count, prob))
    return (count, prob), {"engine": engine_of(generator, "binomial")}
