"""Products of matrices and vectors.

Two primitives carry the load: `gemm`, the product of two matrices each of which may be read transposed, and `bgemm`, the
same over broadcast leading dimensions. Their derivatives are themselves with other flags, so no transposed view is ever
made. NumPy hands floats to BLAS without copies.
"""
from __future__ import annotations

from ._common import Spec, broadcast_shapes, describe, dt, fail, need_tensor, np
from .op import EXTERN, F, composite, primitive

METHOD = "function method out"


# ---------------------------------------------------------------------------------------------------- checks
def type_name(x) -> str:
    """The dtype as PyTorch's messages call it: `float`, `double`, `long int`, ..."""
    return _C_NAMES.get(x.dtype.name, x.dtype.name)


_C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "int64_t",
            "int32": "int", "int16": "short", "int8": "signed char", "uint8": "unsigned char",
            "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}


def same_dtype(fn: str, a, b) -> None:
    """Products take operands of one dtype; bool has none."""
    d = a.dtype
    if d is not b.dtype:
        fail(RuntimeError, "P800", f"expected m1 and m2 to have the same dtype, but got: {type_name(a)} != {type_name(b)}",
             got=f"{fn} of {describe(a, b)}", fix=f"convert one of them: x.to({b.dtype})")
    if d is dt.bool_:
        fail(RuntimeError, "P801", f"\"{fn}\" not implemented for 'Bool'", fix="convert to a number type first")


def conj(x):
    """For derivatives: the conjugate of complex values, others as they are."""
    return F.conj(x) if x.is_complex() else x


# ---------------------------------------------------------------------------------------------------- the two primitives
def gemm_ref(a, b, *, ta, tb):
    return product(a.T if ta else a, b.T if tb else b)


def product(a, b):
    """a @ b for matrices and vectors. (Small ones: `dot` takes half the time that `matmul` takes.)"""
    return a.dot(b) if a.size < 10_000 and a.dtype.kind == "f" else np.matmul(a, b)


def gemm_infer(a: Spec, b: Spec, *, ta, tb) -> Spec:
    (n, k), (k2, m) = a.shape[::-1] if ta else a.shape, b.shape[::-1] if tb else b.shape
    if k != k2:
        fail(RuntimeError, "P802", f"mat1 and mat2 shapes cannot be multiplied ({n}x{k} and {k2}x{m})", got=describe(a, b),
             fix=f"the columns of the first ({k}) must equal the rows of the second ({k2}); transpose one of them with .T?")
    return a.like((n, m))


def gemm_first(g, b, ta, tb):
    return F.gemm(conj(b), g, tb, True) if ta else F.gemm(g, conj(b), False, not tb)


def gemm_second(g, a, ta, tb):
    return F.gemm(g, conj(a), True, ta) if tb else F.gemm(conj(a), g, not ta, False)


def product_batch(b, x, y, ta=False, tb=False):
    """Products of matrices with a batch in front of either. One on the left of a shared matrix is more rows of it."""
    if x.ndim == y.ndim == 2 and x.batched and not y.batched and not ta:
        return F.unflatten(F.gemm(F.flatten(x.x, 0, 1), y.x, False, tb), 0, (b.size, x.shape[0]))
    return F.bgemm(b.widened(x, y), b.widened(y, x), ta, tb)


@primitive(EXTERN, args="a b", ref=gemm_ref, infer=gemm_infer, forms="", cast="low", jvp="a b", batch=product_batch,
           vjp={"a": lambda g, b, ta, tb: gemm_first(g, b, ta, tb), "b": lambda g, a, ta, tb: gemm_second(g, a, ta, tb)})
def gemm(a, b, ta=False, tb=False):
    """a @ b for matrices, each read transposed if its flag says so."""
    return (a, b), {"ta": ta, "tb": tb}


def rows(shape) -> int:
    """How many vectors along the last dimension there are."""
    n = 1
    for s in shape[:-1]:
        n *= s
    return n


def in_order(r):
    """NumPy gives the result the operands' order of dimensions where both are permuted; here it is always contiguous."""
    return r if r.flags.c_contiguous else np.ascontiguousarray(r)


def bgemm_ref(a, b, *, ta, tb):
    if ta:
        a = a.swapaxes(-1, -2)
    if tb:
        b = b.swapaxes(-1, -2)
    if b.ndim == 2 and a.ndim > 2 and not ta:          # one large product instead of many small ones
        k = a.shape[-1]
        return np.matmul(a.reshape(rows(a.shape), k), b).reshape(*a.shape[:-1], b.shape[-1])
    return in_order(np.matmul(a, b))


