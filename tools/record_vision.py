"""Records of torchvision, for pellucid.vision: run it where torchvision is installed.

    python tools/record_vision.py weights    pellucid/vision/models/weights.json and categories.txt: where the trained weights lie
    python tools/record_vision.py models     tests/golden/vision_models.json.gz: names, shapes, initial values, outputs, one training step

Torchvision's Python code is enough: its compiled operators are not used.
"""
from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import torch
from torchvision import models

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.vision.case import image_size, measure  # noqa: E402


def weights() -> None:
    """{enum: {entry: facts}}; an entry that is another name of one (DEFAULT) is that name."""
    table, categories = {}, None
    for name in models.list_models(module=models):
        enum = models.get_model_weights(name)
        entries = {}
        for key, entry in enum.__members__.items():
            if key != entry.name:
                entries[key] = entry.name
                continue
            if entry.meta["categories"]:
                assert categories in (None, entry.meta["categories"])
                categories = entry.meta["categories"]
            preset = {k: getattr(v, "value", v) for k, v in entry.transforms.keywords.items()}
            facts = {"url": entry.url, "num_params": entry.meta["num_params"], "min_size": entry.meta.get("min_size"), "preset": preset,
                     "recipe": entry.meta.get("recipe"), "license": entry.meta.get("license"), "metrics": entry.meta["_metrics"],
                     "categories": None if entry.meta["categories"] else False}
            entries[key] = {k: v for k, v in facts.items() if v is not None}
        table[enum.__name__] = entries
    folder = ROOT / "pellucid" / "vision" / "models"
    lines = [f"{json.dumps(name)}: {json.dumps(entries)}" for name, entries in sorted(table.items())]
    (folder / "weights.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (folder / "categories.txt").write_text("\n".join(categories) + "\n", encoding="utf-8")
    print(len(table), "enums,", len(categories), "categories")


def record_models(only: list[str]) -> None:
    """Everything that tests/unit/vision/test_models.py compares, one entry a model."""
    target = ROOT / "tests" / "golden" / "vision_models.json.gz"
    records = json.loads(gzip.decompress(target.read_bytes())) if target.exists() else {}
    for name in only or models.list_models(module=models):
        records[name] = measure(torch, models, name)
        print(name, records[name]["parameters"], image_size(name), records[name].get("loss"), flush=True)
        text = json.dumps(dict(sorted(records.items())), separators=(",", ":"))      # written each time: a long run may be cut short
        target.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(len(records), "models,", target.stat().st_size, "bytes")


if __name__ == "__main__":
    what, *names = sys.argv[1:] or [""]
    if what == "weights":
        weights()
    elif what == "models":
        record_models(names)
    else:
        sys.exit(__doc__)
