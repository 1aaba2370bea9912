"""Checkpoints both ways: files PyTorch wrote are read, files written here are PyTorch's byte for byte."""

from __future__ import annotations

import collections
import io
import pickle
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.core.dtype import ALL
from pellucid.nn.parameter import Parameter
from pellucid.serialization import CheckpointError, CorruptCheckpointError, Limits, UnsupportedCheckpointError, load, save
from pellucid.tensor import Size, Tensor
from pellucid.tensor.storages import TypedStorage, UntypedStorage

GOLDEN = Path(__file__).parents[2] / "golden" / "pt"
KINDS = ("zip", "legacy")


def array(t: Tensor) -> np.ndarray:
    return t.detach()._a


def equal(a, b) -> bool:
    """Deep equality of plain structures, with tensors by class, dtype, shape, strides, requires_grad and values."""
    if isinstance(a, Tensor):
        same = (type(a) is type(b) and a.dtype is b.dtype and a.shape == b.shape and a.stride() == b.stride()
                and a.storage_offset() == b.storage_offset() and a.requires_grad == b.requires_grad and a.__dict__ == b.__dict__)
        return same and array(a).tobytes() == array(b).tobytes()
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a) and getattr(a, "__dict__", None) == getattr(b, "__dict__", None)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def round_trip(obj, zipped: bool = True, **options):
    buffer = io.BytesIO()
    save(obj, buffer, _use_new_zipfile_serialization=zipped)
    buffer.seek(0)
    return load(buffer, **options)


# -- files PyTorch wrote, read without PyTorch -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_model_and_optimizer_of_pytorch(kind: str) -> None:
    found = load(GOLDEN / f"model.{kind}.pt")
    model = found["model"]
    assert type(model) is collections.OrderedDict
    assert list(model) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert model["0.weight"].tolist() == [[0, 1, 2], [3, 4, 5]] and model["0.bias"].tolist() == [1, 2]
    assert model["1.num_batches_tracked"].dtype is pellucid.int64 and model["1.num_batches_tracked"].shape == ()
    assert model._metadata[""] == {"version": 1} and model._metadata["1"] == {"version": 2}
    assert not model["0.weight"].requires_grad and type(model["0.weight"]) is Tensor
    group = found["optimizer"]["param_groups"][0]
    assert (group["lr"], group["momentum"], group["params"]) == (0.5, 0.25, [0, 1, 2, 3])
    assert found["optimizer"]["state"][1]["momentum_buffer"].tolist() == [1, 1]
    assert (found["epoch"], found["loss"], found["note"]) == (3, 0.25, "größe")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapped", [False, True])
