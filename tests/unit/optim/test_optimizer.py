"""Optimizer's base: groups, state dicts (also torch's), hooks, copies, printing, and what it refuses."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import pellucid
from pellucid import nn, optim
from pellucid.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook, required

ELEMENTWISE = ["SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD", "Adafactor"]


def parameters(seed: int = 0, lib=pellucid, dtype: str = "float64"):
    rng = np.random.default_rng(seed)
    return [lib.tensor(rng.standard_normal(shape).astype(dtype)).requires_grad_() for shape in ((3, 2), (4,))]


def train(optimizer, params, steps: int, seed: int = 1, lib=pellucid) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in params:
            p.grad = lib.tensor(rng.standard_normal(tuple(p.shape))).to(p.dtype)
        optimizer.step()


def arrays(params):
    return [p.detach().numpy().copy() for p in params]


def translated(state_dict, lib):
    """A state dict with its tensors made into `lib`'s."""
    def go(x):
        if isinstance(x, dict):
            return {k: go(v) for k, v in x.items()}
        if isinstance(x, list):
            return [go(v) for v in x]
        if hasattr(x, "numpy"):
            return lib.tensor(x.detach().numpy().copy()) if x.dim() else lib.tensor(x.item(), dtype=getattr(lib, str(x.dtype).split(".")[-1]))
        return x
    return go(state_dict)


# ------------------------------------------------------------------------------------------------------- state dicts
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_state_dict_carries_on(name):
    """Save after 3 steps, load into a fresh optimiser over a copy of the parameters: both walk on alike."""
    params = parameters(dtype="float32")  # in float64, loading widens NAdam's and ASGD's scalars, as in PyTorch
    first = getattr(optim, name)(params, lr=0.05)
    train(first, params, 3)
    twins = [p.detach().clone().requires_grad_() for p in params]
    second = getattr(optim, name)(twins, lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["lr"] == 0.05
    train(first, params, 3, seed=2)
    train(second, twins, 3, seed=2)
    for a, b in zip(arrays(params), arrays(twins)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_state_dict_is_torchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(), parameters(lib=torch)
    options = {"momentum": 0.9} if name == "SGD" else {}
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    assert repr(a) == repr(b)
    train(a, ours, 3)
    train(b, theirs, 3, lib=torch)
    one, two = a.state_dict(), b.state_dict()
    assert one["param_groups"] == two["param_groups"]
    for key in two["state"]:
        assert one["state"][key].keys() == two["state"][key].keys()
        for field, value in two["state"][key].items():
            got = one["state"][key][field]
            assert str(got.dtype) == str(value.dtype) and tuple(got.shape) == tuple(value.shape), field
    # Each loads the other's, and both walk on alike.
    a.load_state_dict(translated(two, pellucid))
    b.load_state_dict(translated(one, torch))
    train(a, ours, 2, seed=5)
    train(b, theirs, 2, seed=5, lib=torch)
    for x, y in zip(arrays(ours), arrays(theirs)):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_state_dict_format():
    params = parameters()
    optimizer = optim.Adam([{"params": params[:1], "lr": 0.5}, {"params": params[1:]}], lr=0.1)
    train(optimizer, params, 2)
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"} and set(saved["state"]) == {0, 1}
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in saved["param_groups"]] == [0.5, 0.1]
    step = saved["state"][0]["step"]
    assert step.dtype is pellucid.float32 and step.dim() == 0 and step.item() == 2
    assert saved["state"][0]["exp_avg"] is optimizer.state[params[0]]["exp_avg"]


def test_sgd_without_momentum_has_no_state():
    params = parameters()
    optimizer = optim.SGD(params, lr=0.1)
    train(optimizer, params, 2)
    assert optimizer.state_dict()["state"] == {}


def test_loaded_state_takes_the_parameters_dtype_but_steps_do_not():
    params = parameters()
    optimizer = optim.Adam(params)
    train(optimizer, params, 1)
    half = [p.detach().to(pellucid.bfloat16).requires_grad_() for p in params]
    other = optim.Adam(half)
    other.load_state_dict(optimizer.state_dict())
    state = other.state[half[0]]
    assert state["exp_avg"].dtype is pellucid.bfloat16 and state["step"].dtype is pellucid.float32


def test_old_checkpoints_with_numbers_for_steps():
    params = parameters()
    optimizer = optim.NAdam(params)
    train(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state["step"], state["mu_product"] = 2, state["mu_product"].item()
    del saved["param_groups"][0]["decoupled_weight_decay"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is False
    assert optimizer.state[params[0]]["step"].item() == 2
    train(optimizer, params, 1)


def test_load_state_dict_keeps_foreign_state_and_nested_values():
    params = parameters()
    optimizer = optim.SGD(params, lr=0.1)
    saved = optimizer.state_dict()
    saved["state"] = {0: {"list": [pellucid.ones(2, dtype=pellucid.float32)], "name": "x"}, "global": 7}
    optimizer.load_state_dict(saved)
    assert optimizer.state["global"] == 7
    assert optimizer.state[params[0]]["list"][0].dtype is pellucid.float64
    assert optimizer.state[params[0]]["name"] == "x"


def test_load_state_dict_refuses_other_groups():
    params = parameters()
    saved = optim.SGD(params, lr=0.1).state_dict()
    with pytest.raises(ValueError, match="loaded state dict has a different number of parameter groups"):
        optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1).load_state_dict(saved)
    with pytest.raises(ValueError, match="loaded state dict contains a parameter group that doesn't match the size of optimizer's group"):
        optim.SGD(params[:1], lr=0.1).load_state_dict(saved)


# ------------------------------------------------------------------------------------------------------- groups
def test_groups_get_defaults_and_their_own_options():
    w, b = parameters()
    optimizer = optim.SGD([{"params": [w], "lr": 0.5}, {"params": b}], lr=0.1, momentum=0.9)
    assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(0.5, 0.9), (0.1, 0.9)]
    extra = pellucid.ones(2, requires_grad=True)
    optimizer.add_param_group({"params": iter([extra]), "momentum": 0})
    assert optimizer.param_groups[2]["params"] == [extra] and optimizer.param_groups[2]["lr"] == 0.1


def test_named_parameters():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert optimizer.param_groups[0]["param_names"] == names
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names
    with pytest.raises(ValueError, match="all optimizer param groups should be with/without names"):
        optimizer.add_param_group({"params": [pellucid.ones(1, requires_grad=True)]})
    plain = optim.SGD(model.parameters(), lr=0.1)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["param_names"] == names
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("a", parameters()[0]), parameters()[1]], lr=0.1)


