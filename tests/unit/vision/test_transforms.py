"""Transforms against records of torchvision's: same seed, same result; and what no record says."""
from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

import pellucid as torch  # noqa: E402
from pellucid.core.rng import default_engine  # noqa: E402
from pellucid.vision import transforms as T  # noqa: E402
from pellucid.vision import tv_tensors as tv  # noqa: E402
from pellucid.vision.transforms import functional as F  # noqa: E402
from pellucid.vision.transforms.transform import chance, integer, uniform  # noqa: E402
from pellucid.vision.transforms import v2 as V  # noqa: E402

from . import transform_cases as cases  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden" / "transforms.npz"
OURS = cases.Namespace(torch=torch, T=T, V=V, tv=tv)

# Boxes of a centre crop larger than the image: torchvision moves them one pixel away from where it moves the image.
ELSEWHERE = {f"CenterCrop(40) {format} {whole} boxes" for format in cases.FORMATS for whole in (False, True)}


@pytest.mark.parametrize("part", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_the_matrix_is_torchvisions(part: str) -> None:
    """Pillow images to the bit; bytes within 1 (resizing rounds differently in torchvision's two versions), floats within 1e-5."""
    with np.load(GOLDEN) as z:
        expected = {n: (s, v) for n, s, v in zip(z["names"].tolist(), z["said"].tolist(), z["values"])}
    done, wrong = 0, []
    for i, (name, call, exact) in enumerate(cases.every(OURS)):
        if name not in expected or name in ELSEWHERE or part == "some" and i % 11:
            continue
        text, values = expected[name]
        said, found = cases.fingerprint(call(), exact)
        near = np.abs(found - values)
        whole = "float" not in said
        allowed = (0 if exact else 1.0) if whole else 2e-5 * max(1.0, float(np.abs(values).max()))
        if said != text or near.max() > allowed or whole and near[-1] > 0.51:
            wrong.append(f"{name}: {said} for {text}, off by {near.max():.3g}")
        done += 1
    assert not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong)
    assert done > (1500 if part == "all" else 140)


def image(height: int = 12, width: int = 15) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8))


def test_single_draws_are_those_of_tensors() -> None:
    """Transforms draw numbers without making tensors: the same ones."""
    for low, high in ((0.0, 1.0), (0.08, 1.0), (-0.28768208622932434, 0.28768208622932434), (-3.5, 1e6)):
        torch.manual_seed(5)
        expected = [torch.empty(1).uniform_(low, high).item() for _ in range(200)]
        torch.manual_seed(5)
        assert [uniform(low, high) for _ in range(200)] == expected
    for low, high in ((0, 1), (0, 7), (-5, 2**27), (3, 2**40)):
        torch.manual_seed(6)
        expected = [torch.randint(low, high, (1,)).item() for _ in range(50)] + [torch.rand(1).item()]
        torch.manual_seed(6)
        assert [integer(low, high) for _ in range(50)] + [chance()] == expected
    with pytest.raises(RuntimeError, match="from=3 >= to=3"):
        default_engine().one_integer(3, 3)


