"""Layouts: convolution, pooling and all that lies between them with the channels last in memory.

In: a Graph (composites decomposed). Out: the same with `conv_nhwc` and its relatives, whose activations are (N, *spatial, C),
and permutes where such a value meets an operator that wants the usual order. Elementwise operators, reductions, pads and joins
follow their operands, so that in a chain of layers, forward and backward, permutes are left at its ends only.

How. One walk gives every value up to two forms: `plain`, and `last`, its permutation; each is made from the other when
somebody asks for it. An operator that can work on either is done where more bytes of its operands are already. Weights stay
as they are: libraries reorder them themselves.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtype as dt
from ..core.spec import contiguous_strides, numel
from ..ops.channels_last import to_first, to_last
from ..ops.op import POINT, REDUCE, REGISTRY, Op
from .ir import Graph, Node, Value
from .simplify import Walk, begin, end

Wanted = Callable[[Node], bool]
CONVOLUTIONS = frozenset(("convolution", "convolution_input", "convolution_weight"))
RANKS = (3, 4, 5)


def served(node: Node) -> bool:
    """The default of `layout`: the dtypes that convolution libraries have."""
    return node.out.dtype in (dt.float32, dt.bfloat16)


def layout(graph: Graph, wanted: Wanted = served) -> Graph:
    """`graph` with its convolutions channels-last, those that are `wanted` so; the graph itself if it has none."""
    if not any(n.op.name in CONVOLUTIONS and len(n.args[0].shape) in RANKS and wanted(n) for n in graph.nodes):
        return graph
    return Layout(graph, wanted).run()


class Layout:
    """The state of one walk. `plain` and `last` are the forms of the old graph's values."""

    def __init__(self, graph: Graph, wanted: Wanted):
        self.graph, self.wanted = graph, wanted
        self.walk: Walk = begin(graph)
        self.plain: dict[Value, Value] = self.walk.value
        self.last: dict[Value, Value] = {}
        self.winner: dict[Value, tuple[Value, dict]] = {}          # indices of a pooling -> which element won, attributes
        self.pooled: set[tuple[int, ...]] = set()                  # shapes that were pooled channels last
        self.users = graph.users()
        self.results = set(graph.results())

    def run(self) -> Graph:
        for v in self.graph.inputs:                    # an input that lies channels-last in memory is free in that form
            if len(v.shape) in RANKS and v.spec.strides is not None and v.spec.strides == last_strides(v.shape) \
                    and v.spec.strides != contiguous_strides(v.shape):
                self.as_last(v)
        for node in self.graph.nodes:
            self.walk.loc = node.loc
            self.node(node)
        for v in self.graph.results():
            self.as_plain(v)
        return end(self.walk, self.graph)

    # ------------------------------------------------------------------------------------------------ forms
    def as_plain(self, v: Value) -> Value:
        found = self.plain.get(v)
        if found is None:
            x = self.last[v]
            found = self.plain[v] = self.walk.call("permute", x, dims=to_first(len(x.shape)))
        return found

    def as_last(self, v: Value) -> Value:
        found = self.last.get(v)
        if found is None:
            x = self.plain[v]
            found = self.last[v] = self.moved(x)
        return found

    def moved(self, x: Value) -> Value:
        """A plain value of the new graph with its channels last; what is only a broadcast is broadcast anew."""
        node = x.node
        if node is not None and node.op.name == "expand":
            inner = node.args[0]
            lead = len(x.shape) - len(inner.shape)
            inner = self.walk.call("view_shape", inner, shape=(1,) * lead + inner.shape)
            return self.walk.call("expand", self.moved(inner), shape=tuple([x.shape[d] for d in to_last(len(x.shape))]))
        if node is not None and node.op.name == "filled":
            return self.walk.call("filled", **{**node.attrs, "shape": tuple([x.shape[d] for d in to_last(len(x.shape))])})
        return self.walk.call("permute", x, dims=to_last(len(x.shape)))

    def operand(self, a: Any, rank: int):
        """An operand of an elementwise operator of `rank` dimensions, channels last."""
        if not isinstance(a, Value):
            return a
        n = len(a.shape)
        if n == rank:
            return self.as_last(a)
        x = self.as_plain(a)
        if n == 0 or all(k == 1 for k in x.shape):
            return x if n == 0 else self.walk.call("view_shape", x, shape=())
        return self.moved(self.walk.call("view_shape", x, shape=(1,) * (rank - n) + x.shape))

    def prefers_last(self, operands, rank: int) -> bool:
        """Whether more bytes of the operands are there in the channels-last form than only in the plain one."""
        there = missing = 0
        for a in operands:
            if isinstance(a, Value) and len(a.shape) == rank:
                size = numel(a.shape) * a.dtype.itemsize
                if a in self.last:
                    there += size
                elif not self.cheap(a):
                    missing += size
        return there > 0 and there >= missing

    def cheap(self, a: Value) -> bool:
        """Whether a plain value costs nothing to have in the other form."""
        x = self.plain[a]
        node = x.node
        if node is not None and node.op.name in ("expand", "filled"):
            return True
        if node is not None and node.op.name == "permute":            # perhaps it undoes the permutation
            dims = node.attrs["dims"]
            return tuple([dims[d] for d in to_last(len(dims))]) == tuple(range(len(dims)))
        return sum(n > 1 for n in x.shape) <= 1

    # ------------------------------------------------------------------------------------------------ nodes
    def node(self, node: Node) -> None:
        op = node.op
        done = None
        handler = HANDLERS.get(op.name)
        if handler is not None:
            done = handler(self, node)
        elif op.kind is POINT:
            done = self.point(node)
        elif op.kind is REDUCE and set(node.attrs) == {"dims", "keepdim"} and len(node.outs) == 1:
            done = self.reduction(node)
        if done:
            return
        args = tuple([self.as_plain(a) if isinstance(a, Value) else a for a in node.args])
        self.plain.update(zip(node.outs, self.walk.outs(op, args, node.attrs)))

    def put(self, node: Node, op: Op | str, *args, **attrs) -> bool:
        """The node's result is this call's, channels last."""
        self.last[node.out] = self.walk.call(op, *args, **attrs)
        return True

    def point(self, node: Node) -> bool:
        rank = len(node.out.shape)
        if rank not in RANKS or not self.prefers_last(node.args, rank):
            return False
        return self.put(node, node.op, *[self.operand(a, rank) for a in node.args], **node.attrs)

    def reduction(self, node: Node) -> bool:
        x = node.args[0]
        rank = len(x.shape)
        if rank not in RANKS or not self.prefers_last(node.args, rank):
            return False
        order = to_last(rank)
        dims, keepdim = node.attrs["dims"], node.attrs["keepdim"]
        there = tuple(sorted(order.index(d) for d in dims))
        if keepdim:
            return self.put(node, node.op, self.as_last(x), dims=there, keepdim=True)
        left = [d for d in order if d not in dims]                     # the dimensions of the result, in its order
        r = self.walk.call(node.op, self.as_last(x), dims=there, keepdim=False)
        self.plain[node.out] = self.walk.call("permute", r, dims=tuple([left.index(d) for d in sorted(left)])) if left else r
        return True


