"""DataLoader: orders, seeds, batches, arguments, lengths; alone, with processes of each start method, with threads."""
import itertools
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import pellucid as torch
from pellucid.utils import data as D

sys.path.insert(0, os.path.dirname(__file__))             # spawned workers inherit it
import loader_samples as S  # noqa: E402

ORDERS = json.loads((Path(__file__).parent / "torch_orders.json").read_text())
SEEDS = sorted(ORDERS, key=int)
WAYS = {
    "here": {},
    "processes": dict(num_workers=2),
    "threads": dict(num_workers=2, worker_type="thread"),
}
ways = pytest.mark.parametrize("way", WAYS)


def next_draw(generator=None):
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


# ---------------------------------------------------------------- the same numbers as torch

@pytest.mark.parametrize("seed", SEEDS)
def test_shuffle_is_torchs(seed):
    torch.manual_seed(int(seed))
    loader = D.DataLoader(range(37), batch_size=5, shuffle=True)
    assert [[b.tolist() for b in loader] for _ in range(2)] == ORDERS[seed]["shuffle"]
    assert next_draw() == ORDERS[seed]["shuffle_next"]
    torch.manual_seed(int(seed))
    assert list(D.DataLoader(range(11), batch_size=None, shuffle=True)) == ORDERS[seed]["unbatched"]


@pytest.mark.parametrize("seed, way", list(zip(SEEDS, itertools.cycle(["processes", "threads"]))))
def test_workers_shuffle_as_torchs(seed, way):
    torch.manual_seed(int(seed))
    loader = D.DataLoader(range(23), batch_size=4, shuffle=True, **WAYS[way])
    assert [[b.tolist() for b in loader] for _ in range(2)] == ORDERS[seed]["workers"]
    assert next_draw() == ORDERS[seed]["workers_next"]


@pytest.mark.parametrize("seed", SEEDS)
def test_worker_seeds_are_torchs(seed):
    """base_seed + id for pellucid and `random`, a mix of both for numpy; each generator's first numbers."""
    torch.manual_seed(int(seed))
    assert list(D.DataLoader(S.Seeds(), batch_size=None, num_workers=2)) == ORDERS[seed]["seeds"]


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_generator_argument(seed):
    generator = torch.Generator().manual_seed(int(seed))
    before = torch.get_rng_state().tolist()
    loader = D.DataLoader(range(23), batch_size=4, shuffle=True, drop_last=True, generator=generator)
    assert [[b.tolist() for b in loader] for _ in range(2)] == ORDERS[seed]["generator"]
    assert next_draw(generator) == ORDERS[seed]["generator_next"]
    assert torch.get_rng_state().tolist() == before


def test_numpy_seed_of_workers():
    from pellucid.utils.data._utils.worker import _generate_state
    # PyTorch's own test values.
    assert _generate_state(13434589827475259383, 4) == (2884386318, 1088094898, 3523808998, 3860348662)
    assert _generate_state(15014285634777110771, 1) == (1934848465, 763213760, 2959016433, 179751970)
    assert _generate_state(480002904169484764, 12) == (2732851467, 1762620729, 4055801988, 1277640511)


# ---------------------------------------------------------------- batches

@pytest.mark.parametrize("options", [
    {}, dict(num_workers=2), dict(num_workers=2, worker_type="thread"), dict(num_workers=1, prefetch_factor=5),
    dict(num_workers=2, multiprocessing_context="spawn"), dict(num_workers=2, multiprocessing_context="forkserver")],
    ids=str)
def test_images(options):
    """Large arrays come through shared memory, in order, writable, and stay intact however long they are kept."""
    kept = []
    for i, (x, y) in enumerate(D.DataLoader(S.Images(40), batch_size=6, **options)):
        assert y.tolist() == list(range(6 * i, min(6 * i + 6, 40)))
        assert tuple(x.shape) == (len(y), 3, 32, 32) and x.dtype == torch.float32
        assert x[:, 2, 3, 4].tolist() == y.tolist()
        x += 100
        kept.append((x, y))
    assert len(kept) == 7
    for x, y in kept:
        assert (x.numpy() == y.numpy().reshape(-1, 1, 1, 1) + 100).all()


def test_segments_are_reused():
    """A loop that drops its batches runs in a few segments; one that keeps them gets memory of its own."""
    loader = D.DataLoader(S.Images(120), batch_size=4, num_workers=1)
    it = iter(loader)
    for x, _ in it:
        pass
    assert 1 <= len(it._pool.mapped[0].segments) <= 6
    it = iter(loader)
    kept = list(it)
    assert len(it._pool.mapped[0].segments) <= 30         # prefetch + 16, and those under way
    assert all(x[:, 0, 0, 0].tolist() == y.tolist() for x, y in kept)


