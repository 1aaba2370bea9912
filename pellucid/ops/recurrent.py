"""Recurrent layers: LSTM, GRU and the plain RNN, over padded or packed sequences.

One node is one layer in one direction. Its sequences are packed: all time steps in one matrix, `batch_sizes[t]` rows for
step t, the longest sequence first; a padded batch is the case where every step has all rows. A cell's step is a node of its
own, which keeps nothing that its caller has anyway: a program of its parts serves it. The loops and steps are written once,
over whatever namespace they are given: NumPy's arrays for the reference, operators for the definition (and with it the
derivative of the backward pass).
"""
from __future__ import annotations

import inspect

from ._common import as_int, dt, fail, is_tensor, np
from .norm import spread
from .op import COMPOSITE, F, composite, primitive


class Arrays:
    """What the loops need, on NumPy arrays."""

    @staticmethod
    def sigmoid(x):
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-x))

    tanh = np.tanh
    t = np.transpose
    cat = staticmethod(lambda parts, dim=0: parts[0] if len(parts) == 1 else np.concatenate(parts, dim))
    relu = staticmethod(lambda x: np.maximum(x, 0))
    positive = staticmethod(lambda x: (x > 0).astype(x.dtype))
    sum = staticmethod(lambda x: np.add.reduce(x, 0))


class Operators:
    """The same, in operators."""

    sigmoid = staticmethod(lambda x: F.sigmoid(x))
    tanh = staticmethod(lambda x: F.tanh(x))
    t = staticmethod(lambda x: F.transpose(x, 0, 1))
    cat = staticmethod(lambda parts, dim=0: parts[0] if len(parts) == 1 else F.cat(parts, dim))
    relu = staticmethod(lambda x: F.relu(x))
    positive = staticmethod(lambda x: F.convert(F.gt(x, 0), x.dtype))
    sum = staticmethod(lambda x: F.sum(x, 0))


# ---------------------------------------------------------------------------------------------------- one step of each kind
# step: (xp, x's part of the pre-activation, states, w_hh^T, b_hh, w_hr^T) -> (new states, what backward needs)
# back: (xp, gradients of the new states, what step kept, states, w_hr) -> (gradient of x's part, of h's part,
#       gradients of the states but for what comes through w_hh, (gradient before, value before) the projection or None)
# of_kept: (xp, gradients of what step kept, that) -> (gradient of x's part, of h's part)

def lstm_step(xp, a, states, w_hh_t, b_hh, w_hr_t):
    h, c = states
    a = a + h @ w_hh_t
    n = a.shape[1] // 4
    s, g, o = xp.sigmoid(a[:, :2 * n]), xp.tanh(a[:, 2 * n:3 * n]), xp.sigmoid(a[:, 3 * n:])
    c = s[:, n:] * c + s[:, :n] * g
    h = o * xp.tanh(c)
    return (h if w_hr_t is None else h @ w_hr_t, c), (xp.cat([s, g, o], 1),)


def lstm_gates(gates) -> list:
    """Input gate, forget gate, candidate, output gate."""
    n = gates.shape[1] // 4
    return [gates[:, k * n:(k + 1) * n] for k in range(4)]


def lstm_back(xp, grads, kept, states, w_hr):
    (dh, dc), (_, c) = grads, states
    i, f, g, o = lstm_gates(kept[0])
    tc = xp.tanh(f * c + i * g)
    projection = None
    if w_hr is not None:
        projection = dh, o * tc
        dh = dh @ w_hr
    dc = dc + dh * o * (1 - tc * tc)
    da = xp.cat([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * tc * o * (1 - o)], 1)
    return da, da, [None, dc * f], projection


def lstm_of_kept(xp, grads, kept):
    parts = list(zip(lstm_gates(grads[0]), lstm_gates(kept[0])))
    da = xp.cat([d * (1 - y * y) if k == 2 else d * y * (1 - y) for k, (d, y) in enumerate(parts)], 1)
    return da, da


