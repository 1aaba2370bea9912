"""Collectives in a world of one: each gives what its definition gives for one process.

In: tensors, and the group they are about. Out: the same values where they belong. What stays true: arguments are checked as PyTorch's
"gloo" backend does; tensors are written to without gradients, as there.
Definitions: torch/distributed/distributed_c10d.py and ProcessGroupGloo.cpp (behaviour, not text).
"""
from __future__ import annotations

import copy
import enum
from typing import Any, NoReturn

from ..core import dtype as dt
from ..core.errors import fail
from ..tensor import Tensor
from ..tensor.modes import no_grad
from .groups import GroupMember, member

__all__: list[str] = []


class RedOpType(enum.Enum):
    """How values are put together."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)

    def __repr__(self) -> str:
        return f"<RedOpType.{self.name}: {self.value}>"


class ReduceOp:
    """`ReduceOp.SUM`, `AVG`, `PRODUCT`, `MIN`, `MAX`, `BAND`, `BOR`, `BXOR`: how values of several processes are put together."""

    RedOpType = RedOpType
    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = RedOpType

    def __new__(cls, op: RedOpType) -> RedOpType:
        return RedOpType(op)


_BITWISE = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
_REAL = (ReduceOp.MIN, ReduceOp.MAX, ReduceOp.PRODUCT, *_BITWISE)


class Work:
    """What `async_op=True` gives: it is done already."""

    def __init__(self, tensors: list):
        self._tensors = tensors

    def wait(self, timeout: Any = None) -> bool:
        """True: done."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True

    def is_success(self) -> bool:
        """True."""
        return True

    def result(self) -> list:
        """The tensors that were written to."""
        return self._tensors


# ---------------------------------------------------------------------------------------------------- checks
def _tensor(x: Any, name: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n             but got {type(x)} instead.")


def _tensors(xs: Any, name: str) -> None:
    if not isinstance(xs, list):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
                        f"             but got {type(xs)} instead.")
    if not all(isinstance(x, Tensor) for x in xs):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
                        f"             but got {type(xs)} with elements of type {[type(x) for x in xs]}.")


def _inside(group: Any) -> bool:
    """Whether this process is in the group; ValueError if there is no such group."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return False
    member(group)
    return True


def _root(rank: int | None, group_rank: int | None, what: str, group: Any) -> None:
    """Check the rank of the one process that sends or receives."""
    if rank is not None and group_rank is not None:
        raise ValueError("Can't specify both group_rank and global_rank")
    found = group_rank if rank is None else rank
    if found is None:
        raise ValueError("Must specify global_rank or group_rank")
    member(group)
    if found != 0:
        fail(RuntimeError, "P3302", f"{what}(): invalid root rank: {found}", fix="a world of one process has rank 0 only")


def _operation(op: Any, t: Tensor, what: str) -> None:
    """Check that a reduction is defined for a tensor's dtype."""
    if not isinstance(op, RedOpType):
        raise TypeError(f"{what}(): op must be a ReduceOp, such as ReduceOp.SUM, not {op!r}")
    if t.dtype.category >= dt.COMPLEX and op in _REAL:
        raise ValueError(f"{what} does not support {op} on complex tensors")
    if t.dtype.is_floating_point and op in _BITWISE:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype")


def _alike(out: Tensor, x: Tensor, what: str) -> None:
    if out.dtype is not x.dtype:
        raise ValueError(f"Invalid usage of tensors with different dtypesFound {out.dtype} and  {x.dtype}")
    if out.shape != x.shape:
        fail(RuntimeError, "P3303", f"{what}(): invalid tensor size at index 0 (expected {tuple(x.shape)}, got {tuple(out.shape)})",
             fix="in a world of one process the output has the input's shape")


def _one(xs: list, what: str, which: str) -> None:
    if len(xs) != 1:
        fail(RuntimeError, "P3304", f"{what}(): Incorrect {which} list size {len(xs)}. {which.capitalize()} list size should be 1, same as size of the "
             "process group.", fix="one tensor for each process: here, one")


def _done(tensors: list, async_op: bool) -> Work | None:
    return Work(tensors) if async_op else None


