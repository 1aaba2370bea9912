"""The generator's words and the commonest draws, natively: MT19937 many words at a time, and what is made of them on the way.

In: NumPy's MT19937 (its state is read and written where it lies), how many numbers, parameters. Out: ndarrays. True always:
the numbers, and the state left behind, are to the last bit those of `core.rng`, which draws small amounts itself and whose
comments say where each rounding comes from. `draws()` is None where there is no compiler.
"""
from __future__ import annotations

import ctypes

import numpy as np

from ..core import rng_math as exact
from . import jit, threads
from .emit import Fn, Module, Val
from .engine import A_DATA
from .execute import readable_layout
from .isa import Isa, host_isa

WORDS, MIDDLE = 624, 397
BUFFER = 4096               # words at a time between the generator and what is made of them
UPPER, LOWER, MATRIX = 0x80000000, 0x7FFFFFFF, 0x9908B0DF


def words(module: Module) -> None:
    """`words(state, out, n)`: the next n words, tempered."""
    f = Fn(module, "words", "ptr state, ptr out, i64 n", internal=False, exact=True)
    ty = f"<{f.lanes} x i32>"

    def twist(a: Val, b: Val, c: Val) -> Val:
        y = f.int_op("or", f.int_op("and", a, UPPER), f.int_op("and", b, LOWER))
        odd = f.int_op("and", f.sub(f.fill(0, y.ty), f.int_op("and", y, 1)), MATRIX)
        return f.int_op("xor", f.int_op("xor", c, f.int_op("lshr", y, 1)), odd)

    def renew(lo: int, hi: int, distance: int) -> None:
        def at(i, mask=None):
            a, b, c = (f.load(f.p_state, f.add(i, d), ty, mask) for d in (0, 1, distance))
            f.store(twist(a, b, c), f.p_state, i, mask)
        whole = lo + (hi - lo) // f.lanes * f.lanes
        with f.loop(lo, whole, f.lanes) as i:
            at(i)
        if whole < hi:
            at(whole, f.mask(hi - whole))
    position = f.at(f.p_state, WORDS, "i32")
    start = f.cast("sext", f.load(position, 0, "i32"), "i64")
    stop = start + f.p_n
    blocks = f.ceil_div(stop, WORDS)
    with f.loop(0, blocks) as block:
        base = block * WORDS
        with f.when(f.compare("gt", block, 0)):
            renew(0, WORDS - MIDDLE, MIDDLE)
            renew(WORDS - MIDDLE, WORDS - 1, MIDDLE - WORDS)
            a, b, c = (f.load(f.p_state, i, "i32") for i in (WORDS - 1, 0, MIDDLE - 1))
            f.store(twist(a, b, c), f.p_state, WORDS - 1)
        lo, hi = f.most(start - base, 0), f.least(stop - base, WORDS)
        with f.loop(lo, hi, f.lanes) as i:
            mask = f.mask(hi - i)
            y = f.load(f.p_state, i, ty, mask)
            y = f.int_op("xor", y, f.int_op("lshr", y, 11))
            y = f.int_op("xor", y, f.int_op("and", f.int_op("shl", y, 7), 0x9D2C5680))
            y = f.int_op("xor", y, f.int_op("and", f.int_op("shl", y, 15), 0xEFC60000))
            y = f.int_op("xor", y, f.int_op("lshr", y, 18))
            f.store(y, f.p_out, base + i - start, mask)
    with f.when(f.compare("gt", f.p_n, 0)):
        f.store(f.cast("trunc", stop - (blocks - 1) * WORDS, "i32"), position)
    f.end()


def numbers(f: Fn) -> Val:
    """Where the array `out`, which is given as an object, has its numbers."""
    return f.load(f.at(f.p_out, A_DATA, "i8"), 0, "ptr")


def all_words(module: Module) -> None:
    """`all_words(state, out, n)`: the next n words, into an array."""
    f = Fn(module, "all_words", "ptr state, ptr out, i64 n", exact=True)
    f.invoke("words", f.p_state, numbers(f), f.p_n)
    f.end()


def each_chunk(f: Fn, per: int, body) -> None:
    """`body(words, start, count)` for the n results, `per` words each, some of them at a time."""
    f.slots.append(f"  %words = alloca [{BUFFER} x i32], align 64")
    buffer, step = f.val("%words", "ptr"), BUFFER // per
    with f.loop(0, f.p_n, step) as start:
        count = f.least(f.p_n - start, step)
        f.invoke("words", f.p_state, buffer, count * per)
        body(buffer, start, count)


