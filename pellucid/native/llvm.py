"""Loop IR to LLVM, and LLVM to object code.

In: a `Kernel` and an `Isa`. Out: `Emitted`: the text of its functions, and how a program runs them. `module` joins what
several kernels (and other emitters) wrote; `compile_object` makes an object file of it.

A kernel is a sequence of phases; a barrier separates them, and each is one function:

    init, run   void SYMBOL(ptr bufs, ptr sizes, i64 lo, i64 hi, ptr scratch, ptr partial)
    combine     void SYMBOL(ptr bufs, ptr sizes, i64 lo, i64 hi, ptr partials, i64 threads, i64 stride)

- `bufs`: the addresses of the kernel's buffers, local ones left out; `sizes`: its run-time sizes, as int64, then `Emitted.words`.
- [lo, hi) is the thread's part of [0, extent). Every thread calls a phase once; its part may be empty (lo == hi). Parts that
  start at multiples of `grain` are quickest. Neighbouring "combine" phases need no barrier between them.
- `scratch`: `scratch_bytes(sizes)` bytes of the thread's own (local buffers). `partial`: `partial_bytes(sizes)` bytes of the
  thread's own, which must stay until the "combine" phases; these get the first thread's address, the number of threads, and
  the distance between two threads' in bytes. All are 64-byte aligned; anything (null) if no bytes are asked for.
- The C library's functions that `module` declares (LIBM) must be linked: `symbols()` has their addresses.

True always: results depend on the inputs and the parts, nothing else; each thread's partial results are added up in the
order of threads; long float32 sums are kept in float64, short ones in many lanes.
"""
from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache


from ..core import dtype as dt
from ..core.dtype import dtype
from ..kernel.ir import AccumStore, Buf, Kernel, Let, Load, Loop, Size, Stmt, Store
from ..kernel.walk import expressions, parts, statements
from . import jit
from .analysis import apart, groups, held, lift, neutral, parallel
from .binding import llvm
from .isa import Isa, host_isa, isa_of
from .nest import Nest
from .numeric import LIBM, LOW, Num
from .ssa import Writer
from .symbolic import Symbols

__all__ = ["Emitted", "Partial", "Phase", "Isa", "compile_object", "emit", "host_isa", "isa_of", "module", "symbols"]

SIGNATURE = "ptr %bufs, ptr %sizes, i64 %lo, i64 %hi, ptr %scratch, ptr %partial"
ALIGN = 64


@dataclass(frozen=True, slots=True)
class Phase:
    """One function. `kind`: run; init (fill an output's elements first); combine (add up the threads' partial results)."""

    symbol: str
    kind: str
    extent: Size
    grain: int = 1


@dataclass(frozen=True, slots=True)
class Partial:
    """A thread's own copy of an output that several iterations add to."""

    buf: str
    size: Size
    dtype: dtype
    op: str


@dataclass(frozen=True, slots=True)
class Emitted:
    """A kernel in LLVM's language. `functions` define its phases; `declares` and `helpers` are shared by a module."""

    name: str
    phases: tuple[Phase, ...]
    locals: tuple[tuple[Size, int], ...]              # elements and bytes of an element
    partials: tuple[Partial, ...]
    functions: tuple[str, ...]
    declares: dict[str, None]
    helpers: dict[str, str]
    words: tuple[int, ...] = ()                       # what follows the kernel's sizes in their table (symbolic.py)

    def scratch_bytes(self, sizes: Mapping[str, int] = {}) -> int:
        return sum(padded(number(n, sizes) * item) for n, item in self.locals)

    def partial_bytes(self, sizes: Mapping[str, int] = {}) -> int:
        return sum(padded(number(p.size, sizes) * p.dtype.itemsize) for p in self.partials)


def number(n: Size, sizes: Mapping[str, int]) -> int:
    return n if isinstance(n, int) else sizes[n]


