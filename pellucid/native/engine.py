"""The loop that runs a program: a few native functions that read the program's steps as data.

In: a program record (`HEADER`) with its step records (`STEP`), filled by program.py; the input and output arrays' addresses.
Out: every step done, in order, without Python: kernels and externs inside parallel regions, library primitives between them.

    call(program, in list, out list)    takes the pointers out of lists of NumPy's array objects, checks the inputs, runs;
                                        returns the status
    enter(program, in, out)             the same for plain tables of array objects; the status is in the record
    load(program, pointers)             takes the pointers from a plain table, without checks; does not run
    differ(places, expected, n)         whether any of n words, at the addresses in a table, is not what another table says
    read(places, into, n)               what those words are
    touch(spans, n, page)               writes to memory, a byte a page, and changes nothing there, whoever else writes
    run(program, begin, end)            steps begin to end
    pl_team(part, data, threads)        part(data, thread) by that many threads: of the libgomp pool, or one after the other by this one
    crowd(until)                        until then (nanoseconds of libgomp's clock) one thread does all shares

All records are arrays of 64-bit words, so that Python fills them through NumPy. A region is a run of steps that one team of
threads does together: a step is split over its outermost axis, or done by one thread; threads meet where a step asks for it.

A region that takes much longer than this thread's own share, or than ever before, says that another process held a core. Where two do
so in a short time, this thread does all shares itself for a while (`PAUSE_NS`, twice as long each time it is soon again), so that a busy
neighbour costs a core and not more.

True always: with one thread nothing of libgomp is called; `status` is 0 or says which input or step failed (`FAILED_*`); who does a
share never changes what the shares are, so results do not depend on the neighbour.
"""
from __future__ import annotations

from enum import IntEnum

from .emit import Fn, Module, Val
from .isa import SSE2


class Header(IntEnum):
    """Words of a program record."""

    STATUS = 0
    THREADS = 1
    SET_THREADS = 2         # addresses of omp_set_num_threads, dnnl_primitive_execute, dnnl_memory_set_data_handle; the stream
    EXECUTE = 3
    SET_HANDLE = 4
    STREAM = 5
    INPUTS = 6              # how many, and their Input records
    INPUT_RECORDS = 7
    OUTPUTS = 8             # how many, and their Output records
    OUTPUT_RECORDS = 9
    PATCHES = 10            # Patch records
    STEPS = 11              # Step records
    NDARRAY = 12            # the type object of arrays
    WRITTEN = 13            # how many inputs are written, and which
    WRITTEN_LIST = 14
    END = 15                # the steps `enter` runs: 0 to END
    STALE = 16              # 1: what was prepared from constant inputs is out of date: `enter` does not run
    FLAGS = 17              # words that say which index was out of range, and how many
    FLAG_WORDS = 18
    NONE = 19               # Python's None
    NOW = 20                # address of the number of threads there are; 0: the program does not depend on it
    SIZE = 21


class Slot(IntEnum):
    """Words of an Input or Output record."""

    POINTER = 0             # the current address
    FIRST = 1               # its patches
    PATCHES = 2
    DESCR = 3               # the dtype object
    NDIM = 4
    DIMS = 5                # address of the expected shape
    STRIDES = 6             # address of the expected strides in bytes; 0: contiguous
    FLAGS = 7               # NumPy's flags that must be set
    BYTES = 8               # how far its elements reach
    CHANGED = 9
    WRITTEN = 10
    CONSTANT = 11
    SIZE = 12


class Patch(IntEnum):
    """Where a pointer goes when it changes: a word in memory, or a library's memory object."""

    KIND = 0                # 0: word; 1: memory object
    TARGET = 1
    OFFSET = 2              # bytes
    SIZE = 3


class Step(IntEnum):
    """Words of a Step record."""

    KIND = 0                # KERNEL, COMBINE, EXTERN, LIBRARY
    FUNCTION = 1
    BUFS = 2                # the table of pointers
    PARTS = 3               # how many threads have partial results
    SIZES = 4
    EXTENT = 5              # of the axis that is split
    ALIGN = 6               # where it may be split
    SCRATCH = 7
    SCRATCH_STRIDE = 8
    SHARED = 9
    SPLIT = 10              # 1: all threads; 0: thread OWNER alone
    OWNER = 11
    BARRIER = 12            # 1: threads meet after this step
    REGION = 13             # the step after the region's last, and who does the region: a Who
    REGION_PARALLEL = 14
    PARTIAL = 15            # the threads' partial results
    PARTIAL_STRIDE = 16
    EXECS = 17              # library: how many Exec records
    EXEC_RECORDS = 18
    BEST = 19               # nanoseconds of the region that begins here, at its quickest
    SIZE = 20


