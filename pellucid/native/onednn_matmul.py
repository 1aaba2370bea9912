"""Matrix products as oneDNN primitives: any strides that its fast code reads, batches, a bias, addends and ReLU.

In: a `Call` of mm, bmm, gemm, bgemm, addmm, baddbmm, linear or mv. Out: its `Primitive`; raises Unavailable where there is none.
"""
from __future__ import annotations

from .onednn import BIAS, DST, POST, SRC, SRC_1, WEIGHTS, Primitive, Unavailable, attributes, primitive_description, wanted
from .onednn_views import Call, Operand, Written, fast, read


def merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int] | None:
    """(size, stride) of dimensions as one, if their strides allow it."""
    size, stride = 1, None
    for n, s in zip(reversed(shape), reversed(strides)):
        if n == 1:
            continue
        if stride is None:
            stride = s
        elif s != stride * size:
            return None
        size *= n
    return size, 1 if stride is None else stride


def rows_merged(x: Operand) -> Operand:
    """All dimensions but the last as one."""
    found = merged(x.shape[:-1], x.strides[:-1])
    if found is None:
        raise Unavailable("rows that are not evenly spaced")
    return x.like((found[0], x.shape[-1]), (found[1], x.strides[-1]))


def readable(x: Operand) -> Operand:
    """A matrix (or batch) whose strides the library reads well: one of the last two dimensions is contiguous."""
    (m, n), (s, t) = x.shape[-2:], x.strides[-2:]
    if n == 1 or m == 1:                    # a dimension of size 1 has any stride: choose the dense one
        if n == 1:
            s, t = (1 if m == 1 else s), 1
        else:
            s, t = (n, t) if t == 1 else (1, t)
    if not ((t == 1 and s >= n) or (s == 1 and t >= m)):
        raise Unavailable("strides of a matrix")
    batch = x.shape[:-2]
    lead = [1 if k == 1 else q for k, q in zip(batch, x.strides[:-2])]
    if any(q == 0 and k > 1 for k, q in zip(batch, x.strides[:-2])):
        raise Unavailable("repeated matrices")
    return x.like(x.shape, (*lead, s, t))


def batches_merged(*xs: Operand) -> list[Operand]:
    """The batch dimensions as one, where they can be for all operands alike; broadcast ones stay as they are."""
    n = max(len(x.shape) for x in xs) - 2
    full = [x.like((1,) * (n + 2 - len(x.shape)) + x.shape, (0,) * (n + 2 - len(x.shape)) + x.strides) for x in xs]
    if n == 0:
        return list(full)
    if len({x.shape[:n] for x in full}) > 1:
        return [x.like(x.shape, tuple(0 if k == 1 else s for k, s in zip(x.shape, x.strides[:n])) + x.strides[n:]) for x in full]
    found = [merged(x.shape[:n], x.strides[:n]) for x in full]
    if None in found:
        return list(full)
    return [x.like((m[0], *x.shape[n:]), (m[1], *x.strides[n:])) for x, m in zip(full, found)]


def product(a: Operand, b: Operand, out: Operand, post: list[tuple[str, Operand | None]]) -> Primitive:
    """out = a @ b, then the post-steps."""
    p = Primitive()
    a, b, out = batches_merged(a, b, out)
    rank = len(out.shape)
    a, b, out = readable(a), readable(b), readable(out)
    bias, posts, extra = None, [], []
    for i, (kind, x) in enumerate(post):
        if kind == "bias" and i == 0:
            bias = x.like((1,) * (rank - 1) + (x.shape[-1],), (x.shape[-1],) * (rank - 1) + (x.strides[-1],))
        elif kind == "relu":
            posts.append(("relu",))
        else:
            if kind == "bias":
                x = x.like((1,) * (rank - 1) + (x.shape[-1],), (x.shape[-1],) * (rank - 1) + (x.strides[-1],))
            else:
                x = like_result(x, out)
            posts.append(("add", x.md))
            extra.append((POST * len(posts) | SRC_1, x))
    weights = b.any if b.constant else b.md
    pd = fast(primitive_description("matmul", a.md, weights, None if bias is None else bias.md, out.md, attributes(posts)))
    result = Written(p, out, wanted(pd, "dst"))
    arguments = {SRC: read(p, a, a.md), WEIGHTS: read(p, b, wanted(pd, "weights")), DST: result.memory}
    if bias is not None:
        arguments[BIAS] = read(p, bias, bias.md)
    for key, x in extra:
        arguments[key] = read(p, x, x.md)
    p.add(pd, arguments)
    result.finish()
    return p


