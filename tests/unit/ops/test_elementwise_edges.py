"""Elementwise operators at the values where implementations differ: nan, infinities, zeros, ties, bounds, dtype limits."""
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import pellucid

INF, NAN = math.inf, math.nan
VALUES = [NAN, INF, -INF, 0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.0, -3.0, 6.0, 1e-20, 1e20, 88.0, -89.0, 0.7, 10.0]
UNARY = """abs neg square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh
    acosh atanh floor ceil round trunc frac sign sgn signbit deg2rad rad2deg sinc nan_to_num isnan isinf isfinite isposinf isneginf
    isreal logical_not angle relu sigmoid logit selu celu positive""".split()
FUNCTIONAL = "relu6 leaky_relu silu mish logsigmoid softplus hardsigmoid hardshrink softshrink tanhshrink elu".split()
BINARY = """add sub mul div floor_divide fmod pow maximum minimum atan2 hypot logaddexp xlogy eq ne lt le gt ge logical_and logical_or
    logical_xor copysign heaviside""".split()
# where nan meets these, PyTorch's own answer depends on its vector width
NAN_GRADIENT = {"selu", "celu", "elu"}


def both(name, arrays, **kw):
    """(our result, torch's result, our inputs, torch's inputs), differentiated where both can be."""
    torch = pytest.importorskip("torch")
    find = lambda m: getattr(m.nn.functional, name) if name in FUNCTIONAL else getattr(m, name)     # noqa: E731
    ours = [pellucid.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return find(pellucid)(*ours, **kw), find(torch)(*theirs, **kw), ours, theirs


def close(a, b, rtol=1e-9):
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype.kind == "b":
        np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-300, equal_nan=True)


@pytest.mark.parametrize("name", UNARY + FUNCTIONAL)
def test_unary_values_and_gradients_at_edges(name):
    x = np.array(VALUES)
    got, want, (a,), (b,) = both(name, [x])
    close(got.detach().numpy(), want.detach().clone().numpy(), 1e-7)
    if not (got.requires_grad and want.requires_grad):
        return
    w = np.linspace(0.5, 1.5, x.size)
    got.backward(pellucid.tensor(w))
    want.backward(__import__("torch").tensor(w))
    g, e = a.grad.numpy(), b.grad.clone().numpy(force=True)
    if name in NAN_GRADIENT:
        g, e = g[1:], e[1:]
    if name == "tanhshrink":                    # torch subtracts from 1 what it could square
        np.testing.assert_allclose(g, e, rtol=1e-7, atol=1e-14, equal_nan=True)
    else:
        close(g, e, 1e-7)


@pytest.mark.parametrize("name", BINARY)
def test_binary_values_at_edges(name):
    pairs = np.array(list(itertools.product(VALUES[:13], VALUES[:13])))
    got, want, _, _ = both(name, [pairs[:, 0], pairs[:, 1]])
    close(got.detach().numpy(), want.detach().numpy())


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin", "clamp_min", "clamp_max"])
def test_gradient_at_ties(name):
    torch = pytest.importorskip("torch")
    x, y = np.array([1.0, 2.0, 3.0, NAN, 1.0]), np.array([1.0, 3.0, 2.0, 1.0, NAN])
    got, want, ours, theirs = both(name, [x, y])
    got.backward(pellucid.tensor(np.arange(1.0, 6.0)))
    want.backward(torch.arange(1.0, 6.0, dtype=torch.float64))
    for a, b in zip(ours, theirs):
        close(a.grad.numpy(), b.grad.numpy())


def test_clamp_lets_the_gradient_through_at_its_bounds_and_stops_infinite_ones_outside():
    x = pellucid.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    x.clamp(-1, 1).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    x = pellucid.tensor([-1.0, 4.0], requires_grad=True)
    x.clamp(min=0).sqrt().sum().backward()                  # sqrt'(0) is infinite: masked, not multiplied by 0
    assert x.grad.tolist() == [0.0, 0.25]
    x = pellucid.tensor([-1.0] * 2000 + [4.0], requires_grad=True)
    x.relu().sqrt().sum().backward()                        # large arrays are masked by their bits
    assert x.grad[:2000].eq(0).all() and x.grad[2000] == 0.25


def test_crossing_bounds_give_the_upper_one():
    assert pellucid.tensor([0.0, 5.0]).clamp(3, 1).tolist() == [1.0, 1.0]
    assert math.isnan(pellucid.tensor([0.0]).clamp(max=NAN).item())


@pytest.mark.parametrize("op", ["floor_divide", "remainder", "fmod"])
def test_integer_division_by_zero_is_an_error(op):
    for divisor in (0, pellucid.tensor([1, 0])):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            getattr(pellucid, op)(pellucid.tensor([4, 5]), divisor)


