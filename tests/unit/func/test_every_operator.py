"""Every operator inside `vmap` and in forward mode, on its own samples.

`vmap` must give what calling it on each example gives; the tangent must be what two backward passes give, which is what the
operator's derivative rules say. The fast mode samples operators by the printed seed.
"""
from __future__ import annotations

import os
import random
import warnings

import numpy as np
import pytest

import pellucid as torch
from pellucid.autograd.functional import jvp as by_two_backward_passes
from pellucid.func import jvp, vmap
from pellucid.ops.op import RANDOM, REGISTRY, F
from pellucid.testing import samples_of
from pellucid.utils import _pytree as pytree

BATCH = 3
# whose results, or shapes, depend on values: PyTorch refuses these inside vmap too, or they draw or write what has no batch
REFUSED = frozenset("bincount histc ctc_loss cov repeat_interleave bernoulli_fill embedding_renorm_ lstm gru rnn_tanh rnn_relu bfloat16 allclose equal histogram histogramdd "
                    "linalg_lstsq".split())
DRAWS = ("dropout", "rand", "bernoulli", "normal_", "empty", "new_empty", "poisson", "multinomial", "gumbel", "rrelu", "functional_rrelu", "binomial")


def chosen_operators() -> list[str]:
    names = sorted(op.name for op in REGISTRY.values() if samples_of(op))
    if os.environ.get("PELLUCID_TEST_FULL") == "1":
        return names
    return sorted(random.Random(os.environ["PELLUCID_TEST_SEED"]).sample(names, 90))


def cases(op, kinds: str):
    """(call, tensors) per sample: the operator as a function of those tensors."""
    entry = getattr(F, op.name)
    for args, kwargs in samples_of(op):
        leaves, spec = pytree.tree_flatten((list(args), kwargs))
        places = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor) and (not kinds or x.is_floating_point() or x.is_complex())]
        for some in [places] + ([[i] for i in places] if len(places) > 1 else []):
            if some:
                def call(*tensors, some=some, leaves=leaves, spec=spec):
                    new = list(leaves)
                    for i, t in zip(some, tensors):
                        new[i] = t
                    a, kw = pytree.tree_unflatten(new, spec)
                    return [t for t in pytree.tree_leaves(entry(*a, **kw)) if isinstance(t, torch.Tensor)]
                yield call, [leaves[i] for i in some]


def variants(x) -> list:
    a = x.numpy()
    return [torch.from_numpy(np.asarray(a * (1 + 0.03 * j)).astype(a.dtype) if a.dtype.kind == "f" else a.copy()) for j in range(BATCH)]


@pytest.mark.parametrize("name", chosen_operators())
def test_vmap_is_a_loop(name: str) -> None:
    op = REGISTRY[name]
    if name in REFUSED:
        pytest.skip("asks for values")
    random_values = op.kind is RANDOM or name.startswith(DRAWS) or any(w in name for w in DRAWS[:3]) or name == "normal"
    for call, tensors in cases(op, ""):
        rows = [variants(x) for x in tensors]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                want = [call(*[r[j].clone() for r in rows]) for j in range(BATCH)]
            except (RuntimeError, ValueError, IndexError, TypeError):
                continue                    # a scaled sample is none, or the tensors of a sample belong together
            if any([[t.shape for t in w] != [t.shape for t in want[0]] for w in want]):
                continue
            got = vmap(call, randomness="different")(*[torch.stack(r) for r in rows])
        for k, t in enumerate(got):
            for j in range(BATCH):
                assert t[j].shape == want[j][k].shape and t.dtype == want[j][k].dtype
                if not random_values:
                    torch.testing.assert_close(t[j], want[j][k], rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", chosen_operators())
def test_the_tangent_is_that_of_two_backward_passes(name: str) -> None:
    op = REGISTRY[name]
    if name in ("bfloat16", "mean") or name.startswith(("empty", "new_empty")):
        pytest.skip("0/0 of an empty mean; values that nobody set; what NumPy cannot compare")
    for call, tensors in cases(op, "float"):
        directions = tuple([torch.from_numpy(np.cos(np.arange(x.numel()) + 0.5).reshape(x.shape)).to(x.dtype) for x in tensors])

        def f(*xs, call=call):
            return tuple([t for t in call(*([x * 1 for x in xs] if name.endswith("_") else xs)) if t.is_floating_point() or t.is_complex()])
        state = torch.get_rng_state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                values, want = by_two_backward_passes(f, tuple(tensors), directions)
            except (RuntimeError, NotImplementedError, TypeError):
                continue                    # not differentiable twice, or written in place
            if not values:
                continue                    # integers only
            torch.set_rng_state(state)
            got_values, got = jvp(f, tuple(tensors), directions)
        for a, b, c, d in zip(got_values, values, got, want):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
            torch.testing.assert_close(c, d, rtol=1e-7, atol=1e-9, equal_nan=True)
            assert not c.requires_grad
