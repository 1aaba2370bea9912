"""Products built from the primitives of `matmul`: outer, inner, Kronecker and tensor products, chains of matrices.
"""
from __future__ import annotations

from ._common import describe, dt, fail, need_tensor
from .matmul import METHOD, conj, samples_matmul
from .op import F, composite


@composite(forms=METHOD, aliases="ger", samples=lambda m: [((m.t(3), m.t(2)), {}), ((m.t(1), m.t(4)), {}), ((m.t(0), m.t(2)), {})])
def outer(input, vec2):
    """`input[i] * vec2[j]` for all i and j."""
    for x, name in ((input, "self"), (vec2, "vec2")):
        if need_tensor(x, "outer", name).ndim != 1:
            fail(RuntimeError, "P833", f"outer: Expected 1-D argument {name}, but got {x.ndim}-D", got=describe(input, vec2),
                 fix="flatten() it first")
    return F.mul(F.unsqueeze(input, 1), vec2)


@composite(forms=METHOD, samples=lambda m: [((m.t(3, 4), m.t(2, 4)), {}), ((m.t(4), m.t(4)), {}), ((m.t(2, 0), m.t(3, 0)), {}),
                             ((m.t(), m.t(3)), {})])
def inner(input, other):
    """The sums of products over the last dimension of both."""
    if input.ndim == 0 or other.ndim == 0:
        return F.mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        fail(RuntimeError, "P834", "inner() the last dimension must match on both input tensors but got shapes "
             f"{list(input.shape)} and {list(other.shape)}",
             got=describe(input, other), fix="the last dimensions are summed over: make them equal")
    return F.tensordot(input, other, ([-1], [-1]))


@composite(forms="function out",
           samples=lambda m: [((m.t(2, 3, 4), m.t(3, 4, 5)), {}), ((m.t(2, 3), m.t(3, 2)), {"dims": ([0, 1], [1, 0])}),
                              ((m.t(0, 3), m.t(3, 2)), {"dims": 1})])
def tensordot(a, b, dims=2):
    """The sums of products over pairs of dimensions: the last `dims` of a with the first of b, or two lists of dimensions."""
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, (list, tuple)):
        first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    else:
        if dims < 0:
            fail(RuntimeError, "P835", f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            fail(RuntimeError, "P836", f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}",
                 fix="dims counts how many dimensions are summed over; both tensors need that many")
        first, second = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    if len(first) != len(second):
        fail(RuntimeError, "P837", f"both dimension lists should have same length, got {first} and {second}")
    first, second = [d % max(a.ndim, 1) for d in first], [d % max(b.ndim, 1) for d in second]
    for i, j in zip(first, second):
        if a.shape[i] == 1 and b.shape[j] != 1:
            b = F.sum(b, j, keepdim=True)
        elif b.shape[j] == 1 and a.shape[i] != 1:
            a = F.sum(a, i, keepdim=True)
        elif a.shape[i] != b.shape[j]:
            fail(RuntimeError, "P838", f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has "
                 f"size {b.shape[j]} in dim {j}", got=describe(a, b), fix="choose dims of equal sizes, or transpose one of the tensors")
    rest_a, rest_b = [i for i in range(a.ndim) if i not in first], [j for j in range(b.ndim) if j not in second]
    shape = [a.shape[i] for i in rest_a] + [b.shape[j] for j in rest_b]
    k = 1
    for i in first:
        k *= a.shape[i]
    n = m = 1
    for i in rest_a:
        n *= a.shape[i]
    for j in rest_b:
        m *= b.shape[j]
    left = F.reshape(F.permute(a, rest_a + first), (n, k))
    right = F.reshape(F.permute(b, second + rest_b), (k, m))
    return F.reshape(F.mm(left, right), shape)


@composite(forms=METHOD, samples=lambda m: [((m.t(2, 3), m.t(4, 2)), {}), ((m.t(3), m.t(2, 2)), {}), ((m.t(0, 2), m.t(2, 3)), {})])
def kron(input, other):
    """The Kronecker product: every element of `input` times all of `other`."""
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + tuple(input.shape)
    b = (1,) * (n - other.ndim) + tuple(other.shape)
    left = F.reshape(input, tuple(s for x in a for s in (x, 1)))
    right = F.reshape(other, tuple(s for x in b for s in (1, x)))
    return F.reshape(F.mul(left, right), tuple(x * y for x, y in zip(a, b)))


