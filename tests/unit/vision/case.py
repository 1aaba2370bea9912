"""What is measured of a classifier, with either framework: tools/record_vision.py runs it with torchvision, test_models.py with pellucid.

In: the framework (torch or pellucid), its vision models, a model's name. Out: a dict that goes into JSON: names and shapes, initial
values and, unless the model is huge, outputs and one training step in float64.
"""
from __future__ import annotations

import hashlib

# Half a billion parameters and more: no room for gradients in float64.
HUGE = ("regnet_y_128gf", "vit_h_14")


def image_size(name: str) -> int:
    """Small images are enough, except where a model asks for its own size (and Inception's auxiliary head for 299)."""
    return 299 if name == "inception_v3" else 224 if name.startswith(("maxvit", "vit")) else 64


def digest(lines) -> str:
    h = hashlib.sha256()
    for line in lines:
        h.update(line if isinstance(line, bytes) else line.encode())
    return h.hexdigest()[:16]


def build(torch, models, name: str):
    """The model as its builder makes it after seed 0."""
    torch.manual_seed(0)
    silent = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}        # their default warns
    return getattr(models, name)(**silent)


def structure(model) -> dict:
    """Names and shapes as text in both forms: a digest, and the first names for whoever has to look."""
    entries = [f"{k} {tuple(v.shape)} {str(v.dtype).split('.')[-1]}" for k, v in model.state_dict().items()]
    return {"parameters": sum(p.numel() for p in model.parameters()), "entries": len(entries), "names": digest(e + "\n" for e in entries),
            "first": entries[:2] + entries[-2:]}


def initial(model) -> str:
    return digest(v.detach().numpy().tobytes() for v in model.state_dict().values())


def images(torch, name: str, dtype):
    """Two images without random numbers: waves of different lengths."""
    size = image_size(name)
    count = 2 * 3 * size * size
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.37 + torch.arange(count, dtype=torch.float64) ** 2 * 1e-5).reshape(
        2, 3, size, size).to(dtype)


def wake(torch, model) -> None:
    """Give weight to what starts at (almost) nothing, so that a mistake behind it shows: ViT's head, ConvNeXt's layer scales."""
    for name, parameter in model.named_parameters():
        if name == "heads.head.weight":
            with torch.no_grad():
                parameter.copy_(torch.sin(torch.arange(parameter.numel(), dtype=torch.float64)).reshape(parameter.shape) * 0.02)
        elif name.endswith("layer_scale"):
            with torch.no_grad():
                parameter.fill_(0.1)


def outputs(torch, model, name: str, dtype) -> list[float]:
    model.eval()
    with torch.no_grad():
        out = model(images(torch, name, dtype))
    flat = out.double().reshape(-1)
    return [*flat[:: flat.numel() // 8].tolist(), float(flat.abs().sum())]


def training(torch, model, name: str, dtype) -> list[float]:
    """The loss before and after one step of gradient descent (dropout and stochastic depth draw the same numbers both times)."""
    model.train()
    x, target = images(torch, name, dtype), torch.tensor([1, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        out = model(x)
        loss = sum(torch.nn.functional.cross_entropy(o, target) for o in (out if isinstance(out, tuple) else (out,)))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def measure(torch, models, name: str) -> dict:
    model = build(torch, models, name)
    record = structure(model) | {"initial": initial(model)}
    if name in HUGE:
        return record
    wake(torch, model)
    model.double()
    record["outputs"] = outputs(torch, model, name, torch.float64)
    record["loss"] = training(torch, model, name, torch.float64)
    return record
