"""Layouts: convolution, pooling and all that lies between them with the channels last in memory.

In: a Graph (composites decomposed). Out: the same with `conv_nhwc` and its relatives, whose activations are (N, *spatial, C),
and permutes where such a value meets an operator that wants the usual order. Elementwise operators, reductions, reshapes, pads
and joins follow their operands, so that in a chain of layers, forward and backward, permutes are left at its ends only.

How. One walk gives every value one form or several: `plain`, as the graph means it, or with its dimensions in another order.
An `order` says which dimension lies at each place: (0, 2, 3, 1) for (N, C, H, W) with the channels last. Forms are made from
each other when somebody asks for them; a permute only renames an order. An operator that can work on any form takes the one
that more bytes of its operands have. Weights stay as they are: libraries reorder them themselves.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtype as dt
from ..core.layout import contiguous_format
from ..core.spec import contiguous_strides, numel
from ..ops.channels_last import to_last
from ..ops.conv import CONVOLUTIONS
from ..ops.op import POINT, REDUCE, REGISTRY, Op
from .ir import Graph, Node, Value
from .rules import reshaped
from .simplify import Walk, begin, end

Wanted = Callable[[Node], bool]
Order = tuple[int, ...]
LAST = frozenset(("conv_nhwc", "conv_nhwc_input", "conv_nhwc_weight"))      # what they become
FEW = 8                     # channels of an image, which a library reads as quickly in any order
RANKS = (3, 4, 5)


def served(node: Node) -> bool:
    """The default of `layout`: the dtypes that convolution libraries have."""
    return node.out.dtype in (dt.float32, dt.bfloat16)


def layout(graph: Graph, wanted: Wanted = served) -> Graph:
    """`graph` with its convolutions channels-last, those that are `wanted` so; the graph itself if it has none."""
    if not any(n.op.name in CONVOLUTIONS and len(n.args[0].shape) in RANKS and wanted(n) for n in graph.nodes):
        return graph
    return Layout(graph, wanted).run()


def rows(graph: Graph) -> Graph:
    """`graph` with the operands of channels-last convolutions copied in that order where they lie in another, each once: code
    that reads other orders is slower than the copy. The graph itself if there are none."""
    def wanted(node: Node, a: Any) -> bool:
        few = node.op.name == "conv_nhwc" and a is node.args[0] and a.shape[-1] < FEW
        return node.op.name in LAST and isinstance(a, Value) and not few and scattered(a)

    if not any(wanted(n, a) for n in graph.nodes for a in n.args):
        return graph
    walk = begin(graph)
    value, copies = walk.value, {}
    for node in graph.nodes:
        walk.loc = node.loc
        for a in node.args:
            if wanted(node, a) and a not in copies:
                copies[a] = walk.append(REGISTRY["clone"], (value[a],), {"fmt": contiguous_format}, (a.spec.like(),))[0]
        args = tuple([copies[a] if wanted(node, a) else value[a] if isinstance(a, Value) else a for a in node.args])
        value.update(zip(node.outs, walk.append(node.op, args, node.attrs, tuple([v.spec for v in node.outs]))))
    return end(walk, graph)


def scattered(v: Value) -> bool:
    """Whether a value is a permuted view, or an input, that does not lie in memory row by row."""
    order = range(len(v.shape))
    while v.node is not None and v.node.op.name == "permute":
        order = [v.node.attrs["dims"][d] for d in order]
        v = v.node.args[0]
    strides = v.spec.strides if v.node is None and v.spec.strides is not None else contiguous_strides(v.shape)
    there = [(strides[d], v.shape[d]) for d in order if v.shape[d] != 1]
    return any(s != t for (s, _), t in zip(there, contiguous_strides([n for _, n in there])))


def is_plain(order: Order) -> bool:
    return order == tuple(range(len(order)))


def in_order(shape, order: Order) -> tuple[int, ...]:
    return tuple([shape[d] for d in order])


class Layout:
    """The state of one walk. `plain` and `forms` hold what the old graph's values have become."""

    def __init__(self, graph: Graph, wanted: Wanted):
        self.graph, self.wanted = graph, wanted
        self.walk: Walk = begin(graph)
        self.plain: dict[Value, Value] = self.walk.value
        self.forms: dict[Value, dict[Order, Value]] = {}
        self.winner: dict[Value, tuple[Value, dict]] = {}          # indices of a pooling -> which element won, attributes
        self.pooled: set[tuple[int, ...]] = set()                  # shapes that were pooled channels last
        self.users = graph.users()
        self.results = set(graph.results())

    def run(self) -> Graph:
        for v in self.graph.inputs:                    # an input that lies channels-last in memory is free in that form
            if len(v.shape) in RANKS and v.spec.strides is not None and v.spec.strides == last_strides(v.shape) \
                    and v.spec.strides != contiguous_strides(v.shape):
                self.form(v, to_last(len(v.shape)))
        for node in self.graph.nodes:
            self.walk.loc = node.loc
            self.node(node)
        for v in self.graph.results():
            self.as_plain(v)
        return end(self.walk, self.graph)

    # ------------------------------------------------------------------------------------------------ forms
    def as_plain(self, v: Value) -> Value:
        return self.form(v, tuple(range(len(v.shape))))

    def as_last(self, v: Value) -> Value:
        return self.form(v, to_last(len(v.shape)))

    def form(self, v: Value, order: Order) -> Value:
        """The value with its dimensions in this order."""
        if is_plain(order) and v in self.plain:
            return self.plain[v]
        known = self.forms.get(v, {})
        found = known.get(order)
        if found is None:
            if v in self.plain:
                found = self.moved(self.plain[v], order)
            else:
                have, x = next(iter(known.items()))
                found = self.moved(x, tuple([have.index(d) for d in order]))
            self.keep(v, order, found)
        return found

    def keep(self, v: Value, order: Order, x: Value) -> None:
        """`x` is a form of `v`."""
        if is_plain(order):
            self.plain[v] = x
        else:
            self.forms.setdefault(v, {})[order] = x

    def moved(self, x: Value, order: Order) -> Value:
        """A value of the new graph, permuted; what is only a broadcast is broadcast anew."""
        node = x.node
        if node is not None and node.op.name == "expand":
            inner = node.args[0]
            inner = self.walk.call("view_shape", inner, shape=(1,) * (len(x.shape) - len(inner.shape)) + inner.shape)
            return self.walk.call("expand", self.moved(inner, order), shape=in_order(x.shape, order))
        if node is not None and node.op.name == "filled":
            return self.walk.call("filled", **{**node.attrs, "shape": in_order(x.shape, order)})
        return self.walk.call("permute", x, dims=order)

    def operand(self, a: Any, order: Order):
        """An operand of an elementwise operator whose result has this order."""
        if not isinstance(a, Value):
            return a
        n, rank = len(a.shape), len(order)
        if n == rank:
            return self.form(a, order)
        x = self.as_plain(a)
        if n == 0 or all(k == 1 for k in x.shape):
            return x if n == 0 else self.walk.call("view_shape", x, shape=())
        return self.moved(self.walk.call("view_shape", x, shape=(1,) * (rank - n) + x.shape), order)

    def choose(self, operands, rank: int) -> Order | None:
        """The order that most bytes of the operands of this rank have; None if more of them are plain only."""
        there: dict[Order, int] = {}
        total = 0
        for a in operands:
            if isinstance(a, Value) and len(a.shape) == rank:
                size = numel(a.shape) * a.dtype.itemsize
                for order in self.forms.get(a, ()):
                    there[order] = there.get(order, 0) + size
                if a in self.forms or not self.cheap(a):
                    total += size
        if not there:
            return None
        best = max(there, key=there.__getitem__)
        return best if 2 * there[best] >= total else None

    def cheap(self, a: Value) -> bool:
        """Whether a plain value costs nothing to have in another form."""
        x = self.plain[a]
        node = x.node
        if node is not None and node.op.name in ("expand", "filled"):
            return True
        if node is not None and node.op.name == "permute":            # perhaps it undoes the permutation
            dims = node.attrs["dims"]
            return tuple([dims[d] for d in to_last(len(dims))]) == tuple(range(len(dims)))
        return sum(n > 1 for n in x.shape) <= 1

    def chooses_last(self, v: Value) -> bool:
        """Whether an operator over windows of `v` had better be done channels last."""
        rank = len(v.shape)
        return rank in RANKS and self.choose((v,), rank) == to_last(rank)

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

    def put(self, node: Node, order: Order, op: Op | str, /, *args, **attrs) -> bool:
        """The node's result, in this order, is this call's."""
        self.keep(node.out, order, self.walk.call(op, *args, **attrs))
        return True

    def put_last(self, node: Node, op: str, /, *args, **attrs) -> bool:
        return self.put(node, to_last(len(node.out.shape)), op, *args, **attrs)

    def point(self, node: Node) -> bool:
        order = self.choose(node.args, len(node.out.shape))
        if order is None:
            return False
        return self.put(node, order, node.op, *[self.operand(a, order) for a in node.args], **node.attrs)

    def reduction(self, node: Node) -> bool:
        x = node.args[0]
        order = self.choose(node.args, len(x.shape))
        if order is None:
            return False
        dims, keepdim = node.attrs["dims"], node.attrs["keepdim"]
        left = [d for d in order if keepdim or d not in dims]          # the dimensions of the result, as they lie
        after = tuple([sorted(left).index(d) for d in left])
        there = tuple(sorted(order.index(d) for d in dims))
        return self.put(node, after, node.op, self.form(x, order), dims=there, keepdim=keepdim)


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
    return in_order(shape, to_last(len(shape)))


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
        return at.put_last(node, "conv_nhwc", at.as_last(x), w, b, **geometry(node.attrs))
    y = at.walk.call("conv_nhwc_input", at.as_last(x), w, shape=permuted(node.out.shape), **geometry(node.attrs))
    at.keep(node.out, to_last(len(x.shape)), y if b is None else at.walk.call("add", y, b))
    return True


