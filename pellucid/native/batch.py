"""An elementwise program done to many groups of arrays in place, in one call: what an optimiser does to each of its parameters.

In: a graph over vectors of `LENGTH` and numbers that writes some of its inputs, as `optim` reads it from an update. Out: `Batch`;
`batch(operands)` does it for all groups, one after the other in one list, or returns False where it cannot: nothing is written then.

True always: a group's arrays have as many elements each and lie in memory without gaps; with several threads no written array
overlaps another array, so that it does not matter who comes first.
"""
from __future__ import annotations

import ctypes

import numpy as np

from ..graph.ir import Graph
from ..kernel.plan import KernelCall
from . import build, jit, llvm, program, threads
from .emit import Fn, Module
from .engine import A_DATA, A_DESCR, A_DIMS, A_TYPE, L_ITEMS
from .execute import ALIGNED, CONTIGUOUS, WRITEABLE, readable_layout
from .flat import GRAIN, LENGTH, field, flags_of, ndim_of, word
from .isa import SSE2, host_isa, isa_of
from .loaded import the_engine

# Words of a record: the kernel, how many operands, how many words in a group's table, the type of arrays; of each operand: whether it is
# an array, its place in the table, its dtype, the flags it needs.
FUNCTION, OPERANDS, WORDS, ARRAY, FIRST, STEP = 0, 1, 2, 3, 4, 4
# Words of a call: the record, groups, their tables, their sizes, threads, all elements, groups that do not fit.
RECORD, GROUPS, TABLES, SIZES, THREADS, TOTAL, BAD, CALL = range(8)


def _load(m: Module) -> None:
    """Fill the tables of pointers and the sizes from a list of arrays."""
    f = Fn(m, "batch_load", "ptr call, ptr list")
    record, tables, sizes = word(f, f.p_call, RECORD, "ptr"), word(f, f.p_call, TABLES, "ptr"), word(f, f.p_call, SIZES, "ptr")
    operands, words = word(f, record, OPERANDS), word(f, record, WORDS)
    items = field(f, f.p_list, L_ITEMS, "ptr")
    bad, all_elements = f.at(f.p_call, BAD, "i64"), f.at(f.p_call, TOTAL, "i64")

    def refuse():
        f.put(f"store i64 1, ptr {bad}")

    with f.loop(0, word(f, f.p_call, GROUPS)) as g:
        with f.loop(0, operands) as k:
            operand = f.at(record, k * STEP + FIRST, "i64")
            x = f.load(items, g * operands + k, "ptr")
            array = f.compare("eq", field(f, x, A_TYPE, "i64"), word(f, record, ARRAY))
            with f.unless(array):
                refuse()
            with f.when(array):
                with f.when(f.compare("ne", field(f, x, A_DESCR, "i64"), word(f, operand, 2))):
                    refuse()
                flags = flags_of(f, x)
                with f.when(f.compare("ne", f.int_op("and", flags, word(f, operand, 3)), word(f, operand, 3))):
                    refuse()
                n = f.var(f.val("1", "i64"))
                dims = field(f, x, A_DIMS, "ptr")
                with f.loop(0, ndim_of(f, x)) as d:
                    n.set(n.get() * word(f, dims, d))
                first = f.compare("eq", k, 0)
                with f.when(first):
                    f.put(f"store i64 {n.get()}, ptr {f.at(sizes, g, 'i64')}")
                    f.put(f"store i64 {word(f, f.p_call, TOTAL) + n.get()}, ptr {all_elements}")
                wanted = f.select(f.compare("ne", word(f, operand, 0), 0), word(f, sizes, g), f.val("1", "i64"))
                with f.when(f.compare("ne", n.get(), wanted)):
                    refuse()
                f.put(f"store i64 {field(f, x, A_DATA, 'i64')}, ptr {f.at(tables, g * words + word(f, operand, 1), 'i64')}")
    f.end()


def _run(m: Module) -> None:
    """Each thread takes an equal share of all elements."""
    f = Fn(m, "batch_part", "ptr call, i64 tid", internal=True)
    record, tables, sizes = word(f, f.p_call, RECORD, "ptr"), word(f, f.p_call, TABLES, "ptr"), word(f, f.p_call, SIZES, "ptr")
    words, nth, total = word(f, record, WORDS), word(f, f.p_call, THREADS), word(f, f.p_call, TOTAL)
    begin, end = f.div(total * f.p_tid, nth), f.div(total * (f.p_tid + 1), nth)
    done = f.var(f.val("0", "i64"))

    def cut(at, n):
        """Where this group's elements are cut, in blocks of `GRAIN`; the neighbour finds the same place."""
        inner = f.most(at - done.get(), f.val("0", "i64"))
        return f.select(f.compare("lt", inner, n), f.int_op("and", inner, -GRAIN), n)

    with f.loop(0, word(f, f.p_call, GROUPS)) as g:
        n = word(f, sizes, g)
        lo, hi = cut(begin, n), cut(end, n)
        with f.when(f.compare("lt", lo, hi)):
            f.put(f"call void {word(f, record, FUNCTION, 'ptr')}(ptr {f.at(tables, g * words, 'i64')}, ptr {f.at(sizes, g, 'i64')}, "
                  f"i64 {lo}, i64 {hi}, ptr null, ptr null)")
        done.set(done.get() + n)
    f.end()
    m.declare("declare void @pl_team(ptr, ptr, i64)")
    f = Fn(m, "batch_run", "ptr call")
    f.invoke("pl_team", f.val("@batch_part", "ptr"), f.p_call, word(f, f.p_call, THREADS))
    f.end()


