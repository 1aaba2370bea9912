"""What arithmetic on loop IR's values means in LLVM: operations, conversions, calls.

In: `Num`s of one function being written. Out: the Num that an operation gives; its instructions are in the function's lines.

True always: no instruction is contracted or reassociated; integers wrap; nothing traps. Roots and quotients of floats are
rounded correctly, except a quotient by what all lanes share, which may miss the last bit.
"""
from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..core import dtype as dt
from ..core.dtype import dtype
from .symbolic import SymFloat, SymInt

if TYPE_CHECKING:
    from .ssa import Writer

TYPES = {dt.float32: "float", dt.float64: "double", dt.float16: "float", dt.bfloat16: "float", dt.bool_: "i1",
         dt.int8: "i8", dt.uint8: "i8", dt.int16: "i16", dt.uint16: "i16", dt.int32: "i32", dt.uint32: "i32",
         dt.int64: "i64", dt.uint64: "i64"}
MEMORY = {**TYPES, dt.float16: "i16", dt.bfloat16: "i16", dt.bool_: "i8"}
LOW = (dt.float16, dt.bfloat16)
_INT_OF = {4: dt.int32, 8: dt.int64}
_COMPARE = {"eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"), "lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"),
            "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge")}
MAGIC = {dt.float32: 1.5 * 2.0 ** 23, dt.float64: 1.5 * 2.0 ** 52}      # adding it rounds to a whole number
LIBM = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh", "erf", "erfc", "sin", "cos", "tan", "asin",
        "acos", "atan", "atan2", "pow", "fmod", "fma")


def literal(value, ty: str) -> str:
    """A constant of a scalar type as LLVM writes it; floats as the bits of a double."""
    if ty == "float":
        value = float32(value)
    elif ty != "double":
        return ("true" if value else "false") if ty == "i1" else str(int(value))
    return f"0x{struct.unpack('Q', struct.pack('d', float(value)))[0]:016X}"


def float32(value) -> float:
    """A number rounded to float32."""
    value = float(value)
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Num:
    """A value. `const` is its number, if it is a constant."""

    __slots__ = ("text", "dtype", "lanes", "w", "const")

    def __init__(self, w: Writer, text: str, d: dtype, lanes: int = 1, const=None):
        self.w, self.text, self.dtype, self.lanes, self.const = w, text, d, lanes, const

    @property
    def ty(self) -> str:
        return vector(TYPES[self.dtype], self.lanes)

    def __add__(self, other):
        return self.w.arith("add", self, other)

    def __radd__(self, other):
        return self.w.arith("add", other, self)

    def __sub__(self, other):
        return self.w.arith("sub", self, other)

    def __rsub__(self, other):
        return self.w.arith("sub", other, self)

    def __mul__(self, other):
        return self.w.arith("mul", self, other)

    def __rmul__(self, other):
        return self.w.arith("mul", other, self)

    def __truediv__(self, other):
        return self.w.arith("div", self, other)

    def __rtruediv__(self, other):
        return self.w.arith("div", other, self)

    def __neg__(self):
        return self.w.neg(self)

    def __lt__(self, other):
        return self.w.compare("lt", self, other)

    def __le__(self, other):
        return self.w.compare("le", self, other)

    def __gt__(self, other):
        return self.w.compare("gt", self, other)

    def __ge__(self, other):
        return self.w.compare("ge", self, other)

    def __and__(self, other):
        return self.w.bits2("and", self, other)

    def __or__(self, other):
        return self.w.bits2("or", self, other)

    def __xor__(self, other):
        return self.w.bits2("xor", self, other)

    def __lshift__(self, n):
        return self.w.bits2("shl", self, n)

    def __rshift__(self, n):
        return self.w.bits2("ashr" if self.dtype.is_signed else "lshr", self, n)


def vector(ty: str, lanes: int) -> str:
    return ty if lanes == 1 else f"<{lanes} x {ty}>"


def suffix(ty: str, lanes: int) -> str:
    """How intrinsics name a type: v16f32."""
    ty = {"float": "f32", "double": "f64"}.get(ty, ty)
    return ty if lanes == 1 else f"v{lanes}{ty}"


