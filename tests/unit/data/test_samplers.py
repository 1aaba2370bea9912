"""Samplers and splits: PyTorch's orders for the same seeds (recorded by torch 2.13), and their arguments."""
import json
from pathlib import Path

import pytest

import pellucid as torch
from pellucid.utils import data as D
from pellucid.utils.data.distributed import DistributedSampler

ORDERS = json.loads((Path(__file__).parent / "torch_orders.json").read_text())
SEEDS = sorted(ORDERS, key=int)


def next_draw(generator=None):
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


WEIGHTS = [0.1, 0.9, 0.4, 0.7, 3.0, 0.6]
SAMPLERS = {
    "random": lambda: D.RandomSampler(range(19)),
    "random_more": lambda: D.RandomSampler(range(7), num_samples=17),
    "random_replacement": lambda: D.RandomSampler(range(50), replacement=True, num_samples=70),
    "subset": lambda: D.SubsetRandomSampler([3, 1, 4, 15, 9, 2, 6]),
    "weighted": lambda: D.WeightedRandomSampler(WEIGHTS, 9),
    "weighted_once": lambda: D.WeightedRandomSampler(WEIGHTS, 5, replacement=False),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_orders_are_torchs(name, seed):
    orders, after = ORDERS[seed][name]
    torch.manual_seed(int(seed))
    sampler = SAMPLERS[name]()
    assert [list(sampler) for _ in orders] == orders
    assert next_draw() == after
    assert len(sampler) == len(orders[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_random_split(seed):
    torch.manual_seed(int(seed))
    assert [s.indices for s in D.random_split(range(17), [0.5, 0.3, 0.2])] == ORDERS[seed]["split"]
    parts = D.random_split(range(10), [3, 7], generator=torch.Generator().manual_seed(int(seed)))
    assert [s.indices for s in parts] == ORDERS[seed]["split_generator"]
    assert [list(s) for s in parts] == ORDERS[seed]["split_generator"]


def test_random_split_arguments():
    assert [len(s) for s in D.random_split(range(106), [0.1, 0.2, 0.3, 0.4])] == [11, 22, 31, 42]
    for lengths in ([1, 2], [0.1], [1.1]):
        with pytest.raises(ValueError, match="Sum of input lengths does not equal the length of the input dataset!"):
            D.random_split([1, 2, 3, 4], lengths)
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        D.random_split([1, 2, 3, 4], [-0.5, 1.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        D.random_split([1], [0.9, 0.1])


@pytest.mark.parametrize("seed", SEEDS)
def test_distributed(seed):
    got = []
    for drop in (False, True):
        for rank in range(3):
            sampler = DistributedSampler(range(10), 3, rank, seed=int(seed) % 1000, drop_last=drop)
            sampler.set_epoch(2)
            got.append(list(sampler))
            assert len(got[-1]) == len(sampler)
    assert got == ORDERS[seed]["distributed"]


def test_distributed_shares():
    def shares(n, replicas, **kw):
        return [list(DistributedSampler(range(n), replicas, r, shuffle=False, **kw)) for r in range(replicas)]
    assert shares(5, 2) == [[0, 2, 4], [1, 3, 0]]
    assert shares(5, 2, drop_last=True) == [[0, 2], [1, 3]]
    assert shares(2, 5) == [[0], [1], [0], [1], [0]]
    for rank in (3, -1):
        with pytest.raises(ValueError, match=r"Invalid rank -?\d, rank should be in the interval \[0, 2\]"):
            DistributedSampler(range(10), 3, rank)
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        DistributedSampler(range(10))
    torch.distributed.init_process_group("gloo", init_method="file:///nowhere", rank=0, world_size=1)
    try:
        assert list(DistributedSampler(range(3), shuffle=False)) == [0, 1, 2]
    finally:
        torch.distributed.destroy_process_group()


def test_batch_sampler():
    def batches(n, size, drop):
        sampler = D.BatchSampler(D.SequentialSampler(range(n)), size, drop)
        got = list(sampler)
        assert len(got) == len(sampler)
        return got
    assert batches(10, 3, False) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert batches(10, 3, True) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert batches(6, 3, True) == batches(6, 3, False) == [[0, 1, 2], [3, 4, 5]]
    assert batches(0, 3, False) == batches(2, 3, True) == []
    assert list(D.BatchSampler("abc", 2, False)) == [["a", "b"], ["c"]]
    for size in (0, -1, True, 2.0):
        with pytest.raises(ValueError, match="batch_size should be a positive integer value, but got batch_size="):
            D.BatchSampler(range(3), size, False)
    with pytest.raises(ValueError, match="drop_last should be a boolean value, but got drop_last=0"):
        D.BatchSampler(range(3), 2, 0)


def test_sampler_arguments():
    with pytest.raises(TypeError, match="replacement should be a boolean value, but got replacement=0"):
        D.RandomSampler(range(3), replacement=0)
    for bad in (0, -2, 1.5):
        with pytest.raises(ValueError, match=f"num_samples should be a positive integer value, but got num_samples={bad}"):
            D.RandomSampler(range(3), num_samples=bad)
    with pytest.raises(ValueError, match="num_samples=0"):
        D.RandomSampler([])
    with pytest.raises(ValueError, match="num_samples should be a positive integer value"):
        D.WeightedRandomSampler([1.0], True)
    with pytest.raises(ValueError, match="replacement should be a boolean value"):
        D.WeightedRandomSampler([1.0], 1, replacement=1)
    with pytest.raises(ValueError, match=r"weights should be a 1d sequence but given weights have shape \(2, 1\)"):
        D.WeightedRandomSampler([[1.0], [2.0]], 1)
    with pytest.raises(NotImplementedError):
        iter(D.Sampler())


def test_growing_source():
    grows = [0, 1]
    sampler, order = D.RandomSampler(grows), D.SequentialSampler(grows)
    grows.append(2)
    assert len(sampler) == len(order) == 3
    assert sorted(sampler) == list(order) == [0, 1, 2]
