"""Tracing: the graph of a function does what the function does, and every tensor is afterwards what it was before."""
from __future__ import annotations

import time

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as TF
from pellucid import nn
from pellucid.core.late import late
from pellucid.core.spec import Spec
from pellucid.graph.verify import check
from pellucid.tensor import Tensor
from pellucid.tensor.tracing import SymNumber, TraceError, Traced, Tracer, trace, trace_specs
from .tracing_runs import agree, close, execute, rand, values

f32, f64, i64 = pellucid.float32, pellucid.float64, pellucid.int64


def names(t: Traced) -> list[str]:
    return [n.op.name for n in t.graph.nodes]


@pytest.fixture(autouse=True)
def seeded():
    pellucid.manual_seed(0)


# ---------------------------------------------------------------------------------------------------- writes in place
def write_row(x):
    x[1] = x[0] * 2
    return x.sum()


def write_through_view(x):
    y = x.t()[1:]
    y.mul_(3)
    return x + 1, y


def view_read_after_write(x):
    v = x[0]
    w = x.view(-1)
    x.add_(1)
    w[2] = 7.0
    return v * 2, w


def data_alias(x):
    x.data.mul_(2)
    x.detach()[0] = 5
    return x.clone()


def copies(x, y):
    x.copy_(y)
    y.zero_()
    return x * y + x


def chained(x):
    z = x.clone()
    z[:, 1:3][0].fill_(4)
    z.transpose(0, 1)[2] += 10
    z[z > 5] = -1
    return z


def masked(x):
    return x.clone().masked_fill_(x > 0.5, 0.0)


def swap(x, y):
    tmp = x.clone()
    x.copy_(y)
    y.copy_(tmp)


def as_strided_write(x):
    y = x.clone()
    y.as_strided((2, 2), (3, 1), 1).mul_(2)
    return y, y.as_strided((3,), (2,))


def out_argument(x):
    out = pellucid.empty(2, 2, dtype=f64)
    pellucid.add(x[:2, :2], 1, out=out)
    pellucid.mul(out, 2, out=x[:2, :2])
    return out


def reshaped_in_place(x):
    y = x.clone()
    y.t_().unsqueeze_(0)
    y.squeeze_(0)[0].zero_()
    return y


@pytest.mark.parametrize("fn", [write_row, write_through_view, view_read_after_write, data_alias, chained, masked, as_strided_write,
                                out_argument, reshaped_in_place])
def test_writes_in_place(fn) -> None:
    agree(fn, rand(3, 4))


@pytest.mark.parametrize("fn", [copies, swap])
def test_writes_to_two_tensors(fn) -> None:
    agree(fn, rand(3, 4), rand(3, 4))


def test_a_channels_last_tensor_keeps_its_order() -> None:
    x = rand(2, 3, 4, 5).contiguous(memory_format=pellucid.channels_last)

    def fn(x):
        y = x * 2 + 1
        return y.permute(0, 2, 3, 1).view(2, -1, 3), y, y.is_contiguous(memory_format=pellucid.channels_last)
    t = trace(fn, (x,))
    assert t.outputs[2] is True
    assert t.results[1].spec.strides == (60, 1, 15, 3)


def test_views_are_errors_where_eager_views_are() -> None:
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        trace(lambda x: x.t().view(-1), (rand(3, 4),))


def test_history_through_writes() -> None:
    def fn(a, b):
        x = a * 2
        x[0] = b.sum()
        v = x[1]
        v.mul_(b)
        (x.exp() * x).sum().backward()
    agree(fn, rand(3, 4, grad=True), rand(4, grad=True))


def test_writes_that_autograd_refuses() -> None:
    def fn(a):
        x = a.exp()
        y = x * x
        x.add_(1)
        y.sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        trace(fn, (rand(3, grad=True),))
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        trace(lambda a: a.add_(1), (rand(3, grad=True),))


def test_draws_follow_the_memory() -> None:
    def fn(x):
        y = x.transpose(0, 1)
        noise = pellucid.empty_like(y).uniform_(), pellucid.empty_like(y).normal_(), pellucid.empty_like(y).bernoulli_(x.t())
        return TF.dropout(y * 2, 0.5), *noise, pellucid.rand_like(y), TF.dropout2d(x.reshape(2, 3, 4, 1).transpose(0, 1), 0.5)
    agree(fn, rand(6, 4))


