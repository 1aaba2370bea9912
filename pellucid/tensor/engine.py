"""The backward engine: walks the recorded nodes from results to leaves.

In: edges and the gradients of some scalar with respect to them. Out: gradients accumulated into leaves' `.grad`, or
captured at chosen edges.

Nodes run in the reverse order of their creation (a heap of sequence numbers), which is a topological order because a
node is always made after the nodes it leads to. Each leaf's gradient is summed over the whole sweep, then its hooks run
once, then it is accumulated; that happens at the end, except for leaves with hooks, which are finished as soon as nothing
can add to them (an optimizer step in such a hook frees the gradient early).

Order around a node: hooks of its outputs (Tensor.register_hook), retained gradients, capture, pre-hooks, the node, post-hooks.
"""
from __future__ import annotations

import threading
from functools import partial
from heapq import heappop, heappush, heappushpop
from sys import getrefcount

import numpy as np

from ..core import dtype as dt
from ..core.errors import at, call_back, describe, fail
from ..core.pool import alone
from ..ops.dispatch import add_slow, local, state
from ..ops.op import POINT, F
from . import kernels
from .core import Node, Slots, wrap
from .fake import Fake, Geometry

MAX_DEPTH = 40                   # backward passes inside backward passes before the next gets a thread (and stack) of its own
SMALL = kernels.LEAST_OF[POINT]  # elements below which NumPy adds as fast
_accumulating = threading.Lock()
type_of_grad: type = Slots       # the Tensor class itself; set by tensor.py


class Task:
    """One backward pass. `needed`: the nodes that run, or None for all; `captured`: {edge: {output index: gradient}} to
    fill, an edge being a node or a leaf; `leaves`: those that take part, or None for all."""

    needed = captured = leaves = _reachable = None
    depth = 0                    # passes this one runs inside of

    def __init__(self, roots: list, keep: bool, create_graph: bool, targets: list | None = None, accumulate: bool = True):
        """`roots`: [(edge, output index, gradient), ...]; `targets`: [(edge, output index), ...] to go to, None: all leaves.
        Targets that are nodes run only if `accumulate`."""
        self.roots, self.keep, self.create_graph, self.accumulate = roots, keep, create_graph, accumulate
        if targets is not None:
            ends = {e for e, _ in targets}
            self.needed = nodes_between(roots, ends)
            self.leaves = {e for e in ends if not isinstance(e, Node)}
            if accumulate:
                self.needed |= ends - self.leaves
            else:
                self.captured = {}
                for e, oi in targets:
                    self.captured.setdefault(e, {})[oi] = None

    def will_reach(self, edge) -> bool:
        """Whether hooks on `edge` run in this pass."""
        if self.needed is None:
            if self._reachable is None:
                self._reachable = set(leaf_uses([e for e, _, _ in self.roots], None, everything=True))
            return edge in self._reachable
        return edge in self.needed or edge in self.leaves or (self.captured is not None and edge in self.captured)


def nodes_between(roots: list, ends: set) -> set:
    """Nodes from which some end can be reached by at least one step."""
    needed: set = set()
    seen: set = set()
    stack = [(e, False) for e, _, _ in roots if isinstance(e, Node)]
    while stack:
        n, done = stack.pop()
        if done:
            for e in n._edges:
                if e is not None and (e in ends or e in needed):
                    needed.add(n)
                    break
        elif n not in seen:
            seen.add(n)
            stack.append((n, True))
            stack.extend([(e, False) for e in n._edges if isinstance(e, Node) and e not in seen])
    return needed


def leaf_uses(starts: list, needed: set | None, everything: bool = False) -> dict:
    """How many edges lead to each leaf from the nodes that can be reached (with `everything`, those nodes are keys too)."""
    uses: dict = {}
    seen: set = set()
    stack = list(starts)
    while stack:
        n = stack.pop()
        if not isinstance(n, Node):
            uses[n] = uses.get(n, 0) + 1
        elif n not in seen:
            seen.add(n)
            if everything:
                uses[n] = 1
            stack.extend([e for e in n._edges if e is not None and (needed is None or not isinstance(e, Node) or e in needed)])
    return uses


