"""Process groups: the one process there is, its rank, and the groups it is in.

In: `init_process_group` with PyTorch's ways of saying who is there. Out: `ProcessGroup`s of one member, and answers about them. What
stays true: the default group is there from `init_process_group` to `destroy_process_group`, and whoever asks before or after is told so.
Definitions: torch/distributed/distributed_c10d.py and rendezvous.py (behaviour, not text).
"""
from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from ..core.device import device as Device
from ..core.errors import fail

__all__: list[str] = []

default_pg_timeout = timedelta(minutes=30)
_BUILT_IN = ("gloo",)
_OTHERS = ("nccl", "ucc", "mpi", "xccl")


# ---------------------------------------------------------------------------------------------------- what there is
def is_available() -> bool:
    """True: there are process groups, of one process each."""
    return True


def is_gloo_available() -> bool:
    """True: the backend of the CPU is the one there is."""
    return True


def is_nccl_available() -> bool:
    """False: not part of this build."""
    return False


def is_mpi_available() -> bool:
    """False: not part of this build."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether `torchrun` has started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def is_backend_available(backend: str) -> bool:
    """Whether `init_process_group` takes this backend."""
    return backend.lower() in _BUILT_IN


class Backend(str):
    """The name of a backend, in lower case."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl"
    backend_list = ["undefined", "gloo", "nccl", "xccl", "ucc", "mpi"]
    default_device_backend_map = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl"}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """Processes that compute together: here, this one."""

    def __init__(self, backend: str, name: str):
        self._backend, self._name = backend, name

    def rank(self) -> int:
        """This process's number in the group: 0."""
        return 0

    def size(self) -> int:
        """The number of its processes: 1."""
        return 1

    def name(self) -> str:
        """The backend's name."""
        return self._backend

    @property
    def group_name(self) -> str:
        return self._name


class _State:
    """The groups there are. A compiled function relies on `default` being the same object."""

    def __init__(self) -> None:
        self.default: ProcessGroup | None = None
        self.groups: dict[int, ProcessGroup] = {}
        self.count = 0

    def add(self, backend: str, name: str) -> ProcessGroup:
        made = ProcessGroup(backend, name or str(self.count))
        self.groups[id(made)] = made
        self.count += 1
        return made


STATE = _State()


