"""Compiled training: whole steps, compiled forwards, gradients and their fate, optimisers, state that changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.nn import functional as F

OPTIMIZERS = {
    "SGD": {"lr": 0.05},
    "SGD momentum": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "SGD dampening": {"lr": 0.05, "momentum": 0.9, "dampening": 0.1},
    "Adam": {"weight_decay": 0.01, "amsgrad": True},
    "AdamW": {"lr": 0.01},
    "NAdam": {},
    "RAdam": {"lr": 0.01, "betas": (0.8, 0.9)},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "Adamax": {},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Rprop": {},
    "ASGD": {"t0": 2},
    "Adafactor": {"weight_decay": 0.1},
    "Muon": {},
}


def network(bias: bool = True):
    pellucid.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8, bias), nn.Tanh(), nn.Linear(8, 3, bias))


def batch(n: int = 5):
    pellucid.manual_seed(2)
    return pellucid.randn(n, 6), pellucid.randint(0, 3, (n,))


def stepper(model, optimizer, zero: str = "before"):
    def step(x, y):
        if zero == "before":
            optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if zero == "after":
            optimizer.zero_grad()
        return loss
    return step


def pair(optimizer=lambda p: pellucid.optim.Adam(p), backend="eager", zero="before", model=network, **settings):
    """(model, optimizer, step) in eager, and compiled, from the same start."""
    found = []
    for compiled in (False, True):
        m = model()
        o = optimizer(m.parameters())
        step = stepper(m, o, zero)
        found.append((m, o, pellucid.compile(step, backend=backend, fullgraph=True, **settings) if compiled else step))
    return found


def same(a, b, rtol=2e-5, atol=1e-6):
    for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_under_a_schedule(name):
    """Ten steps under a changing learning rate: one compile, eager's weights and state."""
    make = getattr(pellucid.optim, name.split()[0])
    bias = name != "Muon"
    (m, o, eager), (n, q, compiled) = pair(lambda p: make(p, **OPTIMIZERS[name]), model=lambda: network(bias))
    schedules = [pellucid.optim.lr_scheduler.LambdaLR(x, lambda k: k / 10) for x in (o, q)]      # from 0 on
    x, y = batch()
    for _ in range(10):
        a, b = eager(x, y), compiled(x, y)
        assert a.item() == pytest.approx(b.item(), rel=1e-4)
        for s in schedules:
            s.step()
    low = name == "Muon"           # it rounds to bfloat16
    same(m, n, rtol=1e-2 if low else 1e-4, atol=1e-3 if low else 1e-5)
    assert compiled.compiles == 1
    for p, r in zip(m.parameters(), n.parameters()):
        for key, value in o.state[p].items():
            if isinstance(value, pellucid.Tensor):
                np.testing.assert_allclose(value.numpy(), q.state[r][key].numpy(), rtol=1e-2 if low else 1e-4, atol=1e-3 if low else 1e-6)


@pytest.mark.parametrize("optimizer", ["SGD momentum", "AdamW"])
def test_native_steps(optimizer, backend):
    make = getattr(pellucid.optim, optimizer.split()[0])
    (m, _, eager), (n, _, compiled) = pair(lambda p: make(p, **OPTIMIZERS[optimizer]), backend)
    x, y = batch()
    for _ in range(4):
        assert eager(x, y).item() == pytest.approx(compiled(x, y).item(), rel=1e-4)
    same(m, n)
    assert compiled.compiles == 1


@pytest.mark.parametrize("zero", ["before", "after", "never"])
def test_gradients_are_there_as_in_eager(zero):
    (m, _, eager), (n, _, compiled) = pair(zero=zero)
    x, y = batch()
    for _ in range(3):
        eager(x, y)
        compiled(x, y)
        for p, q in zip(m.parameters(), n.parameters()):
            assert (p.grad is None) == (q.grad is None) == (zero == "after")
            if p.grad is not None:
                np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)
    same(m, n)
    assert compiled.compiles == (2 if zero == "never" else 1)     # without gradients, and adding to those that are there


def test_gradients_set_to_none_outside():
    (m, o, eager), (n, q, compiled) = pair(zero="never")
    x, y = batch()
    for k in range(4):
        eager(x, y)
        compiled(x, y)
        if k % 2:                     # accumulate over two steps
            o.zero_grad()
            q.zero_grad()
    same(m, n)
    assert compiled.compiles == 2


