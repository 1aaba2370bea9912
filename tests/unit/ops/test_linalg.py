"""Linear algebra beyond the operator matrix: NumPy as oracle, derivatives of structured matrices, broken inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pellucid
from pellucid import linalg
from pellucid.autograd import gradcheck, gradgradcheck

REAL_AND_COMPLEX = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
BATCHES = pytest.mark.parametrize("batch", [(), (3,), (2, 2), (0,)], ids=str)


def sample(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.standard_normal(shape)
    return a.astype(dtype)


def close(got, want, dtype=np.float64):
    tolerance = 1e-4 if np.dtype(dtype).itemsize // (2 if np.dtype(dtype).kind == "c" else 1) == 4 else 1e-10
    got = got.detach().numpy() if isinstance(got, pellucid.Tensor) else got
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def leaf(*shape, dtype=np.float64, seed=0):
    return pellucid.tensor(sample(*shape, dtype=dtype, seed=seed)).requires_grad_()


# ------------------------------------------------------------------------------------------------------- products
@pytest.mark.parametrize("a, b", [((3, 4), (4, 2)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4, 5)),
                                  ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((2, 0, 4), (4, 3)), ((3, 0), (0, 2))])
def test_matmul(a, b):
    x, y = leaf(*a), leaf(*b, seed=1)
    close(x @ y, np.matmul(sample(*a), sample(*b, seed=1)))
    assert gradcheck(lambda p, q: p @ q, (x, y))


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0)])
def test_products_of_permuted_batches_are_contiguous(order):
    x = pellucid.tensor(sample(2, 3, 4, 4)).permute(order)
    r = pellucid.matmul(x, x.transpose(-1, -2))
    assert r.is_contiguous()
    close(r, np.matmul(x.numpy(), x.numpy().swapaxes(-1, -2)))


def test_linear_over_many_dimensions():
    x, w, b = leaf(2, 3, 4), leaf(5, 4, seed=1), leaf(5, seed=2)
    y = pellucid.nn.functional.linear(x, w, b)
    close(y, sample(2, 3, 4) @ sample(5, 4, seed=1).T + sample(5, seed=2))
    assert y.grad_fn.name() == "LinearBackward0"
    assert gradcheck(pellucid.nn.functional.linear, (x, w, b)) and gradgradcheck(pellucid.nn.functional.linear, (x, w, b))


def test_addmm_ignores_what_beta_0_excludes():
    nan = pellucid.full((2, 2), math.nan)
    close(pellucid.addmm(nan, pellucid.ones(2, 3), pellucid.ones(3, 2), beta=0, alpha=2), np.full((2, 2), 6.0), np.float32)
    with pytest.raises(RuntimeError, match="Boolean beta only supported for Boolean results"):
        pellucid.addr(nan, pellucid.ones(2), pellucid.ones(2), beta=True)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: pellucid.ones(3, 4) @ pellucid.ones(3, 4), RuntimeError, r"mat1 and mat2 shapes cannot be multiplied \(3x4 and 3x4\)"),
        (lambda: pellucid.nn.functional.linear(pellucid.ones(5, 3), pellucid.ones(2, 4)), RuntimeError, r"mat1 and mat2 shapes cannot be multiplied \(5x3 and 4x2\)"),
        (lambda: pellucid.ones(2, 3, 4) @ pellucid.ones(5, 2), RuntimeError, r"mat1 and mat2 shapes cannot be multiplied \(6x4 and 5x2\)"),
        (lambda: pellucid.mm(pellucid.ones(3), pellucid.ones(3, 1)), RuntimeError, "self must be a matrix"),
        (lambda: pellucid.bmm(pellucid.ones(2, 3, 4), pellucid.ones(3, 4, 2)), RuntimeError, r"Expected size for first two dimensions of batch2 tensor to be: \[2, 4\] but got: \[3, 4\]"),
        (lambda: pellucid.mv(pellucid.ones(2, 3), pellucid.ones(2)), RuntimeError, r"size mismatch, got input \(2\), mat \(2x3\), vec \(2\)"),
        (lambda: pellucid.dot(pellucid.ones(2), pellucid.ones(3)), RuntimeError, "inconsistent tensor size"),
        (lambda: pellucid.ones(2, 2) @ pellucid.ones(2, 2, dtype=pellucid.float64), RuntimeError, "expected m1 and m2 to have the same dtype, but got: float != double"),
        (lambda: pellucid.ones(2) @ pellucid.tensor(1.0), RuntimeError, "both arguments to matmul need to be at least 1D"),
        (lambda: pellucid.ones(2) @ 3, TypeError, "unsupported operand"),
        (lambda: pellucid.mm(3, pellucid.ones(1)), TypeError, "must be Tensor, not int"),
    ],
)
def test_products_refuse(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("ba,cb", [(2, 3), (4, 2)]), ("i,j->ij", [(2,), (3,)]), ("ii", [(3, 3)]), ("ii->i", [(3, 3)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]), ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]), ("ijk->kij", [(2, 3, 4)]), ("a...->...", [(3, 2, 4)]),
    ("ij,ij,ij->i", [(2, 3), (2, 3), (2, 3)]), ("abc,abd->dcb", [(2, 3, 4), (2, 3, 5)]), (" i j , j -> i ", [(2, 3), (3,)]), ("i...i->...", [(3, 2, 3)]),
])
def test_einsum(equation, shapes):
    arrays = [sample(*s, seed=i) for i, s in enumerate(shapes)]
    want = np.einsum(equation.replace(" ", ""), *arrays)
    close(pellucid.einsum(equation, *map(pellucid.tensor, arrays)), want)
    close(pellucid.einsum(equation, list(map(pellucid.tensor, arrays))), want)


def test_einsum_with_lists_and_sizes_of_one():
    a, b = sample(2, 3), sample(3, 4)
    close(pellucid.einsum(pellucid.tensor(a), [0, 1], pellucid.tensor(b), [1, 2], [2, 0]), (a @ b).T)
    close(pellucid.einsum(pellucid.tensor(a), [..., 1], pellucid.tensor(b), [1, 2], [..., 2]), a @ b)
    one = sample(1, 3)
    close(pellucid.einsum("bi,bi->b", pellucid.tensor(one), pellucid.tensor(sample(4, 3))), (one * sample(4, 3)).sum(1))
    with pytest.raises(RuntimeError, match="subscript a has size 3 for operand 1 which does not broadcast with previously seen size 2"):
        pellucid.einsum("a, ba", pellucid.ones(2), pellucid.ones(2, 3))


def test_multi_dot_and_friends():
    mats = [sample(10, 3), sample(3, 8, seed=1), sample(8, 2, seed=2)]
    close(linalg.multi_dot([pellucid.tensor(m) for m in mats]), np.linalg.multi_dot(mats))
    close(pellucid.chain_matmul(*[pellucid.tensor(m) for m in mats]), np.linalg.multi_dot(mats))
    a, b = sample(2, 3, 4), sample(4, 3, 5)
    close(pellucid.tensordot(pellucid.tensor(a), pellucid.tensor(b), ([1, 2], [1, 0])), np.tensordot(a, b, ([1, 2], [1, 0])))
    close(pellucid.kron(pellucid.tensor(mats[0]), pellucid.tensor(mats[2])), np.kron(mats[0], mats[2]))


# ------------------------------------------------------------------------------------------------------- solving
@REAL_AND_COMPLEX
@BATCHES
def test_solve_inverse_determinant(dtype, batch):
    a, b = sample(*batch, 4, 4, dtype=dtype) + 3 * np.eye(4, dtype=dtype), sample(*batch, 4, 2, dtype=dtype, seed=1)
    ta, tb = pellucid.tensor(a), pellucid.tensor(b)
    close(linalg.solve(ta, tb), np.linalg.solve(a, b), dtype)
    close(linalg.solve(ta, tb.mT, left=False), np.linalg.solve(a.swapaxes(-1, -2), b).swapaxes(-1, -2), dtype)
    close(linalg.inv(ta), np.linalg.inv(a), dtype)
    close(linalg.det(ta), np.linalg.det(a), np.float32)
    sign, logabs = linalg.slogdet(ta)
    close(sign * logabs.exp(), np.linalg.det(a), np.float32)
    close(linalg.matrix_power(ta, -2) @ ta @ ta, np.broadcast_to(np.eye(4), a.shape), np.float32)


@REAL_AND_COMPLEX
@pytest.mark.parametrize("m, n", [(4, 4), (5, 3), (3, 5), (0, 2)])
def test_lu(dtype, m, n):
    a = sample(2, m, n, dtype=dtype)
    p, low, up = linalg.lu(pellucid.tensor(a))
    close(p @ low @ up, a, dtype)
    packed, pivots, info = linalg.lu_factor_ex(pellucid.tensor(a))
    assert pivots.dtype is pellucid.int32 and info.tolist() == [0, 0]
    for x, y in zip(pellucid.lu_unpack(packed, pivots), (p, low, up)):
        close(x, y.numpy(), dtype)
    if m == n:
        b = sample(2, m, 3, dtype=dtype, seed=1)
        for adjoint in (False, True):
            matrix = a.conj().swapaxes(-1, -2) if adjoint else a
            close(linalg.lu_solve(packed, pivots, pellucid.tensor(b), adjoint=adjoint), np.linalg.solve(matrix, b), dtype)


def test_row_exchanges_are_partial_pivoting():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    a = sample(6, 6)
    packed, pivots = linalg.lu_factor(pellucid.tensor(a))
    want, want_pivots = scipy_linalg.lu_factor(a)
    close(packed, want)
    assert (pivots.numpy() == want_pivots + 1).all()


@REAL_AND_COMPLEX
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_systems(dtype, upper, unit):
    a, b = sample(2, 4, 4, dtype=dtype) + 2 * np.eye(4, dtype=dtype), sample(2, 4, 3, dtype=dtype, seed=1)
    triangle = (np.triu if upper else np.tril)(a)
    if unit:
        triangle[..., range(4), range(4)] = 1
    x = linalg.solve_triangular(pellucid.tensor(a), pellucid.tensor(b), upper=upper, unitriangular=unit)
    close(x, np.linalg.solve(triangle, b), dtype)


@REAL_AND_COMPLEX
@BATCHES
@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl(dtype, batch, hermitian):
    a = sample(*batch, 5, 5, dtype=dtype)
    a = a + (a.conj() if hermitian else a).swapaxes(-1, -2)
    b = sample(*batch, 5, 2, dtype=dtype, seed=1)
    packed, pivots = linalg.ldl_factor(pellucid.tensor(a), hermitian=hermitian)
    close(linalg.ldl_solve(packed, pivots, pellucid.tensor(b), hermitian=hermitian), np.linalg.solve(a, b), np.float32)


def test_singular_matrices():
    a = pellucid.eye(3).expand(2, 3, 3).clone()
    a[1, 1, 1] = 0
    with pytest.raises(linalg.LinAlgError, match=r"linalg.inv: \(Batch element 1\): The diagonal element 2 is zero"):
        linalg.inv(a)
    with pytest.raises(RuntimeError, match="singular"):
        linalg.solve(a[1], pellucid.ones(3))
    inverse, info = linalg.inv_ex(a)
    assert info.tolist() == [0, 2] and (inverse[0] == pellucid.eye(3)).all()
    assert linalg.det(a).tolist() == [1, 0]
    assert linalg.slogdet(a).logabsdet.tolist() == [0, -math.inf]
    assert linalg.cond(a, 1).tolist() == [1, math.inf]
    with pytest.raises(linalg.LinAlgError, match=r"linalg.cholesky: \(Batch element 1\): .* \(the leading minor of order 2 is not positive-definite\)"):
        linalg.cholesky(a)
    low, info = linalg.cholesky_ex(a)
    assert info.tolist() == [0, 2] and linalg.cholesky_ex(a[:1]).info.tolist() == [0]


def test_determinant_of_a_singular_matrix_has_a_gradient():
    a = pellucid.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    linalg.det(a).backward()
    close(a.grad, np.array([[4.0, -2.0], [-2.0, 1.0]]), np.float32)


# ------------------------------------------------------------------------------------------------------- factorisations
@REAL_AND_COMPLEX
@BATCHES
@pytest.mark.parametrize("m, n", [(4, 4), (5, 3), (3, 5)])
def test_qr_svd_lstsq_pinv(dtype, batch, m, n):
    a = sample(*batch, m, n, dtype=dtype)
    t = pellucid.tensor(a)
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(t, mode)
        close(q @ r, a, dtype)
        close(q.mH @ q, np.broadcast_to(np.eye(q.shape[-1]), (*batch, q.shape[-1], q.shape[-1])), dtype)
    u, s, vh = linalg.svd(t, full_matrices=False)
    close((u * s.unsqueeze(-2)) @ vh, a, dtype)
    close(linalg.svdvals(t), np.linalg.svd(a, compute_uv=False), dtype)
    close(linalg.pinv(t), np.linalg.pinv(a), dtype)
    b = sample(*batch, m, 2, dtype=dtype, seed=1)
    close(linalg.lstsq(t, pellucid.tensor(b)).solution, np.matmul(np.linalg.pinv(a), b), dtype)
    reflectors, tau = pellucid.geqrf(t)
    if m >= n:
        close(linalg.householder_product(reflectors, tau), linalg.qr(t).Q.numpy(), dtype)
        close(pellucid.ormqr(reflectors, tau, pellucid.tensor(b)), np.matmul(linalg.qr(t, "complete").Q.numpy(), b), dtype)


def test_least_squares_fields_by_driver():
    a, b = pellucid.tensor(sample(5, 3)), pellucid.tensor(sample(5, 2, seed=1))
    residuals = ((a @ linalg.lstsq(a, b).solution - b) ** 2).sum(0)
    r = linalg.lstsq(a, b)
    assert r.rank.item() == 3 and r.residuals.numel() == 0 and r.singular_values.numel() == 0
    r = linalg.lstsq(a, b, driver="gelsd")
    close(r.residuals, residuals.numpy())
    assert r.singular_values.shape == (3,)
    assert linalg.lstsq(a, b, driver="gels").rank.numel() == 0
    with pytest.raises(RuntimeError, match="parameter `driver` should be one of"):
        linalg.lstsq(a, b, driver="fast")


@REAL_AND_COMPLEX
@BATCHES
def test_eigenvalues(dtype, batch):
    a = sample(*batch, 4, 4, dtype=dtype)
    h = a + a.conj().swapaxes(-1, -2)
    for letter in "LU":
        w, v = linalg.eigh(pellucid.tensor(np.tril(h) if letter == "L" else np.triu(h)), UPLO=letter)
        close((v * w.unsqueeze(-2)) @ v.mH, h, dtype)
    close(linalg.eigvalsh(pellucid.tensor(h)), np.linalg.eigvalsh(h), dtype)
    w, v = linalg.eig(pellucid.tensor(a))
    assert w.is_complex()
    close((v * w.unsqueeze(-2)), np.matmul(a, v.numpy()), np.float32)


@REAL_AND_COMPLEX
def test_matrix_exp(dtype):
    scipy_linalg = pytest.importorskip("scipy.linalg")
    for scale in (1e-3, 1.0, 30.0):
        a = sample(3, 5, 5, dtype=dtype) * scale / 5
        want = np.stack([scipy_linalg.expm(x.astype(np.complex128)) for x in a])
        got = linalg.matrix_exp(pellucid.tensor(a)).numpy()
        assert abs(got - want).max() <= (1e-3 if np.dtype(dtype).itemsize in (4, 8) and dtype != np.float64 else 1e-9) * abs(want).max()


def test_ranks():
    low = sample(5, 2) @ sample(2, 4, seed=1)
    assert linalg.matrix_rank(pellucid.tensor(low)).item() == 2
    assert linalg.matrix_rank(pellucid.diag(pellucid.tensor([3.0, 1.0, 1e-3])), atol=1e-2).item() == 2
    assert linalg.matrix_rank(pellucid.tensor(low @ low.T), hermitian=True).item() == 2


def test_results_have_names():
    r = linalg.qr(pellucid.eye(2))
    assert r.Q is r[0] and isinstance(r, tuple) and repr(r).startswith("torch.return_types.linalg_qr(\nQ=")


# ------------------------------------------------------------------------------------------------------- derivatives
def hermitian(x):
    return x + x.mH


def symmetric(dtype):
    a = sample(3, 3, dtype=dtype, seed=9)
    return a + a.T


STRUCTURED = {
    "cholesky": lambda x: linalg.cholesky(x @ x.mH + 3 * pellucid.eye(3, dtype=x.dtype)),
    "cholesky upper": lambda x: pellucid.cholesky(x @ x.mH + 3 * pellucid.eye(3, dtype=x.dtype), upper=True),
    "cholesky_solve": lambda x: pellucid.cholesky_solve(x, linalg.cholesky(x @ x.mH + 3 * pellucid.eye(3, dtype=x.dtype))),
    "cholesky_inverse": lambda x: pellucid.cholesky_inverse(linalg.cholesky(x @ x.mH + 3 * pellucid.eye(3, dtype=x.dtype))),
    "eigvalsh": lambda x: linalg.eigvalsh(hermitian(x)),
    "eigh": lambda x: pellucid.abs(linalg.eigh(hermitian(x)).eigenvectors),
    "eig": lambda x: pellucid.abs(linalg.eig(x).eigenvectors),
    "eigvals": lambda x: pellucid.abs(linalg.eigvals(x)),
    "svd": lambda x: (lambda u, s, vh: ((u * s.unsqueeze(-2)) @ vh, s, pellucid.abs(u), pellucid.abs(vh)))(*linalg.svd(x)),
    "pinv hermitian": lambda x: linalg.pinv(hermitian(x), hermitian=True),
    "ldl_solve": lambda x: linalg.ldl_solve(*linalg.ldl_factor(pellucid.tensor(symmetric(x.detach().numpy().dtype))), x),
    "nuclear": lambda x: linalg.norm(x, "nuc"),
    "householder": lambda x: linalg.householder_product(x, x[0]),
}


@pytest.mark.parametrize("name", STRUCTURED)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_structured_derivatives(name, dtype):
    x = leaf(3, 3, dtype=dtype, seed=4)
    assert gradcheck(STRUCTURED[name], (x,), atol=1e-4)
    assert gradgradcheck(STRUCTURED[name], (x,), atol=1e-3, rtol=1e-2)


def test_losses_that_depend_on_a_phase_are_refused():
    for function in (lambda a: linalg.svd(a, full_matrices=False).U, lambda a: linalg.eig(a).eigenvectors, lambda a: linalg.eigh(hermitian(a)).eigenvectors):
        with pytest.raises(RuntimeError, match="ill-defined"):
            function(leaf(3, 3, dtype=np.complex128)).sum().abs().backward()


def test_norms_have_no_nan_gradient_at_zero():
    for p in (0.5, 1, 1.5, 2, 3, math.inf, -math.inf, 0):
        x = pellucid.zeros(3, requires_grad=True)
        linalg.vector_norm(x, p).backward()
        assert (x.grad == 0).all(), p


# ------------------------------------------------------------------------------------------------------- norms
@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, math.inf, -math.inf, -1])
def test_vector_norms(p):
    a = sample(3, 4)
    close(linalg.vector_norm(pellucid.tensor(a), p), np.linalg.norm(a.reshape(-1), p))
    close(linalg.vector_norm(pellucid.tensor(a), p, dim=1, keepdim=True), np.linalg.norm(a, p, axis=1, keepdims=True))
    close(pellucid.norm(pellucid.tensor(a), p, dim=0), np.linalg.norm(a, p, axis=0))


@pytest.mark.parametrize("p", ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
@REAL_AND_COMPLEX
def test_matrix_norms_and_condition(p, dtype):
    a = sample(2, 4, 4, dtype=dtype)
    close(linalg.matrix_norm(pellucid.tensor(a), p), np.linalg.norm(a, p, axis=(1, 2)), dtype)
    close(linalg.matrix_norm(pellucid.tensor(a), p, dim=(0, 2), keepdim=True), np.linalg.norm(a, p, axis=(0, 2), keepdims=True), dtype)
    close(linalg.cond(pellucid.tensor(a.astype(np.complex128)), p), np.linalg.cond(a.astype(np.complex128), p), np.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: linalg.inv(pellucid.ones(2, 3)), "linalg.inv: A must be batches of square matrices, but they are 2 by 3 matrices"),
        (lambda: linalg.inv(pellucid.ones(3)), "linalg.inv: The input tensor A must have at least 2 dimensions."),
        (lambda: linalg.inv(pellucid.ones(2, 2, dtype=pellucid.int64)), "linalg.inv: Expected a floating point or complex tensor as input. Got Long"),
        (lambda: linalg.inv(pellucid.ones(2, 2).half()), "linalg.inv: Low precision dtypes not supported. Got Half"),
        (lambda: linalg.solve(pellucid.eye(2), pellucid.ones(3)), "Incompatible shapes of A and B"),
        (lambda: linalg.matrix_norm(pellucid.ones(2, 2), 3), "linalg.matrix_norm: Order 3 not supported"),
        (lambda: linalg.norm(pellucid.ones(2, 2, 2), 1), "If dim is not specified but ord is, the input must be 1D or 2D"),
        (lambda: linalg.vector_norm(pellucid.ones(0), math.inf), "cannot compute the inf norm on an empty tensor"),
        (lambda: linalg.eigh(pellucid.eye(2), UPLO="X"), "Expected UPLO argument to be 'L' or 'U', but got X"),
        (lambda: linalg.qr(pellucid.eye(2), "full"), "qr received unrecognized mode 'full'"),
        (lambda: pellucid.tril(pellucid.ones(3)), "tril: input tensor must have at least 2 dimensions"),
        (lambda: pellucid.trace(pellucid.ones(3)), "trace: expected a matrix"),
        (lambda: linalg.cross(pellucid.ones(2), pellucid.ones(2)), "linalg.cross: inputs dimension -1 must have length 3. Got 2 and 2"),
        (lambda: linalg.svd(pellucid.full((2, 2), math.nan)), "linalg.svd: The algorithm failed to converge because the input matrix contained non-finite values"),
    ],
)
def test_linalg_refuses(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


def test_cross_without_dim_warns():
    with pytest.warns(UserWarning, match="Using torch.cross without specifying the dim arg is deprecated"):
        r = pellucid.cross(pellucid.tensor(sample(3, 4)), pellucid.tensor(sample(3, 4, seed=1)))
    close(r, np.cross(sample(3, 4), sample(3, 4, seed=1), axis=0))


def test_triangles_and_diagonals():
    a = sample(3, 4)
    for k in (-1, 0, 2):
        close(pellucid.tril(pellucid.tensor(a), k), np.tril(a, k))
        close(pellucid.triu(pellucid.tensor(a), k), np.triu(a, k))
        close(pellucid.diag(pellucid.tensor(a), k), np.diag(a, k))
        close(pellucid.diag(pellucid.tensor(a[0]), k), np.diag(a[0], k))
        assert (pellucid.tril_indices(3, 4, k).numpy() == np.stack(np.tril_indices(3, k, 4))).all()
        assert (pellucid.triu_indices(3, 4, k).numpy() == np.stack(np.triu_indices(3, k, 4))).all()
    x = pellucid.ones(3, 3)
    assert x.tril_() is x and x.sum() == 6
    close(pellucid.diag_embed(pellucid.tensor(a), 1, 0, 2).diagonal(1, 0, 2), a)
