"""Random programs: pointwise operators, views, reductions, products, indexing, writes in place, and operators' own samples.

In: a seed. Out: a `Program` whose every step ran eagerly. What stays true: the same seed gives the same program; values stay
of moderate size, so that a difference between two ways of computing is a fault and not rounding magnified.
"""
from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

import pellucid
from pellucid.ops.op import COMPOSITE, GATHER, POINT, REDUCE, REGISTRY
from pellucid.testing.samples import samples_of
from pellucid.tensor import Tensor

from .programs import Input, Program, Step

UNARY = ["{0}.neg()", "{0}.abs()", "{0}.tanh()", "{0}.sigmoid()", "{0}.relu()", "torch.nn.functional.gelu({0})", "{0}.square()",
         "{0}.sin()", "{0}.cos()", "torch.nn.functional.silu({0})", "torch.nn.functional.softplus({0})", "{0}.erf()", "{0}.atan()",
         "torch.nn.functional.leaky_relu({0}, 0.1)", "torch.nn.functional.elu({0})", "{0}.tanh().exp()", "({0}.abs() + 0.5).log()",
         "({0}.abs() + 0.1).sqrt()", "({0}.abs() + 0.3).rsqrt()", "({0} * 0.5)", "(1.5 - {0})", "({0} / 3)", "(1 / ({0}.abs() + 0.7))",
         "({0}.abs() + 0.2) ** 1.5", "{0} ** 2", "{0}.clamp(-1.1, 0.9)", "{0}.expm1().tanh()",
         "({0}.abs()).log1p()", "{0}.sigmoid().logit()"]
BINARY = ["({0} + {1})", "({0} - {1})", "({0} * {1})", "torch.maximum({0}, {1})", "torch.minimum({0}, {1})", "({0} / ({1}.abs() + 0.5))",
          "torch.where({1} > 0.1, {0}, {1})", "torch.lerp({0}, {1}, 0.3)", "torch.atan2({0}, {1}.abs() + 0.6)", "torch.hypot({0}, {1} + 3)",
          "torch.logaddexp({0}, {1})", "torch.add({0}, {1}, alpha=0.5)", "{0}.masked_fill({1} > 0.3, 0.25)"]
REDUCTIONS = ["sum", "mean", "amax", "amin", "logsumexp", "var", "norm"]
INPLACE = ["{0}.mul_({1})", "{0}.add_({1}, alpha=2)", "{0}.relu_()", "{0}.mul_(0.5)", "{0}.tanh_()", "{0}.copy_({1})", "{0}.sub_({1})",
           "{0}.clamp_(min=-0.5)", "{0}.fill_(0.75)", "{0}.masked_fill_({1} > 0.2, 1.5)", "{0}.addcmul_({1}, {1}, value=0.5)"]
# operators whose results depend on chance, memory, other threads or values in ways a traced program may not; or that are slow
UNFIT = ("linalg_", "fft_", "random", "dropout", "_fill", "rrelu", "histogram", "bessel", "airy", "polynomial", "unique", "nonzero",
         "argwhere", "masked_select",
         "masked_scatter", "empty", "ctc", "multinomial", "bernoulli", "rand", "normal", "poisson", "fractional",
         "bincount",
         "histc", "view", "_named", "gumbel", "embedding_renorm", "_inplace", "lobpcg", "nextafter", "zeta", "polygamma", "mvlgamma",
         "igamma", "entr", "equal", "allclose", "to_dense", "cholesky", "svd", "qr", "eig", "lstsq", "solve", "inverse", "pinverse",
         "logdet",
         "slogdet", "det", "matrix_power", "matrix_exp", "orgqr", "ormqr", "lu", "triangular", "chain_matmul", "nuclear", "pdist", "cdist",
         "multi_head", "as_strided", "combinations", "cartesian", "searchsorted", "bucketize", "repeat_interleave", "isin", "cov",
         "corrcoef",
         "quantile", "mode", "kthvalue", "renorm", "frexp", "complex", "polar", "real", "imag", "item", "tolist", "numpy", "pin_memory",
         "cuda")