@no_grad()
def _put(out: Tensor, x: Tensor) -> None:
    if out is not x:
        out.copy_(x)


# ---------------------------------------------------------------------------------------------------- one tensor
def broadcast(tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None) -> Work | None:
    """Everybody gets the tensor of `src`: it stays as it is."""
    _tensor(tensor, "tensor")
    if not _inside(group):
        return None
    _root(src, group_src, "broadcast", group)
    return _done([tensor], async_op)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Everybody gets the reduction of all tensors: of one, the tensor as it is."""
    _tensor(tensor, "tensor")
    if not _inside(group):
        return None
    _operation(op, tensor, "all_reduce")
    return _done([tensor], async_op)


def reduce(tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:
    """`dst` gets the reduction of all tensors: of one, the tensor as it is."""
    _tensor(tensor, "tensor")
    if not _inside(group):
        return None
    _root(dst, group_dst, "reduce", group)
    _operation(op, tensor, "reduce")
    return _done([tensor], async_op)


# ---------------------------------------------------------------------------------------------------- one from each, one for each
def all_gather(tensor_list: list, tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """`tensor_list` gets the tensor of each process."""
    _tensors(tensor_list, "tensor_list")
    _tensor(tensor, "tensor")
    if not _inside(group):
        return None
    _one(tensor_list, "all_gather", "output")
    _alike(tensor_list[0], tensor, "all_gather")
    _put(tensor_list[0], tensor)
    return _done(tensor_list, async_op)


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """`output_tensor` gets the tensors of all processes, one after the other."""
    _tensor(output_tensor, "output_tensor")
    _tensor(input_tensor, "input_tensor")
    if not _inside(group):
        return None
    _alike(output_tensor, input_tensor, "all_gather_into_tensor")
    _put(output_tensor, input_tensor)
    return _done([output_tensor], async_op)


def gather(tensor: Tensor, gather_list: list | None = None, dst: int | None = None, group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:
    """`dst` (0 if it is left out) gets the tensor of each process in `gather_list`."""
    _tensor(tensor, "tensor")
    if gather_list:
        _tensors(gather_list, "gather_list")
    if not _inside(group):
        return None
    if dst is None and group_dst is None:
        dst = 0
    if (group_dst if dst is None else dst) == 0 and not gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if (group_dst if dst is None else dst) != 0 and gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    _root(dst, group_dst, "gather", group)
    _one(gather_list, "gather", "output")
    _alike(gather_list[0], tensor, "gather")
    _put(gather_list[0], tensor)
    return _done(gather_list, async_op)


def scatter(tensor: Tensor, scatter_list: list | None = None, src: int | None = None, group: Any = None, async_op: bool = False,
            group_src: int | None = None) -> Work | None:
    """`tensor` gets this process's part of the `scatter_list` of `src` (0 if it is left out)."""
    _tensor(tensor, "tensor")
    if scatter_list:
        _tensors(scatter_list, "scatter_list")
    if not _inside(group):
        return None
    if src is None and group_src is None:
        src = 0
    _root(src, group_src, "scatter", group)
    if not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    _one(scatter_list, "scatter", "input")
    _alike(tensor, scatter_list[0], "scatter")
    _put(tensor, scatter_list[0])
    return _done([tensor], async_op)


