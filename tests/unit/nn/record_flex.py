"""Records what PyTorch's flex_attention computes into flex_recorded.json (run by hand, with torch installed).

    python tests/unit/nn/record_flex.py

A case is a score_mod and a mask_mod by name, or None, both from `mods`, which `test_flex_attention.py` calls with pellucid. For each: the
output, the logarithm of the normaliser, the largest scores, and the gradients of query, key, value and what the score_mod closes over.
(On CPU torch has no gradient behind the public function: this calls the definition it has of it.)
"""
from __future__ import annotations

import json
import math
import pathlib

import numpy as np

CASES = [("relative", "causal"), ("capped", "window"), ("table", "document"), ("dotted", None), (None, "nothing_first"),
         ("relative", "head_and_batch")]
SIZES = {"B": 2, "H": 4, "G": 2, "L": 5, "S": 6, "E": 3}


def wave(*shape, step=1.3):
    return np.sin(np.arange(math.prod(shape)) * step).astype(np.float32).reshape(shape)


def mods(torch) -> tuple[dict, dict, list]:
    """({name: score_mod}, {name: mask_mod}, [what they close over])"""
    slopes, rows = torch.tensor(wave(4, step=0.7)), torch.tensor(wave(6, 3, step=0.4))
    document = torch.tensor([0, 0, 1, 1, 1, 2])
    slopes.requires_grad_()
    rows.requires_grad_()

    def relative(score, b, h, q, k):
        return score + slopes[h] * (q - k)

    def capped(score, b, h, q, k):
        return 0.5 * torch.tanh(score / 0.5)

    def table(score, b, h, q, k):
        return score * rows[q, h % 3] + torch.where(q == k, 1.0, 0.0)

    def dotted(score, b, h, q, k):          # not elementwise (torch has no gradient of such rows)
        r = rows.detach()
        return score + (r[q] * r[k]).sum() * slopes[h] + r[b].amax()

    def causal(b, h, q, k):
        return q >= k

    def window(b, h, q, k):
        return (q - k).abs() <= 1

    def document_mask(b, h, q, k):
        return document[q] == document[k]

    def nothing_first(b, h, q, k):
        return q > k

    def head_and_batch(b, h, q, k):
        return (h + b + q + k) % 3 > 0
    masks = {"causal": causal, "window": window, "document": document_mask, "nothing_first": nothing_first,
             "head_and_batch": head_and_batch}
    return {"relative": relative, "capped": capped, "table": table, "dotted": dotted}, masks, [slopes, rows]


def operands(torch) -> list:
    """query, key, value"""
    B, H, G, L, S, E = SIZES.values()
    return [torch.tensor(wave(B, h, n, E, step=s)).requires_grad_() for h, n, s in ((H, L, 1.3), (G, S, 0.9), (G, S, 2.1))]


def loss_of(torch, output, lse):
    """A number that every output element takes part in, differently."""
    weights = torch.tensor(wave(math.prod(output.shape), step=0.3)).reshape(output.shape)
    return (output * weights).sum() + torch.where(lse > -1e30, lse, 0.0).sum() * 0.1


def main() -> None:
    import torch
    from torch._higher_order_ops.flex_attention import math_attention
    from torch.nn.attention import flex_attention as flex
    found = {}
    for score, mask in CASES:
        scores, masks, closed = mods(torch)
        q, k, v = operands(torch)
        if mask is None:
            block_mask = flex._create_empty_block_mask(q, k)
        else:
            block_mask = flex.create_block_mask(masks[mask], SIZES["B"], SIZES["H"], SIZES["L"], SIZES["S"], device="cpu", BLOCK_SIZE=2)
        score_mod = flex._identity if score is None else scores[score]
        out, lse, largest = math_attention(q, k, v, score_mod, block_mask.as_tuple(), 1 / math.sqrt(3), {})
        lse, largest = lse * math.log(2), largest * math.log(2)
        loss_of(torch, out, lse).backward()
        values = {"output": out, "lse": lse, "largest": largest, "q": q.grad, "k": k.grad, "v": v.grad}
        values |= {f"closed {i}": t.grad for i, t in enumerate(closed) if t.grad is not None}
        found[f"{score} {mask}"] = {n: [float(f"{x:.6g}") for x in t.detach().flatten().tolist()] for n, t in values.items()}
        if mask is not None:
            found[f"{score} {mask}"] |= {"repr": repr(block_mask), "str": str(block_mask)}
    path = pathlib.Path(__file__).with_name("flex_recorded.json")
    lines = [f"{json.dumps(n)}: {json.dumps(v, ensure_ascii=False, separators=(',', ':'))}" for n, v in found.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(len(found), "cases, torch", torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
