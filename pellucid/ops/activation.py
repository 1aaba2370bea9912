"""Activation functions. Each is one node: a NumPy reference, its slope as a fused backward operator, and the slope's own
derivative in operators, so that second derivatives work.

`F.name` is the operator on its own; the functions of `nn.functional` add the `inplace` argument, which writes the result
to the input.
"""
from __future__ import annotations

from ._common import as_int, describe, dt, fail, need_tensor, np, point_infer, wrap_dim
from .compare import blend, keep
from .elementwise import binary, check_pair, conj, not_implemented, unary
from .op import FLOAT, POINT, SAME, F, composite, point, primitive
from .rounding import blocked, limited


# ---------------------------------------------------------------------------------------------------- definitions
def both(m, **kw):
    """Samples for an activation with arguments `kw`."""
    return [((m.t(*shape, low=-3, high=3),), dict(kw)) for shape in ((3, 4), (2, 0), ())]


def activation(name, ref, slope, curve=None, *, scalar, rise, defaults=None, refuse="bool int complex", kernel=None, samples=None,
               passes=0, **kw):
    """Define `name` and its backward operator. `ref(x, **attrs)` and `slope(x, **attrs)` work on arrays; `scalar(b, x, **attrs)`
    and `rise(b, x, **attrs)` are the same for kernels, given a builder; `curve(x, **attrs)`
    gives the second derivative in operators (None: it is zero). `defaults` are the attributes with their default values, `passes` says roughly how often the arrays are
    read: many are worth blocking."""
    defaults = defaults or {}
    backward = name + "_backward"

    if passes > 4:
        ref, slope = blocked(ref), blocked(slope)

    def backward_ref(g, x, **attrs):
        s = slope(x, **attrs)
        if s.dtype.kind == "b":
            return keep(s, g)
        return g * (np.conj(s) if s.dtype.kind == "c" else s)

    def backward_scalar(b, g, x, **attrs):
        s = rise(b, needs_float(b, x), **attrs)
        return b.select(s, g, b.const(0, g)) if s.dtype is dt.bool_ else b.mul(g, s)

    def second(g, grad, input, attrs_):
        return F.zeros_like(input) if curve is None else F.mul(F.mul(conj(g), grad), conj(curve(input, **attrs_)))

    if defaults:
        rule = lambda g, input, attrs_: getattr(F, backward)(g, input, **attrs_)        # noqa: E731
        rules = {"grad": lambda g, input, attrs_: getattr(F, backward)(g, conj(input), **attrs_), "input": second}
    else:
        rule = lambda g, input: getattr(F, backward)(g, input)                          # noqa: E731
        rules = {"grad": lambda g, input: getattr(F, backward)(g, conj(input)),
                 "input": lambda g, grad, input: second(g, grad, input, {})}

    def backward_front(grad, input, **attrs):
        return (grad, input), attrs
    backward_front.plain = not defaults
    point(backward, backward_ref, rules, args="grad input", scalar=backward_scalar, front=backward_front, promote=SAME, infer=point_infer, forms="",
          ns=(),
          module=__name__, doc=f"The gradient of {name}'s argument, given that of its result.",
          samples=lambda m: [((m.t(3, 4), m.t(3, 4)), dict(defaults)), ((m.t(2, 0), m.t(2, 0)), dict(defaults)),
                             ((m.t(5), m.t(5)), dict(defaults))])

    def front(input, *values, **attrs):
        need_tensor(input, name)
        d = input.dtype
        if d.category in refused:
            not_implemented(kernel or name + "_cpu", d)
        return (input,), {**defaults, **dict(zip(defaults, values)), **attrs}
    refused = {{"bool": dt.BOOL, "int": dt.INT, "float": dt.FLOAT, "complex": dt.COMPLEX}[w] for w in refuse.split()}
    front.plain = not defaults
    kw.setdefault("forms", "inplace")
    kw.setdefault("ns", ())
    kw.setdefault("public", name if kw["ns"] else "_" + name)
    kw.setdefault("promote", SAME)
    point(name, ref, rule, scalar=scalar, front=front, infer=point_infer, module=__name__, samples=samples or (lambda m: both(m, **defaults)),
          **kw)


def needs_float(b, x):
    """An operand that has a gradient: what the references make of integers here has no use."""
    return x if x.dtype.is_floating_point else b.refuse("gradients of integers")