# ---------------------------------------------------------------------------------------------------- leaves
def store(leaf, g, create_graph: bool) -> None:
    """Accumulate `g` into `leaf.grad`: taken over if nothing else refers to it, copied or added otherwise."""
    if create_graph:
        leaf._grad = F.clone(g) if leaf._grad is None else F.add(leaf._grad, g)
        state.grads += 1
        return
    if isinstance(g._a, Geometry):
        return store_traced(leaf, g) if type(g._a) is Fake else store_by_operators(leaf, g)
    with _accumulating:
        grad = leaf._grad
        a = g._a
        like = leaf._a
        if grad is not None and isinstance(grad._a, Geometry):
            leaf._grad = F.add(g, grad)
            state.grads += 1
        elif grad is not None:
            np.add(grad._a, a, out=grad._a, casting="unsafe")
            grad._bump()
        # 3 references to the array: g's slot, `a`, getrefcount's argument; 3 to g: the caller's variable, this one, the argument
        elif ((a.base is None or alone(a)) and getrefcount(a) == 3 and getrefcount(g) == 3 and a.dtype is like.dtype
              and a.strides == like.strides and type(g) is type_of_grad):
            g._fn = None
            g._rg = False
            leaf._grad = g
            state.grads += 1
        else:
            c = np.empty_like(like, subok=False) if dense(like) else np.empty(like.shape, like.dtype)
            np.copyto(c, a if a.dtype.kind != "c" or like.dtype.kind == "c" else a.real, casting="unsafe")
            leaf._grad = wrap(c)
            state.grads += 1


def total(cur, g, create_graph: bool):
    """cur + g, two gradients that arrived at one place: written over the first where nobody else can see its memory."""
    a, b = cur._a, g._a
    # 4 references to cur: where it waits, the caller's variable, this one, getrefcount's argument; 3 to its array: its slot, `a`, the argument
    if (not create_graph and not state.slow and type(a) is type(b) is np.ndarray and a.dtype is b.dtype and a.dtype.kind == "f" and a.shape == b.shape
            and a.flags.carray and type(cur) is type_of_grad and cur._st is None and alone(a)
            and getrefcount(a) == 3 and getrefcount(cur) == 4):
        if a.size < SMALL or kernels.point(F.add.op, [a, b], {}, a) is None:
            np.add(a, b, out=a)
        return cur
    return F.add(cur, g)


def store_by_operators(leaf, g) -> None:
    """`store` for a gradient whose array stands for values kept elsewhere (a sparse one)."""
    grad = leaf._grad
    if grad is None:
        leaf._grad = F.clone(F.detach(g))
    elif isinstance(grad._a, Geometry):
        leaf._grad = F.add(grad, g)
    else:
        grad.add_(g)
    state.grads += 1


def store_traced(leaf, g) -> None:
    """`store` while tracing: an addition to the gradient that is there, or a gradient with memory of its own."""
    tracer = g._a.cell.tracer
    tracer.touch(leaf)
    tracer.use_grad(leaf, True)
    if leaf._grad is not None:
        leaf._grad.add_(g)
    else:
        a, like = g._a, leaf._a
        if a.dtype != like.dtype:
            g = F.convert(F.real(g) if a.dtype.kind == "c" else g, dt.of(like.dtype))
        leaf._grad = wrap(g._a.duplicate())


def dense(a: np.ndarray) -> bool:
    """Whether strides name every byte once without gaps (any order of dimensions)."""
    f = a.flags
    return f.c_contiguous or f.f_contiguous or bool(a.size) and a.size * a.itemsize == sum(
        (n - 1) * abs(s) for n, s in zip(a.shape, a.strides)) + a.itemsize


def finish(leaf, g, task: Task) -> None:
    """The hooks and the accumulation of a leaf that has hooks or is captured."""
    x = leaf._x
    if x is not None and x.hooks:
        g = run_hooks(x.hooks, g)
    if task.captured is not None:
        got = task.captured.get(leaf)
        if got is not None:
            got[0] = g
    if not task.accumulate:
        return
    acc = x.kept._x if x is not None and x.kept is not None else None
    if acc is not None and acc.pre:
        g = run_prehooks(acc.pre, [g])[0]
    observer = state.observer if not local.stack else None
    if observer is None:
        store(leaf, g, task.create_graph)
    else:
        token = observer.begin("torch::autograd::AccumulateGrad", "backward")
        try:
            store(leaf, g, task.create_graph)
        finally:
            observer.end(token)
    if x is None:
        return
    if x.post_hooks:
        for hook in tuple(x.post_hooks.values()):
            if call_back(hook, leaf) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")
    if acc is not None and acc.post:
        for hook in tuple(acc.post.values()):
            call_back(hook, (), (g,))


