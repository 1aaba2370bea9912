"""What an operator is, and the one registry of them.

An operator is defined once, by one of four decorators or calls, in the file of its family:

- `point(name, ufunc, ...)`: elementwise, one result per element (`exp`, `add`);
- `@primitive(kind, args=..., ref=..., vjp=..., infer=...)` over its *front*: the function with the user's signature that
  checks arguments and returns `(tensors, attrs)`, the canonical form every interpreter, derivative and kernel sees, or
  `(name, args, kwargs)`: another operator to call instead (`div` with a rounding mode);
- `@composite(...)` over a Python function of other operators: derivative, shapes and kernels follow from its parts.

Functions, methods, in-place and `out=` forms, reference docs and the operator matrix are derived from the registry.
Other operators are called through `F`, the namespace of all entry points: `F.mul(x, y)`.

Derivatives. `vjp` is either a dict `{input name: rule}` or one joint rule returning a tuple with one gradient per tensor
argument (a list for a variadic argument; None where there is none). A rule's parameters are named after what it needs,
and only that is saved: `g` (the gradient; `gs`, a tuple, if the operator has several outputs: zeros where none arrived, or None if the
name is `some_gs`), an input's or attribute's name, `attrs_` (all attributes), `out` (the result; `out1`: one of several), `x_shape` / `x_dtype` for an input `x`, `needs` (which inputs want
a gradient, one bool per operand).
Rules are written with operators, so they serve the tape, the graph and double backward. They may return a gradient of
broadcast shape: the walker sums it back.

Kernels. `scalar` and `lower` say what one element of the result is, given a builder `b` (kernel/build.py) that makes the
expressions; they import nothing of it. Their operands are in canonical, promoted form.

- `scalar(b, *operands, **attrs)`: elementwise. An operand is an expression, a number or None. Float16 and bfloat16
  operands come as float32; what comes out is rounded at the operator's boundary.
- `lower(b, i, load, *specs, **attrs)`: the element of the result at index `i`, a tuple of `Ix` (affine forms over loop
  variables: `b.iadd`, `b.idiv`, `b.unflatten`, ...); `load(k, idx)` is operand k's element. An index that is data goes
  through `b.guarded`, which checks it at run time; one that may leave the operand is clamped and the load selected.
- `lower(b, *specs, **attrs)`: a descriptor. `b.reduction(...)`, `b.scatter(...)`, `b.pieces(...)` (boxes of the result), or
  `b.element(fn)` with `fn(i, load)`. `b.out` says which of several results is asked for.

`b.refuse(why)` leaves a case to the reference. A test compares every definition with its reference.
"""
from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from ..core.dtype import bool_
from ..core.late import late
from ..core.spec import Spec, broadcast_shapes

Fn = Callable[..., Any]


class Kind(enum.Enum):
    POINT = "elementwise"
    REDUCE = "reduction"
    CUMULATIVE = "scan"
    VIEW = "view"
    GATHER = "gather"
    SCATTER = "scatter"
    EXTERN = "library call"
    RANDOM = "random"
    LOOP = "loop"
    COMPOSITE = "composite"


POINT, REDUCE, CUMULATIVE, VIEW, GATHER, SCATTER, EXTERN, RANDOM, LOOP, COMPOSITE = Kind


class Promote(enum.Enum):
    """How the operands' dtypes meet before `infer`, `ref` and `lower`, which see equal dtypes."""

    NONE = "operands as they are"
    SAME = "common type"
    FLOAT = "common type, integers to the default float"
    COMPARE = "common type, result bool"
    BITWISE = "common type, floats refused"


NONE, SAME, FLOAT, COMPARE, BITWISE = Promote


