"""The generator against PyTorch's: recorded values (tests/golden/rng.json), and side by side where torch is installed."""
import base64
import copy
import hashlib
import json
import math
import os
import pathlib
import pickle
import zlib
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from pellucid.core import rng, rng_math
from pellucid.core.rng import Engine

GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "golden" / "rng.json").read_text())
CASES = GOLDEN["cases"]
NAMES = [f"{i}-{c['method']}-{'-'.join(map(str, c['kwargs'].values()))}" for i, c in enumerate(CASES)]
SEED = int(os.environ.get("PELLUCID_TEST_SEED", "0"))


def ramp(n, dtype):
    return (np.arange(n) % 11).astype(dtype) / dtype(10)


ARRAYS = {
    "ramp float32": lambda n: ramp(n, np.float32),
    "ramp float64": lambda n: ramp(n, np.float64),
    "rows float32": lambda n: (np.arange(5 * n) % 13).reshape(n, 5).astype(np.float32) + np.float32(1),
    "row float32": lambda n: (np.arange(n) % 13).astype(np.float32) + np.float32(1),
    "row float64": lambda n: (np.arange(n) % 13).astype(np.float64) + 1,
    "rates float32": lambda n: (np.arange(n) % 37).astype(np.float32),
}


def call(engine: Engine, case: dict, n: int) -> np.ndarray:
    kwargs = dict(case["kwargs"])
    if "dtype" in kwargs:
        kwargs["dtype"] = np.dtype(getattr(ml_dtypes, kwargs["dtype"]) if kwargs["dtype"] == "bfloat16" else kwargs["dtype"])
    arrays = [k for k, v in kwargs.items() if isinstance(v, str)]
    for k in arrays:
        kwargs[k] = ARRAYS[kwargs[k]](n)
    method = getattr(engine, case["method"])
    return method(**kwargs) if arrays else method(n, **kwargs)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def state_digest(engine: Engine) -> str:
    return digest(engine.get_state().tobytes())


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_recorded(case):
    assert {run[0] for run in case["runs"]} == set(GOLDEN["seeds"]) and len(GOLDEN["seeds"]) == 5
    for seed, n, value, state in case["runs"]:
        engine = Engine(seed)
        x = call(engine, case, n)
        if n not in GOLDEN["full"]:
            assert digest(x.tobytes()) == value, (seed, n)
        else:
            np.testing.assert_array_equal(x.reshape(-1).view(np.uint8), np.frombuffer(base64.b64decode(value), np.uint8),
                                          err_msg=f"seed {seed}, n {n}")
        assert state_digest(engine) == state, (seed, n)


@pytest.mark.parametrize("seed, steps", GOLDEN["mixed"], ids=[str(m[0]) for m in GOLDEN["mixed"]])
def test_recorded_sequence(seed, steps):
    engine = Engine(seed)
    for i, (case, n, value, state) in enumerate(steps):
        assert digest(call(engine, CASES[case], n).tobytes()) == value, (i, CASES[case]["torch"], n)
        assert state_digest(engine) == state, (i, CASES[case]["torch"], n)


@pytest.mark.parametrize("seed, before, state, after", GOLDEN["states"], ids=[f"{s[0]},{s[1]}" for s in GOLDEN["states"]])
def test_recorded_state(seed, before, state, after):
    state = np.frombuffer(zlib.decompress(base64.b64decode(state)), np.uint8)
    engine = Engine()
    engine.set_state(state)
    assert engine.initial_seed() == seed % 2**64
    np.testing.assert_array_equal(engine.get_state(), state)
    assert digest(engine.normal(5).tobytes() + engine.uniform(700).tobytes()) == after


