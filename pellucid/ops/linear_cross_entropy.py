"""Cross entropy of a linear layer's scores, without holding all scores at once when asked.

`linear_cross_entropy` is `linear` followed by `cross_entropy`. With `options` the rows are taken in blocks, and backward
computes each block's scores anew: the (rows, classes) matrix, the largest of a language model, never exists.
"""
from __future__ import annotations

from types import SimpleNamespace

from ._common import Spec, describe, dt, fail, need_tensor, np
from .loss_class import ce_ref
from .op import COMPOSITE, F, composite, primitive


def blocks(n: int, rows: int) -> list[slice]:
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def chunked_ref(x, w, b, t, weight, *, rows, ignore_index):
    losses = np.empty(t.shape, x.dtype)
    for s in blocks(len(x), rows):
        scores = x[s] @ w.T
        if b is not None:
            scores += b
        losses[s] = ce_ref(scores, t[s], weight, ignore_index=ignore_index, reduction="none", label_smoothing=0.0)
    return losses


def chunked_vjp(g, input, linear_weight, linear_bias, target, weight, rows, ignore_index, needs):
    to_x, to_w, to_b = [], None, None
    for s in blocks(input.shape[0], rows):
        x, n = F.basic_index(input, (s,)), (s,)
        scores = F.linear(x, linear_weight, linear_bias)
        d = F.cross_entropy_index_backward(F.basic_index(g, n), scores, F.basic_index(target, n), weight,
                                           ignore_index=ignore_index, reduction="none")
        if needs[0]:
            to_x.append(F.matmul(d, linear_weight))
        if needs[1]:
            part = F.matmul(F.transpose(d, 0, 1), x)
            to_w = part if to_w is None else F.add(to_w, part)
        if needs[2]:
            part = F.sum(d, 0)
            to_b = part if to_b is None else F.add(to_b, part)
    return F.cat(to_x) if to_x else None, to_w, to_b, None, None


def chunked_body(input, linear_weight, linear_bias, target, weight, *, rows, ignore_index):
    scores = F.linear(input, linear_weight, linear_bias)
    return F.cross_entropy_index(scores, target, weight, ignore_index=ignore_index, reduction="none")


@primitive(COMPOSITE, args="input linear_weight linear_bias target weight", forms="", ns=(), ref=chunked_ref, vjp=chunked_vjp,
           body=chunked_body, infer=lambda x, w, b, t, weight, *, rows, ignore_index: Spec(t.shape, x.dtype),
           samples=lambda m: [((m.t(5, 3), m.t(4, 3), m.t(4), m.i(5, low=0, high=4), None), {"rows": 2}),
                              ((m.t(3, 2), m.t(4, 2), None, m.i(3, low=0, high=4), m.t(4, low=0.5)), {"rows": 3, "ignore_index": 1}),
                              ((m.t(1, 2), m.t(3, 2), None, m.i(1, low=0, high=3), None), {"rows": 1})])
def linear_cross_entropy_rows(input, linear_weight, linear_bias, target, weight, *, rows, ignore_index=-100):
    """The loss of each row of (N, in_features), `rows` at a time."""
    return (input, linear_weight, linear_bias, target, weight), {"rows": rows, "ignore_index": ignore_index}


def check(input, linear_weight, target, linear_bias, ignore_index) -> None:
    """PyTorch's checks of the operands."""
    need_tensor(input, "linear_cross_entropy"), need_tensor(linear_weight, "linear_cross_entropy", "linear_weight", 2)
    need_tensor(target, "linear_cross_entropy", "target", 3)
    if input.ndim not in (1, 2):
        fail(RuntimeError, "P27D5", f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if linear_weight.ndim < 2:
        fail(RuntimeError, "P27D6", f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}")
    if input.shape[-1] != linear_weight.shape[-1]:
        fail(RuntimeError, "P27D7", "expected equal input and linear_weight last dimensions (in_features), got "
             f"{input.shape[-1]} and {linear_weight.shape[-1]}, respectively")
    made = tuple(linear_weight.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != made:
        fail(RuntimeError, "P27D8", f"expected linear_bias shape {made}, got {tuple(linear_bias.shape)}")
    if len(made) > 1 and input.ndim == 1:
        fail(RuntimeError, "P27D9", f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
             f"(N, {input.shape[-1]}), got unbatched input with shape {tuple(input.shape)}")
    if tuple(target.shape) == tuple(input.shape[:-1]) + made and ignore_index is not None:
        fail(RuntimeError, "P27DA", "ignore_index cannot be specified when target contains probabilities", got=describe(input, target))


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(5, 3), m.t(4, 3), m.i(5, low=0, high=4)), {"linear_bias": m.t(4)}),
                              ((m.t(2, 3), m.t(4, 2, 3), m.i(2, 2, low=0, high=4)), {"reduction": "sum"}),
                              ((m.t(3), m.t(4, 3), m.i(low=0, high=4)), {"label_smoothing": 0.1}),
                              ((m.t(5, 3), m.t(4, 3), m.i(5, low=0, high=4)), {"options": SimpleNamespace(rows=lambda n, in_features, classes: 2)})])
def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean", ignore_index=None,
                         label_smoothing=0.0, options=None):
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`.

    input (in_features) or (N, in_features); linear_weight (C, in_features) or (C, d1, ..., in_features) for targets (N, d1, ...).
    `options` (for class indices without smoothing or further dimensions; `nn.LinearCrossEntropyOptions`) computes the rows in blocks,
    which saves memory: as many at a time as `options.rows(n, in_features, C)` says."""
    check(input, linear_weight, target, linear_bias, ignore_index)
    ignore = -100 if ignore_index is None else ignore_index
    made = tuple(linear_weight.shape[:-1])
    if options is not None and len(made) == 1 and label_smoothing == 0 and target.dtype is dt.int64 and input.numel():
        return in_blocks(input, linear_weight, target, linear_bias, weight, reduction, ignore, options)
    flat = F.reshape(linear_weight, (-1, linear_weight.shape[-1]))
    scores = F.linear(input, flat, None if linear_bias is None else F.reshape(linear_bias, (-1,)))
    if len(made) > 1:
        scores = F.reshape(scores, (input.shape[0], *made))
    return F.cross_entropy(scores, target, weight, ignore_index=ignore, reduction=reduction, label_smoothing=label_smoothing)


def in_blocks(input, linear_weight, target, linear_bias, weight, reduction, ignore_index, options):
    x, t = (input, target) if input.ndim == 2 else (F.unsqueeze(input, 0), F.reshape(target, (1,)))
    rows = options.rows(x.shape[0], x.shape[1], linear_weight.shape[0])
    loss = F.linear_cross_entropy_rows(x, linear_weight, linear_bias, t, weight, rows=rows, ignore_index=ignore_index)
    if reduction == "none":
        return loss if input.ndim == 2 else F.reshape(loss, ())
    if reduction == "sum":
        return F.sum(loss)
    if reduction != "mean":
        fail(ValueError, "P27DB", f"{reduction} is not a valid value for reduction")
    counted = F.class_weights(t, weight, classes=linear_weight.shape[0], ignore_index=ignore_index, dtype=x.dtype)
    return F.div(F.sum(loss), F.sum(counted))
