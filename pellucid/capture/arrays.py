"""NumPy on values that only the run knows: what stands for an ndarray during a capture.

In: `tensor.numpy()`, and NumPy's functions, operators and methods on what it gives. Out: tensor operations with NumPy's result: its
dtypes (those its ufuncs resolve to), its scalars where it gives scalars, views where it gives views. What leaves the capture is an
ndarray again, over the tensor's memory. What stays true: only what is listed here is computed; anything else raises `TraceError`,
which is a break, and NumPy itself goes on from there. NumPy's floating-point warnings are not given.
"""
from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.layout import contiguous_format
from ..nn.parameter import Parameter
from ..ops.dispatch import local
from ..ops.op import F
from ..tensor import interop
from ..tensor.core import Slots
from ..tensor.fake import Fake, TraceError, refuse
from ..tensor.symbolic import SymNumber
from ..tensor.tensor import Tensor

__all__: list[str] = []

NUMBERS = (bool, int, float, complex)


class Array:
    """An ndarray over the memory of a tensor without history. `scalar`: it is a NumPy scalar; `frozen`: it may not be written to."""

    __slots__ = ("_tensor", "_scalar", "_frozen")
    __array_ufunc__ = None                          # NumPy's own operators leave the work to ours

    def __init__(self, tensor: Any, scalar: bool = False, frozen: bool = False):
        self._tensor, self._scalar, self._frozen = tensor, scalar, frozen

    # ------------------------------------------------------------------------------------------ what is known
    @property
    def dtype(self) -> np.dtype:
        return self._tensor.dtype.np

    @property
    def shape(self) -> tuple:
        return tuple(self._tensor.shape)

    @property
    def ndim(self) -> int:
        return self._tensor.ndim

    @property
    def size(self) -> int:
        return self._tensor.numel()

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Array:
        return self.transpose()

    @property
    def real(self) -> Array:
        return self if self.dtype.kind != "c" or self._scalar else Array(F.real(self._tensor), frozen=self._frozen)

    @property
    def imag(self) -> Array:
        if self.dtype.kind != "c":
            return Array(F.zeros_like(self._tensor), self._scalar, not self._scalar)
        return unknown("imag") if self._scalar else Array(F.imag(self._tensor), frozen=self._frozen)

    def __len__(self) -> int:
        if not self.ndim:
            unknown("len()")
        return self.shape[0]

    def __iter__(self) -> Any:
        return iter([self[k] for k in range(len(self))])

    def __getattr__(self, name: str) -> Any:
        kind = stands_for(self)
        if not hasattr(kind, name):
            raise AttributeError(f"'{kind.__module__}.{kind.__name__}' object has no attribute {name!r}")
        return unknown(name)

    # ------------------------------------------------------------------------------------------ items
    def __getitem__(self, key: Any) -> Array:
        keys = key if type(key) is tuple else (key,)
        if self._scalar or not all(map(basic, keys)):
            unknown("array[index]")
        found = self._tensor[tuple(map(plain_index, keys))]
        if not found.ndim and Ellipsis not in keys:
            return Array(F.clone(found), True)
        return Array(found, frozen=self._frozen)

    def __setitem__(self, key: Any, value: Any) -> None:
        keys = key if type(key) is tuple else (key,)
        if not all(map(basic, keys)):
            unknown("array[index] = value")
        self.written()[tuple(map(plain_index, keys))] = cast(operand(value)[0], self.dtype)

    def written(self) -> Any:
        """The tensor, if it may be written to: what was made in here, and no tensor of the user's shares."""
        if self._scalar or self._frozen or type(self._tensor._a) is not Fake or self._tensor._a.cell.input is not None:
            unknown("a write into an array")
        return self._tensor

    # ------------------------------------------------------------------------------------------ methods that are not functions too
    def astype(self, dtype: Any, copy: bool = True) -> Array:
        wanted = np.dtype(dtype)
        if self.dtype.kind == "c" and wanted.kind != "c":
            unknown("astype() of complex numbers")
        if wanted == self.dtype and not copy:
            return self
        return Array(F.clone(self._tensor) if wanted == self.dtype else cast(self._tensor, wanted), self._scalar)

    def copy(self) -> Array:
        return Array(self._tensor.clone(memory_format=contiguous_format), self._scalar)

    def flatten(self) -> Array:
        return Array(array(self).reshape(-1).clone(memory_format=contiguous_format))

    def reshape(self, *shape: Any) -> Array:
        return FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Array:
        return FUNCTIONS[np.transpose](self, axes[0] if len(axes) == 1 else axes or None)


