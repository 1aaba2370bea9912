"""The interpreter of `vmap`: every operator on whole batches at once.

In: calls of operators on tensors that stand for one example each. Out: the same operator, called once beneath on tensors with
the batch as their first dimension. How, follows from what an operator says of itself:

- `Op.batch`, where there is one: a function `(b, *operands, **attrs)` that makes the call, or one of the words
  "lead" (the operator works on its last dimensions; any in front are a batch), "rows" (its first dimension is a batch: the
  examples' are joined), "shift" (its attributes name dimensions), "each" (example by example), "like" (a new tensor, one for each
  example of the tensor it is modelled on);
- views: `Op.batch(n, step, **attrs)` gives the attributes for n examples that lie `step` elements apart;
- elementwise: dimensions are aligned from the right; reductions, scans, views and whatever else names dimensions by attributes
  (`dim`, `dims`, ...): they move by one;
- a composite: by its body; anything else: example by example (`each`), and the results are stacked.

A rule runs beneath the level. Its operands are `In`s: `x`, and whether it is `batched`, with the batch in front.
What stays true: results have the batch in front; the memory order an example's geometry shows is that of its slice.
"""
from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import describe, fail
from ..core.layout import contiguous_format
from ..ops.dispatch import local
from ..ops.op import POINT, RANDOM, F, Op
from ..tensor.core import Slots, readable, wrap
from ..tensor.fake import asked, brief
from ..tensor.levels import Level, Lifted
from .custom import mapped_forward

_DIM = ("dim", "dims", "dim1", "dim2", "dimension")
_ITEM = ("vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, please try to "
         "rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch internals, please file a bug report.")
_FLOW = ("vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that yet, please shout "
         "over at https://github.com/pytorch/functorch/issues/257 .")


class In:
    """One operand of a rule: `x`, a tensor beneath, with the batch as its first dimension if `batched`; or a number, None."""

    __slots__ = ("x", "batched")

    def __init__(self, x: Any, batched: bool):
        self.x, self.batched = x, batched

    @property
    def tensor(self) -> bool:
        return isinstance(self.x, Slots)

    @property
    def ndim(self) -> int:
        """The number of dimensions of one example."""
        return self.x.ndim - self.batched

    @property
    def shape(self) -> tuple:
        """The shape of one example."""
        return tuple(self.x.shape)[1:] if self.batched else tuple(self.x.shape)


