"""The stages that a program goes through, and whether they agree.

In: a Program. Out: None, or the first `Failure`: the stage and what differs. What stays true: each stage is compared with
the reference, eager on the same inputs; a difference counts only beyond what nudging the inputs by a rounding error changes.
"""
from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import pellucid
from pellucid.graph import interp, printer as graphs, verify
from pellucid.graph.passes import run_passes
from pellucid.kernel.plan import run_python
from pellucid.kernel import printer as kernels
from pellucid.kernel import verify as kernel_verify
from pellucid.native import build
from pellucid.tensor import Tensor
from pellucid.tensor.tracing import trace

from .programs import Program

STAGES = ("traced", "printed", "simplified", "kernels", "native", "compiled")
Arrays = list[np.ndarray]


class Failure(NamedTuple):
    stage: str
    what: str


def results(fn: Callable, tensors: list) -> Arrays:
    """What the function returns, and what became of its arguments, as arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = fn(*tensors)
    return [np.array(t.detach().numpy()) for t in (*out, *tensors) if isinstance(t, Tensor)]


class Run:
    """One program through all stages."""

    def __init__(self, program: Program):
        self.program = program
        self.fn = program.function()
        self.expected = results(self.fn, program.tensors())
        self.tensors = program.tensors()
        text = program.source()
        low = "float32" in text or ".float()" in text or any(x.dtype == "float32" for x in program.inputs)
        low = low or any(e.dtype == np.float32 for e in self.expected)
        self.rounding = 2e-2 if "bfloat16" in text else 2e-5 if low else 1e-10
        self.traced = None
        self.optimised = None
        self.plan = self.native = None

    def stage(self, name: str) -> Arrays:
        """The arrays of one stage, in the order of `expected`."""
        if name == "compiled":
            return results(pellucid.compile(self.fn, fullgraph=True, backend=self.backend), self.program.tensors())
        if self.traced is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.traced = trace(self.fn, tuple(self.tensors))
            verify.check(self.traced.graph)
        graph = self.traced.graph
        fresh = self.program.tensors()                  # with the strides that the trace saw
        arrays = [fresh[i.place]._a for i in self.traced.inputs]
        if name == "traced":
            outs = interp.run(graph, arrays)
        elif name == "printed":
            outs = graphs.execute(graphs.text(graph), arrays, graphs.constants(graph))
        elif name == "simplified":
            self.optimised = run_passes(graph, build.PASSES, verify=True)
            outs = interp.run(self.optimised, arrays)
        elif name == "kernels":
            self.plan = build.make_plan(graph, {"verify": True})
            for k in self.plan.kernels:
                kernel_verify.check(k)
            outs = run_python(self.plan, arrays, kernels.run)
        else:
            plan = self.plan if self.plan is not None else build.make_plan(graph, {})
            self.native = build.cpu.build(plan)
            outs = self.native(arrays)
        return self.ordered(outs, arrays)

    def backend(self, graph):
        """The program of the native stage, if it is one of the same graph."""
        if self.native is not None and build.signature(graph) == build.signature(self.traced.graph):
            return self.native
        return build.compile_graph(graph, "llvm", {"cache": False})

    def ordered(self, outs: Arrays, arrays: Arrays) -> Arrays:
        """Outputs and inputs of the graph in the order of `expected`."""
        found = []
        for r in self.traced.results:
            if r.index is not None and not r.chain:
                found.append(np.asarray(outs[r.index]).reshape(r.spec.shape))
            else:
                found.append(None)
        places = {i.place: a for i, a in zip(self.traced.inputs, arrays)}
        found += [places.get(k) for k in range(len(self.tensors))]
        return found

    def sensitivity(self) -> Arrays:
        """How far the results move when the inputs are nudged."""
        step = {1e-10: 1e-13, 2e-5: 3e-7, 2e-2: 4e-3}[self.rounding]
        moved = [results(self.fn, self.program.tensors(nudge=k * step)) for k in (1, 4)]
        return [np.maximum(*[distance(m[i], e) for m in moved]) if all(m[i].shape == e.shape for m in moved) else np.inf
                for i, e in enumerate(self.expected)]

    def difference(self, found: Arrays) -> str | None:
        """What differs from eager beyond rounding."""
        if len(found) != len(self.expected):
            return f"{len(found)} results instead of {len(self.expected)}"
        sensitivity = None
        for i, (a, e) in enumerate(zip(found, self.expected)):
            if a is None:
                continue
            if a.shape != e.shape or a.dtype != e.dtype:
                return f"result {i} is {a.dtype}{list(a.shape)} instead of {e.dtype}{list(e.shape)}"
            if close(a, e, 0.0, self.rounding):
                continue
            sensitivity = sensitivity or self.sensitivity()
            if not close(a, e, sensitivity[i], self.rounding):
                bad = np.argmax(distance(a, e))
                return (f"result {i}, {e.dtype}{list(e.shape)}: {a.reshape(-1)[bad]} instead of {e.reshape(-1)[bad]} at "
                        f"{tuple(map(int, np.unravel_index(bad, e.shape)))}")
        return None


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, 0 where both are NaN or the same infinity, infinite where only one is."""
    x, y = (z.astype(np.float64) if z.dtype != np.float64 else z for z in (a, b))
    with np.errstate(all="ignore"):
        d = np.abs(x - y)
    return np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.where(np.isnan(d), np.inf, d))


def close(a: np.ndarray, e: np.ndarray, moved, rounding: float) -> bool:
    """Whether `a` is `e` but for rounding: relative to the largest value, plus 30 times what nudging moves."""
    if not a.size:
        return True
    if a.dtype.kind in "biu" and np.ndim(moved) == 0:
        return bool((a == e).all())
    d = distance(a, e)
    wide = np.abs(e.astype(np.float64))
    top = wide[np.isfinite(wide)].max(initial=0.0)
    return bool((d <= rounding * (top + 0.1) + 30 * np.max(moved)).all())


def check(program: Program, stages=STAGES) -> Failure | None:
    """The first stage at which the program goes wrong."""
    run = Run(program)
    for name in stages:
        try:
            what = run.difference(run.stage(name))
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {at.filename.rpartition('pellucid/')[2]}:{at.lineno} ({at.name}): {str(error)[:300]}"
        if what is not None:
            return Failure(name, what)
    return None


def explain(program: Program, stage: str) -> None:
    """Print the program, its graph and the stage's answer beside eager's; raises what the stage raises."""
    run = Run(program)
    print(program.source())
    for name in STAGES[:STAGES.index(stage)]:
        print(f"{name}: {run.difference(run.stage(name)) or 'as eager'}")
    if run.traced is not None:
        run.traced.graph.print()
    found = run.stage(stage)
    if run.plan is not None:
        print(run.plan.report())
        for k in run.plan.kernels:
            print(kernels.text(k))
    print(f"{stage}: {run.difference(found) or 'as eager'}")
    for a, e in zip(found, run.expected):
        if a is not None and not close(a, e, 0.0, run.rounding):
            print(f"{stage}:\n{a}\neager:\n{e}")
