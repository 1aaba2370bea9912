"""backward and grad: engine, edges, checks of derivatives, derivatives of functions."""
from __future__ import annotations

import gc
import threading
import weakref

import pytest

import pellucid

PROGRAMS = []


def program(fn):
    PROGRAMS.append(fn)
    return fn


def leaf(torch, *shape):
    """1, 2, 3, ... as a tensor that requires grad."""
    size = 1
    for n in shape:
        size *= n
    return torch.arange(1.0, size + 1).reshape(shape).requires_grad_()


@program
def grad_nonleaf_none(torch):
    a = leaf(torch, 1)
    b = a * 2
    b.sum().backward()
    return b.grad


@program
def grad_dup(torch):
    a = leaf(torch, 1)
    b = a * 2
    return torch.autograd.grad(b.sum(), (a, a, b))


@program
def grad_self(torch):
    a = leaf(torch, 1)
    return (torch.autograd.grad(a, a), torch.autograd.grad(a * 1, [a]))


@program
def grad_mid_only(torch):
    a = leaf(torch, 2)
    b = a.exp()
    c = b.exp()
    g = torch.autograd.grad(c.sum(), b, retain_graph=True)
    c.sum().backward()
    return (g, a.grad)


@program
def grad_frees(torch):
    a = leaf(torch, 2)
    b = a.exp()
    torch.autograd.grad(b.sum(), a)
    b.sum().backward()


@program
def grad_unused(torch):
    a = leaf(torch, 2)
    b = leaf(torch, 2)
    torch.autograd.grad(a.sum(), b)


@program
def grad_unused_ok(torch):
    a = leaf(torch, 2)
    b = leaf(torch, 2)
    return torch.autograd.grad(a.sum(), (b, a), allow_unused=True)


@program
def grad_mat(torch):
    a = leaf(torch, 2)
    b = leaf(torch, 2)
    return torch.autograd.grad(a.sum(), (b, a), materialize_grads=True)


@program
def grad_norg_in(torch):
    return torch.autograd.grad(leaf(torch, 2).sum(), torch.zeros(2))


@program
def bw_norg(torch):
    torch.zeros(()).backward()


@program
def bw_vec(torch):
    leaf(torch, 2).exp().backward()


@program
def bw_wrong_shape(torch):
    leaf(torch, 2).exp().backward(torch.ones(3))


@program
def bw_twice(torch):
    b = leaf(torch, 2).exp().sum()
    b.backward()
    b.backward()


@program
def bw_twice_linear(torch):
    a = leaf(torch, 2)
    b = (a + 1).sum()
    b.backward()
    b.backward()
    return a.grad


@program
def bw_inputs(torch):
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    b = a * c
    (b * b).sum().backward(inputs=[a])
    return (a.grad, c.grad)


@program
def bw_inputs_nonleaf(torch):
    a = leaf(torch, 2)
    b = a * 2
    (b * b).sum().backward(inputs=[b])
    return (a.grad, b.grad, b.retains_grad)


@program
def bw_inputs_empty(torch):
    leaf(torch, 2).sum().backward(inputs=[])


@program
def bw_several(torch):
    a = leaf(torch, 2)
    torch.autograd.backward([a.sum(), a * 2], [None, torch.ones(2)])
    return a.grad


@program
def bw_grad_dtype(torch):
    a = leaf(torch, 2)
    (a * 1).backward(torch.ones(2, dtype=torch.float64))
    return (a.grad, str(a.grad.dtype).split(".")[1])


@program
def create_graph(torch):
    a = leaf(torch, 2)
    (a ** 3).sum().backward(create_graph=True)
    g = a.grad
    g.sum().backward()
    return a.grad


@program
def double(torch):
    a = leaf(torch, 2)
    g, = torch.autograd.grad((a ** 3).sum(), a, create_graph=True)
    h, = torch.autograd.grad(g.sum(), a, create_graph=True)
    k, = torch.autograd.grad(h.sum(), a)
    return (g, h, k)


