"""Builders of models by name, and where their trained weights come from.

In: functions that make a network. Out: builders with torchvision's arguments (`weights`, `progress`, deprecated `pretrained`), a
registry (`get_model`, `list_models`), and enumerations of weights (`ResNet18_Weights.DEFAULT`). True always: no weights are
shipped and nothing is downloaded; `weights=` reads a file that is there (a path, or torchvision's file in the cache folder that
PyTorch uses too), or the error says which file to put where.
"""
from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pellucid as torch
from pellucid import nn, serialization

from ...core.errors import fail
from ._presets import ImageClassification

__all__ = ["Weights", "WeightsEnum", "get_model", "get_model_builder", "get_model_weights", "get_weight", "list_models", "register_model"]

BUILDERS: dict[str, Callable[..., nn.Module]] = {}


@dataclass(eq=False)
class Weights:
    """Trained weights: where they lie, the preprocessing they were trained for, and what is known of them."""

    url: str
    transforms: Callable[..., Callable]
    meta: dict[str, Any]

    def __eq__(self, other: Any) -> bool:
        # A url names one file: this also holds for copies, whose `transforms` (a partial) would differ.
        return self.url == other.url if isinstance(other, Weights) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)


class WeightsEnum(Enum):
    """The weights that exist for one model; each value is a `Weights`."""

    @classmethod
    def verify(cls, obj: Any) -> WeightsEnum | None:
        """`obj` as an entry: an entry, the name of one (with or without the enumeration's), or None."""
        if isinstance(obj, str):
            name = obj.removeprefix(cls.__name__ + ".")
            if name not in cls.__members__:
                fail(KeyError, "P580", f"{obj!r} is no entry of {cls.__name__}, and no file of that name is there",
                     fix=f"one of {list(cls.__members__)}, or the path of a .pth or .safetensors file")
            return cls[name]
        if obj is not None and not isinstance(obj, cls):
            raise TypeError(f"Invalid Weight class provided; expected {cls.__name__} but received {type(obj).__name__}.")
        return obj

    def get_state_dict(self, progress: bool = True, check_hash: bool = False, model_dir: str | os.PathLike | None = None) -> dict[str, Any]:
        """The tensors by name, read from the file of this entry's url in `model_dir` (default: PyTorch's cache folder)."""
        name = self.url.rsplit("/", 1)[-1]
        path = Path(model_dir or checkpoint_folder()) / name
        if not path.is_file():
            fail(FileNotFoundError, "P581", f"{self} needs {name}, which is not in {path.parent}", got="nothing is downloaded by itself",
                 fix=f"fetch {self.url} and put it there, or pass weights=<path of a .pth or .safetensors file>")
        expected = re.search(r"-([0-9a-f]{8,})\.", name)
        if check_hash and expected:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if not found.startswith(expected[1]):
                fail(RuntimeError, "P582", f"{path} is not the file that {self.url} names",
                     got=f"SHA-256 {found[:16]}… where {expected[1]}… is expected", fix="remove it and fetch it again")
        return read_checkpoint(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self._name_}"

    @property
    def url(self) -> str:
        return self.value.url

    @property
    def transforms(self) -> Callable[..., Callable]:
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        return self.value.meta


def checkpoint_folder() -> Path:
    """Where downloaded checkpoints are: the same as those of `hub`."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The state dict in a .safetensors file, or in a file of `save` (or of torch.save)."""
    return serialization.load(path, map_location="cpu")


def weights_enums(module: str) -> dict[str, type[WeightsEnum]]:
    """The enumerations of weights.json, as classes of `module`."""
    folder = Path(__file__).parent
    categories = (folder / "categories.txt").read_text(encoding="utf-8").splitlines()
    enums = {}
    for name, entries in json.loads((folder / "weights.json").read_text(encoding="utf-8")).items():
        values: dict[str, Weights] = {}
        for key, facts in entries.items():
            if isinstance(facts, str):                          # another name of an entry
                values[key] = values[facts]
                continue
            meta = {k: facts[k] for k in ("num_params", "min_size", "recipe", "license") if k in facts}
            meta |= {"categories": None if "categories" in facts else categories, "_metrics": facts["metrics"]}
            if "min_size" in meta:
                meta["min_size"] = tuple(meta["min_size"])
            values[key] = Weights(facts["url"], functools.partial(ImageClassification, **facts["preset"]), meta)
        enums[name] = WeightsEnum(name, values, module=module, qualname=name)
    return enums


def overwrite(kwargs: dict[str, Any], name: str, value: Any) -> None:
    """Set what the weights fix; another value from the user is an error."""
    if kwargs.setdefault(name, value) != value:
        raise ValueError(f"The parameter '{name}' expected value {value} but got {kwargs[name]} instead.")


Prepare = Callable[[dict[str, Any], dict[str, Any]], Callable[[nn.Module], None] | None]


