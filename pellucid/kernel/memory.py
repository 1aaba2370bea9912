"""Where intermediate values live: one arena, planned by liveness.

In: a plan whose arena buffers have no offsets yet. Out: the same plan with offsets (multiples of 64 bytes) and the arena's
size. A buffer lives from the first step that writes it to the last that reads it.

True always: two buffers that live at the same step do not overlap, with one exception: where a kernel call says that it
reads an element of one before it writes the same element of the other (`in_place`) and the first dies there, the second
may take its place.
"""
from __future__ import annotations

from .plan import KernelCall, Plan, reads, writes

ALIGN = 64


def lifetimes(plan: Plan) -> dict[int, tuple[int, int]]:
    """First and last step of every arena buffer."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for k, step in enumerate(plan.steps):
        for b in (*reads(step), *writes(step)):
            if plan.buffers[b].role == "arena":
                first.setdefault(b, k)
                last[b] = k
    for v in plan.outputs:
        if v.buffer in last:
            last[v.buffer] = len(plan.steps)
    return {b: (first[b], last[b]) for b in first}


def aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


class Arena:
    """Free pieces of a growing block of memory, best fit first."""

    def __init__(self):
        self.free: list[tuple[int, int]] = []       # (offset, bytes), by offset, no two adjacent
        self.size = 0

    def take(self, n: int) -> int:
        best = min((piece for piece in self.free if piece[1] >= n), key=lambda p: (p[1], p[0]), default=None)
        if best is not None:
            self.free.remove(best)
            if best[1] > n:
                self.free.append((best[0] + n, best[1] - n))
                self.free.sort()
            return best[0]
        if self.free and self.free[-1][0] + self.free[-1][1] == self.size:      # the last piece grows
            offset, _ = self.free.pop()
        else:
            offset = self.size
        self.size = offset + n
        return offset

    def give(self, offset: int, n: int) -> None:
        self.free.append((offset, n))
        self.free.sort()
        out: list[tuple[int, int]] = []
        for o, s in self.free:
            if out and out[-1][0] + out[-1][1] == o:
                out[-1] = (out[-1][0], out[-1][1] + s)
            else:
                out.append((o, s))
        self.free = out


def assign(plan: Plan) -> None:
    """Give every arena buffer its offset."""
    life = lifetimes(plan)
    born: dict[int, list[int]] = {}
    dies: dict[int, list[int]] = {}
    for b, (first, last) in life.items():
        born.setdefault(first, []).append(b)
        dies.setdefault(last, []).append(b)
    arena = Arena()
    for k, step in enumerate(plan.steps):
        given: set[int] = set()
        pairs = step.in_place if isinstance(step, KernelCall) else ()
        for b in sorted(born.get(k, ()), key=lambda b: -plan.buffers[b].nbytes):
            buf = plan.buffers[b]
            old = next((a for out, a in pairs if out == b and a not in given and life.get(a, (0, -1))[1] == k
                        and life[a][0] < k and aligned(plan.buffers[a].nbytes) == aligned(buf.nbytes)), None)
            if old is not None:
                buf.offset = plan.buffers[old].offset
                given.add(old)
            else:
                buf.offset = arena.take(aligned(max(buf.nbytes, 1)))
        for b in dies.get(k, ()):
            if b not in given:
                arena.give(plan.buffers[b].offset, aligned(max(plan.buffers[b].nbytes, 1)))
    for b in plan.buffers:
        if b.role == "arena" and b.offset < 0:
            b.offset = 0                            # no step touches it: empty
    plan.arena = arena.size