# ---------------------------------------------------------------------------------------------------- hooks
def hook_name(hook) -> str:
    return getattr(hook, "__name__", None) or repr(hook)


def check_hook(hook, old, new):
    """What a hook returned in place of `old`."""
    if not isinstance(new, Slots):
        raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
    if old is not None:
        if new._a.shape != old._a.shape:
            raise RuntimeError(f"hook '{hook_name(hook)}' has changed the size of value")
        if new._a.dtype != old._a.dtype:
            raise RuntimeError(f"hook '{hook_name(hook)}' has changed the type of value (was {old.type()} got {new.type()})")
    return new


def check_hooked(hook, old, new) -> list:
    """The tuple a node's hook returned in place of the gradients `old`."""
    if not isinstance(new, tuple):
        if len(old) != 1 or not isinstance(new, Slots):
            raise TypeError(f"expected tuple, but hook returned '{type(new).__name__}'")
        new = (new,)
    if len(new) != len(old):
        raise RuntimeError(f"hook '{hook_name(hook)}' has returned an incorrect number of values (got {len(new)}, but expected "
                           f"{len(old)})")
    return [None if r is None else check_hook(hook, o, r) for o, r in zip(old, new)]


def run_hooks(hooks: dict, g):
    """Hooks of a tensor on its gradient."""
    for hook in tuple(hooks.values()):
        r = call_back(hook, g)
        if r is not None:
            g = check_hook(hook, g, r)
    return g


def run_prehooks(hooks: dict, gs: list) -> list:
    """Hooks of a node on the gradients of its outputs."""
    for hook in tuple(hooks.values()):
        r = call_back(hook, tuple(gs))
        if r is not None:
            gs = check_hooked(hook, gs, r)
    return gs


def run_posthooks(hooks: dict, grads: list, g) -> list:
    """Hooks that see the node's gradients on both sides and may replace those of its inputs."""
    g_out = g if isinstance(g, tuple) else (g,)
    for hook in tuple(hooks.values()):
        r = call_back(hook, tuple(grads), g_out)
        if r is not None:
            grads = check_hooked(hook, grads, r)
    return grads


def output_hooks(x, g):
    """Hooks on the node's outputs, then retained gradients."""
    gs = g if type(g) is list else [g]
    if x.tensor_hooks:
        for oi, hooks in x.tensor_hooks.items():
            if gs[oi] is not None:
                gs[oi] = run_hooks(hooks, gs[oi])
    if x.retain:
        for oi, weak in x.retain.items():
            t = weak()
            if t is not None and gs[oi] is not None:
                if t._grad is None:
                    t._grad = F.clone(gs[oi]) if local.grad or isinstance(gs[oi]._a, Geometry) else wrap(gs[oi]._a.copy())
                else:
                    t._grad = F.add(t._grad, gs[oi])
                state.grads += 1
    return gs if type(g) is list else gs[0]


# ---------------------------------------------------------------------------------------------------- the sweep
def sweep(task: Task) -> None:
    """Run a backward pass. Grad mode inside is `create_graph`; the thread's modes are restored at the end."""
    modes = vars(local)              # this thread's; one look-up instead of eight
    outer, before, hooks = modes.get("task"), modes.get("grad", True), modes.get("saved_hooks", ())
    if outer is not None:
        task.depth = outer.depth + 1
        if task.depth % MAX_DEPTH == 0:
            return in_thread(task)
    beneath = modes.get("beneath")
    if beneath is None:
        modes["beneath"] = len(local.stack), before
    modes["grad"], modes["task"] = task.create_graph, task
    try:
        walk(task)
    finally:
        modes["grad"], modes["task"], modes["beneath"] = before, outer, beneath
        if modes.get("saved_hooks", ()) is not hooks:          # a hook left its context open, or closed an outer one
            add_slow(len(hooks) - len(modes["saved_hooks"]))
            modes["saved_hooks"] = hooks