def test_a_transformer_with_dropout() -> None:
    models = []
    for _ in range(2):
        pellucid.manual_seed(1)
        models.append(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.2), 2))
    x = pellucid.randn(2, 5, 8)

    def loss(model):
        def fn(x):
            y = (model(x) * x.detach().cos()).sum()
            y.backward()
            return y
        return fn
    pellucid.manual_seed(2)
    want = loss(models[0])(x)
    t = trace(loss(models[1]), (x,))
    pellucid.manual_seed(2)
    close(values(execute(t, (x,))), values(want), 1e-4)
    for p, q in zip(*[m.parameters() for m in models]):
        close(values(q.grad), values(p.grad), 1e-3)


# ---------------------------------------------------------------------------------------------------- memory
def test_results_that_share_memory_share_an_output() -> None:
    def fn(x):
        y = x * 2
        return y, y[0], y
    t = trace(fn, (rand(2, 3),))
    y, row, same = execute(t, (rand(2, 3),))
    assert len(t.graph.outputs) == 1 and np.shares_memory(y._a, row._a) and same._a is y._a


def test_a_result_that_is_an_argument_or_looks_at_it() -> None:
    x = rand(2, 3)
    t = trace(lambda x: (x, x[1], x.add_(1)), (x,))
    assert t.graph.outputs == []
    assert [r.input for r in t.results] == [0, 0, 0] and t.results[0].same is x and t.results[1].same is None


def test_arguments_that_share_memory_are_one_input() -> None:
    x = rand(3, 4)

    def fn(a, row):
        row.mul_(2)
        return a + 1
    want = fn(x.clone(), x.clone()[0])
    y = x.clone()
    t = trace(fn, (y, y[0]))
    assert len(t.inputs) == 1
    assert [i.place for i in t.inputs] == [0]
    del want
    z = x.clone()
    fn(z, z[0])
    execute(t, (y, y[0]))
    close(values(y), values(z))


def test_memory_seen_through_another_tensor() -> None:
    x = rand(3, 4)
    alias = Tensor._wrap(x._a)                           # the same memory, and nobody says so
    part = Tensor._wrap(x._a[1:, :2])

    def fn(x):
        alias.add_(1)
        part.mul_(2)
        return x + 0
    t = trace(fn, (x,))
    assert len(t.inputs) == 1
    want = x._a.copy() + 1
    want[1:, :2] *= 2
    close(values(execute(t, (x,))), [want])
    close(values(x), [want])


def test_memory_that_overlaps_the_other_way_is_refused() -> None:
    x = rand(3, 4)
    part = Tensor._wrap(x._a[1:])
    with pytest.raises(TraceError, match="share memory"):
        trace(lambda: (part * 1) + Tensor._wrap(x._a)[1:])


def test_tensors_made_inside_are_constants() -> None:
    def fn(x):
        c = pellucid.tensor([1.0, 2.0], dtype=f64)
        c += x
        return c * pellucid.as_tensor([3.0, 4.0], dtype=f64)
    x = rand(2)
    t = trace(fn, (x,))
    assert len(t.inputs) == 1
    for _ in range(2):
        close(values(execute(t, (x,))), values(fn(x)))


def test_data_can_be_set() -> None:
    p, x = rand(3, grad=True), rand(3)

    def fn(x):
        p.data = p.data * 2 + x
        return p.sum()
    want = p.detach().numpy() * 2 + x.numpy()
    t = trace(fn, (x,))
    assert p.grad is None
    got = execute(t, (x,))
    close(values([p, got]), [want, np.asarray(want.sum())])
    with pytest.raises(TraceError, match="another shape"):
        def resized():
            p.data = pellucid.zeros(5, dtype=f64)
        trace(resized)


# ---------------------------------------------------------------------------------------------------- training
def small_model():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(4 * 25, 3))


def training(model, optimizer, clip: bool = True):
    def step(x, y):
        optimizer.zero_grad()
        loss = TF.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss
    return step


OPTIMIZERS = {
    "sgd": lambda p: pellucid.optim.SGD(p, lr=0.1),
    "momentum": lambda p: pellucid.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: pellucid.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: pellucid.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: pellucid.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: pellucid.optim.Adagrad(p, lr=0.01),
}


