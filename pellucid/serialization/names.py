"""The closed set: every name a checkpoint may mention, and what is built for it.

In: a module and a name, as the pickle stream spells them (`torch` and `pellucid` alike; Python 2's module names too).
Out: a plain value (a dtype), or a `Builder` that makes tensors, parameters or plain containers out of checked arguments.
True always: a name outside the table, which `objects` does not know either, is refused with what it is and how to mend it;
nothing is ever imported by name.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import numpy as np

from ..core.device import TYPES, device
from ..core.dtype import ALL, dtype, int64
from ..core.layout import sparse_coo
from . import bridge, numpy_values
from .errors import CorruptCheckpointError, UnsafeCheckpointError, UnsupportedCheckpointError, brief
from .interpreter import Builder, Interpreter, plain_attributes
from .objects import Objects, canonical
from .storages import LoadedStorage, strided_view

__all__ = ["FACTORIES", "STORAGE_NAMES", "UNTYPED", "find", "persistent"]

UNTYPED = "UntypedStorage"
STORAGE_NAMES: dict[dtype, str] = {d: f"{d.type_name}Storage" for d in ALL if d not in bridge.WITHOUT_CLASS}


def _name(value: Any) -> str:
    return value.name if type(value) is Builder else brief(value)


# -- plain containers ----------------------------------------------------------------------------------------------


def _ordered_dict(s: Interpreter, pairs: Any = ()) -> OrderedDict:
    out = s.register(OrderedDict(), s.contain())
    _fill(s, out, pairs)
    return out


def _fill(s: Interpreter, out: Any, pairs: Any) -> None:
    """Python 2 gave the items to the constructor, as a list of pairs; a dict is accepted as well."""
    if type(pairs) in (dict, OrderedDict):
        pairs = list(pairs.items())
    if type(pairs) not in (list, tuple) or any(type(p) not in (list, tuple) or len(p) != 2 for p in pairs):
        raise ValueError("a list of pairs is needed")
    s.fill_dict(out, [part for pair in pairs for part in pair])


def _default_dict(s: Interpreter, factory: Any = None, pairs: Any = ()) -> defaultdict:
    if factory is not None and (type(factory) is not Builder or not any(factory.value is kind for kind in FACTORIES)):
        raise s.unsafe("Only the plain builtin types may be a defaultdict's factory.", _name(factory))
    out = s.register(defaultdict(factory and factory.value), s.contain())
    _fill(s, out, pairs)
    return out


def _counter(s: Interpreter, items: Any = None) -> Counter:
    out = s.register(Counter(), s.contain())
    _fill(s, out, {} if items is None else items)
    return out


def _set(s: Interpreter, items: Any = ()) -> set:
    return set(_keys(s, items))


def _frozenset(s: Interpreter, items: Any = ()) -> frozenset:
    return frozenset(_keys(s, items))


def _keys(s: Interpreter, items: Any) -> Any:
    if type(items) not in (list, tuple, set, frozenset):
        raise ValueError("a list of items is needed")
    for item in items:
        s.check_key(item)
    return items


def _encode(s: Interpreter, text: str, encoding: str = "utf-8") -> bytes:
    """bytes in protocol 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError("only text in latin1, utf-8 or ascii is encoded")
    s.budget.spend(len(text), "bytes")
    return text.encode(encoding)


def _bytes(s: Interpreter) -> bytes:
    return b""


def _bytearray(s: Interpreter, data: Any = b"", encoding: Any = None) -> bytearray:
    if type(data) is str:
        data = _encode(s, data, encoding)
    if type(data) is not bytes:
        raise ValueError("bytes are needed")
    s.budget.spend(len(data), "a bytearray")
    return bytearray(data)


def _complex(s: Interpreter, real: float, imag: float = 0.0) -> complex:
    if any(type(part) not in (int, float) for part in (real, imag)):
        raise ValueError("two numbers are needed")
    return complex(real, imag)


# -- tensors ---------------------------------------------------------------------------------------------------------


def _size(s: Interpreter, sizes: Any = ()) -> Any:
    if type(sizes) not in (tuple, list) or any(type(n) is not int for n in sizes):
        raise ValueError("a tuple of integers is needed")
    s.budget.spend(8 * len(sizes), "a Size")
    return bridge.Size(sizes)


