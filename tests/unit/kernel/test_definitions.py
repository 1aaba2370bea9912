"""Kernel definitions (`scalar`, `lower`) agree with the references: every operator, every sample, every dtype it takes."""
from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.core.config import config
from pellucid.core.spec import Spec
from pellucid.kernel.build import Refused, defined
from pellucid.kernel.ir import MATH
from pellucid.ops import REGISTRY, F
from pellucid.ops.dispatch import Interpreter, interpreting
from pellucid.ops.op import COMPOSITE, FLOAT, NONE, RANDOM, REDUCE, SCATTER
from pellucid.tensor import Tensor
from pellucid.tensor.core import Slots
from pellucid.tensor.eager import apply, compute, promote
from pellucid.testing import samples_of
from tests.opmatrix.conftest import chosen
from tests.opmatrix.helpers import ALL, call, is_random, mapped, tensors

from .definitions import run


INEXACT = frozenset(MATH) - {"sqrt", "floor", "ceil", "trunc", "rint"}


class Comparing(Interpreter):
    """Runs the definition of every operator that is called beside its reference."""

    def __init__(self):
        self.ran: Counter = Counter()
        self.refused: dict[str, set] = {}
        self.failure: str | None = None

    def call(self, op, args, kwargs):
        kwargs = {k: v for k, v in kwargs.items() if k != "out"}
        if op.front is None:
            return self.decompose(op, args, kwargs)
        with interpreting(self):
            canon = op.front(*args, **kwargs)
            if len(canon) == 3:
                return getattr(F, canon[0])(*canon[1], **canon[2])
        flat, attrs = canon
        if op.promote is not NONE:
            flat = promote(op, flat)
        if defined(op):
            try:
                self.compare(op, flat, attrs)
            except Exception as wrong:
                self.failure = f"{op.name}: {wrong!r}"
                raise
        return apply(op, flat, attrs)

    def compare(self, op, flat, attrs):
        arrays = [np.array(t._a, order="C") if isinstance(t, Slots) else t for t in flat]      # in a graph values lie in order
        arrays = [a.item() if isinstance(a, np.ndarray) and not isinstance(t, Slots) else a for a, t in zip(arrays, flat)]
        plain = [Tensor._wrap(a) if isinstance(a, np.ndarray) else a for a in arrays]
        want = compute(op, [p if isinstance(p, Slots) else t for p, t in zip(plain, flat)], attrs)
        want = [np.asarray(w) for w in (want if isinstance(want, tuple) else (want,))]
        try:
            got, names = run(op, arrays, attrs, [Spec(w.shape, dt.of(w.dtype)) for w in want])
        except Refused as why:
            self.refused.setdefault(op.name, set()).add(str(why))
            return
        self.ran[op.name] += 1
        for g, w in zip(got, want):
            check(op, attrs, arrays, g, w, names)


def check(op, attrs, arrays, got, want, names):
    what = f"{op.name}({', '.join(map(describe, arrays))}, {attrs})"
    assert got.dtype == want.dtype, f"{what}: {got.dtype} for {want.dtype}"
    assert got.shape == want.shape, f"{what}: {got.shape} for {want.shape}"
    if op.name == "filled" and attrs["value"] is None:
        return                                            # memory without values
    exact = not names & INEXACT and op.kind not in (REDUCE, SCATTER) and op.name != "hypot"
    if got.dtype.kind not in "fV" and got.dtype not in (dt.bfloat16.np,):
        assert np.array_equal(got, want), f"{what}: {got} for {want}"
        return
    tight = {2: 0.008 if got.dtype == dt.bfloat16.np else 1e-3, 4: 1e-6, 8: 4e-15}[got.dtype.itemsize]
    g, w = got.astype(np.float64), want.astype(np.float64)
    if exact:
        assert np.array_equal(g, w, equal_nan=True), f"{what}: {got} for {want}"
    else:
        assert np.allclose(g, w, rtol=tight, atol=tight * 0.5, equal_nan=True), f"{what}: {got} for {want}"


def describe(a):
    return f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else repr(a)


@pytest.fixture(autouse=True)
def references_only(monkeypatch):
    """Eager without kernels: those are made from the definitions that are tested here."""
    monkeypatch.setattr(config, "kernels", False)


