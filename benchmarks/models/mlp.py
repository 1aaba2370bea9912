"""A multilayer perceptron 784-128-10 on one batch of 64, trained with Adam."""
from __future__ import annotations

from . import Training


def training(torch) -> Training:
    nn, F = torch.nn, torch.nn.functional
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    return Training(torch, model, optimizer, lambda x, y: F.cross_entropy(model(x), y), [(x, y)])
