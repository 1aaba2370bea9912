"""Tensors from and to Python data, NumPy, buffers and DLPack: dtypes, sharing, errors."""

from __future__ import annotations

import array
import enum
import fractions
import pickle
import warnings

import numpy as np
import pytest

import pellucid as torch


class Level(enum.IntEnum):
    HIGH = 3


DTYPES = [
    (True, "bool"), (1, "int64"), (1.0, "float32"), (1j, "complex64"), ([], "float32"), ([[], []], "float32"), ([True, 2], "int64"),
    ([1, 2.5], "float32"), ([1, 2j], "complex64"), ((1, 2), "int64"), (range(3), "int64"), (bytearray(b"ab"), "int64"), (Level.HIGH, "int64"),
    (np.float64(1), "float64"), ([np.float64(1), 2], "float64"), (np.int32(3), "int32"), ([np.float32(1), 2.5], "float32"),
    (np.ones(2, "u2"), "uint16"), (array.array("f", [1.0]), "float32"), (2**63 - 1, "int64"), (-(2**63), "int64"),
]


@pytest.mark.parametrize("data, kind", DTYPES, ids=[f"{str(d)[:20]}-{k}" for d, k in DTYPES])
def test_dtype_of_data(data, kind: str) -> None:
    t = torch.tensor(data)
    assert t.dtype is getattr(torch, kind) and t.shape == np.shape(data)
    assert t.tolist() == (np.array(data).tolist() if np.size(data) else [[], []] if len(data) else [])


CASTS = [(300, "uint8", RuntimeError), ([300], "uint8", RuntimeError), ([-1], "uint8", [255]), (1.7, "int64", 1), ([float("nan")], "int64", RuntimeError),
         ([float("inf")], "int32", RuntimeError), (1e40, "float32", float("inf")), (1 + 2j, "float32", TypeError), ([1 + 2j], "int64", TypeError),
         (70000.0, "float16", float("inf")), ([0, 2], "bool", [False, True]), ([1, 2], "complex64", [1, 2]), (2**63, None, ValueError),
         (1.0, "bfloat16", 1.0), (1.00390625, "bfloat16", 1.0), (-129, "int8", RuntimeError), ([2.0**63], "int64", RuntimeError)]


@pytest.mark.parametrize("data, kind, expected", CASTS, ids=str)
def test_values_in_a_given_dtype(data, kind: str | None, expected) -> None:
    d = getattr(torch, kind) if kind else None
    if isinstance(expected, type):
        with pytest.raises(expected):
            torch.tensor(data, dtype=d)
    else:
        t = torch.tensor(data, dtype=d)
        assert t.dtype is d and t.tolist() == expected


ERRORS = [
    ([[1, 2], [1]], ValueError, r"expected sequence of length 2 at dim 1 \(got 1\)"), ([[1], 2], TypeError, "not a sequence"),
    ([1, [2]], TypeError, "'list' object cannot be interpreted as an integer"), ([1.0, [2]], TypeError, "must be real number, not list"),
    ("a", TypeError, r"new\(\): invalid data type 'str'"), (["a"], ValueError, "too many dimensions 'str'"),
    (None, RuntimeError, "Could not infer dtype of NoneType"), ([None], RuntimeError, "Could not infer dtype of NoneType"),
    ({1}, RuntimeError, "Could not infer dtype of set"), ({1: 2}, RuntimeError, "Could not infer dtype of dict"),
    (object(), RuntimeError, "Could not infer dtype of object"), (fractions.Fraction(1, 2), RuntimeError, "Could not infer dtype of Fraction"),
    (np.array(["a"]), TypeError, "can't convert np.ndarray of type numpy.str_. The only supported types are: float64"),
    (np.array([None]), TypeError, "numpy.object_"), (np.ones(3, ">f4"), ValueError, "byte order different"),
    (np.arange(4)[::-1], ValueError, "At least one stride in the given numpy array is negative"),
]


