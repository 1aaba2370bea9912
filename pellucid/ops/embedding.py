"""Tables of vectors looked up by integers: embedding, bags of embeddings, one-hot vectors."""
from __future__ import annotations

import warnings

from ..core.late import late
from ._common import Spec, dt, fail, is_tensor, need_tensor, np, within
from .dispatch import values_known
from .op import GATHER, REGISTRY, SCATTER, F, composite, primitive

_MODES = ("sum", "mean", "max")


def check_indices(fn: str, indices) -> None:
    """Indices are int64 or int32."""
    need_tensor(indices, fn, "indices", 2)
    if indices.dtype is not dt.int64 and indices.dtype is not dt.int32:
        got = "CPUBoolType" if indices.dtype is dt.bool_ else f"torch.{indices.dtype.type_name}Tensor"
        fail(RuntimeError, "P28E", "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, "
             f"Int; but got {got} instead (while checking arguments for {fn})", fix="convert them: indices.long()")


def embedding_ref(weight, indices, *, padding_idx, scale_grad_by_freq, sparse):
    rows = weight.shape[0]
    if not within(indices, rows):
        low, high = indices.min(), indices.max()
        if low < 0 or high >= rows:
            fail(IndexError, "P28F", "index out of range in self", got=f"indices from {low} to {high}, for a table of {rows} rows",
                 fix=f"indices must be in [0, {rows - 1}]")
    return weight.take(indices, axis=0)


def sum_rows(rows: np.ndarray, where: np.ndarray, n: int, rounds: int = 16) -> np.ndarray:
    """(n, *): the sum of the rows that go to each place.

    Round r adds every place's r-th row at once; what places with more rows than `rounds` still have is summed one by one."""
    out = np.zeros((n, *rows.shape[1:]), rows.dtype)
    if where.size < 64:
        for i, place in enumerate(where.tolist()):
            out[place] += rows[i]
        return out
    order = where.argsort(kind="stable")
    places = where[order]
    starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    counts = np.diff(np.append(starts, places.size))
    most_first = (-counts).argsort(kind="stable")
    starts, counts = starts[most_first], counts[most_first]
    places = places[starts]
    out[places] = rows[order[starts]]
    for r in range(1, min(int(counts[0]), rounds)):
        k = int(np.searchsorted(-counts, -r))               # so many places have more than r rows
        out[places[:k]] += rows[order[starts[:k] + r]]
    for i in range(int(np.searchsorted(-counts, -rounds))):
        out[places[i]] += np.add.reduce(rows[order[starts[i] + rounds:starts[i] + counts[i]]], 0)
    return out


def embedding_grad_ref(g, indices, *, num_weights, padding_idx, scale_grad_by_freq):
    flat = indices.reshape(-1)
    rows = g.reshape(flat.size, *g.shape[indices.ndim:])
    if padding_idx >= 0:
        keep = flat != padding_idx
        flat, rows = flat[keep], rows[keep]
    out = sum_rows(rows, flat, num_weights)
    if scale_grad_by_freq:
        out /= np.maximum(np.bincount(flat, minlength=num_weights), 1).astype(out.dtype)[:, None]
    return out


def _embedding_grad_vjp(g, indices, padding_idx, scale_grad_by_freq):
    rows = F.embedding_rows(g, indices, -1, False)
    if scale_grad_by_freq:
        rows = F.div(rows, F.unsqueeze(F.embedding_counts(indices, g.shape[0], g.dtype), -1))
    if padding_idx >= 0:
        rows = F.where(F.unsqueeze(F.eq(indices, padding_idx), -1), 0.0, rows)
    return rows


def embedding_grad_lower(b, g, indices, *, num_weights, padding_idx, scale_grad_by_freq):
    if scale_grad_by_freq:
        b.refuse("embedding gradients scaled by frequency")
    n = indices.ndim

    def at(i, load):
        which, v = b.cast(load(1, i[:n]), dt.int64), load(0, i)
        if padding_idx >= 0:
            v = b.select(b.eq(which, padding_idx), b.zero(g.dtype), v)
        return (b.guarded(which, num_weights), *i[n:]), v
    return b.scatter(g.shape, b.zero(g.dtype), "add", at)


