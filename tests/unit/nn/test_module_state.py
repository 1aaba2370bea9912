"""state_dict and load_state_dict: contents, order, metadata, hooks, and every complaint."""

from collections import OrderedDict

import numpy as np
import pytest

import pellucid


def net(torch):
    return torch.nn.Sequential(
        OrderedDict(a=torch.nn.Linear(2, 2), b=torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1, bias=False)))
    )


def test_contents_order_and_metadata(same):
    def scenario(torch):
        m = net(torch)
        m.a.register_buffer("t", torch.ones(1), persistent=False)
        state = m.state_dict()
        plain = m.state_dict(prefix="net.")
        return list(state), state._metadata, list(plain), plain._metadata, [v.requires_grad for v in state.values()]

    same(scenario)


def test_keep_vars_and_destination(same):
    def scenario(torch):
        m = net(torch)
        kept = m.state_dict(keep_vars=True)
        mine = OrderedDict()
        back = m.state_dict(destination=mine, prefix="x.")
        return kept["a.weight"] is m.a.weight, back is mine, list(mine), hasattr(mine, "_metadata")

    same(scenario)


def test_positional_arguments_are_deprecated(same):
    same(lambda torch: list(net(torch).state_dict(OrderedDict(), "p.", True)))


def test_state_shares_memory():
    m = net(pellucid)
    m.state_dict()["a.bias"].fill_(5.0)
    assert m.a.bias.tolist() == [5.0, 5.0]


