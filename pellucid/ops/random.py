"""Random operators: the same numbers as PyTorch on CPU (see `core.rng`).

In: shapes or tensors, parameters, an optional `generator` (else the default one). Out: new values; the generator moves on.
Stays true: memory is filled in the order PyTorch fills it, so the layout of a tensor decides which element gets which
number. The derivative with respect to whatever was there before, or to the parameters, is zero.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable

from ..core import rng
from ..core.device import check
from ..core.layout import contiguous_format, order_of, preserve_format
from ..core.rng import Engine, default_engine
from ._common import Spec, as_int, as_ints, as_size, broadcast_shapes, describe, dt, fail, is_tensor, need_tensor, np
from .creation import finish
from .op import RANDOM, F, composite, primitive


def engine_of(generator, fn: str) -> Engine | None:
    """The engine of a user's `generator=` argument; None stands for the default one."""
    if generator is None:
        return None
    engine = getattr(generator, "_engine", None)
    if isinstance(engine, Engine):
        return engine
    fail(TypeError, "P290", f"{fn}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}",
         fix="make one with pellucid.Generator().manual_seed(seed)")


def number(x, fn: str, arg: str) -> float:
    """A Python float from a number or a one-element tensor."""
    if isinstance(x, (int, float)):
        return float(x)
    if is_tensor(x) or isinstance(x, np.generic):
        return float(x)
    fail(TypeError, "P214", f"{fn}(): argument '{arg}' must be float, not {type(x).__name__}")


def zeros_for(g):
    return F.zeros_like(g)


# ---------------------------------------------------------------------------------------------------- in place
def fill_ref(draw: Callable) -> Callable:
    """The reference of an in-place draw, from `draw(engine, shape, dtype, contiguous, **attrs)`."""
    def ref(a, *, engine, **attrs):
        engine = engine or default_engine()
        if a.flags.c_contiguous:
            return draw(engine, a.shape, a.dtype, True, **attrs)
        return rng.in_order(a.shape, rng.memory_order(a), lambda shape: draw(engine, shape, a.dtype, False, **attrs))
    return ref


def same_spec(spec: Spec, **attrs) -> Spec:
    return spec


def fill_op(name: str, draw: Callable):
    """Decorator over the front of `Tensor.<name>_`, which replaces every element by a draw."""
    return primitive(RANDOM, name=name + "_fill", public=name, args="input", forms="inplace", ref=fill_ref(draw),
                     infer=same_spec, low=False, vjp={"input": zeros_for},
                     samples=lambda m: [((m.t(3, 4), *_SAMPLE.get(name, ())), {}), ((m.t(17), *_SAMPLE.get(name, ())), {}),
                                        ((m.t(0, 2), *_SAMPLE.get(name, ())), {})])


_SAMPLE = {"geometric": (0.3,)}


def from_to(fn: str, args: tuple, kwargs: dict, defaults: tuple) -> tuple:
    """The arguments `from` (a keyword in Python) and `to`, by position or by name."""
    names = ("from", "to")
    values = list(args) + [None] * (2 - len(args))
    if len(args) > 2 or any(k not in names[len(args):] for k in kwargs):
        given = [type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()]
        fail(TypeError, "P037", f"{fn}() received an invalid combination of arguments - got ({', '.join(given)})",
             fix=f"call x.{fn}(), x.{fn}(from, to), or name them with **{{'from': ..., 'to': ...}}")
    for i, k in enumerate(names):
        if k in kwargs:
            values[i] = kwargs[k]
    return tuple(d if v is None else v for v, d in zip(values, defaults))


@fill_op("uniform", lambda e, shape, dtype, contiguous, *, low, high: e.uniform(shape, low, high, dtype))
def uniform_fill(input, *args, generator=None, **kwargs):
    """`x.uniform_(from=0, to=1)`: uniform numbers in [from, to)."""
    low, high = from_to("uniform_", args, kwargs, (0.0, 1.0))
    return (input,), {"low": number(low, "uniform_", "from"), "high": number(high, "uniform_", "to"),
                      "engine": engine_of(generator, "uniform_")}


