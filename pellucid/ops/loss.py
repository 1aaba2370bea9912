"""Losses between a prediction and a target of the same shape, and those between embeddings.

Each takes `reduction` ("none", "mean" or "sum") and, where PyTorch has them, the legacy `size_average` and `reduce`.
Differences (mse, l1, smooth_l1, huber) and binary cross entropies are one node each, with the reduction inside.
"""
from __future__ import annotations

import math
import warnings

from ._common import Spec, broadcast_shapes, describe, dt, fail, is_tensor, np
from .activation import sigmoid_ref
from .dispatch import values_known
from .op import COMPOSITE, POINT, F, composite, primitive
from .rounding import limited

_REDUCTIONS = ("none", "mean", "sum")
_ENUM = {0: "none", 1: "mean", 2: "sum"}        # how the top-level functions write them


# ---------------------------------------------------------------------------------------------------- reduction
def reduction_of(reduction: str, size_average=None, reduce=None, extra: tuple = ()) -> str:
    """The reduction's name, checked; the legacy flags win over it, with PyTorch's warning."""
    if size_average is not None or reduce is not None:
        average, whole = size_average is None or size_average, reduce is None or reduce
        reduction = "none" if not whole else "mean" if average else "sum"
        warnings.warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
                      stacklevel=3)
    if reduction not in _REDUCTIONS and reduction not in extra:
        fail(ValueError, "P160", f"{reduction} is not a valid value for reduction", fix="use 'none', 'mean' or 'sum'")
    return reduction


def reduced(loss, reduction: str):
    """A tensor of losses, reduced."""
    return loss if reduction == "none" else F.mean(loss) if reduction == "mean" else F.sum(loss)


def reduce_array(loss, reduction: str):
    """An array of losses, reduced."""
    if reduction == "none":
        return loss
    total = np.add.reduce(loss, None)
    return np.asarray(total / loss.dtype.type(loss.size) if reduction == "mean" else total)


def loss_infer(input, target, *others, reduction, **attrs) -> Spec:
    shape = broadcast_shapes(*[s.shape for s in (input, target, *others) if isinstance(s, Spec)])
    return Spec(shape if reduction == "none" else (), input.dtype)


def share(g, reduction: str, n: int):
    """What of a reduced loss's gradient each of `n` elements gets."""
    return F.div(g, n) if reduction == "mean" else g


# ---------------------------------------------------------------------------------------------------- of differences
def difference_loss(name, value, slope, curve, made, turned, **defaults):
    """Define the operator `name` and its backward: a function of `input - target`. `value` and `slope` work on arrays; in
    operators, `made` and `turned` are the same and `curve` is the second derivative."""
    backward = name + "_backward"

    def ref(x, t, *, reduction, **attrs):
        return reduce_array(value(x - t, **attrs), reduction)

    def body(input, target, *, reduction, **attrs):
        return reduced(made(F.sub(input, target), **attrs), reduction)

    def backward_body(g, input, target, *, reduction, **attrs):
        n = max(math.prod(broadcast_shapes(input.shape, target.shape)), 1)
        return F.mul(turned(F.sub(input, target), **attrs), share(g, reduction, n))

    def backward_ref(g, x, t, *, reduction, **attrs):
        d = slope(x - t, **attrs)
        if reduction == "mean":
            g = g / x.dtype.type(max(d.size, 1))
        d *= g
        return d

    def vjp(g, input, target, attrs_, needs):
        r = getattr(F, backward)(g, input, target, **attrs_)
        return r if needs[0] else None, F.neg(r) if needs[1] else None

    def backward_vjp(g, grad, input, target, attrs_, needs):
        reduction = attrs_["reduction"]
        rest = {k: v for k, v in attrs_.items() if k != "reduction"}
        n = math.prod(broadcast_shapes(input.shape, target.shape))
        to_grad = to_input = None
        if needs[0]:
            each = getattr(F, backward)(g, input, target, reduction="none", **rest)
            to_grad = each if reduction == "none" else share(F.sum(each), reduction, n)
        if needs[1] or needs[2]:
            to_input = share(F.mul(F.mul(g, grad), curve(F.sub(input, target), **rest)), reduction, n)
        return to_grad, to_input if needs[1] else None, F.neg(to_input) if needs[2] else None

    def samples(m):
        return [((m.t(3, 4), m.t(3, 4)), {"reduction": r, **defaults}) for r in _REDUCTIONS] + \
            [((m.t(2, 0), m.t(2, 0)), {"reduction": "sum", **defaults})]

    @primitive(COMPOSITE, args="input target", name=name, ref=ref, body=body, infer=loss_infer, vjp=vjp, forms="", ns=(), samples=samples)
    def front(input, target, *, reduction, **attrs):
        a, b = input.dtype, target.dtype
        if a is not b:
            d = dt.promote_types(a, b)
            input, target = F.convert(input, d), F.convert(target, d)
        return (input, target), {"reduction": reduction, **attrs}

    @primitive(COMPOSITE, args="grad input target", name=backward, ref=backward_ref, body=backward_body, vjp=backward_vjp, forms="", ns=(),
               infer=lambda g, x, t, **attrs: x.like(broadcast_shapes(x.shape, t.shape)),
               samples=lambda m: [((m.t() if k["reduction"] != "none" else m.t(*a[0].shape), *a), k) for a, k in samples(m)])
    def backward_front(grad, input, target, **attrs):
        return (grad, input, target), attrs


