"""Graphs to executables: the whole way down, pass by pass.

In: a Graph, and "llvm" or "python". Out: an `Executable`; with "python", one that runs the printed kernels. What is made is
remembered twice: in this process, and on disk as data (`blob`), so that a second process compiles nothing.

True always: what is remembered is found again only for the same graph (operators, attributes, Specs, constants), the same
options, thread count, processor, libraries and sources; graphs with operators that a user registered, or attributes that only
Python knows, are not kept on disk.
"""
from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.config import config
from ..core.events import Stage, emit, listening
from ..graph import interp
from ..graph.decompose import decompose
from ..graph.ir import Graph, Value
from ..graph.layout import layout, rows, served
from ..graph.passes import Pass, run_passes
from ..graph.simplify import simplify
from ..kernel import plan as plans
from ..kernel import printer
from ..kernel.plan import LibCall, Plan
from ..kernel.roots import Options
from ..kernel.schedule import plan as schedule
from ..ops.conv import CONVOLUTIONS
from ..ops.op import Op
from . import attention, convolution, onednn, onednn_ops, products, program, recurrent, threads
from .backend import EXTERN, FIRST, emit_extern
from .cache import disk, key
from .execute import Executable, Workspace
from .isa import Isa, host_isa
from .varying import Varying

_ = attention, convolution, products, recurrent      # imported because they register externs



def channels_last(graph: Graph) -> Graph:
    """`layout`, unless the graph is one convolution of row-major images: there the library chooses, and reorders what it has to."""
    node = graph.nodes[0] if len(graph.nodes) == 1 else None
    if (node is not None and node.op.name in CONVOLUTIONS and not node.attrs.get("transposed") and onednn.library() is not None
            and served(node) and all(v.spec.strides is None for v in (*graph.inputs, *node.outs)) and not convolution.gains(node, host_isa())):
        return graph
    return layout(graph)


PASSES = (
    Pass(simplify, "simplify", "what needs no computing: constants, repeats, identities, views of views"),
    Pass(decompose, "decompose", "composites become the operators they consist of"),
    Pass(simplify, "simplify", "the parts meet their neighbours"),
    Pass(channels_last, "layout", "convolutions and what lies between them with the channels last in memory"),
    Pass(simplify, "simplify", "permutes that cancel"),
    Pass(rows, "rows", "copies of what convolutions would read in another order"),
)
REMEMBERED = 128                # programs kept by this process
LARGEST = 64 << 20              # bytes of a program on disk


class PythonExecutable:
    """A plan run by the printed kernels: slow, for reading and stepping."""

    def __init__(self, plan: Plan, graph: Graph):
        self.plan, self.graph = plan, graph
        self.report: dict[str, Any] = {"kernels": len(plan.kernels), "seconds": dict(plan.seconds), "backend": "python"}

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        try:
            return plans.run_python(self.plan, list(arrays), printer.run)
        except (IndexError, RuntimeError, ValueError) as error:
            found = interp.refusal(self.graph, list(arrays)) if self.graph is not None else None
            raise interp.refused(found or error, getattr(error, "early", ())) from None


class CPU:
    """The backend of this machine's processor."""

    name = "cpu"

    def empty(self, shape: tuple[int, ...], dtype: dt.dtype) -> np.ndarray:
        return np.empty(shape, dtype.np)

    def build(self, plan: Plan, options: Any = None) -> Executable:
        return program.build(plan, options)

    def native(self, call: LibCall) -> bool:
        """Whether a library call of this operator and these operands has native code."""
        views = [v for v in (*call.operands, *call.outs) if isinstance(v, plans.View)]
        return (call.name in EXTERN or onednn_ops.serves(call.name, [v.dtype for v in views])
                or emit_extern(call, host_isa(), "native", FIRST) is not None)


cpu = CPU()


def without(name: str) -> Options:
    """The schedule's options, with loops for an operator that a library might serve."""
    default = Options(threads=threads.count())
    return replace(default, library=default.library - {name})


# ---------------------------------------------------------------------------------------------------- the whole way
def make_plan(graph: Graph, options: Mapping[str, Any] = {}) -> Plan:
    """The passes and the schedule, without code."""
    seconds: dict[str, float] = {}
    verify = bool(options.get("verify"))
    optimised = run_passes(graph, options.get("passes", PASSES), verify, seconds)
    began = time.perf_counter()
    plan = schedule(optimised, options.get("schedule") or Options(threads=threads.count()))
    plan.seconds = {**seconds, **plan.seconds, "schedule": time.perf_counter() - began}
    if listening():
        emit(Stage("plan", "kernels, library calls, and memory", plan.report(), plan.seconds["schedule"]))
        for kernel in plan.kernels:
            emit(Stage("kernel", "loops over memory", printer.text(kernel)))
    return plan


