"""Connectionist temporal classification (Graves et al. 2006): the forward-backward recursions, vectorised over the batch.

Labels are widened with blanks: `2 S + 1` states per sequence. Everything is in log space. As in PyTorch, the gradient is that
of normalised log-probabilities: `exp(log_probs) - posterior`, right for what comes out of a log_softmax.
"""
from __future__ import annotations

from ._common import Spec, as_ints, describe, dt, fail, is_tensor, need_tensor, np
from .loss import reduced, reduction_of
from .op import COMPOSITE, F, composite, primitive

NEVER = -np.inf


def widened(targets, lengths, blank: int):
    """(N, 2 S + 1) states with blanks between labels, and which may be entered by skipping the blank before them."""
    n, s = targets.shape
    states = np.full((n, 2 * s + 1), blank, np.int64)
    states[:, 1::2] = targets
    skip = np.zeros(states.shape, np.bool_)
    skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    live = np.arange(2 * s + 1) < (2 * lengths + 1)[:, None]
    return np.where(live, states, blank), skip & live, live


def step(a, skip):
    """Log of the sum over staying, moving one state on, and skipping a blank."""
    one = np.full_like(a, NEVER)
    one[:, 1:] = a[:, :-1]
    two = np.full_like(a, NEVER)
    two[:, 2:] = np.where(skip[:, 2:], a[:, :-2], NEVER)
    return np.logaddexp(np.logaddexp(a, one), two)


def forward_scores(lp, states, skip, live, times, lengths):
    """alpha (T, N, 2 S + 1), and the negative log likelihoods."""
    steps, n, _ = lp.shape
    rows = np.arange(n)
    emitted = lp[:, rows[:, None], states]                              # (T, N, states)
    alpha = np.full(emitted.shape, NEVER, lp.dtype)
    alpha[0, :, :2] = np.where(live[:, :2], emitted[0, :, :2], NEVER)
    for t in range(1, steps):
        alpha[t] = np.where(live & (t < times)[:, None], step(alpha[t - 1], skip) + emitted[t], NEVER)
    last = alpha[np.maximum(times - 1, 0), rows]
    end = last[rows, 2 * lengths]
    before = np.where(lengths > 0, last[rows, np.maximum(2 * lengths - 1, 0)], NEVER)
    nll = -np.logaddexp(end, before)
    return alpha, emitted, np.where(times > 0, nll, np.where(lengths > 0, np.inf, 0)).astype(lp.dtype)


def ctc_ref(lp, targets, *, times, lengths, blank, per_label):
    times, lengths = np.asarray(times, np.int64), np.asarray(lengths, np.int64)
    states, skip, live = widened(targets, lengths, blank)
    nll = forward_scores(lp, states, skip, live, times, lengths)[2]
    return nll / np.maximum(lengths, 1).astype(lp.dtype) if per_label else nll


def ctc_backward_ref(g, lp, targets, *, times, lengths, blank, per_label, zero_infinity):
    times, lengths = np.asarray(times, np.int64), np.asarray(lengths, np.int64)
    if per_label:
        g = g / np.maximum(lengths, 1).astype(g.dtype)
    states, skip, live = widened(targets, lengths, blank)
    alpha, emitted, nll = forward_scores(lp, states, skip, live, times, lengths)
    steps, n, classes = lp.shape
    rows, width = np.arange(n), states.shape[1]
    ends = np.arange(width) == (2 * lengths)[:, None]
    ends |= (np.arange(width) == (2 * lengths - 1)[:, None]) & (lengths > 0)[:, None]
    leave = np.zeros_like(skip)
    leave[:, :-2] = skip[:, 2:]                                         # state s may jump to s + 2
    r = np.exp(lp) * g[:, None]
    beta = np.full((n, width), NEVER, lp.dtype)
    for t in range(steps - 1, -1, -1):
        one, two = np.full_like(beta, NEVER), np.full_like(beta, NEVER)
        one[:, :-1] = beta[:, 1:]
        two[:, :-2] = np.where(leave[:, :-2], beta[:, 2:], NEVER)
        inner = np.logaddexp(np.logaddexp(beta, one), two)
        beta = np.where((t == times - 1)[:, None], np.where(ends, 0, NEVER), inner) + emitted[t]
        beta = np.where(live & (t < times)[:, None], beta, NEVER)
        # alpha and beta both count the emission at t
        posterior = np.exp(alpha[t] + beta - emitted[t] + nll[:, None])
        np.subtract.at(r[t], (rows[:, None], states), np.where(live, posterior, 0) * g[:, None])
    r[np.arange(steps)[:, None] >= times] = 0
    if zero_infinity:
        r[:, np.isinf(nll)] = 0
    return r


def _no_second(g, attrs_):
    fail(RuntimeError, "P137", "the derivative for '_ctc_loss_backward' is not implemented.")


def _samples(m):
    lp = lambda *s: F.log_softmax(m.t(*s).detach(), 2)       # noqa: E731
    k = {"blank": 0, "per_label": False, "zero_infinity": False}
    return [((lp(5, 2, 4), m.i(2, 2, low=1, high=4)), {"times": (5, 4), "lengths": (2, 1), **k}),
            ((lp(3, 1, 3), m.i(1, 1, low=1, high=3)), {"times": (3,), "lengths": (1,), **k}),
            ((lp(4, 2, 3), m.i(2, 0)), {"times": (4, 4), "lengths": (0, 0), **k})]


