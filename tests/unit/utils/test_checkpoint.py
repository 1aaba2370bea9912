"""Checkpointed calls: same values, gradients and random numbers; less kept; clear complaints."""

import warnings

import numpy as np
import pytest

import pellucid
from pellucid.utils.checkpoint import (CheckpointError, CheckpointPolicy, checkpoint, checkpoint_sequential,
                                       create_selective_checkpoint_contexts, set_checkpoint_early_stop)

nn = pellucid.nn
BOTH = pytest.mark.parametrize("use_reentrant", [True, False])


def block(seed=0):
    pellucid.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


def grads(call, seed=7):
    """Value and gradients of x and all parameters of a block, with fresh random numbers."""
    net = block()
    x = pellucid.ones(4, 3, requires_grad=True)
    pellucid.manual_seed(seed)
    out = call(net, x * 1)
    after = pellucid.rand(1).item()
    out.pow(2).sum().backward()
    return [out.detach().numpy(), after, x.grad.numpy(), *[p.grad.numpy() for p in net.parameters()]]


def agree(a, b):
    return all(np.array_equal(u, v) for u, v in zip(a, b))


@BOTH
def test_same_as_a_plain_call(use_reentrant):
    assert agree(grads(lambda net, x: checkpoint(net, x, use_reentrant=use_reentrant)), grads(lambda net, x: net(x)))


@BOTH
@pytest.mark.parametrize("segments", [1, 2, 4])
def test_sequential(segments, use_reentrant):
    plain = grads(lambda net, x: net(x))
    assert agree(grads(lambda net, x: checkpoint_sequential(net, segments, x, use_reentrant=use_reentrant)), plain)
    assert agree(grads(lambda net, x: checkpoint_sequential(list(net), segments, x, use_reentrant=use_reentrant)), plain)


@BOTH
def test_nested(use_reentrant):
    def nested(net, x):
        return checkpoint(lambda y: net[3](checkpoint(net[:3], y, use_reentrant=use_reentrant)), x, use_reentrant=use_reentrant)

    assert agree(grads(nested), grads(lambda net, x: net(x)))


@BOTH
def test_random_numbers_are_not_kept_when_told(use_reentrant):
    call = lambda net, x: checkpoint(net, x, use_reentrant=use_reentrant, preserve_rng_state=False)  # noqa: E731
    assert not agree(grads(call)[2:], grads(lambda net, x: net(x))[2:])


def test_intermediate_results_are_not_kept():
    kept = []
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        x = pellucid.ones(4, 3, requires_grad=True) * 1
        checkpoint(block(), x, use_reentrant=False)
    assert all(shape == (4, 3) or shape == () for shape in kept)


def test_runs_again_once_and_stops_early():
    calls = []

    def function(x):
        calls.append("start")
        y = x.exp().sin()
        calls.append("end")
        return y

    for early_stop in (True, False):
        calls.clear()
        x = pellucid.ones(2, requires_grad=True)
        checkpoint(function, x, use_reentrant=False, early_stop=early_stop).sum().backward()
        assert calls == ["start", "end", "start"] + ([] if early_stop else ["end"])
    with set_checkpoint_early_stop(False):
        calls.clear()
        checkpoint(function, pellucid.ones(2, requires_grad=True), use_reentrant=False).sum().backward()
    assert calls.count("end") == 2


def test_backward_twice_and_double_backward():
    x = pellucid.tensor([0.5, 2.0], requires_grad=True)
    y = checkpoint(lambda t: t.sin() * t, x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    y.backward()
    z = (x.detach().requires_grad_())
    (z.sin() * z).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * z.grad.numpy())


def test_gradients_of_chosen_inputs():
    x = pellucid.ones(2, requires_grad=True)
    y = checkpoint(lambda t: t.exp(), x * 2, use_reentrant=False).sum()
    g, = pellucid.autograd.grad(y, x)
    np.testing.assert_allclose(g.numpy(), 2 * np.exp(2) * np.ones(2), rtol=1e-6)
    y = checkpoint(lambda t: t.exp(), x * 2, use_reentrant=True).sum()
    with pytest.raises(RuntimeError, match="incompatible with .grad\\(\\) or passing an `inputs`"):
        pellucid.autograd.grad(y, x)


def test_other_arguments_and_results():
    x = pellucid.ones(2, requires_grad=True)
    a, n, b = checkpoint(lambda t, k, *, scale: (t * k, k, t * scale), x, 3, scale=2.0, use_reentrant=False)
    (a + b).sum().backward()
    assert n == 3 and x.grad.tolist() == [5.0, 5.0]
    x.grad = None
    a, n = checkpoint(lambda t, k: (t * k, k), x, 3, use_reentrant=True)
    a.sum().backward()
    assert n == 3 and x.grad.tolist() == [3.0, 3.0]