def test_a_gradient_that_somebody_holds_does_not_change():
    _, (n, _, compiled) = pair()
    x, y = batch()
    compiled(x, y)
    held = n[0].weight.grad
    before = held.clone()
    compiled(x, y)
    assert n[0].weight.grad is not held and held.equal(before)


def test_gradients_that_are_not_kept():
    (m, _, eager), (n, q, compiled) = pair(keep_grads=False)
    x, y = batch()
    for _ in range(2):
        eager(x, y)
        compiled(x, y)
    same(m, n)
    with pytest.raises(RuntimeError, match="keep_grads"):
        n[0].weight.grad
    with pytest.raises(RuntimeError, match="keep_grads"):
        F.cross_entropy(n(x), y).backward()
    q.zero_grad()
    F.cross_entropy(n(x), y).backward()
    assert n[0].weight.grad is not None and compiled.compiles == 1


def test_the_loss_of_a_step_has_no_history_left():
    _, (_, _, compiled) = pair()
    loss = compiled(*batch())
    assert loss.requires_grad
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_versions_move():
    _, (n, q, compiled) = pair()
    compiled(*batch())
    p = n[0].weight
    before = p._version, q.state[p]["exp_avg"]._version, q.state[p]["step"]._version
    compiled(*batch())
    assert all(a > b for a, b in zip((p._version, q.state[p]["exp_avg"]._version, q.state[p]["step"]._version), before))


def test_loading_checkpoints():
    """Loading model and optimiser state, in place or as new tensors, is noticed."""
    (m, o, eager), (n, q, compiled) = pair()
    x, y = batch()
    saved = []
    for k in range(6):
        eager(x, y)
        compiled(x, y)
        if k == 1:
            saved = [copy.deepcopy(z.state_dict()) for z in (m, o, n, q)]
        if k == 3:
            for z, state in zip((m, o, n, q), saved):
                z.load_state_dict(state)
    same(m, n)
    assert compiled.compiles == 2


def test_a_replaced_parameter_is_noticed():
    m = nn.Linear(3, 2)
    c = pellucid.compile(lambda x: m(x), backend="eager")
    x = pellucid.ones(1, 3)
    c(x)
    m.weight = nn.Parameter(pellucid.zeros(2, 3))
    assert pellucid.allclose(c(x), m.bias) and c.compiles == 2
    m.weight.data = pellucid.ones(2, 3)
    assert pellucid.allclose(c(x), m.bias + 3) and c.compiles == 2
    m.weight.requires_grad_(False)
    c(x).sum().backward()
    assert m.weight.grad is None and m.bias.grad is not None


