"""Classifiers against records of torchvision (tools/record_vision.py): names, shapes, initial values, outputs, one training step."""
from __future__ import annotations

import copy
import gzip
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid import nn, serialization
from pellucid.vision import models
from pellucid.vision.models import _api, _utils, vision_transformer
from pellucid.vision.models.mnasnet import _stack, _stem

from . import case

RECORDS = json.loads(gzip.decompress((Path(__file__).parents[2] / "golden" / "vision_models.json.gz").read_bytes()))
QUICK = ("mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1")


def some(name: str):
    return pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow, pytest.mark.timeout(900)))


def close(ours: list[float], theirs: list[float], rtol: float) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(map(abs, theirs[:8])))


@pytest.mark.parametrize("name", [some(name) for name in RECORDS])
def test_model_is_torchvisions(name: str) -> None:
    record = RECORDS[name]
    ours = case.measure(pellucid, models, name)
    for key in ("first", "parameters", "entries", "names", "initial"):
        assert ours[key] == record[key], key
    for key in {"outputs", "loss"} & set(record):
        close(ours[key], record[key], 1e-7)


@pytest.mark.parametrize("name", [some(name) for name in RECORDS if name not in case.HUGE])
def test_float32_is_near(name: str) -> None:
    """Before training: one step on random features may amplify any rounding."""
    model = case.build(pellucid, models, name)
    case.wake(pellucid, model)
    close(case.outputs(pellucid, model, name, pellucid.float32), RECORDS[name]["outputs"], 1e-4)


def test_every_model_is_recorded() -> None:
    assert set(models.list_models()) == set(RECORDS)
    assert {len(w.meta["categories"]) for w in models.ResNet50_Weights} == {1000}
    for name in RECORDS:
        for entry in models.get_model_weights(name):
            assert entry.meta["num_params"] == RECORDS[name]["parameters"] or name in ("googlenet", "inception_v3", *VIT_SIZES)
            assert entry.url.startswith("https://download.pytorch.org/models/")


VIT_SIZES = ("vit_b_16", "vit_l_16", "vit_h_14")          # some of their weights are for larger images


def test_find_models() -> None:
    assert models.list_models(include="resnet*", exclude=["*50", "*1*1", "*152"]) == ["resnet18", "resnet34"]
    assert models.list_models(module=models) == models.list_models()
    assert models.get_model_builder("ResNet18") is models.resnet18
    assert models.get_model("squeezenet1_1", num_classes=3).num_classes == 3
    assert models.get_model_weights("resnet50") is models.get_model_weights(models.resnet50) is models.ResNet50_Weights
    assert models.get_weight("ResNet50_Weights.IMAGENET1K_V2") is models.ResNet50_Weights.DEFAULT
    with pytest.raises(ValueError, match="Unknown model resnet19"):
        models.get_model("resnet19")
    with pytest.raises(ValueError, match="Invalid weight name"):
        models.get_weight("DEFAULT")
    with pytest.raises(ValueError, match="couldn't be retrieved"):
        models.get_weight("ResNet19_Weights.DEFAULT")
    with pytest.raises(ValueError, match="no builder"):
        models.get_model_weights(print)


def test_weights_are_values() -> None:
    entry = models.ResNet18_Weights.DEFAULT
    assert repr(entry) == "ResNet18_Weights.IMAGENET1K_V1" and entry is models.ResNet18_Weights.IMAGENET1K_V1
    assert copy.deepcopy(entry) is entry and pickle.loads(pickle.dumps(entry)) is entry
    assert models.ResNet18_Weights.verify("ResNet18_Weights.DEFAULT") is models.ResNet18_Weights.verify("IMAGENET1K_V1") is entry
    assert models.ResNet18_Weights.verify(None) is None
    assert entry.value == models.Weights(entry.url, print, {}) != models.ResNet50_Weights.DEFAULT.value
    assert issubclass(models.ResNet18_Weights, models.WeightsEnum)
    with pytest.raises(TypeError, match="expected ResNet18_Weights but received ResNet50_Weights"):
        models.resnet18(weights=models.ResNet50_Weights.DEFAULT)
    with pytest.raises(KeyError, match="no entry of ResNet18_Weights, and no file"):
        models.resnet18(weights="missing.pth")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    assert _api.checkpoint_folder() == folder
    return folder


def test_weights_lie_where_the_hub_keeps_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pellucid.hub, "_dir", None)
    pellucid.hub.set_dir(tmp_path)
    assert _api.checkpoint_folder() == tmp_path / "checkpoints"
    with pytest.raises(FileNotFoundError, match="put it there") as caught:
        models.squeezenet1_1(weights="DEFAULT")
    assert str(tmp_path / "checkpoints") in str(caught.value)


