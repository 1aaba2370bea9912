"""Numbers of tensors that Python hands on, output, schedulers, lists and numbers that a step changes: one graph, plain Python's results."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout

import pytest

import pellucid
from pellucid import nn
from pellucid.testing import assert_close

S = pellucid.optim.lr_scheduler


def training(wrap, schedule=None, after=lambda *a: None):
    """What some steps of a small network give, and the step."""
    pellucid.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = pellucid.optim.Adam(model.parameters(), lr=0.1)
    scheduler = schedule(optimizer) if schedule else None

    def step(x):
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()
        return after(loss, x)
    step = wrap(step)
    rates, found = [], []
    for k in range(20):
        found.append(step(pellucid.ones(3, 4) * (k + 1)))
        rates.append(optimizer.param_groups[0]["lr"])
    return found, rates, [p.detach().clone() for p in model.parameters()], step


def both(**settings):
    plain = training(lambda step: step, **settings)
    whole = training(lambda step: pellucid.compile(step, backend="eager"), **settings)
    assert whole[0] == plain[0] and whole[1] == plain[1]
    for a, b in zip(whole[2], plain[2]):
        assert_close(a, b)
    assert whole[3].gave_up is None
    return whole[3]


SCHEDULES = {"step": lambda o: S.StepLR(o, 3), "cosine": lambda o: S.CosineAnnealingLR(o, 20),
             "exponential": lambda o: S.ExponentialLR(o, 0.9),
             "several": lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1, total_iters=5), S.CosineAnnealingLR(o, 15)], [5]),
             "milestones": lambda o: S.MultiStepLR(o, [4, 9]), "restarts": lambda o: S.CosineAnnealingWarmRestarts(o, 5)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_scheduler_steps_after_the_graph(name):
    step = both(schedule=SCHEDULES[name])
    assert step.compiles == 1 and not step.breaks


@pytest.mark.parametrize("schedule", [lambda o: S.LambdaLR(o, lambda e: 0.9 ** e), lambda o: S.OneCycleLR(o, 0.2, total_steps=30)])
def test_a_scheduler_of_the_users_is_a_break(schedule):
    step = both(schedule=schedule)
    assert {b.number for b in step.breaks} == {"PX021"} and step.compiles == 1


def test_what_a_scheduler_sets_is_not_read_before_it_is_set():
    def make(wrap):
        model = nn.Linear(2, 2)
        optimizer = pellucid.optim.SGD(model.parameters(), lr=1.0)
        scheduler = S.StepLR(optimizer, 1, gamma=0.5)

        def step(x):
            model(x).sum().backward()
            optimizer.step()
            before = scheduler.get_last_lr()[0]
            scheduler.step()
            return before, scheduler.get_last_lr()[0], optimizer.param_groups[0]["lr"]
        step = wrap(step)
        return [step(pellucid.ones(2)) for _ in range(4)]
    assert make(lambda s: s) == make(lambda s: pellucid.compile(s, backend="eager"))


def test_a_rate_that_the_step_sets():
    def make(wrap):
        pellucid.manual_seed(0)
        model = nn.Linear(2, 2)
        optimizer = pellucid.optim.SGD(model.parameters(), lr=1.0)

        def step(x):
            for group in optimizer.param_groups:
                group["lr"] *= 0.5
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            return model.weight.detach().clone()
        step = wrap(step)
        return [step(pellucid.ones(2)) for _ in range(4)], step
    plain, (found, step) = make(lambda s: s)[0], make(lambda s: pellucid.compile(s, backend="eager"))
    for a, b in zip(plain, found):
        assert_close(a, b)
    assert step.compiles == 1


def test_numbers_are_stored_and_returned():
    for wrap in (lambda s: s, lambda s: pellucid.compile(s, backend="eager", fullgraph=True)):
        losses, total, texts = [], {"loss": 0.0, "steps": 0}, []

        def after(loss, x):
            losses.append(loss.item())
            total["loss"] += loss.item() * len(x) / 2
            total["steps"] += 1
            texts.append(f"{loss.item():.3f} " + "%5.2f" % loss.item() + "{:.1e}".format(loss.item()) + str(round(loss.item(), 2)))
            return {"loss": loss.item(), "all": (float(loss), int(x.sum().long()), x.shape)}
        result = training(wrap, after=after)
        seen = result[0], losses, total, texts
        if wrap(len) is len:
            plain = seen
    assert seen == plain
    assert result[3].compiles == 1 and not result[3].breaks and len(losses) == 20


def test_a_number_is_that_of_its_place():
    @pellucid.compile(backend="eager", fullgraph=True)
    def f(x):
        first = x[0].item()
        x.mul_(2)
        return first, x[0].item()
    assert f(pellucid.ones(3)) == (1.0, 2.0)


def test_output_waits_for_the_graph(caplog):
    logger = logging.getLogger("later")

    def step(x):
        y = x.sum()
        print("sum", y.item(), y, x.shape, sep="|")
        logger.info("sum %.1f", y.item())
        return y * 2
    compiled = pellucid.compile(step, backend="eager", fullgraph=True)
    for x in (pellucid.ones(3), pellucid.ones(3) * 2):
        texts = []
        for fn in (step, compiled):
            out = io.StringIO()
            with redirect_stdout(out), caplog.at_level("INFO", "later"):
                caplog.clear()
                fn(x)
            texts.append((out.getvalue(), caplog.messages[:]))
        assert texts[0] == texts[1] and texts[0][1]
    assert compiled.compiles == 1


def test_a_branch_on_a_number_breaks_at_the_branch():
    def f(x):
        n = x.sum().item()
        y = x * 2
        if n > 3:
            y = y + 1
        return y, n
    compiled = pellucid.compile(f, backend="eager")
    for x in (pellucid.ones(3), pellucid.ones(3) * 2):
        (a, n), (b, m) = compiled(x), f(x)
        assert n == m and a.tolist() == b.tolist()
    assert [(b.number, b.line - f.__code__.co_firstlineno) for b in compiled.breaks] == [("PX001", 3)]


def test_what_is_read_of_optimizers_and_sets_is_relied_on():
    optimizer = pellucid.optim.SGD([pellucid.ones(1, requires_grad=True)], lr=0.5)
    f = pellucid.compile(lambda x: x * optimizer.param_groups[0]["lr"], backend="eager")
    assert f(pellucid.ones(1)).item() == 0.5
    optimizer.param_groups[0]["lr"] = 0.25
    assert f(pellucid.ones(1)).item() == 0.25
    g = pellucid.compile(lambda x, n: x * 2 if n in {3, 5} else x, backend="eager", dynamic=True)
    assert [g(pellucid.ones(1), n).item() for n in (1, 3, 4, 5)] == [1, 2, 1, 2]


def test_lists_that_grow():
    kept, seen = [], []

    @pellucid.compile(backend="eager")
    def f(x):
        kept.append(x.sum())
        if len(kept) > 100:
            return x
        seen.append(1)
        last = seen[-1]
        seen[0] = 7
        return x * last
    for _ in range(3):
        assert f(pellucid.ones(2)).tolist() == [1, 1]
    assert len(kept) == 3 and seen == [7, 1, 1]


def test_a_leaf_and_a_live_result_over_a_break():
    def leaf(x):
        w = pellucid.ones(3, requires_grad=True)
        y = (x * w).sum()
        if y > 0:
            y = y * 2
        y.backward()
        return w.grad
    compiled = pellucid.compile(leaf, backend="eager")
    assert compiled(pellucid.arange(3.0)).tolist() == leaf(pellucid.arange(3.0)).tolist() == [0, 2, 4]
    assert compiled.gave_up is None

    def make(wrap):
        pellucid.manual_seed(0)
        one, two = nn.Linear(3, 3), nn.Linear(3, 1)
        first, second = (pellucid.optim.SGD(m.parameters(), lr=0.1) for m in (one, two))

        def step(x):
            fake = one(x)
            loss = two(fake.detach()).mean()
            loss.backward()
            second.step()
            second.zero_grad()
            if loss > 100:
                print("far off")
            other = two(fake).mean()
            other.backward()
            first.step()
            return loss.detach(), other.detach(), *(p.detach().clone() for p in (*one.parameters(), *two.parameters()))
        step = wrap(step)
        return [step(pellucid.ones(2, 3) * k) for k in range(4)], step
    (plain, _), (found, step) = make(lambda s: s), make(lambda s: pellucid.compile(s))
    assert step.gave_up is None and not any(p.gave_up for p in step.points.values())
    for a, b in zip(plain, found):
        for p, q in zip(a, b):
            assert_close(p, q)


def test_backward_does_not_go_into_what_was_there_before():
    w = pellucid.ones(3, requires_grad=True)
    kept = w * 2

    def f(x):
        loss = (x * kept).sum()
        loss.backward(retain_graph=True)
        return loss.detach()
    assert pellucid.compile(f, backend="eager")(pellucid.ones(3)).item() == 6
    assert w.grad.tolist() == [2, 2, 2]
    w.grad = None
    pellucid.compile(lambda x: (x * kept).sum(), backend="eager")(pellucid.ones(3)).backward()
    assert w.grad.tolist() == [2, 2, 2]