def unknown(what: str) -> Any:
    """The break of what is not computed here."""
    return refuse(f"NumPy's {what}", fix="use the tensor operation of the same name")


def stands_for(a: Array) -> type:
    """The type that the program sees."""
    return a.dtype.type if a._scalar else np.ndarray


def of_tensor(t: Any, force: bool = False) -> Array:
    """`t.numpy()`."""
    if type(t) not in (Tensor, Parameter) or t.dtype.np in interop.FOREIGN or t._rg and local.grad and not force:
        unknown("array of this tensor")
    return Array(F.detach(t) if t._rg else t)


def ndarray(tensor: Any, scalar: bool, frozen: bool) -> Any:
    """What an Array stood for, made when the compiled function has run."""
    a = tensor.numpy()
    if scalar:
        return a[()]
    if frozen:
        a.flags.writeable = False
    return a


# ---------------------------------------------------------------------------------------------------- operands
def operand(x: Any) -> tuple[Any, Any]:
    """(the tensor or the number, its dtype or the Python type of a number)."""
    if type(x) is Array:
        return x._tensor, x.dtype
    if isinstance(x, Slots):
        return of_tensor(x)._tensor, x.dtype.np
    if type(x) is SymNumber:
        return x.fixed(), type(x.now)
    if type(x) in NUMBERS:
        return x, np.dtype(bool) if type(x) is bool else type(x)
    if type(x) in (list, tuple) and numbers_only(x):
        x = np.array(x)
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype in dt._OF_NP:
        return constant(x), x.dtype
    return unknown(f"operations with a {type(x).__name__}")


def numbers_only(x: Any) -> bool:
    return all([type(v) in NUMBERS or type(v) in (list, tuple) and numbers_only(v) for v in x])


def constant(x: Any) -> Any:
    """A tensor of the graph that holds what an ndarray holds now."""
    return F.constant(np.array(x))


def cast(x: Any, wanted: np.dtype) -> Any:
    """A tensor or a number as a tensor of a dtype."""
    if wanted not in dt._OF_NP:
        unknown(f"dtype {wanted}")
    if not isinstance(x, Slots):
        return constant(np.array(x, wanted))        # OverflowError, as NumPy has it
    return x if x.dtype.np == wanted else x.to(dt.of(wanted))


def array(x: Any) -> Any:
    """The tensor of an array or a tensor; no number, no scalar."""
    if type(x) is Array and not x._scalar or isinstance(x, (Slots, np.ndarray)):
        return operand(x)[0]
    return unknown(f"operations with a {type(x).__name__}")


def common(xs: Any) -> list:
    """Operands as tensors of the dtype that NumPy finds for them."""
    pairs = [operand(x) for x in xs]
    wanted = np.result_type(*[kind if isinstance(kind, np.dtype) else kind(0) for _, kind in pairs])
    return [cast(x, wanted) for x, _ in pairs]


def basic(key: Any) -> bool:
    return key is None or key is Ellipsis or isinstance(key, (int, np.integer)) and type(key) is not bool or type(key) is slice and all(
        [v is None or type(v) is int for v in (key.start, key.stop, key.step)]) and (key.step or 1) > 0


def plain_index(key: Any) -> Any:
    return int(key) if isinstance(key, np.integer) else key


