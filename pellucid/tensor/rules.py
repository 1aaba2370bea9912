"""From an operator's derivative rules to a node class: what it saves and how its backward calls the rules.

In: `op.vjp` with the parameter names of each rule. Out: a subclass of Node per operator, made on first use, with
`_save(node, flat, outs)` and `_run(node, g)`. Gradients come back one per edge, summed to the input's shape.
"""
from __future__ import annotations

from functools import cache

import numpy as np

from ..core import dtype as dt
from ..core.storage import Storage
from ..ops.dispatch import local, state
from ..ops.op import REGISTRY, F, Op, is_out
from .core import PLAIN, Node, Slots, new, next_seq, wrap
from .saved import freed, pack, pack_out, unpack, unpack_out, unpack_outs, version_of

TYPES: dict[Op, type] = {}
SMALL = 1 << 12             # elements: no kernel would be asked
_PLAIN_FLOATS = frozenset((dt.float32.np, dt.float64.np))
G, SAVED, ATTR, SHAPE, DTYPE, NEEDS, OUT, REST, ATTRS, OUT1 = range(10)


def _camel(name: str) -> str:
    return "".join(w[:1].upper() + w[1:] for w in name.split("_"))


def node_type(op: Op) -> type:
    """The node class of `op`."""
    cls = TYPES.get(op)
    if cls is None:
        cls = TYPES[op] = _make(op)
    return cls


