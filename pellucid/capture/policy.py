"""What kind of thing a value is, for a capture: which functions are interpreted, which run as they are, which stop it.

The only tables of names in capture. What stays true: a C function is called only if it is listed here, or belongs to a type that is.
"""
from __future__ import annotations

import array
import builtins
import collections
import enum
import functools
import itertools
import operator
import re
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.device import device
from ..core.dtype import dtype
from ..core.errors import PACKAGE
from ..nn import Module
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from ..tensor.core import Slots
from ..tensor.symbolic import SymNumber
from .sources import lookup

__all__: list[str] = []

ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented), dtype, device, range))
BY_VALUE = frozenset((int, float, complex, bool, str, bytes, type(None)))       # what the guard of arguments compares by itself
ITERATORS = frozenset(map(type, (iter([]), iter(()), iter({}), iter({}.keys()), iter({}.values()), iter({}.items()), iter(set()), iter(""),
                                 iter(range(0)), iter(b""), reversed([]), zip(), enumerate(()), map(int, ()), filter(None, ()),
                                 itertools.chain(), itertools.count(), itertools.cycle(()), itertools.repeat(1, 0), itertools.product(),
                                 itertools.islice((), 0), itertools.zip_longest(), itertools.starmap(int, ()),
                                 itertools.combinations((), 1), itertools.permutations(()), itertools.accumulate(()),
                                 itertools.pairwise(()), iter(collections.deque()), itertools.takewhile(None, ()),
                                 itertools.dropwhile(None, ()), itertools.compress((), ()), itertools.groupby(()))))
MAPPINGS = (dict, types.MappingProxyType)
BUFFERS = (bytearray, memoryview, array.array, type({}.keys()), type({}.values()), type({}.items()))    # contents change without a sign
METHODS = (types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType)
TUPLE_FIELD = type(collections.namedtuple("_", "x").x)
# What tensors say of their history and their place in memory.
FACTS = frozenset(("is_leaf", "grad_fn", "retains_grad", "output_nr", "_base", "storage_offset", "data_ptr", "is_inference", "is_shared", "is_pinned",
                   "_is_view", "_version"))

# ---------------------------------------------------------------------------------------------------- functions
# Packages whose Python code runs as it is: it has no state that a program could see change, or says so to the tracer.
NATIVE = (f"{PACKAGE}nn/modules/_", *(f"{PACKAGE}{part}/" for part in ("tensor", "ops", "core", "autograd", "optim", "native", "kernel", "graph", "compiler", "amp",
                                                "linalg", "backends", "distributed")),
          *(f"{PACKAGE}{part}.py" for part in ("capture/arrays", "capture/choices", "profiler/annotate", "nn/functional", "nn/init", "nn/parameter", "nn/attention/_mods", "__init__", "random", "special", "fft", "jit", "nn/html")))
# Except these: what they read is noted.
SCHEDULERS = tuple(f"{PACKAGE}optim/{part}.py" for part in ("_schedule", "lr_scheduler", "_cyclic_schedules"))
# Methods of modules that change nothing.
MODULE_READS = frozenset(("parameters", "named_parameters", "buffers", "named_buffers", "children", "named_children", "modules", "named_modules",
                          "get_submodule", "get_parameter", "get_buffer", "state_dict", "zero_grad", "__repr__", "extra_repr", "forward", "__len__",
                          "__iter__", "__getitem__", "__contains__", "keys", "values", "items", "__call__", "_named_members"))
# Python code of other packages that runs as it is.
PURE = ("typing", "enum", "abc", "collections", "dataclasses", "re", "types", "numbers", "typing_extensions", "keyword")
# Modules whose functions act on the world outside, or look at more of it than can be followed.
ACTING = frozenset(("logging", "warnings", "threading", "traceback", "importlib", "random", "copy", "pickle", "time", "datetime", "os",
                    "pathlib", "io", "subprocess", "socket", "tempfile", "shutil", "json", "csv", "queue", "multiprocessing", "unittest",
                    "unittest.mock", "asyncio", "linecache", "gc", "weakref", "copyreg", "glob", "pdb", "sys", "posixpath", "uuid", "secrets",
                    "hashlib", "tqdm", "concurrent.futures", "_pytest", "ctypes", "inspect"))
