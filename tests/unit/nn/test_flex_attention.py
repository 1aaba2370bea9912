"""nn.attention.flex_attention: against what torch computes (record_flex.py), against plain attention, and inside compile."""
from __future__ import annotations

import json
import math
import pathlib
import runpy
import types

import numpy as np
import pellucid as torch
import pytest
from pellucid.nn import functional as F
from pellucid.nn.attention import flex_attention as flex
from pellucid.nn.attention.flex_attention import (AuxOutput, AuxRequest, BlockMask, and_masks, create_block_mask, create_mask,
                                                  flex_attention, noop_mask, or_masks)

HERE = pathlib.Path(__file__).parent
record = types.SimpleNamespace(**runpy.run_path(str(HERE / "record_flex.py")))
RECORDED = json.loads((HERE / "flex_recorded.json").read_text())


def causal(b, h, q, k):
    return q >= k


def near(b, h, q, k):
    return (q - k).abs() <= 3


def attention(score, mask, run=flex_attention):
    """What a recorded case holds, computed here."""
    scores, masks, closed = record.mods(torch)
    q, k, v = record.operands(torch)
    sizes = record.SIZES
    block_mask = mask and create_block_mask(masks[mask], sizes["B"], sizes["H"], sizes["L"], sizes["S"], BLOCK_SIZE=2)
    want = AuxRequest(lse=True, max_scores=True)
    output, aux = run(q, k, v, scores[score] if score else None, block_mask, enable_gqa=True, return_aux=want)
    assert type(aux) is AuxOutput and not aux.max_scores.requires_grad
    record.loss_of(torch, output, aux.lse).backward()
    found = {"output": output, "lse": aux.lse, "largest": aux.max_scores, "q": q.grad, "k": k.grad, "v": v.grad}
    return found | {f"closed {i}": t.grad for i, t in enumerate(closed) if t.grad is not None}, block_mask


def check(name, found, block_mask):
    for part, values in RECORDED[name].items():
        if part in ("repr", "str"):
            assert {"repr": repr, "str": str}[part](block_mask) == values
        else:
            np.testing.assert_allclose(found[part].detach().numpy().reshape(-1), values, rtol=1e-5, atol=1e-5, err_msg=part)
    assert found.keys() == RECORDED[name].keys() - {"repr", "str"}


@pytest.mark.parametrize(("score", "mask"), record.CASES)
def test_like_torch(score, mask):
    check(f"{score} {mask}", *attention(score, mask))


@pytest.mark.parametrize(("score", "mask"), record.CASES)
def test_like_torch_compiled(score, mask):
    check(f"{score} {mask}", *attention(score, mask, torch.compile(flex_attention, fullgraph=True)))


@pytest.mark.parametrize("score", [None, "relative"])
@pytest.mark.parametrize("mask", ["causal", "window", "nothing_first"])
def test_blocks_that_nobody_sees_are_left_out(monkeypatch, score, mask):
    """The same results by parts; what lies in blocks that are not listed is not looked at."""
    monkeypatch.setattr(flex, "_MANY", 1)
    monkeypatch.setattr(flex, "_SHARE", 1)
    check(f"{score} {mask}", *attention(score, mask)) if f"{score} {mask}" in RECORDED else None
    q, k, v = [torch.randn(1, 2, 12, 4, requires_grad=True) for _ in range(3)]
    scores, masks, _ = record.mods(torch)
    block_mask = create_block_mask(masks[mask], None, None, 12, 12, BLOCK_SIZE=4)
    asked = []

    def counted(s, b, h, i, j):
        asked.append(1)
        return scores[score](s, b, h, i, j) if score else s
    by_parts = flex_attention(q, k, v, counted if score else None, block_mask)
    assert len(asked) == (3 if score else 0)
    by_parts.sum().backward()
    grads = [t.grad.clone() for t in (q, k, v)]
    monkeypatch.setattr(flex, "_SHARE", 0.5)            # more than that is left here
    for t in (q, k, v):
        t.grad = None
    whole = flex_attention(q, k, v, scores[score] if score else None, block_mask)
    whole.sum().backward()
    torch.testing.assert_close(by_parts, whole)
    for t, g in zip((q, k, v), grads):
        torch.testing.assert_close(g, t.grad)


