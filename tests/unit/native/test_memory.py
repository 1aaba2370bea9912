"""Compiled programs stay inside their buffers: pages that may not be touched lie right before and after every array."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

HEAD = """
import ctypes, mmap
import numpy as np
import pellucid
import pellucid.nn.functional as F
from pellucid.graph import interp
from pellucid.native import build, execute
from pellucid.tensor.tracing import trace

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
kept = []

def guarded(shape, dtype, end):
    '''An array between two forbidden pages; it ends (or begins) right at one of them.'''
    nbytes = int(np.prod(shape)) * dtype.itemsize
    body = -(-max(nbytes, 1) // PAGE) * PAGE
    block = mmap.mmap(-1, body + 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raw = np.frombuffer(block, np.uint8)
    start = raw.__array_interface__["data"][0]
    assert libc.mprotect(start, PAGE, 0) == 0 and libc.mprotect(start + PAGE + body, PAGE, 0) == 0
    kept.append(block)
    offset = PAGE + (body - nbytes) // dtype.itemsize * dtype.itemsize if end else PAGE
    return raw[offset:offset + nbytes].view(dtype).reshape(shape)

def copied(a, end):
    g = guarded(a.shape, a.dtype, end)
    g[...] = a
    return g

def check(fn, *args, tolerance=1e-4):
    traced = trace(fn, args)
    exe = build.compile_graph(traced.graph, options={"cache": False})
    arrays = [np.ascontiguousarray(t._a) for t in traced.tensors()]
    expected = interp.run(traced.graph, [a.copy() for a in arrays])
    makers = exe.news
    for end in (False, True):
        exe.news = [((lambda shape, dtype, end=end: guarded(shape, dtype, end)), shape, dtype) for _, shape, dtype in makers]
        instance = execute.Instance(exe.program, exe.code, exe.consts, exe.instance.threads)
        exe.instance = exe._instances[exe.instance.threads] = instance
        outs = exe([copied(a, end) for a in arrays])
        for a, b in zip(outs, expected):
            np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=tolerance, atol=tolerance)

pellucid.manual_seed(0)
# the arena too: it ends at a forbidden page
execute.aligned = lambda nbytes: guarded((-(-nbytes // 64) * 64,), np.dtype(np.uint8), True)[:nbytes]
"""

CASES = {
    "pointwise": """
        for n in (1, 3, 15, 16, 17, 63, 64, 65, 1000, 100_003):
            check(lambda x, y: (F.gelu(x) * y + 1, (x > y), x.to(pellucid.float64)), pellucid.randn(n), pellucid.randn(n))
        check(lambda x, y: x + y, pellucid.randn(7, 1, 13), pellucid.randn(1, 5, 13))
    """,
    "reductions": """
        for shape in ((3, 5), (17, 33), (64, 1000), (1000, 7)):
            check(lambda x: (x.sum(), x.sum(0), x.mean(1), x.amax(1), F.softmax(x, 1), F.layer_norm(x, x.shape[1:])), pellucid.randn(*shape))
        check(lambda x: (x.sum((0, 2)), x.argmax(2)), pellucid.randn(9, 5, 31))
    """,
    "views": """
        check(lambda x: (pellucid.cat([x, x[1:], x.flip(0)]), F.pad(x, (1, 2, 3, 0)), x.t().contiguous(), x[::2, 1:]), pellucid.randn(13, 9))
    """,
    "low precision": """
        for d in (pellucid.bfloat16, pellucid.float16):
            check(lambda x: (x * 2 + 1, F.softmax(x, 1), x.float().sum(0)), pellucid.randn(33, 29).to(d), tolerance=2e-2)
        check(lambda x: (x & 3, x + x, x.sum(0)), pellucid.randint(0, 100, (37, 5)))
    """,
    "products": """
        for m, k, n in ((1, 1, 1), (3, 5, 7), (64, 100, 33), (130, 257, 129)):
            check(lambda x, w, b: (F.relu(x @ w + b), x.t() @ x), pellucid.randn(m, k), pellucid.randn(k, n), pellucid.randn(n))
        check(lambda x, y: x @ y.transpose(1, 2), pellucid.randn(3, 17, 8), pellucid.randn(3, 9, 8))
    """,
    "convolutions": """
        check(lambda x, w, b: F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2), pellucid.randn(2, 3, 11, 9), pellucid.randn(5, 3, 3, 3),
              pellucid.randn(5))
    """,
    "a training step": """
        w, v = pellucid.randn(20, 30, requires_grad=True), pellucid.randn(30, 5, requires_grad=True)
        def step(x, y):
            loss = F.cross_entropy(F.relu(x @ w) @ v, y)
            loss.backward()
            return loss
        check(step, pellucid.randn(33, 20), pellucid.randint(0, 5, (33,)))
    """,
    "attention": """
        check(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), *[pellucid.randn(2, 3, 37, 16) for _ in range(3)])
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by Linux's calls")
@pytest.mark.parametrize("isa", ("", pytest.param("avx2", marks=pytest.mark.slow), pytest.param("baseline", marks=pytest.mark.slow)))
@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_the_buffers_is_touched(case, isa):
    r = subprocess.run([sys.executable, "-c", HEAD + textwrap.dedent(CASES[case])], capture_output=True, text=True, timeout=100,
                       env={**os.environ, "PELLUCID_ISA": isa})
    assert r.returncode == 0, f"exit {r.returncode}\n{r.stderr[-3000:]}"


@pytest.mark.slow
def test_more_than_two_thousand_million_elements():
    body = """
        n = (1 << 31) + 1000
        traced = trace(lambda x: x * 2 + 1, (pellucid.zeros(n, dtype=pellucid.uint8),))
        exe = build.compile_graph(traced.graph, options={"cache": False})
        x = np.zeros(n, np.uint8)
        x[-1000:] = 7
        y, = exe([x])
        assert y[0] == 1 and (y[-1000:] == 15).all() and y[1 << 31] == 15 and y[(1 << 31) - 1] == 1
    """
    head = HEAD.split("pellucid.manual_seed(0)")[0]
    subprocess.run([sys.executable, "-c", head + textwrap.dedent(body)], check=True, timeout=110)