def register_model(weights: type[WeightsEnum], *, prepare: Prepare | None = None, rename: Callable[[str], str] | None = None,
                   pretrained: str | None = "IMAGENET1K_V1") -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Make a builder of the decorated function, which makes the network from its own keyword arguments.

    `prepare(kwargs, meta)` adjusts the arguments to an entry of `weights` and may return what is done to the model after loading;
    `rename` maps a checkpoint's names to the model's; `pretrained` is the entry that the deprecated `pretrained=True` means."""
    def decorate(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        @functools.wraps(make)
        def build(*args: Any, **kwargs: Any) -> nn.Module:
            if len(args) > 2:
                raise TypeError(f"{make.__name__}() takes at most 2 positional arguments (weights, progress), {len(args)} given")
            if args:
                warnings.warn(f"Using {' and '.join(repr(n) for n in ('weights', 'progress')[:len(args)])} as positional parameter(s) is "
                              "deprecated since 0.13 and may be removed in the future. Please use keyword parameter(s) instead.")
                kwargs.update(zip(("weights", "progress"), args))
            deprecated = "pretrained" in kwargs or isinstance(kwargs.get("weights"), bool)
            chosen = _deprecated(kwargs) if deprecated else kwargs.pop("weights", None)
            progress = kwargs.pop("progress", True)
            finish = None
            if isinstance(chosen, os.PathLike) or isinstance(chosen, str) and os.path.isfile(chosen):
                state = read_checkpoint(chosen)
            elif chosen is not None:
                entry = weights.verify(chosen)
                if prepare is not None:
                    finish = prepare(kwargs, entry.meta)
                if entry.meta["categories"] is not None:
                    overwrite(kwargs, "num_classes", len(entry.meta["categories"]))
                state = entry.get_state_dict(progress=progress, check_hash=True)
            model = make(**kwargs)
            if chosen is not None:
                for key in list(state) if rename is not None else ():
                    state[rename(key)] = state.pop(key)
                model.load_state_dict(state)
                if finish is not None:
                    finish(model)
            return model

        def _deprecated(kwargs: dict[str, Any]) -> WeightsEnum | None:
            """What `pretrained=` (or a bool for `weights`) means, with torchvision's warnings."""
            named = "pretrained" in kwargs
            wanted = kwargs.pop("pretrained") if named else kwargs.pop("weights")
            kwargs.pop("weights", None)
            if wanted and pretrained is None:
                raise ValueError(f"No weights available for model {make.__name__}")
            entry = weights[pretrained] if wanted else None
            if named:
                warnings.warn("The parameter 'pretrained' is deprecated since 0.13 and may be removed in the future, "
                              "please use 'weights' instead.")
            warnings.warn("Arguments other than a weight enum or `None` for 'weights' are deprecated since 0.13 and may be removed in the "
                          f"future. The current behavior is equivalent to passing `weights={entry}`."
                          + (f" You can also use `weights={weights.__name__}.DEFAULT` to get the most up-to-date weights."
                             if wanted else ""))
            return entry

        build.weights = weights
        parameter = inspect.Parameter
        build.__signature__ = inspect.Signature([
            parameter("weights", parameter.KEYWORD_ONLY, default=None, annotation=weights | str | os.PathLike | None),
            parameter("progress", parameter.KEYWORD_ONLY, default=True, annotation=bool), parameter("kwargs", parameter.VAR_KEYWORD)])
        BUILDERS[make.__name__] = build
        return build
    return decorate


def get_model_builder(name: str) -> Callable[..., nn.Module]:
    """The builder registered under `name`. Raises ValueError for an unknown name."""
    if name.lower() not in BUILDERS:
        raise ValueError(f"Unknown model {name}")
    return BUILDERS[name.lower()]


def get_model(name: str, **config: Any) -> nn.Module:
    """Build the model of that name; `config` goes to its builder."""
    return get_model_builder(name)(**config)


def get_model_weights(name: Callable | str) -> type[WeightsEnum]:
    """The enumeration of weights of a builder, or of the model of that name."""
    builder = get_model_builder(name) if isinstance(name, str) else name
    if not hasattr(builder, "weights"):
        raise ValueError(f"{builder!r} is no builder of a registered model, so it has no weights")
    return builder.weights


def get_weight(name: str) -> WeightsEnum:
    """An entry by its full name, as in "ResNet50_Weights.IMAGENET1K_V1"."""
    enum_name, dot, value_name = name.partition(".")
    if not dot or "." in value_name:
        raise ValueError(f"Invalid weight name provided: '{name}'.")
    for builder in BUILDERS.values():
        if builder.weights.__name__ == enum_name:
            return builder.weights[value_name]
    raise ValueError(f"The weight enum '{enum_name}' for the specific method couldn't be retrieved.")


def list_models(module: ModuleType | None = None, include: Iterable[str] | str | None = None,
                exclude: Iterable[str] | str | None = None) -> list[str]:
    """Sorted names of the registered models: those of `module`, that match any pattern of `include` and none of `exclude`."""
    def matches(name: str, patterns: Iterable[str] | str) -> bool:
        return any(fnmatch(name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))

    names = [name for name, fn in BUILDERS.items() if module is None or fn.__module__.rsplit(".", 1)[0] == module.__name__]
    return sorted(name for name in names if (not include or matches(name, include)) and not (exclude and matches(name, exclude)))
