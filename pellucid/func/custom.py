"""Custom `autograd.Function`s inside `vmap` and forward mode.

In: a Function and arguments that are lifted to the level on top. Out: the results of its forward, lifted. How: inside `vmap` by the
`vmap` the user wrote, or, with `generate_vmap_rule`, as a Function whose forward, backward and jvp are the user's, mapped; in
forward mode by the user's `jvp`. What stays true: beneath, the derivative is the user's, too, and never that of forward's parts.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ..core.errors import fail
from ..ops.dispatch import interpreting
from ..ops.op import F
from ..tensor.core import Slots
from ..tensor.function import Function
from ..utils import _pytree as pytree

_MORE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"


class VmapInfo(NamedTuple):
    """What a Function's `vmap` is told."""

    batch_size: int
    randomness: str


# ---------------------------------------------------------------------------------------------------- vmap
def mapped_forward(level, cls: type, args: tuple):
    """The forward of `cls` for all examples."""
    written = cls.vmap is not Function.vmap
    if cls.generate_vmap_rule and written:
        fail(RuntimeError, "P4050", f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overriden vmap "
             f"staticmethod. Please set generate_vmap_rule=False or delete the overriden vmap staticmethod to avoid ambiguity. {_MORE}")
    leaves, spec = pytree.tree_flatten(args)
    parts = [level.parts(x) if isinstance(x, Slots) else (x, None) for x in leaves]
    lowers = pytree.tree_unflatten([p for p, _ in parts], spec)
    if not any([batched for _, batched in parts]):
        with level.beneath():
            out = cls.apply(*lowers)
        return pytree.tree_map_only(Slots, level.lift, out)
    if not cls.generate_vmap_rule and not written:
        fail(RuntimeError, "P4051", f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and implement the "
             f"vmap staticmethod or set generate_vmap_rule=True. {_MORE}")
    if written:
        with level.beneath():
            got = cls.vmap(VmapInfo(level.size, level.randomness), pytree.tree_unflatten([0 if b else None for _, b in parts], spec), *lowers)
            if not (isinstance(got, tuple) and len(got) == 2):
                raise RuntimeError("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure "
                                   f"compatible with the output. Got {type(got)}")
            out, dims = got
            outs, out_spec = pytree.tree_flatten(out)
            places = dims if isinstance(dims, (tuple, list)) else [dims] * len(outs)
            if len(places) != len(outs):
                raise RuntimeError(f"{cls.__name__}: the vmap staticmethod returned {len(outs)} results and {len(places)} out_dims")
            return pytree.tree_unflatten([o if not isinstance(o, Slots) else level.lift(o) if d is None else level.lift(F.movedim(o, d, 0), True)
                                          for o, d in zip(outs, places)], out_spec)
    batched = [bool(b) for _, b in parts]
    kind = Mapped(level, cls, spec, batched)
    with level.beneath():
        outs = kind.function.apply(*[p for p, _ in parts])
    return pytree.tree_unflatten([level.lift(o, True) if isinstance(o, Slots) else o for o in outs], kind.out_spec)


class Mapped:
    """The Function that does what `cls` does for each example, on flat arguments of which some are `batched`."""

    def __init__(self, level, cls: type, spec: pytree.TreeSpec, batched: list):
        self.new_level = lambda: type(level)(level.size, level.randomness)
        self.size, self.cls, self.spec, self.batched = level.size, cls, spec, batched
        self.out_spec: Any = None
        self.kept: list = []
        me = self

        class function(Function):
            @staticmethod
            def forward(*flat):
                return me.forward(flat)

            @staticmethod
            def setup_context(ctx, inputs, output):
                me.setup(ctx, inputs, output)

            @staticmethod
            def backward(ctx, *grads):
                return me.backward(ctx, grads)

            @staticmethod
            def jvp(ctx, *tangents):
                return me.jvp(ctx, tangents)

            generate_vmap_rule = True
        function.__name__ = f"Vmapped{cls.__name__}"
        self.function = function

    def lifted(self, level, flat: tuple, batched: list) -> list:
        return [level.lift(x, b) if isinstance(x, Slots) else x for x, b in zip(flat, batched)]

    def whole(self, level, x):
        """A result for all examples, from one of the level."""
        if not isinstance(x, Slots):
            return x
        lower, batched = level.parts(x)
        return lower if batched else F.expand(lower, (self.size, *lower.shape))

    def forward(self, flat: tuple) -> tuple:
        level = self.new_level()
        with interpreting(level):
            out = self.cls.forward(*pytree.tree_unflatten(self.lifted(level, flat, self.batched), self.spec))
        outs, self.out_spec = pytree.tree_flatten(out)
        return tuple([self.whole(level, o) for o in outs])

    def setup(self, ctx, inputs: tuple, outputs: tuple) -> None:
        level = self.new_level()
        seen = Context(level, ctx)
        with interpreting(level):
            out = pytree.tree_unflatten(self.lifted(level, outputs, [True] * len(outputs)), self.out_spec)
            self.cls.setup_context(seen, tuple(pytree.tree_unflatten(self.lifted(level, inputs, self.batched), self.spec)), out)
        seen.keep()

    def backward(self, ctx, grads: tuple) -> tuple:
        level = self.new_level()
        with interpreting(level):
            r = self.cls.backward(Context(level, ctx), *self.lifted(level, grads, [True] * len(grads)))
        flat: list = []
        for x in r if isinstance(r, tuple) else (r,):
            flat += pytree.tree_leaves(x)
        out = []
        for x, batched in zip(flat, self.batched):
            if isinstance(x, Slots):
                lower, mine = level.parts(x)
                x = lower if batched == bool(mine) else F.sum(lower, 0) if mine else F.expand(lower, (self.size, *lower.shape))
                if not batched and not mine:
                    x = F.mul(x, self.size)
            out.append(x)
        return tuple(out)

    def jvp(self, ctx, tangents: tuple) -> tuple:
        level = self.new_level()
        with interpreting(level):
            flat = self.lifted(level, tangents, self.batched)
            r = self.cls.jvp(Context(level, ctx), *pytree.tree_unflatten(flat, self.spec))
        return tuple([self.whole(level, x) for x in pytree.tree_leaves(r)])


