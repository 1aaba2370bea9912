"""`pellucid.array_api` against NumPy's namespace, which follows the same standard, and what is the standard's own."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pellucid
import pellucid.array_api as xp

A = np.array([[1.5, -2.0, 0.5], [0.25, 4.0, -1.0]], np.float32)
B = np.array([[0.5, 2.0, 3.0], [-1.0, 0.5, 2.0]], np.float32)
M = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]])
V, W = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 4.0])
I, J = np.array([5, -3, 2, 2]), np.array([1, 2, 3, 2])
U = np.array([0.1, 0.5, 0.9])
Z = np.array([1 + 2j, -0.5j, 3 + 0j])


def both(name, *args, **kwargs):
    """The same call here and in NumPy; (ours, NumPy's) as lists of arrays."""
    ours, theirs = xp, np
    for part in name.split("."):
        ours, theirs = getattr(ours, part), getattr(theirs, part)

    def ours_of(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(ours_of, x))
        return xp.asarray(x, copy=True) if isinstance(x, np.ndarray) else getattr(xp, x.__name__) if isinstance(x, type) else x
    r = ours(*map(ours_of, args), **{k: ours_of(v) for k, v in kwargs.items()})
    t = theirs(*args, **kwargs)
    return [list(v) if isinstance(v, (tuple, list)) else [v] for v in (r, t)]


CASES = [
    *[(n, A) for n in "abs atan ceil cos cosh exp expm1 floor isfinite isinf isnan negative positive reciprocal round sign signbit sin "
      "sinh square tan tanh trunc logical_not asinh".split()],
    *[(n, U) for n in "acos asin atanh log log1p log2 log10 sqrt".split()],
    ("acosh", W), ("bitwise_invert", I), ("conj", Z), ("real", Z), ("imag", Z), ("sign", Z), ("round", Z * 0.5), ("sign", np.array([np.nan, -1.0])),
    *[(n, A, B) for n in "add subtract multiply divide floor_divide remainder maximum minimum atan2 copysign hypot logaddexp nextafter "
      "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor".split()],
    ("add", I, np.array(2, np.uint16)), ("add", A, np.array(2.0)), ("multiply", A, 2.5), ("pow", W, V),
    *[(n, I, J) for n in "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift".split()],
    ("clip", A, -1.0, 1.0), ("clip", A, B - 1, None), ("clip", A, None, None),
    ("sum", A), ("sum", np.array([200, 100], np.uint8)), ("sum", A, {"axis": ()}), ("sum", A, {"axis": (0, 1), "keepdims": True}),
    ("prod", A, {"axis": 1}), ("prod", A), ("mean", A, {"axis": 0}), ("max", A, {"axis": 1}), ("min", A),
    ("std", A, {"axis": 1, "correction": 1}),
    ("var", A), ("any", A > 2, {"axis": 0}), ("all", A > -5), ("any", I.astype(np.uint8)), ("any", I, {"axis": ()}),
    ("count_nonzero", I, {"keepdims": True}),
    ("cumulative_sum", I), ("cumulative_sum", A, {"axis": -1, "include_initial": True}),
    ("cumulative_prod", V, {"include_initial": True}),
    ("diff", V), ("diff", A, {"axis": 0}),
    ("argmax", A, {"axis": 1}), ("argmin", A), ("argsort", V), ("sort", V), ("isin", I, J), ("isin", I, J, {"invert": True}),
    ("nonzero", A > 1), ("searchsorted", W, V, {"side": "right"}), ("take", A, np.array([2, 0]), {"axis": 1}),
    ("take", V, np.array([0, -1])),
    ("take", A, np.array([[2, 0], [1, 1]]), {"axis": 1}), ("take_along_axis", A, np.array([[0], [2]]), {"axis": 1}),
    *[(n, I) for n in "unique_all unique_counts unique_inverse".split()], ("where", A > 0, A, 0.0),
    ("broadcast_arrays", V, A.astype(float)), ("broadcast_to", V, (2, 3)), ("broadcast_shapes", (3, 1), (2,)),
    ("concat", [A, B.astype(np.float64)]), ("concat", [A, B], {"axis": None}), ("stack", [A, B], {"axis": 1}), ("expand_dims", A, (0, 2)),
    ("flip", A), ("flip", A, {"axis": 0}), ("moveaxis", A, 0, 1), ("permute_dims", A, (1, 0)), ("repeat", A, 2, {"axis": 1}),
    ("repeat", V, 3),
    ("reshape", A, (3, 2), {"copy": True}), ("roll", A, 1, {"axis": 1}), ("squeeze", A[None], 0), ("tile", V, (2, 2)), ("unstack", A),
    ("arange", 5), ("arange", 5, 0), ("arange", 1, 4, 2), ("linspace", 0, 1, 4, {"endpoint": False}), ("meshgrid", V, W[:2]),
    ("eye", 2, 3, {"k": 1}), ("tril", M, {"k": -1}), ("triu", M), ("full", 3, 2.5), ("full_like", A, 7), ("ones", (2,)), ("zeros", 2),
    ("ones_like", A), ("zeros_like", A), ("astype", A, np.float64), ("matmul", A, M.astype(np.float32)), ("matrix_transpose", A),
    ("tensordot", A, B, {"axes": ((1,), (1,))}), ("vecdot", I, J), ("vecdot", Z, Z),
    ("linalg.cholesky", M), ("linalg.cross", V, W), ("linalg.cross", M, V), ("linalg.det", M), ("linalg.diagonal", M, {"offset": 1}),
    ("linalg.eigh", M),
    ("linalg.eigvalsh", M), ("linalg.inv", M), ("linalg.matmul", M, M), ("linalg.matrix_norm", M, {"ord": 1}),
    ("linalg.matrix_power", M, 3),
    ("linalg.matrix_rank", M), ("linalg.matrix_transpose", M), ("linalg.outer", V, W), ("linalg.pinv", M), ("linalg.slogdet", M),
    ("linalg.solve", M, V), ("linalg.svdvals", M), ("linalg.tensordot", M, M, {"axes": 1}), ("linalg.trace", M, {"offset": 1}),
    ("linalg.vecdot", V, W), ("linalg.vector_norm", V, {"ord": 1}), ("linalg.vector_norm", M, {"axis": (0, 1)}),
    ("linalg.solve", np.stack([M, M]), M),
    *[(f"fft.{n}", V) for n in "fft ifft rfft hfft ihfft fftn ifftn rfftn fftshift ifftshift".split()],
    ("fft.irfft", Z), ("fft.irfftn", Z), ("fft.fftn", M, {"s": (2, 2), "axes": (0, 1)}),
    ("fft.fft", M, {"n": 4, "axis": 0, "norm": "ortho"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_agrees_with_numpy(case) -> None:
    kwargs = case[-1] if isinstance(case[-1], dict) else {}
    args = case[1:-1] if isinstance(case[-1], dict) else case[1:]
    ours, theirs = both(case[0], *args, **kwargs)
    assert len(ours) == len(theirs)
    for r, t in zip(ours, theirs):
        if isinstance(t, int):
            assert r == t
            continue
        t, r = np.asarray(t), np.asarray(r)
        assert r.shape == t.shape and (r.dtype == t.dtype or case[0] in ("linspace", "eye", "full", "ones", "zeros")), (r.dtype, t.dtype)
        np.testing.assert_allclose(r, t, rtol=2e-6, atol=1e-7)


def test_factorisations_and_frequencies() -> None:
    x = xp.asarray(M)
    q, r = xp.linalg.qr(x)
    u, s, vh = xp.linalg.svd(x)
    assert pellucid.allclose(q @ r, x) and pellucid.allclose(u * s @ vh, x)
    assert pellucid.allclose(xp.linalg.eigvals(x).real.sort().values, xp.linalg.eigvalsh(x))
    values, vectors = xp.linalg.eig(x)
    assert pellucid.allclose((x + 0j) @ vectors, vectors * values)
    assert xp.fft.fftfreq(4, d=0.5, dtype=xp.float64).tolist() == [0, 0.5, -1, -0.5]
    assert xp.fft.rfftfreq(4, d=0.5).tolist() == [0, 0.5, 1]
    assert xp.empty((2, 3)).shape == xp.empty_like(x[:2]).shape == (2, 3)
    assert xp.from_dlpack(x).data_ptr() == x.data_ptr()


def test_order() -> None:
    x = xp.asarray([2, 1, 2, 3])
    assert xp.argsort(x, descending=True).tolist() == [3, 0, 2, 1] and xp.sort(x, descending=True).tolist() == [3, 2, 2, 1]
    assert xp.unique_values(x).tolist() == [1, 2, 3]


def test_promotion_is_the_standards() -> None:
    assert xp.result_type(xp.uint16, xp.int8) is xp.int32
    assert xp.result_type(xp.asarray(1.0, dtype=xp.float64), xp.ones(2)) is xp.float64          # PyTorch: float32
    assert xp.result_type(xp.int8, 3) is xp.int8 and xp.result_type(xp.ones(1), 2j) is xp.complex64
    assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.asarray(1.5), xp.int16) and not xp.can_cast(xp.uint64, xp.int64)
    with pytest.raises(TypeError, match="result_type"):
        xp.result_type("float32")
    with pytest.raises(TypeError, match="at least one operand must be a tensor"):
        xp.add(1, 2)
    assert xp.isdtype(xp.int8, "integral") and xp.isdtype(xp.float32, ("bool", xp.float32)) and not xp.isdtype(xp.bool, "numeric")
    with pytest.raises(ValueError, match="unknown kind"):
        xp.isdtype(xp.int8, "whole")
    assert xp.finfo(xp.complex64).dtype is xp.float32 and xp.finfo(xp.ones(1)).bits == 32
    assert xp.iinfo(xp.int8).max == 127 and xp.iinfo(xp.arange(2)).dtype is xp.int64


def test_refusals_are_the_standards() -> None:
    for wrong in (lambda: xp.squeeze(xp.ones((2, 1)), 0), lambda: xp.nonzero(xp.asarray(1)), lambda: xp.broadcast_shapes((2,), (3,)),
                  lambda: xp.cumulative_sum(xp.ones((2, 2))), lambda: xp.take(xp.ones((2, 2)), xp.asarray([0])),
                  lambda: xp.vecdot(xp.ones(3), xp.ones(1)), lambda: xp.linalg.cross(xp.ones(3), xp.ones((2, 1)))):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(IndexError, match="distinct dimensions"):
        xp.expand_dims(xp.ones(2), (0, 0))
    with pytest.raises(RuntimeError):
        xp.reshape(xp.ones((2, 3)).T, (6,), copy=False)


def test_a_tensor_knows_its_namespace() -> None:
    x = pellucid.ones(2, 3)
    assert x.__array_namespace__() is xp is x.__array_namespace__(api_version="2023.12")
    with pytest.raises(ValueError, match="'2019.01' of the array API standard is not served"):
        x.__array_namespace__(api_version="2019.01")
    info = xp.__array_namespace_info__()
    assert x.to_device(info.default_device()) is x and info.devices() == (x.device,) and x.__dlpack_device__() == (1, 0)
    assert info.capabilities()["boolean indexing"] and info.default_dtypes()["integral"] is xp.int64
    assert list(info.dtypes(kind="real floating")) == ["float32", "float64"] and len(info.dtypes()) == 13
    assert (xp.e, xp.pi, xp.inf, xp.newaxis) == (np.e, np.pi, np.inf, None) and xp.nan != xp.nan
    assert xp.__array_api_version__ == "2025.12"


def test_gradients_pass_through_the_namespace() -> None:
    x = pellucid.tensor([1.0, 2.0], requires_grad=True)
    xp.sum(xp.multiply(x, xp.asarray(3.0, dtype=xp.float64))).backward()
    assert x.grad.tolist() == [3, 3] and x.grad.dtype is pellucid.float32


def test_loads_when_first_asked_for() -> None:
    code = "import sys, pellucid; before = 'pellucid.array_api' in sys.modules; pellucid.ones(1).__array_namespace__(); print(before)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip() == "False"
