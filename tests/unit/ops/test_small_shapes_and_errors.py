"""Small operators: block_diag, unravel_index, nonzero_static, functions that work in place, dtypes and errors that follow PyTorch."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as torch


def test_block_diag_takes_vectors_as_rows_and_the_common_dtype():
    r = torch.block_diag(torch.tensor([[1, 2], [3, 4]]), torch.tensor([5.0, 6.0]), torch.tensor(7))
    assert r.dtype is torch.float32
    assert r.tolist() == [[1, 2, 0, 0, 0], [3, 4, 0, 0, 0], [0, 0, 5, 6, 0], [0, 0, 0, 0, 7]]
    assert torch.block_diag().shape == (1, 0)
    with pytest.raises(RuntimeError, match="2 or fewer dimensions. Input 1 has 3"):
        torch.block_diag(torch.ones(2, 2), torch.ones(1, 1, 1))


def test_unravel_index_is_numpys():
    flat = np.array([[22, 41, 37], [0, 1, 5]])
    for a, b in zip(torch.unravel_index(torch.tensor(flat), (7, 6)), np.unravel_index(flat, (7, 6)), strict=True):
        assert a.dtype is torch.int64 and np.array_equal(a.numpy(), b)
    with pytest.raises(TypeError, match="integer dtype"):
        torch.unravel_index(torch.ones(2), (2, 2))
    with pytest.raises(ValueError, match="negative"):
        torch.unravel_index(torch.tensor([1]), (2, -2))


def test_nonzero_static_cuts_and_fills():
    x = torch.tensor([[1, 0], [2, 3]])
    assert torch.nonzero_static(x, size=2).tolist() == [[0, 0], [1, 0]]
    assert torch.nonzero_static(x, size=4, fill_value=9).tolist() == [[0, 0], [1, 0], [1, 1], [9, 9]]
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.nonzero_static(x, size=-1)


def test_functions_that_work_in_place():
    x = torch.ones(3)
    assert torch.zero_(x) is x and x.tolist() == [0, 0, 0]
    assert torch.resize_as_(x, torch.ones(2, 3)) is x and x.shape == (2, 3)


def test_dtypes_and_errors_that_were_other_than_pytorchs():
    assert torch.ones(2, 2, dtype=torch.bfloat16).renorm(2, 0, 1.0).dtype is torch.bfloat16
    with pytest.raises(IndexError, match="no dimensions"):
        torch.unbind_copy(torch.tensor(1))
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype"):
        torch.gather(torch.ones(2, 2), 1, torch.zeros(2, 2, dtype=torch.int64), out=torch.empty(2, 2, dtype=torch.float64))