class Numeric:
    """The arithmetic of a Writer."""

    # ------------------------------------------------------------------------------------------------ plumbing
    def fresh(self, stem: str = "%t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def put(self, line: str) -> None:
        self.lines.append("  " + line)

    def op(self, code: str, d: dtype, lanes: int = 1) -> Num:
        self.count += 1
        name = f"%t{self.count}"
        self.lines.append(f"  {name} = {code}")
        return Num(self, name, d, lanes)

    def raw(self, code: str) -> str:
        """An instruction whose result is no number: its name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {code}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def const(self, value, d: dtype) -> Num:
        if isinstance(value, (SymInt, SymFloat)):
            return self.argument(value, d)
        return Num(self, literal(value, TYPES[d]), d, 1, value)

    def argument(self, value: SymInt | SymFloat, d: dtype) -> Num:
        """A number that is passed at run time."""
        x = Num(self, self.symbols.name(value), dt.int64)
        if isinstance(value, SymInt):
            return self.cast(x, d)
        x = self.unbits(x)
        return x if d is dt.float64 else self.narrow(x)

    def int(self, value: int) -> Num:
        return self.const(value, dt.int64)

    def spread(self, x: Num, lanes: int) -> Num:
        """`x` in all lanes."""
        if x.lanes == lanes:
            return x
        ty = TYPES[x.dtype]
        if x.const is not None:
            return Num(self, f"splat ({ty} {x.text})", x.dtype, lanes, x.const)
        one = self.raw(f"insertelement <{lanes} x {ty}> poison, {ty} {x.text}, i64 0")
        return self.op(f"shufflevector <{lanes} x {ty}> {one}, <{lanes} x {ty}> poison, <{lanes} x i32> zeroinitializer", x.dtype, lanes)

    def number(self, x, d: dtype) -> Num:
        return x if isinstance(x, Num) else self.const(x, d)

    def pair(self, a, b) -> tuple[Num, Num]:
        """Two operands as Nums of equal lanes; a Python number takes the other's dtype."""
        if not isinstance(a, Num):
            a = self.const(a, b.dtype)
        elif not isinstance(b, Num):
            b = self.const(b, a.dtype)
        if a.lanes != b.lanes:
            lanes = max(a.lanes, b.lanes)
            a, b = self.spread(a, lanes), self.spread(b, lanes)
        return a, b

    def intrinsic(self, name: str, *args: Num, d: dtype | None = None) -> Num:
        """An intrinsic over one type: sqrt, rint, fma, copysign, ..."""
        a = args[0]
        ty, full = a.ty, f"llvm.{name}.{suffix(TYPES[a.dtype], a.lanes)}"
        self.declares[f"declare {ty} @{full}({', '.join([ty] * len(args))})"] = None
        return self.op(f"call {ty} @{full}({', '.join([f'{ty} {x.text}' for x in args])})", d or a.dtype, a.lanes)

    def convert(self, code: str, x: Num, d: dtype) -> Num:
        """sitofp, zext, bitcast, ... to the register type of `d`."""
        return self.op(f"{code} {x.ty} {x.text} to {vector(TYPES[d], x.lanes)}", d, x.lanes)

    # ------------------------------------------------------------------------------------------------ arithmetic
    def arith(self, name: str, a, b) -> Num:
        """add, sub, mul, div."""
        a, b = self.pair(a, b)
        d = a.dtype
        if d.is_floating_point:
            return self.op(f"f{name} {a.ty} {a.text}, {b.text}", d, a.lanes)
        if d is dt.int64 and a.lanes == 1:
            found = self.fold(name, a, b)
            if found is not None:
                return found
        return self.op(f"{name} {a.ty} {a.text}, {b.text}", d, a.lanes)

    def fold(self, name: str, a: Num, b: Num) -> Num | None:
        """Index arithmetic that needs no instruction."""
        x, y = a.const, b.const
        if x is not None and y is not None:
            return self.int(x + y if name == "add" else x - y if name == "sub" else x * y)
        if name == "mul":
            if x == 0 or y == 1:
                return a
            return b if x == 1 or y == 0 else None
        if y == 0:
            return a
        return b if x == 0 and name == "add" else None

    def neg(self, a: Num) -> Num:
        if a.dtype.is_floating_point:
            return self.op(f"fneg {a.ty} {a.text}", a.dtype, a.lanes)
        return self.arith("sub", 0, a)

    def abs(self, a: Num) -> Num:
        if a.dtype.is_floating_point:
            return self.intrinsic("fabs", a)
        if not a.dtype.is_signed:
            return a
        return self.select(a < 0, self.neg(a), a)

    def fma(self, a, b, c) -> Num:
        """a * b + c with one rounding (without the instruction, float32 is rounded once from float64)."""
        like = next(x for x in (a, b, c) if isinstance(x, Num))
        a, b, c = [self.number(x, like.dtype) for x in (a, b, c)]
        lanes = max(a.lanes, b.lanes, c.lanes)
        a, b, c = [self.spread(x, lanes) for x in (a, b, c)]
        if self.isa.fma or like.dtype is dt.float64:
            return self.intrinsic("fma", a, b, c)
        a, b, c = [self.convert("fpext", x, dt.float64) for x in (a, b, c)]
        return self.convert("fptrunc", a * b + c, dt.float32)

    def mad(self, a, b, c) -> Num:
        """a * b + c, in one rounding or two: for the early terms of polynomials."""
        return self.fma(a, b, c) if self.isa.fma else a * b + c

    def inverse(self, b: Num) -> tuple[Num, Num, Num]:
        """(s, b s, 1 / (b s)) with a power of two s that keeps all of them normal."""
        small = self.abs(b) < 2.0 ** -64
        large = self.abs(b) > 2.0 ** 64
        s = self.select(small, 2.0 ** 64, self.select(large, self.const(2.0 ** -64, b.dtype), 1.0))
        by = b * s
        return s, by, 1.0 / by

    def by_inverse(self, a: Num, s: Num, b: Num, y: Num) -> Num:
        """a s / b from y = 1 / b: the product, put right by its remainder (P. Markstein, 1990), which is a tenth of a division.
        Where there is no remainder to be had (zeros, infinities, nan, results near the ends) the product stands."""
        a = a * s
        q = a * y
        better = self.fma(self.fma(-q, b, a), y, q)
        i = self.bits(q)
        low, high, most = (0x0D800000, 0x72000000, 0x7FFFFFFF) if a.dtype.itemsize == 4 else (1 << 60, 0x7 << 60, (1 << 63) - 1)
        unsigned = self.bitcast((i & most) - low, dt.uint32 if a.dtype.itemsize == 4 else dt.uint64)
        return self.select(unsigned < high - low, better, q)

    def compare(self, name: str, a, b) -> Num:
        a, b = self.pair(a, b)
        real, signed, unsigned = _COMPARE[name]
        if a.dtype.is_floating_point:
            code = f"fcmp {real}"
        else:
            code = f"icmp {signed if a.dtype.is_signed else unsigned}"
        return self.op(f"{code} {a.ty} {a.text}, {b.text}", dt.bool_, a.lanes)

    def isnan(self, a: Num) -> Num:
        return self.op(f"fcmp uno {a.ty} {a.text}, {a.text}", dt.bool_, a.lanes)

    def bits2(self, name: str, a, b) -> Num:
        """and, or, xor, shl, lshr, ashr."""
        a, b = self.pair(a, b)
        return self.op(f"{name} {a.ty} {a.text}, {b.text}", a.dtype, a.lanes)

    def invert(self, a: Num) -> Num:
        return self.bits2("xor", a, self.const(True if a.dtype is dt.bool_ else -1, a.dtype))

    def select(self, c: Num, a, b) -> Num:
        a, b = self.pair(a, b)
        lanes = max(c.lanes, a.lanes)
        if c.lanes == 1 and lanes > 1:                # a scalar condition chooses between whole vectors
            return self.op(f"select i1 {c.text}, {a.ty} {a.text}, {b.ty} {b.text}", a.dtype, lanes)
        a, b = self.spread(a, lanes), self.spread(b, lanes)
        return self.op(f"select {c.ty} {c.text}, {a.ty} {a.text}, {b.ty} {b.text}", a.dtype, lanes)

    where = select

    def shift(self, name: str, a: Num, n: Num) -> Num:
        """shl or shr of any amount: from the width on nothing is left (shr: but the sign)."""
        width = 8 * a.dtype.itemsize
        if n.const is not None:
            if n.const >= width and not (name == "shr" and a.dtype.is_signed):
                return self.const(0, a.dtype)
            return self._shift(name, a, self.const(min(n.const, width - 1), a.dtype))
        a, n = self.pair(a, n)
        fits = self.op(f"icmp ult {n.ty} {n.text}, {self.spread(self.const(width, n.dtype), n.lanes).text}", dt.bool_, n.lanes)
        got = self._shift(name, a, self.select(fits, n, self.const(width - 1, n.dtype)))
        return got if name == "shr" and a.dtype.is_signed else self.select(fits, got, self.const(0, a.dtype))

    def _shift(self, name: str, a, n) -> Num:
        return self.bits2("shl" if name == "shl" else "ashr" if a.dtype.is_signed else "lshr", a, n)

    def sqrt(self, x: Num) -> Num:
        """The root, rounded correctly. For 16 floats the machine's estimate of 1/sqrt(x) is refined (P. Markstein, 1990; checked
        for every mantissa): the instruction takes as long as 35 others, and shares its unit with division."""
        if self.isa.bits < 512 or x.ty != "<16 x float>":
            return self.intrinsic("sqrt", x)
        name = "llvm.x86.avx512.rsqrt14.ps.512"
        self.declares[f"declare {x.ty} @{name}({x.ty}, {x.ty}, i16)"] = None
        y = self.op(f"call {x.ty} @{name}({x.ty} {x.text}, {x.ty} zeroinitializer, i16 -1)", x.dtype, 16)
        s, h = x * y, y * 0.5
        e = self.fma(-s, h, 0.5)
        s, h = self.fma(s, e, s), self.fma(h, e, h)
        s = self.fma(self.fma(-s, s, x), h, s)
        i = self.bitcast(self.bits(x), dt.uint32) - 0x0D800000                      # from 2^-100 up to infinity
        good = i < 0x7F800000 - 0x0D800000
        usual = self.select(good, s, x)                                             # zeros stay
        return self.rare(self.invert(good | self.compare("eq", x, 0.0)), usual, lambda: self.intrinsic("sqrt", x))

    def rint(self, x: Num) -> Num:
        return self.intrinsic("rint", x)

    def floor(self, x: Num) -> Num:
        return self.intrinsic("floor", x)

    def ceil(self, x: Num) -> Num:
        return self.intrinsic("ceil", x)

    def trunc(self, x: Num) -> Num:
        return self.intrinsic("trunc", x)

    def copysign(self, x, y: Num) -> Num:
        return self.intrinsic("copysign", *self.pair(x, y))

    def scale(self, x: Num, n: Num) -> Num:
        """x * 2^n for a float x near 1 and a whole float n, rounded once where the result is a denormal."""
        if self.isa.bits == 512 and x.ty in ("<16 x float>", "<8 x double>"):
            kind, mask = ("ps", "i16") if x.dtype.itemsize == 4 else ("pd", "i8")
            name = f"llvm.x86.avx512.mask.scalef.{kind}.512"
            self.declares[f"declare {x.ty} @{name}({x.ty}, {x.ty}, {x.ty}, {mask}, i32)"] = None
            args = f"{x.ty} {x.text}, {x.ty} {n.text}, {x.ty} zeroinitializer, {mask} -1, i32 4"
            return self.op(f"call {x.ty} @{name}({args})", x.dtype, x.lanes)
        half = self.whole(n * 0.5)
        return x * self.power(half) * self.power(n - half)

    def power(self, n: Num) -> Num:
        """2^n for a whole float n with a normal result."""
        if n.dtype.itemsize == 4:
            return self.unbits((self.toint(n) + 127) << 23)
        return self.unbits((self.bits(n + MAGIC[n.dtype]) + 1023) << 52)       # the low bits of the sum are n

    def whole(self, x: Num) -> Num:
        """The nearest whole number of a small one."""
        return (x + MAGIC[x.dtype]) - MAGIC[x.dtype] if self.isa.name == "baseline" else self.rint(x)

    def narrow_whole(self, i: Num) -> Num:
        """A small int64 as float64."""
        biased = self.unbits((i + 1024) | 0x4330000000000000)
        return biased - (2.0 ** 52 + 1024)

    def widen(self, x: Num) -> Num:
        """float32 as float64."""
        return self.convert("fpext", x, dt.float64)

    def narrow(self, x: Num) -> Num:
        return self.convert("fptrunc", x, dt.float32)

    def not_(self, x: Num) -> Num:
        return self.invert(x)

    # ------------------------------------------------------------------------------------------------ extremes
    def extreme(self, name: str, a, b) -> Num:
        """max and min carry nan, maxnum and minnum prefer numbers."""
        a, b = self.pair(a, b)
        most = name.startswith("max")
        if not a.dtype.is_floating_point:
            if a.dtype is dt.bool_:
                return self.bits2("or" if most else "and", a, b)
            return self.intrinsic(("s" if a.dtype.is_signed else "u") + name[:3], a, b)
        how = "gt" if most else "lt"
        if name.endswith("num"):                      # the machine's instruction gives its second operand if either is nan
            if b.const is not None:
                a, b = b, a
            got = self.select(self.compare(how, b, a), b, a)
            return got if a.const is not None else self.select(self.isnan(a), b, got)
        if b.const is not None:                       # a number: nan can only come from the other
            a, b = b, a
        got = self.select(self.compare(how, a, b), a, b)
        return got if a.const is not None else self.select(self.isnan(a), a, got)

    def combine(self, op: str, a: Num, b: Num) -> Num:
        """`op` of ir.REDUCTIONS."""
        if op in ("max", "min"):
            return self.extreme(op, a, b)
        if a.dtype is dt.bool_ and op in ("add", "mul"):
            op = "or" if op == "add" else "and"
        return self.bits2(op, a, b) if op in ("and", "or") else self.arith(op, a, b)

    def across(self, op: str, x: Num) -> Num:
        """All lanes combined, in halves: the same order every time."""
        n = x.lanes
        while n > 1:
            n //= 2
            a, b = (self.shuffle(x, range(n)), self.shuffle(x, range(n, 2 * n))) if n > 1 else (self.lane(x, 0), self.lane(x, 1))
            x = self.combine(op, a, b)
        return x

    # ------------------------------------------------------------------------------------------------ integers
    def quotient(self, name: str, a: Num, b: Num) -> Num:
        """floordiv, mod (Python's), rem (C's), div (C's) of integers. By zero: zero. Constants and sizes divide directly."""
        a, b = self.pair(a, b)
        d = a.dtype
        if b.const is not None and b.const > 0:
            return self.divide(name, a, b)
        zero = self.compare("eq", b, 0)
        if not d.is_signed:
            return self.select(zero, 0, self.divide(name, a, self.select(zero, 1, b)))
        minus = self.compare("eq", b, -1)             # the least number by -1 would trap
        got = self.divide(name, a, self.select(zero | minus, 1, b))
        got = self.select(minus, self.neg(a) if name in ("floordiv", "div") else self.const(0, d), got)
        return self.select(zero, self.const(0, d), got)

    def divide(self, name: str, a: Num, b: Num) -> Num:
        d, lanes = a.dtype, a.lanes
        if not d.is_signed:
            return self.op(f"{'urem' if name in ('mod', 'rem') else 'udiv'} {a.ty} {a.text}, {b.text}", d, lanes)
        if name == "rem" or name == "div":
            return self.op(f"{'srem' if name == 'rem' else 'sdiv'} {a.ty} {a.text}, {b.text}", d, lanes)
        if name == "mod":
            r = self.op(f"srem {a.ty} {a.text}, {b.text}", d, lanes)
            wrong = self.compare("ne", r, 0) & ((r ^ b) < 0)
            return self.select(wrong, r + b, r)
        q = self.op(f"sdiv {a.ty} {a.text}, {b.text}", d, lanes)
        r = a - q * b
        wrong = self.compare("ne", r, 0) & ((r ^ b) < 0)
        return self.select(wrong, q - 1, q)

    def integer_power(self, a: Num, b: Num) -> Num:
        """a to the b by squaring, lane by lane; with a negative b 0, or what 1 and -1 give."""
        d, ty = a.dtype, TYPES[a.dtype]
        name = f"pl.ipow.{ty}.{'s' if d.is_signed else 'u'}"
        if name not in self.helpers:
            shift, below = ("ashr", "slt") if d.is_signed else ("lshr", "ult")
            self.helpers[name] = f"""define internal {ty} @{name}({ty} %a, {ty} %b) #0 {{
entry:
  %down = icmp {below} {ty} %b, 0
  br i1 %down, label %small, label %head
small:
  %one = icmp eq {ty} %a, 1
  %minus = icmp eq {ty} %a, -1
  %odd = trunc {ty} %b to i1
  %sign = select i1 %odd, {ty} -1, {ty} 1
  %other = select i1 %minus, {ty} %sign, {ty} 0
  %least = select i1 %one, {ty} 1, {ty} %other
  ret {ty} %least
head:
  %n = phi {ty} [ %b, %entry ], [ %half, %body ]
  %x = phi {ty} [ %a, %entry ], [ %square, %body ]
  %r = phi {ty} [ 1, %entry ], [ %next, %body ]
  %done = icmp eq {ty} %n, 0
  br i1 %done, label %out, label %body
body:
  %bit = trunc {ty} %n to i1
  %times = mul {ty} %r, %x
  %next = select i1 %bit, {ty} %times, {ty} %r
  %square = mul {ty} %x, %x
  %half = {shift} {ty} %n, 1
  br label %head
out:
  ret {ty} %r
}}"""
        return self.by_lane(name, a, b)

    # ------------------------------------------------------------------------------------------------ conversions
    def cast(self, x: Num, d: dtype) -> Num:
        """C's conversions; to float16 and bfloat16: rounded to it, held as float32."""
        if x.dtype is d:
            return x
        source, lanes = x.dtype, x.lanes
        if d is dt.bool_:
            return self.compare("ne", x, 0)
        if d in LOW:
            x = self.cast(x, dt.float32)
            return Num(self, self.from_memory(self.half_bits(x, d), d, lanes).text, d, lanes)
        if source in LOW:
            x = Num(self, x.text, dt.float32, lanes)
            return self.cast(x, d)
        if d.is_floating_point:
            if source.is_floating_point:
                return self.convert("fpext" if d is dt.float64 else "fptrunc", x, d)
            return self.convert("sitofp" if source.is_signed else "uitofp", x, d)
        if source.is_floating_point:
            if d is dt.uint64:
                return self.convert("fptoui", x, d)
            if d.itemsize == 8 or d is dt.uint32:
                return self.cast(self.convert("fptosi", x, dt.int64), d)
            return self.cast(self.convert("fptosi", x, dt.int32), d)
        if d.itemsize == source.itemsize and source is not dt.bool_:
            return Num(self, x.text, d, lanes, None if x.const is None else x.const)
        if d.itemsize < source.itemsize:
            return self.convert("trunc", x, d)
        return self.convert("sext" if source.is_signed else "zext", x, d)

    def bitcast(self, x: Num, d: dtype) -> Num:
        if TYPES[d] == TYPES[x.dtype]:
            return Num(self, x.text, d, x.lanes)
        return self.convert("bitcast", x, d)

    def bits(self, x: Num) -> Num:
        """The bits of a float as an integer."""
        return self.convert("bitcast", x, _INT_OF[x.dtype.itemsize])

    def unbits(self, x: Num) -> Num:
        return self.convert("bitcast", x, dt.float32 if x.dtype.itemsize == 4 else dt.float64)

    def toint(self, x: Num) -> Num:
        """A float known to be whole and small, as an integer of its size."""
        return self.convert("fptosi", x, _INT_OF[x.dtype.itemsize])

    def tofloat(self, x: Num) -> Num:
        return self.convert("sitofp", x, dt.float32 if x.dtype.itemsize == 4 else dt.float64)

    def half_bits(self, x: Num, d: dtype) -> str:
        """The 16 bits that a float32 rounds to (to nearest even, nan kept)."""
        u = self.convert("bitcast", x, dt.uint32)
        nan = self.isnan(x)
        if d is dt.bfloat16:
            up = u + ((u >> 16) & 1) + 0x7FFF
            got = self.select(nan, u | 0x400000, up) >> 16
            return self.raw(f"trunc {got.ty} {got.text} to {vector('i16', x.lanes)}")
        if self.isa.half:
            x = self.intrinsic("arithmetic.fence", x)      # or LLVM may join it with a conversion before it, into one it has to call
            half = self.raw(f"fptrunc {x.ty} {x.text} to {vector('half', x.lanes)}")
            return self.raw(f"bitcast {vector('half', x.lanes)} {half} to {vector('i16', x.lanes)}")
        # Without the instruction (after F. Giesen's float_to_half_fast3_rtne, public domain).
        sign = u & 0x80000000
        a = u ^ sign
        small = self.bits(self.unbits(a) + 0.5)                                     # the addition rounds to the right bit
        tiny = self.bitcast(small, dt.uint32) - 0x3F000000
        usual = (a + 0xC8000FFF + ((a >> 13) & 1)) >> 13
        got = self.select(a < 0x38800000, tiny, usual)
        got = self.select(a >= 0x47800000, self.select(nan, ((a >> 13) & 0x3FF) | 0x7E00, self.const(0x7C00, dt.uint32)), got)
        got = got | (sign >> 16)
        return self.raw(f"trunc {got.ty} {got.text} to {vector('i16', x.lanes)}")

    # ------------------------------------------------------------------------------------------------ calls
    def by_lane(self, name: str, *args: Num) -> Num:
        """A scalar function `name` on every lane: a helper loops over them."""
        lanes, d = max(a.lanes for a in args), args[0].dtype
        args = tuple([self.spread(a, lanes) for a in args])
        ty = TYPES[d]
        if lanes == 1:
            return self.op(f"call {ty} @{name}({', '.join([f'{ty} {a.text}' for a in args])})", d)
        many = f"{name}.v{lanes}"
        vec = vector(ty, lanes)
        if many not in self.helpers:
            body, last = [], "poison"
            for i in range(lanes):
                ones = []
                for k in range(len(args)):
                    body.append(f"  %x{i}_{k} = extractelement {vec} %a{k}, i64 {i}")
                    ones.append(f"{ty} %x{i}_{k}")
                body.append(f"  %y{i} = call {ty} @{name}({', '.join(ones)})")
                body.append(f"  %r{i} = insertelement {vec} {last}, {ty} %y{i}, i64 {i}")
                last = f"%r{i}"
            params = ", ".join(f"{vec} %a{k}" for k in range(len(args)))
            self.helpers[many] = f"define internal {vec} @{many}({params}) noinline #0 {{\n" + "\n".join(body) + f"\n  ret {vec} {last}\n}}"
        return self.op(f"call {vec} @{many}({', '.join([f'{vec} {a.text}' for a in args])})", d, lanes)

    def libm(self, name: str, *args: Num) -> Num:
        """The C library's function, lane by lane."""
        full = name + ("f" if args[0].dtype.itemsize == 4 else "")
        ty = TYPES[args[0].dtype]
        self.declares[f"declare {ty} @{full}({', '.join([ty] * len(args))})"] = None
        return self.by_lane(full, *args)

    def rare(self, cond: Num, usual: Num, slow) -> Num:
        """`usual`, but `slow()` in the lanes of `cond`: computed only if there are any."""
        out, join = self.fresh("rare"), self.fresh("join")
        any_ = cond if cond.lanes == 1 else self.any(cond)
        before = self.block
        self.put(f"br i1 {any_.text}, label %{out}, label %{join}")
        self.label(out)
        got = self.select(cond, slow(), usual)
        after = self.block
        self.put(f"br label %{join}")
        self.label(join)
        return self.op(f"phi {usual.ty} [ {usual.text}, %{before} ], [ {got.text}, %{after} ]", usual.dtype, usual.lanes)

    def any(self, cond: Num) -> Num:
        """Whether any lane is true."""
        bits = self.raw(f"bitcast {cond.ty} {cond.text} to i{cond.lanes}")
        return self.op(f"icmp ne i{cond.lanes} {bits}, 0", dt.bool_)
