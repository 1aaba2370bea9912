"""Convolutions of small images with many channels, and their gradients: generated, because libraries multiply the padding too.

In: a channels-last library call (`conv_nhwc`, `conv_nhwc_input`, `conv_nhwc_weight`). Out: an `Extern`, or None for what the
library does as well. On a 4 x 4 image a 3 x 3 kernel meets padding in 31% of its products; here these are left out.

How it works: activations are copied to (row, column, image, channel), so that the images at one place are evenly spaced rows.
A tile of the result, `ROWS` images at one place by two vectors of channels, is summed in registers over the kernel's places that
lie on the image, and the channels. Each thread lays out the weights for two vectors of results at a time, in its second cache,
and does all images with them. The gradient of the weight is the same with rows of the output's channels, summed over images.
Sums run in the same order whatever the thread count.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..core import dtype as dt
from ..graph.ir import Node, Value
from ..kernel.plan import View
from .backend import Extern, extern, symbolic
from .emit import EXTERN_PARAMS, Fn, Isa, Module, Val
from .gemm import accumulate, barrier, share_of, transpose

ROWS = 8                            # images, or output channels, in a tile
PLACES = 64                         # of an image; above, the padding's share is small and the library as fast
LEAST = 64                          # channels
BEST = 2                            # vectors in a tile
GROUP = 4                           # tiles whose gradients of weights lie side by side in memory: long runs are written


@dataclass(frozen=True, slots=True)
class Shape:
    """x: (n, *size, c), y: (n, *out, o), weight: (o, c, *kernel); two dimensions of space."""

    n: int
    c: int
    o: int
    size: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def flops(self) -> int:
        """Without the padding."""
        met = [sum(0 <= i * s + k - p < h for i in range(m) for k in range(q))
               for h, m, q, s, p in zip(self.size, self.out, self.kernel, self.stride, self.padding)]
        return 2 * self.n * self.c * self.o * met[0] * met[1]


def shape_of(call, isa: Isa) -> Shape | None:
    """The call's sizes if it belongs here."""
    views = [v for v in (*call.operands, *call.outs) if isinstance(v, View)]
    if call.post or len(views) != 3 or len(views[0].shape) != 4:
        return None
    if any(v.dtype is not dt.float32 or not v.contiguous or 0 in v.shape for v in views):
        return None
    x, w, y = {"conv_nhwc": (0, 1, 2), "conv_nhwc_input": (2, 1, 0), "conv_nhwc_weight": (1, 2, 0)}[call.name]
    x, w, y = (views[i].shape for i in (x, w, y))
    return fitting(Shape(x[0], x[3], y[3], tuple(x[1:3]), tuple(y[1:3]), tuple(w[2:]), tuple(call.attrs["stride"]),
                         tuple(call.attrs["padding"])), call.attrs, isa)


def fitting(s: Shape, attrs, isa: Isa) -> Shape | None:
    lanes = isa.lanes("float")
    if isa.registers < 32 or attrs["groups"] != 1 or any(d != 1 for d in attrs["dilation"]) or s.taps % 2 == 0 or s.taps > 9:
        return None
    if s.n % ROWS or s.c % (BEST * lanes) or s.o % (BEST * lanes) or min(s.c, s.o) < LEAST or s.size[0] * s.size[1] > PLACES:
        return None
    return s


def gains(node: Node, isa: Isa) -> bool:
    """Whether a convolution of row-major float32 images belongs here once their channels are last: a product of whole images
    (kernels of one place) gains nothing."""
    values = (*[a for a in node.args if isinstance(a, Value)], node.out)
    if len(values) != 3 or len(node.out.shape) != 4 or any(v.dtype is not dt.float32 or 0 in v.shape for v in values):
        return False
    x, w, y = {"convolution": (0, 1, 2), "convolution_input": (2, 1, 0), "convolution_weight": (1, 2, 0)}[node.op.name]
    x, w, y = (values[i].shape for i in (x, w, y))
    s = Shape(x[0], x[1], y[1], tuple(x[2:]), tuple(y[2:]), tuple(w[2:]), tuple(node.attrs["stride"]), tuple(node.attrs["padding"]))
    return s.taps > 1 and fitting(s, node.attrs, isa) is not None


@extern("conv_nhwc", "conv_nhwc_input", "conv_nhwc_weight", before_library=True)
def small_convolution(call, isa: Isa, symbol: str) -> Extern | None:
    """An extern for images that are small enough."""
    s = shape_of(call, isa)
    if s is None:
        return None
    module = Module(isa, symbolic(call))
    write = {"conv_nhwc": Forward, "conv_nhwc_input": Backward, "conv_nhwc_weight": Weight}[call.name]
    return write(module, symbol, s).extern()


