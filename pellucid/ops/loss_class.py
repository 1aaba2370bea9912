"""Losses of class scores: cross entropy and negative log likelihood of class indices, and the multi-class margins.

Scores are (C), (N, C) or (N, C, d1, ...); targets the same without C. Inside, they become rows of C scores. Cross entropy of
indices is one node that keeps only the scores: its backward computes the softmax again.
"""
from __future__ import annotations

from ._common import Spec, describe, dt, fail, np
from .loss import _REDUCTIONS, reduced, reduction_of
from .dispatch import values_known
from .op import COMPOSITE, GATHER, POINT, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- arrays
def rows_of(x):
    """(N, C, d1, ...) as rows of C scores."""
    if x.ndim == 2:
        return x
    if x.ndim == 1:
        return x[None]
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def unrows(rows, shape):
    """The inverse of `rows_of`."""
    if len(shape) <= 2:
        return rows.reshape(shape)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[:1] + shape[2:] + shape[1:2]), -1, 1))


def class_indices(t, n: int, ignore_index: int):
    """Targets as flat valid indices, and a mask of those that count (None: all). Out of range: PyTorch's IndexError."""
    t = t.reshape(-1)
    if t.dtype != np.int64:
        t = t.astype(np.int64)
    if not t.size or (t.view(np.uint64).max() < n and not 0 <= ignore_index < n):
        return t, None
    keep = t != ignore_index
    safe = np.where(keep, t, 0)
    if safe.view(np.uint64).max() >= n:
        bad = safe[safe.view(np.uint64) >= n][0]
        fail(IndexError, "P180", f"Target {bad} is out of bounds.",
             got=f"{n} classes, valid targets 0 to {n - 1}, ignore_index={ignore_index}",
             fix="check the labels, or give the model more classes")
    return safe, None if keep.all() else keep


def class_weight(t, keep, w, dtype):
    """The weight of each sample (None: 1 each), 0 where ignored."""
    r = None if w is None else w[t]
    if keep is not None:
        r = keep.astype(dtype) if r is None else r * keep
    return r


def finish(loss, weight, reduction: str, shape):
    """Losses per row, reduced over the weights' sum, or in the target's shape."""
    if reduction == "none":
        return loss.reshape(shape)
    total = np.add.reduce(loss)
    if reduction == "mean":
        total = total / loss.dtype.type(loss.size if weight is None else np.add.reduce(weight))
    return np.asarray(total, loss.dtype)


def per_row(g, weight, reduction: str, rows):
    """The gradient that each row's loss gets."""
    g = g.reshape(-1)
    if reduction == "mean":
        g = g / rows.dtype.type(len(rows) if weight is None else np.add.reduce(weight))
    return g


def ce_ref(x, t, w, *, ignore_index, reduction, label_smoothing):
    rows = rows_of(x)
    c = rows.shape[1]
    index, keep = class_indices(t, c, ignore_index)
    weight = class_weight(index, keep, w, x.dtype)
    top = rows.max(1, keepdims=True)
    rows = rows - top
    lse = np.log(np.add.reduce(np.exp(rows), 1))
    loss = lse - rows[np.arange(len(rows)), index]
    if weight is not None:
        loss = np.where(weight != 0, loss, 0) * weight
    if label_smoothing:
        smooth = lse * c - rows.sum(1) if w is None else lse * w.sum() - rows @ w
        if keep is not None:
            smooth = np.where(keep, smooth, 0)
        loss = loss * (1 - label_smoothing) + smooth * (label_smoothing / c)
    return finish(loss, weight, reduction, t.shape)


def ce_backward_ref(g, x, t, w, *, ignore_index, reduction, label_smoothing):
    rows = rows_of(x)
    n, c = rows.shape
    index, keep = class_indices(t, c, ignore_index)
    weight = class_weight(index, keep, w, x.dtype)
    share = per_row(g, weight, reduction, rows)
    pull = share if weight is None else share * weight                  # at the target's class
    push = pull * (1 - label_smoothing) if label_smoothing else pull    # spread as the softmax
    if label_smoothing:
        pull = push
        each = (share if keep is None else share * keep) * (label_smoothing / c)
        push = push + each * (c if w is None else w.sum())
    p = np.exp(rows - rows.max(1, keepdims=True))
    p *= (push / np.add.reduce(p, 1))[:, None] if push.size == n else push / np.add.reduce(p, 1)[:, None]
    p[np.arange(n), index] -= pull
    if label_smoothing:
        p -= np.broadcast_to(each, (n,))[:, None] * (1 if w is None else w)
    return unrows(p, x.shape)


