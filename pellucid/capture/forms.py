"""Builtins that call back, iterate or compare, written in Python, so that the interpreter sees what they call.

In: the arguments of the builtin. Out: what it gives. What stays true: these are used only where an argument runs Python code of its
own; whatever else is there, the builtin itself is called.
"""
from __future__ import annotations

import functools
import itertools
from typing import Any

from .tables import NULL

__all__: list[str] = []


# ---------------------------------------------------------------------------------------------------- operators and attributes
def operate(a: Any, b: Any, first: Any, second: Any, names: tuple) -> Any:
    """A binary operator by its two methods."""
    if first is not None:
        r = first(a, b)
        if r is not NotImplemented:
            return r
    if second is not None:
        r = second(b, a)
        if r is not NotImplemented:
            return r
    if names[0] == "__eq__":
        return a is b
    if names[0] == "__ne__":
        return a is not b
    raise TypeError(f"unsupported operand type(s) for {names[0].strip('_')}: '{type(a).__name__}' and '{type(b).__name__}'")


def first(items: Any, count: int) -> list:
    """At most `count` values of an iterable."""
    found = []
    for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found


def extended(owner: Any, items: Any, sign: str) -> Any:
    for item in items:
        if sign == "|=":
            owner.add(item)
        else:
            owner.append(item)
    return owner


def into_list(owner: list, items: Any) -> None:
    for item in items:
        owner.append(item)


def into_set(owner: set, items: Any) -> None:
    for item in items:
        owner.add(item)


def into_dict(owner: dict, items: Any) -> None:
    for key in items.keys():
        owner[key] = items[key]


def from_mapping(cls: Any, items: Any, kwargs: dict) -> Any:
    found = {}
    for key in items.keys():
        found[key] = items[key]
    return cls(found, **kwargs)


def update_from(owner: dict, items: Any, kwargs: dict) -> None:
    for key in items.keys():
        owner[key] = items[key]
    for key in kwargs:
        owner[key] = kwargs[key]


def into_slice(owner: list, key: slice, items: Any) -> None:
    owner[key] = [item for item in items]


def in_iterable(item: Any, items: Any) -> bool:
    for other in items:
        if other is item or other == item:
            return True
    return False


def by_index(owner: Any) -> Any:
    k = 0
    while True:
        try:
            item = owner[k]
        except IndexError:
            return
        yield item
        k += 1


def step(method: Any, it: Any) -> Any:
    return method(it)


def any_(items: Any) -> bool:
    for item in items:
        if item:
            return True
    return False


def all_(items: Any) -> bool:
    for item in items:
        if not item:
            return False
    return True


def sum_(items: Any, start: Any = 0) -> Any:
    for item in items:
        start = start + item
    return start


def map_(fn: Any, *iterables: Any) -> Any:
    for values in zip(*iterables):
        yield fn(*values)


def map_one(fn: Any, items: Any) -> Any:
    for item in items:
        yield fn(item)


def filter_(fn: Any, items: Any) -> Any:
    for item in items:
        if item if fn is None else fn(item):
            yield item


def enumerate_(items: Any, start: int = 0) -> Any:
    for item in items:
        yield start, item
        start += 1


def zip_(*iterables: Any, strict: bool = False) -> Any:
    iterators = [iter(x) for x in iterables]
    while iterators:
        values = []
        for it in iterators:
            try:
                values.append(next(it))
            except StopIteration:
                if strict and values:
                    raise ValueError(f"zip() argument {len(values) + 1} is shorter than argument {len(values)}") from None
                return
        yield tuple(values)


def reduce_(fn: Any, items: Any, *start: Any) -> Any:
    it = iter(items)
    if start:
        value = start[0]
    else:
        try:
            value = next(it)
        except StopIteration:
            raise TypeError("reduce() of empty iterable with no initial value") from None
    for item in it:
        value = fn(value, item)
    return value


def sorted_(items: Any, *, key: Any = None, reverse: bool = False) -> list:
    found = [item for item in items]
    if key is not None:
        keys = [key(item) for item in found]
    else:
        keys = found
    order = ordered(keys, reverse)
    return [found[k] for k in order]


def ordered(keys: list, reverse: bool) -> list:
    """The order of keys, by merging, so that a __lt__ written in Python runs."""
    def merge(order: list) -> list:
        if len(order) < 2:
            return order
        middle = len(order) // 2
        left, right = merge(order[:middle]), merge(order[middle:])
        found, i, j = [], 0, 0
        while i < len(left) and j < len(right):
            a, b = (right[j], left[i]) if not reverse else (left[i], right[j])
            if keys[a] < keys[b]:
                found.append(right[j])
                j += 1
            else:
                found.append(left[i])
                i += 1
        return found + left[i:] + right[j:]
    return merge([k for k in range(len(keys))])


