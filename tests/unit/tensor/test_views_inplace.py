"""Views and in-place writes: histories, versions, and what is refused."""
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
def view_write(torch):
    a = leaf(torch, 4)
    b = a.clone()
    v = b[1:3]
    v.mul_(3)
    b.sum().backward()
    return (a.grad, type(b.grad_fn).__name__ == "CopySlices")


@program
def view_write_uses_view(torch):
    a = leaf(torch, 4)
    b = a.clone()
    v = b[1:3]
    v.mul_(b[:2])
    (b * b).sum().backward()
    return (a.grad, b)


@program
def view_of_view(torch):
    a = leaf(torch, 2, 3)
    b = a * 1
    u = b.t()
    w = u[1]
    w.exp_()
    (b * u.t()).sum().backward()
    return a.grad


@program
def base_write_after_view(torch):
    a = leaf(torch, 4)
    b = a * 1
    v = b[:2]
    b.mul_(2)
    v.sum().backward()
    return a.grad


@program
def base_write_nonrg(torch):
    w = leaf(torch, 2)
    b = torch.zeros(2)
    v = b[:1]
    b.copy_(w * 3)
    v.sum().backward()
    return (w.grad, v.requires_grad)


@program
def view_makes_base_rg(torch):
    w = leaf(torch, 2)
    b = torch.zeros(4)
    v = b[:2]
    o = b[1:]
    v.add_(w * 2)
    r = [b.requires_grad, o.requires_grad]
    o.sum().backward()
    return (w.grad, r)


@program
def write_const_into_rg(torch):
    a = leaf(torch, 4)
    b = a * 2
    b[1] = 7.0
    b.sum().backward()
    return a.grad


@program
def zero_nonleaf(torch):
    a = leaf(torch, 4)
    b = a * 2
    b.zero_()
    r = b.requires_grad
    b.sum().backward()
    return (a.grad, r)


@program
def setitem_tensor(torch):
    a = leaf(torch, 4)
    w = leaf(torch, 2)
    b = a * 2
    b[1:3] = w
    (b * b).sum().backward()
    return (a.grad, w.grad)


@program
def setitem_broadcast(torch):
    a = leaf(torch, 2, 3)
    w = leaf(torch, 3)
    b = a * 2
    b[:] = w
    b.sum().backward()
    return (a.grad, w.grad)


@program
def setitem_mask(torch):
    a = leaf(torch, 4)
    w = leaf(torch, 2)
    b = a * 2
    b[b > 4] = w
    b.sum().backward()
    return (a.grad, w.grad)


@program
def fill_view(torch):
    a = leaf(torch, 4)
    b = a * 2
    b[1:3].fill_(3.0)
    b.sum().backward()
    return a.grad


@program
def leaf_inplace(torch):
    a = leaf(torch, 2)
    a.mul_(2)


@program
def leaf_view_inplace(torch):
    a = leaf(torch, 2)
    a[0].mul_(2)


@program
def leaf_setitem(torch):
    a = leaf(torch, 2)
    a[0] = 1


@program
def view_before_rg(torch):
    a = torch.zeros(2)
    b = a[:]
    a.requires_grad_()
    b.add_(1)


@program
def nograd_leaf(torch):
    a = leaf(torch, 2)
    with torch.no_grad():
        a.mul_(2)
        a[0] = 9
    a.sum().backward()
    return (a, a.grad, a.is_leaf, a._version)


@program
def multi(torch):
    a = leaf(torch, 2, 2) * 1
    u = a.unbind()
    u[0].add_(1)


@program
def multi_base(torch):
    a = leaf(torch, 2, 2) * 1
    u = a.unbind()
    a.add_(1)
    u[0].grad_fn


@program
def multi_nograd(torch):
    a = leaf(torch, 2, 2) * 1
    u = a.unbind()
    with torch.no_grad():
        u[0].add_(1)
    return a


@program
def nograd_view(torch):
    a = leaf(torch, 2) * 1
    with torch.no_grad():
        v = a[:1]
    r = [v.requires_grad, v.is_leaf, v.grad_fn, v._is_view()]
    v.add_(1)
    return r