class Writer:
    """What the three have in common: a function, and activations copied to (row, column, image, channel)."""

    def __init__(self, module: Module, symbol: str, s: Shape):
        self.module, self.symbol, self.s = module, symbol, s
        self.f = Fn(module, symbol, EXTERN_PARAMS)
        self.lanes = self.f.lanes
        self.width = BEST * self.lanes
        self.views = [self.f.load(self.f.p_views, i, "ptr") for i in range(3)]

    def pitch(self, channels: int) -> int:
        """Elements from one image's channels to the next one's: not a multiple of what the caches count by."""
        return channels + self.lanes

    def floats(self, places: tuple[int, int], channels: int) -> int:
        return places[0] * places[1] * self.s.n * self.pitch(channels)

    def spread_out(self, source: Val, to: Val, places: tuple[int, int], channels: int) -> None:
        """This thread's share of copying (image, row, column, channel) to (row, column, image, channel)."""
        f, n = self.f, self.s.n
        count = places[0] * places[1]
        lo, hi = share_of(f, n * count)
        with f.loop(lo, hi) as r:
            start = f.at(source, r * channels)
            end = f.at(to, (f.rem(r, count) * n + f.div(r, count)) * self.pitch(channels))
            with f.loop(0, channels, self.lanes) as c:
                f.store(f.load(start, c), end, c)

    def each(self, act, acc=None) -> None:
        """`act(place in a tile, sum)` for the vectors of a tile."""
        for r in range(ROWS):
            for v in range(BEST):
                act(r * self.width + v * self.lanes, acc and acc[r][v])

    def zeros(self) -> list:
        return [[self.f.var(self.f.zero()) for _ in range(BEST)] for _ in range(ROWS)]

    def finished(self, scratch: int, shared: int) -> Extern:
        self.f.end()
        return Extern(self.module.text, self.symbol, sizes=self.module.sizes, scratch=4 * scratch, shared=4 * shared, flops=self.s.flops)

    def gathered(self, source: Val, to: Val, step: int) -> None:
        """16 channels by all taps, as they lie in a weight, to one vector per tap, `step` apart. (An odd number of taps puts
        the channels of a tap into lanes that all differ.)"""
        f, lanes, taps = self.f, self.lanes, self.s.taps
        rows = [f.load(source, v * lanes) for v in range(taps)]
        for tap in range(taps):
            at = [i * taps + tap for i in range(lanes)]
            x = rows[0]
            for v in range(1, taps):
                x = f.shuffle(x, rows[v], [lanes + l if any(q == v * lanes + l for q in at) else l for l in range(lanes)])
            f.store(f.shuffle(x, None, [q % lanes for q in at]), to, tap * step)

    def scattered(self, source: Val, to: Val, step: int) -> None:
        """The reverse of `gathered`."""
        f, lanes, taps = self.f, self.lanes, self.s.taps
        rows = []
        for tap in range(taps):
            x = f.load(source, tap * step)
            where = {(i * taps + tap) % lanes: i for i in range(lanes)}
            rows.append(f.shuffle(x, None, [where[l] for l in range(lanes)]))
        for v in range(taps):
            x = rows[0]
            for tap in range(1, taps):
                x = f.shuffle(x, rows[tap], [lanes + l if (v * lanes + l) % taps == tap else l for l in range(lanes)])
            f.store(x, to, v * lanes)


