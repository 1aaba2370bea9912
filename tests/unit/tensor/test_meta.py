"""Tensors on the meta device: every operator gives the geometry it gives on the CPU, and nothing has data."""
from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn
from pellucid.ops.dispatch import local, state
from pellucid.ops.op import REGISTRY, F
from pellucid.testing import samples_of

# what the result's shape, or a check that eager makes, depends on values
NEED_VALUES = {"allclose", "equal", "cov", "bincount", "histc", "histogram", "histogramdd", "ctc_loss", "masked_select", "masked_scatter",
               "nonzero", "nonzero_places", "nonzero_static", "argwhere", "repeat_interleave", "unique", "unique_consecutive", "linalg_lstsq",
               "lstm", "gru", "rnn_tanh", "rnn_relu"}
MOVES = {"to", "cpu", "cuda", "pin_memory"}             # to a device with data
# factorisations leave LAPACK's strides, copies their target's; a view that shares no history is a copy here
OWN_STRIDES = {"copy", "geqrf", "linalg_cholesky", "linalg_cholesky_ex", "diag_embed", "unsafe_piece", "unsafe_chunk", "unsafe_split",
               "unsafe_split_with_sizes"}


def moved(x):
    if isinstance(x, torch.Tensor):
        return x.to("meta")
    if type(x) in (list, tuple):
        return type(x)(moved(v) for v in x)
    return {k: moved(v) for k, v in x.items()} if isinstance(x, dict) else x


def tensors(x) -> list:
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for v in x for t in tensors(v)] if isinstance(x, (list, tuple)) else []


@pytest.mark.parametrize("name", [n for n in REGISTRY if n not in MOVES])
def test_operators(name):
    op = REGISTRY[name]
    for args, kwargs in samples_of(op, torch.float32):
        if not tensors([*args, *kwargs.values()]):
            continue
        want = tensors(getattr(F, name)(*args, **kwargs))
        try:
            got = tensors(getattr(F, name)(*moved(args), **moved(kwargs)))
        except (NotImplementedError, RuntimeError) as error:
            if name in NEED_VALUES and ("meta device" in str(error) or "meta tensors" in str(error)):
                continue
            raise
        assert all(t.is_meta for t in got)
        assert [(t.shape, t.dtype) for t in got] == [(t.shape, t.dtype) for t in want]
        if name not in OWN_STRIDES:
            assert [t.stride() for t in got] == [t.stride() for t in want]
    assert not local.stack


def test_what_it_is():
    x = torch.empty(2, 3, device="meta")
    assert x.device == torch.device("meta") and x.is_meta and not x.is_cpu and x.data_ptr() == 0 and x.type() == "torch.meta.FloatTensor"
    assert x.untyped_storage().nbytes() == 24 and x.untyped_storage().device.type == "meta"
    assert repr(x) == "tensor(..., device='meta', size=(2, 3))"
    assert repr(torch.tensor(3, device="meta")) == "tensor(..., device='meta', size=(), dtype=torch.int64)"
    assert f"{x.sum()}" == "tensor(..., device='meta', size=())"
    assert x.new_tensor([1.0]).is_meta and x.new_zeros(2).is_meta and torch.zeros_like(x).is_meta
    assert not torch.empty_like(x, device="cpu").is_meta and torch.ones(3).to("meta").is_meta and torch.ones(3).to(x).is_meta
    assert torch.device("cpu") == torch.ones(1).device and x.resize_(4, 5).shape == (4, 5) and x.is_meta


@pytest.mark.parametrize("make", [lambda d: torch.zeros(2, 3, device=d), lambda d: torch.rand(2, device=d), lambda d: torch.arange(5, device=d),
                                  lambda d: torch.eye(3, device=d), lambda d: torch.full((2,), 1, device=d), lambda d: torch.randperm(4, device=d),
                                  lambda d: torch.empty_strided((2, 3), (1, 2), device=d), lambda d: torch.linspace(0, 1, 5, device=d),
                                  lambda d: torch.tensor([1, 2], device=d), lambda d: torch.as_tensor([1.0], device=d),
                                  lambda d: torch.asarray([True], device=d), lambda d: torch.hann_window(4, device=d),
                                  lambda d: torch.tril_indices(3, 3, device=d), lambda d: torch.fft.fftfreq(4, device=d)])