def test_everything_pytorch_writes(kind: str, mapped: bool) -> None:
    if mapped and kind == "legacy":
        with pytest.raises(CheckpointError, match="mmap can only be used with files saved with"):
            load(GOLDEN / "containers.legacy.pt", mmap=True)
        return
    found = load(GOLDEN / f"containers.{kind}.pt", mmap=mapped)
    base = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    views = {"base": base, "row": base[1], "column": base[:, 2], "transposed": base.T, "expanded": np.broadcast_to(base[0], (2, 4)),
             "every other": base.reshape(-1)[1:10:3]}
    for name, expected in views.items():
        assert np.array_equal(array(found[name]), expected), name
    geometry = {name: (found[name].storage_offset(), found[name].stride()) for name in views}
    assert geometry == {"base": (0, (4, 1)), "row": (4, (1,)), "column": (2, (4,)), "transposed": (0, (1, 4)), "expanded": (0, (0, 1)),
                        "every other": (1, (3,))}
    with pellucid.no_grad():
        found["base"][1, 2] = 99.0                                       # and the memory is one
    assert found["row"][2].item() == found["column"][1].item() == found["transposed"][2, 1].item() == 99.0
    assert found["base"]._version > 0 and found["row"]._version == found["base"]._version
    first, second = found["tied"]
    assert first is second and type(first) is Parameter and first.requires_grad and first.is_leaf
    assert type(found["frozen"]) is Parameter and not found["frozen"].requires_grad
    assert type(found["needs grad"]) is Tensor and found["needs grad"].requires_grad
    assert found["marked"].label == {"kind": "marked"}
    assert found["scalar"].item() == 7 and found["scalar"].shape == () and found["empty"].shape == (2, 0, 3)
    for name, t in found["dtypes"].items():
        assert t.dtype is getattr(pellucid, name)
        assert array(t).astype(complex).tolist() == ([0, 1, 1] if name == "bool" else [0, 1, 2])
    assert found["conj"].tolist() == [1 - 2j]
    assert found["size"] == (2, 3) and type(found["size"]) is Size
    assert found["dtype"] is pellucid.bfloat16 and found["device"] == pellucid.device("cpu")
    assert found["plain"] == [None, True, False, 0, -1, 255, 65535, 2**31 - 1, 2**31, -(2**63), 2**70, 1.5, float("inf"), "text", "",
                              b"bytes", bytearray(b"array"), 1 + 2j, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {1, 2}, []]
    assert found["ordered"] == collections.OrderedDict([("b", 1), ("a", 2)]) and type(found["ordered"]) is collections.OrderedDict
    assert found["counter"] == collections.Counter("aab") and type(found["counter"]) is collections.Counter
    assert found["long list"] == list(range(1001)) and found["long dict"] == {n: str(n) for n in range(1001)}
    if kind == "zip":
        numbers = found["numpy"]
        assert numbers[0] == 1.5 and type(numbers[0]) is np.float64 and type(numbers[1]) is np.int32 and numbers[6] is np.True_
        assert numbers[2].tolist() == [[0, 1], [2, 3]] and numbers[3].flags.f_contiguous and numbers[3].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert numbers[4].tolist() == [1, 2] and numbers[5].tolist() == ["ab", "c"]
        assert found["default"] == {"k": [1]} and found["default"].default_factory is list and found["frozen set"] == frozenset({1})
        assert found["unsigned"].dtype is pellucid.uint16 and found["unsigned"].tolist() == [1, 2]


def test_mapping_never_changes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    save({"a": pellucid.arange(1000.0)}, path)
    before = path.read_bytes()
    a = load(path, mmap=True)["a"]
    assert a.data_ptr() % 64 == 0
    a.fill_(7.0)
    assert a.sum().item() == 7000.0 and path.read_bytes() == before
    save({"a": a}, path)                                                  # over the file that is mapped
    assert load(path)["a"].tolist() == [7.0] * 1000 and a[0].item() == 7.0


@pytest.mark.parametrize("kind", KINDS)
def test_read_in_the_middle_of_a_stream(kind: str) -> None:
    buffer = io.BytesIO(b"head" + (GOLDEN / f"model.{kind}.pt").read_bytes())
    buffer.seek(4)
    assert load(buffer)["epoch"] == 3