def nll_ref(x, t, w, *, ignore_index, reduction):
    rows = rows_of(x)
    index, keep = class_indices(t, rows.shape[1], ignore_index)
    weight = class_weight(index, keep, w, x.dtype)
    loss = -rows[np.arange(len(rows)), index]
    if weight is not None:
        loss = np.where(weight != 0, loss, 0) * weight
    return finish(loss, weight, reduction, t.shape)


def nll_backward_ref(g, t, w, *, shape, ignore_index, reduction):
    c = shape[1] if len(shape) > 1 else shape[0]
    index, keep = class_indices(t, c, ignore_index)
    rows = np.zeros((index.size, c), g.dtype)
    weight = class_weight(index, keep, w, g.dtype)
    share = per_row(g, weight, reduction, rows)
    rows[np.arange(len(rows)), index] = -share if weight is None else -share * weight
    return unrows(rows, shape)


def class_weights_ref(t, w, *, classes, ignore_index, dtype):
    index, keep = class_indices(t, classes, ignore_index)
    r = class_weight(index, keep, w, dtype.np)
    return (np.ones(t.shape, dtype.np) if r is None else r.reshape(t.shape)).astype(dtype.np)


def checked_classes_ref(t, *, classes, ignore_index):
    class_indices(t, classes, ignore_index)
    return t.copy()


def checked_classes_scalar(b, t, *, classes, ignore_index):
    counts = b.ne(t, ignore_index)
    safe = b.guarded(b.select(counts, t, b.const(0, t)), classes)
    return b.select(counts, b.value(safe), t)


@primitive(POINT, args="target", ref=checked_classes_ref, scalar=checked_classes_scalar, infer=lambda t, **attrs: t.like(), forms="",
           ns=(), grads=False, samples=lambda m: [((m.i(3, low=0, high=4), 4, -100), {}), ((m.i(2, 3, low=0, high=4), 4, 1), {}),
                                                  ((m.i(0, low=0, high=4), 4, -100), {})])
def checked_classes(target, classes, ignore_index):
    """The int64 class indices as they are; IndexError if one is neither in [0, classes) nor the ignored one."""
    return (target,), {"classes": classes, "ignore_index": ignore_index}


# ---------------------------------------------------------------------------------------------------- in operators
# The class of a target is found by comparing it with every class: no gather, so that losses fuse into one pass over rows.
def beside(weight, input, dim):
    """Class weights in the shape that broadcasts over the scores."""
    return F.reshape(weight, (input.shape[dim],) + (1,) * (input.ndim - dim - 1))


def picked(input, target, ignore_index):
    """(class dimension, mask of each target's class among the scores, mask of targets that count). Targets out of range are
    an IndexError."""
    dim = 1 if input.ndim > 1 else 0
    c = input.shape[dim]
    t = target if target.dtype is dt.int64 else F.convert(target, dt.int64)
    hit = F.eq(F.unsqueeze(F.checked_classes(t, c, ignore_index), dim), beside(F.arange(c), input, dim))
    return dim, hit, F.ne(t, ignore_index)


def weight_of(hit, counted, weight, dim, dtype):
    """The weight of each target, 0 where ignored."""
    if weight is None:
        return F.convert(counted, dtype)
    each = F.reshape(weight, (weight.shape[0],) + (1,) * (hit.ndim - dim - 1))
    return F.where(counted, F.sum(F.where(hit, each, 0.0), dim), 0.0)


def weighed(loss, hit, counted, weight, dim):
    """(losses times their weights, the weights); where the weight is 0, no loss counts, not even an infinite one."""
    per = weight_of(hit, counted, weight, dim, loss.dtype)
    if weight is None:
        return F.where(counted, loss, 0.0), per
    return F.mul(F.where(F.ne(per, 0), loss, 0.0), per), per


