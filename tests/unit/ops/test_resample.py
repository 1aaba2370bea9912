"""Interpolation, affine grids and grid sampling: known values, transposes, differences, and PyTorch where it is installed."""
from __future__ import annotations

import itertools

import numpy as np
import pellucid as torch
import pytest

F = torch.nn.functional
RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.standard_normal(shape)


def test_nearest_and_area_by_hand():
    x = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
    assert F.interpolate(x, size=6).tolist() == [[[0, 0, 1, 2, 2, 3]]]
    assert F.interpolate(x, size=6, mode="nearest-exact").tolist() == [[[0, 1, 1, 2, 3, 3]]]
    assert F.interpolate(x, size=2, mode="area").tolist() == [[[0.5, 2.5]]]
    assert F.interpolate(x, scale_factor=0.5).tolist() == [[[0, 2]]]
    assert F.upsample_nearest(x, scale_factor=2).tolist() == F.upsample(x, size=8).tolist() == [[[0, 0, 1, 1, 2, 2, 3, 3]]]


def test_linear_reproduces_straight_lines():
    x = torch.arange(5, dtype=torch.float64).reshape(1, 1, 5)
    corners = F.interpolate(x, size=9, mode="linear", align_corners=True)
    np.testing.assert_allclose(corners.numpy()[0, 0], np.linspace(0, 4, 9), atol=1e-12)
    centres = F.interpolate(x, size=10, mode="linear").numpy()[0, 0]
    np.testing.assert_allclose(centres, np.clip((np.arange(10) + 0.5) / 2 - 0.5, 0, 4), atol=1e-12)
    plane = torch.tensor(np.add.outer(np.arange(4.0), 10 * np.arange(3.0)))[None, None]
    got = F.upsample_bilinear(plane, size=(7, 5)).numpy()[0, 0]
    np.testing.assert_allclose(got, np.add.outer(np.linspace(0, 3, 7), 10 * np.linspace(0, 2, 5)), atol=1e-12)


def test_cubic_by_its_definition():
    x = normal(6)

    def kernel(t, a=-0.75):
        t = abs(t)
        return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0

    got = F.interpolate(torch.tensor(x)[None, None, None], size=(1, 11), mode="bicubic").numpy()[0, 0, 0]
    for i in range(11):
        place = (i + 0.5) * 6 / 11 - 0.5
        base = int(np.floor(place))
        want = sum(x[min(max(j, 0), 5)] * kernel(place - j) for j in range(base - 1, base + 3))
        assert abs(got[i] - want) < 1e-12


def test_antialias_keeps_means_and_weighs_everything():
    x = normal(1, 1, 12, 9)
    for mode in ("bilinear", "bicubic"):
        small = F.interpolate(torch.tensor(np.ones((1, 1, 12, 9))), size=(5, 4), mode=mode, antialias=True).numpy()
        np.testing.assert_allclose(small, 1, atol=1e-12)
    small = F.interpolate(torch.tensor(x), size=(3, 3), mode="bilinear", antialias=True).numpy()
    assert abs(small.mean() - x.mean()) < 0.2


OPTIONS = [
    ((2, 3, 7), dict(size=4, mode="linear")), ((1, 2, 5), dict(scale_factor=1.7, mode="nearest")),
    ((1, 2, 5, 6), dict(scale_factor=(0.6, 1.9), mode="bilinear")), ((1, 2, 5, 6), dict(size=(8, 3), mode="bilinear", align_corners=True)),
    ((1, 2, 5, 6), dict(size=(8, 3), mode="bicubic")), ((1, 2, 5, 6), dict(scale_factor=0.7, mode="bicubic", align_corners=True)),
    ((1, 1, 9, 8), dict(size=(4, 5), mode="bicubic", antialias=True)), ((1, 1, 9, 8), dict(size=(4, 5), mode="bilinear", antialias=True)),
    ((1, 1, 9, 8), dict(size=(4, 5), mode="lanczos", align_corners=False, antialias=True)),
    ((1, 2, 3, 4, 3), dict(scale_factor=1.5, mode="trilinear")), ((1, 2, 3, 4, 3), dict(size=(2, 5, 4), mode="nearest-exact")),
    ((1, 2, 5, 6), dict(scale_factor=1.3, mode="bilinear", recompute_scale_factor=True)), ((1, 2, 5, 6), dict(size=(3, 4), mode="area"))]


