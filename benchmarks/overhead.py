"""What a compiled call costs beside its native code: the guard check, and everything that Python does around the native function.

    python benchmarks/overhead.py [NAME ...]

12-layer transformers, small ones (the native code's time does not matter here): layers of nn.TransformerEncoder, and blocks written as
nanoGPT's are; inference, forward with gradients, and a training step. Bars: 30 us for the guard, 15 us and 0.1 us for each parameter
for a call beside its native code. Of the fastest call of many: what the code takes, not what else the machine does.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from _side_by_side import load

LAYERS, WIDTH, HEADS, LENGTH = 12, 32, 2, 8
CALLS = 1500
GUARD, FIXED, EACH = 30.0, 15.0, 0.1        # microseconds


def encoder(torch: Any) -> Any:
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False), torch.randn(2, LENGTH, WIDTH)


def nanogpt(torch: Any) -> Any:
    nn, F = torch.nn, torch.nn.functional

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.n_head, self.n_embd, self.dropout = HEADS, WIDTH, 0.0

        def forward(self, x):
            B, T, C = x.size()
            q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
            q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0, is_causal=True)
            return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.c_fc, self.gelu, self.c_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            return self.c_proj(self.gelu(self.c_fc(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.attn, self.ln_2, self.mlp = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH), MLP()

        def forward(self, x):
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = nn.ModuleDict(dict(wte=nn.Embedding(50, WIDTH), wpe=nn.Embedding(LENGTH, WIDTH),
                                                  h=nn.ModuleList([Block() for _ in range(LAYERS)]), ln_f=nn.LayerNorm(WIDTH)))
            self.lm_head = nn.Linear(WIDTH, 50, bias=False)
            self.transformer.wte.weight = self.lm_head.weight

        def forward(self, idx):
            pos = torch.arange(0, idx.size(1))
            x = self.transformer.wte(idx) + self.transformer.wpe(pos)
            for block in self.transformer.h:
                x = block(x)
            return self.lm_head(self.transformer.ln_f(x))

    return GPT(), torch.randint(0, 50, (2, LENGTH))


MODELS = {"encoder": encoder, "nanogpt": nanogpt}


def inference(torch: Any, model: Any, x: Any) -> tuple[Any, Any, Callable]:
    return torch.compile(model.eval()), x, torch.no_grad


def forward(torch: Any, model: Any, x: Any) -> tuple[Any, Any, Callable]:
    return torch.compile(model), x, torch.enable_grad


def training(torch: Any, model: Any, x: Any) -> tuple[Any, Any, Callable]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    @torch.compile(fullgraph=True)
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss
    return step, x, torch.enable_grad


WAYS = {"inference": inference, "forward": forward, "training": training}


def fastest(run: Callable[[], Any]) -> float:
    """Microseconds of the fastest call of many."""
    best = float("inf")
    for _ in range(CALLS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


class Stopwatch:
    """In a program's place: the seconds of the last call. (Timed from outside it would be given arrays that somebody else holds too.)"""

    def __init__(self, native: Any):
        self.native, self.refresh, self.seconds = native, getattr(native, "refresh", None), 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        result = self.native(*args)
        self.seconds = time.perf_counter() - start
        return result


def measured(torch: Any, name: str, way: str) -> tuple[int, int, float, float, float]:
    """(parameters, guards, microseconds of the guard, of a call beside its native code, of that)."""
    torch.manual_seed(0)
    model, x = MODELS[name](torch)
    call, x, modes = WAYS[way](torch, model, x)
    with modes():
        for _ in range(4):
            call(x)
        compiled = getattr(call, "_compiled", call)
        entry = compiled.versions[0]
        guard = entry.guard()
        assert guard((x,), {}) is True
        watch = entry.writer.space["run"] = Stopwatch(entry.execute)
        best, native = float("inf"), 0.0
        for _ in range(CALLS):
            start = time.perf_counter()
            call(x)
            whole = time.perf_counter() - start
            if whole - watch.seconds < best:
                best, native = whole - watch.seconds, watch.seconds
        return len(list(model.parameters())), len(entry.writer.guards), fastest(lambda: guard((x,), {})), best * 1e6, native * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="encoder-inference, nanogpt-training, ...")
    options = parser.parse_args()
    torch = load("pellucid")
    torch.set_num_threads(1)
    missed = 0
    print(f"{'':20s} {'parameters':>10s} {'guards':>6s} {'guard us':>8s} {'bar':>5s} {'native us':>9s} {'beside it':>9s} {'bar':>5s}")
    for name in MODELS:
        for way in WAYS:
            if options.names and f"{name}-{way}" not in options.names:
                continue
            parameters, guards, guard, over, native = measured(torch, name, way)
            bar = FIXED + EACH * parameters
            missed += (guard > GUARD) + (over > bar)
            print(f"{name + '-' + way:20s} {parameters:10d} {guards:6d} {guard:8.1f} {GUARD:5.0f} {native:9.1f} {over:9.1f} {bar:5.1f}"
                  + ("  guard above its bar" if guard > GUARD else "") + ("  overhead above its bar" if over > bar else ""), flush=True)
    print("all within the bars" if not missed else f"{missed} above the bars")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