@pytest.mark.parametrize("data, error, text", ERRORS, ids=lambda x: str(x)[:20])
def test_what_is_no_tensor(data, error, text: str) -> None:
    with pytest.raises(error, match=text):
        torch.tensor(data)


def test_sequences_of_tensors() -> None:
    assert torch.tensor([torch.tensor(1.0), torch.tensor(2)]).tolist() == [1, 2]
    assert torch.tensor([torch.ones(1), torch.zeros(1)]).shape == (2,)
    with pytest.raises(ValueError, match="only one element tensors can be converted to Python scalars"):
        torch.tensor([torch.ones(2)])
    with pytest.warns(UserWarning, match="list of numpy.ndarrays is extremely slow"):
        assert torch.tensor([np.ones(2), np.zeros(2)]).dtype is torch.float64
    with pytest.warns(UserWarning, match="To copy construct from a tensor"):
        assert torch.tensor(torch.ones(2)).tolist() == [1, 1]


def test_arguments_of_tensor() -> None:
    assert torch.tensor([1.5], requires_grad=True).is_leaf and torch.tensor(1, dtype=float).dtype is torch.float64
    with pytest.raises(RuntimeError, match="Only Tensors of floating point and complex dtype can require gradients"):
        torch.tensor([1], requires_grad=True)
    for bad in ("float32", np.float32):
        with pytest.raises(TypeError, match=r"tensor\(\): argument 'dtype' must be torch.dtype"):
            torch.tensor(1, dtype=bad)
    with pytest.raises(RuntimeError, match="cuda"):
        torch.tensor(1, device="cuda")


def test_sharing_with_numpy() -> None:
    a = np.arange(6.0).reshape(2, 3)
    t = torch.from_numpy(a.T)
    t[0, 1] = 9.0
    assert a[1, 0] == 9.0 and t.stride() == (1, 3)
    back = t.numpy()
    back[0, 0] = 7.0
    assert a[0, 0] == 7.0 and np.asarray(t) is not None and np.shares_memory(np.asarray(t), a)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)              # NumPy 2.5 asks for reshape instead
        back.shape = (6,) if back.flags.c_contiguous else back.shape      # the tensor's own geometry is its own
    assert t.shape == (3, 2)
    assert torch.as_tensor(a).data_ptr() == a.ctypes.data and torch.tensor(a).data_ptr() != a.ctypes.data
    assert torch.as_tensor(a, dtype=torch.float32).dtype is torch.float32
    x = torch.ones(2)
    assert torch.as_tensor(x) is x and torch.as_tensor(x, dtype=torch.float64).dtype is torch.float64
    assert np.array(x, dtype="i4").dtype == np.int32 and np.array(x, copy=True) is not x._a


def test_refused_by_from_numpy() -> None:
    for bad, error, text in ((np.float32(1), TypeError, r"expected np.ndarray \(got numpy.float32\)"), ([1], TypeError, r"\(got list\)"),
                             (np.zeros(3, [("a", "i1"), ("b", "f4")])["b"], ValueError, "strides not a multiple of the element byte size"),
                             (np.ones(2, np.longdouble), TypeError, "numpy.longdouble"), (np.array([1], "M8[s]"), TypeError, "datetime64")):
        with pytest.raises(error, match=text):
            torch.from_numpy(bad)
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.from_numpy(frozen), torch.from_numpy(frozen)
    assert len(seen) <= 1                                                 # PyTorch warns once per process


def test_refused_by_numpy() -> None:
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad. Use tensor.detach\(\).numpy\(\) instead."):
        w.numpy()
    assert w.numpy(force=True).tolist() == [1, 1]
    with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
        torch.ones(1, dtype=torch.bfloat16).numpy()
    assert torch.ones(2, dtype=torch.bfloat16).tolist() == [1.0, 1.0]