OUTPUT = frozenset(("logging", "warnings"))

# Methods that put hooks on tensors and nodes.
HOOKS = frozenset(("register_hook", "register_prehook", "register_post_accumulate_grad_hook", "retain_grad"))

# Functions of pellucid that change the state of the process, or tell it.
EFFECTS = frozenset(("manual_seed", "seed", "set_rng_state", "set_num_threads", "set_num_interop_threads", "use_deterministic_algorithms", "save",
                     "load", "set_printoptions", "set_default_device", "set_flush_denormal", "get_num_threads", "get_rng_state",
                     "initial_seed", "are_deterministic_algorithms_enabled", "fork_rng",
                     "is_deterministic_algorithms_warn_only_enabled", "get_deterministic_debug_mode", "set_deterministic_debug_mode",
                     "get_num_interop_threads", "is_warn_always_enabled", "set_warn_always", "get_float32_matmul_precision",
                     "set_float32_matmul_precision", "get_default_device", "init_process_group", "destroy_process_group",
                     "new_group", "get_node_local_rank", "is_torchelastic_launched"))

BUILTIN = {f for f in vars(builtins).values() if callable(f)} - {
    open, input, builtins.__build_class__, exec, eval, compile, breakpoint, globals, locals, __import__, exit, quit, getattr, setattr, delattr} - {
    f for f in vars(builtins).values() if isinstance(f, type)}
CLASSES = {f for f in vars(builtins).values() if isinstance(f, type)} | {
    collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter, functools.partial, types.SimpleNamespace,
    types.MethodType, types.MappingProxyType, slice, operator.itemgetter, operator.attrgetter, operator.methodcaller, types.CellType}
SAFE_TYPES = {str, int, float, complex, bool, bytes, list, dict, set, frozenset, tuple, range, slice, type(None), collections.deque,
              collections.OrderedDict, collections.defaultdict, collections.Counter, re.Pattern, re.Match, dtype, device, type({}.keys()),
              type({}.values()), type({}.items()), types.MappingProxyType, types.GetSetDescriptorType, object, type, BaseException,
              bytearray, property}
READ_ONLY = frozenset(("copy", "get", "keys", "values", "items", "index", "count", "__len__", "__getitem__", "__contains__", "__iter__", "union",
                       "intersection", "difference", "symmetric_difference", "issubset", "issuperset", "isdisjoint", "__eq__", "__ne__", "__lt__",
                       "__le__", "__gt__", "__ge__", "__reversed__", "most_common", "elements", "__add__", "__mul__", "__or__", "__and__"))
DICTS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
# Methods of containers, and classes, that put values somewhere else without looking at them.
HANDS_ON = frozenset(("append", "appendleft", "extend", "extendleft", "insert", "update", "setdefault", "copy", "get", "pop", "popleft",
                      "values", "items", "keys", "clear", "reverse", "__iter__", "__len__"))
HANDED = frozenset((list, tuple, dict, collections.deque, zip, enumerate, reversed, iter))
# Methods that iterate over their arguments, and modules whose functions do.
ITERATE = frozenset(("join", "extend", "extendleft", "update", "union", "intersection", "difference", "symmetric_difference", "issubset",
                     "issuperset", "isdisjoint", "fromkeys", "difference_update", "intersection_update", "symmetric_difference_update",
                     "fsum", "prod", "dist", "sumprod", "heapify", "nlargest", "nsmallest", "from_iterable"))
C_MODULES = frozenset(("math", "cmath", "_operator", "itertools", "_functools", "_collections", "_abc", "_struct", "_bisect", "_heapq", "_stat",
                       "_typing", "_string", "_sre", "unicodedata", "binascii"))
