"""Elementwise kernels over any number of elements: one kernel per operator, whatever the shapes.

In: the graph of one elementwise operator over vectors. Out: `Flat`. `flat.call(*operands)` makes the result's array, or returns
None where the operands are not what it was made for: then somebody else computes. `flat.large` is for many elements.

Operands are arrays of the kernel's dtypes, all of one shape and one order of dimensions without gaps (the result has the same),
or numbers, which the kernel reads once. One more operand than the graph has is the array that receives the result.

True always: a call writes nothing but the result, which is a new array or the given one; `call` keeps Python's lock, so it leaves
alone what takes longer than `HELD_NS`; from `ALONE_NS` on all threads share the work.
"""
from __future__ import annotations

import ctypes
import json
import struct
from enum import IntEnum
from functools import cache

import numpy as np

from ..core import dtype as dt
from ..core import pool
from ..graph.ir import Graph
from ..kernel.plan import KernelCall
from . import build, builtin, jit, llvm, program, threads
from .cache import disk, key
from .emit import Fn, Module, Val
from .engine import A_DATA, A_DESCR, A_DIMS, A_FLAGS, A_NDIM, A_STRIDES, A_TYPE
from .execute import ALIGNED, CONTIGUOUS, ALONE_NS, HELD_NS, WRITEABLE, place, readable_layout
from .isa import SSE2, host_isa, isa_of
from .loaded import the_engine

LENGTH = 4096                   # of the vectors in the graph: any number serves
GRAIN = 64
FULL, FLOAT, DOUBLE, SINGLE = range(4)      # operands: an array; a Python float, as float32 or float64; an array of one number


class Word(IntEnum):
    """Words of a kernel's record."""

    FUNCTION = 0
    INPUTS = 1
    LEAD = 2                    # the operand that gives the shape
    LIMIT = 3                   # elements that one thread does
    ARRAY = 4                   # the types ndarray and float, None
    NUMBER = 5
    NONE = 6
    PLACE = 7                   # of the result among the kernel's buffers
    DESCR = 8                   # the result's dtype
    SAME = 9                    # 1: that is the lead's
    ITEM = 10                   # bytes of the lead's elements, the result's, the widest operand's
    OUT_ITEM = 11
    WIDEST = 12
    HELD = 13                   # elements at most
    THREADS = 14                # address of the number of threads
    OPERANDS = 15               # of each: kind, place among the buffers, dtype, bytes of an element
    STEP = 4


MOST = 8                        # operands
EXPORTS = ("flat", "flat_run")


# ---------------------------------------------------------------------------------------------------- the native part
def word(f: Fn, p, n, ty: str = "i64") -> Val:
    return f.load(f.at(p, n if isinstance(n, Val) else int(n), "i64"), 0, ty)


def field(f: Fn, array, offset: int, ty: str) -> Val:
    return f.load(f.at(array, offset, "i8"), 0, ty)


def flags_of(f: Fn, array) -> Val:
    return f.cast("zext", field(f, array, A_FLAGS, "i32"), "i64")


def ndim_of(f: Fn, array) -> Val:
    return f.cast("sext", field(f, array, A_NDIM, "i32"), "i64")


def _bad(f: Fn, good) -> None:
    f.put(f"store i64 0, ptr {good}")


def _same(m: Module) -> None:
    """Both arrays have one shape, and their elements in one order: both are contiguous, or their strides are in proportion."""
    f = Fn(m, "same", "ptr a, i64 item, ptr b, i64 other, ptr good", internal=True)
    n = ndim_of(f, f.p_a)
    equal = f.compare("eq", n, ndim_of(f, f.p_b))
    with f.unless(equal):
        _bad(f, f.p_good)
    both = f.int_op("and", f.int_op("and", flags_of(f, f.p_a), flags_of(f, f.p_b)), CONTIGUOUS)
    with f.when(equal):
        dims, others = field(f, f.p_a, A_DIMS, "ptr"), field(f, f.p_b, A_DIMS, "ptr")
        with f.loop(0, n) as d:
            with f.when(f.compare("ne", word(f, dims, d), word(f, others, d))):
                _bad(f, f.p_good)
        with f.when(f.compare("eq", both, 0)):
            mine, theirs = field(f, f.p_a, A_STRIDES, "ptr"), field(f, f.p_b, A_STRIDES, "ptr")
            with f.loop(0, n) as d:
                with f.when(f.compare("gt", word(f, dims, d), 1)):
                    with f.when(f.compare("ne", word(f, mine, d) * f.p_other, word(f, theirs, d) * f.p_item)):
                        _bad(f, f.p_good)
    f.end()