def _flat(d, **attrs):
    return F.zeros_like(d)


difference_loss("mse", np.square, lambda d: d * 2, lambda d: F.full_like(d, 2.0), lambda d: F.square(d), lambda d: F.mul(d, 2))
difference_loss("l1", np.abs, np.sign, _flat, lambda d: F.abs(d), lambda d: F.sgn(d))


def bowl_of(d, width):
    """`bowl` in operators."""
    size = F.abs(d)
    inner = F.clamp_max(size, width)
    return F.mul(inner, F.sub(size, F.mul(inner, 0.5)))


def bowl(d, width):
    """`d**2 / 2` where |d| < width, `width (|d| - width / 2)` elsewhere."""
    size = np.abs(d)
    inner = limited(size, None, width)
    return inner * (size - 0.5 * inner)


difference_loss("smooth_l1", lambda d, *, beta: bowl(d, beta) / beta, lambda d, *, beta: limited(d / beta, -1, 1),
                lambda d, *, beta: F.where(F.lt(F.abs(d), beta), F.full_like(d, 1 / beta), 0.0),
                lambda d, *, beta: F.div(bowl_of(d, beta), beta), lambda d, *, beta: F.clamp(F.div(d, beta), -1, 1), beta=1.0)
difference_loss("huber", lambda d, *, delta: bowl(d, delta), lambda d, *, delta: limited(d, -delta, delta),
                lambda d, *, delta: F.where(F.le(F.abs(d), delta), F.full_like(d, 1.0), 0.0),
                lambda d, *, delta: bowl_of(d, delta), lambda d, *, delta: F.clamp(d, -delta, delta), delta=1.0)


def check_sizes(input, target) -> None:
    if tuple(target.shape) != tuple(input.shape):
        warnings.warn(f"Using a target size (torch.Size({list(target.shape)})) that is different to the input size "
                      f"(torch.Size({list(input.shape)})). This will likely lead to incorrect results due to broadcasting. "
                      "Please ensure they have the same size.", stacklevel=4)


def weighted(loss, weight, input, reduction, by_weight=True):
    """A tensor of losses times `weight`, reduced; the mean is over the weights' sum, or over the count."""
    if tuple(weight.shape) != tuple(input.shape):
        fail(ValueError, "P161", "Weights and input must have the same size.", got=describe(weight, input),
             fix="a weight per element: the shape of the input")
    loss = F.mul(loss, weight)
    if reduction == "mean" and by_weight:
        return F.div(F.sum(loss), F.sum(weight))
    return reduced(loss, reduction)


def _pairs(**kw):
    return lambda m: [(tuple(m.t(*shape) for _ in "it"), {"reduction": r, **kw})
                      for shape, r in (((3, 4), "none"), ((3, 4), "mean"), ((3, 4), "sum"), ((2, 0), "sum"))]


def _signed(m):
    """Scores and targets of -1 and 1, for every reduction."""
    return [((m.t(3, 4), F.sub(F.mul(m.i(3, 4, low=0, high=2), 2), 1)), {"reduction": r}) for r in _REDUCTIONS]


def _triplets(m):
    return [((m.t(n, 4), m.t(n, 4), m.t(n, 4)), {"swap": swap, "reduction": r})
            for n, swap, r in ((3, False, "mean"), (2, True, "none"), (0, False, "sum"))]


