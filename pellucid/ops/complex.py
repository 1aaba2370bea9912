"""Complex numbers: parts, conjugates, angles, and the two views between complex and pairs of reals."""
from __future__ import annotations

import math

from ._common import Spec, broadcast_shapes, describe, dt, fail, need_tensor, np
from .elementwise import unary
from .op import FLOAT, POINT, SAME, VIEW, F, composite, primitive
from .view import as_strided_array

def _complex_first(m):
    return [((m.c(3, 4),), {}), ((m.c(2, 0),), {}), ((m.c(),), {})]


_REALS = (dt.float16, dt.float32, dt.float64)


@composite(forms="function method", samples=_complex_first)
def conj(input):
    """The complex conjugate; a real tensor is returned as it is."""
    return F.conj_physical(input) if input.is_complex() else input


unary("conj_physical", np.conjugate, lambda g: F.conj(g), promote=SAME, module=__name__, scalar=lambda b, x: b.cast(x, dt.int8) if x.dtype is dt.bool_ else x,
      doc="The complex conjugate, computed at once.")


# ---------------------------------------------------------------------------------------------------- views
def _part_infer(spec: Spec) -> Spec:
    strides = spec.strides
    return Spec(spec.shape, spec.dtype.to_real(), None if strides is None else tuple(2 * s for s in strides))


@primitive(VIEW, args="input", ref=lambda a: a.real, infer=_part_infer, low=False, forms="", ns=(),
           vjp={"input": lambda g, input_dtype: F.convert(g, input_dtype)}, samples=_complex_first)
def real_part(input):
    """The real parts of a complex tensor. A view."""
    return (input,), {}


@primitive(VIEW, args="input", ref=lambda a: a.imag, infer=_part_infer, low=False, forms="", ns=(),
           vjp={"input": lambda g, input_dtype: F.mul(F.convert(g, input_dtype), 1j)}, samples=_complex_first)
def imag_part(input):
    """The imaginary parts of a complex tensor. A view."""
    return (input,), {}


@composite(samples=_complex_first)
def real(input):
    """The real parts of a complex tensor, as a view; a real tensor is returned as it is."""
    need_tensor(input, "real")
    return F.real_part(input) if input.is_complex() else input


@composite(samples=_complex_first)
def imag(input):
    """The imaginary parts of a complex tensor, as a view. Raises RuntimeError for a real tensor."""
    need_tensor(input, "imag")
    if not input.is_complex():
        fail(RuntimeError, "P127", "imag is not implemented for tensors with non-complex dtypes.", got=describe(input))
    return F.imag_part(input)


def view_as_real_ref(a):
    return as_strided_array(a.real, a.shape + (2,), a.strides + (a.itemsize // 2,))


def _view_as_real_infer(spec: Spec) -> Spec:
    strides = spec.strides
    return Spec(spec.shape + (2,), spec.dtype.to_real(), None if strides is None else tuple(2 * s for s in strides) + (1,))


@primitive(VIEW, args="input", ref=view_as_real_ref, infer=_view_as_real_infer, low=False,
           vjp={"input": lambda g: F.view_as_complex(F.contiguous(g))},
           samples=_complex_first)
def view_as_real(input):
    """A complex tensor seen as reals with a last dimension of size 2: (real, imaginary). A view."""
    need_tensor(input, "view_as_real")
    if not input.is_complex():
        fail(RuntimeError, "P128", "view_as_real is only supported for complex tensors", got=describe(input))
    return (input,), {}


def view_as_complex_ref(a):
    item = 2 * a.itemsize
    if a.size == 0:
        return np.empty(a.shape[:-1], np.result_type(a.dtype, np.complex64))
    flat = as_strided_array(a, (2,), (a.itemsize,)).view(np.result_type(a.dtype, np.complex64))
    assert flat.itemsize == item
    return as_strided_array(flat, a.shape[:-1], a.strides[:-1])


def _view_as_complex_infer(spec: Spec) -> Spec:
    strides = spec.strides
    return Spec(spec.shape[:-1], spec.dtype.to_complex(), None if strides is None else tuple(s // 2 for s in strides[:-1]))


@primitive(VIEW, args="input", ref=view_as_complex_ref, infer=_view_as_complex_infer, low=False,
           vjp={"input": lambda g: F.view_as_real(g)},
           samples=lambda m: [((m.t(3, 4, 2),), {}), ((m.t(0, 2),), {}), ((m.t(2),), {})])
def view_as_complex(input):
    """Reals with a last dimension of size 2 seen as complex numbers. A view: the pairs must lie together in memory."""
    need_tensor(input, "view_as_complex")
    if input.dtype not in _REALS:
        fail(RuntimeError, "P129", "view_as_complex is only supported for half, float and double tensors, but got a tensor of "
             f"scalar type: {input.dtype.type_name}", got=describe(input))
    if input.ndim == 0:
        fail(RuntimeError, "P130", "Input tensor must have one or more dimensions", got=describe(input))
    if input.shape[-1] != 2:
        fail(RuntimeError, "P131", "Tensor must have a last dimension of size 2", got=describe(input))
    strides = input.stride()
    if strides[-1] != 1:
        fail(RuntimeError, "P132", "Tensor must have a last dimension with stride 1", got=f"strides {strides}",
             fix="call .contiguous() first")
    if any(s % 2 for s in strides[:-1]):
        fail(RuntimeError, "P133", "Tensor must have a stride divisible by 2 for all but last dimension",
             got=f"strides {strides}",
             fix="call .contiguous() first")
    return (input,), {}


# ---------------------------------------------------------------------------------------------------- making and measuring
def _check_parts(a, b) -> None:
    if a.dtype not in _REALS or b.dtype not in _REALS:
        fail(RuntimeError, "P134", "Expected both inputs to be Half, Float or Double tensors but got "
             f"{a.dtype.type_name} and {b.dtype.type_name}")
    if a.dtype is not b.dtype:
        fail(RuntimeError, "P135", f"Expected object of scalar type {a.dtype.type_name} but got scalar type {b.dtype.type_name} "
             "for second argument")


def complex_ref(real, imag):
    r = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real.dtype, np.complex64))
    r.real = real
    r.imag = imag
    return r


def _complex_samples(m):
    return [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(2, 1), m.t(3)), {}), ((m.t(0), m.t(0)), {})]


