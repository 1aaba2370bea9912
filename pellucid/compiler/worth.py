"""Whether a function that breaks into parts is worth running compiled: a model of what its parts cost, here and as plain Python.

In: the versions and stops that a call goes through. Out: microseconds, and the reason to run the function as plain Python if that is
faster. What stays true: the answer depends on what was captured only, never on the time that a call took; so it is the same in each
run. The figures were measured with benchmarks/capture_cases.py; they need not be exact, as what is decided differs by factors.
"""
from __future__ import annotations

from typing import Any

from ..ops.op import Kind

__all__: list[str] = []

# Microseconds of a compiled part: being called, running native code, a guard, an array that goes in, a tensor that comes out, a view
# that is made of one, taking part in autograd; of an instruction between two parts, and of going on as plain Python behind one.
CALL, RUN, GUARD, INPUT, RESULT, VIEW, AUTOGRAD = 1.5, 1.5, 0.06, 0.12, 0.3, 4.0, 6.0
STOP, REST = 7.0, 8.0
# Microseconds of plain Python: an instruction, an operator by kind; and of each element that an operator makes, wherever it runs.
STEP = 0.03
OPERATOR = {Kind.POINT: 0.8, Kind.VIEW: 0.8, Kind.REDUCE: 2.0, Kind.EXTERN: 3.0, Kind.COMPOSITE: 4.0}
OTHER, ELEMENT = 2.0, 0.0003
BAR = 1.05


class Balance:
    """What the calls of one function cost so far, by the model: compiled, as plain Python, and what they compute either way."""

    def __init__(self) -> None:
        self.compiled = self.plain = self.work = 0.0
        self.parts = 0

    def part(self, entry: Any) -> None:
        """A call of a version."""
        compiled, plain, work = entry.costs
        self.compiled += compiled
        self.plain += plain
        self.work += work
        self.parts += 1

    def stop(self) -> None:
        """The instruction after it."""
        self.compiled += STOP
        self.plain += STEP

    def rest(self) -> None:
        """Going on as plain Python."""
        self.compiled += REST

    def verdict(self) -> str | None:
        """Why to run as plain Python, if so."""
        if self.compiled + self.work <= BAR * (self.plain + self.work):
            return None
        return (f"its breaks cost more than its parts save (estimated: {self.compiled + self.work:.0f} us for {self.parts} compiled part"
                f"{'s' * (self.parts != 1)}, {self.plain + self.work:.0f} us as plain Python)")


def costs(entry: Any, nodes: list, steps: int) -> tuple[float, float, float]:
    """(compiled, as plain Python, either way) of one call. `nodes`: the operators that were traced, `steps`: the instructions."""
    traced = entry.traced
    compiled = (CALL + RUN * bool(nodes) + GUARD * len(entry.writer.guards) + INPUT * len(traced.inputs)
                + sum(VIEW if r.chain else RESULT for r in traced.results) + AUTOGRAD * (entry.joint is not None))
    plain = STEP * steps + sum(OPERATOR.get(n.op.kind, OTHER) for n in nodes)
    work = ELEMENT * sum(v.spec.numel() for n in nodes for v in n.outs)
    return compiled, plain, work


def elements(args: tuple, tensor: type) -> int:
    """The largest number of elements of a tensor among the arguments themselves."""
    return max((a._a.size for a in args if isinstance(a, tensor)), default=0)