HANDLERS: dict[str, Callable[[Layout, Node], bool]] = {}


def handles(*names: str):
    """Decorator: how the operators `names` are done channels last; False leaves them plain."""
    def add(fn):
        for name in names:
            HANDLERS[name] = fn
        return fn
    return add


def last_strides(shape) -> tuple[int, ...]:
    """The strides of (N, C, *spatial) whose channels are last in memory."""
    order = to_last(len(shape))
    strides = contiguous_strides([shape[d] for d in order])
    return tuple([strides[order.index(d)] for d in range(len(shape))])


def permuted(shape) -> tuple[int, ...]:
    return tuple([shape[d] for d in to_last(len(shape))])


def geometry(attrs: dict) -> dict:
    return {k: attrs[k] for k in ("stride", "padding", "dilation", "groups")}


# ---------------------------------------------------------------------------------------------------- convolution
@handles("convolution")
def convolution(at: Layout, node: Node) -> bool:
    x, w, b = node.args
    if len(x.shape) not in RANKS or not at.wanted(node):
        return False
    w = at.as_plain(w)
    b = None if b is None else at.as_plain(b)
    if not node.attrs["transposed"]:
        return at.put(node, "conv_nhwc", at.as_last(x), w, b, **geometry(node.attrs))
    y = at.walk.call("conv_nhwc_input", at.as_last(x), w, shape=permuted(node.out.shape), **geometry(node.attrs))
    at.last[node.out] = y if b is None else at.walk.call("add", y, b)
    return True


@handles("convolution_input")
def convolution_input(at: Layout, node: Node) -> bool:
    y, w = node.args
    if len(y.shape) not in RANKS or not at.wanted(node):
        return False
    return at.put(node, "conv_nhwc_input", at.as_last(y), at.as_plain(w), shape=permuted(node.attrs["shape"]), **geometry(node.attrs))