def gru_step(xp, a, states, w_hh_t, b_hh, w_hr_t):
    h, = states
    b = h @ w_hh_t
    if b_hh is not None:
        b = b + b_hh
    n = h.shape[1]
    s = xp.sigmoid(a[:, :2 * n] + b[:, :2 * n])
    bn = b[:, 2 * n:]
    new = xp.tanh(a[:, 2 * n:] + s[:, :n] * bn)
    return (new + s[:, n:] * (h - new),), (s, new, bn)


def gru_back(xp, grads, kept, states, w_hr):
    (dh,), (s, new, bn), (h,) = grads, kept, states
    n = h.shape[1]
    r, z = s[:, :n], s[:, n:]
    dn = dh * (1 - z) * (1 - new * new)
    dz = dh * (h - new) * z * (1 - z)
    dr = dn * bn * r * (1 - r)
    return xp.cat([dr, dz, dn], 1), xp.cat([dr, dz, dn * r], 1), [dh * z], None


def gru_of_kept(xp, grads, kept):
    (ds, dnew, dbn), (s, new, bn) = grads, kept
    n, dn = new.shape[1], dnew * (1 - new * new)
    da = xp.cat([ds[:, :n] + dn * bn, ds[:, n:]], 1) * s * (1 - s)
    return xp.cat([da, dn], 1), xp.cat([da, dn * s[:, :n] + dbn], 1)


def rnn_tanh_step(xp, a, states, w_hh_t, b_hh, w_hr_t):
    h = xp.tanh(a + states[0] @ w_hh_t)
    return (h,), (h,)


def rnn_tanh_back(xp, grads, kept, states, w_hr):
    da = grads[0] * (1 - kept[0] * kept[0])
    return da, da, [None], None


def rnn_relu_step(xp, a, states, w_hh_t, b_hh, w_hr_t):
    h = xp.relu(a + states[0] @ w_hh_t)
    return (h,), (h,)


def rnn_relu_back(xp, grads, kept, states, w_hr):
    da = grads[0] * xp.positive(kept[0])
    return da, da, [None], None


# ---------------------------------------------------------------------------------------------------- the loops
class Cell:
    """One kind of recurrent layer: its step, its gates, how many states it has and how much a step keeps."""

    def __init__(self, step, back, of_kept, gates: int, states: int, kept: int, folds: bool):
        self.step, self.back, self.gates, self.states, self.kept = step, back, gates, states, kept
        self.of_kept = of_kept      # None: what a step keeps is its output
        self.folds = folds          # b_hh may be added together with b_ih

    def sizes(self, hidden: int) -> tuple[int, ...]:
        """How many columns each matrix has that a step keeps."""
        return {4: (4 * hidden,), 3: (2 * hidden, hidden, hidden), 1: (hidden,)}[self.gates]


CELLS = {
    "lstm": Cell(lstm_step, lstm_back, lstm_of_kept, 4, 2, 1, True),
    "gru": Cell(gru_step, gru_back, gru_of_kept, 3, 1, 3, False),
    "rnn_tanh": Cell(rnn_tanh_step, rnn_tanh_back, None, 1, 1, 1, True),
    "rnn_relu": Cell(rnn_relu_step, rnn_relu_back, None, 1, 1, 1, True),
}


def of_inputs(xp, cell, x, w_ih, b_ih, b_hh):
    """The inputs' part of the pre-activations."""
    a = x @ xp.t(w_ih)
    return a if b_ih is None else a + (b_ih + b_hh if cell.folds else b_ih)


def gradients(xp, da, db, before, x, h, w_ih, needs) -> list:
    """The gradients that `needs` asks for, None for others, of (input, states..., w_ih, w_hh, b_ih, b_hh): from those of the two parts of
    the pre-activations and of the states `before`. `h` is what w_hh met."""
    k = 1 + len(before)
    return [da @ w_ih if needs[0] else None, *before, xp.t(da) @ x if needs[k] else None, xp.t(db) @ h if needs[k + 1] else None,
            xp.sum(da) if needs[k + 2] else None, xp.sum(db) if needs[k + 3] else None]