def _make(op: Op) -> type:
    args = op.args
    variadic = bool(args) and args[-1].startswith("*")
    names = tuple(a.lstrip("*") for a in args)
    out_at = len(names)                       # saved: one place per argument, then the result(s)

    def source(param: str):
        if param in ("g", "gs", "some_gs"):
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

    record = None                             # what an operator of few operands and one result does when nobody watches
    if not variadic and op.nout == 1 and len(names) <= 6:
        readers = [[i for (i, _, _), r in zip(rules, reads) if k in r] for k in range(out_at + 1)]
        record = recorder(tuple([None if not r else () if -1 in r else tuple(r) for r in readers]), dtype_reads)

    single = len(names) == 1 and not variadic
    wanted: dict = {1: tuple(sorted(set().union(*reads)))} if single else {}      # which inputs want gradients -> what to save

    def places(edges: tuple) -> tuple:
        """The places to save when these edges lead somewhere."""
        want: set = set()
        for (i, _, _), r in zip(rules, reads):
            if i == -1 or i >= len(edges) or edges[i] is not None or (variadic and i == len(names) - 1):
                want |= r
        return tuple(sorted(want))

    def save(n: Node, flat: tuple, outs: tuple) -> None:
        if single:
            want = wanted[1]
        else:
            edges, mask = n._edges, 1
            for e in edges:
                mask += mask + (e is not None)
            want = wanted.get(mask)
            if want is None:
                want = wanted[mask] = places(edges)
        if dtype_reads:
            n._shapes = [(s, t._a.dtype) if isinstance(t, Slots) else (s, None) for s, t in zip(n._shapes, flat)]
        n._versions = None
        if not want:
            n._saved = ()
            return
        saved: list = [None] * (out_at + 1)
        versions = None
        hooks = local.saved_hooks
        for i in want:
            if i == out_at:
                if len(outs) == 1:
                    saved[i], v = pack_out(outs[0], 0, hooks), outs[0]._st.version
                else:
                    saved[i] = [None if some_outs and j not in some_outs else pack_out(t, j, hooks) for j, t in enumerate(outs)]
                    v = [version_of(t) for t in outs]
            elif variadic and i == len(names) - 1:
                rest = flat[i:]
                saved[i] = tuple([pack(t, hooks) for t in rest])
                v = tuple([version_of(t) for t in rest])
            else:
                t = flat[i]
                if not isinstance(t, Slots):
                    saved[i] = t
                    continue
                saved[i] = pack(t, hooks) if hooks or t._x is not None else t
                v = t._st.own + t._st.clock.count if t._st is not None else 0
            if v:
                if versions is None:
                    versions = [0] * (out_at + 1)
                versions[i] = v
        n._saved = tuple(saved)
        if versions is not None:
            n._versions = tuple(versions)

    def item(n: Node, k: int):
        """The saved tensor or number at place k."""
        s = n._saved[k]
        return s if type(s) in PLAIN and s._st is None else unpack(n, s, k)

    def shape(n: Node, k: int):
        s = n._shapes[k:] if variadic and k == len(names) - 1 else n._shapes[k]
        return ([x[0] for x in s] if type(s) is list else s[0]) if dtype_reads else s

    def call(code: int, k) -> str:
        """What a rule's parameter stands for, as Python."""
        return {G: "g", SAVED: f"item(n, {k})", OUT: f"unpack_outs(n, {out_at})", ATTR: f"attrs[{k!r}]", ATTRS: "attrs",
                OUT1: f"unpack_out(n, n._saved[{out_at}][{k}], {k}, n._versions[{out_at}][{k}])",
                SHAPE: f"shape(n, {k})" if dtype_reads or variadic else f"n._shapes[{k}]", DTYPE: f"dt.of(n._shapes[{k}][1])",
                NEEDS: "tuple([e is not None for e in n._edges])",
                REST: f"[unpack(n, s, {k}, j) for j, s in enumerate(n._saved[{k}])]"}[code]

    # the node's backward is written out, one line per rule, and compiled: reading parameters costs as much as a small operator
    body = ["def run(n, g):", "    if n._saved is None:", "        freed(n)", "    edges, attrs = n._edges, n._attrs"]
    if len(names) == 1 and len(rules) == 1 and not variadic and rules[0][0] == 0:
        body += [f"    r = f0({', '.join(call(*s) for s in rules[0][2])})", "    s = n._shapes"]
        body += [f"    if s is not None and r is not None and r._a.shape != s[0]{'[0]' if dtype_reads else ''}:",
                 f"        r = summed(r, s[0]{'[0]' if dtype_reads else ''})", "    return [r]"]
    else:
        body += ["    out = [None] * len(edges)"]
        for m, (i, _, src) in enumerate(rules):
            value = f"f{m}({', '.join(call(*s) for s in src)})"
            if i == -1:
                body.append(f"    spread(out, {value})")
            elif variadic and i == len(names) - 1:
                body.append(f"    out[{i}:] = list({value})")
            else:
                body += [f"    if edges[{i}] is not None:", f"        out[{i}] = {value}"]
        body += ["    if n._shapes is not None:", "        fit(n._shapes, out)", "    return out"]

    def spread(out: list, r) -> None:
        """The results of a joint rule at their places."""
        for j, x in enumerate(r if isinstance(r, (tuple, list)) else (r,)):
            if variadic and j == len(names) - 1:
                if x is not None:
                    out[j:] = list(x)
            else:
                out[j] = x

    def fit(shapes, out: list) -> None:
        """Sum gradients of broadcast shape back."""
        for i, r in enumerate(out):
            if r is not None:
                s = shapes[i]
                if dtype_reads and s is not None:
                    s = s[0]
                if s is not None and r._a.shape != s:
                    out[i] = summed(r, s)

    scope = {"freed": freed, "item": item, "unpack": unpack, "unpack_out": unpack_out, "unpack_outs": unpack_outs, "shape": shape, "dt": dt,
             "spread": spread, "fit": fit, "summed": summed, **{f"f{m}": fn for m, (_, fn, _) in enumerate(rules)}}
    exec(compile("\n".join(body), f"{__file__}: backward of {op.name}", "exec"), scope)
    run = scope["run"]

    name = _NAMES.get(op.name) or _camel(op.name) + "Backward0"
    fields = {"__slots__": (), "op": op, "_args": names, "_nout": op.nout, "_save": staticmethod(save), "_run": run,
              "_record": None if record is None else staticmethod(record)}
    if any("some_gs" in params for _, _, params in op.plan):
        fields["_materialize"] = False
    return type(name, (Node,), fields)


