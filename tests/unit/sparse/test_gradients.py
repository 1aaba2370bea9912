"""Gradients through sparse tensors, sparse gradients of embeddings, the optimisers that take them, and compiled functions."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn
from pellucid.autograd import gradcheck, gradgradcheck

F = nn.functional
INDICES = torch.tensor([[0, 1, 1, 0], [2, 0, 2, 2]])          # one place twice
D = torch.arange(6.0, dtype=torch.float64).reshape(2, 3) - 2
E = torch.arange(6.0, dtype=torch.float64).reshape(3, 2) / 3


def entries():
    return torch.tensor([3.0, 4.0, 5.0, 6.0], dtype=torch.float64, requires_grad=True)


FUNCTIONS = {
    "to_dense": lambda s: s.to_dense() * D, "mm": lambda s: torch.sparse.mm(s, E), "dense_mm": lambda s: E @ s, "mv": lambda s: s @ D[0],
    "sparse_mm": lambda s: torch.sparse.mm(s, s.t()).to_dense(), "sum": torch.sparse.sum, "sum0": lambda s: torch.sparse.sum(s, 0).to_dense(),
    "softmax": lambda s: torch.sparse.softmax(s, 1).to_dense(), "log_softmax": lambda s: torch.sparse.log_softmax(s, 0).to_dense(),
    "mul": lambda s: (s * s).to_dense(), "mul_dense": lambda s: (s * D).to_dense(), "add": lambda s: (s + s.coalesce() * 2).to_dense(),
    "add_dense": lambda s: D + s, "addmm": lambda s: torch.sparse.addmm(D[:, :2], s, E, beta=2, alpha=3), "sin": lambda s: s.sin().to_dense(),
    "cat": lambda s: torch.cat([s, s * 3], 1).to_dense(), "stack": lambda s: torch.stack([s, s]).to_dense(), "t": lambda s: s.t().to_dense(),
    "index_select": lambda s: s.index_select(0, torch.tensor([1, 1, 0])).to_dense(), "select": lambda s: s[1].to_dense(),
    "values": lambda s: s.coalesce().values(), "mask": lambda s: s.sparse_mask(D.to_sparse()).to_dense(), "div": lambda s: (s / 3).to_dense(),
    "float": lambda s: s.clone().double().to_dense(), "norm": lambda s: s.norm(), "unsqueeze": lambda s: s.unsqueeze(1).to_dense(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_the_entries(name):
    assert gradcheck(lambda v: FUNCTIONS[name](torch.sparse_coo_tensor(INDICES, v, (2, 3))), entries())
    assert gradgradcheck(lambda v: FUNCTIONS[name](torch.sparse_coo_tensor(INDICES, v, (2, 3))), entries())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_of_a_sparse_leaf_is_that_of_the_dense_one_at_its_places(name):
    s = torch.sparse_coo_tensor(INDICES, entries().detach(), (2, 3)).requires_grad_()
    weights = torch.sin(torch.arange(float(FUNCTIONS[name](s).numel()), dtype=torch.float64))
    (FUNCTIONS[name](s).reshape(-1) * weights).sum().backward()
    assert s.grad.is_sparse and s.grad.shape == s.shape and s.is_leaf
    v = entries()
    (FUNCTIONS[name](torch.sparse_coo_tensor(INDICES, v, (2, 3))).reshape(-1) * weights).sum().backward()
    want = torch.zeros(2, 3, dtype=torch.float64)
    want[tuple(INDICES)] = v.grad                             # entries of one place have one gradient
    assert torch.allclose(s.grad.to_dense(), want)


def test_gradients_of_dense_operands():
    s = torch.sparse_coo_tensor(INDICES, entries().detach(), (2, 3))
    x = (E + 1).requires_grad_()                              # no zeros: as in PyTorch, to_sparse() gives those no gradient
    for f in (lambda x: torch.sparse.mm(s, x), lambda x: (x.to_sparse() * 2).to_dense(), lambda x: torch.sparse.sum(x.t().sparse_mask(s.coalesce())),
              lambda x: x.t() + s, lambda x: (s * x.t()).to_dense(), lambda x: torch.sparse.addmm(x[:2], s, x)):
        assert gradcheck(f, x)


def test_gradcheck_takes_sparse_inputs():
    s = torch.sparse_coo_tensor(INDICES, entries().detach(), (2, 3)).requires_grad_()
    assert gradcheck(lambda s, x: torch.sparse.mm(s, x), (s, E.clone().requires_grad_()))
    assert gradcheck(lambda s: s * s, s) and gradgradcheck(lambda s: s * s, s)
    assert gradcheck(lambda x: x.to_sparse(), (D + 0.5).requires_grad_())


def test_tape():
    s = torch.sparse_coo_tensor(INDICES, entries().detach(), (2, 3)).requires_grad_()
    seen = []
    s.register_hook(lambda g: seen.append(g.is_sparse) or g * 10)
    torch.sparse.sum(s).backward()
    torch.sparse.sum(s).backward()
    assert seen == [True, True] and s.grad.coalesce().values().tolist() == [20.0, 20.0, 20.0]
    (g,) = torch.autograd.grad((s.to_dense() ** 2).sum(), s)
    assert g.is_sparse
    out = s * 2
    out.retain_grad()
    out.backward(torch.sparse_coo_tensor(INDICES[:, 1:3], torch.ones(2, dtype=torch.float64), (2, 3)))
    assert out.grad.is_sparse and out.grad._nnz() == 2
    with torch.no_grad():
        assert not (s * 2).requires_grad
    assert not s.detach().requires_grad and s.is_leaf and not out.is_leaf
    assert out.grad_fn.name() == "SparseCooTensorWithDimsAndTensorsBackward0"


def table(sparse, kind=nn.Embedding, **options):
    m = kind(5, 3, sparse=sparse, **options)
    with torch.no_grad():
        m.weight.copy_(torch.arange(15.0).reshape(5, 3) / 10)
    return m


X = torch.tensor([[1, 1, 3], [0, 2, 2]])


@pytest.mark.parametrize("kind, options", [(nn.Embedding, {}), (nn.Embedding, {"padding_idx": 2}), (nn.Embedding, {"max_norm": 0.5}),
                                           (nn.EmbeddingBag, {"mode": "sum"}), (nn.EmbeddingBag, {"mode": "mean"}),
                                           (nn.EmbeddingBag, {"mode": "mean", "padding_idx": 1})])
def test_embeddings_have_sparse_gradients(kind, options):
    a, b = table(True, kind, **options), table(False, kind, **options)
    for m in (a, b):
        m(X).pow(2).sum().backward()
        m(X[:1]).pow(3).sum().backward()                       # accumulated
    assert a.weight.grad.is_sparse and not b.weight.grad.is_sparse
    assert torch.allclose(a.weight.grad.to_dense(), b.weight.grad)
    a.zero_grad(set_to_none=False)
    assert a.weight.grad.is_sparse and a.weight.grad._nnz() == 0


def test_sparse_and_dense_gradients_add_up():
    for order in (0, 1):
        a, b = table(True), table(False)
        for m in (a, b):
            losses = [m(X).sum(), m.weight.pow(2).sum()]
            losses[order].backward()
            losses[1 - order].backward()
            (m(X).sum() + m.weight.sum()).backward()
        assert not a.weight.grad.is_sparse and torch.allclose(a.weight.grad, b.weight.grad)


def test_scale_grad_by_freq_has_no_sparse_gradients():
    with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse gradients"):
        table(True, scale_grad_by_freq=True)(X).sum().backward()


def trained(name, sparse, steps=4, **options):
    m = table(sparse)
    o = getattr(torch.optim, name)(m.parameters(), **options)
    for t in range(steps):
        o.zero_grad()
        m(X[t % 2:]).pow(2).sum().backward()
        o.step()
    return m.weight.detach(), o


@pytest.mark.parametrize("name, options", [("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
                                           ("SGD", {"lr": 0.1, "weight_decay": 0.1}), ("SGD", {"lr": 0.1, "maximize": True}), ("Adagrad", {"lr": 0.1}),
                                           ("Adagrad", {"lr": 0.1, "maximize": True, "lr_decay": 0.1})])
def test_optimisers_step_as_with_dense_gradients(name, options):
    assert torch.allclose(trained(name, True, **options)[0], trained(name, False, **options)[0], atol=1e-6)


def test_sparse_adam():
    """Adam, but the moments of a place count only the steps that name it: as if each row had an Adam of its own whose bias correction
    counts all steps."""
    got, o = trained("SparseAdam", True, lr=0.1)
    w, m, v = (np.zeros((5, 3)) for _ in range(3))
    w[:] = np.arange(15).reshape(5, 3) / 10
    for t in range(1, 5):
        rows, counts = np.unique(X[(t - 1) % 2:].numpy(), return_counts=True)
        g = 2 * w[rows] * counts[:, None]
        m[rows] += (g - m[rows]) * 0.1
        v[rows] += (g * g - v[rows]) * 0.001
        w[rows] -= 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m[rows] / (np.sqrt(v[rows]) + 1e-8)
    assert np.allclose(got.numpy(), w, atol=1e-5)
    state = o.state_dict()["state"][0]
    assert state["step"] == 4 and set(state) == {"step", "exp_avg", "exp_avg_sq"}
    again = torch.optim.SparseAdam([torch.zeros(5, 3, requires_grad=True)])
    again.load_state_dict(copy.deepcopy(o.state_dict()))
    assert again.state_dict()["state"][0]["step"] == 4


def test_optimisers_refuse_what_they_do_not_take():
    for name in ("Adam", "AdamW", "Adamax", "RMSprop", "Adadelta", "NAdam", "RAdam", "Rprop", "ASGD", "Adafactor"):
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            trained(name, True)
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam instead"):
        trained("SparseAdam", False)
    with pytest.raises(RuntimeError, match="weight_decay option is not compatible with sparse gradients"):
        trained("Adagrad", True, weight_decay=0.1)
    with pytest.raises(ValueError, match="SparseAdam requires dense parameter tensors"):
        torch.optim.SparseAdam([D.to_sparse().requires_grad_()])
    with pytest.raises(ValueError, match="Invalid learning rate"):
        torch.optim.SparseAdam([torch.ones(2)], lr=0.0)


def test_clipping_and_loss_scaling():
    a, b = table(True), table(False)
    for m in (a, b):
        m(X).pow(2).sum().backward()
    assert torch.allclose(nn.utils.clip_grad_norm_(a.parameters(), 1.0), nn.utils.clip_grad_norm_(b.parameters(), 1.0))
    assert torch.allclose(a.weight.grad.to_dense(), b.weight.grad)
    m = table(True)
    scaler, o = torch.amp.GradScaler("cpu", init_scale=4.0), torch.optim.SGD(m.parameters(), lr=0.1)
    scaler.scale(m(X).sum()).backward()
    scaler.unscale_(o)
    assert m.weight.grad.coalesce().values()[0].tolist() == [1.0, 1.0, 1.0]


def test_transforms_see_dense_gradients_or_refuse():
    w = torch.ones(4, 2)
    assert torch.func.vmap(lambda i: F.embedding(i, w, sparse=True))(X).shape == (2, 3, 2)
    jac = torch.func.jacrev(lambda w: F.embedding(X, w, sparse=True).sum((0, 1)))(w)
    assert jac[0, :, 0].tolist() == [1.0, 2.0, 2.0, 1.0] and jac[0, :, 1].tolist() == [0.0] * 4


# ---------------------------------------------------------------------------------------------------- compile
def quietly(f, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [f(*args) for _ in range(3)]


S = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))


@pytest.mark.parametrize("f", [
    lambda s, d: torch.sparse.mm(s, d) * 2, lambda s, d: (s * 2) @ d + 1, lambda s, d: d.to_sparse().to_dense() * 2, lambda s, d: s + s,
    lambda s, d: torch.sparse_coo_tensor([[0], [1]], [3.0], (2, 2)).to_dense() + d, lambda s, d: (d * 2).sin().to_sparse(),
    lambda s, d: d * 2 if s.is_sparse else d * 3, lambda s, d: s.clone().mul_(2).to_dense(), lambda s, d: d + s, lambda s, d: s.shape[0] + d,
    lambda s, d: torch.relu(s) * d,
])
def test_compiled_functions_give_what_eager_gives(f):
    d = torch.arange(4.0).reshape(2, 2)
    want = f(S, d)
    for got in quietly(torch.compile(f), S, d):
        assert got.is_sparse == want.is_sparse and torch.equal(got.to_dense(), want.to_dense())


def test_a_compiled_function_tells_sparse_from_dense():
    g = torch.compile(lambda a, d: torch.matmul(a, d) + 1)
    d = torch.ones(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for a in (d, S, d, S, S, d):
            assert torch.equal(g(a, d), a.to_dense() @ d + 1)


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("adjacency", S.coalesce())
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return torch.relu(torch.sparse.mm(self.adjacency, self.linear(x)))


def test_a_module_with_a_sparse_buffer():
    m, x = Graph(), torch.ones(2, 2)
    other = Graph()
    other.load_state_dict(m.state_dict())
    want = m(x)
    assert torch.equal(other(x), want)
    for got in quietly(torch.compile(m), x):
        assert torch.allclose(got, want)
    m.adjacency = m.adjacency * 2
    assert torch.allclose(quietly(torch.compile(m), x)[0], m(x))


def test_a_compiled_step_with_sparse_gradients():
    def run(compiled):
        m = table(True)
        o = torch.optim.SparseAdam(m.parameters(), lr=0.1)

        def step(x):
            o.zero_grad()
            loss = m(x).pow(2).sum()
            loss.backward()
            o.step()
            return loss
        losses = [quietly(torch.compile(step) if compiled else step, X)]
        assert m.weight.grad.is_sparse
        return [x.item() for x in losses[0]], m.weight.detach()
    (a, v), (b, w) = run(False), run(True)
    assert np.allclose(a, b) and torch.allclose(v, w)