@composite(cast="high", ns="nn.functional", samples=_pairs())
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """`(input - target) ** 2`, reduced."""
    check_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if weight is not None:
        return weighted(F.mse(input, target, reduction="none"), weight, input, reduction)
    return F.mse(input, target, reduction=reduction)


@composite(cast="high", ns="nn.functional", samples=_pairs())
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """`|input - target|`, reduced."""
    check_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if input.is_complex() or target.is_complex():
        loss = F.abs(F.sub(input, target))
        return reduced(loss, reduction) if weight is None else weighted(loss, weight, input, reduction)
    if weight is not None:
        return weighted(F.l1(input, target, reduction="none"), weight, input, reduction)
    return F.l1(input, target, reduction=reduction)


@composite(cast="high", ns="nn.functional", samples=_pairs(beta=0.7))
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """`0.5 d**2 / beta` where |d| < beta, `|d| - 0.5 beta` elsewhere, for d = input - target, reduced."""
    check_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if beta < 0:
        fail(RuntimeError, "P162", "smooth_l1_loss does not support negative values for beta.", got=f"beta={beta}")
    return F.l1(input, target, reduction=reduction) if beta == 0 else F.smooth_l1(input, target, reduction=reduction, beta=beta)


@composite(cast="high", ns="nn.functional", samples=_pairs(delta=0.7))
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """`0.5 d**2` where |d| <= delta, `delta (|d| - 0.5 delta)` elsewhere, for d = input - target, reduced."""
    check_sizes(input, target)
    reduction_of(reduction)
    if delta <= 0:
        fail(RuntimeError, "P163", "huber_loss does not support non-positive values for delta.", got=f"delta={delta}")
    if weight is not None:
        return weighted(F.huber(input, target, reduction="none", delta=delta), weight, input, reduction, by_weight=False)
    return F.huber(input, target, reduction=reduction, delta=delta)


# ---------------------------------------------------------------------------------------------------- binary cross entropy
def check_probabilities(x) -> None:
    if x.size and not (0 <= x.min() and x.max() <= 1):
        fail(RuntimeError, "P164", "all elements of input should be between 0 and 1",
             got=f"values from {x.min():g} to {x.max():g}",
             fix="apply a sigmoid first, or use binary_cross_entropy_with_logits on the raw scores")


def checked_probabilities_ref(x):
    check_probabilities(x)
    return x.copy()


def checked_probabilities_scalar(b, x):
    b.guarded(b.select(b.and_(b.ge(x, 0), b.le(x, 1)), b.const(0, dt.int64), b.const(1, dt.int64)), 1)
    return x


@primitive(POINT, args="input", ref=checked_probabilities_ref, scalar=checked_probabilities_scalar, infer=lambda x: x.like(), forms="", ns=(),
           vjp={"input": lambda g: g}, samples=lambda m: [((m.t(3, low=0.1, high=0.9),), {}), ((m.t(2, 3, low=0.1, high=0.9),), {}), ((m.t(0),), {})])
def checked_probabilities(input):
    """The probabilities as they are; RuntimeError if one is not in [0, 1]."""
    return (input,), {}


def bce_ref(x, t, *, reduction):
    check_probabilities(x)
    return reduce_array((t - 1) * np.maximum(np.log1p(-x), -100) - t * np.maximum(np.log(x), -100), reduction)


def bce_backward_ref(g, x, t, *, reduction):
    r = (x - t) / np.maximum((1 - x) * x, x.dtype.type(1e-12))
    return r * (g / x.dtype.type(max(x.size, 1)) if reduction == "mean" else g)


def bce_body(input, target, *, reduction):
    input = F.checked_probabilities(input)
    off = F.mul(F.sub(target, 1), F.clamp_min(F.log1p(F.neg(input)), -100))
    return reduced(F.sub(off, F.mul(target, F.clamp_min(F.log(input), -100))), reduction)


def bce_backward_body(g, input, target, *, reduction):
    slope = F.div(F.sub(input, target), F.clamp_min(F.mul(F.sub(1, input), input), 1e-12))
    return F.mul(slope, share(g, reduction, max(input.numel(), 1)))


def _bce_vjp(g, input, target, reduction, needs):
    to_target = None
    if needs[1]:
        to_target = share(F.mul(g, F.sub(F.log1p(F.neg(input)), F.log(input))), reduction, input.numel())
    return F.bce_backward(g, input, target, reduction=reduction) if needs[0] else None, to_target


