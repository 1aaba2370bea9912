"""Generators of random numbers, and the default one behind `manual_seed`. It is PyTorch's CPU generator (see `core.rng`).

In: seeds and states (uint8 tensors of 5,056 bytes, interchangeable with PyTorch's). Out: the same.
Stays true: a `Generator` owns one engine; every random operator draws from its `generator=` or from `default_generator`.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator


from ..core.device import check, device as Device
from ..core.errors import fail
from ..core.rng import Engine, default_engine
from ..ops.dispatch import values_known
from .core import Slots, wrap
from .fake import TraceError

# The part of `pellucid.random` that is in pellucid's own namespace too.
PUBLIC = ("Generator", "default_generator", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state")
__all__ = [*PUBLIC, "fork_rng"]


def outside_traces(what: str) -> None:
    """Refuse to touch a generator's state while tracing: the traced function would not do it again."""
    if not values_known():
        fail(TraceError, "P3007", f"{what} cannot be traced: it reads or sets the state of a random generator",
             fix="do it before calling the traced function")


class Generator:
    """A source of random numbers: `Generator().manual_seed(0)`, then `randn(3, generator=g)`.

    A new one starts from PyTorch's fixed seed, 67280421310721. Raises RuntimeError for a device that is not there.
    """

    __slots__ = ("_engine", "_device", "__weakref__")

    def __init__(self, device="cpu"):
        self._device = Device(device)
        check(self._device)
        self._engine = Engine()

    @property
    def device(self) -> Device:
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start over from `seed`, in [-2**63, 2**64). Returns the generator."""
        outside_traces("manual_seed()")
        try:
            self._engine.manual_seed(seed)
        except TypeError:
            fail(RuntimeError, "P290", f"manual_seed expected a long, but got {type(seed).__name__}", fix="pass an integer")
        return self

    def seed(self) -> int:
        """Start over from a seed of the operating system's, and return it."""
        outside_traces("seed()")
        return self._engine.seed()

    def initial_seed(self) -> int:
        """The seed it was last given, in [0, 2**64)."""
        return self._engine.initial_seed()

    def get_state(self):
        """The state as a uint8 tensor, as PyTorch's `get_state()` gives it."""
        outside_traces("get_rng_state()")
        return wrap(self._engine.get_state())

    def set_state(self, new_state) -> None:
        """Continue from a state of `get_state()` or of PyTorch's. TypeError or RuntimeError if it is none."""
        outside_traces("set_rng_state()")
        if not isinstance(new_state, Slots):
            fail(TypeError, "P290", f"expected a torch.ByteTensor, but got {type(new_state).__name__}",
                 fix="pass what get_state() returned")
        self._engine.set_state(new_state._a)

    def clone_state(self) -> Generator:
        """An independent generator in the same state."""
        return _over(self._engine.clone())

    graphsafe_get_state = clone_state

    def graphsafe_set_state(self, state: Generator) -> None:
        """Continue from the state of another generator."""
        self._engine.set_state(state._engine.get_state())

    def __reduce__(self):
        return _over, (self._engine.clone(),)

    def __deepcopy__(self, memo) -> Generator:
        return self.clone_state()


def _over(engine: Engine) -> Generator:
    g = object.__new__(Generator)
    g._engine, g._device = engine, Device("cpu")
    return g


class _DefaultGenerator(Generator):
    """The process's generator. Its engine is made at the first draw, so that importing costs nothing."""

    __slots__ = ()

    def __init__(self):
        self._device = Device("cpu")

    @property
    def _engine(self) -> Engine:
        return default_engine()

    def __reduce__(self):
        return "default_generator"


default_generator: Generator = _DefaultGenerator()


def manual_seed(seed) -> Generator:
    """Seed the default generator with an integer in [-2**63, 2**64); negative ones count from 2**64. Returns it."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator with a number of the operating system's, and return it."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state():
    """The state of the default generator, a uint8 tensor that `torch.set_rng_state` takes too."""
    return default_generator.get_state()


def set_rng_state(new_state) -> None:
    """Set the state of the default generator from a uint8 tensor of `get_rng_state`."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices=None, enabled: bool = True, _caller: str = "fork_rng", _devices_kw: str = "devices",
             device_type: str = "cuda") -> Iterator[None]:
    """Inside, draws do not move the default generator of the outside: its state is restored at the end."""
    if not enabled:
        yield
        return
    outside_traces("fork_rng()")
    state = default_engine().get_state()
    try:
        yield
    finally:
        default_engine().set_state(state)
