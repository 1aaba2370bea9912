"""Learning-rate schedules: closed forms, torch's sequences, state dicts, warnings and refusals."""

from __future__ import annotations

import copy
import math
import warnings

import pytest

import pellucid
from pellucid.optim import SGD, Adam
from pellucid.optim import lr_scheduler as S
from pellucid.optim.swa_utils import SWALR

STEPS = 24


def optimizer(lib=pellucid, cls: str = "SGD"):
    first, second = (lib.ones(2).requires_grad_() for _ in range(2))
    groups = [{"params": [first]}, {"params": [second], "lr": 0.3}]
    return getattr(lib.optim, cls)(groups, lr=0.1, **({"momentum": 0.9} if cls == "SGD" else {}))


def rates(opt, scheduler, steps: int = STEPS) -> list[list[float]]:
    """Per step: both learning rates and the momentum (or first beta)."""
    rows = []
    for i in range(steps):
        momenta = [float(g["momentum"] if "momentum" in g else g["betas"][0]) for g in opt.param_groups]
        rows.append([float(g["lr"]) for g in opt.param_groups] + momenta)
        opt.step()
        if type(scheduler).__name__ == "ReduceLROnPlateau":
            scheduler.step(abs(math.sin(i * 0.9)) / (1 + i // 6))
        else:
            scheduler.step()
    return rows


CASES = [
    ("LambdaLR", lambda lib, o: o.LambdaLR(lib, lambda e: 0.9**e)),
    ("LambdaLR each", lambda lib, o: o.LambdaLR(lib, [lambda e: 0.9**e, lambda e: 1 / (1 + e)])),
    ("MultiplicativeLR", lambda lib, o: o.MultiplicativeLR(lib, lambda e: 0.5 if e % 5 == 0 else 1.1)),
    ("StepLR", lambda lib, o: o.StepLR(lib, 7, gamma=0.5)),
    ("MultiStepLR", lambda lib, o: o.MultiStepLR(lib, [3, 8, 8, 15], gamma=0.3)),
    ("ConstantLR", lambda lib, o: o.ConstantLR(lib, factor=0.25, total_iters=5)),
    ("LinearLR", lambda lib, o: o.LinearLR(lib, start_factor=0.2, end_factor=0.8, total_iters=9)),
    ("ExponentialLR", lambda lib, o: o.ExponentialLR(lib, gamma=0.9)),
    ("PolynomialLR", lambda lib, o: o.PolynomialLR(lib, total_iters=11, power=1.7)),
    ("CosineAnnealingLR", lambda lib, o: o.CosineAnnealingLR(lib, T_max=7, eta_min=0.01)),
    ("CosineAnnealingWarmRestarts", lambda lib, o: o.CosineAnnealingWarmRestarts(lib, T_0=4, T_mult=2, eta_min=0.01)),
    ("CyclicLR", lambda lib, o: o.CyclicLR(lib, 0.01, 0.2, step_size_up=4, step_size_down=3)),
    ("CyclicLR 2", lambda lib, o: o.CyclicLR(lib, [0.01, 0.02], [0.2, 0.1], step_size_up=4, mode="triangular2", cycle_momentum=False)),
    ("CyclicLR exp", lambda lib, o: o.CyclicLR(lib, 0.01, 0.2, step_size_up=4, mode="exp_range", gamma=0.95)),
    ("CyclicLR fn", lambda lib, o: o.CyclicLR(lib, 0.01, 0.2, step_size_up=4, scale_fn=lambda x: 1 / x, scale_mode="cycle")),
    ("OneCycleLR", lambda lib, o: o.OneCycleLR(lib, max_lr=[1.0, 0.5], total_steps=30)),
    ("OneCycleLR 3", lambda lib, o: o.OneCycleLR(lib, max_lr=1.0, epochs=5, steps_per_epoch=6, three_phase=True, anneal_strategy="linear")),
    ("ReduceLROnPlateau", lambda lib, o: o.ReduceLROnPlateau(lib, patience=2, factor=0.5)),
    ("ReduceLROnPlateau max", lambda lib, o: o.ReduceLROnPlateau(lib, mode="max", patience=1, cooldown=2, threshold_mode="abs", min_lr=[0.02, 0.1])),
    ("SequentialLR", lambda lib, o: o.SequentialLR(lib, [o.LinearLR(lib, total_iters=4), o.ExponentialLR(lib, 0.9), o.StepLR(lib, 3)], [5, 12])),
    ("ChainedScheduler", lambda lib, o: o.ChainedScheduler([o.ConstantLR(lib, 0.1, 4), o.ExponentialLR(lib, 0.9)])),
]
IDS = [name for name, _ in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("cls", ["SGD", "Adam"])
def test_torchs_sequence(case, cls):
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(cls=cls), optimizer(torch, cls)
    a, b = case[1](ours, S), case[1](theirs, torch.optim.lr_scheduler)
    for got, want in zip(rates(ours, a), rates(theirs, b)):
        assert got == pytest.approx(want, rel=1e-12, abs=1e-15)
    assert a.state_dict().keys() == b.state_dict().keys()
    assert a.get_last_lr() == pytest.approx(b.get_last_lr())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_state_dict_resumes(case):
    """10 steps, saved and loaded into new objects, then 10 more: the same rates as without the break."""
    plain = optimizer()
    whole = rates(plain, case[1](plain, S), 20)
    first = optimizer()
    scheduler = case[1](first, S)
    rates(first, scheduler, 10)
    second = optimizer()
    resumed = case[1](second, S)
    saved = scheduler.state_dict()
    keys = set(saved)
    resumed.load_state_dict(saved)
    assert set(saved) == keys, "loading must not take anything out of the user's dict"
    second.load_state_dict(first.state_dict())
    rest = []
    for i in range(10, 20):
        rest.append([float(g["lr"]) for g in second.param_groups])
        second.step()
        resumed.step(*([abs(math.sin(i * 0.9)) / (1 + i // 6)] if "Plateau" in case[0] else []))
    for got, want in zip(rest, whole[10:]):
        assert got == pytest.approx(want[:2], rel=1e-12)


CLOSED = {
    "StepLR": lambda b, e: b * 0.5 ** (e // 7),
    "MultiStepLR": lambda b, e: b * 0.3 ** sum(e >= m for m in (3, 8, 8, 15)),
    "ConstantLR": lambda b, e: b * (0.25 if e < 5 else 1),
    "LinearLR": lambda b, e: b * (0.2 + 0.6 * min(e, 9) / 9),
    "ExponentialLR": lambda b, e: b * 0.9**e,
    "PolynomialLR": lambda b, e: b * (1 - min(e, 11) / 11) ** 1.7,
    "CosineAnnealingLR": lambda b, e: 0.01 + (b - 0.01) * (1 + math.cos(math.pi * e / 7)) / 2,
    "LambdaLR": lambda b, e: b * 0.9**e,
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form(name):
    opt = optimizer()
    scheduler = dict(CASES)[name](opt, S)
    for e, row in enumerate(rates(opt, scheduler)):
        assert row[:2] == pytest.approx([CLOSED[name](0.1, e), CLOSED[name](0.3, e)], rel=1e-9, abs=1e-12)
    with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step\\(\\)` was not necessary"):
        scheduler.step(6)
    assert scheduler.get_last_lr() == pytest.approx([CLOSED[name](0.1, 6), CLOSED[name](0.3, 6)])


def test_recorded_one_cycle():
    """Values of torch 2.13, for machines without it."""
    opt = optimizer()
    rows = rates(opt, S.OneCycleLR(opt, max_lr=1.0, total_steps=10), 10)
    lrs = [0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.611262, 0.3887419, 0.1882583460, 0.0495193679, 4e-06]
    assert [r[0] for r in rows] == pytest.approx(lrs, rel=1e-4)
    assert [r[2] for r in rows[:3]] == pytest.approx([0.95, 0.9, 0.85])


def test_tensor_learning_rates_are_filled_in_place():
    lr = pellucid.tensor(0.5)
    opt = SGD([pellucid.ones(2, requires_grad=True)], lr=lr)
    scheduler = S.ExponentialLR(opt, 0.5)
    opt.step()
    scheduler.step()
    assert opt.param_groups[0]["lr"] is lr and lr.item() == 0.25
    assert scheduler.base_lrs[0].item() == 0.5 and scheduler.get_last_lr()[0] is not lr


def test_warm_restarts_at_fractions_of_epochs():
    opt = optimizer()
    scheduler = S.CosineAnnealingWarmRestarts(opt, T_0=2, T_mult=2)
    for epoch, t_cur, t_i in ((0.5, 0.5, 2), (1.75, 1.75, 2), (2.0, 0, 4), (5.5, 3.5, 4), (6, 0, 8)):
        scheduler.step(epoch)
        assert scheduler.get_last_lr()[0] == pytest.approx(0.1 * (1 + math.cos(math.pi * t_cur / t_i)) / 2)
    with pytest.raises(ValueError, match="Expected non-negative epoch, but got -1"):
        scheduler.step(-1)


def test_order_of_calls():
    opt = optimizer()
    scheduler = S.StepLR(opt, 3)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`"):
        scheduler.step()

    opt = optimizer()
    scheduler = S.StepLR(opt, 3)
    opt.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()

    opt = optimizer()
    scheduler = S.StepLR(opt, 3)
    opt.step = lambda: None
    with pytest.warns(UserWarning, match="`optimizer.step\\(\\)` has been overridden"):
        scheduler.step()

    with pytest.warns(UserWarning, match="please use `get_last_lr\\(\\)`"):
        scheduler.get_lr()


def test_a_users_schedule():
    class Halving(S.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    opt = optimizer()
    scheduler = Halving(opt)
    opt.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05, 0.15]
    assert issubclass(S._LRScheduler, S.LRScheduler)
    with pytest.raises(NotImplementedError):
        S.LRScheduler(optimizer())


def test_resuming_needs_initial_rates():
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified in param_groups\\[0\\]"):
        S.StepLR(optimizer(), 3, last_epoch=4)
    opt = optimizer()
    for group in opt.param_groups:
        group["initial_lr"] = group["lr"]
    assert S.StepLR(opt, 3, last_epoch=4).last_epoch == 5


class Decay:
    """A callable with state."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


def test_callable_objects_are_saved_functions_are_not():
    scheduler = S.LambdaLR(optimizer(), [Decay(0.5), lambda e: 1.0])
    saved = copy.deepcopy(scheduler.state_dict())
    assert saved["lr_lambdas"] == [{"rate": 0.5}, None]
    other = S.LambdaLR(optimizer(), [Decay(0.9), lambda e: 1.0])
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].rate == 0.5
    cyclic = S.CyclicLR(optimizer(), 0.1, 1.0, scale_fn=Decay(0.5), cycle_momentum=False)
    assert cyclic.state_dict()["_scale_fn_custom"] == {"rate": 0.5}


def test_refusals():
    opt = optimizer()
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        S.StepLR(3, 3)
    with pytest.raises(ValueError, match="Expected 2 lr_lambdas, but got 1"):
        S.LambdaLR(opt, [lambda e: 1])
    with pytest.raises(TypeError, match="lr_lambda should be a function, but got int"):
        S.MultiplicativeLR(opt, 3)
    with pytest.raises(ValueError, match="Constant multiplicative factor expected to be between 0 and 1."):
        S.ConstantLR(opt, 2.0)
    with pytest.raises(ValueError, match="Starting multiplicative factor expected to be greater than 0 and less or equal to 1."):
        S.LinearLR(opt, start_factor=0.0)
    with pytest.raises(ValueError, match="Ending multiplicative factor expected to be between 0 and 1."):
        S.LinearLR(opt, end_factor=2.0)
    with pytest.raises(ValueError, match="Factor should be < 1.0."):
        S.ReduceLROnPlateau(opt, factor=1.0)
    with pytest.raises(ValueError, match="mode avg is unknown!"):
        S.ReduceLROnPlateau(opt, mode="avg")
    with pytest.raises(ValueError, match="threshold mode x is unknown!"):
        S.ReduceLROnPlateau(opt, threshold_mode="x")
    with pytest.raises(ValueError, match="expected 2 min_lrs, got 1"):
        S.ReduceLROnPlateau(opt, min_lr=[0.1])
    with pytest.raises(ValueError, match="Expected positive integer T_0, but got 0"):
        S.CosineAnnealingWarmRestarts(opt, 0)
    with pytest.raises(ValueError, match="Expected integer T_mult >= 1, but got 0"):
        S.CosineAnnealingWarmRestarts(opt, 1, 0)
    with pytest.raises(ValueError, match="mode is invalid and scale_fn is None"):
        S.CyclicLR(opt, 0.1, 1.0, mode="square")
    with pytest.raises(ValueError, match="base_lr must have the same length as optimizer.param_groups"):
        S.CyclicLR(opt, [0.1], 1.0)
    with pytest.raises(ValueError, match="optimizer must support momentum or beta1 with `cycle_momentum` option enabled"):
        S.CyclicLR(pellucid.optim.Rprop([pellucid.ones(1, requires_grad=True)]), 0.1, 1.0)
    with pytest.raises(ValueError, match="You must define either total_steps OR"):
        S.OneCycleLR(opt, 1.0)
    with pytest.raises(ValueError, match="Expected positive integer total_steps, but got 0"):
        S.OneCycleLR(opt, 1.0, total_steps=0)
    with pytest.raises(ValueError, match="Expected float between 0 and 1 pct_start, but got 2"):
        S.OneCycleLR(opt, 1.0, total_steps=5, pct_start=2)
    with pytest.raises(ValueError, match="anneal_strategy must be one of 'cos' or 'linear', instead got x"):
        S.OneCycleLR(opt, 1.0, total_steps=5, anneal_strategy="x")
    with pytest.raises(ValueError, match="Tried to step 6 times. The specified number of total steps is 5"):
        scheduler = S.OneCycleLR(opt, 1.0, total_steps=5)
        for _ in range(6):
            opt.step()
            scheduler.step()
    plateau, step, foreign = S.ReduceLROnPlateau(opt), S.StepLR(opt, 3), S.StepLR(optimizer(), 3)
    for cls, args in ((S.SequentialLR, (opt, [step, plateau], [3])), (S.ChainedScheduler, ([step, plateau],))):
        with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau` scheduler"):
            cls(*args)
    with pytest.raises(ValueError, match="expects all schedulers to belong to the same optimizer"):
        S.SequentialLR(opt, [step, foreign], [3])
    with pytest.raises(ValueError, match="expects number of schedulers provided to be one more than the number of milestone points"):
        S.SequentialLR(opt, [step, S.StepLR(opt, 3)], [3, 4])
    with pytest.raises(ValueError, match="expects at least one scheduler to be chained"):
        S.ChainedScheduler([])


def test_plateau_follows_added_groups():
    opt = optimizer()
    scheduler = S.ReduceLROnPlateau(opt, patience=0)
    opt.add_param_group({"params": [pellucid.ones(1, requires_grad=True)]})
    for value in (1.0, 2.0):
        scheduler.step(pellucid.tensor(value))
    assert [g["lr"] for g in opt.param_groups] == pytest.approx([0.01, 0.03, 0.01])
    opt.add_param_group({"params": [pellucid.ones(1, requires_grad=True)]})
    scheduler.default_min_lr = None
    with pytest.raises(RuntimeError, match="The number of param groups in the `optimizer` \\(4\\) differs"):
        for _ in range(2):
            scheduler.step(3.0)


def test_swalr():
    opt = Adam([pellucid.ones(1, requires_grad=True)], lr=0.1)
    scheduler = SWALR(opt, swa_lr=0.02, anneal_epochs=4, anneal_strategy="linear")
    seen = []
    for _ in range(6):
        seen.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    assert seen == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02, 0.02])
    state = scheduler.state_dict()
    assert "anneal_func" not in state and "optimizer" not in state
    with pytest.raises(ValueError, match="anneal_strategy must be one of 'cos' or 'linear', instead got x"):
        SWALR(opt, 0.1, anneal_strategy="x")
    with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0, got -1"):
        SWALR(opt, 0.1, anneal_epochs=-1)
