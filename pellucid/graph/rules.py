"""The rewrites of `simplify`: what a call is equal to, by its operator's name.

`RULES` maps a name to rules `(walk, op, args, attrs) -> Value, tuple of Values, or None` (no rule applies). Rules see operands
that are simple already and make new calls with `walk.call`, which simplifies them too.

True always: pointwise the same bits, signed zeros, NaN and infinities included; sums may be reordered.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.spec import Spec
from ..ops.canonical import evaluate
from ..ops.op import REGISTRY, Op
from .ir import Value
from .keys import node_key
from .verify import results_of

RULES: dict[str, list[Callable]] = {}


def rule(*names: str):
    """Decorator: a rewrite for calls of the operators `names`."""
    def add(fn):
        for name in names:
            RULES.setdefault(name, []).append(fn)
        return fn
    return add


# ---------------------------------------------------------------------------------------------------- numbers
def filled_value(v) -> Any:
    """The number that a value is filled with, as its dtype holds it; None if it is no such value (or left unfilled)."""
    node = v.node if isinstance(v, Value) else None
    if node is None or node.op.name != "filled" or node.attrs["value"] is None:
        return None
    return np.asarray(node.attrs["value"]).astype(v.dtype.np).item()


def fill(walk: Walk, shape, value, d) -> Value:
    return walk.call("filled", shape=tuple(shape), value=value, dtype=d, fmt=REGISTRY["filled"].signature.parameters["fmt"].default)


# ---------------------------------------------------------------------------------------------------- identities
@rule("detach", "alias", "clone")
def same_values(walk, op, args, attrs):
    return args[0]


@rule("conj_physical")
def real_conjugate(walk, op, args, attrs):
    return args[0] if not args[0].dtype.is_complex else None


@rule("copy")
def copied(walk, op, args, attrs):
    """`copy` forgets its first operand: the second, broadcast and converted."""
    x, y = args
    if y.dtype is not x.dtype:
        y = walk.call("convert", y, dtype=x.dtype)
    return y if y.shape == x.shape else walk.call("expand", y, shape=x.shape)


def is_number(a, n) -> bool:
    """Whether an argument is the number `n` (bools do not count)."""
    return type(a) in (int, float) and a == n


def is_negative_zero(a) -> bool:
    return type(a) is float and a == 0 and repr(a) == "-0.0"


@rule("add")
def add_rules(walk, op, args, attrs):
    x, y = args
    for a, b in ((x, y), (y, x)):
        if isinstance(a, Value) and (is_negative_zero(b) or is_number(b, 0) and a.dtype.category < 2):
            return a if a.dtype.category else None                              # ints: 0; floats: -0.0; bool adds up
        if isinstance(a, Value) and is_positive_zero(b) and a.node is not None and a.node.op is op and any(map(is_positive_zero, a.node.args)):
            return a                                                            # (x + 0) + 0
    if isinstance(x, Value) and isinstance(y, Value):
        for a, b in ((x, y), (y, x)):                                           # a + (-b) = a - b
            if b.node is not None and b.node.op.name == "neg":
                return walk.call("sub", a, b.node.args[0])
    return None


@rule("sub")
def sub_rules(walk, op, args, attrs):
    x, y = args
    if isinstance(x, Value) and type(y) in (int, float) and y == 0 and not is_negative_zero(y):
        return x
    if isinstance(x, Value) and isinstance(y, Value) and y.node is not None and y.node.op.name == "neg":
        return walk.call("add", x, y.node.args[0])
    return None


@rule("mul")
def mul_rules(walk, op, args, attrs):
    x, y = args
    for a, b in ((x, y), (y, x)):
        if isinstance(a, Value) and is_number(b, 1) and a.dtype.category:
            return a
    return None


@rule("div", "true_divide")
def div_rules(walk, op, args, attrs):
    return args[0] if isinstance(args[0], Value) and is_number(args[1], 1) else None


@rule("neg", "conj_physical", "bitwise_not")
def twice(walk, op, args, attrs):
    """Operators that undo themselves."""
    node = args[0].node
    return node.args[0] if node is not None and node.op is op else None


@rule("relu", "abs", "floor", "ceil", "trunc")
def again(walk, op, args, attrs):
    """Operators that change nothing the second time."""
    node = args[0].node
    return args[0] if node is not None and node.op is op else None


@rule("pow")
def pow_rules(walk, op, args, attrs):
    """The exponents that the reference treats apart."""
    x, y = args
    if not isinstance(x, Value) or type(y) not in (int, float) or x.dtype.category < 2:
        return None
    if y == 1:
        return x
    if y == 2:
        return walk.call("square", x)
    if y == 0.5 and not x.dtype.is_complex:
        return walk.call("sqrt", x)
    if y == 3:
        return walk.call("mul", walk.call("mul", x, x), x) if x.dtype.itemsize > 2 else None
    return walk.call("reciprocal", x) if y == -1 else None


def holds(a, b) -> bool:
    """Whether every value of dtype `a` survives in dtype `b`."""
    if a is b or not a.category:
        return True
    if a.category > b.category or a.category == b.category and a.itemsize > b.itemsize:
        return False
    if a.category == b.category:
        if a.category == 1:
            return a.is_signed == b.is_signed or (b.is_signed and a.itemsize < b.itemsize)
        return a.itemsize < b.itemsize and a.itemsize > 1
    return a.category == 2 or a.itemsize == 1 and b.itemsize >= 4 or a.itemsize == 2 and b.itemsize >= 4 or b.name == "float64" and a.itemsize <= 4


@rule("convert")
def convert_rules(walk, op, args, attrs):
    x, d = args[0], attrs["dtype"]
    if x.dtype is d:
        return x
    node = x.node
    if node is not None and node.op is op:
        first = node.args[0]
        if holds(first.dtype, x.dtype) and (first.dtype.category == x.dtype.category or not first.dtype.category or d.category >= 2):
            return walk.call("convert", first, dtype=d)
    return None


# ---------------------------------------------------------------------------------------------------- views
def blocks(shape, new) -> list[tuple[list[int], list[int]]] | None:
    """The dimensions of a reshape in groups that keep their elements together: [(dimensions, new dimensions), ...]."""
    found, i, j = [], 0, 0
    while i < len(shape) or j < len(new):
        a, b, size, other = [], [], 1, 1
        if i < len(shape):
            a.append(i)
            size, i = shape[i], i + 1
        while size != other or not b and j < len(new):
            if other < size or not b and j < len(new):
                if j == len(new):
                    return None
                b.append(j)
                other, j = other * new[j], j + 1
            else:
                if i == len(shape):
                    return None
                a.append(i)
                size, i = size * shape[i], i + 1
        if a or not found:
            found.append((a, b))
        else:                                   # new dimensions of size 1 at the end
            found[-1][1].extend(b)
    return found


def reshaped(shape, order, new) -> tuple[int, ...] | None:
    """The order in which a reshape to `new` leaves a value of `shape` whose dimensions lie in `order`; None if elements would
    have to move."""
    if 0 in shape:
        return None
    groups = blocks(shape, new)
    if groups is None:
        return None
    placed = []
    for a, b in groups:
        where = [order.index(d) for d in a if shape[d] != 1] or [order.index(d) for d in a[:1]]
        between = range(where[0], where[0] + 1) if len(where) == 1 else range(where[0], where[-1] + 1)
        if where != [k for k in between if shape[order[k]] != 1 or len(where) == 1]:
            return None
        placed.append((where[0] if where else 0, b))
    return tuple([d for _, b in sorted(placed) for d in b])


@rule("permute")
def permute_rules(walk, op, args, attrs):
    x, dims = args[0], attrs["dims"]
    if dims == tuple(range(len(dims))):
        return x
    node = x.node
    if node is not None and node.op is op:
        inner = node.attrs["dims"]
        return walk.call("permute", node.args[0], dims=tuple([inner[d] for d in dims]))
    if node is not None and node.op.name == "view_shape" and node.args[0].node is not None and node.args[0].node.op is op:
        inner = node.args[0].node                            # permuted, reshaped, permuted: perhaps reshaped only
        p = inner.attrs["dims"]
        after = reshaped(node.args[0].shape, tuple([p.index(d) for d in range(len(p))]), x.shape)
        if after is not None:
            shape = tuple([x.shape[d] for d in after])
            return walk.call("permute", walk.call("view_shape", inner.args[0], shape=shape), dims=tuple([after.index(d) for d in dims]))
    moved = [d for d in dims if x.shape[d] != 1]
    if moved == sorted(moved):                               # only dimensions of size 1 change places
        return walk.call("view_shape", x, shape=tuple([x.shape[d] for d in dims]))
    return None


@rule("view_shape", "expand")
def reshaping_rules(walk, op, args, attrs):
    """Nothing where the shape is the same already; of two in a row, the last."""
    x, shape = args[0], tuple(attrs["shape"])
    if x.shape == shape:
        return x
    node = x.node
    if node is not None and node.op is op:
        return walk.call(op.name, node.args[0], shape=shape)
    return None


def trivial_index(index, shape) -> bool:
    """Whether a basic index selects everything as it is."""
    return len(index) <= len(shape) and all(
        type(i) is slice and i.indices(n) == (0, n, 1) for i, n in zip(index, shape))


@rule("basic_index", "piece", "unsafe_piece")
def index_rules(walk, op, args, attrs):
    x, index = args[0], attrs["index"]
    if trivial_index(index, x.shape):
        return x
    if op.name != "basic_index":
        return walk.call("basic_index", x, index=index)
    node = x.node
    if node is not None and node.op.name == "view_scatter":                 # read what was written
        chain = node.attrs["chain"]
        if len(chain) == 1 and name_of(chain[0][0]) in ("basic_index", "piece") and chain[0][1] == attrs:
            return written(walk, node.args[1], x.dtype, results_of(op, args, attrs)[0].shape)
    if all(i is None or trivial_index((i,), (n,)) for i, n in zip(index, indexed_sizes(index, x.shape))):
        return walk.call("view_shape", x, shape=results_of(op, args, attrs)[0].shape)
    return None


def indexed_sizes(index, shape) -> list[int]:
    """The size of the dimension each entry of a basic index applies to (0 for None)."""
    rest = iter(shape)
    return [0 if i is None else next(rest) for i in index]


def name_of(op) -> str:
    return op if isinstance(op, str) else op.name


@rule("spread")
def spread_rules(walk, op, args, attrs):
    """The gradient of a sum: views."""
    g, shape, dims = args[0], tuple(attrs["shape"]), attrs["dims"]
    if g.shape == shape:
        return g
    kept = tuple([1 if i in dims else n for i, n in enumerate(shape)])
    if g.shape != kept and len(g.shape) != 0:
        g = walk.call("view_shape", g, shape=kept)
    return walk.call("expand", g, shape=shape)


@rule("view_scatter")
def scatter_rules(walk, op, args, attrs):
    """A write through views that only rearrange replaces everything."""
    base, value = args
    back, shape = [], base.shape
    for view, at in attrs["chain"]:
        name = name_of(view)
        if name == "view_shape":
            back.append(("view_shape", {"shape": shape}))
        elif name == "permute":
            dims = at["dims"]
            back.append(("permute", {"dims": tuple(sorted(range(len(dims)), key=dims.__getitem__))}))
        elif name in ("basic_index", "piece") and all(
                i is None or trivial_index((i,), (n,)) for i, n in zip(at["index"], indexed_sizes(at["index"], shape))):
            back.append(("view_shape", {"shape": shape}))
        elif name not in ("alias", "detach"):
            return None
        if name not in ("alias", "detach"):
            shape = REGISTRY[name].infer(Spec(shape, base.dtype), **at).shape
    value = written(walk, value, base.dtype, shape)
    for name, at in reversed(back):
        value = walk.call(name, value, **at)
    return value


def written(walk, value: Value, d, shape) -> Value:
    """What a write of `value` leaves in a place of dtype `d` and `shape`."""
    if value.dtype is not d:
        value = walk.call("convert", value, dtype=d)
    return value if value.shape == tuple(shape) else walk.call("expand", value, shape=tuple(shape))


@rule("view_grad")
def view_grad_rules(walk, op, args, attrs):
    """Gradients of views that only rearrange, and of slices with step 1 (padding with zeros)."""
    g, name, at, shape = args[0], name_of(attrs["op"]), attrs["attrs"], tuple(attrs["shape"])
    if name in ("alias", "detach"):
        return unsigned_zeros(walk, g)
    if name in ("basic_index", "piece"):
        g = unsigned_zeros(walk, g)
        return padded(walk, g, at["index"], shape)
    return None


def padded(walk, g: Value, index: tuple, shape: tuple):
    """`g` in zeros of `shape`, at a basic index of ints, whole or step-1 slices; None for other steps."""
    pads, kept = [], []
    rest = iter(shape)
    for i in index:
        if i is None:
            continue
        n = next(rest)
        if type(i) is slice:
            start, stop, step = i.indices(n)
            if step != 1:
                return None
            m = max(stop - start, 0)
            pads.append((start, n - start - m) if m else (0, n))
            kept.append(m)
        else:
            i = i + n if i < 0 else i
            pads.append((i, n - 1 - i))
            kept.append(1)
    for n in rest:
        pads.append((0, 0))
        kept.append(n)
    if g.shape != tuple(kept):
        g = walk.call("view_shape", g, shape=tuple(kept))
    return g if g.shape == shape else walk.call("constant_pad_nd", g, pads=tuple(pads), value=0)


# ---------------------------------------------------------------------------------------------------- filled memory
@rule("expand", "view_shape", "permute", "basic_index", "convert")
def view_of_filled(walk, op, args, attrs):
    n = filled_value(args[0])
    if n is None:
        return None
    s = results_of(op, args, attrs)[0]
    return fill(walk, s.shape, n if op.name != "convert" else np.asarray(n, args[0].dtype.np).astype(s.dtype.np).item(), s.dtype)


_NUMBERS = ("add", "sub", "mul", "div", "true_divide", "eq", "ne", "lt", "le", "gt", "ge", "maximum", "minimum")


@rule(*_NUMBERS)
def number_for_filled(walk, op, args, attrs):
    """A filled operand as a number, where the other one has the result's shape."""
    x, y = args
    if not (isinstance(x, Value) and isinstance(y, Value)):
        return None
    for i, (a, b) in enumerate(((x, y), (y, x))):
        n = filled_value(b)
        if n is not None and filled_value(a) is None and covers(a.shape, b.shape):
            return walk.call(op, *((a, n) if i == 0 else (n, a)))
    return None


