"""Calls of PyTorch before 1.5, with the factors before the operands they belong to; and writes to memory that overlaps."""
from __future__ import annotations

import pytest

import pellucid as torch


@pytest.mark.parametrize("old, new", [
    (lambda x, m, b: torch.add(x, 0.5, m), lambda x, m, b: torch.add(x, m, alpha=0.5)),
    (lambda x, m, b: torch.sub(x, 2, m), lambda x, m, b: torch.sub(x, m, alpha=2)),
    (lambda x, m, b: x.addcmul(0.5, m, x), lambda x, m, b: x.addcmul(m, x, value=0.5)),
    (lambda x, m, b: torch.addcdiv(x, -2, m, m + 3), lambda x, m, b: torch.addcdiv(x, m, m + 3, value=-2)),
    (lambda x, m, b: torch.addmm(2, x, m, x), lambda x, m, b: torch.addmm(x, m, x, beta=2)),
    (lambda x, m, b: torch.addmm(2, x, 3, m, x), lambda x, m, b: torch.addmm(x, m, x, beta=2, alpha=3)),
    (lambda x, m, b: torch.addbmm(1, x, 0, b, b), lambda x, m, b: torch.addbmm(x, b, b, beta=1, alpha=0)),
    (lambda x, m, b: b.baddbmm(2, 3, b, b), lambda x, m, b: b.baddbmm(b, b, beta=2, alpha=3)),
    (lambda x, m, b: x[0].addmv(2, 3, m, x[1]), lambda x, m, b: x[0].addmv(m, x[1], beta=2, alpha=3)),
    (lambda x, m, b: torch.addr(2, x, 3, m[0], m[1]), lambda x, m, b: torch.addr(x, m[0], m[1], beta=2, alpha=3)),
    (lambda x, m, b: x.clone().add_(-0.5, m), lambda x, m, b: x - 0.5 * m),
    (lambda x, m, b: x.clone().addbmm_(1.0, 0.5, b, b), lambda x, m, b: x.addbmm(b, b, alpha=0.5))])
def test_factors_by_position(old, new) -> None:
    torch.manual_seed(0)
    x, m, b = torch.randn(3, 3), torch.randn(3, 3), torch.randn(2, 3, 3)
    with pytest.warns(UserWarning, match="This overload of .* is deprecated"):
        got = old(x, m, b)
    assert torch.equal(got, new(x, m, b))
    with pytest.warns(UserWarning, match="is deprecated"):
        compiled = torch.compile(old)(x, m, b)
    torch.testing.assert_close(compiled, got)


def test_the_warning_names_the_function_and_both_forms() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match=r"This overload of addcmul_ is deprecated:\n\taddcmul_\(Number value, Tensor tensor1, Tensor "
                                         r"tensor2\)\n.*\n\taddcmul_\(Tensor tensor1, Tensor tensor2, \*, Number value = 1\)"):
        (x * 1).addcmul_(3, x, x).sum().backward()
    assert x.grad.tolist() == [7.0, 7.0]


def test_other_mistakes_stay_errors() -> None:
    x = torch.ones(2)
    for call in (lambda: torch.add(x, x, x), lambda: torch.add(x, 1, 2), lambda: torch.addcmul(x, 1, x), lambda: torch.mul(x, 2, x),
                 lambda: torch.addmm(x, 1, 2, 3, x, x), lambda: torch.addcmul(x, 1, x, x, value=2)):
        with pytest.raises(TypeError, match="P002|must be Tensor"):
            call()


def test_writes_to_expanded_tensors() -> None:
    line = torch.zeros(1).expand(4)
    for call in (lambda: torch.linspace(1, 4, 4, out=line), lambda: torch.cat([torch.ones(2)] * 2, out=line),
                 lambda: torch.add(torch.ones(4), 1, out=line), lambda: line.add_(1)):
        with pytest.raises(RuntimeError, match="unsupported operation: more than one element of the written-to tensor"):
            call()
    assert line.fill_(3).tolist() == [3.0] * 4            # the same value for all: written twice, it is the same
    assert line.zero_().tolist() == [0.0] * 4


def test_indexed_writes_to_memory_that_overlaps() -> None:
    i, y = torch.tensor([2, 1, 0]), torch.rand(6)
    for call in (lambda: y.index_add_(0, i, y[:3]), lambda: i.scatter_(0, i, i.clone()), lambda: i.index_copy_(0, i.clone(), i),
                 lambda: y.index_put_((i,), y[:3]), lambda: i.index_fill_(0, i, 0)):
        with pytest.raises(RuntimeError, match="some elements of the input tensor and the written-to tensor"):
            call()
    assert y.index_add_(0, i, y[3:].clone()) is y
    line = torch.rand(1).expand(6)
    for call in (lambda: line.masked_fill_(torch.ones(6, dtype=torch.bool), 2.0), lambda: line.index_fill_(0, i, 2.0),
                 lambda: line.index_put_((i,), torch.full((3,), 2.0))):
        with pytest.warns(UserWarning, match="on expanded tensors is deprecated"):
            call()
        assert line.tolist() == [2.0] * 6
        line.fill_(0)
    with pytest.raises(RuntimeError, match="complex Scalar"):
        y.index_fill_(0, i, 1 + 1j)
    mask = torch.tensor([True, False])
    assert torch.ones(2, dtype=torch.int16).masked_fill_(mask, 0.9).tolist() == [0, 1]      # cut to an integer
    tall = torch.zeros(7, 3).fill_diagonal_(5, wrap=True)
    assert tall.nonzero().tolist() == [[0, 0], [1, 1], [2, 2], [4, 0], [5, 1], [6, 2]]
    assert torch.zeros(3, 3, 3).fill_diagonal_(1).nonzero().tolist() == [[k] * 3 for k in range(3)]
    for bad in (torch.zeros(2), torch.zeros(2, 3, 2)):
        with pytest.raises(RuntimeError, match="dimensions"):
            bad.fill_diagonal_(1)


def test_small_rules_of_writes() -> None:
    b = torch.rand(2, 3, 3)
    grown = torch.ones(1).addbmm_(b, b)                   # PyTorch lets this one grow
    assert torch.equal(grown, torch.ones(1).addbmm(b, b))
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        torch.ones(1, 3, 1).baddbmm_(b, b)
    x, y = torch.rand(4, 3), [torch.zeros(1, 3), torch.zeros(3, 3)]
    torch.split_with_sizes_copy(x, [1, 3], out=y)
    assert torch.equal(torch.cat(y), x)
    with pytest.raises(RuntimeError, match="requires grad"):
        torch.zeros(3).map2_(torch.zeros(3), torch.zeros(3, requires_grad=True), lambda a, b, c: a)
    sizes = [torch.zeros(n).untyped_storage().__sizeof__() for n in (0, 10, 100)]
    assert sizes[2] - sizes[0] == 10 * (sizes[1] - sizes[0]) > 0