def walk(task: Task) -> None:
    keep, create_graph, needed, captured = task.keep, task.create_graph, task.needed, task.captured
    heap: list = []
    held = None                      # one that belongs into the heap: mostly it comes next
    pending: dict = {}               # node -> what has arrived: a gradient, or a list of them for several outputs
    leaves: dict = {}                # leaf -> gradient
    uses = None                      # leaf -> edges still to come; counted once a leaf asks for it
    anomaly = local.anomaly
    run = run_watched if anomaly else run_traced if state.slow and local.stack else None
    observer = state.observer if run is None else None
    if observer is not None:
        run = partial(observer.node, run_node)
    for edge, oi, g in task.roots:
        if needed is None or edge in needed or edge in task.leaves or captured and edge in captured:
            deliver(edge, oi, g, pending, heap, leaves, create_graph)
    while heap or held is not None:
        node = (heappop(heap) if held is None else heappushpop(heap, held))[1]
        held = None
        g = pending.pop(node)
        x = node._x
        got = captured.get(node) if captured else None
        if got is not None and node in needed:
            capture(got, g)                  # as in PyTorch: of a node that runs, what arrived, before hooks
        if x is not None:
            g = output_hooks(x, g)
        if needed is not None and node not in needed:
            if got is not None:
                capture(got, g)
            continue
        if x is not None and x.pre:
            gs = run_prehooks(x.pre, g if type(g) is list else [g])
            g = gs if type(g) is list else gs[0]
        seen = g
        if type(g) is list:
            seen = tuple(g)
            g = materialised(node, g)
        grads = node._run(g) if run is None else run(node, g)
        if x is not None and x.post:
            grads = run_posthooks(x.post, grads, seen)
        seen = g = None
        if not keep and node._saved:
            node._saved = None
        edges, idx = node._edges, node._idx
        watched = early = uses is not None
        for i in range(len(edges)):
            e = edges[i]
            if e is None:
                continue
            r = grads[i]
            if r is None:
                continue
            if isinstance(e, Node):
                if needed is not None and e not in needed and not (captured and e in captured):
                    continue
                if e._nout == 1:
                    cur = pending.get(e)
                    if cur is not None:
                        pending[e] = total(cur, r, create_graph)
                    else:
                        pending[e] = r
                        if held is None:
                            held = -e._seq, e
                        else:
                            heappush(heap, (-e._seq, e))
                else:
                    deliver(e, idx[i] if idx else 0, r, pending, heap, leaves, create_graph)
            elif needed is None or e in task.leaves:
                cur = leaves.get(e)
                leaves[e] = r if cur is None else total(cur, r, create_graph)
                if e._x is not None and observed(e._x):
                    watched = True
        grads = r = cur = None
        if watched:
            if uses is None:
                uses = leaf_uses(list(pending), needed)
            settle(edges, early, uses, leaves, task)
    if captured is None:
        for leaf in list(leaves):
            if leaf._x is None and observer is None:
                g = leaves.pop(leaf)
                store(leaf, g, create_graph)
            else:
                g = None
                finish(leaf, leaves.pop(leaf), task)
    else:
        for leaf in list(leaves):
            finish(leaf, leaves.pop(leaf), task)


def capture(got: dict, g) -> None:
    """Fill in the gradients of a node's outputs that are asked for."""
    for oi in got:
        got[oi] = g[oi] if type(g) is list else g


def deliver(edge, oi: int, g, pending: dict, heap: list, leaves: dict, create_graph: bool) -> None:
    """Add a gradient to what an edge has received so far."""
    if not isinstance(edge, Node):
        cur = leaves.get(edge)
        leaves[edge] = g if cur is None else total(cur, g, create_graph)
        return
    cur = pending.get(edge)
    if cur is None:
        heappush(heap, (-edge._seq, edge))
    if edge._nout == 1:
        pending[edge] = g if cur is None else total(cur, g, create_graph)
        return
    if cur is None:
        cur = pending[edge] = [None] * edge._nout
    old = cur[oi]
    cur[oi] = g if old is None else total(old, g, create_graph)