def test_importing_changes_no_operator() -> None:
    """tv_tensors does not make every operator look for overrides; results are plain but for clone, to, detach."""
    from pellucid.ops import dispatch
    slow = dispatch.state.slow
    picture = tv.Image(torch.rand(3, 4, 5))
    boxes = tv.BoundingBoxes([[1, 2, 3, 4]], format="xyxy", canvas_size=(5, 6))
    for kept in (picture.clone(), picture.to(torch.float64), picture.detach(), picture.requires_grad_(), copy.deepcopy(picture)):
        assert type(kept) is tv.Image
    assert type(picture + 1) is torch.Tensor and type(picture[0]) is torch.Tensor and type(boxes[0]) is torch.Tensor
    assert boxes.clone().format is tv.BoundingBoxFormat.XYXY and copy.deepcopy(boxes).canvas_size == (5, 6)
    assert "format=BoundingBoxFormat.XYXY, canvas_size=(5, 6)" in repr(boxes)
    with tv.set_return_type("TVTensor"):
        assert type(picture + 1) is tv.Image and (boxes * 2).canvas_size == (5, 6)
    assert type(picture + 1) is torch.Tensor and dispatch.state.slow == slow
    assert type(tv.wrap(picture + 1, like=picture)) is tv.Image
    assert tv.Mask(Image.new("L", (4, 3))).shape == (1, 3, 4) and tv.Image(torch.rand(3, 4)).shape == (1, 3, 4)
    with pytest.raises(ValueError, match="at least 4 dimensions"):
        tv.Video(torch.rand(3, 4, 5))
    with pytest.raises(ValueError, match="unknown format"):
        tv.BoundingBoxes([[1, 2, 3, 4]], format="abc", canvas_size=(5, 6))


def test_one_choice_for_all_parts() -> None:
    picture, mask = tv.Image(torch.rand(3, 8, 9)), tv.Mask(torch.arange(72).reshape(8, 9))
    plain, note = torch.arange(3.0), object()
    out = V.RandomHorizontalFlip(p=1)({"a": [picture, mask], "b": (plain, note)})
    assert torch.equal(out["a"][0], picture.flip(-1)) and torch.equal(out["a"][1], mask.flip(-1)) and type(out["a"][1]) is tv.Mask
    assert out["b"][0] is plain and out["b"][1] is note
    first, second = V.RandomVerticalFlip(p=1)(torch.arange(4.0).reshape(1, 2, 2), torch.arange(4.0).reshape(1, 2, 2))
    assert first[0, 0, 0] == 2 and second[0, 0, 0] == 0                         # the first plain tensor is the image
    video = V.CenterCrop(4)(tv.Video(torch.rand(5, 3, 8, 8)))
    assert type(video) is tv.Video and video.shape == (5, 3, 4, 4)
    assert V.UniformTemporalSubsample(2)(video).shape == (2, 3, 4, 4) and F.get_num_frames(video) == 5


def test_a_transform_and_a_kind_of_ones_own() -> None:
    class Add(V.Transform):
        def make_params(self, flat_inputs):
            assert V.has_all(flat_inputs, tv.Mask) and V.has_any(flat_inputs, tv.Mask) and V.check_type(flat_inputs[0], (tv.Image,))
            assert V.query_size(flat_inputs) == (2, 2) and V.query_chw(flat_inputs) == (3, 2, 2)
            return {"n": 5}

        def transform(self, inpt, params):
            return inpt + params["n"]
    picture, mask = tv.Image(torch.zeros(3, 2, 2)), tv.Mask(torch.zeros(2, 2))
    assert [float(x.max()) for x in Add()(picture, mask)] == [5.0, 5.0]

    class Waves(tv.TVTensor):
        pass
    with pytest.raises(TypeError, match="horizontal_flip does not take a Waves"):
        F.horizontal_flip(torch.zeros(3).as_subclass(Waves))
    F.register_kernel(F.horizontal_flip, Waves)(lambda waves: waves + 7)
    assert float(V.RandomHorizontalFlip(p=1)(torch.zeros(3).as_subclass(Waves)).sum()) == 21
    with pytest.raises(ValueError, match="of your own"):
        F.register_kernel(F.horizontal_flip, tv.Mask)


def test_mixing_batches() -> None:
    x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    torch.manual_seed(0)
    weight = float(torch.distributions.Beta(torch.tensor([0.5]), torch.tensor([0.5])).sample(()))
    torch.manual_seed(0)
    mixed, labels = V.MixUp(alpha=0.5, num_classes=3)(x, y)
    assert torch.allclose(mixed, x.roll(1, 0) * (1 - weight) + x * weight) and torch.allclose(labels.sum(1), torch.ones(4))
    cut, labels = V.CutMix(num_classes=3)(x, y)
    part = (cut != x).float().mean().item() if weight < 1 else 0.0
    assert torch.isin(cut, x).all() and abs(labels[0, 0].item() - (1 - part)) < 1e-5
    with pytest.raises(ValueError, match="num_classes must be passed"):
        V.MixUp()(x, y)
    with pytest.raises(ValueError, match="batched input"):
        V.CutMix(num_classes=3)(x[0], y)