def below(module: Module, name: str, result: str) -> None:
    """`mask(state, out, n, limit, high)`: bytes, 1 where the lower 53 bits of two words are below `limit`; `noise`: floats,
    `high` there and 0 elsewhere."""
    f = Fn(module, name, "ptr state, ptr out, i64 n, i64 limit, float high", "double", exact=True)
    lanes, out = f.lanes, numbers(f)
    ty = f"<{lanes} x i64>"

    def chunk(buffer, start, count):
        limit = f.splat(f.p_limit, lanes)
        high = f.splat(f.p_high, lanes)
        with f.loop(0, count, lanes) as i:
            mask = f.mask(count - i)
            x = f.load(buffer, i, ty)                     # the buffer is whole vectors: what lies past the end is not used
            x = f.int_op("or", f.int_op("shl", x, 32), f.int_op("lshr", x, 32))
            yes = f.op(f"<{lanes} x i1>", f"icmp ult {ty} {f.int_op('and', x, (1 << 53) - 1)}, {limit}")
            got = f.cast("zext", yes, f"<{lanes} x i8>") if result == "i8" else f.select(yes, high, f.zero(high.ty))
            f.store(got, out, start + i, mask)
    each_chunk(f, 2, chunk)
    f.end()


def uniform(module: Module) -> None:
    """`uniform(state, out, n, span, low, high)`: float32 in [low, high); low + span * u in one rounding."""
    f = Fn(module, "uniform", "ptr state, ptr out, i64 n, float span, float low, float high", exact=True)
    span, low, high = (f.splat(x, f.lanes) for x in (f.p_span, f.p_low, f.p_high))
    out = numbers(f)

    def chunk(buffer, start, count):
        with f.loop(0, count, f.lanes) as i:
            mask = f.mask(count - i)
            u = f.mul(f.cast("sitofp", f.int_op("and", f.load(buffer, i, f"<{f.lanes} x i32>"), 0xFFFFFF), f.v), 2.0 ** -24)
            x = f.call("fma", f.v, u, span, low)
            f.store(f.select(f.compare("eq", x, high), low, x), out, start + i, mask)
    each_chunk(f, 1, chunk)
    f.end()


EIGHT = "<8 x float>"


def normal(module: Module) -> None:
    """`normal(state, out, n, mean, std)`: n (a multiple of 16) normals, as `rng_math.normal_blocks32` makes them."""
    f = Fn(module, "normal", "ptr state, ptr out, i64 n, float mean, float std", exact=True)
    mean, std, out = f.splat(f.p_mean, 8), f.splat(f.p_std, 8), numbers(f)

    def fused(a, b, c) -> Val:
        return f.call("fma", EIGHT, a, b, c)

    def horner(coefficients, x: Val) -> Val:
        first, *rest = (float(c) for c in coefficients)
        y = f.fill(first, EIGHT)
        for c in rest:
            y = fused(y, x, c)
        return y

    def real(bits: Val) -> Val:
        return f.cast("sitofp", bits, EIGHT)

    def logarithm(x: Val) -> Val:
        bits = f.cast("bitcast", x, "<8 x i32>")
        exponent = f.int_op("ashr", f.sub(bits, int(exact._SQRT_HALF_BITS)), 23)
        x = f.cast("bitcast", f.op("<8 x i32>", f"sub <8 x i32> {bits}, {f.int_op('shl', exponent, 23)}"), EIGHT)
        e = real(exponent)
        x = f.sub(x, 1.0)
        z = f.mul(x, x)
        y = fused(f.mul(horner(exact._LOG_POLY, x), x), z, f.mul(e, float(exact._LN2_LOW)))
        y = f.sub(y, f.mul(z, 0.5))
        return f.add(f.add(x, y), f.mul(e, float(exact._LN2_HIGH)))

    def sin_cos(x: Val) -> tuple[Val, Val]:
        octant = f.cast("fptosi", f.mul(x, float(exact._FOUR_OVER_PI)), "<8 x i32>")
        octant = f.int_op("and", octant + 1, -2)
        y = real(octant)
        x = f.sub(f.sub(x, f.mul(y, float(exact._PI_4_A))), f.mul(y, float(exact._PI_4_B)))
        x = fused(y, float(exact._MINUS_PI_4_C), x)
        z = f.mul(x, x)
        cos = f.add(fused(f.mul(horner(exact._COS_POLY, z), z), z, f.mul(z, -0.5)), 1.0)
        sin = fused(f.mul(horner(exact._SIN_POLY, z), z), x, x)
        swap = f.compare("ne", f.int_op("and", octant, 2), 0)

        def signed(value: Val, octant: Val) -> Val:
            sign = f.int_op("shl", f.int_op("and", octant, 4), 29)
            return f.cast("bitcast", f.int_op("xor", f.cast("bitcast", value, "<8 x i32>"), sign), EIGHT)
        return signed(f.select(swap, cos, sin), octant), signed(f.select(swap, sin, cos), octant + 2)

    def chunk(buffer, start, count):
        with f.loop(0, count, 16) as i:
            first, second = (f.int_op("and", f.load(buffer, i + at, "<8 x i32>"), 0xFFFFFF) for at in (0, 8))
            x = f.mul(real(f.sub(f.fill(1 << 24, first.ty), first)), 2.0 ** -24)
            radius = f.call("sqrt", EIGHT, f.mul(logarithm(x), -2.0))
            sin, cos = sin_cos(f.mul(f.mul(real(second), 2.0 ** -24), float(exact._TWO_PI_32)))
            for at, z in ((0, cos), (8, sin)):
                f.store(fused(f.mul(z, radius), std, mean), out, start + i + at)
    each_chunk(f, 1, chunk)
    f.end()


