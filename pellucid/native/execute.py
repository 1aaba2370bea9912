"""Running a compiled plan: memory, threads, and one native call.

In: a `Program` (program.py made it, or the disk had it). Out: `Executable`, called with arrays.

An `Instance` is a program bound to a number of threads: its arena, its library primitives, and the records that the engine
reads. True always: the inputs are checked against the program (shape, dtype, strides) before native code sees them, an array
that differs only in layout is copied, and written inputs that share memory with another are run on copies; one call at a time
per executable; outputs are new arrays unless the graph returns an input or a view of one.
"""
from __future__ import annotations

import ctypes
import mmap
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import SimpleNamespace

import numpy as np

from ..core import dtype as dt
from ..core import pool
from ..core.config import config
from ..core.spec import contiguous_strides, numel
from ..core.storage import ARRAYS
from ..graph import interp
from ..graph.ir import Graph
from ..kernel.plan import HostCall, LibCall, Plan, View, apply_post, strided
from ..ops.canonical import evaluate
from ..ops.dispatch import Observer, state
from ..ops.op import REGISTRY
from . import ahead, engine, jit, onednn, onednn_ops, threads
from .engine import Exec, Header, Patch, Slot, Step
from .loaded import the_engine

ALIGNED, WRITEABLE, CONTIGUOUS = 0x100, 0x400, 0x1
MAPPED = 2 << 20
QUICK_NS = 20_000           # a program this short keeps Python's lock: no thread would gain from having it meanwhile
ALONE_NS = 20_000           # an eager operator this short is one thread's, if one call of native code does it
HELD_NS = 200_000           # one this short keeps Python's lock


# ---------------------------------------------------------------------------------------------------- memory
def aligned(nbytes: int) -> np.ndarray:
    """Zeroed memory at a 64-byte boundary; much of it comes straight from the system, and goes back there."""
    if nbytes < MAPPED or not hasattr(mmap, "MAP_ANONYMOUS"):
        raw = np.zeros(nbytes + 64, np.uint8)
        start = -raw.__array_interface__["data"][0] % 64
        return raw[start:start + nbytes]
    try:
        block = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {nbytes:,} bytes ({error})") from None
    return np.frombuffer(block, np.uint8)


def place(a: np.ndarray) -> int:
    """The address of an array's first element."""
    return a.__array_interface__["data"][0]


@cache
def readable_layout() -> bool:
    """Whether lists and arrays are laid out as engine.py reads them: looked up on real ones."""
    if sys.implementation.name != "cpython" or sys.maxsize < 2 ** 32 or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    a = np.empty((3, 5, 7), np.float32)[:, 1:4]
    b = np.empty(4, np.int64)
    listed = [a, b]

    def word(where, kind=ctypes.c_int64):
        return kind.from_address(where).value

    items = word(id(listed) + engine.L_ITEMS)
    if (word(items), word(items + 8)) != (id(a), id(b)):
        return False
    for x in (a, b):
        o, n = id(x), x.ndim
        dims, strides = word(o + engine.A_DIMS), word(o + engine.A_STRIDES)
        flags = word(o + engine.A_FLAGS, ctypes.c_int32)
        if (word(o + engine.A_TYPE) != id(np.ndarray) or word(o + engine.A_DATA) != place(x)
                or word(o + engine.A_NDIM, ctypes.c_int32) != n or word(o + engine.A_DESCR) != id(x.dtype)
                or [word(dims + 8 * i) for i in range(n)] != list(x.shape)
                or [word(strides + 8 * i) for i in range(n)] != list(x.strides)
                or bool(flags & CONTIGUOUS) != x.flags.c_contiguous or not flags & ALIGNED or not flags & WRITEABLE):
            return False
    return True


# ---------------------------------------------------------------------------------------------------- an instance
class Workspace:
    """Memory for what does not outlive a call, shared by programs that run one at a time (under `guard`): the versions of a function.
    A block grows to twice its size; programs that were bound to the smaller one keep it."""

    def __init__(self):
        self.guard = threads.Guard()
        self.blocks: dict[str, np.ndarray] = {}

    def take(self, use: str, nbytes: int) -> np.ndarray:
        """Memory for one of a program's uses."""
        block = self.blocks.get(use)
        if block is None or block.nbytes < nbytes:
            block = self.blocks[use] = aligned(nbytes if block is None else max(nbytes, 2 * block.nbytes))
            ahead.touch([block[:nbytes]])
        return block[:nbytes]


