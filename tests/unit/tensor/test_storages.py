"""Storages, legacy constructors, deep copies and pickles."""

from __future__ import annotations

import copy
import os
import pickle
import warnings

import numpy as np
import pytest

import pellucid as torch
from pellucid.nn.parameter import Parameter
from pellucid.tensor import Tensor


def test_storages_see_one_memory() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    typed, untyped = x[1].storage(), x.untyped_storage()
    assert typed.dtype is torch.float32 and typed.size() == len(typed) == 6 and untyped.nbytes() == len(untyped) == 24
    assert typed.data_ptr() == untyped.data_ptr() == x.data_ptr() and x[1].storage_offset() == 3
    version = x._version
    typed[0] = 7.0
    assert x[0, 0].item() == 7.0 and x._version > version and typed[0] == 7.0 and typed.tolist() == [7, 1, 2, 3, 4, 5]
    assert untyped == x.untyped_storage() and hash(untyped) == hash(x.untyped_storage()) and untyped != torch.ones(1).untyped_storage()
    assert typed.element_size() == 4 and untyped.element_size() == 1 and typed.untyped() == untyped
    assert untyped[3] == x.numpy().tobytes()[3] and typed[1:3].tolist() == [1, 2] and list(typed)[1] == 1.0
    assert torch.is_storage(typed) and torch.is_storage(untyped) and not torch.is_storage(x)
    for bad, error in ((9, IndexError), ("a", TypeError)):
        with pytest.raises(error):
            typed[bad]
    assert repr(torch.ones(2).storage()) == " 1.0\n 1.0\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 2]"
    assert repr(torch.UntypedStorage([1, 2])) == " 1\n 2\n[torch.storage.UntypedStorage(device=cpu) of size 2]"


def test_making_and_changing_storages() -> None:
    assert torch.FloatStorage([1, 2]).tolist() == [1, 2] and torch.UntypedStorage(3).nbytes() == 3 and torch.LongStorage(2).nbytes() == 16
    assert isinstance(torch.ones(1).storage(), torch.FloatStorage) and not isinstance(torch.ones(1).storage(), torch.LongStorage)
    assert torch.ones(1).storage_type() is torch.FloatStorage and torch.TypedStorage(2, dtype=torch.int8).dtype is torch.int8
    s = torch.FloatStorage([1, 2, 3])
    assert s.clone().fill_(4).tolist() == [4, 4, 4] and s.tolist() == [1, 2, 3] and s.long().dtype is torch.int64
    assert s.resize_(4).tolist()[:3] == [1, 2, 3] and s.size() == 4 and s.resize_(1).tolist() == [1]
    assert s.copy_(torch.LongStorage([8])).tolist() == [8] and s.cpu() is s and not s.is_shared()
    assert copy.copy(s) != s and copy.deepcopy(s) != s and pickle.loads(pickle.dumps(s)).tolist() == [8]
    with pytest.raises(RuntimeError, match="cuda"):
        s.cuda()


def test_set_() -> None:
    x = torch.arange(6.0)
    t = torch.empty(0).set_(x.storage(), 1, (2, 2), (1, 2))
    assert t.tolist() == [[1, 3], [2, 4]] and t.untyped_storage() == x.untyped_storage()
    assert torch.empty(0).set_(x).is_set_to(x) and torch.empty(0).set_(x.untyped_storage()).shape == (6,) and x.clone().set_().shape == (0,)
    assert torch.empty(0).set_(x.storage(), 1, (2, 2)).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RuntimeError, match="Could not set tensor of type float to a tensor of type int"):
        torch.empty(0, dtype=torch.int32).set_(x)
    with pytest.raises(RuntimeError, match="Tensor: invalid storage offset -1"):
        torch.empty(0).set_(x.storage(), -1, (2,), (1,))
    grown = torch.empty(0).set_(x.storage(), 5, (2,), (1,))
    assert grown.tolist() == [5, 0] and x.tolist() == [0, 1, 2, 3, 4, 5]


