"""Operators of pellucid.vision against cases computed by hand, plain loops and numerical derivatives."""
from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn
from pellucid.autograd import gradcheck
from pellucid.nn import functional as F
from pellucid.vision import ops
from pellucid.vision.ops import feature_pyramid_network as pyramid
from pellucid.vision.ops.misc import ConvNormActivation

A = torch.tensor([[0.0, 0, 2, 2], [0, 0, 4, 1]])
B = torch.tensor([[1.0, 1, 3, 3], [5, 5, 6, 6]])


def f64(*shape: int, seed: int = 0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).requires_grad_()


def near(got, want, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(got.detach().numpy(), np.asarray(want), rtol=rtol, atol=1e-7)


def test_overlaps_by_hand() -> None:
    near(ops.box_area(A), [4, 4])
    near(ops.box_iou(A, B), [[1 / 7, 0], [0, 0]])
    # The box around the first pair is 3 by 3, of which 7 are covered.
    near(ops.generalized_box_iou(A, B)[0, 0], 1 / 7 - 2 / 9)
    near(ops.distance_box_iou(A, B)[0, 0], 1 / 7 - 2 / 18)
    near(ops.complete_box_iou(A, B)[0, 0], 1 / 7 - 2 / 18)                 # both are squares
    v = 4 / math.pi**2 * (math.atan(4) - math.atan(1)) ** 2
    near(ops.complete_box_iou(A, B)[1, 0], float(ops.distance_box_iou(A, B)[1, 0]) - v * v / (1 + v))
    near(ops.box_iou(A, A, fmt="xywh")[1], [2 / 6, 1])
    assert ops.box_iou(A.long(), B.int()).dtype is torch.float32


def test_losses_of_pairs_by_hand() -> None:
    a, b = A[:1], B[:1]
    near(ops.generalized_box_iou_loss(a, b), [1 - (1 / 7 - 2 / 9)])
    near(ops.distance_box_iou_loss(a, b, reduction="sum"), 1 - (1 / 7 - 2 / 18))
    near(ops.complete_box_iou_loss(a, b, reduction="mean"), 1 - (1 / 7 - 2 / 18))
    for loss in (ops.generalized_box_iou_loss, ops.distance_box_iou_loss, ops.complete_box_iou_loss):
        assert float(loss(A[:0], B[:0], reduction="mean")) == 0
        with pytest.raises(ValueError, match="Supported reduction modes"):
            loss(a, b, reduction="max")
    x, y = A.double().requires_grad_(), (B.double() * 1.1).requires_grad_()
    assert gradcheck(ops.generalized_box_iou_loss, (x, y)) and gradcheck(ops.distance_box_iou_loss, (x, y))
    ops.complete_box_iou_loss(x, y, reduction="sum").backward()            # its alpha is a constant, so no gradcheck
    assert torch.isfinite(x.grad).all() and float(x.grad.abs().sum()) > 0


def test_focal_loss() -> None:
    both = ops.sigmoid_focal_loss(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0]))
    near(both, [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)])
    logits, targets = f64(4, 3), (f64(4, 3, seed=1) > 0).double()
    plain = F.binary_cross_entropy_with_logits(logits, targets).item()
    near(ops.sigmoid_focal_loss(logits, targets, alpha=-1, gamma=0, reduction="mean"), plain)
    assert gradcheck(lambda x: ops.sigmoid_focal_loss(x, targets, reduction="sum"), (logits,))
    with pytest.raises(ValueError, match="alpha"):
        ops.sigmoid_focal_loss(logits, targets, alpha=2)


def test_boxes_change_form() -> None:
    box = torch.tensor([[1.0, 2, 5, 10]])
    near(ops.box_convert(box, "xyxy", "xywh"), [[1, 2, 4, 8]])
    near(ops.box_convert(box, "xyxy", "cxcywh"), [[3, 6, 4, 8]])
    near(ops.box_convert(torch.tensor([[3.0, 6, 4, 8]]), "cxcywh", "xywh"), [[1, 2, 4, 8]])
    same = ops.box_convert(box, "xyxy", "xyxy")
    assert torch.equal(same, box) and same is not box
    near(ops.clip_boxes_to_image(torch.tensor([[-1.0, 2, 5, 10]]), (4, 3)), [[0, 2, 3, 4]])
    assert ops.remove_small_boxes(A, 1.5).tolist() == [0]
    with pytest.raises(ValueError, match="Unsupported"):
        ops.box_convert(box, "xyxy", "yxyx")
    with pytest.raises(ValueError, match="Unsupported"):
        ops.box_area(box, fmt="yxyx")