class Exec(IntEnum):
    """Words of an Exec record: one library primitive."""

    PRIMITIVE = 0
    ARGS = 1
    COUNT = 2
    SIZE = 4


class Who(IntEnum):
    """Who does a region."""

    ONE = 0                 # one thread: it is not worth more
    TEAM = 1                # always the team: some step's results depend on how many there are
    SHARES = 2              # the team, or one thread for all


KERNEL, COMBINE, EXTERN, LIBRARY = range(4)
LATE_NS = 500_000           # a region that takes this much longer than twice what it should may have a neighbour,
AGAIN_NS = 20_000_000       # and has one if it was so this short a time ago, too
PAUSE_NS, PAUSE_MOST_NS = 40_000_000, 640_000_000       # how long one thread does all shares then, at first and at most
FAILED_INPUT = -1           # status FAILED_INPUT - i: input i is not as expected
FAILED_ALIAS = -(1 << 40)   # a written input overlaps another one
FAILED_STALE = -(1 << 41)   # constant inputs are new: prepare first
FAILED_INDEX = -(1 << 42)   # an index was out of range: what comes in later regions was not done
FAILED_STEP = 1             # status (FAILED_STEP + step) * 64 + library status

# Lists and NumPy's arrays on a 64-bit CPython: byte offsets. `execute.readable_layout` checks them on real objects.
L_ITEMS = 24
A_TYPE, A_DATA, A_NDIM, A_DIMS, A_STRIDES, A_DESCR, A_FLAGS = 8, 16, 24, 32, 40, 56, 64

EXPORTS = ("call", "enter", "load", "run", "differ", "read", "touch", "pl_barrier", "pl_team", "crowd")


# ---------------------------------------------------------------------------------------------------- writing it
def _word(f: Fn, p, field: int) -> Val:
    return f.load(p, int(field), "i64")


def _ptr(f: Fn, p, field: int) -> Val:
    return f.load(f.at(p, int(field), "i64"), 0, "ptr")


def _set(f: Fn, p, field: int, value) -> None:
    f.put(f"store i64 {value}, ptr {f.at(p, int(field), 'i64')}")


def _record(f: Fn, base, index, size: int) -> Val:
    return f.at(base, f.mul(index, int(size)) if not isinstance(index, Val) else index * int(size), "i64")


def _as_word(f: Fn, p) -> Val:
    return f.op("i64", f"ptrtoint ptr {p} to i64")


def _both(f: Fn, a: Val, b: Val) -> Val:
    return f.int_op("and", a, b)


def _either(f: Fn, a: Val, b: Val) -> Val:
    return f.int_op("or", a, b)


def _barrier(m: Module) -> None:
    m.declare("declare void @GOMP_barrier()")
    f = Fn(m, "pl_barrier", "i64 nth")
    with f.when(f.compare("gt", f.p_nth, 1)):
        f.put("call void @GOMP_barrier()")
    f.end()


def _point(m: Module) -> None:
    """Give a slot its pointer, and pass it on if it is new."""
    f = Fn(m, "point", "ptr program, ptr slot, i64 pointer", internal=True)
    with f.when(f.compare("ne", f.p_pointer, _word(f, f.p_slot, Slot.POINTER))):
        _set(f, f.p_slot, Slot.POINTER, f.p_pointer)
        _set(f, f.p_slot, Slot.CHANGED, 1)
        with f.when(f.compare("ne", _word(f, f.p_slot, Slot.CONSTANT), 0)):
            _set(f, f.p_program, Header.STALE, 1)
        patches, first = _ptr(f, f.p_program, Header.PATCHES), _word(f, f.p_slot, Slot.FIRST)
        with f.loop(first, first + _word(f, f.p_slot, Slot.PATCHES)) as i:
            patch = _record(f, patches, i, Patch.SIZE)
            target, value = _ptr(f, patch, Patch.TARGET), f.p_pointer + _word(f, patch, Patch.OFFSET)
            library = f.compare("ne", _word(f, patch, Patch.KIND), 0)
            with f.unless(library):
                _set(f, target, 0, value)
            with f.when(library):
                set_handle = _ptr(f, f.p_program, Header.SET_HANDLE)
                status = f.op("i32", f"call i32 {set_handle}(ptr {target}, i64 {value})")
                with f.when(f.compare("ne", status, 0)):
                    _set(f, f.p_program, Header.STATUS, FAILED_STEP * 64)
    f.end()