class Forward(Writer):
    """y[i, j] = sum over the kernel's places of x[i s + k - p] w[k]."""

    def extern(self) -> Extern:
        s = self.s
        x, w, y = self.views
        return self.products(x, s.size, s.c, w, y, s.out, s.o)

    def products(self, x, places, channels, w, y, out, results) -> Extern:
        f, s, width = self.f, self.s, self.width
        self.spread_out(x, f.p_shared, places, channels)
        barrier(f, f.p_nth)
        first, last = share_of(f, results // width)
        with f.loop(first, last) as panel:
            column = panel * width
            self.lay_out(w, column, channels)
            with f.loop(0, out[0]) as i, f.loop(0, out[1]) as j, f.loop(0, s.n, ROWS) as n:
                acc = self.zeros()
                with self.met(i, 0) as (ki, at_i), self.met(j, 1) as (kj, at_j):
                    place = (at_i * places[1] + at_j) * s.n + n
                    a = f.at(f.p_shared, place * self.pitch(channels))
                    b = f.at(f.p_scratch, (ki * s.kernel[1] + kj) * (channels * width))
                    accumulate(f, acc, channels, a, (self.pitch(channels), 1), b, width)
                to = f.at(y, ((n * out[0] + i) * out[1] + j) * results + column)
                for r, row in enumerate(acc):
                    for v, sums in enumerate(row):
                        f.store(sums.get(), to, r * (out[0] * out[1] * results) + v * self.lanes)
        return self.finished(s.taps * channels * width, self.floats(places, channels))

    def met(self, at: Val, d: int):
        """A loop over the kernel's places along dimension d that meet the image: (place in the kernel, in the image)."""
        f, s = self.f, self.s
        start = at * s.stride[d] - s.padding[d]
        return Places(f, f.most(f.sub(0, start), 0), f.least(f.sub(s.size[d], start), s.kernel[d]), 1, lambda k: start + k)

    def lay_out(self, w: Val, column: Val, channels: int) -> None:
        """Weights of `width` results to (tap, channel, result)."""
        f, s, lanes, width = self.f, self.s, self.lanes, self.width
        each = channels * s.taps
        with f.loop(0, width, lanes) as v, f.loop(0, channels, lanes) as c:
            source, to = f.at(w, (column + v) * each + c * s.taps), f.at(f.p_scratch, c * width + v)
            for block in range(s.taps):
                rows = [f.load(source, i * each + block * lanes) for i in range(lanes)]
                for i, x in enumerate(transpose(f, rows)):
                    channel, tap = divmod(block * lanes + i, s.taps)
                    f.store(x, to, (tap * channels + channel) * width)


class Backward(Forward):
    """The gradient of x: x[h] = sum over the kernel's places of y[(h + p - k) / s] w[k], where that is whole."""

    def extern(self) -> Extern:
        s = self.s
        y, w, x = self.views
        return self.products(y, s.out, s.o, w, x, s.size, s.c)

    def met(self, at: Val, d: int):
        f, s = self.f, self.s
        end = at + s.padding[d]
        lo = f.most(f.rem(end, s.stride[d]), end - s.stride[d] * (s.out[d] - 1))
        return Places(f, lo, f.least(end + 1, s.kernel[d]), s.stride[d], lambda k: f.div(end - k, s.stride[d]))

    def lay_out(self, w: Val, column: Val, channels: int) -> None:
        f, s, lanes, width = self.f, self.s, self.lanes, self.width
        with f.loop(0, channels) as o, f.loop(0, width, lanes) as v:
            self.gathered(f.at(w, o * (s.c * s.taps) + (column + v) * s.taps), f.at(f.p_scratch, o * width + v), channels * width)


class Weight(Writer):
    """The gradient of the weight: w[k] = sum over places and images of y[i] x[i s + k - p]."""

    def extern(self) -> Extern:
        f, s, width = self.f, self.s, self.width
        y, x, w = self.views
        outs, inputs = f.p_shared, f.at(f.p_shared, self.floats(s.out, s.o))
        self.spread_out(y, outs, s.out, s.o)
        self.spread_out(x, inputs, s.size, s.c)
        barrier(f, f.p_nth)
        first, last = share_of(f, s.o // ROWS)
        group = GROUP * width
        with f.loop(0, s.c, group) as start, f.loop(first, last) as tile, f.loop(start, f.least(start + group, s.c), width) as c:
            o = tile * ROWS
            with f.loop(0, s.kernel[0]) as ki, f.loop(0, s.kernel[1]) as kj:
                to = f.at(f.p_scratch, (ki * s.kernel[1] + kj) * (ROWS * width))
                self.each(lambda at, acc: f.store(f.zero(), to, at))
                with self.met(ki, 0) as (i, at_i), self.met(kj, 1, s.stride[1] == 1) as (j, at_j):
                    acc = self.zeros()                      # sums of sums: long ones would lose digits
                    a = f.at(outs, (i * s.out[1] + j) * (s.n * self.pitch(s.o)) + o)
                    b = f.at(inputs, (at_i * s.size[1] + at_j) * (s.n * self.pitch(s.c)) + c)
                    accumulate(f, acc, self.steps, a, (1, self.pitch(s.o)), b, self.pitch(s.c))
                    self.each(lambda at, x: f.store(x.get() + f.load(to, at), to, at), acc)
            with f.loop(0, ROWS) as r, f.loop(0, width, self.lanes) as v:
                self.scattered(f.at(f.p_scratch, r * width + v), f.at(w, ((o + r) * s.c + c + v) * s.taps), ROWS * width)
        return self.finished(s.taps * ROWS * width, self.floats(s.out, s.o) + self.floats(s.size, s.c))

    def met(self, k: Val, d: int, at_once: bool = False):
        """A loop over the places of y along dimension d whose place in x under the kernel's k is on the image: (in y, in x).
        `at_once`: neighbours are one run of `steps` rows."""
        f, s = self.f, self.s
        start = k - s.padding[d]
        lo = f.div(f.most(f.sub(s.stride[d] - 1, start), 0), s.stride[d])
        hi = f.least(f.div(f.most(f.sub(s.size[d] - 1 + s.stride[d], start), 0), s.stride[d]), s.out[d])
        self.steps = (hi - lo) * s.n if at_once else s.n
        return Places(f, lo, f.least(hi, lo + 1) if at_once else hi, 1, lambda i: i * s.stride[d] + start)


class Places:
    """A loop that gives (its index, what `at` says for it)."""

    def __init__(self, f: Fn, lo, hi, step: int, at):
        self.loop, self.at = f.loop(lo, hi, step), at

    def __enter__(self):
        k = self.loop.__enter__()
        return k, self.at(k)

    def __exit__(self, *error):
        return self.loop.__exit__(*error)
