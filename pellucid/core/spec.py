"""`Spec`: what is known of a tensor without its values. Shape rules take Specs and return Specs.

True always: `shape` is a tuple of ints, `strides` counts elements (None means contiguous).
"""
from __future__ import annotations

from .device import CPU, device
from .dtype import dtype
from .errors import fail


class TensorLike:
    """Marks what operators take as a tensor: an eager Tensor or a graph's Value. Both answer shape, dtype, ndim."""

    __slots__ = ()


class Spec:
    """A tensor's shape, dtype, strides and device. Equal parts make equal Specs; nothing of one changes.

    (Not a dataclass: making one takes half a millisecond at every start.)"""

    __slots__ = ("shape", "dtype", "strides", "device")

    def __init__(self, shape: tuple[int, ...], dtype: dtype, strides: tuple[int, ...] | None = None, device: device = CPU):
        put = object.__setattr__
        put(self, "shape", shape)
        put(self, "dtype", dtype)
        put(self, "strides", strides)
        put(self, "device", device)

    def __setattr__(self, name: str, value) -> None:
        raise AttributeError(f"a Spec does not change: make a new one to set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Spec does not change: {name!r} stays")

    def _parts(self) -> tuple:
        return self.shape, self.dtype, self.strides, self.device

    def __eq__(self, other) -> bool:
        return self._parts() == other._parts() if type(other) is Spec else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parts())

    def __reduce__(self):
        return Spec, self._parts()

    def __repr__(self) -> str:
        return f"Spec(shape={self.shape!r}, dtype={self.dtype!r}, strides={self.strides!r}, device={self.device!r})"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return numel(self.shape)

    def like(self, shape=None, dtype: dtype | None = None) -> Spec:
        """The same, contiguous, with another shape or dtype."""
        return Spec(self.shape if shape is None else tuple(shape), dtype or self.dtype, None, self.device)


def numel(shape) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def contiguous_strides(shape) -> tuple[int, ...]:
    """Row-major strides in elements; dimensions of size 0 count as 1, as in PyTorch."""
    out, step = [], 1
    for s in reversed(shape):
        out.append(step)
        step *= max(s, 1)
    return tuple(reversed(out))


def broadcast_shapes(*shapes) -> tuple[int, ...]:
    """The common shape, or PyTorch's error naming the sizes and the dimension."""
    n = max((len(s) for s in shapes), default=0)
    out = [1] * n
    for shape in shapes:
        off = n - len(shape)
        for i, s in enumerate(shape):
            if s != 1 and out[off + i] != s:
                if out[off + i] != 1:
                    fail(RuntimeError, "P201",
                         f"The size of tensor a ({out[off + i]}) must match the size of tensor b ({s}) "
                         f"at non-singleton dimension {off + i}",
                         got=" and ".join(str(list(x)) for x in shapes),
                         fix="make the sizes equal, or 1 where a dimension should repeat (unsqueeze, expand, transpose)")
                out[off + i] = s
    return tuple(out)


def wrap_dim(dim: int, ndim: int) -> int:
    """`dim` counted from the front. A 0-d tensor accepts 0 and -1. Raises IndexError out of range."""
    n = ndim or 1
    if not -n <= dim < n:
        fail(IndexError, "P202", f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})",
             fix=f"the tensor has {ndim} dimension(s)")
    return dim + n if dim < 0 else dim


def wrap_dims(dim, ndim: int) -> tuple[int, ...]:
    """Every dimension in `dim` (an int, a sequence, or None for all), counted from the front; no repeats."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (wrap_dim(dim, ndim),)
    out = tuple(wrap_dim(int(d), ndim) for d in dim)
    if len(set(out)) != len(out):
        twice = next(d for d in out if out.count(d) > 1)
        fail(RuntimeError, "P203", f"dim {twice} appears multiple times in the list of dims", fix="name each dimension once")
    return out
