"""`autograd.Function`: operations with a derivative written by the user.

In: a class with static `forward` and `backward` (and optionally `setup_context`, `jvp`, `vmap`). Out: `apply`, which runs
forward unrecorded and hangs one node on the results. The node is the `ctx` that both methods get.
"""
from __future__ import annotations

import functools
import inspect
import warnings

from ..core import dtype as dt
from ..core.errors import at, call_back, describe, fail
from ..ops.dispatch import local, state
from ..ops.op import F
from .core import Node, Slots, blank, next_seq, node_extras, wrap
from .eager import remember_where
from .inplace import check_writable, rebase
from .saved import freed, pack, pack_out, raw, unpack, unpack_out, version_of


class FunctionCtx:
    """What `forward` and `backward` share."""

    def save_for_backward(self, *tensors) -> None:
        """Keep tensors for backward, checked there against in-place writes. Call once, in forward."""
        self.to_save = tensors

    def save_for_forward(self, *tensors) -> None:
        """Keep tensors for jvp."""
        for t in tensors:
            if not (isinstance(t, Slots) or t is None):
                raise TypeError("save_for_forward can only save tensors and None")
        self.saved_for_forward = tensors

    def mark_dirty(self, *args) -> None:
        """Say which inputs forward wrote in place."""
        self.dirty_tensors = args

    def mark_non_differentiable(self, *args) -> None:
        """Say which outputs have no gradient."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """With False, backward gets None for outputs without a gradient, instead of zeros."""
        self._materialize = value


class FunctionNode(FunctionCtx, Node):
    """The node of a Function call. What users may see or set has PyTorch's name, the rest begins with an underscore."""

    __slots__ = ()
    _function = None
    _materialize = True                  # backward gets zeros instead of None
    _materialize_non_diff_grads = True   # also for outputs marked non-differentiable
    _is_tensor: tuple = ()
    to_save = None
    dirty_tensors = ()
    non_differentiable = ()
    needs_input_grad = ()
    saved_for_forward = ()

    @property
    def saved_tensors(self) -> tuple:
        """What forward saved. Raises RuntimeError after the graph was freed or when a tensor was written in place."""
        if self._saved is None:
            freed(self)
        return tuple([unpack_out(self, s[:2], s[2], v) if type(s) is tuple else unpack(self, s, k)
                      for k, (s, v) in enumerate(zip(self._saved, self._versions or ()))])

    @property
    def saved_variables(self) -> tuple:
        """The old name of `saved_tensors`."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple:
        if self._saved is None:
            freed(self)
        return tuple([raw(self, k) for k in range(len(self._saved))])

    def _run(self, g) -> list:
        gs = g if isinstance(g, tuple) else (g,)
        name = type(self).__name__
        r = call_back(self._function.backward, self, *gs)
        r = r if isinstance(r, tuple) else (r,)
        n = len(self._edges)
        if len(r) > n and all(x is None for x in r[n:]):
            r = r[:n]
        if len(r) != n:
            fail(RuntimeError, "P330", f"function {name} returned an incorrect number of gradients (expected {n}, got {len(r)})",
                 fix="backward returns one gradient (or None) per argument of forward")
        out = []
        for i, (x, e) in enumerate(zip(r, self._edges)):
            if x is None:
                out.append(None)
                continue
            if not self._is_tensor[i]:
                fail(RuntimeError, "P331", f"function {name} returned a gradient different than None at position {i + 1}, "
                     "but the corresponding forward input was not a Variable", fix="return None for arguments that are no tensors")
            if not isinstance(x, Slots):
                raise TypeError(f"expected Variable or None (got {type(x).__name__})")
            out.append(x if e is None else fitted(x, *self._shapes[i], name, i))     # hooks on the node see gradients nobody takes
        return out

    def _register_hook_dict(self, hooks) -> None:
        node_extras(self).post = hooks


def fitted(x, shape: tuple, npd, name: str, i: int):
    """The gradient `x` in the shape and dtype of input `i`."""
    if x._a.shape != shape:
        if not expandable(shape, x._a.shape):
            fail(RuntimeError, "P332", f"Function {name} returned an invalid gradient at index {i} - got {list(x._a.shape)} but "
                 f"expected shape compatible with {list(shape)}", fix="a gradient has the shape of the input, or broadcasts from it")
        x = F.sum_to_size(x, shape)
    if x._a.dtype is not npd:
        x = F.convert(F.real(x) if x._a.dtype.kind == "c" and npd.kind != "c" else x, dt.of(npd))
    return x


def expandable(small, large) -> bool:
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(reversed(small), reversed(large)))


class _Meta(type):
    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        cls._backward_cls = type(name + "Backward", (FunctionNode,), {"_function": cls, "_forward_cls": cls})


class Function(metaclass=_Meta):
    """Base of custom operations: define static `forward(ctx, *args)` and `backward(ctx, *grads)`; call `apply(*args)`.

    With `setup_context(ctx, inputs, output)` defined, forward takes no ctx. `vjp` is another name for `backward`.
    Definition: torch.autograd.Function.
    """

    generate_vmap_rule = False

    def __init__(self, *args, **kwargs):
        warnings.warn(f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke "
                      "them on the class itself. Instantiating an autograd function will raise an error in a future version of "
                      "PyTorch.", DeprecationWarning, stacklevel=2)

    def __call__(self, *args, **kwargs):
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
                           "function with static forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch."
                           "autograd.Function)")

    @staticmethod
    def forward(*args, **kwargs):
        """The values: returns a tensor or a tuple in which anything may stand."""
        fail(NotImplementedError, "P335", "You must implement the forward function for custom autograd.Function.",
             fix="define a static method forward(ctx, ...)")

    @staticmethod
    def setup_context(ctx, inputs, output):
        """What backward will need, if forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """The gradients of forward's arguments, one (or None) per argument."""
        fail(NotImplementedError, "P336", "You must implement either the backward or vjp method for your custom autograd.Function "
             "to use it with backward mode AD.",
             fix="define a static method backward(ctx, *grads) that returns one gradient per argument of forward")

    vjp = backward

    @staticmethod
    def jvp(ctx, *grad_inputs):
        """The tangents of forward's results."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with forward mode AD.")

    @staticmethod
    def vmap(info, in_dims, *args):
        """The batched operation: returns (output, out_dims)."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or set "
                                  "generate_vmap_rule=True.")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        defined = cls.__dict__
        if "vjp" in defined and "backward" in defined:
            def both(ctx, *grads):
                raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only "
                                   "implement one of them.")
            cls.backward = staticmethod(both)
        elif "vjp" in defined:
            cls.backward = defined["vjp"]

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run forward on `args` and record it."""
        observer = state.observer
        if observer is not None and not local.stack:
            return observer.span(cls.__name__, "function", run_forward, cls, args, kwargs)
        return run_forward(cls, args, kwargs)


class InplaceFunction(Function):
    """A Function made for writing to its input; `inplace` says whether it does."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace


