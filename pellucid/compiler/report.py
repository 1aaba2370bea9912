"""What a compiled function consists of, for people: kernels, library calls, memory, what was not fused and why, times.

In: the compiled versions of a function. Out: `Report`, printed as text; its counts serve tests and benchmarks.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__: list[str] = []


class Report:
    """`kernels`, `library_calls`, `host_calls`, `bytes`, `arena`: sums over the versions and their backward parts."""

    def __init__(self, name: str, entries: Sequence[Any], gave_up: str | None):
        self.name, self.entries, self.gave_up = name, entries, gave_up
        self.parts = [(e, x.report if isinstance(x.report, dict) else {}) for e in entries
                      for x in (e.execute, *([e.joint.execute] if e.joint else []))]

    def _count(self, key: str) -> int:
        return sum(_size(r.get(key, 0)) for _, r in self.parts)

    @property
    def kernels(self) -> int:
        return self._count("kernels")

    @property
    def library_calls(self) -> int:
        return self._count("library_calls")

    @property
    def host_calls(self) -> int:
        return self._count("host_calls")

    @property
    def bytes(self) -> int:
        return self._count("bytes")

    @property
    def arena(self) -> int:
        return self._count("arena")

    @property
    def seconds(self) -> dict[str, float]:
        """Compile time per pass, over all versions."""
        found: dict[str, float] = {}
        for e in self.entries:
            for k, s in e.seconds.items():
                found[k] = found.get(k, 0.0) + s
        for _, r in self.parts:
            for k, s in r.get("seconds", {}).items():
                found[k] = found.get(k, 0.0) + s
        return found

    def __str__(self) -> str:
        out = [f"{self.name}: {len(self.entries)} compiled version{'s' * (len(self.entries) != 1)}"]
        if self.gave_up:
            out.append(f"runs uncompiled: {self.gave_up}")
        for _, r in self.parts:
            out.append(str(r.get("text", "")))
        out += [f"{k:24s} {s * 1e3:9.2f} ms" for k, s in sorted(self.seconds.items(), key=lambda p: -p[1])]
        return "\n".join(x for x in out if x)

    __repr__ = __str__

    def print(self) -> None:
        """Print the report."""
        print(self)


def _size(x: Any) -> int:
    return len(x) if isinstance(x, (list, tuple, dict)) else int(x)