def _overlap(m: Module) -> None:
    """Refuse written inputs that share memory with another input. Only pairs with a new pointer are looked at."""
    f = Fn(m, "overlap", "ptr program", internal=True)
    records, count = _ptr(f, f.p_program, Header.INPUT_RECORDS), _word(f, f.p_program, Header.INPUTS)
    written, listed = _word(f, f.p_program, Header.WRITTEN), _ptr(f, f.p_program, Header.WRITTEN_LIST)

    def compare(i, a, k, b):
        lo, hi, low, high = (_word(f, a, Slot.POINTER), _word(f, a, Slot.BYTES), _word(f, b, Slot.POINTER), _word(f, b, Slot.BYTES))
        meet = _both(f, f.compare("lt", lo, low + high), f.compare("lt", low, lo + hi))
        with f.when(_both(f, meet, f.compare("ne", i, k))):
            _set(f, f.p_program, Header.STATUS, FAILED_ALIAS)

    with f.loop(0, count) as i:
        a = _record(f, records, i, Slot.SIZE)
        with f.when(f.compare("ne", _word(f, a, Slot.CHANGED), 0)):
            with f.loop(0, written) as n:
                k = f.load(listed, n, "i64")
                compare(i, a, k, _record(f, records, k, Slot.SIZE))
            with f.when(f.compare("ne", _word(f, a, Slot.WRITTEN), 0)):
                with f.loop(0, count) as k:
                    compare(i, a, k, _record(f, records, k, Slot.SIZE))
    with f.loop(0, count) as i:
        _set(f, _record(f, records, i, Slot.SIZE), Slot.CHANGED, 0)
    f.end()


def _fits(f: Fn, record, array) -> Val:
    """Whether an array object is what an Input record describes."""
    def at(offset, ty):
        return f.load(f.at(array, offset, "i8"), 0, ty)

    flags = f.op("i64", f"zext i32 {at(A_FLAGS, 'i32')} to i64")
    wanted = _word(f, record, Slot.FLAGS)
    ndim = f.op("i64", f"sext i32 {at(A_NDIM, 'i32')} to i64")
    good = f.compare("eq", at(A_DESCR, "i64"), _word(f, record, Slot.DESCR))
    good = _both(f, good, f.compare("eq", f.int_op("and", flags, wanted), wanted))
    good = _both(f, good, f.compare("eq", ndim, _word(f, record, Slot.NDIM)))
    result = f.var(good)
    with f.when(good):
        dims, expected = at(A_DIMS, "ptr"), _ptr(f, record, Slot.DIMS)
        strides, wanted_strides = at(A_STRIDES, "ptr"), _ptr(f, record, Slot.STRIDES)
        strided = f.compare("ne", _as_word(f, wanted_strides), 0)
        with f.loop(0, ndim) as d:
            result.set(_both(f, result.get(), f.compare("eq", f.load(dims, d, "i64"), f.load(expected, d, "i64"))))
            with f.when(strided):
                result.set(_both(f, result.get(), f.compare("eq", f.load(strides, d, "i64"), f.load(wanted_strides, d, "i64"))))
    return result.get()


