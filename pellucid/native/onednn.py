"""oneDNN through ctypes: memory descriptions, primitives and their arguments.

In: shapes, strides, dtypes. Out: `Primitive`, a sequence of library calls whose data pointers native code sets. The library is
`libdnnl.so.3` of any 3.x version: the wheel `onednn-cpu-gomp`'s, or the system's. `library()` is None where it is missing (or
PELLUCID_NO_ONEDNN is set): callers take the portable path, and `threads.notes()` says so, once.

True always: every status is checked; what native code was given the address of lives as long as its Primitive.
"""
from __future__ import annotations

import ctypes
import os
import site
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core import dtype as dt
from . import threads

P, I64 = ctypes.c_void_p, ctypes.c_int64
STATUS = {1: "out of memory", 2: "invalid arguments", 3: "not implemented for these operands", 4: "last implementation reached",
          5: "runtime error", 6: "not required"}
OUT_OF_MEMORY, UNIMPLEMENTED = 1, 3
DTYPE = {dt.float16: 1, dt.bfloat16: 2, dt.float32: 3, dt.int32: 4, dt.int8: 5, dt.uint8: 6}
ANY = 1                                                                 # the format tag: the primitive chooses
FORWARD, INFERENCE = 64, 96                                             # prop kinds
CONV_DIRECT, DECONV_DIRECT = 0x1, 0xA                                   # algorithms
RELU, BINARY_ADD, BINARY_MUL = 0x20, 0x1FFF0, 0x1FFF1
POOL_MAX, POOL_AVG_ALL, POOL_AVG_INSIDE = 0x1FF, 0x2FF, 0x3FF
SRC, SRC_1, DST, WEIGHTS, BIAS, WORKSPACE = 1, 2, 17, 33, 41, 64       # execution arguments
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS = 129, 145, 161
POST = 32768                                                            # of post-op i: POST * (i + 1) | 2
QUERY = {"src": 129, "diff_src": 130, "weights": 131, "diff_weights": 132, "dst": 133, "diff_dst": 134, "workspace": 135}
IMPLEMENTATION = 8
MANY = 8                                                                # primitives
MAX_ISA = {"baseline": 0x1, "avx2": 0x7}                                # SSE4.1, AVX2


class Unavailable(Exception):
    """The library has no implementation for these operands."""


class Argument(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_int), ("memory", P)]


class _Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int), ("hash", ctypes.c_char_p),
                ("cpu_runtime", ctypes.c_uint), ("gpu_runtime", ctypes.c_uint)]


def candidates() -> list[str]:
    """Where libdnnl.so.3 may be, in order: the environment's, the wheel's, the system's."""
    places = [os.path.join(base, "lib", "libdnnl.so.3") for base in dict.fromkeys((sys.prefix, site.getuserbase() or sys.prefix))]
    found = [p for p in places if os.path.exists(p)]
    if not found:
        from importlib.metadata import PackageNotFoundError, distribution       # here, because they take long to import
        try:
            for file in distribution("onednn-cpu-gomp").files or ():
                if file.name == "libdnnl.so.3":
                    found.append(str(file.locate()))
        except PackageNotFoundError:
            pass
    return [*found, "libdnnl.so.3"]