def _bce_backward_vjp(g, grad, input, target, reduction, needs):
    room = F.clamp_min(F.mul(F.sub(1, input), input), 1e-12)
    slope = F.div(F.sub(input, target), room)
    n = input.numel()
    out = [None, None, None]
    if needs[0]:
        each = F.mul(g, slope)
        out[0] = each if reduction == "none" else share(F.sum(each), reduction, n)
    if needs[1]:
        curve = F.div(F.sub(1, F.mul(slope, F.sub(1, F.mul(input, 2)))), room)
        out[1] = share(F.mul(F.mul(g, grad), curve), reduction, n)
    if needs[2]:
        out[2] = share(F.neg(F.div(F.mul(g, grad), room)), reduction, n)
    return tuple(out)


def _probabilities(m):
    u = lambda *s: m.t(*s, low=0.1, high=0.9)       # noqa: E731
    return [((u(3, 4), u(3, 4)), {"reduction": r}) for r in _REDUCTIONS] + [((u(2, 0), u(2, 0)), {"reduction": "sum"})]


@primitive(COMPOSITE, args="input target", ref=bce_ref, body=bce_body, infer=loss_infer, vjp=_bce_vjp, forms="", ns=(), samples=_probabilities)
def bce(input, target, *, reduction):
    """Binary cross entropy of probabilities."""
    return (input, target), {"reduction": reduction}


@primitive(COMPOSITE, args="grad input target", ref=bce_backward_ref, body=bce_backward_body, infer=lambda g, x, t, *, reduction: x.like(),
           vjp=_bce_backward_vjp, forms="", ns=(),
           samples=lambda m: [((m.t() if k["reduction"] != "none" else m.t(*a[0].shape), *a), k) for a, k in _probabilities(m)])
def bce_backward(grad, input, target, *, reduction):
    """The gradient of bce's probabilities."""
    return (grad, input, target), {"reduction": reduction}


@composite(cast="high", ns="nn.functional", samples=_probabilities)
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """`-(target log(input) + (1 - target) log(1 - input))` times `weight`, reduced; the logs are kept above -100."""
    reduction = reduction_of(reduction, size_average, reduce)
    if tuple(target.shape) != tuple(input.shape):
        fail(ValueError, "P165", f"Using a target size (torch.Size({list(target.shape)})) that is different to the input size "
             f"(torch.Size({list(input.shape)})) is deprecated. Please ensure they have the same size.",
             got=describe(input, target), fix="make the sizes equal: input.squeeze(), target.unsqueeze(1) or target.view_as(input)")
    if input.dtype is not target.dtype:
        fail(RuntimeError, "P166", f"Found dtype {target.dtype.type_name} but expected {input.dtype.type_name}",
             fix=f"convert the target with .to({input.dtype})")
    if weight is None:
        return F.bce(input, target, reduction=reduction)
    broadcast_shapes(weight.shape, target.shape)
    return reduced(F.mul(F.bce(input, target, reduction="none"), weight), reduction)


def bce_logits_ref(x, t, w, pw, *, reduction):
    tail = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)          # -log(sigmoid(x))
    loss = (1 - t) * x + (tail if pw is None else ((pw - 1) * t + 1) * tail)
    return reduce_array(loss if w is None else loss * w, reduction)


def bce_logits_backward_ref(g, x, t, w, pw, *, reduction):
    s = sigmoid_ref(x)
    r = s - t if pw is None else ((pw - 1) * t + 1) * s - pw * t
    if w is not None:
        r = r * w
    return r * (g / x.dtype.type(max(r.size, 1)) if reduction == "mean" else g)


def bce_logits_body(input, target, weight, pos_weight, *, reduction):
    tail = F.add(F.log1p(F.exp(F.neg(F.abs(input)))), F.clamp_min(F.neg(input), 0))
    if pos_weight is not None:
        tail = F.mul(F.add(F.mul(F.sub(pos_weight, 1), target), 1), tail)
    loss = F.add(F.mul(F.sub(1, target), input), tail)
    return reduced(loss if weight is None else F.mul(loss, weight), reduction)


