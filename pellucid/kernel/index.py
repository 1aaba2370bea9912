"""Index algebra: where an element lies, as an affine form over loop variables.

In: loop variables with their extents, numbers, run-time sizes. Out: `Ix`, an immutable int64 expression: a constant plus
coefficients times atoms. An atom is a loop variable, a quotient, a remainder, a clamped index, or a value that the kernel
loads. Python's operators work on them: `i * 3 + j`, `//` and `%` by a size (floor, as Python's).

True always: affine forms stay affine; `//` and `%` use the extents and give no quotient or remainder where the ranges show
that none is needed; `n * (x // n) + x % n` is `x` again. So a reshape costs nothing where the shapes' factors align, and
nothing at all once the dimensions are flattened again: `flatten(unflatten(flat, shape), shape)` is `flat`.

Coefficients, constants and extents are ints or `Poly`: polynomials with integer coefficients in run-time sizes, each of
which is at least 1.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .ir import Expr


# ---------------------------------------------------------------------------------------------------- sizes
class Poly:
    """An integer polynomial in the names of run-time sizes. Never a constant: those are ints."""

    __slots__ = ("terms", "_hash")

    def __init__(self, terms: dict[tuple[str, ...], int]):
        self.terms = terms
        self._hash = hash(frozenset(terms.items()))

    def __eq__(self, other) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other):
        out = dict(self.terms)
        for m, c in _monomials(other):
            out[m] = out.get(m, 0) + c
        return _poly(out)

    __radd__ = __add__

    def __mul__(self, other):
        out: dict[tuple[str, ...], int] = {}
        for m, c in self.terms.items():
            for n, d in _monomials(other):
                k = tuple(sorted(m + n))
                out[k] = out.get(k, 0) + c * d
        return _poly(out)

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + other * -1

    def __rsub__(self, other):
        return self * -1 + other

    def __repr__(self) -> str:
        return " + ".join("*".join((() if c == 1 and m else (str(c),)) + m) for m, c in sorted(self.terms.items()))

    def value(self, sizes: dict[str, int]) -> int:
        """The number, given the sizes."""
        return sum(c * math.prod(sizes[s] for s in m) for m, c in self.terms.items())


Num = int | Poly


def _monomials(x: Num):
    return x.terms.items() if isinstance(x, Poly) else (((), x),)


def _poly(terms: dict[tuple[str, ...], int]) -> Num:
    terms = {m: c for m, c in terms.items() if c}
    if not terms:
        return 0
    if len(terms) == 1 and () in terms:
        return terms[()]
    return Poly(terms)


def size(x: int | str | Num) -> Num:
    """A size as a number or a polynomial: names of run-time sizes are read as such."""
    return Poly({(x,): 1}) if isinstance(x, str) else x


def positive(x: Num, at_least: int = 0) -> bool:
    """Whether `x >= at_least` whatever the sizes (each at least 1)."""
    if isinstance(x, int):
        return x >= at_least
    total: Num = -at_least
    for m, c in x.terms.items():            # in terms of size - 1, each of which is at least 0
        part: Num = c
        for s in m:
            part = part * Poly({(s,): 1, (): 1})
        total = total + part
    return all(c >= 0 for _, c in _monomials(total))


def divide(a: Num, n: Num) -> Num | None:
    """`a / n` if that is exact for all sizes, else None."""
    if isinstance(a, int) and isinstance(n, int):
        return a // n if n and a % n == 0 else None
    if a == 0:
        return 0
    terms = list(_monomials(n))
    if len(terms) != 1:
        return 1 if a == n else None
    (by, k), = terms
    out: dict[tuple[str, ...], int] = {}
    for m, c in _monomials(a):
        rest = list(m)
        for s in by:
            if s not in rest:
                return None
            rest.remove(s)
        if c % k:
            return None
        out[tuple(rest)] = c // k
    return _poly(out)


# ---------------------------------------------------------------------------------------------------- atoms
@dataclass(frozen=True, slots=True)
class Axis:
    """A loop variable, from 0 to extent - 1."""

    name: str
    extent: Num


@dataclass(frozen=True, slots=True)
class Quot:
    """x // n"""

    x: Ix
    n: Num


@dataclass(frozen=True, slots=True)
class Rem:
    """x % n"""

    x: Ix
    n: Num


