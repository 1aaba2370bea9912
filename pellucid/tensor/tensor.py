"""The Tensor class: memory, metadata and history, Python's protocols; operators come onto it from the registry.

True always: methods that compute are operators' entry points (`Tensor.add is pellucid.add`'s function), put here by
`bind_method` from the forms an operator declares.
"""
from __future__ import annotations

import numpy as np

from ..core import dtype as dt
from ..core.device import CPU, META
from ..core.errors import describe, fail
from ..core.late import late
from ..ops.dispatch import add_slow, local, state
from ..ops.op import REGISTRY, F, Op
from . import autograd, convert, engine, entries, hooks, html, indexing, to_sparse
from .core import DROPPED, Invalid, PLAIN, Slots, UNTRACKED, Untracked, new, readable, touch, values, wrap
from .fake import Geometry
from .inplace import make_inplace, make_relabel
from .size import Size


class Tensor(Slots):
    """A multi-dimensional array that can remember how it was computed.

    Make one with `pellucid.tensor(data)`, `pellucid.zeros(...)`, ...; `Tensor(2, 3)` is uninitialised float memory and
    `Tensor([1, 2])` converts a sequence, as in PyTorch.
    """

    __slots__ = ()
    __array_priority__ = 1000
    is_cuda = is_xpu = is_mps = is_sparse = is_sparse_csr = is_quantized = is_mkldnn = is_nested = is_ipu = False

    def __new__(cls, *args, **kwargs):
        return convert.legacy_new(cls, *args, **kwargs)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("pellucid.") and "__torch_function__" not in cls.__dict__:
            return
        add_slow(1)             # from now on every call looks for overrides

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """The default override: run the operator and keep the subclass in its results."""
        if not all(issubclass(cls, t) for t in types):
            return NotImplemented
        before, local.in_override = local.in_override, True
        try:
            r = func(*args, **(kwargs or {}))
        finally:
            local.in_override = before
        if getattr(func, "__name__", "") in ("__get__", "numpy", "tolist", "item"):
            return r
        return convert.rewrap(r, cls)

    # ------------------------------------------------------------------------------------------ making tensors
    @staticmethod
    def _wrap(a: np.ndarray) -> Tensor:
        """A tensor over the ndarray `a` (shared memory), without history."""
        return wrap(a)

    @staticmethod
    def _make_subclass(cls, data, require_grad: bool = False) -> Tensor:
        """A `cls` over the memory of `data`, a leaf."""
        t = new(cls)
        t._a = data._a
        t._fn = t._grad = t._x = None
        t._oi = 0
        t._st = data._storage()
        t._rg = False
        if require_grad:
            t.requires_grad = True
        return t

    def as_subclass(self, cls) -> Tensor:
        """This tensor's memory and history as an instance of `cls`."""
        t = new(cls)
        t._a, t._rg, t._fn, t._oi, t._grad, t._st, t._x = self._a, self._rg, self._fn, self._oi, None, self._storage(), self._x
        if self._rg and self._fn is None:
            alias = F.view_as(self, self)
            t._fn, t._oi = alias._fn, alias._oi
        return t

    # ------------------------------------------------------------------------------------------ metadata
    @property
    def shape(self) -> Size:
        return Size(self._a.shape)

    @property
    def dtype(self) -> dt.dtype:
        return dt._OF_NP[self._a.dtype]

    @property
    def device(self):
        a = self._a
        return a.place if isinstance(a, Geometry) else CPU

    @property
    def is_meta(self) -> bool:
        """Whether it has no data, only a shape, a dtype and strides."""
        return self.device is META

    @property
    def is_cpu(self) -> bool:
        return self.device is CPU

    @property
    def layout(self):
        return convert.strided

    @property
    def ndim(self) -> int:
        return self._a.ndim

    @property
    def itemsize(self) -> int:
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    def dim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    ndimension = dim

    def size(self, dim: int | None = None):
        """The shape, or the size of one dimension."""
        if dim is None:
            return Size(self._a.shape)
        return self._a.shape[convert.wrap_dim(dim, self._a.ndim)]

    def numel(self) -> int:
        """The number of elements."""
        return self._a.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return self._a.itemsize

    def stride(self, dim: int | None = None):
        """Strides in elements."""
        strides = convert.element_strides(self._a)
        return strides if dim is None else strides[convert.wrap_dim(dim, len(strides))]

    def storage_offset(self) -> int:
        """Where the first element lies in the storage, in elements."""
        return convert.offset(self)

    def data_ptr(self) -> int:
        """The address of the first element; 0 where there is none."""
        return 0 if self.is_meta else self._a.__array_interface__["data"][0] if self._a.size else 0

    def is_contiguous(self, memory_format=None) -> bool:
        """Whether elements lie in row-major order (or in that of `memory_format`)."""
        return self._a.flags.c_contiguous if memory_format is None else convert.is_contiguous(self._a, memory_format)

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self._a.dtype.kind == "c"

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    def is_conj(self) -> bool:
        return False

    def is_neg(self) -> bool:
        return False

    def is_inference(self) -> bool:
        return self._x is not None and self._x.inference

    def is_pinned(self, device=None) -> bool:
        return False

    def is_same_size(self, other) -> bool:
        return self._a.shape == other._a.shape

    def is_set_to(self, tensor) -> bool:
        """Whether both look at the same memory with the same shape and strides."""
        return (self.data_ptr() == tensor.data_ptr() != 0 and self._a.shape == tensor._a.shape
                and self._a.strides == tensor._a.strides)

    def get_device(self) -> int:
        return -1

    # ------------------------------------------------------------------------------------------ transposes and parts
    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order. A view."""
        return F.permute.canonical(self, dims=tuple(range(self._a.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged. A view."""
        if self._a.ndim < 2:
            fail(RuntimeError, "P386", f"tensor.mT is only supported on matrices or batches of matrices. Got {self._a.ndim}-D tensor.",
                 got=describe(self), fix="unsqueeze a vector first, or use permute")
        return F.transpose(self, -2, -1)

    @property
    def H(self) -> Tensor:
        """A matrix transposed and conjugated."""
        if self._a.ndim not in (0, 2):
            fail(RuntimeError, "P387", f"tensor.H is only supported on matrices (2-D tensors). Got {self._a.ndim}-D tensor.",
                 got=describe(self), fix="mH takes batches of matrices")
        return F.adjoint(self) if self._a.ndim else F.conj(self)

    @property
    def mH(self) -> Tensor:
        """The last two dimensions exchanged and conjugated."""
        if self._a.ndim < 2:
            fail(RuntimeError, "P388", f"tensor.mH is only supported on matrices or batches of matrices. Got {self._a.ndim}-D tensor.",
                 got=describe(self), fix="unsqueeze a vector first")
        return F.adjoint(self)

    @property
    def real(self) -> Tensor:
        """The real part (the tensor itself if it is real). A view."""
        return F.real(self)

    @real.setter
    def real(self, value) -> None:
        F.real(self).copy_(value)

    @property
    def imag(self) -> Tensor:
        """The imaginary part of a complex tensor. A view."""
        return F.imag(self)

    @imag.setter
    def imag(self, value) -> None:
        F.imag(self).copy_(value)

    # ------------------------------------------------------------------------------------------ history
    @property
    def requires_grad(self) -> bool:
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._fn is UNTRACKED:              # a view taken under no_grad becomes a leaf of its own
            if value:
                self._fn = None
                state.moves += 1
            return
        if self._fn is not None:
            if not value:
                fail(RuntimeError, "P350", "you can only change requires_grad flags of leaf variables. If you want to use a "
                     "computed variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach().",
                     got=describe(self), fix="call detach() for a tensor without history")
            return
        if value and dt._OF_NP[self._a.dtype].category < dt.FLOAT:
            fail(RuntimeError, "P351", "only Tensors of floating point and complex dtype can require gradients",
                 got=describe(self), fix="convert first: x.float().requires_grad_()")
        if value and self.is_inference() and not local.inference:
            fail(RuntimeError, "P352", "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.",
                 fix="clone() the tensor outside inference_mode first")
        touch(self)
        if self._rg is not bool(value):
            self._rg = not self._rg
            state.moves += 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` in place and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self):
        if self._grad is None and self._fn is not None and self._fn is not UNTRACKED and self._rg and not (self._x is not None and self._x.retains):
            convert.warn_non_leaf_grad()
        if local.stack:
            use_grad(self, True)
        grad = self._grad
        if grad is not None:
            if grad is DROPPED:
                DROPPED.grad
            state.grads += 1
        return grad

    @grad.setter
    def grad(self, value) -> None:
        if value is not None:
            if not isinstance(value, Slots):
                fail(TypeError, "P393", f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}",
                     fix="wrap the value: pellucid.full_like(x, value)")
            if value is self:
                fail(RuntimeError, "P394", "can't assign Variable as its own grad", fix="clone() it")
            if value._a.dtype != self._a.dtype:
                fail(RuntimeError, "P353", f"attempting to assign a gradient with dtype '{value.dtype.type_name.lower()}' to a tensor with grad_dtype "
                     f"'{self.dtype.type_name}'. The gradient must match the tensor's grad_dtype (defaults to the tensor's dtype).",
                     got=f"{describe(value)} for {describe(self)}",
                     fix="convert the gradient: grad.to(x.dtype)")
            if value._a.shape != self._a.shape:
                fail(RuntimeError, "P354", f"attempting to assign a gradient of size '{list(value._a.shape)}' to a tensor of size '{list(self._a.shape)}'. "
                     "Please ensure that the gradient and the tensor are the same size", got=f"{describe(value)} for {describe(self)}",
                     fix="a gradient has the shape of its tensor")
        touch(self)
        use_grad(self, False)
        self._grad = value
        state.grads += 1

    @grad.deleter
    def grad(self) -> None:
        touch(self)
        use_grad(self, False)
        self._grad = None
        state.grads += 1

    @property
    def grad_fn(self):
        """The node that computed this tensor; None for a leaf."""
        fn = self._fn
        if fn is not None and not fn._edges:
            if type(fn) is Untracked:
                return None
            if type(fn) is Invalid:
                fn._run(None)
        return fn

    @property
    def is_leaf(self) -> bool:
        return self._fn is None or self._fn is UNTRACKED

    @property
    def retains_grad(self) -> bool:
        return self._x is not None and self._x.retains and self._fn is not None

    @property
    def output_nr(self) -> int:
        return self._oi

    @property
    def _version(self) -> int:
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._st.version if self._st is not None else 0

    @property
    def _base(self):
        return self._x.base if self._x is not None else None

    def _is_view(self) -> bool:
        return self._x is not None and self._x.base is not None

    @property
    def data(self) -> Tensor:
        """The same memory, outside autograd and with a version counter of its own."""
        t = wrap(self._a)
        self._storage().handed += 1
        if type(self) is not Tensor and type(self) not in PLAIN:
            t = t.as_subclass(type(self))
        return t

    @data.setter
    def data(self, value) -> None:
        if not isinstance(value, Slots):
            fail(TypeError, "P395", f"Variable data has to be a tensor, but got {type(value).__name__}",
                 fix="wrap the value with pellucid.tensor(...)")
        if self._rg and dt._OF_NP[value._a.dtype].category < dt.FLOAT:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        touch(self)
        if self._x is not None and self._x.base is not None:
            self._x.base, self._x.chain = None, ()             # it is no view of that memory any more
        self._a = value._a
        self._st = None if value._st is None else value._st
        state.moves += 1

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Compute the gradients of this tensor with respect to the leaves and accumulate them into their `.grad`."""
        if gradient is not None and not isinstance(gradient, Slots):
            fail(TypeError, "P389", f"gradients can be either Tensors or None, but got {type(gradient).__name__}",
                 fix="wrap the gradient: pellucid.tensor(...)")
        autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    # ------------------------------------------------------------------------------------------ Python's protocols
    __hash__ = object.__hash__

    def __len__(self) -> int:
        if self._a.ndim == 0:
            fail(TypeError, "P390", "len() of a 0-d tensor", got=describe(self), fix="item() gives the value")
        return self._a.shape[0]

    def __iter__(self):
        if self._a.ndim == 0:
            fail(TypeError, "P391", "iteration over a 0-d tensor",
                 got=describe(self), fix="item() gives the value; reshape(1) makes a vector of it")
        return iter(F.unbind(self, 0))

    def __reversed__(self):
        return self if self._a.ndim == 0 else F.flip(self, (0,))

    def __contains__(self, element) -> bool:
        if not isinstance(element, (Slots, int, float, bool, complex)):
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
        return bool((readable(self._a) == (element._a if isinstance(element, Slots) else element)).any())

    def __getitem__(self, index):
        return indexing.get(self, index)

    def __setitem__(self, index, value) -> None:
        indexing.set(self, index, value)

    def __bool__(self) -> bool:
        a = self._a if not state.slow else values(self._a)
        if a.size == 1:
            return bool(a.item() if a.dtype.kind != "V" else float(a.item()))
        if a.size == 0:
            fail(RuntimeError, "P360", "Boolean value of Tensor with no values is ambiguous", got=describe(self),
                 fix="test x.numel() == 0 for emptiness")
        fail(RuntimeError, "P360", "Boolean value of Tensor with more than one value is ambiguous", got=describe(self),
             fix="use .any() or .all(), or compare shapes instead")

    def item(self):
        """The value of a one-element tensor as a Python number."""
        a = self._a if not state.slow or self._a.size != 1 else values(self._a)
        if a.size != 1:
            fail(RuntimeError, "P361", f"a Tensor with {a.size} elements cannot be converted to Scalar", got=describe(self),
                 fix="index one element first, or use .tolist()")
        r = a.item()
        return r if type(r) in (float, int, bool, complex) else float(r)

    def __int__(self) -> int:
        return int(real_item(self))

    def __float__(self) -> float:
        return float(real_item(self))

    def __complex__(self) -> complex:
        return complex(self.item() if self._a.size == 1 else not_a_number(self))

    def __index__(self) -> int:
        if self._a.size != 1 or dt._OF_NP[self._a.dtype].category > dt.INT:
            fail(TypeError, "P392", "only integer tensors of a single element can be converted to an index",
                 got=describe(self), fix="convert it: int(x), or x.long() for many")
        return int(values(self._a).item())

    def __format__(self, spec: str) -> str:
        return self.item().__format__(spec) if self._a.ndim == 0 and not self.is_meta else object.__format__(self, spec)

    def tolist(self):
        """Nested Python lists of the values (a number for a 0-d tensor)."""
        return convert.to_list(values(self._a))

    def __repr__(self, *, tensor_contents=None) -> str:
        return convert.tensor_repr(self, tensor_contents=tensor_contents)

    def _repr_html_(self) -> str:
        """What notebooks show: the tensor as a small card."""
        return html.tensor_html(self)

    def __dir__(self):
        return sorted(set(object.__dir__(self)))

    # pickling and copying keep memory sharing and class
    def __deepcopy__(self, memo):
        return convert.deepcopy(self, memo)

    def __reduce_ex__(self, protocol):
        return convert.reduce(self)

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)

    # numpy
    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The values as a NumPy array over the same memory."""
        return convert.to_numpy(self, force)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return convert.as_array(self, dtype, copy)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return wrap(np.asarray(array))

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return convert.dlpack(self, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    # the array API standard
    def __array_namespace__(self, *, api_version: str | None = None):
        """The module `pellucid.array_api`. Raises ValueError for a version of the standard that it does not serve."""
        return late.array_namespace().of_version(api_version)

    def to_device(self, device, /, *, stream=None) -> Tensor:
        """The tensor on `device`: itself if it is there already."""
        return F.to(self, device)


def use_grad(t: Tensor, read: bool) -> None:
    """Tell a tracer that `t.grad` is about to be read or set."""
    if local.stack and local.stack[-1].stays:
        local.stack[-1].use_grad(t, read)


def real_item(t: Tensor):
    """The one element of `t` as a number that float() and int() take."""
    if t._a.size != 1:
        not_a_number(t)
    value = t.item()
    if type(value) is not complex:
        return value
    if value.imag:
        fail(RuntimeError, "P362", "value cannot be converted to type double without overflow", got=describe(t), fix="take .real first")
    return value.real


def not_a_number(t: Tensor):
    """The error of float(t) and its kin for other than one element."""
    fail(ValueError, "P362", "only one element tensors can be converted to Python scalars", got=describe(t),
         fix="index one element first, reduce with .mean() or .sum(), or use .tolist()")


for _name, _method in {**hooks.METHODS, **convert.METHODS, **to_sparse.METHODS}.items():
    setattr(Tensor, _name, _method)
entries.set_tensor_type(Tensor)
engine.type_of_grad = Tensor


# ---------------------------------------------------------------------------------------------------- operators as methods
def bind_method(op: Op) -> None:
    """Put the method forms of `op` on Tensor: `x.op()`, `x.op_()`, and the Python operator it stands for."""
    if op.forms.isdisjoint(("method", "inplace", "relabel")) and not op.operator:
        return
    entry = getattr(F, op.name)
    names = (op.public, *op.aliases)
    if "method" in op.forms:
        for name in names:
            setattr(Tensor, name, entry)
    if "inplace" in op.forms:
        inplace = make_inplace(op, entry)
        for name in names:
            setattr(Tensor, name + "_", inplace)
    else:
        inplace = None
    if "relabel" in op.forms:
        for name in names:
            setattr(Tensor, name + "_", make_relabel(op, entry))
    if op.operator:
        for name in op.operator.split():
            if len(op.args) == 2 and not op.args[1].startswith("*"):
                setattr(Tensor, f"__{name}__", entries.operator_entry(op, entry))
                setattr(Tensor, f"__r{name}__", entries.operator_entry(op, entry, reverse=True))
                if name in ("lt", "le", "gt", "ge", "eq", "ne"):
                    delattr(Tensor, f"__r{name}__")
            else:
                setattr(Tensor, f"__{name}__", entry)
            if inplace is not None:
                setattr(Tensor, f"__i{name}__", inplace_operator(inplace))


def inplace_operator(inplace):
    """`x += y` for an in-place method: NotImplemented for operands of strange types, so that theirs may answer."""
    def operator(self, other):
        return inplace(self, other) if entries.acceptable(other) else NotImplemented
    return operator


late.bind_method = bind_method
for _op in tuple(REGISTRY.values()):
    bind_method(_op)
