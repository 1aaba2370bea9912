"""Writes tests/golden/rng_tensors.json: what PyTorch's tensors, layers and loaders draw on CPU, for 5 seeds.

Run with torch 2.13 installed, on an AMD CPU with AVX2 (on Intel torch takes Bernoulli and exponential draws from MKL):
    python tools/record_rng_tensors.py
Each expression is evaluated after `torch.manual_seed(seed)`, here with torch and in tests/unit/tensor/test_random.py with
pellucid; values and the generator's state afterwards must agree.
"""
import hashlib
import json
import pathlib

import torch
import torch.utils.data

SEEDS = [0, 1, 42, 2**40 + 12345, -7]

TENSORS = """
torch.rand(2, 3)
torch.rand((7, 5, 3))
torch.rand(size=(17,), dtype=torch.float64)
torch.rand(1003, dtype=torch.bfloat16)
torch.rand(33, dtype=torch.complex64)
torch.rand(5, out=torch.empty(5, dtype=torch.float64))
torch.randn(())
torch.randn(3, 5)
torch.randn(31, 7)
torch.randn(1003, dtype=torch.float64)
torch.randn(1003, dtype=torch.float16)
torch.randn(129, dtype=torch.complex128)
torch.randn(5, generator=torch.Generator().manual_seed(3))
torch.rand_like(torch.empty(5, 7))
torch.rand_like(torch.empty(5, 7).t())
torch.randn_like(torch.empty(5, 7).t(), dtype=torch.float64)
torch.randn_like(torch.empty(2, 3, 4, 5, memory_format=torch.channels_last))
torch.randn_like(torch.empty(2, 3, 4, 5), memory_format=torch.channels_last)
torch.randn_like(torch.empty(6, 8)[:, ::2])
torch.randn_like(torch.empty(1, 8).expand(5, 8))
torch.randn_like(torch.empty(8, 1).expand(8, 5))
torch.randint(10, (31,))
torch.randint(-5, 1000, (3, 5, 7))
torch.randint(0, 2**40, (31,))
torch.randint(0, 2, (31,), dtype=torch.bool)
torch.randint(3, 17, (31,), dtype=torch.float32)
torch.randint(high=9, size=(4,), dtype=torch.uint8)
torch.randint_like(torch.empty(5, 7), 10)
torch.randint_like(torch.empty(5, 7, dtype=torch.int16).t(), -3, 10)
torch.randperm(1)
torch.randperm(1003)
torch.randperm(101, dtype=torch.int32)
torch.normal(2.0, 3.0, (5, 7))
torch.normal(torch.arange(20.0), 0.5)
torch.normal(0.25, torch.arange(20.0) / 7)
torch.normal(torch.arange(20.0), torch.arange(20.0) / 7)
torch.normal(torch.arange(5.0).view(5, 1), torch.arange(4.0) / 7)
torch.normal(torch.arange(20.0).to(torch.bfloat16), torch.arange(20.0).to(torch.bfloat16) / 7)
torch.normal(torch.arange(20.0, dtype=torch.float64), torch.arange(20.0) / 7)
torch.bernoulli(torch.arange(33) / 40)
torch.bernoulli((torch.arange(35.0) / 40).view(5, 7).t())
torch.bernoulli(torch.arange(33.0, dtype=torch.float64) / 40)
torch.bernoulli(torch.empty(17), 0.3)
(torch.arange(33) / 40).bernoulli(0.7)
torch.multinomial(torch.arange(11.0), 4)
torch.multinomial(torch.arange(66.0).view(6, 11) + 1, 4)
torch.multinomial(torch.arange(66.0).view(11, 6).t() + 1, 1)
torch.multinomial(torch.arange(66.0).view(6, 11) + 1, 15, replacement=True)
(torch.arange(11.0, dtype=torch.float64) + 1).multinomial(40, True)
torch.poisson(torch.arange(50.0))
torch.poisson(torch.arange(30.0).view(5, 6).t())
torch.empty(5, 7).uniform_()
torch.empty(5, 7).uniform_(-1, 2.5)
torch.empty(5, 7).t().uniform_(-1, 2.5)
torch.empty(4, 5, 6).transpose(0, 1).normal_()
torch.empty(4, 5, 6).permute(2, 0, 1).normal_(1, 2)
torch.empty(2, 3, 4, 5, memory_format=torch.channels_last).normal_()
torch.zeros(6, 8)[:, ::2].normal_()
torch.zeros(6, 80)[2:4].normal_()
torch.zeros(9, 9).diagonal().normal_()
torch.zeros(5, 7, dtype=torch.complex64).t().normal_()
torch.empty(17).normal_(mean=1, std=0.02)
torch.empty(33, dtype=torch.bfloat16).normal_(0.3, 0.7)
torch.empty(5, 7, dtype=torch.int64).random_()
torch.empty(5, 7, dtype=torch.int64).t().random_(100)
torch.empty(17).random_(-5, 100)
torch.empty(17, dtype=torch.int32).random_(5, None)
torch.empty(5, 7).bernoulli_()
torch.empty(5, 7).t().bernoulli_(0.3)
torch.empty(5, 7, dtype=torch.bool).bernoulli_(0.3)
torch.empty(5, 7).bernoulli_(torch.arange(7.0) / 8)
torch.empty(7, 5).t().bernoulli_(torch.arange(7.0) / 8)
torch.empty(5, 7, dtype=torch.int64).bernoulli_(torch.tensor(0.3))
torch.empty(5, 7).t().exponential_()
torch.empty(17, dtype=torch.float64).exponential_(2.5)
torch.empty(17).geometric_(0.2)
torch.empty(17, dtype=torch.int64).geometric_(0.2)
torch.empty(17).cauchy_(1, 2)
torch.empty(35).log_normal_()
torch.empty(5, 7).t().log_normal_(0.5, 0.25)
torch.nn.functional.dropout(torch.ones(31, 7), 0.2)
torch.nn.functional.dropout(torch.arange(35.0).view(5, 7).t())
torch.nn.functional.dropout(torch.ones(31, 7, dtype=torch.float64), 0.9)
torch.nn.functional.dropout(torch.ones(31, 7, dtype=torch.bfloat16), 0.3)
torch.nn.functional.dropout(torch.ones(3, 5), inplace=True)
torch.nn.functional.dropout(torch.ones(3, 5), 0.5, False)
torch.nn.functional.dropout(torch.ones(3, 5), 1.0)
torch.nn.functional.dropout1d(torch.ones(5, 7, 3), 0.3)
torch.nn.functional.dropout1d(torch.ones(7, 3), 0.3)
torch.nn.functional.dropout2d(torch.ones(5, 7, 3, 2), 0.3)
torch.nn.functional.dropout3d(torch.ones(5, 7, 3, 2, 2), 0.3)
torch.nn.functional.dropout3d(torch.ones(7, 3, 2, 2), 0.3, inplace=True)
torch.nn.functional.alpha_dropout(torch.arange(35.0), 0.3, training=True)
torch.nn.functional.feature_alpha_dropout(torch.arange(70.0).view(5, 7, 2), 0.3, training=True)
torch.dropout(torch.ones(17), 0.4, True)
torch.dropout_(torch.ones(17), 0.4, True)
torch.feature_dropout(torch.ones(5, 7, 2), 0.4, True)
torch.native_dropout(torch.ones(5, 7), 0.4, True)
torch.nn.functional.rrelu(torch.arange(-9.0, 8.0), training=True)
torch.nn.functional.rrelu(torch.arange(-9.0, 9.0, dtype=torch.float64).view(6, 3).t(), 0.1, 0.9, training=True)
torch.nn.functional.gumbel_softmax(torch.arange(20.0).view(4, 5) / 9, hard=True)
""".strip().splitlines()