def test_weights_of_a_file(tmp_path) -> None:
    trained = models.squeezenet1_1(num_classes=5)
    serialization.save(trained.state_dict(), tmp_path / "a.pth")
    serialization.safetensors.save_file(trained.state_dict(), tmp_path / "a.safetensors")
    for path in (tmp_path / "a.pth", str(tmp_path / "a.safetensors")):
        loaded = models.squeezenet1_1(weights=path, num_classes=5)
        assert case.initial(loaded) == case.initial(trained)
    with pytest.raises(RuntimeError, match="size mismatch"):
        models.squeezenet1_1(weights=tmp_path / "a.pth")


def test_published_weights_lie_in_the_cache(cache) -> None:
    entry = models.SqueezeNet1_1_Weights.DEFAULT
    with pytest.raises(FileNotFoundError, match="put it there") as caught:
        models.squeezenet1_1(weights="DEFAULT")
    assert entry.url in str(caught.value) and str(cache) in str(caught.value)
    trained = models.squeezenet1_1()
    serialization.save(trained.state_dict(), cache / entry.url.rsplit("/", 1)[1])
    with pytest.raises(RuntimeError, match="is not the file that"):
        models.squeezenet1_1(weights=entry)
    assert case.digest(v.numpy().tobytes() for v in entry.get_state_dict().values()) == case.initial(trained)
    with pytest.raises(ValueError, match="'num_classes' expected value 1000 but got 5"):
        models.squeezenet1_1(weights=entry, num_classes=5)


def test_deprecated_arguments(cache) -> None:
    with pytest.warns(UserWarning) as said:
        model = models.squeezenet1_1(pretrained=False)
    assert isinstance(model, models.SqueezeNet) and all("deprecated since 0.13" in str(w.message) for w in said)
    with pytest.warns(UserWarning) as said, pytest.raises(FileNotFoundError, match="squeezenet1_1-b8a52dc0.pth"):
        models.squeezenet1_1(pretrained=True)
    assert "SqueezeNet1_1_Weights.DEFAULT" in str(said[-1].message)
    with pytest.warns(UserWarning) as said:
        models.squeezenet1_1(False, True)
    assert "positional" in str(said[0].message)
    with pytest.raises(TypeError, match="at most 2 positional"):
        models.squeezenet1_1(None, True, 3)
    with pytest.raises(ValueError, match="No weights available for model vit_h_14"):
        models.vit_h_14(pretrained=True)


def test_names_of_old_checkpoints(cache, monkeypatch) -> None:
    """DenseNet's published file says norm.1, GoogLeNet's has auxiliary heads that are dropped."""
    monkeypatch.setattr(_api.WeightsEnum, "get_state_dict", lambda self, **kw: _api.read_checkpoint(cache / self.url.rsplit("/", 1)[1]))
    dense = models.densenet121()
    state = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in k else k: v
             for k, v in dense.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    serialization.save(state, cache / models.DenseNet121_Weights.DEFAULT.url.rsplit("/", 1)[1])
    assert case.initial(models.densenet121(weights="DEFAULT")) == case.initial(dense)

    google = models.GoogLeNet(init_weights=False)
    serialization.save(google.state_dict(), cache / models.GoogLeNet_Weights.DEFAULT.url.rsplit("/", 1)[1])
    loaded = models.googlenet(weights="DEFAULT")
    assert loaded.aux1 is None and loaded.transform_input and not loaded.aux_logits
    with pytest.warns(UserWarning, match="NOT pretrained"):
        assert models.googlenet(weights="DEFAULT", aux_logits=True).aux1 is not None


def test_resnet_arguments() -> None:
    model = models.resnet50(num_classes=7, replace_stride_with_dilation=[False, True, True], norm_layer=lambda c: nn.GroupNorm(4, c),
                            zero_init_residual=True)
    assert model.layer4[0].conv2.dilation == (2, 2) and model.layer4[1].conv2.dilation == (4, 4)
    assert float(model.layer1[0].bn3.weight.abs().sum()) == 0
    assert isinstance(model.bn1, nn.GroupNorm)
    assert model.layer4(model.layer3(pellucid.zeros(1, 512, 8, 8))).shape == (1, 2048, 8, 8)
    for wrong in ({"replace_stride_with_dilation": [True]}, {"groups": 2}):
        with pytest.raises(ValueError):
            models.resnet18(**wrong)


def test_dense_layers_computed_again_give_the_same_gradients() -> None:
    grads = []
    for efficient in (False, True):
        pellucid.manual_seed(0)
        model = models.DenseNet(4, (2, 2), 8, num_classes=3, memory_efficient=efficient)
        model(pellucid.ones(2, 3, 32, 32).requires_grad_()).sum().backward()
        grads.append(model.features.conv0.weight.grad)
    assert float(grads[0].abs().sum()) > 0
    pellucid.testing.assert_close(*grads)                        # sums of branches come in another order


def tiny_vit(**kwargs) -> models.VisionTransformer:
    return models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3, **kwargs)