def _dense(m: Module) -> None:
    """The array fills its memory without gaps, in some order of dimensions; `total` elements of `item` bytes."""
    f = Fn(m, "dense", "ptr a, i64 item, i64 total, ptr good", internal=True)
    with f.when(f.compare("eq", f.int_op("and", flags_of(f, f.p_a), CONTIGUOUS), 0)):
        n, dims, strides = ndim_of(f, f.p_a), field(f, f.p_a, A_DIMS, "ptr"), field(f, f.p_a, A_STRIDES, "ptr")
        step = f.var(f.p_item)
        with f.loop(0, n):
            with f.loop(0, n) as d:
                extent = word(f, dims, d)
                with f.when(f.compare("gt", extent, 1)):
                    with f.when(f.compare("eq", word(f, strides, d), step.get())):
                        step.set(step.get() * extent)
        with f.when(f.compare("ne", step.get(), f.p_total * f.p_item)):
            _bad(f, f.p_good)
    f.end()


def _operands(m: Module) -> None:
    """Fill the kernel's table of pointers; `numbers` has room for those that come as Python's floats. `out` may be null."""
    f = Fn(m, "operands", "ptr record, ptr args, ptr table, ptr numbers, ptr count, ptr good", internal=True)
    array = word(f, f.p_record, Word.ARRAY)
    lead = f.load(f.p_args, word(f, f.p_record, Word.LEAD), "ptr")
    first = f.compare("eq", field(f, lead, A_TYPE, "i64"), array)
    with f.unless(first):
        _bad(f, f.p_good)
    with f.when(first):
        total = f.var(f.val("1", "i64"))
        dims = field(f, lead, A_DIMS, "ptr")
        with f.loop(0, ndim_of(f, lead)) as d:
            total.set(total.get() * word(f, dims, d))
        f.put(f"store i64 {total.get()}, ptr {f.p_count}")
        with f.loop(0, word(f, f.p_record, Word.INPUTS)) as i:
            operand = f.at(f.p_record, i * int(Word.STEP) + int(Word.OPERANDS), "i64")
            x, kind, where = f.load(f.p_args, i, "ptr"), word(f, operand, 0), f.at(f.p_table, word(f, operand, 1), "i64")
            plain = f.int_op("or", f.compare("eq", kind, FLOAT), f.compare("eq", kind, DOUBLE))
            with f.when(plain):
                good = f.compare("eq", field(f, x, A_TYPE, "i64"), word(f, f.p_record, Word.NUMBER))
                with f.unless(good):
                    _bad(f, f.p_good)
                with f.when(good):
                    value = field(f, x, 16, "double")
                    slot = f.at(f.p_numbers, i, "i64")
                    with f.when(f.compare("eq", kind, FLOAT)):
                        f.put(f"store float {f.cast('fptrunc', value, 'float')}, ptr {slot}")
                    with f.when(f.compare("eq", kind, DOUBLE)):
                        f.put(f"store double {value}, ptr {slot}")
                    f.put(f"store ptr {slot}, ptr {where}")
            with f.unless(plain):
                good = f.compare("eq", field(f, x, A_TYPE, "i64"), array)
                with f.unless(good):
                    _bad(f, f.p_good)
                with f.when(good):
                    aligned = f.compare("ne", f.int_op("and", flags_of(f, x), ALIGNED), 0)
                    with f.unless(f.int_op("and", aligned, f.compare("eq", field(f, x, A_DESCR, "i64"), word(f, operand, 2)))):
                        _bad(f, f.p_good)
                    full = f.compare("eq", kind, FULL)
                    with f.when(full):
                        with f.when(f.op("i1", f"icmp ne ptr {x}, {lead}")):
                            f.invoke("same", x, word(f, operand, 3), lead, word(f, f.p_record, Word.ITEM), f.p_good)
                    with f.unless(full):
                        with f.when(f.compare("ne", ndim_of(f, x), 0)):
                            _bad(f, f.p_good)
                    f.put(f"store ptr {field(f, x, A_DATA, 'ptr')}, ptr {where}")
    f.end()