@pytest.mark.parametrize("shape, options", OPTIONS, ids=[f"{o['mode']}{i}" for i, (_, o) in enumerate(OPTIONS)])
def test_gradient_is_the_transpose(shape, options):
    x = torch.tensor(normal(*shape)).requires_grad_()
    y = F.interpolate(x, **options)
    u = torch.tensor(normal(*y.shape))
    (g,) = torch.autograd.grad((y * u).sum(), x)
    v = torch.tensor(normal(*shape))        # <resample(v), u> = <v, transpose(u)>, since resampling is linear
    np.testing.assert_allclose((F.interpolate(v, **options) * u).sum().item(), (v * g).sum().item(), rtol=1e-9)
    assert torch.autograd.gradgradcheck(lambda x: F.interpolate(x, **options) ** 2, [x])
    torch_ = pytest.importorskip("torch")
    if options["mode"] != "lanczos":
        want = torch_.nn.functional.interpolate(torch_.tensor(x.detach().numpy()), **options).numpy()
        np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-7, atol=1e-9)


def test_bytes_are_rounded():
    x = torch.tensor([[[[0, 255], [255, 0]]]], dtype=torch.uint8)
    y = F.interpolate(x, size=(2, 4), mode="bilinear")
    assert y.dtype == torch.uint8 and y.tolist()[0][0] == [[0, 64, 191, 255], [255, 191, 64, 0]]


def test_identity_grid_reads_the_image():
    x = torch.tensor(normal(2, 3, 4, 5))
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]] * 2, dtype=torch.float64)
    for corners in (True, False):
        grid = F.affine_grid(theta, (2, 3, 4, 5), align_corners=corners)
        for mode in ("bilinear", "nearest", "bicubic"):
            np.testing.assert_allclose(F.grid_sample(x, grid, mode, "border", corners).numpy(), x.numpy(), atol=1e-6)
    flipped = F.affine_grid(theta * torch.tensor([-1.0, 1, 1], dtype=torch.float64), (2, 3, 4, 5), align_corners=False)
    np.testing.assert_allclose(F.grid_sample(x, flipped, align_corners=False).numpy(), x.numpy()[..., ::-1], atol=1e-6)
    with pytest.warns(UserWarning, match="align_corners=False"):
        F.affine_grid(theta, (2, 3, 4, 5))


@pytest.mark.parametrize("mode, padding, corners", list(itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"),
                                                                          (True, False))))
def test_grid_sample_gradients(mode, padding, corners):
    x = torch.tensor(normal(1, 2, 4, 5)).requires_grad_()
    grid = torch.tensor(RNG.uniform(-1.6, 1.6, (1, 3, 2, 2))).requires_grad_(mode != "nearest")
    sample = lambda x, grid: F.grid_sample(x, grid, mode, padding, corners)         # noqa: E731
    assert torch.autograd.gradcheck(sample, [x, grid])
    torch_ = pytest.importorskip("torch")
    want = torch_.nn.functional.grid_sample(torch_.tensor(x.detach().numpy()), torch_.tensor(grid.detach().numpy()), mode, padding, corners)
    np.testing.assert_allclose(sample(x, grid).detach().numpy(), want.numpy(), rtol=1e-7, atol=1e-9)


def test_volumes_and_outside():
    x = torch.tensor(normal(1, 1, 2, 3, 4)).requires_grad_()
    grid = torch.tensor(RNG.uniform(-1.2, 1.2, (1, 2, 2, 1, 3))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, g: F.grid_sample(x, g, align_corners=False), [x, grid])
    far = torch.full((1, 1, 1, 2), 5.0)
    image = torch.ones(1, 1, 3, 3)
    assert F.grid_sample(image, far, align_corners=False).item() == 0
    assert F.grid_sample(image, far, padding_mode="border", align_corners=False).item() == 1
    assert F.grid_sample(image, torch.full((1, 1, 1, 2), float("nan")), align_corners=False).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("call, error, message", [
    (lambda x: F.interpolate(x), ValueError, "either size or scale_factor should be defined"),
    (lambda x: F.interpolate(x, size=3, scale_factor=2), ValueError, "only one of size or scale_factor"),
    (lambda x: F.interpolate(x, size=(3, 3, 3)), ValueError, "same number of spatial dimensions"),
    (lambda x: F.interpolate(x, size=3, mode="linear"), NotImplementedError, "Got 4D input, but linear mode needs 3D input"),
    (lambda x: F.interpolate(x, size=3, align_corners=True), ValueError, "align_corners option can only be set"),
    (lambda x: F.interpolate(x, size=3, antialias=True), ValueError, "Anti-alias option is restricted"),
    (lambda x: F.interpolate(x, size=3, mode="soft"), NotImplementedError, "Only 3D, 4D and 5D input Tensors supported"),
    (lambda x: F.grid_sample(x, x, align_corners=False), RuntimeError, "expected grid to have size 2 in last dimension"),
    (lambda x: F.grid_sample(x, x, mode="soft"), ValueError, "expected mode to be"),
    (lambda x: F.grid_sample(x, x.double(), align_corners=False), RuntimeError, "expected input and grid to have same dtype"),
    (lambda x: F.affine_grid(x, (1, 1, 2, 2), align_corners=False), ValueError, "Expected a batch of 2D affine matrices")])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(1, 2, 4, 5))