@handles("convolution_input")
def convolution_input(at: Layout, node: Node) -> bool:
    y, w = node.args
    if len(y.shape) not in RANKS or not at.wanted(node):
        return False
    return at.put_last(node, "conv_nhwc_input", at.as_last(y), at.as_plain(w), shape=permuted(node.attrs["shape"]), **geometry(node.attrs))


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
    if not x.dtype.is_floating_point or not at.chooses_last(x) or index in at.results:
        return False
    for user in at.users.get(index, ()):
        if user.op.name != "plane_scatter" or user.args[1] is not index or tuple(user.attrs["sizes"]) != x.shape[2:]:
            return False
    attrs = {**node.attrs, "kernel": tuple(node.attrs["kernel"])}
    best, winner = at.walk.outs(REGISTRY["max_pool_nhwc"], (at.as_last(x),), attrs)
    at.keep(value, to_last(len(value.shape)), best)
    at.winner[index] = winner, {**attrs, "shape": permuted(x.shape)}
    return True


@handles("plane_scatter")
def plane_scatter(at: Layout, node: Node) -> bool:
    found = at.winner.get(node.args[1])
    if found is None:
        return False
    return at.put_last(node, "max_pool_nhwc_grad", at.as_last(node.args[0]), found[0], **found[1])


@handles("avg_pool")
def avg_pool(at: Layout, node: Node) -> bool:
    x = node.args[0]
    if not at.chooses_last(x):
        return False
    at.pooled.add(x.shape)
    return at.put_last(node, "avg_pool_nhwc", at.as_last(x), **node.attrs)