def bgemm_infer(a: Spec, b: Spec, *, ta, tb) -> Spec:
    (n, k), (k2, m) = a.shape[-2:], b.shape[-2:]
    if ta:
        n, k = k, n
    if tb:
        k2, m = m, k2
    if k != k2:
        fail(RuntimeError, "P803", f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {k}] but got: "
             f"[{b.shape[0]}, {k2}].", got=describe(a, b), fix=f"the last dimension of the first operand ({k}) must equal the "
             f"second-to-last of the second ({k2})")
    return a.like((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), n, m))


def bgemm_second(g, a, ta, tb, b_shape):
    if len(b_shape) == 2 and not ta:                   # b was shared by the whole batch: fold the batch into the sum
        a, g = F.reshape(a, (rows(a.shape), a.shape[-1])), F.reshape(g, (rows(g.shape), g.shape[-1]))
        return gemm_second(g, a, False, tb)
    return F.bgemm(g, conj(a), True, ta) if tb else F.bgemm(conj(a), g, not ta, False)


@primitive(EXTERN, args="a b", ref=bgemm_ref, infer=bgemm_infer, forms="", cast="low", jvp="a b", batch=product_batch,
           vjp={"a": lambda g, b, ta, tb: F.bgemm(conj(b), g, tb, True) if ta else F.bgemm(g, conj(b), False, not tb),
                "b": bgemm_second})
def bgemm(a, b, ta=False, tb=False):
    """a @ b over the last two dimensions, the others broadcast; each read transposed if its flag says so."""
    return (a, b), {"ta": ta, "tb": tb}


# ---------------------------------------------------------------------------------------------------- two operands
@primitive(EXTERN, args="input mat2", ref=product, jvp="input mat2", batch=product_batch, infer=lambda a, b: gemm_infer(a, b, ta=False, tb=False),
           vjp={"input": lambda g, mat2: F.gemm(g, conj(mat2), False, True),
                "mat2": lambda g, input: F.gemm(conj(input), g, True, False)},
           forms=METHOD, cast="low", onnx="MatMul",
           samples=lambda m: [((m.t(3, 4), m.t(4, 2)), {}), ((m.t(1, 5), m.t(5, 5)), {}), ((m.t(0, 3), m.t(3, 2)), {})])
def mm(input, mat2, out_dtype=None):
    """The product of two matrices, (n, k) and (k, m)."""
    need_tensor(input, "mm")
    need_tensor(mat2, "mm", "mat2", 2)
    if input.ndim != 2 or mat2.ndim != 2:
        which = "self" if input.ndim != 2 else "mat2"
        fail(RuntimeError, "P804", f"{which} must be a matrix", got=describe(input, mat2), fix="mm takes matrices only; use matmul")
    same_dtype("mm", input, mat2)
    return (input, mat2), {}


@primitive(EXTERN, args="input mat2", ref=lambda a, b: in_order(np.matmul(a, b)), jvp="input mat2", batch=product_batch, infer=lambda a, b: bgemm_infer(a, b, ta=False, tb=False),
           vjp={"input": lambda g, mat2: F.bgemm(g, conj(mat2), False, True),
                "mat2": lambda g, input: F.bgemm(conj(input), g, True, False)},
           forms=METHOD, cast="low", onnx="MatMul",
           samples=lambda m: [((m.t(2, 3, 4), m.t(2, 4, 5)), {}), ((m.t(1, 1, 2), m.t(1, 2, 1)), {}), ((m.t(0, 3, 4), m.t(0, 4, 2)), {})])
def bmm(input, mat2, out_dtype=None):
    """The products of two batches of matrices, (b, n, k) and (b, k, m)."""
    need_tensor(input, "bmm")
    need_tensor(mat2, "bmm", "mat2", 2)
    if input.ndim != 3 or mat2.ndim != 3:
        which = "batch1" if input.ndim != 3 else "batch2"
        fail(RuntimeError, "P805", f"{which} must be a 3D tensor", got=describe(input, mat2), fix="bmm takes 3D tensors only; use matmul")
    same_dtype("bmm", input, mat2)
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        fail(RuntimeError, "P806", "Expected size for first two dimensions of batch2 tensor to be: "
             f"[{input.shape[0]}, {input.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}].", got=describe(input, mat2),
             fix="batches must have the same length, and inner sizes must agree; matmul broadcasts batches")
    return (input, mat2), {}


