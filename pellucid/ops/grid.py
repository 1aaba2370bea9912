"""Sampling at real-valued places: `affine_grid` makes the places, `grid_sample` reads an image there.

A grid (N, *out, dims) holds places from -1 to 1, the last spatial dimension (x) first. Both are composites: gradients to
image, grid and theta follow from their parts.
"""
from __future__ import annotations

import itertools
import warnings

from ._common import describe, dt, fail, need_tensor
from .op import F, composite

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


# ---------------------------------------------------------------------------------------------------- coordinates
def to_pixels(x, n: int, align_corners: bool):
    """From [-1, 1] to input steps: -1 and 1 are the centres (align_corners) or the edges of the outer pixels."""
    return F.mul(F.add(x, 1), (n - 1) / 2) if align_corners else F.div(F.sub(F.mul(F.add(x, 1), n), 1), 2)


def clip(x, n: int):
    """`x` held in [0, n - 1]; on and beyond a border there is no gradient."""
    x = F.where(x > 0, x, F.zeros_like(x))
    return F.where(x < n - 1, x, F.full_like(x, n - 1))


def reflect(x, low: float, high: float):
    """`x` mirrored at `low` and `high` until it lies between."""
    span = high - low
    if span == 0:
        return F.zeros_like(x)
    x = F.abs(F.sub(x, low))
    flips = F.floor(F.div(F.detach(x), span))
    extra = F.sub(x, F.mul(flips, span))
    odd = F.remainder(flips, 2) != 0
    return F.add(F.where(odd, F.sub(span, extra), extra), low)


def padded_place(x, n: int, padding: str, align_corners: bool):
    """A place outside of the image moved into it, as the padding mode says ('zeros' leaves it)."""
    if padding == "border":
        return clip(x, n)
    if padding == "reflection":
        return clip(reflect(x, 0, n - 1) if align_corners else reflect(x, -0.5, n - 0.5), n)
    return x


# ---------------------------------------------------------------------------------------------------- reading
def read(input, places):
    """The image at whole-numbered `places` (one (N, *out) float tensor per dimension), zeros outside: (N, C, *out)."""
    index = inside = None
    for x, n in zip(places, input.shape[2:]):
        good = (x >= 0) & (x <= n - 1)
        # out of range, and not even a number: read element 0 and drop it
        at = F.convert(F.where(good, x, F.zeros_like(x)), dt.int64)
        index = at if index is None else F.add(F.mul(index, n), at)
        inside = good if inside is None else inside & good
    shape = (index.shape[0], input.shape[1], *index.shape[1:])
    values = F.plane_gather(input, F.expand(F.unsqueeze(index, 1), shape))
    return F.where(F.unsqueeze(inside, 1), values, F.zeros_like(values))


def linear_sample(input, places):
    lows = [F.floor(F.detach(x)) for x in places]
    parts = [F.sub(x, low) for x, low in zip(places, lows)]
    total = None
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight = None
        for c, t in zip(corner, parts):
            w = t if c else F.sub(1, t)
            weight = w if weight is None else F.mul(weight, w)
        value = F.mul(read(input, [F.add(low, c) if c else low for c, low in zip(corner, lows)]), F.unsqueeze(weight, 1))
        total = value if total is None else F.add(total, value)
    return total


def cubic_weights(t, a=-0.75):
    """Weights of the four neighbours at fraction `t` (Keys' kernel)."""
    def near(x):
        return F.add(F.mul(F.mul(F.sub(F.mul(x, a + 2), a + 3), x), x), 1)

    def far(x):
        return F.sub(F.mul(F.add(F.mul(F.sub(F.mul(x, a), 5 * a), x), 8 * a), x), 4 * a)
    return far(F.add(t, 1)), near(t), near(F.sub(1, t)), far(F.sub(2, t))


def cubic_sample(input, places, padding, align_corners):
    (h, w) = input.shape[2:]
    lows = [F.floor(F.detach(x)) for x in places]
    wy, wx = [cubic_weights(F.sub(x, low)) for x, low in zip(places, lows)]
    total = None
    for i, j in itertools.product(range(4), repeat=2):
        y = padded_place(F.add(lows[0], i - 1), h, padding, align_corners)
        x = padded_place(F.add(lows[1], j - 1), w, padding, align_corners)
        value = F.mul(read(input, [F.floor(y), F.floor(x)]), F.unsqueeze(F.mul(wy[i], wx[j]), 1))
        total = value if total is None else F.add(total, value)
    return total


