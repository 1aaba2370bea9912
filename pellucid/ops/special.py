"""Products with logarithms, logits, entropy, and the names of the `special` namespace that stand for other operators."""
from __future__ import annotations

from ._common import is_tensor, need_tensor, np
from .elementwise import binary, unary
from .op import FLOAT, F, composite


# ---------------------------------------------------------------------------------------------------- x log(y)
def times_log(log):
    """`x * log(y)` that is 0 where x is 0 and y is no nan."""
    def ref(x, y):
        kind = (x if isinstance(x, np.ndarray) else y).dtype.type
        y = y if isinstance(y, np.ndarray) else kind(y)
        return np.where(np.equal(x, 0) & ~np.isnan(y), kind(0), x * log(y))
    return ref


def times_log_scalar(log):
    def scalar(b, x, y):
        x, y = b.pair(x, y)
        return b.select(b.and_(b.eq(x, 0), b.not_(b.isnan(y))), b.const(0, x), b.mul(x, getattr(b, log)(y)))
    return scalar


def _first(g, input, other, log, bound):
    """d/dx of x log(y): log(y), and 0 where x is 0 and the logarithm is -inf or nan."""
    if not is_tensor(other):
        other = F.full((), other, dtype=input.dtype)
    dead = F.logical_and(F.eq(input, 0), F.le(other, bound))
    return F.mul(g, F.where(dead, 0.0, log(other)))


_XLOGY = {"input": lambda g, input, other: _first(g, input, other, F.log, 0.0),
          "other": lambda g, input, other: F.div(F.mul(g, input), other)}
_XLOG1PY = {"input": lambda g, input, other: _first(g, input, other, F.log1p, -1.0),
            "other": lambda g, input, other: F.div(F.mul(g, input), F.add(other, 1))}
binary("xlogy", times_log(np.log), _XLOGY, takes="NN", promote=FLOAT, refuse="complex", domain=(0.2, 2), ns=("", "special"),
       module=__name__, scalar=times_log_scalar("log"),
       doc="`input * log(other)`, and 0 where `input` is 0 (unless `other` is nan). Either may be a number.")
binary("special_xlog1py", times_log(np.log1p), _XLOG1PY, takes="NN", promote=FLOAT, refuse="complex", domain=(0.2, 2),
       forms="function out", ns="special", public="xlog1py", module=__name__, scalar=times_log_scalar("log1p"),
       doc="`input * log(1 + other)`, and 0 where `input` is 0 (unless `other` is nan). Either may be a number.")


# ---------------------------------------------------------------------------------------------------- logit, entr
def logit_ref(x, eps=None):
    if eps is not None:
        x = np.minimum(np.maximum(x, x.dtype.type(eps)), x.dtype.type(1 - eps))
    return np.log(x / (1 - x))


def _logit_vjp(g, input, eps):
    slope = F.div(g, F.mul(input, F.sub(1, input)))
    low = 0.0 if eps is None else eps
    inside = F.logical_and(F.ge(input, low), F.le(input, 1 - low))
    return F.where(inside, slope, 0.0 if eps is not None else float("nan"))


def _logit_front(input, eps=None):
    need_tensor(input, "logit")
    return (input,), {"eps": eps}


def logit_scalar(b, x, eps=None):
    if eps is not None:
        x = b.min(b.max(x, eps), 1 - eps)
    return b.log(b.div(x, b.sub(1, x)))


unary("logit", logit_ref, _logit_vjp, front=_logit_front, promote=FLOAT, ns=("", "special"), module=__name__, scalar=logit_scalar,
      samples=lambda m: [((m.t(3, 4, low=0.1, high=0.9),), {}), ((m.t(2, 0),), {}),
                         ((m.t(5, low=0.1, high=0.9),), {"eps": 0.2})],
      doc="`log(input / (1 - input))`; with `eps`, of the input limited to [eps, 1 - eps].")


def entr_ref(x):
    r = np.where(x == 0, x.dtype.type(0), -x * np.log(x))
    return np.where(x < 0, x.dtype.type(-np.inf), r)


def entr_scalar(b, x):
    r = b.select(b.eq(x, 0), b.const(0, x), b.mul(b.neg(x), b.log(x)))
    return b.select(b.lt(x, 0), b.const(-np.inf, x), r)


unary("special_entr", entr_ref, lambda g, input: F.mul(g, F.where(F.lt(input, 0), float("nan"), F.sub(F.neg(F.log(input)), 1))),
      promote=FLOAT, refuse="complex", domain=(0.2, 2), forms="function out", ns="special", public="entr", module=__name__,
      scalar=entr_scalar,
      doc="`-input * log(input)`, 0 at 0, -inf below.")


# ---------------------------------------------------------------------------------------------------- other names
def other_name(name: str, target: str, samples) -> None:
    """`special.name` for the operator `target`, with its arguments."""
    def run(*args, **kwargs):
        return getattr(F, target)(*args, **kwargs)
    run.__name__ = name
    composite(name="special_" + name, public=name, ns="special", forms="function out", samples=samples,
              doc=f"The same as `{target}`.")(run)


def _with(*rest, low=0.5, high=0.9):
    """Samples of one tensor and further arguments."""
    return lambda m: [((m.t(*shape, low=low, high=high), *rest), {}) for shape in ((3, 4), (2, 0), (5,))]


def _two(m):
    t = lambda *s: m.t(*s, low=0.5, high=3)      # noqa: E731
    return [((t(3, 4).detach(), t(3, 4)), {}), ((t(2, 1).detach(), t(3)), {}), ((t(0).detach(), t(0)), {})]


def _rows(m):
    return [((m.t(3, 4), 1), {}), ((m.t(2, 3), 0), {}), ((m.t(0, 3), 1), {})]


for _name, _target, _samples in (
        ("expit", "sigmoid", _with()), ("gammaln", "lgamma", _with()), ("psi", "digamma", _with()),
        ("multigammaln", "mvlgamma", _with(2, low=3, high=5)), ("gammainc", "igamma", _two), ("gammaincc", "igammac", _two),
        ("logsumexp", "logsumexp", _rows), ("softmax", "softmax", _rows), ("log_softmax", "log_softmax", _rows)):
    other_name(_name, _target, _samples)


@composite(name="special_polygamma", public="polygamma", ns="special", forms="function out",
           samples=lambda m: [((n, m.t(*shape, low=0.5, high=3)), {}) for n, shape in ((1, (3, 4)), (0, (2, 0)), (2, (5,)))])
def special_polygamma(n, input):
    """The n-th derivative of digamma: see polygamma."""
    return F.polygamma(n, input)
