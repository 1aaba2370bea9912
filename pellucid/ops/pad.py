"""Padding: constants, reflection, replication, wrapping around.

`constant_pad_nd` is the primitive of constant padding; `pad_index` reads the input at repeated positions (one index
array per dimension), `pad_index_grad` is its transpose.
"""
from __future__ import annotations

from ._common import Spec, as_ints, describe, fail, make_room, need_tensor, np
from ._windows import in_format_of
from .op import EXTERN, GATHER, SCATTER, F, composite, primitive
from .view import boxes_around


# ---------------------------------------------------------------------------------------------------- constant
_fitting: dict = {}             # (shape, pad) that was checked -> pads per dimension


def per_dim_pads(pad, ndim: int) -> tuple[tuple[int, int], ...]:
    """(before, after) per dimension, first dimension first, from PyTorch's list that starts at the last."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return ((0, 0),) * (ndim - len(pairs)) + tuple(pairs)


def padded_shape(shape, pads) -> tuple[int, ...]:
    return tuple(b + n + e for n, (b, e) in zip(shape, pads))


def constant_pad_ref(a, *, pads, value):
    r = np.full(padded_shape(a.shape, pads), value, a.dtype)
    to = tuple(slice(max(b, 0), max(b, 0) + n + min(b, 0) + min(e, 0)) for n, (b, e) in zip(a.shape, pads))
    of = tuple(slice(max(-b, 0), n - max(-e, 0)) for n, (b, e) in zip(a.shape, pads))
    r[to] = a[of]
    return in_format_of(r, a)


def constant_pad_infer(s: Spec, *, pads, value) -> Spec:
    shape = padded_shape(s.shape, pads)
    for d, (n, (b, e)) in enumerate(zip(s.shape, pads)):
        if shape[d] < 0:
            fail(RuntimeError, "P2720", f"The input size {n}, plus negative padding {b} and {e}, resulted in a negative output "
                 f"size, which is invalid. Check dimension {d} of your input.", got=f"input {list(s.shape)}, padding {list(pads)}")
        if max(-b, 0) + max(-e, 0) > n:
            fail(RuntimeError, "P2721", "narrow(): length must be non-negative.", got=f"input {list(s.shape)}, padding {list(pads)}")
    return s.like(shape)


def crop(g, pads):
    """The transpose of constant padding: the same with opposite signs."""
    return F.constant_pad_nd(g, [-p for pair in reversed(pads) for p in pair])


def constant_pad_lower(b, s, *, pads, value):
    shape = padded_shape(s.shape, pads)
    inner = [(max(p, 0), max(p, 0) + n + min(p, 0) + min(e, 0)) for n, (p, e) in zip(s.shape, pads)]

    def inside(i, load):
        return load(0, tuple([b.isub(x, p) for x, (p, _) in zip(i, pads)]))

    def around(i, load):
        return b.const(value, s.dtype)
    if any(z <= a for a, z in inner):
        return b.element(around)
    if not shape:
        return b.element(inside)
    return b.pieces([(*zip(*inner), inside), *((a, z, around) for a, z in boxes_around(inner, shape))])


def constant_pad_batch(b, x, *, pads, value):
    return F.constant_pad_nd(x.x, [p for pair in reversed(pads) for p in pair], value)


@primitive(EXTERN, args="input", ref=constant_pad_ref, batch=constant_pad_batch, infer=constant_pad_infer, lower=constant_pad_lower, low=False, onnx="Pad",
           jvp=lambda primals, tangents, *, pads, value: F.constant_pad_nd(tangents[0], [p for pair in reversed(pads) for p in pair]),
           vjp={"input": lambda g, pads: crop(g, pads)},
           samples=lambda m: [((m.t(2, 3), [1, 2]), {}), ((m.t(2, 3, 4), [1, -1, 0, 2], 2.5), {}), ((m.t(0, 3), [1, 1]), {}),
                              ((m.t(3, 4), [-2, 1, 1, -1]), {})])
def constant_pad_nd(input, pad, value=0):
    """`input` with `value` around it: `pad` lists (before, after) from the last dimension on; negative entries crop."""
    pad = as_ints(pad, "constant_pad_nd", "pad")
    key = input.shape, pad
    pads = _fitting.get(key)
    if pads is not None:
        return (input,), {"pads": pads, "value": value}
    if len(pad) % 2:
        fail(RuntimeError, "P2722", f"Length of pad must be even but instead it equals {len(pad)}", got=f"pad={list(pad)}",
             fix="pad lists two numbers per dimension, from the last dimension on: (left, right, top, bottom, ...)")
    if len(pad) > 2 * input.ndim:
        fail(RuntimeError, "P2723", f"Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
             f"{len(pad)} while the input has {input.ndim} dimensions.", fix="leave out the numbers of the dimensions that do not exist")
    attrs = {"pads": per_dim_pads(pad, input.ndim), "value": value}
    constant_pad_infer(Spec(tuple(input.shape), input.dtype), **attrs)
    make_room(_fitting)
    _fitting[key] = attrs["pads"]
    return (input,), attrs


# ---------------------------------------------------------------------------------------------------- by index
def positions(mode: str, n: int, before: int, after: int) -> np.ndarray:
    """Which input position each padded position reads, along one dimension of size `n`."""
    if mode == "circular":          # negative padding crops first; what is left is repeated
        crop, end = max(-before, 0), n - max(-after, 0)
        return crop + np.arange(min(-before, 0), end - crop + max(after, 0)) % max(end - crop, 1)
    i = np.arange(-before, n + after)
    if mode == "replicate":
        return np.clip(i, 0, max(n - 1, 0))
    if n == 1:
        return np.zeros_like(i)
    i = np.abs(i)
    return np.where(i >= n, 2 * (n - 1) - i, i)


def pad_index_ref(a, *, pads, mode):
    for d, (b, e) in enumerate(pads):
        if b or e:
            a = np.take(a, positions(mode, a.shape[d], b, e), axis=d)
    return np.ascontiguousarray(a)


def fold_positions(g: np.ndarray, axis: int, index: np.ndarray, n: int) -> np.ndarray:
    """Add every slice of `g` along `axis` to slice `index[i]` of a result of size `n` there."""
    g = np.moveaxis(g, axis, 0)
    r = np.zeros((n, *g.shape[1:]), g.dtype)
    start = int(np.argmax(index == 0)) if n else 0          # the run 0, 1, ..., n - 1 is added at once
    if n and np.array_equal(index[start:start + n], np.arange(n)):
        r += g[start:start + n]
        rest = [*range(start), *range(start + n, len(index))]
    else:
        rest = range(len(index))
    for i in rest:
        r[index[i]] += g[i]
    return np.moveaxis(r, 0, axis)


def pad_index_grad_ref(g, *, pads, mode):
    for d, (b, e) in enumerate(pads):
        if b or e:
            n = g.shape[d] - b - e
            g = fold_positions(g, d, positions(mode, n, b, e), n)
    return np.ascontiguousarray(g)


def pad_place(b, shape, pads, mode, i):
    """Where in an array of `shape` the padded element `i` is read: `positions`, as index arithmetic."""
    out = []
    for x, n, (before, after) in zip(i, shape, pads):
        if not before and not after:
            out.append(x)
        elif mode == "circular":
            crop, end = max(-before, 0), n - max(-after, 0)
            out.append(b.iadd(b.imod(b.iadd(x, min(-before, 0)), max(end - crop, 1)), crop))
        elif mode == "replicate" or n == 1:
            out.append(b.clamp(b.isub(x, before), 0, max(n - 1, 0)))
        else:
            at = b.abs(b.value(b.isub(x, before)))
            out.append(b.as_index(b.select(b.ge(at, n), b.sub(2 * (n - 1), at), at), 0, n - 1))
    return tuple(out)


def pad_index_grad_lower(b, g, *, pads, mode):
    shape = tuple(n - before - after for n, (before, after) in zip(g.shape, pads))
    return b.scatter(g.shape, b.zero(g.dtype), "add", lambda i, load: (pad_place(b, shape, pads, mode, i), load(0, i)))


@primitive(GATHER, args="input", forms="", ns=(), ref=pad_index_ref, jvp="input",
           batch=lambda b, x, *, pads, mode: F.pad_index(x.x, ((0, 0), *pads), mode),
           lower=lambda b, i, load, s, *, pads, mode: load(0, pad_place(b, s.shape, pads, mode, i)), infer=lambda s, *, pads, mode: s.like(padded_shape(s.shape, pads)),
           low=False, vjp={"input": lambda g, attrs_: F.pad_index_grad(g, **attrs_)},
           samples=lambda m: [((m.t(2, 4), ((0, 0), (2, 1)), "reflect"), {}), ((m.t(2, 3), ((1, -1), (3, 1)), "replicate"), {}),
                              ((m.t(3, 2), ((2, 1), (1, 0)), "circular"), {}), ((m.t(0, 3), ((0, 0), (1, 1)), "replicate"), {})])
def pad_index(input, pads, mode):
    """`input` padded by its own elements: mode 'reflect', 'replicate' or 'circular', `pads` (before, after) per dimension."""
    return (input,), {"pads": pads, "mode": mode}


@primitive(SCATTER, args="padded", forms="", ns=(), ref=pad_index_grad_ref, jvp="padded",
           batch=lambda b, x, *, pads, mode: F.pad_index_grad(x.x, ((0, 0), *pads), mode), lower=pad_index_grad_lower,
           infer=lambda s, *, pads, mode: s.like(padded_shape(s.shape, [(-b, -e) for b, e in pads])),
           vjp={"padded": lambda g, attrs_: F.pad_index(g, **attrs_)},
           samples=lambda m: [((m.t(2, 7), ((0, 0), (2, 1)), "reflect"), {}), ((m.t(2, 7), ((1, -1), (3, 1)), "replicate"), {}),
                              ((m.t(0, 5), ((0, 0), (1, 1)), "replicate"), {})])
def pad_index_grad(padded, pads, mode):
    """The transpose of `pad_index`: every padded element added to the one it was read from."""
    return (padded,), {"pads": pads, "mode": mode}


_SUPPORTED = {(2, 2), (2, 3), (4, 3), (4, 4), (6, 4), (6, 5)}     # (length of pad, dimensions of the input)


def check_index_pads(x, pad, mode: str) -> None:
    """Raise PyTorch's errors for a padding that `mode` cannot do."""
    shape, n = list(x.shape), len(pad) // 2
    if (len(pad), x.ndim) not in _SUPPORTED:
        fail(NotImplementedError, "P2724", f"Padding size {len(pad)} is not supported for {x.ndim}D input tensor.\n"
             "Supported combinations for non-constant padding:\n  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
             "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
             "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)",
             fix="add a batch or channel dimension with unsqueeze, or pad with mode=\"constant\"")
    batched = x.ndim == n + 2
    if 0 in shape[1 if batched else 0:] and mode != "circular":
        fail(RuntimeError, "P2725", f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
             f"dimensions for input, but got: {shape}")
    for d, (size, (b, e)) in enumerate(zip(shape, per_dim_pads(pad, x.ndim))):
        if mode == "reflect" and (b >= size or e >= size) and (b or e):
            fail(RuntimeError, "P2726", f"Argument #4: Padding size should be less than the corresponding input dimension, but got: "
                 f"padding ({b}, {e}) at dimension {d} of input {shape}",
                 fix="reflect padding must be smaller than the dimension; mode=\"replicate\" takes any")
        if mode == "circular" and (b > size or e > size):
            fail(RuntimeError, "P2727", "Padding value causes wrapping around more than once.",
                 got=f"padding ({b}, {e}) at dimension {d} of input {shape}",
                 fix="circular padding may be as large as the dimension at most")
        if b + size + e < 0 or (b + size + e == 0 and (b or e)):
            fail(RuntimeError, "P2728", f"input (W: {size}) is too small. Calculated output W: {b + size + e}",
                 got=f"padding ({b}, {e}) at dimension {d} of input {shape}")


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(2, 3, 4), (1, 2)), {"mode": "reflect"}), ((m.t(2, 3), (1, 1, 0, 2)), {"value": 1.5}),
                              ((m.t(1, 2, 3, 4), (2, 1, 1, 0)), {"mode": "replicate"}), ((m.t(0, 2, 3), (1, 1)), {"mode": "circular"})])
