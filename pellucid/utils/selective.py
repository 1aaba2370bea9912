"""Selective checkpointing: some operators' results are kept, the rest is computed again.

In: a policy that says for each operator call whether its result is to be kept, or a list of operators to keep. Out: two
contexts for ``checkpoint(..., context_fn=...)``: the first keeps results during the forward, the second hands them out
during the recomputation. What stays true: the recomputation records the same graph; only the reference of a kept
operator does not run again.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ..ops.dispatch import Interpreter, interpreting, local
from ..ops.op import NONE, VIEW, F
from ..tensor import Tensor
from ..tensor.eager import promote, record

__all__ = ["CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts"]


class CheckpointPolicy(enum.Enum):
    """What to do with an operator's result."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3


class SelectiveCheckpointContext:
    """What a policy function gets first: ``is_recompute`` says in which run it is asked."""

    def __init__(self, *, is_recompute: bool) -> None:
        self.is_recompute = is_recompute


_SAVES = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)


class _Selective(Interpreter):
    """Sees every operator call; composites are taken apart, so that the policy is asked about what really runs."""

    is_recompute = False

    def __init__(self, policy: Callable[..., CheckpointPolicy], kept: dict[Any, list], allow_mutation: bool) -> None:
        self.policy, self.kept, self.allow_mutation = policy, kept, allow_mutation
        self.context = SelectiveCheckpointContext(is_recompute=self.is_recompute)

    def __enter__(self) -> _Selective:
        self.inside = interpreting(self)
        self.inside.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool:
        self.inside.__exit__(*error)
        return False

    def call(self, op: Any, args: tuple, kwargs: dict) -> Any:
        if op.front is None:
            return self.decompose(op, args, kwargs)
        function = getattr(F, op.name)
        # A view keeps nothing of its own: it is always made again.
        if op.kind is VIEW or self.policy(self.context, function, *args, **kwargs) not in _SAVES:
            return function(*args, **kwargs)
        return self.saved(op, function, args, kwargs)


class _Keep(_Selective):
    def saved(self, op: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
        result = function(*args, **kwargs)
        tensors = result if isinstance(result, tuple) else (result,)
        self.kept[op.name].append([(t.detach(), t._version) for t in tensors])
        return result


class _HandOut(_Selective):
    is_recompute = True

    def saved(self, op: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
        if not self.kept[op.name]:
            raise RuntimeError(
                f"{op.public} encountered during backward but not found in storage. The recomputation called it more "
                "often than the forward, or the graph is walked a second time; only once is possible."
            )
        canonical = op.front(*args, **kwargs)
        if len(canonical) == 3:  # the front hands the call over to another operator
            name, args, kwargs = canonical
            return self.saved(getattr(F, name).op, getattr(F, name), args, kwargs)
        operands, attributes = canonical
        if op.promote is not NONE:
            operands = promote(op, operands)
        outs = []
        for tensor, version in self.kept[op.name].pop(0):
            if tensor._version != version and not self.allow_mutation:
                raise RuntimeError("Tensor cached during selective activation checkpoint has been mutated")
            outs.append(tensor.detach())
        if op.plan and local.grad and any(isinstance(t, Tensor) and t.requires_grad for t in operands):
            record(op, operands, attributes, tuple(outs))
        return tuple(outs) if op.nout > 1 else outs[0]


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Callable[..., CheckpointPolicy] | Sequence[Callable[..., Any]],
    allow_cache_entry_mutation: bool = False,
) -> tuple[Any, Any]:
    """Contexts for ``checkpoint(f, x, use_reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(...))``.

    Args:
        policy_fn_or_list: ``policy(context, function, *args, **kwargs) -> CheckpointPolicy``, asked about every operator
            call; or the functions whose results to keep, such as ``[pellucid.matmul]``.
        allow_cache_entry_mutation: do not complain when a kept result was written in place since.

    Raises:
        TypeError: neither a function nor a list.
        ValueError: the list holds something that is not an operator.
    """
    if isinstance(policy_fn_or_list, (list, tuple)):
        for function in policy_fn_or_list:
            if not hasattr(function, "op"):
                raise ValueError(
                    f"Expected op in `op_list` to be an operator but got: {function} of type {type(function)}."
                )
        names = {function.op.name for function in policy_fn_or_list}

        def policy(context: SelectiveCheckpointContext, function: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            return CheckpointPolicy.MUST_SAVE if function.op.name in names else CheckpointPolicy.PREFER_RECOMPUTE
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict[Any, list] = defaultdict(list)
    return (
        _Keep(policy, kept, allow_cache_entry_mutation),
        _HandOut(policy, kept, allow_cache_entry_mutation),
    )