def sample(input, grid, mode: str, padding: str, align_corners: bool):
    low = input.dtype
    if low in dt.LOW_PRECISION:
        input, grid = F.convert(input, dt.float32), F.convert(grid, dt.float32)
    sizes = tuple(input.shape[2:])
    places = [to_pixels(F.select(grid, -1, len(sizes) - 1 - d), n, align_corners) for d, n in enumerate(sizes)]
    if mode == "bicubic":
        y = cubic_sample(input, places, padding, align_corners)
    else:
        places = [padded_place(x, n, padding, align_corners) for x, n in zip(places, sizes)]
        y = linear_sample(input, places) if mode == "bilinear" else read(input, [F.round(F.detach(x)) for x in places])
    return F.convert(y, low) if y.dtype is not low else y


def check_grid(input, grid, dims: tuple[int, ...], mode: str) -> None:
    """Raise PyTorch's errors for operands that do not fit."""
    need_tensor(input, "grid_sampler"), need_tensor(grid, "grid_sampler", "grid", 2)
    shape, where = list(input.shape), list(grid.shape)
    if input.dtype != grid.dtype:
        fail(RuntimeError, "P27B0", "grid_sampler(): expected input and grid to have same dtype, but input has "
             f"{input.dtype} and grid has {grid.dtype}", fix=f"grid.to({input.dtype})")
    if input.ndim not in dims or input.ndim != grid.ndim:
        fail(RuntimeError, "P27B1", "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
             f"sizes {shape} and grid with sizes {where}")
    if shape[0] != where[0]:
        fail(RuntimeError, "P27B2", "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
             f"{shape} and grid with sizes {where}")
    if where[-1] != input.ndim - 2:
        fail(RuntimeError, "P27B3", f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with sizes {where}")
    for d, n in enumerate(shape[2:], 2):
        if n == 0:
            fail(RuntimeError, "P27B4", "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                 f"{shape} with dimension {d} being empty")
    if mode == "bicubic" and input.ndim == 5:
        fail(RuntimeError, "P27B5", "grid_sampler(): bicubic interpolation only supports 4D input")


def grid_samples(dims):
    def samples(m):
        s, out = (4, 5, 3)[:dims], (3, 2, 2)[:dims]
        return [((m.t(2, 3, *s), m.t(2, *out, dims, low=-0.9, high=0.9), 0, 0, False), {}),
                ((m.t(1, 2, *s), m.t(1, *out, dims, low=-1.4, high=1.4), 0, 1, True), {}),
                ((m.t(1, 2, *s), m.t(1, *out, dims, low=-1.4, high=1.4), 1, 2, False), {}),
                ((m.t(0, 2, *s), m.t(0, *out, dims), 0, 0, False), {})]
    return samples


@composite(cast="high", samples=grid_samples(2))
def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` of (N, C, H, W) with modes as numbers: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    check_grid(input, grid, (4,), _MODES[interpolation_mode])
    return sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


@composite(cast="high", samples=grid_samples(3))
def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` of (N, C, D, H, W) with modes as numbers: 0 bilinear, 1 nearest; 0 zeros, 1 border, 2 reflection."""
    check_grid(input, grid, (5,), _MODES[interpolation_mode])
    return sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


@composite(samples=grid_samples(2))
def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` with modes as numbers: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    check_grid(input, grid, (4, 5), _MODES[interpolation_mode])
    return sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


def default_corners(fn: str, align_corners) -> bool:
    if align_corners is None:
        warnings.warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
                      f"align_corners=True if the old behavior is desired. See the documentation of {fn} for details.", stacklevel=4)
    return bool(align_corners)


@composite(cast="high", ns="nn.functional",
           samples=lambda m: [((m.t(2, 3, 4, 5), m.t(2, 3, 2, 2, low=-0.9, high=0.9)), {"align_corners": False}),
                              ((m.t(1, 2, 4, 5), m.t(1, 3, 2, 2, low=-0.9, high=0.9)), {"mode": "bicubic", "align_corners": True}),
                              ((m.t(1, 2, 2, 3, 4), m.t(1, 1, 2, 2, 3, low=-1.4, high=1.4)), {"padding_mode": "reflection", "align_corners": False}),
                              ((m.t(0, 2, 4, 5), m.t(0, 3, 2, 2)), {"mode": "nearest", "align_corners": False})])
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """(N, C, *spatial) read at `grid` (N, *out, dims), places from -1 to 1 with x first -> (N, C, *out).

    `mode`: bilinear (trilinear in 3-d), nearest, bicubic (2-d). `padding_mode`: zeros, border, reflection.
    Two or three spatial dimensions."""
    if mode not in _MODES:
        fail(ValueError, "P27B6", f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'")
    if padding_mode not in _PADDINGS:
        fail(ValueError, "P27B7", "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
             f"but got: '{padding_mode}'")
    return F.grid_sampler(input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode), default_corners("grid_sample", align_corners))


# ---------------------------------------------------------------------------------------------------- grids
def axis_places(n: int, align_corners: bool, dtype):
    """The centres of `n` pixels between -1 and 1."""
    if n <= 1:
        return F.zeros(n, dtype=dtype)
    x = F.linspace(-1, 1, n, dtype=dtype)
    return x if align_corners else F.div(F.mul(x, n - 1), n)


@composite(samples=lambda m: [((m.t(2, 2, 3), (2, 1, 3, 4), False), {}), ((m.t(1, 3, 4), (1, 1, 2, 3, 2), True), {}), ((m.t(0, 2, 3), (0, 1, 2, 2), False), {})])
def affine_grid_generator(theta, size, align_corners):
    """The places (N, *spatial, dims) that the affine maps `theta` (N, dims, dims + 1) give to the pixels of `size`."""
    n, _, *sizes = size
    dims = len(sizes)
    axes = []
    for d, s in enumerate(sizes):
        x = F.reshape(axis_places(s, align_corners, theta.dtype), (1,) * d + (s,) + (1,) * (dims - 1 - d))
        axes.insert(0, F.expand(x, sizes))
    base = F.stack([*axes, F.ones(*sizes, dtype=theta.dtype)], -1)
    flat = F.expand(F.reshape(base, (1, -1, dims + 1)), (n, -1, -1)) if base.numel() else F.zeros(n, 0, dims + 1, dtype=theta.dtype)
    return F.reshape(F.matmul(flat, F.transpose(theta, 1, 2)), (n, *sizes, dims))


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(2, 2, 3), (2, 1, 3, 4)), {"align_corners": False}), ((m.t(1, 3, 4), (1, 1, 2, 3, 2)), {"align_corners": True}),
                              ((m.t(2, 2, 3), (2, 1, 1, 3)), {"align_corners": False})])
def affine_grid(theta, size, align_corners=None):
    """The grid for `grid_sample` from affine maps: theta (N, 2, 3) and size (N, C, H, W), or (N, 3, 4) and (N, C, D, H, W)."""
    need_tensor(theta, "affine_grid")
    if not theta.dtype.is_floating_point:
        fail(ValueError, "P27B8", f"Expected theta to have floating point type, but got {theta.dtype}")
    size = tuple(int(s) for s in size)
    dims = len(size) - 2
    if dims in (2, 3) and (theta.ndim != 3 or tuple(theta.shape[1:]) != (dims, dims + 1)):
        fail(ValueError, "P27B9", f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1} for size {size}. "
             f"Got {list(theta.shape)}.", got=describe(theta))
    if dims not in (2, 3):
        fail(NotImplementedError, "P27C0", "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
             f"Got size {size}.")
    if min(size) <= 0:
        fail(ValueError, "P27C1", f"Expected non-zero, positive output size. Got {size}")
    corners = default_corners("affine_grid", align_corners)
    if theta.shape[0] != size[0]:
        fail(RuntimeError, "P27C2", f"Expected theta to have batch size {size[0]}, as in size {size}, but got {list(theta.shape)}")
    return F.affine_grid_generator(theta, size, corners)