def test_plain_attention_is_a_special_case():
    q, k, v = [torch.randn(2, 3, n, 4, dtype=torch.float64) for n in (5, 7, 7)]
    torch.testing.assert_close(flex_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(flex_attention(q, k, v, scale=0.3), F.scaled_dot_product_attention(q, k, v, scale=0.3))
    mask = create_block_mask(causal, None, None, 5, 7)
    plain = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(flex_attention(q, k, v, None, mask), plain)
    out, lse = flex_attention(q, k, v, lambda s, b, h, i, j: torch.where(i >= j, s, -math.inf), return_lse=True)
    torch.testing.assert_close(out, plain)
    scores = (q @ k.mT / 2).masked_fill(~torch.ones(5, 7, dtype=torch.bool).tril(), -math.inf)
    torch.testing.assert_close(lse, scores.logsumexp(-1))
    one = flex_attention(q, k[:1], v[:1], None, create_block_mask(causal, 2, None, 5, 7))       # a batch of 1 meets all
    torch.testing.assert_close(one[1:], F.scaled_dot_product_attention(q[1:], k[:1], v[:1], is_causal=True))


def test_low_precision_and_autocast():
    q, k, v = [torch.randn(1, 2, 4, 8) for _ in range(3)]
    low = flex_attention(*[x.bfloat16() for x in (q, k, v)], lambda s, b, h, i, j: s * 2)
    assert low.dtype is torch.bfloat16
    torch.testing.assert_close(low.float(), flex_attention(q, k, v, scale=2 / math.sqrt(8)), atol=0.05, rtol=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(flex_attention(q, k, v, lambda s, b, h, i, j: s * 2), low)
    assert flex_attention(q, k.bfloat16(), v.bfloat16()).dtype is torch.float32


def test_block_masks():
    mask = create_block_mask(causal, 2, 1, 300, 260, BLOCK_SIZE=(64, 128))
    assert mask.shape == (2, 1, 300, 260) and mask.numel() == 2 * 300 * 260
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 1, 1, 3]]] * 2 and mask.full_kv_num_blocks.tolist() == [[[0, 0, 1, 1, 0]]] * 2
    assert mask.kv_num_blocks.dtype is mask.kv_indices.dtype is torch.int32
    assert mask.to_dense()[0, 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert mask.q_num_blocks.shape == (2, 1, 3) and mask.q_num_blocks[0, 0].tolist() == [3, 3, 1]
    together = create_block_mask(causal, 2, 1, 300, 260, BLOCK_SIZE=(64, 128), separate_full_blocks=False)
    assert together.full_kv_indices is None and torch.equal(together.to_dense(), mask.to_dense()) and together.sparsity() == mask.sparsity()
    part = mask[1]
    assert part.kv_num_blocks.shape == (1, 1, 5) and part.to_dense().shape == (1, 1, 5, 3)
    assert mask[:, -1, 1:3].to_dense().tolist() == [[[[1, 0, 0], [1, 1, 0]]]] * 2
    assert mask[:, :, torch.tensor([4])].to_dense().tolist() == [[[[1, 1, 1]]]] * 2
    assert "...\nTo print out more" in mask.to_string(limit=1)
    assert mask.to_string(grid_size=(2, 1)).splitlines()[:4] == ["(0, 0)", "░░", "░░", ""]
    again = BlockMask(*mask.to("cpu").as_tuple(flatten=False)[:1], *mask.as_tuple()[2:10], BLOCK_SIZE=(64, 128), mask_mod=causal)
    assert repr(again) == repr(mask) and len(mask.as_tuple()) == 13 and len(mask.as_tuple(flatten=False)) == 11
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        BlockMask.from_kv_blocks(torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(AssertionError, match="both provided or omitted"):
        BlockMask.from_kv_blocks(torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([[1]]))
    cut = mask._adjust(100, 130)
    assert cut.shape == (2, 1, 100, 130) and cut.to_dense()[0, 0].tolist() == [[1, 0], [1, 0]]
    assert BlockMask.from_kv_blocks(mask.kv_num_blocks, mask.kv_indices, compute_q_blocks=False).q_indices is None


def test_lists_of_blocks_say_what_is_seen():
    q, k, v = [torch.randn(1, 1, 8, 4) for _ in range(3)]
    mask = BlockMask.from_kv_blocks(torch.tensor([[[1, 2]]]), torch.tensor([[[[1, 0], [0, 1]]]]), BLOCK_SIZE=4)
    seen = torch.ones(8, 8, dtype=torch.bool)
    seen[:4, :4] = False
    torch.testing.assert_close(flex_attention(q, k, v, None, mask), F.scaled_dot_product_attention(q, k, v, seen))
    mask.mask_mod = near
    want = F.scaled_dot_product_attention(q, k, v, seen & create_mask(near, 1, 1, 8, 8))
    torch.testing.assert_close(flex_attention(q, k, v, None, mask), want)
    part = create_block_mask(causal, None, None, 8, 8, BLOCK_SIZE=4)[:, :, 1]
    part.seq_lengths = (4, 8)
    with pytest.raises(RuntimeError, match="sliced BlockMask"):
        flex_attention(q[:, :, 4:], k, v, None, part)
    part.mask_mod = lambda b, h, i, j: i + 4 >= j
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(flex_attention(q[:, :, 4:], k, v, None, part), want[:, :, 4:])


def test_masks_of_masks():
    several = causal, near, and_masks(causal, near), or_masks(causal, near), noop_mask, or_masks(), and_masks()
    dense = [create_mask(m, 2, None, 6, 9) for m in several]
    assert dense[0].shape == (2, 1, 6, 9) and dense[0].dtype is torch.bool
    assert torch.equal(dense[0][1, 0], torch.ones(6, 9).tril().bool())
    assert torch.equal(dense[2], dense[0] & dense[1]) and torch.equal(dense[3], dense[0] | dense[1])
    assert dense[4].all() and not dense[5].any() and dense[6].all()
    assert torch.equal(create_mask(lambda s, b, h, i, j: torch.where(i >= j, s, -math.inf), 2, None, 6, 9), dense[0])
    with pytest.raises(RuntimeError, match="callable"):
        or_masks(causal, 3)
    with pytest.raises(AssertionError, match="requires a mask_mod"):
        create_block_mask(lambda s, b, h, i, j: s, None, None, 4, 4)
    with pytest.raises(AssertionError, match="4 or 5 positional args"):
        create_mask(lambda b, h: b, None, None, 4, 4)


def sizes(*shapes, **kwargs):
    return lambda: flex_attention(*[torch.zeros(s) for s in shapes], **kwargs)


@pytest.mark.parametrize(("call", "error", "text"), [
    (sizes((2, 3, 4), (2, 3, 4), (2, 3, 4)), NotImplementedError, "must be 4D"),
    (sizes((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 4)), ValueError, "same embedding dimension"),
    (sizes((1, 4, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)), ValueError, "enable_gqa=True"),
    (sizes((1, 3, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), enable_gqa=True), ValueError, "multiple of kv heads"),
    (sizes((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 4, 4)), ValueError, "same batch, heads and length"),
    (sizes((2, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)), ValueError, "same batch size"),
    (sizes(*[(1, 2, 3, 4)] * 3, return_lse=True, return_aux=AuxRequest()), ValueError, "both return_lse and return_aux"),
    (sizes(*[(1, 2, 3, 4)] * 3, block_mask=create_block_mask(causal, None, None, 3, 4)), ValueError, "q_len=3 and kv_len=3"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ---------------------------------------------------------------------------------------------------- compile
def test_compiled_functions_look_at_what_the_functions_look_at():
    q, k, v = [torch.randn(1, 2, 16, 4) for _ in range(3)]
    shift, factor, table = torch.tensor(1), 2.0, torch.randn(2)

    def mask_mod(b, h, i, j):
        return i + shift >= j

    def score_mod(s, b, h, i, j):
        return s * factor + table[h]

    def run(q, block_mask):
        return flex_attention(q, k, v, score_mod, block_mask)
    compiled = torch.compile(run, fullgraph=True)
    block_mask = create_block_mask(noop_mask, None, None, 16, 16, BLOCK_SIZE=4, separate_full_blocks=False)

    def same():
        torch.testing.assert_close(compiled(q, block_mask), run(q, block_mask))
    same()
    block_mask.mask_mod = mask_mod
    same()
    shift.add_(3)
    same()
    factor = 0.5
    same()
    table = torch.randn(2)
    same()
    block_mask.kv_num_blocks[0, 0, 1] = 2
    same()
    block_mask = create_block_mask(near, None, None, 16, 16, BLOCK_SIZE=4)
    same()


def test_masks_made_within_compiled_functions():
    q, k, v = [torch.randn(1, 2, 16, 4, requires_grad=True) for _ in range(3)]

    def run(q, document):
        def same_document(b, h, i, j):
            return (document[i] == document[j]) & (i >= j)
        mask = create_block_mask(same_document, None, None, 16, 16, BLOCK_SIZE=4)
        return flex_attention(q, k, v, block_mask=mask), mask
    compiled = torch.compile(run, fullgraph=True)
    for step in (3, 5, 16):
        document = torch.arange(16) // step
        found, mask = compiled(q, document)
        want, plain = run(q, document)
        torch.testing.assert_close(found, want)
        for a, b in zip(torch.autograd.grad(found.sum(), (q, k, v)), torch.autograd.grad(want.sum(), (q, k, v))):
            torch.testing.assert_close(a, b)
        assert repr(mask) == repr(plain)
        torch.testing.assert_close(flex_attention(q, k, v, None, mask), want)       # its mask_mod is the function itself
    assert len(compiled.versions) == 1


def test_what_vmap_refuses_is_refused_when_compiled():
    q = torch.randn(1, 1, 4, 4)

    def branch(s, b, h, i, j):
        return s if i > j else s * 2
    for run in (flex_attention, torch.compile(flex_attention)):
        with pytest.raises(RuntimeError, match="data-dependent control flow"):
            run(q, q, q, branch)


def test_a_score_that_escapes_is_not_compiled():
    q, kept = torch.randn(1, 1, 4, 4), []

    def keeping(s, b, h, i, j):
        kept.append(s)
        return s * 2

    def run(q):
        return flex_attention(q, q, q, keeping)
    compiled = torch.compile(run)
    want = run(q)
    with pytest.warns(UserWarning, match="runs uncompiled"):
        torch.testing.assert_close(compiled(q), want)
    torch.testing.assert_close(compiled(q), want)
    assert len(kept) == 3
