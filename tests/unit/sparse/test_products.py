"""What is left of PyTorch's sparse functions: smm, hspmm, sspaddmm, gather(sparse_grad=True), check_sparse_tensor_invariants."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as torch


def matrices(requires_grad=False):
    """A 4 x 3 sparse matrix that names a place twice, and a dense 3 x 2 one."""
    values = torch.tensor([1.0, 2.0, 3.0, 0.5], requires_grad=requires_grad)
    s = torch.sparse_coo_tensor([[2, 0, 2, 2], [0, 1, 1, 0]], values, (4, 3))
    return values, s, torch.arange(6.0).reshape(3, 2).requires_grad_(requires_grad)


def test_smm_and_hspmm():
    _, s, d = matrices()
    for r in (torch.smm(s, d), s.smm(d)):
        assert r.is_sparse and r.sparse_dim() == 2 and torch.equal(r.to_dense(), s.to_dense() @ d)
        assert r._indices().tolist() == [[0, 0, 2, 2], [0, 1, 0, 1]]
    h = torch.hspmm(s, d)
    assert (h.sparse_dim(), h.dense_dim()) == (1, 1) and h._indices().tolist() == [[0, 2]]
    assert torch.equal(h.to_dense(), s.to_dense() @ d)
    nothing = torch.smm(torch.sparse_coo_tensor(size=(4, 3)), d)
    assert nothing.shape == (4, 2) and nothing._nnz() == 0


def test_sspaddmm_keeps_the_entries_of_both():
    _, s, d = matrices()
    i = torch.sparse_coo_tensor([[0], [1]], [10.0], (4, 2))
    r = torch.sspaddmm(i, s, d, beta=2, alpha=3)
    assert r._indices().tolist() == [[0, 0, 0, 2, 2], [1, 0, 1, 0, 1]] and r._values().tolist() == [20.0, 12.0, 18.0, 18.0, 31.5]   # as torch's
    assert torch.equal(i.sspaddmm(s, d).to_dense(), i.to_dense() + s.to_dense() @ d)


@pytest.mark.parametrize("product", [torch.smm, torch.hspmm, lambda s, d: torch.sspaddmm(torch.smm(s, d), s, d, alpha=2)])
def test_gradients(product):
    values, s, d = matrices(True)
    want_values, want_s, want_d = matrices(True)
    weights = torch.tensor(np.arange(8, dtype=np.float32).reshape(4, 2))
    (product(s, d).to_dense() * weights).sum().backward()
    factor = 3 if product not in (torch.smm, torch.hspmm) else 1
    (factor * (want_s.to_dense() @ want_d) * weights).sum().backward()
    torch.testing.assert_close(values.grad, want_values.grad)
    torch.testing.assert_close(d.grad, want_d.grad)


def test_product_errors():
    _, s, d = matrices()
    for call in (lambda: torch.smm(d, d), lambda: torch.hspmm(d, d), lambda: torch.smm(s, s), lambda: d.smm(d)):
        with pytest.raises(RuntimeError, match="expected a sparse mat1 and a dense mat2"):
            call()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        torch.hspmm(s, torch.ones(2, 2))
    with pytest.raises(RuntimeError, match="expected a sparse input"):
        torch.sspaddmm(d, s, d)
    with pytest.raises(RuntimeError, match=r"expected input of size \[4, 2\], got \[4, 3\]"):
        torch.sspaddmm(s, s, d)


@pytest.mark.parametrize(("shape", "dim", "index"), [((3, 4), 1, [[0, 0], [3, 1]]), ((3, 4), 0, [[2, 0], [2, 1], [0, 0]]), ((3,), -1, [0, 2, 0]),
                                                     ((3,), 0, 2), ((), 0, 0), ((2, 3, 2), 1, [[[0, 2]], [[1, 1]]]), ((3,), 0, [])])
def test_gather_with_a_sparse_gradient(shape, dim, index):
    index = torch.tensor(index, dtype=torch.int64)
    x = torch.randn(shape, requires_grad=True)
    y = torch.gather(x, dim, index, sparse_grad=True)
    assert torch.equal(y, torch.gather(x, dim, index))
    weights = torch.randn(y.shape)
    found, = torch.autograd.grad((y * weights).sum(), x)
    want, = torch.autograd.grad((torch.gather(x, dim, index) * weights).sum(), x)
    assert found.is_sparse and found._nnz() == index.numel() and found.shape == x.shape
    torch.testing.assert_close(found.to_dense(), want)
    torch.testing.assert_close(torch.func.grad(lambda x: (x.gather(dim, index, sparse_grad=True) * weights).sum())(x.detach()).to_dense(), want)


def test_gather_with_a_sparse_gradient_compiled():
    x, index = torch.randn(3, 4, requires_grad=True), torch.tensor([[0, 0], [3, 1]])
    compiled = torch.compile(lambda x: torch.gather(x, 1, index, sparse_grad=True) * 2)
    with pytest.warns(UserWarning, match="runs uncompiled"):        # as for embedding(sparse=True)
        assert torch.equal(compiled(x), torch.gather(x, 1, index) * 2)
    compiled(x).sum().backward()
    torch.testing.assert_close(x.grad.to_dense(), torch.zeros(3, 4).scatter_add(1, index, torch.full((2, 2), 2.0)))


def test_check_sparse_tensor_invariants():
    check = torch.sparse.check_sparse_tensor_invariants

    def wrong(**kwargs):
        return torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (2,), is_coalesced=True, **kwargs)
    assert not check.is_enabled() and wrong() is not None
    with check():
        assert check.is_enabled()
        with pytest.raises(RuntimeError, match="cannot set is_coalesced to true"):
            wrong()
        wrong(check_invariants=False)
        with check(False):
            wrong()
    assert not check.is_enabled()
    checked = check()(wrong)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot set is_coalesced"):
            checked()
    check.enable()
    try:
        assert check.is_enabled()
    finally:
        check.disable()
    twice = check()
    with twice, pytest.raises(RuntimeError, match="already activated"), twice:
        pass
    assert not check.is_enabled()


def test_spmm_multiplies_sparse_and_dense_matrices():
    d = torch.ones(3, 2)
    assert torch.spmm(torch.eye(3).to_sparse(), d).equal(d) and torch.spmm(d.t(), d).equal(torch.full((2, 2), 3.0))