def test_masks_to_boxes() -> None:
    masks = torch.zeros(3, 5, 6, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[2, 4, 0] = True
    assert ops.masks_to_boxes(masks).tolist() == [[2, 1, 5, 2], [0, 0, 0, 0], [0, 4, 0, 4]]
    assert ops.masks_to_boxes(masks[:0]).shape == (0, 4)


def slow_nms(boxes, scores, threshold: float) -> list[int]:
    overlap = ops.box_iou(boxes, boxes)
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        if all(float(overlap[i, j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def test_suppression() -> None:
    rng = np.random.default_rng(0)
    corners = rng.random((40, 2)) * 20
    boxes = torch.from_numpy(np.concatenate([corners, corners + rng.random((40, 2)) * 8 + 1], 1))
    scores, groups = torch.from_numpy(rng.random(40)), torch.from_numpy(rng.integers(0, 3, 40))
    for threshold in (0.0, 0.1, 0.4, 1.0):
        kept = ops.nms(boxes, scores, threshold)
        assert kept.dtype is torch.int64 and kept.tolist() == slow_nms(boxes, scores, threshold)
    by_group = [i for g in range(3) for i in np.nonzero(groups.numpy() == g)[0][slow_nms(boxes[groups == g], scores[groups == g], 0.2)]]
    assert ops.batched_nms(boxes, scores, groups, 0.2).tolist() == sorted(by_group, key=lambda i: -float(scores[i]))
    assert ops.nms(boxes[:0], scores[:0], 0.5).tolist() == ops.batched_nms(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []
    assert ops.nms(A, torch.tensor([0.5, 0.5]), 0.0).tolist() == [0]       # equal scores: the first one
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        ops.nms(boxes[0], scores, 0.5)
    with pytest.raises(ValueError, match="scores"):
        ops.nms(boxes, scores[:3], 0.5)


def at(image: np.ndarray, y: float, x: float, fade: bool) -> float:
    """One bilinear sample, as torchvision's C++ has it: outside by more than a pixel 0, near the border the edge (or fading)."""
    h, w = image.shape
    if y < -1 or y > h or x < -1 or x > w or fade and (y <= -1 or y >= h or x <= -1 or x >= w):
        return 0.0
    if not fade:
        y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = math.floor(y), math.floor(x)
    total = 0.0
    for yi, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for xi, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            if 0 <= yi < h and 0 <= xi < w:
                total += wy * wx * image[yi, xi]
    return total


def slow_align(x: np.ndarray, rois: np.ndarray, size: tuple[int, int], scale: float, ratio: int, aligned: bool, own: bool) -> np.ndarray:
    ph, pw = size
    channels = x.shape[1] // (ph * pw) if own else x.shape[1]
    out = np.zeros((len(rois), channels, ph, pw))
    for k, roi in enumerate(rois):
        x1, y1, x2, y2 = roi[1:] * scale - (0.5 if aligned or own else 0.0)
        h, w = y2 - y1, x2 - x1
        if not (aligned or own):
            h, w = max(h, 1.0), max(w, 1.0)
        ny = ratio if ratio > 0 else math.ceil(h / ph)
        nx = ratio if ratio > 0 else math.ceil(w / pw)
        for c, i, j in np.ndindex(channels, ph, pw):
            image = x[int(roi[0]), (c * ph + i) * pw + j if own else c]
            values = [at(image, y1 + h / ph * (i + (a + 0.5) / ny), x1 + w / pw * (j + (b + 0.5) / nx), False)
                      for a in range(ny) for b in range(nx)]
            out[k, c, i, j] = sum(values) / max(len(values), 1)
    return out


ROIS = np.array([[0, 1.0, 1, 7, 9], [1, -3, -2.5, 4, 20], [0, 2, 2, 2, 2], [1, 30, 30, 40, 40], [1, 0.3, 5.2, 9.9, 6.1]])


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(ratio: int, aligned: bool) -> None:
    x, rois = f64(2, 3, 9, 11), torch.from_numpy(ROIS)
    want = slow_align(x.detach().numpy(), ROIS, (2, 3), 0.7, ratio, aligned, False)
    near(ops.roi_align(x, rois, (2, 3), 0.7, ratio, aligned), want, 1e-12)
    boxes = [rois[rois[:, 0] == i, 1:] for i in (0, 1)]
    order = np.argsort(ROIS[:, 0], kind="stable")
    assert torch.equal(ops.roi_align(x, boxes, 2, 0.7, ratio, aligned), ops.roi_align(x, rois, 2, 0.7, ratio, aligned)[order])
    assert torch.equal(ops.RoIAlign((2, 3), 0.7, ratio, aligned)(x, rois), ops.roi_align(x, rois, (2, 3), 0.7, ratio, aligned))


@pytest.mark.parametrize("ratio", [-1, 2])
def test_ps_roi_align(ratio: int) -> None:
    x, rois = f64(2, 12, 9, 11), torch.from_numpy(ROIS)
    near(ops.ps_roi_align(x, rois, (2, 3), 0.7, ratio), slow_align(x.detach().numpy(), ROIS, (2, 3), 0.7, ratio, True, True), 1e-12)
    assert torch.equal(ops.PSRoIAlign((2, 3), 0.7, ratio)(x, rois), ops.ps_roi_align(x, rois, (2, 3), 0.7, ratio))
    with pytest.raises(ValueError, match="multiple of pooling"):
        ops.ps_roi_align(x, rois, 5)


def test_roi_pool_by_hand() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    out = ops.roi_pool(x, torch.tensor([[0.0, 0, 0, 3, 3], [0, 2.5, 0, 2.5, 0], [0, 9, 9, 9, 9]]), 2)
    assert out[:, 0].tolist() == [[[5, 7], [13, 15]], [[3, 3], [3, 3]], [[0, 0], [0, 0]]]
    assert torch.equal(ops.RoIPool(2, 1.0)(x, [torch.tensor([[0.0, 0, 3, 3]])]), out[:1])
    assert ops.roi_pool(x, torch.zeros(0, 5), 2).shape == (0, 1, 2, 2)


def test_ps_roi_pool_by_hand() -> None:
    x = torch.arange(4.0).reshape(1, 4, 1, 1) + torch.arange(5.0).reshape(5, 1) * 10 + torch.zeros(1, 4, 5, 5)
    out = ops.ps_roi_pool(x, torch.tensor([[0.0, 0, 0, 4, 4]]), 2)
    assert out[0, 0].tolist() == [[5, 6], [27, 28]]                        # rows 0 and 1 of channels 0, 1; rows 2 and 3 of 2, 3
    assert torch.equal(ops.PSRoIPool(2, 1.0)(x, torch.tensor([[0.0, 0, 0, 4, 4]])), out)
    assert ops.ps_roi_pool(x, torch.zeros(0, 5), 2).shape == (0, 1, 2, 2)


def test_pooling_has_gradients() -> None:
    rois = torch.from_numpy(ROIS[[0, 1, 4]])
    assert gradcheck(lambda x: ops.roi_align(x, rois, 2, 0.5), (f64(2, 1, 5, 6),))
    assert gradcheck(lambda x: ops.ps_roi_align(x, rois, 2, 0.5, 2), (f64(2, 4, 5, 6),))
    assert gradcheck(lambda x: ops.roi_pool(x, rois, 2, 0.5), (f64(2, 1, 5, 6),))
    assert gradcheck(lambda x: ops.ps_roi_pool(x, rois, 2, 0.5), (f64(2, 4, 5, 6),))


def test_wrong_boxes_say_so() -> None:
    x = f64(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"Tensor\[K, 5\]"):
        ops.roi_align(x, torch.zeros(2, 4), 2)
    with pytest.raises(ValueError, match=r"List\[Tensor\[L, 4\]\]"):
        ops.roi_align(x, [torch.zeros(2, 5)], 2)
    with pytest.raises(TypeError, match="int"):
        ops.roi_align(x, 3, 2)


def test_deformable_convolution() -> None:
    x, w, b = f64(2, 4, 6, 7), f64(6, 2, 3, 2, seed=1), f64(6, seed=2)
    settings = {"stride": (1, 2), "padding": (1, 0), "dilation": (1, 2)}
    plain = F.conv2d(x, w, b, groups=2, **settings)
    n, _, oh, ow = plain.shape
    still = torch.zeros(2, 2 * 2 * 6, oh, ow, dtype=torch.float64)
    near(ops.deform_conv2d(x, still, w, b, **settings), plain.detach().numpy(), 1e-12)
    offset, mask = f64(2, 2 * 2 * 6, oh, ow, seed=3), f64(2, 2 * 6, oh, ow, seed=4)
    out = ops.deform_conv2d(x, offset, w, b, mask=mask, **settings).detach().numpy()
    X, O, M, W = (t.detach().numpy() for t in (x, offset, mask, w))
    for k, c, i, j in [(0, 0, 0, 0), (1, 5, 3, 1), (0, 2, 5, 2)]:
        total = float(b[c])
        for q, u, v in np.ndindex(2, 3, 2):
            channel = c // 3 * 2 + q
            group, tap = channel // 2, u * 2 + v
            dy, dx = O[k, group * 12 + 2 * tap, i, j], O[k, group * 12 + 2 * tap + 1, i, j]
            total += W[c, q, u, v] * M[k, group * 6 + tap, i, j] * at(X[k, channel], i - 1 + u + dy, 2 * j + 2 * v + dx, True)
        assert out[k, c, i, j] == pytest.approx(total, rel=1e-10)
    small = [f64(1, 2, 3, 3), f64(1, 8, 2, 2, seed=5), f64(2, 2, 2, 2, seed=6), f64(2, seed=7), f64(1, 4, 2, 2, seed=8)]
    assert gradcheck(lambda x, o, w, b, m: ops.deform_conv2d(x, o, w, b, mask=m), small)
    with pytest.raises(RuntimeError, match="multiple of 2"):
        ops.deform_conv2d(x, still[:, :5], w)


def test_deformable_layer() -> None:
    torch.manual_seed(0)
    layer = ops.DeformConv2d(4, 6, 3, padding=1, groups=2)
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert torch.equal(layer.weight, plain.weight) and torch.equal(layer.bias, plain.bias)
    x = torch.randn(1, 4, 5, 5)
    near(layer(x, torch.zeros(1, 18, 5, 5)), plain(x).detach().numpy(), 1e-4)
    assert repr(layer) == "DeformConv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=2)"
    assert ops.DeformConv2d(4, 6, 3, bias=False).bias is None


def test_stochastic_depth() -> None:
    x = torch.ones(1000, 2)
    torch.manual_seed(0)
    out = ops.stochastic_depth(x, 0.25, "row")
    assert set(out.unique().tolist()) == {0.0, np.float32(1) / np.float32(0.75)} and torch.equal(out[:, 0], out[:, 1])
    assert abs(float(out.mean()) - 1) < 0.05
    assert len(ops.stochastic_depth(x, 0.5, "batch").unique()) == 1
    assert ops.stochastic_depth(x, 0.5, "row", training=False) is x and float(ops.stochastic_depth(x, 1.0, "row").sum()) == 0
    layer = ops.StochasticDepth(0.5, "row")
    assert layer.eval()(x) is x and repr(layer) == "StochasticDepth(p=0.5, mode=row)"
    with pytest.raises(ValueError, match="between 0 and 1"):
        ops.stochastic_depth(x, 2, "row")
    with pytest.raises(ValueError, match="'batch' or 'row'"):
        ops.stochastic_depth(x, 0.5, "column")


@pytest.mark.parametrize("dims", [2, 3])
def test_drop_block(dims: int) -> None:
    drop, layer = (ops.drop_block2d, ops.DropBlock2d) if dims == 2 else (ops.drop_block3d, ops.DropBlock3d)
    x = torch.ones(4, 3, *(12,) * dims)
    torch.manual_seed(0)
    out = drop(x, 0.2, 3)
    kept = (out > 0).float()
    assert 0.7 < float(kept.mean()) < 0.9 and float(out.mean()) == pytest.approx(1, rel=1e-4)
    torch.manual_seed(0)
    changed = x.clone()
    assert drop(changed, 0.2, 3, inplace=True) is changed and torch.allclose(changed, out)
    torch.manual_seed(0)
    assert torch.equal(layer(0.2, 3)(x), out) and layer(0.2, 3).eval()(x) is x
    for wrong in ({"p": 2, "block_size": 3}, {"p": 0.5, "block_size": 4}):
        with pytest.raises(ValueError):
            drop(x, **wrong)
    with pytest.raises(ValueError, match="dimensional"):
        drop(x[0], 0.5, 3)


def test_shared_blocks() -> None:
    block = ops.Conv2dNormActivation(3, 8, kernel_size=5, dilation=2)
    assert [type(m) for m in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] and block.out_channels == 8
    assert block[0].padding == (4, 4) and block[0].bias is None and block[2].inplace
    block = ops.Conv2dNormActivation(3, 8, kernel_size=(3, 5), norm_layer=None, activation_layer=None)
    assert len(block) == 1 and block[0].padding == (1, 2) and block[0].bias is not None
    assert isinstance(ops.Conv3dNormActivation(3, 8)[1], nn.BatchNorm3d)
    with pytest.warns(UserWarning, match="directly"):
        ConvNormActivation(3, 8)
    mlp = ops.MLP(4, [8, 2], norm_layer=nn.LayerNorm, dropout=0.5, inplace=True)
    assert [type(m) for m in mlp] == [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Dropout, nn.Linear, nn.Dropout]
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(ops.Permute([0, 2, 3, 1])(x), x.permute(0, 2, 3, 1))
    squeeze = ops.SqueezeExcitation(3, 2)
    near(squeeze(x), (x * torch.sigmoid(squeeze.fc2(torch.relu(squeeze.fc1(x.mean((2, 3), keepdim=True)))))).detach().numpy(), 1e-5)


def test_frozen_normalisation() -> None:
    live, frozen = nn.BatchNorm2d(3), ops.FrozenBatchNorm2d(3)
    live(torch.randn(8, 3, 4, 4) * 3 + 1)
    frozen.load_state_dict(live.state_dict())                              # num_batches_tracked is left out
    x = torch.randn(2, 3, 4, 4)
    near(frozen(x), live.eval()(x).detach().numpy(), 1e-5)
    assert not list(frozen.parameters()) and repr(frozen) == "FrozenBatchNorm2d(3, eps=1e-05)"


def test_pyramid() -> None:
    torch.manual_seed(0)
    x = OrderedDict(fine=torch.randn(1, 3, 8, 8), coarse=torch.randn(1, 5, 4, 4))
    model = ops.FeaturePyramidNetwork([3, 5], 4, extra_blocks=pyramid.LastLevelMaxPool())
    out = model(x)
    assert {k: tuple(v.shape) for k, v in out.items()} == {"fine": (1, 4, 8, 8), "coarse": (1, 4, 4, 4), "pool": (1, 4, 2, 2)}
    inner = model.inner_blocks[1](x["coarse"])
    near(out["coarse"], model.layer_blocks[1](inner).detach().numpy())
    lateral = model.inner_blocks[0](x["fine"]) + F.interpolate(inner, scale_factor=2, mode="nearest")
    near(out["fine"], model.layer_blocks[0](lateral).detach().numpy(), 1e-5)
    assert list(ops.FeaturePyramidNetwork([3, 5], 5, extra_blocks=pyramid.LastLevelP6P7(5, 5))(x)) == ["fine", "coarse", "p6", "p7"]
    old = OrderedDict((f"{b}.{i}.{kind}", model.state_dict()[f"{b}.{i}.0.{kind}"]) for b in ("inner_blocks", "layer_blocks") for i in (0, 1)
                      for kind in ("weight", "bias"))
    other = ops.FeaturePyramidNetwork([3, 5], 4)
    other.load_state_dict(old)
    assert torch.equal(other.layer_blocks[1][0].weight, model.layer_blocks[1][0].weight)
    with pytest.raises(TypeError, match="ExtraFPNBlock"):
        ops.FeaturePyramidNetwork([3], 4, extra_blocks=nn.Identity())
    with pytest.raises(ValueError, match="in_channels=0"):
        ops.FeaturePyramidNetwork([0], 4)


def test_pyramid_regions() -> None:
    """Two levels, half and a quarter: a box of 120 pixels wants level 3, so the coarser one; a small one the finer."""
    x = {"a": f64(1, 2, 64, 64), "skipped": None, "b": f64(1, 2, 32, 32, seed=1)}
    pool = ops.MultiScaleRoIAlign(["a", "b"], 2, 2)
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 120, 120]], dtype=torch.float64)
    out = pool(x, [boxes], [(128, 128)])
    assert pool.scales == [0.5, 0.25]
    rois = torch.cat([torch.zeros(2, 1, dtype=torch.float64), boxes], 1)
    near(out[:1], ops.roi_align(x["a"], rois[:1], 2, 0.5, 2).detach().numpy(), 1e-12)
    near(out[1:], ops.roi_align(x["b"], rois[1:], 2, 0.25, 2).detach().numpy(), 1e-12)
    out.sum().backward()
    assert float(x["a"].grad.abs().sum()) > 0 and float(x["b"].grad.abs().sum()) > 0
    alone = ops.MultiScaleRoIAlign(["b"], (2, 2), 2)
    near(alone(x, [boxes], [(128, 128)]), ops.roi_align(x["b"], rois, 2, 0.25, 2).detach().numpy(), 1e-12)
    assert repr(alone) == "MultiScaleRoIAlign(featmap_names=['b'], output_size=(2, 2), sampling_ratio=2)"
    with pytest.raises(ValueError, match="should not be empty"):
        ops.MultiScaleRoIAlign(["b"], 2, 2)(x, [boxes], [])