def test_state_layout():
    state = Engine(5).get_state()
    assert state.dtype == np.uint8 and state.shape == (5056,)
    assert int(state[:8].view(np.uint64)[0]) == 5


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 625, 1247, 1248, 1249, 5000])
def test_state_restores_and_clones(drawn):
    engine = Engine(11)
    engine.words(drawn)
    engine.normal(3)
    saved, twin = engine.get_state(), engine.clone()
    expected = engine.normal(1001), engine.normal(7), engine.random(13)
    for other in (twin, Engine().clone(), pickle.loads(pickle.dumps(twin)), copy.deepcopy(twin)):
        other.set_state(saved)
        np.testing.assert_array_equal(other.get_state(), saved)
        for a, b in zip(expected, (other.normal(1001), other.normal(7), other.random(13))):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(other.get_state(), engine.get_state())


def test_clone_is_independent():
    a = Engine(1)
    b = a.clone()
    a.uniform(100)
    np.testing.assert_array_equal(b.get_state(), Engine(1).get_state())


def test_seeds():
    assert Engine().initial_seed() == 67280421310721
    assert Engine(-1).initial_seed() == 2**64 - 1
    assert Engine(2**64 - 1).uniform(3).tolist() == Engine(-1).uniform(3).tolist()
    assert Engine(5).uniform(3).tolist() == Engine(5 + 2**32).uniform(3).tolist()       # MT19937 takes 32 bits
    engine = Engine()
    first, second = engine.seed(), engine.seed()
    assert first != second and 0 <= second < 2**53 and engine.initial_seed() == second
    for bad in (2**64, -2**63 - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            engine.manual_seed(bad)
    with pytest.raises(TypeError):
        engine.manual_seed(1.5)
    assert Engine(3).manual_seed(4).initial_seed() == 4


def test_seed_forgets_the_cached_normal():
    engine = Engine(1)
    engine.normal(3)
    engine.manual_seed(1)
    np.testing.assert_array_equal(engine.normal(3), Engine(1).normal(3))


def test_shapes():
    engine = Engine(1)
    assert engine.uniform((2, 3, 5)).shape == (2, 3, 5) and engine.uniform(()).shape == ()
    assert engine.normal((0, 4)).shape == (0, 4) and engine.normal(()).shape == ()
    assert engine.normal((2, 3), dtype=np.complex64).shape == (2, 3)
    assert engine.uniform((), dtype=np.complex128).shape == ()
    assert engine.randint((4, 5), 0, 3).shape == (4, 5) and engine.mask((3, 2), 0.5).dtype == bool
    assert engine.bernoulli_of(np.full((2, 3), 0.5)).shape == (2, 3)
    assert engine.multinomial(np.ones((4, 6)), 2).shape == (4, 2) and engine.multinomial(np.ones(6), 2, True).shape == (2,)
    assert engine.randperm(0).tolist() == [] and engine.randperm(1).tolist() == [0]
    assert engine.poisson(np.ones((2, 2), np.float32)).dtype == np.float32
    before = engine.get_state()
    for method in ("uniform", "normal", "random", "bernoulli", "exponential", "cauchy", "log_normal"):
        assert getattr(engine, method)(0).shape == (0,)
    np.testing.assert_array_equal(engine.get_state(), before)


def test_large_draws_equal_small_ones():
    for draw in (lambda e, n: e.uniform(n, -1, 2), lambda e, n: e.mask(n, 0.3), lambda e, n: e.exponential(n),
                 lambda e, n: e.randint(n, 0, 1000), lambda e, n: e.log_normal(n)):
        n = 2 * rng.CHUNK + 31
        a, b = Engine(2), Engine(2)
        whole = draw(a, n)
        parts = np.concatenate([draw(b, n - 17), draw(b, 17)])
        np.testing.assert_allclose(whole, parts, rtol=1e-6)       # log_normal: short draws use libm
        np.testing.assert_array_equal(a.get_state(), b.get_state())


def test_memory_order():
    a = np.empty((3, 4, 5))
    assert rng.memory_order(a) == [0, 1, 2] and rng.memory_order(a.transpose(2, 0, 1)) == [1, 2, 0]
    assert rng.memory_order(a[:, ::2].transpose(1, 2, 0)) == [2, 0, 1]
    for view in (a, a.transpose(2, 0, 1), a.T):
        drawn = rng.in_order(view.shape, rng.memory_order(view), lambda shape: np.arange(60).reshape(shape))
        assert drawn.shape == view.shape and (drawn.ravel("K") == np.arange(60)).all()
        assert np.array_equal(np.array(drawn.strides) // 8, np.array(view.strides) // 8)
    weights = (np.arange(12).reshape(3, 4) + 1.0).T
    q = Engine(3).exponential((3, 4), dtype=np.float64).T
    np.testing.assert_array_equal(Engine(3).multinomial(weights, 1)[:, 0], (weights / q).argmax(1))


def test_fma64_is_rounded_once():
    e = np.random.default_rng(SEED)
    for b, c in ((0.7, 0.3), (1.07, -0.3), (-3.1e5, 2.0**-30), (2.0**-40 / 3, 1.0), (1e-3, -1e300), (1.1e308, 1e307), (0.1, 0.0),
                 (1.0, 0.1), (1e-5, 1e-5)):
        a = np.concatenate([e.random(200), e.standard_normal(200), [0.0, 0.5, 1 - 2.0**-53]])
        a = np.clip(a, -1, 1)
        exact = [float(Fraction(x) * Fraction(b) + Fraction(c)) for x in a.tolist()]
        np.testing.assert_array_equal(rng_math.fma64(a, b, c), exact)
    assert rng_math.fma64(np.array([0.5]), 2.0, math.inf)[0] == math.inf
    # a*b + c = 2**53 + 3 - 2**-60, just below the middle of two floats, where rounding twice goes up
    assert rng_math.fma64(np.array([1 + 2.0**-30]), 1 - 2.0**-30, 2.0**53 + 2)[0] == 2.0**53 + 2
    assert rng_math.fma64(np.array([-1 - 2.0**-30]), 1 - 2.0**-30, -(2.0**53) - 2)[0] == -(2.0**53) - 2


def test_distributions_have_their_moments():
    n = 200_000
    engine = Engine(SEED)
    for x, mean, std in ((engine.uniform(n, -1, 3), 1, 4 / math.sqrt(12)), (engine.normal(n, 2, 3), 2, 3),
                         (engine.normal(n, 2, 3, np.float64, contiguous=False), 2, 3), (engine.exponential(n, 4), 0.25, 0.25),
                         (engine.geometric(n, 0.2), 5, math.sqrt(0.8) / 0.2), (engine.bernoulli(n, 0.3), 0.3, math.sqrt(0.21)),
                         (engine.poisson(np.full(20_000, 25.0)), 25, 5), (engine.poisson(np.full(20_000, 2.5)), 2.5, math.sqrt(2.5)),
                         (np.log(engine.log_normal(n, 1, 0.5)), 1, 0.5), (engine.randint(n, 0, 7), 3, 2)):
        x = x.astype(np.float64)
        assert abs(x.mean() - mean) < 6 * std / math.sqrt(x.size)
        assert abs(x.std() / std - 1) < 0.05
    picks = engine.multinomial(np.array([1.0, 0.0, 3.0]), 40_000, True)
    counts = np.bincount(picks, minlength=3)
    assert counts[1] == 0 and abs(counts[2] / 40_000 - 0.75) < 0.02
    assert sorted(engine.multinomial(np.array([1.0, 2.0, 3.0]), 3).tolist()) == [0, 1, 2]
    assert sorted(engine.randperm(1000).tolist()) == list(range(1000))


F, I = np.float32, np.int32
ERRORS = [
    (lambda e: e.normal(3, 0, -1), RuntimeError, r"^normal expects std >= 0\.0, but found std -1"),
    (lambda e: e.normal(3, dtype=np.int64), NotImplementedError, r"^\"normal_kernel_cpu\" not implemented for 'Long'"),
    (lambda e: e.uniform(3, 1, 0), RuntimeError, r"^uniform_ expects to return a \[from, to\) range, but found from=1 > to=0"),
    (lambda e: e.uniform(3, 0, 1e39), RuntimeError, "^to is out of bounds for float"),
    (lambda e: e.uniform(3, math.nan, 1), RuntimeError, "^from is out of bounds for float"),
    (lambda e: e.uniform(3, -6e4, 6e4, np.float16), RuntimeError, r"^uniform_ expects to-from <= std::numeric_limits<Half>::max\(\)"),
    (lambda e: e.uniform(3, dtype=I), NotImplementedError, "^\"check_uniform_bounds\" not implemented for 'Int'"),
    (lambda e: e.randint(3, 5, 5), RuntimeError, "^random_ expects 'from' to be less than 'to', but got from=5 >= to=5"),
    (lambda e: e.randint(3, 0, 257, np.uint8), RuntimeError, "^to - 1 is out of bounds for unsigned char"),
    (lambda e: e.randint(3, -1, 7, np.uint8), RuntimeError, "^from is out of bounds for unsigned char"),
    (lambda e: e.randint(3, 0, 2**33, np.uint32), RuntimeError, "^to - 1 is out of bounds for unsigned int"),
    (lambda e: e.randint(3, 5, None, np.uint64), RuntimeError, "^to - 1 is out of bounds for long unsigned int"),
    (lambda e: e.random(3, np.uint16), NotImplementedError, "^\"random_kernel_cpu\" not implemented for 'UInt16'"),
    (lambda e: e.bernoulli(3, dtype=np.uint64), NotImplementedError, "^\"bernoulli_scalar_cpu_\" not implemented for 'UInt64'"),
    (lambda e: e.randint(3, 0, 70000, np.float16), RuntimeError, "^to - 1 is out of bounds for c10::Half"),
    (lambda e: e.randint(3, 0, 3, bool), RuntimeError, "^to - 1 is out of bounds for bool"),
    (lambda e: e.randint(3, 2**30, None, F), RuntimeError, r"^random_ expects 'from' casted to dtype to be less than or equal to "
     r"'to_inc' casted to dtype, but got from=1073741824 > to_inc=16777216"),
    (lambda e: e.randint(3, 0, 3, np.complex64), RuntimeError, "^check_random_bounds handles only integral"),
    (lambda e: e.randint(3, -2**63, None, I), RuntimeError, "^random_full_64_bits_range_kernel_cpu handles only int64"),
    (lambda e: e.random(3, np.complex64), NotImplementedError, "^\"random_kernel_cpu\" not implemented for 'ComplexFloat'"),
    (lambda e: e.bernoulli(3, 1.5), RuntimeError, r"^bernoulli_ expects p to be in \[0, 1\], but got p=1\.5"),
    (lambda e: e.bernoulli(3, math.nan), RuntimeError, r"^bernoulli_ expects p to be in \[0, 1\], but got p=nan"),
    (lambda e: e.bernoulli_of(np.array([0.5, 2.0])), RuntimeError, r"^Expected p_in >= 0 && p_in <= 1 to be true, but got false\."),
    (lambda e: e.bernoulli_of(np.array([1])), NotImplementedError, "^\"bernoulli_tensor_cpu_p_\" not implemented for 'Long'"),
    (lambda e: e.exponential(3, 0), RuntimeError, r"^exponential_ expects lambda > 0\.0, but found lambda=0"),
    (lambda e: e.exponential(3, dtype=I), RuntimeError, "^Exponential distribution is a continuous probability distribution. dtype "
     "must be a floating point but you specified Int"),
    (lambda e: e.cauchy(3, 0, -1), RuntimeError, r"^cauchy_ expects sigma > 0\.0, but found sigma=-1"),
    (lambda e: e.cauchy(3, dtype=I), RuntimeError, "^Cauchy distribution is a continuous probability distribution. dtype must be a "
     "floating point but you specified int"),
    (lambda e: e.geometric(3, 1), RuntimeError, r"^geometric_ expects p to be in \(0, 1\), but got p=1"),
    (lambda e: e.geometric(3, 0.5, bool), NotImplementedError, "^\"geometric_cpu\" not implemented for 'Bool'"),
    (lambda e: e.log_normal(3, 0, -1), RuntimeError, r"^log_normal_ expects std > 0\.0, but found std=-1"),
    (lambda e: e.log_normal(3, dtype=I), NotImplementedError, "^\"log_normal_cpu\" not implemented for 'Int'"),
    (lambda e: e.multinomial(np.ones(3), 0), RuntimeError, "^cannot sample n_sample <= 0 samples"),
    (lambda e: e.multinomial(np.ones(3), 4), RuntimeError, r"^cannot sample n_sample > prob_dist\.size\(-1\) samples without"),
    (lambda e: e.multinomial(np.ones((2, 2, 2)), 1), RuntimeError, "^prob_dist must be 1 or 2 dim"),
    (lambda e: e.multinomial(np.ones(3, int), 1), RuntimeError, "^multinomial only supports floating-point dtypes for input, got: Long"),
    (lambda e: e.multinomial(np.array([1, -1.0]), 1), RuntimeError, "^probability tensor contains either `inf`, `nan` or element < 0"),
    (lambda e: e.multinomial(np.array([1, math.nan]), 1), RuntimeError, "^probability tensor contains either `inf`, `nan`"),
    (lambda e: e.multinomial(np.zeros(3), 1), RuntimeError, r"^invalid multinomial distribution \(sum of probabilities <= 0\)"),
    (lambda e: e.multinomial(np.zeros(3), 2, True), RuntimeError, r"^invalid multinomial distribution \(sum of probabilities <= 0\)"),
    (lambda e: e.multinomial(np.array([1, -1.0]), 2, True), RuntimeError, r"^invalid multinomial .*probability entry < 0\)"),
    (lambda e: e.multinomial(np.array([1, math.inf]), 2, True), RuntimeError, r"^invalid multinomial .*infinity or NaN\)"),
    (lambda e: e.randperm(-1), RuntimeError, r"^Trying to create tensor with negative dimension -1: \[-1\]"),
    (lambda e: e.randperm(300, np.uint8), RuntimeError, "^value cannot be converted to type uint8_t without overflow"),
    (lambda e: e.randperm(3000, np.float16), RuntimeError, "^n cannot be greater than 2049 for Half type."),
    (lambda e: e.randperm(20, bool), NotImplementedError, "^\"randperm\" not implemented for 'Bool'"),
    (lambda e: e.poisson(np.array([-1.0])), RuntimeError, "^invalid Poisson rate, expected rate to be non-negative"),
    (lambda e: e.poisson(np.array([1])), NotImplementedError, "^\"poisson_cpu\" not implemented for 'Long'"),
    (lambda e: e.set_state(np.zeros(5, np.uint8)), RuntimeError, "^Expected a CPUGeneratorImplState of size 5056 but found the input "
     "RNG state size to be 5"),
    (lambda e: e.set_state(np.zeros(5056, np.uint8)), RuntimeError, "^Invalid mt19937 state"),
    (lambda e: e.set_state(np.zeros(5056, F)), TypeError, r"^RNG state must be a torch\.ByteTensor"),
]


@pytest.mark.parametrize("do, kind, text", ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors(do, kind, text):
    engine = Engine(1)
    before = engine.get_state()
    with pytest.raises(kind, match=text):
        do(engine)
    np.testing.assert_array_equal(engine.get_state(), before)       # a refused call draws nothing


def test_fork_gets_its_own_lock():
    engine = rng.default_engine()
    assert rng.default_engine() is engine
    engine.manual_seed(9)
    engine.words(100)
    expected = engine.clone().uniform(5).tobytes()
    read, write = os.pipe()
    with engine._bits.lock:                # as if another thread were drawing
        pid = os.fork()
        if pid == 0:
            os.write(write, engine.uniform(5).tobytes())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == expected
    assert os.waitpid(pid, 0)[1] == 0


# -- side by side ------------------------------------------------------------------------------------------------

def peer():
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("torch without AVX2 draws other normals")
    return torch


def uses_mkl(expression: str) -> bool:
    """On Intel CPUs torch takes these draws from MKL's own generators."""
    vendor = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return "GenuineIntel" in vendor and any(w in expression for w in ("bernoulli_(", "exponential", "multinomial"))


def same(torch, t, x) -> bool:
    t = t.detach().contiguous()
    t = t.view(torch.uint16).numpy() if t.dtype == torch.bfloat16 else t.numpy()
    return t.shape == x.shape and t.tobytes() == x.tobytes()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_side_by_side(case):
    torch = peer()
    if uses_mkl(case["torch"]):
        pytest.skip("drawn by MKL on this CPU")
    sizes = np.random.default_rng(SEED).integers(1, 700, 4).tolist() + [16, 31]
    engine = Engine(SEED)
    torch.manual_seed(SEED)
    for n in sizes:
        t = eval(case["torch"], {"torch": torch, "n": n})
        assert same(torch, t, call(engine, case, n)), n
        assert engine.get_state().tobytes() == torch.get_rng_state().numpy().tobytes(), n


def test_large_side_by_side():
    torch = peer()
    engine = Engine(SEED + 1)
    torch.manual_seed(SEED + 1)
    assert same(torch, torch.randn(1_000_003), engine.normal(1_000_003))
    assert same(torch, torch.rand(1000, 999), engine.uniform((1000, 999)))
    assert same(torch, torch.randperm(100_000), engine.randperm(100_000))
    assert same(torch, torch.randn(70_001, dtype=torch.float64), engine.normal(70_001, dtype=np.float64))
    assert engine.get_state().tobytes() == torch.get_rng_state().numpy().tobytes()


def test_states_interchange_side_by_side():
    torch = peer()
    for seed in range(4):
        engine = Engine(seed)
        for n in (1, 15, 40, 624):
            engine.normal(n)
            torch.set_rng_state(torch.from_numpy(engine.get_state()))
            assert same(torch, torch.randn(3), engine.normal(3))
            engine.set_state(torch.get_rng_state().numpy())
            assert same(torch, torch.randint(0, 9, (5,)), engine.randint(5, 0, 9))


def test_random_limits_side_by_side():
    """`random_(from, to)` on floating dtypes, where bounds are moved to representable numbers."""
    torch = peer()
    e = np.random.default_rng(SEED)
    for d, largest in ((torch.float16, 11), (torch.bfloat16, 8), (torch.float32, 24), (torch.float64, 53)):
        npd = np.dtype(ml_dtypes.bfloat16 if d == torch.bfloat16 else str(d)[6:])
        for _ in range(30):
            low, high = sorted(e.integers(-2**largest, 2**largest, 2).tolist())
            engine = Engine(1)
            torch.manual_seed(1)
            if low == high:
                continue
            assert same(torch, torch.empty(50, dtype=d).random_(low, high), engine.randint(50, low, high, npd)), (d, low, high)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (4, 2), (2, 3), (1, 8)])
def test_a_handful_of_weights_is_drawn_from_as_many_are(shape, monkeypatch):
    weights = np.random.RandomState(0).rand(*shape).astype(np.float32)
    weights[..., 0] = 0
    ours, right = Engine(5), Engine(5)
    drawn = [ours.multinomial(weights, 1) for _ in range(300)]
    monkeypatch.setattr(rng, "FEW", 0)
    assert all(np.array_equal(a, right.multinomial(weights, 1)) for a in drawn) and np.array_equal(ours.get_state(), right.get_state())
    assert drawn[0].shape == shape[:-1] + (1,) and drawn[0].dtype == np.int64
    for few in (0, 8):
        monkeypatch.setattr(rng, "FEW", few)
        for bad, text in ((np.nan, "either `inf`, `nan`"), (-1, "either `inf`, `nan`"), (np.inf, "either `inf`, `nan`"), (None, "sum of")):
            wrong = weights.copy()
            wrong[..., -1 if bad is not None else slice(None)] = bad or 0
            with pytest.raises(RuntimeError, match=text):
                ours.multinomial(wrong, 1)