def observed(x) -> bool:
    """Whether a leaf with the extras `x` has hooks."""
    return bool(x.hooks or x.post_hooks or x.kept is not None)


def settle(edges: tuple, counted: bool, uses: dict, leaves: dict, task: Task) -> None:
    """A node has run: finish those of its leaves that wait for nothing more and have somebody watching."""
    for e in edges:
        if e is None or isinstance(e, Node):
            continue
        if counted and e in uses:
            uses[e] -= 1
        if e in leaves and not uses.get(e) and e._x is not None and observed(e._x):
            finish(e, leaves.pop(e), task)


def materialised(node: Node, gs: list) -> tuple:
    """Gradients of several outputs, zeros for those that got none."""
    specs = node._x.out_specs if node._x is not None else None
    if specs is None or node._materialize is False:
        return tuple(gs)
    return tuple([filled(*specs[i], 0) if g is None and specs[i] is not None else g for i, g in enumerate(gs)])


def filled(shape: tuple, npd: np.dtype, value: int):
    """A new tensor full of zeros or ones."""
    if state.slow and local.stack:
        return F.filled(shape, value, dt.of(npd))
    if not value:
        return wrap(np.zeros(shape, npd))
    a = np.empty(shape, npd)
    a.fill(value)
    return wrap(a)


def in_thread(task: Task) -> None:
    """Run the pass in a thread of its own, with this thread's modes: deep recursion would run out of stack."""
    modes = dict(vars(local))
    failed: list = []

    beneath = modes.get("beneath")

    def work():
        vars(local).update(modes, grad=task.create_graph, task=task, beneath=(len(local.stack), modes.get("grad", True)) if beneath is None else beneath)
        try:
            walk(task)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


# ---------------------------------------------------------------------------------------------------- anomaly mode
def run_node(node: Node, g) -> list:
    """Run the node."""
    return node._run(g)


def run_watched(node: Node, g) -> list:
    """Run the node; if it fails or computes NaN, the error says where it was recorded. Nodes made meanwhile know what
    induced them."""
    before, local.node = local.node, node
    try:
        grads = node._run(g)
        if local.check_nan:
            check_nan(node, grads)
        return grads
    except Exception as error:
        error.add_note(history_of(node))
        raise
    finally:
        local.node = before


def run_traced(node: Node, g) -> list:
    """Run the node while a tracer watches, which asks whose backward it sees."""
    before, local.node = local.node, node
    try:
        return node._run(g)
    finally:
        local.node = before


def check_nan(node: Node, grads) -> None:
    """Refuse NaN among the gradients a node has computed."""
    for i, g in enumerate(grads):
        if g is not None and g._a.dtype.kind in "fcV" and not isinstance(g._a, Geometry):
            a = g._a.astype(np.float32) if g._a.dtype.kind == "V" else g._a
            if np.isnan(a).any():
                where = node._x.where if node._x is not None else None
                fail(RuntimeError, "P303", f"Function '{node.name()}' returned nan values in its {i}th output.",
                     got=describe(g) + (f"; the operation was recorded at {at(where)}" if where else ""),
                     fix="look at the line above: a division by zero, a log or sqrt of a number <= 0, or an overflow upstream")


def history_of(node: Node) -> str:
    """Where a node was recorded, and the nodes whose backward led to it (in double backward)."""
    trace = _trace(node)
    text = f"Error detected in {node.name()}. " + (f"Traceback of forward call that caused the error:\n{trace}" if trace else
                                                  "No forward pass information available. Enable detect anomaly during forward pass "
                                                  "for more information.")
    node = node._x.parent if node._x is not None else None
    while node is not None:
        trace = _trace(node)
        text += f"\nPrevious calculation was induced by {node.name()}. " + (
            f"Traceback of forward call that induced the previous calculation:\n{trace}" if trace else
            "No forward pass information available.")
        node = node._x.parent if node._x is not None else None
    return text


def _trace(node: Node) -> str | None:
    lines = (node._x.metadata or {}).get("traceback_") if node._x is not None else None
    return None if lines is None else "".join(lines)