@fill_op("normal", lambda e, shape, dtype, contiguous, *, mean, std: e.normal(shape, mean, std, dtype, contiguous))
def normal_fill(input, mean=0.0, std=1.0, *, generator=None):
    """`x.normal_(mean=0, std=1)`: normal numbers. Complex tensors get real and imaginary parts of half the variance."""
    return (input,), {"mean": number(mean, "normal_", "mean"), "std": number(std, "normal_", "std"),
                      "engine": engine_of(generator, "normal_")}


@fill_op("log_normal", lambda e, shape, dtype, contiguous, *, mean, std: e.log_normal(shape, mean, std, dtype))
def log_normal_fill(input, mean=1.0, std=2.0, *, generator=None):
    """`x.log_normal_(mean=1, std=2)`: numbers whose logarithm is normal."""
    return (input,), {"mean": number(mean, "log_normal_", "mean"), "std": number(std, "log_normal_", "std"),
                      "engine": engine_of(generator, "log_normal_")}


@fill_op("exponential", lambda e, shape, dtype, contiguous, *, lambd: e.exponential(shape, lambd, dtype))
def exponential_fill(input, lambd=1.0, *, generator=None):
    """`x.exponential_(lambd=1)`: exponential numbers of rate `lambd`."""
    return (input,), {"lambd": number(lambd, "exponential_", "lambd"), "engine": engine_of(generator, "exponential_")}


@fill_op("cauchy", lambda e, shape, dtype, contiguous, *, median, sigma: e.cauchy(shape, median, sigma, dtype))
def cauchy_fill(input, median=0.0, sigma=1.0, *, generator=None):
    """`x.cauchy_(median=0, sigma=1)`: Cauchy numbers."""
    return (input,), {"median": number(median, "cauchy_", "median"), "sigma": number(sigma, "cauchy_", "sigma"),
                      "engine": engine_of(generator, "cauchy_")}


@fill_op("geometric", lambda e, shape, dtype, contiguous, *, p: e.geometric(shape, p, dtype))
def geometric_fill(input, p, *, generator=None):
    """`x.geometric_(p)`: trials up to and including the first success of probability `p`."""
    return (input,), {"p": number(p, "geometric_", "p"), "engine": engine_of(generator, "geometric_")}


def draw_random(engine, shape, dtype, contiguous, *, low, high):
    return engine.random(shape, dtype) if low is None else engine.randint(shape, low, high, dtype)


@fill_op("random", draw_random)
def random_fill(input, *args, generator=None, **kwargs):
    """`x.random_()`, `x.random_(to)`, `x.random_(from, to)`: integers; `to=None` means up to the dtype's largest."""
    if not args and not kwargs:
        low = high = None
    elif len(args) == 1 and not kwargs:
        low, high = 0, as_int(args[0], "random_", "to")
    else:
        low, high = from_to("random_", args, kwargs, (0, None))
        low, high = as_int(low, "random_", "from"), None if high is None else as_int(high, "random_", "to")
    return (input,), {"low": low, "high": high, "engine": engine_of(generator, "random_")}


def bernoulli_fill_ref(a, p, *, engine):
    engine = engine or default_engine()
    if not isinstance(p, np.ndarray):
        if a.flags.c_contiguous:
            return engine.bernoulli(a.shape, p, a.dtype)
        return rng.in_order(a.shape, rng.memory_order(a), lambda shape: engine.bernoulli(shape, p, a.dtype))
    p = np.broadcast_to(p, a.shape)
    order = rng.memory_order(a)
    return rng.in_order(a.shape, order, lambda shape: engine.bernoulli_of(p.transpose(order), a.dtype))


def bernoulli_fill_infer(a: Spec, p, *, engine) -> Spec:
    if isinstance(p, Spec) and broadcast_shapes(a.shape, p.shape) != a.shape:
        fail(RuntimeError, "P229", f"The expanded size of the tensor {list(a.shape)} must match the existing size {list(p.shape)}",
             got=describe(a, p), fix="the probabilities must broadcast to the tensor")
    return a


