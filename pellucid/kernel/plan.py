"""The plan: what a scheduled graph does, step by step, and where every value lives.

In: steps and buffers from `schedule.plan`. Out: data that the native layer builds a program from, and that `run_python`
can execute as it is.

    plan   = (buffers, steps, outputs, arena bytes)
    buffer = (dtype, elements, role)       role: input | const | output | arena | flag
    view   = (buffer, dtype, shape, strides, offset)        strides and offset count elements
    step   = KernelCall(kernel, buffers, sizes) | LibCall(name, operands, outs, attrs, post) | HostCall(node, operands, outs)

True always: steps run in order; a step reads only what inputs, constants or earlier steps wrote; two arena buffers overlap
only if no step needs both, except where a kernel reads an element before it writes that element (`in place`); an input buffer
is written only when it is in `written`, and then no later step reads its old value.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.dtype import dtype
from ..core.spec import contiguous_strides, numel
from ..graph.ir import Graph, Node, Value
from ..ops.canonical import evaluate
from .ir import Kernel


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory for one value. `index` is its place among the graph's inputs, constants or outputs; `offset` its first byte
    in the arena. An input's elements are those that its strides reach."""

    id: int
    dtype: dtype
    size: int                       # elements
    role: str                       # input, const, output, arena, flag
    value: Value | None = None
    index: int = -1
    offset: int = -1
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def name(self) -> str:
        return self.value.name if self.value is not None else f"{self.role}{self.id}"


class View(NamedTuple):
    """Elements of a buffer, as a strided array."""

    buffer: int
    dtype: dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def contiguous(self) -> bool:
        return all(n == 1 or s == t for n, s, t in zip(self.shape, self.strides, contiguous_strides(self.shape)))


class Post(NamedTuple):
    """A pointwise step applied to a library call's result as it is stored: "bias" and "scale" (add or multiply by one number
    per place in the last dimension), "relu", "add" (an operand of the result's shape)."""

    kind: str
    operand: View | None = None


@dataclass(slots=True, eq=False)
class KernelCall:
    """Run a kernel: one buffer (and first element) for each of its bufs that is not local, one int for each of its sizes."""

    kernel: Kernel
    buffers: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()
    flops: int = 0
    nbytes: int = 0
    in_place: tuple[tuple[int, int], ...] = ()      # (written, read): the first may lie where the second was


@dataclass(slots=True, eq=False)
class LibCall:
    """Run a library routine named after the operator. Operands are views, numbers or None, as in the node's arguments."""

    name: str
    operands: tuple[Any, ...]
    outs: tuple[View, ...]
    attrs: dict[str, Any]
    node: Node
    post: tuple[Post, ...] = ()
    nodes: tuple[Node, ...] = ()    # with those that `post` stands for