PURE_FUNCTIONS = {sys.intern, sys.getdefaultencoding, np.dtype, np.finfo, np.iinfo, id}

# Functions of NumPy, and methods of arrays, that write into an array.
ARRAY_WRITES = frozenset(("fill", "sort", "put", "resize", "partition", "setfield", "byteswap", "copyto", "place", "putmask", "fill_diagonal", "at",
                          "put_along_axis", "setflags", "__setitem__", "itemset", "__setstate__"))

# ---------------------------------------------------------------------------------------------------- operators
_NAMES = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "@": "matmul", "**": "pow", "&": "and", "|": "or",
          "^": "xor", "<<": "lshift", ">>": "rshift"}
BINARY = {sign: (f"__{name}__", f"__r{name}__") for sign, name in _NAMES.items()}
IN_PLACE = {f"{sign}=": f"__i{name}__" for sign, name in _NAMES.items()}
COMPARE = {"<": ("__lt__", "__gt__"), "<=": ("__le__", "__ge__"), "==": ("__eq__", "__eq__"), "!=": ("__ne__", "__ne__"),
           ">": ("__gt__", "__lt__"), ">=": ("__ge__", "__le__")}


# ---------------------------------------------------------------------------------------------------- kinds of values
def plain(x: Any) -> bool:
    """Whether a value is immutable and is compared by value."""
    kind = type(x)
    return kind in ATOMS or kind in (tuple, frozenset) and all(map(plain, x)) or isinstance(x, (enum.Enum, np.dtype))


_STABLE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodDescriptorType, types.WrapperDescriptorType,
           types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType, types.CodeType, property, staticmethod,
           classmethod, Module, Optimizer, enum.Enum, np.dtype, functools.partial, typing.TypeVar, np.ufunc, functools._lru_cache_wrapper,
           re.Pattern, type(np.sum), types.MethodWrapperType, operator.itemgetter, operator.attrgetter, operator.methodcaller, types.GenericAlias)


KNOWN = (Module, types.ModuleType, type, types.FunctionType, Optimizer, LRScheduler, enum.Enum)      # always named by identity


def stable(x: Any) -> bool:
    """Whether a place that holds this value is expected to go on holding this very object."""
    if isinstance(x, types.BuiltinFunctionType):
        owner = x.__self__
        return owner is None or isinstance(owner, (types.ModuleType, type))
    return isinstance(x, _STABLE) or type(x).__module__ in ("typing", "torch", "pellucid") or framework_class(type(x)) and not isinstance(x, (list, dict, tuple))


def by_identity(x: Any) -> bool:
    """Whether == compares this object by identity."""
    return type(x).__eq__ is object.__eq__


def numpy_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic))


def space_of(x: Any) -> dict | None:
    """The __dict__ of an instance."""
    try:
        return object.__getattribute__(x, "__dict__")
    except AttributeError:
        return None


def python_method(kind: type, name: str) -> types.FunctionType | None:
    """The special method of a class, if it is written in Python."""
    if kind in ATOMS:
        return None
    found = lookup(kind, name)
    return found if type(found) is types.FunctionType else None


def data_descriptor(x: Any) -> bool:
    kind = type(x)
    return kind is property or hasattr(kind, "__set__") or hasattr(kind, "__delete__")


def python_class(kind: type) -> bool:
    """Whether a class is made by a class statement: on the heap, as some of Python's own are from 3.12 on, and not immutable, as those are."""
    return kind.__flags__ & (1 << 9 | 1 << 8) == 1 << 9


@functools.lru_cache(None)
def users_class(kind: type) -> bool:
    """Whether a class is made by a class statement that is neither pellucid's nor in Python's own library."""
    head = (kind.__module__ or "").partition(".")[0]
    return python_class(kind) and not framework_class(kind) and (head == "__main__" or head not in sys.stdlib_module_names)