class Instance:
    """A program bound to a number of threads."""

    def __init__(self, program, code: jit.Code, consts: Sequence[np.ndarray], nth: int, primitives: dict = {},
                 workspace: Workspace | None = None):
        self.program, self.threads, self.ready = program, nth, primitives
        self.workspace = workspace or Workspace()
        self.kept: list = [code]
        try:
            self.arena = self.workspace.take("arena", program.arena)
        except MemoryError:
            raise MemoryError(f"{program.name} needs {program.arena:,} bytes for intermediate results, which this machine does not "
                              "have free; use smaller batches") from None
        self.flag = np.zeros(0, np.int64)
        self.memory: list[np.ndarray | None] = []       # flat bytes of every buffer that stays; None for inputs and outputs
        for role, nbytes, index in program.buffers:
            if role == "arena":
                self.memory.append(self.arena[index:index + nbytes])
            elif role == "const":
                self.memory.append(_bytes(consts[index]))
            elif role == "flag":
                self.flag = aligned(nbytes)
                self.memory.append(self.flag)
            else:
                self.memory.append(None)
        self.patches: dict[int, list[tuple[int, int, int]]] = {}
        self._bind(code)

    def _keep(self, a):
        self.kept.append(a)
        return place(a)

    def _words(self, values) -> int:
        """The address of 64-bit words holding `values`."""
        return self._keep(np.array(values, np.int64)) if len(values) else 0

    def _table(self, places: Sequence[tuple[int, int]]) -> int:
        """The address of a table of pointers to (buffer, byte offset)."""
        table = np.zeros(max(len(places), 1), np.int64)
        base = self._keep(table)
        for i, (buffer, offset) in enumerate(places):
            self._point(buffer, 0, base + 8 * i, offset)
        return base

    def _point(self, buffer: int, kind: int, target: int, offset: int) -> None:
        """Let a word or a library's memory object point to a buffer: now, or whenever its address is known."""
        memory = self.memory[buffer]
        if memory is None:
            self.patches.setdefault(buffer, []).append((kind, target, offset))
        elif kind == 0:
            ctypes.c_int64.from_address(target).value = place(memory) + offset
        else:
            onednn.call("dnnl_memory_set_data_handle", onednn.P(target), onednn.P(place(memory) + offset))

    def _bind(self, code: jit.Code) -> None:
        program, nth, team = self.program, self.threads, threads.pool()
        steps = program.steps
        native = [s for s in steps if s["kind"] in ("kernel", "combine", "extern")]
        scratch = max((s["scratch"] for s in native), default=0)
        shared = max((s.get("shared", 0) for s in native), default=0)
        partial = max((s["partial"] for s in native if s["kind"] != "extern"), default=0)
        scratch, partial = (n + 63 & ~63 for n in (scratch, partial))
        scratch_base, shared_base, partial_base = (self._keep(self.workspace.take(use, n)) if n else 0 for use, n in (
            ("scratch", scratch * nth), ("shared", shared), ("partial", partial * nth)))
        library = onednn.library() if any(s["kind"] == "library" for s in steps) else None
        if library is not None:
            threads.tell_library(nth)
        with onednn.sharing():
            primitives = [self._primitive(i, s) if s["kind"] == "library" else None for i, s in enumerate(steps)]
        self.making = onednn.Making([p for p in primitives if p is not None])
        self.unfilled: list[tuple[np.ndarray, onednn.Primitive]] = []           # records that lack their primitives
        inner = max((p.scratch for p in primitives if p is not None), default=0)
        inner_base = self._keep(self.workspace.take("inner", inner)) if inner else 0
        self.stream = onednn.stream() if library is not None else None
        table = np.zeros((len(steps) + 1, Step.SIZE), np.int64)
        for row, s, p in zip(table, steps, primitives):
            row[Step.REGION], row[Step.REGION_PARALLEL] = s["region"]
            if s["kind"] == "host":
                continue
            if p is not None:
                self._bind_primitive(row, s, p, inner_base)
                continue
            row[Step.KIND] = {"kernel": engine.KERNEL, "combine": engine.COMBINE, "extern": engine.EXTERN}[s["kind"]]
            row[Step.FUNCTION] = code[s["symbol"]]
            row[Step.BUFS] = self._table(s["buffers"])
            row[Step.SPLIT], row[Step.OWNER], row[Step.BARRIER] = s["split"], s["owner"] % nth, s["barrier"]
            row[Step.SCRATCH], row[Step.SCRATCH_STRIDE] = (scratch_base, scratch) if s["scratch"] else (0, 0)
            row[Step.SIZES] = self._words(s["sizes"])
            if s["kind"] == "extern":
                row[Step.SHARED] = shared_base if s["shared"] else 0
                row[Step.EXTENT], row[Step.ALIGN] = 1, 1
                continue
            row[Step.EXTENT], row[Step.ALIGN] = s["extent"], max(s["grain"], 1)
            row[Step.PARTIAL], row[Step.PARTIAL_STRIDE] = (partial_base, partial) if s["partial"] else (0, 0)
            row[Step.PARTS] = nth if s["parts"] else 1
        header = np.zeros(Header.SIZE, np.int64)
        self.header, self.address = header, self._keep(header)
        self.status = ctypes.c_int64.from_address(self.address + 8 * Header.STATUS)
        header[Header.THREADS] = nth
        if team is not None:
            header[Header.SET_THREADS] = team.address("omp_set_num_threads")
        if library is not None:
            header[Header.EXECUTE], header[Header.SET_HANDLE] = library.execute, library.set_handle
            header[Header.STREAM] = self.stream.value.value
        self.table = table
        header[Header.STEPS] = self._keep(table)
        header[Header.NDARRAY], header[Header.NONE] = id(np.ndarray), id(None)
        if self.flag.size:
            header[Header.FLAGS], header[Header.FLAG_WORDS] = place(self.flag), self.flag.nbytes // 8
        self._bind_slots()
        header[Header.END] = program.segments[0][1] if program.segments and program.segments[0][2] is None else 0
        self.setups: list[onednn.Primitive] = []        # layouts of constant inputs, made when those are known
        self.fixed: list[onednn.Primitive] = []         # of constants
        for s, p in zip(steps, primitives):
            if p is not None and p.setup:
                known = not any(program.buffers[s["buffers"][i][0]][0] == "input" for i in s["constant"])
                (self.fixed if known else self.setups).append(p)
        if self.making.helper is None:
            self._finish()
        else:
            header[Header.STALE] = 1

    def _finish(self) -> None:
        """The primitives are needed now."""
        self.making.finish()
        for records, p in self.unfilled:
            records[:, Exec.PRIMITIVE] = [primitive.value.value for primitive, _, _ in p.execs]
        for p in self.fixed:
            p.run(p.setup, self.stream)
        self.making, self.unfilled = None, []

    def prepare(self) -> None:
        """Lay out the constant inputs anew. The pointers are known."""
        if self.making is not None:
            self._finish()
        for p in self.setups:
            p.run(p.setup, self.stream)
        self.header[Header.STALE] = 0

    def _primitive(self, i: int, s: dict) -> onednn.Primitive:
        made = self.ready.get(i) or onednn_ops.primitive(library_call(s), frozenset(s["constant"]), later=True)
        if made is None:
            raise RuntimeError(f"oneDNN has no primitive for {s['name']} any more: remove the cached program")
        self.kept.append(made)
        return made

    def _bind_primitive(self, row, s: dict, p: onednn.Primitive, inner: int) -> None:
        row[Step.KIND], row[Step.EXECS] = engine.LIBRARY, len(p.execs)
        records = np.zeros((len(p.execs), Exec.SIZE), np.int64)
        for record, (_, arguments, n) in zip(records, p.execs):
            record[Exec.ARGS], record[Exec.COUNT] = arguments, n
        self.unfilled.append((records, p))
        row[Step.EXEC_RECORDS] = self._keep(records)
        for memory, offset in p.inner:
            onednn.set_handle(memory, inner + offset)
        for memory, nbytes in p.kept:
            onednn.set_handle(memory, self._keep(aligned(nbytes)))
        for memory, view in p.binds:
            buffer, offset = s["buffers"][view]
            self._point(buffer, 1, memory, offset)

    def _bind_slots(self) -> None:
        """The records of inputs and outputs, and their patches."""
        header, program = self.header, self.program
        patches: list[tuple[int, int, int]] = []
        inputs = np.zeros((max(len(program.inputs), 1), Slot.SIZE), np.int64)
        of_input = {index: b for b, (role, _, index) in enumerate(program.buffers) if role == "input"}
        of_output = {index: b for b, (role, _, index) in enumerate(program.buffers) if role == "output"}
        for i, (row, spec) in enumerate(zip(inputs, program.inputs)):
            wanted = self.patches.get(of_input.get(i, -1), [])
            row[Slot.FIRST], row[Slot.PATCHES] = len(patches), len(wanted)
            patches += wanted
            dtype = dt.ALIASES[spec["dtype"]].np
            self.kept.append(dtype)
            row[Slot.DESCR], row[Slot.NDIM] = id(dtype), len(spec["shape"])
            row[Slot.DIMS] = self._words(spec["shape"])
            row[Slot.FLAGS] = ALIGNED | (WRITEABLE if spec["written"] else 0)
            if spec["strides"] is None:
                row[Slot.FLAGS] |= CONTIGUOUS
            else:
                row[Slot.STRIDES] = self._words([s * dtype.itemsize for s in spec["strides"]])
            row[Slot.BYTES], row[Slot.WRITTEN], row[Slot.CONSTANT] = spec["nbytes"], spec["written"], i in program.constant
        outputs = np.zeros((max(len(program.news), 1), Slot.SIZE), np.int64)
        for i, (row, spec) in enumerate(zip(outputs, program.news)):
            row[Slot.DESCR], row[Slot.NDIM], row[Slot.DIMS] = id(dt.ALIASES[spec["dtype"]].np), len(spec["shape"]), self._words(spec["shape"])
            wanted = self.patches.get(of_output.get(i, -1), [])
            row[Slot.FIRST], row[Slot.PATCHES] = len(patches), len(wanted)
            patches += wanted
        written = [i for i, spec in enumerate(program.inputs) if spec["written"]]
        header[Header.INPUTS], header[Header.INPUT_RECORDS] = len(program.inputs), self._keep(inputs)
        header[Header.OUTPUTS], header[Header.OUTPUT_RECORDS] = len(program.news), self._keep(outputs)
        header[Header.WRITTEN], header[Header.WRITTEN_LIST] = len(written), self._words(written)
        flat = np.array(patches, np.int64).reshape(-1, Patch.SIZE)
        header[Header.PATCHES] = self._keep(flat) if len(flat) else 0