class Op:
    """One operator. What a definition leaves out has the value given here; nothing of an operator changes.

    (Not a dataclass: its `__init__` would set every field, one by one, of 875 operators at every start.)"""

    name: str
    kind: Kind
    args: tuple[str, ...]             # names of tensor arguments in canonical order; "*tensors" for a list
    front: Fn | None                  # user's signature -> (tensors, attrs)
    body: Fn | None = None            # COMPOSITE: the definition in ops
    promote: Promote = NONE
    infer: Fn | None = None           # (*Specs, **attrs) -> Spec or tuple of Specs; raises the user-facing error
    ref: Fn | None = None             # (*arrays, **attrs) -> array or tuple of arrays
    scalar: Fn | None = None          # POINT: the scalar expression, given a builder
    lower: Fn | None = None           # the element at an index, or a descriptor of the whole (a reduction, a scatter, ...)
    vjp: dict[str, Fn] | Fn | None = None
    batch: str | Fn | None = None     # how vmap calls it once for a whole batch (func/batching.py); default by kind
    jvp: str | Fn | None = None       # its tangent where that is simpler than what follows from `vjp` (func/forward.py)
    onnx: str | Fn | None = None
    samples: Fn | None = None         # (make) -> iterable of (args, kwargs)
    cost: Fn | None = None
    cast: str | None = None           # autocast class: "low" or "high" precision on every device; "gpu-low", "gpu-high": not on CPUs
    ns: tuple[str, ...] = ("",)       # public namespaces: "" is pellucid itself; "nn.functional", "linalg", "special", "fft"
    public: str = ""                  # the name in those namespaces
    forms: frozenset = frozenset(("function",))  # function, method, inplace, out, relabel
    aliases: tuple[str, ...] = ()
    operator: str = ""                # Python operator: "add" gives __add__, __radd__, __iadd__
    doc: str = ""
    module: str = ""
    nout: int = 1
    low: bool = True                  # float16/bfloat16 run `ref` in float32 and round
    grads: bool = True                # False: never differentiable (comparisons, index results)
    of_result: bool = False           # POINT: the derivative at the operand is that at the result; the in-place form keeps the result
    exact_out: str = ""               # PyTorch's error if `out=` is not of the result's dtype; "" lets the result be cast
    refuse: str = ""                  # VIEW: why in-place writes through the view are refused ("multi": one of several)
    saves: tuple = ()
    plan: tuple = ()

    def __init__(self, name: str, kind: Kind, args: tuple[str, ...], front: Fn | None, others: dict):
        if not _FIELDS.issuperset(others):
            raise TypeError(f"an operator has no {', '.join(sorted(others.keys() - _FIELDS))}: {name}")
        vars(self).update(others, name=name, kind=kind, args=args, front=front)

    def __setattr__(self, name: str, value) -> None:
        raise AttributeError(f"an operator does not change: __replace__({name}=...) makes another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an operator does not change: {name} stays")

    def __replace__(self, **changes) -> Op:
        """A copy with other values for some fields, as `copy.replace` makes it."""
        fields = vars(self) | changes
        fields.pop("signature", None)
        return Op(fields["name"], fields["kind"], fields["args"], fields["front"], fields)

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.body if self.front is None else self.front)

    @property
    def text(self) -> str:
        """The documentation, unindented."""
        return inspect.cleandoc(self.doc)

    def __repr__(self) -> str:
        return f"<Op {self.name} ({self.kind.value})>"


_FIELDS = frozenset(Op.__annotations__)


class Namespace:
    """The entry points of all operators, by name. Each is made when it is first asked for, and stays the same."""

    def __getattr__(self, name):
        if name not in REGISTRY:
            raise AttributeError(f"no operator {name!r} is registered")
        return vars(self).setdefault(name, late.entry(REGISTRY[name]))


F = Namespace()
REGISTRY: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Enter `op`. Its name must be new. From here on its function and methods exist."""
    if op.name in REGISTRY:
        raise ValueError(f"operator {op.name!r} is registered twice: in {REGISTRY[op.name].module} and {op.module}")
    REGISTRY[op.name] = op
    if late.bind_method is not None:        # the eager layer is there already: an operator registered by the user
        late.bind_method(op)
    return op


def unregister(name: str) -> None:
    """Remove an operator: its function, methods, docs and matrix rows go with it."""
    del REGISTRY[name]
    vars(F).pop(name, None)


def resolve(op_or_name) -> Op:
    return op_or_name if isinstance(op_or_name, Op) else REGISTRY[op_or_name]


# ---------------------------------------------------------------------------------------------------- definitions
_BY_PREFIX = ("linalg", "special", "fft")


def _place(name: str, ns: str | tuple | None) -> tuple[tuple[str, ...], str]:
    if ns is None:
        head, _, rest = name.partition("_")
        return ((head,), rest) if rest and head in _BY_PREFIX else (("",), name)
    return ((ns,) if isinstance(ns, str) else tuple(ns)), name


def _words(x) -> tuple[str, ...]:
    return tuple(x.split()) if isinstance(x, str) else tuple(x)


@cache
def _forms(x: str | tuple) -> frozenset:
    return frozenset(_words(x))


def is_out(param: str) -> bool:
    """Whether a rule's parameter asks for results: `out`, or `out0`, `out1`, ..."""
    return param[:3] == "out" and (param == "out" or param[3:].isdigit())


