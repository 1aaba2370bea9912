"""What loops do, before they are written: which may run in lanes, in how many, and what can be kept in a register.

In: statements of loop IR. Out: facts about them, or the same computation said in another way. Nothing here writes LLVM.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core import dtype as dt
from ..core.dtype import dtype
from ..kernel.build import identity
from ..kernel.ir import MATH, Accum, AccumStore, Apply, Buf, Const, If, Index, Let, Load, Local, Loop, Size, Stmt, Store, Var
from ..kernel.walk import expressions, parts, statements
from .numeric import LOW
from .symbolic import SymInt

LONG = 32           # additions in a row that float32 can take; longer sums go to float64
AHEAD, ROW = 2 << 20, 1 << 10       # bytes of an input, and of a row, from which on the next row is fetched in time
CHEAP = frozenset(("sqrt", "floor", "ceil", "trunc", "rint"))


def bound(body: Sequence[Stmt]) -> set[str]:
    """The names that statements give values to."""
    names = set()
    for s in statements(body):
        if isinstance(s, (Let, Local, Accum)):
            names.add(s.var)
        elif isinstance(s, Loop):
            names.add(s.axis.var)
    return names


def written(body: Sequence[Stmt]) -> set[str]:
    """The buffers that statements write."""
    return {s.buf for s in statements(body) if isinstance(s, (Store, AccumStore))}


def trips(body: Sequence[Stmt], var: str, lanes: int) -> float:
    """How often `var` is accumulated to, at most, per lane; infinite if that depends on run-time sizes, or over rows that threads share:
    batches of all sizes are added up alike."""
    total = 0.0
    for s in body:
        if isinstance(s, Accum) and s.var == var:
            total += 1
        elif isinstance(s, If):
            total += trips(s.body, var, lanes)
        elif isinstance(s, Loop):
            inner = trips(s.body, var, lanes)
            if inner:
                n = s.axis.extent
                rows = s.axis.kind == "par" and not s.axis.vec
                total += inner * (float("inf") if isinstance(n, str) or rows else -(-n // (lanes if s.axis.vec else 1)))
    return total


def held(d: dtype) -> dtype:
    """The dtype that values of a buffer are computed in."""
    return dt.float32 if d in LOW else d


def neutral(op: str, d: dtype):
    """The number that changes nothing under a reduction."""
    if op == "and" and d is not dt.bool_:
        return -1
    return -0.0 if op == "add" and d.is_floating_point else identity(op, d)


# ---------------------------------------------------------------------------------------------------- lanes
def independent(loop: Loop) -> bool:
    """Whether the iterations may run side by side, in lanes."""
    var, body = loop.axis.var, loop.body
    varying, inside = {var}, set()
    reads: set[str] = set()
    for s in statements(body):
        found = parts(expressions(s))
        reads |= {e.name for e in found if isinstance(e, Var)}
        if isinstance(s, Local):
            inside.add(s.var)
            varying.add(s.var)
        elif isinstance(s, Let) and any((isinstance(e, Var) and e.name in varying)
                                        or (isinstance(e, Load) and any(n in varying for n, _ in e.index.terms)) for e in found):
            varying.add(s.var)
    for s in statements(body):
        if isinstance(s, Accum) and s.var not in inside and (s.op == "set" or s.var in reads):
            return False
        if isinstance(s, Store) and not any(n in varying for n, _ in s.index.terms):
            return False
        if isinstance(s, AccumStore) and [n for n, _ in s.index.terms if n in varying] != [var]:
            return False
    if loop.axis.kind == "par":
        return True
    stores: dict[str, set[Index]] = {}
    for s in statements(body):
        if isinstance(s, (Store, AccumStore)):
            stores.setdefault(s.buf, set()).add(s.index)
    for s in statements(body):
        for e in parts(expressions(s)):
            if isinstance(e, Load) and e.buf in stores and stores[e.buf] != {e.index}:
                return False
    return True


def lane_count(loop: Loop, bufs: Mapping[str, Buf], bits: int) -> int:
    """How many lanes suit the dtypes of a loop, and its extent."""
    floats, whole = set(), set()
    for s in statements(loop.body):
        found = [bufs[e.buf].dtype if isinstance(e, Load) else e.dtype for e in parts(expressions(s)) if not isinstance(e, Const)]
        if isinstance(s, (Store, AccumStore)):
            found.append(bufs[s.buf].dtype)
        for d in found:
            d = held(d)
            (floats if d.is_floating_point else whole).add(d.itemsize)
    whole.discard(1)
    size = min(floats) if floats else whole.pop() if len(whole) == 1 else 4 if whole else 1
    lanes = bits // 8 // size
    n = loop.axis.extent
    if isinstance(n, int) and not isinstance(n, SymInt):
        if n == 1:
            return 1
        while lanes > 2 and lanes >= 2 * n:
            lanes //= 2
    return lanes


def vectors_per_turn(loop: Loop, sums: bool, registers: int) -> int:
    """How many vectors one iteration of the main loop takes."""
    cost = 0
    for s in statements(loop.body):
        if isinstance(s, If):
            return 1
        found = parts(expressions(s))
        cost += sum(20 if e.name in MATH and e.name not in CHEAP else 1 for e in found if isinstance(e, Apply))
        cost += 1 + sum(isinstance(e, Load) for e in found)
    inner = any(isinstance(s, Loop) for s in loop.body)
    if inner and cost <= 8 and registers >= 32:
        return 8                                  # rows far apart: several cache lines of each
    sums = sums or inner
    return 4 if cost <= (12 if sums else 8) else 2 if cost <= 20 else 1


def read_again(loop: Loop, bufs: Mapping[str, Buf]) -> dict[str, dict[str, int]]:
    """For loops in `loop` that are the second to read a row of a large input: by their variables, how many elements away the next
    row is. The processor does not guess it: rows are often whole pages."""
    found: dict[str, dict[str, int]] = {}
    times: dict[str, int] = {}
    for s in loop.body:
        if not isinstance(s, Loop) or not s.axis.vec:
            continue
        rows = {}
        for e in parts([root for t in statements(s.body) for root in expressions(t)]):
            if isinstance(e, Load) and e.buf not in rows:
                b, terms = bufs[e.buf], dict(e.index.terms)
                c = terms.pop(loop.axis.var, 0)
                large = isinstance(b.size, int) and b.size * b.dtype.itemsize >= AHEAD
                if large and b.role == "in" and isinstance(c, int) and c * b.dtype.itemsize >= ROW and terms == {s.axis.var: 1}:
                    rows[e.buf] = c
        for name, c in rows.items():
            times[name] = times.get(name, 0) + 1
            if times[name] == 2:
                found.setdefault(s.axis.var, {})[name] = c
    return found


# ---------------------------------------------------------------------------------------------------- sums in registers
def lift(loop: Loop, bufs: dict[str, Buf]) -> tuple[list[Local], Loop, list[AccumStore]]:
    """A loop that adds to the same element in every iteration, as one that adds to a register: (what comes before it, the
    loop, what comes after it)."""
    names = bound((loop,))
    found: dict[tuple, str] = {}
    spoilt = {e.buf for s in statements(loop.body) for e in parts(expressions(s)) if isinstance(e, Load)}
    for s in statements(loop.body):
        if isinstance(s, Store) or isinstance(s, AccumStore) and (s.op == "set" or any(n in names for n, _ in s.index.terms)):
            spoilt.add(s.buf)
    kinds: dict[str, str] = {}
    for s in statements(loop.body):
        if isinstance(s, AccumStore) and s.buf not in spoilt:
            if kinds.setdefault(s.buf, s.op) != s.op:
                spoilt.add(s.buf)
    for s in statements(loop.body):
        if isinstance(s, AccumStore) and s.buf not in spoilt:
            found.setdefault((s.buf, s.index, s.op), f"{s.buf}.sum{len(found)}")
    if not found:
        return [], loop, []

    def change(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for s in body:
            if isinstance(s, AccumStore) and (s.buf, s.index, s.op) in found:
                s = Accum(found[s.buf, s.index, s.op], s.op, s.expr)
            elif isinstance(s, (Loop, If)):
                s = replace(s, body=change(s.body))
            out.append(s)
        return tuple(out)

    before, after = [], []
    for (buf, index, op), name in found.items():
        d = held(bufs[buf].dtype)
        before.append(Local(name, Const(neutral(op, d), d)))
        after.append(AccumStore(buf, index, op, Var(name, d)))
    return before, replace(loop, body=change(loop.body)), after


# ---------------------------------------------------------------------------------------------------- threads
def parallel(group: Sequence[Stmt]) -> bool:
    return len(group) == 1 and isinstance(group[0], Loop) and group[0].axis.kind == "par"


def groups(body: Sequence[Stmt]) -> list[tuple[Stmt, ...]]:
    """The statements of each phase: a par loop, or what one thread does between two."""
    found: list[tuple[Stmt, ...]] = []
    rest: list[Stmt] = []
    for s in body:
        if parallel((s,)):
            if rest:
                found.append(tuple(rest))
            found.append((s,))
            rest = []
        else:
            rest.append(s)
    return found + ([tuple(rest)] if rest else [])


def apart(index: Index, var: str, extents: Mapping[str, Size]) -> bool:
    """Whether different values of `var` give different elements."""
    terms = dict(index.terms)
    c = terms.pop(var, 0)
    if c == 0 or any(name not in extents for name in terms):
        return False
    reach = 0
    for name, k in terms.items():
        n = extents[name]
        if isinstance(n, int) and isinstance(k, int):
            reach += abs(k) * max(n - 1, 0)
        else:
            return len(terms) == 1 and k == 1 and n == c
    return isinstance(c, int) and reach < abs(c)