@primitive(RANDOM, name="bernoulli_fill", public="bernoulli", args="input p", forms="inplace", ref=bernoulli_fill_ref,
           infer=bernoulli_fill_infer, low=False, vjp={"input": zeros_for, "p": zeros_for},
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3), 0.2), {}),
                              ((m.t(2, 3), m.t(3, low=0.1, high=0.9)), {}), ((m.t(0),), {})])
def bernoulli_fill(input, p=0.5, *, generator=None):
    """`x.bernoulli_(p=0.5)`: ones with probability `p` (a number or a tensor that broadcasts), else zeros."""
    p = p if is_tensor(p) else number(p, "bernoulli_", "p")
    return (input, p), {"engine": engine_of(generator, "bernoulli_")}


# ---------------------------------------------------------------------------------------------------- new tensors
def new_ref(draw: Callable) -> Callable:
    def ref(*, shape, dtype, order, engine, **attrs):
        engine = engine or default_engine()
        if order is None:
            return draw(engine, shape, dtype.np, True, **attrs)
        return rng.in_order(shape, order, lambda s: draw(engine, s, dtype.np, False, **attrs))
    return ref


def new_infer(*, shape, dtype, order, engine, **attrs) -> Spec:
    return Spec(shape, dtype)


def new_op(name: str, draw: Callable):
    """Decorator over the front of a draw of given shape and dtype, in memory whose dimensions lie in `order`."""
    return primitive(RANDOM, name=name, args="", forms="", ref=new_ref(draw), infer=new_infer, low=False, grads=False)


@new_op("uniform_new", lambda e, shape, dtype, contiguous: e.uniform(shape, dtype=dtype))
def uniform_new(shape, dtype, engine=None, order=None):
    """Uniform numbers in [0, 1) as a new tensor."""
    return (), {"shape": shape, "dtype": dtype, "order": order, "engine": engine}


@new_op("normal_new", lambda e, shape, dtype, contiguous, *, mean, std: e.normal(shape, mean, std, dtype, contiguous))
def normal_new(shape, dtype, engine=None, order=None, mean=0.0, std=1.0):
    """Normal numbers as a new tensor."""
    return (), {"shape": shape, "dtype": dtype, "order": order, "engine": engine, "mean": mean, "std": std}


@new_op("randint_new", lambda e, shape, dtype, contiguous, *, low, high: e.randint(shape, low, high, dtype))
def randint_new(shape, dtype, low, high, engine=None, order=None):
    """Integers in [low, high) as a new tensor."""
    return (), {"shape": shape, "dtype": dtype, "order": order, "engine": engine, "low": low, "high": high}


def randperm_ref(*, n, dtype, engine):
    return (engine or default_engine()).randperm(n, dtype.np)


@primitive(RANDOM, name="randperm_new", args="", forms="", ref=randperm_ref, low=False, grads=False,
           infer=lambda *, n, dtype, engine: Spec((n,), dtype))
def randperm_new(n, dtype, engine=None):
    """0 to n-1 in random order, as a new tensor."""
    return (), {"n": n, "dtype": dtype, "engine": engine}


def order_like(input, fmt) -> tuple[int, ...] | None:
    """The order of dimensions in memory of a new tensor like `input`; None for row-major."""
    if fmt is None or fmt is contiguous_format:
        return None
    shape = tuple(input.shape)
    if fmt is preserve_format:
        strides = tuple(input.stride())
        if input.is_contiguous() or 0 in strides:
            return None
        order = tuple(sorted(range(len(shape)), key=lambda d: -strides[d]))
    else:
        order = order_of(fmt, len(shape))
        if order is None:
            fail(RuntimeError, "P038", f"required rank {4 if fmt.name == 'channels_last' else 5} tensor to use {fmt.name} format",
                 got=describe(input))
    real = [d for d in order if shape[d] != 1]
    return None if real == sorted(real) else order


