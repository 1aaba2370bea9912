"""Random images, for trying things out without data.

In: how many, of what size. Out: a data set of (Pillow image of noise, random class). What stays true: an item depends on its
index only, and the global generator is left as it was.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pellucid as torch

from ...core.errors import fail
from ..transforms.functional import to_pil_image
from .vision import VisionDataset


class FakeData(VisionDataset):
    """`size` images of `image_size` (channels, height, width) in `num_classes` classes."""

    def __init__(self, size: int = 1000, image_size: tuple[int, int, int] = (3, 224, 224), num_classes: int = 10,
                 transform: Callable | None = None, target_transform: Callable | None = None, random_offset: int = 0) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size, self.image_size, self.num_classes, self.random_offset = size, image_size, num_classes, random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            fail(IndexError, "P5526", f"{type(self).__name__} index out of range", got=f"index {index}, {len(self)} images",
                 fix="a smaller index")
        state = torch.get_rng_state()
        torch.manual_seed(index + self.random_offset)
        image = torch.randn(*self.image_size)
        target = torch.randint(0, self.num_classes, (1,)).item()
        torch.set_rng_state(state)
        return self._transformed(to_pil_image(image), target)

    def __len__(self) -> int:
        return self.size