def test_integer_division_rounds_as_asked():
    a, b = pellucid.tensor([7, -7, 7, -7]), pellucid.tensor([2, 2, -2, -2])
    assert pellucid.div(a, b, rounding_mode="floor").tolist() == [3, -4, -4, 3] == (a // b).tolist()
    assert pellucid.div(a, b, rounding_mode="trunc").tolist() == [3, -3, -3, 3]
    assert (a % b).tolist() == [1, 1, -1, -1] and pellucid.fmod(a, b).tolist() == [1, -1, 1, -1]
    assert (a / b).dtype is pellucid.float32
    with pytest.raises(RuntimeError, match="div expected rounding_mode to be one of"):
        pellucid.div(a, b, rounding_mode="up")


def test_integer_powers():
    assert (pellucid.tensor([2, -1, 1, 3]) ** pellucid.tensor([-1, -3, -2, 4])).tolist() == [0, -1, 1, 81]
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        pellucid.tensor([2]) ** -1
    assert (2 ** pellucid.tensor([0.0, 3.0])).tolist() == [1.0, 8.0]


def test_pow_gradient_at_zero():
    x = pellucid.tensor([0.0, 0.0, 2.0], requires_grad=True)
    e = pellucid.tensor([0.0, 2.0, 3.0], requires_grad=True)
    (x ** e).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 12.0]
    assert e.grad.tolist()[:2] == [0.0, 0.0] and e.grad[2].item() == pytest.approx(8 * math.log(2))


@pytest.mark.parametrize(("call", "text"), [
    (lambda b: b - b, "with two bool tensors is not supported"),
    (lambda b: 1 - b, "with a bool tensor is not supported"),
    (lambda b: -b, "on a bool tensor is not supported"),
    (lambda b: +b, r"The `\+` operator, on a bool tensor"),
    (lambda b: b.abs(), "\"abs_cpu\" not implemented for 'Bool'"),
    (lambda b: b.floor(), "not implemented for 'Bool'"),
    (lambda b: b << b, "\"lshift_cpu\" not implemented for 'Bool'"),
    (lambda b: pellucid.hypot(b.long(), b.long()), "\"hypot_cpu\" not implemented for 'Long'"),
    (lambda b: pellucid.add(b.long(), b.long(), alpha=0.5), "argument alpha must not be a floating point number"),
    (lambda b: pellucid.add(b.float(), b.float(), alpha=True), "Boolean alpha only supported for Boolean results"),
    (lambda b: pellucid.clamp(b.float()), "At least one of 'min' or 'max' must not be None"),
    (lambda b: pellucid.lerp(b.float(), b.double(), 0.5), "expected dtype float for `end` but got dtype double"),
    (lambda b: pellucid.isclose(b.float(), b.long()), "Float did not match Long"),
    (lambda b: pellucid.addcdiv(b.long(), b.long(), b.long()), "Integer division with addcdiv is no longer supported"),
    (lambda b: pellucid.complex(b.float(), b.double()), "Expected object of scalar type Float but got scalar type Double"),
    (lambda b: pellucid.where(b.float(), b, b), "expected condition to be a boolean tensor"),
    (lambda b: b.to(pellucid.complex64).abs_(), "In-place abs is not supported for complex tensors"),
    (lambda b: b.float().float_power_(2), "operation's result requires dtype Double"),
])
def test_refusals(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(pellucid.tensor([True, False]))


@pytest.mark.parametrize("call", [lambda t: pellucid.atan2(t, 2), lambda t: pellucid.maximum(2.0, t),
                                  lambda t: pellucid.eq(2, 3),
                                  lambda t: pellucid.exp(3), lambda t: ~t, lambda t: pellucid.fmod(2, t)])
def test_type_errors(call):
    with pytest.raises(TypeError):
        call(pellucid.tensor([1.0]))


def test_numbers_beside_low_precision():
    x = pellucid.tensor([1.0, 2.0, 100.0]).bfloat16()
    assert (x + 1e-3).dtype is pellucid.bfloat16 and pellucid.xlogy(x, 2).dtype is pellucid.bfloat16
    assert pellucid.nextafter(x, x + 100).float().tolist() == [1.0078125, 2.015625, 100.5]
    assert pellucid.finfo(pellucid.bfloat16).max == pellucid.nan_to_num(pellucid.tensor([INF]).bfloat16()).item()


def test_complex_views_share_memory_and_gradients():
    x = pellucid.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    z = pellucid.view_as_complex(x)
    assert z.tolist() == [1 + 2j, 3 + 4j]
    (z.real * 10 + z.imag).sum().backward()
    assert x.grad.tolist() == [[10.0, 1.0], [10.0, 1.0]]
    w = pellucid.zeros(2, dtype=pellucid.complex64)
    w.imag[1] = 5
    pellucid.view_as_real(w)[0, 0] = 7
    assert w.tolist() == [7 + 0j, 5j]


def test_log1p_of_small_and_large_complex_numbers():
    z = pellucid.tensor([1e-19 + 1e-18j, 1e250 + 1j, -1 + 1e250j], dtype=pellucid.complex128)
    got = pellucid.log1p(z).tolist()
    for a, b in zip(got, [1e-19 + 1e-18j, 575.6462732485114 + 1e-250j, 575.6462732485114 + 1.5707963267948966j]):
        assert a.real == pytest.approx(b.real, rel=1e-12) and a.imag == pytest.approx(b.imag, rel=1e-12)


def test_overlapping_out_is_refused():
    x = pellucid.arange(6.0)
    with pytest.raises(RuntimeError, match="unsupported operation"):
        pellucid.exp(x[:3], out=x[1:4])
    pellucid.exp(x[:3], out=x[:3])
    assert x[0] == 1 and x[3] == 3


def test_in_place_operators_answer_strangers_with_not_implemented():
    class Stranger:
        def __radd__(self, other):
            return "mine"
    x = pellucid.ones(2)
    assert x.__iadd__(Stranger()) is NotImplemented
    x += Stranger()
    assert x == "mine"


def test_in_place_keeps_what_the_derivative_needs():
    x = pellucid.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.sin_()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos([2.0, 4.0]), rtol=1e-6)