def functional(name, body, doc, *, samples=None, also=()):
    """`nn.functional.name`: a composite over the operator, with `inplace`. `also` adds namespaces."""
    body.__doc__ = doc
    composite(name="nn_" + name, public=name, ns=("nn.functional", *also), samples=samples or (lambda m: both(m)))(body)


def write(input, op, *args, **kwargs):
    """Run the in-place form of the activation `op` on `input`."""
    return getattr(input, op + "_")(*args, **kwargs)


# ---------------------------------------------------------------------------------------------------- relu and its kin
def relu_ref(x):
    return limited(x, 0, None)


def _relu_front(input):
    need_tensor(input, "relu")
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P150", "Boolean inputs not supported for relu", got=describe(input))
    if input.is_complex():
        not_implemented("clamp is not supported for complex types", input.dtype)
    return (input,), {}


_relu_front.plain = True
binary("relu_backward", lambda g, out: keep(~np.less_equal(out, 0), g),
       {"input": lambda g, other: F.relu_backward(g, other), "other": lambda g: F.zeros_like(g)}, takes="TT", forms="", ns=(),
       module=__name__, scalar=lambda b, g, out: b.select(b.le(out, 0), b.const(0, g), g), doc="The gradient `input` where relu's result `other` is above 0, else 0.")
unary("relu", relu_ref, lambda g, out: F.relu_backward(g, out), front=_relu_front, promote=SAME,
      forms="function method inplace",
      onnx="Relu", module=__name__, scalar=lambda b, x: b.max(x, 0), doc="`max(input, 0)`.")


def nn_relu(input, inplace=False):
    return write(input, "relu") if inplace else F.relu(input)


functional("relu", nn_relu, "`max(input, 0)`.")


def clip_ref(x, *, min_val, max_val):
    return limited(x, x.dtype.type(min_val), x.dtype.type(max_val))


activation("hardtanh", clip_ref, lambda x, *, min_val, max_val: (x > min_val) & (x < max_val),
           scalar=lambda b, x, *, min_val, max_val: b.min(b.max(x, min_val), max_val),
           rise=lambda b, x, *, min_val, max_val: b.and_(b.gt(x, min_val), b.lt(x, max_val)),
           defaults={"min_val": -1.0, "max_val": 1.0}, refuse="bool complex", kernel="hardtanh_cpu", of_result=True)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    if min_val > max_val:
        fail(ValueError, "P151", "min_val cannot be greater than max_val", got=f"min_val={min_val}, max_val={max_val}")
    return (write(input, "_hardtanh", min_val=min_val, max_val=max_val) if inplace
            else F.hardtanh(input, min_val=min_val, max_val=max_val))


functional("hardtanh", hardtanh, "`input` limited to [min_val, max_val]; no gradient at or beyond the limits.")


def relu6(input, inplace=False):
    return hardtanh(input, 0.0, 6.0, inplace)


functional("relu6", relu6, "`min(max(input, 0), 6)`.")


def leaky_ref(x, *, negative_slope):
    low = x * x.dtype.type(negative_slope)
    return np.maximum(x, low) if negative_slope <= 1 else np.minimum(x, low)


def leaky_slope(x, *, negative_slope):
    slope = x.dtype.type(negative_slope)
    return np.maximum(x > 0, slope) if 0 <= slope <= 1 else np.where(x > 0, x.dtype.type(1), slope)


def leaky_scalar(b, x, *, negative_slope):
    return (b.max if negative_slope <= 1 else b.min)(x, b.mul(x, negative_slope))


activation("leaky_relu", leaky_ref, leaky_slope, scalar=leaky_scalar,
           rise=lambda b, x, *, negative_slope: b.select(b.gt(x, 0), b.const(1, x), negative_slope), defaults={"negative_slope": 0.01}, onnx="LeakyRelu")


def leaky_relu(input, negative_slope=0.01, inplace=False):
    return (write(input, "_leaky_relu", negative_slope=negative_slope) if inplace
            else F.leaky_relu(input, negative_slope=negative_slope))


functional("leaky_relu", leaky_relu, "`input` where positive, `negative_slope * input` elsewhere.")


def threshold_ref(x, *, threshold, value):
    return np.where(x <= threshold, x.dtype.type(value), x)


activation("threshold", threshold_ref, lambda x, *, threshold, value: ~(x <= threshold),
           scalar=lambda b, x, *, threshold, value: b.select(b.le(x, threshold), b.const(value, x), x),
           rise=lambda b, x, *, threshold, value: b.not_(b.le(x, threshold)), refuse="bool complex",
           defaults={"threshold": 0.0, "value": 0.0}, kernel="threshold_cpu")


