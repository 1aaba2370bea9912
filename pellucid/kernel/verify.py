"""The rules of loop IR, checked.

In: a `Kernel`. Out: nothing, or `KernelError` naming the kernel, the statement and the rule. Checked: names are bound before
they are used; dtypes agree; indices are made of known int64 names; affine indices stay within their buffers, as far as sizes
are numbers; iterations of a `par` loop do not store to the same element, as far as it can be seen; the rules of `vec`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core import dtype as dt
from ..core.dtype import dtype
from .ir import (
    APPLY, LOGIC, REDUCTIONS, Accum, AccumStore, Apply, Buf, Const, Expr, If, Index, Kernel, Let, Load, Local, Loop, Size, Stmt, Store, Var,
)
from .walk import parts

COMPARE = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
UNARY = frozenset(("neg", "abs", "not", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sinh", "cosh",
                   "erf", "erfc", "sin", "cos", "tan", "asin", "acos", "atan", "floor", "ceil", "trunc", "rint", "sigmoid", "isnan",
                   "cast", "bitcast"))
FLOATS = frozenset((APPLY - frozenset(LOGIC) - frozenset(("add", "sub", "mul", "neg", "abs", "max", "min", "maxnum", "minnum", "rem",
                                                            "floordiv", "mod", "pow", "fma"))))
LOW = (dt.float16, dt.bfloat16)
ROLES = ("in", "out", "inout", "local")


class KernelError(AssertionError):
    """A kernel that breaks a rule of loop IR."""


def held(d: dtype) -> dtype:
    """The dtype a value is computed in."""
    return dt.float32 if d in LOW else d


class _Checker:
    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.bufs: dict[str, Buf] = {}
        self.names: dict[str, dtype] = {}
        self.mutable: set[str] = set()
        self.extents: dict[str, Size] = {}
        self.loops: list[Loop] = []
        self.guarded = 0                              # branches around: their conditions may be what keeps indices in range
        self.once: list[str] = []
        self.at = ""
        self.good: dict[int, dtype] = {}              # expressions seen in this statement

    def fail(self, rule: str):
        raise KernelError(f"kernel {self.kernel.name}, {self.at or 'its header'}: {rule}")

    def need(self, ok: bool, rule: str) -> None:
        if not ok:
            self.fail(rule)

    # ------------------------------------------------------------------------------------------------ the whole
    def check(self) -> None:
        k = self.kernel
        for b in k.bufs:
            self.need(b.name not in self.bufs, f"two buffers are called {b.name}")
            self.need(b.role in ROLES, f"buffer {b.name} has the role {b.role!r}")
            self.need(isinstance(b.size, int) and b.size >= 0 or b.size in k.sizes, f"buffer {b.name} has the size {b.size!r}")
            self.bufs[b.name] = b
        self.need(len(set(k.sizes)) == len(k.sizes), "two sizes have one name")
        for s in k.sizes:
            self.need(s not in self.bufs, f"{s} is a size and a buffer")
            self.names[s] = dt.int64
        self.block(k.body)

    def block(self, body: Sequence[Stmt]) -> None:
        names, mutable = dict(self.names), set(self.mutable)
        for s in body:
            self.statement(s)
        self.names, self.mutable = names, mutable

    def bind(self, name: str, d: dtype) -> None:
        self.need(name not in self.names, f"the name {name} is bound already")
        self.need(name not in self.bufs, f"the name {name} is a buffer's")
        self.names[name] = d

    def statement(self, s: Stmt) -> None:
        self.at = describe(s)
        self.good = {}
        if isinstance(s, Loop):
            self.loop(s)
        elif isinstance(s, If):
            self.need(self.expr(s.cond) is dt.bool_, "a condition is not bool")
            once = s.cond.args[0].name if isinstance(s.cond, Apply) and s.cond.name == "eq" and isinstance(s.cond.args[0], Var) else ""
            self.guarded += 1
            self.once.append(once)                    # only one iteration of this loop comes here
            self.block(s.body)
            self.once.pop()
            self.guarded -= 1
        elif isinstance(s, (Let, Local)):
            d = self.expr(s.expr if isinstance(s, Let) else s.init)
            self.bind(s.var, d)
            if isinstance(s, Local):
                self.mutable.add(s.var)
        elif isinstance(s, Accum):
            self.need(s.var in self.mutable, f"{s.var} is no Local")
            self.operation(s.op, self.names[s.var])
            self.same(self.names[s.var], self.expr(s.expr))
        elif isinstance(s, (Store, AccumStore)):
            b = self.buffer(s.buf)
            self.need(b.role != "in", f"buffer {b.name} is an input")
            self.index(b, s.index)
            self.same(held(b.dtype), self.expr(s.expr))
            if isinstance(s, AccumStore):
                self.operation(s.op, b.dtype)
            else:
                self.races(s)
        else:
            self.fail(f"no statement: {type(s).__name__}")

    def loop(self, s: Loop) -> None:
        ax = s.axis
        self.need(ax.kind in ("par", "seq", "red"), f"an axis of kind {ax.kind!r}")
        self.need(isinstance(ax.extent, int) or ax.extent in self.kernel.sizes, f"the extent {ax.extent!r} is no size")
        self.need(not ax.vec or not any(x.axis.vec for x in self.loops), "a vec axis within a vec axis")
        self.need(ax.kind != "par" or all(x.axis.kind == "par" for x in self.loops), "a par axis within one that is not")
        self.extents[ax.var] = ax.extent
        self.loops.append(s)
        names = dict(self.names)
        self.bind(ax.var, dt.int64)
        self.block(s.body)
        self.names = names
        self.loops.pop()

    # ------------------------------------------------------------------------------------------------ expressions
    def same(self, a: dtype, b: dtype) -> None:
        self.need(held(a) is held(b), f"{a.name} and {b.name} meet")

    def operation(self, op: str, d: dtype) -> None:
        self.need(op in REDUCTIONS, f"no reduction: {op!r}")
        self.need(op not in ("and", "or") or not d.is_floating_point, f"{op} of {d.name}")

    def buffer(self, name: str) -> Buf:
        self.need(name in self.bufs, f"no buffer {name}")
        return self.bufs[name]

    def expr(self, root: Expr) -> dtype:
        for e in parts((root,)):
            if id(e) not in self.good:
                self.good[id(e)] = self.typed(e)
        return self.good[id(root)]

    def typed(self, e: Expr) -> dtype:
        if isinstance(e, Const):
            return e.dtype
        if isinstance(e, Var):
            self.need(e.name in self.names, f"{e.name} is used before it is bound")
            self.same(self.names[e.name], e.dtype)
            return e.dtype
        if isinstance(e, Load):
            b = self.buffer(e.buf)
            self.index(b, e.index)
            self.need(held(b.dtype) is e.dtype, f"a load of {e.dtype.name} from {b.name}, which is {b.dtype.name}")
            return e.dtype
        self.need(isinstance(e, Apply), f"no expression: {type(e).__name__}")
        args = [self.good[id(a)] for a in e.args]
        self.applied(e, args)
        return e.dtype

    def applied(self, e: Apply, args: list[dtype]) -> None:
        name = e.name
        self.need(name in APPLY, f"no operation {name!r}")
        wanted = 3 if name in ("fma", "select") else 1 if name in UNARY else 2
        self.need(len(args) == wanted, f"{name} takes {wanted} operands, not {len(args)}")
        if name == "cast":
            return
        if name == "bitcast":
            self.need(args[0].itemsize == e.dtype.itemsize, f"bitcast of {args[0].name} to {e.dtype.name}")
            return
        if name == "select":
            self.need(args[0] is dt.bool_, "select wants a bool first")
            args = args[1:]
        for d in args[1:]:
            self.same(args[0], d)
        if name in COMPARE or name == "isnan":
            self.need(e.dtype is dt.bool_, f"{name} gives bool")
        else:
            self.same(args[0], e.dtype)
        if name in FLOATS:
            self.need(e.dtype.is_floating_point, f"{name} of {e.dtype.name}")

    # ------------------------------------------------------------------------------------------------ indices
    def index(self, b: Buf, ix: Index) -> None:
        sizes = self.kernel.sizes
        self.need(isinstance(ix.const, int) or ix.const in sizes, f"the offset {ix.const!r} is no size")
        self.need(len({n for n, _ in ix.terms}) == len(ix.terms), "a name twice in one index")
        for name, c in ix.terms:
            self.need(name in self.names, f"the index name {name} is not bound")
            self.need(self.names[name] is dt.int64, f"the index name {name} is {self.names[name].name}, not int64")
            self.need(isinstance(c, int) or c in sizes, f"the coefficient {c!r} is no size")
        reach = span(ix, self.extents)
        if reach is not None and isinstance(b.size, int) and not self.guarded and all(self.runs(x) for x in self.loops):
            self.need(reach[0] >= 0 and reach[1] < b.size, f"{b.name}, of {b.size} elements, is indexed from {reach[0]} to {reach[1]}")

    def runs(self, loop: Loop) -> bool:
        return not isinstance(loop.axis.extent, int) or loop.axis.extent > 0

    def races(self, s: Store) -> None:
        """Different iterations of each par loop around must store to different elements."""
        if self.bufs[s.buf].role == "local" or not all(self.runs(x) for x in self.loops):
            return
        names = {n for n, _ in s.index.terms}
        computed = any(n not in self.extents for n in names)
        for loop in self.loops:
            n = loop.axis.extent
            if loop.axis.kind == "par" and loop.axis.var not in self.once and not computed and not (isinstance(n, int) and n <= 1):
                self.need(loop.axis.var in names, f"every iteration of the par axis {loop.axis.var} stores to the same element of {s.buf}")
        if computed or any(isinstance(c, str) for _, c in s.index.terms) or any(isinstance(self.extents[n], str) for n in names):
            return
        reach = 0
        for name, c in sorted(s.index.terms, key=lambda t: abs(t[1])):
            n = self.extents[name]
            if n > 1:
                par = any(x.axis.var == name and x.axis.kind == "par" for x in self.loops)
                self.need(abs(c) > reach or not par, f"iterations of {name} may store to the same element of {s.buf}")
                reach += abs(c) * (n - 1)


def span(ix: Index, extents: Mapping[str, Size]) -> tuple[int, int] | None:
    """The least and greatest offset of an affine index whose sizes are numbers."""
    if not isinstance(ix.const, int):
        return None
    low = high = ix.const
    for name, c in ix.terms:
        n = extents.get(name)
        if not isinstance(n, int) or not isinstance(c, int):
            return None
        end = c * max(n - 1, 0)
        low, high = low + min(end, 0), high + max(end, 0)
    return low, high


def describe(s: Stmt) -> str:
    if isinstance(s, Loop):
        return f"loop over {s.axis.var}"
    if isinstance(s, (Let, Local, Accum)):
        return f"{type(s).__name__} {s.var}"
    return f"{type(s).__name__} to {s.buf}" if isinstance(s, (Store, AccumStore)) else type(s).__name__


def check(kernel: Kernel) -> None:
    """Raise KernelError if the kernel breaks a rule."""
    _Checker(kernel).check()