def run_forward(cls, args: tuple, kwargs: dict):
    n = cls._backward_cls()
    blank(n, 0)
    separate = cls.setup_context is not Function.setup_context
    if separate:                                        # setup_context sees defaults too
        bound = inspect.signature(cls.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        args, kwargs = bound.args, bound.kwargs
    level = local.stack[-1] if local.stack and hasattr(local.stack[-1], "forward_of") else None
    if level is not None:                               # inside vmap or forward mode
        if not separate:
            fail(RuntimeError, "P33A", "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must "
                 "override the setup_context staticmethod. For more details, please see "
                 "https://pytorch.org/docs/main/notes/extending.func.html", got=cls.__name__,
                 fix="define forward(*args) without ctx, and setup_context(ctx, inputs, output)")
        args = level.own(args)
    live = tuple([isinstance(t, Slots) and t._rg for t in args])
    grad_mode, beneath = local.grad, local.beneath
    record = grad_mode and any(live)
    n.needs_input_grad = live if record else (False,) * len(args)
    local.grad, local.beneath = False, beneath or (len(local.stack), grad_mode)
    try:
        if level is not None:
            out = level.forward_of(cls, args)
            call_back(cls.setup_context, n, args, out)
        elif separate:
            out = call_back(cls.forward, *args, **kwargs)
            call_back(cls.setup_context, n, args, out)
        else:
            out = call_back(cls.forward, n, *args, **kwargs)
    finally:
        local.grad, local.beneath = grad_mode, beneath
    n._seq = next_seq()
    if record:
        n._edges = tuple([(t if t._fn is None else t._fn) if rg else None for t, rg in zip(args, live)])
        n._idx = tuple([t._oi if rg else 0 for t, rg in zip(args, live)])
        n._shapes = [(t._a.shape, t._a.dtype) if isinstance(t, Slots) else None for t in args]
        n._is_tensor = tuple([isinstance(t, Slots) for t in args])
        if local.anomaly:
            remember_where(n)
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    places, fixed = set_outputs(n, args, outs, record)
    if n.to_save is not None:
        save(n, n.to_save, places, fixed, record)
    n.to_save = None
    n.dirty_tensors = n.non_differentiable = ()
    return tuple(outs) if isinstance(out, tuple) else outs if isinstance(out, list) else outs[0]


def set_outputs(n: FunctionNode, args: tuple, outs: list, record: bool) -> tuple[dict, set]:
    """Make `outs` (changed in place) the outputs of `n`. Returns {id of a tensor forward returned: its place}, and the ids
    of results without a gradient."""
    inputs = {id(t) for t in args if isinstance(t, Slots)}
    dirty, fixed = {id(t) for t in n.dirty_tensors}, {id(t) for t in n.non_differentiable}
    places = {id(t): i for i, t in enumerate(outs) if isinstance(t, Slots)}
    check_dirty(n, inputs, outs, record)
    fixed |= {id(t) for t in outs if isinstance(t, Slots) and dt.of(t._a.dtype).category < dt.FLOAT}
    specs: list = [None] * len(outs)
    for i, t in enumerate(outs):
        if not isinstance(t, Slots):
            continue
        key = id(t)
        if key not in fixed or n._materialize_non_diff_grads:
            specs[i] = (t._a.shape, t._a.dtype)
        if key in dirty:
            if places[key] == i:
                t._bump()
                if record and key not in fixed:
                    written(t, n, i)
            continue
        if key in inputs:                              # forward returned an input: a view keeps the input's own history
            outs[i] = t = as_view(t)
            t._extras().meta = "custom"
        elif t._x is not None and t._x.base is not None:
            t._x.meta = "custom"
        if not record:
            continue
        t._fn, t._rg, t._oi = (None, False, 0) if key in fixed else (n, True, i)
    if record:
        n._nout = len(outs)
        node_extras(n).out_specs = specs
        tracked = [t for t in outs if isinstance(t, Slots) and t._fn is n]
        if len(tracked) > 1:
            for t in tracked:
                if t._x is not None and t._x.base is not None:
                    t._x.meta = "multi"
    return places, fixed


def as_view(t):
    """`t` as a view of itself, without history."""
    before, local.grad = local.grad, False
    try:
        v = F.alias(t)
    finally:
        local.grad = before
    v._fn, v._rg = None, False
    return v


def check_dirty(n: FunctionNode, inputs: set, outs: list, record: bool) -> None:
    """What forward says it wrote to must be inputs that it returns, and may be written."""
    returned = {id(t) for t in outs}
    for t in n.dirty_tensors:
        if id(t) not in returned:
            fail(RuntimeError, "P337", "Some elements marked as dirty during the forward method were not returned as output. The inputs "
                 "that are modified inplace must all be outputs of the Function.", got=describe(t), fix="return it from forward")
        if id(t) not in inputs:
            warnings.warn("Only input Tensors should be given to ctx.mark_dirty(). If a Tensor is not an input, there is no need to "
                          "pass it to mark_dirty().", stacklevel=4)
            continue
        if not record:
            continue
        if t._rg and t._fn is None:
            fail(RuntimeError, "P339", "a leaf Variable that requires grad has been used in an in-place operation.", got=describe(t),
                 fix="clone() it before handing it to the Function")
        check_writable(t)
        if t._x is not None and t._x.base is not None and len(outs) > 1:
            fail(RuntimeError, "P338", "If your Function modifies inplace an input that is a view of another Tensor, your Function cannot "
                 "return more than one Tensor. This is not supported by the current autograd engine.", got=describe(t),
                 fix="clone() the view first, or split the Function into one that writes and one that returns the rest")


def written(t, n: FunctionNode, i: int) -> None:
    """The input `t` was written by forward and is output `i` now: move its history, and that of its base and views."""
    value = wrap(t._a)
    value._rg, value._fn, value._oi = True, n, i
    rebase(t, value)


def save(n: FunctionNode, tensors: tuple, places: dict, fixed: set, record: bool) -> None:
    saved, versions = [], []
    for t in tensors:
        if not isinstance(t, Slots):
            if t is not None:
                raise TypeError(f"save_for_backward can only save variables, but argument {len(saved)} is of type {type(t).__name__}")
            saved.append(None)
        elif id(t) in places:
            oi = places[id(t)] if record and id(t) not in fixed else None
            s = pack_out(t, oi, local.saved_hooks)
            saved.append((*s, oi) if type(s) is tuple else s)
        else:
            saved.append(pack(t, local.saved_hooks))
        versions.append(version_of(t))
    n._saved, n._versions = tuple(saved), tuple(versions)


def once_differentiable(fn):
    """Decorator for a `backward` that must not be differentiated again."""
    @functools.wraps(fn)
    def wrapper(ctx, *args):
        before, local.grad = local.grad, False
        try:
            outputs = fn(ctx, *args)
        finally:
            local.grad = before
        if not before or not any(isinstance(a, Slots) and a._rg for a in args):
            return outputs
        outs = outputs if isinstance(outputs, tuple) else (outputs,)
        marked = tuple(_Once.apply(o.detach().requires_grad_()) if isinstance(o, Slots) else o for o in outs)
        return marked if isinstance(outputs, tuple) else marked[0]
    return wrapper


class _Once(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        fail(RuntimeError, "P333", "trying to differentiate twice a function that was marked with @once_differentiable",
             got=f"recorded at {at(ctx.x.where) if ctx.x else 'an unknown line'}",
             fix="remove once_differentiable, and write backward with operators")
