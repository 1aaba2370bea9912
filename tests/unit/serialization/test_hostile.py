"""Malicious, broken and oversized checkpoints: each raises its typed error, runs nothing, and takes bounded memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from pellucid.serialization import (
    CheckpointError,
    CheckpointLimitError,
    CorruptCheckpointError,
    Limits,
    TruncatedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
    load,
)
from pellucid.serialization import safetensors
from pellucid.serialization.reader import load_bare

GOLDEN = Path(__file__).parents[2] / "golden" / "pt"
MiB = 1 << 20
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec", "compile", "pickle.find_class",
             "socket.connect", "ctypes.dlopen", "marshal.loads", "code.__new__", "import", "os.remove", "os.rename"}


class Audit:
    """Notes what Python's audit events say happened while `watching`."""

    watching = False
    seen: list[tuple] = []

    @classmethod
    def hook(cls, event: str, args: tuple) -> None:
        if cls.watching and (event in FORBIDDEN or event == "open"):
            cls.seen.append((event, *map(str, args[:1])))


sys.addaudithook(Audit.hook)


# -- writing pickles by hand ---------------------------------------------------------------------------------------


def g(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def u(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def i(n: int) -> bytes:
    if -(1 << 31) <= n < 1 << 31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes((len(data),)) + data


def t(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def ints(*numbers: int) -> bytes:
    return t(*map(i, numbers))


def call(module: str, name: str, *args: bytes) -> bytes:
    return g(module, name) + t(*args) + b"R"


def storage(kind: str = "FloatStorage", key: str = "0", location: str = "cpu", count: int = 6, legacy: bool = False) -> bytes:
    return t(u("storage"), g("torch", kind), u(key), u(location), i(count), *([b"N"] if legacy else [])) + b"Q"


HOOKS = g("collections", "OrderedDict") + b")R"


def tensor(offset: bytes = i(0), size: bytes = ints(6), stride: bytes = ints(1), grad: bytes = b"\x89", hooks: bytes = HOOKS,
           more: bytes = b"", **kw) -> bytes:
    return g("torch._utils", "_rebuild_tensor_v2") + t(storage(**kw), offset, size, stride, grad, hooks, more) + b"R"


DATA = struct.pack("<6f", *range(6))


def archive(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in records.items():
            z.writestr(name, data)
    return out.getvalue()


def pt(*ops: bytes, byteorder: bytes = b"little", **records: bytes) -> bytes:
    """A zip checkpoint whose pickle is made of these opcodes; storage 0 holds six floats."""
    stream = b"\x80\x02" + b"".join(ops) + b"."
    return archive({"a/data.pkl": stream, "a/byteorder": byteorder, "a/data/0": DATA, "a/version": b"3\n", **records})


def raw(stream: bytes) -> bytes:
    return archive({"a/data.pkl": stream, "a/data/0": DATA, "a/version": b"3\n"})


def legacy(*ops: bytes, magic: bytes = i(0x1950A86A20F9469CFC6C), version: bytes = i(1001), system: bytes = b"}", keys: bytes = b"](" + u("0") + b"e",
           tail: bytes = struct.pack("<q", 6) + DATA) -> bytes:
    parts = (magic, version, system, b"".join(ops), keys)
    return b"".join(b"\x80\x02" + part + b"." for part in parts) + tail


def patched(data: bytes, old: bytes, new: bytes, last: bool = False) -> bytes:
    at = data.rfind(old) if last else data.find(old)
    assert at >= 0
    return data[:at] + new + data[at + len(old):]


GOOD = pt(tensor())
LINEAR = g("torch.nn.modules.linear", "Linear") + b")\x81"
EOCD = struct.Struct("<4sHHHHIIH")


def with_directory(**changes: int) -> bytes:
    """GOOD with fields of its end of directory changed."""
    names = ("magic", "disk", "first", "here", "count", "size", "place", "comment")
    fields = dict(zip(names, EOCD.unpack(GOOD[-EOCD.size:])))
    fields.update(changes)
    return GOOD[: -EOCD.size] + EOCD.pack(*fields.values())


def overlapping() -> bytes:
    """Two records whose directory entries point at the same bytes."""
    data = bytearray(archive({"a/data.pkl": b"\x80\x02" + tensor(key="1") + b".", "a/data/0": DATA, "a/data/1": DATA}))
    first, second = (data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1), data.rfind(b"PK\x01\x02"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def bomb() -> bytes:
    return archive({"a/data.pkl": b"\x80\x02" + tensor(count=1 << 28, size=ints(1 << 28)) + b".", "a/data/0": bytes(1)},
                   zipfile.ZIP_DEFLATED)


def inflating_bomb(claimed: int) -> bytes:
    """A deflated storage of 300 MiB of zeros that claims another length."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(engine.compress(bytes(MiB)) for _ in range(300)) + engine.flush()
    name = b"a/data/0"
    good = archive({"a/data.pkl": b"\x80\x02" + tensor(count=claimed // 4, size=ints(claimed // 4)) + b"."})
    directory = good.find(b"PK\x01\x02")
    body = good[:directory]
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, 1, len(packed), claimed, len(name), 0) + name + packed
    central = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 1, len(packed), claimed, len(name), 0, 0, 0, 0, 0,
                          len(body)) + name
    old = good[directory : -EOCD.size]
    end = EOCD.pack(b"PK\x05\x06", 0, 0, 2, 2, len(old) + len(central), len(body) + len(local), 0)
    return body + local + old + central + end


def st(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(**changes: object) -> bytes:
    """A safetensors file of one tensor with changes in its entry."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return st(json.dumps({"a": entry}).encode(), bytes(4))


DICT, EMPTY_LIST, EMPTY = b"}", b"]", b")"
UNSAFE, CORRUPT, CUT, LIMIT, UNSUPPORTED = (
    UnsafeCheckpointError, CorruptCheckpointError, TruncatedCheckpointError, CheckpointLimitError, UnsupportedCheckpointError)

PICKLES: dict[str, tuple[bytes, type[CheckpointError]]] = {
    # names that run something
    "os.system": (pt(call("os", "system", u("touch SENTINEL"))), UNSAFE),
    "posix.system": (pt(call("posix", "system", u("touch SENTINEL"))), UNSAFE),
    "os.system by STACK_GLOBAL": (pt(u("os"), u("system"), b"\x93", t(u("touch SENTINEL")), b"R"), UNSAFE),
    "subprocess": (pt(call("subprocess", "Popen", u("touch SENTINEL"))), UNSAFE),
    "eval": (pt(call("__builtin__", "eval", u("open('SENTINEL','w')"))), UNSAFE),
    "exec": (pt(call("builtins", "exec", u("open('SENTINEL','w')"))), UNSAFE),
    "open": (pt(call("builtins", "open", u("SENTINEL"), u("w"))), UNSAFE),
    "import": (pt(call("builtins", "__import__", u("antigravity"))), UNSAFE),
    "importlib": (pt(call("importlib", "import_module", u("this"))), UNSAFE),
    "getattr": (pt(call("builtins", "getattr", g("os", "path"), u("x"))), UNSAFE),
    "runpy": (pt(call("runpy", "run_path", u("x.py"))), UNSAFE),
    "ctypes": (pt(call("ctypes", "CDLL", u("libc.so.6"))), UNSAFE),
    "pickle.loads": (pt(call("pickle", "loads", u("x"))), UNSAFE),
    "operator": (pt(call("operator", "attrgetter", u("__class__"))), UNSAFE),
    "functools.partial": (pt(call("functools", "partial", g("os", "system"), u("x"))), UNSAFE),
    "types.CodeType": (pt(call("types", "CodeType")), UNSAFE),
    "copyreg": (pt(call("copy_reg", "_reconstructor", g("__main__", "X"), g("builtins", "object"), b"N")), UNSAFE),
    "numpy.load": (pt(call("numpy", "load", u("x.npy"))), UNSAFE),
    "torch.load": (pt(call("torch.serialization", "load", u("/etc/passwd"))), UNSAFE),
    "torch.hub": (pt(call("torch.hub", "load", u("x"), u("y"))), UNSAFE),
    "pellucid.load": (pt(call("pellucid.serialization", "load", u("/etc/passwd"))), UNSAFE),
    "an import would show": (pt(call("antigravity", "geohash")), UNSAFE),
    # names with tricks in them
    "dotted name": (pt(u("collections"), u("OrderedDict.fromkeys"), b"\x93", EMPTY, b"R"), UNSAFE),
    "dotted module": (pt(call("torch", "_utils._rebuild_tensor_v2")), UNSAFE),
    "attribute of an allowed class": (pt(call("collections.OrderedDict", "__init__")), UNSAFE),
    "pellucid.os": (pt(call("pellucid.os", "system", u("x"))), UNSAFE),
    "empty name": (pt(g("", "")), UNSAFE),
    "a name of a megabyte": (pt(g("a" * MiB, "b")), CORRUPT),
    "a name that is not UTF-8": (pt(b"c\xff\xfe\nb\n"), CORRUPT),
    "STACK_GLOBAL of numbers": (pt(i(1), i(2), b"\x93"), CORRUPT),
    # whole objects
    "module, called": (pt(call("torch.nn.modules.linear", "Linear", i(1 << 40), i(1 << 40))), UNSAFE),
    "module, made with arguments": (pt(g("torch.nn.modules.linear", "Linear"), ints(4, 4), b"\x81"), UNSAFE),
    "module, its state a list": (pt(LINEAR, b"]", b"b"), CORRUPT),
    "module with another forward": (pt(LINEAR, DICT, u("forward"), g("torch.nn.functional", "relu"), b"s", b"b"), UNSAFE),
    "module with another __class__": (pt(LINEAR, DICT, u("__class__"), i(1), b"s", b"b"), UNSAFE),
    "module with code for a name": (pt(LINEAR, DICT, u("x;import os"), i(1), b"s", b"b"), UNSAFE),
    "module in itself": (pt(LINEAR, b"q\x00", DICT, u("_modules"), DICT, u("a"), b"h\x00", b"s", b"s", b"b"), CORRUPT),
    "module with a class of the closed set": (pt(LINEAR, DICT, u("kind"), g("collections", "OrderedDict"), b"s", b"b"), UNSAFE),
    "what is no module": (pt(g("torch.nn.modules.module", "Hooks"), EMPTY, b"\x81"), UNSAFE),
    "what nn imports": (pt(g("torch.nn.modules.rnn", "warnings")), UNSAFE),
    "a private function of nn": (pt(g("torch.nn.functional", "_unwrap")), UNSAFE),
    "a function of nn, called": (pt(call("torch.nn.functional", "relu", tensor())), UNSAFE),
    "a module of nn that is not loaded": (pt(g("torch.nn.modules.antigravity", "Linear")), UNSAFE),
    "items for a module": (pt(LINEAR, u("a"), i(1), b"s"), UNSAFE),
    "an item for a module": (pt(LINEAR, i(1), b"a"), UNSAFE),
    "user's class": (pt(g("__main__", "Net"), EMPTY, b"\x81"), UNSAFE),
    "object": (pt(g("builtins", "object"), EMPTY, b"\x81"), UNSAFE),
    "argparse": (pt(g("argparse", "Namespace"), EMPTY, b"\x81"), UNSAFE),
    "quantised": (pt(g("torch._utils", "_rebuild_qtensor")), UNSUPPORTED),
    "sparse CSR": (pt(call("torch.serialization", "_get_layout", u("torch.sparse_csr"))), UNSUPPORTED),
    "a layout of its own": (pt(call("torch.serialization", "_get_layout", u("torch.funny"))), CORRUPT),
    "a sparse tensor of nothing": (pt(call("torch._utils", "_rebuild_sparse_tensor", b"N", EMPTY)), CORRUPT),
    "sparse indices that are floats": (pt(call("torch._utils", "_rebuild_sparse_tensor", call("torch.serialization", "_get_layout",
                                          u("torch.sparse_coo")), t(tensor(), tensor(), call("torch", "Size", t(i(2), i(3)))))), CORRUPT),
    "float4": (pt(g("torch", "float4_e2m1fn_x2")), UNSUPPORTED),
    "quantised storage": (pt(tensor(kind="QInt8Storage")), UNSUPPORTED),
    # opcodes that build any object
    "INST": (pt(b"(ios\nsystem\n"), UNSAFE),
    "OBJ": (pt(b"(", g("collections", "OrderedDict"), b"o"), UNSAFE),
    "EXT1": (pt(b"\x82\x01"), UNSAFE),
    "EXT2": (pt(b"\x83\x01\x00"), UNSAFE),
    "EXT4": (pt(b"\x84\x01\x00\x00\x00"), UNSAFE),
    "NEWOBJ_EX": (pt(g("collections", "OrderedDict"), EMPTY, DICT, b"\x92"), UNSAFE),
    "PERSID": (pt(b"Pstorage\n"), UNSAFE),
    "protocol 0 INT": (pt(b"I1\n"), UNSAFE),
    "protocol 0 STRING": (pt(b"S'a'\n"), UNSAFE),
    "protocol 0 GET": (pt(b"g0\n"), UNSAFE),
    "NEXT_BUFFER": (pt(b"\x97"), UNSAFE),
    "unknown opcode": (pt(b"\xff"), CORRUPT),
    "protocol 9": (raw(b"\x80\x09N."), CORRUPT),
    # what is called, and with what
    "call of a dict": (pt(DICT, EMPTY, b"R"), UNSAFE),
    "call of a tensor": (pt(tensor(), EMPTY, b"R"), UNSAFE),
    "call of list": (pt(call("builtins", "list", EMPTY)), UNSAFE),
    "call of torch.Tensor": (pt(call("torch", "Tensor", i(3))), UNSAFE),
    "arguments that are a list": (pt(g("builtins", "set"), EMPTY_LIST, b"R"), CORRUPT),
    "too few arguments": (pt(call("torch._utils", "_rebuild_tensor_v2", storage())), CORRUPT),
    "too many arguments": (pt(call("builtins", "complex", *[i(1)] * 9)), CORRUPT),
    "class as a value": (pt(g("builtins", "list")), UNSAFE),
    "function in a list": (pt(EMPTY_LIST, g("_codecs", "encode"), b"a"), UNSAFE),
    "function in a dict": (pt(DICT, u("a"), g("torch._utils", "_rebuild_tensor"), b"s"), UNSAFE),
    "function in a tuple in a list": (pt(EMPTY_LIST, t(g("_codecs", "encode")), b"a"), UNSAFE),
    "function in a Size": (pt(call("torch", "Size", t(g("_codecs", "encode")))), CORRUPT),
    "defaultdict of eval": (pt(call("collections", "defaultdict", g("builtins", "eval"))), UNSAFE),
    "defaultdict of a function": (pt(call("collections", "defaultdict", g("_codecs", "encode"))), UNSAFE),
    "rebuild function as a factory": (pt(call("collections", "defaultdict", g("torch._utils", "_rebuild_parameter"))), UNSAFE),
    "encode with another codec": (pt(call("_codecs", "encode", u("a"), u("zlib"))), CORRUPT),
    "encode of an integer": (pt(call("_codecs", "encode", i(1))), CORRUPT),
    "a device that is none": (pt(call("torch", "device", u("rm -rf"))), CORRUPT),
    "tensor subclass": (pt(call("torch._tensor", "_rebuild_from_type_v2", g("torch._utils", "_rebuild_tensor_v2"), g("torch", "Size"), EMPTY, DICT)), UNSAFE),
    "rebuild by another function": (pt(call("torch._tensor", "_rebuild_from_type_v2", g("_codecs", "encode"), g("torch", "Tensor"), t(u("a")), DICT)), CORRUPT),
    "attribute __class__": (pt(call("torch._tensor", "_rebuild_from_type_v2", g("torch._utils", "_rebuild_tensor"), g("torch", "Tensor"),
                                    t(storage(), i(0), ints(6), ints(1)), b"}" + u("__class__") + i(1) + b"s")), CORRUPT),
    "attribute shape": (pt(call("torch._utils", "_rebuild_parameter_with_state", tensor(), b"\x88", HOOKS, b"}" + u("shape") + i(1) + b"s")), CORRUPT),
    "parameter of a list": (pt(call("torch._utils", "_rebuild_parameter", EMPTY_LIST, b"\x88", HOOKS)), CORRUPT),
    "hooks": (pt(tensor(hooks=b"}" + u("a") + i(1) + b"s")), CORRUPT),
    "gradient of integers": (pt(tensor(kind="IntStorage", grad=b"\x88")), CORRUPT),
    "requires_grad 1": (pt(tensor(grad=i(1))), CORRUPT),
    "unknown tensor metadata": (pt(tensor(more=b"}" + u("evil") + b"\x88s")), CORRUPT),
    # state
    "BUILD a dict": (pt(DICT, DICT, b"b"), UNSAFE),
    "BUILD a list": (pt(EMPTY_LIST, DICT, b"b"), UNSAFE),
    "BUILD a tensor": (pt(tensor(), DICT, b"b"), UNSAFE),
    "BUILD __class__": (pt(HOOKS, b"}", u("__class__"), i(1), b"sb"), CORRUPT),
    "BUILD a method": (pt(HOOKS, b"}", u("items"), i(1), b"sb"), CORRUPT),
    "BUILD slots": (pt(HOOKS, t(b"N", b"}"), b"b"), CORRUPT),
    "BUILD itself": (pt(HOOKS, b"q\x00}", u("me"), b"h\x00sb"), CORRUPT),
    # NumPy
    "object dtype": (pt(call("numpy", "dtype", u("O8"), b"\x89", b"\x88")), UNSAFE),
    "structured dtype": (pt(call("numpy", "dtype", u("f4,O"), b"\x89", b"\x88")), UNSAFE),
    "scalar too short": (pt(call("numpy.core.multiarray", "scalar", call("numpy", "dtype", u("f8")), call("_codecs", "encode", u("abc")))), CORRUPT),
    "scalar of no dtype": (pt(call("numpy.core.multiarray", "scalar", b"N", call("_codecs", "encode", u("abc")))), CORRUPT),
    "subclass of ndarray": (pt(call("numpy.core.multiarray", "_reconstruct", g("numpy", "matrix"), ints(0), u("b"))), UNSAFE),
    "array too short": (pt(call("numpy.core.multiarray", "_reconstruct", g("numpy", "ndarray"), ints(0), u("b")),
                           t(i(1), ints(1 << 40), call("numpy", "dtype", u("f8")), b"\x89", call("_codecs", "encode", u("abc"))), b"b"), CORRUPT),
    "array with a state of names": (pt(call("numpy", "dtype", u("f8")), t(i(3), u("<"), b"N", t(u("a")), b"N", i(-1), i(-1), i(0)), b"b"), CORRUPT),
    # storages
    "persistent id that is text": (pt(u("storage"), b"Q"), CORRUPT),
    "persistent id of a module": (pt(t(u("module"), u("x"), u("x.py"), u("import os")), b"Q"), UNSAFE),
    "persistent id without a type": (pt(t(u("storage"), u("FloatStorage"), u("0"), u("cpu"), i(6)), b"Q"), CORRUPT),
    "missing storage": (pt(tensor(key="1")), CORRUPT),
    "storage outside": (pt(tensor(key="../../../../etc/passwd")), CORRUPT),
    "absolute storage": (pt(tensor(key="/etc/passwd")), CORRUPT),
    "storage that is the pickle": (pt(tensor(key="../data.pkl")), CORRUPT),
    "count 2**62": (pt(tensor(count=1 << 62)), CORRUPT),
    "count 2**40": (pt(tensor(count=1 << 40)), CORRUPT),
    "count of one too many": (pt(tensor(count=7)), CORRUPT),
    "count of one too few": (pt(tensor(count=5)), CORRUPT),
    "negative count": (pt(tensor(count=-6)), CORRUPT),
    "cuda": (pt(tensor(location="cuda:0")), UNSUPPORTED),
    "unknown place": (pt(tensor(location="moon")), UNSUPPORTED),
    # views
    "past the end": (pt(tensor(size=ints(7))), CORRUPT),
    "offset past the end": (pt(tensor(offset=i(1))), CORRUPT),
    "offset 2**61": (pt(tensor(offset=i(1 << 61))), CORRUPT),
    "negative offset": (pt(tensor(offset=i(-1), size=ints(1))), CORRUPT),
    "stride past the end": (pt(tensor(size=ints(2), stride=ints(6))), CORRUPT),
    "negative stride": (pt(tensor(offset=i(5), stride=ints(-1))), CORRUPT),
    "stride 2**61": (pt(tensor(size=ints(1), stride=ints(1 << 61))), CORRUPT),
    "negative size": (pt(tensor(size=ints(-1))), CORRUPT),
    "size 2**62 of stride 0": (pt(tensor(size=ints(1 << 62), stride=ints(0))), CORRUPT),
    "sizes whose product overflows": (pt(tensor(size=ints(1 << 32, 1 << 32), stride=ints(0, 0))), CORRUPT),
    "sizes that wrap to the right count": (pt(tensor(size=ints(1 << 63, 2, 3), stride=ints(0, 0, 0))), CORRUPT),
    "65 dimensions": (pt(tensor(size=ints(*[1] * 65), stride=ints(*[1] * 65))), CORRUPT),
    "sizes without strides": (pt(tensor(stride=EMPTY)), CORRUPT),
    "size of floats": (pt(tensor(size=t(b"G" + struct.pack(">d", 6.0)))), CORRUPT),
    "size of bools": (pt(tensor(size=t(b"\x88"))), CORRUPT),
    "size that is a list": (pt(tensor(size=EMPTY_LIST)), CORRUPT),
    "conjugate of an expanded giant": (pt(tensor(size=ints(1 << 40), stride=ints(0), more=b"}" + u("conj") + b"\x88s")), LIMIT),
    # a malformed stream
    "no pickle": (raw(b""), CUT),
    "no STOP": (raw(b"\x80\x02N"), CUT),
    "STOP on nothing": (raw(b"\x80\x02."), CORRUPT),
    "values left over": (pt(b"NN"), CORRUPT),
    "mark left over": (pt(b"(N"), CORRUPT),
    "pop of nothing": (pt(b"0N"), CORRUPT),
    "tuple without a mark": (pt(b"NNt"), CORRUPT),
    "pair of one": (pt(b"N\x86"), CORRUPT),
    "value behind a mark": (pt(EMPTY_LIST, b"(N", b"a"), CORRUPT),
    "append to a tuple": (pt(ints(1), i(2), b"a"), UNSAFE),
    "append to an OrderedDict": (pt(HOOKS, i(2), b"a"), UNSAFE),
    "item of a list": (pt(EMPTY_LIST, i(1), i(2), b"s"), UNSAFE),
    "item of a tensor": (pt(tensor(), i(1), i(2), b"s"), UNSAFE),
    "key without a value": (pt(DICT, b"(", i(1), b"u"), CORRUPT),
    "list as a key": (pt(DICT, EMPTY_LIST, i(1), b"s"), CORRUPT),
    "tensor as a key": (pt(DICT, tensor(), i(1), b"s"), CORRUPT),
    "memo of nothing": (pt(b"h\x07"), CORRUPT),
    "long memo of nothing": (pt(b"j\xff\xff\xff\xff"), CORRUPT),
    "text that is not UTF-8": (pt(b"X\x02\x00\x00\x00\xff\xff"), CORRUPT),
    "Python 2 text": (pt(b"U\x02\xff\xff"), CORRUPT),
    "truncated number": (raw(b"\x80\x02G\x00"), CUT),
    "truncated name": (raw(b"\x80\x02ctorch"), CUT),
    # cycles and sharing
    "list in itself": (pt(b"]q\x00h\x00a"), CORRUPT),
    "dict in itself": (pt(b"}q\x00", u("a"), b"h\x00s"), CORRUPT),
    "cycle through a tuple": (pt(b"]q\x00(h\x00ta"), CORRUPT),
    "cycle through two lists": (pt(b"]q\x00]q\x01h\x00ah\x00h\x01aa"), CORRUPT),
    "list that grows inside another": (pt(b"]q\x00]h\x00ah\x00N", b"a0"), CORRUPT),
    "2**60 items by reference": (pt(b"]q\x00Na", b"".join(b"](" + b"h" + bytes((n,)) + b"h" + bytes((n,)) + b"eq" + bytes((n + 1,)) for n in range(60))), LIMIT),
    "a key of 2**26 items": (pt(b"N\x85q\x000", b"".join(b"h" + bytes((n,)) + b"h" + bytes((n,)) + b"\x86q" + bytes((n + 1,)) + b"0" for n in range(25)), b"}h\x19Ns"), LIMIT),
    "keys that collide": (pt(b"}(", b"".join(i(n * ((1 << 61) - 1)) + b"N" for n in range(1, 20_000)), b"u"), LIMIT),
    # sizes
    "deep lists": (pt(b"]" * 100_000, b"a" * 99_999), LIMIT),
    "deep tuples": (pt(b"N", b"\x85" * 100_000), LIMIT),
    "deep dicts": (pt(b"}N" * 5_000, b"}", b"s" * 5_000), LIMIT),
    "deep defaultdicts": (pt(b"".join(g("collections", "defaultdict") + b")RN" for _ in range(400)), b"N", b"s" * 400), LIMIT),
    "deep attributes": (pt(tensor(), b"".join(b"q\x00" + g("torch._utils", "_rebuild_parameter_with_state") + b"(" + tensor() + b"\x88" + HOOKS + b"}"
                                              + u("x") + b"h\x00stR" for _ in range(300))), LIMIT),
    "marks": (pt(b"(" * 100_000), LIMIT),
    "text of 2**60 bytes": (pt(b"\x8d" + struct.pack("<Q", 1 << 60)), CUT),
    "text of 4 GiB": (pt(b"X\xff\xff\xff\xff"), CUT),
    "bytes of 2**63": (pt(b"\x8e" + struct.pack("<Q", 1 << 63)), CUT),
    "bytearray of 2**40": (pt(b"\x96" + struct.pack("<Q", 1 << 40)), CUT),
    "integer of 2 GiB": (pt(b"\x8b\xff\xff\xff\x7f"), LIMIT),
    "integer of negative length": (pt(b"\x8b\xff\xff\xff\xff"), LIMIT),
    "bytes made of one text over and over": (pt(u("x" * 100_000), b"q\x000]q\x01", g("_codecs", "encode"), b"q\x020",
                                                b"h\x01", b"".join(b"h\x02h\x00\x85Ra" for _ in range(20_000)), b"0h\x01"), LIMIT),
    "bytearrays made of one": (pt(call("_codecs", "encode", u("x" * 100_000)), b"q\x000]", g("builtins", "bytearray"), b"q\x010",
                                  b"".join(b"h\x01h\x00\x85Ra" for _ in range(20_000))), LIMIT),
}

SMALL = Limits(opcodes=1_000, containers=100, memo=100, records=50)
LIMITED: dict[str, tuple[bytes, type[CheckpointError]]] = {
    "opcodes": (pt(b"N0" * 501, b"N"), LIMIT),
    "containers": (pt(b"]0" * 101, b"N"), LIMIT),
    "memo": (pt(b"".join(b"Nq" + bytes((n,)) + b"0" for n in range(101)), b"N"), LIMIT),
    "memo at far places": (pt(b"".join(b"Nr" + struct.pack("<I", n << 20) + b"0" for n in range(101)), b"N"), LIMIT),
    "records": (archive({f"a/{n}": b"" for n in range(51)}), LIMIT),
}

ZIPS: dict[str, tuple[bytes, type[CheckpointError]]] = {
    "name that climbs": (archive({"a/data.pkl": b"\x80\x02N.", "a/../../x": b""}), CORRUPT),
    "absolute name": (archive({"/etc/passwd": b"", "a/data.pkl": b"\x80\x02N."}), CORRUPT),
    "backslashes": (patched(patched(GOOD, b"a/version", b"a\\versio"), b"a/version", b"a\\versio", last=True), CORRUPT),
    "NUL in a name": (patched(patched(GOOD, b"a/version", b"a/vers\0on"), b"a/version", b"a/vers\0on", last=True), CORRUPT),
    "name that is not UTF-8": (patched(GOOD, b"a/version", b"a/vers\xffon", last=True), CORRUPT),
    "same name twice": (patched(GOOD, b"a/version", b"a/data/0\0"[:9], last=True).replace(b"a/data/0\0", b"a/data//0"), CORRUPT),
    "two pickles": (patched(archive({"a/data.pkl": b"\x80\x02N.", "a/data.pkX": b"\x80\x02N."}), b"a/data.pkX", b"a/data.pkl", last=True), CORRUPT),
    "no common folder": (archive({"a/data.pkl": b"\x80\x02N.", "b/version": b""}), CORRUPT),
    "no folder": (archive({"data.pkl": b"\x80\x02N."}), CORRUPT),
    "no pickle": (archive({"a/version": b"3\n"}), CORRUPT),
    "TorchScript": (archive({"a/data.pkl": b"\x80\x02N.", "a/constants.pkl": b"\x80\x02)."}), UNSUPPORTED),
    "wrong checksum of the pickle": (patched(GOOD, b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"), CORRUPT),
    "wrong checksum of a storage": (patched(GOOD, DATA, DATA[:-1] + b"\x41"), CORRUPT),
    "wrong checksum in the directory": (patched(GOOD, struct.pack("<I", zlib.crc32(DATA)), b"\1\2\3\4", last=True), CORRUPT),
    "half a file": (GOOD[: len(GOOD) // 2], CORRUPT),
    "all but a byte": (GOOD[:-1], CORRUPT),
    "only the magic": (b"PK\x03\x04", CORRUPT),
    "zeros behind": (GOOD + bytes(70_000), CORRUPT),
    "directory outside": (with_directory(place=1 << 30), CORRUPT),
    "directory of 4 GiB": (with_directory(size=(1 << 32) - 2), CORRUPT),
    "60,000 records announced": (with_directory(count=60_000, here=60_000), LIMIT),
    "fewer records announced": (with_directory(count=1, here=1), CORRUPT),
    "another disk": (with_directory(disk=1), CORRUPT),
    "zip64 directory outside": (GOOD[: -EOCD.size] + struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 50, 1)
                                + EOCD.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0), CUT),
    "zip64 lengths missing": (patched(GOOD, struct.pack("<III", zlib.crc32(DATA), 24, 24), struct.pack("<III", zlib.crc32(DATA), 24, 0xFFFFFFFF), last=True), CORRUPT),
    "records that overlap": (overlapping(), CORRUPT),
    "two lengths": (patched(GOOD, struct.pack("<II", 24, 24), struct.pack("<II", 24, 99), last=True), CORRUPT),
    "length past the end": (patched(GOOD, struct.pack("<II", 24, 24), struct.pack("<II", 1 << 30, 1 << 30), last=True), CORRUPT),
    "header and directory differ in name": (patched(GOOD, b"a/data/0", b"a/data/7"), CORRUPT),
    "header and directory differ in length": (patched(GOOD, struct.pack("<II", 24, 24), struct.pack("<II", 20, 20)), CORRUPT),
    "encrypted": (patched(GOOD, b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"), UNSUPPORTED),
    "another compression": (archive({"a/data.pkl": b"\x80\x02N."}, zipfile.ZIP_BZIP2), UNSUPPORTED),
    "deflated storage of another length": (bomb(), CORRUPT),
    "zip bomb, honest": (inflating_bomb(300 * MiB), LIMIT),
    "zip bomb, lying": (inflating_bomb(4096), CORRUPT),
    "byte order": (pt(tensor(), byteorder=b"middle"), CORRUPT),
    "byte order of a megabyte": (pt(tensor(), byteorder=bytes(MiB)), LIMIT),
    "other byte order, two widths": (pt(EMPTY_LIST, tensor(), b"a", tensor(kind="DoubleStorage", count=3, size=ints(3)), b"a", byteorder=b"big"), UNSUPPORTED),
}

LEGACY: dict[str, tuple[bytes, type[CheckpointError]]] = {
    "os.system": (legacy(call("os", "system", u("touch SENTINEL"))), UNSAFE),
    "os.system instead of the magic number": (legacy(b"N", magic=call("os", "system", u("touch SENTINEL"))), UNSAFE),
    "os.system among the keys": (legacy(b"N", keys=call("os", "system", u("touch SENTINEL"))), UNSAFE),
    "wrong magic number": (legacy(b"N", magic=i(42)), CORRUPT),
    "wrong version": (legacy(b"N", version=i(1002)), CORRUPT),
    "malformed system": (legacy(b"N", system=i(1)), CORRUPT),
    "a plain pickle": (pickle.dumps({"a": 1}, 2), CORRUPT),
    "a plain pickle of protocol 0": (pickle.dumps({"a": 1}, 0), UNSAFE),
    "a class pickled": (pickle.dumps(Path("x"), 4), UNSAFE),
    "no storages": (legacy(tensor(legacy=True), tail=b""), CUT),
    "half a storage": (legacy(tensor(legacy=True), tail=struct.pack("<q", 6) + DATA[:9]), CUT),
    "storage of another length": (legacy(tensor(legacy=True), tail=struct.pack("<q", 7) + DATA + b"1234"), CORRUPT),
    "storage of negative length": (legacy(tensor(legacy=True), tail=struct.pack("<q", -1) + DATA), CORRUPT),
    "storage of 2**40": (legacy(tensor(legacy=True, count=1 << 40)), CUT),
    "many storages of the file's size": (legacy(EMPTY_LIST, *[tensor(legacy=True, key=str(n), count=1_000) + b"a" for n in range(1_000)]), CUT),
    "storage without a key": (legacy(tensor(legacy=True), keys=EMPTY_LIST), CORRUPT),
    "key without a storage": (legacy(b"N"), CORRUPT),
    "key twice": (legacy(tensor(legacy=True), keys=b"](" + u("0") * 2 + b"e"), CORRUPT),
    "keys that are no list": (legacy(tensor(legacy=True), keys=i(1)), CORRUPT),
    "unhashable keys": (legacy(tensor(legacy=True), keys=b"]]a"), CORRUPT),
    "part of a storage": (legacy(g("torch._utils", "_rebuild_tensor_v2") + t(
        t(u("storage"), g("torch", "FloatStorage"), u("0"), u("cpu"), i(6), t(u("1"), i(1 << 60), i(1 << 60))) + b"Q",
        i(0), ints(6), ints(1), b"\x89", HOOKS) + b"R"), UNSUPPORTED),
    "past the end": (legacy(tensor(legacy=True, size=ints(7))), CORRUPT),
    "empty file": (b"", CUT),
    "one byte": (b"\x80", CUT),
    "text": (b"hello, world\n" * 10, CORRUPT),
    "web page": (b"<!DOCTYPE html><html>404</html>", UNSUPPORTED),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", UNSUPPORTED),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(20), UNSUPPORTED),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(20), UNSUPPORTED),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(20), UNSUPPORTED),
    "tar": (b"x" + bytes(256) + b"ustar\x0000" + bytes(300), UNSUPPORTED),
    "safetensors": (st(b"{}"), UNSUPPORTED),
}

SAFETENSORS: dict[str, tuple[bytes, type[CheckpointError]]] = {
    "empty": (b"", CUT),
    "length cut": (b"\1\0\0", CUT),
    "header of 2**60": (st(b"{}", length=1 << 60), LIMIT),
    "header past the end": (st(b"{}", length=1_000), CUT),
    "no JSON": (st(b"{nope}"), CORRUPT),
    "list": (st(b"[]"), CORRUPT),
    "space in front": (st(b" {}"), CORRUPT),
    "not UTF-8": (st(b'{"\xff":1}'), CORRUPT),
    "deep JSON": (st(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), CORRUPT),
    "millions of brackets": (st(b'{"a":[' + b"[]," * 3_100_000 + b"[]]}"), LIMIT),
    "same name twice": (st(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), CORRUPT),
    "number for a tensor": (st(b'{"a":1}'), CORRUPT),
    "unknown dtype": (one(dtype="F4"), UNSUPPORTED),
    "dtype that is a list": (one(dtype=[]), UNSUPPORTED),
    "negative size": (one(shape=[-1]), CORRUPT),
    "float size": (one(shape=[1.0]), CORRUPT),
    "size true": (one(shape=[True]), CORRUPT),
    "sizes that wrap": (one(shape=[1 << 62, 1 << 2, 1]), CORRUPT),
    "65 dimensions": (one(shape=[1] * 65), CORRUPT),
    "range too short": (one(shape=[2]), CORRUPT),
    "range backwards": (one(data_offsets=[4, 0]), CORRUPT),
    "range past the end": (one(shape=[1 << 40], data_offsets=[0, 4 << 40]), CUT),
    "gap": (one(data_offsets=[4, 8]), CORRUPT),
    "bytes behind": (one() + b"x", CORRUPT),
    "overlap": (st(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)), CORRUPT),
    "metadata of numbers": (st(b'{"__metadata__":{"a":1}}'), CORRUPT),
    "metadata that is text": (st(b'{"__metadata__":"a"}'), CORRUPT),
    "integer of a megabyte": (st(b'{"a":{"dtype":"U8","shape":[' + b"9" * MiB + b'],"data_offsets":[0,0]}}'), CORRUPT),
    "infinity": (st(b'{"a":{"dtype":"U8","shape":[Infinity],"data_offsets":[0,0]}}'), CORRUPT),
}

CASES = [pytest.param(data, kind, options, suffix, id=f"{group}: {name}")
         for group, cases, options, suffix in (("pickle", PICKLES, {}, ".pt"), ("limits", LIMITED, {"limits": SMALL}, ".pt"),
                                               ("zip", ZIPS, {}, ".pt"), ("legacy", LEGACY, {}, ".pt"),
                                               ("safetensors", SAFETENSORS, {}, ".safetensors"))
         for name, (data, kind) in cases.items()]


def watched(path: Path, **options: object) -> tuple[CheckpointError | None, int, list[tuple]]:
    """Load a file: what it raised, the peak of memory it took, and the audit events it caused."""
    Audit.seen = []
    tracemalloc.start()
    Audit.watching = True
    try:
        load(path, **options)
        raised = None
    except CheckpointError as error:
        raised = error
    finally:
        Audit.watching = False
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return raised, peak, Audit.seen


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    load(GOLDEN / "containers.zip.pt")                    # whatever is imported or opened once is, before anything is watched
    return tmp_path


def test_the_corpus_is_of_a_size() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("data, kind, options, suffix", CASES)
def test_refused(data: bytes, kind: type[CheckpointError], options: dict, suffix: str, folder: Path) -> None:
    path = folder / ("file" + suffix)
    path.write_bytes(data)
    start = time.perf_counter()
    raised, peak, events = watched(path, **options)
    took = time.perf_counter() - start
    assert type(raised) is kind, f"{type(raised).__name__}: {raised}"
    assert str(path) in str(raised) and raised.file == str(path)      # names the file
    assert [e for e in events if e != ("open", str(path))] == []      # ran nothing, opened nothing else
    assert sorted(p.name for p in folder.iterdir()) == [path.name]    # and left nothing behind
    assert peak < 16 * MiB + 60 * len(data), f"{peak / MiB:.1f} MiB for a file of {len(data):,} bytes"
    assert took < 20
    assert len(str(raised)) < 3_000
    assert isinstance(raised, pickle.UnpicklingError) == (kind in (UNSAFE, CORRUPT, CUT))


@pytest.mark.parametrize("name", ["os.system", "past the end", "count 2**40", "text of 2**60 bytes", "list in itself"])
def test_refused_from_memory_and_mapped(name: str, tmp_path: Path) -> None:
    data, kind = PICKLES[name]
    with pytest.raises(kind):
        load(io.BytesIO(data))
    path = tmp_path / "file.pt"
    path.write_bytes(data)
    with pytest.raises(kind):
        load(path, mmap=True)


def test_mapped_archives_are_checked(tmp_path: Path) -> None:
    """Mapping skips the checksums of storages, nothing else."""
    path = tmp_path / "file.pt"
    for name in ("records that overlap", "length past the end", "header and directory differ in name", "half a file"):
        path.write_bytes(ZIPS[name][0])
        with pytest.raises(ZIPS[name][1]):
            load(path, mmap=True)
    path.write_bytes(LEGACY["storage of 2**40"][0])
    with pytest.raises(CheckpointError, match="mmap can only be used"):
        load(path, mmap=True)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """The corpus is made by changing this one; it and its legacy sibling load."""
    path = tmp_path / "file.pt"
    for data in (GOOD, legacy(tensor(legacy=True)), pt(tensor(size=ints(3), stride=ints(2)))):
        path.write_bytes(data)
        assert load(path).tolist()[:2] in ([0.0, 1.0], [0.0, 2.0])


def test_an_expanded_giant_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(pt(tensor(size=ints(1 << 40), stride=ints(0))))
    raised, peak, _ = watched(path)
    assert raised is None and peak < MiB


def test_deep_but_allowed_structures_are_freed(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(pt(b"]" * 250, b"a" * 249))
    found, depth = load(path), 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 249


def test_errors_name_what_was_found_and_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(PICKLES["os.system"][0])
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL os.system was not an allowed global by default") as caught:
        load(path)
    assert caught.value.found.startswith("a reference to os.system") and "state_dict" in caught.value.mend
    path.write_bytes(PICKLES["user's class"][0])
    with pytest.raises(UnsafeCheckpointError, match="__main__.Net") as caught:
        load(path)
    assert "model.state_dict()" in caught.value.mend and "safe_globals([Net])" in caught.value.mend
    copied = pickle.loads(pickle.dumps(caught.value))
    assert type(copied) is UnsafeCheckpointError and str(copied) == str(caught.value)


def mutations(data: bytes, rng: random.Random, count: int):
    """Copies of a file with bytes changed, removed, repeated or swapped."""
    for _ in range(count):
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(out))
            kind = rng.randrange(5)
            if kind == 0:
                out[at] = rng.randrange(256)
            elif kind == 1:
                out[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del out[at : at + rng.randrange(1, 20)]
            elif kind == 3:
                out[at:at] = out[at : at + rng.randrange(1, 40)]
            else:
                out[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)))
            if not out:
                break
        yield bytes(out)


def without_checksums(data: bytes) -> bytes:
    """A zip whose recorded checksums are zero (as PyTorch writes on request), so that mutations reach the pickle."""
    out, at = bytearray(data), 0
    for magic, field in ((b"PK\x01\x02", 16), (b"PK\x03\x04", 14)):
        at = 0
        while (at := out.find(magic, at)) >= 0:
            out[at + field : at + field + 4] = bytes(4)
            at += 4
    return bytes(out)


def test_a_sparse_tensor_has_data() -> None:
    indices = call("torch._utils", "_rebuild_meta_tensor_no_storage", g("torch", "int64"), ints(1, 6), ints(6, 1), b"\x89")
    data = pt(call("torch._utils", "_rebuild_sparse_tensor", call("torch.serialization", "_get_layout", u("torch.sparse_coo")),
                   t(indices, tensor(), call("torch", "Size", ints(9)))))
    with pytest.raises(UnsupportedCheckpointError, match="no form on the meta device"):
        load(io.BytesIO(data))


def test_a_bare_pickle_has_no_storages() -> None:
    """Their bytes would be nowhere: a tensor of memory that nobody wrote to."""
    bare = b"\x80\x02" + t(i(1), u("a")) + b"."
    assert load_bare(io.BytesIO(bare)) == (1, "a")
    with pytest.raises(CorruptCheckpointError):
        load_bare(io.BytesIO(b"\x80\x02" + tensor(legacy=True) + b"." + bytes(64)))


@pytest.mark.parametrize("name", ["model.zip.pt", "containers.zip.pt", "model.legacy.pt", "containers.legacy.pt", "tensor", "safetensors"])
def test_mutated_files(name: str, tmp_path: Path) -> None:
    """Random damage raises a CheckpointError or goes unnoticed; nothing else, in little memory."""
    rng = random.Random(f"{os.environ['PELLUCID_TEST_SEED']} {name}")
    if name == "safetensors":
        data, read = one(), lambda file: safetensors.load(file.getvalue())
    else:
        data = GOOD if name == "tensor" else (GOLDEN / name).read_bytes()
        data, read = without_checksums(data) if data.startswith(b"PK") else data, load
    tracemalloc.start()
    try:
        for damaged in mutations(data, rng, 150 if len(data) < 10_000 else 50):
            tracemalloc.reset_peak()
            try:
                read(io.BytesIO(damaged))
            except CheckpointError:
                pass
            assert tracemalloc.get_traced_memory()[1] < 32 * MiB
    finally:
        tracemalloc.stop()
