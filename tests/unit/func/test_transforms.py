"""`pellucid.func`: values by hand or by identities, composition, random numbers, in-place operators, errors."""
from __future__ import annotations

import pytest

import pellucid as torch
import pellucid.autograd.forward_ad as forward_ad
from pellucid import nn
from pellucid.ops.dispatch import local
from pellucid.autograd.functional import hessian as hessian_of
from pellucid.autograd.functional import jacobian
from pellucid.func import (debug_unwrap, functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize,
                           replace_all_batch_norm_modules_, stack_module_state, vjp, vmap)

close = torch.testing.assert_close
D = torch.float64


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(5, 3, dtype=D)


W = torch.tensor([0.5, -1.0, 2.0], dtype=D)


def f(a):
    return (a.sin() * a).sum()


def df(a):
    return a.cos() * a + a.sin()


def ddf(a):
    return 2 * a.cos() - a.sin() * a


# ---------------------------------------------------------------------------------------------------- nesting
def test_gradients_and_batches_nest_in_any_order(x) -> None:
    close(vmap(grad(f))(x), df(x))
    close(grad(lambda x: vmap(f)(x).sum())(x), df(x))
    close(grad(lambda x: vmap(grad(f))(x).sum())(x), ddf(x))
    close(vmap(grad(lambda a: grad(f)(a).sum()))(x), ddf(x))
    close(vmap(vmap(grad(torch.sin)))(x), x.cos())
    close(vmap(grad(lambda w, a: f(w * a)), (None, 0))(W, x), df(W * x) * x)
    close(vmap(vmap(torch.mul, (None, 0)), (0, None))(x[:, 0], x[:, 1]), torch.outer(x[:, 0], x[:, 1]))


def test_an_inner_derivative_does_not_mix_with_an_outer_one() -> None:
    one = torch.tensor(1.0, dtype=D)
    assert grad(lambda x: x * grad(lambda y: x + y)(one))(one) == 1
    assert jvp(lambda x: x * jvp(lambda y: x + y, (one,), (one,))[1], (one,), (one,))[1] == 1
    assert grad(lambda x: x * jvp(lambda y: x + y, (one,), (one,))[1])(one) == 1
    assert jvp(lambda x: x * grad(lambda y: x + y)(one), (one,), (one,))[1] == 1


def test_what_a_function_captures_keeps_its_history(x) -> None:
    w = W.clone().requires_grad_()
    vmap(grad(lambda a: (a * w).sin().sum()))(x).sum().backward()
    want = ((x * W).cos() - (x * W).sin() * x * W).sum(0)
    close(w.grad, want)
    close(grad(lambda w: vmap(grad(lambda a: (a * w).sin().sum()))(x).sum())(W), want)
    close(grad(lambda w: jvp(lambda a: (a * w).sin(), (x,), (x,))[1].sum())(W), (x * (x * W).cos() - x * x * W * (x * W).sin()).sum(0))
    assert not grad(f)(x).requires_grad and not vmap(grad(f))(x).requires_grad


def test_no_grad_around_is_heeded_and_inside_too(x) -> None:
    with torch.no_grad():
        g = grad(f)(x)
    close(g, df(x))

    def shifted(x):
        with torch.no_grad():
            shift = x ** 2
        return (x ** 2 - shift).sum()
    close(grad(shifted)(x), 2 * x)
    close(grad(lambda x: vmap(shifted)(x).sum())(x), 2 * x)
    with torch.inference_mode():
        close(grad(f)(torch.ones(2, dtype=D)), df(torch.ones(2, dtype=D)))


# ---------------------------------------------------------------------------------------------------- whole derivatives
def test_jacobians_agree(x) -> None:
    def g(a):
        return torch.tanh(a @ torch.outer(W, W)).softmax(-1) * a.sum(-1, keepdim=True)
    rows = jacobian(g, x)
    for other in (jacrev(g)(x), jacfwd(g)(x), jacrev(g, chunk_size=4)(x), jacrev(g, chunk_size=1)(x), jacobian(g, x, vectorize=True),
                  jacobian(g, x, vectorize=True, strategy="forward-mode")):
        close(other, rows)
        assert not other.requires_grad
    t = x.cos()
    close(jvp(g, (x,), (t,))[1], torch.tensordot(rows, t, 2))
    close(linearize(g, x)[1](t), torch.tensordot(rows, t, 2))
    close(vjp(g, x)[1](t)[0], torch.tensordot(t, rows, 2))