def wanted_dtype(dtype, out, default: dt.dtype | None = None) -> dt.dtype:
    """The dtype a factory function makes: as asked, or `out`'s, or the default."""
    d = None if dtype is None else dt.as_dtype(dtype)
    if out is None:
        return d or default or dt.get_default_dtype()
    if d is not None and d is not out.dtype:
        fail(RuntimeError, "P213", f"dtype {d.type_name} does not match dtype of out parameter ({out.dtype.type_name})")
    return out.dtype


def deliver(t, out, requires_grad: bool):
    """A factory's result: `t` itself, or `out` holding its values."""
    if out is None:
        return finish(t, requires_grad)
    if tuple(out.shape) != tuple(t.shape):
        if out.numel():
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not match "
                          f"the required output shape {list(t.shape)}. This behavior is deprecated, and in a future PyTorch release "
                          "outputs will not be resized unless they have zero elements. You can explicitly reuse an out tensor t by "
                          "resizing it, inplace, to zero elements with t.resize_(0).", UserWarning, stacklevel=4)
        out.resize_(tuple(t.shape))
    return out.copy_(t)


def sizes(args: tuple, size, fn: str) -> tuple[int, ...]:
    if size is None:
        return as_size(args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args, fn)
    if args:
        fail(TypeError, "P037", f"{fn}() received an invalid combination of arguments - got both positional sizes and size=",
             fix="give the sizes once")
    return as_size(as_ints(size, fn, "size"), fn)


@composite(samples=lambda m: [((2, 3), {}), (((17,),), {}), ((0, 4), {"dtype": dt.float64})])
def rand(*args, size=None, generator=None, out=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Uniform numbers in [0, 1): `rand(2, 3)`, `rand((2, 3))`. Floating or complex dtype."""
    check(device)
    t = F.uniform_new(sizes(args, size, "rand"), wanted_dtype(dtype, out), engine_of(generator, "rand"))
    return deliver(t, out, requires_grad)


@composite(samples=lambda m: [((2, 3), {}), (((17,),), {}), ((0, 4), {"dtype": dt.float64})])
def randn(*args, size=None, generator=None, out=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Standard normal numbers: `randn(2, 3)`, `randn((2, 3))`. Floating or complex dtype."""
    check(device)
    t = F.normal_new(sizes(args, size, "randn"), wanted_dtype(dtype, out), engine_of(generator, "randn"))
    return deliver(t, out, requires_grad)


@composite(batch="like", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(17),), {"dtype": dt.float64}), ((m.t(0, 4),), {})])
def rand_like(input, *, generator=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False,
              memory_format=preserve_format):
    """Uniform numbers in [0, 1) with `input`'s shape, dtype and memory format."""
    check(device)
    t = F.uniform_new(tuple(input.shape), wanted_dtype(dtype, None, input.dtype), engine_of(generator, "rand_like"),
                      order_like(input, memory_format))
    return finish(t, requires_grad)


@composite(batch="like", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(17),), {"dtype": dt.float64}), ((m.t(0, 4),), {})])
def randn_like(input, *, generator=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False,
               memory_format=preserve_format):
    """Standard normal numbers with `input`'s shape, dtype and memory format."""
    check(device)
    t = F.normal_new(tuple(input.shape), wanted_dtype(dtype, None, input.dtype), engine_of(generator, "randn_like"),
                     order_like(input, memory_format))
    return finish(t, requires_grad)


def low_high(fn: str, args: tuple, low, high) -> tuple[int, int]:
    """`f(high)`, `f(low, high)`, by position or by name."""
    if len(args) == 2:
        low, high = args
    elif len(args) == 1:
        if high is None:
            high = args[0]
        else:
            low = args[0]
    if high is None or len(args) > 2:
        fail(TypeError, "P037", f"{fn}() missing 1 required positional arguments: \"high\"",
             fix=f"call {fn}(high, ...) or {fn}(low, high, ...)")
    low, high = as_int(low, fn, "low"), as_int(high, fn, "high")
    for v in (low, high):
        if not -(1 << 63) <= v < 1 << 63:
            fail(ValueError, "P290", "Overflow when unpacking long long", got=f"{v}", fix="use a bound in [-2**63, 2**63)")
    return low, high