def summed(r, shape: tuple):
    """A gradient of broadcast shape, summed back: `sum_to_size`, for small plain tensors by its reference at once."""
    a = r._a
    if type(r) in PLAIN and type(a) is np.ndarray and a.size <= SMALL and a.dtype in _PLAIN_FLOATS and not state.slow \
            and not (r._rg and local.grad):
        return wrap(REGISTRY["sum_to_size"].ref(a, shape=shape))
    return F.sum_to_size(r, shape)


@cache
def recorder(saved: tuple, dtypes: bool):
    """A function `record(cls, flat, attrs, out)` that makes the node of a call with one result, as `eager.record` does, written out for
    this number of operands. `saved`: for each operand and the result the operands whose gradients need its value; () stands for any
    gradient, None for no value at all. `dtypes`: the rules want to know the operands' dtypes."""
    *operands, out = saved
    several = range(len(operands))
    body = ["def record(cls, flat, attrs, out):", f"    {', '.join([f'a{i}' for i in several])}, = flat", "    n, idx = new(cls), None"]
    for i in several:
        body += [f"    if isinstance(a{i}, Slots):", f"        s{i}, e{i} = a{i}._a.shape, None", f"        if a{i}._rg:",
                 f"            e{i} = a{i}._fn", f"            if e{i} is None:", f"                e{i} = a{i}", f"            elif a{i}._oi:",
                 f"                idx = idx or [0] * {len(operands)}", f"                idx[{i}] = a{i}._oi", "    else:", f"        s{i} = e{i} = None"]
    shapes = [f"(s{i}, None if s{i} is None else a{i}._a.dtype)" if dtypes else f"s{i}" for i in several]
    body += [f"    n._edges, n._idx, n._shapes = ({', '.join([f'e{i}' for i in several])},), idx, [{', '.join(shapes)}]",
             "    n._attrs, n._seq, n._x, n._versions, n._saved = attrs, next_seq(), None, None, ()"]

    def wanted(readers: tuple) -> str:
        return " or ".join([f"e{j} is not None" for j in readers]) or "True"
    for i, readers in enumerate(operands):
        if readers is not None:
            body += [f"    p{i}, v{i} = None, 0", f"    if {wanted(readers)}:", f"        p{i} = a{i}", f"        if s{i} is not None:",
                     f"            if a{i}._x is not None:", f"                pack(a{i}, ())", f"            if a{i}._st is not None:",
                     f"                v{i} = a{i}._st.own + a{i}._st.clock.count"]
    if out is not None:
        body += [f"    p{len(operands)}, v{len(operands)} = None, 0", f"    if {wanted(out)}:", "        st = out._st", "        if st is None:",
                 "            st = out._st = Storage(out._a)", f"        p{len(operands)}, v{len(operands)} = (out._a, st), st.own + st.clock.count"]
    places = [k for k, readers in enumerate(saved) if readers is not None]
    if places:
        some = () if () in saved else tuple(sorted({j for k in places for j in saved[k]}))
        body += [f"    if {wanted(some)}:", f"        n._saved = ({', '.join([f'p{k}' if k in places else 'None' for k in range(len(saved))])})",
                 f"        if {' or '.join([f'v{k}' for k in places])}:",
                 f"            n._versions = ({', '.join([f'v{k}' if k in places else '0' for k in range(len(saved))])})"]
    body += ["    out._fn, out._oi, out._rg = n, 0, True"]
    scope = {"new": new, "next_seq": next_seq, "Slots": Slots, "Storage": Storage, "pack": pack}
    exec(compile("\n".join(body), f"{__file__}: recording {len(operands)} operands", "exec"), scope)
    return scope["record"]


# operators whose name here is not the one PyTorch's users know the node by
_NAMES = {"view_scatter": "CopySlices", "view_shape": "ViewBackward0", "basic_index": "SliceBackward0", "piece": "UnbindBackward0"}