# ---------------------------------------------------------------------------------------------------- ufuncs
SAME = "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh floor ceil trunc positive square maximum minimum fmax fmin " \
       "isnan isinf isfinite signbit hypot copysign logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor " \
       "deg2rad rad2deg logaddexp matmul"
RENAMED = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "negative": "neg", "absolute": "abs", "fabs": "abs",
           "rint": "round", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
           "arctan2": "atan2", "invert": "bitwise_not", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
           "equal": "eq", "not_equal": "ne", "conjugate": "conj", "radians": "deg2rad", "degrees": "rad2deg"}
REALS = {"floor_divide": "floor_divide", "remainder": "remainder", "fmod": "fmod", "reciprocal": "reciprocal", "power": "pow"}
UFUNCS = {getattr(np, name): name for name in SAME.split()} | {getattr(np, name): other for name, other in RENAMED.items()}
FLOATS = {getattr(np, name): other for name, other in REALS.items()}    # integers: other rules about zeros and signs


def ufunc(fn: np.ufunc, args: Any, kwargs: dict) -> Any:
    """A ufunc: each operand in the dtype that NumPy resolves, a scalar where no operand has dimensions."""
    name = UFUNCS.get(fn) or FLOATS.get(fn)
    if name is None or kwargs or len(args) != fn.nin:
        unknown(fn.__name__)
    pairs = [operand(x) for x in args]
    loop = fn.resolve_dtypes((*[kind for _, kind in pairs], *[None] * fn.nout))
    if fn in FLOATS and loop[0].kind not in "fc":
        unknown(f"{fn.__name__} of integers")
    exponent = pairs[1][0] if fn is np.power and type(pairs[1][0]) in (int, float) else None
    tensors = [cast(x, d) for (x, _), d in zip(pairs, loop)]
    found = F.pow(tensors[0], exponent) if exponent is not None else getattr(F, name)(*tensors)
    found = cast(found, loop[-1])
    if any([isinstance(x, Slots) for x in args]):                       # Tensor.__array_wrap__ has the last word
        return found
    return Array(found, not found.ndim)


def binary(fn: np.ufunc, swapped: bool = False) -> Callable:
    def method(self: Array, other: Any) -> Any:
        if isinstance(other, Slots):
            unknown("operators with a tensor")
        return ufunc(fn, (other, self) if swapped else (self, other), {})
    return method


def in_place(fn: np.ufunc) -> Callable:
    """`a += b`: a scalar gives way to another, an array is written to."""
    def method(self: Array, other: Any) -> Any:
        found = binary(fn)(self, other)
        if self._scalar:
            return found
        if not np.can_cast(found.dtype, self.dtype, "same_kind") or found.shape != self.shape:
            unknown("operators in place")
        self.written().copy_(found._tensor)
        return self
    return method


def unary(fn: np.ufunc) -> Callable:
    return lambda self: ufunc(fn, (self,), {})


for _name, _fn in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "floordiv": np.floor_divide, "mod": np.remainder,
                   "pow": np.power, "matmul": np.matmul, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
                   "lshift": np.left_shift, "rshift": np.right_shift}.items():
    setattr(Array, f"__{_name}__", binary(_fn))
    setattr(Array, f"__r{_name}__", binary(_fn, True))
    setattr(Array, f"__i{_name}__", in_place(_fn))
for _name, _fn in {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}.items():
    setattr(Array, f"__{_name}__", binary(_fn))
for _name, _fn in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(Array, f"__{_name}__", unary(_fn))


def _values(name: str) -> Callable:
    return lambda self, *args, **kwargs: unknown(name)


for _name in ("bool", "int", "float", "index", "complex", "str", "repr", "format", "array", "hash", "contains", "copy", "deepcopy",
              "reduce_ex", "round", "divmod", "rdivmod", "delitem", "array_function", "dlpack"):
    setattr(Array, f"__{_name}__", _values(f"__{_name}__"))


