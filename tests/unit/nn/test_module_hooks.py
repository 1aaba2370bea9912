"""Forward and backward hooks: order, what they see, what they may change, and who removes them."""

import copy
import gc
import pickle
import weakref

import pytest

import pellucid


def linear(torch):
    m = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(m.weight, 0.5)
    torch.nn.init.constant_(m.bias, 0.25)
    return m


def test_forward_hooks_change_arguments_and_results(same):
    def scenario(torch):
        m = linear(torch)
        m.register_forward_pre_hook(lambda module, args: args[0] * 2)
        m.register_forward_pre_hook(lambda module, args: (args[0] + 1,), prepend=True)
        m.register_forward_hook(lambda module, args, out: out * 10)
        m.register_forward_hook(lambda module, args, out: None)
        m.register_forward_hook(lambda module, args, out: out - args[0], prepend=True)
        return m(torch.ones(1, 2))

    same(scenario)


def test_hooks_with_keywords(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def forward(self, x, *, scale=1):
                return x * scale

        m = M()
        seen = []
        m.register_forward_pre_hook(lambda module, args, kwargs: (args, {"scale": kwargs["scale"] + 1}), with_kwargs=True)
        m.register_forward_hook(lambda module, args, kwargs, out: seen.append(dict(kwargs)), with_kwargs=True)
        return m(torch.ones(1), scale=3), seen

    same(scenario)


@pytest.mark.parametrize("returned", [3, (1,), [1, {}]])
def test_pre_hook_with_keywords_must_return_a_pair(returned, same):
    def scenario(torch):
        m = linear(torch)
        m.register_forward_pre_hook(lambda module, args, kwargs: returned, with_kwargs=True)
        m(torch.ones(1, 2))

    same(scenario)


def test_removed_hooks_do_not_run_and_the_short_way_is_back():
    m = pellucid.nn.Identity()
    calls = []
    handles = [
        m.register_forward_pre_hook(lambda *a: calls.append(1)),
        m.register_forward_hook(lambda *a: calls.append(2), with_kwargs=False, always_call=True),
    ]
    m(1)
    for handle in handles:
        handle.remove()
        handle.remove()
    m(1)
    assert calls == [1, 2] and not m._has_hooks and not m._forward_hooks_always_called
    with m.register_forward_hook(lambda *a: calls.append(3)):
        m(1)
    m(1)
    assert calls == [1, 2, 3]


def test_hooks_put_into_the_dictionaries_by_hand_run(same):
    def scenario(torch):
        import collections
        import copy
        import pickle

        def call(m):
            return m(torch.ones(1, 2)).tolist()

        m = linear(torch)
        found = [call(m)]
        m._forward_hooks[7] = double
        found.append(call(m))
        m._forward_pre_hooks.update({3: halve})
        found += [call(m), call(copy.deepcopy(m)), call(pickle.loads(pickle.dumps(m)))]
        m._forward_hooks.clear()
        m._forward_pre_hooks = collections.OrderedDict()
        found.append(call(m))
        m._forward_hooks = collections.OrderedDict({5: double})
        found.append(call(m))
        del m._forward_hooks[5]
        found.append(call(m))
        m._forward_pre_hooks.setdefault(1, halve)
        found.append(call(m))
        copied = copy.deepcopy(m)
        m._forward_pre_hooks.clear()
        found += [call(m), call(copied)]
        fresh = copy.deepcopy(m)
        fresh._forward_hooks[1] = double
        return [*found, call(m), call(fresh)]

    same(scenario)


def double(module, args, out):
    return out * 2


def halve(module, args):
    return args[0] / 2


def test_global_hooks_run_first_everywhere(same):
    def scenario(torch):
        module = torch.nn.modules.module
        m = torch.nn.Sequential(linear(torch), torch.nn.ReLU())
        log = []
        m[0].register_forward_hook(lambda module, args, out: log.append("own"))
        handles = [
            module.register_module_forward_pre_hook(lambda m, args: log.append(("pre", type(m).__name__))),
            module.register_module_forward_hook(lambda m, args, out: log.append(("post", type(m).__name__))),
            module.register_module_forward_hook(lambda m, a, k, out: log.append(dict(k)), with_kwargs=True, always_call=True),
        ]
        m(torch.ones(1, 2))
        for handle in handles:
            handle.remove()
        m(torch.ones(1, 2))
        return log

    same(scenario)


def test_always_called_hooks_run_after_an_error(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def forward(self, x):
                raise ValueError("broken")

        m = M()
        log = []
        m.register_forward_hook(lambda module, args, out: log.append(("always", out)), always_call=True)
        m.register_forward_hook(lambda module, args, out: log.append("never"))

        def fails(module, args, out):
            raise KeyError("hook")

        m.register_forward_hook(fails, always_call=True)
        try:
            m(1)
        except ValueError as error:
            log.append(str(error))
        return log

    same(scenario)


def run_backward(torch, m, *inputs):
    out = m(*inputs)
    (out if isinstance(out, torch.Tensor) else out[0]).pow(2).sum().backward()
    return [x.grad for x in inputs if isinstance(x, torch.Tensor)]


def test_full_backward_hooks(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def forward(self, x, n, y):
                return x * n + y, x

        m = M()
        log = []
        m.register_full_backward_hook(lambda module, gin, gout: log.append(("hook", gin, gout)))
        m.register_full_backward_hook(lambda module, gin, gout: (gin[0] * 2, None, gin[2]), prepend=True)
        m.register_full_backward_pre_hook(lambda module, gout: log.append(("pre", gout)))
        m.register_full_backward_pre_hook(lambda module, gout: (gout[0] * 3, gout[1]), prepend=True)
        x = torch.ones(2, requires_grad=True)
        y = torch.ones(2)
        return run_backward(torch, m, x, 2, y), log

    same(scenario)


@pytest.mark.parametrize("returned", [(), (1, 2)])
@pytest.mark.parametrize("pre", [False, True])
def test_wrong_number_of_gradients(pre, returned, same):
    def scenario(torch):
        m = torch.nn.Sigmoid()
        if pre:
            m.register_full_backward_pre_hook(lambda module, gout: returned)
        else:
            m.register_full_backward_hook(lambda module, gin, gout: returned)
        run_backward(torch, m, torch.ones(2, requires_grad=True))

    same(scenario)


def test_no_input_needs_a_gradient(same):
    def scenario(torch):
        m = linear(torch)
        log = []
        m.register_full_backward_hook(lambda module, gin, gout: log.append((gin, gout)))
        run_backward(torch, m, torch.ones(1, 2))
        return log, m.bias.grad

    same(scenario)


def test_hook_may_not_give_gradients_where_none_are_needed(same):
    def scenario(torch):
        m = linear(torch)
        m.register_full_backward_hook(lambda module, gin, gout: (torch.ones(1, 2),))
        run_backward(torch, m, torch.ones(1, 2))

    same(scenario)


def test_no_hooks_without_gradients():
    m = linear(pellucid)
    m.register_full_backward_hook(lambda *a: pytest.fail("called"))
    with pellucid.no_grad():
        assert not m(pellucid.ones(1, 2, requires_grad=True)).requires_grad


def test_both_kinds_of_backward_hooks(same):
    def scenario(torch):
        m = linear(torch)
        m.register_backward_hook(lambda *a: None)
        m.register_full_backward_hook(lambda *a: None)

    same(scenario)
    same(lambda torch: [m.register_full_backward_hook(print) or m.register_backward_hook(print) for m in [linear(torch)]] and None)


def test_output_that_is_no_tensor(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def forward(self, x):
                return {"y": x * 2}

        m = M()
        m.register_full_backward_hook(lambda *a: None)
        x = torch.ones(2, requires_grad=True)
        m(x)["y"].sum().backward()
        return x.grad

    same(scenario)


OLD_STYLE = {
    "one node": lambda x: x * 2,
    "several nodes": lambda x: (x * 2).exp(),
    "two outputs": lambda x: (x * 2, x * 3),
    "a dict": lambda x: {"a": x * 2},
}


@pytest.mark.parametrize("kind", OLD_STYLE)
def test_old_style_hooks_warn_about_what_they_miss(kind, same):
    def scenario(torch):
        class M(torch.nn.Module):
            def forward(self, x):
                return OLD_STYLE[kind](x)

        m = M()
        log = []
        m.register_backward_hook(lambda module, gin, gout: log.append((len(gin), gout)))
        x = torch.ones(2, requires_grad=True).clone()
        out = m(x)
        out = out["a"] if isinstance(out, dict) else out[0] if isinstance(out, tuple) else out
        out.sum().backward()
        return log

    same(scenario)


def test_named_tuples_stay_what_they_are():
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")

    class M(pellucid.nn.Module):
        def forward(self, pair):
            return Pair(pair.a * 2, pair.b)

    class Outer(pellucid.nn.Module):
        def forward(self, x):
            return Pair(x * 2, 3)

    m = Outer()
    m.register_full_backward_hook(lambda *a: None)
    out = m(pellucid.ones(2, requires_grad=True))
    assert type(out) is Pair and out.b == 3
    assert type(M()(Pair(pellucid.ones(1), 1))) is Pair


def test_second_backward_and_double_backward(same):
    def scenario(torch):
        m = torch.nn.Tanh()
        log = []
        m.register_full_backward_hook(lambda module, gin, gout: log.append([None if g is None else g.detach() for g in gin]))
        x = torch.tensor([0.5, 1.0], requires_grad=True)
        y = m(x).sum()
        g, = torch.autograd.grad(y, x, create_graph=True)
        g.sum().backward()
        return log, x.grad

    same(scenario)


def test_a_hook_does_not_keep_its_module_alive():
    m = linear(pellucid)
    m.register_load_state_dict_pre_hook(lambda *a: None)
    weak = weakref.ref(m)
    gc.collect()
    del m
    assert weak() is None


def test_handles_survive_pickling():
    import pickle

    handle = linear(pellucid).register_forward_hook(print)
    twin = pickle.loads(pickle.dumps(handle))
    assert twin.id == handle.id
    twin.remove()


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_copy_of_a_lazy_module_takes_its_hook_away(copied):
    module = copied(pellucid.nn.LazyLinear(2))
    module(pellucid.ones(1, 3))
    assert not module._forward_pre_hooks and type(module) is pellucid.nn.Linear
    again = copied(module)
    assert type(again) is pellucid.nn.Linear and again.weight.equal(module.weight)
