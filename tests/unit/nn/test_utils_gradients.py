"""clip_grad_*, parameters_to_vector and back."""

import numpy as np
import pytest

import pellucid
from pellucid.native import in_order


def parameters(torch, *grads):
    found = []
    for grad in grads:
        p = torch.nn.Parameter(torch.zeros(len(grad) if grad else 1))
        p.grad = torch.tensor(grad) if grad else None
        found.append(p)
    return found


@pytest.mark.parametrize("norm_type", [1.0, 2, 3.5, float("inf"), "inf", 0.5])
@pytest.mark.parametrize("max_norm", [0.5, 100, 0])
def test_clip_grad_norm(norm_type, max_norm, same):
    def scenario(torch):
        ps = parameters(torch, [1.0, -2.0], None, [3.0])
        norm = torch.nn.utils.clip_grad_norm_(ps, max_norm, norm_type)
        return norm, [p.grad for p in ps]

    same(scenario)


def test_one_parameter_none_and_generators(same):
    def scenario(torch):
        clip = torch.nn.utils.clip_grad_norm_
        p, = parameters(torch, [3.0, 4.0])
        return (clip(p, 1.0), p.grad, clip([], 1.0), clip(parameters(torch, None), 1.0), clip((q for q in [p]), 10.0),
                clip((q for q in []), 1.0))

    same(scenario)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nonfinite(bad, same):
    def scenario(torch):
        ps = parameters(torch, [1.0, bad])
        torch.nn.utils.clip_grad_norm_(ps, 1.0)
        torch.nn.utils.clip_grad_norm_(parameters(torch, [1.0, bad]), 1.0, error_if_nonfinite=True)

    same(scenario)


def test_in_two_steps(same):
    def scenario(torch):
        u = torch.nn.utils
        ps = parameters(torch, [3.0, 4.0], [12.0])
        total = u.get_total_norm([p.grad for p in ps])
        u.clip_grads_with_norm_(ps, 1.3, total)
        u.clip_grads_with_norm_(ps[0], 100.0, total)
        return total, [p.grad for p in ps], u.get_total_norm([]), u.get_total_norm(torch.ones(4))

    same(scenario)


def test_old_name(same):
    same(lambda torch: torch.nn.utils.clip_grad_norm(parameters(torch, [3.0]), 1.0))


def test_clip_grad_value(same):
    def scenario(torch):
        ps = parameters(torch, [3.0, -4.0, 0.1], None, [12.0])
        torch.nn.utils.clip_grad_value_(ps, 2)
        torch.nn.utils.clip_grad_value_(ps[2], 0.5)
        return [p.grad for p in ps]

    same(scenario)


def test_clipping_is_not_recorded():
    p = pellucid.nn.Parameter(pellucid.ones(2))
    (p**3).sum().backward(create_graph=True)
    assert not pellucid.nn.utils.clip_grad_norm_([p], 1.0).requires_grad


def test_vectors(same):
    def scenario(torch):
        u = torch.nn.utils
        m = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        vector = u.parameters_to_vector(m.parameters())
        u.vector_to_parameters(torch.arange(9.0), m.parameters())
        return vector.shape, vector.requires_grad, dict(m.named_parameters())

    same(scenario)
    same(lambda torch: torch.nn.utils.vector_to_parameters([1.0], []))


def test_vector_shares_memory():
    m = pellucid.nn.Linear(1, 1)
    vector = pellucid.zeros(2)
    pellucid.nn.utils.vector_to_parameters(vector, m.parameters())
    vector.fill_(3.0)
    assert m.weight.item() == 3.0 and m.bias.item() == 3.0


def values(n: int) -> np.ndarray:
    """Numbers in [-0.5, 0.5) that every library makes alike."""
    return ((np.arange(n, dtype=np.uint64) * 2654435761 % 2**32).astype(np.float64) / 2**32 - 0.5).astype(np.float32)


needs_native = pytest.mark.skipif(in_order.functions() is None, reason="no llvmlite")


@needs_native
@pytest.mark.parametrize(("n", "norm"), ((1, "0x1.0p-1"), (7, "0x1.a36c64p-1"), (8, "0x1.acc15p-1"), (13, "0x1.0c951cp+0"), (15, "0x1.286b7cp+0"),
                                         (100, "0x1.7366ep+1"), (1003, "0x1.24a97p+3"), (40000, "0x1.cde2b4p+5"), (3000007, "0x1.f3fb8ep+8")))
def test_norms_of_gradients_are_pytorchs_to_the_bit(n, norm):
    """`norm`: torch.linalg.vector_norm of PyTorch 2.13, on any x86-64 processor; `norm` itself is more exact here."""
    assert in_order.functions().norm(values(n)) == float.fromhex(norm)


@needs_native
def test_total_norms_are_pytorchs_to_the_bit():
    total = pellucid.nn.utils.get_total_norm
    several = total([pellucid.from_numpy(values(n)) for n in (13, 100, 40000)])
    turned = pellucid.from_numpy(values(600).reshape(12, 50)).t(), pellucid.from_numpy(values(120).reshape(2, 12, 5)).permute(1, 2, 0)
    assert several.dtype is pellucid.float32 and several.item() == float.fromhex("0x1.ce8b6ep+5")
    assert [total(t).item() for t in turned] == [float.fromhex("0x1.c4e7dep+2"), float.fromhex("0x1.95e216p+1")]