def bce_logits_backward_body(g, input, target, weight, pos_weight, *, reduction):
    s = F.sigmoid(input)
    if pos_weight is None:
        r = F.sub(s, target)
    else:
        r = F.sub(F.mul(F.add(F.mul(F.sub(pos_weight, 1), target), 1), s), F.mul(pos_weight, target))
    if weight is not None:
        r = F.mul(r, weight)
    return F.mul(r, share(g, reduction, max(r.numel(), 1)))


def _bce_logits_vjp(g, input, target, weight, pos_weight, reduction, needs):
    n = math.prod(broadcast_shapes(*[x.shape for x in (input, target, weight, pos_weight) if x is not None]))
    each = share(g, reduction, n) if any(needs[1:]) else None
    weigh = (lambda x: x) if weight is None else (lambda x: F.mul(x, weight))
    out = [None, None, None, None]
    if needs[0]:
        out[0] = F.bce_logits_backward(g, input, target, weight, pos_weight, reduction=reduction)
    if needs[1]:
        slope = F.neg(input) if pos_weight is None else F.sub(F.logsigmoid(F.neg(input)),
                                                              F.mul(F.logsigmoid(input), pos_weight))
        out[1] = F.mul(each, weigh(slope))
    if needs[2]:
        out[2] = F.mul(each, F.bce_logits(input, target, None, pos_weight, reduction="none"))
    if needs[3]:
        out[3] = F.mul(each, weigh(F.neg(F.mul(target, F.logsigmoid(input)))))
    return tuple(out)


def _bce_logits_backward_vjp(g, grad, input, target, weight, pos_weight, reduction, needs):
    """Second derivatives by the definition in operators."""
    n = math.prod(broadcast_shapes(*[x.shape for x in (input, target, weight, pos_weight) if x is not None]))
    s = F.sigmoid(input)
    lift = None if pos_weight is None else F.add(F.mul(F.sub(pos_weight, 1), target), 1)
    out: list = [None] * 5
    v = g if weight is None else F.mul(g, weight)
    if needs[0]:
        each = F.bce_logits_backward(g, input, target, weight, pos_weight, reduction="none")
        out[0] = each if reduction == "none" else share(F.sum(each), reduction, n)
    v = share(F.mul(v, grad), reduction, n)
    if needs[1]:
        curve = F.mul(s, F.sub(1, s))
        out[1] = F.mul(v, curve if lift is None else F.mul(lift, curve))
    if needs[2]:
        out[2] = F.neg(v) if lift is None else F.mul(v, F.sub(F.mul(F.sub(pos_weight, 1), s), pos_weight))
    if needs[3]:
        slope = F.bce_logits_backward(F.ones_like(input), input, target, None, pos_weight, reduction="none")
        out[3] = share(F.mul(F.mul(g, grad), slope), reduction, n)
    if needs[4]:
        out[4] = F.mul(v, F.mul(target, F.sub(s, 1)))
    return tuple(out)


def _logit_samples(m):
    return [((m.t(3, 4), m.t(3, 4, low=0, high=1), None, None), {"reduction": r}) for r in _REDUCTIONS] + [
        ((m.t(2, 0), m.t(2, 0), None, None), {"reduction": "sum"}),
        ((m.t(3, 4), m.t(3, 4, low=0, high=1), m.t(4, low=0.5), m.t(4, low=0.5)), {"reduction": "mean"})]


@primitive(COMPOSITE, args="input target weight pos_weight", ref=bce_logits_ref, body=bce_logits_body, infer=loss_infer, vjp=_bce_logits_vjp,
           forms="",
           ns=(), samples=_logit_samples)
def bce_logits(input, target, weight, pos_weight, *, reduction):
    """Binary cross entropy of scores, with weights or None."""
    return (input, target, weight, pos_weight), {"reduction": reduction}


@primitive(COMPOSITE, args="grad input target weight pos_weight", ref=bce_logits_backward_ref, body=bce_logits_backward_body, vjp=_bce_logits_backward_vjp,
           infer=lambda g, x, *rest, reduction: x.like(broadcast_shapes(*[s.shape for s in (x, *rest) if isinstance(s, Spec)])),
           forms="", ns=(),
           samples=lambda m: [((m.t() if k["reduction"] != "none" else m.t(*a[0].shape), *a), k) for a, k in _logit_samples(m)])
def bce_logits_backward(grad, input, target, weight, pos_weight, *, reduction):
    """The gradient of bce_logits' scores."""
    return (grad, input, target, weight, pos_weight), {"reduction": reduction}