@composite(name="linalg_multi_dot",
           samples=lambda m: [(([m.t(2, 3), m.t(3, 4), m.t(4, 2)],), {}), (([m.t(3), m.t(3, 2)],), {}),
               (([m.t(2, 3), m.t(3, 0), m.t(0, 2)],), {})])
def multi_dot(tensors, *, out=None):
    """The product of two or more matrices, in the order that needs the fewest multiplications; the ends may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        fail(RuntimeError, "P839", f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for i, t in enumerate(tensors):
        ends = i in (0, len(tensors) - 1)
        if t.ndim not in ((1, 2) if ends else (2,)):
            place = "first" if i == 0 else "last" if ends else f"tensor {i}"
            want = "1D or 2D" if ends else "2D"
            text = f"the {place} tensor" if ends else place
            fail(RuntimeError, "P840", f"multi_dot(): {text} must be {want} but got {t.ndim}D", got=describe(*tensors))
        if t.dtype is not tensors[0].dtype:
            fail(RuntimeError, "P841", f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {tensors[0].dtype.type_name} "
                 f"and tensor {i} is {t.dtype.type_name}")
    first_vector, last_vector = tensors[0].ndim == 1, tensors[-1].ndim == 1
    mats = list(tensors)
    if first_vector:
        mats[0] = F.unsqueeze(mats[0], 0)
    if last_vector:
        mats[-1] = F.unsqueeze(mats[-1], 1)
    for i in range(1, len(mats)):
        if mats[i - 1].shape[1] != mats[i].shape[0]:
            fail(RuntimeError, "P842", f"multi_dot(): tensors {i - 1} and {i} with shapes {list(tensors[i - 1].shape)} and "
                 f"{list(tensors[i].shape)} cannot be multiplied", fix="the columns of each matrix must equal the rows of the next")
    r = _product(mats, _splits([t.shape[0] for t in mats] + [mats[-1].shape[1]]), 0, len(mats) - 1)
    shape = ([] if first_vector else [r.shape[0]]) + ([] if last_vector else [r.shape[1]])
    r = F.reshape(r, shape) if first_vector or last_vector else r
    if out is None:
        return r
    if out.dtype is not r.dtype:
        fail(RuntimeError, "P843", f"multi_dot(): expected out tensor to have dtype {r.dtype.type_name} but got {out.dtype.type_name}")
    return out.resize_(r.shape).copy_(r)


def _splits(sizes: list[int]) -> dict:
    """Where to cut each chain of matrices (i..j) for the fewest multiplications (matrix-chain order)."""
    n = len(sizes) - 1
    cost, cut = {(i, i): 0 for i in range(n)}, {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], cut[i, j] = min((cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))
    return cut


def _product(mats: list, cut: dict, i: int, j: int):
    if i == j:
        return mats[i]
    k = cut[i, j]
    return F.mm(_product(mats, cut, i, k), _product(mats, cut, k + 1, j))


@composite(forms="function", samples=lambda m: [((m.t(2, 3), m.t(3, 4), m.t(4, 2)), {}), ((m.t(2, 3), m.t(3, 2)), {}),
                                 ((m.t(0, 3), m.t(3, 2)), {})])
def chain_matmul(*matrices, out=None):
    """The product of matrices, in the order that needs the fewest multiplications. Deprecated: `linalg.multi_dot`."""
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = matrices[0]
    for t in matrices:
        if t.ndim != 2:
            fail(RuntimeError, "P844", "Tensor dimension is {}, expected 2 instead".format(t.ndim), got=describe(*matrices))
    if not matrices:
        fail(RuntimeError, "P845", "chain_matmul(): Expected one or more matrices")
    r = matrices[0] if len(matrices) == 1 else F.linalg_multi_dot(list(matrices))
    return r if out is None else out.copy_(r)


@composite(name="linalg_matmul", forms="function out", samples=samples_matmul)
def linalg_matmul(input, other):
    """The matrix product, as `matmul`."""
    return F.matmul(input, other)


@composite(name="linalg_vecdot", forms="function out",
           samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(4), m.t(2, 4)), {}), ((m.t(3, 2), m.t(3, 2)), {"dim": 0}),
               ((m.t(0, 4), m.t(4)), {})])
def linalg_vecdot(x, y, *, dim=-1):
    """The sums of products along `dim`, x conjugated, with broadcasting."""
    if x.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P846", f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {x.dtype.type_name}")
    return F.sum(F.mul(conj(x), y), dim)