def _enter(m: Module) -> None:
    f = Fn(m, "enter", "ptr program, ptr inputs, ptr outputs")
    program = f.p_program
    inputs, outputs = f.p_inputs, f.p_outputs
    _set(f, program, Header.STATUS, 0)
    kind = _word(f, program, Header.NDARRAY)
    records = _ptr(f, program, Header.INPUT_RECORDS)
    with f.loop(0, _word(f, program, Header.INPUTS)) as i:
        array, record = f.load(inputs, i, "ptr"), _record(f, records, i, Slot.SIZE)
        good = f.compare("eq", f.load(f.at(array, A_TYPE, "i8"), 0, "i64"), kind)
        fits = f.var(good)
        with f.when(good):
            fits.set(_fits(f, record, array))
        with f.when(fits.get()):
            f.invoke("point", program, record, f.load(f.at(array, A_DATA, "i8"), 0, "i64"))
        with f.unless(fits.get()):
            _set(f, program, Header.STATUS, f.sub(FAILED_INPUT, i))
    records = _ptr(f, program, Header.OUTPUT_RECORDS)
    with f.loop(0, _word(f, program, Header.OUTPUTS)) as i:
        array = f.load(outputs, i, "ptr")
        f.invoke("point", program, _record(f, records, i, Slot.SIZE), f.load(f.at(array, A_DATA, "i8"), 0, "i64"))
    with f.when(f.compare("eq", _word(f, program, Header.STATUS), 0)):
        with f.when(f.compare("gt", _word(f, program, Header.WRITTEN), 0)):
            f.invoke("overlap", program)
        with f.when(f.compare("ne", _word(f, program, Header.STALE), 0)):
            _set(f, program, Header.STATUS, FAILED_STALE)
        with f.when(f.compare("eq", _word(f, program, Header.STATUS), 0)):
            f.invoke("run", program, 0, _word(f, program, Header.END))
    f.end()


def _load(m: Module) -> None:
    f = Fn(m, "load", "ptr program, ptr pointers")
    _set(f, f.p_program, Header.STATUS, 0)
    inputs = _word(f, f.p_program, Header.INPUTS)
    records = _ptr(f, f.p_program, Header.INPUT_RECORDS)
    with f.loop(0, inputs) as i:
        f.invoke("point", f.p_program, _record(f, records, i, Slot.SIZE), f.load(f.p_pointers, i, "i64"))
    records, rest = _ptr(f, f.p_program, Header.OUTPUT_RECORDS), f.at(f.p_pointers, inputs, "i64")
    with f.loop(0, _word(f, f.p_program, Header.OUTPUTS)) as i:
        f.invoke("point", f.p_program, _record(f, records, i, Slot.SIZE), f.load(rest, i, "i64"))
    f.end()


def _share(f: Fn, extent, align, tid, nth) -> tuple[Val, Val]:
    """The part [lo, hi) of `extent` that thread `tid` does."""
    blocks = f.div(extent + align - 1, align)
    lo = f.div(blocks * tid, nth) * align
    hi = f.div(blocks * (tid + 1), nth) * align
    return f.least(lo, extent), f.least(hi, extent)