def _steps(batch_sizes, reverse):
    """(step, its rows) in the order of the loop."""
    rows, start = [], 0
    for n in batch_sizes:
        rows.append(slice(start, start + n))
        start += n
    steps = list(enumerate(rows))
    return steps[::-1] if reverse else steps


def _over(xp, new, old, n):
    """`old` with its first `n` rows replaced by `new`."""
    return new if n == old.shape[0] else xp.cat([new, old[n:]])


def _head(states, n):
    return [s if n == s.shape[0] else s[:n] for s in states]


def run_forward(xp, cell, x, states, w_ih, w_hh, b_ih, b_hh, w_hr, batch_sizes, reverse):
    """(output, last states, what each step kept, the states each step began with), the last two packed like the output."""
    a = of_inputs(xp, cell, x, w_ih, b_ih, b_hh)
    w_hh_t, w_hr_t = xp.t(w_hh), None if w_hr is None else xp.t(w_hr)
    outputs, records = [None] * len(batch_sizes), [None] * len(batch_sizes)
    states = list(states)
    for t, rows in _steps(batch_sizes, reverse):
        n = rows.stop - rows.start
        begin = _head(states, n)
        new, kept = cell.step(xp, a[rows], begin, w_hh_t, b_hh, w_hr_t)
        outputs[t], records[t] = new[0], (*kept, *begin)
        states = [_over(xp, s, old, n) for s, old in zip(new, states)]
    packed = [xp.cat([record[k] for record in records]) for k in range(len(records[0]))]
    return xp.cat(outputs), states, packed[: cell.kept], packed[cell.kept:]


def run_backward(xp, cell, gy, grads, x, kept, begun, w_ih, w_hh, b_ih, w_hr, batch_sizes, reverse, needs):
    """The gradients that `needs` asks for, of (input, states..., w_ih, w_hh, b_ih, b_hh, w_hr)."""
    grads = list(grads)
    das, dbs, projections = ([None] * len(batch_sizes) for _ in range(3))
    for t, rows in reversed(_steps(batch_sizes, reverse)):
        n = rows.stop - rows.start
        now = _head(grads, n)
        now[0] = now[0] + gy[rows]
        das[t], dbs[t], before, projections[t] = cell.back(xp, now, [k[rows] for k in kept], [s[rows] for s in begun], w_hr)
        through = dbs[t] @ w_hh
        before[0] = through if before[0] is None else before[0] + through
        grads = [_over(xp, g, old, n) for g, old in zip(before, grads)]
    da, db = xp.cat(das), xp.cat(dbs)
    out = gradients(xp, da, db, grads, x, begun[0], w_ih, needs)
    if w_hr is not None:
        after, value = (xp.cat([p[j] for p in projections]) for j in (0, 1))
        out.append(xp.t(after) @ value if needs[-1] else None)
    return tuple(g for g, need in zip(out, needs) if need)


