"""What must be computed on its own, and what is computed inside its readers.

In: a graph, and which operators the backend keeps whole. Out: `Roots`: every value is an input or constant, a library or
host result, a *root* (computed by a kernel as a value of its own) or *virtual* (an expression of roots and other leaves,
inlined into whoever reads it), and for every root its leaves: which it reads, and where.

Where. With `flat` the row-major position in a root's iteration space, a leaf is read at `flat // k` for some k (1: element
by element; the row length: the value of a row) or anywhere (0). Only positions of the first kind let producer and consumer
share a loop.

True always: a root reads leaves only; leaves come earlier in `order`; reductions whose result is complete only after the
kernel (`accum`) hold what was accumulated, and a virtual value on top of it finishes the result.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.layout import contiguous_format
from ..core.spec import Spec, contiguous_strides, numel
from ..graph.decompose import ALGORITHMS
from ..graph.ir import Graph, Node, Value
from ..ops.op import EXTERN, RANDOM, REGISTRY, VIEW
from . import build
from .build import Builder, Element, Pieces, Point, Reduction, Refused, Scatter, describe
from .walk import parts

# What backends have other code for than loops (native.onednn_ops, native.backend.EXTERN): an ability of theirs, not a property
# of the operators. A call that a backend turns down at last runs the reference.
LIBRARY = ALGORITHMS | set("""gemm bgemm mm bmm mv dot vdot addmm baddbmm addmv linear convolution convolution_input convolution_weight
    conv_nhwc conv_nhwc_input conv_nhwc_weight max_pool avg_pool avg_pool_grad""".split())


@dataclass(frozen=True)
class Options:
    """What the backend keeps whole, and bounds on fusion. `threads` is how many the loops should feed."""

    library: frozenset[str] = LIBRARY
    threads: int = 2
    window: int = 8                 # groups looked at per shared input
    max_buffers: int = 32           # per kernel
    max_cost: int = 400             # operations of one inlined expression
    fuse: bool = True


DEEP = 60           # operations inlined into one another at most: printers and compilers recurse

# What a function of the loop IR costs beside an addition (kernel/mathfn.py: how many steps it is), where that matters.
COST = {name: 12 for name in "exp exp2 expm1 log log2 log10 log1p tanh sinh cosh erf erfc sin cos tan asin acos atan sigmoid".split()}
COST |= {"pow": 24, "atan2": 30, "div": 4, "sqrt": 4, "rsqrt": 6}


def cost_of(e: build.Expr) -> int:
    """What one element costs that this expression computes: 1, if its steps are all cheap."""
    return max(1, sum([COST.get(p.name, 0) for p in parts([e]) if isinstance(p, build.Apply)]))


@dataclass(slots=True, eq=False)
class Root:
    """A value that a kernel computes. Its iteration space has `n` elements: those of the value ("point"), or of what it
    reduces ("row": the trailing `k` of them each; "accum": any others, combined in memory) or of the updates ("scatter").
    "point" covers reductions by an inner loop; "pieces" is stored box by box."""

    value: Value
    kind: str
    n: int
    k: int = 1
    source: Value | None = None                     # what it reduces
    desc: Any = None
    shape: tuple[int, ...] = ()                     # of the iteration space
    leaves: dict[Value, set[int]] = field(default_factory=dict)
    shapes: set[tuple[int, ...]] = field(default_factory=set)   # of what is read element by element
    nodes: list[Node] = field(default_factory=list)
    cost: int = 0
    order: int = 0
    group: Any = None
    dests: list[int] = field(default_factory=list)  # buffers it is stored to
    start: tuple[int, ...] = ()                     # of the box it is, in what is stored

    def __repr__(self) -> str:
        return f"<{self.kind} {self.value.name}>"


@dataclass(frozen=True, slots=True)
class Finish:
    """A virtual value: `fn` of the accumulated one at the same index."""

    raw: Value
    fn: Callable


@dataclass(frozen=True, slots=True)
class Copy:
    """A root that is another value, element by element."""

    source: Value


@dataclass(frozen=True, slots=True)
class Box:
    """A root that is a part of another value: the elements from `start` on."""

    whole: Value
    start: tuple[int, ...]
    fn: Callable


@dataclass(frozen=True, slots=True)
class Fill:
    """A root full of one number."""

    value: build.Const


# ---------------------------------------------------------------------------------------------------- steps on library results
# What library calls can do to each element of their result as they store it.
STEPS = {name: frozenset(("bias", "add", "relu")) for name in ("gemm", "bgemm", "mm", "bmm")} | {
    "conv_nhwc": frozenset(("bias", "scale", "add", "relu"))}


def steps_on(roots: Roots, v: Value) -> tuple[Value, list[tuple[str, Value | None]]] | None:
    """(library result, steps) if a value is nothing but steps that the library call can do to its result, which nothing else
    reads; else None. Steps: ("relu", None), ("bias" or "scale", one number per place in the last dimension), ("add", alike)."""
    if v.dtype.name not in ("float32", "float64"):
        return None
    steps: list[tuple[str, Value | None]] = []
    cur = v
    while True:
        node = cur.node
        if node is None or cur is not v and (roots.uses.get(cur, 0) != 1 or cur in roots.forced) or cur.dtype is not v.dtype:
            return None
        name = node.op.name
        if roots.step.get(node) == "library":
            break
        if name == "relu" and not steps:
            steps.append(("relu", None))
            cur = node.args[0]
        elif name in ("add", "mul") and all(isinstance(a, Value) for a in node.args):
            a, b = node.args
            if not steps_below(roots, a):
                a, b = b, a
            kind = step_kind(roots, name, b, cur)
            if kind is None or a.shape != cur.shape:
                return None
            steps.append((kind, b))
            cur = a
        elif name in ("view_shape", "detach", "alias"):
            cur = node.args[0]
        else:
            return None
    able = STEPS.get(node.op.name)
    if not steps or able is None or roots.uses.get(cur, 0) != 1 or cur.index or not all(kind in able for kind, _ in steps) or any(
            kind in ("bias", "scale") and numel(b.shape) != cur.shape[-1] for kind, b in steps if b is not None):
        return None
    return cur, steps[::-1]


def steps_below(roots: Roots, v: Value) -> bool:
    """Whether a library result that takes steps lies below, through steps and reshapes only."""
    while v.node is not None and roots.uses.get(v, 0) == 1 and v not in roots.roots:
        if v.node.op.name in STEPS:
            return True
        if v.node.op.name not in ("add", "mul", "view_shape", "detach", "alias") or not isinstance(v.node.args[0], Value):
            return False
        v = v.node.args[0]
    return False


def step_kind(roots: Roots, name: str, b: Value, like: Value) -> str | None:
    """What the other operand of an addition or product is to a library call."""
    base, shape, strides, _ = roots.view(b)
    if b.dtype is not like.dtype or not like.shape or not roots.leaf(base):
        return None
    n = like.shape[-1]
    if b.shape and numel(b.shape) == n == b.shape[-1] and (n == 1 or strides[-1] == 1) and len(like.shape) > 1:
        return "bias" if name == "add" else "scale"
    flat = b                                        # the same elements in the same order, in memory
    while flat.node is not None and flat.node.op.name == "view_shape" and flat not in roots.roots:
        flat = flat.node.args[0]
    if name == "add" and b.shape == like.shape and flat is base and tuple(strides) == contiguous_strides(shape):
        return "add"
    return None


def chain_end(roots: Roots, v: Value) -> bool:
    """Whether `v` is what a library call can store in place of its result, and no further step follows."""
    if steps_on(roots, v) is None:
        return False
    users = roots.users.get(v, ())
    while len(users) == 1 and users[0].op.name in ("view_shape", "detach", "alias"):
        users = roots.users.get(users[0].out, ())
    if len(users) != 1 or users[0].op.name not in ("relu", "add", "mul"):
        return True
    u = users[0]
    if u.op.name == "relu":
        return False
    others = [a for a in u.args if isinstance(a, Value) and not steps_below(roots, a)]
    return len(others) != 1 or step_kind(roots, u.op.name, others[0], u.out) is None


def foreign(v: Value) -> bool:
    """Whether kernels cannot hold such values: complex numbers, 8-bit floats."""
    return v.dtype.is_complex or v.dtype in dt.FLOAT8


def nbytes(v: Value) -> int:
    return numel(v.shape) * v.dtype.itemsize


def probe(shape, strides, dtype) -> np.ndarray:
    """An array of the given geometry (strides in elements) over memory that is never touched."""
    a = np.empty(1, dtype.np)
    return np.lib.stride_tricks.as_strided(a, shape, tuple([s * a.itemsize for s in strides]))


def quotient(out_shape, strides, whole: int) -> int:
    """k if an operand of `whole` elements, seen with these strides in `out_shape`, is read at `flat // k`; else 0."""
    n = numel(out_shape)
    if whole == 0 or n % whole:
        return 0
    k = n // whole
    inner = 1
    for size, stride in zip(reversed(out_shape), reversed(strides)):
        if size != 1 and stride != (inner // k if inner >= k else 0):
            return 0
        inner *= size
    return k


class Roots:
    """The analysis of one graph; `order` lists roots and library and host nodes as they can be computed."""

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.options = graph, options
        self.b = Builder()
        self.users = graph.users()
        self.uses = {v: len(nodes) for v, nodes in self.users.items()}
        self.desc: dict[Value, Any] = {}            # of fusible values
        self.costs: dict[Value, int] = {}           # of elementwise ones, where it is more than 1
        self.views: dict[Value, tuple] = {}         # (base, shape, strides, offset)
        self.roots: dict[Value, Root] = {}
        self.order: list[Root | Node] = []
        self.forced: set[Value] = set()
        self.step: dict[Node, str] = {}             # library, host
        self._deps: dict[Value, list[tuple[Value, int]]] = {}
        self._sums: dict[Value, tuple[frozenset, int]] = {}
        self._deep: dict[Value, int] = {}           # how many operations stand on each other
        self.refused: list[tuple[str, str]] = []
        self.checked: set[Value] = set()            # values that check indices
        self.classify()
        self.drop_unread()
        self.force()
        for node in graph.nodes:
            self.place(node)

    # ------------------------------------------------------------------------------------------------ which is what
    def classify(self) -> None:
        for node in self.graph.nodes:
            for v in node.outs:
                self.desc[v] = self.describe(node, v)
            if node.op.name in self.options.library:
                self.step[node] = "library"
            elif any(self.desc[v] is None for v in node.outs) and not (node.op.kind is VIEW and self.viewable(node)) or any(
                    foreign(v) for v in (*node.operands(), *node.outs)):
                self.step[node] = "host"
            if node in self.step:
                for v in node.outs:
                    self.desc[v] = None

    def drop_unread(self) -> None:
        """Count as readers only nodes that are needed: an empty value reads nothing."""
        needed, live = set(self.graph.results()), set()
        for node in reversed(self.graph.nodes):
            if node in self.step or any(v in needed and not isinstance(self.desc[v], Fill) for v in node.outs):
                live.add(node)
                needed.update(node.operands())
        self.users = {v: kept for v, nodes in self.users.items() if (kept := [n for n in nodes if n in live])}
        self.uses = {v: len(nodes) for v, nodes in self.users.items()}

    def describe(self, node: Node, v: Value):
        """The operator's descriptor; None if its reference must run."""
        op = node.op
        if op.kind is RANDOM or op.name in self.options.library or not build.defined(op):
            return None
        self.b.out = v.index
        try:
            build.compute_dtype(v.dtype)
            specs = [a.spec if isinstance(a, Value) else a for a in node.args]
            if numel(v.shape) == 0:                                 # nothing to compute, so nothing is read
                return Fill(self.b.zero(v.dtype))
            found = describe(self.b, op, specs, node.attrs)
            if isinstance(found, Scatter) and 0 in found.shape:
                return Copy(node.args[found.init]) if isinstance(found.init, int) else Fill(found.init)
            e = build.try_out(self.b, found, specs, v.spec)         # a definition may refuse only when it is asked
            if isinstance(found, Point):
                self.costs[v] = cost_of(e)
            if self.b.guards:
                self.checked.add(v)
            self.forget()
            return found
        except Refused as why:
            self.refused.append((v.name, str(why)))
            return None

    def viewable(self, node: Node) -> bool:
        return self.view(node.out)[0] is not node.out

    def view(self, v: Value) -> tuple:
        """`v` as strides over a base value: (base, shape, strides, offset), all in elements."""
        found = self.views.get(v)
        if found is None:
            found = self.views[v] = self._view(v)
        return found

    def _view(self, v: Value) -> tuple:
        strides = v.spec.strides if v.node is None and v not in self.graph.consts and v.spec.strides is not None else None
        alone = (v, v.shape, strides or contiguous_strides(v.shape), 0)
        node = v.node
        if node is None or not (node.op.kind is VIEW or node.op.name == "spread") or node.op.name in ("as_strided", "view_dtype"):
            return alone
        source = node.args[0]
        if source.dtype is not v.dtype or numel(v.shape) == 0:
            return alone
        base, shape, strides, offset = self.view(source)
        a = probe(shape, strides, v.dtype)
        try:
            r = node.op.ref(a, **node.attrs)
        except ValueError:                          # a reshape that these strides do not allow
            return alone
        item = a.itemsize
        shift = (r.__array_interface__["data"][0] - a.__array_interface__["data"][0]) // item
        return base, r.shape, tuple([s // item for s in r.strides]), offset + shift

    # ------------------------------------------------------------------------------------------------ what must exist
    def force(self) -> None:
        """The values that must be in memory: what leaves, and what library and host steps read."""
        for v in self.graph.results():
            self.forced.add(v)
        for node in self.step:
            for v in node.operands():
                self.forced.add(self.view(v)[0])
        for node in self.graph.nodes:               # views that only their base's memory can serve
            if node not in self.step and self.desc[node.out] is None:
                self.forced.add(self.view(node.out)[0])

    def leaf(self, v: Value) -> bool:
        return v.node is None or v in self.roots or self.desc.get(v) is None and not self.passes(v)

    def passes(self, v: Value) -> bool:
        """Whether `v` has no definition of its own but is seen through."""
        return v.node is not None and v.node not in self.step and self.view(v)[0] is not v

    def deps(self, v: Value) -> list[tuple[Value, int]]:
        """What a fusible value reads, and where."""
        found = self._deps.get(v)
        if found is None:
            found = self._deps[v] = list(self._reads(v))
        return found

    def _reads(self, v: Value):
        d, node = self.desc.get(v), v.node
        if isinstance(d, Finish):
            yield d.raw, 1
            return
        if isinstance(d, Copy):
            yield d.source, 1
            return
        if isinstance(d, Fill):
            return
        n = numel(v.shape)
        if d is None:
            yield self.view(v)[0], 0
        elif isinstance(d, Point):
            for a in node.operands():
                yield a, 1 if a.shape == v.shape else self.broadcast(v.shape, a.shape)
        elif node.op.kind is VIEW or node.op.name == "spread":
            source = node.args[0]
            if node.op.name in ("view_shape", "detach", "alias") or n and n == numel(source.shape) and node.op.name == "basic_index":
                yield source, 1
                return
            try:
                r = node.op.ref(probe(source.shape, contiguous_strides(source.shape), source.dtype), **node.attrs)
                yield source, quotient(r.shape, [s // r.itemsize for s in r.strides], numel(source.shape))
            except ValueError:
                yield source, 0
        elif isinstance(d, (Element, Pieces)) and node.op.kind is EXTERN and node.op.name in ("clone", "copy"):
            yield node.args[0], 1
        elif isinstance(d, Element):
            yield from self.traced(v, d)
        else:
            for a in node.operands():
                yield a, 0

    @staticmethod
    def broadcast(out, shape) -> int:
        if numel(shape) == 1:
            return numel(out)
        own = contiguous_strides(shape)
        lead = len(out) - len(shape)
        strides = [0] * lead + [0 if m == 1 else s for m, s in zip(shape, own)]
        return quotient(out, strides, numel(shape))

    def traced(self, v: Value, d: Element):
        """Where a definition by index reads its operands: it is asked once."""
        args = v.node.args
        i = tuple([build.index.axis(f"a{k}", n) for k, n in enumerate(v.shape)])
        flat = build.index.flatten(i, v.shape)
        seen: dict[Value, int] = {}

        def load(k, idx):
            a = args[k]
            if not isinstance(a, Value):
                return self.b.const(a, v.dtype)
            n, whole = numel(v.shape), numel(a.shape)
            q = 0
            if whole and n % whole == 0:
                at = build.index.flatten(idx, a.shape)
                step = n // whole
                q = step if at == flat // step else 0
            seen[a] = q if seen.get(a, q) == q else 0
            return build.Var("x", build.compute_dtype(a.dtype))
        self.b.out = v.index
        d.fn(i, load)
        self.forget()
        for a in v.node.operands():
            yield a, seen.get(a, 0)

    def forget(self) -> None:
        """Drop what the builder collected while a definition was only being looked at."""
        self.b.take_lets()
        self.b.guards.clear()
        self.b.derived.clear()

    def summary(self, v: Value) -> tuple[frozenset, int]:
        """The leaves below a value, and what computing one element costs."""
        if self.leaf(v):
            return frozenset((v,)), 0
        found = self._sums.get(v)
        if found is None:
            leaves: set[Value] = set()
            cost, deep = self.costs.get(v, 1), 0
            for a, _ in self.deps(v):
                below, c = self.summary(a)
                leaves |= below
                cost += c
                deep = max(deep, self._deep.get(a, 0))
            self._deep[v] = deep + 1
            found = self._sums[v] = frozenset(leaves), cost
        return found

    # ------------------------------------------------------------------------------------------------ roots
    def place(self, node: Node) -> None:
        if node in self.step:
            self.order.append(node)
            return
        for v in node.outs:
            d = self.desc[v]
            if v not in self.uses and v not in self.forced:         # one of several results, and nobody's
                continue
            if isinstance(d, Reduction):
                self.place_reduction(v, d)
            elif isinstance(d, Scatter):
                raw = self.accumulated(v, dt.float32, lambda x: x) if v.dtype in dt.LOW_PRECISION and node.op.low and d.op != "set" else v
                self.desc[raw] = d
                self.add(Root(raw, "scatter", numel(d.shape), desc=d, shape=d.shape))
                if raw is not v:
                    self.place_virtual(v)
            else:
                self.place_virtual(v)

    def place_virtual(self, v: Value) -> None:
        uses = self.uses.get(v, 0)
        if v not in self.forced and (uses == 0 or not self.worth(v, uses)):
            return
        kind = "pieces" if self.in_pieces(v) else "point"
        self.add(Root(v, kind, numel(v.shape), desc=self.desc[v], shape=v.shape))

    def in_pieces(self, v: Value) -> bool:
        """Whether a value is stored box by box: its element by index would choose among all of them."""
        d = self.desc.get(v)
        return isinstance(d, Pieces) and 1 < len(d.regions) and numel(v.shape) >= 32 * len(d.regions)

    def worth(self, v: Value, uses: int) -> bool:
        """Whether a value had better be a root than be computed by each of its readers."""
        if self.passes(v):
            return False
        if self.in_pieces(v):
            return True
        if chain_end(self, v):
            return True
        leaves, cost = self.summary(v)
        if len(leaves) > 12 or cost > self.options.max_cost or self._deep.get(v, 0) > DEEP:
            return True
        own = nbytes(v)
        if uses > 1 and (cost > 60 or sum(map(nbytes, leaves)) > own + own // 4 + 32768):
            return True
        n = numel(v.shape)
        return n > 1 and self.repeated(v, n, cost)

    def repeated(self, v: Value, n: int, cost: int) -> bool:
        """Whether a reader would compute `v` anew for each of many rows, or a library call could use it if it were there."""
        for u in self.users.get(v, ()):
            w = u.out
            d = self.desc.get(w)
            if u.op.name in ("view_shape", "detach", "alias"):
                if self.repeated(w, n, cost):
                    return True
            elif d is not None and not isinstance(d, (Reduction, Scatter)) and numel(w.shape) >= 4 * n:
                if cost >= 8 and any(a is v and k == 0 for a, k in self.deps(w)):
                    return True
                if u.op.name in ("add", "mul") and len(u.args) == 2 and v.shape and v.shape[-1] == n == w.shape[-1] and any(
                        isinstance(a, Value) and a is not v and steps_below(self, a) for a in u.args):
                    return True
        return False

    def place_reduction(self, v: Value, d: Reduction) -> None:
        source = v.node.args[0]
        shape, n = source.shape, numel(source.shape)
        dims = tuple([k for k in d.dims if k < len(shape) and shape[k] != 1])
        kept = [k for k in range(len(shape)) if k not in dims and shape[k] != 1]
        out = numel(v.shape)
        first = min(dims, default=0)
        if not dims or n == 0 or d.op.startswith("arg") and kept and max(kept) > first:
            self.add(Root(v, "point", out, source=source, desc=d, shape=v.shape))
            return
        count = n // max(out, 1)
        trailing = not kept or max(kept) < first
        simple = d.init is not None and not d.op.startswith("arg") and d.op != "set"
        below, cost = self.summary(source)
        given = cost <= 4 and not any(a in self.roots for a in below)       # it can be read from memory in any order
        if trailing and (not simple or out > 1 and count >= 4):
            self.add(Root(v, "row", n, count, source, d, shape))
        elif simple and (out <= 16384 or out * 64 <= n) and not (given and count <= (4096 if out == 1 else 64)):
            same = d.post is build._identity and d.dtype is v.dtype
            raw = v if same else self.accumulated(v, d.dtype, d.post)
            self.desc[raw] = d
            self.add(Root(raw, "accum", n, 1, source, d, shape))
            if raw is not v:
                self.place_virtual(v)
        else:
            self.add(Root(v, "point", out, source=source, desc=d, shape=v.shape))

    def accumulated(self, v: Value, dtype: dt.dtype, post: Callable) -> Value:
        """The value that `v` is the end of: what a kernel adds up in memory."""
        raw = Value(Spec(v.shape, dtype), v.name + "_raw", v.node, v.index)
        self.desc[v] = Finish(raw, post)
        self.uses[raw] = self.uses.get(v, 0)
        return raw

    def add(self, root: Root) -> None:
        """Enter a root: find what it reads."""
        v = root.value
        seen: set[tuple[Value, int]] = set()
        nodes: dict[Node, None] = {v.node: None} if v.node is not None else {}
        todo: list[tuple[Value, int]] = []
        if isinstance(root.desc, Reduction):
            whole = root.kind == "point"             # an inner loop reads its operands anywhere
            root.cost = 1
            todo += [(a, 0 if whole and numel(a.shape) != root.n or a is not root.source else 1) for a in v.node.operands()]
            if whole and root.n == numel(root.source.shape):
                todo = [(root.source, 1)]
        elif isinstance(root.desc, Scatter):
            todo += [(a, 0) for a in v.node.operands()]
        else:
            todo += self.deps(v)
            root.cost = self.costs.get(v, 1) if v.node is not None else 0
            root.shapes.add(v.shape)
        while todo:
            a, k = todo.pop()
            if (a, k) in seen:
                continue
            seen.add((a, k))
            if self.leaf(a):
                root.leaves.setdefault(a, set()).add(k)
                continue
            if k == 1:
                root.shapes.add(a.shape)
            if a.node not in nodes:
                nodes[a.node] = None
                root.cost += self.costs.get(a, 1)
            todo += [(x, k * q) for x, q in self.deps(a)]
        root.nodes = list(nodes)
        root.order = len(self.order)
        self._deep[v] = 0
        self.roots[v] = root
        self.order.append(root)

    def copy(self, source: Value) -> Value:
        """A value of its own that copies another (an input that is an output, a second place for a result)."""
        if foreign(source):
            node = Node(REGISTRY["clone"], (source,), {"fmt": contiguous_format})
            v = Value(source.spec.like(), source.name + "_copy", node)
            node.outs = (v,)
            self.step[node], self.desc[v] = "host", None
            self.order.append(node)
            return v
        v = Value(source.spec.like(), source.name + "_copy")
        self.desc[v] = Copy(source)
        self.add(Root(v, "point", numel(v.shape), desc=Copy(source), shape=v.shape))
        return v