def _team(m: Module) -> None:
    """Shares of work, done by the pool's threads or by this one."""
    m.functions += [f"@{name} = internal global i64 0" for name in ("until", "pause", "late")]
    for line in ("declare void @GOMP_parallel(ptr, ptr, i32, i32)", "declare i32 @omp_get_thread_num()", "declare double @omp_get_wtime()"):
        m.declare(line)

    def clock(f: Fn) -> Val:
        return f.cast("fptosi", f.op("double", f"fmul double {f.op('double', 'call double @omp_get_wtime()')}, 1.0e9"), "i64")

    f = Fn(m, "crowded", "ptr out", internal=True)          # whether another process had a core a moment ago
    f.put(f"store i64 0, ptr {f.p_out}")
    end = f.load(f.val("@until", "ptr"), 0, "i64")
    with f.when(f.compare("ne", end, 0)):
        with f.when(f.compare("lt", clock(f), end)):
            f.put(f"store i64 1, ptr {f.p_out}")
    f.end()
    f = Fn(m, "crowd", "i64 end")
    f.put("store i64 %end, ptr @until")
    f.end()
    f = Fn(m, "member", "ptr context", internal=True)       # context: part, data, when this thread was ready
    tid = f.cast("sext", f.op("i32", "call i32 @omp_get_thread_num()"), "i64")
    f.put(f"call void {f.load(f.p_context, 0, 'ptr')}(ptr {f.load(f.p_context, 1, 'ptr')}, i64 {tid})")
    with f.when(f.compare("eq", tid, 0)):
        _set(f, f.p_context, 2, clock(f))
    f.end()
    f = Fn(m, "spread", "ptr part, ptr data, i64 nth, ptr best", internal=True)
    f.slots.append("  %context = alloca [3 x i64]")
    context = f.val("%context", "ptr")
    _set(f, context, 0, _as_word(f, f.p_part))
    _set(f, context, 1, _as_word(f, f.p_data))
    begin = clock(f)
    f.put(f"call void @GOMP_parallel(ptr @member, ptr {context}, i32 {f.cast('trunc', f.p_nth, 'i32')}, i32 0)")
    end, ready = clock(f), _word(f, context, 2)
    taken, best = f.sub(end, begin), f.load(f.p_best, 0, "i64")
    known = f.select(f.compare("eq", best, 0), taken, f.least(best, taken))
    f.put(f"store i64 {known}, ptr {f.p_best}")
    with f.when(f.compare("gt", taken, f.least(known, f.sub(ready, begin)) * 2 + LATE_NS)):     # within its share it may wait at barriers
        until, pause, late = (f.val(name, "ptr") for name in ("@until", "@pause", "@late"))
        again = f.compare("lt", end, f.load(late, 0, "i64") + AGAIN_NS)
        f.put(f"store i64 {end}, ptr {late}")
        with f.when(again):
            before = f.load(pause, 0, "i64")
            soon = f.compare("lt", end, f.load(until, 0, "i64") + before * 4)
            length = f.select(soon, f.least(before * 2, PAUSE_MOST_NS), f.val(str(PAUSE_NS), "i64"))
            f.put(f"store i64 {length}, ptr {pause}")
            f.put(f"store i64 {end + length}, ptr {until}")
    f.end()
    f = Fn(m, "pl_team", "ptr part, ptr data, i64 nth")
    alone, best = f.var(f.val("1", "i64")), f.var(f.val("0", "i64"))
    with f.when(f.compare("gt", f.p_nth, 1)):
        f.put(f"call void @crowded(ptr {alone.slot})")
    one = f.compare("ne", alone.get(), 0)
    with f.when(one):
        with f.loop(0, f.p_nth) as tid:
            f.put(f"call void {f.p_part}(ptr {f.p_data}, i64 {tid})")
    with f.unless(one):
        f.invoke("spread", f.p_part, f.p_data, f.p_nth, f.val(best.slot, "ptr"))
    f.end()


def _step(m: Module) -> None:
    """Step `s` as thread `tid` of `nth` does it."""
    f = Fn(m, "step", "ptr s, i64 tid, i64 nth", internal=True)
    s = f.p_s
    split = f.compare("ne", _word(f, s, Step.SPLIT), 0)
    nth = f.select(split, f.p_nth, f.val("1", "i64"))
    tid = f.select(split, f.p_tid, f.val("0", "i64"))
    alone = f.compare("eq", f.p_nth, 1)
    mine = _either(f, _either(f, split, alone), f.compare("eq", f.p_tid, _word(f, s, Step.OWNER)))
    with f.when(mine):
        function, bufs, sizes = _ptr(f, s, Step.FUNCTION), _ptr(f, s, Step.BUFS), _ptr(f, s, Step.SIZES)
        scratch = f.at(_ptr(f, s, Step.SCRATCH), f.p_tid * _word(f, s, Step.SCRATCH_STRIDE), "i8")
        partial, stride = _ptr(f, s, Step.PARTIAL), _word(f, s, Step.PARTIAL_STRIDE)
        own = f.at(partial, f.p_tid * stride, "i8")
        kind = _word(f, s, Step.KIND)
        lo, hi = _share(f, _word(f, s, Step.EXTENT), _word(f, s, Step.ALIGN), tid, nth)
        with f.when(f.compare("eq", kind, KERNEL)):
            f.put(f"call void {function}(ptr {bufs}, ptr {sizes}, i64 {lo}, i64 {hi}, ptr {scratch}, ptr {own})")
        with f.when(f.compare("eq", kind, COMBINE)):
            first = f.select(split, partial, own)       # one thread alone finds its own results
            f.put(f"call void {function}(ptr {bufs}, ptr {sizes}, i64 {lo}, i64 {hi}, ptr {first}, "
                  f"i64 {_word(f, s, Step.PARTS)}, i64 {stride})")
        with f.when(f.compare("eq", kind, EXTERN)):
            f.put(f"call void {function}(ptr {bufs}, i64 {tid}, i64 {nth}, ptr {scratch}, "
                  f"ptr {_ptr(f, s, Step.SHARED)}, ptr {sizes})")
    f.end()


