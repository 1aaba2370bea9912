"""The public names of autograd: modes and their queries, graph edges, multi-tensor hooks, saved-tensor contexts."""
from __future__ import annotations

import warnings

import pytest

import pellucid as torch
from pellucid import autograd
from pellucid.autograd import graph


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def test_modes_are_seen_and_restored():
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            assert torch.is_grad_enabled()
        with autograd.enable_grad(), autograd.set_grad_enabled(False):
            assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert autograd.grad_mode.no_grad is torch.no_grad


def test_anomaly_mode_is_seen():
    assert not autograd.is_anomaly_enabled() and autograd.is_anomaly_check_nan_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with autograd.detect_anomaly(check_nan=False):
            assert autograd.is_anomaly_enabled() and not autograd.is_anomaly_check_nan_enabled()
    assert not autograd.is_anomaly_enabled()


def test_multithreading_switch():
    assert autograd.is_multithreading_enabled()
    with autograd.set_multithreading_enabled(False):
        assert not autograd.is_multithreading_enabled()
    assert autograd.is_multithreading_enabled()


def test_variable_is_a_tensor():
    v = autograd.variable.Variable(torch.ones(2), requires_grad=True)
    assert isinstance(v, torch.Tensor) and isinstance(v, autograd.Variable) and v.requires_grad


def test_the_context_of_a_function_is_a_function_context():
    class Square(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            assert isinstance(ctx, autograd.FunctionCtx)
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(3.0)
    Square.apply(x).backward()
    assert x.grad.item() == 6.0


def test_gradient_edges_name_places_in_the_graph():
    x = leaf(2.0)
    y = x * 3
    edge = graph.get_gradient_edge(y)
    assert isinstance(edge, graph.GradientEdge) and edge.node is y.grad_fn and edge.output_nr == 0
    assert graph.get_gradient_edge(x).node.variable is x
    with pytest.raises(RuntimeError, match="does not require gradients"):
        graph.get_gradient_edge(torch.ones(1))


def test_version_counter_can_be_bumped_by_hand():
    x = leaf(2.0)
    y = x * 1
    z = y * y
    graph.increment_version(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


@pytest.mark.parametrize("mode", ["all", "any"])
def test_one_hook_for_several_tensors(mode):
    a, b, seen = leaf(1.0), leaf(2.0), []
    graph.register_multi_grad_hook([a, b], seen.append, mode=mode)
    (a * b).sum().backward()
    assert len(seen) == 1
    if mode == "all":
        assert [g.item() for g in seen[0]] == [2.0, 1.0]


def test_saved_tensors_can_be_packed_copied_or_forbidden():
    x = leaf(2.0)
    with graph.save_on_cpu():
        y = x * x
    y.backward()
    assert x.grad.item() == 4.0
    with graph.disable_saved_tensors_hooks("no hooks here"), pytest.raises(RuntimeError, match="no hooks here"):
        with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            pass
    w = leaf(3.0)
    with graph.allow_mutation_on_saved_tensors():
        v = w.clone()
        z = v * v
        v.add_(1)
        z.sum().backward()
    assert w.grad.item() == 6.0
    exp = leaf(0.0).exp()
    assert isinstance(exp.grad_fn._raw_saved_result, autograd.SavedTensor)


def test_post_accumulate_hook_sees_the_gradient():
    x, seen = leaf(2.0), []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * 5).backward()
    assert seen == [5.0]
