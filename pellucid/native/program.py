"""A plan as a program: code for its kernels and externs, and its steps as data.

In: a `Plan`. Out: `Program` (data that JSON can hold) and object code; `build` makes the `Executable` of them. For each library
call the first of these that takes it is chosen: an extern that goes first (small products), a oneDNN primitive, an extern, the
operator's reference, run from Python.

Steps between library calls form regions, which a team of threads goes through together. True always: two steps of a region
have a barrier between them if one writes what the other reads or writes, unless one thread does both; a step is split over the
threads, and a region done by a team, only where it pays by the estimate (`SPLIT_NS`, `worth_threads`); a kernel or extern that several calls share is compiled once.
"""
from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.events import Stage, emit, listening
from ..core.spec import contiguous_strides, numel
from ..kernel.plan import HostCall, KernelCall, LibCall, Plan, Post, View, early
from . import execute, jit, llvm, loaded, onednn, onednn_ops, threads
from .backend import EXTERN, FIRST, Extern, emit_extern
from .engine import Who
from .isa import Isa, host_isa
from .varying import symbolic

SPLIT_NS = 4000             # a step this long is done by all threads (an empty region costs about 1,000)
TEAM_NS = 8000              # small steps that take this long together are worth a team
REGION_NS, BARRIER_NS = 1200, 300
BYTE_NS, FLOP_NS, PRODUCT_NS = 0.03, 0.06, 0.012


@dataclass
class Program:
    """What runs, as plain data. Buffers: (role, bytes, place): the arena's offset, or the index of the input, constant or new
    output. Steps are dicts; `segments` are (begin, end, None) for native code and (i, i + 1, i) for a host step."""

    name: str
    buffers: list = field(default_factory=list)
    inputs: list = field(default_factory=list)
    news: list = field(default_factory=list)            # arrays made by each call: shape, dtype
    outputs: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    segments: list = field(default_factory=list)
    arena: int = 0
    checks: list = field(default_factory=list)
    early: list = field(default_factory=list)
    flag_bytes: int = 8
    symbols: list = field(default_factory=list)
    constant: list = field(default_factory=list)        # inputs whose contents stay the same until `refresh`
    report: dict = field(default_factory=dict)

    def dumps(self) -> bytes:
        """As JSON. Raises TypeError if an attribute is something only Python knows."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["steps"] = [s if native(s) else {"call": encode(s)} for s in self.steps]
        fields["report"] = encode(self.report)
        return json.dumps(fields, separators=(",", ":")).encode()

    @staticmethod
    def loads(data: bytes) -> Program:
        fields = json.loads(data)
        fields["steps"] = [decode(s["call"]) if "call" in s else s for s in fields["steps"]]
        fields["report"] = decode(fields["report"])
        return Program(**fields)


# ---------------------------------------------------------------------------------------------------- data as JSON
def encode(x: Any) -> Any:
    """Plain data with tuples, dtypes and views marked, so that `decode` gives the same back."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, float):
        return {"f": x.hex()}
    if isinstance(x, View):
        return {"v": [x.buffer, x.dtype.name, list(x.shape), list(x.strides), x.offset]}
    if isinstance(x, Post):
        return {"p": [x.kind, encode(x.operand)]}
    if isinstance(x, dt.dtype):
        return {"t": x.name}
    if isinstance(x, tuple):
        return {"u": [encode(a) for a in x]}
    if isinstance(x, list):
        return [encode(a) for a in x]
    if isinstance(x, dict) and all(isinstance(k, str) for k in x):
        return {"d": {k: encode(v) for k, v in x.items()}}
    if isinstance(x, np.generic) and x.dtype.kind in "biuf":
        return encode(x.item())
    raise TypeError(f"{type(x).__name__} is not plain data")


def decode(x: Any) -> Any:
    if isinstance(x, list):
        return [decode(a) for a in x]
    if not isinstance(x, dict):
        return x
    (kind, value), = x.items()
    match kind:
        case "f":
            return float.fromhex(value)
        case "v":
            return View(value[0], dt.ALIASES[value[1]], tuple(value[2]), tuple(value[3]), value[4])
        case "p":
            return Post(value[0], decode(value[1]))
        case "t":
            return dt.ALIASES[value]
        case "u":
            return tuple([decode(a) for a in value])
        case _:
            return {k: decode(v) for k, v in value.items()}


