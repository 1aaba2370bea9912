"""Resampling: `interpolate` in all modes, `affine_grid`, `grid_sample`.

Interpolation works on one dimension after another. Along each, result i is a weighted sum of a few inputs ("taps"):
one for nearest, two for linear, four for cubic, as many as the scale asks for with antialias. `resample` applies the
taps, `resample_grad` is its transpose.
"""
from __future__ import annotations

import math

from ._common import describe, dt, fail, need_tensor, np
from ._windows import in_format_of
from .op import GATHER, SCATTER, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- taps
def source_scale(n: int, m: int, scale, align_corners: bool, real) -> np.floating:
    """How many input steps one output step is. A user's scale factor is taken as it is."""
    if align_corners:
        return real((n - 1) / (m - 1)) if m > 1 else real(0)
    return real(1 / scale) if scale is not None and scale > 0 else real(n) / real(m)


def nearest_taps(n, m, scale, exact, images):
    if images and not exact and m in (n, 2 * n):    # whatever the scale factor says, as in PyTorch
        return (np.arange(m) // (m // n))[:, None], np.ones((m, 1))
    i = np.arange(m, dtype=np.float32)
    step = np.float32(1 / scale) if scale is not None and scale > 0 else np.float32(n) / np.float32(m)
    at = np.floor((i + np.float32(0.5 if exact else 0)) * step).astype(np.int64)
    return np.minimum(at, n - 1)[:, None], np.ones((m, 1))


def source_positions(n, m, scale, align_corners, real, cubic):
    """The real-valued input position of each output."""
    i, step = np.arange(m, dtype=real), source_scale(n, m, scale, align_corners, real)
    if align_corners:
        return step * i
    x = step * (i + real(0.5)) - real(0.5)
    return x if cubic else np.maximum(x, real(0))


def linear_taps(n, m, scale, align_corners, real):
    if n == m:
        return np.arange(n)[:, None], np.ones((n, 1), real)
    x = source_positions(n, m, scale, align_corners, real, False)
    low = np.minimum(x.astype(np.int64), n - 1)
    part = np.clip(x - low, real(0), real(1)).astype(real)
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - part, part], 1)