def _bytes(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8) if a.size else np.zeros(0, np.uint8)


def library_call(s: dict) -> LibCall:
    """The LibCall that a library or host step stands for."""
    return LibCall(s["name"], s["operands"], s["outs"], s["attrs"], SimpleNamespace(op=REGISTRY[s["op"]], attrs=s["attrs"]), s["post"])


# ---------------------------------------------------------------------------------------------------- calling it
class BeingTraced(RuntimeError):
    """An input has no values at the moment: another thread is tracing a function that uses its tensor."""


class Executable:
    """A compiled plan: `exe(arrays)` gives the outputs. `report` says what it consists of and what making it took. `workspace`: memory
    to share with other programs, unless that could keep one waiting for itself (what runs under Python's lock, or runs Python)."""

    def __init__(self, program, code: jit.Code, consts: Sequence[np.ndarray], report: dict, primitives: dict = {},
                 workspace: Workspace | None = None):
        self.program, self.report = program, report
        self.code, self.consts = code, consts
        self.make_plan: Callable[[], Plan] | None = None
        self.graph: Graph | None = None             # what it does, to tell errors as eager does
        self._plan: Plan | None = None
        self.engine = the_engine()
        self._direct = readable_layout()
        self._instances: dict[int, Instance] = {}
        self._count = len(program.inputs)
        self.news = [new_array(tuple(spec["shape"]), dt.ALIASES[spec["dtype"]].np) for spec in program.news]
        ahead.touch(sizes=[numel(shape) * dtype.itemsize for _, shape, dtype in self.news])
        self._plain = program.outputs == [{"new": i} for i in range(len(self.news))]
        self._one = len(program.segments) == 1 and program.segments[0][2] is None
        quick = self._one and self._direct and sum(s.get("ns", 0) for s in program.steps) < QUICK_NS
        self._quick = quick and not program.checks and not any(s["kind"] == "library" or s.get("split") or s["region"][1] for s in program.steps)
        self._spare: Instance | None = None
        apart = workspace is None or self._quick or any(s["kind"] == "host" for s in program.steps)
        self._workspace = Workspace() if apart else workspace
        self._guard = self._workspace.guard
        self.instance = self._bound(primitives)

    def _bound(self, primitives: dict = {}) -> Instance:
        """The instance for the threads there are now. (`primitives` made for them already can serve one instance only.)"""
        n = threads.count()
        found = self._instances.get(n)
        if found is None:
            self._instances.clear()             # an arena for each number of threads would only lie there
            found = self._instances[n] = Instance(self.program, self.code, self.consts, n, primitives, self._workspace)
        self.instance = found
        self._wanted = config.threads
        self._forks = threads.forks()
        return found

    def refresh(self) -> None:
        """Say that the contents of inputs compiled as constant have changed."""
        for instance in self._instances.values():
            instance.header[Header.STALE] = 1

    @property
    def plan(self) -> Plan | None:
        """The plan, to read: made again where the program came from a cache."""
        if self._plan is None and self.make_plan is not None:
            self._plan = self.make_plan()
        return self._plan

    def __call__(self, arrays: list[np.ndarray], kept: tuple[list, Sequence[int]] | None = None) -> list[np.ndarray]:
        """The outputs for `arrays`. `kept`: for each output an array of this program's making to use again, and the places where there is
        none."""
        if type(arrays) is not list:
            arrays = list(arrays)
        if len(arrays) != self._count:
            raise TypeError(f"{self.program.name} takes {self._count} arrays, got {len(arrays)}")
        if kept is None or not self._plain:
            news = [make(shape, dtype) for make, shape, dtype in self.news]
        else:
            news = kept[0].copy()
            for k in kept[1]:
                make, shape, dtype = self.news[k]
                news[k] = make(shape, dtype)
        observer = state.observer
        if observer is not None and observer.wants_steps():
            with self._guard.lock:
                self._stepwise(observer, arrays, news)
        elif self._quick:                       # Python's lock is held, so nobody else comes between
            instance = self.instance
            status = self.engine.call_held(instance.address, id(arrays), id(news))
            if status:                          # on an instance of its own: another thread may use this one meanwhile
                with self._guard.lock:
                    self._indirectly(self._own(), arrays, news, status)
        else:
            with self._guard.lock:
                self._slowly(arrays, news)
        return news if self._plain else [self._output(self.instance, o, arrays, news) for o in self.program.outputs]

    def _slowly(self, arrays: list, news: list) -> None:
        """Run with other Python threads running too."""
        instance = self.instance
        if config.threads != self._wanted or threads.forks() != self._forks:
            instance = self._bound()
        if not self._one or not self._direct:
            self._indirectly(instance, arrays, news, 0)
        else:
            if instance.threads == 1:
                status = self.engine.call(instance.address, id(arrays), id(news))
            else:
                with threads.region():
                    status = self.engine.call(instance.address, id(arrays), id(news))
            if status == engine.FAILED_INDEX:
                self._check(instance, arrays)
            if status:
                self._indirectly(instance, arrays, news, status)
        if instance.flag.size:
            self._check(instance, arrays)

    def _own(self) -> Instance:
        """For what keeps Python's lock no longer: threads that keep it use the other one meanwhile."""
        if self._spare is None:
            self._spare = Instance(self.program, self.code, self.consts, 1)
        return self._spare

    def _stepwise(self, observer: Observer, arrays: list, news: list) -> None:
        """Run step by step, an observer being told of each."""
        if self._quick:
            instance = self._own()
        elif config.threads != self._wanted or threads.forks() != self._forks:
            instance = self._bound()
        else:
            instance = self.instance
        regions = instance.table[:, Step.REGION].copy()
        instance.table[:, Step.REGION] = np.arange(1, len(regions) + 1)         # each step is a region of its own
        try:
            self._indirectly(instance, arrays, news, 0, observer)
        finally:
            instance.table[:, Step.REGION] = regions
        if instance.flag.size:
            self._check(instance, arrays)

    # ------------------------------------------------------------------------------------------------ the long way
    def _indirectly(self, instance: Instance, arrays: list, news: list, status: int, observer: Observer | None = None) -> None:
        """Run with a table of pointers: for arrays that need a copy, programs with host steps, other Pythons, observers of steps."""
        if status >= engine.FAILED_STEP:
            self._fail(status)
        program = self.program
        used = [fitted(a, spec, i, program.name) for i, (a, spec) in enumerate(zip(arrays, program.inputs))]
        written = [i for i, spec in enumerate(program.inputs) if spec["written"]]
        if written and overlapping(used, written, program.inputs):
            for i in written:
                used[i] = copied(used[i], program.inputs[i])
        pointers = np.array([place(a) for a in (*used, *news)], np.int64)
        self.engine.load(instance.address, place(pointers) if len(pointers) else 0)
        if instance.header[Header.STALE]:
            instance.prepare()
        memory = [] if self._one else whole_memory(instance, program, used, news)
        for begin, end, host in program.segments:
            if host is not None:
                try:
                    call = library_call(program.steps[host])
                    if observer is None:
                        run_host(call, memory)
                    else:
                        observer.step(self, host, partial(run_host, call, memory))
                except (IndexError, RuntimeError, ValueError) as error:
                    found = interp.refusal(self.graph, used) if self.graph is not None else None
                    raise interp.refused(found or error, program.steps[host]["early"]) from None
            elif observer is None:
                self._native(instance, begin, end)
            else:
                for i in range(begin, end):
                    observer.step(self, i, partial(self._native, instance, i, i + 1))
            if instance.flag.size:
                self._check(instance, used)
            if instance.status.value:
                self._fail(instance.status.value)
        for i in written:
            if used[i] is not arrays[i]:
                arrays[i][...] = used[i]

    def _native(self, instance: Instance, begin: int, end: int) -> None:
        if instance.threads == 1:
            self.engine.run(instance.address, begin, end)
        else:
            with threads.region():
                self.engine.run(instance.address, begin, end)

    def _fail(self, status: int) -> None:
        step, code = divmod(status, 64)
        step -= engine.FAILED_STEP
        name = self.program.steps[step]["name"] if 0 <= step < len(self.program.steps) else "setting a pointer"
        onednn.check(code or 5, f"{name} (step {step} of {self.program.name})")

    def _check(self, instance: Instance, arrays: list) -> None:
        """Raise what an index out of range has noted: as the operators' references say it."""
        flag = instance.flag
        if flag.any():
            element = self.program.flag_bytes
            bad = int(flag.reshape(-1, element).any(1).argmax())
            flag[...] = 0
            texts = self.program.checks
            error = interp.refusal(self.graph, arrays) if self.graph is not None else None
            early = self.program.early[bad] if bad < len(self.program.early) else ()
            raise interp.refused(error or IndexError(texts[bad] if bad < len(texts) else "index out of range in self"), early)

    def _output(self, instance: Instance, o: dict, arrays: list, news: list) -> np.ndarray:
        if "new" in o:
            a = news[o["new"]]
            return a if "shape" not in o else strided(a.reshape(-1), o_view(o))
        role, nbytes, index = self.program.buffers[o["buffer"]]
        if role == "input":
            return strided(_flat(arrays[index], nbytes).view(dt.ALIASES[o["dtype"]].np), o_view(o))
        return strided(instance.memory[o["buffer"]].view(dt.ALIASES[o["dtype"]].np), o_view(o)).copy()