# ---------------------------------------------------------------------------------------------------- compiling
class Compiler:
    """Turns one plan into a Program and the IR of its code."""

    def __init__(self, plan: Plan, isa: Isa, constant: Iterable[int] = (), marks: Mapping[int, dict[int, str]] = {}):
        self.plan, self.isa, self.threads, self.marks = plan, isa, threads.count(), marks
        self.program = Program(plan.graph.name, constant=sorted(set(constant) - set(plan.written)))
        self.primitives: dict[int, onednn.Primitive] = {}       # by step, for the first executable
        self.emitted: dict[tuple, Any] = {}             # kernels, by what makes them the same code
        self.externs: dict[str, Extern | None] = {}
        self.places: dict[int, list[tuple]] = {}        # what each step touches, for barriers

    def compile(self) -> Program:
        p, plan = self.program, self.plan
        self.early, self.before = early(plan)
        self._buffers()
        for k, step in enumerate(plan.steps):
            made = len(p.steps)
            if isinstance(step, KernelCall):
                self._kernel(step, self.marks.get(k))
            elif isinstance(step, LibCall):
                self._library(step, self.marks.get(k))
            else:
                self._host(step, self.before[k])
            for s in p.steps[made:]:
                s["step"] = k                           # of the plan
        self._regions()
        p.arena = plan.arena
        p.checks = [check_text(c) for c in plan.checks]
        p.early = self.early
        p.symbols = sorted({s["symbol"] for s in p.steps if "symbol" in s})
        p.report = self._report()
        return p

    # -------------------------------------------------------------------------------------------- memory
    def _buffers(self) -> None:
        p, plan = self.program, self.plan
        new: dict[int, int] = {}
        for b in plan.buffers:
            where = {"arena": b.offset, "output": -1}.get(b.role, b.index)
            if b.role == "output":
                where = new[b.id] = len(p.news)
                p.news.append({"shape": list(b.shape), "dtype": b.dtype.name})
                if numel(b.shape) != b.size:
                    p.news[-1]["shape"] = [b.size]
            p.buffers.append([b.role, b.nbytes, where])
        reach = {b.index: b for b in plan.buffers if b.role == "input"}
        for i, v in enumerate(plan.graph.inputs):
            s = v.spec
            strides = None if s.strides is None or tuple(s.strides) == contiguous_strides(s.shape) else list(s.strides)
            size = 1 + sum((n - 1) * t for n, t in zip(s.shape, s.strides or contiguous_strides(s.shape))) if 0 not in s.shape else 0
            size = max(size, reach[i].size) if i in reach and size else size
            p.inputs.append({"shape": list(s.shape), "dtype": s.dtype.name, "strides": strides, "nbytes": size * s.dtype.itemsize,
                             "written": i in plan.written})
        for v in plan.outputs:
            b = plan.buffers[v.buffer]
            plain = b.role == "output" and v.offset == 0 and v.shape == tuple(p.news[new[b.id]]["shape"]) and v.contiguous
            o = {} if plain else {"shape": list(v.shape), "strides": list(v.strides), "offset": v.offset, "dtype": v.dtype.name}
            p.outputs.append({**o, **({"new": new[b.id]} if b.role == "output" else {"buffer": v.buffer})})

    def _place(self, buffer: int, nbytes: int | None = None) -> tuple:
        """Where a buffer is, so that two places can be compared: (what, first byte, end)."""
        b = self.plan.buffers[buffer]
        if b.role == "arena":
            return ("arena", b.offset, b.offset + b.nbytes)
        return (b.role, b.id, b.id + 1)

    # -------------------------------------------------------------------------------------------- steps
    def _kernel(self, call: KernelCall, marks: dict[int, str] | None) -> None:
        k = call.kernel
        bufs = [b for b in k.bufs if b.role != "local"]
        sizes = dict(zip(k.sizes, call.sizes))
        overlap = self._overlap(bufs, call.buffers)
        key = k.key(), overlap
        found = self.emitted.get(key)
        if found is None:
            found = llvm.emit(symbolic(call, marks).kernel if marks else k, self.isa, "K", overlap)
            found = self.emitted[key] = llvm.named(found, k.name)
        offsets = call.offsets or (0,) * len(bufs)
        places = [[buffer, offset * b.dtype.itemsize] for b, buffer, offset in zip(bufs, call.buffers, offsets)]
        reads = [self._place(i) for b, i in zip(bufs, call.buffers) if b.role != "out"]
        writes = [self._place(i) for b, i in zip(bufs, call.buffers) if b.role != "in"]
        scratch, partial = found.scratch_bytes(sizes), found.partial_bytes(sizes)
        flops, nbytes = call.flops or k.flops, call.nbytes or k.nbytes
        cost = max(nbytes * BYTE_NS, flops * FLOP_NS)
        split = cost >= SPLIT_NS + 2 * partial * BYTE_NS         # a thread's partial results are made and read once more
        parts = split and any(ph.kind == "combine" for ph in found.phases)
        for n, phase in enumerate(found.phases):
            if n and split and not (phase.kind == "combine" and found.phases[n - 1].kind == "combine"):
                self.program.steps[-1]["barrier"] = True
            self.program.steps.append({
                "kind": "combine" if phase.kind == "combine" else "kernel", "name": k.name, "symbol": phase.symbol, "buffers": places,
                "sizes": [*call.sizes, *found.words], "extent": llvm.number(phase.extent, sizes), "grain": phase.grain, "scratch": scratch,
                "partial": partial, "parts": parts, "split": split, "owner": 0, "barrier": False, "reads": reads,
                "writes": writes, "same": n > 0, "ns": cost if phase.kind == "run" else 0, "bytes": nbytes if phase.kind == "run" else 0,
                "flops": flops if phase.kind == "run" else 0})

    def _overlap(self, bufs: Sequence, buffers: Sequence[int]) -> frozenset[str]:
        """The kernel's buffers that share memory in this call, one of them being written."""
        places = [self._place(i) for i in buffers]
        return frozenset(b.name for n, b in enumerate(bufs) for m, c in enumerate(bufs)
                         if n != m and (b.role != "in" or c.role != "in") and meet((places[n],), (places[m],)))

    def _library(self, call: LibCall, marks: dict[int, str] | None) -> None:
        views = [v for v in (*call.operands, *call.outs) if isinstance(v, View)] + [p.operand for p in call.post if p.operand is not None]
        places = [[v.buffer, v.offset * v.dtype.itemsize] for v in views]
        ins = [v for v in call.operands if isinstance(v, View)] + [p.operand for p in call.post if p.operand is not None]
        touched = {"reads": [self._place(v.buffer) for v in ins], "writes": [self._place(v.buffer) for v in call.outs]}
        touched["bytes"] = sum(numel(v.shape) * v.dtype.itemsize for v in views)
        touched["flops"] = operations(call)
        code = symbolic(call, marks) if marks else call
        extern = self._extern(code, FIRST)
        if extern is None:
            constant = [i for i, v in enumerate(v for v in call.operands if isinstance(v, View)) if self._fixed(v)]
            primitive = onednn_ops.primitive(call, frozenset(constant))
            if primitive is not None:
                self.primitives[len(self.program.steps)] = primitive
                self.program.steps.append({"kind": "library", **library_record(call), "buffers": places, "constant": constant, **touched})
                return
        extern = extern or self._extern(code, EXTERN)
        if extern is None:
            self._host(call)
            return
        self.program.steps.append({"kind": "extern", "name": call.name, "symbol": extern.symbol, "buffers": places,
                                   "sizes": list(extern.sizes), "scratch": extern.scratch, "shared": extern.shared, "split": extern.parallel, "owner": 0,
                                   "barrier": False, "same": False, "invariant": extern.invariant, **touched,
                                   "ns": max(extern.flops * PRODUCT_NS, touched["bytes"] * BYTE_NS)})

    def _fixed(self, v: View) -> bool:
        """Whether a view's contents are the same at every call."""
        b = self.plan.buffers[v.buffer]
        return b.role == "const" or (b.role == "input" and b.index in self.program.constant)

    def _extern(self, call: LibCall, table) -> Extern | None:
        if call.name not in table:
            return None
        key = extern_key(call) + ("first" if table is FIRST else "")
        if key not in self.externs:
            found = emit_extern(call, self.isa, "E", table)
            self.externs[key] = None if found is None else renamed(found, call.name)
        return self.externs[key]

    def _host(self, step: LibCall | HostCall, early: Sequence[int] = ()) -> None:
        views = [v for v in (*step.operands, *step.outs) if isinstance(v, View)]
        self.program.steps.append({"kind": "host", **library_record(step), "buffers": [[v.buffer, 0] for v in views],
                                   "reads": [], "writes": [], "early": early,
                                   "bytes": sum(numel(v.shape) * v.dtype.itemsize for v in views), "flops": 0})

    # -------------------------------------------------------------------------------------------- regions
    def _regions(self) -> None:
        """Group steps, give small ones an owner, put barriers where they are needed."""
        p, steps = self.program, self.program.steps
        i = 0
        for s in steps:
            s.setdefault("region", [0, int(Who.ONE)])
        while i < len(steps):
            kind = native(steps[i])
            j = i
            checked = False
            while j < len(steps) and native(steps[j]) and kind:
                if checked and not steps[j]["same"] and any(w[0] == "input" for w in steps[j]["writes"]):
                    break                           # nothing is written if an index was out of range
                checked = checked or any(w[0] == "flag" for w in steps[j]["writes"])
                j += 1
            if not kind:
                if steps[i]["kind"] == "host":
                    p.segments.append([i, i + 1, i])
                else:
                    extend(p.segments, i, i + 1)
                i += 1
                continue
            for lo, hi, parallel in trimmed(steps, i, j):
                who = Who.ONE
                if parallel and worth_threads(steps[lo:hi], self.threads):
                    who = Who.SHARES if all(s.get("invariant", True) for s in steps[lo:hi] if s["split"]) else Who.TEAM
                for s in steps[lo:hi]:
                    s["region"] = [hi, int(who)]
            extend(p.segments, i, j)
            i = j
        for s in steps:
            s.pop("reads", None), s.pop("writes", None), s.pop("same", None), s.pop("invariant", None)

    # -------------------------------------------------------------------------------------------- code
    def modules(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """The LLVM modules of everything the program calls, and what compiles them."""
        isa = self.isa
        kernels = {e.name: e for e in self.emitted.values()}
        for some in [[e] for e in kernels.values()] if self.marks else [kernels.values()] if kernels else []:
            text = llvm.module(some, isa)
            yield text, lambda text=text: llvm.compile_object(text, isa)
        for ir in {e.symbol: e.ir for e in self.externs.values() if e is not None}.values():
            yield ir, lambda ir=ir: jit.assemble(ir, isa.cpu, isa.features, scheduled=True)

    def _report(self) -> dict:
        plan, steps = self.plan, self.program.steps
        count = {kind: sum(s["kind"] == kind for s in steps) for kind in ("library", "extern", "host")}
        return {"kernels": len(plan.kernels), "kernel_calls": sum(isinstance(s, KernelCall) for s in plan.steps),
                "library_calls": count["library"], "extern_calls": count["extern"], "host_steps": count["host"],
                "regions": len({s["region"][0] for s in steps if native(s)}),
                "parallel_regions": len({s["region"][0] for s in steps if native(s) and s["region"][1]}),
                "barriers": sum(s["barrier"] for s in steps if native(s) and s["region"][1]),
                "host_operators": [s["name"] for s in steps if s["kind"] == "host"],
                "flops": sum(k.flops or k.kernel.flops for k in plan.steps if isinstance(k, KernelCall)), "bytes": plan.traffic(),
                "arena": plan.arena, "whynot": [list(map(str, w)) for w in plan.whynot]}


def native(s: dict) -> bool:
    return s["kind"] in ("kernel", "combine", "extern")


def extend(segments: list, i: int, j: int) -> None:
    """Native steps i to j follow what is there."""
    if segments and segments[-1][2] is None and segments[-1][1] == i:
        segments[-1][1] = j
    else:
        segments.append([i, j, None])


def trimmed(steps: list, i: int, j: int) -> Iterator[tuple[int, int, bool]]:
    """Steps i to j as regions, and whether a team may do them: small ones at either end are done before and after it is called,
    unless there are many."""
    big = [n for n in range(i, j) if steps[n]["split"]]
    lo, hi = (big[0], big[-1] + 1) if big else (j, j)
    if sum(s["ns"] for s in steps[i:lo]) >= TEAM_NS:
        lo = i
    if sum(s["ns"] for s in steps[hi:j]) >= TEAM_NS:
        hi = j
    for a, b, team in ((i, lo, False), (lo, hi, True), (hi, j, False)):
        if a < b:
            yield a, b, team


def worth_threads(steps: list, nth: int) -> bool:
    """Place barriers and owners; whether a team of `nth` is quicker then than one thread alone."""
    barriers(steps, nth)
    alone, together, loads = 0.0, REGION_NS, [0.0] * nth
    for s in steps:
        alone += s["ns"]
        if s["split"]:
            together += s["ns"] / nth
        else:
            loads[s["owner"]] += s["ns"]
        if s["barrier"]:
            together += max(loads) + BARRIER_NS
            loads = [0.0] * nth
    return together + max(loads) < alone


def meet(a: Sequence[tuple], b: Sequence[tuple]) -> bool:
    return any(x[0] == y[0] and x[1] < y[2] and y[1] < x[2] for x in a for y in b)


def clash(a: dict, b: dict) -> bool:
    """Whether the order of two steps matters."""
    return meet(a["writes"], b["reads"]) or meet(a["writes"], b["writes"]) or meet(a["reads"], b["writes"])


def barriers(steps: list, nth: int = 2) -> None:
    """Barriers between steps that depend on each other; small independent steps go to the thread that has least to do."""
    pending: list[dict] = []
    loads = [0.0] * nth
    for n, s in enumerate(steps):
        if n and steps[n - 1]["barrier"]:
            pending, loads = [], [0.0] * nth
        if s["same"]:                       # a further phase of a kernel: its own barriers are there already
            s["owner"] = steps[n - 1]["owner"]
            pending.append(s)
            continue
        against = [q for q in pending if clash(q, s)]
        if not s["split"] and against and all(not q["split"] for q in against) and len({q["owner"] for q in against}) == 1:
            s["owner"] = against[0]["owner"]
        else:
            if against:
                steps[n - 1]["barrier"] = True
                pending, loads = [], [0.0] * nth
            if not s["split"]:
                s["owner"] = min(range(nth), key=loads.__getitem__)
        if not s["split"]:
            loads[s["owner"]] += s["ns"]
        pending.append(s)
    scratch_shared(steps)


def scratch_shared(steps: list) -> None:
    """Externs' shared memory and threads' partial results are one block for all steps: a barrier keeps two users apart, unless
    each is done by one thread, in its own part."""
    last = None
    for n, s in enumerate(steps):
        if not s.get("shared") and not s.get("partial"):
            continue
        before = steps[last] if last is not None else s
        both = bool(s.get("shared")) and bool(before.get("shared")) and s["owner"] != before["owner"]
        apart = last is None or s["same"] or not (s["split"] or before["split"] or both)
        if not apart and not any(q["barrier"] for q in steps[last:n]):
            steps[n - 1]["barrier"] = True
        last = n


def renamed(extern: Extern, name: str) -> Extern:
    """An extern with the symbol "E", called after its text: the same code has the same name everywhere."""
    symbol = f"{name}_{hashlib.sha256(extern.ir.encode()).hexdigest()[:16]}"
    return replace(extern, ir=re.sub(r"@E\b|@E(?=_)", f"@{symbol}", extern.ir), symbol=symbol)


def library_record(call: LibCall | HostCall) -> dict:
    """What makes a library call again. (The node's own arguments say where numbers stand.)"""
    node = call.node
    return {"name": getattr(call, "name", node.op.name), "op": node.op.name, "operands": tuple(call.operands), "outs": tuple(call.outs),
            "attrs": dict(getattr(call, "attrs", node.attrs)), "post": tuple(getattr(call, "post", ()))}


def operations(call: LibCall) -> int:
    """Multiplications and additions of a product or convolution; 0 for others."""
    views = [v for v in call.operands if isinstance(v, View)]
    out = call.outs[0]
    if call.name in ("mm", "bmm", "gemm", "bgemm", "mv"):
        a = views[0]
        return 2 * numel(out.shape) * a.shape[-2 if call.attrs.get("ta") else -1]
    if call.name in ("addmm", "baddbmm", "linear"):
        return 2 * numel(out.shape) * views[1 if call.name != "linear" else 0].shape[-1]
    if call.name in ("convolution", "conv_nhwc"):
        transposed = call.attrs.get("transposed", False)
        w = views[1].shape
        return 2 * numel(views[0].shape if transposed else out.shape) * numel(w[1:])
    if call.name in ("convolution_input", "conv_nhwc_input"):
        return 2 * numel(views[0].shape) * numel(views[1].shape[1:])
    if call.name in ("convolution_weight", "conv_nhwc_weight"):
        return 2 * numel(views[0].shape) * numel(out.shape[1:])
    return 0


def extern_key(call: LibCall) -> str:
    """What makes two library calls the same code: everything but where the operands are."""
    def of(x):
        return View(0, x.dtype, x.shape, x.strides, 0) if isinstance(x, View) else x
    return repr((call.name, [of(a) for a in call.operands], [of(v) for v in call.outs], sorted(call.attrs.items()),
                 [(p.kind, None if p.operand is None else of(p.operand)) for p in call.post]))


def check_text(check: Any) -> str:
    return check if isinstance(check, str) else f"index out of range: an index into a dimension of size {check} is not in it"


# ---------------------------------------------------------------------------------------------------- the whole way
def compile_plan(plan: Plan, isa: Isa | None = None, constant: Iterable[int] = (),
                 marks: Mapping[int, dict[int, str]] = {}) -> tuple[Program, list[bytes], dict[str, float], dict]:
    """(the program, its objects, seconds per stage, its primitives). The objects come from the disk where they can. `marks`: the
    numbers of each step that are arguments (varying.py)."""
    isa = isa or host_isa()
    began = time.perf_counter()
    threads.tell_library(threads.count())            # primitives are made for this many
    compiler = Compiler(plan, isa, constant, marks)
    program = compiler.compile()
    modules = list(compiler.modules())
    middle = time.perf_counter()
    objects, hits = [], 0
    for text, make in modules:
        data, hit = jit.compiled("object", (text, isa.key), make)
        objects.append(data)
        hits += hit
    seconds = {"emit": middle - began, "llvm": time.perf_counter() - middle}
    program.report |= {"objects": len(objects), "object_bytes": sum(map(len, objects)), "cached_objects": hits, "isa": isa.name}
    if listening():
        for text, _ in modules:
            emit(Stage("llvm", "machine code for the kernels", text, seconds["llvm"] / len(modules)))
    return program, objects, seconds, compiler.primitives


def symbols() -> dict[str, int]:
    """What object code may call besides the C library."""
    return {**llvm.symbols(), "pl_barrier": loaded.the_engine().code["pl_barrier"]}


def load(program: Program, objects: list[bytes], consts: Sequence[np.ndarray], seconds: dict[str, float],
         primitives: dict[int, onednn.Primitive] = {}, workspace: execute.Workspace | None = None) -> execute.Executable:
    """The executable of a program, compiled now or by another process."""
    began = time.perf_counter()
    code = jit.load(objects, program.symbols, symbols()) if objects else jit.load((), ())
    report = dict(program.report)
    exe = execute.Executable(program, code, consts, report, primitives, workspace)
    seconds = {**seconds, "link": time.perf_counter() - began}
    report["seconds"] = seconds
    report["notes"] = threads.notes()
    report["threads"] = threads.count()
    report["library"] = repr(onednn.library()) if onednn.library() is not None else None
    return exe


def build(plan: Plan, options: Any = None) -> execute.Executable:
    """Compile a plan for this machine."""
    program, objects, seconds, primitives = compile_plan(plan, getattr(options, "isa", None))
    return load(program, objects, list(plan.graph.consts.values()), {**plan.seconds, **seconds}, primitives)