def threshold(input, threshold, value, inplace=False):
    return (write(input, "_threshold", threshold=threshold, value=value) if inplace
            else F.threshold(input, threshold=threshold, value=value))


functional("threshold", threshold, "`input` where above `threshold`, `value` elsewhere.", also=("",),
           samples=lambda m: [(a + (0.1, -1.0), k) for a, k in both(m)])


# ---------------------------------------------------------------------------------------------------- exponential units
def elu_ref(x, *, alpha, scale, input_scale):
    kind = x.dtype.type
    low = np.expm1(limited(x, None, 0) * kind(input_scale)) * kind(alpha * scale)      # 0 where x > 0
    return limited(x, 0, None) * kind(scale) + low


def elu_slope(x, *, alpha, scale, input_scale):
    kind = x.dtype.type
    factor = alpha * scale * input_scale
    low = np.exp(limited(x, None, 0) * kind(input_scale)) * kind(factor)                # `factor` where x > 0
    return low + (x > 0) * kind(scale - factor)


def elu_curve(x, *, alpha, scale, input_scale):
    low = F.mul(F.exp(F.mul(F.clamp_max(x, 0.0), input_scale)), alpha * scale * input_scale * input_scale)
    return F.where(F.gt(x, 0), 0.0, low)


def elu_scalar(b, x, *, alpha, scale, input_scale):
    low = b.mul(b.expm1(b.mul(b.min(x, 0), input_scale)), alpha * scale)
    return b.add(b.mul(b.max(x, 0), scale), low)


def elu_rise(b, x, *, alpha, scale, input_scale):
    factor = alpha * scale * input_scale
    low = b.mul(b.exp(b.mul(b.min(x, 0), input_scale)), factor)
    return b.add(low, b.select(b.gt(x, 0), b.const(scale - factor, x), 0))


