"""Lookups and bags against plain Python, and their gradients."""

import numpy as np
import pytest

import pellucid
from pellucid.ops.embedding import sum_rows

F = pellucid.nn.functional


def table(rows=6, width=3):
    return pellucid.tensor(np.random.default_rng(0).standard_normal((rows, width)), requires_grad=True)


@pytest.mark.parametrize("rounds", [1, 2, 16])
def test_sum_rows(rounds):
    rng = np.random.default_rng(1)
    for where in (np.zeros(50, int), rng.integers(0, 7, 50), rng.permutation(50) % 7, np.zeros(0, int)):
        rows = rng.standard_normal((len(where), 4))
        expected = np.zeros((7, 4))
        np.add.at(expected, where, rows)
        np.testing.assert_allclose(sum_rows(rows, where, 7, rounds), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"padding_idx": -4}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_embedding(options, dtype):
    w = table()
    index = np.array([[1, 2, 2], [5, 2, 1]])
    out = F.embedding(pellucid.tensor(index).to(getattr(pellucid, dtype)), w, **options)
    np.testing.assert_array_equal(out.detach().numpy(), w.detach().numpy()[index])
    g = np.arange(18.0).reshape(2, 3, 3)
    out.backward(pellucid.tensor(g))
    expected = np.zeros((6, 3))
    np.add.at(expected, index, g)
    if options.get("scale_grad_by_freq"):
        expected /= np.maximum(np.bincount(index.reshape(-1), minlength=6), 1)[:, None]
    if "padding_idx" in options:
        expected[options["padding_idx"]] = 0
    assert w.grad.is_sparse is bool(options.get("sparse"))
    np.testing.assert_allclose(w.grad.to_dense().numpy(), expected)


def test_max_norm_scales_the_table_itself():
    w = table()
    before = w.detach().numpy().copy()
    F.embedding(pellucid.tensor([1, 3, 3]), w, max_norm=0.5)
    norms = np.linalg.norm(before, axis=1)
    expected = before.copy()
    for i in (1, 3):
        expected[i] *= min(1, 0.5 / (norms[i] + 1e-7))
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-6)
    assert w._version > 0


BAGS = {
    "flat": ([1, 2, 4, 5, 4, 3], [0, 4], {}),
    "empty bag": ([1, 2, 4], [0, 0, 3], {}),
    "last offset": ([1, 2, 4, 5], [0, 2, 4], {"include_last_offset": True}),
    "two dimensions": ([[1, 2, 4], [5, 4, 3]], None, {}),
    "padding": ([1, 2, 4, 2], [0, 2], {"padding_idx": 2}),
    "nothing": ([], [0, 0], {}),
}


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", BAGS)
def test_bags(name, mode):
    index, offsets, options = BAGS[name]
    w = table()
    rows = w.detach().numpy()
    flat = np.array(index, dtype=np.int64).reshape(-1)
    if offsets is None:
        bags = np.array(index).tolist()
    else:
        ends = offsets[1:] if options.get("include_last_offset") else [*offsets[1:], len(flat)]
        bags = [flat[a:b].tolist() for a, b in zip(offsets, ends)]
    bags = [[i for i in bag if i != options.get("padding_idx")] for bag in bags]
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max}[mode]
    expected = np.array([reduce(rows[bag], axis=0) if bag else np.zeros(3) for bag in bags])
    out = F.embedding_bag(pellucid.tensor(index, dtype=pellucid.int64), w, None if offsets is None else pellucid.tensor(offsets), mode=mode, **options)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    out.sum().backward()
    if mode == "sum":
        counts = np.bincount([i for bag in bags for i in bag], minlength=6)[:, None] if flat.size else np.zeros((6, 1))
        np.testing.assert_allclose(w.grad.numpy(), counts * np.ones((1, 3)))


def test_weighted_bag_and_its_gradients():
    w, scale = table(), pellucid.tensor([1.0, 2.0, -1.0], dtype=pellucid.float64, requires_grad=True)
    out = F.embedding_bag(pellucid.tensor([1, 2, 1]), w, pellucid.tensor([0, 2]), mode="sum", per_sample_weights=scale)
    rows = w.detach().numpy()
    np.testing.assert_allclose(out.detach().numpy(), [rows[1] + 2 * rows[2], -rows[1]])
    out.sum().backward()
    np.testing.assert_allclose(scale.grad.numpy(), rows[[1, 2, 1]].sum(1))


i = pellucid.tensor
ERRORS = {
    "range": (lambda: F.embedding(i([6]), table()), IndexError, "index out of range in self"),
    "negative": (lambda: F.embedding(i([-1]), table()), IndexError, "index out of range in self"),
    "float": (lambda: F.embedding(i([1.0]), table()), RuntimeError, "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got torch.FloatTensor"),
    "vector": (lambda: F.embedding(i([1]), pellucid.ones(3)), RuntimeError, "'weight' must be 2-D"),
    "padding": (lambda: F.embedding(i([1]), table(), padding_idx=6), AssertionError, "Padding_idx must be within num_embeddings"),
    "first offset": (lambda: F.embedding_bag(i([1]), table(), i([1])), RuntimeError, r"offsets\[0\] has to be 0"),
    "last offset": (lambda: F.embedding_bag(i([1]), table(), i([0, 3])), RuntimeError, r"offsets\[-1\] can not be greater than input's length 1"),
    "bag range": (lambda: F.embedding_bag(i([[9]]), table()), RuntimeError, "Expected idx >= 0 && idx < num_embeddings"),
    "mode": (lambda: F.embedding_bag(i([[1]]), table(), mode="median"), ValueError, "mode has to be one of sum, mean or max"),
    "needless offsets": (lambda: F.embedding_bag(i([[1]]), table(), i([0])), ValueError, "if input is 2D, then offsets has to be None"),
    "no offsets": (lambda: F.embedding_bag(i([1]), table()), ValueError, "offsets has to be a 1D Tensor but got None"),
    "weights shape": (lambda: F.embedding_bag(i([[1]]), table(), per_sample_weights=pellucid.ones(2), mode="sum"), ValueError, "must have the same shape as the input"),
    "weights mode": (lambda: F.embedding_bag(i([[1]]), table(), per_sample_weights=pellucid.ones(1, 1)), NotImplementedError, "only supported for mode='sum'"),
    "one-hot float": (lambda: F.one_hot(i([1.0])), RuntimeError, "one_hot is only applicable to index tensor of type LongTensor"),
    "one-hot negative": (lambda: F.one_hot(i([-1])), RuntimeError, "Class values must be non-negative"),
    "one-hot large": (lambda: F.one_hot(i([3]), 3), RuntimeError, "Class values must be smaller than num_classes"),
    "one-hot empty": (lambda: F.one_hot(pellucid.empty(0, dtype=pellucid.int64)), RuntimeError, "Can not infer total number of classes from empty tensor"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, match = ERRORS[name]
    with pytest.raises(kind, match=match):
        call()


def test_one_hot():
    index = np.array([[0, 2], [1, 3]])
    np.testing.assert_array_equal(F.one_hot(i(index)).numpy(), np.eye(4, dtype=np.int64)[index])
    assert F.one_hot(i(index), 7).shape == (2, 2, 7)