def compile_graph(graph: Graph, backend: str = "llvm", options: Mapping[str, Any] | None = None) -> Executable | PythonExecutable:
    """Compile a graph. Options: `verify` (check after each pass), `passes`, `schedule` (kernel.roots.Options), `isa`, `cache`
    (False: neither look nor keep), `constant` (numbers of inputs whose contents stay the same until `exe.refresh()`: weights are
    laid out once for them), `varying` (the Varying of a function that is compiled for several sizes). Raises ValueError for a
    backend that is not "llvm" or "python"."""
    options = options or {}
    if backend == "python":
        return PythonExecutable(make_plan(graph, options), graph)
    if backend != "llvm":
        raise ValueError(f"no native backend {backend!r}: llvm or python")
    began = time.perf_counter()
    isa = options.get("isa") or host_isa()
    name = "" if options.get("cache") is False or listening() or "passes" in options else graph_key(graph, options, isa)
    varying = options.get("varying")
    later = varying is not None and varying.met(graph)
    exe = _remembered(name, graph, varying)
    if exe is None and later:                       # code that takes its sizes as arguments is another program
        name = name and name + "-sizes"
        exe = _remembered(name, graph, varying)
    if exe is None:
        exe = _compiled(graph, options, isa, name, varying)
    if name:
        _memory.put(name, (Made(exe), exe.consts))
    exe.make_plan, exe.graph = lambda: make_plan(graph, options), graph
    if varying is not None:
        varying.begin(graph, exe.make_plan)
    exe.report["seconds"] = {**exe.report["seconds"], "total": time.perf_counter() - began}
    return exe


def _remembered(name: str, graph: Graph, varying: Varying | None) -> Executable | None:
    """What was made under a name, by this process or another."""
    found = _memory.get(name) if name else None
    if found is not None:
        made, consts = found
        return Executable(made.program, made.code, consts, {**made.report, "cache": "memory"}, workspace=workspace_of(varying))
    return _from_disk(name, graph, varying) if name else None


def workspace_of(varying: Varying | None) -> Workspace | None:
    return None if varying is None else varying.workspace


def _compiled(graph: Graph, options: Mapping[str, Any], isa: Isa, name: str, varying: Varying | None) -> Executable:
    plan = make_plan(graph, options)
    marks = varying.marks(graph, plan) if varying is not None else {}
    made, objects, seconds, primitives = program.compile_plan(plan, isa, options.get("constant", ()), marks)
    consts = list(plan.graph.consts.values())
    exe = program.load(made, objects, consts, {**plan.seconds, **seconds}, primitives, workspace_of(varying))
    exe.report["cache"] = "none"
    if name and name.startswith("program-"):
        data = blob(made, objects, consts, list(graph.consts.values()))
        if data is not None:
            disk().put(name, data)
    return exe


def _from_disk(name: str, graph: Graph, varying: Varying | None) -> Executable | None:
    data = disk().get(name) if name.startswith("program-") else None
    if data is None:
        return None
    began = time.perf_counter()
    try:
        made, objects, consts = unblob(data, list(graph.consts.values()))
        exe = program.load(made, objects, consts, {"read": time.perf_counter() - began}, workspace=workspace_of(varying))
    except (RuntimeError, ValueError, KeyError, TypeError):      # made by something that is not here any more
        disk().remove(name)
        return None
    exe.report["cache"] = "disk"
    return exe


class Made:
    """What executables of the same graph share."""

    def __init__(self, exe: Executable):
        self.program, self.code, self.report = exe.program, exe.code, exe.report


class Memory:
    """The programs this process made last."""

    def __init__(self):
        self.lock, self.found = threading.Lock(), OrderedDict()

    def get(self, name: str):
        with self.lock:
            found = self.found.get(name)
            if found is not None:
                self.found.move_to_end(name)
            return found

    def put(self, name: str, value) -> None:
        with self.lock:
            self.found[name] = value
            while len(self.found) > REMEMBERED:
                self.found.popitem(last=False)

    def clear(self) -> None:
        with self.lock:
            self.found.clear()


_memory = Memory()


