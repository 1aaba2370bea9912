"""default_collate, default_convert and the registry of collate functions."""
import collections
import types

import numpy as np
import pytest

import pellucid as torch
from pellucid.utils.data import default_collate, default_convert
from pellucid.utils.data._utils.collate import collate, default_collate_fn_map

Point = collections.namedtuple("Point", ["x", "y"])


class CustomList(list):
    pass


class CustomDict(collections.UserDict):
    pass


def same(got, values, dtype, shape=None):
    assert type(got) is torch.Tensor and got.dtype == dtype and got.tolist() == values
    assert shape is None or tuple(got.shape) == shape


def test_numbers():
    same(default_collate([1, 2, 3]), [1, 2, 3], torch.int64)
    same(default_collate([1.5, 2.0]), [1.5, 2.0], torch.float64)
    same(default_collate([True, False]), [True, False], torch.bool)
    same(default_collate([1, 2.5]), [1.0, 2.5], torch.float32)
    same(default_collate([np.float32(1), np.float32(2)]), [1.0, 2.0], torch.float32)
    same(default_collate([np.int16(1), np.int16(2)]), [1, 2], torch.int16)
    same(default_collate([np.bool_(True)]), [True], torch.bool)
    assert default_collate(["a", "bc"]) == ["a", "bc"] and default_collate([b"a"]) == [b"a"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "float16", "bfloat16", "complex64"])
def test_tensors(dtype):
    dtype = getattr(torch, dtype)
    samples = [torch.arange(6).reshape(2, 3).to(dtype) for _ in range(4)]
    got = default_collate(samples)
    assert got.dtype == dtype and tuple(got.shape) == (4, 2, 3)
    assert got.tolist() == torch.stack(samples).tolist() == [samples[0].tolist()] * 4
    got[0] = 0                                            # a batch is a copy
    assert samples[0].tolist() == got[1].tolist() != got[0].tolist()


def test_arrays_and_layouts():
    same(default_collate([np.arange(3), np.arange(3)]), [[0, 1, 2]] * 2, torch.int64, (2, 3))
    same(default_collate([np.float32(3) * np.ones(()), np.zeros((), np.float64)]), [3.0, 0.0], torch.float64, (2,))
    image = torch.arange(24).reshape(2, 4, 3).permute(2, 0, 1)
    got = default_collate([image, image])
    assert got.is_contiguous() and got[1].tolist() == image.tolist()
    same(default_collate([torch.zeros(0, 3)] * 2), [[], []], torch.float32, (2, 0, 3))


def test_mixed_dtypes_promote_and_grad_flows():
    same(default_collate([torch.tensor([1]), torch.tensor([1.5])]), [[1.0], [1.5]], torch.float32)
    leaf = torch.ones(2, requires_grad=True)
    got = default_collate([leaf * 2, torch.zeros(2)])
    got.sum().backward()
    assert leaf.grad.tolist() == [2.0, 2.0]


def test_structures():
    got = default_collate([{"a": 1, "b": ("x", [2.0])}, {"a": 3, "b": ("y", [4.0])}])
    same(got["a"], [1, 3], torch.int64)
    assert list(got["b"][0]) == ["x", "y"]
    same(got["b"][1][0], [2.0, 4.0], torch.float64)
    point = default_collate([Point(0, 1.0), Point(2, 3.0)])
    assert type(point) is Point
    same(point.x, [0, 2], torch.int64)
    assert type(default_collate([(1, 2), (3, 4)])) is list
    custom = CustomList([1, 2])
    custom.tag = "kept"
    got = default_collate([custom, CustomList([3, 4])])
    assert type(got) is CustomList and got.tag == "kept"
    same(got[1], [2, 4], torch.int64)
    assert type(default_collate([CustomDict(a=1)])) is CustomDict
    proxy = default_collate([types.MappingProxyType({"a": 1})])
    same(proxy["a"], [1], torch.int64)
    same(default_collate([range(2), range(2)])[1], [1, 1], torch.int64)


def test_errors():
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError, match=r"stack expects each tensor to be equal size.*\[3\].*\[4\]"):
        default_collate([torch.zeros(3), torch.zeros(4)])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([np.zeros(3), np.zeros(4)])
    for bad in (object(), None, 3 + 4j):
        with pytest.raises(TypeError, match="default_collate: batch must contain tensors, numpy arrays, numbers, dicts "
                                            "or lists; found"):
            default_collate([bad, bad])
    for bad in (np.array(["a"]), np.array([object()]), np.array([b"x"])):
        with pytest.raises(TypeError, match="default_collate: batch must contain"):
            default_collate([bad])


def test_registry(monkeypatch):
    class Odd:
        pass

    class Odder(Odd):
        pass

    def collate_odd(batch, *, collate_fn_map):
        assert collate_fn_map is default_collate_fn_map
        return f"{len(batch)} odd"
    monkeypatch.setitem(default_collate_fn_map, Odd, collate_odd)
    assert default_collate([Odd(), Odd()]) == "2 odd"
    assert default_collate([(Odder(), 1)])[0] == "1 odd"
    mine = {torch.Tensor: lambda batch, *, collate_fn_map: "mine"}
    assert collate([torch.zeros(1)], collate_fn_map=mine) == "mine"
    with pytest.raises(TypeError, match="found <class 'int'>"):
        collate([1], collate_fn_map=mine)
    monkeypatch.setitem(default_collate_fn_map, torch.Tensor, mine[torch.Tensor])
    assert default_collate([np.zeros(2), np.zeros(2)]) == "mine"


def test_convert():
    same(default_convert(np.array([0, 1])), [0, 1], torch.int64)
    same(default_convert(np.float32(2)), 2.0, torch.float32, ())
    assert default_convert(0) == 0 and default_convert("s") == "s"
    strings = np.array(["a"])
    assert default_convert(strings) is strings
    t = torch.zeros(2)
    assert default_convert(t) is t
    assert type(default_convert((1, 2))) is list
    assert type(default_convert(Point(np.zeros(1), 1)).x) is torch.Tensor
    assert type(default_convert(CustomList([np.zeros(1)]))) is CustomList
    assert type(default_convert({"a": np.zeros(1)})["a"]) is torch.Tensor
    assert type(default_convert(CustomDict(a=np.zeros(1)))) is CustomDict
    assert default_convert(range(3)) == [0, 1, 2]
