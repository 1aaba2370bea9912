"""Losses of detection: the focal loss, and overlaps of pairs of boxes as losses.

In: predictions and targets of one shape. Out: a loss for each element or box, or their mean or sum. True always: gradients are defined
for boxes that do not overlap too.
"""
from __future__ import annotations

import pellucid as torch
from pellucid import Tensor
from pellucid.nn import functional as F

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss", "sigmoid_focal_loss"]


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    if reduction == "sum":
        return loss.sum()
    raise ValueError(f"Invalid Value for arg 'reduction': '{reduction} \n Supported reduction modes: 'none', 'mean', 'sum'")


def sigmoid_focal_loss(inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none") -> Tensor:
    """Binary cross entropy of logits, less for what is easy (RetinaNet, https://arxiv.org/abs/1708.02002).

    `alpha` weighs the positive class (-1: no weights), `gamma` is how quickly easy examples fade."""
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"Invalid alpha value: {alpha}. alpha must be in the range [0,1] or -1 for ignore.")
    p = torch.sigmoid(inputs)
    right = p * targets + (1 - p) * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none") * (1 - right) ** gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    if reduction == "mean":
        return loss.mean()
    return _reduce(loss, reduction)


def _float(t: Tensor) -> Tensor:
    return t if t.dtype in (torch.float32, torch.float64) else t.float()


def _inter_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union of each pair (..., 4)."""
    sides = torch.min(boxes1[..., 2:], boxes2[..., 2:]) - torch.max(boxes1[..., :2], boxes2[..., :2])
    inter = torch.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], torch.zeros_like(sides[..., 0]))
    (w1, h1), (w2, h2) = ((b[..., 2:] - b[..., :2]).unbind(-1) for b in (boxes1, boxes2))
    return inter, w1 * h1 + w2 * h2 - inter


def generalized_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - the generalized overlap of each pair of boxes (N, 4) (https://arxiv.org/abs/1902.09630)."""
    boxes1, boxes2 = _float(boxes1), _float(boxes2)
    inter, union = _inter_union(boxes1, boxes2)
    sides = torch.max(boxes1[..., 2:], boxes2[..., 2:]) - torch.min(boxes1[..., :2], boxes2[..., :2])
    around = sides[..., 0] * sides[..., 1]
    return _reduce(1 - (inter / (union + eps) - (around - union) / (around + eps)), reduction)


def _distance_loss(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    inter, union = _inter_union(boxes1, boxes2)
    iou = inter / (union + eps)
    sides = torch.max(boxes1[..., 2:], boxes2[..., 2:]) - torch.min(boxes1[..., :2], boxes2[..., :2])
    diagonal = (sides**2).sum(-1) + eps
    distance = (((boxes1[..., :2] + boxes1[..., 2:]) / 2 - (boxes2[..., :2] + boxes2[..., 2:]) / 2) ** 2).sum(-1)
    return 1 - iou + distance / diagonal, iou


def distance_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - the overlap of each pair of boxes (N, 4), and their distance (https://arxiv.org/abs/1911.08287)."""
    return _reduce(_distance_loss(_float(boxes1), _float(boxes2), eps)[0], reduction)


def complete_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """`distance_box_iou_loss` and a term for different aspect ratios (https://arxiv.org/abs/1911.08287)."""
    boxes1, boxes2 = _float(boxes1), _float(boxes2)
    loss, iou = _distance_loss(boxes1, boxes2, 1e-7)
    (w1, h1), (w2, h2) = ((b[..., 2:] - b[..., :2]).unbind(-1) for b in (boxes1, boxes2))
    v = (4 / torch.pi**2) * (torch.atan(w2 / h2) - torch.atan(w1 / h1)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return _reduce(loss + alpha * v, reduction)