# ---------------------------------------------------------------------------------------------------- functions
FUNCTIONS: dict[Any, Callable] = {}


def numpys(*fns: Any) -> Callable:
    """The function that does what these of NumPy's do, with their parameters, those it has."""
    def register(fn: Callable) -> Callable:
        for other in fns:
            FUNCTIONS[other] = fn
        return fn
    return register


def _along(t: Any, axis: Any, keepdims: bool) -> dict:
    """Arguments of a reduction over `axis`."""
    if axis is None:
        axis = tuple(range(t.ndim))
    elif type(axis) is not tuple:
        axis = (operator.index(axis),)
    if not axis:
        unknown("reduction over no dimension")
    return {"dim": axis, "keepdim": bool(keepdims)}


def _reduced(found: Any) -> Array:
    return Array(found, not found.ndim)


def _summed(a: Any, dtype: Any, floats: bool = False) -> Any:
    """The operand of a sum: small integers are added up as int64; `floats`: integers as float64."""
    x, kind = operand(a)
    if not isinstance(kind, np.dtype) or kind.kind == "u" or kind.char == "e":
        unknown("sum of this dtype")
    if dtype is not None:
        return cast(x, np.dtype(dtype))
    if kind.kind in "bi":
        return cast(x, np.dtype(np.float64 if floats else np.int64))
    return x