def embedding_grad_batch(b, g, indices, *, num_weights, **attrs):
    if attrs["padding_idx"] >= 0 or b.size == 0:
        return b.each(REGISTRY["embedding_dense_backward"], (g, indices), {"num_weights": num_weights, **attrs})
    own = F.add(b.full(indices), F.reshape(F.arange(0, b.size * num_weights, num_weights), (b.size, *[1] * indices.ndim)))
    return F.unflatten(F.embedding_dense_backward(b.full(g), own, b.size * num_weights, **attrs), 0, (b.size, num_weights))


@primitive(SCATTER, args="grad_output indices", ref=embedding_grad_ref, jvp="grad_output", batch=embedding_grad_batch, lower=embedding_grad_lower, vjp={"grad_output": lambda g, indices, padding_idx,
           scale_grad_by_freq: _embedding_grad_vjp(g, indices, padding_idx, scale_grad_by_freq)},
           infer=lambda g, indices, *, num_weights, padding_idx, scale_grad_by_freq: g.like((num_weights, *g.shape[indices.ndim:])),
           samples=lambda m: [((m.t(4, 3), m.i(4, high=5), 5, -1, False), {}), ((m.t(2, 2, 3), m.i(2, 2, high=5), 5, 1, True), {}),
                              ((m.t(0, 3), m.i(0), 5, -1, False), {})])
def embedding_dense_backward(grad_output, indices, num_weights, padding_idx, scale_grad_by_freq):
    """The gradient of an embedding table: each row the sum of the gradients at the places where it was used."""
    return (grad_output, indices), {"num_weights": int(num_weights), "padding_idx": padding_idx,
                                    "scale_grad_by_freq": bool(scale_grad_by_freq)}


@primitive(GATHER, args="indices", forms="", grads=False, low=False, infer=lambda i, *, num_weights, dtype: i.like(dtype=dtype),
           ref=lambda i, *, num_weights, dtype: np.bincount(i.reshape(-1), minlength=num_weights)[i].astype(dtype.np))
def embedding_counts(indices, num_weights, dtype):
    """How often each index occurs among them."""
    return (indices,), {"num_weights": num_weights, "dtype": dtype}


def embedding_batch(b, weight, indices, **attrs):
    if not weight.batched:
        return F.embedding_rows(weight.x, indices.x, **attrs)
    own = F.add(b.full(indices), F.reshape(F.arange(0, b.size * weight.shape[0], weight.shape[0]), (b.size, *[1] * indices.ndim)))
    return F.embedding_rows(F.flatten(weight.x, 0, 1), own, **attrs)


@primitive(GATHER, args="weight indices", forms="", ref=embedding_ref, jvp="weight", batch=embedding_batch, low=False,
           lower=lambda b, i, load, w, t, **_: load(0, (b.guarded(load(1, i[:t.ndim]), w.shape[0]), *i[t.ndim:])),
           infer=lambda w, i, **_: w.like((*i.shape, *w.shape[1:])),
           vjp={"weight": lambda g, indices, weight_shape, padding_idx, scale_grad_by_freq, sparse:
                late.sparse().rows_gradient(g, indices, weight_shape, padding_idx, scale_grad_by_freq) if sparse else
                F.embedding_dense_backward(g, indices, weight_shape[0], padding_idx, scale_grad_by_freq)})
def embedding_rows(weight, indices, padding_idx, scale_grad_by_freq, sparse=False):
    """The rows of `weight` at `indices`. With `sparse` the gradient of `weight` is a sparse tensor."""
    return (weight, indices), {"padding_idx": padding_idx, "scale_grad_by_freq": scale_grad_by_freq, "sparse": bool(sparse)}


@composite(name="embedding_positional", public="embedding", onnx="Gather",
           samples=lambda m: [((m.t(5, 3), m.i(4, high=5)), {}), ((m.t(5, 2), m.i(2, 3, high=4), 4), {}), ((m.t(5, 2), m.i(0, high=5)), {})])