def test_under_no_grad():
    with pellucid.no_grad():
        assert not checkpoint(lambda t: t * 2, pellucid.ones(1, requires_grad=True), use_reentrant=False).requires_grad


def different(shapes):
    """A function that does something else each time."""
    turn = iter(shapes)

    def function(x):
        for _ in range(next(turn)):
            x = x.sin()
        return x.sum()

    return function


@pytest.mark.parametrize("first, second, match", [
    (2, 1, "A different number of tensors was saved during the original forward and recomputation"),
    (1, 2, "trying to save more tensors during recomputation than during the original forward pass"),
])
def test_another_number_of_tensors(first, second, match):
    out = checkpoint(different([first, second]), pellucid.ones(2, requires_grad=True), use_reentrant=False, early_stop=False, debug=True)
    with pytest.raises(CheckpointError, match=match) as caught:
        out.backward()
    assert "saved by the forward" in str(caught.value)


def test_another_shape():
    sizes = iter([(2, 3), (3, 2)])
    function = lambda x: x.reshape(next(sizes)).sin().sum()  # noqa: E731
    out = checkpoint(function, pellucid.ones(6, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata than during the forward pass"):
        out.backward()


def test_words():
    x = pellucid.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="the use_reentrant parameter should be passed explicitly"):
        checkpoint(lambda t: t * 2, x)
    with pytest.warns(UserWarning, match="the use_reentrant parameter should be passed explicitly"):
        checkpoint_sequential(nn.Sequential(nn.Linear(1, 1)), 1, x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True. Gradients will be None"):
        checkpoint(lambda t: t * 2, pellucid.ones(1), use_reentrant=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: speed"):
        checkpoint(lambda t: t, x, use_reentrant=True, speed=3)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(lambda t: t, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(lambda t: t, x, use_reentrant=False, determinism_check="all")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = checkpoint(lambda t: t.detach(), x, use_reentrant=True)
    with pytest.raises(RuntimeError, match="none of output has requires_grad=True"):
        out.backward()


def test_contexts_around_both_runs():
    log = []

    class Note:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            log.append(self.name)

        def __exit__(self, *exc):
            return False

    x = pellucid.ones(1, requires_grad=True)
    checkpoint(lambda t: t.exp(), x, use_reentrant=False, context_fn=lambda: (Note("forward"), Note("again"))).sum().backward()
    assert log == ["forward", "again"]


# ---------------------------------------------------------------------------------------------------- selective

@pytest.fixture
def sin_calls():
    """How often the reference of `sin` runs."""
    op, calls = pellucid.ops.REGISTRY["sin"], []
    real = op.ref
    object.__setattr__(op, "ref", lambda *arrays, **attrs: calls.append(1) or real(*arrays, **attrs))
    yield calls
    object.__setattr__(op, "ref", real)


def selective(policy_or_list, x):
    def function(t):
        return (t.exp().sin() * t).exp()

    return checkpoint(function, x, use_reentrant=False, early_stop=False,
                      context_fn=lambda: create_selective_checkpoint_contexts(policy_or_list))


@pytest.mark.parametrize("keep", [True, False])
def test_kept_operators_do_not_run_again(keep, sin_calls):
    asked = []

    def policy(context, function, *args, **kwargs):
        asked.append((context.is_recompute, function.__name__))
        return CheckpointPolicy.MUST_SAVE if keep and function.__name__ == "sin" else CheckpointPolicy.PREFER_RECOMPUTE

    x = pellucid.tensor([0.5, 2.0], requires_grad=True)
    selective(policy, x).sum().backward()
    assert len(sin_calls) == (1 if keep else 2)
    assert (False, "exp") in asked and (True, "exp") in asked
    y = x.detach().clone().requires_grad_()
    (y.exp().sin() * y).exp().sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)


def test_a_list_of_operators_to_keep(sin_calls):
    selective([pellucid.sin, pellucid.matmul], pellucid.ones(2, requires_grad=True)).sum().backward()
    assert len(sin_calls) == 1


def test_selective_words():
    with pytest.raises(TypeError, match="policy_fn_or_list must be either a function or a list of ops"):
        create_selective_checkpoint_contexts(3)
    with pytest.raises(ValueError, match="Expected op in `op_list` to be an operator"):
        create_selective_checkpoint_contexts([print])
    out = selective([pellucid.sin], pellucid.ones(2, requires_grad=True)).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="encountered during backward but not found in storage"):
        out.backward()
    pellucid.ones(1) + 1                                    # the interpreters are off the stack again
    assert not pellucid.ops.dispatch.local.stack
