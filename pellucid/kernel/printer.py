"""A kernel as Python: nested loops over flat NumPy arrays, readable, and runnable as printed.

In: a `Kernel`. Out: `text(kernel)`, the source of one function (with the import it needs); `run(kernel, arrays, sizes)` runs
that very text. True always: what runs is what is printed; float16 and bfloat16 are read as float32 and rounded where they are
stored; sums are plain, one after the other (native code keeps several, and is closer to the exact sum).
"""
from __future__ import annotations

import keyword
import linecache
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import CodeType

import numpy as np

from ..core import dtype as dt
from ..core.dtype import dtype
from . import scalars
from .ir import Accum, AccumStore, Apply, Const, Expr, Index, Kernel, Let, Load, Local, Loop, Size, Stmt, Store, Var
from .walk import expressions, parts, statements

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
         "and": "&", "or": "|", "xor": "^"}
WHOLE = {"floordiv": "//", "mod": "%"}
LOW = (dt.float16, dt.bfloat16)
DEEP = 7            # deeper expressions get names for their parts
HEAD = "from pellucid.kernel import scalars as m\n\n\n"


class _Printer:
    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.lines: list[str] = []
        self.names: dict[str, str] = {"m": "m_"}
        self.bufs = {b.name: b for b in kernel.bufs}
        self.loops: set[str] = set()                 # names that are Python's ints
        self.temporary = 0

    def name(self, name: str) -> str:
        found = self.names.get(name)
        if found is None:
            found = re.sub(r"\W|^(?=\d)", "_", name)
            if keyword.iskeyword(found) or found in ("m", "range"):
                found += "_"
            while found in self.names.values():
                found += "_"
            self.names[name] = found
        return found

    def put(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    # ------------------------------------------------------------------------------------------------ the whole
    def text(self) -> str:
        k = self.kernel
        params = [self.name(b.name) for b in k.bufs if b.role != "local"] + [self.name(s) for s in k.sizes]
        self.put(0, f"def {self.name(k.name)}({', '.join(params)}):")
        about = [", ".join(k.ops)] if k.ops else []
        about += [f"from {', '.join(k.lines[:4])}"] if k.lines else []
        self.put(1, f'"""{"; ".join(about) or "kernel"}"""'.replace("\\", "/"))
        for b in k.bufs:
            size = self.size(b.size)
            name = self.name(b.name)
            if b.role == "local":
                self.put(1, f"{name} = m.row({size}, {b.dtype.name!r})")
            elif b.role != "in":
                self.put(1, f"# {name}: {b.dtype.name}, {size} elements, {b.role}")
        summed = {s.buf for s in statements(k.body) if isinstance(s, AccumStore)}
        for b in k.bufs:
            if b.init is not None and b.name in summed:
                self.put(1, f"{self.name(b.name)}[:] = {number(b.init, b.dtype)}")
        low = [b.name for b in k.bufs if b.name in summed and b.dtype in LOW and not self.otherwise(b.name)]
        for name in low:
            self.put(1, f"{self.name(name + '.sum')} = m.float32({self.name(name)})")
        self.low = set(low)
        self.block(k.body, 1)
        for name in low:
            self.put(1, f"{self.name(name)}[:] = {self.name(name + '.sum')}")
        return "\n".join(self.lines) + "\n"

    def otherwise(self, buf: str) -> bool:
        """Whether a buffer is stored to or read, apart from AccumStores."""
        return any(isinstance(s, Store) and s.buf == buf or any(isinstance(e, Load) and e.buf == buf for e in parts(expressions(s)))
                   for s in statements(self.kernel.body))

    def size(self, n: Size) -> str:
        return str(n) if isinstance(n, int) else self.name(n)

    # ------------------------------------------------------------------------------------------------ statements
    def block(self, body: Sequence[Stmt], depth: int) -> None:
        if not body:
            self.put(depth, "pass")
        for s in body:
            self.statement(s, depth)

    def statement(self, s: Stmt, depth: int) -> None:
        if isinstance(s, Loop):
            ax = s.axis
            self.loops.add(ax.var)
            note = {"par": "  # par: in any order", "red": "", "seq": ""}[ax.kind] if not ax.vec else f"  # {ax.kind}, in lanes"
            self.put(depth, f"for {self.name(ax.var)} in range({self.size(ax.extent)}):{note}")
            self.block(s.body, depth + 1)
            return
        where = depth, self.shared(s)
        if isinstance(s, Let):
            e = self.expr(s.expr, where)
            self.put(depth, f"{self.name(s.var)} = {e}")
        elif isinstance(s, Local):
            self.put(depth, f"{self.name(s.var)} = {self.typed(s.init, where)}")
        elif isinstance(s, Accum):
            name = self.name(s.var)
            self.put(depth, self.update(name, name, s.op, self.expr(s.expr, where)))
        elif isinstance(s, Store):
            e = self.expr(s.expr, where)
            self.put(depth, f"{self.name(s.buf)}[{self.index(s.index)}] = {e}")
        elif isinstance(s, AccumStore):
            buf = s.buf + ".sum" if s.buf in self.low else s.buf
            place = f"{self.name(buf)}[{self.index(s.index)}]"
            old = f"m.float32({place})" if self.bufs[s.buf].dtype in LOW and s.buf not in self.low else place
            self.put(depth, self.update(place, old, s.op, self.expr(s.expr, where)))
        else:
            self.put(depth, f"if {self.expr(s.cond, where)}:")
            self.block(s.body, depth + 1)

    def update(self, name: str, old: str, op: str, e: str) -> str:
        if op == "set":
            return f"{name} = {e}"
        if op in ("max", "min"):
            return f"{name} = m.{op}({old}, {bare(e)})"
        sign = INFIX[op]
        return f"{name} {sign}= {bare(e)}" if old == name else f"{name} = {old} {sign} {e}"

    # ------------------------------------------------------------------------------------------------ expressions
    def shared(self, s: Stmt) -> dict[int, int]:
        """How often each part of a statement's expressions is used, by id."""
        uses: dict[int, int] = {}
        stack = list(expressions(s))
        while stack:
            e = stack.pop()
            uses[id(e)] = uses.get(id(e), 0) + 1
            if isinstance(e, Apply) and uses[id(e)] == 1:
                stack += e.args
        self.done: dict[int, tuple[str, int]] = {}
        return uses

    def expr(self, e: Expr, where) -> str:
        for p in parts((e,)):
            self.part(p, where)
        return bare(self.part(e, where)[0])

    def part(self, e: Expr, where) -> tuple[str, int]:
        """(text that can stand as an operand, how deep it is)."""
        found = self.done.get(id(e))
        if found is not None:
            return found
        if isinstance(e, Const):
            return number(e.value, e.dtype), 0
        if isinstance(e, Var):
            return self.name(e.name), 0
        if isinstance(e, Load):
            text, depth = f"{self.name(e.buf)}[{self.index(e.index)}]", 1
            if self.bufs[e.buf].dtype in LOW:
                text = f"m.float32({text})"
        else:
            text, depth = self.apply(e, where)
        uses = where[1].get(id(e), 1)
        if uses > 1 or depth >= DEEP:
            name = f"t{self.temporary}"
            while name in self.names or name in self.names.values():
                self.temporary += 1
                name = f"t{self.temporary}"
            self.temporary += 1
            self.put(where[0], f"{name} = {bare(text)}")
            text, depth = name, 0
        self.done[id(e)] = text, depth
        return text, depth

    def apply(self, e: Apply, where) -> tuple[str, int]:
        d, name = e.dtype, e.name
        exact = name in INFIX and sum(isinstance(a, Const) for a in e.args) < len(e.args)
        args, depth = [], 0
        for a in e.args:
            if isinstance(a, Const) and not exact:
                args.append(self.typed(a, where))
            elif isinstance(a, Var) and a.name in self.loops and name not in ("cast", *INFIX, *WHOLE):
                args.append(f"m.int64({self.name(a.name)})")
            else:
                text, deep = self.part(a, where)
                args.append(text)
                depth = max(depth, deep)
        if name in INFIX:
            text = f"({args[0]} {INFIX[name]} {args[1]})"
        elif name in WHOLE and d.category == dt.INT:
            text = f"({args[0]} {WHOLE[name]} {args[1]})"
        elif name == "neg":
            text = f"(-{args[0]})"
        elif name == "cast":
            text = f"m.{d.name + '_' if d is dt.bool_ else d.name}({bare(args[0])})"
        elif name == "bitcast":
            text = f"m.bitcast({bare(args[0])}, {d.name!r})"
        else:
            text = f"m.{'not_' if name == 'not' else name}({', '.join([bare(a) for a in args])})"
        return text, depth + 1

    def typed(self, e: Expr, where) -> str:
        """An operand whose dtype must show."""
        if not isinstance(e, Const):
            return self.expr(e, where)
        if e.dtype is dt.bool_:
            return f"m.bool_({bool(e.value)})"
        return f"m.{'float32' if e.dtype in LOW else e.dtype.name}({bare(number(e.value, e.dtype))})"

    def index(self, ix: Index) -> str:
        parts = []
        for name, c in ix.terms:
            v = self.name(name)
            parts.append(v if c == 1 else f"{v} * {self.size(c)}" if isinstance(c, str) or c >= 0 else f"{v} * ({c})")
        if ix.const != 0 or not parts:
            parts.append(self.size(ix.const))
        return " + ".join(parts).replace("+ -", "- ")


def bare(text: str) -> str:
    """Without the parentheses around the whole."""
    if text[:1] != "(":
        return text
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[1:-1] if k == len(text) - 1 else text
    return text


def number(x, d: dtype = dt.float64) -> str:
    """A constant, as short as it can be without becoming another number of its dtype."""
    if isinstance(x, (bool, np.bool_)):
        return str(bool(x))
    if isinstance(x, (int, np.integer)):
        return str(int(x)) if x >= 0 else f"({int(x)})"
    x = float(x)
    if math.isnan(x):
        return "m.nan"
    if math.isinf(x):
        return "m.inf" if x > 0 else "(-m.inf)"
    shown = repr(x) if d is dt.float64 else str(np.float32(x))
    return shown if math.copysign(1, x) > 0 else f"({shown})"


# ---------------------------------------------------------------------------------------------------- entry points
def text(kernel: Kernel) -> str:
    """The source of a Python function that does what the kernel does, on flat arrays: one parameter for each buffer (local
    ones left out), then the run-time sizes."""
    return HEAD + _Printer(kernel).text()


@lru_cache(maxsize=512)
def _code(kernel: Kernel) -> tuple[CodeType, str]:
    p = _Printer(kernel)
    source = HEAD + p.text()
    file = f"<kernel {kernel.name} {id(kernel):x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)      # so that debuggers show it
    return compile(source, file, "exec"), p.name(kernel.name)


def run(kernel: Kernel, arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray], sizes: Mapping[str, int] | Sequence[int] = ()) -> None:
    """Run the printed kernel on flat arrays, by name or in the order of its buffers (local ones left out)."""
    code, name = _code(kernel)
    space: dict = {}
    exec(code, space)
    outer = [b.name for b in kernel.bufs if b.role != "local"]
    flat = [arrays[n] for n in outer] if isinstance(arrays, Mapping) else list(arrays)
    numbers = [sizes[n] for n in kernel.sizes] if isinstance(sizes, Mapping) else list(sizes)
    with scalars.quiet():
        space[name](*flat, *[int(n) for n in numbers])


def _print(self: Kernel, file=None) -> None:
    """Print the kernel as Python."""
    print(text(self), file=file)


Kernel.text, Kernel.print = text, _print
