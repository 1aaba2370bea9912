"""Helpers of nn.utils and utils.checkpoint that other tests reach only through their callers."""
from __future__ import annotations

import pytest

import pellucid as torch
from pellucid import nn
from pellucid.nn.utils import fuse_conv_bn_weights, fuse_linear_bn_weights
from pellucid.nn.utils.parametrize import ParametrizationList, register_parametrization
from pellucid.testing import assert_close
from pellucid.utils import checkpoint


def trained(norm):
    norm.running_mean.copy_(torch.randn_like(norm.running_mean))
    norm.running_var.copy_(torch.rand_like(norm.running_var) + 0.5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.eval()


def test_fused_convolution_weights_give_convolution_then_norm():
    torch.manual_seed(0)
    conv, norm, x = nn.Conv2d(3, 4, 3), trained(nn.BatchNorm2d(4)), torch.randn(2, 3, 6, 6)
    w, b = fuse_conv_bn_weights(conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    assert isinstance(w, nn.Parameter) and isinstance(b, nn.Parameter)
    assert_close(nn.functional.conv2d(x, w, b), norm(conv(x)), rtol=1e-4, atol=1e-5)


def test_fused_linear_weights_give_linear_then_norm():
    torch.manual_seed(0)
    linear, norm, x = nn.Linear(3, 4), trained(nn.BatchNorm1d(4)), torch.randn(5, 3)
    w, b = fuse_linear_bn_weights(linear.weight, linear.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    assert_close(nn.functional.linear(x, w, b), norm(linear(x)), rtol=1e-4, atol=1e-5)


def test_a_parametrized_tensor_has_a_list_of_its_parametrizations():
    class Double(nn.Module):
        def forward(self, w):
            return 2 * w

    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    register_parametrization(layer, "weight", Double())
    assert isinstance(layer.parametrizations.weight, ParametrizationList) and len(layer.parametrizations.weight) == 1
    assert_close(layer.weight.detach(), 2 * before)


def test_checkpoint_helpers():
    x, y = torch.ones(2, requires_grad=True), torch.ones(2)
    a, b, c = checkpoint.detach_variable((x, y, 3))
    assert a.grad_fn is None and a.requires_grad and not b.requires_grad and c == 3
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint.check_backward_validity([y])
    forward, recompute = checkpoint.noop_context_fn()
    with forward, recompute:
        pass
    assert checkpoint.SelectiveCheckpointContext(is_recompute=True).is_recompute
    out = checkpoint.CheckpointFunction.apply(lambda t: t * t, True, x)
    out.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