def covers(a: tuple, b: tuple) -> bool:
    """Whether broadcasting shape `a` with `b` gives `a`."""
    return len(b) <= len(a) and all(m in (1, n) for n, m in zip(reversed(a), reversed(b)))


def drop_expand(walk, op: Op, args: tuple, attrs: dict):
    """An elementwise operator broadcasts by itself."""
    shapes = [a.shape for a in args if isinstance(a, Value)]
    if len(shapes) < 2:
        return None
    for i, a in enumerate(args):
        if isinstance(a, Value) and a.node is not None and a.node.op.name == "expand":
            inner = a.node.args[0]
            others = [b.shape for j, b in enumerate(args) if j != i and isinstance(b, Value)]
            if any(covers(s, a.shape) for s in others):
                return walk.outs(op, (*args[:i], inner, *args[i + 1:]), attrs)
    return None


def filled_result(walk, op: Op, args: tuple, attrs: dict):
    """An elementwise operator of filled values is filled itself: with what it makes of their numbers."""
    zeros = []
    for a in args:
        if isinstance(a, Value):
            n = filled_value(a)
            if n is None:
                return None
            a = np.asarray(n, a.dtype.np)
        zeros.append(a)
    s = results_of(op, args, attrs)[0]
    with np.errstate(all="ignore"):
        r = evaluate(op, tuple(zeros), attrs)[0]
    return fill(walk, s.shape, r.item(), s.dtype)