@composite(cast="high", ns="nn.functional",
           samples=lambda m: [(a[:2], {**k, "weight": a[2], "pos_weight": a[3]}) for a, k in _logit_samples(m)])
def binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None, reduction="mean",
                                     pos_weight=None):
    """Binary cross entropy of `sigmoid(input)`, computed without overflow. `pos_weight` multiplies the loss of positives."""
    reduction = reduction_of(reduction, size_average, reduce)
    if tuple(target.shape) != tuple(input.shape):
        fail(ValueError, "P167", f"Target size (torch.Size({list(target.shape)})) must be the same as input size "
             f"(torch.Size({list(input.shape)}))", fix="unsqueeze or reshape one of them")
    tensors = [x for x in (input, target, weight, pos_weight) if x is not None]
    if any(x.dtype is not input.dtype for x in tensors):
        d = input.dtype
        for x in tensors[1:]:
            d = dt.promote_types(d, x.dtype)
        input, target, weight, pos_weight = (None if x is None else F.convert(x, d) for x in (input, target, weight, pos_weight))
    return F.bce_logits(input, target, weight, pos_weight, reduction=reduction)


# ---------------------------------------------------------------------------------------------------- likelihoods
@composite(cast="high", ns="nn.functional", samples=lambda m: [
    ((m.t(3, 4), m.t(3, 4, low=0.1, high=1)), {"reduction": "sum"}),
    ((m.t(3, 4), m.t(3, 4)), {"log_target": True, "reduction": "batchmean"}),
    ((m.t(2, 0), m.t(2, 0)), {"reduction": "sum"})])
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """`target (log(target) - input)`: the Kullback-Leibler divergence of log-probabilities `input` from `target`."""
    if size_average is None and reduce is None and reduction == "mean":
        warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the support size."
                      "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
                      "'mean' will be changed to behave the same as 'batchmean' in the next major release.", stacklevel=3)
    reduction = reduction_of(reduction, size_average, reduce, extra=("batchmean",))
    if log_target:
        loss = F.mul(F.exp(target), F.sub(target, input))
    else:
        loss = F.sub(F.xlogy(target, target), F.mul(target, input))
    if reduction == "batchmean":
        loss = F.sum(loss)
        return F.div(loss, input.shape[0]) if input.ndim else loss
    return reduced(loss, reduction)


@composite(name="kl_div_enum", public="kl_div", samples=lambda m: [
    ((m.t(3, 4), m.t(3, 4, low=0.1, high=1), 2), {}), ((m.t(3, 4), m.t(3, 4)), {"log_target": True}), ((m.t(2, 0), m.t(2, 0), 0), {})])
def kl_div_enum(input, target, reduction=1, *, log_target=False):
    """`nn.functional.kl_div` with the reduction as a number: 0 none, 1 mean, 2 sum."""
    loss = F.kl_div(input, target, reduction="none", log_target=log_target)
    return reduced(loss, reduction_of(_ENUM.get(reduction, reduction)))


@composite(name="binary_cross_entropy_with_logits_enum", public="binary_cross_entropy_with_logits", samples=lambda m: [
    (a, {"reduction": r}) for (a, _), r in zip(_logit_samples(m)[2:], (1, 2, 0))])
def binary_cross_entropy_with_logits_enum(input, target, weight=None, pos_weight=None, reduction=1):
    """`nn.functional.binary_cross_entropy_with_logits` with the reduction as a number: 0 none, 1 mean, 2 sum."""
    return F.binary_cross_entropy_with_logits(input, target, weight, reduction=_ENUM.get(reduction, reduction), pos_weight=pos_weight)


@composite(ns=("", "nn.functional"), samples=_pairs(log_input=True))
def poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"):
    """The negative log likelihood of counts `target` under rates `exp(input)` (`input` if not `log_input`); `full` adds
    Stirling's approximation of log(target!)."""
    reduction = reduction_of(_ENUM.get(reduction, reduction), size_average, reduce)
    if log_input:
        loss = F.sub(F.exp(input), F.mul(target, input))
    else:
        loss = F.sub(input, F.mul(target, F.log(F.add(input, eps))))
    if full:
        stirling = F.add(F.sub(F.mul(target, F.log(target)), target), F.mul(F.log(F.mul(target, 2 * math.pi)), 0.5))
        loss = F.add(loss, F.where(F.le(target, 1), 0.0, stirling))
    return reduced(loss, reduction)


