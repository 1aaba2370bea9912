"""Whole objects in checkpoints: nn's modules, and the classes a caller allows; both ways with PyTorch, where it is installed."""

from __future__ import annotations

import collections
import copy
import enum
import functools
import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid import nn, serialization
from pellucid.serialization import CorruptCheckpointError, UnsafeCheckpointError, load, safe_globals, save

GOLDEN = Path(__file__).parents[2] / "golden" / "pt"
HERE = __name__
calls: list[Any] = []


# -- writing pickles by hand, as test_hostile does -------------------------------------------------------------------


def g(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def u(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def i(n: int) -> bytes:
    return b"J" + struct.pack("<i", n)


def t(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(module: str, name: str, *args: bytes) -> bytes:
    return g(module, name) + t(*args) + b"R"


def pt(*ops: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("a/data.pkl", b"\x80\x02" + b"".join(ops) + b".")
        z.writestr("a/version", b"3\n")
    return out.getvalue()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head, self.twice = nn.LSTM(3, 4), nn.Linear(4, 2), None
        self.twice = self.head
        self.activation, self.note = nn.functional.relu, {"a": (1, 2)}

    def forward(self, x: Any) -> Any:
        return self.activation(self.head(self.rnn(x)[0]))


class Slots:
    __slots__ = ("a", "b")


class Own(dict):
    pass


class Stack(list):
    pass


class Counting:
    def __setstate__(self, state: Any) -> None:
        calls.append(state)


class Colour(enum.Enum):
    RED = 1


@dataclass
class Config:
    width: int
    more: Any = None


Pair = collections.namedtuple("Pair", "a b")


def double(x: Any) -> Any:
    calls.append(x)
    return [x, x]


def through(obj: Any, *allowed: Any, **options: Any) -> Any:
    file = io.BytesIO()
    save(obj, file, **options)
    file.seek(0)
    with safe_globals(allowed):
        return load(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_module_of_the_users_own_class(zipped: bool) -> None:
    net = Net().eval()
    found = through(net, Net, _use_new_zipfile_serialization=zipped)
    assert type(found) is Net and not found.training and found.twice is found.head and found.activation is nn.functional.relu
    assert found.note == {"a": (1, 2)} and [n for n, _ in found.named_parameters()] == [n for n, _ in net.named_parameters()]
    x = pellucid.ones(2, 1, 3)
    assert found(x).tolist() == net(x).tolist()
    with pytest.raises(UnsafeCheckpointError, match=f"{HERE}.Net") as caught:
        through(net)
    assert "safe_globals([Net])" in str(caught.value)


@pytest.mark.parametrize("make", [
    lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()), lambda: nn.GRU(2, 3, 2, bidirectional=True),
    lambda: nn.TransformerEncoderLayer(4, 2), lambda: nn.MultiheadAttention(4, 2), lambda: nn.ModuleDict({"a": nn.Embedding(3, 2)}),
    lambda: nn.ParameterList([nn.Parameter(pellucid.ones(2))]), lambda: nn.TransformerEncoderLayer(4, 2, activation="gelu"),
])
def test_modules_of_nn_need_no_permission(make: Any) -> None:
    one = make()
    found = through(one)
    assert repr(found) == repr(one)
    for (name, a), b in zip(one.state_dict().items(), found.state_dict().values()):
        assert a.tolist() == b.tolist(), name


def test_hooks_are_live_after_loading_and_after_copying() -> None:
    for make in (through, copy.deepcopy):
        seen: list[int] = []
        found = make(nn.Linear(2, 2))
        handle = found.register_forward_hook(lambda *_: seen.append(1))
        found(pellucid.ones(2))
        handle.remove()
        found(pellucid.ones(2))
        assert seen == [1]


def test_plain_objects() -> None:
    slots = Slots()
    slots.a, slots.b = 1, [2]
    found = through(slots, Slots)
    assert (found.a, found.b) == (1, [2])
    own = Own(a=1)
    own.extra = pellucid.ones(2)
    found = through(own, Own)
    assert type(found) is Own and found == {"a": 1} and found.extra.tolist() == [1, 1]
    found = through(Stack([1, 2]), Stack)
    assert type(found) is Stack and found == [1, 2]
    assert through({Colour.RED: Colour.RED}, Colour) == {Colour.RED: Colour.RED}
    assert through(Config(3, Pair(1, Config)), Config, Pair) == Config(3, Pair(1, Config))
    assert through([double, Net], double, Net) == [double, Net]
    assert through(functools.partial(double, 3), functools.partial, double).args == (3,)
    shared = Config(1)
    found = through([shared, shared], Config)
    assert found[0] is found[1]


def test_an_object_in_itself_is_refused() -> None:
    one = Config(1)
    one.more = [one]
    with pytest.raises(ValueError, match="contains itself"):
        save(one, io.BytesIO())


def test_what_is_allowed_ends_with_the_block_and_can_be_cleared() -> None:
    serialization.add_safe_globals([Net])
    try:
        with safe_globals([Config, Net]):
            assert set(serialization.get_safe_globals()) == {Net, Config}
        assert serialization.get_safe_globals() == [Net]
    finally:
        serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []
    with pytest.raises(TypeError, match="safe globals are classes and functions"):
        through(1, "os.system")


def test_another_name_for_a_class() -> None:
    with safe_globals([(Config, "old.place.Settings")]):
        assert load(io.BytesIO(pt(g("old.place", "Settings"), t(i(3)), b"R"))) == Config(3)
        with pytest.raises(UnsafeCheckpointError):
            load(io.BytesIO(pt(g(HERE, "Config"), t(i(3)), b"R")))


def test_only_what_is_allowed_is_called() -> None:
    """REDUCE, NEWOBJ, BUILD and items: each of an allowed class, and of another beside it."""
    calls.clear()
    empty = b")\x81"
    with safe_globals([Counting, double, Own]):
        assert load(io.BytesIO(pt(call(HERE, "double", i(3))))) == [3, 3] and calls == [3]
        load(io.BytesIO(pt(g(HERE, "Counting"), empty, i(7), b"b")))
        assert calls == [3, 7]
        assert load(io.BytesIO(pt(g(HERE, "Own"), empty, u("a"), i(1), b"s"))) == {"a": 1}
        for stream in (
            call(HERE, "Config", i(3)), g(HERE, "Config") + empty, g(HERE, "Config") + empty + b"}b", g(HERE, "Stack") + empty + i(1) + b"a",
            call("os", "getcwd"), call(HERE, "calls.append", i(1)), call(HERE, "Counting.__setstate__", i(1)), call(HERE + ".double", "__call__"),
            call("builtins", "getattr", g(HERE, "Own"), u("update")), call(HERE, "double", g("collections", "OrderedDict")),
            g(HERE, "Own") + empty + g("collections", "OrderedDict") + b"b", call(HERE, "double", i(3)) + i(1) + b"b",
        ):
            with pytest.raises(UnsafeCheckpointError):
                load(io.BytesIO(pt(stream)))
        assert calls == [3, 7, 3]       # the last one calls what is allowed, and then sets a list's state
        for stream in (
            call(HERE, "double"), g(HERE, "double") + i(1) + b"R", g(HERE, "Own") + empty + i(1) + b"b",
            g(HERE, "Own") + empty + b"q\x00h\x00" + u("a") + b"h\x00" + b"s",              # in itself
            g(HERE, "Own") + empty + b"q\x00]h\x00a0h\x00}" + u("a") + i(1) + b"sb",        # changed after it was placed in a list
        ):
            with pytest.raises(CorruptCheckpointError):
                load(io.BytesIO(pt(stream)))


def test_a_module_class_of_the_user_takes_attributes_only() -> None:
    with safe_globals([Net]), pytest.raises(UnsafeCheckpointError, match="may not be set"):
        load(io.BytesIO(pt(g(HERE, "Net"), b")\x81", b"}" + u("__class__") + i(1) + b"sb")))


def test_the_names_a_file_needs() -> None:
    file = io.BytesIO()
    save({"net": Net(), "config": Config(1, double)}, file)
    file.seek(0)
    assert set(serialization.get_unsafe_globals_in_checkpoint(file)) == {f"{HERE}.{name}" for name in ("Net", "Config", "double")}
    with safe_globals([Net, double]):
        file.seek(0)
        assert serialization.get_unsafe_globals_in_checkpoint(file) == [f"{HERE}.Config"]
    assert serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(pt(call("os", "system", u("x"))))) == ["os.system"]
    with pytest.raises(ValueError, match="Expected input to be a checkpoint"):
        serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(b"\x80\x02}."))


def test_a_whole_module_of_pytorchs() -> None:
    for kind in ("zip", "legacy"):
        assert isinstance(load(GOLDEN / f"module.{kind}.pt"), nn.Module)


def test_whole_modules_both_ways_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for T, other, read in ((torch, pellucid, load), (pellucid, torch, functools.partial(torch.load, weights_only=False))):
        one = T.nn.Sequential(T.nn.LSTM(2, 3), T.nn.TransformerEncoderLayer(4, 2), T.nn.BatchNorm1d(2)).eval()
        file = io.BytesIO()
        T.save(one, file)
        file.seek(0)
        found = read(file)
        assert type(found[0]) is other.nn.LSTM and repr(found) == repr(one)
        for (name, a), b in zip(one.state_dict().items(), found.state_dict().values()):
            assert a.tolist() == b.tolist(), name
        x = [[[1.0, 2.0]]]
        assert found[0](other.tensor(x))[0].flatten().tolist() == pytest.approx(one[0](T.tensor(x))[0].flatten().tolist(), rel=1e-5)