# ---------------------------------------------------------------------------------------------------- the operators
def define_layer(mode: str) -> None:
    """Register `<mode>_layer`, one layer in one direction, and the operator of its backward pass."""
    cell = CELLS[mode]
    names = ["h0", "c0"][: cell.states]
    args = ["input", *names, "w_ih", "w_hh", "b_ih", "b_hh"] + (["w_hr"] if mode == "lstm" else [])
    k = 1 + cell.states                       # where the weights begin

    def split(operands):
        """(input, states, the five weights) of the operands."""
        rest = tuple(operands[k:])
        return operands[0], operands[1:k], rest if mode == "lstm" else (*rest, None)

    def ref(*operands, batch_sizes, reverse):
        x, states, weights = split(operands)
        y, last, kept, begun = run_forward(Arrays, cell, x, states, *weights, batch_sizes, reverse)
        return (y, *[np.array(s) if any(s is o for o in operands) else s for s in last], *kept, *begun)

    def body(*operands, batch_sizes, reverse):
        x, states, weights = split(operands)
        y, last, kept, begun = run_forward(Operators, cell, x, states, *weights, batch_sizes, reverse)
        return (y, *last, *kept, *begun)

    def infer(*specs, batch_sizes, reverse):
        x, states, (w_ih, w_hh, _, _, _) = split(specs)
        check(mode, x, states, w_ih, w_hh)
        rows, hidden = x.shape[0], w_hh.shape[0] // cell.gates
        return (x.like((rows, states[0].shape[1])), *[s.like() for s in states], *[x.like((rows, n)) for n in cell.sizes(hidden)],
                *[x.like((rows, s.shape[1])) for s in states])

    nout = 1 + 2 * cell.states + cell.kept
    at = 1 + cell.states                      # where in the outputs what backward needs begins

    def backward_parts(operands):
        """(gradients of output and last states, the forward's operands, what it kept, states begun with)."""
        gs, rest = operands[:k], operands[k:]
        forward, records = rest[: len(args)], rest[len(args):]
        return gs, forward, records[: cell.kept], records[cell.kept:]

    def backward_ref(*operands, batch_sizes, reverse, needs):
        gs, forward, kept, begun = backward_parts(operands)
        x, _, (w_ih, w_hh, b_ih, _, w_hr) = split(forward)
        return run_backward(Arrays, cell, gs[0], gs[1:], x, kept, begun, w_ih, w_hh, b_ih, w_hr, batch_sizes, reverse, needs)

    def backward_body(*operands, batch_sizes, reverse, needs):
        gs, forward, _, _ = backward_parts(operands)
        x, states, weights = split(forward)
        _, _, kept, begun = run_forward(Operators, cell, x, states, *weights, batch_sizes, reverse)
        w_ih, w_hh, b_ih, _, w_hr = weights
        return run_backward(Operators, cell, gs[0], gs[1:], x, kept, begun, w_ih, w_hh, b_ih, w_hr, batch_sizes, reverse, needs)

    def backward_infer(*specs, batch_sizes, reverse, needs):
        _, forward, _, _ = backward_parts(specs)
        return tuple(s.like() for s, need in zip(forward, needs) if need)

    records = [f"kept{i}" for i in range(cell.kept)] + [f"begun{i}" for i in range(cell.states)]

    @primitive(COMPOSITE, name=f"{mode}_layer_backward", forms="", ref=backward_ref, body=backward_body, infer=backward_infer,
               args=" ".join(["gy", *[f"g{n}" for n in names], *args, *records]))
    def layer_backward(*operands, batch_sizes, reverse, needs):
        """The gradients of a recurrent layer's operands, those that `needs` asks for."""
        return operands, {"batch_sizes": batch_sizes, "reverse": reverse, "needs": needs}

    def vjp_of(gs, operands, saved, batch_sizes, reverse, needs):
        needs = needs[: len(args)]
        found = getattr(F, f"{mode}_layer_backward")(*gs[:k], *operands, *saved, batch_sizes=batch_sizes, reverse=reverse, needs=needs)
        return spread(found, needs)

    rule = named_rule(vjp_of, "gs", args, [f"out{at + i}" for i in range(cell.kept + cell.states)], ["batch_sizes", "reverse", "needs"])

    @primitive(COMPOSITE, name=f"{mode}_layer", args=" ".join(args), nout=nout, forms="", ref=ref, body=body, infer=infer, vjp=rule)
    def layer(*operands, batch_sizes, reverse=False):
        """One recurrent layer in one direction over packed rows: (output, last states, what backward needs)."""
        return operands, {"batch_sizes": batch_sizes, "reverse": reverse}


