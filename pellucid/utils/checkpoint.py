"""Trading time for memory: activations are computed again in the backward pass instead of being kept.

In: a function and its arguments. Out: what the function returns, with the same gradients. What stays true: values,
gradients and random numbers are those of a plain call; only what the backward pass needs is kept differently (Chen et
al., 2016).

There are two ways. ``use_reentrant=False`` (better): every tensor saved for backward is replaced by an empty holder; the
first one that is asked for makes the function run again, which fills the holders. ``use_reentrant=True``: the function
runs without a graph, and again with one inside the backward pass.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..ops.dispatch import local, values_known
from ..tensor import Function, Tensor, enable_grad, is_grad_enabled, no_grad, saved_tensors_hooks
from ..tensor.autograd import backward
from ..tensor.random import fork_rng, get_rng_state, set_rng_state
from .selective import CheckpointPolicy, SelectiveCheckpointContext, create_selective_checkpoint_contexts

__all__ = [
    "checkpoint",
    "checkpoint_sequential",
    "CheckpointError",
    "CheckpointFunction",
    "CheckpointPolicy",
    "SelectiveCheckpointContext",
    "create_selective_checkpoint_contexts",
    "check_backward_validity",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_early_stop",
]


class CheckpointError(RuntimeError):
    """The function did something else when it ran again."""


def noop_context_fn() -> tuple[Any, Any]:
    """The default ``context_fn``: no context for the forward, none for the recomputation."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)`` without keeping its intermediate results for the backward pass.

    Args:
        function: must do the same again when it is called again (random numbers are taken care of).
        use_reentrant: which way (see the module); False is recommended, None warns and means True.
        context_fn: gives two context managers, for the first run and for the recomputation.
        determinism_check: 'default' compares shapes and dtypes of the saved tensors, 'none' nothing.
        debug: name the saved tensors of both runs when they differ.
        early_stop: stop the recomputation as soon as everything that is needed is there.
        preserve_rng_state: (keyword, default True) draw the same random numbers again.

    Raises:
        ValueError: an unknown keyword, or one that only the other way has.
        CheckpointError: (in the backward pass) the recomputation saved other tensors.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, "
            "calling checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but "
            "if you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for "
            "more details on the differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if not values_known():              # tracing: what is computed twice is decided later, for the whole graph
            return function(*args)
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    forward_context, recompute_context = context_fn()
    if not values_known():
        with forward_context:
            return function(*args, **kwargs)
    stop_early = early_stop if _early_stop is None else _early_stop
    frame = _Frame(function, args, kwargs, preserve, recompute_context, stop_early, determinism_check == "default", debug)
    if not is_grad_enabled():
        with forward_context:
            return function(*args, **kwargs)
    with saved_tensors_hooks(frame.pack, frame.unpack), forward_context:
        result = function(*args, **kwargs)
    return result


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run ``functions`` (a Sequential or a list) one after the other, in ``segments`` checkpointed parts.

    The last part is not checkpointed: its backward pass comes first.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. In "
            "version 2.9 we will raise an exception if use_reentrant is not passed. use_reentrant=False is recommended, "
            "but if you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs "
            "for more details on the differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(functions) // segments
    start = 0
    for _ in range(segments - 1):
        part = _chain(functions[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
        start += size
    return _chain(functions[start:])(input)


def _chain(functions: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def run(input: Any) -> Any:
        for function in functions:
            input = function(input)
        return input

    return run


@contextlib.contextmanager
def _same_random_numbers(state: Tensor | None) -> Iterator[None]:
    """Draw from ``state`` inside, and leave the generator as it was; None: do nothing."""
    if state is None:
        yield
        return
    with fork_rng():
        set_rng_state(state)
        yield


# -- without re-entering the engine ----------------------------------------------------------------------------------

_early_stop: bool | None = None


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Inside, ``early_stop`` of all checkpoints is ``enable``."""
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


class _Holder:
    """Stands for a saved tensor until the recomputation brings it."""

    __slots__ = ("index", "value", "__weakref__")

    def __init__(self, index: int) -> None:
        self.index = index
        self.value: Tensor | None = None


class _Enough(Exception):
    """Ends a recomputation that has brought everything that was saved."""


class _Frame:
    """One checkpointed call: how to run it again, and the holders of what it saved."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple,
        kwargs: dict[str, Any],
        preserve: bool,
        recompute_context: Any,
        stop_early: bool,
        check: bool,
        debug: bool,
    ) -> None:
        self.function, self.kwargs = function, kwargs
        # Inputs are saved like any tensor, so that an enclosing checkpoint replaces them by holders of its own.
        hooks = local.saved_hooks
        self.args = [_saved(arg, hooks) if isinstance(arg, Tensor) else (arg, None) for arg in args]
        self.rng_state = get_rng_state() if preserve else None
        self.recompute_context = recompute_context
        self.stop_early, self.check, self.debug = stop_early, check, debug
        self.holders: list[weakref.ref[_Holder]] = []
        self.metadata: list[tuple] = []

    def pack(self, tensor: Tensor) -> _Holder:
        """Called for each tensor that the function's graph saves."""
        holder = _Holder(len(self.holders))
        self.holders.append(weakref.ref(holder))
        self.metadata.append(_described(tensor))
        return holder

    def unpack(self, holder: _Holder) -> Tensor:
        """Called for each saved tensor that the backward pass needs."""
        if holder.value is None:
            self.recompute()
        value, holder.value = holder.value, None
        if value is None:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.holders)}\n"
                f"The recomputation did not save number {holder.index}."
            )
        return value

    def recompute(self) -> None:
        """Run the function again and fill the holders that are still alive."""
        recomputed: list[tuple] = []

        def fill(tensor: Tensor) -> Tensor:
            index = len(recomputed)
            recomputed.append(_described(tensor))
            if index >= len(self.holders):
                raise CheckpointError(
                    "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original "
                    "forward pass." + self._listing(recomputed)
                )
            holder = self.holders[index]()
            if holder is not None:
                holder.value = tensor.detach()
            if self.stop_early and index + 1 == len(self.holders):
                raise _Enough
            return tensor.detach()

        def give(tensor: Tensor) -> Tensor:
            return tensor

        args = [arg if unpack is None else unpack(arg) for arg, unpack in self.args]
        with contextlib.suppress(_Enough), _same_random_numbers(self.rng_state), self.recompute_context:
            with saved_tensors_hooks(fill, give), enable_grad():
                self.function(*args, **self.kwargs)
        self._compare(recomputed)

    def _compare(self, recomputed: list[tuple]) -> None:
        if len(recomputed) != len(self.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.holders)}\n"
                f"Number of tensors saved during recomputation: {len(recomputed)}." + self._listing(recomputed)
            )
        different = [
            f"tensor at position {i}:\nsaved metadata: {before}\nrecomputed metadata: {now}"
            for i, (before, now) in enumerate(zip(self.metadata, recomputed))
            if before != now
        ]
        if self.check and different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                "during the forward pass.\n" + "\n".join(different) + "." + self._listing(recomputed)
            )

    def _listing(self, recomputed: list[tuple]) -> str:
        if not self.debug:
            return "\nPass debug=True to checkpoint() to see what both runs saved."
        runs = (("forward", self.metadata), ("recomputation", recomputed))
        return "".join(f"\nsaved by the {name}:\n" + "\n".join(f"  {i}: {m}" for i, m in enumerate(all_)) for name, all_ in runs)


