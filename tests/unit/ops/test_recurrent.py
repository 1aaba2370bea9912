"""Recurrent networks against their equations in plain NumPy; layers, directions, packing, projection."""

import numpy as np
import pytest

import pellucid
from pellucid.autograd import gradcheck, gradgradcheck


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(mode, x, states, w):
    """One step as the documentation of the layers defines it."""
    a, b = x @ w["w_ih"].T + w["b_ih"], states[0] @ w["w_hh"].T + w["b_hh"]
    if mode == "lstm":
        i, f, g, o = np.split(a + b, 4, -1)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return (h @ w["w_hr"].T if "w_hr" in w else h), c
    if mode == "gru":
        (ar, az, an), (br, bz, bn) = np.split(a, 3, -1), np.split(b, 3, -1)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        return ((1 - z) * np.tanh(an + r * bn) + z * states[0],)
    return ((np.tanh(a + b) if mode == "rnn_tanh" else np.maximum(a + b, 0)),)


def run(mode, x, states, weights, layers, directions):
    """The whole network on one unpadded sequence x (T, I); states: [(layers * directions, H), ...]."""
    last = []
    for layer in range(layers):
        outputs = []
        for d in range(directions):
            k = layer * directions + d
            now = tuple(s[k] for s in states)
            ys = []
            for v in (x[::-1] if d else x):
                now = step(mode, v, now, weights[k])
                ys.append(now[0])
            outputs.append(np.array(ys[::-1] if d else ys))
            last.append(now)
        x = np.concatenate(outputs, -1)
    return x, [np.array(s) for s in zip(*last)]


GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
NETS = [(1, 1, 0), (2, 2, 0), (2, 2, 2)]


def make(mode, layers, directions, projection, inputs=3, hidden=4, batch=3):
    rng = np.random.default_rng(0)
    out = projection or hidden
    weights = []
    for layer in range(layers):
        for _ in range(directions):
            n = inputs if layer == 0 else out * directions
            g = GATES[mode] * hidden
            w = {"w_ih": rng.standard_normal((g, n)), "w_hh": rng.standard_normal((g, out)), "b_ih": rng.standard_normal(g), "b_hh": rng.standard_normal(g)}
            if projection:
                w["w_hr"] = rng.standard_normal((projection, hidden))
            weights.append({k: v * 0.5 for k, v in w.items()})
    states = [rng.standard_normal((layers * directions, batch, out))]
    if mode == "lstm":
        states.append(rng.standard_normal((layers * directions, batch, hidden)))
    return weights, states


def tensors(weights, states, mode):
    flat = [pellucid.tensor(v) for w in weights for v in w.values()]
    hx = [pellucid.tensor(s) for s in states]
    return (tuple(hx) if mode == "lstm" else hx[0]), flat


@pytest.mark.parametrize("layers, directions, projection", NETS)
@pytest.mark.parametrize("mode", GATES)
def test_padded_and_packed(mode, layers, directions, projection):
    if projection and mode != "lstm":
        pytest.skip("only LSTMs have projections")
    weights, states = make(mode, layers, directions, projection)
    hx, flat = tensors(weights, states, mode)
    x = np.random.default_rng(1).standard_normal((5, 3, 3))
    function = getattr(pellucid, mode)
    options = (True, layers, 0.0, False, directions == 2)
    for batch_first in (False, True):
        given = pellucid.tensor(x.swapaxes(0, 1).copy() if batch_first else x)
        y, *last = function(given, hx, flat, *options, batch_first)
        y = y.numpy().swapaxes(0, 1) if batch_first else y.numpy()
        for n in range(3):
            expected, final = run(mode, x[:, n], [s[:, n] for s in states], weights, layers, directions)
            np.testing.assert_allclose(y[:, n], expected, atol=1e-12)
            for a, b in zip(last, final):
                np.testing.assert_allclose(a.numpy()[:, n], b, atol=1e-12)
    lengths = [5, 3, 2]
    sizes = [sum(t < n for n in lengths) for t in range(5)]
    data = np.concatenate([x[t, :n] for t, n in enumerate(sizes)])
    y, *last = function(pellucid.tensor(data), pellucid.tensor(sizes), hx, flat, *options)
    for n, length in enumerate(lengths):
        expected, final = run(mode, x[:length, n], [s[:, n] for s in states], weights, layers, directions)
        rows = [sum(sizes[:t]) + n for t in range(length)]
        np.testing.assert_allclose(y.numpy()[rows], expected, atol=1e-12)
        for a, b in zip(last, final):
            np.testing.assert_allclose(a.numpy()[:, n], b, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", GATES)
def test_derivatives_of_one_layer(mode, reverse):
    """First and second derivatives with respect to everything, over packed rows."""
    weights, states = make(mode, 1, 1, 2 if mode == "lstm" else 0, inputs=2, hidden=2, batch=2)
    layer = getattr(pellucid.ops.F, f"{mode}_layer")
    inputs = [np.random.default_rng(2).standard_normal((5, 2)), *[s[0] for s in states], *weights[0].values()]
    given = [pellucid.tensor(v, requires_grad=True) for v in inputs]

    def run_layer(*operands):
        return layer(*operands, batch_sizes=(2, 2, 1), reverse=reverse)[: 1 + len(states)]

    assert gradcheck(run_layer, given)
    assert gradgradcheck(run_layer, given)


@pytest.mark.parametrize("mode", GATES)
def test_cells_are_single_steps(mode):
    weights, states = make(mode, 1, 1, 0)
    hx, flat = tensors(weights, [s[0] for s in states], mode)
    x = np.random.default_rng(3).standard_normal((3, 3))
    got = getattr(pellucid, f"{mode}_cell")(pellucid.tensor(x), hx, *flat)
    expected = step(mode, x, tuple(s[0] for s in states), weights[0])
    for a, b in zip(got if isinstance(got, tuple) else (got,), expected):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-12)