def reduce_scatter(output: Tensor, input_list: list, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """`output` gets the reduction of this process's part of every `input_list`."""
    _tensor(output, "output")
    _tensors(input_list, "input_list")
    if not _inside(group):
        return None
    if len(input_list) != 1:
        raise RuntimeError("invalid input tensor list size, must be world size")
    _operation(op, output, "reduce_scatter")
    _alike(output, input_list[0], "reduce_scatter")
    _put(output, input_list[0])
    return _done([output], async_op)


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """`output` gets the reduction of this process's part of every `input`."""
    _tensor(output, "output")
    _tensor(input, "input")
    if not _inside(group):
        return None
    _operation(op, output, "reduce_scatter_tensor")
    _alike(output, input, "reduce_scatter_tensor")
    _put(output, input)
    return _done([output], async_op)


def all_to_all(output_tensor_list: list, input_tensor_list: list, group: Any = None, async_op: bool = False) -> Work | None:
    """Each process sends one tensor to each: the one to itself."""
    _tensors(output_tensor_list, "output_tensor_list")
    _tensors(input_tensor_list, "input_tensor_list")
    if not _inside(group):
        return None
    _one(output_tensor_list, "all_to_all", "output")
    _one(input_tensor_list, "all_to_all", "input")
    _alike(output_tensor_list[0], input_tensor_list[0], "all_to_all")
    _put(output_tensor_list[0], input_tensor_list[0])
    return _done(output_tensor_list, async_op)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None, input_split_sizes: list[int] | None = None,
                      group: Any = None, async_op: bool = False) -> Work | None:
    """Each process sends a part of `input` to each: the whole to itself."""
    _tensor(output, "output")
    _tensor(input, "input")
    if not _inside(group):
        return None
    for sizes, t in ((output_split_sizes, output), (input_split_sizes, input)):
        if sizes and len(sizes) != 1:
            raise RuntimeError("Number of tensor splits not equal to group size")
        if sizes and sizes[0] != t.shape[0]:
            raise RuntimeError("Split sizes doesn't match total dim 0 size")
    _alike(output, input, "all_to_all_single")
    _put(output, input)
    return _done([output], async_op)


# ---------------------------------------------------------------------------------------------------- to one another, and waiting
def _alone(what: str, rank: int | None, group: Any, other: str) -> NoReturn:
    member(group)
    if rank == 0:
        raise ValueError(f"Invalid {other} rank: {other} rank should not be the same as the rank of the current process.")
    fail(ValueError, "P3305", f"{what}(): there is no rank {rank} to talk to", fix="a world of one process has rank 0 only")


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """ValueError: there is nobody else."""
    _tensor(tensor, "tensor")
    _alone("send", group_dst if dst is None else dst, group, "destination")


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """ValueError: there is nobody else."""
    _tensor(tensor, "tensor")
    _alone("recv", group_src if src is None else src, group, "source")


def isend(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> Work | None:
    """ValueError: there is nobody else."""
    _tensor(tensor, "tensor")
    _alone("isend", group_dst if dst is None else dst, group, "destination")


def irecv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> Work | None:
    """ValueError: there is nobody else."""
    _tensor(tensor, "tensor")
    _alone("irecv", group_src if src is None else src, group, "source")


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None) -> Work | None:
    """Wait for everybody, who is here."""
    return _done([], async_op) if _inside(group) else None


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Wait for everybody, who is here."""
    _inside(group)


# ---------------------------------------------------------------------------------------------------- objects
def all_gather_object(object_list: list, obj: Any, group: Any = None) -> None:
    """`object_list` gets a copy of each process's object."""
    if _inside(group):
        object_list[0] = copy.deepcopy(obj)


def broadcast_object_list(object_list: list, src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None) -> None:
    """Everybody gets the objects of `src`: they stay as they are."""
    if _inside(group):
        _root(src, group_src, "broadcast_object_list", group)


def gather_object(obj: Any, object_gather_list: list | None = None, dst: int | None = None, group: Any = None, group_dst: int | None = None) -> None:
    """`dst` (0 if it is left out) gets a copy of each process's object in `object_gather_list`."""
    if not _inside(group):
        return
    if dst is None and group_dst is None:
        dst = 0
    _root(dst, group_dst, "gather_object", group)
    if not object_gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    object_gather_list[0] = copy.deepcopy(obj)


def scatter_object_list(scatter_object_output_list: list, scatter_object_input_list: list | None = None, src: int | None = None, group: Any = None,
                        group_src: int | None = None) -> None:
    """`scatter_object_output_list[0]` gets a copy of this process's part of the list of `src` (0 if it is left out)."""
    if not _inside(group):
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    if src is None and group_src is None:
        src = 0
    _root(src, group_src, "scatter_object_list", group)
    if scatter_object_input_list is None:
        raise ValueError("source rank must provide non-None scatter_object_input_list")
    _one(scatter_object_input_list, "scatter_object_list", "input")
    scatter_object_output_list[0] = copy.deepcopy(scatter_object_input_list[0])