@program
def nograd_view_attrs(torch):
    a = leaf(torch, 2) * 1
    with torch.no_grad():
        v = a[:1]
    w = v * 2
    return (v.requires_grad, v.is_leaf, v.grad_fn, v._is_view(), w.requires_grad)


@program
def nograd_view_base(torch):
    a = leaf(torch, 2) * 1
    with torch.no_grad():
        v = a[:1]
    a.add_(1)
    v.grad_fn


@program
def nograd_view_detach(torch):
    a = leaf(torch, 2) * 1
    with torch.no_grad():
        v = a.detach()[:1]
    v.add_(1)
    return (a, v.requires_grad)


@program
def stale_input(torch):
    a = leaf(torch, 2)
    b = a * 1
    c = b * b
    b.add_(1)
    c.sum().backward()


@program
def stale_output(torch):
    a = leaf(torch, 2)
    b = a.exp()
    b.add_(1)
    b.sum().backward()


@program
def not_stale(torch):
    a = leaf(torch, 2)
    b = a + 1
    c = b + b
    b.mul_(5)
    c.sum().backward()
    return a.grad


@program
def stale_view(torch):
    a = leaf(torch, 2)
    b = a * 1
    c = b * b
    b[:1].add_(1)
    c.sum().backward()


@program
def stale_detach(torch):
    a = leaf(torch, 2)
    b = a * 1
    c = b * b
    b.detach().add_(1)
    c.sum().backward()


@program
def data_not_stale(torch):
    a = leaf(torch, 2)
    b = a * 1
    c = b * b
    b.data.add_(1)
    c.sum().backward()
    return a.grad


@program
def versions(torch):
    a = torch.zeros(3)
    r = [a._version]
    a.add_(1)
    v = a[:1]
    v.mul_(2)
    r += [a._version, v._version]
    d = a.detach()
    d.add_(1)
    r += [a._version]
    a.data.add_(1)
    r += [a._version]
    b = a.view(3)
    b.zero_()
    r.append(a._version)
    return r


@program
def inplace_chain(torch):
    a = leaf(torch, 3)
    b = a * 1
    for i in range(4):
        b.mul_(2).add_(i)
    b.sum().backward()
    return (a.grad, b)


@program
def inplace_needs_old(torch):
    a = leaf(torch, 3)
    w = leaf(torch, 3)
    b = a * 1
    b.mul_(w)
    b.sum().backward()
    return (a.grad, w.grad)


@program
def inplace_out_saved(torch):
    a = leaf(torch, 3)
    b = a * 1
    b.sigmoid_()
    b.sum().backward()
    return a.grad


@program
def inplace_div_pow(torch):
    a = leaf(torch, 3)
    b = a * 1
    b.div_(a).pow_(2)
    b.sum().backward()
    return a.grad


@program
def relabel(torch):
    a = leaf(torch, 2, 3)
    b = a * 1
    b.t_()
    b.mul_(torch.arange(6.0).reshape(3, 2))
    b.sum().backward()
    return a.grad


@program
def relabel_with_views(torch):
    a = leaf(torch, 2, 3)
    b = a * 1
    v = b[0]
    b.t_()
    v.mul_(10)
    (b * torch.arange(6.0).reshape(3, 2)).sum().backward()
    return (a.grad, b)


@program
def relabel_view(torch):
    a = leaf(torch, 2, 3)
    b = a * 1
    v = b[0]
    v.unsqueeze_(0)
    v.mul_(10)
    b.sum().backward()
    return (a.grad, v)


@program
def squeeze_(torch):
    a = leaf(torch, 1, 3)
    b = a * 1
    b.squeeze_(0)
    b.exp_()
    b.sum().backward()
    return a.grad.shape == (1, 3)


@program
def detach_base(torch):
    a = leaf(torch, 2) * 1
    a.detach_()
    return (a.requires_grad, a.is_leaf)


@program
def detach_saved(torch):
    a = leaf(torch, 2) * 1
    b = a.sin()
    a.detach_()
    b.sum().backward()


