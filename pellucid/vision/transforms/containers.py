"""Transforms made of transforms.

In: callables, transforms or not; samples of one part or several. Out: what the last one gives.
What stays true: random choices are draws of the global generator (`first.py` has those of torchvision's first version).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pellucid as torch

from ...core.errors import fail
from ...nn import ModuleList
from .transform import Transform, chance


class Compose(Transform):
    """One after the other."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        super().__init__()
        if not isinstance(transforms, (Sequence, ModuleList)):
            fail(TypeError, "P5460", "Argument transforms should be a sequence of callables", got=repr(transforms), fix="[a, b, c]")
        self.transforms = transforms

    def forward(self, *inputs: Any) -> Any:
        return _in_turn(self.transforms, inputs)

    def extra_repr(self) -> str:
        return "\n".join(f"    {t}" for t in self.transforms)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n{self.extra_repr()}\n)"


def _in_turn(transforms: Any, inputs: tuple) -> Any:
    several = len(inputs) > 1
    for t in transforms:
        outputs = t(*inputs)
        inputs = outputs if several else (outputs,)
    return inputs if several else inputs[0]


class RandomApply(Compose):
    """All of them, one after the other, with probability `p`."""

    def __init__(self, transforms: Sequence[Callable], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = p

    def forward(self, *inputs: Any) -> Any:
        return _in_turn(() if self.p <= chance() else self.transforms, inputs)

    def extra_repr(self) -> str:
        return f"    p={self.p}\n{super().extra_repr()}"


class RandomChoice(Compose):
    """One of them, drawn by the weights `p`."""

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if p is not None and len(p) != len(transforms):
            fail(ValueError, "P5461", f"Length of p doesn't match the number of transforms: {len(p)} != {len(transforms)}",
                 fix="one weight each")
        self.p = p

    def _choose(self) -> Callable:
        weights = [1.0] * len(self.transforms) if self.p is None else self.p
        return self.transforms[int(torch.multinomial(torch.tensor([w / sum(weights) for w in weights]), 1))]

    def forward(self, *inputs: Any) -> Any:
        return self._choose()(*inputs)


class RandomOrder(Compose):
    """All of them in a random order."""

    def _order(self) -> list[int]:
        return torch.randperm(len(self.transforms)).tolist()

    def forward(self, *inputs: Any) -> Any:
        return _in_turn([self.transforms[i] for i in self._order()], inputs)