class Vmap(Level):
    """One `vmap` of `size` examples. `randomness`: "error", "same" or "different" numbers for each example."""

    single = False

    def __init__(self, size: int, randomness: str):
        self.size, self.randomness = size, randomness

    # ------------------------------------------------------------------------------------------ lifting
    def geometry(self, a: np.ndarray, batched) -> np.ndarray:
        if not batched:
            return a
        if not a.shape[0]:
            return np.empty(a.shape[1:], a.dtype)
        return np.ndarray.__getitem__(a, (0, Ellipsis))

    def refuse(self, a: Lifted, got: str):
        what = asked()
        code, text = ("P4001", _FLOW) if what.startswith(("bool", "value in")) else ("P4002", _ITEM)
        fail(RuntimeError, code, text, got=f"{what} on {brief(a)}, one of {self.size} examples",
             fix="where(condition, a, b) chooses for each example; other values: return the tensor from the function")

    def values_of(self, a: Lifted) -> np.ndarray:
        if a.extra:
            self.refuse(a, brief(a))
        return readable(a.lower._a)

    def shown(self, a: Lifted) -> str:
        with self.beneath():
            depth = len(local.stack) + 1
            return f"BatchedTensor(lvl={depth}, bdim=0, value=\n{textwrap.indent(repr(a.lower), '    ')}\n)" if a.extra else repr(a.lower)

    def write(self, a: Lifted, v: np.ndarray, t) -> None:
        lower, batched = (v.lower, v.extra) if type(v) is Lifted and v.level is self else (wrap(v), None)
        if batched and not a.extra:
            fail(RuntimeError, "P4003", "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
                 "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but `self` not being "
                 "vmapped over in a vmap. Please try to use out-of-place operators instead of inplace arithmetic. If said operator is being "
                 "called inside the PyTorch framework, please file a bug report instead.", got=f"{brief(v)} written to {describe(t)}",
                 fix="use the out-of-place form, or make the tensor from a batched one: torch.zeros_like(x), x.new_zeros(...)")
        with self.beneath():
            a.lower.copy_(lower)

    # ------------------------------------------------------------------------------------------ calls
    def operands(self, flat: tuple) -> list[In]:
        found = []
        for t in flat:
            if isinstance(t, Slots):
                lower, batched = self.parts(t)
                found.append(In(lower, bool(batched)))
            else:
                found.append(In(t, False))
        return found

    def by_parts(self, op: Op, flat: tuple) -> bool:
        if op.body is None or op.batch is not None:
            return False
        return op.ref is None or any([isinstance(t, Slots) and self.parts(t)[1] for t in flat])

    def call(self, op: Op, args: tuple, kwargs: dict):
        r = super().call(op, args, kwargs)
        if op.batch == "like" and args and isinstance(r, Slots) and self.parts(args[0])[1] and not self.parts(r)[1]:
            requires_grad = r._rg                       # a tensor for each example, since there is one given
            with self.beneath():
                r = self.lift(F.clone(F.expand(self.parts(r)[0], (self.size, *r.shape)), memory_format=contiguous_format), True)
            r._rg = requires_grad
        return r

    def compute(self, op: Op, flat: tuple, attrs: dict):
        operands = self.operands(flat)
        with self.beneath():
            if op.kind is RANDOM:
                r, batched = self.draw(op, operands, attrs)
            elif any([o.batched for o in operands]):
                r, batched = rule_of(op)(self, op, operands, attrs), True
            else:
                r, batched = self.run(op, tuple([o.x for o in operands]), attrs), None
            return tuple([self.lift(t, batched) for t in r]) if type(r) is tuple else self.lift(r, batched)

    def view(self, op: Op, source, attrs: dict) -> Lifted:
        lower, batched = self.parts(source)
        with self.beneath():
            if batched:
                new = moved(attrs) if op.batch is None else op.batch(lower.shape[0], lower.stride(0), **attrs)
                if op.name == "expand":
                    lower = aligned(In(lower, True), len(attrs["shape"]))
                return self.array(self.run(op, (lower,), new), True)
            return self.array(self.run(op, (lower,), attrs), None)

    # ------------------------------------------------------------------------------------------ helpers of rules
    def full(self, o: In):
        """The operand with the batch in front, repeated if it has none."""
        return o.x if o.batched else F.expand(o.x, (self.size, *o.x.shape))

    def aligned(self, o: In, n: int):
        """The operand, with sizes of 1 behind the batch so that an example has `n` dimensions."""
        return aligned(o, n)

    def widened(self, o: In, other: In):
        """The operand, with sizes of 1 behind the batch so that it has the rank of `other`."""
        return aligned(o, max(o.ndim, other.ndim))

    def item(self, x, batched: bool) -> In:
        """`x` as an operand."""
        return In(x, batched)

    def each(self, op: Op, operands: tuple, attrs: dict):
        """Example by example."""
        return each(self, op, list(operands), attrs)

    def forward_of(self, cls: type, args: tuple):
        """The forward of a custom Function."""
        return mapped_forward(self, cls, args)

    # ------------------------------------------------------------------------------------------ random numbers
    def draw(self, op: Op, operands: list[In], attrs: dict) -> tuple:
        """(results, whether they are batched) of a random operator."""
        if self.randomness == "error":
            fail(RuntimeError, "P4004", "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
                 "randomness flags on vmap or perform the randomness operation out of vmap", got=op.public,
                 fix="vmap(f, randomness='different') draws new numbers for each example")
        batched = any([o.batched for o in operands])
        shaped = op.name.endswith("_fill") or op.name in ("dropout_noise", "rrelu_noise")      # of the operand, only the shape matters
        if self.randomness == "same":
            if batched and not (shaped and not any([o.batched for o in operands[1:]])):
                fail(RuntimeError, "P4005", "Vmap does not currently support same randomness with a batched tensor input", got=op.public,
                     fix="use randomness='different'")
            if batched:
                like = operands[0]
                operands = [In(F.empty(like.shape, dtype=like.x.dtype), False), *operands[1:]]
            return self.run(op, tuple([o.x for o in operands]), attrs), None
        if op.name.endswith("_fill") and not batched:
            fail(RuntimeError, "P4006", "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same "
                 "randomness. If this is necessary for your usage, please file an issue with functorch.", got=op.public + "_",
                 fix="make the tensor from a batched one, as by torch.empty_like(x), or draw by an out-of-place function")
        if "shape" in attrs and not operands:
            order = attrs.get("order")
            new = {**attrs, "shape": (self.size, *attrs["shape"])}
            if type(order) is tuple:
                new["order"] = (0, *[d + 1 for d in order])
            return self.run(op, (), new), True
        if op.batch is not None:
            return rule_of(op)(self, op, operands, attrs), True
        if not operands:
            return each(self, op, operands, attrs), True
        n = max([o.ndim for o in operands if o.tensor])
        whole = [In(F.contiguous(self.full(o)), True) if o.tensor and not batched else o for o in operands]
        return self.run(op, tuple([aligned(o, n) if o.tensor else o.x for o in whole]), attrs), True


# ---------------------------------------------------------------------------------------------------- rules by kind
def rule_of(op: Op) -> Callable:
    """The rule (b, op, operands, attrs) -> results of an operator with some batched operand."""
    batch = op.batch
    if batch is None:
        return point if op.kind is POINT else shifted if shifts(op) else each
    return _WORDS[batch] if isinstance(batch, str) else lambda b, op, operands, attrs: batch(b, *operands, **attrs)