def _result(m: Module) -> None:
    """The array that receives the result: the given one if it fits, or null."""
    f = Fn(m, "given", "ptr record, ptr out, ptr lead, ptr good", internal=True)
    array = f.compare("eq", field(f, f.p_out, A_TYPE, "i64"), word(f, f.p_record, Word.ARRAY))
    with f.unless(array):
        _bad(f, f.p_good)
    with f.when(array):
        with f.when(f.compare("ne", field(f, f.p_out, A_DESCR, "i64"), word(f, f.p_record, Word.DESCR))):
            _bad(f, f.p_good)
        with f.when(f.compare("ne", f.int_op("and", flags_of(f, f.p_out), ALIGNED | WRITEABLE), ALIGNED | WRITEABLE)):
            _bad(f, f.p_good)
        f.invoke("same", f.p_out, word(f, f.p_record, Word.OUT_ITEM), f.p_lead, word(f, f.p_record, Word.ITEM), f.p_good)
    f.end()


def _clear(m: Module) -> None:
    """The given array is an operand itself, or shares no memory with any."""
    f = Fn(m, "clear", "ptr record, ptr args, ptr out, i64 bytes, ptr good", internal=True)
    to = field(f, f.p_out, A_DATA, "i64")
    with f.loop(0, word(f, f.p_record, Word.INPUTS)) as i:
        operand = f.at(f.p_record, i * int(Word.STEP) + int(Word.OPERANDS), "i64")
        with f.when(f.compare("eq", word(f, operand, 0), FULL)):
            at = field(f, f.load(f.p_args, i, "ptr"), A_DATA, "i64")
            meet = f.int_op("and", f.compare("lt", at, to + f.p_bytes), f.compare("lt", to, at + f.p_bytes))
            with f.when(f.int_op("and", meet, f.compare("ne", at, to))):
                _bad(f, f.p_good)
    f.end()


def _flat(m: Module) -> None:
    f = Fn(m, "flat_body", "ptr self, ptr args, i64 n, ptr result", internal=True)
    f.slots += ["  %table = alloca [16 x ptr]", "  %numbers = alloca [16 x i64]", "  %count = alloca i64", "  %good = alloca i64"]
    table, numbers, count, good = (f.val("%" + x, "ptr") for x in ("table", "numbers", "count", "good"))
    record = field(f, f.p_self, A_DATA, "ptr")
    none = word(f, record, Word.NONE, "ptr")
    f.put(f"store ptr {none}, ptr {f.p_result}")
    f.put(f"store i64 1, ptr {good}")
    f.put(f"store i64 0, ptr {count}")
    inputs = word(f, record, Word.INPUTS)
    more = f.p_n - inputs
    with f.when(f.int_op("or", f.compare("lt", more, 0), f.compare("gt", more, 1))):
        _bad(f, good)
    with f.when(f.compare("ne", f.load(good, 0, "i64"), 0)):
        f.invoke("operands", record, f.p_args, table, numbers, count, good)
    with f.when(f.compare("gt", f.load(count, 0, "i64"), word(f, record, Word.HELD))):
        _bad(f, good)
    with f.when(f.compare("ne", f.load(good, 0, "i64"), 0)):
        lead = f.load(f.p_args, word(f, record, Word.LEAD), "ptr")
        total = f.load(count, 0, "i64")
        f.invoke("dense", lead, word(f, record, Word.ITEM), total, good)
        out = f.var(f.val("null", "ptr"), "ptr")
        with f.when(f.compare("eq", more, 1)):
            out.set(f.load(f.p_args, inputs, "ptr"))
            f.invoke("given", record, out.get(), lead, good)
            with f.when(f.compare("ne", f.load(good, 0, "i64"), 0)):
                f.invoke("clear", record, f.p_args, out.get(), total * word(f, record, Word.WIDEST), good)
        with f.when(f.compare("ne", f.load(good, 0, "i64"), 0)):
            with f.when(f.compare("eq", more, 1)):
                f.put(f"call void @Py_IncRef(ptr {out.get()})")
            with f.when(f.compare("eq", more, 0)):
                same = f.compare("ne", word(f, record, Word.SAME), 0)
                descr = f.op("ptr", f"select i1 {same}, ptr null, ptr {word(f, record, Word.DESCR, 'ptr')}")
                with f.unless(same):
                    f.put(f"call void @Py_IncRef(ptr {descr})")
                out.set(f.op("ptr", f"call ptr @numpy_new_like(ptr {lead}, i32 2, ptr {descr}, i32 0)"))
            f.put(f"store ptr {out.get()}, ptr {f.p_result}")
            with f.when(f.op("i1", f"icmp ne ptr {out.get()}, null")):
                f.put(f"store ptr {field(f, out.get(), A_DATA, 'ptr')}, ptr {f.at(table, word(f, record, Word.PLACE), 'i64')}")
                nth = f.var(f.val("1", "i64"))
                with f.when(f.compare("gt", total, word(f, record, Word.LIMIT))):
                    nth.set(word(f, word(f, record, Word.THREADS, "ptr"), 0))
                f.put(f"call void @flat_run(ptr {word(f, record, Word.FUNCTION, 'ptr')}, ptr {table}, i64 {total}, i64 {nth.get()})")
    f.end()