def _device(s: Interpreter, kind: Any, index: Any = None) -> device:
    if type(kind) is not str or (index is not None and type(index) is not int):
        raise ValueError("a device's name and index are needed")
    if kind.partition(":")[0] not in TYPES:
        raise ValueError(f"unknown device {brief(kind)}")
    return device(kind, index)


def _typed(storage: Any) -> LoadedStorage:
    if type(storage) is not LoadedStorage:
        raise ValueError("a storage is needed")
    return storage


def _no_hooks(hooks: Any) -> None:
    if hooks is not None and (not isinstance(hooks, dict) or hooks):
        raise ValueError("hooks are not read from files")


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("requires_grad must be a bool")
    return value


def _rebuild_tensor(s: Interpreter, storage: Any, offset: Any, size: Any, stride: Any) -> Any:
    storage = _typed(storage)
    array = strided_view(storage, storage.dtype, offset, size, stride)
    if storage.forget:
        return bridge.without_data(storage.dtype, tuple(size), tuple(stride), False)
    return bridge.tensor(array, storage.region.memory, False)


def _rebuild_tensor_v2(s: Interpreter, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
                       metadata: Any = None) -> Any:
    return _rebuild_tensor_v3(s, storage, offset, size, stride, requires_grad, hooks, _typed(storage).dtype, metadata)


def _rebuild_tensor_v3(s: Interpreter, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
                       kind: Any, metadata: Any = None) -> Any:
    if type(kind) is not dtype:
        raise ValueError("a dtype is needed")
    _no_hooks(hooks)
    storage = _typed(storage)
    array = strided_view(storage, kind, offset, size, stride)
    if storage.forget:
        return bridge.without_data(kind, tuple(size), tuple(stride), _flag(requires_grad))
    memory = storage.region.memory
    if metadata:
        if type(metadata) is not dict or not set(metadata) <= {"conj", "neg"}:
            raise ValueError(f"unknown tensor metadata {brief(metadata)}")
        s.budget.spend(array.nbytes, "a conjugated or negated tensor")     # its values are written out here
        array, memory = _written_out(array, bool(metadata.get("conj")), bool(metadata.get("neg")), storage), None
    if _flag(requires_grad) and not (kind.is_floating_point or kind.is_complex):
        raise ValueError("only tensors of floating point and complex dtype can require gradients")
    return bridge.tensor(array, memory, requires_grad)


def _written_out(view: np.ndarray, conj: bool, neg: bool, storage: LoadedStorage) -> np.ndarray:
    """The values of a lazily conjugated or negated tensor, computed as soon as the storage has its bytes."""
    out = np.empty(view.shape, view.dtype)

    def write() -> None:
        values = view.conj() if conj else view
        out[...] = -values if neg else values

    storage.region.when_filled(write)
    return out


def _get_layout(s: Interpreter, name: Any) -> Any:
    if name in ("torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc"):
        raise UnsupportedCheckpointError(
            f"the checkpoint holds a tensor of layout {name}, which pellucid has no form for", file=s.file, found=name,
            mend="convert it in PyTorch (to_sparse_coo() or to_dense()) and save again",
        )
    if name != "torch.sparse_coo":
        raise ValueError(f"no tensor here has the layout {brief(name)}")
    return sparse_coo


def _rebuild_sparse_tensor(s: Interpreter, layout: Any, data: Any) -> Any:
    """A sparse tensor. What its indices name is checked once their bytes are there."""
    if layout is not sparse_coo or type(data) is not tuple or not 3 <= len(data) <= 4:
        raise ValueError("a sparse_coo tensor's indices, values and size are needed")
    indices, values, size, coalesced = (*data, False)[:4]
    if any(type(t) is not bridge.Tensor for t in (indices, values)) or indices.dtype is not int64 or indices.ndim != 2 or values.ndim < 1:
        raise ValueError("indices and values must be tensors")
    if indices.is_meta or values.is_meta:
        raise UnsupportedCheckpointError("the checkpoint holds a sparse tensor, which has no form on the meta device", file=s.file,
                                         mend="load it to the CPU")
    n, count = indices.shape
    if type(size) is not bridge.Size or type(coalesced) not in (bool, type(None)) or values.shape[0] != count \
            or min(size, default=0) < 0 or tuple(size[n:]) != tuple(values.shape[1:]) or len(size) < n \
            or math.prod(size) >= 1 << 58:
        raise ValueError("indices, values and size do not fit each other")

    def check() -> None:
        found = indices._a
        if found.size and (found.min() < 0 or (found.max(1) >= size[:n]).any()):
            raise CorruptCheckpointError("a sparse tensor has indices beyond its size", file=s.file, found=f"a tensor of size {list(size)}")

    s.checks.append(check)
    return bridge.sparse(indices, values, size, bool(coalesced))