@numpys(np.sum)
def _sum(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    t = _summed(a, dtype)
    return _reduced(t.sum(**_along(t, axis, keepdims)) if t.ndim else F.clone(t))


@numpys(np.prod)
def _prod(a: Any, axis: Any = None, dtype: Any = None) -> Array:
    t = _summed(a, dtype)
    return _reduced(t.prod() if axis is None else t.prod(dim=operator.index(axis)))


@numpys(np.mean)
def _mean(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    t = _summed(a, dtype, True)
    return _reduced(t.mean(**_along(t, axis, keepdims)) if t.ndim else F.clone(t))


@numpys(np.var)
def _var(a: Any, axis: Any = None, dtype: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    t = _summed(a, dtype, True)
    return _reduced(t.var(correction=ddof, **_along(t, axis, keepdims)))


@numpys(np.std)
def _std(a: Any, axis: Any = None, dtype: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    t = _summed(a, dtype, True)
    return _reduced(t.std(correction=ddof, **_along(t, axis, keepdims)))


def _extreme(name: str) -> Callable:
    def reduction(a: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
        t = operand(a)[0]
        return _reduced(getattr(t, name)(**_along(t, axis, keepdims)))
    return reduction


def _truth(name: str) -> Callable:
    def reduction(a: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
        t = operand(a)[0].bool()
        return _reduced(getattr(t, name)(**_along(t, axis, keepdims)))
    return reduction


def _place(name: str) -> Callable:
    def reduction(a: Any, axis: Any = None) -> Array:
        t = array(a)
        return _reduced(getattr(t, name)() if axis is None else getattr(t, name)(dim=operator.index(axis)))
    return reduction


def _running(name: str) -> Callable:
    def scan(a: Any, axis: Any = None, dtype: Any = None) -> Array:
        t = _summed(a, dtype)
        return Array(getattr(t.reshape(-1) if axis is None else t, name)(0 if axis is None else operator.index(axis)))
    return scan


for _fn, _made in ((np.max, _extreme("amax")), (np.min, _extreme("amin")), (np.all, _truth("all")), (np.any, _truth("any")),
                   (np.argmax, _place("argmax")), (np.argmin, _place("argmin")), (np.cumsum, _running("cumsum")),
                   (np.cumprod, _running("cumprod"))):
    numpys(_fn)(_made)


@numpys(np.linalg.norm)
def _norm(x: Any, ord: None = None, axis: Any = None, *, keepdims: bool = False) -> Array:
    if ord is not None:
        unknown("norm() with an order")
    t = _summed(x, None, True)
    return _reduced((t.abs() ** 2).sum(**_along(t, axis, keepdims)).sqrt())


@numpys(np.reshape)
def _reshape(a: Any, shape: Any) -> Array:
    return Array(array(a).reshape([operator.index(n) for n in shape] if isinstance(shape, (tuple, list)) else [operator.index(shape)]))


@numpys(np.transpose)
def _transpose(a: Any, axes: Any = None) -> Array:
    t = array(a)
    return Array(t.permute(tuple(axes) if axes is not None else tuple(range(t.ndim))[::-1]))


@numpys(np.swapaxes)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    return Array(array(a).transpose(axis1, axis2))


@numpys(np.ravel)
def _ravel(a: Any) -> Array:
    return Array(array(a).reshape(-1))


@numpys(np.squeeze)
def _squeeze(a: Any, axis: Any = None) -> Array:
    t = array(a)
    axes = (axis,) if type(axis) is int else axis
    if axes is not None and any([t.shape[k] != 1 for k in axes]):
        unknown("squeeze() of other than 1")                # which is an error
    return Array(t.squeeze() if axes is None else t.squeeze(axes))


@numpys(np.expand_dims)
def _expand_dims(a: Any, axis: int) -> Array:
    return Array(array(a).unsqueeze(operator.index(axis)))


@numpys(np.broadcast_to)
def _broadcast_to(array: Any, shape: Any) -> Array:
    return Array(operand(array)[0].expand(shape if isinstance(shape, tuple) else (shape,)), frozen=True)


@numpys(np.meshgrid)
def _meshgrid(*xi: Any, indexing: str = "xy") -> tuple:
    flat = [array(x).reshape(-1) for x in xi]
    order = [1, 0, *range(2, len(flat))] if indexing == "xy" and len(flat) > 1 else list(range(len(flat)))
    shape = [flat[k].numel() for k in order]
    spread = [x.reshape([-1 if k == n else 1 for k in order]).expand(shape) for n, x in enumerate(flat)]
    return tuple([Array(x.clone(memory_format=contiguous_format)) for x in spread])


@numpys(np.concatenate)
def _concatenate(arrays: Any, axis: int = 0) -> Array:
    parts = common(arrays)
    return Array(F.cat([t.reshape(-1) for t in parts] if axis is None else parts, 0 if axis is None else axis))


@numpys(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Array:
    return Array(F.stack(common(arrays), axis))


@numpys(np.array)
def _array(object: Any, dtype: Any = None) -> Array:
    if type(object) in (list, tuple):
        for x in object:
            if not isinstance(x, (Array, np.ndarray, np.generic)):
                unknown(f"array() of a {type(x).__name__}")
        found = F.stack(common(object))
    else:
        found = F.clone(operand(object)[0])
    return Array(found if dtype is None else cast(found, np.dtype(dtype)))


@numpys(np.asarray, np.asanyarray)
def _asarray(a: Any, dtype: Any = None) -> Array:
    if type(a) is Array and not a._scalar and dtype in (None, a.dtype):
        return a
    if isinstance(a, Slots):
        a = of_tensor(a)
        return a if dtype in (None, a.dtype) else a.astype(dtype)
    return _array(a, dtype)


@numpys(np.where)
def _where(condition: Any, x: Any, y: Any) -> Array:
    c = operand(condition)[0]
    return Array(F.where(c.bool() if isinstance(c, Slots) else constant(np.array(bool(c))), *common((x, y))))


@numpys(np.clip)
def _clip(a: Any, a_min: Any, a_max: Any) -> Array:
    if a_min is None or a_max is None:
        unknown("clip() without a bound")
    t, low, high = common((a, a_min, a_max))
    found = F.minimum(F.maximum(t, low), high)
    return Array(found, not found.ndim)


@numpys(np.dot)
def _dot(a: Any, b: Any) -> Array:
    if not 1 <= array(a).ndim <= 2 or not 1 <= array(b).ndim <= 2:
        unknown("dot() of these dimensions")
    return ufunc(np.matmul, [x if type(x) is Array else Array(array(x)) for x in (a, b)], {})


@numpys(np.full_like)
def _full_like(a: Any, fill_value: Any, dtype: Any = None) -> Array:
    x, kind = operand(a)
    wanted = np.dtype(kind if dtype is None else dtype)
    return Array(cast(F.zeros_like(x), wanted).copy_(cast(operand(fill_value)[0], wanted)))


@numpys(np.zeros_like, np.empty_like)
def _zeros_like(a: Any, dtype: Any = None) -> Array:
    return _full_like(a, 0, dtype)


@numpys(np.ones_like)
def _ones_like(a: Any, dtype: Any = None) -> Array:
    return _full_like(a, 1, dtype)


@numpys(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Array:
    return Array(array(a).roll(shift) if axis is None else array(a).roll(shift, axis))


def _shifted(sign: int) -> Callable:
    def shift(x: Any, axes: Any = None) -> Array:
        t = array(x)
        axes = tuple(range(t.ndim)) if axes is None else (axes,) if type(axes) is int else tuple(axes)
        return Array(t.roll([sign * (t.shape[k] // 2) for k in axes], axes))
    return shift


numpys(np.fft.fftshift)(_shifted(1))
numpys(np.fft.ifftshift)(_shifted(-1))


@numpys(np.tril)
def _tril(m: Any, k: int = 0) -> Array:
    return Array(array(m).tril(k))


@numpys(np.triu)
def _triu(m: Any, k: int = 0) -> Array:
    return Array(array(m).triu(k))


numpys(np.shape)(lambda a: tuple(operand(a)[0].shape))
numpys(np.ndim)(lambda a: operand(a)[0].ndim)
numpys(np.copy)(lambda a: Array(F.clone(operand(a)[0])))


def _method(name: str, fn: Any) -> None:
    def method(self: Array, *args: Any, **kwargs: Any) -> Any:
        return FUNCTIONS[fn](self, *args, **kwargs)
    method.__name__ = name
    setattr(Array, name, method)


for _name in ("sum", "prod", "mean", "var", "std", "max", "min", "all", "any", "argmax", "argmin", "cumsum", "cumprod", "swapaxes", "ravel",
              "squeeze", "clip", "dot"):
    _method(_name, getattr(np, _name))


# ---------------------------------------------------------------------------------------------------- calls
def guarded(fn: Callable) -> Callable:
    """`fn`, whose errors are breaks: NumPy has errors of its own, and gives them when it is asked."""
    @functools.wraps(fn)
    def method(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except TraceError:
            raise
        except Exception as error:
            return unknown(f"{fn.__name__}(): {error}".partition("\n")[0])
    return method


for _name, _fn in tuple(vars(Array).items()):
    if type(_fn) is types.FunctionType and _name not in ("__init__", "__getattr__"):
        setattr(Array, _name, guarded(_fn))


@guarded
def numpy_call(fn: Any, args: Any, kwargs: dict) -> Any:
    """fn(*args, **kwargs), a function of NumPy, on values of which some are not known."""
    if isinstance(fn, np.ufunc):
        return ufunc(fn, args, kwargs)
    known = FUNCTIONS.get(fn)
    return unknown(f"{getattr(fn, '__name__', fn)}()") if known is None else known(*args, **kwargs)


@guarded
def to_tensor(fn: Callable, data: Array, dtype: Any = None) -> Any:
    """`from_numpy(data)`, `as_tensor` and `asarray`, which share the memory of an array, and `tensor`, which does not."""
    if fn is interop.from_numpy and data._scalar:
        unknown("from_numpy() of a scalar")                 # which is an error
    t = data._tensor
    if fn is interop.tensor or data._scalar:
        t = F.clone(t)
    elif data._frozen:
        interop.warn_read_only()
    found = F.detach(t)
    return found if dtype is None or dtype is found.dtype else found.to(dt.as_dtype(dtype))