@dataclass(frozen=True, slots=True)
class Clamp:
    """x kept within [lo, hi]; not affine, so used only where an index may leave its array."""

    x: Ix
    lo: Num
    hi: Num


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An int64 that the kernel computes or loads. `lo` and `hi`, if known, bound it."""

    expr: Expr
    lo: Num | None = None
    hi: Num | None = None


Atom = Axis | Quot | Rem | Clamp | Value


class Ix:
    """`const` + the sum of coefficients times atoms."""

    __slots__ = ("const", "terms", "_hash", "_bounds")

    def __init__(self, const: Num = 0, terms: tuple[tuple[Atom, Num], ...] = ()):
        self.const, self.terms = const, terms
        self._hash = hash((const, frozenset(terms)))
        self._bounds: tuple | None = None

    def __eq__(self, other) -> bool:
        if not isinstance(other, Ix):
            return isinstance(other, (int, Poly)) and not self.terms and self.const == other
        return self._hash == other._hash and self.const == other.const and dict(self.terms) == dict(other.terms)

    def __hash__(self) -> int:
        return self._hash

    # ------------------------------------------------------------------------------------------------ arithmetic
    def __add__(self, other):
        other = ix(other)
        if not self.terms and self.const == 0:
            return other
        if not other.terms:
            return Ix(self.const + other.const, self.terms)
        out = dict(self.terms)
        for a, c in other.terms:
            out[a] = out.get(a, 0) + c
        return _tidy(self.const + other.const, out)

    __radd__ = __add__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + ix(other) * -1

    def __rsub__(self, other):
        return ix(other) + self * -1

    def __mul__(self, n: Num):
        if isinstance(n, Ix):
            if n.terms and self.terms:
                raise TypeError("an index times an index is not affine: make it a value")
            return n * self.const if not self.terms else self * n.const
        if n == 0:
            return ZERO
        if n == 1:
            return self
        return Ix(self.const * n, tuple([(a, c * n) for a, c in self.terms]))

    __rmul__ = __mul__

    def __floordiv__(self, n):
        return divmod_(self, n)[0]

    def __mod__(self, n):
        return divmod_(self, n)[1]

    # ------------------------------------------------------------------------------------------------ reading
    def bounds(self) -> tuple[Num | None, Num | None]:
        """The least and the greatest value, as far as is known."""
        if self._bounds is None:
            self._bounds = _bounds(self.terms, self.const)
        return self._bounds

    def number(self) -> Num | None:
        """The constant it is, or None."""
        return None if self.terms else self.const

    def axes(self) -> frozenset[str]:
        """The names of the loop variables it depends on, as far as atoms show (a Value's are the builder's to know)."""
        found: set[str] = set()
        for a, _ in self.terms:
            if isinstance(a, Axis):
                found.add(a.name)
            elif not isinstance(a, Value):
                found |= a.x.axes()
        return frozenset(found)

    def affine(self) -> bool:
        """Whether all its atoms are loop variables."""
        return all(isinstance(a, Axis) for a, _ in self.terms)

    def coefficient(self, name: str) -> Num:
        """By how much it grows with a loop variable, if affine in it."""
        return next((c for a, c in self.terms if isinstance(a, Axis) and a.name == name), 0)

    def __repr__(self) -> str:
        parts = [f"{_show(a)}" if c == 1 else f"{c}*{_show(a)}" for a, c in self.terms]
        return " + ".join(parts + ([str(self.const)] if self.const != 0 or not parts else []))


def _show(a: Atom) -> str:
    if isinstance(a, Axis):
        return a.name
    if isinstance(a, Value):
        return "value"
    if isinstance(a, Clamp):
        return f"clamp({a.x}, {a.lo}, {a.hi})"
    return f"(({a.x}) {'//' if isinstance(a, Quot) else '%'} {a.n})"


ZERO = Ix()


def ix(x: Ix | Num | str) -> Ix:
    """An index from a number, a size or an index."""
    return x if isinstance(x, Ix) else Ix(size(x))


def axis(name: str, extent: int | str | Num) -> Ix:
    """A loop variable as an index; one of extent 1 is 0."""
    return ZERO if extent == 1 else Ix(0, ((Axis(name, size(extent)), 1),))


def value(expr: Expr, lo: Num | None = None, hi: Num | None = None) -> Ix:
    """A computed int64 as an index."""
    return Ix(0, ((Value(expr, lo, hi), 1),))


# ---------------------------------------------------------------------------------------------------- ranges
def atom_bounds(a: Atom) -> tuple[Num | None, Num | None]:
    if isinstance(a, Axis):
        return 0, a.extent - 1
    if isinstance(a, Rem):
        return 0, a.n - 1
    if isinstance(a, (Value, Clamp)):
        return a.lo, a.hi
    lo, hi = a.x.bounds()
    if isinstance(a.n, int):
        return (lo // a.n if isinstance(lo, int) else None), (hi // a.n if isinstance(hi, int) else None)
    return (0 if lo is not None and positive(lo) else None), None


def _bounds(terms, const: Num) -> tuple[Num | None, Num | None]:
    lo: Num | None = const
    hi: Num | None = const
    for a, c in terms:
        below, above = atom_bounds(a)
        if positive(c):
            pass
        elif positive(-c):
            below, above = above, below
        else:
            return None, None
        lo = None if lo is None or below is None else lo + c * below
        hi = None if hi is None or above is None else hi + c * above
    return lo, hi


def below(x, y) -> bool | None:
    """Whether `x < y`, if the ranges decide."""
    lo, hi = (ix(y) - x).bounds()
    if lo is not None and positive(lo, 1):
        return True
    if hi is not None and positive(-hi):
        return False
    return None


def within(x, lo: Num, hi: Num) -> bool:
    """Whether `lo <= x < hi` certainly."""
    return below(x, hi) is True and below(x, lo) is False


def clamp(x: Ix, lo: Num, hi: Num) -> Ix:
    """`x` kept within [lo, hi]; itself if it cannot leave."""
    if within(x, lo, hi + 1):
        return x
    n = x.number()
    if isinstance(n, int) and isinstance(lo, int) and isinstance(hi, int):
        return ix(min(max(n, lo), hi))
    return Ix(0, ((Clamp(x, lo, hi), 1),))


# ---------------------------------------------------------------------------------------------------- quotients
def _make(const: Num, terms: Iterable[tuple[Atom, Num]]) -> Ix:
    out: dict[Atom, Num] = {}
    for a, c in terms:
        out[a] = out.get(a, 0) + c
    return _tidy(const, out)


def divmod_(x: Ix | Num, n: int | str | Num) -> tuple[Ix, Ix]:
    """Floor quotient and remainder by a positive size."""
    x, n = ix(x), size(n)
    if n == 1:
        return x, ZERO
    if isinstance(n, int) and n <= 0:
        raise ValueError(f"index divided by {n}")
    whole, rest = [], []
    for a, c in x.terms:                                  # what is a multiple of n leaves at once
        q = divide(c, n)
        if q is None and isinstance(c, int) and isinstance(n, int) and c > n:
            whole.append((a, c // n))
            rest.append((a, c % n))
        elif q is None:
            rest.append((a, c))
        else:
            whole.append((a, q))
    const_q, const_r = _split(x.const, n, _bounds(rest, 0)[0])
    q, r = _small(rest, const_r, n)
    return _make(const_q, whole) + q, r


def _split(const: Num, n: Num, lo: Num | None) -> tuple[Num, Num]:
    """`const` as `q * n + r`, so that r plus something of at least `lo` is as small as it can be and not negative."""
    if isinstance(const, int) and isinstance(n, int):
        q = (const + lo) // n if isinstance(lo, int) else const // n
        return q, const - q * n
    q = divide(const, n)
    if q is not None and (lo is None or lo == 0 or not isinstance(const, int)):
        return (q, 0) if lo is None or positive(lo) else (q - 1, n)
    if isinstance(const, Poly) and isinstance(n, Poly) and len(n.terms) == 1:
        (by, k), = n.terms.items()
        part = _poly({m: c for m, c in const.terms.items() if divide(Poly({m: c}) if m else c, n) is not None})
        if part != 0:
            q, r = divide(part, n), const - part
            if lo is not None and not positive(r + lo) and positive(r + lo + n):
                q, r = q - 1, r + n
            return q, r
    return 0, const


def _small(terms, const: Num, n: Num) -> tuple[Ix, Ix]:
    """Quotient and remainder of what is no multiple of n."""
    x = _make(const, terms)
    if not x.terms and isinstance(x.const, int) and isinstance(n, int):
        return ix(x.const // n), ix(x.const % n)
    if within(x, 0, n):
        return ZERO, x
    if isinstance(n, int):                                # (g*a + s) // (g*m) is a // m where 0 <= s < g
        for g in sorted({math.gcd(c, n) for _, c in x.terms if isinstance(c, int)} - {1}, reverse=True):
            big = [(a, c // g) for a, c in x.terms if isinstance(c, int) and c % g == 0]
            little = [(a, c) for a, c in x.terms if not (isinstance(c, int) and c % g == 0)]
            if not isinstance(x.const, int):
                break
            const_q, const_r = _split(x.const, g, _bounds(little, 0)[0])
            s = _make(const_r, little)
            if within(s, 0, g):
                q, r = divmod_(_make(const_q, big), n // g)
                return q, r * g + s
    else:                                                 # the same by one of the run-time sizes in n
        for g in {c for _, c in x.terms if isinstance(c, Poly)}:
            m = divide(n, g)
            if m is None:
                continue
            parts = [(a, c, divide(c, g)) for a, c in x.terms]
            little = [(a, c) for a, c, q in parts if q is None]
            const_q, const_r = _split(x.const, g, _bounds(little, 0)[0])
            s = _make(const_r, little)
            if within(s, 0, g):
                q, r = divmod_(_make(const_q, [(a, q) for a, _, q in parts if q is not None]), m)
                return q, r * g + s
    if len(x.terms) == 1 and x.const == 0 and x.terms[0][1] == 1:
        a = x.terms[0][0]
        if isinstance(a, Quot):
            whole = Ix(0, ((Quot(a.x, a.n * n), 1),))
            return (ZERO if _is_below(a.x, a.n * n) else whole), Ix(0, ((Rem(x, n), 1),))
        if isinstance(a, Rem):
            m = divide(a.n, n)
            if m is not None:
                q, r = divmod_(a.x, n)
                return q % m, r
    return Ix(0, ((Quot(x, n), 1),)), Ix(0, ((Rem(x, n), 1),))


def _is_below(x: Ix, n: Num) -> bool:
    return within(x, 0, n)


def _tidy(const: Num, terms: dict[Atom, Num]) -> Ix:
    """Drop what cancels, and put quotients and remainders together again."""
    terms = {a: c for a, c in terms.items() if c != 0}
    again = len(terms) > 1
    while again:
        again = False
        for a, c in terms.items():
            if not isinstance(a, Rem):
                continue
            q = divmod_(a.x, a.n)[0]
            if q.terms and q.const == 0 and all(terms.get(t) == c * a.n * k for t, k in q.terms):
                for t, _ in q.terms:
                    del terms[t]
                del terms[a]
                merged = Ix(const, tuple(terms.items())) + a.x * c
                return merged
            inner = a.x.terms[0][0] if len(a.x.terms) == 1 and a.x.const == 0 and a.x.terms[0][1] == 1 else None
            if isinstance(inner, Quot):                   # n * (y // n % k) + y % n  is  y % (n * k)
                small = Rem(inner.x, inner.n)
                cs = terms.get(small)
                if cs is not None and c == cs * inner.n:
                    del terms[small], terms[a]
                    return Ix(const, tuple(terms.items())) + divmod_(inner.x, inner.n * a.n)[1] * cs
    return Ix(const, tuple(terms.items()))


# ---------------------------------------------------------------------------------------------------- shapes
def row_major(shape: Sequence) -> tuple[Num, ...]:
    """Strides in elements of a row-major array."""
    out: list[Num] = []
    step: Num = 1
    for n in reversed(shape):
        out.append(step)
        step = step * (1 if n == 0 else size(n))
    return tuple(reversed(out))


def flatten(idx: Sequence, shape: Sequence, strides: Sequence | None = None) -> Ix:
    """The offset of an element of a row-major array (or of one with `strides`)."""
    total = ZERO
    for i, s in zip(idx, row_major(shape) if strides is None else strides):
        total = total + ix(i) * size(s)
    return total


def unflatten(flat: Ix | Num, shape: Sequence) -> tuple[Ix, ...]:
    """The index of the element at a row-major offset."""
    out: list[Ix] = []
    rest = ix(flat)
    for k in range(len(shape) - 1, -1, -1):
        n = size(shape[k])
        if n == 1:
            out.append(ZERO)
        elif n == 0:
            out.append(ZERO)
        else:
            rest, r = divmod_(rest, n)
            out.append(r)
    return tuple(reversed(out))


def common_factors(a: Sequence[int], b: Sequence[int]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]] | None:
    """A shape both `a` and `b` are made of by joining neighbours: (shape, groups of its dimensions for each of a's, for
    each of b's); None if their factors do not align. Both have the same number of elements, above 0. A loop over that shape
    reads and writes either without a division."""
    cuts: set[int] = set()
    for shape in (a, b):
        step = 1
        for n in reversed(shape):
            step *= n
            cuts.add(step)
    cuts.discard(1)
    fine: list[int] = []
    last = 1
    for c in sorted(cuts):
        if c % last:
            return None
        fine.append(c // last)
        last = c
    fine.reverse()

    def groups(shape):
        out, k = [], len(fine)
        for n in reversed(shape):
            mine: list[int] = []
            have = 1
            while have < n:
                k -= 1
                mine.append(k)
                have *= fine[k]
            out.append(tuple(reversed(mine)))
        return tuple(reversed(out))
    return tuple(fine), groups(a), groups(b)


def evaluate(x: Ix | Num, env, values=None):
    """The number (or array of numbers), given loop variables and sizes by name in `env`; `values(expr)` gives a Value's."""
    def num(n: Num):
        return n.value(env) if isinstance(n, Poly) else n

    def atom(a: Atom):
        if isinstance(a, Axis):
            return env[a.name]
        if isinstance(a, Value):
            return values(a.expr)
        v = evaluate(a.x, env, values)
        if isinstance(a, Quot):
            return v // num(a.n)
        if isinstance(a, Rem):
            return v % num(a.n)
        lo, hi = num(a.lo), num(a.hi)
        return v.clip(lo, hi) if hasattr(v, "clip") else min(max(v, lo), hi)
    if not isinstance(x, Ix):
        return num(x)
    total = num(x.const)
    for a, c in x.terms:
        total = total + num(c) * atom(a)
    return total
