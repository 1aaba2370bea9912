"""nn.attention.bias: causal masks as attn_mask."""
from __future__ import annotations

import copy
import pickle

import pellucid as torch
import pytest
from pellucid.nn import functional as F
from pellucid.nn.attention.bias import CausalBias, CausalVariant, causal_lower_right, causal_upper_left
from pellucid.ops.dispatch import state

SIZES = [(3, 5), (4, 4), (5, 3)]


def operands(queries, keys):
    return [torch.randn(2, n, 4, requires_grad=True) for n in (queries, keys, keys)]


@pytest.mark.parametrize(("queries", "keys"), SIZES)
def test_are_the_masks_they_stand_for(queries, keys):
    for make, variant, diagonal in ((causal_upper_left, CausalVariant.UPPER_LEFT, 0),
                                    (causal_lower_right, CausalVariant.LOWER_RIGHT, keys - queries)):
        bias = make(queries, keys)
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(diagonal)
        assert type(bias) is CausalBias and bias.variant is variant and (bias.seq_len_q, bias.seq_len_kv) == (queries, keys)
        assert torch.equal(bias, mask) and repr(bias) == repr(mask) and type(bias | bias) is torch.Tensor
        q, k, v = operands(queries, keys)
        want = F.scaled_dot_product_attention(q, k, v, mask)
        for run in (F.scaled_dot_product_attention, torch.compile(F.scaled_dot_product_attention, fullgraph=True)):
            found = run(q, k, v, bias)
            assert type(found) is torch.Tensor
            torch.testing.assert_close(found, want)
            torch.testing.assert_close(torch.autograd.grad(found.sum(), q), torch.autograd.grad(want.sum(), q, retain_graph=True))
        for again in (copy.deepcopy(bias), pickle.loads(pickle.dumps(bias))):
            assert type(again) is CausalBias and again.variant is variant and torch.equal(again, mask)


def test_upper_left_is_is_causal_and_made_within_compiled_functions():
    q, k, v = operands(3, 5)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, causal_upper_left(3, 5)), want)

    def run(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, causal_lower_right(q.shape[1], k.shape[1]))
    torch.testing.assert_close(torch.compile(run, fullgraph=True)(q, k, v), run(q, k, v))


def test_costs_other_operators_nothing():
    before = state.slow
    bias = causal_lower_right(2, 3)
    F.scaled_dot_product_attention(*operands(2, 3), bias)
    assert state.slow == before


def test_errors():
    with pytest.raises(AssertionError, match="only supports 2D"):
        causal_upper_left(1, 2, 3)
    with pytest.raises(AssertionError, match="must be a CausalVariant"):
        CausalBias(1, 2, 3)
    with pytest.raises(RuntimeError, match="is_causal"):
        F.scaled_dot_product_attention(*operands(2, 3), causal_upper_left(2, 3), is_causal=True)
