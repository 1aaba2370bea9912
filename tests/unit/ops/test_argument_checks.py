"""Calls that PyTorch refuses are refused, with its words; results take the dtype of `out`."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as torch


@pytest.mark.parametrize("action, kind, words", [
    (lambda x: x.flip(), TypeError, "missing 1 required positional argument"),
    (lambda x: x.movedim((0, 0), (0, 1)), RuntimeError, "movedim: repeated dim in `source`"),
    (lambda x: x.movedim((0, 1), (1, 1)), RuntimeError, "movedim: repeated dim in `destination`"),
    (lambda x: x[0].adjoint(), RuntimeError, "only supported on matrices"),
    (lambda x: x.unfold(0, -1, 1), RuntimeError, "size is -1 but must be >= 0"),
    (lambda x: x.narrow(0, torch.tensor(0.0), 1), RuntimeError, "0-dim integral Tensor"),
    (lambda x: x.narrow(0, torch.tensor([0]), 1), RuntimeError, "0-dim integral Tensor"),
    (lambda x: torch.nonzero(x, out=torch.empty(0)), RuntimeError, "scalar type Long")])
def test_refused(action, kind, words):
    with pytest.raises(kind, match=words):
        action(torch.ones(2, 3))


def test_scalars_of_index_copy():
    for target in ((), (1,)):
        for index in ((), (1,)):
            for source in ((), (1,)):
                t = torch.zeros(target)
                t.index_copy_(0, torch.zeros(index, dtype=torch.long), torch.full(source, 3.0))
                assert t.item() == 3.0


def test_arrays_are_compared():
    a, b = torch.tensor([1.0, 2.0]), np.array([1.0, 3.0])
    assert (a == b).tolist() == (b == a).tolist() == [True, False] and (a != b).tolist() == (b != a).tolist() == [False, True]
    with pytest.raises(TypeError):
        a < b


@pytest.mark.parametrize("make", [lambda out: torch.ones(3, out=out), lambda out: torch.zeros(3, out=out), lambda out: torch.empty(3, out=out),
                                  lambda out: torch.full((3,), 1, out=out), lambda out: torch.eye(2, out=out)])
def test_factories_take_the_dtype_of_out(make):
    for dtype in (torch.int16, torch.float64, torch.bool):
        out = torch.empty(0, dtype=dtype)
        assert make(out) is out and out.dtype is dtype and out.numel() > 2


@pytest.mark.parametrize("join", [torch.hstack, torch.vstack, torch.row_stack, torch.dstack, torch.column_stack])
def test_joins_take_several_tensors(join):
    with pytest.raises(TypeError, match="must be tuple of Tensors, not Tensor"):
        join(torch.ones(3))


def test_dtypes_that_do_not_fit():
    with pytest.raises(RuntimeError, match="does not match dtype of out parameter"):
        torch.zeros(3, dtype=torch.int64, out=torch.empty(3))
    with pytest.raises(RuntimeError, match="inferred dtype"):
        torch.linspace(0, 1j, 5, dtype=torch.float32)


def test_integer_ends_of_linspace():
    assert torch.linspace(0.3, 1.2, 3, dtype=torch.int8).tolist() == [0, 0, 1]
    assert torch.logspace(0.3, 2.7, 3, base=10, dtype=torch.int64).tolist() == [1, 10, 100]


def test_a_capsule_is_aliased():
    from pellucid.utils.dlpack import to_dlpack
    x = torch.zeros(2)
    torch.asarray(to_dlpack(x), copy=False)[0] = 1
    assert x.tolist() == [1.0, 0.0] and torch.asarray(to_dlpack(x), copy=True).tolist() == [1.0, 0.0]