class Library:
    """The loaded library, its engine, and the addresses native code calls."""

    def __init__(self, lib, path: str):
        self.lib, self.path = lib, path
        lib.dnnl_version.restype = ctypes.POINTER(_Version)
        v = lib.dnnl_version().contents
        self.version = (v.major, v.minor, v.patch)
        if v.major != 3:
            raise OSError(f"{path} is version {v.major}.{v.minor}, not 3.x")
        lib.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        lib.dnnl_memory_desc_get_size.argtypes = [P]
        lib.dnnl_primitive_desc_query_md.restype = P
        lib.dnnl_primitive_desc_query_md.argtypes = [P, ctypes.c_int, ctypes.c_int]
        lib.dnnl_memory_desc_equal.argtypes = [P, P]
        lib.dnnl_memory_set_data_handle.argtypes = [P, P]
        lib.dnnl_post_ops_append_eltwise.argtypes = [P, ctypes.c_int, ctypes.c_float, ctypes.c_float]
        level = MAX_ISA.get(os.environ.get("PELLUCID_ISA", ""))
        if level is not None:
            lib.dnnl_set_max_cpu_isa(level)
        self.engine = P()
        check(lib.dnnl_engine_create(ctypes.byref(self.engine), 1, ctypes.c_size_t(0)), "dnnl_engine_create")
        self.execute = ctypes.cast(lib.dnnl_primitive_execute, P).value
        self.set_handle = ctypes.cast(lib.dnnl_memory_set_data_handle, P).value

    def __repr__(self) -> str:
        return f"oneDNN {'.'.join(map(str, self.version))} ({self.path})"


def check(status: int, what: str) -> None:
    """Raise for a status that is not success."""
    if status == 0:
        return
    if status == UNIMPLEMENTED:
        raise Unavailable(what)
    if status == OUT_OF_MEMORY:
        raise MemoryError(f"oneDNN: {what} ran out of memory")
    raise RuntimeError(f"oneDNN: {what} failed: {STATUS.get(status, f'status {status}')}")


class _State:
    library: Library | None = None
    looked = False
    lock = threading.Lock()


def library() -> Library | None:
    """The library, loaded on first use; None if it is missing or switched off."""
    if not _State.looked:
        with _State.lock:
            if not _State.looked:
                _State.library = _load()
                _State.looked = True
    return _State.library


def switched_off() -> bool:
    return os.environ.get("PELLUCID_NO_ONEDNN", "0") not in ("", "0")


def library_soon() -> None:
    """Read the library from the disk, and lay it out, beside what comes before its first use."""
    if _State.looked or sys.platform != "linux" or switched_off():
        return
    if threads.pool() is not None:
        threads.beside(reading, candidates()[0])


def reading(path: str) -> None:
    """`ctypes.CDLL` without Python's lock held."""
    ctypes.CDLL(None).dlopen(path.encode(), ctypes.c_int(os.RTLD_NOW | os.RTLD_LOCAL))


def _load() -> Library | None:
    if switched_off():
        threads.note("oneDNN is switched off (PELLUCID_NO_ONEDNN): matrix products are generated code, convolutions run on NumPy")
        return None
    if threads.pool() is None:          # first, because it decides how the pool's threads wait
        return None
    reasons = []
    for path in candidates():
        try:
            return Library(ctypes.CDLL(path), path)
        except (OSError, AttributeError, RuntimeError) as error:
            reasons.append(str(error))
    threads.note(f"oneDNN was not found ({reasons[-1]}): matrix products are generated code, convolutions run on NumPy; "
                 "pip install onednn-cpu-gomp", missed=True)
    return None


def call(name: str, *args) -> None:
    """A function of the library; raises unless it returns success."""
    check(getattr(_State.library.lib, name)(*args), name)


# ---------------------------------------------------------------------------------------------------- handles
class Handle:
    """A library object, destroyed with this one."""

    __slots__ = ("value", "_destroy")

    def __init__(self, destroy: str):
        self.value = P()
        self._destroy = getattr(_State.library.lib, destroy)

    def __del__(self):
        if self.value:
            self._destroy(self.value)
            self.value = None


class _Shared(threading.local):
    known: dict[tuple, Any] | None = None


_shared = _Shared()


@contextmanager
def sharing() -> Iterator[None]:
    """Descriptions and primitives that are asked for within are made once for equal arguments. Of one program: what uses them runs one
    after the other."""
    before, _shared.known = _shared.known, {}
    try:
        yield
    finally:
        _shared.known = before


def once(key: tuple, make: Callable[[], Any]) -> Any:
    """What was made for an equal key within this `sharing`; handles are equal if they are the same."""
    if _shared.known is None:
        return make()
    found = _shared.known.get(key)
    if found is None:
        found = _shared.known[key] = make()
    return found


