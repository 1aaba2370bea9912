"""Special functions: accuracy against SciPy over wide ranges, and the poles."""
from __future__ import annotations

import math

import numpy as np
import pytest

import pellucid
from pellucid.ops import F

sp = pytest.importorskip("scipy.special")
WIDE = np.concatenate([np.linspace(-30, 30, 2401), [1e-10, -1e-10, 1e-3, 700.0]])
POSITIVE = np.concatenate([np.linspace(0.01, 40, 2001), [1e-8, 1e3, 1e6]])
UNIT = np.concatenate([np.linspace(-0.999, 0.999, 1001), [1e-12, 1 - 1e-12]])


def relative(got, want, floor):
    with np.errstate(all="ignore"):
        ok = np.isfinite(want)
        assert np.isfinite(got[ok]).all()
        return float(np.max(np.abs(got - want)[ok] / np.maximum(np.abs(want[ok]), floor)))


@pytest.mark.parametrize(("name", "scipy", "x", "bound"), [
    ("erf", sp.erf, WIDE, 1e-15), ("erfc", sp.erfc, WIDE[WIDE < 25], 1e-13),
    ("special_erfcx", sp.erfcx, WIDE[WIDE > -20], 1e-13),
    ("erfinv", sp.erfinv, UNIT, 2e-15), ("special_ndtr", sp.ndtr, WIDE[WIDE > -30], 1e-12),
    ("special_ndtri", sp.ndtri, (UNIT + 1) / 2, 2e-14),
    ("special_log_ndtr", sp.log_ndtr, WIDE, 1e-12), ("lgamma", sp.gammaln, WIDE, 2e-13), ("digamma", sp.digamma, WIDE, 1e-11),
    ("i0", sp.i0, WIDE, 2e-15), ("special_i0e", sp.i0e, WIDE, 2e-15), ("special_i1", sp.i1, WIDE, 3e-15),
    ("special_i1e", sp.i1e, WIDE, 3e-15), ("special_modified_bessel_k0", sp.k0, POSITIVE[:2001], 3e-15),
    ("special_modified_bessel_k1", sp.k1, POSITIVE[:2001], 3e-15),
    ("special_scaled_modified_bessel_k0", sp.k0e, POSITIVE, 3e-15),
    ("special_scaled_modified_bessel_k1", sp.k1e, POSITIVE, 3e-15),
    ("special_spherical_bessel_j0", lambda x: sp.spherical_jn(0, x), WIDE, 1e-14),
    ("special_entr", sp.entr, POSITIVE, 1e-15), ("logit", sp.logit, (UNIT + 1) / 2, 1e-9), ("sinc", np.sinc, WIDE, 1e-10)])
def test_accuracy(name, scipy, x, bound):
    got = getattr(F, name)(pellucid.tensor(x)).numpy()
    assert relative(got, scipy(x), 1e-3 if name in ("lgamma", "digamma", "sinc") else 1e-300) <= bound


@pytest.mark.parametrize(("name", "scipy", "x"), [
    ("bessel_j0", sp.j0, WIDE[:-1]), ("bessel_j1", sp.j1, WIDE[:-1]), ("bessel_y0", sp.y0, POSITIVE[:2001]),
    ("bessel_y1", sp.y1, POSITIVE[:2001]),
    ("airy_ai", lambda x: sp.airy(x)[0], WIDE[WIDE > -20])])
def test_oscillating_functions_are_accurate_on_their_amplitude(name, scipy, x):
    got, want = getattr(F, "special_" + name)(pellucid.tensor(x)).numpy(), scipy(x)
    assert np.max(np.abs(got - want) / np.maximum(np.abs(want), 0.05)) < 5e-13


@pytest.mark.parametrize("a", [0.01, 0.5, 1.0, 3.0, 10.0, 50.0, 500.0, 5000.0])
def test_incomplete_gamma(a):
    x = np.concatenate([np.linspace(0, 3 * a + 10, 301), [1e-8, math.inf]])
    s = pellucid.full((x.size,), a, dtype=pellucid.float64)
    for name, scipy in (("igamma", sp.gammainc), ("igammac", sp.gammaincc)):
        got, want = getattr(F, name)(s, pellucid.tensor(x)).numpy(), scipy(a, x)
        np.testing.assert_allclose(got, want, rtol=2e-11, atol=1e-290)


