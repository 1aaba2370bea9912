"""What the stages of the matrix share: running an operator, comparing results, reaching its forms."""
from __future__ import annotations

import numpy as np

import pellucid
import pellucid.masked
import pellucid.signal.windows                         # these register their operators on first use
from pellucid.ops import REGISTRY, F
from pellucid.ops.op import RANDOM, Op
from pellucid.tensor import Tensor


def tensors(x) -> list:
    """All tensors inside a structure, in order."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, (list, tuple)):
        return [t for v in x for t in tensors(v)]
    if isinstance(x, dict):
        return [t for v in x.values() for t in tensors(v)]
    return []


def call(op: Op, args, kwargs):
    """The operator on its arguments, the generator at a known state."""
    if is_random(op):
        pellucid.manual_seed(0)
    if op.public.endswith("_") and args and hasattr(args[0], "clone") and not args[0].requires_grad:
        args = (args[0].clone(memory_format=pellucid.preserve_format), *args[1:])      # a function that works in place
    return getattr(F, op.name)(*args, **kwargs)


def is_random(op: Op) -> bool:
    return op.kind is RANDOM or op.module.endswith((".random", ".dropout")) or op.name in _DRAWING


_DRAWING = {"scaled_dot_product_attention", "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu", "rrelu",
            "fractional_max_pool2d", "fractional_max_pool3d", "gumbel_softmax"}


def mapped(x, fn):
    """The structure with every tensor replaced by `fn(tensor)`."""
    if isinstance(x, Tensor):
        return fn(x)
    if isinstance(x, (list, tuple)):
        return type(x)(mapped(v, fn) for v in x) if not hasattr(x, "_fields") else type(x)(*[mapped(v, fn) for v in x])
    if isinstance(x, dict):
        return {k: mapped(v, fn) for k, v in x.items()}
    return x


def strided(t: Tensor) -> Tensor:
    """The same values behind other strides: every second element of a wider memory, dimensions reversed in memory."""
    a = t.detach().numpy()
    if a.ndim == 0:
        wide = np.zeros(3, a.dtype)
        wide[1] = a
        v = Tensor._wrap(wide)[1]
    else:
        wide = np.zeros(tuple(2 * n for n in a.shape[::-1]), a.dtype)
        inner = wide[tuple(slice(None, None, 2) for _ in a.shape)].transpose()
        inner[...] = a
        v = Tensor._wrap(wide)
        v = v[tuple(slice(None, None, 2) for _ in a.shape)].permute(*range(a.ndim)[::-1])
    return v.requires_grad_() if t.requires_grad else v


def same(a, b, what: str, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Two results agree: structure, dtypes, shapes, values."""
    xs, ys = tensors(a), tensors(b)
    assert len(xs) == len(ys), what
    for x, y in zip(xs, ys):
        assert x.dtype is y.dtype, f"{what}: dtype {x.dtype} != {y.dtype}"
        assert x.shape == y.shape, f"{what}: shape {x.shape} != {y.shape}"
        p, q = ((v.detach().float() if v.dtype is pellucid.bfloat16 else v.detach()).numpy() for v in (x, y))
        assert np.allclose(p, q, rtol=rtol, atol=atol, equal_nan=True), f"{what}: values differ"


ALL = sorted(REGISTRY)