@pytest.mark.parametrize("mode", GATES)
def test_derivatives_of_cells(mode):
    """First and second derivatives with respect to everything, with and without biases, and of chosen states alone."""
    weights, states = make(mode, 1, 1, 0, inputs=2, hidden=2, batch=2)
    cell, n = getattr(pellucid, f"{mode}_cell"), len(states)
    inputs = [np.random.default_rng(2).standard_normal((2, 2)), *[s[0] for s in states], *weights[0].values()]
    given = [pellucid.tensor(v, requires_grad=True) for v in inputs]

    def run_cell(x, *rest):
        return cell(x, rest[:2] if n == 2 else rest[0], *rest[n:])

    for function, operands in ((run_cell, given), (run_cell, given[:-2]), (lambda *operands: run_cell(*operands)[-1], given)):
        assert gradcheck(function, operands)
        assert gradgradcheck(function, operands)


@pytest.mark.parametrize("mode", GATES)
def test_what_a_step_keeps_has_derivatives_too(mode):
    """The backward pass of a backward pass asks for them."""
    weights, states = make(mode, 1, 1, 0, inputs=2, hidden=2, batch=2)
    inputs = [np.random.default_rng(2).standard_normal((2, 2)), *[s[0] for s in states], *weights[0].values()]
    assert gradcheck(getattr(pellucid.ops.F, f"{mode}_step"), [pellucid.tensor(v, requires_grad=True) for v in inputs])


def test_a_cell_keeps_no_copies():
    """What backward needs besides the operands: the gates."""
    cell = pellucid.nn.LSTMCell(3, 4)
    h, c = cell(pellucid.ones(2, 3), (pellucid.zeros(2, 4), pellucid.zeros(2, 4)))
    assert [a.shape for a, _ in filter(None, h.grad_fn._saved[-1])] == [(2, 16)] and h.grad_fn is c.grad_fn
    h.add_(1), c.add_(1)                        # neither is needed
    (h + c).sum().backward()
    assert cell.weight_hh.grad is not None


def test_output_may_be_written_in_place():
    net = pellucid.nn.GRU(2, 3)
    y, _ = net(pellucid.ones(4, 1, 2))
    y.mul_(2)
    y.sum().backward()
    assert net.weight_hh_l0.grad is not None


def test_dropout_between_layers_only_in_training():
    pellucid.manual_seed(0)
    net = pellucid.nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    x = pellucid.ones(4, 1, 2)
    assert not np.allclose(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())
    net.eval()
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())


def test_errors():
    weights, states = make("gru", 1, 1, 0)
    hx, flat = tensors(weights, states, "gru")
    with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0 in RNN"):
        pellucid.gru(pellucid.empty(0, 3, 3, dtype=pellucid.float64), hx, flat, True, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match="input.size\\(-1\\) must be equal to input_size. Expected 3, got 2"):
        pellucid.gru(pellucid.ones(4, 3, 2, dtype=pellucid.float64), hx, flat, True, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match="expected 8 parameters, got 4"):
        pellucid.gru(pellucid.ones(4, 3, 3, dtype=pellucid.float64), hx, flat, True, 2, 0.0, False, False, False)
