"""Bounding boxes: their formats, and what each geometric function does to them.

In: `tv_tensors.BoundingBoxes`, or plain (N, 4) tensors with their format and the (height, width) of the image.
Out: the same kind. What stays true: where pixels go, boxes go, by the same matrix; boxes are cut to the image unless their
`clamping_mode` is None. (The definitions are torchvision's, BSD 3-Clause.)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pellucid as torch

from ....core.errors import fail
from ....tensor import Tensor
from ...tv_tensors import BoundingBoxes, BoundingBoxFormat, wrap
from . import geometry as G

XYXY, XYWH, CXCYWH = BoundingBoxFormat.XYXY, BoundingBoxFormat.XYWH, BoundingBoxFormat.CXCYWH


def _to_corners(boxes: Tensor, old: BoundingBoxFormat) -> Tensor:
    if old is XYXY:
        return boxes
    place, size = boxes[..., :2], boxes[..., 2:]
    if old is XYWH:
        return torch.cat([place, place + size], dim=-1)
    low = place - size / 2                                    # of whole numbers too: then both corners are cut to whole numbers
    return torch.cat([low, low + size], dim=-1).to(boxes.dtype)


def _from_corners(boxes: Tensor, new: BoundingBoxFormat) -> Tensor:
    if new is XYXY:
        return boxes
    low, high = boxes[..., :2], boxes[..., 2:]
    size = high - low
    if new is XYWH:
        return torch.cat([low, size], dim=-1)
    rounding = None if boxes.is_floating_point() else "floor"
    return torch.cat([torch.div(low * 2 + size, 2, rounding_mode=rounding), size], dim=-1)


def convert_bounding_box_format(inpt: Tensor, old_format: Any = None, new_format: Any = None, inplace: bool = False) -> Tensor:
    """Boxes in `new_format`; plain tensors need `old_format`."""
    if new_format is None:
        fail(TypeError, "P5380", "convert_bounding_box_format() missing 1 required argument: 'new_format'", fix="new_format='XYXY'")
    new = BoundingBoxFormat.of(new_format)
    known = isinstance(inpt, BoundingBoxes)
    if known != (old_format is None):
        fail(ValueError, "P5381", "For bounding box tv_tensor inputs, `old_format` must not be passed." if known
             else "For pure tensor inputs, `old_format` has to be passed.",
             fix="the boxes know their format" if known else "old_format='XYXY'")
    boxes, old = inpt.as_subclass(Tensor), inpt.format if known else BoundingBoxFormat.of(old_format)
    if old is not new:
        if {old, new} == {XYWH, CXCYWH} and old is XYWH:      # by halves of the size, not by way of the other corner
            half = torch.div(boxes[..., 2:], 2, rounding_mode=None if boxes.is_floating_point() else "floor")
            output = torch.cat([boxes[..., :2] + half, boxes[..., 2:]], dim=-1)
        else:
            output = _from_corners(_to_corners(boxes, old), new)
        boxes = boxes.copy_(output) if inplace else output
    return wrap(boxes, like=inpt, format=new) if known else boxes


def _clamped(boxes: Tensor, format: BoundingBoxFormat, canvas_size: Sequence[int], clamping_mode: str | None) -> Tensor:
    if clamping_mode is None:
        return boxes.clone()
    corners = _to_corners(boxes if boxes.is_floating_point() else boxes.float(), format)
    height, width = canvas_size
    corners = torch.minimum(corners.clamp(min=0), torch.tensor([width, height, width, height], dtype=corners.dtype))
    return _from_corners(corners, format).to(boxes.dtype)


def clamp_bounding_boxes(inpt: Tensor, format: Any = None, canvas_size: Any = None, clamping_mode: str | None = "auto") -> Tensor:
    """Boxes cut to the image."""
    if clamping_mode not in (None, "soft", "hard", "auto"):
        fail(ValueError, "P5382", f"clamping_mode must be soft, hard, auto or None, got {clamping_mode}", fix="one of these")
    if isinstance(inpt, BoundingBoxes):
        if format is not None or canvas_size is not None:
            fail(ValueError, "P5383", "For bounding box tv_tensor inputs, `format` and `canvas_size` must not be passed.",
                 fix="leave them out")
        mode = inpt.clamping_mode if clamping_mode == "auto" else clamping_mode
        return wrap(_clamped(inpt.as_subclass(Tensor), inpt.format, inpt.canvas_size, mode), like=inpt)
    if format is None or canvas_size is None or clamping_mode == "auto":
        fail(ValueError, "P5384", "For pure tensor inputs, `format`, `canvas_size` and `clamping_mode` have to be passed.", fix="pass them")
    return _clamped(inpt, BoundingBoxFormat.of(format), canvas_size, clamping_mode)


def valid_boxes(boxes: Tensor, format: BoundingBoxFormat, canvas_size: Sequence[int], min_size: float, min_area: float) -> Tensor:
    """Which boxes are at least so large and lie inside the image."""
    corners = _to_corners(boxes.as_subclass(Tensor), format)
    (x1, y1, x2, y2), (height, width) = corners.unbind(-1), canvas_size
    w, h = x2 - x1, y2 - y1
    return ((w >= min_size) & (h >= min_size) & (corners >= 0).all(dim=-1) & (w * h >= min_area)
            & (x1 <= width) & (x2 <= width) & (y1 <= height) & (y2 <= height))


def sanitize_bounding_boxes(bounding_boxes: Tensor, format: Any = None, canvas_size: Any = None, min_size: float = 1.0,
                            min_area: float = 1.0) -> tuple[Tensor, Tensor]:
    """(the boxes that are large enough and inside the image, which they were)."""
    known = isinstance(bounding_boxes, BoundingBoxes)
    if known == (format is not None or canvas_size is not None):
        fail(ValueError, "P5385", "format and canvas_size are for pure tensors, which need both",
             got=f"format={format}, canvas_size={canvas_size}",
             fix="BoundingBoxes know theirs")
    if known:
        format, canvas_size = bounding_boxes.format, bounding_boxes.canvas_size
    valid = valid_boxes(bounding_boxes, BoundingBoxFormat.of(format), canvas_size, min_size, min_area)
    kept = bounding_boxes.as_subclass(Tensor)[valid]
    return (wrap(kept, like=bounding_boxes) if known else kept), valid


# ----------------------------------------------------------------------------------------------------- geometry
@G.horizontal_flip.on(BoundingBoxes)
def _(boxes: BoundingBoxes) -> BoundingBoxes:
    a, b, c, d = boxes.as_subclass(Tensor).unbind(-1)
    width = boxes.canvas_size[1]
    x = {XYXY: width - c, XYWH: width - a - c, CXCYWH: width - a}[boxes.format]
    return wrap(torch.stack([x, b, width - a if boxes.format is XYXY else c, d], dim=-1), like=boxes)


@G.vertical_flip.on(BoundingBoxes)
def _(boxes: BoundingBoxes) -> BoundingBoxes:
    a, b, c, d = boxes.as_subclass(Tensor).unbind(-1)
    height = boxes.canvas_size[0]
    y = {XYXY: height - d, XYWH: height - b - d, CXCYWH: height - b}[boxes.format]
    return wrap(torch.stack([a, y, c, height - b if boxes.format is XYXY else d], dim=-1), like=boxes)


def _moved(boxes: BoundingBoxes, dx: int, dy: int, canvas_size: tuple[int, int]) -> BoundingBoxes:
    shift = [dx, dy, dx, dy] if boxes.format is XYXY else [dx, dy, 0, 0]
    moved = boxes.as_subclass(Tensor) + torch.tensor(shift, dtype=boxes.dtype)
    return wrap(_clamped(moved, boxes.format, canvas_size, boxes.clamping_mode), like=boxes, canvas_size=canvas_size)


@G.pad.on(BoundingBoxes)
def _(boxes: BoundingBoxes, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> BoundingBoxes:
    if padding_mode != "constant":
        fail(ValueError, "P5386", f"Padding mode '{padding_mode}' is not supported with bounding boxes", fix="padding_mode='constant'")
    left, top, right, bottom = G.padding_of(padding)
    height, width = boxes.canvas_size
    return _moved(boxes, left, top, (height + top + bottom, width + left + right))


@G.crop.on(BoundingBoxes)
def _(boxes: BoundingBoxes, top: int, left: int, height: int, width: int) -> BoundingBoxes:
    return _moved(boxes, -left, -top, (height, width))


@G.resize.on(BoundingBoxes)
def _(boxes: BoundingBoxes, size: Any, interpolation: Any = None, max_size: int | None = None,
      antialias: bool | None = None) -> BoundingBoxes:
    height, width = boxes.canvas_size
    new = G.resized(boxes.canvas_size, size, max_size)
    ratios = torch.tensor([new[1] / width, new[0] / height] * 2)
    return wrap((boxes.as_subclass(Tensor) * ratios).to(boxes.dtype), like=boxes, canvas_size=new)


def _through(boxes: BoundingBoxes, move: Callable[[Tensor], Tensor], canvas_size: tuple[int, int] | None = None, *,
             whole_before: bool = False, whole_after: bool = False) -> BoundingBoxes:
    """The boxes around where `move` takes the four corners, (N, 4, 2). Boxes of whole numbers are floats in between; torchvision
    makes their corners whole before some functions, and after some."""
    plain, canvas_size = boxes.as_subclass(Tensor), canvas_size or boxes.canvas_size
    if plain.numel() == 0:
        return wrap(plain, like=boxes, canvas_size=canvas_size)
    dtype = plain.dtype if plain.is_floating_point() else torch.float32
    corners = _to_corners(plain if whole_before else plain.to(dtype), boxes.format).to(dtype)
    moved = move(corners[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    around = torch.cat([moved.amin(1), moved.amax(1)], dim=1).to(plain.dtype if whole_after else dtype)
    around = _clamped(around, XYXY, canvas_size, boxes.clamping_mode)
    return wrap(_from_corners(around, boxes.format).to(boxes.dtype), like=boxes, canvas_size=canvas_size)


def _with_one(points: Tensor) -> Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)


def _affine(boxes: BoundingBoxes, angle: float, translate: Any, scale: float, shear: Any, center: Any, expand: bool) -> BoundingBoxes:
    angle, translate, shear = G.affine_arguments(angle, translate, scale, shear)
    height, width = boxes.canvas_size
    center = [width * 0.5, height * 0.5] if center is None else center
    forward = torch.tensor(G.affine_matrix(center, angle, translate, scale, shear, inverted=False)).reshape(2, 3)
    shift, new = torch.zeros(2), (height, width)
    if expand:
        corners = torch.tensor([[0.0, 0.0, 1.0], [0.0, height, 1.0], [width, height, 1.0], [width, 0.0, 1.0]])
        shift = (corners @ forward.T).amin(0)
        new = G.expanded(G.affine_matrix(center, angle, translate, scale, shear), height, width)
    return _through(boxes, lambda points: _with_one(points) @ forward.T.to(points.dtype) - shift.to(points.dtype), new)


@G.affine.on(BoundingBoxes)
def _(boxes: BoundingBoxes, angle: float, translate: Any, scale: float, shear: Any, interpolation: Any = None, fill: Any = None,
      center: Any = None) -> BoundingBoxes:
    return _affine(boxes, angle, translate, scale, shear, center, False)


@G.rotate.on(BoundingBoxes)
def _(boxes: BoundingBoxes, angle: float, interpolation: Any = None, expand: bool = False, center: Any = None,
      fill: Any = None) -> BoundingBoxes:
    return _affine(boxes, -angle, [0.0, 0.0], 1.0, [0.0, 0.0], center, expand)


@G.perspective.on(BoundingBoxes)
def _(boxes: BoundingBoxes, startpoints: Any, endpoints: Any, interpolation: Any = None, fill: Any = None,
      coefficients: Any = None) -> BoundingBoxes:
    a, b, c, d, e, f, g, h = G.perspective_coefficients(startpoints, endpoints, coefficients)
    determinant = a * e - b * d
    if determinant == 0:
        fail(RuntimeError, "P5387", "the perspective cannot be undone, as boxes need it", got=f"coefficients {[a, b, c, d, e, f, g, h]}",
             fix="corners of which no three lie on one line")
    # The inverse of [[a, b, c], [d, e, f], [g, h, 1]] but for a factor.
    upper = torch.tensor([[e - f * h, c * h - b, b * f - c * e], [f * g - d, a - c * g, c * d - a * f]]) / determinant
    lower = torch.tensor([d * h - e * g, b * g - a * h, a * e - b * d]) / determinant

    def move(points: Tensor) -> Tensor:
        points = _with_one(points)
        return (points @ upper.T.to(points.dtype)) / (points @ lower.to(points.dtype)).unsqueeze(-1)
    return _through(boxes, move, whole_before=True)


@G.elastic.on(BoundingBoxes)
def _(boxes: BoundingBoxes, displacement: Tensor, interpolation: Any = None, fill: Any = None) -> BoundingBoxes:
    height, width = boxes.canvas_size

    def move(points: Tensor) -> Tensor:
        inverse = (G.identity_grid((height, width), points.dtype) - displacement.to(points.dtype))[0]
        x, y = points.ceil().long().unbind(-1)
        found = inverse[y.clamp(0, height - 1), x.clamp(0, width - 1)]
        return (found + 1) * (0.5 * torch.tensor([width, height], dtype=points.dtype)) - 0.5
    return _through(boxes, move, whole_before=True, whole_after=True)
