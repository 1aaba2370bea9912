"""What a compiled function consists of, for people: kernels, library calls, memory, what was not fused and why, times.

In: the compiled versions of a function. Out: `Report`, printed as text; its counts serve tests and benchmarks.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__: list[str] = []

_SETTINGS = ("backend", "isa", "threads", "library", "regions", "parallel_regions", "barriers", "cache")


class Report:
    """Counts are sums over the compiled versions and their backward parts:

    `kernels` generated loops, `kernel_calls` how often a call of the function runs one; `library_calls` (oneDNN) and `extern_calls`
    (native code written by hand); `host_calls`: operators that run from Python; `bytes` moved and `flops` done per call; `arena`: bytes
    for intermediate results. `seconds`: compile time by pass; `whynot`: what was not fused, and why.
    """

    def __init__(self, name: str, entries: Sequence[Any], gave_up: str | None):
        self.name, self.entries, self.gave_up = name, list(entries), gave_up
        self.parts = [(label, x, x.report if isinstance(getattr(x, "report", None), dict) else {}) for e in self.entries
                      for label, x in _parts(e)]

    def _sum(self, key: str) -> int:
        return sum(_size(r.get(key, 0)) for *_, r in self.parts)

    @property
    def kernels(self) -> int:
        return self._sum("kernels")

    @property
    def kernel_calls(self) -> int:
        return self._sum("kernel_calls")

    @property
    def library_calls(self) -> int:
        return self._sum("library_calls")

    @property
    def extern_calls(self) -> int:
        return self._sum("extern_calls")

    @property
    def host_calls(self) -> int:
        return self._sum("host_steps")

    @property
    def bytes(self) -> int:
        return self._sum("bytes")

    @property
    def flops(self) -> int:
        return self._sum("flops")

    @property
    def arena(self) -> int:
        return self._sum("arena")

    @property
    def whynot(self) -> list:
        return [w for _, x, _ in self.parts for w in (_plan(x).whynot if _plan(x) is not None else ())]

    @property
    def seconds(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for e in self.entries:
            found["trace"] = found.get("trace", 0.0) + e.seconds["trace"]
        for *_, r in self.parts:
            for k, s in r.get("seconds", {}).items():
                if k != "total":
                    found[k] = found.get(k, 0.0) + s
        found["all"] = sum(e.seconds["all"] for e in self.entries)
        return found

    def __str__(self) -> str:
        out = [f"{self.name}: {len(self.entries)} compiled version{'s' * (len(self.entries) != 1)}"]
        if self.gave_up:
            out.append(f"runs uncompiled: {self.gave_up}")
        for label, x, r in self.parts:
            out.append(f"\n{label}")
            plan = _plan(x)
            if plan is not None:
                out.append(plan.report())
            out += [f"     {key}: {r[key]}" for key in _SETTINGS if key in r]
            out += [f"     note: {n}" for n in r.get("notes", ())]
        if self.entries:
            out.append("\ncompile time")
            out += [f"     {k:16s} {s * 1e3:9.2f} ms" for k, s in sorted(self.seconds.items(), key=lambda p: -p[1])]
        return "\n".join(out)

    __repr__ = __str__

    def print(self) -> None:
        """Print the report."""
        print(self)


def _parts(entry: Any) -> list[tuple[str, Any]]:
    name = entry.graph.name
    found = [(name, entry.execute)]
    if entry.joint is not None:
        found.append((f"{name}, backward", entry.joint.execute))
    return found


def _plan(executable: Any) -> Any:
    """The plan of a native or Python program; other backends have none."""
    return getattr(executable, "plan", None)


def _size(x: Any) -> int:
    return len(x) if isinstance(x, (list, tuple, dict)) else int(x)
