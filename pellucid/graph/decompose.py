"""Composites replaced by their parts, products by the two that libraries offer.

In: a Graph and `keep`, which says of a node whether the backend wants it whole. Out: a graph in which every other operator
with a body is what its body does, traced once per operator, Specs and attributes and copied in; and every matrix product is
`gemm` or `bgemm`, what is added to it being an operator of its own that fuses as any other does.

True always: a composite of low precision is computed in float32 and rounded at its boundary, as eager computes it; where
parts would round once more (a product plus an addend), the operator stays whole. Complex numbers stay with the references.
"""
from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..core import dtype as dt
from ..core.late import late
from ..core.spec import Spec, contiguous_strides
from ..ops.op import Op
from ..ops.random import kept_value
from .build import emit, outs_of
from .ir import Graph, Loc, Node, Value
from .keys import Unhashable, attrs_key, freeze
from .verify import stripped

Keep = Callable[[Node], bool]

# Kept unless the caller decides otherwise: whole algorithms, whose parts would cost memory or thousands of nodes. The first of them
# are what a native layer may have code for.
ALGORITHMS = frozenset(("attention", "attention_backward", "lstm_step", "lstm_step_backward", *(
    f"{cell}_layer{part}" for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu") for part in ("", "_backward"))))
WHOLE = ALGORITHMS | {"linear_cross_entropy_rows"}

_traces: dict[tuple, Graph] = {}         # (operator, operands, attributes) -> its body's graph
_LIMIT = 2048


def kept_whole(node: Node) -> bool:
    """The default of `decompose`."""
    return node.op.name in WHOLE


def decompose(graph: Graph, keep: Keep = kept_whole) -> Graph:
    """`graph` with composites replaced by their parts, except those that `keep` names."""
    return graph.rebuild(lambda g, node, args, copy: replace(g, node, args, keep))


def replace(g: Graph, node: Node, args: tuple, keep: Keep) -> tuple[Value, ...] | None:
    """What stands for the node's results; None to leave it as it is."""
    op = node.op
    if op.name == "dropout_noise" and not node.out.dtype.is_complex:
        return (drawn(g, node),)
    product = PRODUCTS.get(op.name)
    if product is None and (op.body is None or op.front is None) or keep(node) or is_complex(node):
        return None
    if product is not None:
        r = product(g, node.loc, *args, **node.attrs)
        return None if r is None else (r,)
    return parts(g, op, args, node, keep)


def drawn(g: Graph, node: Node) -> Value:
    """Noise without the tensor it is for: what to keep, a byte each, times a number. Numbers are drawn in the order in which
    eager's tensor lies in memory."""
    attrs, loc = node.attrs, node.loc
    shape, strides = node.out.shape, node.out.spec.strides or contiguous_strides(node.out.shape)
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], d))
    kept = emit(g, "dropout_draw", loc=loc, shape=tuple([shape[d] for d in order]), p=attrs["p"], engine=attrs["engine"])
    if order != list(range(len(shape))):
        kept = emit(g, "permute", kept, loc=loc, dims=tuple([order.index(d) for d in range(len(shape))]))
    value = float(kept_value(attrs["p"], attrs["scaled"], node.out.dtype.np))
    return emit(g, "mul", emit(g, "convert", kept, loc=loc, dtype=node.out.dtype), value, loc=loc)


def is_complex(node: Node) -> bool:
    return any(v.dtype.is_complex for v in (*node.operands(), *node.outs))


# ---------------------------------------------------------------------------------------------------- composites
def parts(g: Graph, op: Op, args: tuple, node: Node, keep: Keep) -> tuple[Value, ...]:
    """The body of `op`, appended to `g`."""
    low = None
    if op.ref is not None and op.low:
        for a in args:
            if isinstance(a, Value) and a.dtype in dt.LOW_PRECISION:
                low = a.dtype
        if low is not None:
            args = tuple([emit(g, "convert", a, loc=node.loc, dtype=dt.float32) if isinstance(a, Value) and a.dtype in dt.LOW_PRECISION
                          else a for a in args])
    inner = traced(op, args, node.attrs)
    outs = splice(g, inner, args, node.loc, keep)
    if len(outs) != len(node.outs):
        raise TypeError(f"the body of {op.name} makes {len(outs)} results, its reference {len(node.outs)}")
    if low is not None:
        outs = tuple([emit(g, "convert", v, loc=node.loc, dtype=low) if v.dtype is dt.float32 else v for v in outs])
    return outs


def traced(op: Op, args: tuple, attrs: dict) -> Graph:
    """The graph of an operator's body; remembered."""
    specs = tuple([stripped(a.spec) if isinstance(a, Value) else a for a in args])
    try:
        key = (op, tuple([s if isinstance(s, Spec) else freeze(s) for s in specs]), attrs_key(attrs))
    except Unhashable:
        key = None
    graph = _traces.get(key) if key is not None else None
    if graph is None:
        graph = late.trace(lambda *xs: op.body(*xs, **attrs), specs)
        if key is not None:
            if len(_traces) >= _LIMIT:
                _traces.clear()
            _traces[key] = graph
    return graph


