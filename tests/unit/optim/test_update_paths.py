"""The two statements of an update agree; blocks and memory layouts do not matter; a step can be differentiated."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid.ops.dispatch import Interpreter, interpreting, state as dispatch_state
from pellucid.ops.op import F
from pellucid.autograd import gradcheck
from pellucid.optim._traced import FirstStep
from pellucid.tensor import kernels, recorded, updates

CASES = [
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.2, "maximize": True}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"betas": (0.3, 0.8)}),
    ("AdamW", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Adamax", {"weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"betas": (0.9, 0.6), "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"maximize": True}),
    ("ASGD", {"t0": 2, "weight_decay": 0.1, "maximize": True}),
]
IDS = [f"{name}{i}" for i, (name, _) in enumerate(CASES)]


def path(name: str, options: dict, lay=lambda a: pellucid.tensor(a), shape=(7, 5), steps: int = 6, prepare=None, dtype=np.float64):
    """The parameter and the state after some steps; `lay` makes a tensor with some memory layout of an array."""
    rng = np.random.default_rng(3)
    p = lay(rng.standard_normal(shape).astype(dtype)).requires_grad_()
    optimizer = getattr(pellucid.optim, name)([p], **options)
    if prepare is not None:
        prepare(optimizer)
    for _ in range(steps):
        p.grad = lay(rng.standard_normal(shape).astype(dtype))
        version = p._version
        optimizer.step()
        assert p._version > version, "an in-place write must bump the version"
    state = {k: v.numpy() for k, v in optimizer.state[p].items() if isinstance(v, pellucid.Tensor)}
    return p.detach().numpy(), state


def assert_same(a, b, rtol=1e-12):
    np.testing.assert_allclose(a[0], b[0], rtol=rtol, atol=1e-15)
    assert a[1].keys() == b[1].keys()
    for key in a[1]:
        np.testing.assert_allclose(a[1][key], b[1][key], rtol=rtol, atol=1e-15, err_msg=key)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_arrays_and_tensors_agree(case):
    def only_tensors(optimizer):
        optimizer._takes_arrays = lambda group: False
        optimizer._update_arrays = None

    assert_same(path(*case), path(*case, prepare=only_tensors))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_blocks_do_not_matter(case, monkeypatch):
    whole = path(*case)
    monkeypatch.setattr(updates, "BLOCK_BYTES", 64)
    assert_same(path(*case), whole, rtol=0)


def many(case, lay=lambda p: p, native=True):
    """Parameters, state and how often they were written, after some steps of a group that is large enough for native code."""
    name, options = case
    before = kernels.config.kernels
    kernels.switch(native)
    try:
        pellucid.manual_seed(0)
        shapes = [(160, 130), (), (7,), (8, 3, 5, 5), (0, 3), (64, 64)]
        params = [lay(pellucid.randn(shape)).requires_grad_() for shape in shapes]
        optimizer = getattr(pellucid.optim, name)(params, **options)
        for step in range(4):
            for p in params:
                p.grad = lay(pellucid.randn(p.shape))
            optimizer.param_groups[0]["lr"] = 0.05 / (step + 1)
            pellucid.nn.utils.clip_grads_with_norm_(params, 3.0, pellucid.tensor(4.0))
            optimizer.step()
    finally:
        kernels.switch(before)
    state = {f"{i} {k}": v.numpy() for i, p in enumerate(params) for k, v in optimizer.state[p].items() if isinstance(v, pellucid.Tensor)}
    return {f"p{i}": p.detach().numpy() for i, p in enumerate(params)}, {**state, "versions": np.array([p._version for p in params])}


@pytest.mark.parametrize("lay", [lambda p: p, lambda p: p.contiguous(memory_format=pellucid.channels_last) if p.dim() == 4 else p.t().clone().t() if p.dim() == 2 else p],
                         ids=["rows", "columns"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_native_updates_give_the_same_bits(case, lay):
    native, arrays = many(case, lay), many(case, lay, native=False)
    for mine, theirs in zip(native, arrays):
        assert mine.keys() == theirs.keys()
        for key in mine:
            if case[0] in ("NAdam", "RAdam"):           # they divide by numbers
                np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-5, atol=1e-7, err_msg=key)
            else:
                np.testing.assert_array_equal(mine[key], theirs[key], err_msg=key)


@pytest.mark.skipif(not kernels.config.kernels, reason="kernels are off")
@pytest.mark.parametrize("name", [n for n in dict(CASES) if n != "Rprop"])         # which chooses by elements
def test_updates_are_read_as_native_programs(name, monkeypatch):
    monkeypatch.setattr(dispatch_state, "slow", 1)          # that tensor subclasses were made does not matter
    recorded._programs.clear()
    many((name, {}))
    assert recorded._programs and kernels.NO not in recorded._programs.values()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_tensor_subclass_elsewhere_changes_no_bit(case, monkeypatch):
    before = many(case)
    monkeypatch.setattr(dispatch_state, "slow", dispatch_state.slow + 1)
    for mine, theirs in zip(many(case), before):
        for key in theirs:
            np.testing.assert_array_equal(mine[key], theirs[key], err_msg=key)


def test_parameters_that_overlap_are_updated_one_after_the_other():
    def run(native):
        kernels.switch(native)
        memory = pellucid.ones(300_000)
        params = [memory[:200_000].detach().requires_grad_(), memory[100_000:].detach().requires_grad_()]
        for p in params:
            p.grad = p.detach().clone()
        pellucid.optim.SGD(params, lr=0.5, weight_decay=0.5).step()
        return memory.numpy()

    before = kernels.config.kernels
    try:
        np.testing.assert_array_equal(run(True), run(False))
    finally:
        kernels.switch(before)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("block", [1 << 20, 64])
def test_memory_layout_does_not_matter(case, block, monkeypatch):
    monkeypatch.setattr(updates, "BLOCK_BYTES", block)
    shape = (2, 3, 4, 2)

    def channels_last(a):
        return pellucid.tensor(a).contiguous(memory_format=pellucid.channels_last)

    def every_second(a):
        wide = pellucid.zeros(*a.shape[:-1], 2 * a.shape[-1], dtype=pellucid.float64)
        wide[..., ::2] = pellucid.tensor(a)
        return wide[..., ::2].detach()

    plain = path(*case, shape=shape)
    assert_same(path(*case, lay=channels_last, shape=shape), plain, rtol=0)
    assert_same(path(*case, lay=every_second, shape=shape), plain, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (70_000,)], ids=str)
def test_shapes(case, shape):
    p, state = path(*case, shape=shape, steps=3, dtype=np.float32)
    assert p.shape == shape and p.dtype == np.float32
    if shape == (70_000,):  # the first element alone walks the same path
        rng = np.random.default_rng(3)
        one = pellucid.tensor(rng.standard_normal(shape).astype(np.float32)[:1]).requires_grad_()
        optimizer = getattr(pellucid.optim, case[0])([one], **case[1])
        for _ in range(3):
            one.grad = pellucid.tensor(rng.standard_normal(shape).astype(np.float32)[:1])
            optimizer.step()
        np.testing.assert_allclose(one.detach().numpy(), p[:1], rtol=1e-6)


def test_gradient_expanded_from_one_number():
    p = pellucid.zeros(3, 4, requires_grad=True)
    p.grad = pellucid.ones(1).expand(3, 4)
    pellucid.optim.Adam([p], lr=0.5).step()
    np.testing.assert_allclose(p.detach().numpy(), np.full((3, 4), -0.5), rtol=1e-6)


def test_infinite_gradients_are_values_not_warnings():
    p = pellucid.zeros(2, requires_grad=True)
    p.grad = pellucid.tensor([float("inf"), float("nan")])
    pellucid.optim.Adam([p]).step()
    assert np.isnan(p.detach().numpy()).all()


def test_saved_tensor_knows_of_the_step():
    w = pellucid.ones(2, requires_grad=True)
    loss = (w * w).sum()
    w.grad = pellucid.ones(2)
    pellucid.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    "name, options, keys",
    [
        ("SGD", {"lr": 0.9}, ["momentum_buffer"]),
        ("SGD", {"lr": 0.9, "momentum": 0.5, "weight_decay": 0.2}, ["momentum_buffer"]),
        ("Adam", {"lr": 0.9, "amsgrad": True}, ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
        ("AdamW", {"lr": 0.9}, ["step", "exp_avg", "exp_avg_sq"]),
        ("NAdam", {"lr": 0.9}, ["step", "exp_avg", "exp_avg_sq", "mu_product"]),
        ("RAdam", {"lr": 0.9, "weight_decay": 0.1}, ["step", "exp_avg", "exp_avg_sq"]),
        ("RMSprop", {"lr": 0.9, "momentum": 0.9, "centered": True}, ["step", "square_avg", "momentum_buffer", "grad_avg"]),
        ("Adadelta", {"lr": 0.9, "weight_decay": 0.1}, ["step", "square_avg", "acc_delta"]),
        ("Adagrad", {"lr": 0.9, "weight_decay": 0.1}, ["step", "sum"]),
        ("Adamax", {"lr": 0.9}, ["step", "exp_avg", "exp_inf"]),
        ("ASGD", {"lr": 0.9}, ["step", "eta", "mu", "ax"]),
    ],
)
def test_step_is_differentiable(name, options, keys):
    fixed = {"step": 10.0, "eta": 0.9, "mu": 1.0}
    rng = np.random.default_rng(0)

    def leaf():
        return pellucid.tensor(rng.uniform(0.1, 0.9, 5)).requires_grad_()

    state = {k: pellucid.tensor(fixed[k], dtype=pellucid.float64) if k in fixed else leaf() for k in keys}
    if "grad_avg" in state:
        state["grad_avg"] = (state["grad_avg"] * 1e-2).detach().requires_grad_()
    if "mu_product" in state:
        state["mu_product"] = pellucid.tensor(0.7, dtype=pellucid.float64, requires_grad=True)

    def stepped(p, g, *values):
        p = p.clone()
        p.grad = g
        optimizer = getattr(pellucid.optim, name)([p], differentiable=True, **options)
        optimizer.state[p].update({k: v.clone() for k, v in zip(state, values)})
        optimizer.step()
        return (p, *[v for v in optimizer.state[p].values() if v.requires_grad])

    assert gradcheck(stepped, (leaf(), leaf(), *state.values()))


def test_gradient_of_the_learning_rate():
    """One step of SGD with momentum: d loss / d lr by the chain rule."""
    lr = pellucid.tensor(0.1, dtype=pellucid.float64, requires_grad=True)
    p = pellucid.ones(3, dtype=pellucid.float64, requires_grad=True)
    q = p.clone()
    q.grad = 2 * p.detach()
    pellucid.optim.SGD([q], lr=lr, differentiable=True).step()
    (q * q).sum().backward()
    assert lr.grad.item() == pytest.approx(2 * 3 * (1 - 0.1 * 2) * -2)


def test_fused_leaves_unscaling_to_the_step():
    for found_inf, expected in ((0.0, 1 - 0.5 * 3), (1.0, 1.0)):
        p = pellucid.ones(2, requires_grad=True)
        p.grad = pellucid.full((2,), 12.0)
        optimizer = pellucid.optim.SGD([p], lr=0.5, fused=True)
        optimizer.grad_scale, optimizer.found_inf = pellucid.tensor(4.0), pellucid.tensor(found_inf)
        optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), expected)
    optimizer = pellucid.optim.SGD([p], lr=0.5)
    optimizer.grad_scale = pellucid.tensor(4.0)
    with pytest.raises(AssertionError, match="Expected grad_scale and found_inf to be None"):
        optimizer.step()


def test_a_refused_gradient_writes_nothing():
    a, b = pellucid.ones(2, requires_grad=True), pellucid.ones(2, requires_grad=True)
    a.grad, b.grad = pellucid.ones(2), pellucid.ones(2)
    optimizer = pellucid.optim.Adam([a, b], capturable=True)
    with pytest.raises(AssertionError, match="If capturable=True, params and state_steps must be on supported devices"):
        optimizer.step()
    assert (a == 1).all() and (b == 1).all()


def test_muon_makes_steps_orthogonal():
    rng = np.random.default_rng(0)
    for shape in ((6, 4), (4, 6)):
        p = pellucid.zeros(*shape, dtype=pellucid.float64, requires_grad=True)
        p.grad = pellucid.tensor(rng.standard_normal(shape))
        pellucid.optim.Muon([p], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, ns_steps=10).step()
        growth = max(1, shape[0] / shape[1]) ** 0.5
        values = np.linalg.svd(p.detach().numpy() / growth, compute_uv=False)
        assert (abs(values - 1) < 0.35).all()  # the quintic's fixed band around 1
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        pellucid.optim.Muon([pellucid.ones(3, requires_grad=True)])


def test_lbfgs_finds_the_minimum_of_rosenbrock():
    p = pellucid.tensor([-1.2, 1.0], dtype=pellucid.float64, requires_grad=True)
    optimizer = pellucid.optim.LBFGS([p], max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-15)

    def closure():
        optimizer.zero_grad()
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        loss.backward()
        return loss

    first = optimizer.step(closure)
    optimizer.step(closure)
    assert first.item() == pytest.approx(24.2)
    np.testing.assert_allclose(p.detach().numpy(), [1.0, 1.0], atol=1e-6)
    state = optimizer.state_dict()["state"][0]
    assert {"func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss"} <= state.keys()


class Watcher(Interpreter):
    """Stands for a tracer: runs every operator it sees, and lifts numbers to tensors."""

    def __init__(self):
        self.lifted, self.guarded = {}, {}

    def call(self, op, args, kwargs):
        return getattr(F, op.name)(*args, **kwargs)

    def lift_item(self, group, path, value):
        self.lifted[path] = value
        return pellucid.tensor(value, dtype=pellucid.float64)

    def guard_item(self, group, path, value):
        self.guarded[path] = value


def watched(optimizer, watcher=None):
    step = optimizer.step

    def under_a_tracer():
        with interpreting(watcher or Watcher()):
            step()
    optimizer.step = under_a_tracer


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_traced_step_takes_the_same_path(case):
    """With lifted numbers and step counts as tensors, as a tracer sees them, the update is the one on arrays."""
    name, options = case[0], case[1]
    if name == "SGD" and options.get("dampening"):
        with pytest.raises(FirstStep):
            path(*case, prepare=watched)
        return
    assert_same(path(*case, prepare=watched), path(*case), rtol=1e-6 if name in ("ASGD", "NAdam") else 1e-12)


def test_what_a_tracer_lifts():
    p = pellucid.zeros(2, requires_grad=True)
    p.grad = pellucid.ones(2)
    optimizer = pellucid.optim.AdamW([p], lr=0.0)
    pellucid.optim.lr_scheduler.StepLR(optimizer, 1)
    watcher = Watcher()
    watched(optimizer, watcher)
    optimizer.step()
    assert watcher.lifted == {("lr",): 0.0, ("betas", 0): 0.9, ("betas", 1): 0.999, ("eps",): 1e-8, ("weight_decay",): 0.01}
    assert watcher.guarded.keys() >= {("maximize",), ("amsgrad",), ("decoupled_weight_decay",)}
    assert ("initial_lr",) not in watcher.guarded