@program
def accumulate(torch):
    a = leaf(torch, 2)
    for _ in range(3):
        (a * 2).sum().backward()
    return a.grad


@program
def shared(torch):
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    (a + c).sum().backward()
    a.grad.zero_()
    return c.grad


@program
def shared_cg(torch):
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    (a + c).sum().backward(create_graph=True)
    with torch.no_grad():
        a.grad.zero_()
    return c.grad


@program
def grad_alias_output(torch):
    a = leaf(torch, 2)
    g = torch.ones(2)
    (a * 1).backward(g)
    a.grad.mul_(5)
    return g


@program
def node_call(torch):
    a = leaf(torch, 2)
    b = a * torch.full((2,), 3.0)
    return b.grad_fn(torch.ones(2))


@program
def next_fns(torch):
    a = leaf(torch, 2)
    b = a * 2
    c = b + torch.ones(2)
    return ([n.name() if n else None for n, _ in c.grad_fn.next_functions], [n.name() for n, _ in b.grad_fn.next_functions if n])


@program
def edge(torch):
    a = leaf(torch, 2)
    b = a * 2
    e = torch.autograd.graph.get_gradient_edge(b)
    c = b.exp().sum()
    return (torch.autograd.grad(c, e, retain_graph=True), torch.autograd.grad(e, a, torch.ones(2)))


@program
def edge_norg(torch):
    torch.autograd.graph.get_gradient_edge(torch.ones(2))


@program
def complex_grad(torch):
    a = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    (a.abs() ** 2).sum().backward()
    return torch.view_as_real(a.grad)


@program
def complex_root(torch):
    (torch.tensor(1j, requires_grad=True) * 2).backward()


@program
def req_nonleaf(torch):
    b = leaf(torch, 2) * 2
    b.requires_grad = False


@program
def grad_assign_shape(torch):
    leaf(torch, 2).grad = torch.ones(3)


@program
def grad_assign_dtype(torch):
    leaf(torch, 2).grad = torch.ones(2, dtype=torch.float64)


@program
def batched(torch):
    a = leaf(torch, 2)
    b = a ** 2
    return torch.autograd.grad(b, a, torch.eye(2), is_grads_batched=True)


@program
def batched_bad(torch):
    a = leaf(torch, 2)
    b = a ** 2
    return torch.autograd.grad(b, a, torch.ones(2), is_grads_batched=True)


@program
def deepcopy_nonleaf(torch):
    import copy
    copy.deepcopy(leaf(torch, 2) * 2)


@program
def numpy_rg(torch):
    leaf(torch, 2).numpy()


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_like_pytorch(fn, like_pytorch):
    like_pytorch(fn)


# ------------------------------------------------------------------------------------------------ the engine
def test_long_chains_neither_recurse_nor_forget():
    a = leaf(pellucid, 1)
    y = a
    for _ in range(20000):
        y = y + 1
    y.backward()
    assert a.grad.item() == 1
    del y


def test_diamonds_run_each_node_once():
    a = leaf(pellucid, 1)
    count = []
    y = a * 1
    for _ in range(30):
        y = y + y
        y.register_hook(lambda g: count.append(1))
    y.backward()
    assert a.grad.item() == 2.0**30 and len(count) == 30


def test_threads_add_to_the_same_leaf():
    w = leaf(pellucid, 100)

    def work():
        for _ in range(50):
            (w * 2).sum().backward()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert w.grad.tolist() == [400.0] * 100


def test_a_pass_inside_a_hook():
    a, b = leaf(pellucid, 2), leaf(pellucid, 2)
    y = a * 2

    def hook(g):
        with pellucid.enable_grad():
            (b * 3).sum().backward()
    y.register_hook(hook)
    y.sum().backward()
    assert a.grad.tolist() == [2, 2] and b.grad.tolist() == [3, 3]