def test_factories(make):
    want = make("cpu")
    random = torch.get_rng_state()
    got = make("meta")
    assert (got.shape, got.dtype, got.stride(), got.is_meta) == (want.shape, want.dtype, want.stride(), True)
    assert torch.equal(random, torch.get_rng_state())
    with torch.device("meta"):
        assert make(None).is_meta and not make("cpu").is_meta


def test_no_memory_is_taken():
    x = torch.empty(10 ** 6, 10 ** 7, device="meta")
    assert (x @ x.T.clone()).stride() == (10 ** 6, 1) and (x.T @ x).shape == (10 ** 7, 10 ** 7) and (x + 1).sum(0).shape == (10 ** 7,)


@pytest.mark.parametrize("action, kind, words", [
    (lambda x: x.sum().item(), RuntimeError, r"Tensor.item\(\) cannot be called on meta tensors"),
    (lambda x: bool(x.sum()), RuntimeError, r"Tensor.item\(\) cannot be called on meta tensors"),
    (lambda x: x.numpy(), TypeError, "can't convert meta device type tensor to numpy"),
    (lambda x: np.asarray(x), TypeError, "can't convert meta device type tensor to numpy"),
    (lambda x: x.cpu(), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
    (lambda x: x.tolist(), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
    (lambda x: torch.ones(2, 3).copy_(x), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
    (lambda x: x.nonzero(), NotImplementedError, r"nonzero\(\) .* depends on their values"),
    (lambda x: x + torch.ones(2, 3), RuntimeError, "is not on the expected device meta"),
    (lambda x: nn.Linear(3, 1, device="meta")(torch.ones(2, 3)), RuntimeError, "is not on the expected device meta"),
    (lambda x: nn.Linear(3, 1, device="meta").to("cpu"), NotImplementedError, r"no data! Please use torch.nn.Module.to_empty\(\)"),
    (lambda x: x.untyped_storage()[0], NotImplementedError, "Not available for 'meta' device type"),
    (lambda x: x.share_memory_(), RuntimeError, "only available on CPU"),
    (lambda x: torch.from_dlpack(x.__dlpack__()), BufferError, "Cannot pack tensors on meta")])
def test_errors(action, kind, words):
    with pytest.raises(kind, match=words):
        action(torch.empty(2, 3, device="meta"))
    assert not local.stack


def test_cpu_operands():
    x = torch.empty(2, 3, device="meta")
    assert (x + torch.tensor(1.0)).is_meta and x.copy_(torch.ones(2, 3)).is_meta
    assert x.index_select(0, torch.tensor([0])).shape == (1, 3) and x[torch.tensor([1, 0, 1])].shape == (3, 3)
    x[0] = 1
    x[:, 1] = torch.ones(2)


def test_training_step_and_history():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10)).to("meta")
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.empty(5, 1, 8, 8, device="meta")), torch.empty(5, dtype=torch.long, device="meta"))
        loss.backward()
        optimizer.step()
    for p in model.parameters():
        assert p.is_meta and p.grad.is_meta and p.grad.shape == p.shape
    x = torch.ones(3, device="meta", requires_grad=True)
    y = x * 2
    y.mul_(3)
    g, = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert g.is_meta and g.shape == (3,) and type(y.grad_fn).__name__ == "MulBackward0"


def test_modules():
    with torch.device("meta"):
        model = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    assert all(p.is_meta for p in model.parameters())
    real = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    model.load_state_dict(real.state_dict(), assign=True)
    assert not any(p.is_meta for p in model.parameters())
    x = torch.rand(3, 2, 16)
    assert torch.equal(model.eval()(x, x), real.eval()(x, x))
    layer = nn.Linear(2, 2, device="meta")
    layer.to_empty(device="cpu")
    nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
    assert layer(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]