@handles("convolution_weight")
def convolution_weight(at: Layout, node: Node) -> bool:
    y, x = node.args
    if len(y.shape) not in RANKS or not at.wanted(node):
        return False
    at.plain[node.out] = at.walk.call("conv_nhwc_weight", at.as_last(y), at.as_last(x), shape=node.attrs["shape"], **geometry(node.attrs))
    return True


# ---------------------------------------------------------------------------------------------------- pooling
@handles("max_pool")
def max_pool(at: Layout, node: Node) -> bool:
    """Unless somebody wants the indices themselves."""
    x = node.args[0]
    value, index = node.outs
    if len(x.shape) not in RANKS or not x.dtype.is_floating_point or not at.prefers_last((x,), len(x.shape)) or index in at.results:
        return False
    for user in at.users.get(index, ()):
        if user.op.name != "plane_scatter" or user.args[1] is not index or tuple(user.attrs["sizes"]) != x.shape[2:]:
            return False
    attrs = {**node.attrs, "kernel": tuple(node.attrs["kernel"])}
    best, winner = at.walk.outs(REGISTRY["max_pool_nhwc"], (at.as_last(x),), attrs)
    at.last[value] = best
    at.winner[index] = winner, {**attrs, "shape": permuted(x.shape)}
    return True


@handles("plane_scatter")
def plane_scatter(at: Layout, node: Node) -> bool:
    found = at.winner.get(node.args[1])
    if found is None:
        return False
    return at.put(node, "max_pool_nhwc_grad", at.as_last(node.args[0]), found[0], **found[1])


@handles("avg_pool")
def avg_pool(at: Layout, node: Node) -> bool:
    x = node.args[0]
    if len(x.shape) not in RANKS or not at.prefers_last((x,), len(x.shape)):
        return False
    at.pooled.add(x.shape)
    return at.put(node, "avg_pool_nhwc", at.as_last(x), **node.attrs)


@handles("avg_pool_grad")
def avg_pool_grad(at: Layout, node: Node) -> bool:
    """The gradient of a pooling that was done channels last, or whose own gradient is there."""
    y = node.args[0]
    if len(y.shape) not in RANKS or node.out.shape not in at.pooled and not at.prefers_last((y,), len(y.shape)):
        return False
    attrs = {k: v for k, v in node.attrs.items() if k != "sizes"}
    return at.put(node, "avg_pool_nhwc_grad", at.as_last(y), shape=permuted(node.out.shape), **attrs)


# ---------------------------------------------------------------------------------------------------- moving elements
@handles("constant_pad_nd")
def constant_pad(at: Layout, node: Node) -> bool:
    x = node.args[0]
    rank = len(x.shape)
    if rank not in RANKS or not at.prefers_last((x,), rank):
        return False
    return at.put(node, node.op, at.as_last(x), pads=tuple([node.attrs["pads"][d] for d in to_last(rank)]), value=node.attrs["value"])


@handles("cat")
def cat(at: Layout, node: Node) -> bool:
    rank = len(node.out.shape)
    if rank not in RANKS or not at.prefers_last(node.args, rank):
        return False
    return at.put(node, node.op, *[at.as_last(a) for a in node.args], dim=to_last(rank).index(node.attrs["dim"]))


@handles("basic_index", "piece")
def basic_index(at: Layout, node: Node) -> bool:
    """Slices of whole dimensions."""
    x, index = node.args[0], node.attrs["index"]
    rank = len(x.shape)
    if rank not in RANKS or not at.prefers_last((x,), rank) or len(node.out.shape) != rank or not all(type(i) is slice for i in index):
        return False
    index = (*index, *(slice(None),) * (rank - len(index)))
    return at.put(node, "basic_index", at.as_last(x), index=tuple([index[d] for d in to_last(rank)]))


@handles("expand")
def expand(at: Layout, node: Node) -> bool:
    x = node.args[0]
    rank = len(node.out.shape)
    if rank not in RANKS or len(x.shape) != rank or x not in at.last:
        return False
    return at.put(node, node.op, at.as_last(x), shape=permuted(node.out.shape))


@handles("flip")
def flip(at: Layout, node: Node) -> bool:
    x = node.args[0]
    rank = len(x.shape)
    if rank not in RANKS or not at.prefers_last((x,), rank):
        return False
    return at.put(node, node.op, at.as_last(x), dims=tuple([to_last(rank).index(d) for d in node.attrs["dims"]]))