LAYERS = """
torch.nn.Linear(784, 128)
torch.nn.Linear(3, 2, dtype=torch.float64)
torch.nn.Bilinear(5, 4, 3)
torch.nn.Conv1d(4, 6, 3)
torch.nn.Conv2d(3, 16, 5, groups=1)
torch.nn.Conv2d(6, 12, 3, groups=3, bias=False)
torch.nn.Conv3d(2, 4, 3)
torch.nn.ConvTranspose1d(4, 6, 3)
torch.nn.ConvTranspose2d(4, 6, 3)
torch.nn.ConvTranspose3d(2, 4, 3)
torch.nn.Embedding(65, 19)
torch.nn.Embedding(65, 19, padding_idx=3)
torch.nn.EmbeddingBag(31, 7)
torch.nn.RNN(5, 7)
torch.nn.LSTM(5, 7, num_layers=2, bidirectional=True)
torch.nn.GRU(5, 7, bias=False)
torch.nn.LSTMCell(5, 7)
torch.nn.GRUCell(5, 7)
torch.nn.MultiheadAttention(12, 3)
torch.nn.MultiheadAttention(12, 3, kdim=7, vdim=5, add_bias_kv=True)
torch.nn.TransformerEncoderLayer(12, 3, 17)
torch.nn.TransformerDecoderLayer(12, 3, 17)
torch.nn.Transformer(12, 2, 2, 2, 17, batch_first=True)
torch.nn.BatchNorm2d(5)
torch.nn.PReLU()
torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 10))
torch.nn.init.xavier_uniform_(torch.empty(7, 5))
torch.nn.init.xavier_normal_(torch.empty(7, 5, 3))
torch.nn.init.kaiming_uniform_(torch.empty(7, 5), a=5**0.5)
torch.nn.init.kaiming_normal_(torch.empty(7, 5, 3, 3), mode="fan_out", nonlinearity="relu")
torch.nn.init.trunc_normal_(torch.empty(31, 7), std=0.02)
torch.nn.init.sparse_(torch.empty(11, 7), 0.3)
torch.nn.init.uniform_(torch.empty(31), -0.1, 0.1)
torch.nn.init.normal_(torch.empty(31), 1, 0.1)
""".strip().splitlines()