def module_text(isa: Isa) -> tuple[str, tuple[str, ...]]:
    """The module, and the functions it offers: normals and uniforms need a fused multiply-add."""
    module = Module(isa)
    words(module)
    all_words(module)
    below(module, "mask", "i8")
    below(module, "noise", "float")
    names = ["all_words", "mask", "noise"]
    if isa.fma:
        uniform(module)
        normal(module)
        names += ["uniform", "normal"]
    return module.text, tuple(names)


_P, _A, _I, _F = ctypes.c_void_p, ctypes.py_object, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {"all_words": (), "mask": (_I, _F), "noise": (_I, _F), "uniform": (_F, _F, _F), "normal": (_F, _F)}


class Draws:
    """Each draw takes NumPy's generator `bits`, how many numbers, and its parameters."""

    def __init__(self, isa: Isa):
        text, self.names = module_text(isa)
        code, _ = jit.compiled("rng", (text, isa.key), lambda: jit.assemble(text, isa.cpu, isa.features, scheduled=True))
        self._code = jit.load([code], self.names)
        self._functions = {name: ctypes.CFUNCTYPE(None, _P, _A, _I, *_ARGUMENTS[name])(self._code[name]) for name in self.names}

    def _draw(self, name: str, bits, n: int, dtype, *parameters) -> np.ndarray:
        out = np.empty(n, dtype)
        with bits.lock:
            self._functions[name](bits.ctypes.state_address, out, n, *parameters)
        return out

    def words(self, bits, n: int) -> np.ndarray:
        """uint32[n]."""
        return self._draw("all_words", bits, n, np.uint32)

    def mask(self, bits, n: int, limit: int) -> np.ndarray:
        """bool[n]: whether the lower 53 bits of each pair of words are below `limit`."""
        return self._draw("mask", bits, n, np.bool_, limit, 0.0)

    def noise(self, bits, n: int, limit: int, high: float) -> np.ndarray:
        """float32[n]: `high` where `mask` is True, else 0."""
        return self._draw("noise", bits, n, np.float32, limit, high)

    def uniform(self, bits, n: int, low: float, high: float) -> np.ndarray | None:
        """float32[n] in [low, high)."""
        if "uniform" not in self.names:
            return None
        return self._draw("uniform", bits, n, np.float32, float(np.float32(high) - np.float32(low)), low, high)

    def normal(self, bits, out: np.ndarray, mean: float, std: float) -> bool:
        """Fill `out` (float32, contiguous, a multiple of 16). False if this machine cannot."""
        if "normal" not in self.names:
            return False
        with bits.lock:
            self._functions["normal"](bits.ctypes.state_address, out, out.size, mean, std)
        return True


def agrees(draws: Draws) -> bool:
    """Whether NumPy keeps the generator's state as this module reads it, tried on one of its own."""
    ours, theirs = np.random.MT19937(5), np.random.MT19937(5)
    theirs.random_raw(1000)
    found = draws.words(ours, 1000)
    return ours.state["state"]["pos"] == theirs.state["state"]["pos"] and bool((ours.random_raw(700) == theirs.random_raw(700)).all()) \
        and bool((found[:700] == np.random.MT19937(5).random_raw(700)).all())


@threads.once
def draws() -> Draws | None:
    """The draws, compiled on first use; None if NumPy's generator or its arrays are not as expected."""
    if not readable_layout():
        return None
    made = Draws(host_isa())
    return made if agrees(made) else None