@pytest.mark.usefixtures("references")       # Adam makes steps of gradients that are nothing but rounding
@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_training_steps(kind: str) -> None:
    models = []
    for _ in range(2):
        pellucid.manual_seed(1)
        models.append(small_model())
    x, y = pellucid.randn(4, 2, 5, 5), pellucid.tensor([0, 1, 2, 1])
    optimizers = [OPTIMIZERS[kind](m.parameters()) for m in models]
    eager = training(models[0], optimizers[0])
    traced = trace(training(models[1], optimizers[1]), (x, y))
    assert {i.role for i in traced.inputs} <= {"argument", "parameter", "state", "scalar"}
    for i in range(4):
        for o in optimizers:
            o.param_groups[0]["lr"] = 0.01 * (i + 1)
        pellucid.manual_seed(5 + i)
        want = eager(x, y)
        pellucid.manual_seed(5 + i)
        got = execute(traced, (x, y))
        close(values(got), values(want), 1e-5)
    states = [m.state_dict() for m in models]
    for k in states[0]:
        close(values(states[1][k]), values(states[0][k]), 2e-4)
    assert int(states[1]["1.num_batches_tracked"]) == 4
    for p, q in zip(models[0].parameters(), models[1].parameters()):
        close(values(q.grad), values(p.grad), 1e-4)


def test_tracing_changes_nothing() -> None:
    model = small_model()
    optimizer = pellucid.optim.Adam(model.parameters())
    step = training(model, optimizer)
    x, y = pellucid.randn(4, 2, 5, 5), pellucid.tensor([0, 1, 2, 1])
    step(x, y)
    everything = [*model.parameters(), *model.buffers(), *[v for s in optimizer.state.values() for v in s.values()], x, y]
    before = [(t, t._a, t._a.copy(), t._version, t.grad, t._fn, t.requires_grad) for t in everything]
    rng = pellucid.get_rng_state().numpy().copy()

    def failing(x, y):
        step(x, y)
        raise KeyError("on purpose")
    trace(step, (x, y))
    with pytest.raises(KeyError, match="on purpose"):
        trace(failing, (x, y))
    with pytest.raises(TraceError):
        trace(lambda x, y: step(x, y).item(), (x, y))
    for t, a, content, version, grad, fn, rg in before:
        assert t._a is a and np.array_equal(a, content) and t._version == version
        assert t.grad is grad and t._fn is fn and t.requires_grad is rg
    assert np.array_equal(pellucid.get_rng_state().numpy(), rng)
    step(x, y)                                           # and eager goes on


def test_gradients_that_are_there() -> None:
    def accumulate(x):
        (x * x).sum().backward()
    x = rand(3, grad=True)
    x.grad = pellucid.ones(3, dtype=f64)
    t = agree(accumulate, x)
    assert [i.role for i in t.inputs] == ["argument", "grad"] and t.grads == {} and len(t.graph.writebacks) == 1


def test_gradients_that_are_removed_or_zeroed() -> None:
    p, q, r = (rand(3, grad=True) for _ in range(3))
    for t in (p, q, r):
        t.grad = pellucid.ones(3, dtype=f64)

    def fn():
        p.grad = None
        q.grad.zero_()
        del r.grad
        (q * 2 + r).sum().backward()
    kept = q.grad
    t = trace(fn)
    assert t.grads[p] is None and t.grad_at[r] == 0 and q not in t.grads
    assert p.grad is not None and float(q.grad[0]) == 1
    execute(t)
    assert p.grad is None and q.grad is kept
    close(values([q.grad, r.grad]), [np.full(3, 2.0), np.ones(3)])


def test_gradients_of_gradients_and_grad() -> None:
    def fn(x):
        y = (x ** 3).sum()
        g, = pellucid.autograd.grad(y, x, create_graph=True)
        h, = pellucid.autograd.grad(g.pow(2).sum(), x, retain_graph=True)
        (g * x.detach()).sum().backward()
        return g.detach(), h
    agree(fn, rand(4, grad=True))


def test_modes_inside() -> None:
    def fn(x):
        with pellucid.no_grad():
            a = x * 2
            with pellucid.enable_grad():
                b = x * 3
        assert not a.requires_grad and b.requires_grad
        with pellucid.autocast("cpu"):
            c = pellucid.mm(x.float(), x.float())
        assert c.dtype is pellucid.bfloat16
        (b.sum() + c.float().sum()).backward()
        return a
    agree(fn, rand(3, 3, grad=True), rtol=2e-2)