def mv_infer(a: Spec, v: Spec) -> Spec:
    if a.shape[1] != v.shape[0]:
        fail(RuntimeError, "P807", f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})",
             got=describe(a, v), fix="the vector needs one element per column of the matrix")
    return a.like((a.shape[0],))


def mv_batch(b, a, v):
    if not v.batched and a.ndim == 2:
        return F.unflatten(F.mv(F.flatten(a.x, 0, 1), v.x), 0, (b.size, a.shape[0]))
    return F.squeeze(F.bgemm(a.x, F.unsqueeze(v.x, -1)), -1)


@primitive(EXTERN, args="input vec", ref=lambda a, v: np.matmul(a, v), jvp="input vec", batch=mv_batch, infer=mv_infer, forms=METHOD, cast="gpu-low",
           vjp={"input": lambda g, vec: F.outer(g, conj(vec)), "vec": lambda g, input: F.mv(F.permute(conj(input), (1, 0)), g)},
           samples=lambda m: [((m.t(3, 4), m.t(4)), {}), ((m.t(1, 2), m.t(2)), {}), ((m.t(0, 3), m.t(3)), {})])
def mv(input, vec):
    """The product of a matrix (n, k) and a vector (k)."""
    need_tensor(input, "mv")
    need_tensor(vec, "mv", "vec", 2)
    if input.ndim != 2 or vec.ndim != 1:
        fail(RuntimeError, "P808", f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}", got=describe(input, vec),
             fix="mv takes a matrix and a vector; matmul takes any dimensions")
    same_dtype("addmv_impl_cpu", input, vec)
    return (input, vec), {}


def check_dot(fn: str, input, other) -> None:
    need_tensor(input, fn)
    need_tensor(other, fn, "other" if fn == "vdot" else "tensor", 2)
    if input.ndim != 1 or other.ndim != 1:
        fail(RuntimeError, "P809", f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors", got=describe(input, other),
             fix="use matmul, or @, for matrices")
    if input.dtype is not other.dtype:
        fail(RuntimeError, "P810", "dot : expected both vectors to have same dtype, but found "
             f"{input.dtype.type_name} and {other.dtype.type_name}", fix=f"convert one of them: x.to({input.dtype})")
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P811", "\"dot\" not implemented for 'Bool'", fix="convert to a number type first")
    if input.shape != other.shape:
        fail(RuntimeError, "P812", "inconsistent tensor size, expected tensor [{}] and src [{}] to have the same number of elements, "
             "but got {} and {} elements respectively".format(input.shape[0], other.shape[0], input.shape[0], other.shape[0]),
             got=describe(input, other), fix="dot() needs two vectors of one length")


def dot_infer(a: Spec, b: Spec) -> Spec:
    return a.like(())


def dot_batch(b, x, y):
    return F.reshape(F.bgemm(F.unsqueeze(b.full(x), 1), F.unsqueeze(b.full(y), 2)), (b.size,))


@primitive(EXTERN, args="input tensor", ref=lambda a, b: np.asarray(np.dot(a, b)), jvp="input tensor", batch=dot_batch, infer=dot_infer, forms=METHOD, cast="gpu-low",
           vjp={"input": lambda g, tensor: F.mul(g, conj(tensor)), "tensor": lambda g, input: F.mul(g, conj(input))},
           samples=lambda m: [((m.t(4), m.t(4)), {}), ((m.t(1), m.t(1)), {}), ((m.t(0), m.t(0)), {})])
def dot(input, tensor=None, *, other=None):
    """The sum of products of two vectors (no conjugation)."""
    tensor = other if tensor is None else tensor
    check_dot("dot", input, tensor)
    return (input, tensor), {}


@primitive(EXTERN, args="input other", ref=lambda a, b: np.asarray(np.vdot(a, b)),
           batch=lambda b, x, y: F.reshape(F.bgemm(F.unsqueeze(conj(b.full(x)), 1), F.unsqueeze(b.full(y), 2)), (b.size,)), infer=dot_infer, forms=METHOD, cast="gpu-low",
           vjp={"input": lambda g, other: F.mul(conj(g), other), "other": lambda g, input: F.mul(g, input)},
           samples=lambda m: [((m.t(4), m.t(4)), {}), ((m.t(1), m.t(1)), {}), ((m.t(0), m.t(0)), {})])
def vdot(input, other):
    """The sum of products of two vectors, the first conjugated."""
    check_dot("vdot", input, other)
    return (input, other), {}


