"""Typed SSA text for kernels: numbers in one lane or many, memory, branches and loops.

In: an `Isa`. Out: `Writer`, one LLVM function being written, and `Num`, a value in it: a dtype of pellucid, a number of lanes,
and its text. `+ - * / < ...` on a Num write instructions (`numeric.Numeric` has them), so that `kernel.mathfn`'s polynomials
serve here as they do on NumPy arrays. float16 and bfloat16 live in registers as float32, bool as i1 (in memory as bytes).

True always: a value of one lane meets one of many by filling all lanes. Values that change are stack slots, which LLVM's first
pass turns into registers.
"""
from __future__ import annotations

from contextlib import contextmanager

from ..core import dtype as dt
from ..core.dtype import dtype
from .numeric import LOW, MEMORY, TYPES, Num, Numeric, suffix, vector
from .symbolic import Symbols


class Writer(Numeric):
    """One function being written. `declares` and `helpers` (other functions it needs, by name) belong to the module, `symbols` to
    the kernel."""

    def __init__(self, isa, declares: dict[str, None], helpers: dict[str, str], symbols: Symbols | None = None):
        self.isa, self.declares, self.helpers = isa, declares, helpers
        self.symbols = symbols or Symbols()
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.count = 0
        self.block = "entry"

    # ------------------------------------------------------------------------------------------------ memory
    def at(self, p: str, index: Num, d: dtype) -> str:
        """The address of element `index` of a buffer of dtype `d`."""
        if index.const == 0:
            return p
        return self.raw(f"getelementptr {MEMORY[d]}, ptr {p}, i64 {index.text}")

    def prefetch(self, p: str) -> None:
        """Fetch a cache line that is wanted soon; the address may be anything."""
        self.declares["declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"] = None
        self.put(f"call void @llvm.prefetch.p0(ptr {p}, i32 0, i32 3, i32 1)")

    def load(self, p: str, d: dtype, lanes: int = 1, mask: Num | None = None) -> Num:
        """The elements at `p`; zero where the mask is off."""
        mem = MEMORY[d]
        ty = vector(mem, lanes)
        if mask is None:
            got = self.raw(f"load {ty}, ptr {p}, align {d.itemsize}")
        else:
            name = f"llvm.masked.load.{suffix(mem, lanes)}.p0"
            self.declares[f"declare {ty} @{name}(ptr, i32, {mask.ty}, {ty})"] = None
            got = self.raw(f"call {ty} @{name}(ptr {p}, i32 {d.itemsize}, {mask.ty} {mask.text}, {ty} zeroinitializer)")
        return self.from_memory(got, d, lanes)

    def gather(self, p: str, index: Num, d: dtype, mask: Num | None = None) -> Num:
        """The elements at `index` (int64 lanes) from `p`."""
        lanes, mem = index.lanes, MEMORY[d]
        ty = vector(mem, lanes)
        where = self.raw(f"getelementptr {mem}, ptr {p}, {index.ty} {index.text}")
        name = f"llvm.masked.gather.{suffix(mem, lanes)}.{suffix('p0', lanes)}"
        self.declares[f"declare {ty} @{name}(<{lanes} x ptr>, i32, <{lanes} x i1>, {ty})"] = None
        on = "splat (i1 true)" if mask is None else mask.text
        got = self.raw(f"call {ty} @{name}(<{lanes} x ptr> {where}, i32 {d.itemsize}, <{lanes} x i1> {on}, {ty} zeroinitializer)")
        return self.from_memory(got, d, lanes)

    def store(self, x: Num, p: str, d: dtype, mask: Num | None = None, stream: bool = False) -> None:
        text, mem = self.to_memory(x, d)
        ty = vector(mem, x.lanes)
        if mask is None:
            align = x.lanes * d.itemsize if stream else d.itemsize
            self.put(f"store {ty} {text}, ptr {p}, align {align}" + (", !nontemporal !0" if stream else ""))
            return
        name = f"llvm.masked.store.{suffix(mem, x.lanes)}.p0"
        self.declares[f"declare void @{name}({ty}, ptr, i32, {mask.ty})"] = None
        self.put(f"call void @{name}({ty} {text}, ptr {p}, i32 {d.itemsize}, {mask.ty} {mask.text})")

    def scatter(self, x: Num, p: str, index: Num, d: dtype, mask: Num | None = None) -> None:
        x = self.spread(x, index.lanes)
        text, mem = self.to_memory(x, d)
        lanes = x.lanes
        ty = vector(mem, lanes)
        where = self.raw(f"getelementptr {mem}, ptr {p}, {index.ty} {index.text}")
        name = f"llvm.masked.scatter.{suffix(mem, lanes)}.{suffix('p0', lanes)}"
        self.declares[f"declare void @{name}({ty}, <{lanes} x ptr>, i32, <{lanes} x i1>)"] = None
        on = "splat (i1 true)" if mask is None else mask.text
        self.put(f"call void @{name}({ty} {text}, <{lanes} x ptr> {where}, i32 {d.itemsize}, <{lanes} x i1> {on})")

    def from_memory(self, got: str, d: dtype, lanes: int) -> Num:
        """What was loaded, as a register holds it."""
        mem = vector(MEMORY[d], lanes)
        if d is dt.bool_:
            return self.op(f"icmp ne {mem} {got}, {'zeroinitializer' if lanes > 1 else 0}", d, lanes)
        if d is dt.bfloat16:
            wide = self.op(f"zext {mem} {got} to {vector('i32', lanes)}", dt.uint32, lanes)
            return self.unbits(wide << 16)
        if d is dt.float16:
            if self.isa.half:
                half = self.raw(f"bitcast {mem} {got} to {vector('half', lanes)}")
                return self.op(f"fpext {vector('half', lanes)} {half} to {vector('float', lanes)}", dt.float32, lanes)
            u = self.op(f"zext {mem} {got} to {vector('i32', lanes)}", dt.uint32, lanes)
            a = (u & 0x7FFF) << 13
            x = self.unbits(a) * 2.0 ** 112                                         # exact: denormals become normal
            x = self.select(a >= 0x0F800000, self.unbits(a | 0x7F800000), x)
            return self.unbits(self.bits(x) | self.bitcast((u & 0x8000) << 16, dt.int32))
        return Num(self, got, d, lanes)

    def to_memory(self, x: Num, d: dtype) -> tuple[str, str]:
        """(text, type) of a register's value as a buffer of dtype `d` holds it."""
        mem = MEMORY[d]
        if d is dt.bool_:
            return self.raw(f"zext {x.ty} {x.text} to {vector(mem, x.lanes)}"), mem
        if d in LOW:
            return self.half_bits(x, d), mem
        return x.text, mem

    # ------------------------------------------------------------------------------------------------ what changes
    def slot(self, d: dtype, lanes: int = 1, init: Num | None = None) -> Slot:
        name = self.fresh("%s")
        self.slots.append(f"  {name} = alloca {vector(TYPES[d], lanes)}")
        s = Slot(self, name, d, lanes)
        if init is not None:
            s.set(init)
        return s

    # ------------------------------------------------------------------------------------------------ lanes
    def iota(self, lanes: int, step: int = 1, d: dtype = dt.int64) -> Num:
        """0, step, 2*step, ..."""
        ty = TYPES[d]
        return Num(self, "<" + ", ".join([f"{ty} {i * step}" for i in range(lanes)]) + ">", d, lanes)

    def shuffle(self, x: Num, lanes) -> Num:
        """The lanes that are named."""
        order = ", ".join([f"i32 {i}" for i in lanes])
        return self.op(f"shufflevector {x.ty} {x.text}, {x.ty} poison, <{len(lanes)} x i32> <{order}>", x.dtype, len(lanes))

    def lane(self, x: Num, i: int) -> Num:
        return self.op(f"extractelement {x.ty} {x.text}, i64 {i}", x.dtype)

    # ------------------------------------------------------------------------------------------------ control
    @contextmanager
    def when(self, cond: Num):
        inside, out = self.fresh("then"), self.fresh("fi")
        self.put(f"br i1 {cond.text}, label %{inside}, label %{out}")
        self.label(inside)
        yield
        self.put(f"br label %{out}")
        self.label(out)

    @contextmanager
    def loop(self, lo: Num, hi: Num, step: int):
        """`for i in range(lo, hi, step)`, which is known to run at least once."""
        head, out, before = self.fresh("loop"), self.fresh("done"), self.block
        i, after = self.fresh("%i"), self.fresh("%n")
        self.put(f"br label %{head}")
        self.label(head)
        place = len(self.lines)
        self.lines.append("")
        yield Num(self, i, dt.int64)
        grown = self.raw(f"add nuw nsw i64 {i}, {step}")
        self.put(f'{after} = call i64 asm "", "=r,0"(i64 {grown})')      # hides the counter from strength reduction, which is slow
        more = self.raw(f"icmp slt i64 {after}, {hi.text}")
        self.put(f"br i1 {more}, label %{head}, label %{out}")
        self.lines[place] = f"  {i} = phi i64 [ {lo.text}, %{before} ], [ {after}, %{self.block} ]"
        self.label(out)


class Slot:
    """A register that changes."""

    __slots__ = ("w", "name", "dtype", "lanes")

    def __init__(self, w: Writer, name: str, d: dtype, lanes: int):
        self.w, self.name, self.dtype, self.lanes = w, name, d, lanes

    def get(self) -> Num:
        return self.w.op(f"load {vector(TYPES[self.dtype], self.lanes)}, ptr {self.name}", self.dtype, self.lanes)

    def set(self, x: Num) -> None:
        x = self.w.spread(x, self.lanes)
        self.w.put(f"store {x.ty} {x.text}, ptr {self.name}")
