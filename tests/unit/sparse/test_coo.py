"""Sparse COO tensors against dense ones: what a sparse operator gives is what the dense one gives of to_dense()."""

from __future__ import annotations

import copy
import gc
import io
import pickle

import numpy as np
import pytest

import pellucid as torch
from pellucid.ops.dispatch import state

SHAPES = [((2, 3), 2, 4), ((4, 5), 2, 9), ((3, 4, 2), 2, 6), ((5, 2), 1, 3), ((2, 3, 4), 3, 8), ((3, 3), 2, 0)]


def sparse(shape, sparse_dim, nnz, seed=0, coalesced=False, dtype=torch.float64):
    """A sparse tensor whose entries share places now and then."""
    rng = np.random.default_rng(seed)
    indices = np.stack([rng.integers(0, n, nnz) for n in shape[:sparse_dim]])
    values = rng.normal(size=(nnz, *shape[sparse_dim:]))
    t = torch.sparse_coo_tensor(torch.from_numpy(indices), torch.from_numpy(values).to(dtype), shape)
    return t.coalesce() if coalesced else t


def dense_of(t):
    """`t` by a way of its own: entry after entry."""
    out = np.zeros(tuple(t.shape), t._values().numpy().dtype)
    for place, value in zip(t._indices().numpy().T, t._values().numpy()):
        out[tuple(place)] += value
    return torch.from_numpy(out)


def same(got, want):
    assert got.shape == want.shape and got.dtype is want.dtype
    assert torch.allclose(got.to_dense(), want, atol=1e-12), (got, want)


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    return request.param


@pytest.mark.parametrize("coalesced", [False, True])
def test_to_dense_and_back(case, coalesced):
    t = sparse(*case, coalesced=coalesced)
    d = dense_of(t)
    same(t, d)
    same(t.coalesce(), d)
    assert t.coalesce().is_coalesced() and t.layout is torch.sparse_coo and t.is_sparse and not t.to_dense().is_sparse
    assert (t.sparse_dim(), t.dense_dim(), t._nnz()) == (case[1], len(case[0]) - case[1], t._indices().shape[1])
    c = t.coalesce().indices().numpy()
    assert np.unique(c, axis=1).shape == c.shape and (np.lexsort(c[::-1]) == np.arange(c.shape[1])).all()
    for n in range(1, d.ndim + 1):
        s = d.to_sparse(n)
        same(s, d)
        assert s.is_coalesced() and s.sparse_dim() == n
    same(d.to_sparse_coo(), d)


UNARY = ["abs", "asin", "asinh", "atan", "atanh", "ceil", "erf", "erfinv", "expm1", "floor", "frac", "neg", "relu", "round", "sgn", "sign",
         "sin", "sinh", "square", "tan", "tanh", "trunc", "deg2rad", "rad2deg", "nan_to_num", "log1p", "sqrt", "isnan", "isinf", "signbit",
         "positive"]


@pytest.mark.parametrize("name", UNARY)
def test_functions_that_keep_zero(case, name):
    t = sparse(*case) * 0.1
    if name in ("sqrt", "log1p"):
        t = t.abs()
    want = getattr(torch, name)(t.to_dense())
    got = getattr(torch, name)(t)
    assert got.is_sparse and got.dtype is want.dtype
    assert torch.allclose(got.to_dense().double(), want.double(), atol=1e-12, equal_nan=True)


TWO = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "alpha": lambda a, b: torch.add(a, b, alpha=3), "mul": lambda a, b: a * b,
}


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("kinds", ["ss", "sd", "ds"])
def test_two_tensors(case, name, kinds):
    a, b = sparse(*case), sparse(*case, seed=1, coalesced=True)
    want = TWO[name](a.to_dense(), b.to_dense())
    got = TWO[name](a if kinds[0] == "s" else a.to_dense(), b if kinds[1] == "s" else b.to_dense())
    same(got, want)
    assert got.is_sparse == (kinds == "ss" or name == "mul")
    same(TWO[name](a, a), TWO[name](a.to_dense(), a.to_dense()))


def test_numbers(case):
    t = sparse(*case)
    d = t.to_dense()
    for f in (lambda x: 2 * x, lambda x: x * torch.tensor(3.0), lambda x: x / 4, lambda x: x ** 2, lambda x: x // 0.3, lambda x: -x,
              lambda x: torch.div(x, 2, rounding_mode="floor")):
        got = f(t)
        assert got.is_sparse
        same(got, f(d))
    with pytest.raises(NotImplementedError, match="to_dense"):
        t + 1


