"""Writes LLVM functions as text: SSA values with Python operators, loops and branches as `with` blocks.

In: an `Isa` (vector bits and registers) and a float type. Out: `Module`, the text of functions and the declarations they
need. Hand-scheduled code (products of matrices, attention, recurrent layers, random words) is written with it; loop IR
has its own emitter. An index may be a Python int wherever it may be a run-time value: constants fold as they are written, and a
`SymInt` becomes an argument (symbolic.py).
Registers that change are `Var`s: stack slots that LLVM's first pass turns into registers.
"""
from __future__ import annotations

import struct
from contextlib import contextmanager

from .isa import SIZES, Isa
from .symbolic import SymInt, Symbols

# How an extern's function is called (backend.py).
EXTERN_PARAMS = "ptr views, i64 tid, i64 nth, ptr scratch, ptr shared, ptr sizes"


class Val(str):
    """One SSA value: its text, its LLVM type and the function it lives in. `+ - *` on it write instructions."""

    __slots__ = ("ty", "fn")

    def __add__(self, other):
        return self.fn.add(self, other)

    def __radd__(self, other):
        return self.fn.add(self, other)

    def __sub__(self, other):
        return self.fn.sub(self, other)

    def __rsub__(self, other):
        return self.fn.sub(other, self)

    def __mul__(self, other):
        return self.fn.mul(self, other)

    __rmul__ = __mul__


class Var:
    """A register that changes."""

    __slots__ = ("fn", "slot", "ty")

    def __init__(self, fn, slot, ty):
        self.fn, self.slot, self.ty = fn, slot, ty

    def get(self) -> Val:
        return self.fn.op(self.ty, f"load {self.ty}, ptr {self.slot}")

    def set(self, value) -> None:
        self.fn.put(f"store {self.ty} {self.fn.text_of(value, self.ty)}, ptr {self.slot}")


def is_plain(x, n: int) -> bool:
    """Whether `x` is the number `n` for all sizes."""
    return not isinstance(x, (Val, SymInt)) and x == n


def scalar_of(ty: str) -> str:
    """The element type of a vector type."""
    return ty[ty.index("x ") + 2:-1] if ty[0] == "<" else ty


def lanes_of(ty: str) -> int:
    return int(ty[1:ty.index(" ")]) if ty[0] == "<" else 1


def vector(ty: str, lanes: int) -> str:
    return ty if lanes == 1 else f"<{lanes} x {ty}>"


def number(value, ty: str) -> str:
    """A constant of a scalar type as LLVM writes it; floats as the bits of a double."""
    if ty == "float":
        value = struct.unpack("f", struct.pack("f", value))[0]
    elif ty != "double":
        return str(int(value))
    return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"


def suffix(ty: str) -> str:
    """How intrinsics name a type: v16f32."""
    name = {"float": "f32", "double": "f64", "half": "f16"}.get(scalar_of(ty), scalar_of(ty))
    return name if ty[0] != "<" else f"v{lanes_of(ty)}{name}"


class Module:
    """Functions, and what they declare. `text` is a whole module; `functions` and `declares` are for joining with others. With
    `symbolic`, SymInts may be written: every internal function gets the table of sizes as its last argument."""

    def __init__(self, isa: Isa, symbolic: bool = False):
        self.isa, self.symbolic = isa, symbolic
        self.symbols = Symbols()
        self.functions: list[str] = []
        self.declares: dict[str, None] = {}
        self.attributes = f'attributes #7 = {{ nounwind "prefer-vector-width"="{isa.bits}" "min-legal-vector-width"="{isa.bits}" }}'

    def declare(self, line: str) -> None:
        self.declares[line] = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """What the argument `sizes` of its functions must point to."""
        return tuple(self.symbols.words)

    @property
    def text(self) -> str:
        return "\n".join([*self.functions, *self.declares, self.attributes, ""])