def point_rules(walk, op: Op, args: tuple, attrs: dict):
    """The rules of every elementwise operator."""
    for a in args:
        if isinstance(a, Value) and a.node is not None:
            name = a.node.op.name
            if name == "filled":
                made = filled_result(walk, op, args, attrs) if op.ref is not None else None
                if made is not None:
                    return made
            elif name == "expand" and len(args) > 1:
                made = drop_expand(walk, op, args, attrs)
                if made is not None:
                    return made
    return None


# ---------------------------------------------------------------------------------------------------- reductions
@rule("sum", "mean", "amax", "amin", "prod", "all", "any")
def reduction_rules(walk, op, args, attrs):
    x, dims, keepdim = args[0], attrs["dims"], attrs["keepdim"]
    shape = results_of(op, args, attrs)[0].shape
    if all(x.shape[d] == 1 for d in dims) and op.name not in ("all", "any"):
        return walk.call("view_shape", x, shape=shape)
    same = walk.seen.get(node_key(op, args, {"dims": dims, "keepdim": not keepdim}))
    if same is not None:                                      # the other form of it is there
        return walk.call("view_shape", same[0], shape=shape)
    node = x.node
    if node is None:
        return None
    if node.op.name in ("view_shape", "permute") and len(dims) == len(x.shape):       # over everything, in any shape
        inner = node.args[0]
        r = walk.call(op, inner, dims=tuple(range(len(inner.shape))), keepdim=False)
        return walk.call("view_shape", r, shape=shape)
    if op.name in ("sum", "mean") and node.op.name == "expand" and x.dtype.category >= 2:
        inner = node.args[0]                                  # over repeated elements: a multiple
        size = (1,) * (len(x.shape) - len(inner.shape)) + inner.shape
        if all(size[d] == 1 for d in dims):
            n = 1
            for d in dims:
                n *= x.shape[d]
            r = walk.call("view_shape", inner, shape=size)
            r = walk.call("expand", r, shape=tuple([1 if i in dims else k for i, k in enumerate(x.shape)]))
            if op.name == "sum":
                r = walk.call("mul", r, float(n))
            return walk.call("view_shape", r, shape=shape)
    return None