def new_array(shape: tuple[int, ...], dtype: np.dtype) -> tuple:
    """What makes an output of this kind: (function, shape, dtype)."""
    return (pool.empty if numel(shape) * dtype.itemsize >= pool.LEAST else np.empty), shape, dtype


def o_view(o: dict) -> View:
    return View(0, dt.ALIASES[o["dtype"]], tuple(o["shape"]), tuple(o["strides"]), o["offset"])


def _flat(a: np.ndarray, nbytes: int) -> np.ndarray:
    """An array's memory from its first element on, as bytes."""
    if a.flags.c_contiguous:
        return a.reshape(-1).view(np.uint8)
    return np.lib.stride_tricks.as_strided(a.view(np.uint8) if a.ndim == 0 else a, (nbytes // a.itemsize,), (a.itemsize,)).view(np.uint8)


def whole_memory(instance: Instance, program, inputs: list, news: list) -> list[np.ndarray]:
    """The bytes of every buffer during one call."""
    return [m if m is not None else _flat((inputs if role == "input" else news)[index], nbytes)
            for m, (role, nbytes, index) in zip(instance.memory, program.buffers)]


def run_host(step: LibCall | HostCall, memory: list[np.ndarray]) -> None:
    """A step by the operator's reference; `memory` holds the bytes of every buffer."""
    def array(v: View) -> np.ndarray:
        return strided(memory[v.buffer].view(v.dtype.np), v)

    class Typed:
        """What `apply_post` looks buffers up in."""

        def __getitem__(self, buffer):
            return memory[buffer].view(operand.dtype.np)

    args = tuple([array(a) if isinstance(a, View) else a for a in step.operands])
    for out, a in zip(step.outs, evaluate(step.node.op, args, step.node.attrs)):
        for p in getattr(step, "post", ()):
            operand = p.operand
            a = apply_post(a, p, Typed())
        array(out)[...] = a


# ---------------------------------------------------------------------------------------------------- inputs that do not fit
def spec_strides(spec: dict) -> tuple[int, ...]:
    return contiguous_strides(spec["shape"]) if spec["strides"] is None else tuple(spec["strides"])


def fitted(a, spec: dict, i: int, name: str) -> np.ndarray:
    """The array itself if its layout is the expected one, or a copy in that layout. Raises for another shape or dtype."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{name}: input {i} is {type(a).__name__}, not an array")
    if type(a) is not np.ndarray and type(a) in ARRAYS:
        raise BeingTraced(f"{name}: input {i} is being traced by another thread")
    dtype, shape = dt.ALIASES[spec["dtype"]].np, tuple(spec["shape"])
    if a.dtype != dtype or a.shape != shape:
        raise ValueError(f"{name} was compiled for input {i} as {spec['dtype']}{list(shape)}, got {a.dtype.name}{list(a.shape)}")
    if spec["written"] and not a.flags.writeable:
        raise ValueError(f"{name} writes to input {i}, which is read-only")
    strides = tuple([s * dtype.itemsize for s in spec_strides(spec)])
    fits = all(n <= 1 or s == t for n, s, t in zip(shape, a.strides, strides)) or a.size == 0
    return a if fits and a.flags.aligned else copied(a, spec)


def copied(a: np.ndarray, spec: dict) -> np.ndarray:
    """A copy with the strides a program expects."""
    dtype = dt.ALIASES[spec["dtype"]].np
    flat = np.empty(max(spec["nbytes"] // dtype.itemsize, 1), dtype)
    r = np.lib.stride_tricks.as_strided(flat, a.shape, [s * dtype.itemsize for s in spec_strides(spec)])
    r[...] = a
    return r


def overlapping(arrays: list[np.ndarray], written: list[int], specs: list[dict]) -> bool:
    """Whether a written array shares memory with another one."""
    spans = sorted((place(a), place(a) + spec["nbytes"], i) for i, (a, spec) in enumerate(zip(arrays, specs)) if spec["nbytes"])
    marked, any_end, own_end = set(written), -1, -1     # how far any array, and any written one, has come
    for lo, hi, i in spans:
        if lo < own_end or (i in marked and lo < any_end):
            return True
        any_end = max(any_end, hi)
        if i in marked:
            own_end = max(own_end, hi)
    return False
