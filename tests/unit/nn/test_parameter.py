"""Parameter, Buffer, and their kin without a shape."""

import copy
import gc
import pickle

import numpy as np
import pytest

import pellucid
from pellucid.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from pellucid.ops.dispatch import state


def test_a_parameter_shares_memory_and_leaves_the_graph_behind():
    data = pellucid.ones(3, requires_grad=True) * 2
    p = pellucid.nn.Parameter(data)
    assert p.is_leaf and p.requires_grad and p.data_ptr() == data.data_ptr()
    assert pellucid.nn.Parameter().numel() == 0 and not pellucid.nn.Parameter(data, requires_grad=False).requires_grad


def test_results_of_operators_are_plain_tensors(same):
    def scenario(torch):
        p = torch.nn.Parameter(torch.ones(2))
        return [type(x) is torch.Tensor for x in (p + 1, p.detach(), p.data, p.clone(), p[0], p.view(2), p.double())]

    same(scenario)


def test_repr_and_kind(same):
    def scenario(torch):
        p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        b = torch.nn.Buffer(torch.ones(1), persistent=False)
        return (repr(p), isinstance(p, torch.nn.Parameter), isinstance(torch.ones(1), torch.nn.Parameter), type(b) is torch.Tensor,
                isinstance(b, torch.nn.Buffer), isinstance(torch.ones(1), torch.nn.Buffer), b.persistent, torch.nn.Buffer().shape)

    same(scenario)


def test_copies():
    p = pellucid.nn.Parameter(pellucid.arange(6.0).reshape(2, 3).t(), requires_grad=False)
    p.note = "kept"
    twin = copy.deepcopy(p)
    back = pickle.loads(pickle.dumps(p))
    for q in (twin, back):
        assert type(q) is pellucid.nn.Parameter and not q.requires_grad
        np.testing.assert_array_equal(q.numpy(), p.numpy())
    assert twin.stride() == p.stride() and back.note == "kept"
    memo = {}
    assert copy.deepcopy(p, memo) is copy.deepcopy(p, memo)


def test_a_tensor_class_of_ones_own_stays_itself():
    class Mine(pellucid.Tensor):
        pass

    p = pellucid.nn.Parameter(pellucid.ones(2).as_subclass(Mine))
    assert type(p) is Mine and isinstance(p, pellucid.nn.Parameter) and p.requires_grad
    m = pellucid.nn.Module()
    m.p = p
    assert list(m.state_dict()) == ["p"]


def test_without_a_shape():
    before = state.slow
    p = UninitializedParameter(dtype=pellucid.float64)
    b = UninitializedBuffer()
    assert is_lazy(p) and is_lazy(b) and isinstance(p, pellucid.nn.Parameter) and p.requires_grad
    assert repr(p) == "<UninitializedParameter>" and p.dtype is pellucid.float64 and p.device.type == "cpu"
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized"):
        p.shape
    with pytest.raises(RuntimeError, match="Can't share memory"):
        p.share_memory_()
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter in"):
        p + 1
    with pytest.raises(ValueError, match="uninitialized"):
        pellucid.matmul(pellucid.ones(2, 2), p)
    assert type(copy.deepcopy(p)) is UninitializedParameter and pickle.loads(pickle.dumps(p)).dtype is pellucid.float64
    p.materialize((2, 3))
    b.materialize((4,), dtype=pellucid.int64)
    assert type(p) is pellucid.nn.Parameter and p.shape == (2, 3) and p.dtype is pellucid.float64
    assert type(b) is pellucid.Tensor and b.dtype is pellucid.int64 and b.persistent
    assert (p + 1).shape == (2, 3)
    gc.collect()
    assert state.slow == before


def test_dying_without_a_shape_takes_the_short_way_again():
    before = state.slow
    p = UninitializedParameter()
    assert state.slow == before + 1
    del p
    gc.collect()
    assert state.slow == before
