"""A pickle stream read as data: an interpreter of the pickle opcodes that can only build plain values, and what `objects` allows.

In: a `Cursor` over the bytes; `find(module, name)`, which turns a global's name into a plain value or a `Builder` and
refuses all others; `persistent(id)`, which turns a persistent id into a plain value; `set_state(interpreter, target,
state)`, which sets the state of other than plain containers where that is allowed; `objects`, which alone touches the
classes the caller allowed. Out: the object the stream describes. True always: no name is imported, no attribute of a found
object is looked up here, no method of a built object is called except those of exact list, dict and set; containers form a
tree or a DAG of bounded depth, never a cycle (one is closed to writing once it lies in another), so that freeing and
walking what was built is safe.
Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py, protocols 2 to 5; those of protocols 0 and 1
that nothing since Python 2.3 emits, and the EXT, INST and OBJ families, are refused by name.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, defaultdict
from typing import Any, Callable, NamedTuple

from ..core.device import device
from ..core.dtype import dtype
from .errors import CheckpointError, CheckpointLimitError, CorruptCheckpointError, TruncatedCheckpointError, UnsafeCheckpointError, brief
from .limits import Budget, Limits

__all__ = ["Builder", "Cursor", "Interpreter", "plain_attributes"]

_DAMAGED = "the file is damaged or was altered: fetch it again, or save it again with torch.save or pellucid.save"
_STATE_DICT = ("save model.state_dict() (or plain dicts, lists and tensors) instead of whole objects; or, if you trust the file, allow the "
               "classes it names: with pellucid.serialization.safe_globals([...])")
_DICTS = (dict, OrderedDict, defaultdict, Counter)
_CONTAINERS = (list, set, tuple, frozenset, *_DICTS)

REFUSED = {
    "i": "INST", "o": "OBJ", "\x82": "EXT1", "\x83": "EXT2", "\x84": "EXT4", "\x92": "NEWOBJ_EX", "P": "PERSID",
    "\x97": "NEXT_BUFFER", "\x98": "READONLY_BUFFER",
    "F": "FLOAT", "I": "INT", "L": "LONG", "S": "STRING", "V": "UNICODE", "g": "GET", "p": "PUT", "d": "DICT", "l": "LIST",
}


class Builder:
    """A class or function of the closed set, by name. It may be called or passed to another one, never kept as a value.

    `build(interpreter, *args)` makes what a call gives (None: it is not called); `value` is what it stands for as an argument.
    """

    __slots__ = ("build", "name", "value")

    def __init__(self, name: str, build: Callable[..., Any] | None, value: Any = None):
        self.name, self.build, self.value = name, build, value


class Cursor:
    """Reads a run of bytes forward; knows how many are left. `fetch(place, length)` supplies them."""

    __slots__ = ("_at", "_buffer", "_end", "_fetch", "_start", "file")
    WINDOW = 1 << 16

    def __init__(self, fetch: Callable[[int, int], bytes], place: int, end: int, file: str):
        self._fetch, self._start, self._end, self.file = fetch, place, end, file
        self._buffer, self._at = b"", 0

    @property
    def place(self) -> int:
        """Place of the next byte in the source."""
        return self._start + self._at

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        at = self._at
        if at + length > len(self._buffer):
            self._refill(length)
            at = 0
        self._at = at + length
        return self._buffer[at : at + length]

    def _refill(self, length: int) -> None:
        place = self.place
        if length > self._end - place:
            raise TruncatedCheckpointError(
                "unexpected end of file in the pickle stream", file=self.file,
                found=f"{length:,} bytes announced at {place:,}, {max(0, self._end - place):,} are left",
                mend="the copy or download was cut short: fetch the file again and compare its size with the original's",
            )
        self._buffer = self._fetch(place, min(max(length, self.WINDOW), self._end - place))
        self._start, self._at = place, 0

    def line(self) -> str:
        """The next line without its end, as the GLOBAL opcode has it."""
        out = bytearray()
        while (byte := self.take(1)) != b"\n":
            out += byte
            if len(out) > 1_000:
                raise CorruptCheckpointError("a name in the pickle stream is longer than 1,000 bytes", file=self.file, mend=_DAMAGED)
        return out.decode("utf-8")


class _Shape(NamedTuple):
    """What is known of a built container: levels below, items reached with repetition, and whether a Builder is inside."""

    depth: int
    expanded: int
    callable: bool


_LEAF = _Shape(0, 1, False)
_CALLABLE = _Shape(0, 1, True)


def plain_attributes(kind: type, state: Any) -> dict[str, Any]:
    """`state` if it is a dict of attributes that `kind` itself does not define. Raises ValueError otherwise."""
    if type(state) is not dict:
        raise ValueError(f"the state is a {type(state).__name__}, not a dict")
    for name in state:
        if type(name) is not str or not name.isidentifier() or name.startswith("__") or hasattr(kind, name):
            raise ValueError(f"the attribute {brief(name)} may not be set")
    return state


class Interpreter:
    """Interprets one pickle stream; `run` returns the object it describes."""

    def __init__(
        self,
        cursor: Cursor,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any],
        set_state: Callable[["Interpreter", Any, Any], bool],
        objects: Any,
        limits: Limits,
        budget: Budget,
        encoding: str = "utf-8",
    ):
        self.cursor, self.file = cursor, cursor.file
        self.find, self.persistent, self.set_state = find, persistent, set_state
        self.objects = objects
        self.limits, self.budget, self.encoding = limits, budget, encoding
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.shapes: dict[int, _Shape] = {}          # by id; `alive` keeps the objects, so that ids stay unique
        self.alive: list[Any] = []
        self.closed: set[int] = set()                # ids of containers that lie in another
        self.unusual_keys = 0
        self.checks: list[Callable[[], None]] = []   # what to look at once all storages have their bytes

    # -- errors ----------------------------------------------------------------------------------------------------

    def corrupt(self, what: str, found: str | None = None) -> CorruptCheckpointError:
        return CorruptCheckpointError(what, file=self.file, found=found or f"near byte {self.cursor.place:,} of the pickle stream", mend=_DAMAGED)

    def over(self, what: str, allowed: int, name: str) -> CheckpointLimitError:
        return CheckpointLimitError(
            f"the checkpoint holds {what} than is read", file=self.file, found=f"more than {allowed:,}",
            mend=f"pass limits=Limits({name}=...) if you trust the file's origin",
        )

    def unsafe(self, what: str, found: str | None = None) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(f"Weights only load failed. {what}", file=self.file, found=found, mend=_STATE_DICT)

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Any:
        """Interpret up to STOP. Raises a CheckpointError for whatever is not plain data."""
        take, handlers, most, count = self.cursor.take, _HANDLERS, self.limits.opcodes, 0
        while True:
            code = take(1)[0]
            if code == 0x2E:                              # STOP
                break
            count += 1
            if count > most:
                raise self.over("more pickle instructions", most, "opcodes")
            if code == 0x51:                              # BINPERSID: may call the user's map_location, whose errors are its own
                self.stack.append(self.persistent(self.pop()))
                continue
            handler = handlers.get(code)
            if handler is None:
                name = REFUSED.get(chr(code))
                if name:
                    raise self.unsafe(f"The pickle opcode {name} is not allowed: it builds objects of any class, or is of a "
                                      f"protocol that PyTorch does not write.", f"near byte {self.cursor.place - 1:,}")
                raise self.corrupt(f"the pickle stream holds an unknown opcode 0x{code:02x}")
            try:
                handler(self)
            except CheckpointError:
                raise
            except (TypeError, ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
                raise self.corrupt("the pickle stream is malformed", f"{type(error).__name__}: {error}") from None
        result = self.pop()
        if self.stack or self.marks:
            raise self.corrupt("the pickle stream ends with values left over", f"{len(self.stack)} of them")
        self.refuse_callable(result, "the checkpoint")
        return result

    # -- the stack -------------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.corrupt("the pickle stream takes a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.corrupt("the pickle stream uses a value that is not there")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise self.corrupt("the pickle stream closes a group that was not opened")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    # -- containers ------------------------------------------------------------------------------------------------

    def shape(self, value: Any) -> _Shape:
        if type(value) is Builder:
            return _CALLABLE
        return self.shapes.get(id(value), _LEAF)

    def refuse_callable(self, value: Any, where: str) -> None:
        if self.shape(value).callable:
            name = value.name if type(value) is Builder else "inside a tuple"
            raise self.unsafe(f"A class or function is kept as a value in {where}, which is not allowed.", name)

    def contain(self, *values: Any) -> _Shape:
        """The shape of a container of `values`, which are closed to writing from here on."""
        depth, expanded, callable_ = 0, 1, False
        for value in values:
            if type(value) is Builder:
                callable_ = True
                continue
            shape = self.shapes.get(id(value))
            if shape is None:
                expanded += 1
                continue
            self.closed.add(id(value))
            depth = max(depth, shape.depth)
            expanded += shape.expanded
            callable_ = callable_ or shape.callable
        if depth >= self.limits.depth:
            raise self.over("deeper nesting", self.limits.depth, "depth")
        if expanded > self.limits.expanded:
            raise self.over("more items (by repeated references to the same containers)", self.limits.expanded, "expanded")
        return _Shape(depth + 1, expanded, callable_)

    def register(self, container: Any, shape: _Shape) -> Any:
        """Note a container just built."""
        if len(self.alive) >= self.limits.containers:
            raise self.over("more containers", self.limits.containers, "containers")
        self.alive.append(container)
        self.shapes[id(container)] = shape
        return container

    def extend(self, container: Any, items: list[Any]) -> None:
        """Account for `items` about to be written into `container`."""
        key = id(container)
        old = self.shapes[key]
        new = self.contain(*items)
        if new.callable:
            for item in items:
                self.refuse_callable(item, f"a {type(container).__name__}")
        if key in self.closed:                            # also catches a container put into itself
            raise self.corrupt("a container is changed after it was placed in another one: cycles are not plain data")
        self.shapes[key] = _Shape(max(old.depth, new.depth), old.expanded + new.expanded - 1, False)
        if old.expanded + new.expanded > self.limits.expanded:
            raise self.over("more items (by repeated references to the same containers)", self.limits.expanded, "expanded")

    def include(self, target: Any, items: list[Any]) -> None:
        """Account for `items` about to become part of an object."""
        if id(target) not in self.shapes:                 # what an allowed function returned
            self.register(target, _Shape(1, 1, False))
        self.extend(target, items)

    def check_key(self, key: Any) -> None:
        """Refuse dictionary keys whose hash or comparison could be slow, or could call anything but C code of plain types."""
        kind = type(key)
        if kind is str or key is None or kind is bool or kind is bytes or kind is float:
            return
        if kind is int and -(1 << 60) < key < 1 << 60:
            return
        self.unusual_keys += 1
        if self.unusual_keys > self.limits.unusual_keys:
            raise self.over("more keys that are tuples, complex or large integers", self.limits.unusual_keys, "unusual_keys")
        if kind in (tuple, frozenset):
            if self.shape(key).expanded > 10_000:
                raise self.over("longer keys", 10_000, "unusual_keys")
            for part in key:
                self.check_key(part)
        elif kind not in (int, complex, dtype, device) and not self.objects.hashable(kind):
            raise self.corrupt("a dictionary key or set element is of a type that cannot be one", kind.__name__)

    def fill_dict(self, target: Any, pairs: list[Any]) -> None:
        """Write the flat list key, value, key, value, ... into a dict of one of the plain classes."""
        if type(target) not in _DICTS:
            if self.objects.fill(self, target, pairs):
                return
            raise self.unsafe("Can only SETITEM on plain dictionaries.", type(target).__name__)
        if len(pairs) % 2:
            raise self.corrupt("a dictionary has a key without a value")
        self.extend(target, pairs)
        for at in range(0, len(pairs), 2):
            self.check_key(pairs[at])
            target[pairs[at]] = pairs[at + 1]

    # -- opcodes ---------------------------------------------------------------------------------------------------

    def op_proto(self) -> None:
        version = self.cursor.take(1)[0]
        if version > 5:
            raise self.corrupt(f"unsupported pickle protocol: {version}")

    def op_frame(self) -> None:
        self.cursor.take(8)                               # a hint on reading ahead; every read is checked by itself

    def op_mark(self) -> None:
        if len(self.marks) >= self.limits.marks:
            raise self.over("more open groups", self.limits.marks, "marks")
        self.marks.append(len(self.stack))

    def op_pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def op_dup(self) -> None:
        self.stack.append(self.top())

    def op_long(self, width: int) -> None:
        length = int.from_bytes(self.cursor.take(width), "little", signed=width == 4)
        if not 0 <= length <= self.limits.int_bytes:
            raise self.over("a longer integer", self.limits.int_bytes, "int_bytes")
        self.stack.append(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def op_sized(self, width: int, make: Callable[["Interpreter", bytes], Any]) -> None:
        length = int.from_bytes(self.cursor.take(width), "little")
        self.stack.append(make(self, self.cursor.take(length)))

    def text(self, data: bytes) -> str:
        return data.decode("utf-8", "surrogatepass")

    def old_text(self, data: bytes) -> Any:
        """A str of Python 2, which may have been text or bytes."""
        if self.encoding == "bytes":
            return data
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise CorruptCheckpointError(
                f"a string written by Python 2 is not {self.encoding}", file=self.file, found=str(error),
                mend="pass encoding='latin1', or encoding='bytes' to keep such strings as bytes",
            ) from None

    def byte_array(self, data: bytes) -> bytearray:
        return bytearray(data)

    def op_tuple(self, length: int | None) -> None:
        if length is None:
            items = self.pop_mark()
        else:
            items = [self.pop() for _ in range(length)][::-1]
        if not items:
            self.stack.append(())
            return
        self.stack.append(self.register(tuple(items), self.contain(*items)))

    def op_empty(self, kind: type) -> None:
        self.stack.append(self.register(kind(), _Shape(1, 1, False)))

    def op_append(self) -> None:
        item = self.pop()
        self.append_to(self.top(), [item])

    def op_appends(self) -> None:
        items = self.pop_mark()
        self.append_to(self.top(), items)

    def append_to(self, target: Any, items: list[Any]) -> None:
        if type(target) is not list:
            if self.objects.extend(self, target, items):
                return
            raise self.unsafe("Can only APPEND to lists.", type(target).__name__)
        self.extend(target, items)
        target.extend(items)

    def op_setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self.fill_dict(self.top(), [key, value])

    def op_setitems(self) -> None:
        items = self.pop_mark()
        self.fill_dict(self.top(), items)

    def op_additems(self) -> None:
        items = self.pop_mark()
        target = self.top()
        if type(target) is not set:
            raise self.unsafe("Can only add items to sets.", type(target).__name__)
        self.extend(target, items)
        for item in items:
            self.check_key(item)
            target.add(item)

    def op_frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            self.check_key(item)
        self.stack.append(self.register(frozenset(items), self.contain(*items)))

    def op_get(self, width: int) -> None:
        index = int.from_bytes(self.cursor.take(width), "little")
        if index not in self.memo:
            raise self.corrupt("the pickle stream refers to an object it did not define", f"memo entry {index}")
        self.stack.append(self.memo[index])

    def op_put(self, width: int) -> None:
        self.remember(int.from_bytes(self.cursor.take(width), "little"))

    def op_memoize(self) -> None:
        self.remember(len(self.memo))

    def remember(self, index: int) -> None:
        if len(self.memo) >= self.limits.memo:
            raise self.over("more objects to refer back to", self.limits.memo, "memo")
        self.memo[index] = self.top()

    def op_global(self) -> None:
        self.stack.append(self.find(self.cursor.line(), self.cursor.line()))

    def op_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.corrupt("STACK_GLOBAL needs two strings")
        self.stack.append(self.find(module, name))

    def op_reduce(self) -> None:
        """Build what a Builder, or a function or class the caller allowed, makes of a tuple of arguments."""
        args, callee = self.pop(), self.pop()
        self.make(callee, args, self.objects.call)

    def op_newobj(self) -> None:
        """The same for a class whose objects get their state later."""
        args, callee = self.pop(), self.pop()
        self.make(callee, args, self.objects.new)

    def make(self, callee: Any, args: Any, other: Callable[["Interpreter", Any, tuple], Any]) -> None:
        if type(args) is not tuple:
            raise self.corrupt("REDUCE needs a tuple of arguments")
        own = type(callee) is Builder
        if own and callee.build is None:
            raise self.unsafe("The file calls something that is not allowed.", callee.name)
        name = callee.name if own else getattr(callee, "__qualname__", type(callee).__name__)
        shape = self.contain(*args) if not own else None
        if shape is not None and shape.callable:
            raise self.unsafe("A class or function is passed where a value belongs, which is not allowed.", name)
        try:
            result = callee.build(self, *args) if own else other(self, callee, args)
        except CheckpointError:
            raise
        except MemoryError:
            raise CheckpointLimitError(f"not enough memory for {name}", file=self.file) from None
        except Exception as error:                        # a wrong number or kind of arguments, by any route
            raise self.corrupt(f"wrong arguments for {name}", f"{type(error).__name__}: {error}") from (None if own else error)
        if (type(result) in _CONTAINERS or self.objects.builds(type(result))) and id(result) not in self.shapes:
            shape = shape or self.contain(*args)
            if shape.callable and type(result) is not defaultdict:
                raise self.unsafe("A class or function is passed where a value belongs, which is not allowed.", name)
            self.register(result, shape._replace(callable=False))
        self.stack.append(result)

    def op_build(self) -> None:
        state, target = self.pop(), self.top()
        if type(target) is OrderedDict:
            self.refuse_callable(state, "the state of an OrderedDict")
            attributes = plain_attributes(OrderedDict, state)
            shape = self.contain(*attributes.values())
            if id(target) in self.closed:
                raise self.corrupt("a container is changed after it was placed in another one: cycles are not plain data")
            old = self.shapes[id(target)]
            self.shapes[id(target)] = _Shape(max(old.depth, shape.depth), old.expanded + shape.expanded, False)
            vars(target).update(attributes)
        elif not self.set_state(self, target, state) and not self.build_object(target, state):
            raise self.unsafe("Can only build the state of OrderedDicts, NumPy arrays and dtypes, and of objects of allowed classes.",
                              type(target).__name__)

    def build_object(self, target: Any, state: Any) -> bool:
        try:
            return self.objects.set_state(self, target, state)
        except CheckpointError:
            raise
        except Exception as error:                        # of the class's own __setstate__
            raise self.corrupt(f"an object of class {type(target).__qualname__} cannot take its state", f"{type(error).__name__}: {error}") from error


def _handlers() -> dict[int, Callable[[Interpreter], None]]:
    """Opcode -> what to do with it."""
    I = Interpreter

    def push(value: Any) -> Callable[[I], None]:
        return lambda s: s.stack.append(value)

    def number(layout: str) -> Callable[[I], None]:
        unpack, size = struct.Struct(layout).unpack, struct.calcsize(layout)
        return lambda s: s.stack.append(unpack(s.cursor.take(size))[0])

    def sized(width: int, make: Callable[[I, bytes], Any]) -> Callable[[I], None]:
        return lambda s: s.op_sized(width, make)

    def raw(s: I, data: bytes) -> bytes:
        return data

    table: dict[str, Callable[[I], None]] = {
        "\x80": I.op_proto, "\x95": I.op_frame, "(": I.op_mark, "0": I.op_pop, "1": lambda s: s.pop_mark() and None, "2": I.op_dup,
        "N": push(None), "\x88": push(True), "\x89": push(False), ")": push(()),
        "J": number("<i"), "K": number("<B"), "M": number("<H"), "G": number(">d"),
        "\x8a": lambda s: s.op_long(1), "\x8b": lambda s: s.op_long(4),
        "X": sized(4, I.text), "\x8c": sized(1, I.text), "\x8d": sized(8, I.text),
        "T": sized(4, I.old_text), "U": sized(1, I.old_text),
        "B": sized(4, raw), "C": sized(1, raw), "\x8e": sized(8, raw), "\x96": sized(8, I.byte_array),
        "t": lambda s: s.op_tuple(None), "\x85": lambda s: s.op_tuple(1), "\x86": lambda s: s.op_tuple(2), "\x87": lambda s: s.op_tuple(3),
        "]": lambda s: s.op_empty(list), "}": lambda s: s.op_empty(dict), "\x8f": lambda s: s.op_empty(set),
        "a": I.op_append, "e": I.op_appends, "s": I.op_setitem, "u": I.op_setitems, "\x90": I.op_additems, "\x91": I.op_frozenset,
        "h": lambda s: s.op_get(1), "j": lambda s: s.op_get(4), "q": lambda s: s.op_put(1), "r": lambda s: s.op_put(4), "\x94": I.op_memoize,
        "c": I.op_global, "\x93": I.op_stack_global, "R": I.op_reduce, "\x81": I.op_newobj, "b": I.op_build,
    }
    return {ord(code): handler for code, handler in table.items()}


_HANDLERS = _handlers()
