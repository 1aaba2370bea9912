"""From an operator's derivative rules to a node class: what it saves and how its backward calls the rules.

In: `op.vjp` with the parameter names of each rule. Out: a subclass of Node per operator, made on first use, with
`_save(node, flat, outs)` and `_run(node, g)`. Gradients come back one per edge, summed to the input's shape.
"""
from __future__ import annotations

from ..core import dtype as dt
from ..ops.dispatch import local
from ..ops.op import F, Op, is_out
from .core import Node, Slots
from .saved import freed, pack, pack_out, unpack, unpack_out, unpack_outs, version_of

_TYPES: dict[str, type] = {}
G, SAVED, ATTR, SHAPE, DTYPE, NEEDS, OUT, REST, ATTRS, OUT1 = range(10)


def _camel(name: str) -> str:
    return "".join(w[:1].upper() + w[1:] for w in name.split("_"))


def node_type(op: Op) -> type:
    """The node class of `op`."""
    cls = _TYPES.get(op.name)
    if cls is None or cls.op is not op:
        cls = _TYPES[op.name] = _make(op)
    return cls


def _make(op: Op) -> type:
    args = op.args
    variadic = bool(args) and args[-1].startswith("*")
    names = tuple(a.lstrip("*") for a in args)
    out_at = len(names)                       # saved: one place per argument, then the result(s)

    def source(param: str):
        if param in ("g", "gs"):
            return G, None
        if is_out(param):
            return (OUT, out_at) if param == "out" or op.nout == 1 else (OUT1, int(param[3:]))
        if param == "needs":
            return NEEDS, None
        if param == "attrs_":
            return ATTRS, None
        if param in names:
            i = names.index(param)
            return (REST if variadic and i == len(names) - 1 else SAVED), i
        for suffix, code in (("_shape", SHAPE), ("_dtype", DTYPE)):
            if param.endswith(suffix) and param[: -len(suffix)] in names:
                return code, names.index(param[: -len(suffix)])
        return ATTR, param

    rules = tuple((names.index(n) if n else -1, fn, tuple(source(p) for p in params)) for n, fn, params in op.plan)
    # per rule: which argument places (and the output) it reads
    reads = tuple(frozenset(out_at if code == OUT1 else i for code, i in src if code in (SAVED, REST, OUT, OUT1)) for _, _, src in rules)
    some_outs = frozenset(i for _, _, src in rules for code, i in src if code == OUT1)      # only these results are saved,
    if any(code == OUT for _, _, src in rules for code, _ in src):                          # unless a rule wants them all
        some_outs = frozenset()
    dtype_reads = any(code == DTYPE for _, _, src in rules for code, _ in src)

    def save(n: Node, flat: tuple, outs: tuple) -> None:
        edges = n._edges
        want: set = set()
        for (i, _, _), r in zip(rules, reads):
            if i == -1 or i >= len(edges) or edges[i] is not None or (variadic and i == len(names) - 1):
                want |= r
        if dtype_reads:
            n._shapes = [(s, t._a.dtype) if isinstance(t, Slots) else (s, None) for s, t in zip(n._shapes, flat)]
        n._versions = None
        if not want:
            n._saved = ()
            return
        saved: list = [None] * (out_at + 1)
        versions: list = [0] * (out_at + 1)
        hooks = local.saved_hooks
        for i in want:
            if i == out_at:
                if len(outs) == 1:
                    saved[i], versions[i] = pack_out(outs[0], 0, hooks), version_of(outs[0])
                else:
                    saved[i] = [None if some_outs and j not in some_outs else pack_out(t, j, hooks) for j, t in enumerate(outs)]
                    versions[i] = [version_of(t) for t in outs]
            elif variadic and i == len(names) - 1:
                rest = flat[i:]
                saved[i] = tuple(pack(t, hooks) for t in rest)
                versions[i] = tuple(version_of(t) for t in rest)
            else:
                saved[i] = pack(flat[i], hooks)
                versions[i] = version_of(flat[i])
        n._saved, n._versions = tuple(saved), tuple(versions)

    def value(n: Node, g, code: int, k):
        """What a rule's parameter stands for."""
        if code == G:
            return g
        if code == SAVED:
            return unpack(n, n._saved[k], k)
        if code == OUT:
            return unpack_outs(n, out_at)
        if code == OUT1:
            return unpack_out(n, n._saved[out_at][k], k, n._versions[out_at][k])
        if code == ATTR:
            return n._attrs[k]
        if code == ATTRS:
            return n._attrs
        if code == SHAPE:
            s = n._shapes[k:] if variadic and k == len(names) - 1 else n._shapes[k]
            return ([x[0] for x in s] if type(s) is list else s[0]) if dtype_reads else s
        if code == DTYPE:
            return dt.of(n._shapes[k][1])
        if code == NEEDS:
            return tuple([e is not None for e in n._edges])
        return [unpack(n, s, k, j) for j, s in enumerate(n._saved[k])]

    # the two most common rules, `f(g)` and `f(g, one saved operand)`, skip the general reading of parameters
    plans = tuple((i, fn, src, 1 if len(src) == 1 and src[0][0] == G else
                   2 if len(src) == 2 and src[0][0] == G and src[1][0] == SAVED else 0, src[-1][1]) for i, fn, src in rules)

    def run(n: Node, g) -> list:
        saved = n._saved
        if saved is None:
            freed(n)
        edges = n._edges
        out: list = [None] * len(edges)
        for i, fn, src, form, k in plans:
            if i >= 0 and edges[i] is None and not (variadic and i == len(names) - 1):
                continue
            if form == 1:
                r = fn(g)
            elif form == 2:
                s = saved[k]
                if isinstance(s, Slots) and s._st is None:
                    r = fn(g, s)
                else:
                    r = fn(g, unpack(n, s, k))
            else:
                r = fn(*[value(n, g, code, k) for code, k in src])
            if i >= 0:
                if variadic and i == len(names) - 1:
                    out[i:] = list(r)
                else:
                    out[i] = r
            else:
                for j, x in enumerate(r if isinstance(r, (tuple, list)) else (r,)):
                    if variadic and j == len(names) - 1:
                        if x is not None:
                            out[j:] = list(x)
                    else:
                        out[j] = x
        shapes = n._shapes
        if shapes is not None:
            for i, r in enumerate(out):
                if r is not None:
                    s = shapes[i]
                    if dtype_reads and s is not None:
                        s = s[0]
                    if s is not None and r._a.shape != s:
                        out[i] = F.sum_to_size(r, s)
        return out

    name = _NAMES.get(op.name) or _camel(op.name) + "Backward0"
    return type(name, (Node,), {"__slots__": (), "op": op, "_args": names, "_nout": op.nout, "_save": staticmethod(save), "_run": run})


# operators whose name here is not the one PyTorch's users know the node by
_NAMES = {"view_scatter": "CopySlices", "view_shape": "ViewBackward0", "basic_index": "SliceBackward0", "piece": "UnbindBackward0"}