def _region(m: Module) -> None:
    """Steps begin to end as thread `tid` of `nth` does them, and as one thread does all shares of them."""
    f = Fn(m, "region", "ptr program, i64 begin, i64 end, i64 tid, i64 nth", internal=True)
    steps = _ptr(f, f.p_program, Header.STEPS)
    with f.loop(f.p_begin, f.p_end) as i:
        s = _record(f, steps, i, Step.SIZE)
        f.invoke("step", s, f.p_tid, f.p_nth)
        with f.when(f.compare("ne", _word(f, s, Step.BARRIER), 0)):
            f.invoke("pl_barrier", f.p_nth)
    f.end()
    f = Fn(m, "region_part", "ptr context, i64 tid", internal=True)
    begin, end, nth = [f.load(f.p_context, k, "i64") for k in (1, 2, 3)]
    f.invoke("region", f.load(f.p_context, 0, "ptr"), begin, end, f.p_tid, nth)
    f.end()
    f = Fn(m, "region_alone", "ptr program, i64 begin, i64 end, i64 nth", internal=True)
    steps = _ptr(f, f.p_program, Header.STEPS)
    with f.loop(f.p_begin, f.p_end) as i:
        s = _record(f, steps, i, Step.SIZE)
        whole = _both(f, f.compare("eq", _word(f, s, Step.KIND), EXTERN), f.compare("ne", _word(f, s, Step.SPLIT), 0))
        with f.when(whole):                             # its threads would wait for each other
            f.invoke("step", s, 0, 1)
        with f.unless(whole):
            with f.loop(0, f.p_nth) as tid:
                f.invoke("step", s, tid, f.p_nth)
    f.end()


def _library(m: Module) -> None:
    f = Fn(m, "library", "ptr program, ptr s, i64 index", internal=True)
    records = _ptr(f, f.p_s, Step.EXEC_RECORDS)
    execute, stream = _ptr(f, f.p_program, Header.EXECUTE), _ptr(f, f.p_program, Header.STREAM)
    with f.loop(0, _word(f, f.p_s, Step.EXECS)) as k:
        r = _record(f, records, k, Exec.SIZE)
        n = f.cast("trunc", _word(f, r, Exec.COUNT), "i32")
        status = f.op("i32", f"call i32 {execute}(ptr {_ptr(f, r, Exec.PRIMITIVE)}, ptr {stream}, i32 {n}, ptr {_ptr(f, r, Exec.ARGS)})")
        with f.when(f.compare("ne", status, 0)):
            code = (f.p_index + FAILED_STEP) * 64 + f.cast("zext", status, "i64")
            _set(f, f.p_program, Header.STATUS, code)
    f.end()


