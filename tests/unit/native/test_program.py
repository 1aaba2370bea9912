"""Compiled graphs as programs: what a call does with its arrays, and what the steps between do."""
from __future__ import annotations

import threading

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as F
from pellucid.core.config import config
from pellucid.kernel.plan import View
from pellucid.native import build, execute, program
from pellucid.tensor.tracing import trace


@pytest.fixture(autouse=True)
def seeded():
    pellucid.manual_seed(0)


def mlp(x, w, b, v):
    return (F.relu(x @ w + b) @ v).sum(1), x.mean()


def arguments():
    return pellucid.randn(64, 100), pellucid.randn(100, 50), pellucid.randn(50), pellucid.randn(50, 30)


# ---------------------------------------------------------------------------------------------------- results
def test_outputs_are_new_arrays(compiled):
    c = compiled(mlp, *arguments())
    first = c.check()
    second = c.exe(c.arrays)
    assert all(a is not b and not np.shares_memory(a, b) for a, b in zip(first, second))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))


def test_zero_dimensions_and_empty_shapes(compiled):
    compiled(lambda x: (x * 2, x.sum()), pellucid.tensor(3.0)).check()
    compiled(lambda x: (x * 2, x.sum(), x.sum(0)), pellucid.zeros(0, 5)).check()
    compiled(lambda x, w: x @ w, pellucid.zeros(3, 0), pellucid.zeros(0, 4)).check()


def test_an_output_that_is_an_input_or_a_constant(compiled):
    compiled(lambda x: (x, x + 1, pellucid.arange(4)), pellucid.randn(4)).check()


def test_outputs_keep_their_layout(compiled):
    c = compiled(lambda x: (x * 2).permute(0, 2, 1), pellucid.randn(2, 3, 4))
    c.check()


@pytest.mark.parametrize("n", (1, 7, 1000, 200_000))
def test_reductions_over_all_threads(compiled, n):
    c = compiled(lambda x: (x.sum(), x.max(), (x * x).mean(), x.sum(0)), pellucid.randn(n, 3))
    c.check(tolerance=1e-4)
    first = c.exe(c.arrays)
    for _ in range(5):
        assert all(np.array_equal(a, b) for a, b in zip(first, c.exe(c.arrays)))


def test_a_long_chain_in_one_region(compiled):
    """Steps that depend on each other inside one parallel region."""
    def chain(x):
        for _ in range(4):
            x = x - x.mean(0, keepdim=True)
            x = x / (x.abs().sum(1, keepdim=True) + 1)
        return x, x.sum()
    c = compiled(chain, pellucid.randn(300, 200))
    c.check(tolerance=1e-4)
    assert c.exe.report["regions"] <= c.exe.report["kernel_calls"]


# ---------------------------------------------------------------------------------------------------- arrays that differ
def test_arrays_of_another_layout_are_copied(compiled):
    c = compiled(mlp, *arguments())
    expected, _ = c.reference()
    x, w, b, v = c.arrays
    for arrays in ([np.asfortranarray(x), w, b, v], [x, w[::-1][::-1], b, v], [np.repeat(x, 2, 0)[::2], w, b, v],
                   [np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape), w, b, v]):
        for a, e in zip(c.exe(arrays), expected):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_traced_strides_are_expected_strides(compiled):
    x = pellucid.from_numpy(np.ones((30, 20), np.float32).T)
    c = compiled(lambda x: x * 2 + 1, x)
    assert c.arrays[0].strides == (4, 80)
    c.check()
    c.check([np.ascontiguousarray(c.arrays[0])])
    c.check([np.zeros((20, 60), np.float32)[:, ::2]])


def test_another_shape_or_dtype_is_refused(compiled):
    c = compiled(mlp, *arguments())
    x, w, b, v = c.arrays
    with pytest.raises(ValueError, match=r"input 0 as float32\[64, 100\], got float32\[63, 100\]"):
        c.exe([x[:-1], w, b, v])
    with pytest.raises(ValueError, match=r"got float64\[50\]"):
        c.exe([x, w, b.astype(np.float64), v])
    with pytest.raises(TypeError, match="takes 4 arrays, got 3"):
        c.exe([x, w, b])
    with pytest.raises(TypeError, match="input 2 is list"):
        c.exe([x, w, b.tolist(), v])
    c.check()


# ---------------------------------------------------------------------------------------------------- writing
def update(p, g, lr):
    with pellucid.no_grad():
        p.sub_(g * lr)
    return p.sum()


def test_write_backs_reach_the_inputs(compiled):
    c = compiled(update, pellucid.randn(100, 7), pellucid.randn(100, 7), pellucid.tensor(0.5))
    before = c.arrays[0].copy()
    c.check()
    assert not np.array_equal(before, c.arrays[0])
    c.check()