def _team(m: Module) -> None:
    """A kernel over n elements by `nth` threads: the pointers are known and checked."""
    m.declare("declare void @pl_team(ptr, ptr, i64)")
    f = Fn(m, "part", "ptr work, i64 tid", internal=True)       # work: function, table of pointers, elements, threads
    function, table = word(f, f.p_work, 0, "ptr"), word(f, f.p_work, 1, "ptr")
    n, nth = word(f, f.p_work, 2), word(f, f.p_work, 3)
    blocks = f.div(n + (GRAIN - 1), GRAIN)
    lo, hi = f.div(blocks * f.p_tid, nth) * GRAIN, f.least(f.div(blocks * (f.p_tid + 1), nth) * GRAIN, n)
    f.put(f"call void {function}(ptr {table}, ptr {f.at(f.p_work, 2, 'i64')}, i64 {lo}, i64 {hi}, ptr null, ptr null)")
    f.end()
    f = Fn(m, "flat_run", "ptr function, ptr table, i64 n, i64 nth")
    f.slots.append("  %work = alloca [4 x i64]")
    work = f.val("%work", "ptr")
    for k, x in enumerate((f.p_function, f.p_table, f.p_n, f.p_nth)):
        f.put(f"store {x.ty} {x}, ptr {f.at(work, k, 'i64')}")
    many = f.compare("gt", f.p_nth, 1)
    with f.when(many):
        f.invoke("pl_team", f.val("@part", "ptr"), work, f.p_nth)
    with f.unless(many):
        f.put(f"call void {f.p_function}(ptr {f.p_table}, ptr {f.at(work, 2, 'i64')}, i64 0, i64 {f.p_n}, ptr null, ptr null)")
    f.end()


def module() -> str:
    """The code that unpacks Python's arguments, for every kernel."""
    m = Module(SSE2)
    for line in ("declare ptr @numpy_new_like(ptr, i32, ptr, i32)", "declare void @Py_IncRef(ptr)"):
        m.declare(line)
    for write in (_same, _dense, _operands, _result, _clear, _flat, _team):
        write(m)
    m.functions.append("""define ptr @flat(ptr %self, ptr %args, i64 %n) {
  %result = alloca ptr
  call void @flat_body(ptr %self, ptr %args, i64 %n, ptr %result)
  %r = load ptr, ptr %result
  %none = icmp eq ptr %r, null
  br i1 %none, label %out, label %maybe
maybe:
  %data = getelementptr i8, ptr %self, i64 DATA
  %record = load ptr, ptr %data
  %place = getelementptr i64, ptr %record, i64 NONE
  %nothing = load ptr, ptr %place
  %same = icmp eq ptr %r, %nothing
  br i1 %same, label %count, label %out
count:
  call void @Py_IncRef(ptr %r)
  br label %out
out:
  ret ptr %r
}""".replace("DATA", str(A_DATA)).replace("NONE", str(int(Word.NONE))))
    return m.text