def test_products():
    a, b = sparse((4, 5), 2, 9), sparse((5, 3), 2, 7, seed=1)
    for x in (a, a.to_dense()):
        for y in (b, b.to_dense()):
            same(torch.sparse.mm(x, y), a.to_dense() @ b.to_dense())
            assert (x @ y).is_sparse == (x.is_sparse and y.is_sparse)
    v = torch.arange(5.0, dtype=torch.float64)
    same(a @ v, a.to_dense() @ v)
    same(a.mv(v), a.to_dense() @ v)
    x = torch.ones(4, 3, dtype=torch.float64)
    same(torch.sparse.addmm(x, a, b.to_dense(), beta=2, alpha=3), 2 * x + 3 * (a.to_dense() @ b.to_dense()))
    w = sparse((2, 4), 2, 5)
    same(torch.nn.functional.linear(x.t(), w), torch.nn.functional.linear(x.t(), w.to_dense()))
    s, y = sparse((2, 3, 4), 3, 8), torch.arange(40.0, dtype=torch.float64).reshape(2, 4, 5)
    same(torch.bmm(s, y), torch.bmm(s.to_dense(), y))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        torch.sparse.mm(a, a)


def test_sums(case):
    t = sparse(*case)
    d = t.to_dense()
    same(torch.sparse.sum(t), d.sum())
    for dim in [*range(d.ndim), tuple(range(d.ndim)), (0, -1)]:
        same(torch.sparse.sum(t, dim), d.sum(dim))
        same(t.sum(dim, keepdim=True), d.sum(dim, keepdim=True))
    assert torch.allclose(t.norm(), d.norm())


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_over_the_entries(case, name):
    t = sparse(*case).coalesce()
    there = torch.sparse_coo_tensor(t.indices(), torch.ones_like(t.values()), t.shape).to_dense() != 0
    for dim in range(t.dim()):
        hidden = torch.where(there, t.to_dense(), -torch.inf)
        want = torch.where(there, getattr(torch, name)(hidden, dim), torch.zeros((), dtype=torch.float64))
        same(getattr(torch.sparse, name)(t, dim), want)


def test_shapes(case):
    t = sparse(*case)
    d, n = t.to_dense(), case[1]
    for f in (lambda x: x.unsqueeze(0), lambda x: x.unsqueeze(-1), lambda x: torch.cat([x, x * 2], 0), lambda x: torch.cat([x, x], -1),
              lambda x: torch.stack([x, x]), lambda x: x.index_select(0, torch.tensor([1, 0, 1])), lambda x: x.narrow_copy(-1, 1, 1),
              lambda x: x[1], lambda x: x[..., 0], lambda x: x[1:, None], lambda x: x[-1] if x.dim() > 1 else x,
              lambda x: x.select(-1, 1), lambda x: torch.zeros_like(x), lambda x: x.clone(), lambda x: x.detach(), lambda x: x.float(),
              lambda x: x.to(torch.float32), lambda x: x.long()):
        same(f(t), f(d))
    same(torch.stack(list(t.unbind(0))), d)
    if n > 1:
        same(t.transpose(0, 1), d.transpose(0, 1))
        same(t.permute(1, 0, *range(2, d.ndim)), d.permute(1, 0, *range(2, d.ndim)))
    assert len(t) == len(d) and t.numel() == d.numel() and t.size() == d.size()


def test_in_place():
    t = sparse((4, 5), 2, 9)
    d = t.to_dense()
    view = t.detach()
    same(t.mul_(2), d * 2)
    same(view, d * 2)                                       # as everywhere, detach() shares memory
    same(t.add_(sparse((4, 5), 2, 3, seed=2)), d * 2 + sparse((4, 5), 2, 3, seed=2).to_dense())
    same(t.neg_().zero_(), torch.zeros_like(d))
    same(t.copy_(sparse((4, 5), 2, 9)), d)
    x = torch.ones(4, 5, dtype=torch.float64)
    same(x.add_(t, alpha=2), 1 + 2 * d)
    with pytest.raises(NotImplementedError, match="dense"):
        t.add_(x)