@dataclass(slots=True, eq=False)
class HostCall:
    """Run the operator's reference from Python, and copy its results to `outs`."""

    node: Node
    operands: tuple[Any, ...]
    outs: tuple[View, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


Step = KernelCall | LibCall | HostCall


class WhyNot(NamedTuple):
    """Why the values `a` and `b` are not computed in one kernel."""

    a: str
    b: str
    reason: str

    def __str__(self) -> str:
        return f"{self.a} and {self.b}: {self.reason}"


@dataclass(eq=False)
class Plan:
    """`outputs` gives the place of every output of the graph, in order; `written` the inputs that receive a write-back,
    by position; `checks` the texts of the errors that a nonzero element of the flag buffer stands for."""

    graph: Graph
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    outputs: list[View] = field(default_factory=list)
    written: tuple[int, ...] = ()
    arena: int = 0                                  # bytes
    whynot: list[WhyNot] = field(default_factory=list)
    checks: list[Any] = field(default_factory=list)
    flag: int = -1                                  # the flag buffer, if any kernel checks indices
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def kernels(self) -> list[Kernel]:
        """The distinct kernels, in order of first use."""
        return list(dict.fromkeys(s.kernel for s in self.steps if isinstance(s, KernelCall)))

    def view(self, buffer: int, shape=None) -> View:
        """A buffer as a contiguous array."""
        b = self.buffers[buffer]
        shape = b.shape if shape is None else shape
        return View(buffer, b.dtype, shape, contiguous_strides(shape))

    def traffic(self) -> int:
        """Bytes that the steps read and write, each operand once."""
        return sum(step_bytes(s) for s in self.steps)

    def report(self) -> str:
        return report(self)


def step_bytes(step: Step) -> int:
    """Bytes a step reads and writes, each operand counted once."""
    if isinstance(step, KernelCall):
        return step.nbytes
    views = [v for v in (*step.operands, *step.outs) if isinstance(v, View)]
    return sum(numel(v.shape) * v.dtype.itemsize for v in views)


def lines(nodes) -> list[str]:
    """The user's lines the nodes come from, each once."""
    return list(dict.fromkeys(str(n.loc) for n in nodes if n.loc is not None))


def report(plan: Plan) -> str:
    """Every step with its operators, bytes, operations and lines; the memory plan; what was not fused and why."""
    out = [f"{plan.graph.name}: {len(plan.steps)} steps, {len(plan.kernels)} kernels, arena {plan.arena:,} bytes, "
           f"traffic {plan.traffic():,} bytes"]
    for i, s in enumerate(plan.steps):
        if isinstance(s, KernelCall):
            what = f"kernel {s.kernel.name} ({', '.join(s.kernel.ops)})"
            cost = f"{s.flops:,} flops, "
        else:
            kind = "library" if isinstance(s, LibCall) else "host"
            post = "".join(f" + {p.kind}" for p in getattr(s, "post", ()))
            what, cost = f"{kind} {s.node.op.name}{post}", ""
        out.append(f"{i:4} {what}: {cost}{step_bytes(s):,} bytes")
        out += [f"       {line}" for line in lines(s.nodes)[:6]]
    out += [f"     memory {b.name}: {b.dtype.name}{list(b.shape)} {b.nbytes:,} bytes at {b.offset:,}"
            for b in plan.buffers if b.role == "arena"]
    out += [f"     not fused: {w}" for w in plan.whynot]
    return "\n".join(out)


# ---------------------------------------------------------------------------------------------------- running it in Python
def strided(flat: np.ndarray, view: View) -> np.ndarray:
    """The elements of `flat` that `view` names."""
    step = flat.itemsize
    if view.shape and 0 in view.shape:
        return np.empty(view.shape, flat.dtype)
    return np.lib.stride_tricks.as_strided(flat[view.offset:], view.shape, tuple([s * step for s in view.strides]))


def input_memory(a: np.ndarray, size: int) -> np.ndarray:
    """An input's memory from its first element on, flat."""
    if a.flags.c_contiguous:
        return a.reshape(-1)
    return np.lib.stride_tricks.as_strided(a, (size,), (a.itemsize,))


def memory_for(plan: Plan, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """A flat array for every buffer; those of the arena share it as planned."""
    arena = np.zeros(plan.arena, np.uint8)
    consts = list(plan.graph.consts.values())
    found = []
    for b in plan.buffers:
        if b.role == "input":
            found.append(input_memory(arrays[b.index], b.size))
        elif b.role == "const":
            found.append(np.ascontiguousarray(consts[b.index]).reshape(-1))
        elif b.role == "arena":
            found.append(arena[b.offset:b.offset + b.nbytes].view(b.dtype.np))
        else:
            found.append(np.zeros(b.size, b.dtype.np))
    return found


def call_reference(step: LibCall | HostCall, memory: list[np.ndarray]) -> None:
    """A library or host step by the operator's reference, then its post-steps."""
    args = tuple([strided(memory[a.buffer], a) if isinstance(a, View) else a for a in step.operands])
    for out, a in zip(step.outs, evaluate(step.node.op, args, step.node.attrs)):
        for p in getattr(step, "post", ()):
            a = apply_post(a, p, memory)
        strided(memory[out.buffer], out)[...] = a


def apply_post(a: np.ndarray, post: Post, memory: list[np.ndarray]) -> np.ndarray:
    if post.kind == "relu":
        return np.maximum(a, 0)
    x = strided(memory[post.operand.buffer], post.operand)
    return a * x if post.kind == "scale" else a + x


def early(plan: Plan) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Which inputs are written before a step refuses what it is given: for each element of the flag buffer, and for each host step."""
    found: list[list[int]] = [[] for _ in plan.checks]
    hosts: dict[int, list[int]] = {}
    done: set[int] = set()
    for k, s in enumerate(plan.steps):
        if isinstance(s, HostCall):
            hosts[k] = sorted(done)
        elif isinstance(s, KernelCall) and plan.flag in s.buffers:
            at = s.buffers.index(plan.flag)
            first = s.offsets[at] if s.offsets else 0
            for j in range(first, first + [b for b in s.kernel.bufs if b.role != "local"][at].size):
                found[j] = sorted(done)
        done.update(plan.buffers[b].index for b in writes(s) if plan.buffers[b].role == "input")
    return found, hosts


def run_python(plan: Plan, arrays: list[np.ndarray], run_kernel) -> list[np.ndarray]:
    """Execute the plan step by step: kernels by `run_kernel(kernel, flat arrays, sizes)`, the rest by the operators'
    references. Write-backs reach `arrays`; returns fresh outputs."""
    memory = memory_for(plan, arrays)
    done: set[int] = set()
    for step in plan.steps:
        try:
            if isinstance(step, KernelCall):
                offsets = step.offsets or (0,) * len(step.buffers)
                run_kernel(step.kernel, [memory[b][o:] for b, o in zip(step.buffers, offsets)], step.sizes)
                if plan.flag in step.buffers and memory[plan.flag].any():
                    raise IndexError("index out of range in self")
            else:
                call_reference(step, memory)
        except (IndexError, RuntimeError, ValueError) as error:
            error.early = sorted(done)
            raise
        done.update(plan.buffers[b].index for b in writes(step) if plan.buffers[b].role == "input")
    return [strided(memory[v.buffer], v) for v in plan.outputs]


def reads(step: Step) -> Iterator[int]:
    """The buffers a step may read."""
    if isinstance(step, KernelCall):
        roles = [b.role for b in step.kernel.bufs if b.role != "local"]
        yield from (b for b, role in zip(step.buffers, roles) if role != "out")
    else:
        yield from (a.buffer for a in step.operands if isinstance(a, View))
        yield from (p.operand.buffer for p in getattr(step, "post", ()) if p.operand is not None)


def writes(step: Step) -> Iterator[int]:
    """The buffers a step writes."""
    if isinstance(step, KernelCall):
        roles = [b.role for b in step.kernel.bufs if b.role != "local"]
        yield from (b for b, role in zip(step.buffers, roles) if role != "in")
    else:
        yield from (v.buffer for v in step.outs)