@pytest.mark.parametrize("n", range(5))
def test_polygamma(n):
    got = pellucid.special.polygamma(n, pellucid.tensor(POSITIVE)).numpy()
    np.testing.assert_allclose(got, sp.polygamma(n, POSITIVE), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("s", [1.1, 2.0, 3.5, 20.0])
def test_hurwitz_zeta(s):
    got = pellucid.special.zeta(s, pellucid.tensor(POSITIVE)).numpy()
    np.testing.assert_allclose(got, sp.zeta(s, POSITIVE), rtol=1e-13)


@pytest.mark.parametrize(("name", "scipy", "where"), [
    ("chebyshev_polynomial_t", sp.eval_chebyt, (-1.5, 1.5)), ("chebyshev_polynomial_u", sp.eval_chebyu, (-1.5, 1.5)),
    ("shifted_chebyshev_polynomial_t", sp.eval_sh_chebyt, (0, 1)),
    ("shifted_chebyshev_polynomial_u", sp.eval_sh_chebyu, (0, 1)),
    ("hermite_polynomial_h", sp.eval_hermite, (-2, 2)), ("hermite_polynomial_he", sp.eval_hermitenorm, (-2, 2)),
    ("laguerre_polynomial_l", sp.eval_laguerre, (0, 4)), ("legendre_polynomial_p", sp.eval_legendre, (-1, 1))])
def test_orthogonal_polynomials(name, scipy, where):
    x, n = np.linspace(*where, 41)[:, None], np.arange(9)
    got = getattr(pellucid.special, name)(pellucid.tensor(x), pellucid.tensor(n)).numpy()
    np.testing.assert_allclose(got, scipy(n, x), rtol=1e-10, atol=1e-11)
    assert getattr(pellucid.special, name)(pellucid.tensor([0.5]), -1).item() == 0


def test_chebyshev_polynomials_of_the_third_and_fourth_kind():
    theta = np.linspace(0.1, 3.0, 30)[:, None]
    n = np.arange(6)
    x = pellucid.tensor(np.cos(theta))
    v, w = (getattr(pellucid.special, f"chebyshev_polynomial_{k}")(x, pellucid.tensor(n)).numpy() for k in "vw")
    np.testing.assert_allclose(v, np.cos((n + 0.5) * theta) / np.cos(theta / 2), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(w, np.sin((n + 0.5) * theta) / np.sin(theta / 2), rtol=1e-9, atol=1e-10)


def test_float32_erf_and_gelu():
    x = np.linspace(-6, 6, 20001).astype(np.float32)
    got = pellucid.erf(pellucid.tensor(x)).numpy()
    assert relative(got.astype(np.float64), sp.erf(x.astype(np.float64)), 1e-30) < 5e-7
    gelu = pellucid.nn.functional.gelu(pellucid.tensor(x)).numpy()
    np.testing.assert_allclose(gelu, x * sp.ndtr(x.astype(np.float64)), atol=2e-6, rtol=2e-6)


def test_poles_and_limits():
    t = lambda *v: pellucid.tensor(v, dtype=pellucid.float64)       # noqa: E731
    assert pellucid.lgamma(t(0.0, -1.0, -2.0, math.inf, -math.inf)).tolist() == [math.inf] * 5
    assert pellucid.digamma(t(0.0, -0.0)).tolist() == [-math.inf, math.inf] and math.isnan(pellucid.digamma(t(-1.0)).item())
    assert pellucid.erfinv(t(-1.0, 1.0)).tolist() == [-math.inf, math.inf] and math.isnan(pellucid.erfinv(t(1.5)).item())
    assert pellucid.special.zeta(t(1.0, 2.0, 3.0), t(2.0, 0.0, -2.0)).tolist() == [math.inf] * 3
    assert pellucid.special.ndtri(t(0.0, 1.0)).tolist() == [-math.inf, math.inf]
    assert pellucid.xlogy(t(0.0, 0.0, 0.0), t(0.0, math.inf, math.nan)).tolist()[:2] == [0.0, 0.0]
    assert pellucid.igamma(t(0.0, 2.0, 2.0), t(1.0, 0.0, math.inf)).tolist() == [1.0, 0.0, 1.0]
    assert pellucid.special.entr(t(0.0, -1.0)).tolist() == [0.0, -math.inf]
    assert pellucid.special.bessel_y0(t(0.0)).item() == -math.inf and pellucid.special.modified_bessel_k1(t(0.0)).item() == math.inf


def test_multigammaln_is_scipys():
    x = np.linspace(2.1, 9, 20)
    for p in (1, 2, 4):
        np.testing.assert_allclose(pellucid.mvlgamma(pellucid.tensor(x), p).numpy(), [sp.multigammaln(v, p) for v in x],
                                   rtol=1e-12)