class _Members(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The default group; None before init_process_group."""
        return STATE.default


class GroupMember(metaclass=_Members):
    """`WORLD`, the default group, and `NON_GROUP_MEMBER`, what a process gets for a group it is not in."""

    NON_GROUP_MEMBER = -100


class group(metaclass=_Members):
    """`group.WORLD`: the default group."""


# ---------------------------------------------------------------------------------------------------- making groups
def init_process_group(backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
                       rank: int = -1, store: Any = None, group_name: str = "", pg_options: Any = None, device_id: Any = None) -> None:
    """Make the default group, of this process alone.

    Who it is comes from `rank` and `world_size`, or from `init_method`: "env://" (the default; RANK, WORLD_SIZE, MASTER_ADDR and
    MASTER_PORT), "tcp://host:port?rank=0&world_size=1" or "file:///path". Nobody is contacted. Raises ValueError if there is a group
    already or something is missing, RuntimeError for a world of more than one process and for backends other than "gloo".
    """
    if STATE.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    name = _backend(backend)
    if store is not None:
        if init_method is not None:
            raise AssertionError("Cannot specify both init_method and store.")
        if world_size < 1:
            raise AssertionError("world_size must be positive if using store")
        if rank < 0:
            raise AssertionError("rank must be non-negative if using store")
    else:
        rank, world_size = _rendezvous(init_method or "env://", rank, world_size)
    if world_size != 1:
        fail(RuntimeError, "P3301", f"init_process_group(): a world of {world_size} processes", got=f"rank={rank}, world_size={world_size}",
             fix="this build trains in one process: start one, with world_size=1")
    if rank != 0:
        raise ValueError(f"Invalid rank {rank}: a world of 1 process has rank 0")
    STATE.default = STATE.add(name, group_name)


def _backend(backend: str | None) -> str:
    """The name of a backend, also where it is given by device, as "cpu:gloo"."""
    if backend is None:
        return Backend.UNDEFINED
    names = [part.rpartition(":")[2] for part in Backend(backend).split(",")]
    for name in names:
        if name in _OTHERS:
            raise RuntimeError(f"Distributed package doesn't have {name.upper()} built in")
        if name not in _BUILT_IN:
            raise AssertionError(f"Unknown backend type {name}")
    return names[0]


def _rendezvous(url: str, rank: int, world_size: int) -> tuple[int, int]:
    """(rank, world size) by PyTorch's ways of meeting."""
    from urllib.parse import parse_qsl, urlparse        # here, because it takes long to import
    parts = urlparse(url)
    scheme = parts.scheme
    if scheme not in ("env", "tcp", "file"):
        raise RuntimeError(f"No rendezvous handler for {scheme}://")
    query = dict(parse_qsl(parts.query))
    where = f"Error initializing torch.distributed using {scheme}:// rendezvous: "

    def environment(variable: str) -> str:
        found = os.environ.get(variable)
        if found is None:
            raise ValueError(f"{where}environment variable {variable} expected, but not set")
        return found

    for place, text in (("rank", rank), ("world_size", world_size)):
        if text < 0 and place in query:
            rank, world_size = (int(query[place]), world_size) if place == "rank" else (rank, int(query[place]))
    if scheme == "env":
        rank = rank if rank >= 0 else int(environment("RANK"))
        world_size = world_size if world_size >= 0 else int(environment("WORLD_SIZE"))
        environment("MASTER_ADDR")
        environment("MASTER_PORT")
        return rank, world_size
    if scheme == "tcp" and not parts.port:
        raise ValueError(f"{where}port number missing")
    if scheme == "file" and not parts.path:
        raise ValueError(f"{where}path missing")
    for value, text in ((rank, "rank"), (world_size, "world size")):
        if value < 0:
            raise ValueError(f"{where}{text} parameter missing")
    return rank, world_size


def new_group(ranks: Any = None, timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
              use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None) -> ProcessGroup:
    """Another group of this process. `ranks`: None or [0]; ValueError for any other."""
    default = member(None)
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    if ranks is not None:
        ranks = list(ranks)
        if len(set(ranks)) != len(ranks):
            raise ValueError(f"ranks list must not contain duplicate entries, got {ranks}")
        if len(ranks) > 1:
            raise ValueError("the new group's world size should be less or equal to the world size set by init_process_group")
        if not ranks:
            raise ValueError("new_group(): a group has at least one rank")
        if ranks != [0]:
            raise ValueError(f"Rank {ranks[0]} is out of range. Valid ranks are 0 to 0 (world_size=1)")
    return STATE.add(default._backend if backend is None else _backend(backend), "")


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """End a group; all of them, if it is the default one."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    if group is None and STATE.default is None:
        raise AssertionError("Process group cannot be None")
    if group is None or group is STATE.default:
        STATE.default = None
        STATE.groups.clear()
        STATE.count = 0
        return
    if STATE.groups.pop(id(group), None) is None:
        raise ValueError("Invalid process group specified")


# ---------------------------------------------------------------------------------------------------- asking
def is_initialized() -> bool:
    """Whether the default group is there."""
    return STATE.default is not None


def member(group: Any) -> ProcessGroup:
    """The group meant: the default one for None. ValueError if it is not there."""
    if group is None:
        if STATE.default is None:
            raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
        return STATE.default
    if STATE.groups.get(id(group)) is not group:
        raise ValueError(f"Group {group} is not registered, please create group with torch.distributed.new_group API")
    return group


def get_rank(group: ProcessGroup | None = None) -> int:
    """This process's number in the group: 0, or -1 if it is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else member(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """How many processes the group has: 1, or -1 if this one is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else member(group).size()


def get_backend(group: ProcessGroup | None = None) -> str:
    """The name of the group's backend."""
    return Backend(member(group)._backend)


def get_default_backend_for_device(device: Any) -> str:
    """The name of the backend that PyTorch takes for tensors on a device; whether it is there, `is_backend_available` says."""
    kind = Device(device).type
    found = Backend.default_device_backend_map.get(kind)
    if found is None:
        fail(ValueError, "P3306", f"Default backend not registered for device : {device}",
             fix="one of " + ", ".join(map(repr, Backend.default_device_backend_map)))
    return found


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks of a group's processes: [0]."""
    member(group)
    return [0]


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """A process's number in a group, by its number in the world."""
    if global_rank != 0:
        raise ValueError(f"Global rank {global_rank} is not part of group {member(group)}")
    return member(group).rank()


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """A process's number in the world, by its number in a group."""
    if group_rank != 0:
        raise ValueError(f"Group rank {group_rank} is not part of group {member(group)}")
    return member(group).rank()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """LOCAL_RANK of the environment, or `fallback_rank`."""
    found = os.environ.get("LOCAL_RANK")
    if found is None and fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
                           "assuming you are not running in a multi-device context and want the code to run locally instead.")
    return int(fallback_rank if found is None else found)