@rule("sum_to_size")
def sum_to_size_rules(walk, op, args, attrs):
    """As a plain sum and a view."""
    x, shape = args[0], tuple(attrs["shape"])
    if x.shape == shape:
        return x
    lead = len(x.shape) - len(shape)
    dims = tuple(range(lead)) + tuple([i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1])
    if not dims:
        return walk.call("view_shape", x, shape=shape)
    r = walk.call("sum", x, dims=dims, keepdim=len(dims) != lead)
    return walk.call("view_shape", r, shape=shape)


@rule("cat")
def cat_rules(walk, op, args, attrs):
    if len(args) == 1:
        return args[0]
    dim, flat = attrs["dim"], []
    for a in args:
        node = a.node
        flat.extend(node.args if node is not None and node.op is op and node.attrs["dim"] == dim else (a,))
    return walk.call(op, *flat, dim=dim) if len(flat) != len(args) else None


def strip(v: Value):
    """(dimension, first place, end) of what zeros around it in one dimension surround; None if `v` is no such value."""
    node = v.node
    if node is None or node.op.name != "constant_pad_nd" or node.attrs["value"] != 0:
        return None
    sides = [(d, p) for d, p in enumerate(node.attrs["pads"]) if p != (0, 0)]
    if len(sides) != 1 or min(sides[0][1]) < 0:
        return None
    d, (before, after) = sides[0]
    return d, before, v.shape[d] - after


