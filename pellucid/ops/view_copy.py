"""Relatives of views: a tensor's bytes as another dtype, pieces that autograd does not take for views, copies of views.

`x.view(dtype)` shares memory but carries no gradient. `unsafe_split` and its kin share memory too, yet each piece is a
tensor of its own for autograd, so it may be written in place where a true piece may not (the user vouches that nobody
looks at the rest). `view_copy` and its kin compute what the view looks at, in new contiguous memory.
"""
from __future__ import annotations

from ..core.layout import contiguous_format
from ._common import Spec, describe, dt, fail, np, wrap_dim
from .op import GATHER, VIEW, F, composite, primitive
from .shape import lead
from .view import basic_index_lower, basic_index_ref, view_infer


# ---------------------------------------------------------------------------------------------------- bytes as another dtype
def view_dtype_ref(a, *, dtype):
    if a.itemsize == dtype.itemsize or a.size:
        return a.view(dtype.np)
    return np.empty((*a.shape[:-1], a.shape[-1] * a.itemsize // dtype.itemsize), dtype.np)


def view_dtype_infer(spec: Spec, *, dtype) -> Spec:
    if spec.dtype.itemsize == dtype.itemsize:
        return Spec(spec.shape, dtype, spec.strides)
    return Spec((*spec.shape[:-1], spec.shape[-1] * spec.dtype.itemsize // dtype.itemsize), dtype)


def view_dtype_lower(b, i, load, s, *, dtype):
    if s.dtype.itemsize != dtype.itemsize or dtype is dt.bool_ or s.dtype is dt.bool_ or {s.dtype, dtype} & dt.LOW_PRECISION:
        b.refuse("bytes read as a dtype of another size or precision")
    return b.bitcast(load(0, i), dtype)


@primitive(VIEW, args="input", ref=view_dtype_ref, infer=view_dtype_infer, lower=view_dtype_lower, low=False, grads=False, forms="",
           samples=lambda m: [((m.t(2, 4), dt.int32), {}), ((m.t(2, 4), dt.int16), {}), ((m.t(2, 4), dt.complex64), {}),
                              ((m.t(0, 4), dt.uint8), {})])
def view_dtype(input, dtype):
    """The bytes of `input` read as `dtype`; the last dimension grows or shrinks by the ratio of the sizes. No gradient.

    Raises RuntimeError if the sizes differ and the last dimension is not contiguous, or the bytes do not divide evenly."""
    old = input.dtype
    if old.itemsize == dtype.itemsize:
        return (input,), {"dtype": dtype}

    def refuse(what: str, ratio: int, got: int) -> None:
        fail(RuntimeError, "P039", f"self.{what} must be {f'divisible by {ratio}' if ratio > 1 else 1} to view {old.type_name} as "
             f"{dtype.type_name} (different element sizes), but got {got}", fix="call .contiguous() or .clone() first")
    if input.ndim == 0:
        fail(RuntimeError, "P039", f"self.dim() cannot be 0 to view {old.type_name} as {dtype.type_name} (different element sizes)",
             fix="reshape(1) first")
    stride = tuple(input.stride())
    ratio = dtype.itemsize // old.itemsize
    if ratio and input.shape[-1] % ratio:
        refuse("size(-1)", ratio, input.shape[-1])
    if stride[-1] != 1:
        refuse("stride(-1)", 1, stride[-1])
    if ratio:
        if input.storage_offset() % ratio:
            refuse("storage_offset()", ratio, input.storage_offset())
        for i, s in enumerate(stride[:-1]):
            if s % ratio:
                refuse(f"stride({i})", ratio, s)
    return (input,), {"dtype": dtype}


# ---------------------------------------------------------------------------------------------------- pieces that are no views
@primitive(GATHER, args="input", ref=basic_index_ref, jvp="input", batch=lambda b, x, *, index: F.unsafe_piece(x.x, (slice(None), *index)), infer=view_infer(basic_index_ref), low=False, forms="", lower=basic_index_lower,
           vjp={"input": lambda g, input_shape, attrs_: F.view_grad(g, "basic_index", attrs_, input_shape)},
           samples=lambda m: [((m.t(4, 3), (slice(0, 2),)), {}), ((m.t(2, 5), (slice(None), slice(1, 4))), {}), ((m.t(0, 3), (slice(0, 0),)), {})])
def unsafe_piece(input, index):
    """Part of the memory of `input`, as a tensor that is no view of it for autograd."""
    return (input,), {"index": index}


def apart(input, parts, dim) -> tuple:
    """The pieces of `input` along `dim` that have the sizes of `parts`."""
    d, at, out = wrap_dim(dim, input.ndim), 0, []
    for part in parts:
        n = part.shape[d]
        out.append(F.unsafe_piece(input, lead(d, slice(at, at + n))))
        at += n
    return tuple(out)


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), 2), {}), ((m.t(2, 5), 2, 1), {}), ((m.t(0, 3), 2), {})])
def unsafe_split(input, split_size, dim=0):
    """`split` whose pieces may be written in place, if nothing else uses their memory."""
    return apart(input, F.split(input, split_size, dim), dim)


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), [2, 3]), {}), ((m.t(2, 5), [1, 4], 1), {}), ((m.t(0, 3), [0]), {})])
def unsafe_split_with_sizes(input, split_sizes, dim=0):
    """`split_with_sizes` whose pieces may be written in place, if nothing else uses their memory."""
    return apart(input, F.split_with_sizes(input, split_sizes, dim), dim)


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), 2), {}), ((m.t(2, 5), 3, 1), {}), ((m.t(0, 3), 2), {})])
def unsafe_chunk(input, chunks, dim=0):
    """`chunk` whose pieces may be written in place, if nothing else uses their memory."""
    return apart(input, F.chunk(input, chunks, dim), dim)


