"""Settings a user may change, in one place. Each is a plain attribute of `config`; `config.describe()` prints them."""
from __future__ import annotations

import os
from dataclasses import dataclass, fields


@dataclass
class Config:
    threads: int = os.cpu_count() or 1          # what set_num_threads says
    interop_threads: int = os.cpu_count() or 1
    deterministic: bool = False                 # use_deterministic_algorithms
    deterministic_warn_only: bool = False
    warn_always: bool = False

    def describe(self) -> str:
        """Every setting with its value, one a line."""
        return "\n".join(f"{f.name} = {getattr(self, f.name)!r}" for f in fields(self))


config = Config()
