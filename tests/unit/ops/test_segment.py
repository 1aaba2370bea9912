"""Reductions over segments against PyTorch's results, and their errors."""
from __future__ import annotations

import pytest

import pellucid as torch

X = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0], [10.0, 11.0]]

@pytest.mark.parametrize("reduce, initial, want", [
    ("sum", None, [[2.0, 4.0], [0.0, 0.0], [28.0, 32.0]]), ("mean", None, [[1.0, 2.0], [float("nan")] * 2, [7.0, 8.0]]),
    ("min", 3, [[0.0, 1.0], [3.0, 3.0], [3.0, 3.0]]), ("max", None, [[2.0, 3.0], [-float("inf")] * 2, [10.0, 11.0]]),
    ("prod", 2, [[0.0, 6.0], [2.0, 2.0], [3840.0, 6930.0]]), ("mean", 2, [[2.0, 3.0], [2.0, 2.0], [7.5, 8.5]])])
def test_values(reduce, initial, want):
    for kind, numbers in (("lengths", [2, 0, 4]), ("offsets", [0, 2, 2, 6])):
        got = torch.segment_reduce(torch.tensor(X), reduce, **{kind: torch.tensor(numbers)}, initial=initial)
        assert torch.equal(got.nan_to_num(7.5), torch.tensor(want).nan_to_num(7.5))

def test_gradients():
    x = torch.tensor([1.0, float("nan"), 3.0, 4.0, 5.0, 5.0], requires_grad=True)
    for reduce, initial, want in (("max", 0, [1, 1, 0, 0, 0.5, 0.5]), ("min", 1000, [1, 1, 0, 1, 0, 0]), ("sum", 0, [1] * 6),
                                  ("prod", 2, [2, 6, float("nan"), 50, 40, 40])):
        g, = torch.autograd.grad(torch.segment_reduce(x, reduce, lengths=torch.tensor([1, 2, 3, 0]), initial=initial).sum(), x)
        assert torch.equal(g.nan_to_num(7.5), torch.tensor(want).float().nan_to_num(7.5)), reduce

def test_low_precision_keeps_its_dtype():
    h = torch.ones(2).half()
    assert torch.where(h > 0, 1.0, h).dtype is torch.float16
    assert torch.segment_reduce(h, "mean", lengths=torch.tensor([2])).dtype is torch.float16

@pytest.mark.parametrize("arguments, words", [({}, "Either lengths or offsets must be defined"), ({"lengths": [2, 3]}, "sum to data.size"),
                                              ({"lengths": [2, -2, 6]}, "negative value"), ({"lengths": [2, 4], "axis": 1}, "to be the last dimension")])
def test_errors(arguments, words):
    if "lengths" in arguments:
        arguments["lengths"] = torch.tensor(arguments["lengths"])
    with pytest.raises(RuntimeError, match=words):
        torch.segment_reduce(torch.tensor(X), "sum", **arguments)