@primitive(COMPOSITE, args="log_probs targets", forms="", ns=(), infer=lambda lp, t, **attrs: Spec((lp.shape[1],), lp.dtype),
           ref=lambda lp, t, *, zero_infinity, **attrs: ctc_ref(lp, t, **attrs),
           vjp={"log_probs": lambda g, log_probs, targets, attrs_: F.ctc_backward(g, log_probs, targets, **attrs_)},
           samples=_samples)
def ctc(log_probs, targets, *, times, lengths, blank, per_label, zero_infinity):
    """The negative log likelihood of each sequence (`per_label`: over its length); targets (N, S)."""
    return (log_probs, targets), {"times": tuple(times), "lengths": tuple(lengths), "blank": blank,
                                  "per_label": per_label, "zero_infinity": zero_infinity}


@primitive(COMPOSITE, args="grad log_probs targets", forms="", ns=(), infer=lambda g, lp, t, **attrs: lp.like(),
           ref=ctc_backward_ref,
           vjp={"grad": lambda g, log_probs, targets, attrs_: F.sum(F.mul(g, F.ctc_backward(
               F.full((log_probs.shape[1],), 1.0, dtype=log_probs.dtype), log_probs, targets, **attrs_)), (0, 2)),
               "log_probs": _no_second},
           samples=lambda m: [((m.t(*a[0].shape[1:2]).detach(), *a), k) for a, k in _samples(m)])
def ctc_backward(grad, log_probs, targets, *, times, lengths, blank, per_label, zero_infinity):
    """The gradient of ctc's log-probabilities."""
    return (grad, log_probs, targets), {"times": tuple(times), "lengths": tuple(lengths), "blank": blank,
                                  "per_label": per_label, "zero_infinity": zero_infinity}


def _lengths(x, name: str) -> tuple[int, ...]:
    if is_tensor(x):
        if x.dtype.category != dt.INT:
            fail(RuntimeError, "P138", f"{name} must be integral", got=describe(x))
        x = x.tolist()
    return as_ints(x, "ctc_loss", name)


def _public_samples(m):
    return [((lp, t, F.convert(F.full((len(k["times"]),), max(k["times"])), dt.int64), k["lengths"]), {"reduction": r})
            for ((lp, t), k), r in zip(_samples(m), ("mean", "sum", "none"))]


@composite(cast="high", ns=("", "nn.functional"), samples=_public_samples)
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """The connectionist temporal classification loss.

    log_probs: (T, N, C) or (T, C) log-probabilities; targets: (N, S), (S) or the sequences one after another; input_lengths
    and target_lengths: N integers. "mean" divides each loss by its target length, then averages over the batch;
    `zero_infinity` makes infinite losses (targets too long for the input) 0.
    """
    reduction = reduction_of({0: "none", 1: "mean", 2: "sum"}.get(reduction, reduction))
    need_tensor(log_probs, "ctc_loss", "log_probs")
    need_tensor(targets, "ctc_loss", "targets", 2)
    times, lengths = _lengths(input_lengths, "input_lengths"), _lengths(target_lengths, "target_lengths")
    if log_probs.ndim not in (2, 3) or not log_probs.numel():
        fail(RuntimeError, "P139", "log_probs tensor must not be empty", got=describe(log_probs))
    if log_probs.dtype not in (dt.float32, dt.float64):
        fail(NotImplementedError, "P147", f"\"ctc_loss_cpu\" not implemented for '{log_probs.dtype.type_name}'")
    if targets.dtype.category != dt.INT:
        fail(RuntimeError, "P148", "targets must be integral", got=describe(targets))
    single = log_probs.ndim == 2
    x = F.unsqueeze(log_probs, 1) if single else log_probs
    steps, n, classes = x.shape
    if not 0 <= blank < classes:
        fail(RuntimeError, "P149", "blank must be in label range", got=f"blank={blank}, {classes} classes")
    for name, values in (("input_lengths", times), ("target_lengths", lengths)):
        if len(values) != n:
            fail(RuntimeError, "P177", f"{name} must be of size batch_size", got=f"{len(values)} lengths, batch of {n}")
        if min(values) < 0:
            fail(RuntimeError, "P178", f"Expected {name} to have value at least 0, but got value {min(values)} "
                 "(while checking arguments for ctc_loss_cpu)")
    if max(times) > steps:
        fail(RuntimeError, "P179", f"Expected input_lengths to have value at most {steps}, but got value {max(times)} "
             "(while checking arguments for ctc_loss_cpu)")
    if targets.ndim == 2 and not single:
        if targets.shape[0] != n or targets.shape[1] < max(lengths):
            fail(RuntimeError, "P105", f"Expected tensor to have size at least {max(lengths)} at dimension 1, but got size "
                 f"{list(targets.shape)} for argument #2 'targets' (while checking arguments for ctc_loss_cpu)")
        rows = targets
    else:
        flat = F.reshape(targets, (-1,))
        if flat.shape[0] != sum(lengths):
            fail(RuntimeError, "P106", f"Expected tensor to have size {sum(lengths)} at dimension 0, but got size {list(targets.shape)} "
                 "for argument #2 'targets' (while checking arguments for ctc_loss_cpu)")
        widest, parts, at = max(lengths), [], 0
        for k in lengths:
            piece = F.basic_index(flat, (slice(at, at + k),))
            parts.append(F.pad(piece, (0, widest - k), value=int(blank)) if k < widest else piece)
            at += k
        rows = F.stack(parts)
    loss = F.ctc(x, F.convert(rows, dt.int64), times=times, lengths=lengths, blank=int(blank), per_label=reduction == "mean",
                 zero_infinity=bool(zero_infinity))
    if zero_infinity:
        loss = F.where(F.eq(loss, float("inf")), 0.0, loss)
    return F.reshape(loss, ()) if single and reduction == "none" else reduced(loss, reduction)
