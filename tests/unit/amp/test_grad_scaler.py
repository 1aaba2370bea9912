"""GradScaler against values and messages recorded from torch 2.13 (device "cpu")."""
from __future__ import annotations

import copy
import pickle
import warnings

import pytest

import pellucid as torch

INF = float("inf")


def setting(**options):
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    settings = {"init_scale": 8.0, "growth_interval": 2, **options}
    return p, torch.optim.SGD([p], lr=0.5), torch.amp.GradScaler("cpu", **settings)


def one(p, optimizer, scaler, factor=1.0, unscale=False):
    optimizer.zero_grad()
    scaler.scale((p * factor).sum()).backward()
    if unscale:
        scaler.unscale_(optimizer)
    r = scaler.step(optimizer)
    scaler.update()
    return r


@pytest.mark.parametrize("unscale", [False, True])
def test_scale_grows_shrinks_and_steps_are_left_out(unscale):
    p, optimizer, scaler = setting()
    seen = []
    for factor in (1.0, 1.0, INF, 1.0, float("nan"), 2.0, 2.0):
        one(p, optimizer, scaler, factor, unscale)
        seen.append((scaler.get_scale(), scaler._get_growth_tracker(), p.tolist()))
    assert seen == [(8.0, 1, [0.5, 1.5]), (16.0, 0, [0.0, 1.0]), (8.0, 0, [0.0, 1.0]), (8.0, 1, [-0.5, 0.5]), (4.0, 0, [-0.5, 0.5]),
                    (4.0, 1, [-1.5, -0.5]), (8.0, 0, [-2.5, -1.5])]


def test_fused_optimisers_unscale_themselves():
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer, scaler = torch.optim.SGD([p], lr=0.5, fused=True), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    one(p, optimizer, scaler)
    one(p, optimizer, scaler, INF)
    one(p, optimizer, scaler, unscale=True)
    assert p.tolist() == [0.0, 1.0] and scaler.get_scale() == 4.0
    assert not hasattr(optimizer, "found_inf")


def test_gradients_are_divided_by_the_scale():
    p, optimizer, scaler = setting(init_scale=1024.0)
    scaler.scale((p * torch.tensor([3.0, 4.0])).sum()).backward()
    assert p.grad.tolist() == [3072.0, 4096.0]
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [3.0, 4.0]
    assert torch.nn.utils.clip_grad_norm_([p], 1.0).item() == 5.0


def test_nested_outputs():
    _, _, scaler = setting()
    x = torch.ones(2)
    a, (b,) = scaler.scale([x, (x * 2,)])
    assert a.tolist() == [8.0, 8.0] and b.tolist() == [16.0, 16.0]
    assert [t.tolist() for t in scaler.scale(t for t in (x,))] == [[8.0, 8.0]]
    with pytest.raises(ValueError, match="outputs must be a Tensor or an iterable of Tensors"):
        scaler.scale(3)


def test_misuse_is_refused():
    p, optimizer, scaler = setting()
    with pytest.raises(AssertionError, match="Attempted step but _scale is None"):
        scaler.step(optimizer)
    with pytest.raises(AssertionError, match="Attempted update but _scale is None"):
        scaler.update()
    scaler.scale(p.sum()).backward()
    with pytest.raises(AssertionError, match="No inf checks were recorded prior to update"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) has already been called"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(optimizer, closure=lambda: None)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) is being called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled at the beginning"):
        pickle.dumps(scaler)
    scaler.update(3.0)
    assert scaler.get_scale() == 3.0
    half = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        optimizer = torch.optim.SGD([half])
        scaler.scale(half.sum()).backward()
        scaler.step(optimizer)
    for bad, text in (({"growth_factor": 1.0}, "growth factor must be > 1.0"), ({"backoff_factor": 1.0}, "backoff factor must be < 1.0")):
        with pytest.raises(AssertionError, match=text):
            torch.amp.GradScaler("cpu", **bad)


def test_state_is_saved_and_loaded():
    p, optimizer, scaler = setting()
    assert scaler.state_dict() == {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2, "_growth_tracker": 0}
    one(p, optimizer, scaler)
    for other in (torch.amp.GradScaler("cpu"), copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
        other.load_state_dict(scaler.state_dict())
        one(p, optimizer, other)
        assert other.get_scale() == 16.0
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        scaler.load_state_dict({})


def test_disabled_scalers_pass_everything_through():
    p, optimizer, _ = setting()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = torch.amp.GradScaler()
    loss = p.sum()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and not scaler.is_enabled() and scaler.state_dict() == {}
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [0.5, 1.5]


def test_old_names_warn():
    with pytest.warns(FutureWarning, match="torch.cuda.amp.GradScaler"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert not torch.cuda.amp.GradScaler().is_enabled()
    with pytest.warns(FutureWarning, match="torch.cuda.amp.autocast"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with torch.cuda.amp.autocast():
            assert not torch.is_autocast_enabled()


def test_training_in_bfloat16_learns():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer, scaler = torch.optim.Adam(model.parameters(), lr=0.02), torch.amp.GradScaler("cpu")
    x = torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