def fit_operators() -> list[str]:
    """Operators that are tried on the values of a program through their own samples."""
    found = []
    for name, op in REGISTRY.items():
        if op.kind in (POINT, REDUCE, GATHER, COMPOSITE) and not any(u in name for u in UNFIT) and (op.samples or op.kind is POINT):
            if op.ns and op.public and not name.endswith(("_", "_backward")):
                found.append(name)
    return found


class Generator:
    """Grows one program. `values` are the eager results so far; `exact` those that are inputs (safe for operators that jump)."""

    def __init__(self, seed: int, size: int | None = None):
        self.rng = rng = np.random.default_rng(seed)
        self.seed, self.size = seed, size or int(rng.integers(2, 9))
        self.inputs: list[Input] = []
        self.steps: list[Step] = []
        self.input_values: list[Tensor] = []
        self.step_values: list = []
        self.dtype = rng.choice(["float32", "float32", "float32", "float64"])
        self.base = [int(n) for n in rng.choice([1, 2, 3, 4, 5, 7, 8, 16, 17, 33], size=int(rng.integers(1, 4)))]
        if rng.random() < 0.03:
            self.base = []
        if rng.random() < 0.03 and self.base:
            self.base[int(rng.integers(len(self.base)))] = 0

    # ------------------------------------------------------------------------------------------------ growing
    def input(self, shape, dtype: str | None = None, low: float = -2.0, high: float = 2.0) -> tuple[str, int]:
        order = self.rng.choice(["C", "C", "C", "F", "gaps"]) if len(shape) else "C"
        x = Input(tuple(int(n) for n in shape), dtype or str(self.dtype), int(self.rng.integers(1 << 30)), low, high, str(order))
        self.inputs.append(x)
        self.input_values.append(pellucid.from_numpy(x.array()))
        return "x", len(self.inputs) - 1

    def value(self, ref: tuple[str, int]):
        kind, k = ref
        return self.input_values[k] if kind == "x" else self.step_values[k]

    def add(self, text: str, *uses: tuple[str, int]) -> tuple[str, int] | None:
        """Append a step if it runs and its result is a tensor of moderate values; None otherwise."""
        names = [f"{kind}{k}" for kind, k in uses]
        space = {"torch": pellucid, **{n: self.value(u) for n, u in zip(names, uses)}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                r = eval(text.format(*names), space)
        except (RuntimeError, IndexError, ValueError, TypeError, AttributeError):
            return None
        if not isinstance(r, Tensor) or r.numel() > 2000 or r.dtype.is_complex:
            return None
        self.steps.append((text, uses))
        self.step_values.append(r)
        ref = "v", len(self.steps) - 1
        if r.dtype.is_floating_point and r.numel():
            top = float(r.detach().abs().max())
            if not np.isfinite(top):
                self.steps.pop()
                self.step_values.pop()
                return None
            if top > 30 and "_(" not in text:
                return self.add("{0}.mul(%r)" % round(1 / top, 6), ref)
        return ref

    def pick(self, floating: bool = True, ndim: int | None = None) -> tuple[str, int]:
        """A value, the later the likelier; a fresh input if there is none."""
        refs = [("x", k) for k in range(len(self.inputs))] + [("v", k) for k in range(len(self.steps))]
        refs = [r for r in refs if self.value(r).dtype.is_floating_point == floating and (ndim is None or self.value(r).ndim == ndim)]
        if not refs or self.rng.random() < 0.08:
            return self.input(self.base if ndim is None else [3, 4, 5, 6][:ndim])
        w = np.arange(1, len(refs) + 1) ** 1.5
        return refs[int(self.rng.choice(len(refs), p=w / w.sum()))]

    def other(self, ref) -> tuple[str, int]:
        """An operand that broadcasts against `ref`."""
        shape = tuple(self.value(ref).shape)
        if self.rng.random() < 0.5:
            fits = [r for r in [("x", k) for k in range(len(self.inputs))] + [("v", k) for k in range(len(self.steps))]
                    if self.value(r).dtype.is_floating_point and broadcasts(tuple(self.value(r).shape), shape)]
            if fits:
                return fits[int(self.rng.integers(len(fits)))]
        kept = [n if self.rng.random() < 0.7 else 1 for n in shape]
        return self.input(kept[int(self.rng.integers(0, len(kept) + 1)) if self.rng.random() < 0.3 else 0:])

    # ------------------------------------------------------------------------------------------------ kinds of steps
    def unary(self):
        self.add(self.choice(UNARY), self.pick())

    def binary(self):
        a = self.pick()
        b = self.other(a)
        self.add(self.choice(BINARY), *((a, b) if self.rng.random() < 0.7 else (b, a)))

    def view(self, then=None):
        a = self.pick()
        x = self.value(a)
        texts = ["{0}.unsqueeze(%d)" % self.rng.integers(0, x.ndim + 1), "{0}.flatten()", "{0}.reshape(-1)", "{0}.contiguous()"]
        if x.ndim:
            d, n = (int(i) for i in (lambda k: (k, x.shape[k]))(int(self.rng.integers(x.ndim))))
            order = [int(i) for i in self.rng.permutation(x.ndim)]
            texts += [f"{{0}}.permute({order})", "{0}.transpose(0, -1)", f"{{0}}.squeeze({d})"]
            if n:
                start = int(self.rng.integers(0, n))
                index = ", ".join([":"] * d + [f"{start}::{int(self.rng.integers(1, 3))}"])
                texts += [f"{{0}}[{index}]", f"{{0}}.select({d}, {start})", f"{{0}}.narrow({d}, {start}, {n - start})",
                          f"{{0}}.flip({d})", f"{{0}}.roll({start}, {d})"]
                if n % 2 == 0:
                    texts += [f"{{0}}.unflatten({d}, (2, -1))", f"{{0}}.chunk(2, {d})[1]"]
                if n > 2:
                    texts.append(f"{{0}}.unfold({d}, 2, 1)")
            if x.ndim > 1:
                texts += ["{0}.diagonal()", "{0}.tril()", "{0}.triu(1)", "{0}.mT"]
            texts.append("{0}.unsqueeze(0).expand(3, %s)" % ", ".join(["-1"] * x.ndim))
        return self.add(self.choice(texts), a)

    def reduction(self):
        a = self.pick()
        x = self.value(a)
        if x.ndim == 0 or x.numel() == 0:
            self.add("{0}.sum()", a)
            return
        dims = sorted(int(d) for d in self.rng.choice(x.ndim, size=int(self.rng.integers(1, x.ndim + 1)), replace=False))
        name, keep = self.choice(REDUCTIONS), bool(self.rng.integers(2))
        texts = [f"{{0}}.{name}(dim={dims}, keepdim={keep})", f"torch.softmax({{0}}, dim={dims[0]})",
                 f"torch.log_softmax({{0}}, dim={dims[0]})",
                 f"{{0}}.cumsum({dims[0]})", f"{{0}}.max({dims[0]}, keepdim={keep})[0]", "{0}.mean()",
                 f"{{0}}.std(dim={dims[0]}, correction=0)",
                 f"torch.nn.functional.layer_norm({{0}}, ({x.shape[-1]},))", f"({{0}} > 0).sum(dim={dims[0]}).to({{0}}.dtype)",
                 f"{{0}}.argmax(dim={dims[0]})", f"torch.nn.functional.normalize({{0}}, dim={dims[0]})"]
        weights = np.array([8, 2, 2, 1, 1, 1, 1, 2, 1, 0.5, 1])
        self.add(texts[int(self.rng.choice(len(texts), p=weights / weights.sum()))], a)

    def product(self):
        a = self.pick()
        x = self.value(a)
        if x.ndim == 0:
            return self.unary()
        k = x.shape[-1]
        n = int(self.rng.choice([1, 3, 8, 17]))
        if x.ndim >= 3 and self.rng.random() < 0.3:
            return self.add("torch.matmul({0}, {1}.mT) * %r" % round(1 / max(k, 1), 4), a, a)
        how = int(self.rng.integers(3))
        if how == 0:
            return self.add("torch.nn.functional.linear({0}, {1}, {2})", a, self.input([n, k]), self.input([n]))
        if how == 1:
            return self.add("({0} @ {1}) * 0.25", a, self.input([k, n]))
        return self.add("torch.addmm({2}, {0}, {1}, beta=0.5, alpha=0.2)", a, self.input([k, n]), self.input([n])) if x.ndim == 2 else None

    def indexing(self):
        a = self.pick()
        x = self.value(a)
        if x.ndim == 0 or not x.numel():
            return self.unary()
        d = int(self.rng.integers(x.ndim))
        n, m = x.shape[d], int(self.rng.choice([1, 2, 5, 9]))
        ids = self.input([m], "int64", 0, n)
        shape = list(x.shape)
        shape[d] = m
        other = self.input(shape)
        same = list(x.shape)
        same[d] = int(self.rng.choice([1, 2, 4]))
        return self.add(*self.choice([
            (f"{{0}}.index_select({d}, {{1}})", a, ids),
            (f"{{0}}[{', '.join([':'] * d + ['{1}'])}]", a, ids),
            (f"torch.cat([{{0}}, {{1}}], {d})", a, self.input(same)),
            (f"torch.cat([{{0}}, {{0}} * 2], {d})", a),
            ("torch.stack([{0}, {0}.tanh()], 0)", a),
            (f"{{0}}.index_add({d}, {{1}}, {{2}})", a, ids, other),
            (f"torch.gather({{0}}, {d}, {{1}})", a, self.input(shape, "int64", 0, n)),
            (f"torch.scatter_add({{0}}, {d}, {{1}}, {{2}})", a, self.input(shape, "int64", 0, n), other),
            ("torch.nn.functional.pad({0}, (1, 2))", a),
            (f"torch.nn.functional.embedding({{1}}, {{0}}.reshape({x.shape[0]}, -1))", a, self.input([m], "int64", 0, x.shape[0])),
        ]))

    def in_place(self):
        """A write to a copy of a value, or through a view of the copy."""
        a = self.add("{0}.clone()", self.pick())
        if a is None:
            return
        target = a
        if self.rng.random() < 0.5 and self.value(a).ndim and self.value(a).shape[0]:
            n = self.value(a).shape[0]
            target = self.add(f"{{0}}[{int(self.rng.integers(n))}:]", a)
        x = self.value(target)
        self.add(self.choice(INPLACE), target, self.input([k if self.rng.random() < 0.7 else 1 for k in x.shape]))
        if self.rng.random() < 0.7:
            self.add(self.choice(UNARY), a)

    def input_write(self):
        """A write to an argument."""
        target = self.input(self.base)
        self.add(self.choice(["{0}.add_({1})", "{0}.mul_(0.5)", "{0}.copy_({1} * 2)"]), target, self.other(target))

    def cast(self):
        a = self.pick()
        self.add(self.choice(["{0}.double()", "{0}.float()", "{0}.bfloat16().float()", "({0} * 4).round().detach() * 0.25 + {0}"]), a)

    def sample(self):
        """An operator on one of its own samples, with values of the program where they fit."""
        name = FIT[int(self.rng.integers(len(FIT)))]
        op = REGISTRY[name]
        samples = samples_of(op, getattr(pellucid, str(self.dtype)))
        if not samples:
            return
        args, kwargs = samples[int(self.rng.integers(len(samples)))]
        uses: list = []
        try:
            text = ", ".join([self.argument(x, uses) for x in args] + [f"{k}={self.argument(v, uses)}" for k, v in kwargs.items()])
        except TypeError:
            return
        where = "torch." + (op.ns[0] + "." if op.ns[0] else "") + op.public
        self.add(f"{where}({text})", *uses)

    def argument(self, x, uses: list) -> str:
        """An argument of a sample as text; tensors become values of the program or inputs."""
        if isinstance(x, Tensor):
            if x.dtype.is_complex or x.numel() > 5000:
                raise TypeError
            d = str(x.dtype).removeprefix("torch.").removeprefix("pellucid.")
            shape = tuple(x.shape)
            if x.dtype.is_floating_point:
                low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
                if not -1e3 < low <= high < 1e3:
                    raise TypeError("values that are no size to compute with")
                fits = [("v", k) for k, v in enumerate(self.step_values) if tuple(v.shape) == shape and v.dtype is x.dtype]
                if fits and low < 0 and self.rng.random() < 0.6:
                    uses.append(fits[int(self.rng.integers(len(fits)))])
                else:
                    uses.append(self.input(shape, d, low, max(high, low + 0.1)))
            else:
                low, high = (int(x.min()), int(x.max()) + 1) if x.numel() else (0, 1)
                uses.append(self.input(shape, d, low, high))
            return "{%d}" % (len(uses) - 1)
        if isinstance(x, (list, tuple)):
            inner = [self.argument(v, uses) for v in x]
            return "[" + ", ".join(inner) + "]" if isinstance(x, list) else "(" + "".join(i + ", " for i in inner) + ")"
        if isinstance(x, pellucid.dtype):
            return str(x) if str(x).startswith("torch.") else f"torch.{str(x).rpartition('.')[2]}"
        if x is None or type(x) in (int, float, bool, str):
            return repr(x).replace("{", "{{").replace("}", "}}") if x == x and x not in (float("inf"), float("-inf")) else f"float('{x}')"
        raise TypeError(f"no text for {x!r}")

    def choice(self, options):
        return options[int(self.rng.integers(len(options)))]

    # ------------------------------------------------------------------------------------------------ the whole
    def program(self) -> Program:
        self.input(self.base)
        kinds = [self.unary, self.binary, self.view, self.reduction, self.product, self.indexing, self.in_place, self.cast, self.sample,
                 self.input_write]
        weights = np.array([4, 5, 4, 3, 2, 2, 1.5, 0.5, 3, 0.3])
        while len(self.steps) < self.size and len(self.inputs) < 40:
            kinds[int(self.rng.choice(len(kinds), p=weights / weights.sum()))]()
        n = len(self.inputs)

        def place(ref):
            return ref[1] if ref[0] == "x" else n + ref[1]
        steps = tuple(Step(text, tuple(place(u) for u in uses)) for text, uses in self.steps)
        used = {u for s in steps for u in s.uses}
        last = n + len(steps) - 1
        outputs = [n + k for k in range(len(steps)) if n + k not in used]
        if last not in outputs:
            outputs.append(last)
        floats = [o for o in outputs if self.step_values[o - n].dtype.is_floating_point]
        program = Program(tuple(self.inputs), steps, tuple(floats or outputs), (), self.seed).pruned()
        if floats and self.rng.random() < 0.6:
            program = differentiable(program)
        return program


def broadcasts(small, large) -> bool:
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(reversed(small), reversed(large)))


def differentiable(program: Program) -> Program:
    """The program with the gradients of what it can be differentiated by."""
    wanted = tuple(i for i, x in enumerate(program.inputs) if x.dtype.startswith("float"))
    trial = replace(program, wrt=wanted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.function()(*trial.tensors())
    except RuntimeError:
        return program
    return trial


FIT = fit_operators()


def generate(seed: int) -> Program:
    """The program of this seed, not empty."""
    while True:
        program = Generator(seed).program()
        if program.steps:
            return program
        seed += 1 << 20