@composite(ns="nn.functional", samples=lambda m: [
    ((m.t(3, 4), m.t(3, 4), m.t(3, 4, low=0.5)), {"full": f}) for f in (True, False)] + [((m.t(2, 0), m.t(2, 0), m.t(2, 0)), {"reduction": "sum"})])
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """The negative log likelihood of `target` under a normal distribution with mean `input` and variance `var`, a tensor
    (of input's shape, or with a last dimension left out or of size 1) or a number; variances are kept above `eps`."""
    if not is_tensor(var):
        if var < 0:
            fail(ValueError, "P168", "var has negative entry/entries")
        var = F.full_like(input, var)
    elif values_known() and bool(F.any(F.lt(var, 0))):
        fail(ValueError, "P168", "var has negative entry/entries")
    have, want = tuple(var.shape), tuple(input.shape)
    if have != want:
        if have == want[:-1]:
            var = F.unsqueeze(var, -1)
        elif len(have) != len(want) or sum(y for x, y in zip(want, have) if x != y) != 1:
            fail(ValueError, "P169", "var is of incorrect size", got=describe(input, var))
    if reduction not in _REDUCTIONS:
        fail(ValueError, "P170", f"{reduction} is not valid", fix="choose 'mean', 'sum' or 'none'")
    var = F.add(var, F.sub(F.clamp_min(var.detach(), eps), var.detach()))       # clamped, the gradient passing through
    d = F.sub(input, target)
    loss = F.mul(F.add(F.log(var), F.div(F.mul(d, d), var)), 0.5)
    if full:
        loss = F.add(loss, 0.5 * math.log(2 * math.pi))
    return reduced(loss, reduction)


# ---------------------------------------------------------------------------------------------------- margins
@composite(ns=("", "nn.functional"), samples=_signed)
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """`input` where target is 1, `max(0, margin - input)` where it is -1, reduced."""
    reduction = reduction_of(_ENUM.get(reduction, reduction), size_average, reduce)
    far = F.where(F.ne(target, 1), F.clamp_min(F.sub(margin, input), 0), 0)
    near = F.where(F.ne(target, -1), input, 0)
    return reduced(F.add(far, near), reduction)


@composite(ns="nn.functional", samples=_signed)
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """`log(1 + exp(-target * input))`, reduced."""
    reduction = reduction_of(reduction, size_average, reduce)
    return reduced(F.log1p(F.exp(F.mul(F.neg(target), input))), reduction)


@composite(ns=("", "nn.functional"), samples=lambda m: [
    ((m.t(*s), m.t(*s), F.sub(F.mul(m.i(*s, low=0, high=2), 2), 1)), {"margin": 0.3, "reduction": r})
    for s, r in (((5,), "mean"), ((2, 3), "none"), ((0,), "sum"))])
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """`max(0, -target (input1 - input2) + margin)`, reduced: target 1 wants input1 larger, -1 smaller."""
    reduction = reduction_of(_ENUM.get(reduction, reduction), size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        fail(RuntimeError, "P171", "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
             f"torch.Size({list(input1.shape)}), input2: torch.Size({list(input2.shape)}), target: torch.Size({list(target.shape)}) ")
    return reduced(F.clamp_min(F.add(F.mul(F.neg(target), F.sub(input1, input2)), margin), 0), reduction)


@composite(ns=("", "nn.functional"), samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(2, 3, 4), m.t(3, 4)), {"dim": 2}),
                                                        ((m.t(0, 4), m.t(0, 4)), {})])
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """`x1 . x2 / (max(|x1|, eps) max(|x2|, eps))` along `dim`, with broadcasting."""
    d = dt.promote_types(x1.dtype, x2.dtype)
    if d.category < dt.FLOAT:
        fail(RuntimeError, "P172", f"expected common dtype to be floating point, yet common dtype is {d.type_name}")
    x1, x2 = (x if x.dtype is d else F.convert(x, d) for x in (x1, x2))
    shape = broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = (x if tuple(x.shape) == shape else F.expand(x, shape) for x in (x1, x2))

    def unit(x):
        size = F.sqrt(F.sum(F.mul(x, x), dim, keepdim=True)) if not x.is_complex() else F.linalg_vector_norm(x, 2, dim, True)
        floor = F.sub(F.clamp_min(size.detach(), eps), size.detach())       # the gradient ignores the floor
        plain = values_known() and not bool(F.any(F.eq(size, 0)))
        return F.div(x, F.add(size, floor)) if plain else _unit_with_zeros(x, dim, eps)
    return F.sum(F.mul(unit(x1), unit(x2)), dim)