def test_a_written_input_of_another_layout(compiled):
    c = compiled(update, pellucid.randn(10, 7), pellucid.randn(10, 7), pellucid.tensor(0.5))
    p = np.asfortranarray(c.arrays[0])
    c.check([p, *c.arrays[1:]])
    frozen = c.arrays[0].copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        c.exe([frozen, *c.arrays[1:]])


def test_written_inputs_that_overlap_others(compiled):
    """The graph is functional: all values are read before anything is written."""
    def swap(a, b):
        x, y = a + 1, b * 2
        a.copy_(y)
        b.copy_(x)
        return x.sum()
    c = compiled(swap, pellucid.randn(1000), pellucid.randn(1000))
    assert len(c.graph.writebacks) == 2
    for _ in range(2):
        memory = np.arange(1500, dtype=np.float32)
        a, b = memory[:1000], memory[500:]
        copy = memory.copy()
        x, y = copy[:1000] + 1, copy[500:] * 2
        total, = c.exe([a, b])
        copy[:1000] = y
        copy[500:] = x
        np.testing.assert_allclose(total, x.sum(dtype=np.float64), rtol=1e-6)
        assert np.array_equal(memory, copy)
    c.check()


def test_the_same_array_twice(compiled):
    c = compiled(update, pellucid.randn(2000), pellucid.randn(2000), pellucid.tensor(0.5))
    p = c.arrays[0].copy()
    expected = p - p * np.float32(0.5)
    for _ in range(3):
        q = p.copy()
        c.exe([q, q, c.arrays[2]])
        assert np.array_equal(q, expected)


# ---------------------------------------------------------------------------------------------------- steps
def test_steps_from_python_between_native_ones(compiled):
    """An operator without native code is its reference, between native code."""
    c = compiled(lambda x: (pellucid.linalg.inv(x * 2 + pellucid.eye(5)) * 3).sum(0), pellucid.randn(5, 5) * 0.1)
    c.check(tolerance=1e-4)
    assert c.exe.report["host_steps"] == 1 and c.exe.report["host_operators"]


def test_an_index_out_of_range(compiled):
    table = pellucid.randn(10, 4)
    c = compiled(lambda i: F.embedding(i, table).sum(0), pellucid.tensor([1, 2, 3]))
    c.check()
    place = next(i for i, a in enumerate(c.arrays) if a.dtype == np.int64)
    arrays = list(c.arrays)
    for bad in (10, -1, 1 << 40):
        arrays[place] = np.array([1, bad, 3])
        with pytest.raises(IndexError):
            c.exe(arrays)
    c.check()


def test_a_shared_kernel_is_compiled_once(compiled):
    def f(x, w):
        for _ in range(6):
            x = pellucid.tanh(x @ w)
        return x
    c = compiled(f, pellucid.randn(16, 32), pellucid.randn(32, 32) * 0.2)
    c.check()
    assert len({s["symbol"] for s in c.exe.program.steps if "symbol" in s and s["kind"] == "kernel"}) < 6


def test_convolutions(compiled):
    x, w, b = pellucid.randn(2, 3, 12, 12), pellucid.randn(8, 3, 3, 3), pellucid.randn(8)
    c = compiled(lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)).mean((2, 3)), x, w, b)
    c.check(tolerance=1e-4)


def test_a_training_step(compiled):
    w = pellucid.randn(20, 5, requires_grad=True)

    def step(x, y):
        loss = F.cross_entropy(F.relu(x @ w), y)
        loss.backward()
        return loss
    c = compiled(step, pellucid.randn(64, 20), pellucid.randint(0, 5, (64,)))
    assert len(c.graph.outputs) == 2
    c.check(tolerance=1e-4)
    w.grad = None


# ---------------------------------------------------------------------------------------------------- threads, memory
def test_the_number_of_threads_takes_effect(compiled):
    c = compiled(mlp, *arguments())
    before = config.threads
    try:
        for n in (1, 2, 3, 1):
            pellucid.set_num_threads(n)
            c.check()
            assert c.exe.instance.threads in (n, 1)
    finally:
        pellucid.set_num_threads(before)


def test_calls_from_several_threads(compiled):
    c = compiled(mlp, *[pellucid.randn(*s) for s in ((256, 300), (300, 100), (100,), (100, 30))])
    inputs = [[np.full_like(a, k + 1) if i == 2 else a for i, a in enumerate(c.arrays)] for k in range(4)]
    expected = [c.exe(arrays) for arrays in inputs]
    wrong = []

    def work(k):
        for _ in range(50):
            if not all(np.array_equal(a, b) for a, b in zip(c.exe(inputs[k]), expected[k])):
                wrong.append(k)
    team = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    assert not wrong


def test_too_little_memory_is_said_clearly(compiled):
    c = compiled(mlp, *arguments())
    plan = c.exe.plan
    plan.arena = 1 << 60
    with pytest.raises(MemoryError, match="mlp needs .* bytes for intermediate results"):
        program.build(plan)


