"""PyTorch's CPU random numbers: an `Engine` (MT19937) and the draws made from it.

In: a seed or a 5,056-byte state, then shapes, dtypes and parameters. Out: C-contiguous ndarrays, filled in the order in
which PyTorch fills memory.
Stays true: after the same seed and the same draws, values and `get_state()` equal torch's on CPU (its AVX2/AVX-512
build on a CPU where it does not use MKL's own generators, which it does for Bernoulli and exponential draws on Intel).
Every draw takes a number of words known beforehand, except Poisson's. Many numbers at once are made by native code, the same
bits (`late.draws`). float32 results of functions such as log round
a float64 value that may be 1 ULP off, so that one in about 10**9 may differ; float64 results use the C library.
"""
from __future__ import annotations

import functools
import math
import operator
import os
import sys
from collections.abc import Callable, Sequence
from ctypes import c_float

import numpy as np

from . import dtype as dt
from .config import config
from .errors import fail
from .late import late
from .rng_checks import (BOOL, C_NAME_OF, DIGITS, DRAWN, F16, F32, F64, HALVES, I64, REAL_OF, cast, cast_integers, check,
                         check_bounds, check_integers, round_down, round_up, unsupported)
from .rng_math import exp, fma64, libm, normal_blocks32, normal_blocks64, normal_pairs
from .spec import numel

DEFAULT_SEED = 67280421310721  # torch.Generator()'s
WORDS = 624                    # words in the state of MT19937
MANY = 1 << 28                 # from this range on, an integer takes two words
CHUNK = 16384                  # elements made at a time, so that temporaries stay in the cache
NATIVE, NORMALS = 256, 16      # numbers, and normal ones, from which native code makes them;
SOME = 32                      # numbers from which it does if the compiler is there anyway;
LOAD, CALL = 1 << 20, 2048     # how many must have been drawn without it before it is worth loading; a call takes as long as so many

_LOW24, _ULP24 = np.array(0xFFFFFF, np.int32), np.array(2**-24, F32)      # 0-d: faster operands than NumPy's scalars
FEW, MASK53 = 8, (1 << 53) - 1                  # numbers that are made one by one
_LOW53, _ULP53, _32 = np.array(MASK53, np.uint64), np.array(2.0**-53), np.array(32, np.uint64)

_STATE = np.dtype({
    "names": ["seed", "left", "seeded", "next", "key", "normal", "has_normal", "normal32", "has_normal32"],
    "formats": ["u8", "i4", "i4", "u8", ("u8", WORDS), "f8", "i4", "f4", "?"],
    "offsets": [0, 8, 12, 16, 24, 24 + 8 * WORDS + 8, 24 + 8 * WORDS + 24, 5048, 5052],
    "itemsize": 5056,
})

Shape = int | tuple[int, ...]


def memory_order(a: np.ndarray) -> list[int]:
    """The dimensions of `a` from the slowest in memory to the fastest."""
    return sorted(range(a.ndim), key=lambda d: -a.strides[d])