def test_second_derivatives_agree(x) -> None:
    def h(a):
        return (a @ W).exp().sum() * a.prod()
    want = hessian_of(h, x)
    for other in (hessian(h)(x), jacrev(jacrev(h))(x), jacfwd(jacfwd(h))(x), jacrev(jacfwd(h))(x), hessian_of(h, x, vectorize=True),
                  hessian_of(h, x, vectorize=True, outer_jacobian_strategy="forward-mode")):
        close(other, want)
    close(jvp(grad(h), (x,), (x,))[1], torch.tensordot(want, x, 2))
    close(vmap(hessian(lambda a: a.prod()))(x)[0], hessian_of(lambda a: a.prod(), x[0]))


def test_structures_and_auxiliaries(x) -> None:
    def g(p, k):
        return (p["a"] * k).sum() + p["b"][0].prod(), {"seen": p["a"]}
    p = {"a": x[0], "b": [x[1]]}
    got, (value, aux) = grad_and_value(g, has_aux=True)(p, 3.0)
    close(got["a"], torch.full((3,), 3.0, dtype=D))
    close(got["b"][0], x[1].prod() / x[1])
    close(aux["seen"], x[0])
    assert not value.requires_grad and not aux["seen"].requires_grad
    a, b = grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, x + 1)
    close(a, x + 1), close(b, x)
    j, aux = jacfwd(lambda a: (a.sin(), a * 2), has_aux=True)(x[0])
    close(j, torch.diag(x[0].cos())), close(aux, x[0] * 2)
    out, pull, aux = vjp(lambda a: ((a, a * 2), a + 1), x, has_aux=True)
    close(pull((x, x))[0], 3 * x), close(aux, x + 1)
    both = jacrev(lambda a, b: {"sum": a + b}, argnums=(0, 1))(x[0], x[1])
    close(both["sum"][1], torch.eye(3, dtype=D))


# ---------------------------------------------------------------------------------------------------- vmap
def test_dimensions(x) -> None:
    close(vmap(lambda a: a.sum(), in_dims=1)(x), x.sum(0))
    close(vmap(lambda a: a * 2, in_dims=-1, out_dims=-1)(x), x * 2)
    close(vmap(lambda d: d["a"] + d["b"], in_dims=({"a": 0, "b": None},))({"a": x, "b": W}), x + W)
    close(vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(x)[0], x.T)
    assert vmap(lambda a: (a, None), out_dims=(0, None))(x)[1] is None
    close(vmap(lambda a, k: a * k, in_dims=(0, None))(x, 2.0), x * 2)
    close(vmap(lambda a: W)(x), W.expand(5, 3))
    close(vmap(lambda a: a.sin(), chunk_size=2)(x), x.sin())
    close(torch.vmap(lambda a, k: a * k)(x, k=x), x * x)


def test_in_place_operators_write_what_is_mapped(x) -> None:
    def g(a):
        b = a.clone()
        b[0] = 7
        b[1:].mul_(2)
        c = a.new_zeros(3)
        c.copy_(b)
        return c.t() if c.ndim == 2 else c
    want = torch.cat([torch.full((5, 1), 7.0, dtype=D), x[:, 1:] * 2], 1)
    close(vmap(g)(x), want)
    close(jacfwd(g)(x[0]), jacrev(g)(x[0]))
    y = x.clone().requires_grad_()
    vmap(g)(y).sum().backward()
    close(y.grad, torch.tensor([0.0, 2, 2], dtype=D).expand(5, 3))
    z = x.clone()
    vmap(lambda a: a.mul_(2))(z)
    close(z, x * 2)
    with pytest.raises(RuntimeError, match="vmap: inplace arithmetic"):
        vmap(lambda a: torch.zeros(3, dtype=D).add_(a))(x)


