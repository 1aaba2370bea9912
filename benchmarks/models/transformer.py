"""A transformer block, and a small GPT on characters of Shakespeare (after nanoGPT, Karpathy 2022)."""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from . import Training

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tinyshakespeare.txt"


def block_class(torch):
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        """x + attention(norm(x)), then x + mlp(norm(x)); heads see only what came before."""

        def __init__(self, d: int, heads: int, dropout: float = 0.0, bias: bool = True):
            super().__init__()
            self.heads, self.dropout = heads, dropout
            self.ln_1, self.ln_2 = nn.LayerNorm(d, bias=bias), nn.LayerNorm(d, bias=bias)
            self.qkv, self.proj = nn.Linear(d, 3 * d, bias=bias), nn.Linear(d, d, bias=bias)
            self.fc, self.out = nn.Linear(d, 4 * d, bias=bias), nn.Linear(4 * d, d, bias=bias)

        def drop(self, x):
            return F.dropout(x, self.dropout, self.training) if self.dropout else x

        def attention(self, x):
            batch, length, d = x.shape
            q, k, v = (t.view(batch, length, self.heads, d // self.heads).transpose(1, 2) for t in self.qkv(x).split(d, dim=2))
            p = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
            return self.drop(self.proj(y.transpose(1, 2).contiguous().view(batch, length, d)))

        def forward(self, x):
            x = x + self.attention(self.ln_1(x))
            return x + self.drop(self.out(F.gelu(self.fc(self.ln_2(x)))))

    return Block


def block(torch, d: int = 256, heads: int = 4, length: int = 128, batch: int = 8) -> Training:
    """One block, mean squared error, AdamW."""
    torch.manual_seed(0)
    model = block_class(torch)(d, heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = torch.randn(batch, length, d), torch.randn(batch, length, d)
    return Training(torch, model, optimizer, lambda x, y: torch.nn.functional.mse_loss(model(x), y), [(x, y)])


def gpt_class(torch):
    nn, F = torch.nn, torch.nn.functional
    Block = block_class(torch)

    class GPT(nn.Module):
        """Embeddings, blocks, a norm, and logits by the transposed embedding."""

        def __init__(self, vocabulary: int, d: int, heads: int, layers: int, length: int, dropout: float):
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, d), nn.Embedding(length, d)
            self.blocks = nn.ModuleList([Block(d, heads, dropout, bias=False) for _ in range(layers)])
            self.norm, self.dropout = nn.LayerNorm(d, bias=False), dropout
            self.head = nn.Linear(d, vocabulary, bias=False)
            self.tokens.weight = self.head.weight
            for name, p in self.named_parameters():
                if p.dim() >= 2:
                    residual = name.endswith(("proj.weight", "out.weight"))
                    nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * layers) if residual else 0.02)

        def forward(self, ids, targets):
            places = torch.arange(ids.shape[1])
            x = self.tokens(ids) + self.places(places)
            x = F.dropout(x, self.dropout, self.training) if self.dropout else x
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    return GPT


def gpt(torch, layers: int = 6, d: int = 192, heads: int = 6, length: int = 128, batch: int = 8, dropout: float = 0.0,
        batches: int = 4) -> Training:
    """AdamW with weight decay on matrices only, gradients clipped at norm 1."""
    torch.manual_seed(0)
    text = DATA.read_bytes()
    vocabulary = sorted(set(text))
    codes = np.zeros(256, np.int64)
    codes[vocabulary] = np.arange(len(vocabulary))
    ids = codes[np.frombuffer(text, np.uint8)]
    starts = np.random.default_rng(0).integers(0, len(ids) - length - 1, (batches, batch))
    data = [tuple(torch.tensor(np.stack([ids[s + shift : s + shift + length] for s in row])) for shift in (0, 1)) for row in starts]
    model = gpt_class(torch)(len(vocabulary), d, heads, layers, length, dropout)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.95))
    return Training(torch, model, optimizer, model, data, clip=1.0)