DTYPES = (dt.float32, dt.float64, dt.int64, dt.bool_, dt.bfloat16, dt.float16, dt.int32, dt.uint8)


def in_dtype(x, d, grad=False):
    """A sample with its float tensors in another dtype."""
    def one(t):
        if t.dtype is not dt.float64:
            return t
        t = t.detach()
        return F.convert(F.mul(t, 3) if d.category < dt.FLOAT else t, d).requires_grad_(grad)
    return mapped(x, one)


def attempt(op, args, kwargs, backward):
    """The call and, if wanted, the gradients of all it gives; False if the operator does not take these operands."""
    try:
        r = call(op, args, kwargs)
        outs = [t for t in tensors(r) if t.requires_grad and t.dtype.is_floating_point] if backward else []
        if outs:
            total = F.sum(F.mul(outs[0], 0.7))
            for t in outs[1:]:
                total = F.add(total, F.sum(F.mul(t, 0.7)))
            total.backward()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", ALL)
def test_definitions_agree_with_references(name):
    op = REGISTRY[name]
    if is_random(op) or not op.forms and op.kind is COMPOSITE:
        return
    seen = Comparing()
    for sample in chosen(samples_of(op), name, "definitions", 3):
        for d, backward in [(d, False) for d in DTYPES] + [(dt.float32, True), (dt.float64, True)]:
            def fresh(d=d, backward=backward, sample=sample):
                return in_dtype(sample[0], d, backward), in_dtype(sample[1], d, backward)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                if attempt(op, *fresh(), backward):
                    with interpreting(seen):
                        assert attempt(op, *fresh(), backward) or seen.failure is None, seen.failure
    assert seen.failure is None, seen.failure


EXTREME = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 1e-20, 7.0, -7.0, 100.0,
           -100.0, 20.0, -20.0, 3.0, -3.0, 6.0]
ATTRS = {"hardtanh": {"min_val": -1.0, "max_val": 1.0}, "leaky_relu": {"negative_slope": 0.01}, "threshold": {"threshold": 0.0, "value": 0.0},
         "elu": {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}, "softplus_": {"beta": 1.0, "threshold": 20.0}, "hardshrink_": {"lambd": 0.5},
         "softshrink_": {"lambd": 0.5}, "nan_to_num": {"nan": 0.0, "posinf": 1.0, "neginf": -1.0}, "addcmul": {"value": 2}, "addcdiv": {"value": 0.5},
         "isclose": {"rtol": 1e-5, "atol": 1e-8, "equal_nan": True}, "convert": {"dtype": dt.float64}}
ELEMENTWISE = [n for n in ALL if REGISTRY[n].scalar is not None and n != "where"]


def extreme_operands(n, d):
    if np.dtype(d).kind == "f":
        v = np.array(EXTREME, d)
    elif d is np.bool_:
        v = np.array([False, True])
    else:
        info = np.iinfo(d)
        v = np.array([0, 1, 2, 3, 7, info.max, info.min, info.max - 1] + [-1, -2, -7] * (info.min < 0), d)
    return [np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(*[v] * n)]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_definitions_agree_at_the_edges_of_the_number_line(name):
    """nan, infinities, signed zeros, denormals, the least and the greatest integers: exact where the arithmetic is basic."""
    op = REGISTRY[name]
    attrs = ATTRS.get(name.removesuffix("_backward"), {})
    for d in (np.float32, np.float64, np.int32, np.int64, np.int8, np.uint8, np.bool_):
        arrays = extreme_operands(len(op.args), d)
        if np.dtype(d).kind != "f" and (op.promote is FLOAT or name.endswith("_backward")):
            continue
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                getattr(F, name)(*[Tensor._wrap(x) for x in arrays], **attrs)
            except Exception:
                continue                             # the operator does not take this dtype
            want = compute(op, [Tensor._wrap(x) for x in arrays], attrs)
            try:
                (got,), names = run(op, arrays, attrs, [Spec(want.shape, dt.of(want.dtype))])
            except Refused:
                continue
        if names & INEXACT or name == "hypot":
            tight = 1e-4 if "gelu" in name else 2e-6                 # gelu: 1 + erf(x) cancels
            assert np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=tight, atol=1e-38, equal_nan=True), (name, d)
        else:
            bad = ~((got == want) | (got != got) & (want != want))
            assert not bad.any(), (name, d, [x[bad] for x in arrays], got[bad], want[bad])
            if want.dtype.kind == "f" and name not in ("maximum", "minimum", "clamp", "clamp_min", "clamp_max", "relu", "fmax", "fmin"):
                assert np.array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0])), (name, d)