def test_random_numbers(x) -> None:
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda a: a + torch.randn(3))(x)
    same = vmap(lambda a: torch.randn(3) + 0 * a, randomness="same")(x)
    chunked = vmap(lambda a: torch.randn(3) + 0 * a, randomness="same", chunk_size=2)(x)
    close(chunked[0], chunked[4])
    other = vmap(lambda a: torch.randn(3) + 0 * a, randomness="different")(x)
    close(same[0], same[1])
    assert (other[0] != other[1]).all()
    torch.manual_seed(1)
    want = torch.randn(5, 3)
    torch.manual_seed(1)
    close(vmap(lambda a: torch.randn(3), randomness="different")(x), want)
    torch.manual_seed(1)
    close(vmap(lambda a: torch.randn_like(a), randomness="different")(x.float()), want)
    assert vmap(lambda a: torch.normal(0.0, a.new_ones(3)), randomness="different")(x).shape == (5, 3)
    assert vmap(lambda a: torch.normal(0.0, W.abs()), randomness="different")(x).shape == (5, 3)
    orders = vmap(lambda a: torch.randperm(20), randomness="different")(x)
    assert orders.shape == (5, 20) and (orders[0] != orders[1]).any()
    masks = vmap(lambda a: nn.functional.dropout(torch.ones_like(a)), randomness="same")(torch.ones(4, 50))
    close(masks[0], masks[3])
    with pytest.raises(RuntimeError, match="same randomness with a batched tensor"):
        vmap(lambda a: torch.bernoulli(a.abs().clamp(max=1)), randomness="same")(x)
    with pytest.raises(RuntimeError, match="different inplace randomness on an unbatched"):
        vmap(lambda a: torch.zeros(3).normal_(), randomness="different")(x)


@pytest.mark.parametrize("call, kind, text", [
    (lambda x: vmap(lambda a: a.item())(x[:, 0]), RuntimeError, r"calling .item\(\) on a Tensor"),
    (lambda x: vmap(lambda a: a if a > 0 else -a)(x[:, 0]), RuntimeError, "data-dependent control flow"),
    (lambda x: vmap(lambda a: (a > 0).nonzero())(x), RuntimeError, "another shape for each"),
    (lambda x: vmap(lambda a: a, in_dims="x")(x), ValueError, "expected `in_dims` to be int"),
    (lambda x: vmap(lambda: 1)(), ValueError, "got no inputs"),
    (lambda x: vmap(lambda a: a, in_dims=((0,),))(x), ValueError, "in_dims is not compatible"),
    (lambda x: vmap(lambda a: a, in_dims=3)(x), ValueError, "expected in_dim to satisfy -2 <= in_dim < 2"),
    (lambda x: vmap(lambda a: a)(1.0), ValueError, "cannot vmap over non-Tensor arguments"),
    (lambda x: vmap(lambda a: a, in_dims=None)(x), ValueError, "Expected `in_dims`|expected `in_dims`"),
    (lambda x: vmap(torch.add)(x, x[:2]), ValueError, r"got sizes \[5, 2\]"),
    (lambda x: vmap(lambda a: 1)(x), ValueError, "must only return Tensors"),
    (lambda x: vmap(lambda a: a, out_dims=None)(x), ValueError, "can not return a BatchedTensor when out_dim is None"),
    (lambda x: vmap(lambda a: a, out_dims=(0, 0))(x), ValueError, "out_dims is not compatible"),
    (lambda x: vmap(lambda a: a, out_dims=2)(x), IndexError, "Dimension out of range"),
    (lambda x: vmap(lambda a: a, randomness="some"), RuntimeError, "Only allowed values for randomness"),
    (lambda x: vmap(lambda a: a, chunk_size=0), ValueError, "chunk_size should be None or greater than 0"),
    (lambda x: vmap(lambda a: torch.mm(a, a))(x), RuntimeError, "must be a matrix"),
    (lambda x: grad(lambda a: a)(x), RuntimeError, "return a scalar Tensor, got tensor with 2 dims"),
    (lambda x: grad(lambda a: 1.0)(x), RuntimeError, "to return a Tensor, got"),
    (lambda x: grad(f, argnums=2)(x), RuntimeError, "only 1 positional inputs"),
    (lambda x: grad(f, argnums=(0, 0))(x), RuntimeError, "must be unique"),
    (lambda x: grad(lambda a: a)(1.0), ValueError, "must be Tensor"),
    (lambda x: vjp(lambda a: 1, x), RuntimeError, "return only tensors"),
    (lambda x: vjp(lambda a: a.argmax(), x), RuntimeError, "floating-point or complex Tensors"),
    (lambda x: vjp(f, x)[1]((x, x)), RuntimeError, "pytree structure of cotangents"),
    (lambda x: jvp(f, x, x), RuntimeError, "Expected primals to be a tuple"),
    (lambda x: jvp(f, (x,), (x, x)), RuntimeError, "same python structure"),
    (lambda x: jvp(f, (x,), (x[0],)), RuntimeError, "matching sizes|same shape"),
    (lambda x: jvp(lambda a: torch.ones(2), (x,), (x,), strict=True), RuntimeError, "independent of the inputs"),
    (lambda x: jacrev(lambda a: a)(x.to(torch.complex128)), RuntimeError, "Expected all inputs to be real"),
    (lambda x: jacrev(f, chunk_size=0), ValueError, "greater than 0"),
    (lambda x: linearize(f, x)[1](x[0]), RuntimeError, "doesn't match the shape"),
    (lambda x: jacobian(f, x, strategy="forward-mode"), NotImplementedError, "vectorize=True"),
])
def test_errors(x, call, kind, text) -> None:
    with pytest.raises(kind, match=text):
        call(x)


