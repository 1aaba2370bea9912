"""What library calls take over from kernels: pointwise steps on their results, and copies of their results.

In: groups. Out: fewer groups: a kernel that only adds a bias or a residual to a product's result, or takes relu of it, becomes
`post` of the product's group; one that only moves a library call's result elsewhere (a permutation, a joined tensor) becomes
the strides with which the call writes.

True always: nothing else reads the result in between; what a step adds is there before the call.
"""
from __future__ import annotations

import numpy as np

from ..core.spec import contiguous_strides, numel
from ..graph.ir import Node, Value
from .groups import Group, Grouping
from .roots import Copy, Root, Roots, probe

PRODUCTS = frozenset(("gemm", "bgemm", "mm", "bmm"))


def fold_posts(grouping: Grouping) -> None:
    """Bias, residual and relu on a product's result move into the product, where nothing else needs them."""
    roots = grouping.roots
    for g in grouping.groups:
        if g.dead or g.kind != "kernel" or len(g.roots) != 1 or g.roots[0].kind != "point":
            continue
        found = posts(roots, g.roots[0])
        if found is None:
            continue
        y, steps = found
        p = grouping.made[y]
        if p.post or any(q != p.id and grouping.groups[q].anc >> p.id & 1 for q in g.preds):
            continue
        v = g.roots[0].value
        g.reads.pop(y)
        grouping.merge(p, g)                        # the product is the earlier one: it stays
        p.kind, p.post, p.result, p.n = "library", steps, v, 0


def posts(roots: Roots, root: Root):
    """(product's result, steps) if a root is nothing but steps that products can do; else None."""
    v = root.value
    if v.dtype.name not in ("float32", "float64") or isinstance(root.desc, Copy):
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
        elif name == "add" and all(isinstance(a, Value) for a in node.args):
            a, b = node.args
            if not product_below(roots, a):
                a, b = b, a
            kind = operand(roots, b, cur)
            if kind is None or a.shape != cur.shape:
                return None
            steps.append((kind, b))
            cur = a
        elif name in ("view_shape", "detach", "alias"):
            cur = node.args[0]
        else:
            return None
    if not steps or node.op.name not in PRODUCTS or roots.uses.get(cur, 0) != 1 or any(
            k == "bias" and b.shape[-1] != cur.shape[-1] for k, b in steps):
        return None
    return cur, steps[::-1]


def product_below(roots: Roots, v: Value) -> bool:
    while v.node is not None:
        if v.node.op.name in PRODUCTS:
            return True
        if v.node.op.name == "add" or v.node.op.name in ("view_shape", "detach", "alias"):
            v = v.node.args[0]
        else:
            return False
    return False


def operand(roots: Roots, b: Value, like: Value) -> str | None:
    """What an addend is: "bias", "add", or nothing that a product can add."""
    base, shape, strides, offset = roots.view(b)
    if not roots.leaf(base) or b.dtype is not like.dtype or base in roots.roots and roots.roots[base].kind == "accum" and base is not b:
        return None
    if len(b.shape) == 1 and like.shape and numel(b.shape) == like.shape[-1] and strides[-1] == 1 and len(like.shape) > 1:
        return "bias"
    if b.shape == like.shape and tuple(strides) == contiguous_strides(shape) and base is b:
        return "add"
    return None


# ---------------------------------------------------------------------------------------------------- where results go
STRIDED = frozenset(("attention", "attention_backward"))       # library calls that write with any outer strides


def fold_moves(grouping: Grouping) -> None:
    """A kernel root that only moves results of a library call becomes the place where the call writes."""
    for g in list(grouping.groups):
        if g.dead or g.kind != "kernel":
            continue
        for r in list(g.roots):
            found = moves(grouping, r) if r.kind == "point" else None
            if found is not None and not any(r.value in x.leaves and x.leaves[r.value] == {0} for x in g.roots):
                settle(grouping, g, r, *found)


def moves(grouping: Grouping, r: Root):
    """(the call's group, {result: (strides, offset)}) if a root is nothing but one call's results, moved; else None."""
    roots, v = grouping.roots, r.value
    if isinstance(r.desc, Copy) or v.node is None or not r.leaves:
        return None
    group = None
    for y in r.leaves:
        p = grouping.made.get(y)
        if p is None or p.kind != "library" or p.node.op.name not in STRIDED or p.post or group not in (None, p):
            return None
        group = p
    places: dict[Value, tuple] = {}
    if not place(roots, v, contiguous_strides(v.shape), 0, places, True):
        return None
    if any(n != 1 and places[y][0][-1] != 1 for y in places for n in y.shape[-1:]):
        return None
    return group, places


def place(roots: Roots, v: Value, strides, offset: int, places: dict[Value, tuple], top: bool = False) -> bool:
    """Follow a value that lies at these strides down to the library results it consists of."""
    node = v.node
    if not top and (roots.uses.get(v, 0) != 1 or v in roots.forced):
        return False
    if roots.step.get(node) == "library":
        if v in places:
            return False
        places[v] = tuple(strides), offset
        return True
    name, args = node.op.name, node.args
    if name == "cat":
        dim, at = node.attrs["dim"], offset
        for a in args:
            if a.dtype is not v.dtype or not place(roots, a, strides, at, places):
                return False
            at += a.shape[dim] * strides[dim]
        return True
    source = args[0] if args else None
    if not isinstance(source, Value) or source.dtype is not v.dtype:
        return False
    if name == "permute":
        inner = [0] * len(strides)
        for k, d in enumerate(node.attrs["dims"]):
            inner[d] = strides[k]
        return place(roots, source, inner, offset, places)
    if name in ("clone", "detach", "alias"):
        return place(roots, source, strides, offset, places)
    if name == "view_shape" or name == "basic_index" and numel(source.shape) == numel(v.shape):
        try:
            a = np.reshape(probe(v.shape, strides, v.dtype), source.shape, copy=False)
        except ValueError:
            return False
        return place(roots, source, [s // a.itemsize for s in a.strides], offset, places)
    return False


def settle(grouping: Grouping, g: Group, r: Root, p: Group, places: dict[Value, tuple]) -> None:
    """The call's group makes the moved value itself."""
    v = r.value
    p.outs[v] = places
    if len(g.roots) == 1:
        for y in places:
            g.reads.pop(y, None)
        grouping.merge(p, g)
        p.kind, p.n = "library", 0
        return
    g.roots.remove(r)
    p.roots.append(r)
    r.group = p
    grouping.made[v] = p
    for y in places:
        if not any(y in x.leaves for x in g.roots):
            g.reads.pop(y, None)
    g.reads[v] = numel(v.shape) * v.dtype.itemsize
    g.preds.add(p.id)
