"""How a `DataLoader` does its work: collating, fetching, workers and the way batches come back from them.

Laid out as `torch.utils.data._utils`, since programs import `collate` and `worker` from there.
"""
from . import collate, fetch, worker

__all__ = ["collate", "fetch", "worker"]