def _run(m: Module) -> None:
    f = Fn(m, "run", "ptr program, i64 begin, i64 end")
    program = f.p_program
    nth, steps = _word(f, program, Header.THREADS), _ptr(f, program, Header.STEPS)
    threaded = f.compare("ne", _word(f, program, Header.SET_THREADS), 0)
    with f.when(threaded):                  # libgomp keeps this number per calling thread
        f.put(f"call void {_ptr(f, program, Header.SET_THREADS)}(i32 {f.cast('trunc', nth, 'i32')})")
    f.slots.append("  %context = alloca [4 x i64]")
    following = f.var(f.p_begin)
    flags = _ptr(f, program, Header.FLAGS)
    with f.loop(f.p_begin, f.p_end) as i:
        with f.when(f.compare("eq", i, following.get())):
            with f.loop(0, _word(f, program, Header.FLAG_WORDS)) as k:
                with f.when(f.compare("ne", f.load(flags, k, "i64"), 0)):
                    _set(f, program, Header.STATUS, FAILED_INDEX)
        good = f.compare("eq", _word(f, program, Header.STATUS), 0)
        with f.when(_both(f, good, f.compare("eq", i, following.get()))):
            s = _record(f, steps, i, Step.SIZE)
            library = f.compare("eq", _word(f, s, Step.KIND), LIBRARY)
            with f.when(library):
                f.invoke("library", program, s, i)
                following.set(i + 1)
            with f.unless(library):
                end = _word(f, s, Step.REGION)
                who = _word(f, s, Step.REGION_PARALLEL)
                many = _both(f, f.compare("gt", nth, 1), f.compare("ne", who, int(Who.ONE)))
                alone = f.var(f.val("0", "i64"))
                with f.when(_both(f, many, f.compare("eq", who, int(Who.SHARES)))):
                    f.put(f"call void @crowded(ptr {alone.slot})")
                together = f.compare("eq", alone.get(), 0)
                with f.when(_both(f, many, together)):
                    context = f.val("%context", "ptr")
                    for k, value in enumerate((_as_word(f, program), i, end, nth)):
                        _set(f, context, k, value)
                    f.invoke("spread", f.val("@region_part", "ptr"), context, nth, f.at(s, int(Step.BEST), "i64"))
                with f.unless(together):
                    f.invoke("region_alone", program, i, end, nth)
                with f.unless(many):
                    f.invoke("region", program, i, end, f.val("0", "i64"), f.val("1", "i64"))
                following.set(end)
    f.end()


def _words(m: Module) -> None:
    """Looking at words anywhere in memory."""
    f = Fn(m, "read", "ptr places, ptr into, i64 n")
    with f.loop(0, f.p_n) as i:
        _set(f, f.at(f.p_into, i, "i64"), 0, f.load(f.load(f.p_places, i, "ptr"), 0, "i64"))
    f.end()
    m.functions.append("""define i64 @differ(ptr %places, ptr %expected, i64 %n) {
  br label %next
next:
  %i = phi i64 [ 0, %0 ], [ %following, %look ]
  %found = phi i64 [ 0, %0 ], [ %all, %look ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %look, label %end
look:
  %p = getelementptr ptr, ptr %places, i64 %i
  %where = load ptr, ptr %p
  %now = load i64, ptr %where
  %e = getelementptr i64, ptr %expected, i64 %i
  %then = load i64, ptr %e
  %moved = xor i64 %now, %then
  %all = or i64 %found, %moved
  %following = add i64 %i, 1
  br label %next
end:
  ret i64 %found
}""")


def _touch(m: Module) -> None:
    """Spans are pairs of addresses. (`or` with 0 is a write, as an atomic one it undoes nobody else's.)"""
    m.functions.append("""define void @touch(ptr %spans, i64 %n, i64 %step) {
  br label %next
next:
  %k = phi i64 [ 0, %0 ], [ %following, %done ]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %span, label %end
span:
  %two = shl i64 %k, 1
  %first = getelementptr i64, ptr %spans, i64 %two
  %second = getelementptr i64, ptr %first, i64 1
  %start = load i64, ptr %first
  %stop = load i64, ptr %second
  br label %page
page:
  %p = phi i64 [ %start, %span ], [ %after, %write ]
  %inside = icmp ult i64 %p, %stop
  br i1 %inside, label %write, label %done
write:
  %where = inttoptr i64 %p to ptr
  %was = atomicrmw volatile or ptr %where, i8 0 monotonic
  %after = add i64 %p, %step
  br label %page
done:
  %following = add i64 %k, 1
  br label %next
end:
  ret void
}""")


def module() -> str:
    """The engine as LLVM IR."""
    m = Module(SSE2)
    for write in (_barrier, _team, _point, _overlap, _step, _region, _library, _run, _enter, _load, _words, _touch):
        write(m)
    m.functions.append("""define i64 @call(ptr %program, ptr %inputs, ptr %outputs) {
  %in.items = getelementptr i8, ptr %inputs, i64 ITEMS
  %out.items = getelementptr i8, ptr %outputs, i64 ITEMS
  %in = load ptr, ptr %in.items
  %out = load ptr, ptr %out.items
  call void @enter(ptr %program, ptr %in, ptr %out)
  %status = load i64, ptr %program
  ret i64 %status
}""".replace("ITEMS", str(L_ITEMS)))
    return m.text