@ways
def test_structures(way):
    got = list(D.DataLoader(S.Structures(), batch_size=3, **WAYS[way]))
    assert len(got) == 2
    for batch, ids in zip(got, ([0, 1, 2], [3, 4, 5])):
        assert batch["text"] == [f"s{i}" for i in ids]
        assert batch["small"].tolist() == [[i, i + 1] for i in ids] and batch["small"].dtype == torch.int16
        assert batch["flag"].tolist() == [i % 2 == 0 for i in ids]
        assert batch["big"].dtype == torch.float64 and batch["big"][:, 1, 1].tolist() == [101.0 + i for i in ids]
        image, (whole, real) = batch["nested"]
        assert image.dtype == torch.float32 and image[:, 0, 0].tolist() == ids
        assert whole.tolist() == ids and real.tolist() == ids
        assert tuple(batch["empty"].shape) == (3, 0, 3)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_layouts(context):
    """What a user's collate_fn returns arrives equal, with its layout, and writable."""
    want = S.layouts(None)
    loader = D.DataLoader(range(2), num_workers=1, collate_fn=S.layouts, multiprocessing_context=context)
    for got in loader:
        assert got["permuted"].stride() == want["permuted"].stride()
        for key in ("permuted", "sliced"):
            assert np.array_equal(got[key].numpy(), want[key].numpy())
        for key in ("strided", "readonly", "zero_d", "complex", "half"):
            assert type(got[key]) is np.ndarray and got[key].dtype == want[key].dtype
            assert np.array_equal(got[key], want[key])
        got["readonly"][0] = 5
        got["permuted"][0] = 5
        assert got["bytes"] == want["bytes"] and got["list"] == want["list"]
        assert got["same"][0] is got["same"][1] is got["permuted"]


def test_worker_keeps_what_it_made():
    """Shared memory is not used again while the dataset in the worker still looks at it."""
    for _ in range(2):
        loader = D.DataLoader(S.Caching(), batch_size=None, num_workers=1, prefetch_factor=1)
        for i, (cached, fresh) in enumerate(loader):
            assert (cached.numpy() == i % 3).all() and (fresh.numpy() == -1).all()


@ways
def test_without_batching(way):
    got = list(D.DataLoader(S.Images(5), batch_size=None, **WAYS[way]))
    assert [y for _, y in got] == [0, 1, 2, 3, 4] and tuple(got[0][0].shape) == (3, 32, 32)
    assert list(D.DataLoader([np.float32(2), "a", (1, 2)], batch_size=None, **WAYS[way]))[1:] == ["a", [1, 2]]


@ways
def test_samplers(way):
    options = WAYS[way]
    assert [b.tolist() for b in D.DataLoader(range(9), 2, sampler=range(2, 7), **options)] == [[2, 3], [4, 5], [6]]
    batches = [(0, 1), [4], (2, 2, 2)]
    loader = D.DataLoader(range(9), batch_sampler=batches, **options)
    assert [b.tolist() for b in loader] == [[0, 1], [4], [2, 2, 2]] and len(loader) == 3
    assert [b.tolist() for b in D.DataLoader(range(5), 2, drop_last=True, **options)] == [[0, 1], [2, 3]]
    assert list(D.DataLoader([], 2, **options)) == []
    keys = D.DataLoader({"a": 1, "b": 2}, sampler=["b", "a"], **options)
    assert [b.tolist() for b in keys] == [[2], [1]]
    tensors = D.DataLoader(range(9), batch_sampler=torch.arange(4).split(2), **options)
    assert [b.tolist() for b in tensors] == [[0, 1], [2, 3]]


def test_large_indices_do_not_block():
    """Index lists far larger than a socket's buffer, many of them ahead."""
    loader = D.DataLoader(range(400_000), batch_size=100_000, num_workers=1, prefetch_factor=4, collate_fn=len)
    assert list(loader) == [100_000] * 4
    next(iter(loader))


# ---------------------------------------------------------------- streams