def sort_(owner: list, *, key: Any = None, reverse: bool = False) -> None:
    owner[:] = sorted_(owner, key=key, reverse=reverse)


def best(name: str, below: bool, args: tuple, key: Any, default: Any) -> Any:
    """min and max."""
    items = args[0] if len(args) == 1 else args
    found = default
    chosen = None
    empty = True
    for item in items:
        if key is None:
            found, empty = item if empty else extreme(found, item, below), False
            continue
        value = key(item)
        if empty or (value < chosen if below else value > chosen):
            found, chosen, empty = item, value, False
    if empty and default is NULL:
        raise ValueError(f"{name}() iterable argument is empty")
    return found


def compared(found: Any, item: Any, below: bool) -> Any:
    return item if (item < found if below else item > found) else found


def min_(*args: Any, key: Any = None, default: Any = NULL) -> Any:
    return best("min", True, args, key, default)


def max_(*args: Any, key: Any = None, default: Any = NULL) -> Any:
    return best("max", False, args, key, default)


def with_list(fn: Any, items: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of an iterable, called with a list of its values."""
    return fn([item for item in items], *args, **kwargs)


def with_lists(fn: Any, args: list, kwargs: dict) -> Any:
    """The same for whichever arguments are iterators that run Python."""
    values = []
    for a in args:
        values.append([item for item in a] if iterates(a) else a)
    return fn(*values, **kwargs)


def chain_(*iterables: Any) -> Any:
    for items in iterables:
        for item in items:
            yield item


def chain_from(iterables: Any) -> Any:
    for items in iterables:
        for item in items:
            yield item


def islice_(items: Any, *bounds: Any) -> Any:
    limits = slice(*bounds)
    start, stop, stride = limits.start or 0, limits.stop, limits.step or 1
    k, wanted = 0, start
    if stop is not None and wanted >= stop:
        return
    for item in items:
        if k == wanted:
            yield item
            wanted += stride
            if stop is not None and wanted >= stop:
                return
        k += 1


def drained(items: Any) -> list:
    """The values of an iterator. Interpreted, so that a generator of interpreted code may run."""
    found = []
    for item in items:
        found.append(item)
    return found


def attribute_or(owner: Any, name: str, default: Any) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        return default


def has_attribute(owner: Any, name: str) -> bool:
    try:
        getattr(owner, name)
    except AttributeError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------- answered by the interpreter
def extreme(found: Any, item: Any, below: bool) -> Any:
    """The lesser of two, or the greater: `choices.choose` answers for tensors."""
    return compared(found, item, below)


def iterates(x: Any) -> Any:
    """Whether iterating over a value runs interpreted code: `calls.runs_python` answers."""


def advanced(generator: Any, value: Any, default: Any) -> Any:
    return enter(generator, value, default)


def enter(generator: Any, value: Any, default: Any, thrown: bool = False) -> Any:
    """Interpreted calls of this enter the generator."""


def thrown(generator: Any, error: Any) -> Any:
    """generator.throw(error)"""
    return enter(generator, error, NULL, True)


def awaited(generator: Any) -> Any:
    """The generator of interpreted code that another one hands on; answered by the interpreter."""


def closed(generator: Any) -> None:
    """generator.close()"""
    inner, error = awaited(generator), GeneratorExit()
    if inner is not None:
        try:
            closed(inner)
        except BaseException as raised:
            error = raised
    try:
        enter(generator, error, NULL, True)
    except (GeneratorExit, StopIteration):
        return
    raise RuntimeError("generator ignored GeneratorExit")


def cached(self: Any, instance: Any, owner: Any = None) -> Any:
    """functools.cached_property.__get__, without the lock that Python 3.11 has there."""
    if instance is None:
        return self
    if self.attrname is None:
        raise TypeError("Cannot use cached_property instance without calling __set_name__ on it.")
    space = instance.__dict__
    if self.attrname not in space:
        space[self.attrname] = self.func(instance)
    return space[self.attrname]


FORMS = {any: any_, all: all_, sum: sum_, map: map_, filter: filter_, enumerate: enumerate_, zip: zip_, functools.reduce: reduce_, sorted: sorted_,
         min: min_, max: max_, itertools.chain: chain_, itertools.islice: islice_}
# The builtins whose Python forms are used only if an argument runs Python code.
TAKES_FUNCTION = frozenset((map, filter, functools.reduce, sorted, min, max))
