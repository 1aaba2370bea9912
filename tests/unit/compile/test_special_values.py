"""NaN, infinities, denormals, signed zeros, integers at their ends, and every kind of dtype: compiled as in eager."""

from __future__ import annotations

import pytest

import pellucid
from pellucid.nn import functional as F

VALUES = [0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-40, -1e-40, 1e-45, 3.4e38, -3.4e38, 2.5, -2.5, 0.5, -0.5,
          1e-20, 88.0, -104.0, 100.0]
ONE = """abs neg exp log sqrt rsqrt reciprocal sin cos tan tanh sigmoid erf erfc floor ceil round trunc frac sign exp2 expm1 log1p log2
    log10 square sinh cosh asin acos atan asinh acosh atanh isnan isinf isfinite signbit logical_not nan_to_num""".split()
ACTIVATIONS = "relu gelu silu softplus elu leaky_relu hardtanh relu6 hardswish hardsigmoid mish softsign logsigmoid selu celu".split()
TWO = """add sub mul div maximum minimum fmax fmin pow atan2 remainder fmod floor_divide copysign hypot eq lt ge logaddexp
    nextafter""".split()
REDUCTIONS = "sum mean amax amin argmax argmin prod std var all any norm".split()
EITHER_ZERO = {"relu", "elu", "selu", "celu", "fmax", "fmin"}      # 0 or -0: which of two equal numbers is the greater


def values(dtype=pellucid.float32):
    return pellucid.tensor(VALUES).to(dtype)


def rows():
    x = values()
    return (pellucid.stack([x, x.flip(0), x * 0 + 1, pellucid.zeros(20), -pellucid.zeros(20), pellucid.full((20,), float("-inf")),
                            pellucid.full((20,), 1e-42)]),)


@pytest.mark.parametrize("dtype", [pellucid.float32, pellucid.float64], ids=str)
def test_functions_of_one_tensor(same_as_eager, dtype):
    for names in (ONE[::2], ONE[1::2]):
        same_as_eager(lambda x: [getattr(pellucid, name)(x) for name in names], lambda: (values(dtype),))


def test_activations_and_their_gradients(same_as_eager):
    def run(x):
        found = []
        for name in ACTIVATIONS:
            y = getattr(F, name)(x)
            found += [y.detach(), pellucid.autograd.grad(y, x, pellucid.ones_like(y))[0]]
        return found
    same_as_eager(run, lambda: (values().requires_grad_(),), zeros=False)
    plain = [name for name in ACTIVATIONS if name not in EITHER_ZERO]
    same_as_eager(lambda x: [getattr(F, name)(x) for name in plain], lambda: (values(),))


def test_functions_of_two_tensors(same_as_eager):
    x = values()
    for names in ([n for n in TWO if n not in EITHER_ZERO], EITHER_ZERO.intersection(TWO)):
        same_as_eager(lambda a, b: [getattr(pellucid, name)(a, b) for name in names], lambda: (x[:, None].clone(), x.clone()),
                      zeros=not EITHER_ZERO.intersection(names))


@pytest.mark.parametrize("dim", [0, 1, None])
def test_reductions(same_as_eager, dim):
    given = {} if dim is None else {"dim": dim}

    def run(x):
        found = [getattr(pellucid, name)(x, **given) for name in REDUCTIONS]
        if dim is None:
            return [*found, x.max(), x.min()]
        return [*found, *x.max(dim), *x.min(dim), x.cumsum(dim), x.logsumexp(dim), F.softmax(x, dim), F.log_softmax(x, dim)]
    same_as_eager(run, rows)


def test_what_is_made_of_rows(same_as_eager):
    same_as_eager(lambda x: (F.layer_norm(x, (20,)), x.clamp(-1, 1), x.clamp(min=0.5), pellucid.where(x > 0, x, -x), x @ x.t()), rows)


def test_gradients_of_reductions(same_as_eager):
    def run(x):
        found = []
        for name in ("amax", "amin", "prod", "std", "var", "norm", "logsumexp"):
            y = getattr(pellucid, name)(x, 1)
            found.append(pellucid.autograd.grad(y.sum(), x)[0])
        return [*found, pellucid.autograd.grad(x.max(1)[0].sum() + x.min(0)[0].sum(), x)[0]]
    same_as_eager(run, lambda: (rows()[0].requires_grad_(),))
    same_as_eager(lambda x: pellucid.autograd.grad(x.amax(1).sum() + x.max() + x.max(0)[0].sum(), x)[0],
                  lambda: (pellucid.ones(4, 5, requires_grad=True),))


# ---------------------------------------------------------------------------------------------------- integers
INTEGERS = [pellucid.int8, pellucid.uint8, pellucid.int16, pellucid.int32, pellucid.int64]