def test_training_and_evaluation_modes():
    m = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    reference = copy.deepcopy(m)
    c = pellucid.compile(m, backend="eager")
    x = pellucid.randn(6, 4)
    for mode in (True, False, True, False):
        c.train(mode)
        reference.train(mode)
        pellucid.manual_seed(3)
        a = c(x)
        pellucid.manual_seed(3)
        np.testing.assert_allclose(a.detach().numpy(), reference(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert c.compiles == 2
    same(m, reference)


def test_a_compiled_module_is_the_module():
    m = network()
    c = pellucid.compile(m, backend="eager")
    assert isinstance(c, nn.Sequential) and list(c.state_dict()) == list(m.state_dict())
    assert [p is q for p, q in zip(c.parameters(), m.parameters())] == [True] * 4 and c[0] is m[0] and len(c) == 3
    c.eval()
    assert not m.training and not m[0].training
    c.extra = 3
    assert m.extra == 3
    c.load_state_dict(network().state_dict())
    x, y = batch()
    optimizer = pellucid.optim.SGD(c.parameters(), lr=0.1)
    before = F.cross_entropy(c(x), y)
    before.backward()
    optimizer.step()
    assert F.cross_entropy(c(x), y) < before


def test_a_compiled_forward_in_autograd(backend):
    m = network()
    c = pellucid.compile(m, backend=backend)
    x, y = batch()
    x.requires_grad_()
    for model in (m, c):
        model.zero_grad()
        x.grad = None
        F.cross_entropy(model(x * 1), y).backward()
        found = [x.grad, *[p.grad for p in m.parameters()]]
        if model is m:
            expected = found
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
    with pellucid.no_grad():
        assert not c(x).requires_grad
    assert c.compiles == 2


def test_several_results_and_unused_inputs():
    c = pellucid.compile(lambda x, y, z: (x * y, (x + 1).sum(), x.detach() * 2), backend="eager")
    x, y, z = (pellucid.randn(3, requires_grad=True) for _ in range(3))
    a, b, d = c(x, y, z)
    assert not d.requires_grad
    b.backward(retain_graph=True)
    assert x.grad.tolist() == [1, 1, 1] and z.grad is None
    (a.sum() + b).backward()
    assert pellucid.allclose(x.grad, 2 + y) and pellucid.allclose(y.grad, x)
    with pytest.raises(RuntimeError, match="second time"):
        b.backward()


def test_saved_tensors_are_checked():
    w = pellucid.ones(3, requires_grad=True)
    c = pellucid.compile(lambda x: (x * w).sin(), backend="eager")
    x = pellucid.ones(3, requires_grad=True)
    r = c(x)
    with pellucid.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        r.sum().backward()


def test_no_second_derivative():
    c = pellucid.compile(lambda x: x.sin(), backend="eager")
    x = pellucid.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="P3103"):
        pellucid.autograd.grad(c(x).sum(), x, create_graph=True)


def test_custom_functions_and_hooks():
    class Twice(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 5             # not the derivative, to be told apart

    c = pellucid.compile(lambda x: Twice.apply(x).sum(), backend="eager")
    x = pellucid.ones(3, requires_grad=True)
    c(x).backward()
    assert x.grad.tolist() == [5, 5, 5]


def test_clipping_inside_a_step():
    for clip in (lambda p: nn.utils.clip_grad_norm_(p, 0.01), lambda p: nn.utils.clip_grad_value_(p, 0.01)):
        models = [network(), network()]
        for k, m in enumerate(models):
            optimizer = pellucid.optim.SGD(m.parameters(), lr=1.0)

            def step(x, y, m=m, optimizer=optimizer):
                optimizer.zero_grad()
                loss = F.cross_entropy(m(x), y)
                loss.backward()
                clip(m.parameters())
                optimizer.step()
                return loss
            step = pellucid.compile(step, backend="eager", fullgraph=True) if k else step
            for _ in range(3):
                step(*batch())
        same(*models)


def test_a_schedule_inside_steps_once_a_call():
    m = network()
    optimizer = pellucid.optim.SGD(m.parameters(), lr=1.0)
    schedule = pellucid.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def step(x, y):
        F.cross_entropy(m(x), y).backward()
        optimizer.step()
        schedule.step()

    compiled = pellucid.compile(step, backend="eager", fullgraph=True)
    for k in range(4):
        compiled(*batch())
        assert optimizer.param_groups[0]["lr"] == 0.5 ** (k + 1) and schedule.last_epoch == k + 1
    assert compiled.compiles == 2                   # without gradients that are there already, and with them


def test_a_tensor_as_learning_rate():
    (m, o, eager), (n, q, compiled) = pair(lambda p: pellucid.optim.Adam(p, lr=pellucid.tensor(0.01)))
    x, y = batch()
    for _ in range(3):
        eager(x, y)
        compiled(x, y)
        for z in (o, q):
            z.param_groups[0]["lr"].mul_(0.5)
    same(m, n)
    assert compiled.compiles == 1


def test_recurrent_state_kept_in_a_buffer():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", pellucid.zeros(3))

        def forward(self, x):
            self.total += x.detach().sum(0)
            return self.total * 1

    m = Counter()
    c = pellucid.compile(m, backend="eager")
    x = pellucid.ones(2, 3)
    assert c(x).tolist() == [2, 2, 2] and c(x).tolist() == [4, 4, 4] and m.total.tolist() == [4, 4, 4]
    assert c.compiles == 1


def test_weights_of_an_inference_may_change():
    """They are kept in a layout of the library's liking; whatever writes them, or may do so unseen, is noticed."""
    m = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32 * 16, 64)).eval()
    c = pellucid.compile(m)
    x = pellucid.randn(2, 3, 8, 8)

    def agree():
        with pellucid.no_grad():
            np.testing.assert_allclose(c(x).numpy(), m(x).numpy(), rtol=1e-4, atol=1e-4)

    agree()
    weight = m[2].weight
    entry = next(iter(c._compiled.entries.values()))[0]
    assert any(t is weight for t in entry.constant.tensors)
    agree()
    assert entry.constant.refreshes <= 1
    for change in (lambda: weight.data.mul_(2), lambda: weight.detach().add_(0.1), lambda: weight.detach().numpy().fill(0.5),
                   lambda: m.load_state_dict({k: v * 1.5 for k, v in m.state_dict().items()}),
                   lambda: setattr(weight, "data", pellucid.randn(32, 16, 3, 3))):
        change()
        agree()
    alias, array = m[2].weight.data, m[4].weight.detach().numpy()
    for k in range(3):
        alias.add_(0.1)
        array[k] = k
        agree()
    assert c.compiles == 1