@composite(samples=lambda m: [((10, (2, 3)), {}), ((-5, 5, (17,)), {}), ((3,), {"size": (0, 4), "dtype": dt.float32})])
def randint(*args, low=0, high=None, size=None, generator=None, out=None, dtype=None, layout=None, device=None, pin_memory=False,
            requires_grad=False):
    """Integers in [low, high): `randint(high, size)`, `randint(low, high, size)`. int64 unless `dtype` says else."""
    check(device)
    if size is None:
        if not args or not isinstance(args[-1], (tuple, list)):
            fail(TypeError, "P037", "randint() missing 1 required positional arguments: \"size\"", got=describe(*args),
                 fix="give the shape as a tuple: randint(10, (2, 3))")
        *args, size = args
    low, high = low_high("randint", tuple(args), low, high)
    t = F.randint_new(as_size(size, "randint"), wanted_dtype(dtype, out, dt.int64), low, high, engine_of(generator, "randint"))
    return deliver(t, out, requires_grad)


@composite(batch="like", samples=lambda m: [((m.t(2, 3), 10), {}), ((m.i(17), -5, 5), {}), ((m.t(0, 4), 3), {"dtype": dt.int64})])
def randint_like(input, *args, low=0, high=None, generator=None, dtype=None, layout=None, device=None, pin_memory=False,
                 requires_grad=False, memory_format=preserve_format):
    """Integers in [low, high) with `input`'s shape, dtype and memory format."""
    check(device)
    low, high = low_high("randint_like", args, low, high)
    t = F.randint_new(tuple(input.shape), wanted_dtype(dtype, None, input.dtype), low, high,
                      engine_of(generator, "randint_like"), order_like(input, memory_format))
    return finish(t, requires_grad)