def test_the_slow_way_gives_the_same(compiled, monkeypatch):
    """Other Pythons lay out their objects differently: pointers are passed in a table then."""
    monkeypatch.setattr(execute, "readable_layout", lambda: False)
    c = compiled(mlp, *arguments())
    assert not c.exe._direct
    c.check()


def test_the_layout_of_arrays_is_as_expected_here():
    assert execute.readable_layout()


def test_aligned_memory():
    for n in (0, 1, 1000, 3 << 20):
        a = execute.aligned(n)
        assert len(a) == n and (not n or execute.place(a) % 64 == 0) and not a.any()


# ---------------------------------------------------------------------------------------------------- barriers
def steps(*touched):
    return [{"reads": [("arena", *r) for r in reads], "writes": [("arena", *w) for w in writes], "split": split, "owner": 0,
             "barrier": False, "same": False, "ns": 1000} for reads, writes, split in touched]


def test_barriers_stand_between_dependent_steps():
    s = steps(([(0, 10)], [(10, 20)], True), ([(10, 20)], [(20, 30)], True), ([(0, 10)], [(40, 50)], True))
    program.barriers(s)
    assert [x["barrier"] for x in s] == [True, False, False]
    s = steps(([(0, 10)], [(10, 20)], True), ([(0, 10)], [(20, 30)], True), ([(30, 40)], [(0, 5)], True))
    program.barriers(s)
    assert [x["barrier"] for x in s] == [False, True, False]


def test_small_steps_are_shared_out_and_chains_stay_with_one_thread():
    s = steps(([(0, 10)], [(10, 20)], False), ([(0, 10)], [(20, 30)], False), ([(20, 30)], [(30, 40)], False),
              ([(10, 20), (30, 40)], [(50, 60)], False))
    program.barriers(s)
    assert [x["owner"] for x in s][:3] == [0, 1, 1]
    assert [x["barrier"] for x in s] == [False, False, True, False]


def test_many_small_steps_are_worth_a_team_and_few_are_not():
    def independent(n):
        return steps(*[([(100 * i, 100 * i + 10)], [(100 * i + 10, 100 * i + 20)], False) for i in range(n)])
    assert program.worth_threads(independent(20), 2) and not program.worth_threads(independent(2), 2)
    chain = steps(*[([(10 * i, 10 * i + 10)], [(10 * i + 10, 10 * i + 20)], False) for i in range(20)])
    assert not program.worth_threads(chain, 2)
    assert list(program.trimmed(independent(20), 0, 20)) == [(0, 20, True)]
    assert list(program.trimmed(independent(3), 0, 3)) == [(0, 3, False)]
    mixed = independent(2) + steps(([(900, 910)], [(910, 920)], True)) + independent(2)
    assert list(program.trimmed(mixed, 0, 5)) == [(0, 2, False), (2, 3, True), (3, 5, False)]


# ---------------------------------------------------------------------------------------------------- programs as data
def test_a_program_survives_json(compiled):
    c = compiled(mlp, *arguments())
    p = c.exe.program
    q = program.Program.loads(p.dumps())
    assert q == p
    x = {"a": (1, 2.5, float("inf"), None, View(3, pellucid.float32, (2, 3), (3, 1), 4)), "b": [True, "s", {"c": pellucid.int64}]}
    assert program.decode(program.encode(x)) == x
    with pytest.raises(TypeError):
        program.encode({"a": object()})


def test_the_python_backend_runs_what_is_printed():
    traced = trace(mlp, [pellucid.randn(*s) for s in ((4, 5), (5, 3), (3,), (3, 2))])
    arrays = [t.numpy() for t in traced.tensors()]
    python = build.compile_graph(traced.graph, "python")
    native = build.compile_graph(traced.graph, options={"cache": False})
    for a, b in zip(python(arrays), native(arrays)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="no native backend"):
        build.compile_graph(traced.graph, "cuda")




def test_constant_inputs_are_laid_out_once(compiled):
    x, w, b = pellucid.randn(2, 8, 12, 12), pellucid.randn(16, 8, 3, 3), pellucid.randn(16)
    c = compiled(lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x, w, b, constant=[1, 2])
    x, w, b = c.arrays
    first = c.check(tolerance=1e-4)
    if c.exe.report["library_calls"]:
        assert c.exe.instance.setups
    assert np.array_equal(c.exe([x, w, b])[0], first[0])
    c.check([x + 1, w, b], tolerance=1e-4)
    other = w * 2                           # another array: seen
    c.check([x, other, b], tolerance=1e-4)
    other *= 3                              # the same array, other contents: to be told
    c.exe.refresh()
    c.check([x, other, b], tolerance=1e-4)
    c.check([x, np.asfortranarray(w), b], tolerance=1e-4)
    c.check([x, w, b], tolerance=1e-4)