def test_other_byte_order() -> None:
    """A checkpoint of a machine of the other byte order: every storage is turned round, once."""
    other = "big" if sys.byteorder == "little" else "little"
    tensors = {d.name: pellucid.tensor([0, 1, 2]).to(d) for d in ALL if d.name not in ("uint16", "uint32", "uint64") and "float8" not in d.name}
    tensors["view"] = tensors["float32"][1:]
    buffer, turned = io.BytesIO(), io.BytesIO()
    save(tensors, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(turned, "w") as new:
        kinds = iter(t.dtype for name, t in tensors.items() if name != "view")
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("archive/data/"):
                kind = next(kinds)
                width = kind.itemsize // (2 if kind.is_complex else 1)
                data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
            new.writestr(name, other.encode() if name.endswith("byteorder") else data)
    turned.seek(0)
    found = load(turned)
    assert equal(found, tensors) and found["view"].tolist() == [1.0, 2.0]


def test_repacked_with_compression(tmp_path: Path) -> None:
    """A checkpoint that a zip tool packed again."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(GOLDEN / "model.zip.pt") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("model/", b"")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert load(path)["model"]["0.bias"].tolist() == [1, 2] == load(path, mmap=True)["model"]["0.bias"].tolist()


# -- round trips here --------------------------------------------------------------------------------------------------


def sample() -> dict:
    base = pellucid.arange(20.0).reshape(4, 5)
    parameter = Parameter(pellucid.ones(3))
    marked = Parameter(pellucid.ones(2))
    marked.tag = {"k": [1]}
    noted = pellucid.ones(2)
    noted.note = "hi"
    state = collections.OrderedDict([("w", base), ("t", base.t()), ("p", parameter), ("tied", parameter)])
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    return {
        "state": state, "views": [base[1:], base[:, 2], base.expand(2, 4, 5)], "marked": marked, "noted": noted,
        "numbers": [1, -1, 256, 65536, 2**40, -(2**63), 2**63, 255, 65535, -129, 128, 0, 1.5, float("-inf"), True, False, None, 2 - 1j],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "sets": [{1, 2}, frozenset("a"), set()],
        "types": [pellucid.float32, pellucid.bool, pellucid.float32], "size": base.shape, "counter": collections.Counter("aab"),
        "default": collections.defaultdict(list, {1: [2]}), "no default": collections.defaultdict(None, {1: 2}),
        "bytes": [b"", b"ab\xff", bytearray(b"q"), bytearray()], "text": ["", "ü", "\ud800", "x" * 300],
        "scalar": pellucid.tensor(3), "empty": pellucid.zeros(0, 3), "grad": pellucid.ones(1, requires_grad=True),
        "dtypes": [pellucid.tensor([0, 1]).to(d) for d in ALL],
        "numpy": [np.float64(1.5), np.arange(3), np.ones((2, 2), "f4", order="F"), np.array(["ab", "c"]), np.zeros((0, 2))],
        "long": list(range(1001)), "longer": {n: n for n in range(2001)}, "ordered": collections.OrderedDict((str(n), n) for n in range(1001)),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_round_trip(zipped: bool) -> None:
    obj = sample()
    found = round_trip(obj, zipped)
    for name in obj:
        assert equal(found[name], obj[name]), name
    assert found["state"]._metadata == obj["state"]._metadata
    assert found["state"]["p"] is found["state"]["tied"]
    found["views"][0][0, 0] = -1.0
    assert found["state"]["w"][1, 0].item() == -1.0


def test_storages_round_trip() -> None:
    a = pellucid.arange(4.0)
    typed, untyped, again = round_trip([a.storage(), pellucid.arange(3).untyped_storage(), a])
    assert isinstance(typed, TypedStorage) and typed.dtype is pellucid.float32 and typed.tolist() == [0, 1, 2, 3]
    assert isinstance(untyped, UntypedStorage) and untyped.nbytes() == 24
    assert typed.data_ptr() == again.data_ptr()


def test_gradients_graphs_and_hooks_stay_behind() -> None:
    w = pellucid.ones(2, requires_grad=True)
    y = w * 2
    y.sum().backward()
    found_w, found_y = round_trip([w, y])
    assert found_w.grad is None and found_w.requires_grad and found_y.requires_grad and found_y.is_leaf


def test_memory_that_no_storage_describes_is_copied() -> None:
    a = np.arange(12.0)[::2].reshape(2, 3)[:, ::2]
    base = np.lib.stride_tricks.as_strided(np.arange(10.0), (3,), (16,))
    found = round_trip([Tensor._wrap(a), Tensor._wrap(base), Tensor._wrap(np.arange(3.0)[::-1])])
    assert [t.tolist() for t in found] == [[[0, 4], [6, 10]], [0, 2, 4], [2, 1, 0]]


def test_a_computed_view_saves_its_whole_storage_and_a_clone_does_not() -> None:
    big = pellucid.zeros(10_000)
    for obj, least, most in ((big[:3], 40_000, 45_000), (big[:3].clone(), 0, 5_000)):
        buffer = io.BytesIO()
        save(obj, buffer)
        assert least <= len(buffer.getvalue()) <= most


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def state_dict(self) -> dict:
        return {}

    def __getstate__(self) -> dict:
        raise TypeError("cannot pickle a lock")


class Sized:
    """An object made anew with a keyword, which protocol 2 has no word for."""

    def __new__(cls, *, size: int = 0):
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple:
        return (), {"size": 1}


@pytest.mark.parametrize("obj, hint", [
    (Locked(), r"save obj.state_dict\(\)"), (lambda: 0, "at the top level of a module"), (type("Local", (), {}), "at the top level of a module"),
    (type("D", (dict,), {})(), "at the top level of a module"), (threading.Lock(), "save its contents"), ((n for n in ()), "save its contents"),
    (collections, "code is found by name"), ([].append, "at the top level"), (Path("x").exists, "code is found by name"), (Sized(), "save its contents"),
    (collections.defaultdict(lambda: 0), "whose factory"), (np.array([None]), "dtype object"), (np.zeros(1, [("a", "f4")]), "dtype"),
])
def test_other_objects_are_refused_before_anything_is_written(obj, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    save(1, path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=hint):
        save({"deep": [obj]}, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_tensor_subclasses_are_refused() -> None:
    class Mine(Tensor):
        pass

    with pytest.raises(TypeError, match="only Tensor and Parameter themselves are restored"):
        save(pellucid.ones(1).as_subclass(Mine), io.BytesIO())


def test_objects_that_contain_themselves_are_refused() -> None:
    loop: list = []
    loop.append({"me": loop})
    deep: list = []
    for _ in range(400):
        deep = [deep]
    for obj, text in ((loop, "contains itself"), (deep, "nested deeper than 256")):
        with pytest.raises(ValueError, match=text):
            save(obj, io.BytesIO())


def test_one_storage_of_two_dtypes_is_refused() -> None:
    a = pellucid.arange(4)
    with pytest.raises(RuntimeError, match="Cannot save multiple tensors or storages that view the same data as different types"):
        save([a, Tensor._wrap(a._a.view(np.float64))], io.BytesIO())


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_map_location(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    save([pellucid.ones(2), pellucid.zeros(3)], buffer)
    on_gpu = buffer.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00mps")

    def reading(**options):
        return load(io.BytesIO(_without_checksums(on_gpu)), **options)

    with pytest.raises(UnsupportedCheckpointError, match="don't know how to restore data location"):
        reading()
    for where in ("cpu", pellucid.device("cpu"), {"mps": "cpu"}, lambda storage, location: storage):
        assert [t.tolist() for t in reading(map_location=where)] == [[1, 1], [0, 0, 0]]
    calls = []
    reading(map_location=lambda storage, location: calls.append((storage.size(), location)) or storage)
    assert calls == [(2, "mps"), (3, "mps")]
    with pytest.raises(UnsupportedCheckpointError):
        reading(map_location=lambda storage, location: None)
    with pytest.raises(TypeError, match="map_location must return the storage"):
        reading(map_location=lambda storage, location: 3)
    with pytest.raises(ZeroDivisionError):
        reading(map_location=lambda storage, location: 1 / 0)
    with pytest.raises(RuntimeError, match="cuda"):
        reading(map_location="cuda")
    with pytest.raises(TypeError, match="map_location must be"):
        reading(map_location=3)


def _without_checksums(data: bytes) -> bytes:
    out, at = bytearray(data), 0
    while (at := out.find(b"PK\x01\x02", at)) >= 0:
        out[at + 16 : at + 20] = bytes(4)
        at += 4
    return bytes(out)


def test_cuda_checkpoints_say_what_to_do() -> None:
    buffer = io.BytesIO()
    save(pellucid.ones(2), buffer)
    data = _without_checksums(buffer.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xpu"))
    with pytest.raises(CheckpointError) as caught:
        load(io.BytesIO(data))
    assert caught.value.mend == "pass map_location='cpu'"


def test_arguments() -> None:
    path = GOLDEN / "model.zip.pt"
    assert load(path, weights_only=False)["epoch"] == load(path, None)["epoch"] == load(str(path), weights_only=None)["epoch"] == 3
    assert load(path, pickle_module=pickle, weights_only=False)["epoch"] == 3
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        load(path, pickle_module=pickle)
    with pytest.raises(TypeError, match="is not used"):
        load(path, pickle_module=io, weights_only=False)
    with pytest.raises(TypeError, match="unexpected keyword argument 'errors'"):
        load(path, errors="ignore")
    with pytest.raises(ValueError, match="encoding must be one of"):
        load(path, encoding="rot13")
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        load(io.BytesIO(path.read_bytes()), mmap=True)
    with pytest.raises(FileNotFoundError):
        load("nowhere.pt")
    with pytest.raises(AttributeError, match="'int' object has no attribute 'read'. You can only load from a file that is seekable"):
        load(3)
    with pytest.raises(RuntimeError, match="more pickle instructions"):
        load(path, limits=Limits(opcodes=10))
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object"):
        save(1, 3)
    with pytest.raises(TypeError, match="is not used"):
        save(1, io.BytesIO(), pickle_module=io)
    with pytest.raises(ValueError, match="pickle protocol"):
        save(1, io.BytesIO(), pickle_protocol=9)
    save(1, io.BytesIO(), pickle, 4)


def test_python_2_strings() -> None:
    """Old checkpoints hold str of Python 2, whose encoding only their author knows."""
    buffer = io.BytesIO()
    save(["key"], buffer, _use_new_zipfile_serialization=False)
    old = buffer.getvalue().replace(b"X\x03\x00\x00\x00key", b"U\x03k\xe9y")
    with pytest.raises(CorruptCheckpointError, match="a string written by Python 2 is not utf-8") as caught:
        load(io.BytesIO(old))
    assert "encoding='latin1'" in caught.value.mend
    assert load(io.BytesIO(old), encoding="latin1") == ["kéy"] and load(io.BytesIO(old), encoding="bytes") == [b"k\xe9y"]


class Unseekable(io.RawIOBase):
    def readable(self) -> bool:
        return True


def test_files_that_cannot_be_seeked_are_not_read() -> None:
    with pytest.raises(io.UnsupportedOperation, match="Please pre-load the data into a buffer like io.BytesIO"):
        load(Unseekable())


# -- PyTorch itself ----------------------------------------------------------------------------------------------------


def both(T, parameter) -> dict:
    """One object, in PyTorch and here."""
    base = T.arange(20.0).reshape(4, 5)
    p = parameter(T.ones(3))
    state = collections.OrderedDict([("w", base), ("t", base.t()), ("p", p), ("tied", p)])
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    marked, noted = parameter(T.ones(2)), T.ones(2)
    marked.tag, noted.note = {"k": 1}, "hi"
    return {
        "state": state, "views": [base[1:], base[:, 2], base.expand(2, 4, 5)], "numbers": [1, -1, 256, 70000, 2**40, -(2**63), 2**63, 255, 65535, -129, 1.5, 1j],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4, 5)], "types": [T.float32, T.bool, T.int64, T.float32], "size": base.shape,
        "counter": collections.Counter("aabc"), "marked": marked, "noted": noted, "unsigned": T.ones(2, dtype=T.uint32), "scalar": T.tensor(3),
        "empty": T.zeros(0, 3), "bf": T.ones(3, dtype=T.bfloat16), "c": T.ones(2, dtype=T.complex64), "bool": T.tensor([True, False]),
        "long": list(range(1001)), "ordered": collections.OrderedDict((n, n) for n in range(1001)), "dict": {n: None for n in range(1001)},
        "set": {1, 2, 3}, "bytes": [b"ab", b"cd"], "array": bytearray(b"q"), "grad": T.ones(1, requires_grad=True), "untyped": None,
        "f8": T.ones(2).to(T.float8_e4m3fn),
    }


def numpy_values() -> list:
    return [np.float64(1.5), np.arange(3), np.ones((2, 2), "f4", order="F"), np.array(["ab", "c"]), frozenset([1]), collections.defaultdict(list, {1: [2]})]


def test_files_are_pytorchs_byte_for_byte() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = io.BytesIO(), io.BytesIO()
    torch.save([both(torch, torch.nn.Parameter), numpy_values()], theirs)
    save([both(pellucid, Parameter), numpy_values()], ours)
    with zipfile.ZipFile(theirs) as a, zipfile.ZipFile(ours) as b:
        assert a.namelist() == b.namelist()
        for one, other in zip(a.infolist(), b.infolist()):
            assert (one.header_offset, one.file_size, one.flag_bits, one.extra) == (other.header_offset, other.file_size, other.flag_bits, other.extra)
            if one.filename.endswith("serialization_id"):
                assert len(b.read(other)) == 40
            else:
                assert a.read(one) == b.read(other), one.filename
        assert b.testzip() is None
    # Outside the hash (and its checksums) not a byte differs.
    differing = [n for n, (x, y) in enumerate(zip(theirs.getvalue(), ours.getvalue())) if x != y]
    assert len(theirs.getvalue()) == len(ours.getvalue()) and len(differing) <= 40 + 8


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_reads_what_is_written_here(zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.v1.pt"
    obj, expected = both(pellucid, Parameter), both(torch, torch.nn.Parameter)
    if not zipped:                                                        # which PyTorch itself cannot read back in that format
        for name in ("unsigned", "f8"):
            del obj[name], expected[name]
    save(obj, path, _use_new_zipfile_serialization=zipped)
    found = torch.load(path, weights_only=True)
    assert list(found) == list(expected)
    for name in ("views", "unsigned", "scalar", "empty", "bf", "c", "bool", "grad", "noted", "f8"):
        for x, y in zip(*(v if isinstance(v, list) else [v] for v in (found.get(name), expected.get(name)))):
            assert x is y is None or (x.dtype == y.dtype and x.stride() == y.stride() and x.tolist() == y.tolist() and x.requires_grad == y.requires_grad)
    for name in ("numbers", "tuples", "types", "size", "counter", "long", "ordered", "dict", "set", "bytes", "array"):
        assert found[name] == expected[name] and type(found[name]) is type(expected[name]), name
    assert found["state"]["p"] is found["state"]["tied"] and type(found["state"]["p"]) is torch.nn.Parameter
    assert found["state"]._metadata == expected["state"]._metadata and found["marked"].tag == {"k": 1} and found["noted"].note == "hi"
    assert found["views"][0].untyped_storage().data_ptr() == found["state"]["w"].untyped_storage().data_ptr()
    if zipped:
        assert torch.load(path, mmap=True)["bf"].tolist() == [1, 1, 1]
        assert zipfile.ZipFile(path).namelist()[0] == "model.v1/data.pkl"


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    obj = both(torch, torch.nn.Parameter)
    obj["untyped"] = torch.arange(3).untyped_storage()
    net = torch.nn.LSTM(3, 4, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 1, 3))[0].sum().backward()
    adam.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(adam, [1, 2])
    obj.update(net=net.state_dict(), adam=adam.state_dict(), scheduler=scheduler.state_dict(), rng=torch.get_rng_state())
    torch.save(obj, buffer, _use_new_zipfile_serialization=zipped)
    buffer.seek(0)
    found = load(buffer)
    expected = both(pellucid, Parameter)
    for name in set(expected) - {"untyped"}:
        assert equal(found[name], expected[name]), name
    assert found["untyped"].nbytes() == 24 and found["scheduler"]["milestones"] == collections.Counter([1, 2])
    for name, t in net.state_dict().items():
        assert found["net"][name].tolist() == t.tolist()
    for n, state in adam.state_dict()["state"].items():
        assert all(found["adam"]["state"][n][k].tolist() == v.tolist() for k, v in state.items())
    assert found["rng"].tolist() == torch.get_rng_state().tolist()


def test_records_without_checksums_are_read(tmp_path: Path) -> None:
    """PyTorch writes zeros where it was told not to compute them."""
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert load(tmp_path / "x.pt")["a"].tolist() == [1, 1, 1]


def test_modules_and_optimizers_both_ways(tmp_path: Path) -> None:
    """A model trained a step in PyTorch goes on here, and back."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "checkpoint.pt"

    def model(T):
        return T.nn.Sequential(T.nn.Linear(3, 4), T.nn.BatchNorm1d(4), T.nn.ReLU(), T.nn.Linear(4, 2))

    theirs, ours = model(torch), model(pellucid)
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("f4")
    for (T, one, other, load_it, save_it) in ((torch, theirs, ours, load, torch.save), (pellucid, ours, theirs, torch.load, save)):
        adam = T.optim.Adam(one.parameters())
        one(T.from_numpy(x)).sum().backward()
        adam.step()
        save_it({"model": one.state_dict(), "adam": adam.state_dict()}, path)
        found = load_it(path)
        keys = other.load_state_dict(found["model"])
        assert not keys.missing_keys and not keys.unexpected_keys
        second = (pellucid if T is torch else torch).optim.Adam(other.parameters())
        second.load_state_dict(found["adam"])
        assert theirs.state_dict()._metadata == ours.state_dict()._metadata
        for (name, a), b in zip(theirs.state_dict().items(), ours.state_dict().values()):
            assert a.tolist() == b.tolist(), name
        for a, b in zip(adam.state_dict()["state"].values(), second.state_dict()["state"].values()):
            assert a["exp_avg"].tolist() == b["exp_avg"].tolist() and float(a["step"]) == float(b["step"]) == 1.0