activation("elu", elu_ref, elu_slope, elu_curve, scalar=elu_scalar, rise=elu_rise, defaults={"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}, onnx="Elu")
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def elu(input, alpha=1.0, inplace=False):
    return write(input, "_elu", alpha=alpha) if inplace else F.elu(input, alpha=alpha)


def selu(input, inplace=False):
    if inplace:
        return write(input, "_elu", alpha=SELU_ALPHA, scale=SELU_SCALE)
    return F.elu(input, alpha=SELU_ALPHA, scale=SELU_SCALE)


def celu(input, alpha=1.0, inplace=False):
    if alpha == 0:
        fail(RuntimeError, "P152", "ZeroDivisionError: alpha cannot be 0 for CELU")
    return (write(input, "_elu", alpha=alpha, input_scale=1.0 / alpha) if inplace
            else F.elu(input, alpha=alpha, input_scale=1.0 / alpha))


functional("elu", elu, "`input` where positive, `alpha * (exp(input) - 1)` elsewhere (arXiv:1511.07289).")
functional("selu", selu, "Scaled elu with the self-normalising constants (arXiv:1706.02515).", also=("",))
functional("celu", celu, "`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))` (arXiv:1704.07483).", also=("",))


# ---------------------------------------------------------------------------------------------------- sigmoids
def sigmoid_ref(x):
    r = np.exp(-x)
    r += 1
    return np.divide(1, r)


def sigmoid_backward_ref(g, out):
    slope = (1 - out) * out
    return g * (np.conj(slope) if slope.dtype.kind == "c" else slope)


binary("sigmoid_backward", sigmoid_backward_ref,
       {"input": lambda g, other: F.sigmoid_backward(g, conj(other)),
        "other": lambda g, input, other: F.mul(F.mul(conj(g), input), conj(F.sub(1, F.mul(other, 2))))},
       takes="TT", forms="", ns=(), module=__name__, scalar=lambda b, g, out: b.mul(g, b.mul(b.sub(1, needs_float(b, out)), out)),
       doc="The gradient `input` of sigmoid's result `other`, as that of its argument.")
unary("sigmoid", sigmoid_ref, lambda g, out: F.sigmoid_backward(g, out), promote=FLOAT, ns=("", "nn.functional"),
      onnx="Sigmoid", scalar=lambda b, x: b.sigmoid(x),
      module=__name__, doc="`1 / (1 + exp(-input))`.")


def log_sigmoid_ref(x):
    return limited(x, None, 0) - np.log1p(np.exp(-np.abs(x)))


def softness(b, x):
    """log(1 + exp(-|x|))"""
    return b.log1p(b.exp(b.neg(b.abs(x))))


def _sigmoid_curve(x):
    s = F.sigmoid(x)
    return F.mul(s, F.sub(1, s))


activation("logsigmoid", log_sigmoid_ref, lambda x: sigmoid_ref(-x), lambda x: F.neg(_sigmoid_curve(x)), passes=6,
           scalar=lambda b, x: b.sub(b.min(x, 0), softness(b, x)), rise=lambda b, x: b.sigmoid(b.neg(x)),
           public="logsigmoid",
           ns="nn.functional", forms="function", kernel="log_sigmoid_cpu", doc="`log(sigmoid(input))` without overflow.")


def softplus_ref(x, *, beta, threshold):
    z = x * x.dtype.type(beta)
    soft = (limited(z, 0, None) + np.log1p(np.exp(-np.abs(z)))) / x.dtype.type(beta)
    return blend(z > threshold, x, soft)


def softplus_slope(x, *, beta, threshold):
    z = x * x.dtype.type(beta)
    return np.where(z > threshold, x.dtype.type(1), sigmoid_ref(z))


def softplus_curve(x, *, beta, threshold):
    z = F.mul(x, beta)
    return F.where(F.gt(z, threshold), 0.0, F.mul(_sigmoid_curve(z), beta))


def softplus_scalar(b, x, *, beta, threshold):
    z = b.mul(x, beta)
    return b.select(b.gt(z, threshold), x, b.div(b.add(b.max(z, 0), softness(b, z)), beta))


def softplus_rise(b, x, *, beta, threshold):
    z = b.mul(x, beta)
    return b.select(b.gt(z, threshold), b.const(1, x), b.sigmoid(z))


activation("softplus_", softplus_ref, softplus_slope, softplus_curve, scalar=softplus_scalar, rise=softplus_rise, passes=9, defaults={"beta": 1.0, "threshold": 20.0}, forms="",
           kernel="softplus_cpu")


@composite(ns="nn.functional", samples=lambda m: both(m) + both(m, beta=2.0, threshold=1.0))
def softplus(input, beta=1.0, threshold=20.0):
    """`log(1 + exp(beta * input)) / beta`; the input itself where `beta * input > threshold`."""
    return getattr(F, "softplus_")(input, beta=beta, threshold=threshold)


def silu_slope(x):
    s = sigmoid_ref(x)
    return s * (1 + x * (1 - s))


def silu_curve(x):
    s = F.sigmoid(x)
    return F.mul(F.mul(s, F.sub(1, s)), F.add(F.mul(x, F.sub(1, F.mul(s, 2))), 2))


def silu_rise(b, x):
    s = b.sigmoid(x)
    return b.mul(s, b.add(b.mul(x, b.sub(1, s)), 1))


activation("silu", lambda x: x * sigmoid_ref(x), silu_slope, silu_curve, scalar=lambda b, x: b.mul(x, b.sigmoid(x)), rise=silu_rise, refuse="bool int")


def silu(input, inplace=False):
    return write(input, "_silu") if inplace else F.silu(input)


functional("silu", silu, "`input * sigmoid(input)`, also called swish (arXiv:1702.03118).")


def mish_slope(x):
    t = np.tanh(limited(x, 0, None) + np.log1p(np.exp(-np.abs(x))))
    return t + x * (1 - t * t) * sigmoid_ref(x)


def mish_curve(x):
    t, s = F.tanh(F.softplus(x)), F.sigmoid(x)
    slope = F.mul(F.sub(1, F.mul(t, t)), s)
    bend = F.sub(F.sub(1, s), F.mul(F.mul(t, s), 2))
    return F.mul(slope, F.add(F.mul(x, bend), 2))


def _mish_tanh(b, x):
    return b.tanh(b.add(b.max(x, 0), softness(b, x)))


def mish_rise(b, x):
    t = _mish_tanh(b, x)
    return b.add(t, b.mul(b.mul(x, b.sub(1, b.mul(t, t))), b.sigmoid(x)))


activation("mish", lambda x: x * np.tanh(limited(x, 0, None) + np.log1p(np.exp(-np.abs(x)))), mish_slope, mish_curve,
           scalar=lambda b, x: b.mul(x, _mish_tanh(b, x)), rise=mish_rise, passes=8)


def mish(input, inplace=False):
    return write(input, "_mish") if inplace else F.mish(input)


functional("mish", mish, "`input * tanh(softplus(input))` (arXiv:1908.08681).")


# ---------------------------------------------------------------------------------------------------- piecewise sigmoids
def _hard(b, x):
    return b.min(b.max(b.add(x, 3), 0), 6)


activation("hardsigmoid", lambda x: limited(x + 3, 0, 6) / 6,
           lambda x: ((x > -3) & (x < 3)) * x.dtype.type(1 / 6), onnx="HardSigmoid", scalar=lambda b, x: b.div(_hard(b, x), 6),
           rise=lambda b, x: b.select(b.and_(b.gt(x, -3), b.lt(x, 3)), b.const(1 / 6, x), 0))


def hardsigmoid(input, inplace=False):
    return write(input, "_hardsigmoid") if inplace else F.hardsigmoid(input)


functional("hardsigmoid", hardsigmoid, "`min(max(input + 3, 0), 6) / 6`.")


def hardswish_slope(x):
    return keep(x > -3, blend(x < 3, x / 3 + x.dtype.type(0.5), np.ones_like(x)))


def hardswish_rise(b, x):
    return b.select(b.gt(x, -3), b.select(b.lt(x, 3), b.add(b.div(x, 3), 0.5), 1), 0)


activation("hardswish", lambda x: x * limited(x + 3, 0, 6) / 6, hardswish_slope,
           lambda x: F.where(F.logical_and(F.gt(x, -3), F.lt(x, 3)), F.full_like(x, 1 / 3), 0.0), onnx="HardSwish",
           scalar=lambda b, x: b.div(b.mul(x, _hard(b, x)), 6), rise=hardswish_rise)


def hardswish(input, inplace=False):
    return write(input, "_hardswish") if inplace else F.hardswish(input)


functional("hardswish", hardswish, "`input * hardsigmoid(input)` (arXiv:1905.02244).")


# ---------------------------------------------------------------------------------------------------- shrinking
def shrunk(b, x, *, lambd):
    """Whether `x` lies outside [-lambd, lambd]."""
    return b.or_(b.lt(x, -lambd), b.gt(x, lambd))


def hardshrink_scalar(b, x, *, lambd):
    return b.select(b.and_(b.ge(x, -lambd), b.le(x, lambd)), b.const(0, x), x)


activation("hardshrink_", lambda x, *, lambd: keep(~((x >= -lambd) & (x <= lambd)), x),
           lambda x, *, lambd: (x < -lambd) | (x > lambd), scalar=hardshrink_scalar, rise=shrunk,
           defaults={"lambd": 0.5}, forms="", kernel="hardshrink_cpu")


@composite(ns=("", "nn.functional"), forms="function method", samples=lambda m: both(m) + both(m, lambd=1.0))
def hardshrink(input, lambd=0.5):
    """`input`, but 0 within [-lambd, lambd]."""
    if input.dtype in dt.LOW_PRECISION:         # the bound is rounded as the elements are
        lambd = float(np.asarray(lambd, input.dtype.np))
    return getattr(F, "hardshrink_")(input, lambd=lambd)


def softshrink_ref(x, *, lambd):
    return x - limited(x, -lambd, lambd)


activation("softshrink_", softshrink_ref, lambda x, *, lambd: (x < -lambd) | (x > lambd), defaults={"lambd": 0.5}, forms="",
           scalar=lambda b, x, *, lambd: b.sub(x, b.min(b.max(x, -lambd), lambd)), rise=shrunk, kernel="softshrink_cpu")


@composite(ns="nn.functional", samples=lambda m: both(m) + both(m, lambd=1.0))
def softshrink(input, lambd=0.5):
    """`input` moved towards 0 by `lambd`, and 0 within [-lambd, lambd]."""
    if lambd < 0:
        fail(RuntimeError, "P153", f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return getattr(F, "softshrink_")(input, lambd=lambd)


activation("tanhshrink", lambda x: x - np.tanh(x), lambda x: np.square(np.tanh(x)), ns="nn.functional", forms="function",
           scalar=lambda b, x: b.sub(x, b.tanh(x)), rise=lambda b, x: b.square(b.tanh(x)),
           curve=lambda x: F.mul(F.mul(F.tanh(x), 2), F.sub(1, F.square(F.tanh(x)))), promote=FLOAT, refuse="",
           doc="`input - tanh(input)`.")
activation("softsign", lambda x: x / (np.abs(x) + 1), lambda x: 1 / np.square(np.abs(x) + 1), ns="nn.functional",
           forms="function", scalar=lambda b, x: b.div(x, b.add(b.abs(x), 1)), rise=lambda b, x: b.recip(b.square(b.add(b.abs(x), 1))),
           curve=lambda x: F.mul(F.sgn(x), F.mul(F.pow(F.add(F.abs(x), 1), -3.0), -2)), promote=FLOAT, refuse="",
           onnx="Softsign", doc="`input / (1 + |input|)`.")


# ---------------------------------------------------------------------------------------------------- parametric
def prelu_ref(x, weight):
    return np.where(x > 0, x, weight * x)


def _prelu_vjp(g, input, weight, needs):
    up = F.gt(input, 0)
    return (F.where(up, g, F.mul(g, weight)) if needs[0] else None,
            F.where(up, 0.0, F.mul(g, input)) if needs[1] else None)


@primitive(POINT, args="input weight", name="prelu_kernel", ref=prelu_ref, infer=point_infer, promote=SAME, vjp=_prelu_vjp,
           scalar=lambda b, x, w: b.select(b.gt(needs_float(b, x), 0), x, b.mul(w, x)), forms="", ns=(), onnx="PRelu",
           samples=lambda m: [((m.t(3, 4), m.t(4)), {}), ((m.t(2, 0), m.t(1)), {}), ((m.t(5), m.t()), {})])
def prelu_kernel(input, weight):
    """`input` where positive, `weight * input` elsewhere."""
    return (input, weight), {}


@composite(ns=("", "nn.functional"), forms="function method",
           samples=lambda m: [((m.t(3, 4), m.t(4)), {}), ((m.t(2, 3, 5), m.t(3)), {}), ((m.t(2, 0), m.t(1)), {})])
def prelu(input, weight):
    """`input` where positive, `weight * input` elsewhere: one weight, or one per channel (dimension 1)."""
    check_pair("prelu", "TT", input, weight, "weight")
    if input.dtype is not weight.dtype:
        fail(RuntimeError, "P154", "prelu: Type promoting not supported. Got "
             f"{input.dtype.type_name} and {weight.dtype.type_name}")
    if weight.ndim > 1:
        fail(RuntimeError, "P155", f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1:
        if input.ndim == 0:
            fail(RuntimeError, "P156", "Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.numel():
            fail(RuntimeError, "P157", "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                 f"{weight.numel()} and channel size = {channels}.", got=describe(input, weight))
        weight = F.reshape(weight, (1, channels) + (1,) * (input.ndim - 2))
    elif weight.ndim:
        weight = F.reshape(weight, ())
    return F.prelu_kernel(input, weight)


@composite(ns="nn.functional", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(4, 3),), {"dim": 0}), ((m.t(0, 2),), {})])
def glu(input, dim=-1):
    """The first half along `dim` times the sigmoid of the second half (arXiv:1612.08083)."""
    need_tensor(input, "glu")
    if input.ndim == 0:
        fail(RuntimeError, "P158", "glu does not support 0-dimensional tensors")
    d = wrap_dim(as_int(dim, "glu", "dim"), input.ndim)
    n = input.shape[d]
    if n % 2:
        fail(RuntimeError, "P159", f"Halving dimension must be even, but dimension {d} is size {n}", got=describe(input))
    lead = (slice(None),) * d
    return F.mul(F.basic_index(input, lead + (slice(0, n // 2),)), F.sigmoid(F.basic_index(input, lead + (slice(n // 2, n),))))


# ---------------------------------------------------------------------------------------------------- in-place functions
def _inplace_function(name, body, ns=("nn.functional",)):
    def run(input, *args, **kwargs):
        return body(input, *args, inplace=True, **kwargs)
    run.__name__ = name + "_"
    more = (0.1, -1.0) if name == "threshold" else ()
    composite(name=f"{name}_inplace", public=f"{name}_", ns=ns, doc=f"`{name}` written to its input.",
              samples=lambda m: [((m.t(*shape).detach(), *more), {}) for shape in ((3, 4), (2, 0), (5,))])(run)


for _name, _body, _ns in (("relu", nn_relu, ("nn.functional",)), ("hardtanh", hardtanh, ("nn.functional",)),
                          ("leaky_relu", leaky_relu, ("nn.functional",)), ("elu", elu, ("nn.functional",)),
                          ("threshold", threshold, ("", "nn.functional")), ("selu", selu, ("", "nn.functional")),
                          ("celu", celu, ("", "nn.functional"))):
    _inplace_function(_name, _body, _ns)
