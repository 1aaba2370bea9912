"""Generated Python as bytecode, kept on disk: reading that of a long function takes a fiftieth of compiling it.

In: source text, and the name of the file it is shown as. Out: its code object. What stays true: what is read is what this Python made
of the same text (native/cache.py says who may have written it).
"""
from __future__ import annotations

import marshal
import sys
from importlib.util import MAGIC_NUMBER
from types import CodeType

from ..native.cache import disk, key

__all__: list[str] = []

LONG = 8192             # characters; shorter ones are compiled in 2 ms


def bytecode(source: str, file: str) -> CodeType:
    """`compile(source, file, "exec")`."""
    if len(source) < LONG:
        return compile(source, file, "exec")
    name = key("bytecode", MAGIC_NUMBER, str(sys.flags.optimize), source)
    data = disk().get(name)
    if data is not None:
        return shown_as(marshal.loads(data), file)
    code = compile(source, file, "exec")
    disk().put(name, marshal.dumps(code))
    return code


def shown_as(code: CodeType, file: str) -> CodeType:
    """The code with another file's name in it, and in the code within it."""
    consts = tuple([shown_as(c, file) if type(c) is CodeType else c for c in code.co_consts])
    return code.replace(co_filename=file, co_consts=consts)