@ways
def test_streams(way):
    options = WAYS[way]
    got = [b.tolist() for b in D.DataLoader(S.Stream(11), 2, **options)]
    if way == "here":
        assert got == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    else:                                                 # worker 0 has the even ones, worker 1 the odd ones, in turn
        assert got == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9]]
    got = [b.tolist() for b in D.DataLoader(S.Stream(11), 2, drop_last=True, **options)]
    assert sorted(sum(got, [])) == list(range(10)) if way == "here" else [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert sorted(D.DataLoader(S.Stream(5), batch_size=None, **options)) == [0, 1, 2, 3, 4]
    copies = D.DataLoader(S.Stream(3, split=False), **options)
    assert sorted(int(b) for b in copies) == ([0, 1, 2] if way == "here" else [0, 0, 1, 1, 2, 2])


def test_uneven_streams():
    class Uneven(D.IterableDataset):
        def __iter__(self):
            return iter(range([0, 4, 20][D.get_worker_info().id]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                   # more workers than CPUs
        loader = D.DataLoader(Uneven(), 7, num_workers=3)
        got = {tuple(b.tolist()) for b in loader}
        assert got == {(0, 1, 2, 3), tuple(range(7)), tuple(range(7, 14)), tuple(range(14, 20))}
        assert len(list(D.DataLoader(Uneven(), 7, num_workers=3, drop_last=True))) == 2


@ways
def test_length_of_streams(way):
    options = WAYS[way]
    with pytest.raises(TypeError):
        len(D.DataLoader(S.Stream(5), **options))
    assert len(D.DataLoader(S.Stream(5, length=5), 2, **options)) == 3
    assert len(D.DataLoader(S.Stream(5, length=5), 2, drop_last=True, **options)) == 2
    loader = D.DataLoader(S.Stream(4, length=3), batch_size=None, **options)
    list(loader)                                          # nobody asked for the length: no warning
    assert len(loader) == 3
    text = "reported to be 3.*but 4 samples have been fetched"
    if way != "here":
        text += ".*not properly configuring the IterableDataset replica at each worker"
    with pytest.warns(UserWarning, match=text):
        list(loader)


# ---------------------------------------------------------------- workers

def test_worker_info():
    assert D.get_worker_info() is None
    loader = D.DataLoader(S.Info(), batch_size=None, num_workers=2, worker_init_fn=S.mark_dataset)
    it = iter(loader)
    pids = [w.pid for w in it._workers]
    for i, pid, mark, worker, count, method in it:
        assert (pid, mark, worker, count, method) == (pids[i % 2], f"worker {i % 2}", i % 2, 2, "multiprocessing")
    assert D.get_worker_info() is None and loader.dataset.mark is None
    got = list(D.DataLoader(S.Info(), batch_size=None, num_workers=2, worker_type="thread"))
    assert [row[1:] for row in got] == [[os.getpid(), None, i % 2, 2, "thread"] for i in range(8)]
    assert D.get_worker_info() is None


def test_worker_info_is_read_only():
    from pellucid.utils.data._utils.worker import WorkerInfo
    info = WorkerInfo(id=1, num_workers=2, seed=3, dataset=[])
    with pytest.raises(AttributeError):
        info.id = 2
    assert "id=1" in repr(info) and info.rng is None


def test_threads_have_generators_of_their_own():
    def draw(_):
        rng = D.get_worker_info().rng
        return (rng.random_generator.random(), rng.numpy_generator.random(),
                next_draw(rng.torch_generator), D.get_worker_info().seed)
    def run():
        generator = torch.Generator().manual_seed(5)
        return list(D.DataLoader(range(2), batch_size=None, collate_fn=draw, num_workers=2, worker_type="thread",
                                 generator=generator))
    state = torch.get_rng_state().tolist()
    first = run()
    assert first == run() and first[0] != first[1] and first[1][3] == first[0][3] + 1
    assert first[0][2] == next_draw(torch.Generator().manual_seed(first[0][3]))
    assert torch.get_rng_state().tolist() == state


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_persistent_workers(kind):
    loader = D.DataLoader(S.Info(6), batch_size=None, num_workers=2, persistent_workers=True, worker_type=kind)
    first = iter(loader)
    workers = first._workers
    assert [row[0] for row in first] == list(range(6))
    for stop in (2, 6, 1, 6):                             # some passes end early
        assert [row[0] for row in itertools.islice(loader, stop)] == list(range(stop))
    assert iter(loader) is first and all(w.is_alive() for w in workers)
    assert len(list(loader)) == 6
    del loader, first
    assert not any(w.is_alive() for w in workers)


def test_persistent_workers_of_streams():
    loader = D.DataLoader(S.Stream(5), batch_size=2, num_workers=2, persistent_workers=True)
    passes = [[b.tolist() for b in loader] for _ in range(3)]
    assert passes == [[[0, 2], [1, 3], [4]]] * 3
    assert next(iter(loader)).tolist() == [0, 2]
    assert [b.tolist() for b in loader] == passes[0]


class Slow(D.Dataset):
    """The first batch takes longest."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 0:
            time.sleep(0.3)
        return i


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_in_order(kind):
    options = dict(num_workers=2, batch_size=None, worker_type=kind)
    assert list(D.DataLoader(Slow(), **options)) == [0, 1, 2, 3]
    got = list(D.DataLoader(Slow(), in_order=False, prefetch_factor=1, **options))
    assert got[0] != 0 and sorted(got) == [0, 1, 2, 3]
    split = D.DataLoader(S.Stream(7), in_order=False, **options)
    assert sorted(split) == list(range(7))


def test_prefetch():
    """Each worker is `prefetch_factor` batches ahead, not more."""
    for factor, ahead in ((None, 4), (3, 6)):
        drawn = []
        def order():
            for i in range(20):
                drawn.append(i)
                yield i
        it = iter(D.DataLoader(range(20), batch_size=None, sampler=order(), num_workers=2, prefetch_factor=factor))
        assert len(drawn) == ahead
        next(it)
        assert len(drawn) == ahead + 1


# ---------------------------------------------------------------- arguments

def test_arguments():
    data, sampler = [1, 2, 3], D.SequentialSampler([1, 2, 3])
    batches = D.BatchSampler(sampler, 2, False)
    stream = S.Stream(3)
    for options, kind, text in [
        (dict(num_workers=-1), ValueError, "num_workers option should be non-negative"),
        (dict(timeout=-1), ValueError, "timeout option should be non-negative"),
        (dict(prefetch_factor=2), ValueError, "prefetch_factor option could only be specified in multiprocessing"),
        (dict(num_workers=1, prefetch_factor=-2), ValueError, "prefetch_factor option should be non-negative"),
        (dict(persistent_workers=True), ValueError, "persistent_workers option needs num_workers > 0"),
        (dict(worker_type="fibre"), ValueError, "worker_type option should be 'process' or 'thread'"),
        (dict(multiprocessing_context="fork"), ValueError, r"multi-process loading \(num_workers > 0\), but got"),
        (dict(num_workers=1, multiprocessing_context="bad"), ValueError, "should specify a valid start method in"),
        (dict(num_workers=1, multiprocessing_context=object()), TypeError, "should be a valid context object"),
        (dict(batch_size=None, drop_last=True), ValueError, "batch_size=None option disables auto-batching and is mut"),
        (dict(sampler=sampler, shuffle=True), ValueError, "sampler option is mutually exclusive with shuffle"),
        (dict(batch_sampler=batches, batch_size=3), ValueError, "batch_sampler option is mutually exclusive with"),
        (dict(batch_sampler=batches, shuffle=True), ValueError, "batch_sampler option is mutually exclusive with"),
        (dict(batch_sampler=batches, sampler=sampler), ValueError, "batch_sampler option is mutually exclusive with"),
        (dict(batch_sampler=batches, drop_last=True), ValueError, "batch_sampler option is mutually exclusive with"),
        (dict(dataset=stream, shuffle=True), ValueError, "IterableDataset: expected unspecified shuffle option"),
        (dict(dataset=stream, shuffle=3), ValueError, "IterableDataset: expected unspecified shuffle option"),
        (dict(dataset=stream, sampler=sampler), ValueError, "expected unspecified sampler option"),
        (dict(dataset=stream, batch_sampler=3), ValueError, "expected unspecified batch_sampler option"),
        (dict(batch_size=0), ValueError, "batch_size should be a positive integer value, but got batch_size=0"),
    ]:
        with pytest.raises(kind, match=text):
            D.DataLoader(**{"dataset": data, **options})
    assert list(D.DataLoader(stream, shuffle=False, batch_size=None)) == [0, 1, 2]


def test_attributes():
    loader = D.DataLoader([1, 2, 3], 2, num_workers=2, timeout=5)
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, 1)
    loader.num_workers, loader.timeout = 0, 0
    assert [b.tolist() for b in loader] == [[1, 2], [3]]
    assert loader.prefetch_factor == 2 and loader.pin_memory is False and loader.multiprocessing_context is None
    assert type(loader.sampler) is D.SequentialSampler and type(loader.batch_sampler) is D.BatchSampler
    assert len(loader) == len(iter(loader)) == 2
    assert D.DataLoader([1], num_workers=1, multiprocessing_context="spawn").multiprocessing_context.get_start_method() \
        == "spawn"


def test_pin_memory_does_nothing():
    loader = D.DataLoader([1, 2], 2, pin_memory=True, pin_memory_device="cuda")
    assert next(iter(loader)).tolist() == [1, 2]


def test_too_many_workers_warns():
    cpus = len(os.sched_getaffinity(0))
    with pytest.warns(UserWarning, match=f"This DataLoader will create {cpus + 1} worker processes in total. Our suggested "
                                         f"max number of worker in current system is {cpus}"):
        D.DataLoader([1], num_workers=cpus + 1)


def test_iterators():
    it = iter(D.DataLoader([1, 2]))
    assert iter(it) is it
    with pytest.raises(NotImplementedError, match="cannot be pickled"):
        __import__("pickle").dumps(it)
    assert [int(x) for x in it] == [1, 2] and next(it, None) is None
    it = iter(D.DataLoader([1, 2], num_workers=1))
    assert [int(x) for x in it] == [1, 2] and next(it, None) is None and next(it, None) is None