class Entry:
    """The code, loaded once."""

    def __init__(self):
        text = module()
        data, self.cached = jit.compiled("flat-entry", (text,), lambda: llvm.compile_object(text, isa_of("baseline")))
        known = builtin.symbols()
        self.code = jit.load([data], EXPORTS, {"pl_team": the_engine().code["pl_team"],
                                               **{name: known[name] for name in ("numpy_new_like", "Py_IncRef")}})
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(self.code["flat_run"])


@threads.once
def entry() -> Entry:
    return Entry()


@cache
def usable() -> bool:
    return builtin.usable() and readable_layout()


# ---------------------------------------------------------------------------------------------------- one operator
class Flat:
    """An elementwise operator as native code. `call(*operands)` or `call(*operands, out)`; `large(operands, out)`."""

    __slots__ = ("call", "code", "record", "function", "order", "result", "lead", "kinds", "ns", "held", "scalars", "least", "_number")

    def __init__(self, code, made: dict, kinds: tuple, dtypes: tuple):
        self.code, self.kinds = code, kinds
        self.function = code[made["symbol"]]
        self.order, self.result = made["order"], dt.ALIASES[made["dtype"]].np
        self.ns = made["ns"]
        self.held = max(int(HELD_NS / self.ns), 1)
        self.lead, self.least = kinds.index(FULL), 0
        self._number = next((d for d, k in zip(dtypes, kinds) if k == SINGLE), None)
        self.scalars = dtypes
        record = self.record = np.zeros(int(Word.OPERANDS) + int(Word.STEP) * len(kinds), np.int64)
        record[Word.FUNCTION], record[Word.INPUTS], record[Word.LEAD] = self.function, len(kinds), self.lead
        threads.count()
        record[Word.LIMIT], record[Word.HELD], record[Word.THREADS] = int(ALONE_NS / self.ns), self.held, threads.count_address()
        record[Word.ARRAY], record[Word.NUMBER], record[Word.NONE] = id(np.ndarray), id(float), id(None)
        record[Word.PLACE], record[Word.DESCR] = self.order[-1], id(self.result)
        record[Word.SAME] = self.result is dtypes[self.lead]
        record[Word.ITEM], record[Word.OUT_ITEM] = dtypes[self.lead].itemsize, self.result.itemsize
        record[Word.WIDEST] = max(self.result.itemsize, *[d.itemsize for d in dtypes])
        for i, (kind, d) in enumerate(zip(kinds, dtypes)):
            at = int(Word.OPERANDS) + int(Word.STEP) * i
            record[at:at + 4] = kind, self.order[i], id(d), d.itemsize
        self.call = builtin.function("flat", entry().code["flat"], record, (code, entry()))

    def number(self, x):
        """A number as `call` takes it."""
        return float(x) if self._number is None else np.asarray(x, self._number)

    def large(self, operands: list, out: np.ndarray | None = None) -> np.ndarray | None:
        """The result for many elements, by all threads, without Python's lock. Operands in one order of dimensions without
        gaps; None where they are not."""
        lead = operands[self.lead]
        shape = lead.shape
        kept, pointers = [], [0] * (len(operands) + 1)
        order = None
        if not lead.flags.c_contiguous:
            order = dense_order(lead)
            if order is None:
                return None
        for i, (a, kind, d) in enumerate(zip(operands, self.kinds, self.scalars)):
            if kind == FULL:
                if type(a) is not np.ndarray or a.dtype is not d or a.shape != shape or not a.flags.aligned or not alike(a, order):
                    return None
            else:
                if type(a) is np.ndarray and a.ndim:
                    return None
                a = np.asarray(a, d)
                kept.append(a)
            pointers[self.order[i]] = place(a)
        if out is None:
            out = pool.empty(shape if order is None else tuple([shape[d] for d in order]), self.result)
            if order is not None:
                out = out.transpose(np.argsort(order))
        elif out.dtype is not self.result or out.shape != shape or not out.flags.aligned or not out.flags.writeable or not alike(out, order) \
                or apart(out, [a for a, k in zip(operands, self.kinds) if k == FULL]):
            return None
        pointers[self.order[-1]] = place(out)
        n = out.size
        nth = threads.count()
        table = (ctypes.c_int64 * len(pointers))(*pointers)
        run = entry().run
        if nth == 1:
            run(self.function, table, n, nth)
        else:
            with threads.region():
                run(self.function, table, n, nth)
        return out


