"""Writing the pickle stream of a checkpoint: the inverse of `interpreter` and `names`, opcode for opcode as PyTorch's.

In: tensors, plain containers, numbers, strings, dtypes, devices, sizes, NumPy values; modules, and other objects, by the name
of their class and their state. Out: a protocol-2 pickle stream and the list of storages it names. True always: whatever is
emitted, `load` reads back (objects of other classes than nn's where the caller allows these), and so does PyTorch's `load`
(with weights_only=True, but for NumPy values, frozenset and defaultdict, which PyTorch reads only with False); what no
name leads to raises TypeError before a byte is written; an object met twice is written once and referred to.
"""

from __future__ import annotations

import copyreg
import struct
import sys
from collections import Counter, OrderedDict, defaultdict
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Callable

import numpy as np

from ..core.device import device
from ..core.dtype import dtype
from ..core.errors import fail
from . import bridge
from .limits import Limits
from .names import FACTORIES, STORAGE_NAMES, UNTYPED
from .objects import OLD_MODULES, canonical

__all__ = ["Emitter", "StoredArray"]

_BATCH = 1000                                             # items an APPENDS or SETITEMS takes, as in Python's pickle
_OLD_NAMES = {new: old for old, new in OLD_MODULES.items()}         # as protocol 2 spells them


class StoredArray:
    """One storage to be written: `key` names it in the stream, `data` is its bytes, `kind` its element type (None: untyped)."""

    __slots__ = ("data", "keep", "key", "kind")

    def __init__(self, key: str, data: np.ndarray, kind: dtype | None, keep: Any):
        self.key, self.data, self.kind, self.keep = key, data, kind, keep

    @property
    def itemsize(self) -> int:
        return self.kind.itemsize if self.kind is not None else 1