@pytest.mark.parametrize("call, size", [
    (lambda: (REGISTRY["embedding_rows"], [np.ones((5, 3), np.float32), np.array([0, 5])], {"padding_idx": -1, "scale_grad_by_freq": False}), (2, 3)),
    (lambda: (REGISTRY["gather"], [np.ones((3, 4), np.float32), np.full((3, 2), -1)], {"dim": 1}), (3, 2)),
    (lambda: (REGISTRY["index"], [np.ones((3, 4), np.float32), np.array([-4])], {"pattern": (True,)}), (1, 4))])
def test_an_index_out_of_range_fails_its_guard_and_reads_nothing_outside(call, size):
    op, arrays, attrs = call()
    with pytest.raises(AssertionError, match="guard"):
        run(op, arrays, attrs, [Spec(size, dt.float32)])


# Operators whose reference runs as a host step: neither kernel definition nor decomposition. What is here is reported by a
# compiled function; a new operator needs `scalar`, `lower` or `body`, or a place in this list.
COMPLEX = "from_parts real_part imag_part view_as_real view_as_complex fft_c2c fft_r2c fft_c2r"
FACTORISATIONS = """linalg_qr_factors linalg_svd_factors linalg_svdvals linalg_eigh_factors linalg_eig_factors linalg_pinv_above
    linalg_lstsq_solution geqrf_factors linalg_triangular linalg_cholesky_factor cholesky_solve linalg_lu_packed pivots_to_matrix
    linalg_ldl_packed linalg_ldl_solve linalg_solve_matrix linalg_inverse linalg_cofactor linalg_det linalg_sign_logdet matrix_exp"""
SPECIAL = """dirichlet_grad standard_gamma_grad nextafter frexp_parts gcd lcm erfinv special_erfcx special_ndtri special_log_ndtr lgamma digamma polygamma_ special_zeta
    igamma igammac i0 special_i0e special_i1 special_i1e special_modified_bessel_i0 special_modified_bessel_i1
    special_modified_bessel_k0 special_modified_bessel_k1 special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
    special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_spherical_bessel_j0 special_airy_ai
    special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v special_chebyshev_polynomial_w
    special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
    special_shifted_chebyshev_polynomial_w special_hermite_polynomial_h special_hermite_polynomial_he
    special_laguerre_polynomial_l special_legendre_polynomial_p"""
SORTS = """sort_lines argsort topk_lines slice_order search_lines isin median_lines nanmedian_lines kthvalue_lines mode_lines median
    nanmedian bincount_into histc histogram_grid embedding_counts bag_argmax bag_of_each fractional_max"""
VALUES_DECIDE = "nonzero_places constant tril_indices_values triu_indices_values"
# What the native layer calls or generates by other means than loops made from a definition.
LIBRARY = """convolution convolution_input convolution_weight conv_nhwc conv_nhwc_input conv_nhwc_weight gemm bgemm mm bmm mv
    dot vdot addmm baddbmm addmv linear attention cumsum linear_scan cumprod cummax_lines cummin_lines logcumsumexp ctc ctc_backward"""


def test_every_operator_has_a_definition_or_is_listed():
    listed = {n for group in (COMPLEX, FACTORISATIONS, SPECIAL, SORTS, VALUES_DECIDE, LIBRARY) for n in group.split()}
    without = {n for n, op in REGISTRY.items() if not defined(op) and op.body is None and op.kind is not RANDOM}
    assert without - listed == set(), "give these a scalar, a lower or a body, or list them here"
    assert {n for n in listed if n not in REGISTRY or defined(REGISTRY[n])} == set(), "these have a definition now: take them off the list"