def named_rule(fn, gradients, args, outs, rest):
    """A derivative rule that asks, by its parameters' names, for the gradients, `args`, `outs` and `rest`, and hands the second and the
    third to `fn` as two lists."""
    def rule(gs, *values):
        n, m = len(args), len(args) + len(outs)
        return fn(gs, values[:n], values[n:m], *values[m:])
    rule.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                                            for name in (gradients, *args, *outs, *rest)])
    return rule


def check(mode, x, states, w_ih, w_hh) -> None:
    """Raise when the operands of a layer do not fit together."""
    gates = CELLS[mode].gates
    if x.shape[-1] != w_ih.shape[1]:
        fail(RuntimeError, "P28X", f"input.size(-1) must be equal to input_size. Expected {w_ih.shape[1]}, got {x.shape[-1]}",
             got=f"input {list(x.shape)}, weight_ih {list(w_ih.shape)}", fix="the last dimension of the input must be input_size")
    hidden = w_hh.shape[0] // gates
    wanted = (w_hh.shape[1], hidden)[: len(states)]
    for s, n in zip(states, wanted):
        if s.shape[-1] != n:
            fail(RuntimeError, "P28Y", f"Expected hidden size {n}, got {s.shape[-1]}", got=f"state {list(s.shape)}, weight_hh {list(w_hh.shape)}",
                 fix="the last dimension of the state must be hidden_size")