class Entry:
    """The code around the kernels, loaded once."""

    def __init__(self):
        m = Module(SSE2)
        _load(m)
        _run(m)
        text = m.text
        data, _ = jit.compiled("batch-entry", (text,), lambda: llvm.compile_object(text, isa_of("baseline")))
        self.code = jit.load([data], ["batch_load", "batch_run"], {"pl_team": the_engine().code["pl_team"]})
        self.load = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self.code["batch_load"])      # reads Python's objects
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code["batch_run"])


@threads.once
def entry() -> Entry:
    return Entry()


class Batch:
    """A program for groups of arrays and numbers."""

    def __init__(self, code: jit.Code, symbol: str, order: list[int], dtypes: list[np.dtype], arrays: list[bool], written: set[int], ns: float):
        self.code, self.ns, self.arrays = code, ns, arrays
        self.places = [order[k] for k, full in enumerate(arrays) if full]
        self.item = max(d.itemsize for d in dtypes)
        record = self.record = np.zeros(FIRST + STEP * len(order), np.int64)
        record[FUNCTION], record[OPERANDS], record[WORDS], record[ARRAY] = code[symbol], len(order), max(order) + 1, id(np.ndarray)
        for k, (place, d, full) in enumerate(zip(order, dtypes, arrays)):
            flags = ALIGNED | (CONTIGUOUS if full else 0) | (WRITEABLE if k in written else 0)
            record[FIRST + STEP * k:FIRST + STEP * (k + 1)] = full, place, id(d), flags

    def __call__(self, operands: list) -> bool:
        groups, words = len(operands) // int(self.record[OPERANDS]), int(self.record[WORDS])
        tables, sizes, call = np.empty((groups, words), np.int64), np.empty(groups, np.int64), np.zeros(CALL, np.int64)
        call[:THREADS] = self.record.ctypes.data, groups, tables.ctypes.data, sizes.ctypes.data
        e, where = entry(), call.ctypes.data
        e.load(where, id(operands))
        if call[BAD]:
            return False
        nth = threads.count() if call[TOTAL] * self.ns > 2 * program.SPLIT_NS else 1
        call[THREADS] = nth
        if nth == 1:
            e.run(where)
            return True
        if self._overlap(tables, sizes):
            return False
        with threads.region():
            e.run(where)
        return True

    def _overlap(self, tables: np.ndarray, sizes: np.ndarray) -> bool:
        starts = tables[:, self.places].ravel()
        order = starts.argsort()
        starts, ends = starts[order], (starts + np.repeat(sizes, len(self.places)) * self.item)[order]
        return bool((starts[1:] < ends[:-1]).any())


def make(graph: Graph) -> Batch | None:
    """The code of a graph that is one loop over its inputs: vectors of `LENGTH`, which it may write, and 0-d numbers."""
    if not readable_layout():
        return None
    isa = host_isa()
    plan = build.make_plan(graph)
    if len(plan.steps) != 1 or not isinstance(plan.steps[0], KernelCall) or plan.checks or graph.outputs:
        return None
    call, = plan.steps
    kernel = call.kernel
    if kernel.sizes != ("n",) or call.sizes != (LENGTH,) or any(call.offsets) or any(plan.buffers[b].role != "input" for b in call.buffers):
        return None
    places = {plan.buffers[b].index: k for k, b in enumerate(call.buffers)}
    order = [places.get(i, len(kernel.bufs)) for i in range(len(graph.inputs))]         # the spare place: an operand that is not read
    emitted = llvm.emit(kernel, isa, kernel.name)
    if len(emitted.phases) != 1 or emitted.phases[0].kind != "run" or emitted.scratch_bytes({"n": LENGTH}):
        return None
    text = llvm.module([emitted], isa)
    data, _ = jit.compiled("object", (text, isa.key), lambda: llvm.compile_object(text, isa))
    symbol = emitted.phases[0].symbol
    inputs = {id(v): k for k, v in enumerate(graph.inputs)}
    ns = max(call.nbytes * program.BYTE_NS, call.flops * program.FLOP_NS) / LENGTH
    return Batch(jit.load([data], [symbol], program.symbols()), symbol, order, [v.dtype.np for v in graph.inputs],
                 [v.shape != () for v in graph.inputs], {inputs[id(v)] for v, _ in graph.writebacks}, ns)