def summed(loss, per, reduction):
    """Losses reduced over the weights' sum."""
    if reduction == "none":
        return loss
    total = F.sum(loss)
    return F.div(total, F.sum(per)) if reduction == "mean" else total


def shared(grad, per, reduction, dim):
    """What of the gradient each target's loss gets, in the shape of `per`."""
    if reduction == "none":
        return F.unsqueeze(grad, dim)
    return F.div(grad, F.sum(per)) if reduction == "mean" else grad


def nll_body(input, target, weight=None, *, ignore_index=-100, reduction="mean"):
    dim, hit, counted = picked(input, target, ignore_index)
    loss = F.neg(F.sum(F.where(hit, input, 0.0), dim))
    return summed(*weighed(loss, hit, counted, weight, dim), reduction)


def nll_backward_body(grad, target, weight=None, *, shape, ignore_index=-100, reduction="mean"):
    dim = 1 if len(shape) > 1 else 0
    t = F.unsqueeze(target if target.dtype is dt.int64 else F.convert(target, dt.int64), dim)
    hit = F.eq(t, F.reshape(F.arange(shape[dim]), (shape[dim],) + (1,) * (len(shape) - dim - 1)))
    per = F.unsqueeze(weight_of(hit, F.ne(F.squeeze(t, dim), ignore_index), weight, dim, grad.dtype), dim)
    return F.where(hit, F.neg(F.mul(shared(grad, per, reduction, dim), per)), 0.0)


# ---------------------------------------------------------------------------------------------------- operators
def _index_samples(m):
    i = lambda *s: m.i(*s, low=0, high=4)       # noqa: E731
    out = [((m.t(3, 4), i(3), None), {"reduction": r}) for r in _REDUCTIONS]
    out += [((m.t(3, 4), i(3), m.t(4, low=0.5).detach()), {"ignore_index": 1}), ((m.t(2, 4, 3), i(2, 3), None), {}),
            ((m.t(4), i(), None), {}),
            ((m.t(0, 4), i(0), None), {"reduction": "sum"})]
    return out


def _index_infer(x, t, w, *, reduction, **attrs) -> Spec:
    return Spec(t.shape if reduction == "none" else (), x.dtype)


def _nll_vjp(g, input_shape, target, weight, attrs_):
    return F.nll_index_backward(g, target, weight, shape=tuple(input_shape), **attrs_), None, None


@primitive(COMPOSITE, args="input target weight", ref=nll_ref, body=nll_body, infer=_index_infer, vjp=_nll_vjp, forms="", ns=(),
           samples=_index_samples)
def nll_index(input, target, weight=None, *, ignore_index=-100, reduction="mean"):
    """Minus the score of each target's class, weighted and reduced."""
    return (input, target, weight), {"ignore_index": ignore_index, "reduction": reduction}


@primitive(COMPOSITE, args="grad target weight", ref=nll_backward_ref, body=nll_backward_body, forms="", ns=(),
           infer=lambda g, t, w, *, shape, **attrs: g.like(shape),
           vjp=lambda g, target, weight, ignore_index, reduction: (
               F.nll_index(g, target, weight, ignore_index=ignore_index, reduction=reduction), None, None),
           samples=lambda m: [((m.t(3), m.i(3, low=0, high=4), None), {"shape": (3, 4), "reduction": "none"}),
                              ((m.t(), m.i(2, 3, low=0, high=4), m.t(4, low=0.5).detach()), {"shape": (2, 4, 3)}),
                              ((m.t(), m.i(0, low=0, high=4), None), {"shape": (0, 4), "reduction": "sum"})])
def nll_index_backward(grad, target, weight=None, *, shape, ignore_index=-100, reduction="mean"):
    """The gradient of nll_index's scores."""
    return (grad, target, weight), {"shape": tuple(shape), "ignore_index": ignore_index, "reduction": reduction}


def class_weights_lower(b, i, load, t, w, *, classes, ignore_index, dtype):
    which = b.cast(load(0, i), dt.int64)
    counts = b.ne(which, ignore_index)
    safe = b.guarded(b.select(counts, which, b.const(0, which)), classes)
    one = b.const(1, dtype) if w is None else load(1, (safe,))
    return b.select(counts, one, b.zero(dtype))