def _rebuild_meta_tensor_no_storage(s: Interpreter, kind: Any, size: Any, stride: Any, requires_grad: Any) -> Any:
    if type(kind) is not dtype or type(size) not in (tuple, bridge.Size) or type(stride) is not tuple or len(size) != len(stride):
        raise ValueError("a dtype, a size and strides are needed")
    if any(type(n) is not int or not 0 <= n < 1 << 48 for n in (*size, *stride)):
        raise ValueError("sizes and strides are numbers from 0 on")
    return bridge.without_data(kind, tuple(size), stride, _flag(requires_grad))


def _rebuild_parameter(s: Interpreter, data: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
    _no_hooks(hooks)
    if type(data) is not bridge.Tensor:
        raise ValueError("a tensor is needed")
    if _flag(requires_grad) and not (data.dtype.is_floating_point or data.dtype.is_complex):
        raise ValueError("only tensors of floating point and complex dtype can require gradients")
    return bridge.parameter(data, requires_grad)


def _rebuild_parameter_with_state(s: Interpreter, data: Any, requires_grad: Any, hooks: Any, state: Any) -> Any:
    return _with_attributes(s, _rebuild_parameter(s, data, requires_grad, hooks), state)


def _rebuild_from_type(s: Interpreter, function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes of its own."""
    if type(kind) is not Builder or kind.name not in (_TENSOR, _PARAMETER):
        raise s.unsafe("Tensor subclasses are not allowed.", _name(kind))
    if type(function) is not Builder or not function.name.startswith("torch._utils._rebuild_") or type(args) is not tuple:
        raise ValueError("a function that rebuilds a tensor is needed")
    out = function.build(s, *args)
    if kind.name == _PARAMETER and type(out) is bridge.Tensor:
        out = bridge.parameter(out, bool(out.requires_grad))
    return _with_attributes(s, out, state)


def _with_attributes(s: Interpreter, tensor: Any, state: Any) -> Any:
    if type(state) is tuple and len(state) == 2 and not state[1]:          # (__dict__, empty slots)
        state = state[0]
    attributes = plain_attributes(type(tensor), state or {})
    s.refuse_callable(state, "the attributes of a tensor")
    if attributes:
        s.register(tensor, s.contain(*attributes.values()))
        vars(tensor).update(attributes)
    return tensor


# -- the table -------------------------------------------------------------------------------------------------------

_TENSOR, _PARAMETER = "torch._tensor.Tensor", "torch.nn.parameter.Parameter"
FACTORIES = (list, dict, set, int, float, str, tuple, bool)


def _table() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = dict(numpy_values.BUILDERS)

    def add(module: str, name: str, build: Any, value: Any = None) -> None:
        table[module, name] = Builder(f"{module}.{name}", build, value)

    for kind in FACTORIES:
        add("builtins", kind.__name__, _set if kind is set else None, kind)
    add("builtins", "frozenset", _frozenset)
    add("builtins", "bytes", _bytes)
    add("builtins", "bytearray", _bytearray)
    add("builtins", "complex", _complex)
    add("collections", "OrderedDict", _ordered_dict, OrderedDict)
    add("collections", "defaultdict", _default_dict)
    add("collections", "Counter", _counter)
    add("_codecs", "encode", _encode)
    add("torch", "Size", _size)
    add("torch", "device", _device)
    add("torch.serialization", "_get_layout", _get_layout)
    for function in (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_meta_tensor_no_storage, _rebuild_sparse_tensor,
                     _rebuild_parameter, _rebuild_parameter_with_state):
        add("torch._utils", function.__name__, function)
    add("torch._tensor", "_rebuild_from_type_v2", _rebuild_from_type)
    for module in ("torch", "torch._tensor", "torch.tensor"):
        table[module, "Tensor"] = Builder(_TENSOR, None)
    for module in ("torch.nn", "torch.nn.parameter"):
        table[module, "Parameter"] = Builder(_PARAMETER, _rebuild_parameter)
    for kind in ALL:
        table["torch", kind.name] = kind
    for module in ("torch", "torch.storage", "torch.cuda"):
        for kind, name in STORAGE_NAMES.items():
            add(module, name, None, kind)
        add(module, UNTYPED, None, UNTYPED)
    return table


_TABLE = _table()
_WHOLE_MODULE = ("torch.nn.modules", "torchvision.models", "torch.jit", "torch.fx")
_NO_FORM = {
    "_rebuild_qtensor": "a quantised tensor", "_rebuild_nested_tensor": "a nested tensor", "_rebuild_sparse_csr_tensor": "a sparse tensor",
    "_rebuild_wrapper_subclass": "a tensor subclass", "_rebuild_device_tensor_from_numpy": "a tensor of another device",
    "_rebuild_device_tensor_from_cpu_tensor": "a tensor of another device", "_rebuild_xla_tensor": "a tensor of another device",
}


def find(module: str, name: str, file: str, objects: Objects) -> Any:
    """The value, Builder or allowed class or function of a global. Raises UnsafeCheckpointError or UnsupportedCheckpointError for all others."""
    module = canonical(module)
    known = _TABLE.get((module, name))
    if known is None:
        known = objects.find(module, name)
    if known is not None:
        return known
    spelled = f"{module}.{name}"[:200]
    foreign_type = name.endswith("Storage") or name.startswith(("float", "q", "bits", "complex", "uint", "int"))
    if module.startswith("torch") and (name in _NO_FORM or foreign_type):
        raise UnsupportedCheckpointError(
            f"the checkpoint holds {_NO_FORM.get(name, f'elements of type {spelled}')}, which pellucid has no form for",
            file=file, found=spelled, mend="convert it in PyTorch (dequantize(), to_dense(), .cpu(), .to(torch.float32)) and save again",
        )
    if module.startswith(_WHOLE_MODULE) or module == "__main__":
        raise UnsafeCheckpointError(
            f"Weights only load failed. GLOBAL {spelled} was not an allowed global by default. The file holds a whole object (such as a "
            "model saved with torch.save(model, ...)) of a class that was not allowed; nothing of it was imported or run.",
            file=file, found=f"a pickled object of class {spelled}",
            mend=f"if you trust the file, import the class and load within pellucid.serialization.safe_globals([{name}]); or, where it was "
                 "written, run torch.save(model.state_dict(), path) and here model.load_state_dict(pellucid.load(path))",
        )
    raise UnsafeCheckpointError(
        f"Weights only load failed. GLOBAL {spelled} was not an allowed global by default: only tensors, plain containers and "
        "modules of nn are read.",
        file=file, found=f"a reference to {spelled}; nothing of it was imported or run",
        mend="where the file was written, save state_dict()s, dicts, lists, numbers, strings and tensors instead of other objects"
             + (f"; or, if you trust the file, load within pellucid.serialization.safe_globals([{name[:80]}])" if name[:1].isupper() else "")
             + ". If you do not know the file's author, do not open it with anything that unpickles",
    )


def persistent(storages: Any, identifier: Any, file: str) -> Any:
    """The storage a persistent id names: ("storage", type, key, location, count[, view]); or the class of a whole module, which the
    format before PyTorch 1.6 writes as ("module", class, file, source)."""
    tag = identifier[0] if type(identifier) is tuple and identifier else None
    tag = tag.decode("latin1") if type(tag) is bytes else tag
    if type(tag) is not str or tag != "storage" or not 5 <= len(identifier) <= 6:
        if type(tag) is str and tag == "module":
            if len(identifier) == 4 and isinstance(identifier[1], type):     # its class, which `find` allowed, and its source
                return identifier[1]
            raise UnsafeCheckpointError(
                "Weights only load failed. The file holds a whole module with its source code; pellucid does not restore code.",
                file=file, mend="in PyTorch, run torch.save(model.state_dict(), path) and load that",
            )
        raise CorruptCheckpointError("the pickle stream refers to something outside it that is not a storage", file=file,
                                     found=brief(identifier))
    _, kind, key, location, count, *view = identifier
    if type(kind) is not Builder or not (kind.value == UNTYPED or type(kind.value) is dtype):
        raise CorruptCheckpointError("a storage without an element type", file=file, found=_name(kind))
    if type(location) is bytes:
        location = location.decode("ascii", "replace")
    return storages.get(key, None if kind.value == UNTYPED else kind.value, location, count, view[0] if view else None)