class Context:
    """The `ctx` that the user's methods see inside the level: tensors kept on it are lifted, those beneath are kept on `ctx`."""

    def __init__(self, level, ctx):
        object.__setattr__(self, "_level", level)
        object.__setattr__(self, "_ctx", ctx)

    def lower(self, tree):
        return pytree.tree_map_only(Slots, lambda t: Kept(*self._level.parts(t)), tree)

    def lift(self, tree):
        return pytree.tree_map_only(Kept, lambda k: self._level.lift(k.tensor, k.batched), tree)

    def save_for_backward(self, *tensors) -> None:
        self._ctx._for_backward = tensors

    def save_for_forward(self, *tensors) -> None:
        self._ctx._for_forward = tensors

    def keep(self) -> None:
        """Hand what was saved to the context beneath."""
        ctx = self._ctx
        for name, save in (("_for_backward", ctx.save_for_backward), ("_for_forward", ctx.save_for_forward)):
            tensors = ctx.__dict__.pop(name, None)
            if tensors is not None:
                parts = [(None, None) if t is None else self._level.parts(t) for t in tensors]
                ctx.__dict__[name + "_batched"] = [b for _, b in parts]
                save(*[p for p, _ in parts])

    @property
    def saved_tensors(self) -> tuple:
        ctx = self._ctx
        tensors = ctx.saved_tensors
        marks = ctx.__dict__.get("_for_backward_batched")
        if marks is None or len(marks) != len(tensors):
            marks = ctx.__dict__.get("_for_forward_batched")
        return tuple([None if t is None else self._level.lift(t, b) for t, b in zip(tensors, marks)])

    def mark_non_differentiable(self, *tensors) -> None:
        raise RuntimeError("mark_non_differentiable is not supported with generate_vmap_rule=True: write the vmap staticmethod")

    def mark_dirty(self, *tensors) -> None:
        raise RuntimeError("NYI: mark_dirty with generate_vmap_rule=True: write the vmap staticmethod")

    def __getattr__(self, name: str):
        return self.lift(getattr(self._ctx, name))

    def __setattr__(self, name: str, value) -> None:
        setattr(self._ctx, name, self.lower(value))


class Kept:
    """A tensor beneath, and whether its first dimension is the batch."""

    __slots__ = ("tensor", "batched")

    def __init__(self, tensor, batched):
        self.tensor, self.batched = tensor, batched


# ---------------------------------------------------------------------------------------------------- forward mode
def dual_forward(level, cls: type, args: tuple):
    """The forward of `cls` on dual tensors: values by `apply`, tangents by `jvp`."""
    leaves, spec = pytree.tree_flatten(args)
    parts = [level.parts(x) if isinstance(x, Slots) else (x, None) for x in leaves]
    primals = tuple(pytree.tree_unflatten([p for p, _ in parts], spec))
    tangents = tuple(pytree.tree_unflatten([t for _, t in parts], spec))
    with level.beneath():
        out = cls.apply(*primals)
        found: Any = ()
        if any([t is not None for _, t in parts]):
            ctx = cls._backward_cls()
            cls.setup_context(ctx, primals, out)
            kept = ctx.saved_for_forward or ctx.to_save or ()
            ctx._saved, ctx._versions = tuple(kept), tuple([0 if t is None or t._st is None else t._st.version for t in kept])
            found = cls.jvp(ctx, *tangents)
    outs, out_spec = pytree.tree_flatten(out)
    flat = list(found) if isinstance(found, (tuple, list)) else [found]
    if flat and len(flat) != len(outs):
        fail(RuntimeError, "P4052", f"{cls.__name__}.jvp returned {len(flat)} tangents for {len(outs)} results", fix="return one for each result")
    flat += [None] * (len(outs) - len(flat))
    lifted = []
    for o, t in zip(outs, flat):
        if isinstance(o, Slots):
            if t is not None and t.shape != o.shape:
                raise RuntimeError(f"{cls.__name__}.jvp returned a tangent of shape {list(t.shape)} for a result of shape {list(o.shape)}")
            o = level.lift(o, t)
        lifted.append(o)
    return pytree.tree_unflatten(lifted, out_spec)