def is_positive_zero(a) -> bool:
    return type(a) in (int, float) and a == 0 and not is_negative_zero(a)


def unsigned_zeros(walk, v: Value) -> Value:
    """`v` plus 0: what a sum of it and zeros is, where -0.0 becomes 0.0."""
    node = v.node
    if v.dtype.category < 2 or node is not None and (node.op.name == "add" and any(map(is_positive_zero, node.args)) or node.op.name == "cat" and all(
            a.node is not None and a.node.op.name == "add" and any(map(is_positive_zero, a.node.args)) for a in node.args)):
        return v
    return walk.call("add", v, 0.0)


@rule("add")
def neighbours(walk, op, args, attrs):
    """The sum of two strips side by side in zeros (the gradients of a split): joined, not added."""
    x, y = args
    if not (isinstance(x, Value) and isinstance(y, Value)) or x.shape != y.shape:
        return None
    a, b = strip(x), strip(y)
    if a is None or b is None or a[0] != b[0]:
        return None
    if a[1] > b[1]:
        x, y, a, b = y, x, b, a
    d, start, end = a[0], a[1], b[2]
    if a[2] != b[1]:
        return None
    both = walk.call("cat", *[unsigned_zeros(walk, v.node.args[0]) for v in (x, y)], dim=d)
    n = x.shape[d]
    if (start, end) == (0, n):
        return both
    return walk.call("constant_pad_nd", both, pads=tuple([(start, n - end) if i == d else (0, 0) for i in range(len(x.shape))]), value=0)