CHANGES = {
    "nothing": lambda torch, s: None,
    "missing": lambda torch, s: s.pop("a.bias"),
    "all missing below": lambda torch, s: [s.pop(k) for k in list(s) if k.startswith("b.")],
    "unexpected": lambda torch, s: s.update({"zz": torch.ones(1)}),
    "unexpected below": lambda torch, s: s.update({"a.zz": torch.ones(1), "q.w": torch.ones(1)}),
    "both": lambda torch, s: s.update({"c": s.pop("a.weight")}),
    "wrong shape": lambda torch, s: s.update({"a.weight": torch.ones(3, 2), "b.1.weight": torch.ones(1)}),
    "no tensor": lambda torch, s: s.update({"a.bias": 3}),
    "a list": lambda torch, s: s.update({"a.bias": [1.0, 2.0]}),
    "other dtype": lambda torch, s: s.update({"a.bias": torch.tensor([1, 2])}),
    "scalar as vector": lambda torch, s: s.update({"b.0.num_batches_tracked": torch.tensor([3])}),
    "extra state": lambda torch, s: s.update({"a._extra_state": 3}),
    "in a child too": lambda torch, s: s.update({"b.0._extra_state": 3, "b.2.weight": torch.ones(1)}),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_load(change, strict, same):
    def scenario(torch):
        m, other = net(torch), net(torch)
        state = other.state_dict()
        CHANGES[change](torch, state)
        keys = m.load_state_dict(state, strict=strict)
        return str(keys), keys.missing_keys, keys.unexpected_keys, m.state_dict()

    same(scenario)


@pytest.mark.parametrize("given", [None, 3, [("a", 1)]])
def test_load_something_else(given, same):
    same(lambda torch: net(torch).load_state_dict(given))


def test_assign_puts_the_given_tensors_in_place(same):
    def scenario(torch):
        m = net(torch)
        m.a.bias.requires_grad_(False)
        state = OrderedDict((k, v.double() if v.is_floating_point() else v) for k, v in net(torch).state_dict().items())
        m.load_state_dict(state, assign=True)
        shared = m.a.weight.data_ptr() == state["a.weight"].data_ptr()
        m.load_state_dict(net(torch).state_dict())
        return shared, m.a.weight.dtype, m.a.weight.requires_grad, m.a.bias.requires_grad, m.b[0].running_mean.dtype

    same(scenario)


def test_assign_does_not_stick_to_the_dictionary():
    m, state = net(pellucid), net(pellucid).state_dict()
    m.load_state_dict(state, assign=True)
    other = net(pellucid)
    other.load_state_dict(state)
    assert other.a.weight.data_ptr() != state["a.weight"].data_ptr()


def test_loading_keeps_identity_dtype_and_versions():
    m = net(pellucid).double()
    before = dict(m.named_parameters())
    m.load_state_dict(net(pellucid).state_dict())
    assert all(p is before[k] and p.dtype is pellucid.float64 for k, p in m.named_parameters())


def test_extra_state(same):
    def scenario(torch):
        class M(torch.nn.Linear):
            extra = 1

            def get_extra_state(self):
                return {"extra": self.extra}

            def set_extra_state(self, state):
                self.extra = state["extra"]

        m, other = torch.nn.Sequential(M(1, 1)), torch.nn.Sequential(M(1, 1))
        other[0].extra = 5
        m.load_state_dict(other.state_dict())
        missing = other.state_dict()
        del missing["0._extra_state"]
        return m[0].extra, list(m.state_dict()), m.load_state_dict(missing, strict=False), m.load_state_dict(missing)

    same(scenario)


def test_hooks_in_order(same):
    def scenario(torch):
        m = net(torch)
        log = []
        m.register_state_dict_pre_hook(lambda module, prefix, keep_vars: log.append(("pre", type(module).__name__, prefix, keep_vars)))
        m.a.register_state_dict_pre_hook(lambda module, prefix, keep_vars: log.append(("pre", type(module).__name__, prefix, keep_vars)))
        m.a.register_state_dict_post_hook(lambda module, state, prefix, meta: log.append(("post", prefix, list(state), dict(meta))))
        handle = m._register_state_dict_hook(lambda module, state, prefix, meta: OrderedDict(only=state["a.bias"]))
        first = list(m.state_dict())
        handle.remove()
        m.a.register_load_state_dict_pre_hook(lambda module, *args: log.append(("load pre", type(module).__name__, list(args[0]), *args[1:])))
        m.register_load_state_dict_post_hook(lambda module, keys: log.append(("load post", keys.missing_keys)))
        m.load_state_dict(m.state_dict())
        return first, log

    same(scenario)


def test_post_hook_may_not_return(same):
    def scenario(torch):
        m = net(torch)
        m.register_state_dict_post_hook(lambda *args: 3)
        m.state_dict()

    same(scenario)


def test_load_post_hook_may_not_return(same):
    def scenario(torch):
        m = net(torch)
        m.register_load_state_dict_post_hook(lambda *args: 3)
        m.load_state_dict(m.state_dict())

    same(scenario)


def test_same_hook_twice(same):
    def scenario(torch):
        def hook(*args):
            return None

        m = net(torch)
        m.register_state_dict_post_hook(hook)
        m._register_state_dict_hook(hook)

    same(scenario)


def test_load_pre_hook_can_rename(same):
    def scenario(torch):
        m = net(torch)

        def rename(module, state, prefix, *rest):
            if prefix + "w" in state:
                state[prefix + "weight"] = state.pop(prefix + "w")

        m.a.register_load_state_dict_pre_hook(rename)
        state = net(torch).state_dict()
        state["a.w"] = state.pop("a.weight")
        return m.load_state_dict(state)

    same(scenario)


def test_overriding_the_private_methods(same):
    def scenario(torch):
        class M(torch.nn.Module):
            _version = 7

            def __init__(self):
                super().__init__()
                self.p = torch.nn.Parameter(torch.ones(1))

            def _save_to_state_dict(self, destination, prefix, keep_vars):
                super()._save_to_state_dict(destination, prefix, keep_vars)
                destination[prefix + "q"] = torch.zeros(1)

            def _load_from_state_dict(self, state, prefix, meta, strict, missing, unexpected, errors):
                self.seen = meta.get("version"), sorted(state)
                state.pop(prefix + "q")
                super()._load_from_state_dict(state, prefix, meta, strict, missing, unexpected, errors)

        m = torch.nn.Sequential(M(), M())
        return m.load_state_dict(m.state_dict()), m[0].seen, m[1].seen

    same(scenario)


def test_every_problem_is_listed_once(same):
    def scenario(torch):
        m = net(torch)
        state = m.state_dict()
        state["a.weight"] = torch.ones(5)
        del state["a.bias"], state["b.1.weight"]
        state["nope"] = state["a.nope"] = torch.ones(1)
        m.load_state_dict(state)

    same(scenario)


def test_batch_norm_of_an_old_version_gets_its_counter():
    m = net(pellucid)
    state = m.state_dict()
    del state["b.0.num_batches_tracked"]
    state._metadata["b.0"]["version"] = 1
    assert str(m.load_state_dict(state)) == "<All keys matched successfully>"


def test_swapping_parameters_on_load():
    future = pellucid.nn.modules._convert
    m, other = net(pellucid), net(pellucid)
    kept = m.a.weight
    future.set_swap_module_params_on_conversion(True)
    try:
        m.load_state_dict(other.state_dict())
        m.double()
    finally:
        future.set_swap_module_params_on_conversion(False)
    assert m.a.weight is kept and type(kept) is pellucid.nn.Parameter and kept.requires_grad and kept.dtype is pellucid.float64
    np.testing.assert_array_equal(kept.detach().float().numpy(), other.a.weight.detach().numpy())