def define_step(mode: str) -> None:
    """Register `<mode>_step`, what a cell does, and the operator of its backward pass."""
    cell = CELLS[mode]
    args = ["input", *["h", "c"][: cell.states], "w_ih", "w_hh", "b_ih", "b_hh"]
    n, k = cell.states, 1 + cell.states       # where the weights begin
    kept = cell.kept if cell.of_kept else 0   # that is not the output

    def run(xp, operands):
        x, (w_ih, w_hh, b_ih, b_hh) = operands[0], operands[k:]
        new, records = cell.step(xp, of_inputs(xp, cell, x, w_ih, b_ih, b_hh), operands[1:k], xp.t(w_hh), b_hh, None)
        return (*new, *records) if kept else new[0]

    def run_back(xp, operands, needs):
        grads, (x, *states), (w_ih, w_hh), records = operands[:n], operands[n:n + k], operands[n + k:n + k + 2], operands[n + len(args):]
        da, db, before, _ = cell.back(xp, grads, records, states, None)
        through = db @ w_hh if needs[1] else None
        before[0] = through if before[0] is None or through is None else before[0] + through
        return tuple([g for g, need in zip(gradients(xp, da, db, before, x, states[0], w_ih, needs), needs) if need])

    def ref(*operands):
        made = run(Arrays, operands)
        return tuple([np.ascontiguousarray(a) for a in made]) if kept else made

    def infer(*specs):
        x, states, (w_ih, w_hh) = specs[0], specs[1:k], specs[k:k + 2]
        check(mode, x, states, w_ih, w_hh)
        new = [s.like() for s in states]
        return (*new, *[x.like((x.shape[0], m)) for m in cell.sizes(w_hh.shape[0] // cell.gates)]) if kept else new[0]

    def backward_infer(*specs, needs):
        return tuple([s.like() for s, need in zip(specs[n:], needs) if need])

    @primitive(COMPOSITE, name=f"{mode}_step_backward", forms="", infer=backward_infer,
               ref=lambda *operands, needs: run_back(Arrays, operands, needs), body=lambda *operands, needs: run_back(Operators, operands, needs),
               args=" ".join([*[f"g{s}" for s in args[1:k]], *args, *[f"kept{i}" for i in range(cell.kept)]]))
    def step_backward(*operands, needs):
        """The gradients of a cell's operands, those that `needs` asks for."""
        return operands, {"needs": needs}

    def vjp_of(gs, operands, saved, needs):
        needs = needs[: len(args)]
        gs = gs if kept else (gs,)
        given = [F.zeros_like(s) if g is None else g for g, s in zip(gs, operands[1:k])]
        found = spread(getattr(F, f"{mode}_step_backward")(*given, *operands, *saved, needs=needs), needs)
        if all([g is None for g in gs[n:]]):
            return found
        # somebody differentiates the backward pass, which reads what was kept
        da, db = cell.of_kept(Operators, [F.zeros_like(s) if g is None else g for g, s in zip(gs[n:], saved)], saved)
        before = [db @ operands[k + 1] if needs[1] else None, None][:n]
        more = gradients(Operators, da, db, before, operands[0], operands[1], operands[k], needs)
        return tuple([a if b is None else a + b for a, b in zip(found, more)])

    saved = [f"out{n + i}" for i in range(kept)] or ["out"]

    @primitive(COMPOSITE, name=f"{mode}_step", args=" ".join(args), nout=n + kept, forms="", ref=ref, infer=infer,
               body=lambda *operands: run(Operators, operands), vjp=named_rule(vjp_of, "some_gs" if kept else "g", args, saved, ["needs"]))
    def step(*operands):
        """One step of a recurrent cell: its new states, then what backward needs."""
        return operands, {}


for _mode in CELLS:
    define_layer(_mode)
    define_step(_mode)


# ---------------------------------------------------------------------------------------------------- whole networks
def _parameters(params, has_biases: bool, projected: bool):
    """The list of all weights in groups of (w_ih, w_hh, b_ih, b_hh, w_hr), one per layer and direction."""
    size = 2 + 2 * has_biases + projected
    groups = []
    for i in range(0, len(params), size):
        w_ih, w_hh, *rest = params[i:i + size]
        biases = rest[:2] if has_biases else [None, None]
        groups.append((w_ih, w_hh, *biases, rest[-1] if projected else None))
    return groups


def _network(mode, data, batch_sizes, states, params, has_biases, num_layers, dropout, train, bidirectional):
    """All layers over packed rows: (output, last states stacked as (layers * directions, N, H))."""
    directions = 2 if bidirectional else 1
    size = 2 + 2 * has_biases
    projected = mode == "lstm" and len(params) == num_layers * directions * (size + 1)
    if len(params) != num_layers * directions * (size + projected):
        fail(RuntimeError, "P28Z", f"{mode}: expected {num_layers * directions * size} parameters, got {len(params)}",
             fix="num_layers, bidirectional and has_biases must match the list of weights")
    groups = _parameters(list(params), bool(has_biases), projected)
    layer = getattr(F, f"{mode}_layer")
    n_states = CELLS[mode].states
    parts = [F.unbind(s, 0) for s in states]
    last = [[] for _ in range(n_states)]
    for i in range(num_layers):
        outputs = []
        for d in range(directions):
            j = i * directions + d
            weights = groups[j] if mode == "lstm" else groups[j][:4]
            y, *rest = layer(data, *[p[j] for p in parts], *weights, batch_sizes=batch_sizes, reverse=d == 1)
            outputs.append(y)
            for k in range(n_states):
                last[k].append(rest[k])
        data = outputs[0] if directions == 1 else F.cat(outputs, 1)
        if dropout and train and i < num_layers - 1:
            data = F.dropout(data, dropout, True)
    return data, [F.stack(s) for s in last]


def _padded(mode, input, states, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    if batch_first:
        input = F.transpose(input, 0, 1)
    steps, n = input.shape[:2]
    if steps == 0:
        fail(RuntimeError, "P669", "Expected sequence length to be larger than 0 in RNN", got=f"input {list(input.shape)}",
             fix="give at least one time step")
    data = F.reshape(input, (steps * n, input.shape[2]))
    y, last = _network(mode, data, (n,) * steps, states, params, has_biases, num_layers, dropout, train, bidirectional)
    y = F.reshape(y, (steps, n, y.shape[1]))
    return (F.transpose(y, 0, 1) if batch_first else y, *last)


def _packed(mode, data, batch_sizes, states, params, has_biases, num_layers, dropout, train, bidirectional):
    sizes = tuple(as_int(n) for n in batch_sizes.tolist())
    y, last = _network(mode, data, sizes, states, params, has_biases, num_layers, dropout, train, bidirectional)
    return (y, *last)


def _weights(m, gates, inputs, hidden, biases=True):
    group = [m.t(gates * hidden, inputs), m.t(gates * hidden, hidden)]
    return group + ([m.t(gates * hidden), m.t(gates * hidden)] if biases else [])


def _samples(gates, states):
    def samples(m):
        def hx(*shape):
            return (m.t(*shape), m.t(*shape)) if states == 2 else m.t(*shape)
        both = [w for i in (2, 2) for w in _weights(m, gates, i, 2)]
        packed = F.add(F.zeros(2, dtype=dt.int64), 2)
        return [((m.t(3, 2, 2), hx(1, 2, 2), _weights(m, gates, 2, 2), True, 1, 0.0, False, False, False), {}),
                ((m.t(2, 3, 2), hx(2, 2, 2), both, True, 1, 0.0, False, True, True), {}),
                ((m.t(4, 2), packed, hx(1, 2, 2), _weights(m, gates, 2, 2, False), False, 1, 0.0, False, False), {})]
    return samples


@composite(samples=_samples(4, 2), cast="low", onnx="LSTM")
def lstm(input, *args):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997): (output, h_n, c_n).

    `lstm(input, (h, c), params, has_biases, num_layers, dropout, train, bidirectional, batch_first)`, input (T, N, I); or
    packed, `lstm(data, batch_sizes, (h, c), params, has_biases, num_layers, dropout, train, bidirectional)`. States are
    (layers * directions, N, H)."""
    if is_tensor(args[0]):
        return _packed("lstm", input, args[0], tuple(args[1]), *args[2:])
    return _padded("lstm", input, tuple(args[0]), *args[1:])


def _one_state(mode, doc):
    def network(input, *args):
        if is_tensor(args[1]):
            return _packed(mode, input, args[0], (args[1],), *args[2:])
        return _padded(mode, input, (args[0],), *args[1:])
    composite(network, name=mode, doc=doc + ": (output, h_n). Arguments as for `lstm`, with one state `h`.",
              samples=_samples(CELLS[mode].gates, 1), cast="gpu-low", onnx="GRU" if mode == "gru" else "RNN")


_one_state("gru", "Gated recurrent units (Cho et al., 2014)")
_one_state("rnn_tanh", "A recurrent network with tanh (Elman, 1990)")
_one_state("rnn_relu", "A recurrent network with ReLU")


# ---------------------------------------------------------------------------------------------------- single steps
def _cell_samples(gates, states):
    def samples(m):
        def hx(*shape):
            return (m.t(*shape), m.t(*shape)) if states == 2 else m.t(*shape)
        return [((m.t(2, 3), hx(2, 2), *_weights(m, gates, 3, 2)), {}), ((m.t(1, 2), hx(1, 2), *_weights(m, gates, 2, 2, False)), {}),
                ((m.t(0, 3), hx(0, 2), *_weights(m, gates, 3, 2)), {})]
    return samples


@composite(samples=_cell_samples(4, 2), cast="gpu-low")
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM: input (N, I), hx a pair of (N, H); the new pair."""
    h, c = hx
    return F.lstm_step(input, h, c, w_ih, w_hh, b_ih, b_hh)[:2]


def _cell(mode, doc):
    def cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
        made = getattr(F, f"{mode}_step")(input, hx, w_ih, w_hh, b_ih, b_hh)
        return made[0] if type(made) is tuple else made
    composite(cell, name=f"{mode}_cell", doc=doc, samples=_cell_samples(CELLS[mode].gates, 1), cast="gpu-low")


_cell("gru", "One step of a GRU: input (N, I), hx (N, H); the new hx.")
_cell("rnn_tanh", "One step of a recurrent network with tanh: input (N, I), hx (N, H); the new hx.")
_cell("rnn_relu", "One step of a recurrent network with ReLU: input (N, I), hx (N, H); the new hx.")