BUFFERS = [
    (bytearray(), {}, r"both buffer length \(0\) and count \(-1\) must not be 0"), (bytearray(8), {"count": 0}, r"count \(0\) must not be 0"),
    (bytearray(7), {}, r"buffer length \(7 bytes\) after offset \(0 bytes\) must be a multiple of element size \(2\)"),
    (bytearray(8), {"offset": 8}, r"offset \(8 bytes\) must be non-negative and no greater than buffer length \(8 bytes\) minus 1"),
    (bytearray(8), {"offset": 2, "count": 5}, r"requested buffer length \(5 \* 2 bytes\) after offset \(2 bytes\)"), ([1], {}, "buffer protocol"),
]


@pytest.mark.parametrize("buffer, options, text", BUFFERS, ids=str)
def test_refused_by_frombuffer(buffer, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        torch.frombuffer(buffer, dtype=torch.int16, **options)


def test_frombuffer_shares() -> None:
    data = bytearray(8)
    t = torch.frombuffer(data, dtype=torch.int16, offset=2, count=2)
    t[0] = 258
    assert data == b"\0\0\2\1\0\0\0\0" and torch.frombuffer(data, dtype=torch.float32, requires_grad=True).requires_grad


def test_asarray() -> None:
    x, n = torch.ones(3), np.ones(3)
    assert torch.asarray(x) is x and torch.asarray(x, copy=True) is not x and torch.asarray(n).data_ptr() == n.ctypes.data
    assert torch.asarray(x, dtype=torch.float64).dtype is torch.float64 and torch.asarray([1, 2]).tolist() == [1, 2]
    assert torch.asarray(bytearray(b"abcd"), dtype=torch.int16).tolist() == [25185, 25699] and torch.asarray(np.float64(3)).dtype is torch.float64
    with pytest.raises(ValueError, match="can't alias tensor with dtype 'Float' into dtype 'Double'"):
        torch.asarray(x, dtype=torch.float64, copy=False)
    with pytest.raises(ValueError, match="can't alias arbitrary sequence into a tensor"):
        torch.asarray([1], copy=False)
    w = torch.ones(2, requires_grad=True)
    assert torch.asarray(w).requires_grad and not torch.asarray(w, requires_grad=False).requires_grad
    assert torch.asarray(n, requires_grad=True).requires_grad and (torch.asarray(w * 2).grad_fn is not None)


def test_dlpack() -> None:
    a = np.arange(6.0)
    t = torch.from_dlpack(a)
    t[0] = 5.0
    assert a[0] == 5.0 and np.from_dlpack(t)[0] == 5.0 and t.__dlpack_device__() == (1, 0)
    assert torch.from_dlpack(t).data_ptr() == t.data_ptr() and torch.from_dlpack(t.__dlpack__()).data_ptr() == t.data_ptr()
    assert torch.from_dlpack(t, copy=True).data_ptr() != t.data_ptr() and np.from_dlpack(torch.tensor([True])).dtype == bool
    with pytest.raises(BufferError, match="Can't export tensors that require gradient"):
        torch.ones(1, requires_grad=True).__dlpack__()
    with pytest.raises(AttributeError, match="__dlpack__"):
        torch.from_dlpack([1])


def test_dlpack_with_pytorch() -> None:
    peer = pytest.importorskip("torch")
    theirs = peer.arange(4.0)
    t = torch.from_dlpack(theirs)
    t[1] = 9.0
    assert theirs.tolist() == [0, 9, 2, 3] and peer.from_dlpack(t).data_ptr() == theirs.data_ptr()


def test_an_unpickled_array_is_like_any_other():
    """Its dtype is an object of its own, which nothing downstream may meet: dtypes are compared by identity."""
    a = pickle.loads(pickle.dumps(np.arange(6.0).reshape(2, 3)))
    assert a.dtype is not np.dtype("float64")
    for t in (torch.from_numpy(a), torch.from_numpy(a)[:, :1], torch.as_tensor(a), torch.tensor(a)):
        assert t._a.dtype is np.dtype("float64")
    t = torch.from_numpy(a)
    a[0, 0] = 7
    assert t[0, 0] == 7
