"""`pellucid.distributed`: PyTorch's collectives in a world of one process.

In: programs written for `torchrun`. Out: the same programs in one process: every collective gives what it gives in a world of one, with
PyTorch's checks of its arguments. What stays true: nothing leaves the process; a larger world is refused when it is asked for.
"""
from __future__ import annotations

from ..core.errors import unknown as _unknown
from .collectives import (ReduceOp, Work, all_gather, all_gather_into_tensor, all_gather_object, all_reduce, all_to_all, all_to_all_single, barrier,
                          broadcast, broadcast_object_list, gather, gather_object, irecv, isend, monitored_barrier, recv, reduce, reduce_scatter,
                          reduce_scatter_tensor, scatter, scatter_object_list, send)
from .groups import (Backend, GroupMember, ProcessGroup, default_pg_timeout, destroy_process_group, get_backend, get_default_backend_for_device,
                     get_global_rank, get_group_rank, get_node_local_rank, get_process_group_ranks, get_rank, get_world_size, group, init_process_group,
                     is_available, is_backend_available, is_gloo_available, is_initialized, is_mpi_available, is_nccl_available,
                     is_torchelastic_launched, new_group)

__all__ = [
    "Backend", "GroupMember", "ProcessGroup", "ReduceOp", "Work", "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce",
    "all_to_all", "all_to_all_single", "barrier", "broadcast", "broadcast_object_list", "default_pg_timeout", "destroy_process_group", "gather",
    "gather_object", "get_backend", "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_process_group_ranks", "get_rank",
    "get_world_size", "group", "init_process_group", "irecv", "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "isend", "monitored_barrier", "new_group", "recv", "reduce",
    "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
]

__getattr__ = _unknown(globals())