@handles("avg_pool_grad")
def avg_pool_grad(at: Layout, node: Node) -> bool:
    """The gradient of a pooling that was done channels last, or whose own gradient is there."""
    y = node.args[0]
    if node.out.shape not in at.pooled and not at.chooses_last(y):
        return False
    attrs = {k: v for k, v in node.attrs.items() if k != "sizes"}
    return at.put_last(node, "avg_pool_nhwc_grad", at.as_last(y), shape=permuted(node.out.shape), **attrs)


# ---------------------------------------------------------------------------------------------------- moving elements
@handles("permute")
def permute(at: Layout, node: Node) -> bool:
    """The same memory; the dimensions have other names."""
    x, dims = node.args[0], node.attrs["dims"]
    if x not in at.forms:
        return False
    for order, form in at.forms[x].items():
        at.keep(node.out, tuple([dims.index(d) for d in order]), form)
    return True


@handles("view_shape")
def view_shape(at: Layout, node: Node) -> bool:
    """A reshape that splits or joins only dimensions that lie side by side."""
    x, new = node.args[0], tuple(node.attrs["shape"])
    order = at.choose((x,), len(x.shape))
    after = reshaped(x.shape, order, new) if order is not None else None
    if after is None:
        return False
    return at.put(node, after, "view_shape", at.form(x, order), shape=in_order(new, after))


@handles("constant_pad_nd")
def constant_pad(at: Layout, node: Node) -> bool:
    x = node.args[0]
    order = at.choose((x,), len(x.shape))
    if order is None:
        return False
    return at.put(node, order, node.op, at.form(x, order), pads=in_order(node.attrs["pads"], order), value=node.attrs["value"])


@handles("cat")
def cat(at: Layout, node: Node) -> bool:
    order = at.choose(node.args, len(node.out.shape))
    if order is None:
        return False
    return at.put(node, order, node.op, *[at.form(a, order) for a in node.args], dim=order.index(node.attrs["dim"]))


@handles("basic_index", "piece")
def basic_index(at: Layout, node: Node) -> bool:
    """Slices of whole dimensions."""
    x, index = node.args[0], node.attrs["index"]
    rank = len(x.shape)
    order = at.choose((x,), rank)
    if order is None or not all(type(i) is slice for i in index):
        return False
    return at.put(node, order, "basic_index", at.form(x, order), index=in_order((*index, *(slice(None),) * (rank - len(index))), order))


@handles("expand")
def expand(at: Layout, node: Node) -> bool:
    x = node.args[0]
    if x not in at.forms or len(x.shape) != len(node.out.shape):
        return False
    order = next(iter(at.forms[x]))
    return at.put(node, order, node.op, at.form(x, order), shape=in_order(node.out.shape, order))


@handles("flip")
def flip(at: Layout, node: Node) -> bool:
    x = node.args[0]
    order = at.choose((x,), len(x.shape))
    if order is None:
        return False
    return at.put(node, order, node.op, at.form(x, order), dims=tuple([order.index(d) for d in node.attrs["dims"]]))