def _unit_with_zeros(x, dim, eps):
    """x / max(|x|, eps) where some |x| are 0: the norm's gradient there is 0, not nan."""
    square = F.sum(F.mul(x, x), dim, keepdim=True)
    zero = F.eq(square, 0)
    size = F.where(zero, 0.0, F.sqrt(F.where(zero, 1.0, square)))
    floor = F.sub(F.clamp_min(size.detach(), eps), size.detach())
    return F.div(x, F.add(size, floor))


@composite(ns=("", "nn.functional"), samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}),
                                                        ((m.t(3, 4), m.t(4)), {"p": 1.0, "keepdim": True}),
                                                        ((m.t(0, 4), m.t(0, 4)), {})])
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """`|x1 - x2 + eps|_p` along the last dimension."""
    broadcast_shapes(x1.shape, x2.shape)
    return F.linalg_vector_norm(F.add(F.sub(x1, x2), eps), p, -1, keepdim)


@composite(cast="high", ns=("", "nn.functional"), samples=lambda m: [
    ((m.t(n, 4), m.t(n, 4), F.sub(F.mul(m.i(n, low=0, high=2), 2), 1)), {"margin": 0.2, "reduction": r})
    for n, r in ((3, "mean"), (5, "none"), (0, "sum"))])
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """`1 - cos(x1, x2)` where target is 1, `max(0, cos(x1, x2) - margin)` where it is -1, reduced."""
    reduction = reduction_of(_ENUM.get(reduction, reduction), size_average, reduce)
    if not ((target.ndim == 1 and input1.ndim == 2) or (target.ndim == 0 and input1.ndim == 1)):
        got = f"but got a target of shape [{', '.join(map(str, target.shape))}]"
        if target.ndim > 1:
            fail(RuntimeError, "P173", "0D or 1D target tensor expected, multi-target not supported", got=describe(target))
        fail(RuntimeError, "P174", f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, {got}",
             got=describe(input1, input2, target))
    eps = 1e-12
    dim = target.ndim
    dot = F.sum(F.mul(input1, input2), dim)
    size1 = F.add(F.sum(F.mul(input1, input1), dim), eps)
    size2 = F.add(F.sum(F.mul(input2, input2), dim), eps)
    cos = F.div(dot, F.sqrt(F.mul(size1, size2)))
    near = F.where(F.eq(target, 1), F.sub(1, cos), 0)
    far = F.where(F.eq(target, -1), F.clamp_min(F.sub(cos, margin), 0), 0)
    return reduced(F.add(near, far), reduction)


@composite(ns=("", "nn.functional"), samples=_triplets)
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None,
                        reduction="mean"):
    """`max(0, |anchor - positive|_p - |anchor - negative|_p + margin)`, reduced; `swap` also counts |positive - negative|."""
    reduction = reduction_of(_ENUM.get(reduction, reduction), size_average, reduce)
    if margin <= 0:
        fail(ValueError, "P175", f"margin must be greater than 0, got {margin}")
    return triplet(lambda a, b: F.pairwise_distance(a, b, p, eps), anchor, positive, negative, margin, swap, reduction,
                   "triplet_margin_loss")


@composite(ns="nn.functional", samples=_triplets)
def triplet_margin_with_distance_loss(anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False,
                                      reduction="mean"):
    """triplet_margin_loss with a distance function of the user's."""
    reduction_of(reduction)
    if margin <= 0:
        fail(ValueError, "P175", f"margin must be greater than 0, got {margin}")
    return triplet(distance_function or F.pairwise_distance, anchor, positive, negative, margin, swap, reduction,
                   "triplet_margin_with_distance_loss")


def triplet(distance, anchor, positive, negative, margin, swap, reduction, name):
    a, p, n = anchor.ndim, positive.ndim, negative.ndim
    if not a == p == n:
        fail(RuntimeError, "P176", "The anchor, positive, and negative tensors are expected to have the same number of dimensions, "
             f"but got: anchor {a}D, positive {p}D, and negative {n}D inputs")
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = F.minimum(far, distance(positive, negative))
    return reduced(F.clamp_min(F.add(F.sub(near, far), margin), 0), reduction)
