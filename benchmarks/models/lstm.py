"""A character language model: embedding, two LSTM layers of 256, logits; T 64, batch 32, Adam."""
from __future__ import annotations

from . import Training


def training(torch, hidden: int = 256, layers: int = 2, length: int = 64, batch: int = 32, vocabulary: int = 65) -> Training:
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, hidden)
            self.lstm = nn.LSTM(hidden, hidden, layers)
            self.head = nn.Linear(hidden, vocabulary)

        def forward(self, ids, targets):
            y, _ = self.lstm(self.embedding(ids))
            return F.cross_entropy(self.head(y).flatten(0, 1), targets.flatten())

    torch.manual_seed(0)
    model = Model()
    ids = torch.randint(0, vocabulary, (length + 1, batch))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Training(torch, model, optimizer, model, [(ids[:-1], ids[1:])])