def cubic_weight(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def cubic_taps(n, m, scale, align_corners, real):
    x = source_positions(n, m, scale, align_corners, real, True)
    low = np.floor(x)
    t = (x - low).astype(real)
    weights = np.stack([cubic_weight(t + 1, -0.75), cubic_weight(t, -0.75), cubic_weight(1 - t, -0.75),
                        cubic_weight(2 - t, -0.75)], 1).astype(real)
    at = low.astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.clip(at, 0, n - 1), weights


def lanczos_weight(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_FILTERS = {"bilinear": (1, lambda x: np.maximum(1 - np.abs(x), 0)), "bicubic": (2, lambda x: cubic_weight(x, -0.5)),
            "lanczos": (3, lanczos_weight)}


def antialias_taps(n, m, scale, align_corners, real, mode):
    """Pillow's filters: the kernel is stretched by the scale when shrinking."""
    reach, weight = _FILTERS[mode]
    step = float(source_scale(n, m, scale, align_corners, real))
    stretch = max(step, 1.0)
    support = reach * stretch
    taps = math.ceil(support) * 2 + 1
    centre = step * (np.arange(m) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum(np.minimum((centre + support + 0.5).astype(np.int64), n) - first, taps)
    j = np.arange(taps)
    w = weight((j + first[:, None] - centre[:, None] + 0.5) / stretch)
    w = np.where(j < count[:, None], w, 0)
    total = w.sum(1, keepdims=True)
    w = np.divide(w, total, out=w, where=total != 0)
    return np.minimum(first[:, None] + j, n - 1), w.astype(real)


def taps(n, m, scale, mode, align_corners, antialias, real, images):
    """(positions (m, t), weights (m, t)) along a dimension of size `n` resampled to `m`; `images`: two spatial dimensions."""
    if antialias and n == m:
        return np.arange(n)[:, None], np.ones((n, 1), real)
    if antialias:
        return antialias_taps(n, m, scale, align_corners, real, mode)
    if mode.startswith("nearest"):
        return nearest_taps(n, m, scale, mode == "nearest-exact", images)
    if mode == "bicubic":
        return cubic_taps(n, m, scale, align_corners, real)
    return linear_taps(n, m, scale, align_corners, real)


def along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A vector shaped to broadcast along `axis`."""
    return values.reshape(-1, *(1,) * (ndim - 1 - axis))


def resample_ref(a, *, out, scales, mode, align_corners, antialias):
    input, real = a, a.dtype.type if a.dtype.kind == "f" else np.float32
    for i in reversed(range(len(out))):
        axis = 2 + i
        at, w = taps(a.shape[axis], out[i], scales[i], mode, align_corners, antialias, real, len(out) == 2)
        if at.shape[1] == 1:
            a = np.take(a, at[:, 0], axis)
            continue
        total = np.take(a, at[:, 0], axis) * along(w[:, 0], axis, a.ndim)
        for t in range(1, at.shape[1]):
            total += np.take(a, at[:, t], axis) * along(w[:, t], axis, a.ndim)
        a = np.floor(total + np.float32(0.5)).clip(0, 255).astype(np.uint8) if input.dtype == np.uint8 else total
    return in_format_of(np.ascontiguousarray(a), input)


def add_at_axis(r: np.ndarray, axis: int, at: np.ndarray, g: np.ndarray) -> None:
    """r[at[i]] += g[i] along `axis`, where `at` never decreases."""
    first = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1]]))
    r[(slice(None),) * axis + (at[first],)] += np.add.reduceat(g, first, axis)


def resample_grad_ref(g, *, sizes, scales, mode, align_corners, antialias):
    for i, n in enumerate(sizes):
        axis = 2 + i
        at, w = taps(n, g.shape[axis], scales[i], mode, align_corners, antialias, g.dtype.type, len(sizes) == 2)
        r = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1:]), g.dtype)
        if g.size:
            for t in range(at.shape[1]):
                add_at_axis(r, axis, at[:, t], g if at.shape[1] == 1 else g * along(w[:, t], axis, g.ndim))
        g = r
    return g


def tap_scalars(b, x, n, m, scale, mode, align_corners, antialias, real, images):
    """The taps of output `x` of `m` along a dimension of size `n`: (position, weight or None for 1) each, by arithmetic."""
    if n == m and (antialias or mode in ("linear", "bilinear", "trilinear")):
        return [(x, None)]
    if antialias or mode == "bicubic":
        b.refuse("cubic and antialiased resampling")
    if mode.startswith("nearest"):
        at, _ = nearest_taps(n, m, scale, mode == "nearest-exact", images)
        whole = np.arange(m) * n // m
        if not np.array_equal(at[:, 0], whole):
            b.refuse("nearest neighbours at an uneven scale")
        return [(b.idiv(b.imul(x, n), m), None)]
    step = float(source_scale(n, m, scale, align_corners, real.np.type))
    i = b.cast(b.value(x), real)
    place = b.mul(i, step) if align_corners else b.max(b.sub(b.mul(b.add(i, 0.5), step), 0.5), 0)
    low = b.min(b.cast(place, dt.int64), n - 1)
    part = b.min(b.max(b.sub(place, b.cast(low, real)), 0), 1)
    return [(b.as_index(low, 0, n - 1), b.sub(1, part)), (b.as_index(b.min(b.add(low, 1), n - 1), 0, n - 1), part)]


def resample_lower(b, i, load, s, *, out, scales, mode, align_corners, antialias):
    if s.dtype.category < dt.FLOAT and not mode.startswith("nearest"):
        b.refuse("weighted sums of integers")
    found = [tap_scalars(b, x, n, m, scale, mode, align_corners, antialias, b.compute(s.dtype), len(out) == 2)
             for x, n, m, scale in zip(i[2:], s.shape[2:], out, scales)]

    def along_dims(at):
        """The weighted sum over the dimensions that `at` does not name yet, the last dimension innermost."""
        d = len(at) - 2
        if d == len(found):
            return load(0, at)
        total = None
        for place, weight in found[d]:
            v = along_dims((*at, place))
            v = v if weight is None else b.mul(v, weight)
            total = v if total is None else b.add(total, v)
        return total
    return along_dims(i[:2])


def resample_grad_lower(b, g, *, sizes, scales, mode, align_corners, antialias):
    """One update per tap: the taps are further dimensions of what is scattered."""
    if g.dtype.category < dt.FLOAT:
        b.refuse("gradients of integers")
    args = [(n, m, scale, mode, align_corners, antialias, b.compute(g.dtype), len(sizes) == 2)
            for n, m, scale in zip(sizes, g.shape[2:], scales)]
    counts = [len(tap_scalars(b, b.iadd(0, 0), *a)) for a in args]

    def at(i, load):
        k, value, place = i[g.ndim:], load(0, i[:g.ndim]), list(i[:2])
        for x, t, a in zip(i[2:g.ndim], k, args):
            found = tap_scalars(b, x, *a)
            if len(found) == 1:
                place.append(found[0][0])
                value = value if found[0][1] is None else b.mul(value, found[0][1])
            else:
                second = b.ieq(t, 1)
                place.append(b.iselect(second, found[1][0], found[0][0]))
                value = b.mul(value, b.select(second, found[1][1], found[0][1]))
        return tuple(place), value
    return b.scatter((*g.shape, *counts), b.zero(g.dtype), "add", at)


def resample_samples(m):
    o = dict(scales=(None,), mode="linear", align_corners=False, antialias=False)
    two = dict(scales=(None, 0.7), mode="bicubic", align_corners=False, antialias=False)
    return [((m.t(2, 3, 4), (7,)), o), ((m.t(1, 2, 4, 5), (3, 6)), two), ((m.t(0, 3, 4), (2,)), {**o, "mode": "nearest"}),
            ((m.t(1, 2, 6, 5), (3, 2)), {**two, "mode": "bilinear", "antialias": True, "scales": (None, None)})]


def grad_samples(m):
    return [((m.t(x.shape[0], x.shape[1], *out), tuple(x.shape[2:])), k) for (x, out), k in resample_samples(m)]


@primitive(GATHER, jvp="input", batch="rows", args="input", forms="", ns=(), ref=resample_ref, lower=resample_lower, infer=lambda x, *, out, **kw: x.like((*x.shape[:2], *out)),
           samples=resample_samples,
           vjp={"input": lambda g, input_shape, attrs_: F.resample_grad(g, input_shape[2:], **_options(attrs_))})
def resample(input, out, scales, mode, align_corners, antialias):
    """(N, C, *spatial) resampled to spatial sizes `out`; `scales` are the user's factors or None, per dimension."""
    return (input,), {"out": tuple(out), "scales": tuple(scales), "mode": mode, "align_corners": align_corners, "antialias": antialias}


@primitive(SCATTER, jvp="y", batch="rows", args="y", forms="", ns=(), ref=resample_grad_ref, lower=resample_grad_lower, infer=lambda y, *, sizes, **kw: y.like((*y.shape[:2], *sizes)),
           samples=grad_samples,
           vjp={"y": lambda g, y_shape, attrs_: F.resample(g, y_shape[2:], **_options(attrs_))})
def resample_grad(y, sizes, scales, mode, align_corners, antialias):
    """The transpose of `resample`, back to spatial `sizes`."""
    return (y,), {"sizes": tuple(sizes), "scales": tuple(scales), "mode": mode, "align_corners": align_corners, "antialias": antialias}


def _options(attrs):
    return {k: attrs[k] for k in ("scales", "mode", "align_corners", "antialias")}


# ---------------------------------------------------------------------------------------------------- interpolate
_DIMS = {"linear": 3, "bilinear": 4, "bicubic": 4, "lanczos": 4, "trilinear": 5}
_MODES = ("nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact", "lanczos")


def interpolate_sizes(input, size, scale_factor, recompute_scale_factor):
    """(output sizes, scale factors or None, per dimension) as PyTorch works them out."""
    dims, spatial = input.ndim - 2, list(input.shape[2:])
    if size is not None and scale_factor is not None:
        fail(ValueError, "P2790", "only one of size or scale_factor should be defined", got=f"size={size}, scale_factor={scale_factor}",
             fix="give size or scale_factor, not both")
    if size is not None:
        if isinstance(size, (tuple, list)):
            if len(size) != dims:
                fail(ValueError, "P2791", "Input and output must have the same number of spatial dimensions, but got input with spatial "
                     f"dimensions of {spatial} and output size of {size}. Please provide input tensor in (N, C, d1, d2, ...,dK) format "
                     "and output size in (o1, o2, ...,oK) format.",
                     got=describe(input), fix="give one number for all spatial dimensions, or one for each")
            if not all(_is_integer(s) for s in size):
                fail(TypeError, "P2792", "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got "
                     f"size with types {[type(s) for s in size]}")
        out = [int(s) for s in size] if isinstance(size, (tuple, list)) else [int(size)] * dims
        if recompute_scale_factor:
            fail(ValueError, "P2793", "recompute_scale_factor is not meaningful with an explicit size.")
        return out, [None] * dims
    if scale_factor is None:
        fail(ValueError, "P2794", "either size or scale_factor should be defined", fix="give size=(...) or scale_factor=...")
    if isinstance(scale_factor, (tuple, list)):
        if len(scale_factor) != dims:
            fail(ValueError, "P2795", f"Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
                 f"dimensions of {spatial} and scale_factor of shape {scale_factor}. Please provide input tensor in (N, C, d1, d2, ...,dK) "
                 "format and scale_factor in (s1, s2, ...,sK) format.",
                 got=describe(input), fix="give one factor for all spatial dimensions, or one for each")
        scales = [float(s) for s in scale_factor]
    else:
        scales = [float(scale_factor)] * dims
    out = [int(n * s) for n, s in zip(spatial, scales)]
    return out, [None] * dims if recompute_scale_factor else scales


def _is_integer(x) -> bool:
    return isinstance(x, (int, np.integer)) or (hasattr(x, "is_floating_point") and not x.is_floating_point())


def interpolate_samples(m):
    return [((m.t(2, 3, 4),), {"size": 7}), ((m.t(1, 2, 4, 5),), {"scale_factor": 1.5, "mode": "bilinear", "align_corners": False}),
            ((m.t(1, 2, 4, 5),), {"size": (3, 6), "mode": "bicubic", "align_corners": True}),
            ((m.t(0, 2, 3, 2, 2),), {"scale_factor": 2, "mode": "trilinear"}), ((m.t(1, 2, 6, 4),), {"size": (3, 2), "mode": "area"}),
            ((m.t(1, 2, 6, 5),), {"size": (3, 2), "mode": "bilinear", "antialias": True})]


@composite(ns="nn.functional", samples=interpolate_samples)
def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False):
    """(N, C, *spatial) resized to `size` or by `scale_factor`.

    `mode`: nearest, nearest-exact, area (any rank), linear (3-D input), bilinear, bicubic, lanczos (4-D), trilinear (5-D).
    `antialias` (bilinear, bicubic, lanczos) filters when shrinking, as Pillow does."""
    need_tensor(input, "interpolate")
    if mode not in _MODES:
        fail(NotImplementedError, "P2796", f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: "
             f"{' | '.join(_MODES)} (got {mode})",
             fix="linear is for 3-D, bilinear and bicubic for 4-D, trilinear for 5-D input; nearest and area take any")
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            fail(ValueError, "P2797", "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    out, scales = interpolate_sizes(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
        fail(ValueError, "P2798", "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input")
    if mode == "lanczos" and (align_corners or not antialias):
        fail(ValueError, "P2799", "Lanczos mode does not support align_corners=True" if align_corners else "Lanczos mode requires antialias=True")
    if input.ndim not in (3, 4, 5):
        fail(NotImplementedError, "P2796", f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: "
             f"{' | '.join(_MODES)} (got {mode})",
             fix="linear is for 3-D, bilinear and bicubic for 4-D, trilinear for 5-D input; nearest and area take any")
    if mode in _DIMS and input.ndim != _DIMS[mode]:
        fail(NotImplementedError, "P27A0", f"Got {input.ndim}D input, but {mode} mode needs {_DIMS[mode]}D input",
             fix="add or remove dimensions: (batch, channels, *spatial)")
    if min(out) <= 0 or 0 in tuple(input.shape)[1:]:
        fail(RuntimeError, "P27A1", f"Input and output sizes should be greater than 0, but got input ({', '.join(map(str, input.shape[2:]))}) "
             f"output ({', '.join(map(str, out))})", got=describe(input))
    if mode == "area":
        return (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[input.ndim - 3](input, out)
    if input.dtype.category < dt.FLOAT and input.dtype is not dt.uint8:
        fail(NotImplementedError, "P27A2", f'"upsample_{mode}" not implemented for \'{input.dtype.type_name}\'', fix="convert to a float dtype first")
    return F.resample(input, out, scales, mode, bool(align_corners), bool(antialias))


@composite(ns="nn.functional", samples=lambda m: interpolate_samples(m)[:4])
def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The older name of `interpolate`."""
    return F.interpolate(input, size, scale_factor, mode, align_corners)


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(2, 3, 4),), {"size": 7}), ((m.t(1, 2, 2, 3),), {"scale_factor": 2}), ((m.t(0, 2, 3),), {"size": 4})])
def upsample_nearest(input, size=None, scale_factor=None):
    """`interpolate(..., mode='nearest')`."""
    return F.interpolate(input, size, scale_factor, mode="nearest")


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(2, 3, 4, 3),), {"size": 7}), ((m.t(1, 2, 2, 3),), {"scale_factor": 2}), ((m.t(0, 2, 3, 3),), {"size": 4})])
def upsample_bilinear(input, size=None, scale_factor=None):
    """`interpolate(..., mode='bilinear', align_corners=True)`."""
    return F.interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
