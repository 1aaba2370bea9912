"""Custom Functions: what ctx offers, what may be returned, what is refused."""
from __future__ import annotations

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
def fn_basic(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x, k):
            ctx.save_for_backward(x)
            ctx.k = k
            return x * x * k

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return (2 * x * g * ctx.k, None)
    a = leaf(torch, 2)
    y = F.apply(a, 3)
    y.sum().backward()
    return (a.grad, type(y.grad_fn).__name__, y.grad_fn.name())


@program
def fn_count(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g
    F.apply(leaf(torch, 2), leaf(torch, 2)).sum().backward()


@program
def fn_bad_shape(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g.new_ones(5)
    F.apply(leaf(torch, 2)).sum().backward()


@program
def fn_nontensor_grad(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x, k):
            return x * k

        @staticmethod
        def backward(ctx, g):
            return (g, g)
    F.apply(leaf(torch, 2), 3).sum().backward()


@program
def fn_multi(torch):
    seen = []

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return (x * 2, x * 3, "s")

        @staticmethod
        def backward(ctx, a, b, c):
            seen.append([a, b, c])
            return a * 2 + b * 3
    a = leaf(torch, 2)
    y = F.apply(a)
    y[0].sum().backward()
    return (a.grad, seen, [t.output_nr for t in y[:2]])


@program
def fn_no_mat(torch):
    seen = []

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return (x * 2, x * 3)

        @staticmethod
        def backward(ctx, a, b):
            seen.append([a is None, b is None])
            return a * 2
    a = leaf(torch, 2)
    y = F.apply(a)
    y[0].sum().backward()
    return (a.grad, seen)


@program
def fn_nondiff(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            i = x.argmax()
            v = x * 2
            w = x * 3
            ctx.mark_non_differentiable(w)
            return (v, w, i)

        @staticmethod
        def backward(ctx, g, h, k):
            return g * 2 + h
    a = leaf(torch, 2)
    v, w, i = F.apply(a)
    v.sum().backward()
    return (a.grad, v.requires_grad, w.requires_grad, i.requires_grad)


@program
def fn_dirty(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2
    a = leaf(torch, 2)
    b = a * 1
    c = F.apply(b)
    c.sum().backward()
    return (c is b, a.grad, b._version)


@program
def fn_dirty_leaf(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2
    F.apply(leaf(torch, 2))


@program
def fn_dirty_view(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2
    a = leaf(torch, 4)
    b = a * 1
    v = b[1:3]
    F.apply(v)
    (b * b).sum().backward()
    return (a.grad, b)


@program
def fn_dirty_not_returned(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g * 2
    F.apply(leaf(torch, 2) * 1)


@program
def fn_identity(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5
    a = leaf(torch, 2)
    y = F.apply(a)
    y.sum().backward()
    return (a.grad, y is a, y._is_view(), a.grad_fn)


@program
def fn_identity_inplace(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5
    y = F.apply(leaf(torch, 2) * 1)
    y.add_(1)


@program
def fn_view_inplace(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return g * 5
    y = F.apply(leaf(torch, 2) * 1)
    y.add_(1)


@program
def fn_setup(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(x, k=2):
            return x * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return (g * ctx.k, None)
    a = leaf(torch, 2)
    F.apply(a).sum().backward()
    return a.grad


@program
def fn_needs(torch):
    seen = []

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x, y, k):
            return x * y

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            return (g, g, None)
    F.apply(leaf(torch, 2), torch.ones(2), 1).sum().backward()
    return seen


@program
def fn_double(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            y, = ctx.saved_tensors
            return g * y
    a = leaf(torch, 2)
    g, = torch.autograd.grad(F.apply(a).sum(), a, create_graph=True)
    h, = torch.autograd.grad(g.sum(), a)
    return (g, h)


@program
def fn_once(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return 2 * x * g
    a = leaf(torch, 2)
    g, = torch.autograd.grad(F.apply(a).sum(), a, create_graph=True)
    g.sum().backward()


@program
def fn_saved_stale(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return 2 * x * g
    b = leaf(torch, 2) * 1
    y = F.apply(b)
    b.add_(1)
    y.sum().backward()


@program
def fn_saved_freed(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return 2 * x * g
    y = F.apply(leaf(torch, 2))
    y.sum().backward()
    y.grad_fn.saved_tensors


@program
def fn_save_bad(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(3)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g
    F.apply(leaf(torch, 2))


@program
def fn_broadcast_grad(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x.sum(0)

        @staticmethod
        def backward(ctx, g):
            return g.expand(3, 4, 2)
    a = leaf(torch, 4, 2)
    F.apply(a).sum().backward()
    return a.grad


@program
def fn_none(torch):

    class F(torch.autograd.Function):

        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return None
    a = leaf(torch, 2)
    F.apply(a).sum().backward()
    return a.grad


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_like_pytorch(fn, like_pytorch):
    like_pytorch(fn)


# ------------------------------------------------------------------------------------------------ beyond the programs
def test_any_attribute_may_be_put_on_ctx():
    names = ("x op edges saved shapes idx attrs seq run versions function materialize nout is_tensor where parent hooks "
             "pre post retain args name_ value").split()

    class Double(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            for i, name in enumerate(names):
                setattr(ctx, name, i)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            assert [getattr(ctx, n) for n in names] == list(range(len(names)))
            return g * 2

    a = leaf(pellucid, 2)
    y = Double.apply(a)
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert a.grad.tolist() == [4, 4]


def test_vjp_is_another_name_of_backward_but_not_both():
    class One(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def vjp(ctx, g):
            return g * 2

    class Both(One):
        @staticmethod
        def vjp(ctx, g):
            return g

        @staticmethod
        def backward(ctx, g):
            return g

    a = leaf(pellucid, 2)
    One.apply(a).sum().backward()
    assert a.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="Implementing both 'backward' and 'vjp'"):
        Both.apply(a).sum().backward()


def test_functions_are_not_made_to_be_instances():
    class Legacy(pellucid.autograd.Function):
        pass

    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        f = Legacy()
    with pytest.raises(RuntimeError, match="Legacy autograd function with non-static forward method is deprecated"):
        f(1)
    with pytest.raises(NotImplementedError, match="must implement the forward"):
        Legacy.apply(leaf(pellucid, 1))


def test_inplace_function_and_its_node():
    from pellucid.autograd.function import InplaceFunction

    class Add(InplaceFunction):
        @staticmethod
        def forward(ctx, a, b):
            ctx.mark_dirty(a)
            return a.add_(b), b + 2

        @staticmethod
        def backward(ctx, grad_a, grad_b):
            return grad_a, grad_a + grad_b

    x, y = pellucid.zeros(2), leaf(pellucid, 2)
    q, p = Add.apply(x, y)
    assert q is x and type(q.grad_fn) is Add._backward_cls and q.requires_grad
    q.sum().backward()
    assert y.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="your Function cannot return more than one Tensor"):
        Add.apply((leaf(pellucid, 3) * 1)[:2], y)


def test_saved_tensors_under_hooks_and_their_old_name():
    class Square(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, None, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, nothing, y = ctx.saved_tensors
            assert nothing is None and y.grad_fn is ctx
            with pytest.warns(DeprecationWarning, match="saved_variables"):
                ctx.saved_variables
            return g * 2 * x

    log = []
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: (log.append("pack"), t.clone())[1], lambda t: t):
        a = leaf(pellucid, 2)
        y = Square.apply(a)
    assert log == ["pack", "pack"] and len(y.grad_fn._raw_saved_tensors) == 3
    (g,) = pellucid.autograd.grad(y.sum(), a, create_graph=True)
    g.sum().backward()
    assert a.grad.tolist() == [2, 2]


def test_reentrant_backward_deeper_than_the_stack():
    class Deep(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            with pellucid.enable_grad():
                ctx.x = x.detach().requires_grad_() - 1
            return ctx.x.detach()

        @staticmethod
        def backward(ctx, g):
            if ctx.x < 0:
                return g
            with pellucid.enable_grad():
                Deep.apply(ctx.x).sum().backward()
            return g

    v = pellucid.tensor(300.0, requires_grad=True)
    Deep.apply(v).sum().backward()
    assert v.grad.item() == 1


def test_an_error_in_backward_arrives_as_it_is():
    class Bad(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Bad.apply(leaf(pellucid, 1)).sum().backward()
    assert pellucid.is_grad_enabled()
