"""Boxes: areas, overlaps, conversions, and non-maximum suppression.

In: boxes (N, 4) as (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, unless a function says otherwise. Out: tensors; indices are int64.
True always: nothing is changed in place; all but suppression and `masks_to_boxes` can be differentiated.
"""
from __future__ import annotations

import numpy as np

import pellucid as torch
from pellucid import Tensor

__all__ = ["batched_nms", "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
           "generalized_box_iou", "masks_to_boxes", "nms", "remove_small_boxes"]


def upcast(t: Tensor) -> Tensor:
    """To a dtype in which products of coordinates do not overflow."""
    if t.is_floating_point():
        return t if t.dtype in (torch.float32, torch.float64) else t.float()
    return t if t.dtype in (torch.int32, torch.int64) else t.int()


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes to keep, by falling score: each overlaps all better kept ones by at most `iou_threshold`."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes should be a tensor of shape (N, 4), got {tuple(boxes.shape)}")
    if scores.ndim != 1 or len(scores) != len(boxes):
        raise ValueError(f"scores should be a tensor of shape ({len(boxes)},), got {tuple(scores.shape)}")
    order = torch.argsort(scores.detach(), descending=True, stable=True).numpy()
    x1, y1, x2, y2 = np.ascontiguousarray(upcast(boxes.detach()).numpy()[order].T)
    area = (x2 - x1) * (y2 - y1)
    alive, kept = np.ones(len(order), dtype=bool), []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = slice(i + 1, None)
        width = np.maximum(np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest]), 0)
        inter = width * np.maximum(np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest]), 0)
        with np.errstate(divide="ignore", invalid="ignore"):           # empty boxes: 0 / 0 suppresses nothing
            alive[rest] &= ~(inter / (area[i] + area[rest] - inter) > iou_threshold)
    return torch.from_numpy(order[kept].astype(np.int64))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` among the boxes of each category in `idxs` (N,) by itself; indices by falling score over all."""
    if boxes.numel() == 0:
        return torch.empty((0,), dtype=torch.int64, device=boxes.device)
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for category in torch.unique(idxs):
        members = torch.where(idxs == category)[0]
        keep[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    kept = torch.where(keep)[0]
    return kept[scores[kept].sort(descending=True, stable=True)[1]]


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Indices of the boxes with both sides at least `min_size`."""
    return torch.where((boxes[:, 2] - boxes[:, 0] >= min_size) & (boxes[:, 3] - boxes[:, 1] >= min_size))[0]


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) cut to an image of `size` (height, width)."""
    height, width = size
    clipped = torch.stack((boxes[..., 0::2].clamp(min=0, max=width), boxes[..., 1::2].clamp(min=0, max=height)), dim=boxes.dim())
    return clipped.reshape(boxes.shape)


def _corners(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    return a, b, c, d


def _corners_of_sizes(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return x, y, x + w, y + h


def _corners_of_centres(cx: Tensor, cy: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h


def _sizes(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> tuple[Tensor, ...]:
    return x1, y1, x2 - x1, y2 - y1


def _centres(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> tuple[Tensor, ...]:
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


_FROM = {"xyxy": _corners, "xywh": _corners_of_sizes, "cxcywh": _corners_of_centres}
_TO = {"xyxy": _corners, "xywh": _sizes, "cxcywh": _centres}


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Boxes (..., 4) in another format: "xyxy" (corners), "xywh" (a corner and the size), "cxcywh" (the centre and the size)."""
    for fmt in (in_fmt, out_fmt):
        if fmt not in _FROM:
            raise ValueError(f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}: one of {list(_FROM)}")
    if in_fmt == out_fmt:
        return boxes.clone()
    return torch.stack(_TO[out_fmt](*_FROM[in_fmt](*boxes.unbind(-1))), dim=-1)


def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """The areas (N,) of boxes in the format `fmt` of `box_convert`."""
    if fmt not in _FROM:
        raise ValueError(f"Unsupported Bounding Box area for given format {fmt}: one of {list(_FROM)}")
    boxes = upcast(boxes)
    if fmt == "xyxy":
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[:, -2] * boxes[:, -1]


def _inter_union(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> tuple[Tensor, Tensor]:
    """Areas of intersection and union of every pair, (N, M)."""
    area1, area2 = box_area(boxes1, fmt), box_area(boxes2, fmt)
    if fmt != "xyxy":
        boxes1, boxes2 = box_convert(boxes1, fmt, "xyxy"), box_convert(boxes2, fmt, "xyxy")
    low = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    high = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    sides = upcast(high - low).clamp(min=0)
    inter = sides[..., 0] * sides[..., 1]
    return inter, area1[:, None] + area2 - inter


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of every pair of boxes (N, 4) and (M, 4): (N, M)."""
    inter, union = _inter_union(boxes1, boxes2, fmt)
    return inter / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """`box_iou` less the empty part of the smallest box around both (https://arxiv.org/abs/1902.09630)."""
    inter, union = _inter_union(boxes1, boxes2)
    low = torch.min(boxes1[:, None, :2], boxes2[:, :2])
    high = torch.max(boxes1[:, None, 2:], boxes2[:, 2:])
    sides = upcast(high - low).clamp(min=0)
    around = sides[..., 0] * sides[..., 1]
    return inter / union - (around - union) / around


def _distance_iou(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`distance_box_iou`, and the `box_iou` in it."""
    boxes1, boxes2 = upcast(boxes1), upcast(boxes2)
    sides = torch.max(boxes1[:, None, 2:], boxes2[:, 2:]) - torch.min(boxes1[:, None, :2], boxes2[:, :2])
    diagonal = (sides.clamp(min=0) ** 2).sum(-1) + eps
    centres1, centres2 = (boxes1[:, :2] + boxes1[:, 2:]) / 2, (boxes2[:, :2] + boxes2[:, 2:]) / 2
    distance = (upcast(centres1[:, None] - centres2) ** 2).sum(-1)
    iou = box_iou(boxes1, boxes2)
    return iou - distance / diagonal, iou


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """`box_iou` less the squared distance of the centres, in units of the diagonal around both (https://arxiv.org/abs/1911.08287)."""
    return _distance_iou(boxes1, boxes2, eps)[0]


def _aspect(boxes: Tensor) -> Tensor:
    return torch.atan((boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1]))


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """`distance_box_iou` less a term for different aspect ratios (https://arxiv.org/abs/1911.08287)."""
    boxes1, boxes2 = upcast(boxes1), upcast(boxes2)
    distance_iou, iou = _distance_iou(boxes1, boxes2, eps)
    v = (4 / torch.pi**2) * (_aspect(boxes1)[:, None] - _aspect(boxes2)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return distance_iou - alpha * v


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The smallest boxes (N, 4) around the pixels of masks (N, H, W), corners included; zeros for an empty mask."""
    if masks.numel() == 0:
        return torch.zeros((0, 4), device=masks.device, dtype=torch.float)
    _, height, width = masks.shape
    rows, columns = masks.bool().any(dim=2).float(), masks.bool().any(dim=1).float()
    boxes = torch.stack([columns.argmax(dim=1), rows.argmax(dim=1), width - 1 - columns.flip(dims=[1]).argmax(dim=1),
                         height - 1 - rows.flip(dims=[1]).argmax(dim=1)], dim=1).float()
    return boxes * rows.any(dim=1)[:, None]