def test_mask_and_spdiags():
    d = torch.arange(20.0).reshape(4, 5)
    mask = sparse((4, 5), 2, 6, coalesced=True)
    got = d.sparse_mask(mask)
    assert torch.equal(got.indices(), mask.indices()) and torch.equal(got.values(), d[tuple(mask.indices())])
    other = sparse((4, 5), 2, 9, seed=3)
    assert torch.equal(other.sparse_mask(mask).values(), other.to_dense()[tuple(mask.indices())])
    m = torch.sparse.spdiags(torch.arange(6.0).reshape(2, 3), torch.tensor([0, 1]), (3, 3))
    assert m.to_dense().tolist() == [[0, 4, 0], [0, 1, 5], [0, 0, 2]]
    with pytest.raises(RuntimeError, match="duplicate"):
        torch.sparse.spdiags(torch.ones(2, 3), torch.tensor([1, 1]), (3, 3))


def test_constructor_checks():
    make = torch.sparse_coo_tensor
    assert make([[0, 1], [2, 0]], [1, 2]).shape == (2, 3)
    assert make(size=(2, 3))._nnz() == 0 and make((2, 3)).shape == (2, 3)
    assert torch.zeros(2, 3, layout=torch.sparse_coo).is_sparse and torch.zeros_like(torch.ones(2), layout=torch.sparse_coo).is_sparse
    assert make([[0]], [1.0], (3,)).is_coalesced() and make([[0, 2]], [1.0, 1], (3,), is_coalesced=True).is_coalesced()
    for arguments, message in [
        (([[0, 3]], [1.0, 2.0], (3,)), "size is inconsistent with indices: for dim 0, size is 3 but found index 3"),
        (([[0, -1]], [1.0, 2.0], (3,)), "found negative index -1 for dim 0"),
        (([[0, 1]], [1.0], (3,)), "same nnz"),
        (([0, 1], [1.0, 2.0], (3,)), "indices must be sparse_dim x nnz"),
        (([[0, 1]], [1.0, 2.0], (3, 3)), "number of dimensions must be sparse_dim"),
        (([[0, 1]], [[1.0], [2.0]], (3, 3)), "values has incorrect size"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            make(*arguments)
    with pytest.raises(RuntimeError, match="uncoalesced"):
        make([[1, 0]], [1.0, 2.0], (3,), is_coalesced=True, check_invariants=True)
    with pytest.raises(RuntimeError, match="floating point and complex"):
        make([[0]], [1], (3,), requires_grad=True)


def test_what_is_not_there_says_how_to_go_on():
    t = sparse((2, 3), 2, 4)
    for f in (lambda: t.exp(), lambda: t.max(), lambda: t > 1, lambda: t.view(6), lambda: t.reshape(6), lambda: t.numpy(), lambda: t.tolist(),
              lambda: np.asarray(t), lambda: torch.ones_like(t), lambda: torch.where(t.to_dense() > 0, t, t), lambda: t[t.to_dense() > 0],
              lambda: t.median(), lambda: torch.linalg.inv(t @ t.t()), lambda: torch.nn.functional.layer_norm(t, (3,))):
        with pytest.raises((NotImplementedError, TypeError, RuntimeError)) as error:
            f()
        assert "sparse" in str(error.value).lower() or "square" in str(error.value)
    with pytest.raises(RuntimeError, match="call .coalesce"):
        t.indices()
    for name in ("indices", "values", "_indices", "_values", "_nnz", "coalesce", "is_coalesced"):
        with pytest.raises(RuntimeError, match="Strided"):
            getattr(t.to_dense(), name)()
    assert (t.to_dense().sparse_dim(), t.to_dense().dense_dim()) == (0, 2)
    with pytest.raises(NotImplementedError, match="transform"):
        torch.vmap(lambda x: t @ x)(torch.ones(2, 3, 2, dtype=torch.float64))


def test_dtypes():
    for d in (torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.complex64):
        t = torch.sparse_coo_tensor([[1, 0, 1]], [1, 2, 3], (3,)).to(d)
        assert t.dtype is d and t.coalesce().to_dense().to(torch.int64).tolist() == [2, 4, 0] and (t + t).dtype is d
    b = torch.sparse_coo_tensor([[1, 0, 1]], [True, False, True], (3,))
    assert b.to_dense().tolist() == [False, True, False] and b.coalesce().values().tolist() == [False, True]


def test_printing():
    h = torch.sparse_coo_tensor([[0, 1]], torch.arange(4.0).reshape(2, 2), (2, 2), dtype=torch.float64, requires_grad=True)
    assert repr(h) == """tensor(indices=tensor([[0, 1]]),
       values=tensor([[0., 1.],
                      [2., 3.]]),
       size=(2, 2), nnz=2, dtype=torch.float64, layout=torch.sparse_coo,
       requires_grad=True)"""
    assert repr(torch.sparse_coo_tensor(size=(2, 3))) == """tensor(indices=tensor([], size=(2, 0)),
       values=tensor([], size=(0,)),
       size=(2, 3), nnz=0, layout=torch.sparse_coo)"""


@pytest.mark.parametrize("legacy", [False, True])
def test_copies_and_files(case, legacy):
    t = sparse(*case)
    for c in (copy.deepcopy(t), pickle.loads(pickle.dumps(t)), copy.copy(t)):
        assert torch.equal(c._indices(), t._indices()) and torch.equal(c._values(), t._values()) and c.shape == t.shape
    file = io.BytesIO()
    torch.save({"a": t, "b": [t.coalesce()]}, file, _use_new_zipfile_serialization=not legacy)
    file.seek(0)
    back = torch.load(file)
    same(back["a"], t.to_dense())
    assert back["b"][0].is_coalesced() and not (t._nnz() > 1 and back["a"].is_coalesced())


def test_a_file_with_indices_beyond_the_size_is_refused():
    t = sparse((2, 3), 2, 4)
    t._indices()[0, 0] = 7
    file = io.BytesIO()
    torch.save(t, file)
    file.seek(0)
    with pytest.raises(Exception, match="indices beyond its size"):
        torch.load(file)


def test_dense_code_is_fast_again_once_no_sparse_tensor_lives():
    gc.collect()
    before = state.slow
    t = sparse((2, 3), 2, 4)
    u = (t + t).coalesce()
    assert state.slow == before + 2
    del t, u
    gc.collect()
    assert state.slow == before


def test_same_as_torch():
    """The whole matrix of this file is against dense tensors; this is what only PyTorch can say: which entries a result has."""
    real = pytest.importorskip("torch")
    for shape, n, nnz in SHAPES:
        if not nnz:
            continue
        a, b = sparse(shape, n, nnz, coalesced=True), sparse(shape, n, nnz, seed=1, coalesced=True)
        x, y = (real.sparse_coo_tensor(real.from_numpy(t.indices().numpy()), real.from_numpy(t.values().numpy()), shape,
                                       check_invariants=True).coalesce() for t in (a, b))
        for f in (lambda m, s, t: s + t, lambda m, s, t: s - t, lambda m, s, t: s * t, lambda m, s, t: m.sparse.softmax(s, 0), lambda m, s, t: s.sin(),
                  lambda m, s, t: m.cat([s, t]), lambda m, s, t: m.stack([s, t]), lambda m, s, t: s[0], lambda m, s, t: s.to_dense().to_sparse(1),
                  lambda m, s, t: s.index_select(0, m.tensor([1, 0, 1])), lambda m, s, t: m.zeros_like(s), lambda m, s, t: s.to_dense().sparse_mask(t)):
            got, want = f(torch, a, b), f(real, x, y)
            assert got.is_sparse == want.is_sparse
            assert repr(got.coalesce() if got.is_sparse else got) == repr(want.coalesce() if want.is_sparse else want)


def test_no_sparse_dimension_and_no_entries():
    for nnz in (0, 1, 3):
        s = torch.sparse_coo_tensor(torch.zeros(0, nnz), torch.arange(2.0 * nnz).reshape(nnz, 2), (2,))
        want = torch.arange(2.0 * nnz).reshape(nnz, 2).sum(0)
        for got in (s, s.coalesce(), (s * 2) / 2, s + torch.zeros_like(s), s.unsqueeze(0)[0]):
            assert torch.equal(got.to_dense(), want)
    one = torch.tensor(3.0).to_sparse()
    assert one._nnz() == 1 and one.sparse_dim() == 0 and bool(one) and one.item() == 3.0
    assert torch.sparse_coo_tensor(torch.zeros(1, 0), torch.zeros(0), (3,)).to_dense().tolist() == [0, 0, 0]