@primitive(GATHER, args="target weight", ref=class_weights_ref, lower=class_weights_lower, forms="", ns=(), grads=False,
           infer=lambda t, w, *, classes, ignore_index, dtype: Spec(t.shape, dtype),
           samples=lambda m: [((m.i(3, low=0, high=4), m.t(4)), {"classes": 4}),
                              ((m.i(2, 3, low=0, high=4), None), {"classes": 4}),
                              ((m.i(0, low=0, high=4), None), {"classes": 4})])
def class_weights(target, weight=None, *, classes, ignore_index=-100, dtype=None):
    """Each target's class weight (1 without weights), 0 where ignored."""
    return (target, weight), {"classes": classes, "ignore_index": ignore_index,
                              "dtype": dtype or (weight.dtype if weight is not None else dt.get_default_dtype())}


def _ce_backward_vjp(g, grad, input, target, weight, attrs_, needs):
    """The softmax's own derivative, scaled row by row."""
    reduction, smoothing, ignore = attrs_["reduction"], attrs_["label_smoothing"], attrs_["ignore_index"]
    dim = 1 if input.ndim > 1 else 0
    classes = input.shape[dim]
    to_grad = to_input = None
    if needs[0]:
        ones = F.ones_like(grad)
        each = F.mul(g, F.cross_entropy_index_backward(ones, input, target, weight, **attrs_))
        to_grad = F.sum(each, dim) if reduction == "none" else F.sum(each)
    if needs[1]:
        per = F.class_weights(target, weight, classes=classes, ignore_index=ignore, dtype=input.dtype)
        scale = F.div(grad, F.sum(per)) if reduction == "mean" else grad
        if smoothing:
            counted = F.convert(F.ne(target, ignore), input.dtype)
            spread = F.mul(counted, smoothing) if weight is None else F.mul(F.mul(counted, F.sum(weight)), smoothing / classes)
            per = F.add(F.mul(per, 1 - smoothing), spread)
        p = F.softmax(input, dim)
        pv = F.mul(p, g)
        bend = F.sub(pv, F.mul(p, F.sum(pv, dim, keepdim=True)))
        to_input = F.mul(bend, F.unsqueeze(F.mul(scale, per), dim))
    return to_grad, to_input, None, None