@composite(samples=lambda m: [((5,), {}), ((17,), {"dtype": dt.int32}), ((0,), {})])
def randperm(n, *, generator=None, out=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """The integers from 0 to n-1 in random order (int64 unless `dtype` says else)."""
    check(device)
    t = F.randperm_new(as_int(n, "randperm", "n"), wanted_dtype(dtype, out, dt.int64), engine_of(generator, "randperm"))
    return deliver(t, out, requires_grad)


def normal_of_ref(mean, std, *, engine):
    engine = engine or default_engine()
    if not isinstance(std, np.ndarray):
        z = engine.normal(mean.shape, 0.0, std, mean.dtype)
        return (z + mean).astype(mean.dtype)
    if std.size and not std.min() >= 0:
        fail(RuntimeError, "P291", "normal expects all elements of std >= 0.0", fix="take the absolute value of std")
    dtype = mean.dtype if isinstance(mean, np.ndarray) else std.dtype
    shape = np.broadcast_shapes(np.shape(mean), std.shape)
    z = (engine.normal(shape, 0.0, 1.0, dtype) * std).astype(dtype)
    return (z + np.asarray(mean, dtype)).astype(dtype)


def normal_of_infer(mean, std, *, engine) -> Spec:
    tensors = [s for s in (mean, std) if isinstance(s, Spec)]
    return Spec(broadcast_shapes(*[s.shape for s in tensors]), tensors[0].dtype)


@primitive(RANDOM, args="mean std", forms="", ref=normal_of_ref, infer=normal_of_infer, low=False,
           vjp={"mean": zeros_for, "std": zeros_for})
def normal_of(mean, std, generator=None):
    """Normal numbers of given means and standard deviations, at least one of them a tensor."""
    if is_tensor(std) and std.dtype.is_complex:
        fail(RuntimeError, "P291", "normal expects standard deviation to be non-complex", got=describe(mean, std),
             fix="the standard deviation must be a real number, 0 or more")
    return (mean, std), {"engine": engine_of(generator, "normal")}


def normal_samples(m):
    """Without gradients: PyTorch defines them as zero, which finite differences at a fixed seed do not see."""
    mean, std = m.t(2, 3).detach(), m.t(3, low=0.1).detach()
    return [((0.0, 1.0, (2, 3)), {}), ((m.t(17).detach(), 0.5), {}), ((mean, std), {}), ((0.0, m.t(0, low=0.1).detach()), {})]


@composite(samples=normal_samples)
def normal(mean, std=1.0, size=None, *, generator=None, out=None, dtype=None, layout=None, device=None, pin_memory=False,
           requires_grad=False):
    """Normal numbers: `normal(mean, std)` with a tensor of means, of deviations, or both (they broadcast), or
    `normal(mean, std, size)` with two numbers."""
    check(device)
    if is_tensor(mean) or is_tensor(std):
        numbers = not any(is_tensor(x) and x.ndim for x in (mean, std))
        if size is not None and not numbers:
            fail(TypeError, "P037", f"normal() received an invalid combination of arguments - got ({describe(mean, std)}, size)",
                 fix="leave size out: the shape is that of the tensors")
        if size is None:
            return deliver(F.normal_of(mean, std, generator), out, False)
    if size is None:
        fail(TypeError, "P037", f"normal() received an invalid combination of arguments - got ({type(mean).__name__}, "
             f"{type(std).__name__})", fix="give a size: normal(mean, std, (2, 3))")
    t = F.normal_new(as_size(size, "normal"), wanted_dtype(dtype, out), engine_of(generator, "normal"), None,
                     number(mean, "normal", "mean"), number(std, "normal", "std"))
    return deliver(t, out, requires_grad)


# ---------------------------------------------------------------------------------------------------- draws from tensors
def bernoulli_ref(a, *, p, engine):
    engine = engine or default_engine()
    return engine.bernoulli_of(a) if p is None else engine.bernoulli(a.shape, p, a.dtype)


@primitive(RANDOM, args="input", forms="", ref=bernoulli_ref, infer=lambda s, *, p, engine: s.like(), low=False,
           vjp={"input": zeros_for})
def bernoulli_of(input, p=None, engine=None):
    """Ones with the probabilities in `input`, or with probability `p`, else zeros."""
    return (input,), {"p": p, "engine": engine}


@composite(forms="function method",
           samples=lambda m: [((m.t(2, 3, low=0.1, high=0.9),), {}), ((m.t(17), 0.3), {}), ((m.t(0, low=0.1, high=0.9),), {})])
def bernoulli(input, p=None, *, generator=None, out=None):
    """Ones with the probabilities in `input`, else zeros; with `p`, its probability and only `input`'s shape and dtype."""
    need_tensor(input, "bernoulli")
    p = None if p is None else number(p, "bernoulli", "p")
    return deliver(F.bernoulli_of(input, p, engine_of(generator, "bernoulli")), out, False)


def multinomial_ref(a, *, n, replacement, engine):
    return (engine or default_engine()).multinomial(a, n, replacement)


def multinomial_batch(b, x, *, n, replacement, engine):
    rows = F.contiguous(b.full(x))
    return F.reshape(F.multinomial_of(F.reshape(rows, (-1, x.shape[-1])), n, replacement, engine), (b.size, *x.shape[:-1], n))


@primitive(RANDOM, batch=multinomial_batch, args="input", forms="", ref=multinomial_ref, low=False, grads=False,
           infer=lambda s, *, n, replacement, engine: Spec((*s.shape[:-1], n), dt.int64))
def multinomial_of(input, n, replacement, engine=None):
    """`n` indices drawn by the weights in each row of `input`."""
    return (input,), {"n": n, "replacement": replacement, "engine": engine}


@composite(forms="function method",
           samples=lambda m: [((m.t(2, 5, low=0.1), 3), {}), ((m.t(5, low=0.1), 7, True), {}), ((m.t(0, 5, low=0.1), 1), {})])
def multinomial(input, num_samples, replacement=False, *, generator=None, out=None):
    """Indices (int64) drawn by the weights in `input`, of shape [k] or [rows, k], with or without replacement."""
    need_tensor(input, "multinomial")
    if out is not None and out.dtype is not dt.int64:
        fail(RuntimeError, "P297", f"multinomial expects Long tensor out, got: {out.dtype.type_name}",
             fix="make `out` of dtype int64")
    n = as_int(num_samples, "multinomial", "num_samples")
    return deliver(F.multinomial_of(input, n, bool(replacement), engine_of(generator, "multinomial")), out, False)


def poisson_ref(a, *, engine):
    return (engine or default_engine()).poisson(a)


@primitive(RANDOM, args="input", ref=poisson_ref, infer=lambda s, *, engine: s.like(), low=False, vjp={"input": zeros_for},
           samples=lambda m: [((m.t(2, 3, low=0.1, high=20.0),), {}), ((m.t(17, low=0.1),), {}), ((m.t(0, low=0.1),), {})])
def poisson(input, generator=None):
    """Poisson counts for the rates in `input`, in its dtype."""
    need_tensor(input, "poisson")
    return (input,), {"engine": engine_of(generator, "poisson")}


# ---------------------------------------------------------------------------------------------------- noise
def kept_value(p: float, scaled: bool, dtype: np.dtype):
    """What dropout multiplies the elements with that it keeps."""
    wide = np.float64 if dtype == np.float64 or dtype == np.complex128 else np.float32
    return (wide(1.0) / wide(1.0 - p) if scaled else wide(1.0)).astype(dtype)


def dropout_noise_ref(a, *, p, scaled, engine):
    keep = 1.0 - p
    high = kept_value(p, scaled, a.dtype)

    def draw(shape):
        return (engine or default_engine()).noise(shape, keep, high)
    return draw(a.shape) if a.flags.c_contiguous else rng.in_order(a.shape, rng.memory_order(a), draw)


@primitive(RANDOM, args="input", forms="", ref=dropout_noise_ref, infer=same_spec, low=False, grads=False)
def dropout_noise(input, p, scaled=True, generator=None):
    """What dropout multiplies `input` with: 0 with probability `p`, else 1 / (1 - p), or 1 if not `scaled`."""
    return (input,), {"p": p, "scaled": scaled, "engine": engine_of(generator, "dropout")}


@primitive(RANDOM, args="", forms="", ns=(), low=False, grads=False, infer=lambda *, shape, p, engine: Spec(shape, dt.bool_),
           ref=lambda *, shape, p, engine: (engine or default_engine()).mask(shape, 1.0 - p))
def dropout_draw(shape, p, engine=None):
    """What `dropout_noise` keeps of a tensor of `shape` that lies in order in memory: what graphs draw, a byte per element."""
    return (), {"shape": tuple(shape), "p": p, "engine": engine}


def rrelu_noise_ref(a, *, lower, upper, engine):
    kind = np.float64 if a.dtype == np.float64 else np.float32
    lower, upper = float(kind(lower)), float(kind(upper))
    noise = np.ones(a.shape, a.dtype)
    where = a <= 0          # only these take a number, in index order
    u = (engine or default_engine()).uniform(int(where.sum()), dtype=np.float64)
    noise[where] = (u * (upper - lower) + lower).astype(kind).astype(a.dtype)       # here PyTorch has no fused multiply-add
    return noise


@primitive(RANDOM, args="input", forms="", ref=rrelu_noise_ref, infer=same_spec, low=False, grads=False)
def rrelu_noise(input, lower=1 / 8, upper=1 / 3, generator=None):
    """The slopes of `rrelu` in training: uniform in [lower, upper) where `input <= 0`, else 1."""
    if not input.dtype.is_floating_point:
        fail(NotImplementedError, "P292", f"\"rrelu_with_noise_out_cpu\" not implemented for '{input.dtype.type_name}'",
             got=describe(input))
    return (input,), {"lower": lower, "upper": upper, "engine": engine_of(generator, "rrelu")}