def made(destroy: str, create: str, *args) -> Handle:
    """What `create(&handle, *args)` makes."""
    h = Handle(destroy)
    call(create, ctypes.byref(h.value), *args)
    return h


def _list(values: Sequence[int]):
    return (I64 * len(values))(*values)


def description(shape: Sequence[int], dtype: dt.dtype, strides: Sequence[int] | None = None) -> Handle:
    """A memory description; without strides the primitive chooses the layout."""
    destroy, create = "dnnl_memory_desc_destroy", "dnnl_memory_desc_create_with_" + ("tag" if strides is None else "strides")
    return once((create, tuple(shape), dtype, strides and tuple(strides)), lambda: made(
        destroy, create, len(shape), _list(shape), DTYPE[dtype], ANY if strides is None else _list(strides)))


def size_of(md) -> int:
    return _State.library.lib.dnnl_memory_desc_get_size(md)


def same(a, b) -> bool:
    """Whether two descriptions mean the same layout."""
    return bool(_State.library.lib.dnnl_memory_desc_equal(a, b))


def memory(md) -> Handle:
    """A memory object without data."""
    return made("dnnl_memory_destroy", "dnnl_memory_create", md, _State.library.engine, P(None))


def stream() -> Handle:
    return made("dnnl_stream_destroy", "dnnl_stream_create", _State.library.engine, 1)


def attributes(posts: Sequence[tuple] = ()) -> Handle | None:
    """Primitive attributes with post-operations: ("relu",), ("add", description) or ("scale", description)."""
    return once(("attributes", *posts), lambda: _attributes(posts)) if posts else None


def _attributes(posts: Sequence[tuple]) -> Handle:
    ops = made("dnnl_post_ops_destroy", "dnnl_post_ops_create")
    for post in posts:
        if post[0] == "relu":
            call("dnnl_post_ops_append_eltwise", ops.value, RELU, 0.0, 0.0)
        else:
            call("dnnl_post_ops_append_binary", ops.value, BINARY_MUL if post[0] == "scale" else BINARY_ADD,
                 post[1].value)
    attr = made("dnnl_primitive_attr_destroy", "dnnl_primitive_attr_create")
    call("dnnl_primitive_attr_set_post_ops", attr.value, ops.value)
    return attr


def primitive_description(name: str, *args) -> Handle:
    """`dnnl_<name>_primitive_desc_create` with the engine; handles and None are passed as they are meant."""
    values = [a.value if isinstance(a, Handle) else _list(a) if isinstance(a, tuple) else a for a in args]
    return once((name, *[a.value if isinstance(a, (P, ctypes.c_float)) else a for a in args]), lambda: made(
        "dnnl_primitive_desc_destroy", f"dnnl_{name}_primitive_desc_create", _State.library.engine, *values))


def wanted(pd: Handle, what: str) -> P:
    """The layout a primitive has chosen for one of its arguments. Valid as long as `pd`."""
    return once((pd, what), lambda: P(_State.library.lib.dnnl_primitive_desc_query_md(pd.value, QUERY[what], 0)))


def implementation(pd: Handle) -> str:
    """The library's name for the code it has chosen."""
    s = ctypes.c_char_p()
    call("dnnl_primitive_desc_query", pd.value, IMPLEMENTATION, 0, ctypes.byref(s))
    return (s.value or b"").decode()