def parameters(fn: Fn) -> tuple[str, ...]:
    """The names of a function's parameters (inspect.signature costs ten times as much, at every import)."""
    code = getattr(fn, "__code__", None)
    if code is None or code.co_flags & 0x0C:           # a callable object, or *args
        return tuple(inspect.signature(fn).parameters)
    return code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]


def _plan(args: tuple[str, ...], vjp) -> tuple[tuple, tuple]:
    """What to save, and for each input how to call its rule: parameter names in order."""
    rules = vjp if isinstance(vjp, dict) else {"": vjp}
    plan = tuple([(name, fn, parameters(fn)) for name, fn in rules.items()])
    unknown = [n for n, _, _ in plan if n and n not in args]
    if unknown:
        raise ValueError(f"vjp names {unknown}, which are not among the tensor arguments {args}")
    wanted = {p for _, _, params in plan for p in params}
    saves = tuple([a for a in args if a.lstrip("*") in wanted])
    if [p for p in wanted if p[:3] == "out" and is_out(p)]:
        saves += ("out",)
    return saves, plan


def _build(name: str, kind: Kind, args: str | tuple, front: Fn | None, *, ns=None, forms="function", aliases=(), public=None, vjp=None,
           **fields) -> Op:
    args = _words(args)
    if vjp is not None:
        fields["vjp"] = vjp
        fields["saves"], fields["plan"] = _plan(args, vjp)
    fields["ns"], short = _place(name, ns)
    fields["public"] = public or short
    fields["forms"] = _forms(forms)
    if aliases:
        fields["aliases"] = _words(aliases)
    return register(Op(name, kind, args, front, fields))


def primitive(kind: Kind, *, args: str, name: str | None = None, **kw) -> Callable[[Fn], Op]:
    """Decorator over a front: `(user's arguments) -> ((tensors...), {attrs})`. Keywords are fields of `Op`."""
    def define(front: Fn) -> Op:
        kw.setdefault("doc", front.__doc__ or "")
        return _build(name or front.__name__.rstrip("_"), kind, args, front, module=front.__module__, **kw)
    return define


def composite(fn: Fn | None = None, *, name: str | None = None, **kw):
    """Decorator over a Python function of operators; returns that function. Keywords are fields of `Op`."""
    def define(body: Fn) -> Fn:
        kw.setdefault("doc", body.__doc__ or "")
        _build(name or body.__name__.rstrip("_"), COMPOSITE, kw.pop("args", ""), None, body=body, module=body.__module__, **kw)
        return body
    return define if fn is None else define(fn)


def _unary_front(input):
    return (input,), {}


def _binary_front(input, other):
    return (input, other), {}


def point_infer(*specs, **attrs) -> Spec:
    """Shape rule of elementwise operators: the broadcast shape, the operands' (already common) dtype."""
    tensors = [s for s in specs if isinstance(s, Spec)]
    return Spec(broadcast_shapes(*[s.shape for s in tensors]), tensors[0].dtype)


def compare_infer(*specs, **attrs) -> Spec:
    """Shape rule of comparisons: the broadcast shape, bool."""
    return Spec(point_infer(*specs).shape, bool_)


def point(name: str, ref: Fn, vjp=None, *, args: str = "input", front: Fn | None = None, promote: Promote | None = None,
          forms: str = "function method inplace out", module: str | None = None, **kw) -> Op:
    """An elementwise operator. `ref` is a NumPy ufunc or a function of arrays that broadcast; a single rule as `vjp`
    is the derivative with respect to the first argument. The shape rule is broadcasting, unless `infer` says otherwise."""
    names = _words(args)
    if callable(vjp) and len(names) == 1:
        vjp = {names[0]: vjp}
    if front is None:
        front = _unary_front if len(names) == 1 else _binary_front
    promote = promote or (FLOAT if len(names) == 1 else SAME)
    kw.setdefault("infer", compare_infer if promote is COMPARE else point_infer)
    if promote is COMPARE:
        kw.setdefault("grads", False)
    return _build(name, POINT, names, front, ref=ref, vjp=vjp, promote=promote, forms=forms,
                  module=module or sys._getframe(1).f_globals["__name__"], **kw)
