"""PyTorch's version, as scripts compare it.

In: a version's text. Out: a string that compares by its numbers with strings and tuples: `torch.__version__ >= "2.4"`, `>= (2, 4)`.
What stays true: it is a `str`, so that it can be split, printed and parsed. What follows the numbers (`+cpu`) does not count.
"""
from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any


class TorchVersion(str):
    """A version that compares by its numbers."""

    def _order(self, other: Any) -> int:
        """Negative if self is older, positive if it is newer."""
        pairs = zip_longest(numbers(self), numbers(other), fillvalue=0)
        return next((a - b for a, b in pairs if a != b), 0)

    def __lt__(self, other: Any) -> bool:
        return self._order(other) < 0

    def __le__(self, other: Any) -> bool:
        return self._order(other) <= 0

    def __gt__(self, other: Any) -> bool:
        return self._order(other) > 0

    def __ge__(self, other: Any) -> bool:
        return self._order(other) >= 0


def numbers(version: Any) -> list[int]:
    """Of "2.13.0+cpu": 2, 13, 0."""
    if isinstance(version, (tuple, list)):
        return [int(part) for part in version]
    return [int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", str(version), maxsplit=1)[0])]
