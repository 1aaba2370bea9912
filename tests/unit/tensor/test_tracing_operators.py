"""Tracing, operator by operator: values, gradients and memory layout are eager's; and random programs of views and writes."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid
import pellucid.masked
import pellucid.signal.windows                         # these register their operators on first use
from pellucid.core.spec import contiguous_strides
from pellucid.ops.op import REGISTRY, F
from pellucid.tensor import Tensor
from pellucid.tensor.tracing import TraceError, trace
from pellucid.testing import samples_of
from .tracing_runs import agree, copy_of, execute, rand, tensors_of

f32 = pellucid.float32


@pytest.fixture(autouse=True)
def seeded():
    pellucid.manual_seed(0)


# ---------------------------------------------------------------------------------------------------- every operator
# what gives Python values, or results whose shape depends on values
NEEDS_VALUES = {"allclose", "equal", "argwhere", "bincount", "cov", "ctc_loss", "histc", "histogram", "histogramdd", "linalg_lstsq",
                "masked_select", "masked_scatter", "masked_median", "nonzero", "nonzero_places", "nonzero_static", "unique", "unique_consecutive", "repeat_interleave",
                "lstm", "gru", "rnn_tanh", "rnn_relu"}      # the last four: of packed sequences
UNINITIALISED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_operator_traced_is_eager(name: str) -> None:
    op = REGISTRY[name]
    entry = getattr(F, name)
    count = len(samples_of(op))
    for i in range(count):
        args, kwargs = samples_of(op)[i]
        pellucid.manual_seed(0)
        want = tensors_of(entry(*args, **kwargs))
        args, kwargs = samples_of(op)[i]
        try:
            t = trace(entry, args, kwargs)
        except TraceError:
            assert name in NEEDS_VALUES, f"{name} cannot be traced"
            continue
        pellucid.manual_seed(0)
        got = tensors_of(execute(t, args, kwargs))
        assert len(got) == len(want)
        for a, b in zip(got, want):
            assert a.shape == b.shape and a.dtype is b.dtype, f"{name} {i}"
            if name not in UNINITIALISED and a.dtype is not pellucid.bfloat16:
                np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-13, err_msg=f"{name} {i}")


def scalar_of(x):
    """One number from whatever an operator returned, weighted so that its gradient is not constant."""
    parts = [t for t in tensors_of(x) if t.requires_grad]
    return sum((t.abs() if t.is_complex() else t).mul(1.5).sum() for t in parts) if parts else None


def with_gradients(entry):
    def fn(*args, **kwargs):
        loss = scalar_of(entry(*args, **kwargs))
        if loss is None:
            return None
        loss.backward()
        return loss
    return fn


@pytest.mark.parametrize("name", sorted(n for n, op in REGISTRY.items() if not n.endswith("_") and n not in NEEDS_VALUES))
def test_backward_inside_a_trace_is_eager_backward(name: str) -> None:
    op = REGISTRY[name]
    fn = with_gradients(getattr(F, name))
    for i in range(min(2, len(samples_of(op, requires_grad=True)))):
        args, kwargs = samples_of(op, requires_grad=True)[i]
        pellucid.manual_seed(0)
        want = fn(*args, **kwargs)
        if want is None:
            continue
        expected = [t._grad for t in tensors_of((args, kwargs))]
        args, kwargs = samples_of(op, requires_grad=True)[i]
        leaves = tensors_of((args, kwargs))
        t = trace(fn, args, kwargs)
        pellucid.manual_seed(0)
        got = execute(t, args, kwargs)
        np.testing.assert_allclose(got.detach().double().numpy(), want.detach().double().numpy(), rtol=1e-9, atol=1e-11, equal_nan=True)
        for a, b in zip(leaves, expected):
            assert (a._grad is None) == (b is None), name
            if b is not None:
                np.testing.assert_allclose(a._grad.numpy(), b.numpy(), rtol=1e-9, atol=1e-11, equal_nan=True, err_msg=name)


# ---------------------------------------------------------------------------------------------------- layouts
def gapped(t: Tensor) -> Tensor:
    """The same values behind other strides: every second element of a wider memory, dimensions reversed in memory."""
    a = t.detach().numpy()
    if a.ndim == 0:
        return t
    wide = np.zeros(tuple(2 * n for n in a.shape[::-1]), a.dtype)
    inner = wide[tuple(slice(None, None, 2) for _ in a.shape)].transpose()
    inner[...] = a
    return Tensor._wrap(wide)[tuple(slice(None, None, 2) for _ in a.shape)].permute(*range(a.ndim)[::-1])


def rotated(t: Tensor) -> Tensor:
    """The first dimension last in memory: channels_last, for images."""
    if t.ndim < 2:
        return t
    d = list(range(t.ndim))
    order = [0, *d[2:], 1] if t.ndim == 4 else [*d[1:], 0]
    return Tensor._wrap(np.ascontiguousarray(t.detach().numpy().transpose(order)).transpose([order.index(i) for i in d]))


def mapped(x, fn):
    if isinstance(x, Tensor):
        return fn(x)
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(mapped(v, fn) for v in x)
    return {k: mapped(v, fn) for k, v in x.items()} if type(x) is dict else x


# references whose layout depends on the values, on the real sizes, or on LAPACK
OTHER_LAYOUT = {"cholesky", "copy", "ctc_backward", "diag_embed", "geqrf", "linalg_cholesky", "linalg_cholesky_ex", "erfc", "erfinv",
                "unsafe_piece", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "multinomial", "i0", "igamma", "igammac"}


@pytest.mark.parametrize("name", sorted(n for n in REGISTRY if n not in OTHER_LAYOUT and "special_" not in n and n not in NEEDS_VALUES))
def test_results_lie_in_memory_as_eager_results_do(name: str) -> None:
    op, entry = REGISTRY[name], getattr(F, name)
    for order in (gapped, rotated):
        for i in range(min(3, len(samples_of(op, f32)))):
            args, kwargs = mapped(samples_of(op, f32)[i], order)
            try:
                want = tensors_of(entry(*args, **kwargs))
            except (RuntimeError, ValueError):           # which wants its operand contiguous
                continue
            args, kwargs = mapped(samples_of(op, f32)[i], order)
            t = trace(entry, args, kwargs)
            for r, w in zip(t.results, want):
                if w.numel():
                    got = r.spec.strides or contiguous_strides(r.spec.shape)
                    assert [s for s, n in zip(got, w.shape) if n > 1] == [s for s, n in zip(w.stride(), w.shape) if n > 1], (i, order)


# ---------------------------------------------------------------------------------------------------- random programs
def random_program(seed: int):
    """A function of two tensors that takes views and writes through them at random."""
    def fn(a, b):
        rng = np.random.default_rng(seed)
        pool = [a * 1, b * 1] if a.requires_grad else [a, b, a * 1]
        for _ in range(12):
            t = pool[rng.integers(len(pool))]
            u = pool[rng.integers(len(pool))]
            n = int(rng.integers(max(1, t.shape[0]))) if t.ndim else 0
            what = rng.integers(16)
            if what == 0 and t.ndim > 1:
                pool.append(t.transpose(0, -1))
            elif what == 1 and t.ndim and t.shape[0]:
                pool.append(t[n])
            elif what == 2 and t.ndim and t.shape[0]:
                pool.append(t[n:])
            elif what == 3 and t.ndim and t.shape[-1] > 1:
                pool.append(t[..., ::2])
            elif what == 4:
                pool.append(t.reshape(-1))
            elif what == 5:
                pool.append(t.unsqueeze(0).detach() if not t.requires_grad else t.unsqueeze(0))
            elif what == 6:
                pool.append(t * 1.5)
            elif what == 7:
                t.mul_(0.5)
            elif what == 8:
                t.add_(u.sum())
            elif what == 9 and t.ndim and t.shape[0]:
                t[n] = u.mean()
            elif what == 10:
                t.copy_(t.flip(0) if t.ndim else t + 1)
            elif what == 11:
                pool.append(t.exp() if t.numel() < 20 else t.sin())
            elif what == 12:
                t.fill_(float(n))
            elif what == 13 and t.ndim == 2 and t.is_contiguous():
                pool.append(t.view(t.shape[1], t.shape[0]))
            elif what == 14 and t.ndim:
                pool.append(t.diagonal() if t.ndim > 1 else t.expand(2, -1))
            elif what == 15:
                with pellucid.no_grad():
                    t.clamp_(-3, 3)
        if a.requires_grad:
            sum((t * t).sum() for t in pool if t.requires_grad).backward()
            return [t.detach() for t in pool]
        return pool
    return fn


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_random_programs_of_views_and_writes(seed: int, grad: bool) -> None:
    fn = random_program(seed)
    a, b = rand(3, 4, grad=grad), rand(4, 2, grad=grad)
    try:
        fn(copy_of(a), copy_of(b))
    except RuntimeError as error:
        with pytest.raises(type(error)) as caught:
            trace(fn, (a, b))
        assert str(caught.value).splitlines()[0] == str(error).splitlines()[0]
        return
    agree(fn, a, b)