def test_the_graph_is_gone_when_nobody_holds_it():
    a = leaf(pellucid, 2)
    y = (a * 2).exp()
    node = weakref.ref(y.grad_fn)
    y.grad_fn.next_functions[0][0].next_functions
    gc.disable()
    try:
        del y
        assert node() is None
    finally:
        gc.enable()


def test_edges_of_leaves_and_of_several_outputs():
    a = leaf(pellucid, 4)
    edge = pellucid.autograd.graph.get_gradient_edge(a)
    assert edge.node.variable is a and edge.output_nr == 0
    assert pellucid.autograd.grad((a * 3).sum(), edge)[0].tolist() == [3] * 4
    values, _ = (a * 2).sort()
    assert pellucid.autograd.grad(values.sum(), pellucid.autograd.graph.GradientEdge(values.grad_fn, 0))[0].tolist() == [1] * 4
    with pytest.raises(RuntimeError, match="materialize_grads cannot be used when the given input is a GradientEdge"):
        pellucid.autograd.grad(a.sum(), pellucid.autograd.graph.get_gradient_edge(values), materialize_grads=True)
    y = a * 2
    out = pellucid.autograd.graph.get_gradient_edge(y)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        pellucid.autograd.grad(out, a)
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        pellucid.autograd.grad(out, a, pellucid.ones(3))


def test_wrong_calls():
    a = leaf(pellucid, 2)
    with pytest.raises(TypeError, match="expected 1 arguments, got 2 instead"):
        (a * 2).grad_fn(a, a)
    with pytest.raises(ValueError, match="grad requires non-empty inputs"):
        pellucid.autograd.grad(a.sum(), [])
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got int"):
        (a * 2).backward(3)
    with pytest.raises(RuntimeError, match="same dtype"):
        (a * 2).backward(pellucid.ones(2, dtype=pellucid.complex64))


