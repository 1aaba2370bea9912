"""Files in one folder for each class: `root/class/.../file`.

In: a folder. Out: a data set of (sample, number of the class). What stays true: classes and files are in sorted order, so that
numbers are the same everywhere.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...core.errors import fail
from ..pillow import pillow
from .vision import VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Whether the name ends in one of the extensions, in capitals or not."""
    return filename.lower().endswith(extensions if isinstance(extensions, str) else tuple(extensions))


def is_image_file(filename: str) -> bool:
    """Whether the name is one of an image."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: str | os.PathLike) -> tuple[list[str], dict[str, int]]:
    """(the names of the folders in `directory`, the number of each)."""
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        fail(FileNotFoundError, "P5521", f"Couldn't find any class folder in {directory}.",
             fix=f"one folder for each class: {directory}/cat/1.jpg")
    return classes, {name: i for i, name in enumerate(classes)}


def make_dataset(directory: str | os.PathLike, class_to_idx: dict[str, int] | None = None, extensions: Any = None,
                 is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False) -> list[tuple[str, int]]:
    """[(path, number of the class)] of all valid files, in sorted order."""
    directory = os.path.expanduser(directory)
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    if not class_to_idx:
        fail(ValueError, "P5522", "'class_to_index' must have at least one entry to collect any samples.", fix="{'cat': 0, ...}")
    if (extensions is None) == (is_valid_file is None):
        fail(ValueError, "P5523", "Both extensions and is_valid_file cannot be None or not None at the same time", fix="pass one of them")
    if is_valid_file is None:
        def is_valid_file(path: str) -> bool:
            return has_file_allowed_extension(path, extensions)
    samples, empty = [], []
    for name in sorted(class_to_idx):
        before = len(samples)
        for root, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            samples += [(path, class_to_idx[name]) for file in sorted(files) if is_valid_file(path := os.path.join(root, file))]
        if len(samples) == before:
            empty.append(name)
    if empty and not allow_empty:
        fail(FileNotFoundError, "P5524", f"Found no valid file for the classes {', '.join(empty)}.", got=f"in {directory}",
             fix="allow_empty=True" + (f"; extensions looked for: {extensions if isinstance(extensions, str) else ', '.join(extensions)}"
                                       if extensions is not None else ""))
    return samples


class DatasetFolder(VisionDataset):
    """(what `loader` makes of a file, number of the class) for each file of `root/class/...` with one of `extensions`."""

    def __init__(self, root: Any, loader: Callable[[str], Any], extensions: Any = None, transform: Callable | None = None,
                 target_transform: Callable | None = None, is_valid_file: Callable[[str], bool] | None = None,
                 allow_empty: bool = False) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(self.root, class_to_idx=self.class_to_idx, extensions=extensions, is_valid_file=is_valid_file,
                                         allow_empty=allow_empty)
        self.loader, self.extensions = loader, extensions
        self.targets = [target for _, target in self.samples]

    @staticmethod
    def make_dataset(directory: Any, class_to_idx: dict[str, int], extensions: Any = None,
                     is_valid_file: Callable[[str], bool] | None = None,
                     allow_empty: bool = False) -> list[tuple[str, int]]:
        """[(path, number of the class)]; override it for samples of another kind."""
        if class_to_idx is None:
            fail(ValueError, "P5525", "The class_to_idx parameter cannot be None.", fix="find_classes gives it")
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        """(classes, numbers); override it for another structure of folders."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._transformed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


def pil_loader(path: Any) -> Any:
    """An image file as a Pillow image in RGB."""
    with open(path, "rb") as file:
        return pillow(f"to read {path}").open(file).convert("RGB")


default_loader = pil_loader


class ImageFolder(DatasetFolder):
    """(image in RGB, number of the class) for each image file of `root/class/...`."""

    def __init__(self, root: Any, transform: Callable | None = None, target_transform: Callable | None = None,
                 loader: Callable[[str], Any] = default_loader, is_valid_file: Callable[[str], bool] | None = None,
                 allow_empty: bool = False) -> None:
        super().__init__(root, loader, IMG_EXTENSIONS if is_valid_file is None else None, transform, target_transform, is_valid_file,
                         allow_empty)
        self.imgs = self.samples