# ---------------------------------------------------------------------------------------------------- copies of views
def copied(view):
    """What a view (or each of several) looks at, in new contiguous memory."""
    if isinstance(view, tuple):
        return tuple([copied(v) for v in view])
    return F.clone(view, memory_format=contiguous_format)


_X = lambda *args: lambda m: [((m.t(2, 3), *args), {}), ((m.t(4, 3), *args), {}), ((m.t(0, 3), *args), {})]  # noqa: E731


@composite(forms="function out", samples=_X())
def alias_copy(input):
    """A contiguous copy."""
    return copied(input)


@composite(forms="function out", samples=lambda m: [((m.t(2, 3), (2, 2), (1, 1)), {}), ((m.t(4, 3), (3,), (2,), 1), {}), ((m.t(0, 3), (0,), (1,)), {})])
def as_strided_copy(input, size, stride, storage_offset=None):
    """A copy of `as_strided`."""
    return copied(F.as_strided(input, size, stride, storage_offset))


@composite(forms="function out", samples=_X())
def detach_copy(input):
    """A contiguous copy; unlike `detach`, PyTorch lets gradients through it, and so does this."""
    return copied(input)


@composite(forms="function out", samples=_X(1))
def diagonal_copy(input, offset=0, dim1=0, dim2=1):
    """A copy of `diagonal`."""
    return copied(F.diagonal(input, offset, dim1, dim2))


@composite(forms="function out", samples=lambda m: [((m.t(2, 3), (4, 2, 3)), {}), ((m.t(1, 3), (2, -1)), {}), ((m.t(0, 3), (2, 0, 3)), {})])
def expand_copy(input, size, *, implicit=False):
    """A copy of `expand`."""
    return copied(F.expand(input, size))


@composite(forms="function out", samples=_X((1, 0)))
def permute_copy(input, dims):
    """A copy of `permute`."""
    return copied(F.permute(input, dims))


@composite(forms="function out", samples=_X(1, 2))
def select_copy(input, dim, index):
    """A copy of `select`."""
    return copied(F.select(input, dim, index))


@composite(forms="function out", samples=_X(1, 0, 3, 2))
def slice_copy(input, dim=0, start=None, end=None, step=1):
    """A copy of `input[start:end:step]` along `dim`."""
    if step < 1:
        fail(RuntimeError, "P219", "slice step must be positive", got=f"step {step}", fix="flip() the dimension to go backwards")
    d = wrap_dim(dim, input.ndim)
    start, end, _ = slice(start, end).indices(input.shape[d])
    return copied(F.basic_index(input, lead(d, slice(start, max(start, end), step))))


@composite(forms="function", samples=_X(2))
def split_copy(input, split_size, dim=0):
    """Copies of the pieces of `split`."""
    return copied(F.split(input, split_size, dim))


@composite(forms="function out", samples=_X([1, 2], 1))
def split_with_sizes_copy(input, split_sizes, dim=0):
    """Copies of the pieces of `split_with_sizes`."""
    return copied(F.split_with_sizes(input, split_sizes, dim))


@composite(forms="function out", samples=lambda m: [((m.t(2, 1, 3),), {}), ((m.t(4, 1), 1), {}), ((m.t(0, 1), (1,)), {})])
def squeeze_copy(input, dim=None):
    """A copy of `squeeze`."""
    return copied(F.squeeze(input) if dim is None else F.squeeze(input, dim))


@composite(forms="function out", samples=_X())
def t_copy(input):
    """A copy of `t`."""
    return copied(F.t(input))


@composite(forms="function out", samples=_X(0, 1))
def transpose_copy(input, dim0, dim1):
    """A copy of `transpose`."""
    return copied(F.transpose(input, dim0, dim1))


@composite(forms="function", samples=_X(1))
def unbind_copy(input, dim=0):
    """Copies of the slices of `unbind`. IndexError for a tensor of no dimensions."""
    if input.ndim == 0:
        fail(IndexError, "P2840", f"Dimension specified as {dim} but tensor has no dimensions", got=describe(input), fix="a 0-d tensor has no slices")
    return copied(F.unbind(input, dim))


@composite(forms="function out", samples=_X(1, 2, 1))
def unfold_copy(input, dimension, size, step):
    """A copy of `Tensor.unfold`."""
    return copied(F.unfold_view(input, dimension, size, step))


@composite(forms="function out", samples=_X(1))
def unsqueeze_copy(input, dim):
    """A copy of `unsqueeze`."""
    return copied(F.unsqueeze(input, dim))


@composite(forms="function out", samples=lambda m: [((m.c(2, 3),), {}), ((m.c(4),), {}), ((m.c(0, 3),), {})])
def view_as_real_copy(input):
    """A copy of `view_as_real`."""
    return copied(F.view_as_real(input))


@composite(forms="function out", samples=lambda m: [((m.t(3, 2),), {}), ((m.t(4, 3, 2),), {}), ((m.t(0, 2),), {})])
def view_as_complex_copy(input):
    """A copy of `view_as_complex`."""
    return copied(F.view_as_complex(input))


@composite(forms="function out", samples=lambda m: [((m.t(2, 3), (3, 2)), {}), ((m.t(4, 3), (-1,)), {}), ((m.t(0, 3), (3, 0)), {})])
def view_copy(input, size=None, dtype=None):
    """A copy of `view`, by size or by dtype."""
    return copied(F.view(input, size) if dtype is None else F.view_dtype(input, dtype))
