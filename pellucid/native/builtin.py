"""Machine code that Python calls as it calls its own built-in functions: without ctypes, in a tenth of the time.

In: the address of a C function `PyObject *f(PyObject *self, PyObject *const *args, Py_ssize_t n)`. Out: a Python callable.
`symbols()` are the few functions of Python and NumPy that such code may call.

True always: nothing here is used unless `usable()`, which tries it on real objects; the callable keeps what it needs alive; the
code runs with Python's lock held, and returns a new reference.
"""
from __future__ import annotations

import ctypes
import sys
import sysconfig
from functools import cache

import numpy as np

FASTCALL = 0x80
NEW_LIKE = 277          # PyArray_NewLikeArray's place among NumPy's functions, the same in every version so far
NEW = 94                # PyArray_NewFromDescr's


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


def function(name: str, address: int, state: np.ndarray, owner: object):
    """A callable over the code at `address`, which gets `state` as `self`. It keeps `owner`, who keeps the code."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    definition = MethodDef(name.encode(), address, FASTCALL, None)
    return make(ctypes.addressof(definition), state, (definition, owner))       # the last is kept, whatever it is


def address(function) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def numpy_function(place: int) -> int:
    """The address of a function of NumPy's C interface."""
    capsule = np._core._multiarray_umath._ARRAY_API if hasattr(np, "_core") else np.core._multiarray_umath._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(capsule, None)
    return ctypes.c_void_p.from_address(table + 8 * place).value or 0


@cache
def symbols() -> dict[str, int]:
    """What the code may call, beside what it is linked with."""
    api = ctypes.pythonapi
    return {"numpy_new_like": numpy_function(NEW_LIKE), "numpy_new": numpy_function(NEW), "Py_IncRef": address(api.Py_IncRef),
            "Py_DecRef": address(api.Py_DecRef), "PyTuple_New": address(api.PyTuple_New)}


@cache
def usable() -> bool:
    """Whether Python and NumPy are laid out as expected. (Array objects: execute.readable_layout.)"""
    if sys.implementation.name != "cpython" or sys.maxsize < 2 ** 32 or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if ctypes.c_int64.from_address(id((1.5, 2)) + 16).value != 2:           # a tuple's length, its items after it
        return False
    if ctypes.c_double.from_address(id(1.5) + 16).value != 1.5:
        return False
    try:
        like = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(symbols()["numpy_new_like"])
    except AttributeError:
        return False
    a = np.zeros((3, 5), np.float32)
    b, t = like(a, 0, None, 0), like(a.T, 2, None, 0)
    return b.shape == a.shape and b.dtype is a.dtype and b.flags.c_contiguous and b is not a and t.flags.f_contiguous