class Cube(pellucid.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return 3 * x * x * g * ctx.scale, None


def test_custom_functions_hooks_and_checkpoints() -> None:
    def fn(x):
        seen = []
        x.register_hook(lambda g: g * 2)
        y = Cube.apply(x, 0.5)
        y.register_hook(lambda g: seen.append(g.shape) or g.clamp(max=1.0))
        y.retain_grad()
        z = pellucid.utils.checkpoint.checkpoint(lambda t: TF.dropout(t.tanh(), 0.5).exp(), y, use_reentrant=False)
        z.sum().backward()
        assert seen == [(4,)]
        return y.grad, z.detach()
    t = agree(fn, rand(4, grad=True))
    assert names(t).count("tanh") == 1                   # nothing is computed twice yet


def test_hooks_do_not_outlive_the_trace() -> None:
    x = rand(3, grad=True)
    trace(lambda: x.register_hook(lambda g: g * 100) and None)
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_lines_are_the_users() -> None:
    def fn(x):
        y = x.exp()
        return TF.gelu(y).sum()
    t = trace(fn, (rand(3, grad=True),))
    first = fn.__code__.co_firstlineno
    assert {n.op.name: n.loc.line - first for n in t.graph.nodes} == {"exp": 1, "gelu_erf": 2, "sum": 2}
    assert t.graph.nodes[0].loc.file == __file__ and t.graph.nodes[0].loc.function == "fn"


def test_random_operators_are_drawn_by_the_graph_in_order() -> None:
    g = pellucid.Generator().manual_seed(4)
    state = pellucid.get_rng_state()

    def fn(x):
        pellucid.randn(7)                                # nobody uses it, but the generator moves
        return x + pellucid.rand(3, dtype=f64), pellucid.randn(3, generator=g), TF.dropout(x, 0.5)
    t = agree(lambda x: fn(x)[::2], rand(3))
    assert names(t)[0] == "normal_new"
    pellucid.set_rng_state(state)
    t = trace(fn, (rand(3),))
    assert [n.attrs["engine"] for n in t.graph.nodes if n.op.name == "normal_new"] == [None, g._engine]
    with pytest.raises(TraceError, match="manual_seed.. cannot be traced"):
        trace(lambda: pellucid.manual_seed(0))


def test_backward_operators_have_the_lines_of_their_forward() -> None:
    def fn(x):
        y = x.exp()
        z = (y * x).tanh()
        z.sum().backward()
    t = trace(fn, (rand(3, grad=True),))
    first = fn.__code__.co_firstlineno
    lines = [(n.op.name, n.loc.line - first) for n in t.graph.nodes]
    assert ("filled", 3) in lines and ("spread", 3) in lines
    after = lines[lines.index(("spread", 3)) + 1:]
    assert {line for name, line in after if name != "add"} == {1, 2}, lines


class Keeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", pellucid.zeros(3, dtype=f64))

    def forward(self, x, how):
        if how == "copy":
            self.mean.copy_(x.mean(0))
        elif how == "add":
            self.mean += x.mean(0)
        elif how == "buffer":
            self.mean = x.mean(0)
        else:
            self.seen = x * 2
        return x - self.mean


def test_modules_keep_no_fakes() -> None:
    m, x = Keeper(), rand(4, 3)
    t = trace(m, (x, "copy"))
    close(values(execute(t, (x, "copy"))), [x.numpy() - x.numpy().mean(0)])
    close(values(m.mean), [x.numpy().mean(0)])
    trace(m, (x, "add"))
    for how, name in (("buffer", "mean"), ("attribute", "seen")):
        with pytest.raises(TraceError, match=f"attribute '{name}' of a Keeper was set"):
            trace(m, (x, how))
    close(values(m.mean), [x.numpy().mean(0)])


def test_a_running_average_that_counts() -> None:
    models = [nn.BatchNorm1d(3, momentum=None, dtype=f64) for _ in range(2)]
    t = trace(models[1], (rand(5, 3),))
    for _ in range(3):
        x = rand(5, 3)
        close(values(execute(t, (x,))), values(models[0](x)))
        close(values(list(models[1].buffers())), values(list(models[0].buffers())))


def test_a_part_that_a_tensor_chose() -> None:
    def fn(x, i):
        x[i] = x[i] * 2
        return x[i] + 1
    agree(fn, rand(3, 4), pellucid.tensor(2))
    with pytest.raises(TraceError, match="a part that a tensor chose"):
        trace(lambda x, i: x[i].mul_(2), (rand(3, 4), pellucid.tensor(2)))


def test_masks_that_are_filled() -> None:
    def fn(x, row):
        x[x > 0.8] = row.sum()
        x[x[:, 0] > 0.3] = row
        x[row > 2] = 5                                   # of another shape: refused as in eager
    x, row = rand(3, 4), rand(4)

    def right(x, row):
        x[x > 0.8] = row.sum()
        x[x[:, 0] > 0.3] = row
    agree(right, x, row)
    with pytest.raises(IndexError, match="shape of the mask"):
        trace(fn, (x, row))
    with pytest.raises(TraceError, match="x.mask. = values"):
        trace(lambda x: x.__setitem__(x > 0.5, pellucid.ones(2, dtype=f64)), (x,))


def test_views_from_before_are_views_of_their_base() -> None:
    base = rand(4, 6)
    part, row = base[1:, ::2], base.t()[3]

    def fn(x):
        row.add_(x.sum())
        part.mul_(2)
        return part.sum() + row
    before, x = base.clone(), rand(2)
    t = trace(fn, (x,))
    assert [i.tensor is base for i in t.inputs] == [False, True]
    got = execute(t, (x,))
    before[:, 3] += x.sum()
    before[1:, ::2] *= 2
    close(values(base), values(before))
    close(values(got), values(before[1:, ::2].sum() + before[:, 3]))


def test_inputs_can_have_names() -> None:
    w = rand(3)
    tracer = Tracer()
    tracer.names[id(w)] = "weight"
    t = trace(lambda x: x * w, (rand(3),), tracer=tracer)
    assert [v.name for v in t.graph.inputs] == ["x", "weight"]


def test_low_precision_and_complex() -> None:
    def fn(x, z):
        y = (x.bfloat16() * 3.3 + 1).softmax(-1) @ x.t().bfloat16()
        return y.float(), (z * 1j).abs(), pellucid.view_as_real(z)[..., 0], z.real.mul_(2), z
    agree(fn, rand(3, 4, dtype=f32), pellucid.complex(rand(3), rand(3)), rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- what cannot be traced
def test_real_tensors_have_no_values_either() -> None:
    flag = pellucid.tensor(1.0)
    for read in (lambda: 2 if flag > 0 else 3, lambda: flag.item(), lambda: bool(flag), lambda: flag.tolist(), lambda: repr(flag),
                 lambda: int(flag), lambda: flag.numpy(), lambda: f"{flag}"):
        with pytest.raises(TraceError, match="not known while the function is traced"):
            trace(read)
        read()


def branch(x):
    if x.sum() > 0:
        return x
    return -x


def show(x):
    print(x)


def formatted(x):
    return f"{x.sum():.3f}"


def loop(x):
    return [i for i in range(x.argmax())]


@pytest.mark.parametrize(("fn", "what", "source"), [
    (branch, "bool(tensor)", "if x.sum() > 0:"),
    (show, "printing a tensor", "print(x)"),
    (formatted, "formatting a tensor", 'return f"{x.sum():.3f}"'),
    (loop, "tensor as an index", "return [i for i in range(x.argmax())]"),
    (lambda x: x.sum().item(), "tensor.item()", "lambda x: x.sum().item()"),
    (lambda x: float(x[0]), "float(tensor)", "float(x[0])"),
    (lambda x: x.tolist(), "tensor.tolist()", "x.tolist()"),
    (lambda x: x.numpy(), "tensor.numpy()", "x.numpy()"),
    (lambda x: np.asarray(x), "tensor as a NumPy array", "np.asarray(x)"),
    (lambda x: x[x > 0.5], "x[mask]", "x[x > 0.5]"),
    (lambda x: pellucid.nonzero(x), "nonzero()", "pellucid.nonzero(x)"),
    (lambda x: 1.0 in x, "value in tensor", "1.0 in x"),
])
def test_values_that_are_not_known(fn, what: str, source: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(fn, (rand(3),))
    text = str(caught.value)
    first, *_ = text.splitlines()
    assert source in text and __file__ in text and "[P3001]" in text and "fix:" in text
    assert first == f"{what} needs a value that is not known while the function is traced", text


def test_the_message_of_a_branch() -> None:
    with pytest.raises(TraceError) as caught:
        trace(branch, (rand(3),))
    line = branch.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        "bool(tensor) needs a value that is not known while the function is traced\n"
        "  got: bool[]\n"
        f"  at:  {__file__}:{line}: if x.sum() > 0:\n"
        "  fix: replace the branch by pellucid.where(condition, a, b), or decide outside the traced function\n"
        "  [P3001]")


def test_tensors_that_escape() -> None:
    kept = []
    trace(lambda x: kept.append(x * 2), (rand(3),))
    for use in (lambda t: t + 1, lambda t: t.sum(), lambda t: repr(t), lambda t: float(t[0])):
        with pytest.raises(TraceError):
            use(kept[0])
    with pytest.raises(TraceError, match="has no value"):
        trace(lambda: kept[0] + 1)


# ---------------------------------------------------------------------------------------------------- run-time numbers
def test_numbers_that_change() -> None:
    group = {"lr": 0.5}
    tracer = Tracer()
    lr = tracer.lift_item(group, ("lr",), 0.5)
    assert isinstance(lr, SymNumber) and tracer.lift_item(group, ("lr",), 0.5) is lr

    def fn(x, n):
        y = x * n + (1 - lr) * 2
        if lr < 1:
            y = y - lr ** 2 / 4
        y.add_(-lr)
        return y, pellucid.full((2,), 1.0, dtype=f64) * abs(-lr)
    x, n = rand(3), rand(3, dtype=f32)
    t = trace(fn, (x, lr), tracer=tracer)
    del n
    assert [(g.relation, g.outcome) for g in t.guards] == [("<", True)]
    assert t.guards[0].holds({0: 0.7}) and not t.guards[0].holds({0: 1.5})
    for value in (0.5, 0.25):
        group["lr"] = value
        want = x.numpy() * value + (1 - value) * 2 - value ** 2 / 4 - value
        close(values(execute(t, (x, value))), [want, np.full(2, value)])


def test_numbers_stay_weak() -> None:
    tracer = Tracer()
    lr = tracer.scalar(0.5, source=({"n": 0.5}, ("n",)))
    t = trace(lambda a, b: (a * lr, b + lr, lr - a), (rand(2, dtype=f32), pellucid.tensor([1, 2])), tracer=tracer)
    assert [r.spec.dtype for r in t.results] == [f32, f32, f32]
    execute(t, (rand(2, dtype=f32), pellucid.tensor([1, 2])))


def test_numbers_that_become_constants() -> None:
    for use in (float, int, bool, lambda n: [1, 2][n], lambda n: n * 1j):
        tracer = Tracer()
        n = tracer.scalar(1.0)
        with pytest.raises((TraceError, TypeError)):
            use(n)
    tracer = Tracer()
    n = tracer.scalar(0.25)
    t = trace(lambda x: TF.leaky_relu(x, n), (rand(3),), tracer=tracer)
    assert [(g.relation, g.right) for g in t.guards] == [("==", 0.25)]


# ---------------------------------------------------------------------------------------------------- graphs of Specs
def test_specs_of_a_function() -> None:
    g = trace_specs(lambda x, y, z: (TF.silu(x) @ y, z), [Spec((2, 3), f32), Spec((3, 4), f32), 2.5])
    check(g)
    assert [v.shape for v in g.inputs] == [(2, 3), (3, 4)] and [v.shape for v in g.outputs] == [(2, 4)]
    assert late.trace is trace_specs
    assert not g.roles[g.inputs[0]] != "argument" and g.writebacks == []


def test_specs_inside_a_trace_and_with_gradients() -> None:
    def fn(x):
        g = trace_specs(lambda a: pellucid.autograd.grad(a.exp().sum(), a)[0], [Spec(tuple(x.shape), f64)], requires_grad=[True])
        assert [n.op.name for n in g.nodes][:1] == ["exp"]
        return x * 2
    agree(fn, rand(3))


def test_nested_structures() -> None:
    def fn(batch, scale=1.0):
        return {"loss": batch["x"][0] * scale, "parts": [(batch["y"], None), "text", 3]}
    x, y = rand(2), rand(3)
    t = trace(fn, ({"x": (x, 5), "y": y},), {"scale": 2.0})
    got = execute(t, ({"x": (x, 5), "y": y},), {"scale": 2.0})
    assert got["parts"][1:] == ["text", 3] and got["parts"][0][1] is None
    close(values(got["loss"]), [x.numpy() * 2])
    assert t.rebuild(["a", "b"]) == {"loss": "a", "parts": [("b", None), "text", 3]}


def test_tracing_is_quick() -> None:
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()) for _ in range(25)])
    optimizer = pellucid.optim.AdamW(layers.parameters())

    def step(x):
        optimizer.zero_grad()
        layers(x).square().mean().backward()
        optimizer.step()
    x = pellucid.randn(4, 8)
    t = trace(step, (x,))
    spent = []
    for _ in range(3):
        began = time.process_time()
        t = trace(step, (x,))
        spent.append(time.process_time() - began)
    assert min(spent) / len(t.graph.nodes) < 150e-6      # aim: 75 microseconds; the machine may be busy