@primitive(POINT, args="real imag", ref=complex_ref, low=False, forms="", ns=(),
           infer=lambda a, b: Spec(broadcast_shapes(a.shape, b.shape), a.dtype.to_complex()),
           vjp={"real": lambda g: F.real(g), "imag": lambda g: F.imag(g)}, samples=_complex_samples)
def from_parts(real, imag):
    """A complex tensor from checked parts."""
    return (real, imag), {}


@composite(samples=_complex_samples)
def complex(real, imag, *, out=None):
    """A complex tensor from its real and imaginary parts, of one floating dtype."""
    need_tensor(real, "complex", "real")
    need_tensor(imag, "complex", "imag", 2)
    _check_parts(real, imag)
    if out is None:
        return F.from_parts(real, imag)
    if out.dtype is not real.dtype.to_complex():
        fail(RuntimeError, "P136", f"Expected object of scalar type {real.dtype.to_complex().type_name} but got scalar type "
             f"{out.dtype.type_name} for argument 'out'")
    return F.from_parts(real, imag, out=out)


@composite(forms="function out", samples=_complex_samples,
           exact_out="Expected object of scalar type {Want} but got scalar type {Have} for argument 'out'")
def polar(abs, angle):
    """A complex tensor from absolute values and angles: `abs * exp(i angle)`."""
    need_tensor(abs, "polar", "abs")
    need_tensor(angle, "polar", "angle", 2)
    _check_parts(abs, angle)
    return F.from_parts(F.mul(abs, F.cos(angle)), F.mul(abs, F.sin(angle)))


def angle_ref(x):
    if x.dtype.kind == "c":
        return np.arctan2(x.imag, x.real)
    return np.where(np.isnan(x), x, np.where(x < 0, x.dtype.type(math.pi), x.dtype.type(0)))


def _angle_vjp(g, input):
    """Across the ray through z, over |z|: i z / |z|**2. Zero for real numbers and at 0."""
    if not input.is_complex():
        return F.zeros_like(g)
    re, im = F.real(input), F.imag(input)
    square = F.add(F.mul(re, re), F.mul(im, im))
    g = F.where(F.eq(square, 0), 0, F.div(g, square))
    return F.from_parts(F.neg(F.mul(g, im)), F.mul(g, re))


unary("angle", angle_ref, _angle_vjp, promote=FLOAT, forms="function method out", module=__name__,
      scalar=lambda b, x: b.select(b.isnan(x), x, b.select(b.lt(x, 0), b.const(math.pi, x), 0)),
      infer=lambda s: s.like(dtype=s.dtype.to_real()), doc="The angle in radians: 0 or pi for real numbers, nan for nan.")