class Fn:
    """One function being written. `ty` is its float type and `v` the vector of it that fills a register."""

    def __init__(self, module: Module, name: str, params: str, ty: str = "float", *, internal: bool = False, exact: bool = False):
        self.module, self.name, self.ty, self.internal = module, name, ty, internal
        self.flags = "" if exact else "contract "       # exact: a product and a sum are rounded one by one
        self.lanes = module.isa.lanes(ty)
        self.v = vector(ty, self.lanes)
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.count = 0
        self.block = "entry"
        if internal and module.symbolic:
            params += ", ptr sizes"
        self.params = [p.rsplit(" ", 1) for p in params.split(", ")]
        for kind, param in self.params:
            setattr(self, "p_" + param, self.val("%" + param, kind.split(" ")[0]))

    # -------------------------------------------------------------------------------------------- the plumbing
    def val(self, text: str, ty: str) -> Val:
        v = Val(text)
        v.ty, v.fn = ty, self
        return v

    def put(self, line: str) -> None:
        self.lines.append("  " + line)

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def op(self, ty: str, code: str) -> Val:
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {code}")
        return self.val(name, ty)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def text_of(self, value, ty: str) -> str:
        """A value or a number as an operand of type `ty`; numbers fill vectors."""
        if isinstance(value, Val):
            return value
        if isinstance(value, SymInt) and ty == "i64" and self.module.symbolic:
            return self.module.symbols.name(value)
        one = number(value, scalar_of(ty))
        return f"splat ({scalar_of(ty)} {one})" if ty[0] == "<" else one

    def run_time(self, n) -> Val:
        """A size as a value: what is decided by it is decided when the code runs."""
        return n if isinstance(n, Val) else self.val(self.text_of(n, "i64"), "i64")

    def end(self) -> None:
        """Finish the function: it joins the module."""
        head = "define internal void" if self.internal else "define void"
        params = ", ".join(f"{kind} %{name}" for kind, name in self.params)
        self.module.functions.append("\n".join([f"{head} @{self.name}({params}) #7 {{", "entry:", *self.slots,
                                                *self.module.symbols.loads(self.lines), *self.lines, "  ret void", "}"]))

    # -------------------------------------------------------------------------------------------- numbers
    def _two(self, a, b):
        ty = a.ty if isinstance(a, Val) else b.ty
        real = scalar_of(ty) in ("float", "double")
        return ty, real, self.text_of(a, ty), self.text_of(b, ty)

    def add(self, a, b):
        if not isinstance(a, Val) and not isinstance(b, Val):
            return a + b
        ty, real, x, y = self._two(a, b)
        if not real and (is_plain(b, 0) or is_plain(a, 0)):
            return a if is_plain(b, 0) else b
        return self.op(ty, f"fadd {self.flags}{ty} {x}, {y}" if real else f"add nsw {ty} {x}, {y}")

    def sub(self, a, b):
        if not isinstance(a, Val) and not isinstance(b, Val):
            return a - b
        ty, real, x, y = self._two(a, b)
        if not real and is_plain(b, 0):
            return a
        return self.op(ty, f"fsub {self.flags}{ty} {x}, {y}" if real else f"sub nsw {ty} {x}, {y}")

    def mul(self, a, b):
        if not isinstance(a, Val) and not isinstance(b, Val):
            return a * b
        ty, real, x, y = self._two(a, b)
        if not real:
            value, n = (a, b) if not isinstance(b, Val) else (b, a)
            if is_plain(n, 0) or is_plain(n, 1):
                return value if n else 0
        return self.op(ty, f"fmul {self.flags}{ty} {x}, {y}" if real else f"mul nsw {ty} {x}, {y}")

    def div(self, a, b):
        """Real quotient, or integer quotient of values that are not negative."""
        if not isinstance(a, Val) and not isinstance(b, Val):
            return a // b
        ty, real, x, y = self._two(a, b)
        return self.op(ty, f"{'fdiv' if real else 'udiv'} {ty} {x}, {y}")

    def rem(self, a, b):
        if not isinstance(a, Val) and not isinstance(b, Val):
            return a % b
        ty, _, x, y = self._two(a, b)
        return self.op(ty, f"urem {ty} {x}, {y}")

    def int_op(self, name: str, a, b) -> Val:
        """and, or, xor, shl, lshr, ashr."""
        ty, _, x, y = self._two(a, b)
        return self.op(ty, f"{name} {ty} {x}, {y}")

    def fma(self, a, b, c) -> Val:
        """a * b + c, in one rounding where the machine can."""
        return self.add(self.mul(a, b), c)

    def negate(self, a: Val) -> Val:
        return self.op(a.ty, f"fneg {a.ty} {a}")

    def fill(self, value, ty: str) -> Val:
        """A constant, in all lanes."""
        return self.val(self.text_of(value, ty), ty)

    def compare(self, how: str, a, b):
        """lt, le, eq, ne, gt, ge (signed); False on NaN but for ne."""
        if not isinstance(a, Val) and not isinstance(b, Val):
            return {"lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b, "gt": a > b, "ge": a >= b}[how]
        ty, real, x, y = self._two(a, b)
        code = ("fcmp " + ("une" if how == "ne" else "o" + how)) if real else "icmp " + (how if how in ("eq", "ne") else "s" + how)
        return self.op(vector("i1", lanes_of(ty)), f"{code} {ty} {x}, {y}")

    def select(self, cond, a, b):
        if not isinstance(cond, Val):
            return a if cond else b
        ty = a.ty if isinstance(a, Val) else b.ty if isinstance(b, Val) else "i64"
        return self.op(ty, f"select {cond.ty} {cond}, {ty} {self.text_of(a, ty)}, {ty} {self.text_of(b, ty)}")

    def least(self, a, b):
        return min(a, b) if not isinstance(a, Val) and not isinstance(b, Val) else self.select(self.compare("lt", a, b), a, b)

    def most(self, a, b):
        return max(a, b) if not isinstance(a, Val) and not isinstance(b, Val) else self.select(self.compare("gt", a, b), a, b)

    def top(self, a, b) -> Val:
        """The larger, `b` where `a` is NaN: one instruction on x86."""
        ty = a.ty
        return self.op(ty, f"select {vector('i1', lanes_of(ty))} {self.compare('gt', a, b)}, {ty} {a}, {ty} {self.text_of(b, ty)}")

    def ceil_div(self, a, n: int):
        return self.div(self.add(a, n - 1), n)

    def call(self, name: str, ty: str, *args) -> Val:
        """A vector intrinsic of one type: sqrt, rint, fabs, copysign, ..."""
        full = f"llvm.{name}.{suffix(ty)}"
        self.module.declare(f"declare {ty} @{full}({', '.join([ty] * len(args))})")
        return self.op(ty, f"call {ty} @{full}({', '.join(f'{ty} {self.text_of(a, ty)}' for a in args)})")

    def cast(self, code: str, a: Val, ty: str) -> Val:
        """bitcast, sitofp, fptosi, zext, trunc, ..."""
        return self.op(ty, f"{code} {a.ty} {a} to {ty}")

    def shuffle(self, a: Val, b: Val | None, lanes) -> Val:
        ty = vector(scalar_of(a.ty), len(lanes))
        mask = ", ".join(f"i32 {i}" for i in lanes)
        return self.op(ty, f"shufflevector {a.ty} {a}, {a.ty} {'poison' if b is None else b}, <{len(lanes)} x i32> <{mask}>")

    def splat(self, a: Val, lanes: int | None = None) -> Val:
        lanes = lanes or self.module.isa.lanes(a.ty)
        if lanes == 1:
            return a
        ty = vector(a.ty, lanes)
        one = self.op(ty, f"insertelement {ty} poison, {a.ty} {a}, i64 0")
        return self.op(ty, f"shufflevector {ty} {one}, {ty} poison, <{lanes} x i32> zeroinitializer")

    def insert(self, a: Val, one: Val, lane: int) -> Val:
        return self.op(a.ty, f"insertelement {a.ty} {a}, {one.ty} {one}, i64 {lane}")

    def reduce(self, how: str, a: Val) -> Val:
        """fadd, fmax: all lanes to one number, in halves (the same order every time)."""
        def join(x, y):
            return self.add(x, y) if how == "fadd" else self.top(x, y)
        n = lanes_of(a.ty)
        while n > 2:
            n //= 2
            a = join(self.shuffle(a, None, range(n)), self.shuffle(a, None, range(n, 2 * n)))
        return a if n == 1 else join(*[self.op(scalar_of(a.ty), f"extractelement {a.ty} {a}, i64 {i}") for i in (0, 1)])

    def mask(self, n, ty: str | None = None):
        """Lanes below `n`; None when that is all of them for sure."""
        lanes = lanes_of(ty or self.v)
        if not isinstance(n, Val):
            if n >= lanes:
                return None
            bits = ", ".join(f"i1 {int(i < n)}" for i in range(lanes))
            return self.val(f"<{bits}>", f"<{lanes} x i1>")
        iota = ", ".join(f"i32 {i}" for i in range(lanes))
        low = self.splat(self.op("i32", f"trunc i64 {self.least(self.most(n, 0), lanes)} to i32"), lanes)
        return self.op(f"<{lanes} x i1>", f"icmp slt <{lanes} x i32> <{iota}>, {low}")

    # -------------------------------------------------------------------------------------------- memory
    def at(self, p, index, ty: str | None = None) -> Val:
        """The address of element `index`."""
        if is_plain(index, 0):
            return p
        return self.op("ptr", f"getelementptr inbounds {ty or self.ty}, ptr {p}, i64 {self.text_of(index, 'i64')}")

    def load(self, p, index=0, ty: str | None = None, mask: Val | None = None) -> Val:
        """A vector (or what `ty` says) at element `index`; zero where the mask is off."""
        ty = ty or self.v
        p = self.at(p, index, scalar_of(ty))
        align = SIZES.get(scalar_of(ty), 8)
        if mask is None:
            return self.op(ty, f"load {ty}, ptr {p}, align {align}")
        name = f"llvm.masked.load.{suffix(ty)}.p0"
        self.module.declare(f"declare {ty} @{name}(ptr, i32, {mask.ty}, {ty})")
        return self.op(ty, f"call {ty} @{name}(ptr {p}, i32 {align}, {mask.ty} {mask}, {ty} zeroinitializer)")

    def store(self, value: Val, p, index=0, mask: Val | None = None) -> None:
        ty = value.ty
        p = self.at(p, index, scalar_of(ty))
        align = SIZES.get(scalar_of(ty), 8)
        if mask is not None and mask.startswith("<i1 1, i1 0"):
            # the first lane alone, as a number: LLVM 22 stores four bytes where a truncated vector's mask has one lane
            value, mask, ty = self.op(scalar_of(ty), f"extractelement {ty} {value}, i64 0"), None, scalar_of(ty)
        if mask is None:
            self.put(f"store {ty} {value}, ptr {p}, align {align}")
            return
        name = f"llvm.masked.store.{suffix(ty)}.p0"
        self.module.declare(f"declare void @{name}({ty}, ptr, i32, {mask.ty})")
        self.put(f"call void @{name}({ty} {value}, ptr {p}, i32 {align}, {mask.ty} {mask})")

    def read(self, p, index, memory: str, lanes: int = 0, mask: Val | None = None) -> Val:
        """A vector (or `lanes` numbers) of this function's type, from memory that holds `memory`: the type itself, half, or
        i16 for bfloat16."""
        lanes = lanes or self.lanes
        if memory == self.ty:
            return self.load(p, index, vector(memory, lanes), mask)
        x = self.load(p, index, vector(memory, lanes), mask)
        if memory == "half":
            return self.cast("fpext", x, vector(self.ty, lanes))
        wide = self.cast("zext", x, vector("i32", lanes))
        return self.cast("bitcast", self.int_op("shl", wide, 16), vector(self.ty, lanes))

    def write(self, value: Val, p, index, memory: str, mask: Val | None = None) -> None:
        """The reverse of `read`: rounded to nearest even."""
        lanes = lanes_of(value.ty)
        if memory == "half":
            value = self.cast("fptrunc", value, vector("half", lanes))
        elif memory != self.ty:
            ty = vector("i32", lanes)
            bits = self.cast("bitcast", value, ty)
            odd = self.int_op("and", self.int_op("lshr", bits, 16), 1)
            rounded = self.int_op("lshr", self.op(ty, f"add {ty} {self.op(ty, f'add {ty} {bits}, {odd}')}, {self.fill(0x7FFF, ty)}"), 16)
            nan = self.op(vector("i1", lanes), f"fcmp uno {value.ty} {value}, {value}")
            value = self.cast("trunc", self.select(nan, self.fill(0x7FC0, ty), rounded), vector("i16", lanes))
        self.store(value, p, index, mask)

    def spread(self, p, index=0) -> Val:
        """The number at `index` in all lanes."""
        return self.splat(self.load(p, index, self.ty), self.lanes)

    def zero(self, ty: str | None = None) -> Val:
        return self.val("zeroinitializer" if (ty or self.v)[0] == "<" else "0.0", ty or self.v)

    def var(self, init, ty: str | None = None) -> Var:
        ty = ty or (init.ty if isinstance(init, Val) else "i64")
        slot = "%" + self.fresh("slot")
        self.slots.append(f"  {slot} = alloca {ty}")
        var = Var(self, slot, ty)
        var.set(init)
        return var

    # -------------------------------------------------------------------------------------------- control
    @contextmanager
    def loop(self, lo, hi, step=1):
        """`for i in range(lo, hi, step)`, with step > 0."""
        lo, hi, step = (self.text_of(n, "i64") for n in (lo, hi, step))
        head, body, out = self.fresh("head"), self.fresh("body"), self.fresh("out")
        before, at, i = self.block, self.fresh("%i"), self.fresh("%n")
        self.put(f"br label %{head}")
        self.label(head)
        place = len(self.lines)
        cond = self.op("i1", f"icmp slt i64 {at}, {hi}")
        self.put(f"br i1 {cond}, label %{body}, label %{out}")
        self.label(body)
        yield self.val(at, "i64")
        self.put(f"{i} = add nsw i64 {at}, {step}")
        self.lines.insert(place, f"  {at} = phi i64 [ {lo}, %{before} ], [ {i}, %{self.block} ]")
        self.put(f"br label %{head}")
        self.label(out)

    @contextmanager
    def when(self, cond):
        """A branch. A Python bool decides here and now; then the code is written or thrown away."""
        if not isinstance(cond, Val):
            kept = len(self.lines), self.block
            yield
            if not cond:
                del self.lines[kept[0]:]
                self.block = kept[1]
            return
        then, out = self.fresh("then"), self.fresh("fi")
        self.put(f"br i1 {cond}, label %{then}, label %{out}")
        self.label(then)
        yield
        self.put(f"br label %{out}")
        self.label(out)

    @contextmanager
    def unless(self, cond):
        with self.when((not cond) if not isinstance(cond, Val) else self.op("i1", f"xor i1 {cond}, true")):
            yield

    def invoke(self, name: str, *args) -> None:
        """Call a function of this module; numbers are passed as i64."""
        given = [f"{a.ty} {a}" if isinstance(a, Val) else f"i64 {self.text_of(a, 'i64')}" for a in args]
        self.put(f"call void @{name}({', '.join([*given, 'ptr %sizes'] if self.module.symbolic else given)})")