def samples_matmul(m):
    shapes = [((3, 4), (4, 2)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
              ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((0, 3), (3, 2))]
    return [((m.t(*a), m.t(*b)), {}) for a, b in shapes]


@composite(args="input other", forms=METHOD, operator="matmul", cast="low", onnx="MatMul", samples=samples_matmul)
def matmul(input, other):
    """The matrix product: vectors, matrices, and batches of matrices whose leading dimensions broadcast."""
    need_tensor(input, "matmul")
    need_tensor(other, "matmul", "other", 2)
    n, m = input.ndim, other.ndim
    if n == 2 and m == 2:
        return F.mm(input, other)
    if n == 0 or m == 0:
        fail(RuntimeError, "P813", f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D",
             got=describe(input, other), fix="use * to multiply by a 0-d tensor")
    if n == 1 and m == 1:
        return F.dot(input, other)
    if n == 2 and m == 1:
        return F.mv(input, other)
    same_dtype("matmul", input, other)
    if n == 1:
        return F.squeeze(batched(F.unsqueeze(input, 0), other), -2)
    if m == 1:
        return F.squeeze(batched(input, F.unsqueeze(other, 1)), -1)
    return batched(input, other)


def few(a, b):
    """The product of two small matrices."""
    if a.ndim == 2 == b.ndim and a.shape[1] == b.shape[0] and a.dtype is b.dtype and a.dtype.kind == "f" and a.itemsize >= 4 and a.size < 1024 > b.size:
        return a.dot(b)
    return None


matmul.of_plain = few


def batched(a, b):
    """`bgemm` with matmul's words for a mismatch."""
    if a.ndim == 2 and b.ndim == 2:
        return F.mm(a, b)
    if a.shape[-1] != b.shape[-2] and b.ndim == 2:
        fail(RuntimeError, "P814", f"mat1 and mat2 shapes cannot be multiplied ({rows(a.shape)}x{a.shape[-1]} and {b.shape[0]}x{b.shape[1]})",
             got=describe(a, b), fix=f"the last dimension of the first ({a.shape[-1]}) must equal the rows of the second ({b.shape[0]})")
    return F.bgemm(a, b)


# ---------------------------------------------------------------------------------------------------- with an addend
def as_numbers(x, *numbers) -> tuple:
    """alpha and beta as the dtype of `x` holds them: integer products use whole numbers."""
    return tuple(int(n) for n in numbers) if x.dtype.category < dt.FLOAT else numbers


def plus(r, c, beta, alpha):
    """alpha * r + beta * c, into r; with beta 0 the addend does not count, not even its NaN."""
    if alpha != 1:
        r = np.multiply(r, alpha, out=r, casting="unsafe") if r.ndim else np.asarray(r * alpha)
    if beta == 0:
        np.broadcast_shapes(c.shape, r.shape)
        return r
    r += c if beta == 1 else np.multiply(c, beta, dtype=r.dtype, casting="unsafe")
    return r


def grown(fn: str, c: Spec, shape) -> None:
    """The addend may be broadcast to the product's shape, not the product to the addend's."""
    lead = len(shape) - c.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(c.shape, shape[lead:])):
        fail(RuntimeError, "P815", f"The expanded size of the tensor ({shape[-1]}) must match the existing size "
             f"({c.shape[-1] if c.ndim else 1}) at non-singleton dimension {len(shape) - 1}.  Target sizes: {list(shape)}.  "
             f"Tensor sizes: {list(c.shape)}", got=f"{fn} adds {describe(c)} to a product of shape {list(shape)}",
             fix="the first argument must broadcast to the shape of the product")


def addmm_infer(c: Spec, a: Spec, b: Spec, *, beta, alpha) -> Spec:
    r = gemm_infer(a, b, ta=False, tb=False)
    grown("addmm", c, r.shape)
    return r


def scaled(g, factor):
    return g if factor == 1 else F.mul(g, factor)


def addend_jvp(primals, tangents, *, beta, alpha):
    (c, x, y), (tc, tx, ty) = primals, tangents
    parts = [p if alpha == 1 else F.mul(p, alpha) for p in (None if tx is None else F.matmul(tx, y), None if ty is None else F.matmul(x, ty))
             if p is not None]
    if tc is not None and beta != 0 or not parts:
        parts.append(tc if beta == 1 else F.mul(tc, beta))
    total = parts[0]
    for p in parts[1:]:
        total = F.add(total, p)
    shape = (*x.shape[:-1], *y.shape[x.ndim - 1:]) if y.ndim > 1 else x.shape[:-1]
    return total if tuple(total.shape) == tuple(shape) else F.expand(total, shape)


