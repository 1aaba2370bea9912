"""The matrix of transforms and inputs that is compared with torchvision: one definition for both frameworks.

In: a `Namespace` of one framework (torch, T: transforms, V: transforms.v2, tv: tv_tensors). Out: named cases, each a function of
an input, and named inputs. `tools/record_transforms.py` runs them on torchvision, `test_transforms.py` on pellucid.
"""
from __future__ import annotations

import random
import zlib
from types import SimpleNamespace as Namespace
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 21, 26
SEEDS = (0, 1)


def picture(channels: int = 3, seed: int = 0) -> np.ndarray:
    """A small image with edges, slopes and some noise, uint8, (height, width, channels)."""
    r = np.random.RandomState(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    base = np.stack([(x * 9 + 13 * c) % 256 * 0.5 + (y * (4 + c)) % 97 for c in range(channels)], -1)
    base[5:12, 8:19] += 60
    return np.clip(base + r.randint(-12, 13, base.shape), 0, 255).astype(np.uint8)


def inputs(n: Namespace) -> dict[str, Any]:
    """Each kind of image."""
    colour = picture()
    planes = n.torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1)))
    return {"pil": Image.fromarray(colour), "grey": Image.fromarray(picture(1)[..., 0]), "bytes": planes, "floats": planes.float() / 255,
            "batch": n.torch.stack([planes, planes.flip(-1)]).float() / 255}


def plain_cases(n: Namespace) -> dict[str, Any]:
    """Transforms of `transforms` (T) and `transforms.v2` (V), by the text that makes them."""
    shared = """Resize(12) Resize((15,11)) Resize(40,max_size=45) Resize((30,33),interpolation=I.NEAREST)
        Resize((9,9),interpolation=I.BICUBIC)
        Resize((9,9),antialias=False) CenterCrop(10) CenterCrop((30,12)) Pad(3) Pad((2,4),fill=7) Pad((1,2,3,4),padding_mode='edge')
        Pad((1,2,3,4),padding_mode='reflect') Pad(4,padding_mode='symmetric') RandomCrop(11) RandomCrop((21,8))
        RandomCrop(16,padding=4) RandomCrop((30,20),pad_if_needed=True) RandomResizedCrop(14) RandomResizedCrop((9,13),scale=(.3,.9))
        RandomHorizontalFlip() RandomVerticalFlip(.6) FiveCrop(9) TenCrop((8,10),vertical_flip=True) ColorJitter(.4,.4,.4,.1)
        ColorJitter(brightness=(.5,1.5)) ColorJitter(hue=.5) RandomRotation(30) RandomRotation((90,90))
        RandomRotation((10,80),expand=True,fill=9)
        RandomRotation(45,interpolation=I.BILINEAR,center=(3,4)) RandomAffine(20,(.1,.2),(.7,1.3),15)
        RandomAffine((-30,30),shear=(-5,5,-9,9),fill=50)
        RandomAffine(0,translate=(.3,.3),interpolation=I.BILINEAR) RandomPerspective(p=1)
        RandomPerspective(.7,p=1,interpolation=I.NEAREST,fill=20)
        Grayscale() Grayscale(3) RandomGrayscale(.5) GaussianBlur(3) GaussianBlur((5,3),(.5,1.5)) RandomInvert() RandomPosterize(3,p=.8)
        RandomSolarize(THRESHOLD,p=.8) RandomAdjustSharpness(2,p=.8) RandomAdjustSharpness(.3,p=.8) RandomAutocontrast() RandomEqualize(.8)
        ElasticTransform(30.,4.) AutoAugment() AutoAugment(P.CIFAR10) AutoAugment(P.SVHN,fill=128) RandAugment() RandAugment(3,12)
        TrivialAugmentWide() AugMix() RandomApply([X.RandomHorizontalFlip(.9),X.Pad(1)],.6) RandomChoice([X.Pad(1),X.Pad(2),X.Pad(3)])
        RandomOrder([X.Pad(1),X.CenterCrop(12),X.RandomVerticalFlip()]) RandomErasing() RandomErasing(.9,value='random')
        RandomErasing(.9,value=(1,2,3))
        Compose([X.RandomResizedCrop(12),X.RandomHorizontalFlip(),X.ToTensor(),X.Normalize([.4,.5,.6],[.2,.3,.25])])
        Normalize([.5,.4,.3],[.2,.3,.4]) ToTensor() PILToTensor() ConvertImageDtype(torch.float32) ConvertImageDtype(torch.int16)
        ConvertImageDtype(torch.uint8) ToPILImage()"""
    second = """RandomZoomOut(fill=3,p=1) ScaleJitter((20,30)) RandomShortestSize([10,15],max_size=17) RandomResize(8,20)
        RandomPhotometricDistort() RandomChannelPermutation() GaussianNoise() GaussianNoise(.1,.3,clip=False) Identity() RGB()
        ToDtype(torch.float32,scale=True) ToImage() JPEG(50)"""
    cases = {}
    for space, texts in (("T", shared), ("V", shared + " " + second)):
        for text in texts.replace(",\n", ",").split():
            if space == "V" and "ToTensor" in text:
                continue
            cases[f"{space}.{text}"] = (space, text)
    return cases


