"""The base of data sets of images: a folder, transforms, and a description of both.

In: `root`; either `transforms`, a function of (input, target), or `transform` and `target_transform`. Out: a Dataset.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...core.errors import fail
from ...utils.data import Dataset


class VisionDataset(Dataset):
    """Subclasses give `__getitem__` and `__len__`; `self._transformed(image, target)` applies the transforms."""

    _repr_indent = 4

    def __init__(self, root: Any = None, transforms: Callable | None = None, transform: Callable | None = None,
                 target_transform: Callable | None = None) -> None:
        self.root = os.path.expanduser(root) if isinstance(root, (str, os.PathLike)) else root
        separate = transform is not None or target_transform is not None
        if transforms is not None and separate:
            fail(ValueError, "P5520", "Only transforms or transform/target_transform can be passed as argument",
                 fix="leave one of them out")
        self.transform, self.target_transform = transform, target_transform
        self.transforms = StandardTransform(transform, target_transform) if separate else transforms

    def _transformed(self, image: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]            # type: ignore[arg-type]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if getattr(self, "transforms", None) is not None:
            body.append(repr(self.transforms))
        return "\n".join([f"Dataset {type(self).__name__}", *(" " * self._repr_indent + line for line in body)])

    def extra_repr(self) -> str:
        """More lines of the description."""
        return ""


class StandardTransform:
    """A transform of the input and one of the target as one function of both."""

    def __init__(self, transform: Callable | None = None, target_transform: Callable | None = None) -> None:
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        return (input if self.transform is None else self.transform(input),
                target if self.target_transform is None else self.target_transform(target))

    def __repr__(self) -> str:
        body = [type(self).__name__]
        for head, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                body.append(head + repr(transform).replace("\n", "\n" + " " * len(head)))
        return "\n".join(body)