def test_after_an_error_everything_is_as_it_was(x) -> None:
    with pytest.raises(RuntimeError):
        vmap(lambda a: a.item())(x[:, 0])
    with pytest.raises(RuntimeError):
        grad(lambda a: a)(x)
    assert not torch.ops.dispatch.local.stack and torch.is_grad_enabled() and torch.ops.dispatch.local.beneath is None


# ---------------------------------------------------------------------------------------------------- modules, functions, duals
def test_modules_as_functions(x) -> None:
    models = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double() for _ in range(3)]
    for m in models:
        m.eval()
    params, buffers = stack_module_state(models)
    assert params["0.weight"].shape == (3, 4, 3) and params["0.weight"].is_leaf and params["0.weight"].requires_grad
    got = vmap(lambda p, b, a: functional_call(models[0], (p, b), (a,)), (0, 0, None))(params, buffers, x)
    close(got, torch.stack([m(x) for m in models]))
    with pytest.raises(ValueError, match="appeared in multiple dictionaries"):
        functional_call(models[0], ({"0.bias": x}, {"0.bias": x}), (x,))
    with pytest.raises(RuntimeError, match="same class"):
        stack_module_state([nn.Linear(1, 1), nn.ReLU()])
    replace_all_batch_norm_modules_(models[0])
    assert models[0][1].running_mean is None