def test_storages_of_buffers_and_files(tmp_path) -> None:
    data = bytearray([1, 2, 3, 4])
    assert torch.ShortStorage.from_buffer(data, "big").tolist() == [258, 772] and torch.IntStorage.from_buffer(data, "little")[0] == 67305985
    assert torch.BoolStorage.from_buffer(b"\0x4").tolist() == [False, True, True] and torch.ByteStorage.from_buffer(data, count=2, offset=1).tolist() == [2, 3]
    with pytest.raises(ValueError, match="not a multiple of the element size 2"):
        torch.ShortStorage.from_buffer(b"abc")
    path = tmp_path / "numbers"
    shared = torch.from_file(path, True, 3, dtype=torch.int16)
    shared[1] = 258
    assert path.read_bytes() == b"\0\0\2\1\0\0" and torch.ShortStorage.from_file(path, True, 3).tolist() == [0, 258, 0]
    private = torch.from_file(path, size=2, dtype=torch.int16)
    private[0] = 1
    assert private.tolist() == [1, 258] and path.read_bytes()[0] == 0 and torch.from_file(path, size=1, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="holds 6 bytes, 9 elements of float32 need 36"):
        torch.from_file(path, False, 9)


def test_storages_by_type() -> None:
    x = torch.arange(3.0)
    assert x.storage().type() == "torch.FloatStorage" and x.storage().type(torch.int8).tolist() == [0, 1, 2]
    assert torch.tensor(x.storage()).tolist() == [0, 1, 2] and torch.tensor(x.untyped_storage(), dtype=torch.float32).tolist() == [0, 1, 2]
    for use in (lambda s: torch.tensor(s, dtype=torch.int64), lambda s: torch.tensor([]).double().set_(s)):
        with pytest.raises(RuntimeError, match="Expected a Storage of type (Long|Double) or an UntypedStorage, but got type Float for argument 1 'storage'"):
            use(x.storage())
    assert x.untyped_storage() is x.untyped_storage() is x[1:].untyped_storage() and torch.storage.UntypedStorage is torch.UntypedStorage
    s = torch.UntypedStorage([1, 2, 3, 4])
    s.byteswap(torch.int16)
    assert s.tolist() == [2, 1, 4, 3] and torch.ones(1).is_nonzero() and not torch.ones(0).is_set_to(torch.ones(0))


def test_resize_() -> None:
    x = torch.arange(6.0)
    assert x.resize_(2, 3) is x and x.tolist() == [[0, 1, 2], [3, 4, 5]] and x.resize_((2,)).tolist() == [0, 1]
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]                   # what lay behind was kept
    assert x.resize_(8).tolist()[:6] == [0, 1, 2, 3, 4, 5] and x.resize_as_(torch.ones(2, 4)).shape == (2, 4)
    assert torch.ones(8).resize_(1, 2, 2, 2, memory_format=torch.channels_last).stride() == (8, 1, 4, 2)
    with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
        torch.ones(2, requires_grad=True).resize_(3)
    with pytest.raises(RuntimeError, match="negative dimension"):
        torch.ones(2).resize_(-1)


def test_shared_memory_is_seen_by_a_forked_process() -> None:
    x = torch.zeros(4)
    assert not x.is_shared() and x.share_memory_() is x and x.is_shared() and x[1:].is_shared()
    if hasattr(os, "fork"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)           # of threads while forking; the child only writes
            child = os.fork()
        if child == 0:
            x._a[2] = 5.0
            os._exit(0)
        os.waitpid(child, 0)
        assert x.tolist() == [0, 0, 5, 0]


def test_element_by_element() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    version = x._version
    assert x.apply_(lambda v: v + 1) is x and x.tolist() == [[1, 2], [3, 4]] and x._version > version
    assert x.map_(torch.tensor([10.0, 20.0]), lambda a, b: a * b).tolist() == [[10, 40], [30, 80]]
    assert x.map2_(x.clone(), torch.tensor(1.0), lambda a, b, c: a - b + c).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(TypeError, match="must return a number, not str"):
        x.apply_(str)
    with pytest.raises(RuntimeError, match=r"Can't call apply_\(\) on Variable that requires grad. Use var.detach\(\).apply_\(\) instead."):
        torch.ones(1, requires_grad=True).apply_(float)


