"""NumPy inside a compiled function: what is computed in the graph has NumPy's values, dtypes, kinds of result and aliases; the rest breaks."""
from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import pellucid as torch
from pellucid.capture import arrays

DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64", "complex64")


def compare(a, b):
    """The same values of the same types."""
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            compare(x, y)
    elif isinstance(a, (np.ndarray, np.generic)):
        assert a.dtype == b.dtype and a.shape == b.shape and a.flags.writeable == b.flags.writeable
        low = a.dtype.char in "e"
        np.testing.assert_allclose(a, b, rtol=4e-3 if low else 2e-6, atol=4e-3 if low else 1e-6)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, atol=1e-6, equal_nan=True)
    else:
        assert a == b


def plain(fn, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fn(*args)


def whole(fn, *args):
    """fn(*args) compiled in one graph is what NumPy gives, twice."""
    expected = plain(fn, *args)
    compiled = torch.compile(fn, fullgraph=True, backend="eager")
    for _ in range(2):
        compare(compiled(*args), expected)


X = torch.arange(12.0).reshape(3, 4) / 5 - 1
N = torch.arange(12).reshape(3, 4)

WHOLE = {
    "attributes": lambda x: (x.numpy().shape, x.numpy().dtype, x.numpy().size, x.numpy().ndim, len(x.numpy()), x.numpy().nbytes),
    "types": lambda x: (isinstance(x.numpy(), np.ndarray), type(x.numpy()), type(x.numpy().sum()), isinstance(x.numpy().sum(), np.float32)),
    "parts": lambda x: (x.numpy().T, x.numpy().real, x.numpy().imag),
    "operators": lambda x: (x.numpy() + 1, 2 * x.numpy(), 1 - x.numpy(), x.numpy() / 3, x.numpy() ** 2, -x.numpy(), abs(x.numpy()), x.numpy() > 0),
    "mixed": lambda x: (x.numpy() + np.ones(4), np.float64(2) * x.numpy(), x.numpy() * np.arange(4), [1, 2, 3, 4] + x.numpy()),
    "matmul": lambda x: (x.numpy() @ x.numpy().T, x.numpy()[0] @ x.numpy()[1], np.dot(x.numpy(), x.numpy()[0])),
    "sum": lambda x: (np.sum(x.numpy()), x.numpy().sum(0), np.sum(x.numpy(), axis=(0, 1)), x.numpy().sum(axis=1, keepdims=True)),
    "mean": lambda x: (np.mean(x.numpy()), x.numpy().mean(0), np.std(x.numpy(), 1), np.var(x.numpy(), ddof=1)),
    "extremes": lambda x: (x.numpy().max(), x.numpy().min(axis=0), np.argmax(x.numpy()), x.numpy().argmin(axis=1)),
    "truth": lambda x: (x.numpy().all(), x.numpy().any(axis=0), np.all(x.numpy() > -5)),
    "running": lambda x: (np.cumsum(x.numpy()), np.cumsum(x.numpy(), axis=0), np.prod(x.numpy(), axis=1)),
    "shapes": lambda x: (x.numpy().reshape(4, 3), x.numpy().reshape([2, 6]), x.numpy().ravel(), x.numpy().transpose(1, 0), np.expand_dims(x.numpy(), 0),
                         x.numpy().swapaxes(0, 1), np.squeeze(x.numpy()[:1]), x.numpy().flatten()),
    "joined": lambda x: (np.concatenate([x.numpy(), x.numpy()], axis=1), np.stack([x.numpy(), np.ones((3, 4))]), np.array([x.numpy(), x.numpy()])),
    "items": lambda x: (x.numpy()[0], x.numpy()[1, 2], x.numpy()[..., 1], x.numpy()[1:, None], x.numpy()[1, 2, ...], x.numpy()[-1, ::2]),
    "iteration": lambda x: [row.sum() for row in x.numpy()],
    "where": lambda x: (np.where(x.numpy() > 0, x.numpy(), 0), np.clip(x.numpy(), -0.5, 0.5), np.maximum(x.numpy(), 0.25)),
    "made": lambda x: (np.zeros_like(x.numpy()), np.ones_like(x.numpy(), dtype=int), np.full_like(x.numpy(), 2.5), np.full_like(x, 2, dtype=np.float64)),
    "meshgrid": lambda x: (*np.meshgrid(x.numpy(), np.arange(3)), *np.meshgrid(x.numpy()[0], x.numpy()[1], x.numpy()[2], indexing="ij")),
    "rolled": lambda x: (np.roll(x.numpy(), 1), np.roll(x.numpy(), 1, axis=1), np.fft.fftshift(x.numpy()), np.fft.ifftshift(x.numpy()[:, :3])),
    "triangles": lambda x: (np.tril(x.numpy()), np.triu(x.numpy(), 1)),
    "norm": lambda x: (np.linalg.norm(x.numpy()), np.linalg.norm(x.numpy(), axis=0)),
    "casts": lambda x: (x.numpy().astype(np.float64), x.numpy().astype(int), x.numpy().astype("float32"), x.numpy().copy(), np.asarray(x, dtype=np.float64)),
    "broadcast": lambda x: np.broadcast_to(x.numpy(), (2, 3, 4)),
    "tensors": lambda x: (torch.from_numpy(x.numpy() * 2), torch.as_tensor(np.asarray(x.numpy().sum())), torch.tensor(x.numpy()), np.sin(x)),
    "scalars": lambda x: (x.numpy().sum() + 1, x.numpy().sum() * np.arange(3), np.sqrt(abs(x.numpy().sum())), np.asarray(x.numpy().sum())),
    "rebound": lambda x: (lambda s: (s := s + 1, s))(x.numpy().sum()),
    "numbers of a list": lambda x: sum([x.numpy(), x.numpy()]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_in_one_graph(name):
    whole(WHOLE[name], X)


def test_written_to_what_is_made_inside():
    def fn(x):
        a = x.numpy() * 2
        a += 1
        a[0] = 7
        a[1:, 2] -= x.numpy()[1:, 0]
        s = a.sum()
        s += 2
        return a, s, torch.from_numpy(a)
    whole(fn, X)


def test_views_share_memory_with_the_tensor():
    @torch.compile(backend="eager", fullgraph=True)
    def fn(x):
        a = x.numpy()
        return a, a.T, a[0], a + 0, torch.from_numpy(a)
    x = X.clone()
    a, transposed, row, fresh, t = fn(x)
    x[0, 1] = 99
    assert a[0, 1] == transposed[1, 0] == row[1] == t[0, 1] == 99 and fresh[0, 1] != 99


def test_one_array_is_one_array():
    a, b, t = torch.compile(lambda x: (lambda a: (a, a, x))(x.numpy()), backend="eager", fullgraph=True)(X)
    assert a is b and t is X and np.shares_memory(a, X.numpy())


UNARY = [f for f in {**arrays.UFUNCS, **arrays.FLOATS} if f.nin == 1]
BINARY = [f for f in {**arrays.UFUNCS, **arrays.FLOATS} if f.nin == 2 and f is not np.matmul]


def sample(dtype, seed):
    values = np.random.default_rng(seed).uniform(0, 6, (3, 4))
    return torch.from_numpy((values if dtype not in ("float16", "float32", "float64", "complex64") else values / 3).astype(dtype))


def attempt(fn, *args):
    """NumPy's result, or None where it has none."""
    try:
        return plain(fn, *args)
    except Exception:
        return None


@pytest.mark.parametrize("fn", UNARY, ids=lambda f: f.__name__)
def test_ufuncs_of_one(fn):
    count = 0
    for dtype in DTYPES:
        x = sample(dtype, 1)
        expected = attempt(lambda x: fn(x.numpy()), x)
        if expected is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = torch.compile(lambda x: fn(x.numpy()), backend="eager")(x)
            compare(found, expected)
            count += 1
    assert count >= 3


@pytest.mark.parametrize("fn", BINARY, ids=lambda f: f.__name__)
def test_ufuncs_of_two(fn):
    count = 0
    for one, two in itertools.product(DTYPES, (*DTYPES, 3, 2.5, True, np.int8(2), np.float64(1.5))):
        x = sample(one, 1)
        y = sample(two, 2) if isinstance(two, str) else two

        def call(x, y):
            return fn(x.numpy(), y.numpy() if isinstance(y, torch.Tensor) else y)
        expected = attempt(call, x, y)
        if expected is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = torch.compile(call, backend="eager")(x, y)
            compare(found, expected)
            count += 1
    assert count >= 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_have_numpys_dtypes(dtype):
    x = sample(dtype, 3)
    for name in ("sum", "prod", "mean", "std", "max", "min", "all", "any", "argmax", "cumsum"):
        for axis in (None, 0, -1):
            def call(x):
                return getattr(x.numpy(), name)(axis=axis)
            expected = attempt(call, x)
            if expected is not None:
                compare(torch.compile(call, backend="eager")(x), expected)


BREAKS = {
    "sorted": lambda x: np.sort(x.numpy()),
    "a tensor meets an array": lambda x: x + x.numpy(),
    "an array meets a tensor": lambda x: (x * 2).add(torch.from_numpy(x.numpy() + 1)) if (x.numpy() > 0).any() else x,
    "indexed by an array": lambda x: x.numpy()[x.numpy() > 0],
    "written to through": lambda x: (x.numpy().__setitem__(0, 5), x.sum())[1],
    "out": lambda x: np.add(x.numpy(), 1, out=np.zeros((3, 4), np.float32)),
    "item": lambda x: x.numpy().max().item(),
    "text": lambda x: str(x.numpy().max()),
    "number": lambda x: float(x.numpy().max()),
    "list": lambda x: x.numpy().tolist(),
    "reversed": lambda x: x.numpy()[::-1],
    "integers divided": lambda x: x.numpy().astype(int) // 2,
    "unlisted": lambda x: np.median(x.numpy()),
    "into a real array": lambda x: [a := np.zeros(3), a.__setitem__(0, x.numpy().sum()), a][2],
    "flags": lambda x: x.numpy().flags.writeable,
    "overflow": lambda x: [x.numpy().astype("int8") + 1, x.numpy().strides],
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_left_to_numpy(name):
    fn = BREAKS[name]
    x, y = X.clone(), X.clone()
    compiled = torch.compile(fn, backend="eager")
    compare(compiled(x), plain(fn, y))
    assert torch.equal(x, y)
    assert compiled.breaks and all(b.number in ("PX001", "PX018") for b in compiled.breaks), compiled.breaks


def test_errors_are_numpys():
    for fn, kind in ((lambda x: x.numpy().reshape(5), ValueError), (lambda x: x.numpy() + np.ones(3), ValueError),
                     (lambda x: x.numpy().sum(axis=7), np.exceptions.AxisError), (lambda x: x.numpy().nothing, AttributeError),
                     (lambda x: x.numpy().astype("int8") + 300, OverflowError), (lambda x: torch.sin(x.numpy()), TypeError),
                     (lambda x: x.requires_grad_().numpy(), RuntimeError), (lambda x: np.squeeze(x.numpy(), 0), ValueError)):
        with pytest.raises(kind):
            torch.compile(fn, backend="eager")(X.clone())


def test_caught_errors_are_numpys():
    def fn(x):
        try:
            return x.numpy() + np.ones(3)
        except RuntimeError:
            return "a tensor's"
        except ValueError:
            return "NumPy's"
    assert torch.compile(fn, backend="eager")(X) == "NumPy's"


def test_across_a_break():
    def fn(x):
        a, s = x.numpy() + 1, x.numpy().sum()
        print(end="")
        return a * 2, s + 1, isinstance(s, np.float32)
    compare(torch.compile(fn, backend="eager")(X), fn(X))


def test_without_gradients():
    def fn(x, w):
        y = (x * w).sum()
        with torch.no_grad():
            n = w.numpy() * 2
        return y, n, (w.detach().numpy() + 1), w.numpy(force=True)
    w = torch.ones(4, requires_grad=True)
    y, n, d, f = torch.compile(fn, fullgraph=True, backend="eager")(X, w)
    y.backward()
    assert torch.allclose(w.grad, X.sum(0)) and (n == 2).all() and (d == 2).all() and type(f) is np.ndarray


def test_in_native_code():
    def fn(x, k):
        a = np.tanh(x.numpy()) * k
        return torch.from_numpy(a - a.mean(axis=0)), a.max()
    compiled = torch.compile(fn, fullgraph=True)
    for k in (2, 3.5, 4.5):
        compare(compiled(X, k), fn(X, k))