def pad(input, pad, mode="constant", value=None):
    """`input` padded by `pad` = (left, right, top, bottom, ...), from the last dimension on.

    `mode`: constant (any dimensions, `value` or 0), reflect, replicate, circular (the last 1 to 3 dimensions of a tensor
    with or without batch dimension). Negative entries crop."""
    need_tensor(input, "pad")
    if not isinstance(pad, (list, tuple)):
        fail(TypeError, "P2729", f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    pad = as_ints(pad, "pad", "pad")
    if len(pad) % 2:
        fail(RuntimeError, "P2730", "Padding length must be divisible by 2", got=f"pad={list(pad)}",
             fix="pad lists two numbers per dimension, from the last dimension on: (left, right, top, bottom, ...)")
    if len(pad) > 2 * input.ndim:
        fail(RuntimeError, "P2731", "Padding length should be less than or equal to two times the input dimension but got padding "
             f"length {len(pad)} and input of dimension {input.ndim}", fix="leave out the numbers of the dimensions that do not exist")
    if mode == "constant":
        return F.constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None and value != 0:
        fail(RuntimeError, "P2732", f'Padding mode "{mode}" doesn\'t take in value argument', got=f"value={value}",
             fix="value= belongs to mode=\"constant\"")
    if mode not in ("reflect", "replicate", "circular"):
        fail(NotImplementedError, "P2733", f"Unrecognised padding mode {mode}", fix="use constant, reflect, replicate or circular",
             got=describe(input))
    check_index_pads(input, pad, mode)
    return F.pad_index(input, per_dim_pads(pad, input.ndim), mode)