def test_a_saved_result_is_checked_and_not_copied():
    """The result of softmax is what its backward needs: one array for both, watched for writes."""
    c = pellucid.compile(lambda x: pellucid.softmax(x, -1), backend="eager")
    x = pellucid.randn(3, 4, requires_grad=True)
    y = c(x)
    entry = next(iter(c.entries.values()))[0]
    assert entry.joint.saved == [("out", 0)] and len(entry.graph.outputs) == 1
    (y * y).sum().backward()
    expected = x.grad.clone()
    x.grad = None
    z = pellucid.softmax(x, -1)
    (z * z).sum().backward()
    assert pellucid.allclose(x.grad, expected, atol=1e-6)
    y = c(x)
    with pellucid.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        y.sum().backward()


def test_copies_of_a_compiled_module():
    """A copy has weights of its own; a pickle is that of the module itself."""
    c = pellucid.compile(network(), backend="eager")
    x, _ = batch()
    before = c(x)
    d = copy.deepcopy(c)
    with pellucid.no_grad():
        c[0].weight.zero_()
    close = np.testing.assert_allclose
    close(d(x).detach().numpy(), before.detach().numpy())
    assert d.compiles == 1 and not np.allclose(c(x).detach().numpy(), before.detach().numpy())
    shallow = copy.copy(c)
    close(shallow(x).detach().numpy(), c(x).detach().numpy())


def test_whoever_watches_operators_sees_them():
    c = pellucid.compile(lambda x: (x * 2).exp(), backend="eager")
    x = pellucid.ones(2, requires_grad=True)
    c(x)
    packed = []
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        c(x)
    assert packed
    with pellucid.autograd.set_detect_anomaly(True):
        assert "Exp" in type(c(x).grad_fn).__name__
    outer = pellucid.compile(lambda x: c(x) + 1, backend="eager")
    assert pellucid.allclose(outer(x), (x * 2).exp() + 1) and outer.graphs[0].nodes[-1].op.name == "add"


def test_run_time_numbers_that_a_backward_needs():
    """Each call has its own, though all calls read them from the same place."""
    c = pellucid.compile(lambda x, s: (x * s).sum(), backend="eager", dynamic=True)
    x = pellucid.ones(3, requires_grad=True)
    results = [c(x, s) for s in (2.0, 3.0, 4.0)]
    assert c.compiles == 1
    for r, s in zip(results, (2.0, 3.0, 4.0)):
        x.grad = None
        r.backward()
        assert x.grad.tolist() == [s] * 3


def test_a_compiled_optimizer_step():
    """The step alone: the gradients are found where backward() put them."""
    models = [network(), network()]
    x, y = batch()
    for k, m in enumerate(models):
        optimizer = pellucid.optim.AdamW(m.parameters(), lr=0.1)
        step = pellucid.compile(optimizer.step, backend="eager", fullgraph=True) if k else optimizer.step
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(m(x), y).backward()
            step()
    same(*models)
    assert step.compiles == 1


@pytest.mark.parametrize("other", [pellucid.ones(4, 3), pellucid.ones(2, 3, dtype=pellucid.float64), pellucid.ones(3, 2).t()])
def test_a_parameter_with_other_memory(backend, other):
    """`.data = ` may change shape, dtype and strides: that is another version."""
    m = nn.Linear(3, 2, bias=False)
    c = pellucid.compile(lambda x: m(x), backend=backend)
    x = pellucid.randn(1, 3)
    with pellucid.no_grad():
        c(x)
        m.weight.data = pellucid.ones(2, 3)
        assert pellucid.allclose(c(x), m(x)) and c.compiles == 1
        m.weight.data = other
        x = x.to(other.dtype)
        assert pellucid.allclose(c(x), m(x)) and c.compiles == 2


def test_a_backward_inside_and_another_outside():
    w = pellucid.ones(3, requires_grad=True)

    @pellucid.compile
    def f(x):
        (x * w).sum().backward()
        return (w * x * x).sum()

    for k in range(1, 4):
        f(pellucid.ones(3) * 2).backward()
        assert w.grad.tolist() == [6.0 * k] * 3
    assert not f.breaks
