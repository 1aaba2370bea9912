"""What torchvision's first version of transforms does otherwise: choices by Python's `random`, `Lambda` on the whole sample.

In and out: see `containers.py`. What stays true: the draws are torchvision's.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ...core.errors import fail
from . import containers


class RandomChoice(containers.RandomChoice):
    """One of them, drawn by Python's `random`."""

    def _choose(self) -> Callable:
        return random.choices(self.transforms, weights=self.p)[0]


class RandomOrder(containers.RandomOrder):
    """All of them in an order drawn by Python's `random`."""

    def _order(self) -> list[int]:
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        return order


class Lambda:
    """A function of yours on the whole sample."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            fail(TypeError, "P5462", f"Argument lambd should be callable, got {type(lambd).__name__!r}", fix="a function of one argument")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