# ------------------------------------------------------------------------------------------------ gradcheck
class Wrong(pellucid.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2.01


def normal(*shape, complex=False):
    return pellucid.randn(*shape, dtype=pellucid.complex128 if complex else pellucid.float64).requires_grad_()


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_tells_right_from_wrong(fast):
    check, checkcheck = pellucid.autograd.gradcheck, pellucid.autograd.gradgradcheck
    x, y, z = normal(2, 3), normal(3), normal(2, complex=True)
    assert check(lambda a, b: (a * b).sin(), (x, y), fast_mode=fast, check_batched_grad=True, check_forward_ad=True)
    assert check(lambda a: (a * a.conj(), a.exp()), (z,), fast_mode=fast)
    assert checkcheck(lambda a, b: (a * b).sin(), (x, y), fast_mode=fast)
    assert checkcheck(lambda a: a.exp(), (z,), fast_mode=fast, gen_non_contig_grad_outputs=True)
    with pytest.raises(pellucid.autograd.gradcheck.__globals__["GradcheckError"], match="Jacobian mismatch for output 0 with respect to input 0"):
        check(Wrong.apply, (x,), fast_mode=fast)
    assert not check(Wrong.apply, (x,), fast_mode=fast, raise_exception=False)
    with pytest.raises(RuntimeError, match="While considering the imaginary part of complex outputs only, Jacobian mismatch"):
        check(lambda a: Wrong.apply(a), (z,), fast_mode=fast)


def test_gradcheck_options_and_refusals():
    check = pellucid.autograd.gradcheck
    x = normal(3)
    with pytest.raises(ValueError, match="none of the them have requires_grad=True"):
        check(pellucid.sin, (x.detach(),))
    with pytest.raises(RuntimeError, match="dimension with stride 0"):
        check(pellucid.sin, (normal(1).detach().expand(3).requires_grad_(),))
    with pytest.warns(UserWarning, match="not a double precision floating point"):
        check(pellucid.sin, (x.detach().float().requires_grad_(),), atol=1e-1, eps=1e-2)
    with pytest.raises(AssertionError, match="Expected at least one of check_forward_ad or check_backward_ad"):
        check(pellucid.sin, (x,), check_backward_ad=False)
    with pytest.raises(AssertionError, match="return outputs with the same shape when inputs are perturbed"):
        one = pellucid.ones(1, dtype=pellucid.float64, requires_grad=True)
        check(lambda a: pellucid.cat([a, a]) if bool((a >= 1).all()) else a, (one,))
    with pytest.raises(RuntimeError, match="Numerical gradient for function expected to be zero"):
        check(lambda a: a.detach() * 2, (x,))
    noise = pellucid.Generator().manual_seed(0)

    class Noisy(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            return g * (1 + 1e-6 * pellucid.rand(3, generator=noise, dtype=pellucid.float64))
    with pytest.raises(RuntimeError, match="Backward is not reentrant"):
        check(Noisy.apply, (x,))
    assert check(Noisy.apply, (x,), nondet_tol=1e-5, check_undefined_grad=False)


def test_gradcheck_wants_gradients_scaled_by_the_outputs():
    class Constant(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            return pellucid.ones_like(g)
    with pytest.raises(RuntimeError, match="backward not multiplied by grad_output"):
        pellucid.autograd.gradcheck(Constant.apply, (normal(1),))


# ------------------------------------------------------------------------------------------------ functional
def test_products_and_matrices_of_derivatives():
    functional = pellucid.autograd.functional
    x, v = pellucid.tensor([1.0, 2.0]), pellucid.tensor([1.0, 10.0])

    def f(x):
        return pellucid.stack([x[0] ** 2 * x[1], x[1] ** 3])

    jac = [[4.0, 1.0], [0.0, 12.0]]
    assert functional.jacobian(f, x).tolist() == jac
    assert functional.jvp(f, x, v)[1].tolist() == [14, 120] and functional.vjp(f, x, v)[1].tolist() == [4, 121]
    hess = [[4.0, 2.0], [2.0, 12.0]]
    assert functional.hessian(lambda x: f(x).sum(), x).tolist() == hess
    assert functional.hvp(lambda x: f(x).sum(), x, v)[1].tolist() == functional.vhp(lambda x: f(x).sum(), x, v)[1].tolist() == [24, 122]
    (a, b), (c, d) = functional.hessian(lambda p, q: (p * q).sum(), (x, v))
    assert a.tolist() == d.tolist() == [[0, 0], [0, 0]] and b.tolist() == c.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("call, error, message", [
    (lambda f: f.jacobian(lambda a: a.detach(), pellucid.ones(2), strict=True), RuntimeError, "Output 0 of the user-provided function does not require"),
    (lambda f: f.jacobian(lambda a: a, 3), TypeError, "The inputs given to jacobian must be either a Tensor"),
    (lambda f: f.vjp(lambda a: 3, pellucid.ones(2)), TypeError, "The outputs of the user-provided function given to vjp must"),
    (lambda f: f.vjp(lambda a: a, pellucid.ones(2)), RuntimeError, "The vector v can only be None if"),
    (lambda f: f.jvp(lambda a: a, pellucid.ones(2), pellucid.ones(3)), RuntimeError, "v has invalid size: should be torch.Size"),
    (lambda f: f.hessian(lambda a: a, pellucid.ones(2)), RuntimeError, "should contain a single element"),
    (lambda f: f.vhp(lambda a: (a, a), pellucid.ones(1)), RuntimeError, "should return a single Tensor"),
    (lambda f: f.hvp(lambda a: (3 * a).sum(), pellucid.ones(2), pellucid.ones(2), strict=True), RuntimeError, "with respect to input 0 is independent"),
    (lambda f: f.jacobian(lambda a: a, pellucid.ones(2), strict=True, vectorize=True), RuntimeError, "not supported together"),
])
def test_functional_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(pellucid.autograd.functional)