def splice(g: Graph, inner: Graph, args: tuple, loc: Loc | None, keep: Keep) -> tuple[Value, ...]:
    """Append the nodes of `inner` with `args` for its tensors, each replaced in turn where it has parts itself."""
    seen: dict[Value, Value] = dict(zip(inner.inputs, [a for a in args if isinstance(a, Value)]))
    for v, a in inner.consts.items():
        seen[v] = g.const(a, v.spec, v.name)
    for node in inner.nodes:
        mapped = tuple([seen[a] if isinstance(a, Value) else a for a in node.args])
        here = Node(node.op, mapped, node.attrs, loc or node.loc)
        here.outs = node.outs
        outs = replace(g, here, mapped, keep)
        if outs is None:
            outs = g.add(node.op, mapped, node.attrs, tuple([stripped(v.spec) for v in node.outs]), here.loc).outs
        seen.update(zip(node.outs, outs))
    return tuple([seen[v] for v in inner.outputs])


# ---------------------------------------------------------------------------------------------------- products
PRODUCTS: dict[str, Callable] = {}
_FLOATS = (dt.float32, dt.float64)


def product(*names: str):
    """Decorator: how products called `names` are made of `gemm`, `bgemm` and sums; None leaves the operator whole."""
    def add(fn):
        for name in names:
            PRODUCTS[name] = fn
        return fn
    return add


def view(g: Graph, loc, x: Value, shape) -> Value:
    return x if x.shape == tuple(shape) else emit(g, "view_shape", x, loc=loc, shape=tuple(shape))


def floating(x: Value) -> bool:
    return x.dtype.is_floating_point


@product("mm")
def mm(g, loc, a, b):
    return emit(g, "gemm", a, b, loc=loc, ta=False, tb=False) if floating(a) else None


@product("bmm", "bgemm")
def bmm(g, loc, a, b, ta=False, tb=False):
    """One large product instead of many small ones where the second matrix is shared, or there is but one."""
    if not floating(a):
        return None
    n, k = a.shape[-2:]
    m = b.shape[-2] if tb else b.shape[-1]
    lead, many = a.shape[:-2], prod(a.shape[:-2])
    if prod(b.shape[:-2]) == 1 and (not ta or many == 1) and len(b.shape) <= max(len(a.shape), 2):
        if many == 1:
            r = emit(g, "gemm", view(g, loc, a, (n, k)), view(g, loc, b, b.shape[-2:]), loc=loc, ta=ta, tb=tb)
            return view(g, loc, r, (*lead, k if ta else n, m))
        r = emit(g, "gemm", view(g, loc, a, (many * n, k)), view(g, loc, b, b.shape[-2:]), loc=loc, ta=False, tb=tb)
        return view(g, loc, r, (*lead, n, m))
    return outs_of(g, "bgemm", (a, b), {"ta": ta, "tb": tb}, loc)[0]


def inner_sum(g, loc, a, b, dim: int):
    """The sum of products along a dimension: it reads each element once, so it fuses better than it calls."""
    d = a.dtype
    if d in dt.LOW_PRECISION:
        a, b = (emit(g, "convert", x, loc=loc, dtype=dt.float32) for x in (a, b))
    r = emit(g, "sum", emit(g, "mul", a, b, loc=loc), loc=loc, dims=(dim,), keepdim=False)
    return r if r.dtype is d else emit(g, "convert", r, loc=loc, dtype=d)


@product("mv")
def mv(g, loc, a, v):
    return inner_sum(g, loc, a, v, 1) if floating(a) else None


@product("dot", "vdot")
def dot(g, loc, a, b):
    return inner_sum(g, loc, a, b, 0) if floating(a) else None


def plus(g, loc, r, c, beta, alpha):
    """alpha * r + beta * c."""
    if alpha != 1:
        r = emit(g, "mul", r, alpha, loc=loc)
    if beta == 0:
        return r
    return emit(g, "add", r, c if beta == 1 else emit(g, "mul", c, beta, loc=loc), loc=loc)


@product("addmm")
def addmm(g, loc, c, a, b, beta, alpha):
    return plus(g, loc, mm(g, loc, a, b), c, beta, alpha) if a.dtype in _FLOATS else None


@product("baddbmm")
def baddbmm(g, loc, c, a, b, beta, alpha):
    return plus(g, loc, bmm(g, loc, a, b), c, beta, alpha) if a.dtype in _FLOATS else None


@product("addmv")
def addmv(g, loc, c, a, v, beta, alpha):
    return plus(g, loc, inner_sum(g, loc, a, v, 1), c, beta, alpha) if a.dtype in _FLOATS else None


@product("linear")
def linear(g, loc, x, w, b):
    """A product of matrices; in low precision with its bias, which must not be rounded apart from it."""
    if not floating(x):
        return None
    k, out = x.shape[-1], w.shape[:-1]
    x2, w2 = view(g, loc, x, (prod(x.shape[:-1]), k)), view(g, loc, w, (prod(out), k))
    if b is not None and x.dtype not in _FLOATS:
        b = b if b.shape == (prod(out),) else emit(g, "expand", view(g, loc, b, (1,)), loc=loc, shape=(prod(out),))
        r = emit(g, "linear", x2, w2, b, loc=loc)
    else:
        r = emit(g, "gemm", x2, w2, loc=loc, ta=False, tb=True)
        if b is not None:
            r = emit(g, "add", r, b, loc=loc)
    return view(g, loc, r, (*x.shape[:-1], *out))