def with_addend(product):
    """The batch rule of `beta * c + alpha * product(x, y)`."""
    def batch(b, c, x, y, *, beta, alpha):
        if not (x.batched or y.batched):
            x = b.item(b.full(x), True)
        r = product(b, x, y)
        r = r if alpha == 1 else F.mul(r, alpha)
        if beta == 0:
            return r
        c = b.aligned(c, r.ndim - 1)
        return F.add(r, c if beta == 1 else F.mul(c, beta))
    return batch


@primitive(EXTERN, args="input mat1 mat2", batch=with_addend(product_batch), jvp=addend_jvp, ref=lambda c, a, b, *, beta, alpha: plus(np.matmul(a, b), c, beta, alpha),
           infer=addmm_infer, forms="function method inplace out", cast="low", onnx="Gemm",
           vjp={"input": lambda g, beta: scaled(g, conj_number(beta)),
                "mat1": lambda g, mat2, alpha: scaled(F.gemm(g, conj(mat2), False, True), conj_number(alpha)),
                "mat2": lambda g, mat1, alpha: scaled(F.gemm(conj(mat1), g, True, False), conj_number(alpha))},
           samples=lambda m: [((m.t(3, 2), m.t(3, 4), m.t(4, 2)), {}), ((m.t(2), m.t(3, 4), m.t(4, 2)), {"beta": 0.5, "alpha": 2}),
                              ((m.t(1, 1), m.t(0, 4), m.t(4, 2)), {"beta": 0})])
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat1 @ mat2)`; the input is broadcast."""
    for x, name in ((input, "input"), (mat1, "mat1"), (mat2, "mat2")):
        need_tensor(x, "addmm", name)
    for x, name in ((mat1, "mat1"), (mat2, "mat2")):
        if x.ndim != 2:
            fail(RuntimeError, "P816", f"{name} must be a matrix, got {x.ndim}-D tensor", got=describe(input, mat1, mat2),
                 fix="reshape it to two dimensions, or use matmul")
    same_dtype("addmm_impl_cpu_", mat1, mat2)
    if input.dtype is not mat1.dtype:
        fail(RuntimeError, "P817", f"self and mat2 must have the same dtype, but got {type_name(input).capitalize()} and {type_name(mat2).capitalize()}",
             got=describe(input, mat1, mat2), fix="convert one of them, as in mat2.to(mat1.dtype)")
    beta, alpha = as_numbers(input, beta, alpha)
    grown("addmm", input, (mat1.shape[0], mat2.shape[1]))
    return (input, mat1, mat2), {"beta": beta, "alpha": alpha}


def conj_number(x):
    return x.conjugate() if isinstance(x, complex) else x


def baddbmm_infer(c: Spec, a: Spec, b: Spec, *, beta, alpha) -> Spec:
    r = bgemm_infer(a, b, ta=False, tb=False)
    grown("baddbmm", c, r.shape)
    return r


@primitive(EXTERN, args="input batch1 batch2", batch=with_addend(product_batch), jvp=addend_jvp, ref=lambda c, a, b, *, beta, alpha: plus(np.matmul(a, b), c, beta, alpha),
           infer=baddbmm_infer, forms="function method inplace out", cast="low",
           vjp={"input": lambda g, beta: scaled(g, conj_number(beta)),
                "batch1": lambda g, batch2, alpha: scaled(F.bgemm(g, conj(batch2), False, True), conj_number(alpha)),
                "batch2": lambda g, batch1, alpha: scaled(F.bgemm(conj(batch1), g, True, False), conj_number(alpha))},
           samples=lambda m: [((m.t(2, 3, 2), m.t(2, 3, 4), m.t(2, 4, 2)), {}),
               ((m.t(1, 2), m.t(2, 3, 4), m.t(2, 4, 2)), {"alpha": 3, "beta": 2}),
                              ((m.t(0, 3, 2), m.t(0, 3, 4), m.t(0, 4, 2)), {"beta": 0})])
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * bmm(batch1, batch2)`; the input is broadcast."""
    for x, name in ((input, "input"), (batch1, "batch1"), (batch2, "batch2")):
        need_tensor(x, "baddbmm", name)
    check_batches("baddbmm", batch1, batch2)
    if input.dtype is not batch1.dtype:
        fail(RuntimeError, "P818", f"Input dtypes must be the same, got: input: {type_name(input)}, batch1: {type_name(batch1)}, "
             f"batch2: {type_name(batch2)}", fix="convert one of them, as in batch2.to(batch1.dtype)")
    beta, alpha = as_numbers(input, beta, alpha)
    grown("baddbmm", input, (batch1.shape[0], batch1.shape[1], batch2.shape[2]))
    return (input, batch1, batch2), {"beta": beta, "alpha": alpha}


def check_batches(fn: str, a, b) -> None:
    for x, name in ((a, "batch1"), (b, "batch2")):
        if x.ndim != 3:
            fail(RuntimeError, "P819", f"{name} must be a 3D tensor", got=describe(a, b),
                 fix="reshape it to (batch, rows, columns), or use matmul, which broadcasts")
    same_dtype(fn, a, b)
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        fail(RuntimeError, "P820", "Expected size for first two dimensions of batch2 tensor to be: "
             f"[{a.shape[0]}, {a.shape[2]}] but got: [{b.shape[0]}, {b.shape[1]}].", got=describe(a, b),
             fix="batches must have one length, and the columns of the first must equal the rows of the second")


def combine(fn: str, c, r, beta, alpha):
    """beta * c + alpha * r for the composites, c broadcast to r's shape and not counted with beta 0."""
    beta, alpha = as_numbers(r, beta, alpha)
    grown(fn, c, tuple(r.shape))
    r = scaled(r, alpha)
    return F.add(scaled(c, beta), r) if beta != 0 else r


