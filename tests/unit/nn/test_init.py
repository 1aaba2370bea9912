"""nn.init: PyTorch's numbers for PyTorch's seeds, and what is refused."""

import math

import numpy as np
import pytest

import pellucid

RANDOM = {
    "uniform_": lambda i, t: i.uniform_(t, -2.0, 3.0),
    "normal_": lambda i, t: i.normal_(t, 1.0, 0.3),
    "trunc_normal_": lambda i, t: i.trunc_normal_(t, 0.1, 0.5, -0.4, 0.6),
    "trunc_normal_ by default": lambda i, t: i.trunc_normal_(t),
    "trunc_normal_ in the tail": lambda i, t: i.trunc_normal_(t, 0.0, 1.0, 1.5, 2.5),
    "trunc_normal_ narrow": lambda i, t: i.trunc_normal_(t, 0.0, 1.0, -0.1, 0.1),
    "xavier_uniform_": lambda i, t: i.xavier_uniform_(t, 1.7),
    "xavier_normal_": lambda i, t: i.xavier_normal_(t),
    "kaiming_uniform_": lambda i, t: i.kaiming_uniform_(t, a=math.sqrt(5)),
    "kaiming_uniform_ out": lambda i, t: i.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal_": lambda i, t: i.kaiming_normal_(t, nonlinearity="tanh"),
    "constant_": lambda i, t: i.constant_(t, 2.5),
    "ones_": lambda i, t: i.ones_(t),
    "zeros_": lambda i, t: i.zeros_(t),
}


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize("name", RANDOM)
def test_values(name, shape, same):
    def scenario(torch):
        t = torch.zeros(shape, requires_grad=True)
        back = RANDOM[name](torch.nn.init, t)
        return back is t, t.is_leaf, t, torch.rand(3)

    same(scenario)


MATRIX = {
    "eye_": lambda i, t: i.eye_(t),
    "sparse_": lambda i, t: i.sparse_(t, 0.4, std=0.5),
}


@pytest.mark.parametrize("shape", [(7, 5), (3, 6), (4,), (2, 2, 2)])
@pytest.mark.parametrize("name", MATRIX)
def test_matrices(name, shape, same):
    same(lambda torch: MATRIX[name](torch.nn.init, torch.ones(shape)))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 6, 3, 2), (6, 2, 1, 2, 3), (2, 2), (1, 1, 1, 1, 1, 1)])
def test_dirac(shape, groups, same):
    same(lambda torch: torch.nn.init.dirac_(torch.ones(shape), groups))


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_"])
@pytest.mark.parametrize("shape", [(3,), (), (0, 3)])
def test_shapes_too_small(name, shape, same):
    same(lambda torch: getattr(torch.nn.init, name)(torch.ones(shape)))


GAINS = ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu",
         "selu", "swish"]


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("param", [None, 0, 0.2, True, "text"])
def test_gain(name, param, same):
    same(lambda torch: torch.nn.init.calculate_gain(name, param))


@pytest.mark.parametrize("mode", ["fan_in", "FAN_OUT", "fan"])
def test_fan_modes(mode, same):
    same(lambda torch: torch.nn.init.kaiming_uniform_(torch.ones(2, 3), mode=mode))


OLD = ["uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "eye"]


@pytest.mark.parametrize("name", OLD)
def test_old_names_warn(name, same):
    same(lambda torch: getattr(torch.nn.init, name)(torch.ones(3, 3)))


def test_old_names_with_arguments(same):
    same(lambda torch: (torch.nn.init.constant(torch.ones(2), 3.0), torch.nn.init.dirac(torch.ones(2, 2, 2)),
                        torch.nn.init.sparse(torch.ones(3, 3), 0.5)))


def test_far_from_the_mean(same):
    same(lambda torch: torch.nn.init.trunc_normal_(torch.ones(4), mean=10.0, a=-1.0, b=1.0).abs().max() <= 1)


def test_own_generator(same):
    def scenario(torch):
        g = torch.Generator()
        g.manual_seed(3)
        before = torch.get_rng_state().sum()
        values = [torch.nn.init.normal_(torch.ones(5), generator=g), torch.nn.init.kaiming_uniform_(torch.ones(2, 2), generator=g),
                  torch.nn.init.trunc_normal_(torch.ones(5), generator=g), torch.nn.init.xavier_normal_(torch.ones(2, 2), generator=g)]
        return values, bool(torch.get_rng_state().sum() == before)

    same(scenario)


def test_default_initialisation_of_layers(same):
    def scenario(torch):
        nn = torch.nn
        layers = [nn.Linear(5, 3), nn.Conv2d(3, 4, 3, groups=1), nn.Bilinear(2, 3, 2), nn.Embedding(5, 3, padding_idx=1), nn.LSTM(3, 2),
                  nn.MultiheadAttention(4, 2), nn.ConvTranspose1d(2, 3, 2)]
        return [dict(layer.state_dict()) for layer in layers]

    same(scenario)


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 3), (2, 8)])
def test_orthogonal_as_in_torch(shape):
    torch = pytest.importorskip("torch")
    pellucid.manual_seed(3)
    torch.manual_seed(3)
    ours, theirs = (p.nn.init.orthogonal_(p.empty(shape), 0.7) for p in (pellucid, torch))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-6)  # LAPACK's QR differs in the last bits


def test_orthogonal_is_orthogonal():
    for shape in ((5, 3), (3, 5), (4, 2, 3)):
        t = pellucid.nn.init.orthogonal_(pellucid.empty(shape), gain=2.0).reshape(shape[0], -1).numpy().astype(np.float64)
        gram = t @ t.T if t.shape[0] <= t.shape[1] else t.T @ t
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
