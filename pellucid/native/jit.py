"""Object code into memory. In: object files' bytes, and addresses of what they call. Out: the addresses of what they define.

True always: the code stays where it is as long as the `Code` object that `load` returned lives; objects may call each other,
the C library's memory routines and the functions named in `symbols`, nothing else of the process.
"""
from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping


from .binding import llvm
from .cache import disk, key

_count = itertools.count()
_lock = threading.Lock()


class _State:
    jit = None
    symbols: dict[str, int] = {}


def _jit():
    if _State.jit is None:
        with _lock:
            if _State.jit is None:
                llvm.initialize_native_target()
                llvm.initialize_native_asmprinter()
                target = llvm.Target.from_triple(llvm.get_process_triple())
                libc = ctypes.CDLL(None)
                _State.symbols = {name: address(getattr(libc, name)) for name in ("memcpy", "memmove", "memset")}
                _State.jit = llvm.create_lljit_compiler(target.create_target_machine(jit=True), use_jit_link=True)
    return _State.jit


def address(function) -> int:
    """Where a ctypes function is."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Code:
    """Linked objects. `code["name"]` is an exported function's address."""

    __slots__ = ("_tracker", "names")

    def __init__(self, tracker, names: tuple[str, ...]):
        self._tracker, self.names = tracker, names

    def __getitem__(self, name: str) -> int:
        return self._tracker[name]


def load(objects: Iterable[bytes], exports: Iterable[str], symbols: Mapping[str, int] = {}) -> Code:
    """Link object files. Raises RuntimeError naming the symbols that nothing defines."""
    jit = _jit()
    builder = llvm.JITLibraryBuilder()
    for data in objects:
        builder.add_object_img(data)
    for name, where in {**_State.symbols, **symbols}.items():
        builder.import_symbol(name, where)
    names = tuple(exports)
    for name in names:
        builder.export_symbol(name)
    return Code(builder.link(jit, f"pellucid{next(_count)}"), names)


KEPT = 256                      # objects that are kept in memory where there is no disk
_kept: dict[str, bytes] = {}


def compiled(kind: str, parts: tuple[str, ...], compile: Callable[[], bytes]) -> tuple[bytes, bool]:
    """(object bytes, whether they were there): what `compile` makes, kept under a key of `kind` and `parts`."""
    name = key(kind, llvm.llvm_version_info.__repr__(), *parts)
    found = disk().get(name) or _kept.get(name)
    if found is not None:
        return found, True
    made = compile()
    if not disk().put(name, made):
        with _lock:
            if len(_kept) >= KEPT:
                del _kept[next(iter(_kept))]
            _kept[name] = made
    return made, False


def assemble(ir: str, cpu: str = "", features: str = "", level: int = 2, scheduled: bool = False) -> bytes:
    """LLVM IR text to an object file. Without a CPU the code runs on any of this architecture. `scheduled` code is vectorised
    and unrolled already: it only needs its registers (a third of the time)."""
    _jit()
    module = llvm.parse_assembly(ir)
    module.verify()
    triple = llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small")
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    builder = llvm.create_pass_builder(machine, options)
    if not scheduled:
        builder.getModulePassManager().run(module, builder)
        return machine.emit_object(module)
    return light(module, machine, builder)


def light(module, machine, builder) -> bytes:
    """The object of code that is vectorised and unrolled already: values into registers, no empty blocks, nothing more."""
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return machine.emit_object(module)