def test_default_device():
    assert torch.get_default_device().type == "cpu"
    with torch.device("meta"):
        assert torch.get_default_device().type == "meta" and torch.zeros(2).is_meta and torch.tensor([1]).is_meta
        assert not torch.zeros_like(torch.ones(2, device="cpu")).is_meta        # follows its operand
        assert nn.functional.one_hot(torch.tensor([1], device="cpu")).tolist() == [[0, 1]]     # the inside of an operator does not follow
        with torch.device("cpu"):
            assert not torch.zeros(2).is_meta
        assert torch.zeros(2).is_meta
    assert not torch.zeros(2).is_meta
    torch.set_default_device("meta")
    try:
        assert torch.rand(2).is_meta
    finally:
        torch.set_default_device(None)
    assert not torch.rand(2).is_meta and local.device is None
    with pytest.raises(RuntimeError, match="cuda"), torch.device("cuda"):
        pass


def test_copies_and_files():
    x = torch.empty_strided((2, 3), (1, 2), device="meta", requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.is_meta and y.stride() == (1, 2) and y.requires_grad
    p = copy.deepcopy(nn.Linear(2, 3, device="meta")).weight
    assert type(p) is nn.Parameter and p.is_meta
    file = io.BytesIO()
    torch.save({"x": x, "p": p}, file)
    file.seek(0)
    state = torch.load(file)
    assert state["x"].is_meta and state["x"].stride() == (1, 2) and type(state["p"]) is nn.Parameter and state["p"].is_meta
    file = io.BytesIO()
    torch.save(torch.ones(2, 3).T, file)
    file.seek(0)
    t = torch.load(file, map_location="meta")
    assert t.is_meta and t.shape == (3, 2) and t.stride() == (1, 3)


def test_transforms_and_compile():
    x = torch.empty(4, 3, device="meta")
    assert torch.vmap(lambda v: (v * 2).sum())(x).shape == (4,)
    assert torch.func.grad(lambda v: (v * v).sum())(x).is_meta
    compiled = torch.compile(lambda v: (v @ v.T).relu())
    assert compiled(x).is_meta and compiled(x).shape == (4, 4)
    assert compiled(torch.ones(2, 3)).tolist() == [[3.0, 3.0], [3.0, 3.0]]

    model = nn.Linear(3, 2, device="meta")
    step = torch.compile(lambda v: model(v).sum())
    assert step(x).is_meta and step(x).shape == ()
    model.to_empty(device="cpu")
    nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
    assert step(torch.ones(1, 3)).item() == 6.0
    with torch.device("meta"):
        assert compiled(torch.ones(2, 3, device="cpu")).tolist() == [[3.0, 3.0], [3.0, 3.0]]
        assert torch.compile(lambda: torch.zeros(2) + 1)().is_meta

    @torch.compile
    def makes(v):
        return v + 1, torch.zeros(3, device="meta") + 1
    a, b = makes(torch.ones(2))
    assert a.tolist() == [2.0, 2.0] and b.is_meta


def test_gradients_without_data_are_clipped():
    layer = nn.Linear(2, 2, device="meta")
    layer(torch.ones(3, 2, device="meta")).sum().backward()
    assert nn.utils.clip_grad_norm_(layer.parameters(), 1.0).is_meta and layer.weight.grad.is_meta


def test_what_is_made_of_data_may_require_grad():
    for make in (torch.tensor, torch.asarray):
        x = make([1.0], device="meta", requires_grad=True)
        assert x.is_meta and x.requires_grad and x.is_leaf
        assert not make([1.0], device="meta").requires_grad


def test_nothing_is_left():
    before = state.slow
    x = torch.empty(3, device="meta")
    assert state.slow == before + 1
    y = x[1:] + 1
    del x, y
    assert state.slow == before


def test_large_in_place_activations_touch_no_memory():
    x = torch.empty(1 << 24, device="meta")
    assert x.relu_().sigmoid_() is x and x.is_meta
