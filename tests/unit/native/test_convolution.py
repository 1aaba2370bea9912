"""Generated convolutions, each against the operator's reference in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel.plan import LibCall, Post, View
from pellucid.native.convolution import small_convolution
from pellucid.native.isa import AVX2, AVX512
from pellucid.ops.op import REGISTRY

from .extern_harness import Native, copy_guarded, guarded, isas

rng = np.random.default_rng(0)
needs = pytest.mark.skipif(AVX512 not in isas(), reason="needs AVX-512")
CASES = {       # images, channels, results, rows, columns, kernel, stride, padding
    "padded": (8, 64, 96, 4, 4, (3, 3), (1, 1), (1, 1)),
    "strided": (16, 96, 64, 7, 6, (3, 3), (2, 2), (1, 1)),
    "pointwise": (8, 64, 64, 7, 7, (1, 1), (2, 2), (0, 0)),
    "unpadded": (8, 64, 64, 5, 8, (3, 3), (1, 1), (0, 0)),
    "mixed": (8, 64, 64, 6, 9, (3, 1), (3, 2), (2, 0)),
    "row": (8, 64, 64, 1, 8, (1, 5), (1, 3), (0, 2)),
    "one place": (8, 64, 64, 1, 1, (3, 3), (1, 1), (1, 1)),
    "gaps": (8, 64, 64, 8, 8, (1, 3), (4, 4), (0, 1)),
}


def view(a):
    return View(0, dt.of(a.dtype), a.shape, tuple(s // a.itemsize for s in a.strides))


def call_of(name, operands, out, post=(), **attrs):
    return LibCall(name, tuple(map(view, operands)), (view(out),), attrs, None, post)


def arrays_of(case):
    n, c, o, h, w, kernel, stride, padding = case
    out = [(m + 2 * p - k) // s + 1 for m, p, k, s in zip((h, w), padding, kernel, stride)]
    x, weight, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, h, w, c), (o, c, *kernel), (n, *out, o)))
    return x, weight, y, {"stride": stride, "padding": padding, "dilation": (1, 1), "groups": 1}


@needs
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_convolution_and_its_gradients(case):
    x, w, y, attrs = arrays_of(case)
    wide = [a.astype(np.float64) for a in (x, w, y)]
    for name, (a, b), like, shape in (("conv_nhwc", (0, 1), y, {}), ("conv_nhwc_input", (2, 1), x, {"shape": x.shape}),
                                      ("conv_nhwc_weight", (2, 0), w, {"shape": w.shape})):
        operands = [(x, w, y)[i] for i in (a, b)]
        right = REGISTRY[name].ref(wide[a], wide[b], *((None,) if name == "conv_nhwc" else ()), **shape, **attrs)
        native = Native(small_convolution(call_of(name, operands, like, **shape, **attrs), AVX512, "f"), AVX512)
        results = []
        for threads in (1, 2, 3):
            out = guarded(like.shape, np.float32)
            native(*[copy_guarded(v) for v in operands], out, threads=threads)
            results.append(out)
        assert np.abs(results[0] - right).max() <= 3e-6 * max(np.abs(right).max(), 1), name
        assert all(np.array_equal(results[0], r) for r in results[1:]), "the same whatever the threads"


def test_convolutions_that_belong_elsewhere():
    def extern(case, isa=AVX512, post=(), **other):
        x, w, y, attrs = arrays_of(case)
        return small_convolution(call_of("conv_nhwc", (x, w), y, post, **{**attrs, **other}), isa, "f")

    assert extern(CASES["padded"]) is not None
    assert extern(CASES["padded"], isa=AVX2) is None
    assert extern(CASES["padded"], post=(Post("relu", None),)) is None
    assert extern(CASES["padded"], dilation=(2, 2)) is None
    assert extern((7, *CASES["padded"][1:])) is None, "images that fill no tile"
    assert extern((8, 60, 64, 4, 4, (3, 3), (1, 1), (1, 1))) is None, "channels that fill no vector"
    assert extern((8, 64, 64, 9, 9, (3, 3), (1, 1), (1, 1))) is None, "large images"
    assert extern((8, 64, 64, 4, 4, (2, 2), (1, 1), (1, 1))) is None, "an even kernel"
