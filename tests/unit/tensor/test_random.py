"""Random tensors, layers and loaders against PyTorch's recorded values (tests/golden/rng_tensors.json), and generators."""
import copy
import hashlib
import json
import math
import os
import pathlib
import pickle
import threading

import numpy as np
import pytest

import pellucid
import pellucid.nn
import pellucid.utils.data
from pellucid.tensor import random as prandom

GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "golden" / "rng_tensors.json").read_text())
SEED = int(os.environ.get("PELLUCID_TEST_SEED", "0"))


def content(lib, x) -> bytes:
    """The values of a tensor, a tuple of them, a module's state, or nested lists, as bytes."""
    if isinstance(x, lib.nn.Module):
        return b"".join(k.encode() + content(lib, v) for k, v in x.state_dict().items())
    if isinstance(x, lib.Tensor):
        x = x.detach().contiguous()
        return (x.float() if x.dtype == lib.bfloat16 else x).numpy().tobytes()
    if isinstance(x, tuple):
        return b"".join(content(lib, y) for y in x)
    return json.dumps(x).encode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def state_digest(lib) -> str:
    return digest(lib.get_rng_state().numpy().tobytes())


def check(expression: str, runs) -> None:
    assert len(runs) == len(GOLDEN["seeds"]) == 5
    for seed, (values, state) in zip(GOLDEN["seeds"], runs):
        pellucid.manual_seed(seed)
        x = eval(expression, {"torch": pellucid})
        assert digest(content(pellucid, x)) == values, seed
        assert state_digest(pellucid) == state, seed


@pytest.mark.parametrize("expression, runs", GOLDEN["tensors"], ids=[r[0] for r in GOLDEN["tensors"]])
def test_tensors_recorded(expression, runs):
    check(expression, runs)


@pytest.mark.parametrize("expression, runs", GOLDEN["layers"], ids=[r[0] for r in GOLDEN["layers"]])
def test_layer_initialisations_recorded(expression, runs):
    check(expression, runs)


@pytest.mark.parametrize("expression, runs", GOLDEN["loaders"], ids=[r[0] for r in GOLDEN["loaders"]])
def test_loaders_recorded(expression, runs):
    check(expression, runs)


def uses_mkl(expression: str) -> bool:
    """On Intel CPUs torch takes these draws from MKL's own generators."""
    vendor = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return "GenuineIntel" in vendor and any(w in expression for w in ("bernoulli", "exponential", "multinomial", "drop", "gumbel", "Weighted"))


@pytest.mark.parametrize("expression", [r[0] for part in ("tensors", "layers", "loaders") for r in GOLDEN[part]])
def test_side_by_side(expression):
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT" or uses_mkl(expression):
        pytest.skip("this torch draws other numbers")
    results = []
    for lib in (torch, pellucid):
        lib.manual_seed(SEED + 1000)
        eval("torch.randn(3)", {"torch": lib})          # leaves a normal in the cache
        x = eval(expression, {"torch": lib})
        shape = (tuple(x.shape), tuple(x.stride()), str(x.dtype).split(".")[1]) if isinstance(x, lib.Tensor) else None
        results.append((content(lib, x), shape, state_digest(lib)))
    assert results[0] == results[1]


