"""autocast: which operators run in which precision, gradients in the parameters' own dtype, nesting, the cache."""
from __future__ import annotations

import pytest

import pellucid as torch
from pellucid import nn
from pellucid.nn import functional as F
from pellucid.ops.op import REGISTRY

BF16, F32 = torch.bfloat16, torch.float32
X, W, IMAGE = torch.randn(4, 8), torch.randn(8, 8), torch.randn(2, 3, 8, 8)

# name: (call, dtype of the result for float32 operands, for bfloat16 operands), as PyTorch 2.13 answers on a CPU
CASES = {
    "linear": (lambda x: F.linear(x, W), BF16, BF16),
    "mm": (lambda x: x @ W, BF16, BF16),
    "addmm": (lambda x: torch.addmm(X, x, W), BF16, BF16),
    "bmm": (lambda x: torch.bmm(x[None], W[None]), BF16, BF16),
    "einsum": (lambda x: torch.einsum("ij,jk->ik", x, W), BF16, BF16),
    "attention": (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]), BF16, BF16),
    "softmax": (lambda x: F.softmax(x, -1), F32, BF16),
    "layer_norm": (lambda x: F.layer_norm(x, (8,), torch.ones(8), torch.zeros(8)), F32, BF16),
    "gelu": (F.gelu, F32, BF16),
    "sum": (torch.sum, F32, BF16),
    "prod": (torch.prod, F32, F32),
    "add": (lambda x: x + X, F32, F32),
    "cat": (lambda x: torch.cat([x, X]), F32, F32),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 3])), F32, F32),
    "mse_loss": (lambda x: F.mse_loss(x, X), F32, F32),
    "l1_loss": (lambda x: F.l1_loss(x, X), F32, F32),
    "quantile": (lambda x: torch.quantile(x, 0.5), F32, F32),
}


@pytest.mark.parametrize("name", CASES)
def test_precision_by_operator(name: str) -> None:
    call, from_float, from_low = CASES[name]
    with torch.autocast("cpu", dtype=BF16):
        assert call(X).dtype is from_float
        assert call(X.bfloat16()).dtype is from_low
    assert call(X).dtype is F32


def test_convolution() -> None:
    with torch.autocast("cpu"):
        assert F.conv2d(IMAGE, torch.randn(4, 3, 3, 3)).dtype is BF16


def test_the_product_is_that_of_rounded_operands() -> None:
    with torch.autocast("cpu"):
        y = X @ W
    assert torch.equal(y, X.bfloat16() @ W.bfloat16())


def test_float64_is_left_alone() -> None:
    with torch.autocast("cpu"):
        assert (X.double() @ W.double()).dtype is torch.float64


def test_gradients_have_the_parameters_dtype() -> None:
    layer = nn.Linear(8, 3)
    with torch.autocast("cpu"):
        loss = F.cross_entropy(layer(X), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert loss.dtype is F32 and layer.weight.grad.dtype is F32 and layer.bias.grad.dtype is F32


def test_nesting_disabling_and_state() -> None:
    assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu"):
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is BF16
        with torch.autocast("cpu", enabled=False):
            assert (X @ W).dtype is F32
        with torch.autocast("cpu", dtype=torch.float16):
            assert (X @ W).dtype is torch.float16
        assert (X @ W).dtype is BF16
    with pytest.raises(ValueError, match="boom"), torch.autocast("cpu"):
        raise ValueError("boom")
    assert not torch.is_autocast_enabled("cpu")


def test_as_a_decorator() -> None:
    @torch.autocast("cpu")
    def product(a, b):
        return a @ b
    assert product(X, W).dtype is BF16 and (X @ W).dtype is F32


def test_a_parameter_is_converted_once_and_again_after_a_write() -> None:
    layer = nn.Linear(8, 8, bias=False)
    with torch.autocast("cpu"):
        first = layer(X)
        node = first.grad_fn.next_functions[1][0]
        assert layer(X).grad_fn.next_functions[1][0] is node
        with torch.no_grad():
            layer.weight.zero_()
        assert layer(X).abs().sum() == 0


def test_what_cannot_be_is_refused_or_said() -> None:
    with pytest.raises(RuntimeError, match="unsupported autocast device_type"):
        torch.autocast("abacus")
    with pytest.raises(ValueError, match="Expected `device_type`"):
        torch.autocast(3)
    with pytest.warns(UserWarning, match="not supported. Disabling"):
        block = torch.autocast("cpu", dtype=torch.float64)
    with block:
        assert (X @ W).dtype is F32
    with pytest.warns(UserWarning, match="cuda is not available"), torch.autocast("cuda"):
        assert (X @ W).dtype is F32


def test_settings() -> None:
    torch.set_autocast_dtype("cpu", torch.float16)
    try:
        with torch.autocast("cpu"):
            assert (X @ W).dtype is torch.float16
    finally:
        torch.set_autocast_dtype("cpu", BF16)
    assert torch.get_autocast_cpu_dtype() is BF16 and torch.is_autocast_available("cpu")
    assert torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.autocast("cpu"):
            torch.clear_autocast_cache()
            assert torch.is_autocast_cpu_enabled()
    finally:
        torch.set_autocast_cache_enabled(True)


def test_classes_are_spelt_right() -> None:
    assert {op.cast for op in REGISTRY.values()} <= {None, "low", "high", "gpu-low", "gpu-high"}