def test_first_and_second_version() -> None:
    assert T.Resize is V.Resize and T.ColorJitter is V.ColorJitter and T.RandomCrop is not V.RandomCrop
    crops = T.Compose([T.FiveCrop(4), T.Lambda(lambda crops: torch.stack([T.ToTensor()(c) for c in crops]))])(image())
    assert crops.shape == (5, 3, 4, 4)
    assert V.Lambda(lambda x: x + 1, int)([1, "a"]) == [2, "a"]
    assert T.Compose([])(3) == 3
    random.seed(3)
    expected = random.choices([1, 2, 3])[0]
    random.seed(3)
    assert T.RandomChoice([lambda x, k=k: k for k in (1, 2, 3)])(None) == expected
    i, j, h, w = T.RandomCrop.get_params(image(), (5, 6))
    assert (h, w) == (5, 6) and 0 <= i <= 7 and 0 <= j <= 9
    assert len(T.RandomResizedCrop.get_params(image(), (0.2, 1.0), (0.7, 1.4))) == 4 and 10 <= T.RandomRotation.get_params([10, 20]) <= 20
    assert len(T.ColorJitter.get_params((0.5, 1.5), None, None, None)) == 5
    whitening = T.LinearTransformation(torch.eye(12) * 2, torch.ones(12))
    assert torch.allclose(whitening(torch.ones(3, 2, 2)), torch.zeros(3, 2, 2))
    with pytest.warns(UserWarning, match="deprecated"):
        to_tensor = V.ToTensor()
    assert to_tensor(image()).shape == (3, 12, 15)
    array, label = to_tensor((np.zeros((4, 5, 3), np.uint8), np.int64(3)))
    assert array.shape == (3, 4, 5) and type(label) is np.int64 and label == 3          # a scalar is no image
    text = repr(T.Compose([T.Resize((3, 4)), T.RandomApply([T.RandomInvert()], p=0.3)]))
    assert "Resize(size=[3, 4], interpolation=bilinear" in text and "p=0.3" in text
    again = pickle.loads(pickle.dumps(T.Compose([T.RandAugment(), T.RandomOrder([T.Pad(1)]), T.ToTensor()])))
    assert again(image()).shape == (3, 14, 17)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: T.ToTensor()(torch.zeros(3)), "pic should be PIL Image or ndarray"),
    (lambda: T.Normalize([0.5], [0.5])(image()), "does not support PIL images"),
    (lambda: T.Normalize([0.5], [0.0])(torch.zeros(1, 2, 2)), "std evaluated to zero"),
    (lambda: T.RandomCrop(40)(image()), "Required crop size .40, 40. is larger"),
    (lambda: T.RandomHorizontalFlip(2), "`p` should be a floating point value"),
    (lambda: T.Pad((1, 2, 3)), "Padding must be an int or a 1, 2, or 4 element"),
    (lambda: T.Resize(4, interpolation="wrong"), "unknown interpolation"),
    (lambda: T.GaussianBlur(4), "odd and positive"),
    (lambda: F.adjust_hue(image(), 0.7), "is not in .-0.5, 0.5."),
    (lambda: F.resize(torch.zeros(3, 8, 8), 4, T.InterpolationMode.LANCZOS), "unsupported with Tensor input"),
    (lambda: V.RandomIoUCrop()(tv.Image(torch.zeros(3, 4, 4))), "requires input sample to contain"),
])
def test_errors_say_how_to_mend_it(call, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as e:
        call()
    assert "fix:" in str(e.value)


@pytest.mark.parametrize("transform", [T.RandomHorizontalFlip(), T.RandomCrop(2), T.ColorJitter(0.5), V.Compose([T.RandomErasing(0.9)])],
                         ids=str)
def test_a_compiled_function_chooses_anew_each_time(transform) -> None:
    x = torch.arange(27.0).reshape(3, 3, 3)

    def twice(z):
        return transform(z + 1) * 2
    compiled = torch.compile(twice)
    results = []
    for f in (twice, compiled):
        torch.manual_seed(1)
        results.append(torch.stack([f(x) for _ in range(6)]))
    place = torch.compile(lambda z: z + T.RandomCrop.get_params(z, (1, 1))[0])
    assert len({float(place(x)[0, 0, 0]) for _ in range(20)}) > 1
    assert torch.allclose(*results) and len({tuple(r.flatten().tolist()) for r in results[1]}) > 1


def smooth() -> Image.Image:
    return Image.fromarray(cases.picture())


@pytest.mark.parametrize(("function", "arguments", "near"), [
    (F.adjust_brightness, (1.3,), 1), (F.adjust_contrast, (0.6,), 2), (F.adjust_saturation, (1.7,), 3), (F.adjust_gamma, (1.6,), 1),
    (F.adjust_sharpness, (1.8,), 1), (F.autocontrast, (), 1), (F.equalize, (), 0), (F.invert, (), 0), (F.posterize, (3,), 0),
    (F.solarize, (100,), 0),
    (F.horizontal_flip, (), 0), (F.vertical_flip, (), 0), (F.hflip, (), 0), (F.vflip, (), 0), (F.center_crop, ([9, 30],), 0),
    (F.crop, (-2, 3, 9, 40), 0),
    (F.pad, ([1, 2, 3, 4], (9, 8, 7)), 0), (F.pad, ([1, 2, 3, 4], 0, "symmetric"), 0), (F.pad, (2, 0, "edge"), 0),
    (F.pad, ([-3, 2], 0, "reflect"), 0),
    (F.rgb_to_grayscale, (), 1), (F.to_grayscale, (3,), 1), (F.grayscale_to_rgb, (), 0), (F.permute_channels, ([2, 0, 1],), 0),
    (F.resize, ([30, 40],), 1), (F.resized_crop, (2, 3, 15, 20, [10, 12]), 1), (F.gaussian_blur, (5, 1.2), 0),
    (F.erase, (2, 3, 4, 5, torch.tensor(7)), 0)], ids=lambda v: getattr(v, "__name__", ""))
def test_tensors_are_treated_as_pillow_treats_images(function, arguments: tuple, near: int) -> None:
    image = smooth()
    expected = np.asarray(function(image, *arguments))
    expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    found = function(F.pil_to_tensor(image), *arguments)
    assert found.dtype == torch.uint8 and tuple(found.shape) == expected.shape
    assert np.abs(found.numpy().astype(int) - expected).max() <= near
    assert type(function(tv.Image(F.pil_to_tensor(image)), *arguments)) is tv.Image


def test_functions_of_forms() -> None:
    image = smooth()
    x = F.pil_to_tensor(image)
    assert F.get_dimensions(image) == F.get_dimensions(x) == [3, 21, 26] and F.get_image_size(image) == [26, 21] and F.get_size(x) == [21,
                                                                                                                                       26]
    assert F.get_num_channels(x) == F.get_image_num_channels(image) == 3
    assert np.array_equal(np.asarray(F.to_pil_image(F.to_tensor(image))), np.asarray(image)) and type(F.to_image(image)) is tv.Image
    assert F.to_pil_image(torch.rand(1, 4, 5)).mode == "L" and F.to_pil_image(torch.rand(4, 5), mode="F").mode == "F"
    assert F.to_pil_image(x, mode="HSV").mode == "HSV" and F.to_tensor(np.zeros((4, 5), np.float32)).shape == (1, 4, 5)
    for a, b in ((torch.uint8, torch.int16), (torch.uint8, torch.float64), (torch.float32, torch.uint8), (torch.int16, torch.uint8)):
        white = torch.full((1, 1, 1), 1 if a.is_floating_point else torch.iinfo(a).max, dtype=a)
        there = F.to_dtype(white, b, scale=True)
        assert there.dtype == b and F.convert_image_dtype(there, a).sub(white).abs().max() <= (0 if a != torch.int16 else 127)
    three = torch.tensor([[[3]]], dtype=torch.uint8)               # as torchvision rounds: one multiplies, one divides
    assert F.to_dtype(three, torch.float32, scale=True).item() == 0.011764707043766975
    assert F.convert_image_dtype(three, torch.float32).item() == 0.0117647061124444
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.to_dtype(torch.zeros(1), torch.int64, scale=True)
    assert [c.shape[-1] for c in F.five_crop(x, 7)] == [7] * 5 and len(F.ten_crop(image, (5, 6))) == 10
    assert torch.equal(F.normalize(x.float(), [1.0], [2.0]), (x.float() - 1) / 2) and F.jpeg(x, 90).shape == x.shape
    turned = F.rotate(F.rotate(x, 90, expand=True), 270, expand=True)
    assert torch.equal(turned, x) and torch.equal(F.affine(x, 0, (2, 0), 1.0, 0)[..., 2:], x[..., :-2])
    corners = [[0, 0], [25, 0], [25, 20], [0, 20]]
    assert (F.perspective(x, corners, corners).int() - x.int()).abs().max() <= 1
    still = torch.zeros(1, 21, 26, 2)
    assert torch.equal(F.elastic(x, still), x) and np.array_equal(np.asarray(F.elastic_transform(image, still)), np.asarray(image))
    assert F.uniform_temporal_subsample(torch.zeros(9, 3, 2, 2), 4).shape[0] == 4 and F.is_pure_tensor(x)
    noise = F.gaussian_noise(torch.full((3, 50, 50), 0.5), sigma=0.1)
    assert abs(noise.std().item() - 0.1) < 0.01


def test_functions_of_boxes() -> None:
    plain = torch.tensor([[1.0, 2.0, 9.0, 8.0], [5.0, 5.0, 30.0, 40.0], [3.0, 3.0, 3.2, 9.0]])
    for format in cases.FORMATS:
        there = F.convert_bounding_box_format(plain, "XYXY", format)
        assert torch.allclose(F.convert_bounding_box_format(there, format, "xyxy"), plain)
    assert F.clamp_bounding_boxes(plain, "XYXY", (20, 25), "soft")[1].tolist() == [5, 5, 25, 20]
    boxes = tv.BoundingBoxes(plain, format="XYXY", canvas_size=(20, 25))
    kept, valid = F.sanitize_bounding_boxes(boxes)
    assert valid.tolist() == [True, False, False] and kept.shape == (1, 4) and kept.canvas_size == (20, 25)
    assert V.SetClampingMode(None)(boxes).clamping_mode is None and V.get_bounding_boxes([1, boxes]) is boxes
    assert V.Pad(1)(V.SetClampingMode(None)(boxes))[1].tolist() == [6, 6, 31, 41]
    with pytest.raises(ValueError, match="`old_format` has to be passed"):
        F.convert_bounding_box_format(plain, new_format="XYXY")


def test_choices_are_drawn_in_the_default_dtype():
    """As torch.empty(1).uniform_() is: float64 draws take two words of the generator."""
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(3)
        found = [uniform(0.2, 0.9), chance()]
        torch.manual_seed(3)
        assert found == [torch.empty(1).uniform_(0.2, 0.9).item(), torch.rand(1).item()]
    finally:
        torch.set_default_dtype(torch.float32)