# ---------------------------------------------------------------------------------------------------- pooling
def whole_windows(sizes, out) -> dict | None:
    """The attributes of the plain average pooling that an adaptive one is; None if its windows differ in size."""
    if any(m == 0 or n % m for n, m in zip(sizes, out)):
        return None
    kernel = tuple([n // m for n, m in zip(sizes, out)])
    return {"kernel": kernel, "stride": kernel, "padding": (0,) * len(kernel), "ceil_mode": False, "count_include_pad": True, "divisor": None}


@rule("adaptive_avg_pool")
def adaptive_rules(walk, op, args, attrs):
    x, out = args[0], tuple(attrs["out"])
    sizes = x.shape[2:]
    if sizes == out:
        return x
    if all(m == 1 for m in out) and 0 not in sizes:
        return walk.call("mean", x, dims=tuple(range(2, len(x.shape))), keepdim=True)
    plain = whole_windows(sizes, out)
    return None if plain is None else walk.call("avg_pool", x, **plain)


@rule("adaptive_avg_pool_grad")
def adaptive_grad_rules(walk, op, args, attrs):
    y, sizes = args[0], tuple(attrs["sizes"])
    out = y.shape[2:]
    if sizes == out:
        return y
    if all(m == 1 for m in out) and 0 not in sizes:
        n = 1
        for k in sizes:
            n *= k
        return walk.call("expand", walk.call("div", y, float(n)), shape=(*y.shape[:2], *sizes))
    plain = whole_windows(sizes, out)
    return None if plain is None else walk.call("avg_pool_grad", y, sizes=sizes, **plain)


@rule("gemm", "bgemm")
def transposed_operand(walk, op, args, attrs):
    """A transposed operand is read transposed."""
    flags = {"ta": attrs["ta"], "tb": attrs["tb"]}
    new = list(args)
    for i, flag in enumerate(("ta", "tb")):
        a = args[i]
        if a.node is not None and a.node.op.name == "permute":
            dims = a.node.attrs["dims"]
            n = len(dims)
            if dims == (*range(n - 2), n - 1, n - 2):
                new[i], flags[flag] = a.node.args[0], not flags[flag]
    return walk.call(op, *new, **flags) if tuple(new) != args else None