@program
def rnn_detach(torch):
    a = leaf(torch, 2)
    h = torch.zeros(2)
    for _ in range(3):
        h = (h + a).tanh()
        h.detach_()
    (h * a).sum().backward()
    return a.grad


@program
def as_strided_view(torch):
    a = leaf(torch, 6)
    b = a * 1
    v = b.as_strided((2, 2), (3, 1), 1)
    v.mul_(4)
    b.sum().backward()
    return (a.grad, b)


@program
def expand_view(torch):
    a = leaf(torch, 1)
    b = a * 1
    v = b.expand(3)
    b.mul_(2)
    v.sum().backward()
    return a.grad


@program
def diag_write(torch):
    a = leaf(torch, 3, 3)
    b = a * 1
    b.diagonal().mul_(5)
    b.sum().backward()
    return a.grad


@program
def real_write(torch):
    a = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    b = a * 1
    b.real.mul_(3)
    (b.abs() ** 2).sum().backward()
    return torch.view_as_real(a.grad)


@program
def copy_cast(torch):
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(2)
    b.copy_(a * 3)
    b.sum().backward()
    return a.grad


@program
def index_put(torch):
    a = leaf(torch, 4)
    w = leaf(torch, 2)
    b = a * 1
    b.index_put_((torch.tensor([0, 0]),), w, accumulate=True)
    (b * b).sum().backward()
    return (a.grad, w.grad)


@program
def masked_fill_(torch):
    a = leaf(torch, 4)
    b = a * 1
    b.masked_fill_(b > 2, 0.0)
    b.sum().backward()
    return a.grad


@program
def out_rg(torch):
    torch.mul(leaf(torch, 2), 2, out=torch.empty(2))


@program
def requires_grad_view(torch):
    a = torch.zeros(4)
    v = a[:2]
    v.requires_grad_()
    (v * 2).sum().backward()
    return (v.grad, a.requires_grad)


@program
def base_of(torch):
    a = torch.zeros(4)
    v = a[:2][:1]
    return (v._base is a, a._base is None, a.detach()._base is None)


@program
def overlap(torch):
    torch.ones(1).expand(3).add_(1)


@program
def inplace_bigger(torch):
    torch.ones(2).add_(torch.ones(3, 2))


@program
def inplace_cast(torch):
    torch.ones(2, dtype=torch.int64).add_(1.5)


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_like_pytorch(fn, like_pytorch):
    like_pytorch(fn)


# ------------------------------------------------------------------------------------------------ beyond PyTorch's own behaviour
def test_multiplying_by_oneself_in_place_keeps_the_old_value():
    a = leaf(pellucid, 3)
    b = a * 1
    b.mul_(b)
    b.sum().backward()
    assert a.grad.tolist() == [2, 4, 6]


def test_using_a_view_that_lost_its_history_is_an_error_at_the_latest_in_backward():
    base = leaf(pellucid, 2, 2) * 1
    part = base.unbind()[0]
    base.mul_(2)
    with pytest.raises(RuntimeError, match="its base or another view of its base has been modified inplace"):
        (part * 2).sum().backward()
    assert "grad_fn=<Invalid>" in repr(part)


def test_view_written_under_no_grad_prints_as_invalid():
    a = leaf(pellucid, 1) * 1
    with pellucid.no_grad():
        b = a[:]
        b *= 2
    assert repr(b) == "tensor([2.], grad_fn=<Invalid>)"


def test_a_view_outlives_names_of_its_base():
    a = leaf(pellucid, 4)
    v = (a * 1)[1:3]
    v.mul_(3)
    v.sum().backward()
    assert a.grad.tolist() == [0, 3, 3, 0]


def test_dead_views_are_forgotten():
    base = leaf(pellucid, 4) * 1
    for _ in range(1000):
        base[1:3]
    assert len(base._st.views) < 100
    base.mul_(2)
    assert len(base._st.views) == 0