def test_legacy_constructors() -> None:
    assert torch.FloatTensor(2, 3).shape == torch.Tensor(torch.Size([2, 3])).shape == (2, 3) and torch.FloatTensor((2, 3)).tolist() == [2, 3]
    assert torch.LongTensor([1.5]).tolist() == [1] and torch.LongTensor([1]).dtype is torch.int64 and torch.Tensor().shape == (0,)
    assert torch.Tensor([1, 2]).dtype is torch.float32 and torch.BoolTensor([1, 0]).tolist() == [True, False] and torch.Tensor(data=[1]).tolist() == [1]
    x = torch.arange(6.0)
    assert torch.FloatTensor(x).data_ptr() == x.data_ptr() == torch.FloatTensor(x.storage()).data_ptr() and torch.Tensor(x.double()).dtype is torch.float64
    assert isinstance(x, torch.FloatTensor) and not isinstance(x, torch.DoubleTensor) and torch.FloatTensor.dtype is torch.float32
    assert x.new(2, 3).shape == x.new(size=(2, 3)).shape == (2, 3) and x.long().new([1.5]).tolist() == [1] and x.new_tensor([1]).dtype is torch.float32
    for make, error, text in ((lambda: torch.Tensor(2.5), TypeError, r"data must be a sequence \(got float\)"), (lambda: torch.Tensor("a"), TypeError, "invalid data type"),
                              (lambda: torch.Tensor(-1), RuntimeError, "negative dimension -1"), (lambda: torch.LongTensor(x), TypeError, "expected"),
                              (lambda: torch.FloatTensor(1, 2.5), TypeError, "failed to unpack the object at pos 2"),
                              (lambda: torch.LongTensor((6, 0), 1), TypeError, "received an invalid combination of arguments"),
                              (lambda: torch.FloatTensor(x.long().storage()), RuntimeError, "Expected a Storage of type Float")):
        with pytest.raises(error, match=text):
            make()


def test_types_by_name() -> None:
    x = torch.ones(2)
    assert x.type() == "torch.FloatTensor" and x.type("torch.DoubleTensor").dtype is torch.float64
    assert x.type(torch.LongTensor).dtype is torch.int64 and x.type(torch.int32).dtype is torch.int32 and x.type(torch.float32) is x
    for bad in ("foo", int):
        with pytest.raises(ValueError, match="invalid type"):
            x.type(bad)
    try:
        torch.set_default_tensor_type(torch.DoubleTensor)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_tensor_type("torch.FloatTensor")
    with pytest.raises(TypeError, match="only floating-point types"):
        torch.set_default_tensor_type(torch.LongTensor)


class Mine(Tensor):
    pass


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: pickle.loads(pickle.dumps(x, 5))])
def test_copies_share_as_the_originals_did(how) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    p = Parameter(torch.ones(2))
    p.tag = ["t"]
    mine = torch.ones(1).as_subclass(Mine)
    w = torch.ones(2, requires_grad=True)
    found = how({"base": base, "row": base[1], "t": base.t(), "p": p, "tied": p, "mine": mine, "w": w, "empty": torch.zeros(0, 2), "s": base.storage()})
    assert found["base"].data_ptr() != base.data_ptr() and found["t"].stride() == (1, 4) and found["row"].storage_offset() == 4
    found["base"][1, 0] = 99.0
    assert found["row"][0].item() == found["t"][0, 1].item() == found["s"][4] == 99.0 and base[1, 0].item() == 4.0
    assert found["p"] is found["tied"] and type(found["p"]) is Parameter and found["p"].requires_grad and type(found["mine"]) is Mine
    assert found["w"].requires_grad and found["w"].is_leaf and found["empty"].shape == (0, 2)


def test_deepcopy_of_gradients_and_graphs() -> None:
    w = torch.ones(2, requires_grad=True)
    (w * 3).sum().backward()
    w.note = {"a": 1}
    c = copy.deepcopy(w)
    assert c.grad.tolist() == [3, 3] and c.grad is not w.grad and c.note == {"a": 1} and c.note is not w.note
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(w * 2)
    assert copy.copy(w).data_ptr() == w.data_ptr()


def test_float8_and_bfloat16() -> None:
    x = torch.tensor([1.0, 2.0]).to(torch.float8_e5m2)
    assert x.tolist() == [1, 2] and x.type() == "torch.Float8_e5m2Tensor" and copy.deepcopy(x).dtype is torch.float8_e5m2
    assert torch.ones(1, dtype=torch.bfloat16).storage().tolist() == [1.0] and np.asarray(torch.ones(1)).dtype == np.float32


def test_storages_without_bytes() -> None:
    for size in (0, 100, [1, 2, 3]):
        for make in (torch.UntypedStorage, torch.TypedStorage):
            s = make(size, device="meta")
            assert s.device.type == s.untyped().device.type == "meta" and s.nbytes() == make(size).nbytes() and s.data_ptr() == 0
            with pytest.raises(NotImplementedError, match="Not available for 'meta'"):
                s[0]
            assert s.resize_(10).size() == 10 and s.device.type == "meta"
            for refused in (s.cpu, lambda s=s: torch.UntypedStorage(10).copy_(s)):
                with pytest.raises(NotImplementedError, match="Cannot copy out of meta"):
                    refused()
            with pytest.raises(RuntimeError, match="only available on CPU"):
                s.share_memory_()