def in_order(shape: tuple[int, ...], order: Sequence[int], draw: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """`draw` for memory whose dimensions lie in `order`: an array of `shape` over what draw(permuted shape) gives."""
    drawn = draw(tuple([shape[d] for d in order]))
    inverse = [0] * len(order)
    for i, d in enumerate(order):
        inverse[d] = i
    return drawn.transpose(inverse)


class _Native:
    """Whether native draws were looked for, and what was found."""

    looked = False
    draws = None
    drawn = 0                   # numbers without it


def compiler_loaded() -> bool:
    """Whether loading native draws is little work."""
    return "llvmlite" in sys.modules


def native(n: int, least: int = NATIVE):
    """Native draws for n numbers, or None where they are fewer than `least`, or nobody has drawn many yet."""
    if n < least or not config.kernels:
        return None
    if not _Native.looked:
        ready = compiler_loaded()
        if n < NATIVE and least > NORMALS and not ready:
            return None
        _Native.drawn += max(n, LOAD >> 5 if ready and (n >= NATIVE or least == NORMALS) else CALL)
        if _Native.drawn >= LOAD and late.draws is not None:
            _Native.draws, _Native.looked = late.draws(), True
    return _Native.draws


class Engine:
    """MT19937 with PyTorch's seeding, state layout and transformations. Not thread-safe beyond NumPy's own lock."""

    __slots__ = ("_bits", "_reseed", "_seed", "_normal", "_normal32")

    def __init__(self, seed: int = DEFAULT_SEED):
        self._renew()
        self.manual_seed(seed)

    def _renew(self) -> None:
        self._bits = np.random.MT19937(0)
        self._reseed = np.random.RandomState(self._bits).seed

    # -- seed and state ------------------------------------------------------------------------------------------
    def manual_seed(self, seed: int) -> Engine:
        """Start over from `seed`, an integer in [-2**63, 2**64); negative seeds count from 2**64. ValueError outside."""
        seed = operator.index(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            fail(ValueError, "P290", "Overflow when unpacking long long", got=f"seed {seed}",
                 fix="use a seed in [-2**63, 2**64)")
        self._seed = seed & 0xFFFF_FFFF_FFFF_FFFF
        self._reseed(self._seed & 0xFFFF_FFFF)
        self._normal = None     # the second normal of the last pair, if it is still to be given out
        self._normal32 = None   # PyTorch's state has one in float32 too; nothing draws it, it is only kept
        return self

    def initial_seed(self) -> int:
        """The seed this engine was last given, in [0, 2**64)."""
        return self._seed

    def seed(self) -> int:
        """Start over from a seed of the operating system's, and return it (53 bits, as PyTorch's)."""
        seed = int.from_bytes(os.urandom(8), "little") & ((1 << 53) - 1)
        self.manual_seed(seed)
        return seed

    def get_state(self) -> np.ndarray:
        """The state as uint8[5056], byte for byte what `torch.get_rng_state()` gives."""
        inner = self._bits.state["state"]
        key, pos = inner["key"], int(inner["pos"])
        s = np.zeros((), _STATE)
        s["seed"], s["seeded"], s["key"] = self._seed, 1, key
        if pos == WORDS and _is_fresh(key, self._seed):
            s["left"], s["next"] = 1, 0
        else:
            s["left"], s["next"] = WORDS + 1 - pos, pos
        if self._normal is not None:
            s["normal"], s["has_normal"] = self._normal, 1
        if self._normal32 is not None:
            s["normal32"], s["has_normal32"] = self._normal32, True
        return s.reshape(1).view(np.uint8)

    def set_state(self, state: np.ndarray) -> None:
        """Continue from a state of `get_state` or of PyTorch's. TypeError or RuntimeError if it is none."""
        if state.dtype != np.uint8 or not state.flags.c_contiguous:
            fail(TypeError, "P290", "RNG state must be a torch.ByteTensor", got=f"{state.dtype}{list(state.shape)}",
                 fix="pass what get_rng_state() returned")
        if state.size != _STATE.itemsize:
            fail(RuntimeError, "P290", f"Expected a CPUGeneratorImplState of size {_STATE.itemsize} but found the input RNG state "
                 f"size to be {state.size}", fix="pass what get_rng_state() returned")
        s = state.reshape(-1).copy().view(_STATE)[0]
        left, pos = int(s["left"]), int(s["next"])
        if s["seeded"] != 1 or not 0 < left <= WORDS or pos > WORDS:
            fail(RuntimeError, "P290", "Invalid mt19937 state", fix="pass what get_rng_state() returned")
        self._bits.state = {"bit_generator": "MT19937", "state": {
            "key": s["key"].astype(np.uint32), "pos": WORDS if left == 1 else pos}}
        self._seed = int(s["seed"])
        self._normal = float(s["normal"]) if s["has_normal"] else None
        self._normal32 = s["normal32"] if s["has_normal32"] else None

    def clone(self) -> Engine:
        """An independent engine in the same state."""
        other = Engine()
        other.set_state(self.get_state())
        return other

    def __reduce__(self):
        return _restore, (self.get_state(),)

    # -- words and uniforms --------------------------------------------------------------------------------------
    def words(self, n: int) -> np.ndarray:
        """The next n 32-bit words, as uint64[n]."""
        draws = native(n)
        return self._bits.random_raw(n) if draws is None else draws.words(self._bits, n).astype(np.uint64)

    def words64(self, n: int) -> np.ndarray:
        """The next n 64-bit words (uint64[n]), each made of two: high half first."""
        w = self.words(2 * n)
        return (w[0::2] << _32) | w[1::2]

    def _uniform32(self, n: int) -> np.ndarray:
        return (self._bits.random_raw(n).astype(np.int32) & _LOW24).astype(F32) * _ULP24

    def _uniform64(self, n: int) -> np.ndarray:
        return (self.words64(n) & _LOW53).astype(F64) * _ULP53

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype=F32) -> np.ndarray:
        """Uniform in [low, high): `rand` and `uniform_`. Floating and complex dtypes."""
        dtype = np.dtype(dtype)
        if dtype in REAL_OF:
            return _as_complex(self.uniform(_with_pairs(shape), low, high, REAL_OF[dtype]), dtype)
        if dtype not in DIGITS:
            unsupported("check_uniform_bounds", dtype)
        check_bounds(low, high, dtype)
        count, _ = _count(shape)
        draws = native(count, SOME) if dtype == F32 else None
        if draws is not None:
            found = draws.uniform(self._bits, count, low, high)
            if found is not None:
                return found.reshape(shape)
        if low == 0.0 and high == 1.0:
            if dtype == F32:
                return _fill(shape, F32, self._uniform32)
            if dtype == F64:
                return _fill(shape, F64, self._uniform64)
        if dtype == F64:
            low, span = float(low), float(high) - float(low)

            def draw(n):
                u = fma64(self._uniform64(n), span, low)
                u[u == high] = low
                return u
        else:
            lo, hi = np.float32(low), np.float32(high)
            span = np.float64(hi - lo)
            first, last = dtype.type(lo), dtype.type(hi)

            def draw(n):
                u = (self._uniform32(n) * span + np.float64(lo)).astype(F32)    # the product is exact in float64
                if dtype != F32:
                    u = u.astype(dtype)
                u[u == last] = first
                return u
        return _fill(shape, dtype, draw)

    def one_uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """What `uniform((1,), low, high)` gives, in the time of a few instructions of Python: for choices, not for tensors."""
        u = (int(self._bits.random_raw()) & 0xFF_FFFF) * 2.0**-24
        lo, hi = np.float32(low), np.float32(high)
        found = float(np.float32(u * float(hi - lo) + float(lo)))
        return float(lo) if found == hi else found

    def one_integer(self, low: int, high: int) -> int:
        """What `randint` gives for one element in [low, high)."""
        span = high - low
        if span <= 0:
            fail(RuntimeError, "P290", f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}", fix="pass from < to")
        return low + int(self._bits.random_raw() if span < MANY else self.words64(1)[0]) % span

    # -- normals -------------------------------------------------------------------------------------------------
    def normal(self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype=F32, contiguous: bool = True) -> np.ndarray:
        """Normal: `randn` and `normal_`. Floating and complex dtypes.

        From 16 elements on, PyTorch fills contiguous memory in blocks of 16; say `contiguous=False` for other memory,
        which is filled one by one, as fewer than 16 elements are.
        """
        dtype = np.dtype(dtype)
        check(std >= 0.0, "P291", "normal expects std >= 0.0, but found std {:g}", std)
        if dtype in REAL_OF:
            pairs = self.normal(_with_pairs(shape), mean, std / math.sqrt(2), REAL_OF[dtype], contiguous)
            return _as_complex(pairs, dtype)
        if dtype not in DIGITS:
            unsupported("normal_kernel_cpu", dtype)
        n, shape = _count(shape)
        mean, std = float(mean), float(std)
        if n < 16 or not contiguous:
            z = self._normals_in_turn(n, dtype == F64)
            out = cast(fma64(z, std, mean) if dtype == F64 else z * std + mean, dtype)
        else:
            out = cast(self._normal_blocks(n, mean, std, F64 if dtype == F64 else F32, dtype in HALVES), dtype)
        return out.reshape(shape)

    def _normal_blocks(self, n: int, mean: float, std: float, dtype: np.dtype, half: bool) -> np.ndarray:
        out = np.empty(n, dtype)
        whole = n & ~15

        def fill(part):
            if dtype == F32:
                normal_blocks32(self.words(part.size), mean, std, part)
            else:
                part[...] = normal_blocks64(self._uniform64(part.size), mean, std)

        draws = native(whole, NORMALS)
        if draws is None or dtype != F32 or not draws.normal(self._bits, out[:whole], mean, std):
            for i in range(0, whole, CHUNK):
                fill(out[i:min(i + CHUNK, whole)])
        if whole < n:
            # The last 16 are drawn anew. All uniforms come before the first normal, so the words of the rest are
            # spent, except in half precision, where PyTorch draws block by block.
            if not half:
                self.words((n - whole) * (1 if dtype == F32 else 2))
            fill(out[-16:])
        return out

    def _normals_in_turn(self, n: int, exact: bool) -> np.ndarray:
        """Standard normals one after the other; of each pair the second is kept for the next call."""
        if n < 64:
            return np.array([self._one_normal() for _ in range(n)], F64)
        out = np.empty(n, F64)
        start = 0
        if self._normal is not None:
            out[0], self._normal, start = self._normal, None, 1
        stop = n - ((n - start) & 1)
        out[start:stop] = normal_pairs(self._uniform64(stop - start), exact)
        if stop < n:
            out[stop] = self._one_normal()
        return out

    def _one_normal(self) -> float:
        z = self._normal
        if z is not None:
            self._normal = None
            return z
        a, b, c, d = self._bits.random_raw(4).tolist()
        theta = 2 * math.pi * (((a << 32 | b) & ((1 << 53) - 1)) * 2.0**-53)
        radius = math.sqrt(-2.0 * math.log1p(-(((c << 32 | d) & ((1 << 53) - 1)) * 2.0**-53)))
        self._normal = radius * math.sin(theta)
        return radius * math.cos(theta)

    def log_normal(self, shape: Shape, mean: float = 1.0, std: float = 2.0, dtype=F32) -> np.ndarray:
        """exp of a normal: `log_normal_`. Floating dtypes."""
        dtype = np.dtype(dtype)
        check(std > 0.0, "P291", "log_normal_ expects std > 0.0, but found std={:g}", std)
        if dtype not in DIGITS:
            unsupported("log_normal_cpu", dtype)

        def draw(n):
            z = self._normals_in_turn(n, dtype == F64)
            if dtype == F64:
                return libm(exp, fma64(z, float(std), float(mean)))
            with np.errstate(over="ignore"):
                return cast(np.exp(z * float(std) + float(mean)), dtype)
        return _fill(shape, dtype, draw)

    # -- integers ------------------------------------------------------------------------------------------------
    def random(self, shape: Shape, dtype=I64) -> np.ndarray:
        """`random_()`: integers in [0, max] of an integer dtype, or [0, 2**digits] of a floating one."""
        dtype = np.dtype(dtype)
        if dtype not in DRAWN:
            unsupported("random_kernel_cpu", dtype)
        if dtype == BOOL:
            return _fill(shape, dtype, lambda n: (self.words(n) & np.uint64(1)).astype(BOOL))
        top = np.uint64(1 << DIGITS[dtype] if dtype in DIGITS else np.iinfo(dtype).max)
        source = self.words64 if dtype in (I64, F64) else self.words
        return _fill(shape, dtype, lambda n: cast_integers(source(n) % (top + np.uint64(1)), dtype))

    def randint(self, shape: Shape, low: int, high: int | None, dtype=I64) -> np.ndarray:
        """Integers in [low, high): `randint` and `random_(low, high)`. With `high=None`, up to the dtype's largest.

        Raises RuntimeError when the range is empty or outside the dtype.
        """
        dtype = np.dtype(dtype)
        if dtype not in C_NAME_OF:
            fail(RuntimeError, "P292", "check_random_bounds handles only integral, floating-point and boolean types",
                 got=f"dtype {dt.of(dtype).name}", fix="use an integer, floating or bool dtype")
        digits = DIGITS.get(dtype)
        if high is None and low == -(1 << 63):
            return self._random_full(shape, dtype)
        if high is not None:
            check(low < high, "P293", "random_ expects 'from' to be less than 'to', but got from={} >= to={}", low, high)
            if digits:
                low, high = round_up(low, dtype), round_down(high, dtype)
                check(low < high, "P293", "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, "
                       "but got from={} >= to={}", low, high)
            last = high - 1
        elif digits:
            last = 1 << digits
            low = round_up(low, dtype)
            check(low < last, "P293", "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted "
                   "to dtype, but got from={} > to_inc={}", low, last)
        else:
            last = 1 if dtype == BOOL else int(np.iinfo(dtype).max) if dtype != np.uint64 else -1     # PyTorch's overflows
        check_integers(low, last, dtype)
        span, base = last - low + 1, np.int64(low)
        if span < MANY:
            return _fill(shape, dtype, lambda n: cast_integers(
                (self.words(n).astype(np.uint32) % np.uint32(span)).astype(I64) + base, dtype))
        return _fill(shape, dtype, lambda n: cast_integers((self.words64(n) % np.uint64(span)).view(I64) + base, dtype))

    def _random_full(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        if dtype == F16 or dtype == BOOL:
            unsupported("random_full_64_bits_range_kernel_cpu", dtype)
        check(dtype == I64 or dtype in DIGITS, "P292",
               "random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16")
        return _fill(shape, dtype, lambda n: cast_integers(self.words64(n).view(I64), dtype))

    def randperm(self, n: int, dtype=I64) -> np.ndarray:
        """The integers 0 to n-1 in random order."""
        dtype = np.dtype(dtype)
        if dtype == BOOL or dtype not in DRAWN:
            unsupported("randperm", dtype)
        check(n >= 0, "P294", "Trying to create tensor with negative dimension {}: [{}]", n, n)
        if dtype in DIGITS:
            most = (1 << DIGITS[dtype]) + 1
            check(n <= most, "P294", "n cannot be greater than {} for {} type.", most, dt.of(dtype).type_name)
        elif n > np.iinfo(dtype).max:
            check(False, "P294", "value cannot be converted to type {} without overflow",
                   {"Byte": "uint8_t", "Char": "int8_t", "Short": "int16_t", "Int": "int"}[dt.of(dtype).type_name])
        if n < 2:
            return np.zeros(n, dtype)
        # PyTorch's forward shuffle: step k swaps places k and targets[k], which lies in [k, n).
        k = np.arange(n - 1, dtype=np.uint64)
        words = self.words(n - 1) if n < 0xFFFF_FFFF // 20 else self.words64(n - 1)
        targets = (words % (np.uint64(n) - k) + k).view(I64)
        return _swap_all(n, targets).astype(dtype)

    # -- Bernoulli -----------------------------------------------------------------------------------------------
    def mask(self, shape: Shape, p: float) -> np.ndarray:
        """bool, True with probability p: the draws of `bernoulli_(p)` and of dropout, whatever their dtype."""
        check(0.0 <= p <= 1.0, "P295", "bernoulli_ expects p to be in [0, 1], but got p={:g}", p)
        # u < p for u = k * 2**-53 with k of 53 bits: compare k with the smallest integer not below p * 2**53.
        limit = math.ceil(float(p) * 2.0**53)
        n, _ = _count(shape)
        draws = native(n, SOME)
        if draws is not None:
            return draws.mask(self._bits, n, limit).reshape(shape)
        limit = np.array(limit, np.uint64)
        return _fill(shape, BOOL, lambda n: (self.words64(n) & _LOW53) < limit)

    def noise(self, shape: Shape, p: float, high: np.generic) -> np.ndarray:
        """`high` where `mask(shape, p)` is True, else 0, in the dtype of `high`."""
        n, _ = _count(shape)
        draws = native(n, SOME) if high.dtype == F32 and 0.0 <= p <= 1.0 else None
        if draws is None:
            return self.mask(shape, p) * high
        return draws.noise(self._bits, n, math.ceil(float(p) * 2.0**53), float(high)).reshape(shape)

    def bernoulli(self, shape: Shape, p: float = 0.5, dtype=F32) -> np.ndarray:
        """0 and 1, the latter with probability p: `bernoulli_(p)`. Real dtypes."""
        dtype = np.dtype(dtype)
        if dtype not in DRAWN:
            unsupported("bernoulli_scalar_cpu_", dtype)
        return self.mask(shape, p).astype(dtype)

    def bernoulli_of(self, p: np.ndarray, dtype=None) -> np.ndarray:
        """0 and 1, the latter with the probabilities in `p` (floating): `bernoulli(p)`. Drawn in p's index order."""
        dtype = p.dtype if dtype is None else np.dtype(dtype)
        if p.dtype not in DIGITS:
            unsupported("bernoulli_tensor_cpu_p_", p.dtype)
        if dtype not in DRAWN:
            unsupported("bernoulli_tensor_cpu_self_", dtype)
        if p.size and not (p.min() >= 0 and p.max() <= 1):      # false for NaN too
            fail(RuntimeError, "P295", "Expected p_in >= 0 && p_in <= 1 to be true, but got false.",
                 got=f"probabilities from {p.min()} to {p.max()}", fix="clamp the probabilities to [0, 1]")
        if p.dtype == F64:
            return (_fill(p.shape, F64, self._uniform64) < p).astype(dtype)
        return (_fill(p.shape, F32, self._uniform32) < p.astype(F32)).astype(dtype)

    # -- continuous distributions --------------------------------------------------------------------------------
    def exponential(self, shape: Shape, lambd: float = 1.0, dtype=F32) -> np.ndarray:
        """Exponential with rate `lambd`: `exponential_`. Floating dtypes."""
        dtype = np.dtype(dtype)
        if dtype not in DIGITS:
            fail(RuntimeError, "P292", "Exponential distribution is a continuous probability distribution. dtype must be a "
                 f"floating point but you specified {dt.of(dtype).type_name}", fix="use a floating dtype")
        check(lambd > 0.0, "P296", "exponential_ expects lambda > 0.0, but found lambda={:g}", lambd)
        scale = -1.0 / lambd

        def draw(n):
            if n <= FEW:
                return cast(np.array([scale * -x for x in self._few_exponentials(n)], F64), dtype)
            u = -self._uniform64(n)
            return scale * libm(math.log1p, u) if dtype == F64 else cast(scale * np.log1p(u), dtype)
        return _fill(shape, dtype, draw)

    def _few_exponentials(self, n: int) -> list[float]:
        """Exponentials of rate 1, one by one."""
        w = self._bits.random_raw(2 * n).tolist()
        return [-math.log1p(((w[i] << 32 | w[i + 1]) & MASK53) * -2.0**-53) for i in range(0, 2 * n, 2)]

    def cauchy(self, shape: Shape, median: float = 0.0, sigma: float = 1.0, dtype=F32) -> np.ndarray:
        """Cauchy: `cauchy_`. Floating dtypes."""
        dtype = np.dtype(dtype)
        if dtype not in DIGITS:
            name = dt.of(dtype).type_name
            fail(RuntimeError, "P292", "Cauchy distribution is a continuous probability distribution. dtype must be a floating "
                 f"point but you specified {C_NAME_OF.get(dtype, name)}", fix="use a floating dtype")
        check(sigma > 0.0, "P296", "cauchy_ expects sigma > 0.0, but found sigma={:g}", sigma)
        median, sigma = float(median), float(sigma)

        def draw(n):
            angle = math.pi * (self._uniform64(n) - 0.5)
            if dtype == F64:
                return fma64(libm(math.tan, angle), sigma, median)
            return cast(np.tan(angle) * sigma + median, dtype)
        return _fill(shape, dtype, draw)

    def geometric(self, shape: Shape, p: float, dtype=F32) -> np.ndarray:
        """Trials up to the first success of probability p: `geometric_`. Real dtypes but bool."""
        dtype = np.dtype(dtype)
        check(0 < p < 1, "P295", "geometric_ expects p to be in (0, 1), but got p={:g}", p)
        if dtype == BOOL or dtype not in DRAWN:
            unsupported("geometric_cpu", dtype)
        scale = math.log1p(-p)

        def draw(n):
            with np.errstate(divide="ignore"):
                return cast(np.ceil(np.log(self._uniform64(n)) / scale), dtype)
        return _fill(shape, dtype, draw)

    # -- draws from given weights --------------------------------------------------------------------------------
    def multinomial(self, weights: np.ndarray, n: int, replacement: bool = False) -> np.ndarray:
        """Indices (int64) drawn by weights[k] or weights[row, k], floating and not negative: shape [n] or [rows, n].

        Without replacement PyTorch takes the n largest of weight / exponential; with it, a binary search per draw in
        the cumulative weights, summed in the weights' own precision (float32 for the halves).
        """
        w = weights
        check(w.ndim in (1, 2), "P297", "prob_dist must be 1 or 2 dim")
        check(w.dtype in DIGITS, "P297", "multinomial only supports floating-point dtypes for input, got: {}",
               dt.of(w.dtype).type_name)
        check(n > 0, "P297", "cannot sample n_sample <= 0 samples")
        k = w.shape[-1]
        check(replacement or n <= k, "P297", "cannot sample n_sample > prob_dist.size(-1) samples without replacement")
        check(k <= 1 << 24, "P297", "number of categories cannot exceed 2^24")
        shape = w.shape[:-1] + (n,)
        if numel(shape) == 0:
            return np.empty(shape, I64)
        wide = w.astype(F32) if w.dtype in HALVES else w
        if replacement and n > 1:
            return self._pick_with_replacement(wide.reshape(-1, k), n).reshape(shape)
        few = w.size <= FEW
        if few:
            rows = wide.tolist() if w.ndim == 2 else [wide.tolist()]
            finite, positive = all([0.0 <= x < math.inf for row in rows for x in row]), all([any(row) for row in rows])
        else:
            finite, positive = k == 0 or bool(wide.min() >= 0 and wide.max() < math.inf), bool(wide.any(-1).all())
        check(finite, "P297", "probability tensor contains either `inf`, `nan` or element < 0")
        check(positive, "P297", "invalid multinomial distribution (sum of probabilities <= 0)")
        if not w.flags.c_contiguous:        # PyTorch draws the exponentials in the memory order of the weights
            q = in_order(w.shape, memory_order(w), lambda shape: self.exponential(shape, dtype=w.dtype))
        elif few and n == 1 and w.dtype == F32:
            drawn = [c_float(x).value for x in self._few_exponentials(w.size)]
            if all(drawn):
                return np.array(_winners(rows, drawn), I64).reshape(shape)
            q = np.array(drawn, F32).reshape(w.shape)
        else:
            q = self.exponential(w.shape, dtype=w.dtype)
        with np.errstate(all="ignore"):
            score = wide / q.astype(wide.dtype)
        if w.dtype in HALVES:
            score = cast(score, w.dtype).astype(F32)
        if n == 1:
            return score.argmax(-1, keepdims=True)
        return np.argsort(-score, axis=-1, kind="stable")[..., :n].copy()

    def _pick_with_replacement(self, rows: np.ndarray, n: int) -> np.ndarray:
        check(not (rows < 0).any(), "P297", "invalid multinomial distribution (encountering probability entry < 0)")
        check(bool(np.isfinite(rows).all()), "P297",
               "invalid multinomial distribution (encountering probability entry = infinity or NaN)")
        sums = np.cumsum(rows, axis=1)
        check(bool((sums[:, -1] > 0).all()), "P297", "invalid multinomial distribution (sum of probabilities <= 0)")
        sums /= sums[:, -1:].copy()
        sums[:, -1] = 1
        u = _fill((len(rows), n), F64, self._uniform64)
        return np.stack([np.searchsorted(s.astype(F64), x) for s, x in zip(sums, u)])

    def poisson(self, rates: np.ndarray) -> np.ndarray:
        """Poisson counts for every rate (floating), in its dtype: `poisson`. One Python loop step per element."""
        if rates.dtype not in DIGITS:
            unsupported("poisson_cpu", rates.dtype)
        lam = rates.astype(F64).ravel()
        check(not lam.size or lam.min() >= 0, "P296", "invalid Poisson rate, expected rate to be non-negative")
        return cast(np.array([self._one_poisson(r) for r in lam.tolist()], F64), rates.dtype).reshape(rates.shape)

    def _one_uniform(self) -> float:
        a, b = self._bits.random_raw(2).tolist()
        return ((a << 32 | b) & ((1 << 53) - 1)) * 2.0**-53

    def _one_poisson(self, rate: float) -> int:
        """Rates from 10 on: Hoermann's transformed rejection PTRS (1993); below, Knuth's product of uniforms."""
        if rate == 0:
            return 0
        if rate < 10:
            limit, count, product = math.exp(-rate), 0, self._one_uniform()
            while product > limit:
                count += 1
                product *= self._one_uniform()
            return count
        log_rate = math.log(rate)
        b = 0.931 + 2.53 * math.sqrt(rate)
        a = -0.059 + 0.02483 * b
        log_inv_alpha = math.log(1.1239 + 1.1328 / (b - 3.4))
        v_r = 0.9277 - 3.6224 / (b - 2)
        while True:
            u = self._one_uniform() - 0.5
            v = self._one_uniform()
            us = 0.5 - abs(u)
            k = math.floor((2 * a / us + b) * u + rate + 0.43) if us > 0 else -1
            if us >= 0.07 and v <= v_r:
                return k
            if k < 0 or (us < 0.013 and v > us):
                continue
            log_v = math.log(v) if v > 0 else -math.inf
            if log_v + log_inv_alpha - math.log(a / (us * us) + b) <= -rate + k * log_rate - math.lgamma(k + 1):
                return k


@functools.cache
def default_engine() -> Engine:
    """The engine behind `manual_seed`, made (with a seed of the operating system's) when first used."""
    engine = Engine()
    engine.seed()
    # Another thread may hold the generator's lock while this process forks: the child gets a new one.
    os.register_at_fork(after_in_child=lambda: _replace_lock(engine))
    return engine


def _replace_lock(engine: Engine) -> None:
    state = engine._bits.state
    engine._renew()
    engine._bits.state = state


def _winners(rows: list[list[float]], drawn: list[float]) -> list[int]:
    """In each row of weights the place of the largest weight / exponential, all of them float32. (A quotient of such numbers in float64,
    rounded to float32, is the quotient in float32.)"""
    found, at = [], 0
    for row in rows:
        scores = [c_float(x / y).value for x, y in zip(row, drawn[at:at + len(row)])]
        found.append(scores.index(max(scores)))
        at += len(row)
    return found


def _restore(state: np.ndarray) -> Engine:
    engine = Engine()
    engine.set_state(state)
    return engine


def _is_fresh(key: np.ndarray, seed: int) -> bool:
    """Whether `key` is the seeding's own, no word of it drawn: its first two words are Knuth's recurrence."""
    first = seed & 0xFFFF_FFFF
    return int(key[0]) == first and int(key[1]) == (1812433253 * (first ^ first >> 30) + 1) & 0xFFFF_FFFF


def _swap_all(n: int, targets: np.ndarray) -> np.ndarray:
    """0 to n-1 after the swaps of k and targets[k] >= k for k = 0, 1, ..., n-2, without doing them one by one.

    Step k moves into place k what lies at targets[k], and there what lay at k. So place p holds, until step p, what the
    last earlier step that aimed at p brought: its own place's content at that step. `source` follows this back.
    """
    if n < 500:
        order = list(range(n))
        for k, j in enumerate(targets.tolist()):
            order[k], order[j] = order[j], order[k]
        return np.array(order, I64)
    pairs = np.sort(targets << 32 | np.arange(n - 1))      # by target, then by step
    target, step = pairs >> 32, pairs & 0xFFFF_FFFF
    again = np.flatnonzero(target[1:] == target[:-1])
    earlier = np.full(n - 1, -1)                            # the last step before k with the same target as k
    earlier[step[again + 1]] = step[again]
    ends = np.append(target[1:] != target[:-1], True)
    place, last = target[ends], step[ends]
    last = np.where(last == place, earlier[np.minimum(place, n - 2)], last)     # step p itself is not before step p
    source = np.arange(n)
    source[place] = np.where(last < 0, place, last)
    while True:                                             # pointer doubling: depth falls by half
        further = source[source]
        if np.array_equal(further, source):
            break
        source = further
    order = np.empty(n, I64)
    order[:-1] = np.where(earlier < 0, targets, source[earlier])
    order[-1] = source[-1]
    return order


# -- shapes and casts --------------------------------------------------------------------------------------------

def _count(shape: Shape) -> tuple[int, tuple[int, ...]]:
    return (shape, (shape,)) if type(shape) is int else (numel(shape), tuple(shape))


def _with_pairs(shape: Shape) -> tuple[int, ...]:
    return _count(shape)[1] + (2,)


def _as_complex(pairs: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return pairs.view(dtype)[..., 0]


def _fill(shape: Shape, dtype: np.dtype, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """An array of `shape` from `draw(n)`, called for CHUNK elements at a time."""
    n, shape = _count(shape)
    if n <= CHUNK:
        return draw(n).reshape(shape)
    out = np.empty(n, dtype)
    for i in range(0, n, CHUNK):
        part = out[i:i + CHUNK]
        part[...] = draw(part.size)
    return out.reshape(shape)