def addmv_infer(c: Spec, a: Spec, v: Spec, *, beta, alpha) -> Spec:
    r = mv_infer(a, v)
    grown("addmv", c, r.shape)
    return r


@primitive(EXTERN, args="input mat vec", batch=with_addend(mv_batch), jvp=addend_jvp, ref=lambda c, a, v, *, beta, alpha: plus(np.matmul(a, v), c, beta, alpha), infer=addmv_infer,
           forms="function method inplace out", cast="low",
           vjp={"input": lambda g, beta: scaled(g, conj_number(beta)),
                "mat": lambda g, vec, alpha: scaled(F.outer(g, conj(vec)), conj_number(alpha)),
                "vec": lambda g, mat, alpha: scaled(F.mv(F.permute(conj(mat), (1, 0)), g), conj_number(alpha))},
           samples=lambda m: [((m.t(3), m.t(3, 4), m.t(4)), {}), ((m.t(1), m.t(3, 4), m.t(4)), {"beta": 0.5, "alpha": 2}),
                              ((m.t(2), m.t(2, 0), m.t(0)), {})])
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat @ vec)`."""
    for x, name in ((input, "input"), (mat, "mat"), (vec, "vec")):
        need_tensor(x, "addmv", name)
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        fail(RuntimeError, "P821", f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}", got=describe(input, mat, vec))
    same_dtype("addmv_impl_cpu", mat, vec)
    if input.dtype is not mat.dtype:
        fail(RuntimeError, "P822", f"expected input and mat to have the same dtype, but got: {type_name(input)} != {type_name(mat)}",
             fix="convert one of them, as in mat.to(input.dtype)")
    mv_infer(Spec(tuple(mat.shape), mat.dtype), Spec(tuple(vec.shape), vec.dtype))
    grown("addmv", input, (mat.shape[0],))
    beta, alpha = as_numbers(input, beta, alpha)
    return (input, mat, vec), {"beta": beta, "alpha": alpha}


@composite(name="_addmm_activation", forms="function out",
           samples=lambda m: [((m.t(3, 2), m.t(3, 4), m.t(4, 2)), {}), ((m.t(2), m.t(3, 4), m.t(4, 2)), {"use_gelu": True}),
               ((m.t(2), m.t(0, 4), m.t(4, 2)), {})])
def _addmm_activation(input, mat1, mat2, *, beta=1, alpha=1, use_gelu=False):
    """`relu` (or `gelu`) of `addmm`."""
    r = F.addmm(input, mat1, mat2, beta=beta, alpha=alpha)
    return F.gelu(r) if use_gelu else F.relu(r)


@composite(forms="function method inplace out", cast="low",
           samples=lambda m: [((m.t(3, 2), m.t(3), m.t(2)), {}), ((m.t(2), m.t(3), m.t(2)), {"beta": 0.5, "alpha": 2}),
                              ((m.t(0, 2), m.t(0), m.t(2)), {})])
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """`beta * input + alpha * outer(vec1, vec2)`."""
    for x, name in ((vec1, "vec1"), (vec2, "vec2")):
        if x.ndim != 1:
            fail(RuntimeError, "P823", f"addr: Expected 1-D argument {name}, but got {x.ndim}-D", got=describe(input, vec1, vec2),
                 fix="flatten() it first")
    r = F.outer(vec1, vec2)
    for name, value in (("beta", beta), ("alpha", alpha)):
        if isinstance(value, bool) and not (r.dtype is dt.bool_ and input.dtype is dt.bool_):
            fail(RuntimeError, "P824", f"Boolean {name} only supported for Boolean results.", fix="pass a number")
        if isinstance(value, float) and dt.result_type_of([input.dtype, r.dtype], [], []).category < dt.FLOAT:
            fail(RuntimeError, "P825", f"For integral input tensors, argument {name} must not be a floating point number.")
    if r.dtype is dt.bool_ and input.dtype is dt.bool_:
        grown("addr", input, tuple(r.shape))
        r = r if alpha else F.zeros_like(r)
        return F.logical_or(input, r) if beta else r
    return combine("addr", input, r, beta, alpha)


@composite(forms="function method inplace out", cast="low",
           samples=lambda m: [((m.t(3, 2), m.t(2, 3, 4), m.t(2, 4, 2)), {}),
               ((m.t(2), m.t(2, 3, 4), m.t(2, 4, 2)), {"beta": 0.5, "alpha": 2}),
                              ((m.t(3, 2), m.t(0, 3, 4), m.t(0, 4, 2)), {})])
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * bmm(batch1, batch2).sum(0)`."""
    check_batches("addbmm", batch1, batch2)
    b, n, k = batch1.shape
    left = F.reshape(F.permute(batch1, (1, 0, 2)), (n, b * k))         # the sum over the batch is part of the product
    return combine("addbmm", input, F.mm(left, F.reshape(batch2, (b * k, batch2.shape[2]))), beta, alpha)


# ---------------------------------------------------------------------------------------------------- layers
def linear_ref(x, w, b=None):
    if x.ndim == 2 or x.ndim == 1:
        r = product(x, w.T)
    else:
        r = np.matmul(x.reshape(rows(x.shape), x.shape[-1]), w.T).reshape(*x.shape[:-1], *w.shape[:-1])
    if b is not None:
        r = np.asarray(r)
        r += b
    return r


def linear_infer(x: Spec, w: Spec, b: Spec | None = None) -> Spec:
    if w.ndim not in (1, 2):
        fail(RuntimeError, "P826", f"linear: expected a weight of 1 or 2 dimensions, got {w.ndim}", got=describe(x, w),
             fix="use matmul for batches of weights")
    out = w.shape[:-1]
    if x.ndim == 0 or x.shape[-1] != w.shape[-1]:
        k, m = w.shape[-1], out[0] if out else 1
        fail(RuntimeError, "P827", f"mat1 and mat2 shapes cannot be multiplied ({rows(x.shape)}x{x.shape[-1] if x.ndim else 1} and {k}x{m})",
             got=f"linear(input {describe(x)}, weight {describe(w)})",
             fix=f"the input's last dimension must be {k}, the layer's in_features")
    shape = (*x.shape[:-1], *out)
    if b is not None and b.shape not in (out, (), (1,)):
        fail(RuntimeError, "P828", f"The expanded size of the tensor ({out[-1] if out else 1}) must match the existing size "
             f"({b.shape[-1]}) at non-singleton dimension {len(shape) - 1}.  Target sizes: {list(shape)}.  Tensor sizes: {list(b.shape)}",
             got=f"linear(weight {describe(w)}, bias {describe(b)})",
             fix="the bias has one element per row of the weight: out_features of them")
    return x.like(shape)


def linear_input(g, weight):
    if weight.ndim == 1:
        return F.mul(F.unsqueeze(g, -1), conj(weight))
    if g.ndim == 1:
        return F.mv(F.permute(conj(weight), (1, 0)), g)
    return F.gemm(g, conj(weight)) if g.ndim == 2 else F.bgemm(g, conj(weight))


def linear_weight(g, input, weight_shape):
    k = input.shape[-1]
    if len(weight_shape) == 1:
        return F.mv(F.permute(conj(F.reshape(input, (rows(input.shape), k))), (1, 0)), F.reshape(g, (g.numel(),)))
    if input.ndim != 2:
        n = rows(input.shape)
        input, g = F.reshape(input, (n, k)), F.reshape(g, (n, weight_shape[0]))
    return F.gemm(g, conj(input), True, False)


def samples_linear(m):
    return [((m.t(3, 4), m.t(2, 4), m.t(2)), {}), ((m.t(2, 3, 4), m.t(5, 4)), {}), ((m.t(4), m.t(2, 4), m.t(2)), {}),
            ((m.t(0, 4), m.t(2, 4), m.t(2)), {})]


def linear_jvp(primals, tangents):
    (x, w, bias), (tx, tw, tb) = primals, tangents
    parts = [p for p in (None if tx is None else F.linear(tx, w), None if tw is None else F.linear(x, tw), tb) if p is not None]
    total = parts[0]
    for p in parts[1:]:
        total = F.add(total, p)
    shape = (*x.shape[:-1], w.shape[0]) if w.ndim == 2 else x.shape[:-1]
    return total if tuple(total.shape) == tuple(shape) else F.expand(total, shape)


def linear_batch(b, x, w, bias):
    if not w.batched and not bias.batched:
        return F.linear(x.x, w.x, bias.x)
    if w.ndim == 1:
        r = F.sum(F.mul(b.full(x), b.aligned(w, x.ndim)), -1)
    elif w.batched:
        rows = F.unsqueeze(x.x, -2) if x.ndim == 1 else x.x
        x_rows = b.item(rows, x.batched)
        r = F.bgemm(b.widened(x_rows, w), b.widened(w, x_rows), False, True)
        r = F.squeeze(r, -2) if x.ndim == 1 else r
    else:
        r = F.linear(b.full(x), w.x)
    return r if bias.x is None else F.add(r, b.aligned(bias, r.ndim - 1))


@primitive(EXTERN, args="input weight bias", ref=linear_ref, batch=linear_batch, jvp=linear_jvp, infer=linear_infer, ns="nn.functional", cast="low", onnx="Gemm",
           vjp={"input": linear_input, "weight": linear_weight, "bias": lambda g: g}, samples=samples_linear)
def linear(input, weight, bias=None):
    """`input @ weight.T + bias` for an input (..., k), a weight (m, k) or (k) and a bias (m)."""
    need_tensor(input, "linear")
    need_tensor(weight, "linear", "weight", 2)
    if input.dtype is not weight.dtype:
        fail(RuntimeError, "P829", f"mat1 and mat2 must have the same dtype, but got {input.dtype.type_name} and {weight.dtype.type_name}",
             got=f"linear of {describe(input, weight)}", fix=f"convert the input with .to({weight.dtype}), or the layer with .to({input.dtype})")
    if bias is not None and bias.dtype is not input.dtype:
        fail(RuntimeError, "P830", f"mat1 and mat2 must have the same dtype, but got {input.dtype.type_name} and {bias.dtype.type_name}",
             got=f"linear with a bias of {describe(bias)}", fix="convert the bias, as in bias.to(input.dtype)")
    return (input, weight, bias), {}


@composite(ns="nn.functional", cast="gpu-low",
           samples=lambda m: [((m.t(3, 4), m.t(3, 5), m.t(2, 4, 5), m.t(2)), {}), ((m.t(2, 3, 4), m.t(2, 3, 5), m.t(1, 4, 5)), {}),
                              ((m.t(0, 4), m.t(0, 5), m.t(2, 4, 5), m.t(2)), {})])
def bilinear(input1, input2, weight, bias=None):
    """`y[..., o] = input1 @ weight[o] @ input2 + bias[o]` for a weight (o, i, j)."""
    lead = tuple(input1.shape[:-1])
    if lead != tuple(input2.shape[:-1]):
        fail(RuntimeError, "P831", "bilinear(): input batch dimensions do not match", got=describe(input1, input2),
             fix="all dimensions but the last must be the same in both inputs")
    for i, (x, size) in enumerate(((input1, weight.shape[1]), (input2, weight.shape[2])), 1):
        if x.shape[-1] != size:
            fail(RuntimeError, "P832", f"bilinear(): input{i} size does not match weight size: got {x.shape[-1]} but expected {size}",
                 got=describe(input1, input2, weight),
                 fix="the weight is (out_features, in1_features, in2_features); the inputs end in in1_features and in2_features")
    o, i, j = weight.shape
    n = rows(input1.shape)
    x1, x2 = F.reshape(input1, (n, i)), F.reshape(input2, (n, j))
    left = F.gemm(x1, F.reshape(F.permute(weight, (1, 0, 2)), (i, o * j)))
    r = F.matmul(F.reshape(left, (n, o, j)), F.unsqueeze(x2, -1))
    r = F.reshape(r, (*lead, o))
    return r if bias is None else F.add(r, bias)