class Tenfold(torch.autograd.Function):
    """x**2 * w, with a derivative in x that is ten times the right one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, w):
        return x ** 2 * w

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)
        ctx.x = inputs[0] * 1

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * 20 * ctx.x * w, (g * x ** 2).sum_to_size(w.shape)

    @staticmethod
    def jvp(ctx, tx, tw):
        x, w = ctx.saved_tensors
        return sum([t for t in (None if tx is None else tx * 20 * x * w, None if tw is None else x ** 2 * tw) if t is not None])


def test_custom_functions_keep_their_derivative(x) -> None:
    want = 20 * x * W
    close(grad(lambda a: Tenfold.apply(a, W).sum())(x), want)
    close(vmap(grad(lambda a: Tenfold.apply(a, W).sum()))(x), want)
    close(grad(lambda a: vmap(lambda b: Tenfold.apply(b, W))(a).sum())(x), want)
    close(grad(lambda w: vmap(lambda b: Tenfold.apply(b, w))(x).sum())(W), (x ** 2).sum(0))
    close(jvp(lambda a: Tenfold.apply(a, W), (x,), (x,))[1], want * x)
    close(vmap(lambda a: jvp(lambda b: Tenfold.apply(b, W), (a,), (a,))[1])(x), want * x)
    close(jvp(lambda a: vmap(lambda b: Tenfold.apply(b, W))(a), (x,), (x,))[1], want * x)


def test_a_custom_function_may_say_how_it_is_mapped(x) -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return torch.from_numpy(x.numpy() * 2)

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            return g * 2

        @staticmethod
        def vmap(info, in_dims, x):
            assert info.batch_size == 5 and in_dims == (0,)
            return Twice.apply(x), 0
    close(vmap(Twice.apply)(x), x * 2)
    close(vmap(grad(lambda a: Twice.apply(a).sum()))(x), torch.full_like(x, 2))

    class Plain(Twice):
        vmap = torch.autograd.Function.vmap
    with pytest.raises(RuntimeError, match="does not have vmap support"):
        vmap(Plain.apply)(x)


def test_dual_tensors(x) -> None:
    w = W.clone().requires_grad_()
    y = x.clone().requires_grad_()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(y, x)
        out = (dual * dual * w).exp().sum()
        value, tangent = forward_ad.unpack_dual(out)
        (g,) = torch.autograd.grad(out, y, create_graph=True)
        over_reverse = forward_ad.unpack_dual(g).tangent
        (over_forward,) = torch.autograd.grad(tangent, y, retain_graph=True)
        close(over_reverse, over_forward)
        close(tangent, (2 * x * x * W * (x * x * W).exp()).sum())
        assert forward_ad.unpack_dual(w).tangent is None
        level = forward_ad.enter_dual_level()
        with pytest.raises(RuntimeError, match="not the last one"):
            forward_ad.exit_dual_level(level=level - 1)
        forward_ad.exit_dual_level()
    close(dual + 1, x + 1)
    out.backward()
    close(y.grad, g)
    assert forward_ad.unpack_dual(out).tangent is None
    with pytest.raises(RuntimeError, match="no level exists"):
        forward_ad.make_dual(x, x)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="floating point"):
        forward_ad.make_dual(torch.ones(2, dtype=torch.int64), torch.ones(2))


def test_named_results_are_structures(x) -> None:
    values, places = vmap(lambda a: torch.min(a, 0))(x)
    close(values, x.min(1).values), close(places, x.min(1).indices)


def test_looking_inside(x) -> None:
    shown = []
    vmap(lambda a: shown.append(str(a)) or a)(x)
    assert shown[0].startswith("BatchedTensor(lvl=1, bdim=0, value=")
    seen = []
    vmap(lambda a: seen.append(debug_unwrap(a)) or a)(x)
    close(seen[0], x)


# ---------------------------------------------------------------------------------------------------- compiled
@pytest.mark.parametrize("g", [lambda x: vmap(f)(x) + 1, lambda x: vmap(grad(f))(x * 2), lambda x: jvp(f, (x,), (x,))[1] * 2,
                               lambda x: jacfwd(grad(f))(x), lambda x: vjp(torch.sin, x)[1](x)[0] + x])
def test_compiled_functions_that_transform_give_the_same(x, g) -> None:
    compiled = torch.compile(g)
    for k in (1.0, 1.0, 2.0):
        close(compiled(x * k), g(x * k))
        assert not local.stack, "a level that nobody ends"


def test_a_compiled_function_sees_what_a_transformed_one_reads(x) -> None:
    scale = [2.0]
    mapped = vmap(lambda a: a * scale[0])
    compiled = torch.compile(lambda x: mapped(x) + 1)
    close(compiled(x), x * 2 + 1)
    scale[0] = 3.0
    close(compiled(x), x * 3 + 1)


def test_compiled_functions_with_dual_tensors(x) -> None:
    def g(x):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, x)
            return forward_ad.unpack_dual((dual * dual).sum()).tangent + 1
    compiled = torch.compile(g)
    for k in (1.0, 1.0, 2.0):
        close(compiled(x * k), g(x * k))


def test_a_trace_sees_plain_operators(x) -> None:
    graph = torch.trace(lambda x: vmap(grad(f))(x), x)
    assert {"cos", "sin", "mul"} <= {n.op.name for n in graph.nodes}


def test_what_is_unpacked_from_a_dual_tensor() -> None:
    x, t = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert forward_ad._current_level == -1
    with forward_ad.dual_level():
        assert forward_ad._current_level == 0
        dual = forward_ad.make_dual(x, t)
        first, again = forward_ad.unpack_dual(dual), forward_ad.unpack_dual(dual)
        assert first.primal is not again.primal and first.tangent is again.tangent is t and torch.equal(first.primal, x)
        assert "tangent=tensor([3., 4.])" in repr(dual) and "tangent" not in repr(first.primal) + repr(x)
        square = forward_ad.unpack_dual(dual * dual)
        assert "tangent" not in repr(square.primal) and square.tangent.tolist() == [6.0, 16.0]
    with pytest.raises(AttributeError):
        forward_ad.nothing