# ---------------------------------------------------------------------------------------------------- programs as bytes
def blob(made: program.Program, objects: Sequence[bytes], consts: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> bytes | None:
    """A program, its objects and its constants; those of the traced graph by their place only. None if it cannot be kept."""
    places = {id(a): i for i, a in enumerate(given)}
    parts, records = list(objects), []
    for a in consts:
        if id(a) in places:
            records.append(["given", places[id(a)]])
            continue
        if a.dtype.hasobject:
            return None
        records.append(["stored", dt.of(a.dtype).name, list(a.shape)])
        parts.append(np.ascontiguousarray(a).tobytes())
    try:
        text = made.dumps()
    except TypeError:
        return None
    head = json.dumps({"program": len(text), "objects": len(objects), "consts": records, "parts": [len(p) for p in parts]}).encode()
    size = len(text) + len(head) + sum(map(len, parts))
    return None if size > LARGEST else b"".join((struct.pack("<Q", len(head)), head, text, *parts))


def unblob(data: bytes, given: Sequence[np.ndarray]) -> tuple[program.Program, list[bytes], list[np.ndarray]]:
    """What `blob` was made of."""
    size, = struct.unpack_from("<Q", data)
    head = json.loads(data[8:8 + size])
    at = 8 + size
    made = program.Program.loads(data[at:at + head["program"]])
    at += head["program"]
    parts = []
    for n in head["parts"]:
        parts.append(data[at:at + n])
        at += n
    stored = iter(parts[head["objects"]:])
    consts = [given[record[1]] if record[0] == "given" else
              np.frombuffer(next(stored), dt.ALIASES[record[1]].np).reshape(record[2]) for record in head["consts"]]
    return made, parts[:head["objects"]], consts


# ---------------------------------------------------------------------------------------------------- keys
class Private(Exception):
    """Something that has no name outside this process."""


def graph_key(graph: Graph, options: Mapping[str, Any], isa: Isa) -> str:
    """The key of a graph's program: "program-..." if it may be kept on disk, "process-..." if only in memory, or ""."""
    environment = (isa.key, repr(onednn.library()), f"{threads.count()} {config.threads} {threads.pool() is not None}",
                   repr(options.get("schedule")), repr(bool(options.get("verify"))),
                   repr(sorted(options.get("constant", ()))))
    try:
        return key("program", signature(graph), *environment)
    except Private:
        return ""


def signature(graph: Graph) -> str:
    """The graph as text: equal texts mean the same program. Raises Private for what cannot be written down."""
    names: dict[Value, str] = {}
    specs: dict[tuple, str] = {}
    out = [graph.name]

    def spec(v: Value) -> str:
        s = v.spec
        parts = s.dtype, s.shape, s.strides
        text = specs.get(parts)
        if text is None:
            text = specs[parts] = f"{s.dtype.name}{list(s.shape)}{s.strides}"
        return text

    def new(v: Value) -> str:
        name = names[v] = f"%{len(names)}"
        return f"{name} {spec(v)}"

    for v in graph.inputs:
        out.append(f"input {new(v)} {graph.roles.get(v)}")
    for v, a in graph.consts.items():
        digest = hashlib.sha256(np.ascontiguousarray(a).reshape(-1).view(np.uint8) if a.size else b"").hexdigest()
        out.append(f"const {new(v)} {digest}")
    for node in graph.nodes:
        op, attrs = node.op, node.attrs
        if not op.module.startswith("pellucid."):
            raise Private(op.name)
        args = ", ".join([names[a] if isinstance(a, Value) else plain(a) for a in node.args])
        given = ", ".join([f"{k}={plain(attrs[k])}" for k in sorted(attrs)]) if attrs else ""
        out.append(f"{', '.join(map(new, node.outs))} = {op.name}({args}; {given})")
    out.append("outputs " + " ".join([f"{names[v]} {v.spec.strides}" for v in graph.outputs]))
    out.append("writes " + " ".join([f"{names[t]}={names[v]}" for t, v in graph.writebacks]))
    return "\n".join(out)


def plain(x: Any) -> str:
    """An attribute as text that is the same in every process."""
    if x is None or isinstance(x, (bool, int, str)):
        return repr(x)
    if isinstance(x, float):
        return x.hex()
    if isinstance(x, complex):
        return f"({x.real.hex()}+{x.imag.hex()}j)"
    if isinstance(x, dt.dtype):
        return x.name
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(plain(a) for a in x) + ")"
    if isinstance(x, slice):
        return f"slice({plain(x.start)}, {plain(x.stop)}, {plain(x.step)})"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{plain(k)}: {plain(v)}" for k, v in x.items()) + "}"
    if isinstance(x, np.generic):
        return f"{x.dtype}{plain(x.item())}"
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        return f"{x.dtype}{x.shape}{hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()}"
    if isinstance(x, Graph):
        return "{" + signature(x) + "}"
    if x is Ellipsis:
        return "..."
    if isinstance(x, Op) and x.module.startswith("pellucid."):
        return f"<{x.name}>"
    if type(x).__module__ == "pellucid.core.layout":
        return repr(x)
    raise Private(type(x).__name__)
