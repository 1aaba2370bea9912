"""Datasets and their combinations."""
import pytest

import pellucid as torch
from pellucid.utils import data as D


class Count(D.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


class Bulk(D.Dataset):
    """Counts how it is asked."""

    def __init__(self, n, extra=0):
        self.n, self.extra, self.calls = n, extra, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.calls.append(i)
        return i * 10

    def __getitems__(self, indices):
        self.calls.append(tuple(indices))
        return [i * 10 for i in indices] + [0] * self.extra


def test_base_classes():
    with pytest.raises(NotImplementedError, match="Subclasses of Dataset should implement __getitem__"):
        D.Dataset()[0]
    with pytest.raises(TypeError, match="abstract"):
        D.IterableDataset()
    with pytest.raises(TypeError):
        len(D.Dataset())
    assert D.Dataset[int] and D.DataLoader[list]


def test_tensor_dataset():
    x, y = torch.arange(12).reshape(4, 3), torch.arange(4)
    dataset = D.TensorDataset(x, y)
    assert len(dataset) == 4
    assert dataset[2][0].tolist() == [6, 7, 8] and dataset[2][1].item() == 2
    assert dataset[1:3][1].tolist() == [1, 2]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        D.TensorDataset(x, torch.arange(3))


def test_stack():
    a, b = Bulk(3), [7, 8, 9]
    assert D.StackDataset(a, b)[1] == (10, 8)
    named = D.StackDataset(image=a, text=b)
    assert named[2] == {"image": 20, "text": 9} and len(named) == 3
    a.calls.clear()
    assert named.__getitems__([0, 2]) == [{"image": 0, "text": 7}, {"image": 20, "text": 9}]
    assert D.StackDataset(b, a).__getitems__([1]) == [(8, 10)]
    assert a.calls == [(0, 2), (1,)]
    with pytest.raises(ValueError, match="Nested dataset's output size mismatch. Expected 2, got 3"):
        D.StackDataset(Bulk(3, extra=1)).__getitems__([0, 1])
    with pytest.raises(ValueError, match="Size mismatch between datasets"):
        D.StackDataset(a, [1])
    with pytest.raises(ValueError, match="both types are given"):
        D.StackDataset(a, text=b)
    with pytest.raises(ValueError, match="At least one dataset should be passed"):
        D.StackDataset()


def test_concat():
    both = D.ConcatDataset([[0, 1, 2], [], [3, 4]])
    assert len(both) == 5 and [both[i] for i in range(5)] == [0, 1, 2, 3, 4]
    assert both[-1] == 4 and both[-5] == 0
    assert both.cumulative_sizes == [3, 3, 5]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset length"):
        both[-6]
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(AssertionError, match="datasets should not be an empty iterable"):
        D.ConcatDataset([])
    with pytest.raises(AssertionError, match="ConcatDataset does not support IterableDataset"):
        D.ConcatDataset([[1], Count(2)])
    with pytest.warns(FutureWarning, match="renamed to `cumulative_sizes`"):
        assert both.cummulative_sizes == [3, 3, 5]
    t = D.TensorDataset(torch.arange(2))
    assert [int(s[0]) for s in t + t + t] == [0, 1, 0, 1, 0, 1]


def test_chain():
    chain = Count(3) + Count(2)
    assert list(chain) == [0, 1, 2, 0, 1] and len(chain) == 5
    assert list(D.ChainDataset([Count(1), chain])) == [0, 0, 1, 2, 0, 1]
    for use in (list, len):
        with pytest.raises(AssertionError, match="ChainDataset only supports IterableDataset"):
            use(Count(1) + [1, 2])


def test_subset():
    bulk = Bulk(10)
    subset = D.Subset(bulk, [5, 3, 8])
    assert subset[1] == 30 and len(subset) == 3 and list(subset) == [50, 30, 80]
    bulk.calls.clear()
    assert subset.__getitems__([2, 0]) == [80, 50] and bulk.calls == [(8, 5)]
    assert D.Subset("abcdef", [5, 1]).__getitems__([0, 1]) == ["f", "b"]
    tensors = D.TensorDataset(torch.arange(6))
    part = D.Subset(D.Subset(tensors, [0, 2, 4]), [2, 1])
    assert part[0][0].item() == 4 and part[:][0].tolist() == [4, 2] and part[[1, 0]][0].tolist() == [2, 4]

    class Half(D.Subset):
        def __getitem__(self, i):
            return 1
    with pytest.raises(NotImplementedError, match="Half overrides __getitem__ but not __getitems__"):
        Half(bulk, [1])


def test_loader_uses_getitems():
    bulk = Bulk(5)
    assert [b.tolist() for b in D.DataLoader(bulk, batch_size=2)] == [[0, 10], [20, 30], [40]]
    assert bulk.calls == [(0, 1), (2, 3), (4,)]
