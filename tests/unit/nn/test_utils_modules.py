"""Utilities that change modules: parametrizations, weight and spectral norm, pruning, fusing, functional calls."""

import copy

import numpy as np
import pytest

import pellucid


def linear(torch, n=3, m=4):
    layer = torch.nn.Linear(n, m)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(float(n * m)).reshape(m, n) / 7 - 0.5)
        layer.bias.copy_(torch.arange(float(m)) / 3)
    return layer


# ---------------------------------------------------------------------------------------------------- parametrize

def symmetric(torch):
    class Symmetric(torch.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x):
            return x.triu()

    return Symmetric()


def double(torch):
    class Double(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    return Double()


def test_register_use_train_remove(same):
    def scenario(torch):
        p = torch.nn.utils.parametrize
        m = linear(torch, 3, 3)
        kept = m.weight
        p.register_parametrization(m, "weight", symmetric(torch))
        p.register_parametrization(m, "weight", double(torch))
        log = [repr(m), m.weight, list(m.state_dict()), p.is_parametrized(m), p.is_parametrized(m, "bias"), type(m).__name__,
               p.type_before_parametrizations(m).__name__, m.parametrizations.weight.original is kept]
        m(torch.ones(1, 3)).sum().backward()
        log.append(kept.grad)
        with p.cached():
            log.append((m.weight is m.weight, m.weight is m.weight))
        log.append(m.weight is m.weight)
        p.remove_parametrizations(m, "weight")
        return log, m.weight, m.weight is kept, type(m).__name__, p.is_parametrized(m)

    same(scenario)


def test_assigning_goes_through_the_right_inverse(same):
    def scenario(torch):
        m = linear(torch, 2, 2)
        torch.nn.utils.parametrize.register_parametrization(m, "weight", symmetric(torch))
        m.weight = torch.tensor([[1.0, 2.0], [2.0, 3.0]])
        return m.weight, m.parametrizations.weight.original

    same(scenario)
    same(lambda torch: setattr(torch.nn.utils.parametrize.register_parametrization(linear(torch), "weight", double(torch)), "weight",
                               torch.ones(4, 3)))


@pytest.mark.parametrize("leave", [True, False])
def test_removing_without_leaving_the_value(leave, same):
    def scenario(torch):
        m = torch.nn.utils.parametrize.register_parametrization(linear(torch), "bias", double(torch))
        torch.nn.utils.parametrize.remove_parametrizations(m, "bias", leave_parametrized=leave)
        return m.bias, list(m.state_dict())

    same(scenario)


def returning(torch, forward, inverse=None):
    class Some(torch.nn.Module):
        pass

    Some.forward = lambda self, *x: forward(torch, *x)
    if inverse is not None:
        Some.right_inverse = lambda self, x: inverse(torch, x)
    return Some()


REFUSED = {
    "no such tensor": ("nothing", lambda torch, x: x, None),
    "another shape": ("weight", lambda torch, x: x[:1], None),
    "another dtype": ("weight", lambda torch, x: x.double(), None),
    "no tensor": ("weight", lambda torch, x: 3, None),
    "inverse of another dtype": ("weight", lambda torch, x: x, lambda torch, x: x.double()),
    "inverse is no tensor": ("weight", lambda torch, x: x, lambda torch, x: 3),
    "inverse of several things": ("weight", lambda torch, x, y: x, lambda torch, x: (x, 3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, same):
    tensor, forward, inverse = REFUSED[name]

    def scenario(torch):
        torch.nn.utils.parametrize.register_parametrization(linear(torch), tensor, returning(torch, forward, inverse))

    if name == "inverse of several things":
        with pytest.raises(ValueError, match="'right_inverse' must return a Tensor or a Sequence of tensors"):
            scenario(pellucid)
    else:
        same(scenario)


@pytest.mark.parametrize("name", ["another shape", "another dtype", "no tensor", "inverse of another dtype"])
def test_a_second_one_is_checked_too(name, same):
    tensor, forward, inverse = REFUSED[name]

    def scenario(torch):
        m = torch.nn.utils.parametrize.register_parametrization(linear(torch), tensor, double(torch))
        torch.nn.utils.parametrize.register_parametrization(m, tensor, returning(torch, forward, inverse))

    same(scenario)


def test_several_originals_and_a_buffer(same):
    def scenario(torch):
        p = torch.nn.utils.parametrize
        m = linear(torch)
        m.register_buffer("b", torch.ones(2))
        p.register_parametrization(m, "weight", returning(torch, lambda t, x, y: x + y, lambda t, x: (x, x * 2)))
        p.register_parametrization(m, "b", double(torch))
        log = [m.weight, list(m.state_dict()), list(dict(m.named_buffers())), m.parametrizations.weight.ntensors]
        m.weight = torch.ones(4, 3)
        log.append(m.weight)
        p.remove_parametrizations(m, "weight")
        p.remove_parametrizations(m, "b")
        return log, isinstance(m.weight, torch.nn.Parameter), m.b

    same(scenario)


def test_several_originals_cannot_be_put_back(same):
    def scenario(torch):
        p = torch.nn.utils.parametrize
        m = p.register_parametrization(linear(torch), "weight", returning(torch, lambda t, x, y: x + y, lambda t, x: (x, x * 2)))
        p.remove_parametrizations(m, "weight", leave_parametrized=False)

    same(scenario)
    same(lambda torch: torch.nn.utils.parametrize.remove_parametrizations(linear(torch), "weight"))


def test_copy_transfer_and_no_pickle(same):
    def scenario(torch):
        import pickle
        p = torch.nn.utils.parametrize
        m = p.register_parametrization(linear(torch), "weight", double(torch))
        twin = copy.deepcopy(m)
        other = p.transfer_parametrizations_and_params(m, linear(torch))
        log = [torch.equal(twin.weight, m.weight), twin.parametrizations.weight.original is m.parametrizations.weight.original,
               other.parametrizations.weight.original is m.parametrizations.weight.original]
        try:
            pickle.dumps(m)
        except RuntimeError as error:
            log.append(str(error))
        return log

    same(scenario)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norms_agree_with_torch(dim, same):
    def scenario(torch):
        u = torch.nn.utils
        new = u.parametrizations.weight_norm(linear(torch), "weight", dim)
        old = u.weight_norm(linear(torch), "weight", dim)
        x = torch.arange(6.0).reshape(2, 3)
        new(x).sum().backward()
        old(x).pow(2).sum().backward()
        log = [new.weight, list(new.state_dict()), [p.grad for p in new.parameters()], old(x), list(old.state_dict()),
               [p.grad for p in old.parameters()]]
        new.load_state_dict(old.state_dict())
        u.remove_weight_norm(old)
        return log, list(old.state_dict()), old.weight

    same(scenario)


def test_weight_norm_twice_and_never(same):
    same(lambda torch: torch.nn.utils.weight_norm(torch.nn.utils.weight_norm(linear(torch))))
    same(lambda torch: torch.nn.utils.remove_weight_norm(linear(torch)))


def test_spectral_norms_agree_with_torch(same):
    def scenario(torch):
        u = torch.nn.utils
        new = u.parametrizations.spectral_norm(linear(torch), n_power_iterations=2)
        old = u.spectral_norm(torch.nn.ConvTranspose1d(2, 3, 2))
        x = torch.arange(6.0).reshape(2, 3)
        log = []
        for _ in range(2):
            log.append(new(x))
            log.append(old(torch.ones(1, 2, 3)))
        new.eval()
        log.append((torch.equal(new(x), new(x)), list(new.state_dict()), list(old.state_dict()), dict(old.state_dict()._metadata)))
        new(x).sum().backward()
        log.append(new.parametrizations.weight.original.grad)
        old.load_state_dict(old.state_dict())
        u.remove_spectral_norm(old)
        assert torch is not pellucid or not old._load_state_dict_pre_hooks  # PyTorch forgets this one
        return log, list(old.state_dict()), len(old._forward_pre_hooks), len(old._state_dict_hooks)

    same(scenario)


def test_spectral_norm_errors(same):
    same(lambda torch: torch.nn.utils.spectral_norm(linear(torch), n_power_iterations=0))
    same(lambda torch: torch.nn.utils.remove_spectral_norm(linear(torch)))
    same(lambda torch: torch.nn.utils.parametrizations.spectral_norm(linear(torch), "nothing"))
    same(lambda torch: torch.nn.utils.parametrizations.spectral_norm(linear(torch), dim=5))
    same(lambda torch: torch.nn.utils.parametrizations.spectral_norm(linear(torch), n_power_iterations=0))


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("kind", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_orthogonal_stays_orthogonal(shape, kind, trivial):
    pellucid.manual_seed(0)
    m = pellucid.nn.utils.parametrizations.orthogonal(
        pellucid.nn.Linear(shape[1], shape[0]), orthogonal_map=kind, use_trivialization=trivial
    )
    optimizer = pellucid.optim.SGD(m.parameters(), lr=0.1)
    for _ in range(3):
        w = m.weight.detach().numpy().astype(np.float64)
        gram = w @ w.T if shape[0] <= shape[1] else w.T @ w
        np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)
        before = w
        optimizer.zero_grad()
        (m(pellucid.ones(2, shape[1])) * pellucid.arange(float(shape[0]))).sum().backward()
        optimizer.step()
        assert np.abs(m.weight.detach().numpy() - before).max() > 1e-3
    target = pellucid.nn.init.orthogonal_(pellucid.empty(shape))
    if trivial or kind == "householder":
        m.weight = target
        np.testing.assert_allclose(m.weight.detach().numpy(), target.numpy(), atol=1e-5)


def test_orthogonal_errors(same):
    o = "parametrizations"
    same(lambda torch: getattr(torch.nn.utils, o).orthogonal(linear(torch), "nothing"))
    same(lambda torch: getattr(torch.nn.utils, o).orthogonal(linear(torch), "bias"))
    same(lambda torch: getattr(torch.nn.utils, o).orthogonal(linear(torch), orthogonal_map="round"))


# ---------------------------------------------------------------------------------------------------- prune

PRUNINGS = {
    "identity": lambda prune, m: prune.identity(m, "weight"),
    "random": lambda prune, m: prune.random_unstructured(m, "weight", 0.4),
    "random number": lambda prune, m: prune.random_unstructured(m, "bias", 2),
    "l1": lambda prune, m: prune.l1_unstructured(m, "weight", 0.5),
    "l1 nothing": lambda prune, m: prune.l1_unstructured(m, "weight", 0),
    "random structured": lambda prune, m: prune.random_structured(m, "weight", 2, dim=1),
    "ln structured": lambda prune, m: prune.ln_structured(m, "weight", 0.5, n=2, dim=0),
    "twice": lambda prune, m: prune.l1_unstructured(prune.ln_structured(m, "weight", 1, n=1, dim=0), "weight", 3),
    "global": lambda prune, m: prune.global_unstructured([(m, "weight"), (m, "bias")], prune.L1Unstructured, amount=6),
    "too many": lambda prune, m: prune.l1_unstructured(m, "weight", 100),
    "too large a part": lambda prune, m: prune.l1_unstructured(m, "weight", 1.5),
    "negative": lambda prune, m: prune.l1_unstructured(m, "weight", -1),
    "text": lambda prune, m: prune.l1_unstructured(m, "weight", "many"),
    "structured in one dimension": lambda prune, m: prune.ln_structured(m, "bias", 1, n=2, dim=0),
    "structured beyond": lambda prune, m: prune.ln_structured(m, "weight", 1, n=2, dim=3),
    "global structured": lambda prune, m: prune.global_unstructured([(m, "weight")], prune.LnStructured, amount=1, n=2),
    "global of a number": lambda prune, m: prune.global_unstructured(3, prune.L1Unstructured, amount=1),
    "never": lambda prune, m: prune.remove(m, "weight"),
}


@pytest.mark.parametrize("name", PRUNINGS)
def test_pruning(name, same):
    def scenario(torch):
        prune, m = torch.nn.utils.prune, linear(torch)
        PRUNINGS[name](prune, m)
        masks = dict(m.named_buffers())
        out = m(torch.ones(1, 3))
        out.sum().backward()
        grads = {n: p.grad for n, p in m.named_parameters()}
        state = list(m.state_dict())
        pruned = prune.is_pruned(m)
        for tensor in ("weight", "bias"):
            if tensor + "_orig" in m._parameters:
                prune.remove(m, tensor)
        return masks, out, grads, state, pruned, prune.is_pruned(m), dict(m.state_dict()), m._parameters["weight"].requires_grad

    same(scenario)


def test_custom_mask_and_importance(same):
    def scenario(torch):
        prune, m = torch.nn.utils.prune, linear(torch)
        prune.custom_from_mask(m, "bias", torch.tensor([1, 0, 1, 0]))
        prune.l1_unstructured(m, "weight", 3, importance_scores=-m.weight.detach().abs())
        method = prune.L1Unstructured(amount=2)
        t = torch.tensor([3.0, 1.0, 2.0])
        return dict(m.named_buffers()), method.prune(t), method.prune(t, importance_scores=-t)

    same(scenario)


# ---------------------------------------------------------------------------------------------------- fusion

@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("bias", [True, False])
def test_fusing_batch_norm_into_a_convolution(kind, bias):
    pellucid.manual_seed(0)
    nn = pellucid.nn
    n = int(kind[-2])
    conv = getattr(nn, kind)(2, 3, 2, bias=bias).eval()
    bn = getattr(nn, f"BatchNorm{n}d")(3)
    x = pellucid.randn(4, 2, *[5] * n)
    bn(conv(x))
    bn(conv(x))
    bn.weight.data.uniform_(0.5, 2)
    bn.eval()
    fused = nn.utils.fuse_conv_bn_eval(conv, bn, transpose="Transpose" in kind)
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(conv(x)).detach().numpy(), atol=1e-5)
    with pytest.raises(AssertionError, match="Fusion only for eval!"):
        nn.utils.fuse_conv_bn_eval(conv.train(), bn)


def test_fusing_batch_norm_into_a_linear_layer():
    nn = pellucid.nn
    layer, bn = linear(pellucid), nn.BatchNorm1d(4)
    x = pellucid.randn(6, 3)
    bn(layer(x))
    layer.eval(), bn.eval()
    fused = nn.utils.fuse_linear_bn_eval(layer, bn)
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(layer(x)).detach().numpy(), atol=1e-5)
    assert type(fused.weight) is nn.Parameter
    with pytest.raises(AssertionError, match="To fuse, linear.out_features == bn.num_features"):
        nn.utils.fuse_linear_bn_eval(layer, nn.BatchNorm1d(3).eval())


def test_memory_format_of_convolutions():
    net = pellucid.nn.Sequential(pellucid.nn.Conv2d(2, 3, 2), pellucid.nn.Conv3d(2, 3, 2))
    pellucid.nn.utils.convert_conv2d_weight_memory_format(net, pellucid.channels_last)
    pellucid.nn.utils.convert_conv3d_weight_memory_format(net, pellucid.channels_last_3d)
    assert net[0].weight.is_contiguous(memory_format=pellucid.channels_last)
    assert net[1].weight.is_contiguous(memory_format=pellucid.channels_last_3d)


def test_skip_init(same):
    def scenario(torch):
        before = torch.get_rng_state().sum()
        m = torch.nn.utils.skip_init(torch.nn.Linear, 3, 4, dtype=torch.float64)
        return m.weight.shape, m.weight.dtype, repr(m), bool(torch.get_rng_state().sum() == before)

    same(scenario)
    same(lambda torch: torch.nn.utils.skip_init(torch.nn.ReLU))


# ---------------------------------------------------------------------------------------------------- functional calls

def call(torch, *args, **kwargs):
    return torch.func.functional_call(*args, **kwargs) if hasattr(torch, "func") and torch is not pellucid else \
        pellucid.nn.utils.stateless._functional_call(*args, **kwargs)


def tied(torch):
    m = torch.nn.Sequential(linear(torch, 3, 3), torch.nn.Tanh(), linear(torch, 3, 3))
    m[2].weight = m[0].weight
    return m


FUNCTIONAL = {
    "all": lambda torch, m: call(torch, m, {k: v * 0 + 1 for k, v in m.state_dict().items()}, (torch.ones(1, 3),)),
    "some": lambda torch, m: call(torch, m, {"0.bias": torch.zeros(3)}, torch.ones(1, 3)),
    "tied": lambda torch, m: call(torch, m, {"2.weight": torch.ones(3, 3)}, torch.ones(1, 3)),
    "tied, not wanted": lambda torch, m: call(torch, m, {"2.weight": torch.ones(3, 3)}, torch.ones(1, 3), tie_weights=False),
    "tied, different": lambda torch, m: call(torch, m, {"2.weight": torch.ones(3, 3), "0.weight": torch.zeros(3, 3)}, torch.ones(1, 3)),
    "strict": lambda torch, m: call(torch, m, {"0.weight": torch.ones(3, 3)}, torch.ones(1, 3), strict=True),
    "strict, unknown": lambda torch, m: call(torch, m, {**m.state_dict(), "x": torch.ones(1)}, torch.ones(1, 3), strict=True),
    "keywords": lambda torch, m: call(torch, m, {}, (), {"input": torch.ones(1, 3)}),
    "failing": lambda torch, m: call(torch, m, {"0.weight": torch.ones(5, 5)}, torch.ones(1, 3)),
}


@pytest.mark.parametrize("name", [n for n in FUNCTIONAL if n != "failing"])
def test_functional_call(name, same):
    def scenario(torch):
        m = tied(torch)
        before = dict(m.named_parameters())
        out = FUNCTIONAL[name](torch, m)
        return out, all(p is before[n] for n, p in m.named_parameters()), m[2].weight is m[0].weight

    same(scenario)


def test_functional_call_restores_after_an_error():
    m = tied(pellucid)
    before = dict(m.named_parameters())
    with pytest.raises(RuntimeError):
        FUNCTIONAL["failing"](pellucid, m)
    assert all(p is before[n] for n, p in m.named_parameters())


def test_functional_call_gradients_and_buffers():
    m = pellucid.nn.BatchNorm1d(2)
    given = {"weight": pellucid.full((2,), 2.0, requires_grad=True), "running_mean": pellucid.zeros(2),
             "num_batches_tracked": pellucid.tensor(0)}
    with pytest.warns(FutureWarning, match="functional_call` is deprecated"):
        out = pellucid.nn.utils.stateless.functional_call(m, given, pellucid.randn(5, 2))
    out.pow(2).sum().backward()
    assert given["weight"].grad is not None and m.weight.grad is None
    assert m.num_batches_tracked.item() == 0 and given["num_batches_tracked"].item() == 1
    assert m.running_mean.tolist() == [0.0, 0.0] and given["running_mean"].abs().sum() > 0