class Emitter:
    """Emits one object. `legacy` names storages as the format before PyTorch 1.6 does."""

    def __init__(self, legacy: bool = False):
        self.legacy = legacy
        self.out = bytearray()
        self.storages: dict[int, StoredArray] = {}       # by address of the memory, or by identity where there is none
        self._memo: dict[int, int] = {}                   # id of an object -> its number
        self._globals: dict[str, int] = {}
        self._keep: list[Any] = []                        # objects whose ids are in the memo
        self._count = 0
        self._open: set[int] = set()                      # objects being written

    def dump(self, obj: Any) -> bytes:
        """The stream for `obj`. Raises TypeError for what no name leads to, ValueError for cycles."""
        self.out += b"\x80\x02"
        self.save(obj)
        self.out += b"."
        return bytes(self.out)

    # -- the memo --------------------------------------------------------------------------------------------------

    def _put(self) -> int:
        """Number the value on top of the stack."""
        number = self._count
        self._count += 1
        self.out += b"q" + bytes((number,)) if number < 256 else b"r" + struct.pack("<I", number)
        return number

    def _get(self, number: int) -> None:
        self.out += b"h" + bytes((number,)) if number < 256 else b"j" + struct.pack("<I", number)

    def _memoize(self, obj: Any) -> None:
        self._memo[id(obj)] = self._put()
        self._keep.append(obj)

    # -- dispatch --------------------------------------------------------------------------------------------------

    def save(self, obj: Any) -> None:
        """Emit any object."""
        writer = _WRITERS.get(type(obj))
        if writer is None:
            writer = self._other_writer(obj)
        elif writer in _UNNUMBERED:
            writer(self, obj)
            return
        known = self._memo.get(id(obj))
        if known is not None:
            if id(obj) in self._open:
                fail(ValueError, "P512", f"cannot save a {type(obj).__name__} that contains itself", fix="save the parts without their owner")
            self._get(known)
            return
        if len(self._open) > Limits.depth:
            fail(ValueError, "P513", f"cannot save an object nested deeper than {Limits.depth} levels", got=f"a {type(obj).__name__} at that depth",
                 fix="save flatter structures, such as dicts of dicts by name")
        self._open.add(id(obj))
        writer(self, obj)
        self._open.discard(id(obj))

    def _other_writer(self, obj: Any) -> Callable[[Emitter, Any], None]:
        if isinstance(obj, bridge.Tensor):
            if type(obj) is bridge.Parameter:
                return Emitter.save_parameter
            if type(obj) is bridge.Tensor or obj.is_sparse:
                return Emitter.save_tensor
            fail(TypeError, "P511", f"cannot save a {type(obj).__name__}: only Tensor and Parameter themselves are restored, not other "
                 "subclasses", fix="save t.as_subclass(Tensor)")
        if isinstance(obj, bridge.UntypedStorage):
            return Emitter.save_storage
        if isinstance(obj, np.generic):
            return Emitter.save_numpy_scalar
        if isinstance(obj, (type, FunctionType, BuiltinFunctionType)):
            return Emitter.save_reference
        return Emitter.save_object

    # -- plain values ----------------------------------------------------------------------------------------------

    def save_none(self, obj: None) -> None:
        self.out += b"N"

    def save_bool(self, obj: bool) -> None:
        self.out += b"\x88" if obj else b"\x89"

    def save_int(self, obj: int) -> None:
        if 0 <= obj < 256:
            self.out += b"K" + bytes((obj,))
        elif 0 <= obj < 65536:
            self.out += b"M" + struct.pack("<H", obj)
        elif -(1 << 31) <= obj < 1 << 31:
            self.out += b"J" + struct.pack("<i", obj)
        else:
            data = obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True)
            if data[-1] == 255 and len(data) > 1 and data[-2] & 0x80:
                data = data[:-1]                          # -2**63 and its like need no byte for the sign
            if len(data) > Limits.int_bytes:
                raise ValueError(f"cannot save an integer of {len(data):,} bytes (at most {Limits.int_bytes:,})")
            self.out += b"\x8a" + bytes((len(data),)) if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data))
            self.out += data

    def save_float(self, obj: float) -> None:
        self.out += b"G" + struct.pack(">d", obj)

    def save_str(self, obj: str) -> None:
        data = obj.encode("utf-8", "surrogatepass")
        if len(data) >= 1 << 32:
            raise ValueError("cannot save a string of 4 GiB or more")
        self.out += b"X" + struct.pack("<I", len(data)) + data
        self._memoize(obj)

    def save_bytes(self, obj: bytes) -> None:
        self._call("_codecs", "encode", str(obj, "latin1"), "latin1")
        self._memoize(obj)

    def save_bytearray(self, obj: bytearray) -> None:
        self._call("__builtin__", "bytearray", bytes(obj)) if obj else self._call("__builtin__", "bytearray")
        self._memoize(obj)

    def save_complex(self, obj: complex) -> None:
        self._call("__builtin__", "complex", obj.real, obj.imag)
        self._memoize(obj)

    # -- containers ------------------------------------------------------------------------------------------------

    def save_tuple(self, obj: tuple) -> None:
        if not obj:
            self.out += b")"
            return
        if len(obj) > 3:
            self.out += b"("
        for item in obj:
            self.save(item)
        self.out += (b"t", b"\x85", b"\x86", b"\x87")[len(obj) if len(obj) <= 3 else 0]
        self._memoize(obj)

    def save_list(self, obj: list) -> None:
        self.out += b"]"
        self._memoize(obj)
        self._items([(item,) for item in obj], b"a", b"e", marked_rest=True)

    def save_dict(self, obj: dict) -> None:
        self.out += b"}"
        self._memoize(obj)
        self._items(list(obj.items()), b"s", b"u", marked_rest=True)

    def _items(self, items: list[tuple], one: bytes, many: bytes, marked_rest: bool) -> None:
        """Items in batches. `marked_rest`: how Python's pickle writes a last batch of one depends on the class."""
        for at in range(0, len(items), _BATCH):
            batch = items[at : at + _BATCH]
            single = len(batch) == 1 and (at == 0 or not marked_rest)
            if not single:
                self.out += b"("
            for item in batch:
                for part in item:
                    self.save(part)
            self.out += one if single else many

    def save_set(self, obj: set) -> None:
        self._call("__builtin__", "set", list(obj))
        self._memoize(obj)

    def save_frozenset(self, obj: frozenset) -> None:
        self._call("__builtin__", "frozenset", list(obj))
        self._memoize(obj)

    def save_ordered_dict(self, obj: OrderedDict) -> None:
        self._call("collections", "OrderedDict")
        self._memoize(obj)
        self._items(list(obj.items()), b"s", b"u", marked_rest=False)
        if vars(obj):                                     # `_metadata` of a state_dict
            self.save(dict(vars(obj)))
            self.out += b"b"

    def save_default_dict(self, obj: defaultdict) -> None:
        factory = obj.default_factory
        if factory is not None and not any(factory is kind for kind in FACTORIES):
            fail(TypeError, "P514", f"cannot save a defaultdict whose factory is {factory!r}: only the builtin types "
                 f"{', '.join(kind.__name__ for kind in FACTORIES)} are restored", fix="save dict(d)")
        self._global("collections", "defaultdict")
        if factory is None:
            self.out += b")"
        else:
            self._global("__builtin__", factory.__name__)
            self.out += b"\x85"
            self._put()
        self.out += b"R"
        self._memoize(obj)
        self._items(list(obj.items()), b"s", b"u", marked_rest=False)

    def save_counter(self, obj: Counter) -> None:
        self._call("collections", "Counter", dict(obj))
        self._memoize(obj)

    # -- names and calls -------------------------------------------------------------------------------------------

    def _global(self, module: str, name: str) -> None:
        spelled = f"{module} {name}"
        number = self._globals.get(spelled)
        if number is not None:
            self._get(number)
            return
        self.out += b"c" + f"{module}\n{name}\n".encode()
        self._globals[spelled] = self._put()

    def _call(self, module: str, name: str, *args: Any) -> None:
        self._global(module, name)
        self.save_tuple(args)
        self.out += b"R"

    def save_dtype(self, obj: dtype) -> None:
        self._global("torch", obj.name)

    def save_device(self, obj: device) -> None:
        self._call("torch", "device", *((obj.type,) if obj.index is None else (obj.type, obj.index)))
        self._memoize(obj)

    def save_size(self, obj: Any) -> None:
        self._call("torch", "Size", tuple(obj))
        self._memoize(obj)

    # -- whole objects ---------------------------------------------------------------------------------------------

    def save_reference(self, obj: Any, name: str | None = None) -> None:
        """A class or function: its module and name, where these lead to it."""
        name, module = name or getattr(obj, "__qualname__", None), getattr(obj, "__module__", None)
        held = sys.modules.get(module) if isinstance(module, str) else None
        if held is None or vars(held).get(name) is not obj:
            if "<" in str(name):
                why = "it was defined inside a function, or is a lambda, so that no name leads to it"
            else:
                why = f"it is not what {module}.{name} leads to"
            fail(TypeError, "P517", f"cannot save {module}.{name}: {why}",
                 fix="define it by name at the top level of a module; of a model, save model.state_dict()")
        self._global(_OLD_NAMES.get(module, canonical(module)), name)

    def save_object(self, obj: Any) -> None:
        """Any other object, as pickle has it: what makes it, its items, its state."""
        reduce = copyreg.dispatch_table.get(type(obj))
        try:
            parts = reduce(obj) if reduce else obj.__reduce_ex__(2)
        except TypeError as error:
            _refuse(obj, str(error))
        if isinstance(parts, str):
            return self.save_reference(obj, parts)
        function, args, state, items, pairs, setter = (*parts, None, None, None, None)[:6]
        if setter is not None or function is getattr or function is copyreg.__newobj_ex__:   # type: ignore[attr-defined]
            _refuse(obj, "how it is made again is not written in these files")
        new = function is copyreg.__newobj__                                                 # type: ignore[attr-defined]
        self.save_reference(args[0] if new else function)
        self.save_tuple(args[1:] if new else args)
        self.out += b"\x81" if new else b"R"
        self._memoize(obj)
        self._items([(item,) for item in items or ()], b"a", b"e", marked_rest=True)
        self._items(list(pairs or ()), b"s", b"u", marked_rest=True)
        if state is not None:
            self.save(state)
            self.out += b"b"

    # -- tensors ---------------------------------------------------------------------------------------------------

    def save_tensor(self, obj: Any) -> None:
        attributes = dict(vars(obj))
        if attributes:
            self._global("torch._tensor", "_rebuild_from_type_v2")
            self.out += b"("
            self._tensor_function(obj)
            self._global("torch", "Tensor")
            self._tensor_arguments(obj)
            self.save(attributes)
            self.out += b"t"
            self._put()
        else:
            self._tensor_function(obj)
            self._tensor_arguments(obj)
        self.out += b"R"
        self._memoize(obj)

    def _tensor_function(self, obj: Any) -> None:
        if obj.is_sparse:
            return self._global("torch._utils", "_rebuild_sparse_tensor")
        self._global("torch._utils", "_rebuild_meta_tensor_no_storage" if obj.is_meta else
                     "_rebuild_tensor_v2" if obj.dtype in STORAGE_NAMES else "_rebuild_tensor_v3")

    def _sparse_arguments(self, obj: Any) -> None:
        self._call("torch.serialization", "_get_layout", str(obj.layout))
        self._put()
        self.save((obj._indices(), obj._values(), obj.shape, obj.is_coalesced()))
        self.out += b"\x86"
        self._put()

    def _tensor_arguments(self, obj: Any) -> None:
        if obj.is_sparse:
            return self._sparse_arguments(obj)
        if obj.is_meta:
            self.save((obj.dtype, tuple(obj.shape), obj.stride(), bool(obj.requires_grad)))
            return
        parts = bridge.parts(obj)
        typed = obj.dtype in STORAGE_NAMES
        self.out += b"("
        self._storage(parts.data, obj.dtype if typed else None, parts.owner)
        self.save(parts.offset)
        self.save(parts.size)
        self.save(parts.stride)
        self.save(bool(obj.requires_grad))
        self.save_ordered_dict(OrderedDict())             # hooks are not saved; PyTorch keeps their place
        if not typed:
            self.save_dtype(obj.dtype)
        self.out += b"t"
        self._put()

    def save_parameter(self, obj: Any) -> None:
        attributes = dict(vars(obj))
        self._global("torch._utils", "_rebuild_parameter_with_state" if attributes else "_rebuild_parameter")
        if attributes:
            self.out += b"("
        self.save_tensor(bridge.plain(obj))
        self.save(bool(obj.requires_grad))
        self.save_ordered_dict(OrderedDict())
        if attributes:
            self.save(attributes)
        self.out += b"t" if attributes else b"\x87"
        self._put()
        self.out += b"R"
        self._memoize(obj)

    def save_storage(self, obj: Any) -> None:
        data, kind = bridge.storage_parts(obj)
        self._storage(data, kind, obj)

    def _storage(self, data: np.ndarray, kind: dtype | None, owner: Any) -> None:
        """Emit the persistent id of a storage, and note the storage as one to be written."""
        address = data.__array_interface__["data"][0] if data.size else -id(owner)
        stored = self.storages.get(address)
        if stored is None:
            stored = self.storages[address] = StoredArray(str(len(self.storages)), data, kind, owner)
        elif stored.kind is not kind and data.size:
            fail(RuntimeError, "P515", "Cannot save multiple tensors or storages that view the same data as different types",
                 got=f"{stored.kind or 'bytes'} and {kind or 'bytes'}", fix="save a clone() of one of them")
        if len(data) > len(stored.data):
            stored.data, stored.keep = data, owner
        self.out += b"("
        self.save("storage")
        self._global("torch", STORAGE_NAMES[kind]) if kind is not None else self._global("torch.storage", UNTYPED)
        self.save(stored.key)
        self.save("cpu")
        self.save_int(len(data) // stored.itemsize)
        if self.legacy:
            self.out += b"N"
        self.out += b"t"
        self._put()
        self.out += b"Q"

    # -- NumPy -----------------------------------------------------------------------------------------------------

    def save_numpy_dtype(self, obj: np.dtype) -> None:
        """The dtype of an array or scalar; only plain ones."""
        if obj.hasobject or obj.kind not in "biufcSU" or obj.names is not None:
            fail(TypeError, "P516", f"cannot save NumPy values of dtype {obj}: only booleans, numbers and fixed-length strings are restored",
                 fix="convert with astype(), or save tolist()")
        _, args, state = obj.__reduce__()
        self._call("numpy", "dtype", *args)
        self._put()
        self.save(state[:8])
        self.out += b"b"

    def save_numpy_scalar(self, obj: np.generic) -> None:
        self._global("numpy._core.multiarray", "scalar")
        self.save_numpy_dtype(obj.dtype)
        self.save_bytes(obj.tobytes())
        self.out += b"\x86"
        self._put()
        self.out += b"R"
        self._memoize(obj)

    def save_numpy_array(self, obj: np.ndarray) -> None:
        self._global("numpy._core.multiarray", "_reconstruct")
        self._global("numpy", "ndarray")
        self.save(tuple([0]))                             # a new tuple, and the one b"b", as NumPy has them
        self.save(b"b")
        self.out += b"\x87"
        self._put()
        self.out += b"R"
        self._memoize(obj)
        fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        self.out += b"("
        self.save_int(1)
        self.save(obj.shape)
        self.save_numpy_dtype(obj.dtype)
        self.save_bool(fortran)
        self.save_bytes(obj.tobytes("F" if fortran else "C"))
        self.out += b"t"
        self._put()
        self.out += b"b"


def _refuse(obj: Any, why: str) -> None:
    """Raise the TypeError that says what to do instead of saving `obj`."""
    name = f"{type(obj).__module__}.{type(obj).__qualname__}"
    if isinstance(obj, ModuleType) or callable(obj):
        hint = "code is found by name after loading: save what it needs as plain values"
    elif callable(getattr(obj, "state_dict", None)):
        hint = "save obj.state_dict(), and restore it with load_state_dict()"
    else:
        hint = "save its contents as dicts, lists, numbers, strings and tensors (vars(obj) is a start)"
    fail(TypeError, "P510", f"cannot save a {name}: {why}", fix=hint)


_WRITERS: dict[type, Callable[[Emitter, Any], None]] = {
    type(None): Emitter.save_none, bool: Emitter.save_bool, int: Emitter.save_int, float: Emitter.save_float,
    str: Emitter.save_str, bytes: Emitter.save_bytes, bytearray: Emitter.save_bytearray, complex: Emitter.save_complex,
    tuple: Emitter.save_tuple, list: Emitter.save_list, dict: Emitter.save_dict, set: Emitter.save_set,
    frozenset: Emitter.save_frozenset, OrderedDict: Emitter.save_ordered_dict, defaultdict: Emitter.save_default_dict,
    Counter: Emitter.save_counter, dtype: Emitter.save_dtype, device: Emitter.save_device, bridge.Size: Emitter.save_size,
    np.ndarray: Emitter.save_numpy_array,
}
_UNNUMBERED = {Emitter.save_none, Emitter.save_bool, Emitter.save_int, Emitter.save_float, Emitter.save_dtype}
