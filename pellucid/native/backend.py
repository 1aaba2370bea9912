"""What a device must offer, and how native code for operators that are not kernels is plugged in.

A backend has arrays, a compiler for plans, and native implementations of library operators ("externs"). The CPU's is `build.cpu`;
another device stands beside it by filling the same protocol. Nothing above layer 4 knows which code generator runs.

Externs. `EXTERN[operator name]` is a list of emitters, tried in order; the first that does not return None is taken:

    emitter(call: LibCall, isa: Isa, symbol: str) -> Extern | None

`call` is kernel.plan's LibCall: dtypes, shapes, strides, attributes and post-steps are known; buffers are not looked at, so
one extern serves all calls that differ in buffers and offsets only. `Extern.ir` is a self-contained LLVM module as text
(with its own `declare`s; no target lines needed) that defines one function and may define more, all of them `internal`:

    define void @SYMBOL(ptr %views, i64 %tid, i64 %nth, ptr %scratch, ptr %shared, ptr %sizes)

- `views`: an array of pointers to the first element of each operand that is a View, in order (numbers and None have no
  place), then of each out, then of each post-step's operand. Offsets are already applied. Element types and strides are
  those of the Views.
- The function runs on `nth` threads at once, each with its own `tid` in [0, nth): it splits its work by them, statically,
  so that results are the same from run to run. `nth` is 1 unless `Extern.parallel` (and on machines without threads).
- `scratch`: `Extern.scratch` bytes of the thread's own, `shared`: `Extern.shared` bytes for all threads, both 64-byte
  aligned, uninitialised, null if 0 bytes were asked for.
- `sizes`: `Extern.sizes` as 64-bit words. An int of the call may be a SymInt, which becomes such a word where it is written by a
  `Module(isa, symbolic(call))`; written otherwise it is a number like any other, and each size has code of its own.
- Threads meet at `call void @pl_barrier(i64 %nth)` (`declare void @pl_barrier(i64)`): all of them must call it the same
  number of times. There is none at the end: the caller has one.
- It must not call back into Python, and must not raise; `memcpy`, `memset`, `memmove` are there. LLVM intrinsics are fine
  unless they need a library.

Backends are chosen by the order in EXTERN: oneDNN's primitives are not externs and come first where the library is present
(`onednn.primitive`), unless the extern was registered with `before_library=True` and accepts the call (small products).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .symbolic import SymInt

if TYPE_CHECKING:
    from ..kernel.plan import LibCall, Plan


@dataclass(frozen=True, slots=True)
class Extern:
    """Native code for one library call; the module's docstring says how it is called."""

    ir: str
    symbol: str
    parallel: bool = True
    scratch: int = 0            # bytes per thread
    shared: int = 0             # bytes for all threads together
    flops: int = 0              # operations of one call, for the report
    invariant: bool = False     # the same bits for any number of threads
    sizes: tuple[int, ...] = () # numbers that the code reads at run time


Emitter = Callable[["LibCall", Any, str], "Extern | None"]
EXTERN: dict[str, list[Emitter]] = {}
FIRST: dict[str, list[Emitter]] = {}            # asked before the library


def symbolic(call: LibCall) -> bool:
    """Whether sizes of a call are passed at run time."""
    views = [*call.operands, *call.outs, *[p.operand for p in call.post]]
    return any(isinstance(n, SymInt) for v in views if hasattr(v, "strides") for n in (*v.shape, *v.strides))


def extern(*names: str, before_library: bool = False) -> Callable[[Emitter], Emitter]:
    """Decorator over an emitter: it serves library calls of these operators."""
    def enter(emitter: Emitter) -> Emitter:
        for name in names:
            (FIRST if before_library else EXTERN).setdefault(name, []).append(emitter)
        return emitter
    return enter


def emit_extern(call: LibCall, isa: Any, symbol: str, table: dict[str, list[Emitter]]) -> Extern | None:
    """The first extern of `table` that accepts the call."""
    for emitter in table.get(call.name, ()):
        found = emitter(call, isa, symbol)
        if found is not None:
            return found
    return None


class Executable(Protocol):
    """A compiled plan. Calling it gives fresh outputs; write-backs happen in the input arrays."""

    report: dict

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]: ...


class Backend(Protocol):
    """A device: how its arrays are made, and what turns plans into programs."""

    name: str

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialised array of the device."""

    def build(self, plan: Plan, options: Any) -> Executable:
        """Compile a plan."""

    def native(self, call: LibCall) -> bool:
        """Whether a library call of this operator and these operands has native code here."""
