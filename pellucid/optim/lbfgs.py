"""L-BFGS: quasi-Newton steps from the last few changes of parameters and gradients.

In: a closure that recomputes the loss and the gradients; all parameters, in one group. Out: parameters moved, several
times per `step`. State, kept with the first parameter: the direction "d", step length "t", the history "old_dirs" (changes
of the gradient), "old_stps" (of the parameters) and "ro", and counters. What stays true: all vectors are flat, complex
parameters counting as pairs of reals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, enable_grad, no_grad
from ..tensor import functions as T
from ._update import check, check_lr, to_scalar
from .optimizer import Optimizer, ParamsT

__all__ = ["LBFGS"]

Evaluate = Callable[[list[Tensor], "float | Tensor", Tensor], tuple[float, Tensor]]


class LBFGS(Optimizer):
    """Limited-memory BFGS, after `minFunc` (Schmidt 2005). Keeps ``history_size + 1`` copies of all parameters.

    Args:
        params: parameters; groups with options of their own are refused.
        lr: step length, or the first one tried by the line search.
        max_iter: greatest number of iterations per step.
        max_eval: greatest number of calls of the closure per step (default ``max_iter * 5 // 4``).
        tolerance_grad: stop when no gradient is larger.
        tolerance_change: stop when the parameters or the loss change less.
        history_size: number of past changes kept.
        line_search_fn: "strong_wolfe" or None (steps of length lr).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        check(len(self.param_groups) == 1, "LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:
        """Iterate up to `max_iter` times.

        Args:
            closure: zeroes the gradients, computes the loss, calls backward, and returns the loss.

        Returns:
            What the first call of the closure returned.
        """
        evaluate = enable_grad()(closure)
        group = self.param_groups[0]
        lr = to_scalar(group["lr"])
        tolerance_change, line_search_fn = group["tolerance_change"], group["line_search_fn"]
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = evaluate()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        grad = self._flat_grad()
        flat = _largest(grad) <= group["tolerance_grad"]
        if flat:
            return first_loss

        d, t, previous_grad = state.get("d"), state.get("t"), state.get("prev_flat_grad")
        previous_loss = state.get("prev_loss")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = -grad
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            else:
                _remember(state, grad - previous_grad, d * t, group["history_size"])
                d = _direction(state, grad, group["history_size"])

            if previous_grad is None:
                previous_grad = grad.clone()
            else:
                previous_grad.copy_(grad)
            previous_loss = loss

            t = min(1.0, 1.0 / grad.abs().sum()) * lr if state["n_iter"] == 1 else lr
            slope = grad.dot(d)
            if slope > -tolerance_change:
                break

            calls = 0
            if line_search_fn is not None:
                start = [p.clone() for p in self._params]

                def along(x: list[Tensor], t: float | Tensor, d: Tensor) -> tuple[float, Tensor]:
                    return self._evaluate_at(evaluate, x, t, d)

                loss, grad, t, calls = _strong_wolfe(
                    along, start, t, d, loss, grad, slope, max_ls=group["max_eval"] - evaluations
                )
                self._move(t, d)
                flat = _largest(grad) <= group["tolerance_grad"]
            else:
                self._move(t, d)
                if iteration != group["max_iter"]:  # after the last one nobody would look at the loss
                    loss = float(evaluate())
                    grad = self._flat_grad()
                    flat = _largest(grad) <= group["tolerance_grad"]
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls

            if iteration == group["max_iter"] or evaluations >= group["max_eval"] or flat:
                break
            if _largest(d * t) <= tolerance_change or abs(loss - previous_loss) < tolerance_change:
                break

        state.update(d=d, t=t, prev_flat_grad=previous_grad, prev_loss=previous_loss)
        return first_loss

    def _flat_grad(self) -> Tensor:
        """All gradients as one vector; zeros for a parameter without one."""
        return T.cat([_as_reals(T.zeros_like(p) if p.grad is None else p.grad.to_dense()).reshape(-1) for p in self._params])

    def _move(self, t: float | Tensor, d: Tensor) -> None:
        """p += t * d for every parameter's share of the vector d."""
        start = 0
        for p in self._params:
            p = _as_reals(p)
            p.add_(d[start : start + p.numel()].view_as(p), alpha=t.item() if isinstance(t, Tensor) else t)
            start += p.numel()

    def _evaluate_at(
        self, evaluate: Callable[[], Any], x: list[Tensor], t: float | Tensor, d: Tensor
    ) -> tuple[float, Tensor]:
        """Loss and gradient at x + t * d; the parameters, which are at x, come back to it."""
        self._move(t, d)
        loss = float(evaluate())
        grad = self._flat_grad()
        for p, saved in zip(self._params, x):
            p.copy_(saved)
        return loss, grad


def _as_reals(t: Tensor) -> Tensor:
    return T.view_as_real(t) if t.is_complex() else t


def _largest(t: Tensor) -> Tensor:
    return t.abs().max()


def _remember(state: dict[str, Any], y: Tensor, s: Tensor, history_size: int) -> None:
    """Add a change y of the gradient over a change s of the parameters to the history, if it shows curvature."""
    ys = y.dot(s)
    if ys > 1e-10:
        if len(state["old_dirs"]) == history_size:
            for key in ("old_dirs", "old_stps", "ro"):
                state[key].pop(0)
        state["old_dirs"].append(y)
        state["old_stps"].append(s)
        state["ro"].append(1.0 / ys)
        state["H_diag"] = ys / y.dot(y)  # scale of the first guess at the inverse Hessian


def _direction(state: dict[str, Any], grad: Tensor, history_size: int) -> Tensor:
    """Minus the approximate inverse Hessian times the gradient, by the two-loop recursion."""
    ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
    al = state.setdefault("al", [None] * history_size)
    q = -grad
    for i in range(len(ys) - 1, -1, -1):
        al[i] = ss[i].dot(q) * ro[i]
        q.add_(ys[i], alpha=-al[i].item())
    r = q * state["H_diag"]
    for i in range(len(ys)):
        be = ys[i].dot(r) * ro[i]
        r.add_(ss[i], alpha=(al[i] - be).item())
    return r


def _cubic_minimum(x1, f1, g1, x2, f2, g2, bounds=None):
    """The minimum of the cubic with values f and slopes g at x1 and x2, kept within bounds (default: between the two)."""
    low, high = bounds if bounds is not None else (x1, x2) if x1 <= x2 else (x2, x1)
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    d2_square = d1**2 - g1 * g2
    if not d2_square >= 0:
        return (low + high) / 2.0
    d2 = d2_square.sqrt()
    if x1 <= x2:
        x = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        x = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(x, low), high)


def _strong_wolfe(
    evaluate: Evaluate,
    x: list[Tensor],
    t: float | Tensor,
    d: Tensor,
    f: float,
    g: Tensor,
    slope: Tensor,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Tensor, Any, int]:
    """A step length along d that meets the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6).

    Returns the loss and gradient there, the length, and how often `evaluate` was called.
    """
    d_norm = _largest(d)
    g = g.clone()
    f_new, g_new = evaluate(x, t, d)
    calls = 1
    slope_new = g_new.dot(d)

    # Bracket: go on until an interval contains a good point. A point is (length, loss, gradient, slope).
    previous = (0, f, g, slope)
    done = False
    steps = 0
    bracket = None
    while steps < max_ls:
        here = (t, f_new, g_new, slope_new)
        if f_new > f + c1 * t * slope or (steps > 1 and f_new >= previous[1]):
            bracket = [previous, here]
            break
        if abs(slope_new) <= -c2 * slope:
            bracket = [here]
            done = True
            break
        if slope_new >= 0:
            bracket = [previous, here]
            break
        least, most = t + 0.01 * (t - previous[0]), t * 10
        t_next = _cubic_minimum(previous[0], previous[1], previous[3], t, f_new, slope_new, bounds=(least, most))
        previous, t = here, t_next
        f_new, g_new = evaluate(x, t, d)
        calls += 1
        slope_new = g_new.dot(d)
        steps += 1
    if bracket is None:
        bracket = [(0, f, g, slope), (t, f_new, g_new, slope_new)]

    # Zoom: shrink the interval until a point in it meets the conditions.
    stalled = False
    low, high = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
    while not done and steps < max_ls:
        lengths = [point[0] for point in bracket]
        left, right = min(lengths), max(lengths)
        if abs(lengths[1] - lengths[0]) * d_norm < tolerance_change:
            break
        (t0, f0, _, s0), (t1, f1, _, s1) = bracket
        t = _cubic_minimum(t0, f0, s0, t1, f1, s1)
        # A point too near an end, twice in a row or beyond it, is moved inwards by a tenth of the interval.
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:
            if stalled or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False

        f_new, g_new = evaluate(x, t, d)
        calls += 1
        slope_new = g_new.dot(d)
        steps += 1
        here = (t, f_new, g_new, slope_new)
        if f_new > f + c1 * t * slope or f_new >= bracket[low][1]:
            bracket[high] = here
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if abs(slope_new) <= -c2 * slope:
                done = True
            elif slope_new * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = here

    t, f_new, g_new, _ = bracket[low if len(bracket) > 1 else 0]
    return f_new, g_new, t, calls