def cross_entropy_body(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Log-sum-exp minus the target's score."""
    dim, hit, counted = picked(input, target, ignore_index)
    shifted = F.sub(input, F.amax(input, dim, True))
    lse = F.log(F.sum(F.exp(shifted), dim))
    loss = F.sub(lse, F.sum(F.where(hit, shifted, 0.0), dim))
    loss, per = weighed(loss, hit, counted, weight, dim)
    if label_smoothing:
        c = input.shape[dim]
        if weight is None:
            smooth = F.sub(F.mul(lse, c), F.sum(shifted, dim))
        else:
            smooth = F.sub(F.mul(lse, F.sum(weight)), F.sum(F.mul(shifted, beside(weight, input, dim)), dim))
        smooth = F.where(counted, smooth, 0.0)
        loss = F.add(F.mul(loss, 1 - label_smoothing), F.mul(smooth, label_smoothing / c))
    return summed(loss, per, reduction)


def cross_entropy_backward_body(grad, input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    dim, hit, counted = picked(input, target, ignore_index)
    c = input.shape[dim]
    per = F.unsqueeze(weight_of(hit, counted, weight, dim, input.dtype), dim)
    share = shared(grad, per, reduction, dim)
    pull = push = F.mul(share, per)
    if label_smoothing:
        pull = push = F.mul(pull, 1 - label_smoothing)
        each = F.where(F.unsqueeze(counted, dim), F.mul(share, label_smoothing / c), 0.0)
        push = F.add(push, F.mul(each, c if weight is None else F.sum(weight)))
    e = F.exp(F.sub(input, F.amax(input, dim, True)))
    gx = F.sub(F.mul(e, F.div(push, F.sum(e, dim, True))), F.where(hit, pull, 0.0))
    if label_smoothing:
        gx = F.sub(gx, each if weight is None else F.mul(each, beside(weight, input, dim)))
    return gx


@primitive(COMPOSITE, args="input target weight", ref=ce_ref, infer=_index_infer, body=cross_entropy_body, forms="", ns=(),
           vjp=lambda g, input, target, weight, attrs_: (
               F.cross_entropy_index_backward(g, input, target, weight, **attrs_), None, None),
           samples=lambda m: _index_samples(m) + [((m.t(3, 4), m.i(3, low=0, high=4), m.t(4, low=0.5).detach()),
                                                   {"label_smoothing": 0.1})])
def cross_entropy_index(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Cross entropy between scores and class indices."""
    return (input, target, weight), {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}


@primitive(COMPOSITE, args="grad input target weight", ref=ce_backward_ref, body=cross_entropy_backward_body, infer=lambda g, x, t, w, **attrs: x.like(),
           vjp=_ce_backward_vjp, forms="", ns=(),
           samples=lambda m: [((m.t(3), m.t(3, 4), m.i(3, low=0, high=4), None), {"reduction": "none"}),
                              ((m.t(), m.t(2, 4, 3), m.i(2, 3, low=0, high=4), m.t(4, low=0.5).detach()),
                               {"label_smoothing": 0.1}),
                              ((m.t(), m.t(0, 4), m.i(0, low=0, high=4), None), {"reduction": "sum"})])
def cross_entropy_index_backward(grad, input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The gradient of cross_entropy_index's scores."""
    return (grad, input, target, weight), {"ignore_index": ignore_index, "reduction": reduction,
                                           "label_smoothing": label_smoothing}


# ---------------------------------------------------------------------------------------------------- public
def check_index_target(input, target, weight, fn: str) -> None:
    """PyTorch's checks of scores against class indices."""
    x, t = tuple(input.shape), tuple(target.shape)
    if len(x) < 1:
        fail(ValueError, "P181", f"Expected 1 or more dimensions (got {len(x)})", got=describe(input))
    if len(x) != 1 and (not t or x[0] != t[0]):
        fail(ValueError, "P182", f"Expected input batch_size ({x[0]}) to match target batch_size ({t[0] if t else 1}).",
             got=describe(input, target), fix="scores are (N, C, ...), targets (N, ...)")
    if len(x) == 1 and len(t) > 0:
        if not (len(t) == 1 and t[0] == 1):
            fail(RuntimeError, "P183", "size mismatch (got input: {}, target: {})".format(list(x), list(t)),
                 got=describe(input, target), fix="scores are (N, C, ...), targets (N, ...)")
    elif len(x) == 2 and len(t) > 1:
        fail(RuntimeError, "P184", "0D or 1D target tensor expected, multi-target not supported", got=describe(input, target),
             fix="give the class indices as one number per row of scores")
    elif len(x) > 2 and t != x[:1] + x[2:]:
        fail(RuntimeError, "P185", f"Expected target size {list(x[:1] + x[2:])}, got {list(t)}", got=describe(input, target),
             fix="scores are (N, C, d1, ...), targets (N, d1, ...)")
    if target.dtype is not dt.int64 and target.dtype is not dt.uint8:
        fail(RuntimeError, "P186", f"expected target dtype to be Long or Byte, but got {target.dtype.type_name}", got=describe(input, target),
             fix="class indices must be int64: target.long()")
    if input.dtype.category != dt.FLOAT:
        fail(RuntimeError, "P187", f"\"{fn}_out_frame\" not implemented for '{input.dtype.type_name}'", got=describe(input),
             fix="convert with .float()")
    if weight is not None:
        c = x[1] if len(x) > 1 else x[0]
        if weight.ndim != 1 or weight.shape[0] != c:
            fail(RuntimeError, "P188", f"weight tensor should be defined either for all {c} classes or no classes but got weight tensor of "
                 f"shape: {list(weight.shape)}", got=describe(input, weight), fix="one weight per class, in a vector")
        if weight.dtype is not input.dtype:
            fail(RuntimeError, "P189", f"expected scalar type {input.dtype.type_name} but found {weight.dtype.type_name}",
                 fix=f"convert the weight with .to({input.dtype})")


@composite(cast="high", ns="nn.functional", samples=lambda m: [((a[0], a[1]), {"weight": a[2], **k}) for a, k in _index_samples(m)])
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """Negative log likelihood: minus the log-probability of each target class, times the class's weight, reduced; the mean
    is over the weights' sum. Targets equal to `ignore_index` do not count.

    input: (C), (N, C) or (N, C, d1, ...) log-probabilities; target: int64 without the C dimension."""
    reduction = reduction_of(reduction, size_average, reduce)
    check_index_target(input, target, weight, "nll_loss")
    if input.ndim == 1 and target.ndim == 1:
        target = F.reshape(target, ())
    return F.nll_index(input, target, weight, ignore_index=int(ignore_index), reduction=reduction)


@composite(cast="high", ns="nn.functional", onnx="SoftmaxCrossEntropyLoss",
           samples=lambda m: [((a[0], a[1]), {"weight": a[2], **k}) for a, k in _index_samples(m)]
           + [((m.t(3, 4), F.softmax(m.t(3, 4), 1)), {"label_smoothing": 0.1})])
def cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
                  label_smoothing=0.0):
    """Cross entropy between scores and targets: class indices (int64), or class probabilities of input's shape.

    input: (C), (N, C) or (N, C, d1, ...) unnormalised scores; `weight` (C) scales classes; `label_smoothing` in [0, 1] mixes
    the targets with the uniform distribution."""
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        fail(RuntimeError, "P190", f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}",
             fix="0 keeps the targets as they are")
    if tuple(input.shape) == tuple(target.shape) and (target.dtype.category == dt.FLOAT or input.ndim > 1 or input.numel() != 1):
        return cross_entropy_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    check_index_target(input, target, weight, "cross_entropy")
    if input.ndim == 1 and target.ndim == 1:
        target = F.reshape(target, ())
    return F.cross_entropy_index(input, target, weight, ignore_index=int(ignore_index), reduction=reduction,
                                 label_smoothing=label_smoothing)


def cross_entropy_probabilities(input, target, weight, ignore_index, reduction, label_smoothing):
    if target.dtype.category != dt.FLOAT:
        fail(RuntimeError, "P191", f"Expected floating point type for target with class probabilities, got {target.dtype.type_name}",
             got=describe(input, target), fix="class indices have no class dimension: their shape is the input's without dimension 1")
    if ignore_index >= 0:
        fail(RuntimeError, "P192", "ignore_index is not supported for floating point target",
             got=f"ignore_index={ignore_index}", fix="leave out ignore_index, or give class indices instead of probabilities")
    dim = 1 if input.ndim > 1 else 0
    classes = input.shape[dim]
    if weight is not None and (weight.ndim != 1 or weight.shape[0] != classes):
        fail(RuntimeError, "P193", f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got weight "
             f"tensor of shape: {list(weight.shape)}", got=describe(input, weight), fix="one weight per class, in a vector")
    if label_smoothing:
        target = F.add(F.mul(target, 1 - label_smoothing), label_smoothing / classes)
    logp = F.log_softmax(input, dim)
    if weight is not None:
        logp = F.mul(logp, F.reshape(weight, (1,) * dim + (classes,) + (1,) * (input.ndim - dim - 1)))
    loss = F.neg(F.sum(F.mul(logp, target), dim))
    if reduction == "mean":
        return F.div(F.sum(loss), max(input.numel() // max(classes, 1), 1)) if classes else F.mean(loss)
    return reduced(loss, reduction)


# ---------------------------------------------------------------------------------------------------- margins
def _as_batch(x):
    return F.unsqueeze(x, 0) if x.ndim < 2 else x


@composite(cast="high", ns="nn.functional",
           samples=lambda m: [((m.t(3, 4), m.i(3, low=0, high=4)), {"p": p, "reduction": r})
                              for p, r in ((1, "mean"), (2, "sum"), (1, "none"))])
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """`sum_i max(0, margin - input[target] + input[i]) ** p / C` over the wrong classes, reduced. input (N, C) or (C)."""
    reduction = reduction_of(reduction, size_average, reduce)
    if p not in (1, 2):
        fail(RuntimeError, "P194", "only p == 1 and p == 2 supported", got=f"p={p}")
    if not (input.ndim == 2 and input.shape[1] or input.ndim == 1 and input.shape[0] or input.ndim == 0):
        fail(RuntimeError, "P195", f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}")
    scalar = target.ndim == 0
    x = _as_batch(input if input.ndim else F.reshape(input, (1,)))
    t = F.reshape(target, (-1,))
    n, c = x.shape
    if t.shape[0] != n or target.ndim > 1:
        fail(RuntimeError, "P196", f"inconsistent target size, expected {n} but got {list(target.shape)}",
             got=describe(input, target))
    if weight is not None and (weight.ndim != 1 or weight.shape[0] != c):
        fail(RuntimeError, "P197", f"inconsistent weight size, expected {c} but got {list(weight.shape)}")
    check_range(t, c, "multi_margin_loss")
    index = F.unsqueeze(t, 1)
    z = F.clamp_min(F.add(F.sub(x, F.gather(x, 1, index)), margin), 0)
    if p == 2:
        z = F.mul(z, z)
    if weight is not None:
        z = F.mul(z, F.unsqueeze(F.index_select(weight, 0, t), 1))
    wrong = F.ne(F.unsqueeze(F.arange(c), 0), index)
    loss = F.div(F.sum(F.where(wrong, z, 0.0), 1), c)
    return F.reshape(loss, tuple(target.shape)) if reduction == "none" and (scalar or input.ndim < 2) else reduced(loss, reduction)


def check_range(target, classes: int, fn: str) -> None:
    """Targets within the classes, or an error naming the first that is not."""
    bad = F.logical_or(F.lt(target, 0), F.ge(target, classes))
    if target.numel() and values_known() and bool(F.any(bad)):
        fail(RuntimeError, "P198", "target out of range", got=f"{fn}: a target outside 0 to {classes - 1}",
             fix="check the labels, or give the model more classes")


@composite(cast="high", ns="nn.functional", samples=lambda m: [((m.t(3, 4), F.sub(m.i(3, 4, low=0, high=5), 1)),
                                                   {"reduction": r}) for r in _REDUCTIONS])
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """`sum_ij max(0, 1 - (input[target_j] - input[i])) / C` over targets j and other classes i; each row of targets (class
    indices) ends at its first negative number."""
    reduction = reduction_of(reduction, size_average, reduce)
    if input.ndim > 2 or input.ndim and not input.shape[-1]:
        fail(RuntimeError, "P195", f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}")
    if tuple(input.shape) != tuple(target.shape):
        fail(RuntimeError, "P199", f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    x = _as_batch(input if input.ndim else F.reshape(input, (1,)))
    t = F.reshape(target, tuple(x.shape))
    c = x.shape[1]
    live = F.eq(F.cumsum(F.convert(F.lt(t, 0), dt.int64), 1), 0)                        # before the first negative
    index = F.where(live, t, 0)
    check_range(index, c, "multilabel_margin_loss")
    hits = F.eq(F.unsqueeze(index, 2), F.reshape(F.arange(c), (1, 1, c)))               # (N, target, class)
    other = F.logical_not(F.any(F.logical_and(hits, F.unsqueeze(live, 2)), 1))          # (N, class): is no target
    z = F.clamp_min(F.add(F.sub(F.unsqueeze(x, 1), F.unsqueeze(F.gather(x, 1, index), 2)), 1), 0)
    counted = F.logical_and(F.unsqueeze(live, 2), F.unsqueeze(other, 1))
    loss = F.div(F.sum(F.where(counted, z, 0.0), (1, 2)), c)
    if reduction == "none":
        return loss if input.ndim == 2 else F.reshape(loss, ())
    return reduced(loss, reduction)


@composite(ns="nn.functional", samples=lambda m: [((m.t(3, 4), m.t(3, 4, low=0, high=1)),
                                                   {"reduction": r}) for r in _REDUCTIONS])
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """The mean over classes of the binary cross entropy of `sigmoid(input)`, reduced over the rest."""
    reduction = reduction_of(reduction, size_average, reduce)
    loss = F.neg(F.add(F.mul(target, F.logsigmoid(input)), F.mul(F.sub(1, target), F.logsigmoid(F.neg(input)))))
    if weight is not None:
        loss = F.mul(loss, weight)
    return reduced(F.div(F.sum(loss, -1), input.shape[-1]), reduction)
