"""Functions of the public namespace that ask about tensors or settings rather than compute."""
from __future__ import annotations

import warnings

from .. import native
from ..core import dtype as dt
from ..core import spec
from ..core.config import config
from ..core.errors import describe, fail
from ..core.layout import contiguous_format
from .core import Slots
from .size import Size

PUBLIC = ("is_tensor", "is_floating_point", "is_complex", "is_nonzero", "is_storage", "numel", "typename", "result_type", "can_cast",
          "promote_types", "broadcast_shapes", "get_num_threads", "set_num_threads", "get_num_interop_threads",
          "set_num_interop_threads", "use_deterministic_algorithms", "are_deterministic_algorithms_enabled",
          "is_deterministic_algorithms_warn_only_enabled", "get_deterministic_debug_mode", "set_deterministic_debug_mode", "is_warn_always_enabled",
          "get_float32_matmul_precision", "set_float32_matmul_precision", "_assert",
          "set_warn_always", "is_same_size", "zero_", "resize_as_", "is_conj", "is_neg", "is_inference", "is_signed", "set_flush_denormal")


def is_tensor(obj) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Slots)


def is_storage(obj) -> bool:
    """Whether `obj` is a storage."""
    return type(obj).__name__ in ("UntypedStorage", "TypedStorage")


def is_floating_point(input) -> bool:
    """Whether the tensor's dtype is a floating type."""
    return input.is_floating_point()


def is_complex(input) -> bool:
    """Whether the tensor's dtype is a complex type."""
    return input.is_complex()


def is_signed(input) -> bool:
    """Whether the tensor's dtype is signed."""
    return input.is_signed()


def is_conj(input) -> bool:
    """False: conjugation is computed at once here."""
    return input.is_conj()


def is_neg(input) -> bool:
    """False: negation is computed at once here."""
    return input.is_neg()


def is_inference(input) -> bool:
    """Whether the tensor was made in inference mode."""
    return input.is_inference()


def is_same_size(input, other) -> bool:
    """Whether both tensors have one shape."""
    return input.is_same_size(other)


def is_nonzero(input) -> bool:
    """Whether a one-element tensor is not zero."""
    if input.numel() != 1:
        fail(RuntimeError, "P360", f"Boolean value of Tensor with {'no values' if not input.numel() else 'more than one value'} is ambiguous",
             got=describe(input), fix="use .any() or .all(), or compare shapes instead")
    return bool(input)


def numel(input) -> int:
    """The number of elements."""
    if not isinstance(input, Slots):
        raise TypeError(f"numel(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input.numel()


def typename(obj) -> str:
    """The type's name with its module; a tensor's as `torch.FloatTensor`."""
    if isinstance(obj, Slots):
        return obj.type()
    cls = obj if isinstance(obj, type) else type(obj)
    return cls.__name__ if cls.__module__ in (None, "builtins") else f"{cls.__module__}.{cls.__qualname__}"


def result_type(tensor1, tensor2) -> dt.dtype:
    """The dtype an arithmetic operation on the two operands (tensors or numbers) gives."""
    dims, zeros, nums = [], [], []
    for x in (tensor1, tensor2):
        if isinstance(x, Slots):
            (dims if x.ndim else zeros).append(x.dtype)
        else:
            nums.append(dt.of_number(x))
    return dt.result_type_of(dims, zeros, nums)


def can_cast(from_, to) -> bool:
    """Whether PyTorch's rules allow the cast in an in-place result."""
    return dt.can_cast(dt.as_dtype(from_), dt.as_dtype(to))


def promote_types(type1, type2) -> dt.dtype:
    """The smallest dtype that holds both."""
    return dt.promote_types(type1, type2)


def broadcast_shapes(*shapes) -> Size:
    """The common shape of shapes (or sizes) under broadcasting. Raises RuntimeError if there is none."""
    for s in shapes:
        for n in (s if not isinstance(s, int) else (s,)):
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({n})")
    return Size(spec.broadcast_shapes(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


def get_num_threads() -> int:
    """The number of threads for computing."""
    return config.threads


def set_num_threads(n: int) -> None:
    """Set the number of threads for computing. Raises RuntimeError unless positive, ValueError from 2**31 on."""
    if not isinstance(n, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    if n >= 1 << 31:
        raise ValueError(f"Overflow when unpacking long{' long' * (n >= 1 << 63)}")
    config.threads = n
    native.threads.recount()


def get_num_interop_threads() -> int:
    return config.interop_threads


def set_num_interop_threads(n: int) -> None:
    if n <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    config.interop_threads = n


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for deterministic algorithms: every operator here is deterministic already, and memory that nobody wrote to (`empty`,
    `resize_`) is filled with NaN or the largest integer (see `utils.deterministic.fill_uninitialized_memory`)."""
    config.deterministic, config.deterministic_warn_only = bool(mode), warn_only


_DEBUG_MODES = ("default", "warn", "error")


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` as a number or word: 0 or "default", 1 or "warn", 2 or "error"."""
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if debug_mode not in (*_DEBUG_MODES, 0, 1, 2):
        raise RuntimeError("invalid value of debug_mode, expected `default`, `warn`, `error`, or 0, 1, 2, but got " + str(debug_mode))
    n = _DEBUG_MODES.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(n > 0, warn_only=n == 1)


def get_deterministic_debug_mode() -> int:
    """0: no determinism is asked for; 1: with warnings; 2: with errors."""
    return 0 if not config.deterministic else 1 if config.deterministic_warn_only else 2


def are_deterministic_algorithms_enabled() -> bool:
    return config.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    return config.deterministic_warn_only


def set_float32_matmul_precision(precision: str) -> None:
    """Record how products of float32 matrices may round: "highest", "high" or "medium". On the CPU they are float32 throughout, which
    all three allow."""
    if precision in ("highest", "high", "medium"):
        config.float32_matmul_precision = precision
    else:
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the current setFloat32MatmulPrecision call has no effect.",
                      stacklevel=2)


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` set; "highest" before."""
    return config.float32_matmul_precision


def _assert(condition, message: str) -> None:
    """`assert condition, message`, as a function."""
    assert condition, message


def set_warn_always(b: bool) -> None:
    config.warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    return config.warn_always


def set_flush_denormal(mode: bool) -> bool:
    """False: denormals are kept as IEEE 754 says."""
    return False


def zero_(input):
    """Fill `input` with zeros, in place."""
    return input.zero_()


def resize_as_(input, the_template, *, memory_format=contiguous_format):
    """Give `input` the shape of `the_template`, in place; elements that come new are not initialised."""
    return input.resize_as_(the_template, memory_format=memory_format)