@functools.lru_cache(None)
def framework_class(kind: type) -> bool:
    """Whether a class belongs to pellucid, its demo left out, and what says that it is as a user's: its attributes may change."""
    name = kind.__module__ or ""
    return name.partition(".")[0] == "pellucid" and not name.startswith("pellucid.demo") and not getattr(kind, "_capture_as_users", False)


def framework_space(space: dict) -> bool:
    """Whether globals are those of a module whose names do not change: pellucid's, Python's own, NumPy's."""
    name = space.get("__name__") or ""
    head = name.partition(".")[0]
    return head in ("pellucid", "numpy", "torch") and not name.startswith("pellucid.demo") or head in sys.stdlib_module_names and head != "__main__"


def framework_file(name: str) -> bool:
    return name.startswith(PACKAGE) and not name.startswith(PACKAGE + "demo")


def user_code(fn: Any) -> bool:
    """Whether a function is written in Python, and not part of pellucid."""
    return type(fn) is types.FunctionType and not framework_file(fn.__code__.co_filename)


def inlined(fn: Any) -> bool:
    """Whether a method that Python calls by itself is interpreted."""
    return type(fn) is types.FunctionType and decide(fn) == "inline"


class Told(NamedTuple):
    """What the user said of a function: "allow", it runs as it is; "constant", so it does, and gives at each call what it gave then;
    "substitute", `other` is followed in its place."""

    fn: Callable
    how: str
    other: Callable | None = None


TOLD: dict[int, Told] = {}                                  # by identity, of the function without what it is bound to


# What to do with a Python function.
_decided: dict[int, tuple[types.CodeType, str]] = {}        # by identity: code objects compare by value


def decide(fn: types.FunctionType) -> str:
    """"inline", "native" (runs as it is) or "refuse" (a break)."""
    code = fn.__code__
    found = _decided.get(id(code))
    if found is None or found[0] is not code:
        if len(_decided) > 20_000:
            _decided.clear()
        found = _decided[id(code)] = code, _decide(fn, code.co_filename)
    return found[1]


def _decide(fn: types.FunctionType, file: str) -> str:
    if framework_file(file):
        if fn.__name__ in EFFECTS and "." not in fn.__qualname__:
            return "refuse"
        return "native" if file.startswith(NATIVE) and (
            not file.startswith(SCHEDULERS) or fn.__code__.co_qualname.startswith("_track_steps.")) else "inline"
    module = fn.__globals__.get("__name__") or ""
    head = module.partition(".")[0]
    if module in ACTING or head in ACTING or fn.__name__ == "get_type_hints":
        return "refuse"
    if head in PURE and (module not in ("dataclasses", "collections", "collections.abc") or file.startswith("<") and module != "collections.abc"):
        return "native"
    if head in ("collections", "dataclasses"):
        return "native" if fn.__name__ in ("namedtuple", "dataclass", "field", "fields", "is_dataclass", "_process_class") else "inline"
    if head == "numpy":
        return "numpy"
    return "inline"


def native_module(module: Module) -> bool:
    """Whether calling a module runs nothing but pellucid's own code: it and its parts are pellucid's, without hooks or changes."""
    return not any([not framework_class(type(m)) or "forward" in m.__dict__ or m._any_hook_left() for m in module.modules()])


def listed(fn: Callable) -> bool:
    """Whether a C function may be called during capture."""
    if fn in BUILTIN or fn in PURE_FUNCTIONS:
        return True
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, types.ModuleType):
        return owner.__name__ in C_MODULES
    if owner is not None:
        kind = owner if isinstance(owner, type) else type(owner)
        return (kind in SAFE_TYPES or kind in ITERATORS or kind in ATOMS or isinstance(owner, (Slots, SymNumber))
                or any(base in SAFE_TYPES for base in kind.__mro__[:-1]) or kind is object or type(fn) is types.MethodWrapperType)
    kind = getattr(fn, "__objclass__", None)
    if kind is not None:
        return kind in SAFE_TYPES or kind in ITERATORS or issubclass(kind, Slots)
    return getattr(fn, "__module__", None) in C_MODULES
