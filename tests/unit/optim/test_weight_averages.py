"""Averaged models: means and exponential means of weights and buffers, and batch statistics made anew."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.optim import swa_utils


def model():
    pellucid.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def walk(averaged, source, steps: int = 4):
    """Random walks of the source's weights, and where its first weight was."""
    seen = []
    for k in range(steps):
        with pellucid.no_grad():
            for p in source.parameters():
                p.add_(pellucid.full_like(p, 0.1 * (k + 1)))
            source[1].running_mean.add_(1.0)
        seen.append(source[0].weight.detach().numpy().copy())
        averaged.update_parameters(source)
    return seen


def test_mean_of_the_weights():
    source = model()
    averaged = swa_utils.AveragedModel(source)
    seen = walk(averaged, source)
    np.testing.assert_allclose(averaged.module[0].weight.detach().numpy(), np.mean(seen, 0), rtol=1e-6)
    assert averaged.n_averaged.item() == 4 and averaged.n_averaged.dtype is pellucid.int64
    assert averaged.module[1].running_mean[0].item() == 4.0, "buffers are copied"
    np.testing.assert_array_equal(source[0].weight.detach().numpy(), seen[-1])


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(
    "options", [{"avg_fn": swa_utils.get_ema_avg_fn(0.9)}, {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)}], ids=["avg_fn", "multi"]
)
def test_exponential_mean(options, use_buffers):
    source = model()
    averaged = swa_utils.AveragedModel(source, use_buffers=use_buffers, **options)
    seen = walk(averaged, source)
    expected, mean = seen[0], 1.0
    for k, value in enumerate(seen[1:], 2):
        expected, mean = 0.9 * expected + 0.1 * value, 0.9 * mean + 0.1 * k
    np.testing.assert_allclose(averaged.module[0].weight.detach().numpy(), expected, rtol=1e-5)
    assert averaged.module[1].running_mean[0].item() == pytest.approx(mean if use_buffers else 4.0, rel=1e-5)


def test_multi_mean_takes_integers_too():
    a, b = pellucid.tensor([4, 8]), pellucid.tensor([8, 0])
    swa_utils.get_swa_multi_avg_fn()([a], [b], 3)
    assert a.tolist() == [5, 6]
    x = pellucid.tensor([4.0])
    swa_utils.get_swa_multi_avg_fn()([x], [pellucid.tensor([8.0])], pellucid.tensor(3))
    assert x.tolist() == [5.0]
    assert swa_utils.get_swa_avg_fn()(pellucid.tensor(4.0), pellucid.tensor(8.0), 3).item() == 5.0
    i = pellucid.tensor([10])
    swa_utils.get_ema_multi_avg_fn(0.5)([i], [pellucid.tensor([20])], 1)
    assert i.tolist() == [15]


def test_state_dict_and_refusals():
    source = model()
    averaged, other = swa_utils.AveragedModel(source), swa_utils.AveragedModel(model())
    walk(averaged, source)
    other.load_state_dict(averaged.state_dict())
    for a, b in zip(averaged.state_dict().values(), other.state_dict().values()):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert averaged(pellucid.ones(2, 3)).shape == (2, 2)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn should be provided"):
        swa_utils.AveragedModel(source, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match="Invalid decay value 1.5 provided"):
            make(1.5)


def test_update_bn_recomputes_the_statistics():
    source = model().eval()
    source[1].momentum = 0.3
    batches = [(pellucid.randn(8, 3), None) for _ in range(3)]
    swa_utils.update_bn(batches, source, device="cpu")
    inner = [source[0](x).detach().numpy() for x, _ in batches]
    np.testing.assert_allclose(source[1].running_mean.numpy(), np.mean([h.mean(0) for h in inner], 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(source[1].running_var.numpy(), np.mean([h.var(0, ddof=1) for h in inner], 0), rtol=1e-4)
    assert source[1].momentum == 0.3 and not source.training
    plain = nn.Linear(3, 2)
    swa_utils.update_bn([pellucid.ones(1, 3)], plain)  # nothing to do
    assert plain.training