# ---------------------------------------------------------------------------------------------------- primitives
class Primitive:
    """Library calls that make one operator's results.

    `binds` says which memory objects get the pointer of which view (by place among the call's views); `scratch` bytes of
    shared memory hold what lives only between these calls; `setup` runs once, for constants' layouts. Nothing can run before `Making`.
    """

    def __init__(self):
        self.execs: list[tuple[Handle, int, int]] = []          # primitive, arguments, their count
        self.setup: list[tuple[Handle, int, int]] = []
        self.waiting: list[tuple[Handle, Handle]] = []          # primitives, and what they will be; equal ones may be there already
        self.binds: list[tuple[int, int]] = []                  # memory object, view
        self.inner: list[tuple[Handle, int]] = []               # memory object, offset in the scratch memory
        self.scratch = 0
        self.names: list[str] = []
        self.kept: list[tuple[Handle, int]] = []                # memory object that lasts, bytes
        self._alive: list = []

    def view(self, index: int, md) -> Handle:
        """A memory object over view `index`."""
        m = memory(md.value if isinstance(md, Handle) else md)
        self.binds.append((m.value.value, index))
        self._alive += [m, md]
        return m

    def temporary(self, md, lasting: bool = False) -> Handle:
        """A memory object of our own: in the scratch memory, or, if `lasting`, for itself."""
        m = memory(md.value if isinstance(md, Handle) else md)
        size = size_of(md.value if isinstance(md, Handle) else md)
        if lasting:
            self.kept.append((m, size))
        else:
            self.inner.append((m, self.scratch))
            self.scratch += (size + 63) & ~63
        self._alive.append(m)
        return m

    def add(self, pd: Handle, arguments: dict[int, Handle], *, setup: bool = False) -> None:
        """Execute `pd` with these arguments after what is there already."""
        prim = once(("primitive", pd), lambda: Handle("dnnl_primitive_destroy"))
        self.waiting.append((prim, pd))
        args = (Argument * len(arguments))()
        for a, (k, m) in zip(args, arguments.items()):
            a.arg, a.memory = k, m.value
        self._alive += [prim, args, pd, *arguments.values()]
        (self.setup if setup else self.execs).append((prim, ctypes.addressof(args), len(arguments)))
        self.names.append(implementation(pd))

    def reordered(self, m: Handle, md, target, *, lasting: bool = False) -> Handle:
        """`m` in the layout `target`: itself, or a temporary that a reorder fills first."""
        mine = md.value if isinstance(md, Handle) else md
        if same(mine, target):
            return m
        t = self.temporary(target, lasting)
        self.add(reorder(mine, target), {SRC: m, DST: t}, setup=lasting)
        return t

    def run(self, which: list, stream_: Handle) -> None:
        """Execute from Python."""
        for prim, args, n in which:
            call("dnnl_primitive_execute", prim.value, stream_.value, n, P(args))


class Making:
    """Primitives whose code is being generated: if there are many, by a helper, beside what their owner does until `finish`. Much of a
    first call's time goes there."""

    def __init__(self, primitives: Sequence[Primitive]):
        self.jobs = [job for job in dict.fromkeys([job for p in primitives for job in p.waiting]) if not job[0].value]
        for p in primitives:
            p.waiting = []
        self.each, self.helper = iter(self.jobs), None
        if len(self.jobs) >= MANY and threads.count() > 1:
            self.helper = threads.beside(self.generating, threads.count())

    def generating(self, n: int) -> None:
        threads.tell_library(n)
        try:
            self._generate(self.each)
        except (RuntimeError, MemoryError, Unavailable):
            pass                                    # whoever waits for it will meet the same

    def _generate(self, jobs: Iterable[tuple[Handle, Handle]]) -> None:
        for prim, pd in jobs:
            call("dnnl_primitive_create", ctypes.byref(prim.value), pd.value)

    def finish(self) -> None:
        """Wait for them, and work instead."""
        self._generate(self.each)
        if self.helper is not None:
            self.helper.join()
        self._generate([job for job in self.jobs if not job[0].value])      # where the helper failed, or was lost in a fork


def reorder(source, target) -> Handle:
    engine = _State.library.engine
    return once(("reorder", source.value, target.value), lambda: made(
        "dnnl_primitive_desc_destroy", "dnnl_reorder_primitive_desc_create", source, engine, target, engine, None))


def set_handle(m: Handle, pointer: int) -> None:
    call("dnnl_memory_set_data_handle", m.value, P(pointer))