def _saved(tensor: Tensor, hooks: tuple) -> tuple[Any, Callable[[Any], Tensor] | None]:
    """An input as the enclosing saved-tensor hooks want it kept: (what to keep, how to get the tensor back)."""
    if not hooks or tensor.grad_fn is None:
        return tensor, None
    pack, unpack = hooks[-1]
    before, local.saved_hooks = local.saved_hooks, ()
    try:
        kept = pack(tensor)
    finally:
        local.saved_hooks = before
    needs_grad = tensor.requires_grad
    return kept, lambda k: unpack(k).detach().requires_grad_(needs_grad)


def _described(tensor: Tensor) -> tuple:
    return tuple(tensor.shape), tensor.dtype, str(tensor.device)


# -- re-entering the engine ------------------------------------------------------------------------------------------


def detach_variable(inputs: tuple) -> tuple:
    """The tensors among ``inputs`` detached (their ``requires_grad`` kept), everything else as it is."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            "Only tuple of tensors is supported. Got Unsupported input type: " + type(inputs).__name__
        )
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def check_backward_validity(inputs: Sequence[Any]) -> None:
    """Warn when no input needs a gradient: a re-entrant checkpoint then gives none to anything."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


class CheckpointFunction(Function):
    """The re-entrant way: ``apply(function, preserve_rng_state, *args)``."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.rng_state = get_rng_state() if preserve_rng_state else None
        ctx.tensor_places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        ctx.other_args = [None if isinstance(arg, Tensor) else arg for arg in args]
        ctx.save_for_backward(*[args[i] for i in ctx.tensor_places])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        if local.partial:
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                "parameter to .backward(). To resolve this error, you can either set use_reentrant=False, or call "
                ".backward() without passing the `inputs` argument."
            )
        args = list(ctx.other_args)
        for place, tensor in zip(ctx.tensor_places, ctx.saved_tensors):
            args[place] = tensor
        args = detach_variable(tuple(args))
        with _same_random_numbers(ctx.rng_state), enable_grad():
            outputs = ctx.run_function(*args)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        live = [(out, grad) for out, grad in zip(outputs, grads) if isinstance(out, Tensor) and out.requires_grad]
        if not live:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([out for out, _ in live], [grad for _, grad in live])
        return None, None, *[arg.grad if isinstance(arg, Tensor) else None for arg in args]