def ints(dtype, *numbers):
    return pellucid.tensor(numbers, dtype=dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_wrap_and_divide(same_as_eager, dtype):
    last = 255 if dtype is pellucid.uint8 else -1

    def run(x, y):
        return (x + x, x * x, -x, x - 100, abs(x), x.square(), x.sum(), x.prod(), x.cumsum(0), x << 2, x >> 1, x & 3, x | 4, x ^ 5, ~x, x == 3,
                x > 2, x.max(), x.min(), x.argmax(), x.float().mean(), x**2, x**3, x.clamp(2, 50), pellucid.where(x > 2, x, x * 0), x / 3,
                x // y, x % y, pellucid.fmod(x, y), x / y, pellucid.div(x, y, rounding_mode="trunc"), x[:, None] @ x[None], x @ x)
    sign = 1 if dtype is pellucid.uint8 else -1
    same_as_eager(run, lambda: (ints(dtype, 127, 100, 3, 0, 1, last), ints(dtype, 2, 7 * sign, 5, 3 * sign, 1, 3)))


def test_the_least_integer_by_minus_one(same_as_eager):
    for dtype in (pellucid.int32, pellucid.int64):
        same_as_eager(lambda x: (x // -1, x % -1, -x, abs(x)), lambda dtype=dtype: (ints(dtype, -2**(8 * dtype.itemsize - 1)),))


def test_division_of_integers_by_zero(same_as_eager):
    for fn in (lambda x, y: x // y, lambda x, y: x % y):
        same_as_eager(fn, lambda: (ints(pellucid.int64, 1, 2), ints(pellucid.int64, 1, 0)), errors=True)


def test_floats_to_integers(same_as_eager):
    same_as_eager(lambda x: (x.int(), x.long(), x.to(pellucid.int8), x.to(pellucid.uint8), x.bool()),
                  lambda: (pellucid.tensor([1.7, -1.7, 0.0, -0.0, 300.0, -300.0, 127.5]),))


def test_booleans(same_as_eager):
    same_as_eager(lambda x: (x & x, x | ~x, x ^ x, x.sum(), x.any(), x.all(), x + x, x * x, x.float(), x.max(), x == x, x.long() + 1, x / 2,
                             pellucid.where(x, 1, 2), pellucid.where(x, 1.5, 2)), lambda: (pellucid.tensor([True, False, True]),))


# ---------------------------------------------------------------------------------------------------- dtypes
@pytest.mark.parametrize("dtype", [pellucid.bfloat16, pellucid.float16, pellucid.float64], ids=str)
def test_other_floats(same_as_eager, dtype):
    def run(x, w):
        return (x + w, x * w, x / w, F.softmax(x, -1), F.gelu(x), F.layer_norm(x, (8,)), x.sum(), x.mean(0), x @ w.t(), x.exp(), x.max(1)[0],
                (x * w + 1).tanh().sum(-1), x.cumsum(1), x.float(), x.argmax(1), x.std(1), x**2)
    same_as_eager(run, lambda: (pellucid.randn(4, 8).to(dtype), pellucid.randn(4, 8).to(dtype)),
                  tolerance=1e-9 if dtype is pellucid.float64 else 1e-2)


def test_dtypes_that_meet(same_as_eager):
    same_as_eager(lambda a, b, c, d, e: (a + b, a * c, b * c, d + a, d * b, a > b, c + 2.5, c / 2, e * a, e + c, a ** c),
                  lambda: (pellucid.rand(4), pellucid.rand(4).double(), pellucid.arange(4), pellucid.rand(4).bfloat16(),
                           pellucid.tensor(2.0, dtype=pellucid.float64)))


def test_complex_numbers(same_as_eager):
    same_as_eager(lambda a: (a * a, a.abs(), a.conj().resolve_conj(), a.sum(), (a * a.conj()).sum().abs() + 1),
                  lambda: (pellucid.randn(4, dtype=pellucid.complex64),))


def test_two_scatters_whose_parts_meet(same_as_eager):
    def bags(w, rows, starts):
        bag = pellucid.bucketize(pellucid.arange(6), starts, right=True) - 1
        sizes = pellucid.zeros(4, dtype=pellucid.int64).index_put((bag,), pellucid.ones(6, dtype=pellucid.int64), True)[:3]
        sums = pellucid.zeros(4, 2).index_put((bag,), w[rows], True)[:3]
        return sums / sizes.clamp_min(1).float()[:, None], sizes

    same_as_eager(bags, lambda: (pellucid.randn(5, 2), pellucid.tensor([0, 1, 2, 3, 4, 0]), pellucid.tensor([0, 2, 4])))
    same_as_eager(lambda w, i, o: F.embedding_bag(i, w, o, mode="mean"),
                  lambda: (pellucid.randn(5, 2), pellucid.tensor([0, 1, 2, 3, 4, 0]), pellucid.tensor([0, 2, 4])))
