"""Softmax and its relatives along one dimension: probabilities that sum to 1, or their logarithms.

In: a floating-point tensor, a dimension, optionally a dtype to convert to first. Out: a tensor of the same shape.
True always: the largest element is subtracted before `exp`, so nothing overflows. Forward and backward are one node each.
"""
from __future__ import annotations

import warnings

from ._common import Spec, as_int, dt, fail, need_tensor, np, wrap_dim
from .elementwise import not_implemented
from .op import COMPOSITE, F, composite, primitive
from .reduce import EXACT, lines


def soft_front(fn: str, kernel: str, input, dim, dtype):
    """Canonical operands: the dtype converted, the dimension counted from the front."""
    need_tensor(input, fn)
    if dtype is not None and dtype is not input.dtype:
        input = F.convert(input, dt.as_dtype(dtype))
    if dim is None:
        fail(TypeError, "P2473", f"{fn}() missing 1 required positional arguments: \"dim\"", fix="say along which dimension, as dim=-1")
    d = wrap_dim(dim if type(dim) is int else as_int(dim, fn, "dim"), input.ndim)
    if input.dtype.category != dt.FLOAT and input.numel():
        not_implemented(f"{kernel}_lastdim_kernel_impl" if d >= input.ndim - 1 else f"{kernel}_kernel_impl", input.dtype)
    return (input,), {"dim": d}


def same_infer(spec: Spec, *rest, **attrs) -> Spec:
    return spec.like()


_SAMPLES = lambda m: [((m.t(3, 4), 1), {}), ((m.t(2, 3, 4), 0), {}), ((m.t(2, 3), -1), {"dtype": dt.float64}),    # noqa: E731
                      ((m.t(0, 3), 1), {}), ((m.t(3, 0), 1), {}), ((m.t(), 0), {})]


# ---------------------------------------------------------------------------------------------------- softmax
def softmax_ref(a, *, dim):
    if not a.size:
        return a.copy()
    x = lines(a)
    r = np.subtract(x, np.maximum.reduce(x, dim, None, None, True))
    np.exp(r, out=r)
    r /= np.add.reduce(r, dim, None, None, True)
    return r.reshape(a.shape)


def softmax_body(input, dim):
    if not input.numel():
        return F.zeros_like(input)
    e = F.exp(F.sub(input, F.amax(input, dim, True)))
    return F.div(e, F.sum(e, dim, True))


@primitive(COMPOSITE, batch="shift", args="input", ref=softmax_ref, body=softmax_body, infer=same_infer, ns=("", "special"), forms="function method out",
           onnx="Softmax", exact_out=EXACT, samples=_SAMPLES, cast="gpu-high",
           vjp={"input": lambda g, out, dim: F.softmax_backward(g, out, dim)})
def softmax(input, dim=None, dtype=None):
    """`exp(x) / sum(exp(x))` along `dim`: probabilities that sum to 1."""
    return soft_front("softmax", "softmax", input, dim, dtype)


def softmax_backward_ref(g, out, *, dim):
    if not out.size:
        return np.zeros_like(out)
    g, p = lines(g), lines(out)
    r = g * p
    total = np.add.reduce(r, dim, None, None, True)
    r -= p * total
    return r.reshape(out.shape)


def softmax_backward_body(g, out, dim):
    weighted = F.mul(g, out)
    return F.sub(weighted, F.mul(out, F.sum(weighted, dim, True)))


@primitive(COMPOSITE, batch="shift", args="g out", ref=softmax_backward_ref, body=softmax_backward_body, forms="", infer=same_infer,
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), 1), {}), ((m.t(2, 3, 4), m.t(2, 3, 4), 0), {}), ((m.t(0, 3), m.t(0, 3), 1), {})])
def softmax_backward(g, out, dim):
    """The gradient of softmax's input from its result's gradient and the result."""
    return (g, out), {"dim": dim}


# ---------------------------------------------------------------------------------------------------- log_softmax
def log_softmax_ref(a, *, dim):
    if not a.size:
        return a.copy()
    x = lines(a)
    r = np.subtract(x, np.maximum.reduce(x, dim, None, None, True))
    r -= np.log(np.add.reduce(np.exp(r), dim, None, None, True))
    return r.reshape(a.shape)


def log_softmax_body(input, dim):
    if not input.numel():
        return F.zeros_like(input)
    shifted = F.sub(input, F.amax(input, dim, True))
    return F.sub(shifted, F.log(F.sum(F.exp(shifted), dim, True)))