def test_training_with_dropout_follows_torch():
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT" or uses_mkl("dropout"):
        pytest.skip("this torch draws other numbers")
    losses = []
    for lib in (torch, pellucid):
        lib.manual_seed(SEED)
        net = lib.nn.Sequential(lib.nn.Linear(20, 40), lib.nn.ReLU(), lib.nn.Dropout(0.3), lib.nn.Linear(40, 5))
        optimiser = lib.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        row = []
        for _ in range(8):
            loss = lib.nn.functional.cross_entropy(net(lib.randn(16, 20)), lib.randint(5, (16,)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            row.append(loss.item())
        losses.append(row)
    np.testing.assert_allclose(*losses, rtol=1e-4)


# -- generators --------------------------------------------------------------------------------------------------

def test_generators_are_independent():
    g = pellucid.Generator()
    assert g.initial_seed() == 67280421310721 and g.device == pellucid.device("cpu")
    assert g.manual_seed(3) is g and g.initial_seed() == 3
    pellucid.manual_seed(3)
    a = pellucid.randn(20, generator=g)
    assert a.tolist() == pellucid.randn(20).tolist()
    before = pellucid.get_rng_state()
    for draw in (lambda: pellucid.rand(3, generator=g), lambda: pellucid.randint(5, (3,), generator=g),
                 lambda: pellucid.randperm(5, generator=g), lambda: pellucid.empty(3).normal_(generator=g),
                 lambda: pellucid.empty(3).random_(0, 5, generator=g), lambda: pellucid.empty(3).bernoulli_(0.5, generator=g),
                 lambda: pellucid.bernoulli(pellucid.full((3,), 0.5), generator=g), lambda: pellucid.normal(0.0, 1.0, (3,), generator=g),
                 lambda: pellucid.multinomial(pellucid.ones(3), 2, generator=g), lambda: pellucid.poisson(pellucid.ones(3), generator=g)):
        state = g.get_state()
        first = draw().tolist()
        assert g.get_state().tolist() != state.tolist()
        g.set_state(state)
        assert draw().tolist() == first
    assert pellucid.get_rng_state().tolist() == before.tolist()


def test_generator_copies():
    g = pellucid.Generator().manual_seed(11)
    pellucid.randn(3, generator=g)
    expected = pellucid.randn(5, generator=g.clone_state()).tolist()
    for twin in (g.clone_state(), copy.deepcopy(g), pickle.loads(pickle.dumps(g)), g.graphsafe_get_state()):
        assert pellucid.randn(5, generator=twin).tolist() == expected
    other = pellucid.Generator()
    other.graphsafe_set_state(g)
    assert pellucid.randn(5, generator=other).tolist() == expected
    assert pickle.loads(pickle.dumps(pellucid.default_generator)) is pellucid.default_generator
    assert copy.deepcopy(pellucid.default_generator) is not pellucid.default_generator


def test_default_generator():
    assert pellucid.manual_seed(-1) is pellucid.default_generator and pellucid.initial_seed() == 2**64 - 1
    assert pellucid.manual_seed(2.9).initial_seed() == 2
    a, b = pellucid.seed(), pellucid.seed()
    assert a != b and pellucid.initial_seed() == b == pellucid.default_generator.initial_seed()
    pellucid.manual_seed(pellucid.tensor(5))
    x = pellucid.rand(3)
    pellucid.default_generator.manual_seed(5)
    assert x.tolist() == pellucid.rand(3).tolist()
    state = pellucid.get_rng_state()
    assert state.dtype is pellucid.uint8 and state.shape == (5056,)
    x = pellucid.randn(40)
    pellucid.set_rng_state(state)
    assert pellucid.randn(40).tolist() == x.tolist()


def test_fork_rng():
    pellucid.manual_seed(1)
    expected = pellucid.rand(3).tolist()
    pellucid.manual_seed(1)
    with prandom.fork_rng():
        pellucid.manual_seed(99)
        pellucid.rand(1000)
    assert pellucid.rand(3).tolist() == expected
    with pytest.raises(KeyError), prandom.fork_rng(devices=[]):
        pellucid.manual_seed(1)
        raise KeyError
    assert pellucid.rand(3).tolist() != expected
    with prandom.fork_rng(enabled=False):
        pellucid.manual_seed(1)
    assert pellucid.rand(3).tolist() == expected


def test_states_interchange_with_torch():
    torch = pytest.importorskip("torch")
    pellucid.manual_seed(8)
    pellucid.randn(7)
    torch.set_rng_state(torch.from_numpy(pellucid.get_rng_state().numpy()))
    assert torch.randn(9).tolist() == pellucid.randn(9).tolist()
    pellucid.set_rng_state(pellucid.from_numpy(torch.get_rng_state().numpy()))
    assert torch.rand(9).tolist() == pellucid.rand(9).tolist()


def test_draws_in_threads_are_all_different():
    pellucid.manual_seed(0)
    found = []

    def work():
        for _ in range(50):
            found.append(pellucid.rand(4, dtype=pellucid.float64).tolist())
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({x for row in found for x in row}) == 800


# -- what surrounds the draws ------------------------------------------------------------------------------------

def test_gradients_of_draws_are_zero():
    x = pellucid.full((20,), 0.5, requires_grad=True)
    for y in (pellucid.bernoulli(x), pellucid.poisson(x), pellucid.normal(x, 1.0), pellucid.normal(x, x), (x * 2).normal_(),
              (x * 2).uniform_(), (x * 2).exponential_(), (x * 2).bernoulli_(0.5)):
        assert y.requires_grad
        (g,) = pellucid.autograd.grad(y.sum(), x)
        assert g.tolist() == [0.0] * 20


def test_dropout_passes_gradients_where_it_passes_values():
    x = pellucid.ones(1000, requires_grad=True)
    y = pellucid.nn.functional.dropout(x, 0.25)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist() and set(x.grad.tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    for f in (pellucid.nn.functional.dropout1d, pellucid.nn.functional.feature_alpha_dropout):
        x = pellucid.randn(3, 50, 4, requires_grad=True)
        y = f(x, 0.5, training=True)
        dropped = (y - y[:, :, :1]).abs().sum(2) == 0       # whole channels
        (g,) = pellucid.autograd.grad(y.sum(), x)
        assert 20 < dropped.sum().item() < 130 and ((g == 0).all(2) == dropped).all()


def test_dropout_that_does_nothing_returns_its_input():
    x = pellucid.ones(3, 4)
    f = pellucid.nn.functional
    before = pellucid.get_rng_state()
    assert f.dropout(x, 0.5, training=False) is x and f.dropout(x, 0.0) is x and f.alpha_dropout(x) is x
    empty = pellucid.ones(0, 4)
    assert f.dropout(empty) is empty
    assert f.dropout(x, 1.0).tolist() == [[0.0] * 4] * 3
    assert pellucid.get_rng_state().tolist() == before.tolist()


def test_dropout_in_place():
    x = pellucid.ones(50)
    y = pellucid.nn.functional.dropout(x, 0.5, inplace=True)
    assert y is x and set(x.tolist()) == {0.0, 2.0} and x._version > 0


def test_alpha_dropout_keeps_moments():
    pellucid.manual_seed(SEED)
    x = pellucid.randn(200_000)
    y = pellucid.nn.functional.alpha_dropout(x, 0.3, training=True)
    assert abs(y.mean().item()) < 0.02 and abs(y.std().item() - 1) < 0.02


def test_in_place_draws_keep_dtype_and_bump_the_version():
    for dtype in (pellucid.float64, pellucid.bfloat16, pellucid.int32, pellucid.bool):
        x = pellucid.zeros(5, 3, dtype=dtype)
        v = x._version
        assert x.random_(0, 2) is x and x.dtype is dtype and x._version == v + 1
    base = pellucid.zeros(4, 6)
    base[:, 1::2].fill_(0).uniform_(1, 2)
    assert (base[:, ::2] == 0).all() and (base[:, 1::2] >= 1).all()


def test_requires_grad_of_new_tensors():
    assert pellucid.randn(2, requires_grad=True).is_leaf and pellucid.rand(2, requires_grad=True).requires_grad
    x = pellucid.randn(2, 3, requires_grad=True)
    assert not pellucid.randn_like(x).requires_grad and pellucid.rand_like(x, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x.normal_()
    with pellucid.no_grad():
        assert x.normal_() is x


def test_out():
    out = pellucid.empty(0, dtype=pellucid.float64)
    pellucid.manual_seed(1)
    assert pellucid.rand(2, 3, out=out) is out and out.shape == (2, 3)
    pellucid.manual_seed(1)
    assert out.tolist() == pellucid.rand(2, 3, dtype=pellucid.float64).tolist()
    with pytest.raises(RuntimeError, match="dtype Double does not match dtype of out parameter"):
        pellucid.rand(3, dtype=pellucid.float64, out=pellucid.empty(3))
    assert pellucid.randperm(4, out=pellucid.empty(4, dtype=pellucid.int32)).dtype is pellucid.int32
    assert pellucid.multinomial(pellucid.ones(3), 2, out=pellucid.empty(2, dtype=pellucid.int64)).shape == (2,)
    assert pellucid.normal(pellucid.zeros(3), 1.0, out=pellucid.empty(3)).shape == (3,)
    assert set(pellucid.bernoulli(pellucid.full((99,), 0.5), out=pellucid.empty(99, dtype=pellucid.int32)).tolist()) == {0, 1}
    with pytest.warns(UserWarning, match="An output with one or more elements was resized since it had shape") as caught:
        assert pellucid.rand(2, 3, out=pellucid.empty(4)).shape == (2, 3)
    assert caught[0].filename == __file__


T = pellucid
ERRORS = [
    (lambda: T.rand(3, generator=5), TypeError, r"^rand\(\): argument 'generator' must be torch\.Generator, not int"),
    (lambda: T.rand(-1), RuntimeError, r"^Trying to create tensor with negative dimension -1: \[-1\]"),
    (lambda: T.rand(3, dtype=T.int64), NotImplementedError, "^\"check_uniform_bounds\" not implemented for 'Long'"),
    (lambda: T.randn(3, dtype=T.bool), NotImplementedError, "^\"normal_kernel_cpu\" not implemented for 'Bool'"),
    (lambda: T.randn(3, device="cuda"), (RuntimeError, AssertionError), "CUDA|cuda"),
    (lambda: T.randint(5.5, (3,)), TypeError, r"^randint\(\): argument 'high'.* must be int, not float"),
    (lambda: T.randint(5), TypeError, "^randint"),
    (lambda: T.randint(2**63, (2,)), ValueError, "^Overflow when unpacking long long"),
    (lambda: T.randint(5, 5, (3,)), RuntimeError, "^random_ expects 'from' to be less than 'to', but got from=5 >= to=5"),
    (lambda: T.randint(0, 300, (3,), dtype=T.uint8), RuntimeError, "^to - 1 is out of bounds for unsigned char"),
    (lambda: T.randperm(-1), RuntimeError, "^Trying to create tensor with negative dimension -1"),
    (lambda: T.normal(2.0, 3.0), TypeError, r"^normal\(\) received an invalid combination of arguments"),
    (lambda: T.normal(T.zeros(3), -1), RuntimeError, r"^normal expects std >= 0\.0, but found std -1"),
    (lambda: T.normal(T.zeros(3), T.tensor([1, -1, 1.0])), RuntimeError, r"^normal expects all elements of std >= 0\.0"),
    (lambda: T.normal(T.zeros(3), T.ones(2)), RuntimeError, r"^The size of tensor a \(3\) must match the size of tensor b \(2\)"),
    (lambda: T.normal(0.0, T.ones(3, dtype=T.complex64)), RuntimeError, "^normal expects standard deviation to be non-complex"),
    (lambda: T.empty(3).uniform_(1, 0), RuntimeError, r"^uniform_ expects to return a \[from, to\) range, but found from=1 > to=0"),
    (lambda: T.empty(3).uniform_(1, 2, 3), TypeError, r"^uniform_\(\) "),
    (lambda: T.empty(3).random_(from_=3), TypeError, r"^random_\(\) received an invalid combination of arguments"),
    (lambda: T.empty(3).bernoulli_(1.5), RuntimeError, r"^bernoulli_ expects p to be in \[0, 1\], but got p=1\.5"),
    (lambda: T.empty(2).bernoulli_(T.ones(3)), RuntimeError, r"^The (expanded )?size of"),
    (lambda: T.bernoulli(T.tensor([1, 0])), NotImplementedError, "^\"bernoulli_tensor_cpu_p_\" not implemented for 'Long'"),
    (lambda: T.multinomial(T.ones(3), 4), RuntimeError, "^cannot sample n_sample > prob_dist"),
    (lambda: T.multinomial([1.0], 1), TypeError, r"^multinomial\(\): argument 'input' \(position 1\) must be Tensor, not list"),
    (lambda: T.multinomial(T.ones(3), 2, out=T.empty(2)), RuntimeError, "^multinomial expects Long tensor out, got: Float"),
    (lambda: T.poisson(T.tensor([-1.0])), RuntimeError, "^invalid Poisson rate"),
    (lambda: T.empty(3).expand(2, 3).normal_(), RuntimeError, "^unsupported operation: more than one element of the written-to tensor"),
    (lambda: T.Generator().manual_seed(1.5), RuntimeError, "^manual_seed expected a long, but got float"),
    (lambda: T.Generator().manual_seed(2**64), ValueError, "^Overflow when unpacking long long"),
    (lambda: T.Generator("foo"), RuntimeError, "^Expected one of cpu"),
    (lambda: T.set_rng_state([1]), TypeError, r"^expected a torch\.ByteTensor, but got list"),
    (lambda: T.set_rng_state(T.zeros(5056)), TypeError, r"^RNG state must be a torch\.ByteTensor"),
    (lambda: T.set_rng_state(T.zeros(7, dtype=T.uint8)), RuntimeError, "^Expected a CPUGeneratorImplState of size 5056"),
    (lambda: T.nn.functional.dropout(T.ones(3), 1.5), ValueError, r"^dropout probability has to be between 0 and 1, but got 1\.5"),
    (lambda: T.dropout(T.ones(3), -1.0, True), RuntimeError, "^dropout probability has to be between 0 and 1"),
    (lambda: T.nn.functional.dropout(T.ones(3, dtype=T.int64)), RuntimeError, "^result type Float can't be cast to the desired output type Long"),
    (lambda: T.nn.functional.dropout1d(T.ones(3)), RuntimeError, "^dropout1d: Expected 2D or 3D input, but received a 1D input"),
    (lambda: T.feature_dropout(T.ones(3), 0.5, True), RuntimeError, "^Feature dropout requires at least 2 dimensions in the input"),
]


@pytest.mark.parametrize("do, kind, text", ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors(do, kind, text):
    before = pellucid.get_rng_state().tolist()
    with pytest.raises(kind, match=text):
        do()
    assert pellucid.get_rng_state().tolist() == before


def test_warnings():
    f = pellucid.nn.functional
    with pytest.warns(UserWarning, match="dropout2d: Received a 2-D input to dropout2d, which is deprecated") as caught:
        f.dropout2d(pellucid.ones(3, 4), 0.5)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="assuming that channel-wise 1D dropout behavior is desired"):
        f.dropout2d(pellucid.ones(3, 4, 2), 0.5)
    with pytest.warns(UserWarning, match="dropout3d: Received a 3-D input"):
        f.dropout3d(pellucid.ones(3, 4, 2), 0.5)


def test_values_stay_inside_their_ranges():
    assert 0 <= pellucid.rand(10_000, dtype=pellucid.float16).min().item() and pellucid.rand(10_000, dtype=pellucid.float16).max().item() < 1
    x = pellucid.empty(10_000, dtype=pellucid.bfloat16).uniform_(1, 1.0078125)
    assert x.dtype is pellucid.bfloat16 and 1 <= x.min().item() and x.max().item() < 1.0078125
    assert math.isfinite(pellucid.empty(10_000).cauchy_().abs().max().item())