def shifts(op: Op) -> bool:
    """Whether the operator is told dimensions by attributes, and nothing else that depends on the shape."""
    found = _NAMED.get(op)
    if found is None:
        names = () if op.ref is None or op.kind is POINT else attribute_names(op)
        found = _NAMED[op] = any([n in _DIM for n in names]) and not {"shape", "sizes", "pattern"} & set(names)
    return found


_NAMED: dict[Op, bool] = {}


def attribute_names(op: Op) -> tuple:
    """The names of the attributes that the reference takes."""
    code = getattr(op.ref, "__code__", None)
    return () if code is None else code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]


def moved(attrs: dict) -> dict:
    """Attributes with every dimension moved by one."""
    out = dict(attrs)
    for name in _DIM:
        if name in out:
            d = out[name]
            out[name] = d + 1 if isinstance(d, int) else tuple([x + 1 for x in d])
    return out


def aligned(o: In, n: int):
    """The operand with the batch in front and sizes of 1 behind it, so that an example has `n` dimensions."""
    if not o.batched or o.ndim == n:
        return o.x
    return F.basic_index(o.x, (slice(None), *(None,) * (n - o.ndim)))


def point(b: Vmap, op: Op, operands: list[In], attrs: dict):
    """Elementwise: examples are aligned from the right, the batch is in front of them all."""
    n = max([o.ndim for o in operands if o.tensor])
    return b.run(op, tuple([aligned(o, n) if o.tensor else o.x for o in operands]), attrs)


def shifted(b: Vmap, op: Op, operands: list[In], attrs: dict):
    """The batch is one more dimension in front."""
    if len(operands) == 1 and (operands[0].ndim == 0 or attrs.get("dim", 0) is None):
        return over_line(b, op, operands[0], attrs)
    if any([o.tensor and o.ndim == 0 for o in operands]) or unlike(operands) and op.args[0].startswith("*"):
        return each(b, op, operands, attrs)
    new = moved(attrs)
    if new.get("dims") == ():
        return each(b, op, operands, attrs)
    return b.run(op, tuple([b.full(o) if o.tensor else o.x for o in operands]), new)


def over_line(b: Vmap, op: Op, o: In, attrs: dict):
    """A reduction or scan of numbers, or of all elements in a row: each example is one line."""
    new = {**attrs, **{k: (1,) if k == "dims" else 1 for k in attrs if k in _DIM}}
    r = b.run(op, (F.reshape(o.x, (b.size, -1)),), new)
    shape = (b.size, *[1] * o.ndim) if attrs.get("keepdim") else (b.size,)
    outs = [F.reshape(t, shape) for t in (r if type(r) is tuple else (r,))]
    return tuple(outs) if type(r) is tuple else outs[0]


def unlike(operands: list[In]) -> bool:
    """Whether examples differ in their number of dimensions (an old kind of empty tensor among those to be joined)."""
    return len({o.ndim for o in operands if o.tensor}) > 1


def lead(b: Vmap, op: Op, operands: list[In], attrs: dict):
    """An operator on last dimensions takes the batch as it is."""
    n = max([o.ndim for o in operands if o.tensor])
    return b.run(op, tuple([aligned(In(b.full(o), True), n) if o.tensor else o.x for o in operands]), attrs)


def rows(b: Vmap, op: Op, operands: list[In], attrs: dict):
    """The first dimension of an example is a batch already: all examples are joined in it."""
    n = operands[0].shape[0]
    joined = [F.flatten(b.full(o), 0, 1) if o.tensor else o.x for o in operands]
    r = b.run(op, tuple(joined), attrs)
    split = [F.unflatten(t, 0, (b.size, n)) for t in (r if type(r) is tuple else (r,))]
    return tuple(split) if type(r) is tuple else split[0]


def each(b: Vmap, op: Op, operands: list[In], attrs: dict):
    """Example by example. Always right, and slow."""
    if b.size == 0:
        fail(RuntimeError, "P4007", f"vmap: {op.public} is computed example by example, and there is no example", fix="leave empty batches out")
    results = [b.run(op, tuple([F.basic_index(o.x, (i,)) if o.batched else o.x for o in operands]), attrs) for i in range(b.size)]
    several = type(results[0]) is tuple
    stacked = []
    for parts in zip(*results) if several else [results]:
        if len({tuple(t.shape) for t in parts}) > 1:
            fail(RuntimeError, "P4008", f"vmap: It looks like you're attempting to use {op.public}, whose result has another shape for each "
                 "example. We don't support vmap over such operations", got=describe(*parts[:3]), fix="use where(), or a mask of fixed shape")
        stacked.append(F.stack(list(parts)))
    return tuple(stacked) if several else stacked[0]


_WORDS = {"lead": lead, "rows": rows, "each": each, "shift": shifted}
