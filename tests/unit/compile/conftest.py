"""The backends that compiled functions are tested with, and the comparison with eager."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid


@pytest.fixture(params=["eager", "python", "llvm"])
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def same_random_numbers():
    pellucid.manual_seed(0)


def arrays(x) -> list:
    """The tensors of a structure as arrays, low precision as float32; anything else as it is."""
    if isinstance(x, pellucid.Tensor):
        a = x.detach()
        return [(a.float() if a.dtype in (pellucid.bfloat16, pellucid.float16) else a).numpy()]
    if isinstance(x, (tuple, list)):
        return [b for a in x for b in arrays(a)]
    return [x]


def outcome(fn, args):
    """What a call gives, or raises."""
    try:
        return fn(*args)
    except Exception as error:
        return error


def compare(ours, theirs, tolerance: float, zeros: bool = True) -> None:
    """The same arrays: shape, dtype, strides, NaN, infinities, and with `zeros` the signs of zeros."""
    for a, b in zip(arrays(ours), arrays(theirs), strict=True):
        if not isinstance(b, np.ndarray):
            assert a is b or a == b
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype) and (a.size < 2 or a.strides == b.strides)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        if zeros and b.dtype.kind == "f":
            assert not np.any((a == 0) & (b == 0) & (np.signbit(a) != np.signbit(b))), "the sign of a zero"


@pytest.fixture
def same_as_eager():
    """`check(fn, make)`: the compiled `fn` does with the arguments `make()` what `fn` does: results, what becomes of the arguments,
    errors. Gives the compiled function."""
    def check(fn, make, *, calls: int = 2, tolerance: float = 2e-6, zeros: bool = True, errors: bool = False, **settings):
        compiled = pellucid.compile(fn, fullgraph=True, **settings)
        for k in range(calls):
            pellucid.manual_seed(k)
            theirs = make()
            expected = outcome(fn, theirs)
            pellucid.manual_seed(k)
            ours = make()
            found = outcome(compiled, ours)
            if isinstance(expected, Exception) or isinstance(found, Exception):
                assert errors and type(found) is type(expected), (expected, found)
                assert str(found) == str(expected)
            else:
                compare(found, expected, tolerance, zeros)
            compare(list(ours), list(theirs), tolerance, zeros)
        return compiled
    return check
