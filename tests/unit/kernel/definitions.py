"""Runs an operator's kernel definition on arrays, with NumPy as the machine: what the tests of definitions compare with `ref`.

In: an operator, its operands in canonical form (arrays, numbers, None), attributes. Out: the result arrays. Every load is
checked to lie inside its buffer; every guard to hold.
"""
from __future__ import annotations

import numpy as np

from pellucid.core import dtype as dt
from pellucid.core.spec import Spec
from pellucid.kernel import index
from pellucid.kernel.build import Builder, Element, Pieces, Point, Reduction, Refused, Scatter, compute_dtype, describe
from pellucid.kernel.evaluate import apply, evaluate
from pellucid.kernel.ir import Const, Expr, Load, Var

SEED_OF_REDUCTION = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "and": np.logical_and, "or": np.logical_or}


class Recording(Builder):
    """A builder that remembers which operations it was asked for, those it folded too."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def _apply(self, name, args, d):
        self.names.add(name)
        return super()._apply(name, args, d)


class Machine:
    """Evaluates expressions over index grids."""

    def __init__(self, arrays, specs):
        self.arrays, self.specs = arrays, specs
        self.b = Recording()
        self.env: dict = {}
        for k, (a, s) in enumerate(zip(arrays, specs)):
            if isinstance(s, Spec):
                self.env[f"x{k}"] = np.ascontiguousarray(a).reshape(-1)

    def axes(self, shape, stop=None):
        """Index variables over a box, bound to grids."""
        grids = np.indices(shape, np.int64)
        out = []
        for d, n in enumerate(shape):
            out.append(index.axis(f"i{d}", n))
            self.env[f"i{d}"] = grids[d]
        return tuple(out)

    def load(self, k, idx) -> Expr:
        s = self.specs[k]
        assert len(idx) == s.ndim, (k, idx, s)
        flat = index.flatten(idx, s.shape)
        return Load(f"x{k}", self.b.index(flat), compute_dtype(s.dtype))

    def value(self, e: Expr, shape):
        """The expression over the grid of `shape`."""
        for let in self.b.take_lets():
            self.env[let.var] = self.run(let.expr)
        for g in self.b.guards:
            v = self.run(g.value)
            assert np.all((v >= 0) & (v < g.extent)), "a guard does not hold"
        self.b.guards.clear()
        return np.broadcast_to(self.run(e), shape)

    def run(self, e: Expr):
        with np.errstate(all="ignore"):
            return evaluate(e, Checked(self.env))


class Checked(dict):
    """Buffers that refuse to be read outside."""

    def __init__(self, env):
        super().__init__({k: Inside(v) if k.startswith("x") and isinstance(v, np.ndarray) and k[1:].isdigit() else v for k, v in env.items()})


class Inside:
    def __init__(self, a):
        self.a = a

    def __getitem__(self, at):
        at = np.asarray(at)
        assert at.size == 0 or (at.min() >= 0 and at.max() < self.a.size), "a load outside its buffer"
        return self.a[at]


def run(op, arrays, attrs, outs: list[Spec]):
    """(results, the names of the operations used). Raises Refused as the definition does."""
    specs = [Spec(a.shape, dt.of(a.dtype)) if isinstance(a, np.ndarray) else a for a in arrays]
    results, names = [], set()
    for k, out in enumerate(outs):
        m = Machine(arrays, specs)
        m.b.out = k
        what = describe(m.b, op, specs, attrs)
        if not isinstance(what, (Reduction, Scatter)) and 0 in out.shape:
            results.append(np.zeros(out.shape, out.dtype.np))
            continue
        results.append(store(compute(m, what, out), out))
        names |= m.b.names
    return results, names


def store(v, out: Spec):
    """A computed value in the result's dtype."""
    v = np.asarray(v)
    if v.dtype == out.dtype.np:
        return v
    assert out.dtype in dt.LOW_PRECISION and v.dtype.kind == "f", f"a {v.dtype} value for a {out.dtype.name} result"
    return v.astype(out.dtype.np)


def compute(m: Machine, what, out: Spec):
    if isinstance(what, Point):
        rank = len(out.shape)
        operands = []
        i = m.axes(out.shape)
        for k, s in enumerate(m.specs):
            operands.append(m.load(k, m.b.broadcast(i, s.shape)) if isinstance(s, Spec) else s)
        return m.value(what.fn(*operands), out.shape) if rank else m.value(what.fn(*operands), ())
    if isinstance(what, Element):
        return m.value(what.fn(m.axes(out.shape), m.load), out.shape)
    if isinstance(what, Pieces):
        whole = m.value(what.element(m.axes(out.shape), m.load), out.shape)
        parts, seen = np.zeros(out.shape, whole.dtype), np.zeros(out.shape, int)
        for r in what.regions:
            extent = [z - a for a, z in zip(r.start, r.stop)]
            i = tuple([x + a for x, a in zip(m.axes(extent), r.start)])
            box = tuple(slice(a, z) for a, z in zip(r.start, r.stop))
            parts[box] = m.value(r.fn(i, m.load), extent)
            seen[box] += 1
        assert (seen == 1).all(), "the pieces do not tile the result"
        assert np.array_equal(parts, whole, equal_nan=parts.dtype.kind == "f"), "pieces and element differ"
        return whole
    if isinstance(what, Reduction):
        return reduce(m, what)
    return scatter(m, what, out)


def reduce(m: Machine, what: Reduction):
    s = m.specs[0]
    x = m.value(what.pre(m.load(0, m.axes(s.shape))), s.shape)
    assert x.dtype == what.dtype.np, (x.dtype, what.dtype)
    if what.op.startswith("arg"):
        f = getattr(np, what.op)
        if not what.dims:
            acc = np.zeros(what.shape, np.int64)
        elif len(what.dims) == x.ndim:
            acc = np.asarray(f(x)).reshape(what.shape)
        else:
            acc = np.asarray(f(x, what.dims[0]) if x.size else np.zeros(what.shape, np.int64)).reshape(what.shape)
    else:
        ufunc = SEED_OF_REDUCTION[what.op]
        d = None if what.dtype is dt.bool_ else what.dtype.np
        if 0 in x.shape and what.init is not None:
            acc = np.full(what.shape, what.init.value, what.dtype.np)
        else:
            acc = np.asarray(ufunc.reduce(x, what.dims, d)).reshape(what.shape)
    m.env["acc"] = acc
    return m.value(what.post(Var("acc", dt.int64 if what.op.startswith("arg") else what.dtype)), what.shape)


def scatter(m: Machine, what: Scatter, out: Spec):
    d = compute_dtype(out.dtype).np
    r = np.full(out.shape, what.init.value, d) if isinstance(what.init, Const) else m.arrays[what.init].astype(d)
    if 0 in what.shape:
        return r
    place, value = what.at(m.axes(what.shape), m.load)
    at = [m.value(m.b.value(p), what.shape).reshape(-1) for p in place]
    v = m.value(value, what.shape).reshape(-1)
    for p, n in zip(at, out.shape):
        assert p.min() >= 0 and p.max() < n, "a store outside its buffer"
    flat = r.reshape(-1)
    where = np.ravel_multi_index(at, out.shape) if at else np.zeros(v.shape, np.int64)
    for p, x in zip(where, v):
        flat[p] = x if what.op == "set" else apply({"and": "and", "or": "or"}.get(what.op, what.op), dt.of(flat.dtype), flat[p], x)
    return flat.reshape(out.shape)


__all__ = ["Refused", "run"]