def test_refusals():
    w, b = parameters()
    with pytest.raises(TypeError, match="params argument given to the optimizer should be an iterable of Tensors or dicts"):
        optim.SGD(w, lr=0.1)
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="organized in ordered collections"):
        optim.SGD([{"params": {w, b}}], lr=0.1)
    with pytest.raises(TypeError, match="optimizer can only optimize Tensors, but one of the params is"):
        optim.SGD([w, 3], lr=0.1)
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        optim.SGD([w * 2], lr=0.1)
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optim.SGD([{"params": w}, {"params": [w, b]}], lr=0.1)
    with pytest.raises(TypeError, match="param_group must be a dict"):
        optim.SGD([w], lr=0.1).add_param_group([b])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([w, w], lr=0.1)
    retained = w * 2
    retained.retain_grad()
    assert optim.SGD([retained], lr=0.1).param_groups[0]["params"][0] is retained


class Descent(optim.Optimizer):
    """A user's optimiser: one required option, its own step."""

    def __init__(self, params, rate=required):
        super().__init__(params, {"rate": rate})

    @pellucid.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                p.sub_(p.grad * group["rate"])
        return "done"


def test_a_users_optimizer():
    w, b = parameters()
    before = arrays([w])[0]
    with pytest.raises(ValueError, match="parameter group didn't specify a value of required optimization parameter rate"):
        Descent([w])
    optimizer = Descent([{"params": [w], "rate": 0.5}])
    w.grad = pellucid.ones(3, 2, dtype=pellucid.float64)
    assert optimizer.step() == "done"
    np.testing.assert_allclose(arrays([w])[0], before - 0.5)
    assert optimizer.state_dict()["state"] == {0: {"seen": 1}}


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("SGD", {"lr": -1}, "Invalid learning rate: -1"),
        ("SGD", {"momentum": -1}, "Invalid momentum value: -1"),
        ("SGD", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        ("SGD", {"lr": pellucid.ones(2)}, "Tensor lr must be 1-element"),
        ("Adam", {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ("Adam", {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
        ("Adam", {"eps": -1}, "Invalid epsilon value: -1"),
        ("Adam", {"betas": (0.9, pellucid.tensor(0.9))}, "betas must be either both floats or both Tensors"),
        ("Adam", {"lr": pellucid.tensor(0.1), "foreach": True}, "lr as a Tensor is not supported for capturable=False and foreach=True"),
        ("AdamW", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ("Adagrad", {"lr_decay": -0.5}, "Invalid lr_decay value: -0.5"),
        ("Adagrad", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
        ("Adadelta", {"rho": 1.1}, "Invalid rho value: 1.1"),
        ("NAdam", {"momentum_decay": -0.2}, "Invalid momentum_decay value: -0.2"),
        ("RMSprop", {"alpha": -1}, "Invalid alpha value: -1"),
        ("Rprop", {"etas": (1.0, 0.5)}, "Invalid eta values: 1.0, 0.5"),
        ("ASGD", {"weight_decay": -0.5}, "Invalid weight_decay value: -0.5"),
        ("Adafactor", {"d": 0.5}, "Clipping threshold d should be >= 1 but is: 0.5"),
        ("Adafactor", {"beta2_decay": 0.8}, "beta2_decay should be <= 0 but is: 0.8"),
        ("Muon", {"adjust_lr_fn": "arbitrary"}, "Adjust learning rate function arbitrary is not supported"),
        ("LBFGS", {"lr": -1}, "Invalid learning rate: -1"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([parameters()[0]], **options)


def test_fused_is_checked():
    w, b = parameters()
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        optim.Adam([w], fused=True, differentiable=True)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together."):
        optim.SGD([w], fused=True, foreach=True)
    z = pellucid.tensor(np.ones(2) + 1j).requires_grad_()
    z.grad = pellucid.tensor(np.ones(2) + 1j)
    with pytest.raises(RuntimeError, match="`fused=True` requires all the params to be floating point Tensors"):
        optim.Adam([z], fused=True).step()
    with pytest.raises(ValueError, match="LBFGS doesn't support per-parameter options"):
        optim.LBFGS([{"params": [w]}, {"params": [b]}])


# ------------------------------------------------------------------------------------------------------- calls
def test_closure_runs_with_gradients_and_its_loss_is_returned():
    w = parameters()[0]
    optimizer = optim.SGD([w], lr=0.1)
    before = arrays([w])[0]

    def closure():
        assert pellucid.is_grad_enabled()
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with pellucid.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == pytest.approx((before**2).sum())
    np.testing.assert_allclose(arrays([w])[0], before * 0.8)


def test_parameters_without_gradient_are_left_alone():
    w, b = parameters()
    before = arrays([b])[0]
    w.grad = pellucid.ones(3, 2, dtype=pellucid.float64)
    optimizer = optim.Adam([w, b])
    optimizer.step()
    assert b not in optimizer.state or not optimizer.state[b]
    np.testing.assert_array_equal(arrays([b])[0], before)


def test_zero_grad():
    w = parameters()[0]
    optimizer = optim.SGD([w], lr=0.1)
    (w * w).sum().backward()
    grad = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is grad and (grad == 0).all()
    optimizer.zero_grad()
    assert w.grad is None
    (w * w).sum().backward(create_graph=True)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.grad_fn is None and not w.grad.requires_grad


def test_step_hooks_run_in_order_and_may_change_arguments():
    w = parameters()[0]
    w.grad = pellucid.zeros(3, 2, dtype=pellucid.float64)
    optimizer = optim.SGD([w], lr=0.1)
    calls = []
    handles = [
        register_optimizer_step_pre_hook(lambda o, a, k: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda o, a, k: calls.append("global post")),
        optimizer.register_step_pre_hook(lambda o, a, k: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, a, k: calls.append(("post", a[0] is o, k))),
    ]
    optimizer.step()
    assert calls == ["global pre", "pre", ("post", True, {}), "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4

    ran = []
    optimizer.register_step_pre_hook(lambda o, a, k: (a, {"closure": lambda: ran.append(1) or 5}))
    assert optimizer.step() == 5 and ran == [1]
    optimizer.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple of"):
        optimizer.step()


def test_state_dict_hooks():
    w = parameters()[0]
    optimizer = optim.SGD([w], lr=0.1)
    calls = []
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("pre"))
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "extra": 1})
    optimizer.register_state_dict_post_hook(lambda o, s: calls.append("first"), prepend=True)
    saved = optimizer.state_dict()
    assert saved["extra"] == 1 and calls == ["pre", "first"]

    other = optim.SGD([w], lr=0.5)
    other.register_load_state_dict_pre_hook(lambda o, s: s["param_groups"][0].update(lr=7) or s)
    other.register_load_state_dict_post_hook(lambda o: calls.append(o.param_groups[0]["lr"]))
    other.load_state_dict(saved)
    assert calls[-1] == 7


def test_repr():
    w, b = parameters()
    text = repr(optim.SGD([{"params": [w]}, {"params": [b], "lr": 0.5}], lr=0.1))
    assert text == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n    foreach: None\n    fused: None\n    lr: 0.1\n"
        "    maximize: False\n    momentum: 0\n    nesterov: False\n    weight_decay: 0\n\nParameter Group 1\n    dampening: 0\n"
        "    differentiable: False\n    foreach: None\n    fused: None\n    lr: 0.5\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)"
    ).replace("\n\n", "\n")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_copies_have_parameters_of_their_own(copied):
    params = parameters()
    optimizer = optim.Adam(params)
    train(optimizer, params, 2)
    twin = copied(optimizer)
    theirs = twin.param_groups[0]["params"]
    assert all(a is not b for a, b in zip(params, theirs)) and set(twin.state) == set(theirs)
    train(optimizer, params, 2, seed=3)
    train(twin, theirs, 2, seed=3)
    for a, b in zip(arrays(params), arrays(theirs)):
        np.testing.assert_array_equal(a, b)


def test_an_optimizer_with_a_schedule_is_freed():
    optimizer = optim.SGD(parameters(), lr=0.1)
    optim.lr_scheduler.StepLR(optimizer, 3)
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None


def test_adagrad_shares_its_sums():
    params = parameters()
    optimizer = optim.Adagrad(params, initial_accumulator_value=0.5)
    assert (optimizer.state[params[0]]["sum"] == 0.5).all()
    optimizer.share_memory()
    assert optimizer.state[params[0]]["sum"].is_shared()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_an_mlp_learns(name):
    pellucid.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = getattr(optim, name)(model.parameters(), **({"lr": 0.2, "momentum": 0.9} if name == "SGD" else {"lr": 0.02}))
    x = pellucid.randn(64, 2)
    y = (x[:, :1] * x[:, 1:]).tanh()
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
