"""What library calls take over from kernels: pointwise steps on their results, and copies of their results.

In: groups. Out: groups with less to do: a root that only adds a bias or a residual to a library call's result, scales it, or
takes relu of it, becomes `post` of the call's group; one that only moves results elsewhere (a permutation, a joined tensor)
becomes the strides with which the call writes.

True always: nothing else reads the result in between; what a step adds is there before the call.
"""
from __future__ import annotations

import numpy as np

from ..core.spec import contiguous_strides, numel
from ..graph.ir import Value
from .groups import Group, Grouping
from .roots import Copy, Root, Roots, nbytes, probe, steps_on

def fold_steps(grouping: Grouping) -> None:
    """Bias, scale, residual and relu on a library call's result move into the call, where nothing else needs them."""
    roots = grouping.roots
    for g in list(grouping.groups):
        if g.dead or g.kind != "kernel":
            continue
        for r in list(g.roots):
            found = steps_on(roots, r.value) if r.kind == "point" and not isinstance(r.desc, Copy) else None
            if found is None:
                continue
            y, steps = found
            p = grouping.made[y]
            needs = {grouping.made[base].id for _, b in steps if b is not None and (base := roots.view(b)[0]) in grouping.made}
            if p.post or p.kind != "library" or g.id in needs or any(b is not None and roots.view(b)[0] is y for _, b in steps) or any(
                    q != p.id and grouping.groups[q].anc >> p.id & 1 for q in needs):
                continue
            p.post, p.result = steps, r.value
            for q in needs - {p.id}:
                grouping.depend(p, grouping.groups[q])
            for _, b in steps:
                if b is not None:
                    p.reads[roots.view(b)[0]] = nbytes(b)
            settle(grouping, g, r, p, (y,))


# ---------------------------------------------------------------------------------------------------- where results go
STRIDED = frozenset(("attention", "attention_backward"))       # library calls that write with any outer strides


def fold_moves(grouping: Grouping) -> None:
    """A kernel root that only moves results of a library call becomes the place where the call writes."""
    for g in list(grouping.groups):
        if g.dead or g.kind != "kernel":
            continue
        for r in list(g.roots):
            found = moves(grouping, r) if r.kind in ("point", "pieces") else None
            if found is not None and not any(r.value in x.leaves and x.leaves[r.value] == {0} for x in g.roots):
                p, places = found
                p.outs[r.value] = places
                settle(grouping, g, r, p, places)


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
    if name in ("clone", "detach", "alias") or name == "add" and args[1] == 0:      # (the sign of a library's zero is nobody's)
        return place(roots, source, strides, offset, places)
    if name == "view_shape" or name == "basic_index" and numel(source.shape) == numel(v.shape):
        try:
            a = np.reshape(probe(v.shape, strides, v.dtype), source.shape, copy=False)
        except ValueError:
            return False
        return place(roots, source, [s // a.itemsize for s in a.strides], offset, places)
    return False


def settle(grouping: Grouping, g: Group, r: Root, p: Group, gone) -> None:
    """The call's group makes the root itself; the results `gone` are in memory no longer."""
    v = r.value
    p.roots.append(r)
    r.group = p
    grouping.made[v] = p
    g.roots.remove(r)
    for y in gone:
        if not any(y in x.leaves for x in g.roots):
            g.reads.pop(y, None)
    if g.roots:
        g.reads[v] = nbytes(v)
        grouping.depend(g, p)
        return
    g.dead = True
    for other in grouping.groups:                   # who read the root depends on the call now
        if g.id in other.preds:
            other.preds.discard(g.id)
            grouping.depend(other, p)