# What torchvision refuses, or what Pillow cannot do.
REFUSED = {("ToTensor", "bytes"), ("PILToTensor", "bytes"), ("Normalize", "pil"), ("Normalize", "bytes"), ("ToPILImage", "pil"),
           ("RandomErasing", "pil"), ("Compose", "bytes"), ("Compose", "floats"), ("ConvertImageDtype", "pil"), ("GaussianNoise", "pil"),
           ("JPEG", "floats"), ("JPEG", "pil"), ("ToDtype", "pil")}
TENSORS_ONLY_1 = {"RandomPosterize", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix", "RandomEqualize"}


def wanted(name: str, kind: str) -> bool:
    """Whether the case is defined for this kind of input."""
    space, _, text = name.partition(".")
    cls = text.partition("(")[0]
    group = "pil" if kind in ("pil", "grey") else "bytes" if kind == "bytes" else "floats"
    if (cls, group) in REFUSED or (cls, group) == ("ToTensor", "floats") or (cls, group) == ("PILToTensor", "floats"):
        return False
    if cls in TENSORS_ONLY_1 and group == "floats" or cls == "ConvertImageDtype" and "int16" in text and group == "floats":
        return False
    if kind == "batch" and (cls in ("ToPILImage", "ElasticTransform") or "antialias" in text):
        return False
    if kind == "grey" and cls not in ("Resize", "CenterCrop", "Pad", "RandomCrop", "RandomRotation", "RandomAffine", "Grayscale",
                                      "ColorJitter",
                                      "RandomResizedCrop", "ToTensor", "RandomPerspective"):
        return False
    if kind in ("grey", "pil") and "antialias=False" in text:
        return False                                          # a warning: Pillow always does
    if group == "bytes" and (cls == "RandomErasing" and "random" in text or cls == "ConvertImageDtype" and "uint8" in text):
        return False
    return not ("fill=" in text and kind == "batch")


def make(n: Namespace, name: str, kind: str) -> Any:
    """The transform of a case."""
    space, _, text = name.partition(".")
    threshold = "0.5" if kind in ("floats", "batch") else "128"
    X = getattr(n, space)
    names = {"X": X, "I": n.T.InterpolationMode, "P": n.T.AutoAugmentPolicy, "torch": n.torch}
    return eval("X." + text.replace("THRESHOLD", threshold).replace("X.ToTensor", "T.ToTensor"), {**names, "T": n.T})     # noqa: S307


def seed_of(name: str, kind: str, seed: int) -> int:
    return zlib.crc32(f"{name} {kind} {seed}".encode()) % 2**31


def seeded(n: Namespace, seed: int) -> None:
    n.torch.manual_seed(seed)
    random.seed(seed)


def array(x: Any) -> np.ndarray:
    """The result as one array: several are stacked, Pillow images become (height, width, channels)."""
    if isinstance(x, (tuple, list)):
        return np.stack([array(v) for v in x])
    return np.asarray(x) if isinstance(x, Image.Image) else x.detach().numpy()


def run(n: Namespace, name: str, kind: str, seed: int) -> np.ndarray:
    transform = make(n, name, kind)
    image = inputs(n)[kind]
    seeded(n, seed_of(name, kind, seed))
    return array(transform(image))


# ----------------------------------------------------------------------------------------------------- nested samples
NESTED = """RandomHorizontalFlip(1) RandomVerticalFlip(1) Resize(15) Resize((30,17)) CenterCrop(12) CenterCrop(40)
        Pad((1,2,3,4)) RandomCrop(10)
    RandomCrop(24,padding=6) RandomResizedCrop(16) RandomRotation(40) RandomRotation(60,expand=True) RandomAffine(30,(.1,.2),(.8,1.2),9)
    RandomPerspective(.4,p=1) ElasticTransform(20.,3.) RandomZoomOut(p=1) RandomIoUCrop() ScaleJitter((20,30)) ColorJitter(.4,.4)
    ConvertBoundingBoxFormat('CXCYWH') ConvertBoundingBoxFormat('XYWH') ConvertBoundingBoxFormat('XYXY') ClampBoundingBoxes()
    SanitizeBoundingBoxes() ToDtype({tv.Image:torch.float32,'others':None},scale=True) ToPureTensor()""".split()
FORMATS = ("XYXY", "XYWH", "CXCYWH")


def sample(n: Namespace, format: str, whole: bool) -> dict[str, Any]:
    """An image with a mask, boxes (of whole numbers or not), labels, and a string."""
    boxes = np.array([[2, 3, 11, 9], [7, 1, 20, 18], [12, 12, 14, 19]], np.int64 if whole else np.float32)
    if format == "XYWH":
        boxes[:, 2:] -= boxes[:, :2]
    if format == "CXCYWH":
        boxes = np.array([[6, 6, 9, 7], [13, 10, 12, 16], [13, 15, 3, 8]], boxes.dtype)
    planes = n.torch.from_numpy(np.ascontiguousarray(picture().transpose(2, 0, 1)))
    mask = n.torch.from_numpy((picture(1, 3)[..., 0] > 100).astype(np.uint8))
    return {"image": n.tv.Image(planes), "more": [n.tv.Mask(mask), "text"], "labels": n.torch.tensor([4, 5, 6]),
            "boxes": n.tv.BoundingBoxes(n.torch.from_numpy(boxes), format=format, canvas_size=(HEIGHT, WIDTH))}


def run_nested(n: Namespace, text: str, format: str, whole: bool, seed: int) -> dict[str, np.ndarray]:
    transform = eval("V." + text, {"V": n.V, "torch": n.torch, "tv": n.tv})     # noqa: S307
    seeded(n, seed_of(text, format, seed))
    out = transform(sample(n, format, whole))
    assert out["more"][1] == "text"
    return {"image": array(out["image"]), "mask": array(out["more"][0]), "boxes": array(out["boxes"]), "labels": array(out["labels"])}


# ----------------------------------------------------------------------------------------------------- records
SAMPLES = 32


def fingerprint(a: np.ndarray, exact: bool) -> tuple[str, np.ndarray]:
    """(shape, dtype and, for what must agree to the bit, a checksum; some of the values and their mean)."""
    said = f"{a.shape} {a.dtype}" + (f" {zlib.crc32(np.ascontiguousarray(a).tobytes())}" if exact else "")
    flat = a.reshape(-1).astype(np.float64)
    places = np.random.RandomState(flat.size % 9973).randint(0, max(flat.size, 1), SAMPLES - 1)
    return said, (np.append(flat[places], flat.mean()) if flat.size else np.zeros(SAMPLES)).astype(np.float32)


def every(n: Namespace) -> Any:
    """(name, function of no arguments, whether its result must agree to the bit) for the whole matrix."""
    for name in plain_cases(n):
        for kind in ("pil", "grey", "bytes", "floats", "batch"):
            if wanted(name, kind):
                for seed in SEEDS:
                    exact = kind in ("pil", "grey") and "AugMix" not in name and "ToTensor" not in name
                    yield f"{name} {kind} {seed}", lambda name=name, kind=kind, seed=seed: run(n, name, kind, seed), exact
    for text in NESTED:
        for format in FORMATS:
            for whole in (False, True):
                for part in ("image", "mask", "boxes", "labels"):
                    yield (f"{text} {format} {whole} {part}",
                           lambda text=text, format=format, whole=whole, part=part: run_nested(n, text, format, whole, 0)[part], False)