def like_result(x: Operand, out: Operand) -> Operand:
    """An addend in the result's (merged) shape, broadcast along the rows if it has fewer dimensions."""
    if len(x.shape) < len(out.shape):
        n = len(out.shape) - len(x.shape)
        x = x.like((1,) * n + x.shape, (0,) * n + x.strides)
    if len(x.shape) > len(out.shape):
        k = len(x.shape) - len(out.shape) + 1
        found = merged(x.shape[:k], x.strides[:k])
        if found is None:
            raise Unavailable("an addend's strides")
        x = x.like((found[0], *x.shape[k:]), (found[1], *x.strides[k:]))
    if any(n not in (1, m) for n, m in zip(x.shape, out.shape)):
        raise Unavailable("an addend's shape")
    dense = 1
    strides = []
    for n, s in zip(reversed(x.shape), reversed(x.strides)):
        if n > 1 and s == 0:
            raise Unavailable("an addend that repeats")
        strides.append(s if n > 1 else dense)
        dense = max(dense, n * strides[-1])
    return x.like(x.shape, tuple(reversed(strides)))


def flagged(c: Call) -> tuple[Operand, Operand]:
    a, b = c.operands
    return (a.swapped() if c.attrs.get("ta") else a), (b.swapped() if c.attrs.get("tb") else b)


def make_product(c: Call) -> Primitive:
    """mm, bmm, gemm, bgemm."""
    a, b = flagged(c)
    out = c.outs[0]
    if len(b.shape) == 2 and len(a.shape) > 2 and not c.attrs.get("ta"):
        try:                                # one large product instead of many small ones
            folded = [(k, None if x is None or k == "bias" else rows_merged(x)) if k != "bias" else (k, x) for k, x in c.post]
            return product(rows_merged(a), b, rows_merged(out), folded)
        except Unavailable:
            pass
    return product(a, b, out, c.post)


def make_added(c: Call) -> Primitive:
    """addmm, baddbmm: the product plus an addend."""
    if c.attrs.get("beta", 1) != 1 or c.attrs.get("alpha", 1) != 1:
        raise Unavailable("scaled operands")
    addend, a, b = c.operands
    kind = "bias" if len(addend.shape) == 1 and addend.shape[0] == c.outs[0].shape[-1] else "add"
    if kind == "add" and addend.shape != c.outs[0].shape:
        raise Unavailable("a broadcast addend")
    return product(a, b, c.outs[0], [(kind, addend), *c.post])


def make_linear(c: Call) -> Primitive:
    """linear: x @ w.T + b over all leading dimensions."""
    x, w, b = (*c.operands, None)[:3]
    out = c.outs[0]
    if len(w.shape) != 2 or len(x.shape) < 1:
        raise Unavailable("a weight vector")
    if len(x.shape) == 1:
        x, out = x.like((1, *x.shape), (x.shape[0], *x.strides)), out.like((1, *out.shape), (out.shape[0], *out.strides))
    post = ([] if b is None else [("bias", b)]) + [(k, x if x is None or k == "bias" else rows_merged(x)) for k, x in c.post]
    return product(rows_merged(x), w.swapped(), rows_merged(out), post)


def make_mv(c: Call) -> Primitive:
    """mv: a matrix times a vector."""
    a, v = c.operands
    out = c.outs[0]
    if c.post:
        raise Unavailable("post-steps of a vector")
    return product(a, v.like((*v.shape, 1), (*v.strides, 1)), out.like((*out.shape, 1), (*out.strides, 1)), [])