def embedding_positional(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """`nn.functional.embedding` with its arguments in another order."""
    return rows_of(weight, indices, padding_idx, scale_grad_by_freq, sparse)


def rows_of(weight, indices, padding_idx, scale_grad_by_freq, sparse):
    """`F.embedding_rows` of what is a table, and indices."""
    check_indices("embedding", indices)
    if need_tensor(weight, "embedding", "weight").ndim != 2:
        fail(RuntimeError, "P28G", "'weight' must be 2-D", got=f"weight of shape {list(weight.shape)}",
             fix="the table is (number of rows, size of a row)")
    return F.embedding_rows(weight, indices, padding_idx, bool(scale_grad_by_freq), sparse)


def _limit_norm(weight, indices, max_norm, norm_type) -> None:
    """Scale the rows of `weight` in use down to `max_norm`, in place."""
    table = F.detach(weight)
    used = F.reshape(indices, (-1,))
    rows = F.embedding_rows(table, used, -1, False)
    norms = F.norm(rows, float(norm_type), 1, True)
    table[used] = F.where(F.gt(norms, max_norm), F.mul(rows, F.div(max_norm, F.add(norms, 1e-7))), rows)


@composite(name="embedding_renorm_", forms="function",
           samples=lambda m: [((m.t(5, 3).detach(), m.i(4, high=5), 1.0, 2.0), {}), ((m.t(5, 2).detach(), m.i(2, 3, high=5), 0.5, 1), {}),
                              ((m.t(5, 2).detach(), m.i(0, high=5), 1.0, 2.0), {})])
def embedding_renorm_(weight, indices, max_norm, norm_type):
    """Scale the rows of `weight` named by `indices` down to `max_norm`, in place. Returns `weight`."""
    check_indices("embedding_renorm_", indices)
    _limit_norm(weight, indices, max_norm, norm_type)
    return weight


@composite(ns="nn.functional", onnx="Gather",
           samples=lambda m: [((m.i(4, high=5), m.t(5, 3)), {}), ((m.i(2, 3, high=4), m.t(5, 2)), {"padding_idx": 4}),
                              ((m.i(0, high=5), m.t(5, 2)), {"scale_grad_by_freq": True})])
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` (V, D) at the integers `input` (*): (*, D).

    The row `padding_idx` gets no gradient. With `max_norm`, the rows in use are scaled down to that norm first, in place.
    IndexError for an integer out of range. With `sparse` the gradient of `weight` is a sparse tensor."""
    if padding_idx is not None:
        rows = weight.shape[0] if weight.ndim == 2 else 0
        if rows and not -rows <= padding_idx < rows:
            fail(AssertionError, "P647", "Padding_idx must be within num_embeddings",
                 fix="padding_idx names a row of the table")
        padding_idx = padding_idx % rows if rows else -1
    if max_norm is not None:
        check_indices("embedding", input)
        _limit_norm(weight, input, max_norm, norm_type)
    return rows_of(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq, sparse)


@composite(forms="method", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(0),), {}), ((m.t(2),), {"dtype": dt.float64})])
def to_dense(input, dtype=None, *, masked_grad=None):
    """The tensor itself, converted to `dtype`; of a sparse tensor the dense one."""
    return input if dtype is None else F.convert(input, dt.as_dtype(dtype))


# ---------------------------------------------------------------------------------------------------- bags
def bag_argmax_ref(rows, bag, *, bags):
    """(bags, D): which row holds the maximum of each bag and column, the first of equals; -1 in an empty bag."""
    out = np.full((bags, rows.shape[1]), -1, np.int64)
    for b in range(bags):
        members = np.flatnonzero(bag == b)
        if members.size:
            out[b] = members[rows[members].argmax(0)]
    return out


@primitive(GATHER, args="rows bag", forms="", grads=False, ref=bag_argmax_ref,
           infer=lambda rows, bag, *, bags: Spec((bags, rows.shape[1]), dt.int64))
def bag_argmax(rows, bag, bags):
    """Which of `rows` (n, D) holds the maximum of its bag, for each of `bags` bags and column; -1 in an empty one."""
    return (rows, bag), {"bags": bags}


@primitive(GATHER, args="offsets", forms="", grads=False, low=False, infer=lambda o, *, count: Spec((count,), dt.int64),
           ref=lambda o, *, count: np.searchsorted(o, np.arange(count), "right") - 1)
def bag_of_each(offsets, count):
    """Which bag each of `count` elements lies in, bag b beginning at `offsets[b]`."""
    return (offsets,), {"count": count}


def _bags(weight, indices, offsets, bags, mode, per_sample_weights, padding_idx, scale_grad_by_freq, sparse):
    """(output, bag of each element, size of each bag, maximum's element or None)."""
    n = indices.numel()
    bag = F.bag_of_each(offsets, n)
    if padding_idx >= 0:                       # a bag of its own, beyond the last, for what does not count
        bag = F.where(F.eq(indices, padding_idx), bags, bag)
    rows = F.embedding_rows(weight, indices, padding_idx, scale_grad_by_freq, sparse)
    sizes = F.index_add(F.zeros((bags + 1,), dtype=dt.int64), 0, bag, F.ones((n,), dtype=dt.int64))
    sizes = F.narrow(sizes, 0, 0, bags)
    if mode == "max":
        best = F.bag_argmax(F.detach(rows), bag, bags)
        rows = F.cat([rows, F.zeros((1, weight.shape[1]), dtype=rows.dtype)])           # what an empty bag gets
        return F.gather(rows, 0, F.where(F.lt(best, 0), n, best)), bag, sizes, best
    if per_sample_weights is not None:
        rows = F.mul(rows, F.unsqueeze(per_sample_weights, 1))
    out = F.index_add(F.zeros((bags + 1, weight.shape[1]), dtype=rows.dtype), 0, bag, rows)
    out = F.narrow(out, 0, 0, bags)
    if mode == "mean":
        out = F.div(out, F.unsqueeze(F.convert(F.clamp_min(sizes, 1), out.dtype), 1))
    return out, bag, sizes, None


def _check_offsets(offsets, n: int) -> None:
    check_indices("embedding_bag", offsets)
    if offsets.numel() and values_known():
        first, last = int(offsets[0]), int(offsets[-1])
        if first != 0:
            fail(RuntimeError, "P28H", "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
                 f"position 0. However, got {first}")
        if last > n:
            fail(RuntimeError, "P28I", f"offsets[-1] can not be greater than input's length {n} but got offsets[-1] of {last}")


@composite(name="embedding_bag_positional", public="embedding_bag",
           samples=lambda m: [((m.t(5, 3), m.i(4, high=5), F.mul(F.arange(2), 2)), {}),
                              ((m.t(5, 2), m.i(6, high=5), F.mul(F.arange(3), 2), False, 1), {}),
                              ((m.t(5, 2), m.i(0, high=5), F.zeros(2, dtype=dt.int64)), {})])
def embedding_bag_positional(weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False, per_sample_weights=None,
                             include_last_offset=False, padding_idx=None):
    """Bags of embeddings: (output, bag of each element, size of each bag, element of each maximum).

    `mode` is 0, 1 or 2 for sum, mean, max."""
    check_indices("embedding_bag", indices)
    _check_offsets(offsets, indices.numel())
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        fail(RuntimeError, "P28O", "padding_idx must be within the number of embeddings, "
             f"{-rows} through {rows - 1}, but got {padding_idx}")
    padding_idx = -1 if padding_idx is None else padding_idx % rows
    if indices.numel() and values_known() and (int(F.amin(indices)) < 0 or int(F.amax(indices)) >= rows):
        fail(RuntimeError, "P666", "embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be "
             f"{next(i for i in indices.tolist() if not 0 <= i < rows)}", got=f"a table of {rows} rows",
             fix=f"indices must be in [0, {rows - 1}]")
    if per_sample_weights is not None and per_sample_weights.dtype is not weight.dtype:
        fail(RuntimeError, "P667", "Expected tensor for argument #1 'weight' to have the same type as tensor for argument #2 "
             f"'per_sample_weights'; but type {weight.type()} does not equal {per_sample_weights.type()} (while checking arguments "
             "for embedding_bag)")
    bags = offsets.numel() - bool(include_last_offset)
    if include_last_offset:
        offsets = F.narrow(offsets, 0, 0, bags)
    out, bag, sizes, best = _bags(weight, indices, offsets, bags, _MODES[mode], per_sample_weights, padding_idx,
                                   bool(scale_grad_by_freq), sparse)
    if mode == 2:
        index = F.where(F.lt(best, 0), 0, F.take(indices, F.clamp_min(best, 0))) if indices.numel() else F.clamp_min(best, 0)
        return out, bag, sizes, index
    return out, bag, sizes, F.clone(sizes)


@composite(ns="nn.functional",
           samples=lambda m: [((m.i(2, 3, high=5), m.t(5, 3)), {}), ((m.i(6, high=5), m.t(5, 2), F.mul(F.arange(3), 2)), {"mode": "sum", "per_sample_weights": m.t(6)}),
                              ((m.i(2, 2, high=5), m.t(5, 3)), {"mode": "max"}), ((m.i(0, 2, high=5), m.t(5, 3)), {})])
def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
                  per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """The sum, mean or maximum of the embeddings in each bag: (B, D).

    `input` is (B, N), B bags of N integers; or (N,), bag b beginning at `offsets[b]` (with `include_last_offset` the last
    offset is the end). `per_sample_weights`, of the shape of `input`, scale the rows (only with mode "sum"). Elements equal
    to `padding_idx` do not count."""
    if is_tensor(weight) and weight.dtype in (dt.int64, dt.int32) and input.is_floating_point():
        warnings.warn("Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
                      "deprecated, and should now be `embedding_bag(input, weight, ...)`.", stacklevel=3)
        weight, input = input, weight
    if per_sample_weights is not None and tuple(input.shape) != tuple(per_sample_weights.shape):
        raise ValueError(f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
                         f"same shape as the input ({input.shape})")
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                             f"sequences. However, found offsets of type {type(offsets)}")
        bags, length = input.shape
        offsets = F.mul(F.arange(bags), length)
        input = F.reshape(input, (-1,))
        if per_sample_weights is not None:
            per_sample_weights = F.reshape(per_sample_weights, (-1,))
        include_last_offset = False
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if mode not in _MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if mode != "sum" and per_sample_weights is not None:
        raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for "
                                  f"mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")
    if max_norm is not None:
        _limit_norm(weight, input, max_norm, norm_type)
    return F.embedding_bag_positional(weight, input, offsets, scale_grad_by_freq, _MODES.index(mode), sparse, per_sample_weights,
                                      include_last_offset, padding_idx)[0]


# ---------------------------------------------------------------------------------------------------- one-hot
def one_hot_ref(i, *, num_classes):
    if i.size and i.min() < 0:
        fail(RuntimeError, "P28J", "Class values must be non-negative.", got=f"the smallest is {i.min()}",
             fix="class indices are 0 to num_classes - 1")
    if num_classes == -1:
        num_classes = int(i.max()) + 1
    elif i.size and i.max() >= num_classes:
        fail(RuntimeError, "P28K", "Class values must be smaller than num_classes.", got=f"the largest is {i.max()}, num_classes is {num_classes}",
             fix="raise num_classes, or check the class indices")
    out = np.zeros((i.size, num_classes), np.int64)
    out[np.arange(i.size), i.reshape(-1)] = 1
    return out.reshape(*i.shape, num_classes)


def one_hot_infer(i: Spec, *, num_classes) -> Spec:
    return Spec((*i.shape, num_classes), dt.int64)


def one_hot_lower(b, s, *, num_classes):
    if num_classes < 0:
        b.refuse("a number of classes that depends on the values")
    return b.element(lambda i, load: b.cast(b.eq(b.value(b.guarded(load(0, i[:-1]), num_classes)), b.value(i[-1])), dt.int64))


@primitive(SCATTER, batch="lead", args="input", ns="nn.functional", grads=False, ref=one_hot_ref, lower=one_hot_lower, infer=one_hot_infer, onnx="OneHot",
           samples=lambda m: [((m.i(4, high=5), 5), {}), ((m.i(2, 3, high=4),), {"num_classes": 6}), ((m.i(0), 3), {})])
def one_hot(input, num_classes=-1):
    """A last dimension of size `num_classes` (-1: one more than the largest value) that is 1 at the integer's place, else 0."""
    if need_tensor(input, "one_hot").dtype is not dt.int64:
        fail(RuntimeError, "P28L", "one_hot is only applicable to index tensor of type LongTensor.", fix="convert it: x.long()")
    if num_classes <= 0 and (num_classes != -1 or not input.numel()):
        if not input.numel():
            fail(RuntimeError, "P28M", "Can not infer total number of classes from empty tensor.")
        if num_classes < -1:
            fail(RuntimeError, "P28N", "num_classes should be positive")
    return (input,), {"num_classes": int(num_classes)}