def padded(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


# ---------------------------------------------------------------------------------------------------- kernels
def emit(kernel: Kernel, isa: Isa | None = None, name: str = "", overlap: Iterable[str] = ()) -> Emitted:
    """The functions of a kernel. `name` begins their symbols (default: the kernel's name); `overlap` are the buffers that
    may share memory with others (an element is then read before it is written, as the statements' order says)."""
    return _Kernel(kernel, isa or host_isa(), name or kernel.name, frozenset(overlap)).emitted()


def named(e: Emitted, name: str) -> Emitted:
    """A kernel that was emitted as "K", called after its text: the same code has the same name everywhere."""
    symbol = f"{name}_{hashlib.sha256(chr(10).join(e.functions).encode()).hexdigest()[:16]}"
    return replace(e, name=symbol, functions=tuple([f.replace("@K.", f"@{symbol}.", 1) for f in e.functions]),
                   phases=tuple([replace(p, symbol=symbol + p.symbol[1:]) for p in e.phases]))


class _Kernel:
    def __init__(self, kernel: Kernel, isa: Isa, name: str, overlap: frozenset[str]):
        self.kernel, self.isa, self.symbol, self.overlap = kernel, isa, name, overlap
        self.bufs = {b.name: b for b in kernel.bufs}
        self.outer = [b for b in kernel.bufs if b.role != "local"]
        self.locals = [b for b in kernel.bufs if b.role == "local"]
        self.partials: dict[str, Partial] = {}
        self.declares: dict[str, None] = {}
        self.helpers: dict[str, str] = {}
        self.functions: list[str] = []
        self.phases: list[Phase] = []
        self.symbols = Symbols(len(kernel.sizes))

    def emitted(self) -> Emitted:
        started: set[str] = set()
        lets: list[Let] = []
        work = []
        for group in groups(self.kernel.body):
            if all(isinstance(s, Let) for s in group):
                lets += [s for s in group if isinstance(s, Let)]
                continue
            shared = self.shared(group)
            for s in statements(group):
                if isinstance(s, AccumStore):
                    b = self.bufs[s.buf]
                    if b.init is not None and b.name not in started and b.name not in shared:
                        self.init(b)
                        started.add(b.name)
            work.append((group, list(lets), shared))
            for name, op in shared.items():
                b = self.bufs[name]
                d = dt.float64 if op == "add" and held(b.dtype) is dt.float32 else held(b.dtype)
                self.partials.setdefault(name, Partial(name, b.size, d, op))
            lets += [s for s in group if isinstance(s, Let)]
        for group, before, shared in work:
            self.run(group, before, shared)
            for name in shared:
                self.combine(self.partials[name], name not in started)
                started.add(name)
        return Emitted(self.symbol, tuple(self.phases), tuple([(b.size, b.dtype.itemsize) for b in self.locals]),
                       tuple(self.partials.values()), tuple(self.functions), self.declares, self.helpers, tuple(self.symbols.words))

    def shared(self, group: Sequence[Stmt]) -> dict[str, str]:
        """The buffers that different iterations of a par loop add to, and how: they need partial copies. So do those of low
        precision, whose sums are not to be rounded at every step."""
        extents = {s.axis.var: s.axis.extent for s in statements(group) if isinstance(s, Loop)}
        found: dict[str, str] = {}
        other = {e.buf for s in statements(group) for e in parts(expressions(s)) if isinstance(e, Load)}
        other |= {s.buf for s in statements(group) if isinstance(s, Store) or isinstance(s, AccumStore) and s.op == "set"}
        for s in statements(group):
            if isinstance(s, AccumStore) and s.op != "set":
                shared = parallel(group) and not apart(s.index, group[0].axis.var, extents)
                if shared or self.bufs[s.buf].dtype in LOW and s.buf not in other:
                    found[s.buf] = s.op
        return found

    # ------------------------------------------------------------------------------------------------ functions
    def writer(self) -> Writer:
        return Writer(self.isa, self.declares, self.helpers, self.symbols)

    def next_symbol(self, kind: str) -> str:
        return f"{self.symbol}.{len(self.phases)}" + ("" if kind == "run" else f".{kind}")

    def run(self, group: Sequence[Stmt], before: list[Let], shared: dict[str, str]) -> None:
        w = self.writer()
        sizes = self.sizes(w)
        pointers = self.addresses(w, sizes)
        copies = {}
        for name in shared:
            d = self.partials[name].dtype
            copies[name] = pointers["partial:" + name], d
            self.fill(w, copies[name][0], self.size(w, sizes, self.bufs[name].size), d, w.const(neutral(shared[name], d), d))
        nest = Nest(w, self.kernel, pointers, sizes, copies, self.overlap)
        lo, hi = Num(w, "%lo", dt.int64), Num(w, "%hi", dt.int64)
        for let in before:
            nest.block((let,))
        if parallel(group):
            first, loop, last = lift(group[0], self.bufs)
            for local in first:
                nest.memo = {}
                nest.local(local, (loop,))
            nest.loop(loop, lo, hi)
            for s in last:
                nest.memo = {}
                nest.accum_store(s)
            grain = 64 if loop.axis.vec else 1
            self.phases.append(Phase(self.next_symbol("run"), "run", loop.axis.extent, grain))
        else:
            with w.when(lo < hi):
                nest.block(group)
            self.phases.append(Phase(self.next_symbol("run"), "run", 1))
        if nest.streamed and self.isa.triple.startswith("x86_64"):
            self.declares["declare void @llvm.x86.sse.sfence()"] = None
            w.put("call void @llvm.x86.sse.sfence()")
        self.finish(w, self.phases[-1].symbol)

    def sizes(self, w: Writer) -> dict[str, Num]:
        found = {}
        for k, name in enumerate(self.kernel.sizes):
            p = w.raw(f"getelementptr i64, ptr %sizes, i64 {k}")
            found[name] = w.op(f"load i64, ptr {p}, align 8, !invariant.load !1", dt.int64)
        return found

    def size(self, w: Writer, sizes: dict[str, Num], n: Size) -> Num:
        return w.int(n) if isinstance(n, int) else sizes[n]

    def addresses(self, w: Writer, sizes: dict[str, Num], partials: bool = True) -> dict[str, str]:
        """Where buffers are, local ones and the thread's partial results ("partial:" and the buffer's name)."""
        found = {}
        for k, b in enumerate(self.outer):
            p = w.raw(f"getelementptr ptr, ptr %bufs, i64 {k}")
            found[b.name] = w.raw(f"load ptr, ptr {p}, align 8, !invariant.load !1")
        for origin, wanted in (("%scratch", [(b.name, b.size, b.dtype) for b in self.locals]),
                               ("%partial", [("partial:" + p.buf, p.size, p.dtype) for p in self.partials.values()])):
            at = w.int(0)
            for name, n, d in wanted:
                found[name] = w.raw(f"getelementptr i8, ptr {origin}, i64 {at.text}")
                at = at + self.bytes(w, sizes, n, d)
        return found

    def bytes(self, w: Writer, sizes: dict[str, Num], n: Size, d: dtype) -> Num:
        """The bytes of `n` elements, padded."""
        return w.int(padded(n * d.itemsize)) if isinstance(n, int) else (sizes[n] * d.itemsize + (ALIGN - 1)) & -ALIGN

    def finish(self, w: Writer, symbol: str, params: str = SIGNATURE) -> None:
        self.functions.append("\n".join([f"define void @{symbol}({params}) #0 {{", "entry:", *w.slots, *self.symbols.loads(w.lines), *w.lines,
                                         "  ret void", "}"]))

    def fill(self, w: Writer, p: str, n: Num, d: dtype, x: Num) -> None:
        """`n` elements at `p` become `x`."""
        lanes = min(self.isa.bits // 8 // d.itemsize, 16)
        main = w.int(n.const // lanes * lanes) if n.const is not None else n & -lanes
        for lo, hi, step in ((w.int(0), main, lanes), (main, n, 1)):
            if lo.const is None or hi.const is None or lo.const < hi.const:
                with w.when(lo < hi):
                    with w.loop(lo, hi, step) as i:
                        w.store(w.spread(x, step), w.at(p, i, d), d)

    def init(self, b: Buf) -> None:
        w = self.writer()
        lo, hi = Num(w, "%lo", dt.int64), Num(w, "%hi", dt.int64)
        p = w.at(self.addresses(w, self.sizes(w))[b.name], lo, b.dtype)
        self.fill(w, p, hi - lo, b.dtype, w.const(b.init, held(b.dtype)))
        self.phases.append(Phase(self.next_symbol("init"), "init", b.size, ALIGN))
        self.finish(w, self.phases[-1].symbol)

    def combine(self, p: Partial, fresh: bool) -> None:
        """out[lo:hi) = what is there (or init), then every thread's partial result, in order."""
        w = self.writer()
        b = self.bufs[p.buf]
        q = w.raw(f"getelementptr ptr, ptr %bufs, i64 {self.outer.index(b)}")
        out = w.raw(f"load ptr, ptr {q}, align 8")
        sizes = self.sizes(w)
        at = w.int(0)
        for other in self.partials.values():
            if other is p:
                break
            at = at + self.bytes(w, sizes, other.size, other.dtype)
        lo, hi, threads, stride = [Num(w, f"%{x}", dt.int64) for x in ("lo", "hi", "threads", "stride")]
        lanes = self.isa.bits // 8 // p.dtype.itemsize

        def some(i: Num, lanes: int) -> None:
            here = w.at(out, i, b.dtype)
            old = w.const(b.init, p.dtype) if fresh and b.init is not None else w.cast(w.load(here, b.dtype, lanes), p.dtype)
            total = w.slot(p.dtype, lanes, old)
            with w.loop(w.int(0), threads, 1) as t:
                own = w.raw(f"getelementptr i8, ptr %partials, i64 {(t * stride + at).text}")
                total.set(w.combine(p.op, total.get(), w.load(w.at(own, i, p.dtype), p.dtype, lanes)))
            w.store(w.cast(total.get(), held(b.dtype)), here, b.dtype)

        main = lo if p.size == 1 else lo + ((hi - lo) & -lanes)
        if p.size != 1:
            with w.when(lo < main):
                with w.loop(lo, main, lanes) as i:
                    some(i, lanes)
        with w.when(main < hi):
            with w.loop(main, hi, 1) as i:
                some(i, 1)
        symbol = self.next_symbol("combine")
        self.phases.append(Phase(symbol, "combine", p.size, ALIGN))
        self.finish(w, symbol, "ptr %bufs, ptr %sizes, i64 %lo, i64 %hi, ptr %partials, i64 %threads, i64 %stride")


# ---------------------------------------------------------------------------------------------------- modules
def module(emitted: Iterable[Emitted], isa: Isa | None = None, more: Sequence[str] = ()) -> str:
    """One module's text: kernels, and `more` functions and declarations."""
    isa = isa or host_isa()
    functions: list[str] = []
    declares: dict[str, None] = {}
    helpers: dict[str, str] = {}
    for e in emitted:
        functions += e.functions
        declares.update(e.declares)
        helpers.update(e.helpers)
    return "\n".join([f'target triple = "{isa.triple}"', *functions, *helpers.values(), *more, *declares, "!0 = !{i32 1}", "!1 = !{}",
                      f'attributes #0 = {{ nounwind "prefer-vector-width"="{isa.bits}" "min-legal-vector-width"="{isa.bits}" }}', ""])


_machines = threading.local()


def machine(isa: Isa):
    """LLVM's code generator for an ISA; each thread has its own."""
    found = _machines.__dict__.get(isa.key)
    if found is None:
        found = _machines.__dict__[isa.key] = make_machine(isa)
    return found


def make_machine(isa: Isa):
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(isa.triple).create_target_machine(cpu=isa.cpu, features=isa.features, opt=2, reloc="pic",
                                                                     codemodel="small")


def compile_object(text: str, isa: Isa | None = None) -> bytes:
    """Object code of a module."""
    tm = machine(isa or host_isa())
    m = llvm.parse_assembly(text)
    return jit.light(m, tm, llvm.create_pass_builder(tm, llvm.create_pipeline_tuning_options(speed_level=2)))


@cache
def symbols() -> dict[str, int]:
    """The addresses of the C library's functions that kernels may call."""
    try:
        libm = ctypes.CDLL("libm.so.6")         # glibc's, which NumPy has loaded: find_library would start a process to look for it
    except OSError:
        from ctypes.util import find_library
        libm = ctypes.CDLL(find_library("m") or None)
    found = {}
    for name in LIBM:
        for full in (name, name + "f"):
            found[full] = ctypes.cast(getattr(libm, full), ctypes.c_void_p).value or 0
    return found