def test_data_has_a_version_of_its_own_and_assigning_data_keeps_memory_shared():
    x, y = pellucid.zeros(2), pellucid.ones(2)
    x.data = y
    y.add_(1)
    assert x.tolist() == [2, 2]


@pytest.mark.parametrize("name", ["unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes"])
def test_unsafe_pieces_may_be_written(name):
    a = leaf(pellucid, 3, 3)
    b = a + a
    first, second, _ = getattr(b, name)(([1, 1, 1] if name.endswith("sizes") else 3 if name.endswith("chunk") else 1))
    assert not first._is_view() and first._base is None
    first.mul_(second)
    first.sum().backward()
    assert a.grad.tolist() == [[16, 20, 24], [4, 8, 12], [0, 0, 0]]


def test_bytes_as_another_dtype_share_memory_and_version_but_no_gradient():
    a = leaf(pellucid, 2) * 1
    bits = a.view(pellucid.int32)
    assert not bits.requires_grad and not bits._is_view()
    bits.zero_()
    assert a.tolist() == [0, 0] and a._version == bits._version == 1


@pytest.mark.parametrize("shape, dtype, message", [
    ((2, 3), "float64", r"self.size\(-1\) must be divisible by 2 to view Float as Double"),
    ((), "int16", r"self.dim\(\) cannot be 0 to view Float as Short"),
])
def test_views_by_dtype_that_do_not_fit(shape, dtype, message):
    with pytest.raises(RuntimeError, match=message):
        pellucid.zeros(shape).view(getattr(pellucid, dtype))
    with pytest.raises(RuntimeError, match=r"self.stride\(-1\) must be 1 to view Float as Short"):
        pellucid.zeros(2, 4).t().view(pellucid.int16)


@pytest.mark.parametrize("n", (3, 1 << 16))
def test_wrong_arguments_in_place_are_worded_as_out_of_place(n):
    with pytest.raises(TypeError, match=r"^sqrt\(\) takes 1 positional argument but 2 were given"):
        pellucid.rand(n).sqrt_(3)


@pytest.mark.parametrize("call", (lambda t: t.zero_(), lambda t: t.fill_(7), lambda t: t.copy_(pellucid.arange(3)), lambda t: t.copy_(pellucid.ones(2, 3))))
def test_assigning_every_element_counts_as_a_write_and_reaches_views(call):
    base = pellucid.full((4, 3), 5.0)
    rows = base[1:3]
    before = base._version
    assert call(rows) is rows and base._version == rows._version == before + 1
    expected = pellucid.full((2, 3), 5.0)
    for k in range(2):
        expected[k] = call(pellucid.zeros(2, 3))[k]
    assert pellucid.equal(base[1:3], expected) and base[0].tolist() == base[3].tolist() == [5.0] * 3


def test_what_assigning_refuses_is_refused_for_plain_tensors_too():
    leaf_ = pellucid.zeros(3, requires_grad=True)
    for call in (lambda t: t.zero_(), lambda t: t.fill_(1.0), lambda t: t.copy_(pellucid.ones(3))):
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
            call(leaf_)
        with pellucid.inference_mode():
            made = pellucid.zeros(3)
        with pytest.raises(RuntimeError, match="[Ii]nplace update to inference tensor"):
            call(made)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory location"):
        pellucid.zeros(1).expand(3).copy_(pellucid.arange(3.0))
    with pytest.raises(RuntimeError, match="must match the size of tensor b|expanded size"):
        pellucid.zeros(3).copy_(pellucid.zeros(4))
    with pytest.raises(RuntimeError, match="value cannot be converted to type"):
        pellucid.zeros(3, dtype=pellucid.int64).fill_(float("nan"))


def test_copies_between_parts_of_one_memory_read_before_they_write():
    a = pellucid.arange(6.0)
    a[1:].copy_(a[:-1])
    assert a.tolist() == [0, 0, 1, 2, 3, 4]
    w = pellucid.randn(3, requires_grad=True)
    target = pellucid.zeros(3)
    target.copy_(w)
    target.sum().backward()
    assert w.grad.tolist() == [1, 1, 1]