def dense_order(a: np.ndarray) -> tuple[int, ...] | None:
    """The order of dimensions in which an array is row-major, or None."""
    order = tuple(sorted(range(a.ndim), key=lambda d: (-a.strides[d], d)))
    return order if a.transpose(order).flags.c_contiguous else None


def alike(a: np.ndarray, order: tuple[int, ...] | None) -> bool:
    return a.flags.c_contiguous if order is None else a.transpose(order).flags.c_contiguous


def apart(out: np.ndarray, arrays: list) -> bool:
    """Whether `out` overlaps an operand that does not begin where it begins."""
    lo = place(out)
    hi = lo + out.nbytes
    return any(place(a) < hi and lo < place(a) + a.nbytes and place(a) != lo for a in arrays)


def make(graph: Graph, kinds: tuple) -> Flat | None:
    """The code of a graph of one elementwise operator, whose inputs are vectors of `LENGTH` or 0-d. `kinds` says how each comes."""
    if not usable() or len(kinds) > MOST or FULL not in kinds:
        return None
    isa = host_isa()
    dtypes = tuple([v.dtype.np for v in graph.inputs])
    try:
        name = key("flat", build.signature(graph), isa.key)
    except build.Private:
        name = ""
    data = disk().get(name) if name else None
    if data is not None:
        try:
            size, = struct.unpack_from("<Q", data)
            made = json.loads(data[8:8 + size])
            return Flat(jit.load([data[8 + size:]], [made["symbol"]], program.symbols()), made, kinds, dtypes)
        except (RuntimeError, ValueError, KeyError):
            disk().remove(name)
    made = lowered(graph, isa)
    if made is None:
        return None
    made, data = made
    if name:
        head = json.dumps(made).encode()
        disk().put(name, struct.pack("<Q", len(head)) + head + data)
    return Flat(jit.load([data], [made["symbol"]], program.symbols()), made, kinds, dtypes)


def lowered(graph: Graph, isa) -> tuple[dict, bytes] | None:
    """(what is known of the kernel, its object), if the graph is one loop over its operands."""
    plan = build.make_plan(graph)
    if len(plan.steps) != 1 or not isinstance(plan.steps[0], KernelCall) or plan.checks or len(plan.outputs) != 1:
        return None
    call = plan.steps[0]
    kernel = call.kernel
    if kernel.sizes != ("n",) or call.sizes != (LENGTH,) or any(call.offsets) or any(b.role == "local" for b in kernel.bufs):
        return None
    places = {}
    for k, b in enumerate(call.buffers):
        buffer = plan.buffers[b]
        if buffer.role not in ("input", "output"):
            return None
        places[buffer.role, buffer.index] = k
    spare = len(kernel.bufs)            # an operand that the kernel does not read
    order = [places.get(("input", i), spare) for i in range(len(graph.inputs))] + [places.get(("output", 0), -1)]
    emitted = llvm.emit(kernel, isa, kernel.name)
    if order[-1] < 0 or len(emitted.phases) != 1 or emitted.phases[0].kind != "run" or emitted.scratch_bytes({"n": LENGTH}):
        return None
    text = llvm.module([emitted], isa)
    data, _ = jit.compiled("object", (text, isa.key), lambda: llvm.compile_object(text, isa))
    cost = max((call.nbytes or kernel.nbytes) * program.BYTE_NS, (call.flops or kernel.flops) * program.FLOP_NS) / LENGTH
    return {"symbol": emitted.phases[0].symbol, "order": order, "dtype": plan.graph.outputs[0].dtype.name, "ns": max(cost, 1e-3)}, data