@primitive(COMPOSITE, batch="shift", args="input", ref=log_softmax_ref, body=log_softmax_body, infer=same_infer, ns=("", "special"),
           forms="function method out", onnx="LogSoftmax", exact_out=EXACT, samples=_SAMPLES, cast="gpu-high",
           vjp={"input": lambda g, out, dim: F.log_softmax_backward(g, out, dim)})
def log_softmax(input, dim=None, dtype=None):
    """The logarithm of `softmax`, computed without taking the logarithm of small numbers."""
    return soft_front("log_softmax", "log_softmax", input, dim, dtype)


def log_softmax_backward_ref(g, out, *, dim):
    if not out.size:
        return np.zeros_like(out)
    g, y = lines(g), lines(out)
    r = np.exp(y)
    r *= np.add.reduce(g, dim, None, None, True)
    np.subtract(g, r, out=r)
    return r.reshape(out.shape)


def log_softmax_backward_body(g, out, dim):
    return F.sub(g, F.mul(F.exp(out), F.sum(g, dim, True)))


@primitive(COMPOSITE, batch="shift", args="g out", ref=log_softmax_backward_ref, body=log_softmax_backward_body, forms="", infer=same_infer,
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), 1), {}), ((m.t(2, 3, 4), m.t(2, 3, 4), 0), {}), ((m.t(0, 3), m.t(0, 3), 1), {})])
def log_softmax_backward(g, out, dim):
    """The gradient of log_softmax's input from its result's gradient and the result."""
    return (g, out), {"dim": dim}


def _backward_data(name: str):
    def body(grad_output, output, dim, input_dtype):
        g = getattr(F, name)(grad_output, output, wrap_dim(dim, output.ndim))
        return g if g.dtype is input_dtype else F.convert(g, dt.as_dtype(input_dtype))
    return body


for _name in ("softmax", "log_softmax"):
    composite(_backward_data(f"{_name}_backward"), name=f"_{_name}_backward_data", forms="function",
              doc=f"The gradient of {_name}'s input, in `input_dtype`, from its result's gradient and the result.",
              samples=lambda m: [((m.t(3, 4), m.t(3, 4), 1, m.dtype), {}), ((m.t(2, 3, 4), m.t(2, 3, 4), 0, m.dtype), {}),
                                 ((m.t(0, 3), m.t(0, 3), 1, m.dtype), {})])


# ---------------------------------------------------------------------------------------------------- nn.functional
def chosen_dim(fn: str, dim, ndim: int, stacklevel: int) -> int:
    """The dimension; without one, PyTorch's old implicit choice and its warning."""
    if dim is not None:
        return dim
    warnings.warn(f"Implicit dimension choice for {fn} has been deprecated. Change the call to include dim=X as an argument.",
                  stacklevel=stacklevel + 2)
    return 0 if ndim in (0, 1, 3) else 1


@composite(name="nn_softmax", public="softmax", ns="nn.functional", forms="function", samples=_SAMPLES)
def nn_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """`exp(x) / sum(exp(x))` along `dim`: probabilities that sum to 1."""
    return F.softmax(input, chosen_dim("softmax", dim, input.ndim, _stacklevel) if dim is None else dim, dtype)


@composite(name="nn_log_softmax", public="log_softmax", ns="nn.functional", forms="function", samples=_SAMPLES)
def nn_log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """The logarithm of `softmax` along `dim`."""
    return F.log_softmax(input, chosen_dim("log_softmax", dim, input.ndim, _stacklevel) if dim is None else dim, dtype)


@composite(ns="nn.functional", forms="function", samples=_SAMPLES)
def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """`softmax(-x)` along `dim`."""
    return F.softmax(F.neg(input), chosen_dim("softmin", dim, input.ndim, _stacklevel) if dim is None else dim, dtype)


@composite(ns="nn.functional", forms="function", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(3, 4), 0.5), {"dim": 0}), ((m.t(0, 3),), {})])
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """A sample from the Gumbel-softmax distribution (Jang et al., 2017) of `logits` at temperature `tau`.

    With `hard`, one-hot in value and soft in gradient (straight-through)."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=3)
    noise = F.neg(F.log(F.empty_like(F.detach(logits)).exponential_()))
    soft = F.softmax(F.div(F.add(logits, noise), tau), dim)
    if not hard:
        return soft
    index = F.max(F.detach(soft), dim, True)[1]
    one_hot = F.scatter(F.zeros_like(F.detach(soft)), dim, index, 1.0)
    return F.add(F.sub(one_hot, F.detach(soft)), soft)