def test_vision_transformer_arguments() -> None:
    stem = [vision_transformer.ConvStemConfig(4, 3, 4), vision_transformer.ConvStemConfig(8, 3, 4)]
    model = tiny_vit(conv_stem_configs=stem, representation_size=5)
    assert model(pellucid.ones(2, 3, 32, 32)).shape == (2, 3)
    assert [name for name, _ in model.heads.named_children()] == ["pre_logits", "act", "head"]
    with pytest.raises(ValueError, match="Wrong image height! Expected 32 but got 48"):
        model(pellucid.ones(2, 3, 48, 32))
    with pytest.raises(ValueError, match="indivisible"):
        models.VisionTransformer(33, 16, 1, 2, 8, 16)


def test_old_vit_names_load() -> None:
    model = tiny_vit()
    state = {k.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v for k, v in model.state_dict().items()}
    other = tiny_vit()
    other.load_state_dict(state)
    assert case.initial(other) == case.initial(model)


def test_position_embeddings_of_another_size() -> None:
    state = tiny_vit().state_dict()
    assert models.interpolate_embeddings(32, 16, state) is state and state["encoder.pos_embedding"].shape == (1, 5, 8)
    larger = models.interpolate_embeddings(64, 16, dict(state), reset_heads=True)
    embedding = larger["encoder.pos_embedding"]
    assert embedding.shape == (1, 17, 8) and not [k for k in larger if k.startswith("heads")]
    # The corners keep their values (align_corners).
    np.testing.assert_allclose(embedding[0, [0, 1, 4, 13, 16]].numpy(), state["encoder.pos_embedding"][0].numpy(), rtol=1e-5, atol=1e-6)


def test_first_version_of_mnasnet_loads() -> None:
    model = models.mnasnet0_5()
    for i, layer in enumerate([*_stem(32, 16), _stack(16, 16, 3, 2, 3, 3)]):
        model.layers[i] = layer
    model._version = 1
    other = models.mnasnet0_5()
    with pytest.warns(UserWarning, match="previous version"):
        other.load_state_dict(model.state_dict())
    assert case.initial(other) == case.initial(model)


def test_intermediate_layers() -> None:
    model = models.resnet18().eval()
    getter = _utils.IntermediateLayerGetter(model, {"layer1": "fine", "layer3": "coarse"})
    with pellucid.no_grad():
        out = getter(pellucid.ones(1, 3, 32, 32))
    assert {k: tuple(v.shape) for k, v in out.items()} == {"fine": (1, 64, 8, 8), "coarse": (1, 256, 2, 2)}
    assert "layer4" not in getter
    with pytest.raises(ValueError, match="not present"):
        _utils.IntermediateLayerGetter(model, {"layer9": "x"})


def test_fine_tuning_with_frozen_layers() -> None:
    model = models.squeezenet1_1()
    model.requires_grad_(False)
    model.classifier[1] = nn.Conv2d(512, 2, 1)
    before = case.digest(v.numpy().tobytes() for v in model.features.state_dict().values())
    optimizer = pellucid.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    x = case.images(pellucid, "squeezenet1_1", pellucid.float32)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(model.eval()(x), pellucid.tensor([0, 1]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0] and math.isfinite(losses[2])
    assert case.digest(v.numpy().tobytes() for v in model.features.state_dict().values()) == before


def test_preset_says_what_it_does() -> None:
    preset = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert (preset.crop_size, preset.resize_size, preset.interpolation) == ([224], [232], "bilinear")
    assert "resize_size=[232]" in repr(preset)


def test_preset_prepares_an_image() -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (40, 60), (255, 0, 0))
    out = models.ResNet50_Weights.IMAGENET1K_V2.transforms(crop_size=24, resize_size=32)(image)
    assert out.shape == (3, 24, 24)
    np.testing.assert_allclose(out[:, 0, 0].numpy(), [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)


def test_maxvit_sizes() -> None:
    tiny = {"stem_channels": 8, "partition_size": 2, "block_channels": [8, 16], "block_layers": [1, 2], "head_dim": 4,
            "stochastic_depth_prob": 0.2, "num_classes": 3}
    model = models.MaxVit((16, 32), **tiny).eval()
    assert model(pellucid.ones(2, 3, 16, 32)).shape == (2, 3)
    assert [m.window for m in model.modules() if hasattr(m, "partition_type")] == [[2, 2], [2, 4], *[[2, 2], [1, 2]] * 2]
    with pytest.raises(ValueError, match="features are 8 by 8, but were to be 4 by 8"):
        model(pellucid.ones(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"Input size \(3, 3\) of block 1 is not divisible by partition size 2"):
        models.MaxVit((24, 24), **tiny)
    with pytest.raises(ValueError, match="divisible by head_dim"):
        models.MaxVit((16, 16), **{**tiny, "head_dim": 3})