LOADERS = """
[b.tolist() for b in torch.utils.data.DataLoader(range(23), batch_size=4, shuffle=True)]
[[b.tolist() for b in torch.utils.data.DataLoader(range(11), batch_size=4, shuffle=True)] for epoch in range(3)]
[b.tolist() for b in torch.utils.data.DataLoader(range(23), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(5))]
[list(s.indices) for s in torch.utils.data.random_split(range(23), [10, 13])]
[list(s.indices) for s in torch.utils.data.random_split(range(23), [0.5, 0.5], generator=torch.Generator().manual_seed(5))]
list(torch.utils.data.RandomSampler(range(11)))
list(torch.utils.data.RandomSampler(range(11), replacement=True, num_samples=40))
list(torch.utils.data.SubsetRandomSampler([3, 1, 4, 15, 9]))
list(torch.utils.data.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7, 3.0], 7))
""".strip().splitlines()


def content(x) -> bytes:
    """The values of a tensor, a tuple of them, a module's state, or nested lists, as bytes."""
    if isinstance(x, torch.nn.Module):
        return b"".join(k.encode() + content(v) for k, v in x.state_dict().items())
    if isinstance(x, torch.Tensor):
        x = x.detach().contiguous()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy().tobytes()
    if isinstance(x, tuple):
        return b"".join(map(content, x))
    return json.dumps(x).encode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def main() -> None:
    torch.set_num_threads(1)
    out = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(), "seeds": SEEDS}
    for part, expressions in (("tensors", TENSORS), ("layers", LAYERS), ("loaders", LOADERS)):
        rows = []
        for expression in expressions:
            runs = []
            for seed in SEEDS:
                torch.manual_seed(seed)
                x = eval(expression, {"torch": torch})
                runs.append([digest(content(x)), digest(torch.get_rng_state().numpy().tobytes())])
            rows.append([expression, runs])
        out[part] = rows
    path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "rng_tensors.json"
    path.write_text(json.dumps(out, separators=(",", ":")).replace('],["', '],\n["') + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
