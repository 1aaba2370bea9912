"""MNIST and its kin, in the IDX files of the original.

In: a folder with `MNIST/raw/train-images-idx3-ubyte` and so on, compressed (.gz) or not. Out: a data set of (Pillow image,
class); `data` is (N, 28, 28), uint8, and `targets` (N,), int64. (File names, URLs and checksums are torchvision's.)
"""
from __future__ import annotations

import gzip
import lzma
import math
import os
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

import pellucid as torch

from ...core.errors import fail
from ...tensor import Tensor
from ..pillow import from_array
from .utils import download_and_extract_archive, extract_archive, verify_str_arg
from .vision import VisionDataset

_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_COMPRESSED = {".gz": gzip.open, ".xz": lzma.open}


def _found(path: str) -> str | None:
    """`path`, or a compressed file next to it."""
    return next((name for name in (path, *(path + suffix for suffix in _COMPRESSED)) if os.path.isfile(name)), None)


def read_sn3_pascalvincent_tensor(path: str, strict: bool = True) -> Tensor:
    """An IDX file (LeCun's; Lush calls the format so), compressed or not, as a tensor."""
    opener = _COMPRESSED.get(Path(path).suffix, open)
    with opener(path, "rb") as file:
        data = file.read()
    code, dimensions = (data[2], data[3]) if len(data) >= 4 and data[:2] == b"\0\0" else (0, 0)
    shape = tuple(int(n) for n in np.frombuffer(data, ">i4", min(dimensions, max(len(data) // 4 - 1, 0)), 4))
    dtype = np.dtype(_IDX_TYPES.get(code, ">u1"))
    if code not in _IDX_TYPES or not 1 <= dimensions <= 3 or len(data) - 4 * (dimensions + 1) != dtype.itemsize * math.prod(shape):
        fail(RuntimeError, "P5531", f"{path} is no whole IDX file",
             got=f"{len(data):,} bytes beginning with {data[:4]!r}, for shape {shape}",
             fix="delete it, and fetch it again")
    return torch.from_numpy(np.frombuffer(data, dtype, offset=4 * (dimensions + 1)).reshape(shape).astype(dtype.newbyteorder("=")))


def _read(path: str, dimensions: int) -> Tensor:
    x = read_sn3_pascalvincent_tensor(path)
    if x.dtype != torch.uint8 or x.ndim != dimensions:
        fail(TypeError, "P5532", f"{path} should hold {dimensions} dimensions of uint8", got=f"{x.ndim} of {x.dtype}",
             fix="check which file it is")
    return x


def read_image_file(path: str) -> Tensor:
    """Images: (N, height, width), uint8."""
    return _read(path, 3)


def read_label_file(path: str) -> Tensor:
    """Labels: (N,), int64."""
    return _read(path, 1).long()


class MNIST(VisionDataset):
    """70,000 handwritten digits of 28 x 28; 60,000 of them are for training."""

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"]
    resources: Any = [("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                      ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                      ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                      ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c")]
    classes = ["0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"]

    def __init__(self, root: Any, train: bool = True, transform: Callable | None = None, target_transform: Callable | None = None,
                 download: bool = False) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_exists():
            fail(RuntimeError, "P5533", "Dataset not found. You can use download=True to download it",
                 got=f"looked in {self.raw_folder} for {', '.join(os.path.basename(f) for f in self._files())}",
                 fix=f"without a network: get these files elsewhere and put them into {self.raw_folder}, compressed or not")
        self.data, self.targets = self._load_data()

    def _files(self) -> tuple[str, str]:
        """The paths of the images and of the labels, as they are called when not compressed."""
        start = "train" if self.train else "t10k"
        return os.path.join(self.raw_folder, f"{start}-images-idx3-ubyte"), os.path.join(self.raw_folder, f"{start}-labels-idx1-ubyte")

    def _load_data(self) -> tuple[Tensor, Tensor]:
        images, labels = (_found(path) or path for path in self._files())
        return read_image_file(images), read_label_file(labels)

    def _check_exists(self) -> bool:
        return all(_found(path) for path in self._files())

    @property
    def raw_folder(self) -> str:
        """Where the files are."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        """Where old versions of torchvision put theirs."""
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class."""
        return {name: i for i, name in enumerate(self.classes)}

    def download(self) -> None:
        """Fetch the files that are not there, from the first mirror that has them."""
        for filename, md5 in self.resources:
            if _found(os.path.join(self.raw_folder, os.path.splitext(filename)[0])):
                continue
            errors = []
            for mirror in self.mirrors:
                try:
                    download_and_extract_archive(mirror + filename, self.raw_folder, filename=filename, md5=md5)
                    break
                except (RuntimeError, URLError) as error:
                    errors.append(str(getattr(error, "reason", error)).partition("\n")[0])
            else:
                fail(RuntimeError, "P5534", f"Error downloading {filename}:", got="; ".join(errors),
                     fix=f"get the file elsewhere and put it into {self.raw_folder}")

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(from_array(self.data[index].numpy(), "L"), int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Zalando's pictures of clothes, in MNIST's form."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                 ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                 ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                 ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310")]
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


class KMNIST(MNIST):
    """Cursive Japanese letters, in MNIST's form."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
                 ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
                 ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
                 ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134")]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


class EMNIST(MNIST):
    """Handwritten letters and digits, in six `split`s."""

    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    _all_classes = set(string.digits + string.ascii_letters)
    _merged = sorted(_all_classes - set("cijklmopsuvwxyz"))
    classes_split_dict = {"byclass": sorted(_all_classes), "bymerge": _merged, "balanced": _merged,
                          "letters": ["N/A", *string.ascii_lowercase],
                          "digits": list(string.digits), "mnist": list(string.digits)}

    def __init__(self, root: Any, split: str, **kwargs: Any) -> None:
        self.split = verify_str_arg(split, "split", self.splits)
        self.classes = self.classes_split_dict[split]
        super().__init__(root, **kwargs)

    def _files(self) -> tuple[str, str]:
        start = os.path.join(self.raw_folder, f"emnist-{self.split}-{'train' if self.train else 'test'}")
        return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"

    def download(self) -> None:
        """Fetch and unpack the archive of all splits unless the files are there."""
        if self._check_exists():
            return
        download_and_extract_archive(self.url, self.raw_folder, md5=self.md5)
        folder = os.path.join(self.raw_folder, "gzip")
        for file in os.listdir(folder):
            if file.endswith(".gz"):
                extract_archive(os.path.join(folder, file), self.raw_folder)
        shutil.rmtree(folder)


class QMNIST(MNIST):
    """MNIST's digits with where they come from: eight numbers for each, of which the class is the first; all are the target unless
    `compat`. `what` is train, test, test10k, test50k or nist."""

    _site = "https://raw.githubusercontent.com/facebookresearch/qmnist/master/"
    subsets = {"train": "train", "test": "test", "test10k": "test", "test50k": "test", "nist": "nist"}
    resources = {"train": [(_site + "qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
                           (_site + "qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4")],
                 "test": [(_site + "qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
                          (_site + "qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa")],
                 "nist": [(_site + "xnist-images-idx3-ubyte.xz", "7f124b3b8ab81486c9d8c2749c17f834"),
                          (_site + "xnist-labels-idx2-int.xz", "5ed0e788978e45d4a8bd4b7caec3d79d")]}

    def __init__(self, root: Any, what: str | None = None, compat: bool = True, train: bool = True, **kwargs: Any) -> None:
        self.what = verify_str_arg(what or ("train" if train else "test"), "what", self.subsets)
        self.compat = compat
        super().__init__(root, train, **kwargs)

    def _files(self) -> tuple[str, str]:
        images, labels = (os.path.join(self.raw_folder, os.path.splitext(os.path.basename(url))[0]) for url,
                          _ in self.resources[self.subsets[self.what]])
        return images, labels

    def _load_data(self) -> tuple[Tensor, Tensor]:
        images, labels = (_found(path) or path for path in self._files())
        part = {"test10k": slice(0, 10000), "test50k": slice(10000, None)}.get(self.what, slice(None))
        return read_image_file(images)[part].clone(), read_sn3_pascalvincent_tensor(labels).long()[part].clone()

    def download(self) -> None:
        """Fetch the files of this subset unless they are there."""
        if not self._check_exists():
            for url, md5 in self.resources[self.subsets[self.what]]:
                download_and_extract_archive(url, self.raw_folder, md5=md5)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        target = self.targets[index]
        return self._transformed(from_array(self.data[index].numpy(), "L"), int(target[0]) if self.compat else target)

    def extra_repr(self) -> str:
        return f"Split: {self.what}"
