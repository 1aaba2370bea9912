"""SummaryWriter: the event files, read back record by record, and by TensorBoard's own reader where it is installed."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn

pytest.importorskip("tensorboardX")
from tensorboardX.crc32c import crc32c  # noqa: E402
from tensorboardX.proto import event_pb2, graph_pb2, plugin_hparams_pb2  # noqa: E402

from pellucid.utils.tensorboard import SummaryWriter  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(folder: Path) -> list:
    """The events of a folder's files: (length, its checksum, data, its checksum) each."""
    found = []
    for file in sorted(folder.glob("events*")):
        data = file.read_bytes()
        at = 0
        while at < len(data):
            length, check = struct.unpack_from("<QI", data, at)
            assert check == masked(data[at:at + 8])
            body = data[at + 12:at + 12 + length]
            assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(body)
            found.append(event_pb2.Event.FromString(body))
            at += 16 + length
    assert found[0].file_version == "brain.Event:2"
    return [e for e in found if e.session_log.status or not e.file_version]


def values(folder: Path) -> dict:
    return {v.tag: v for e in records(folder) for v in e.summary.value}


def test_scalars(tmp_path):
    with SummaryWriter(tmp_path) as w:
        assert w.get_logdir() == w.log_dir == str(tmp_path)
        for step in range(3):
            w.add_scalar("loss", torch.tensor(step * 0.5, requires_grad=True), step, walltime=100.0 + step)
        w.add_scalar("half", torch.tensor(1.5, dtype=torch.bfloat16))
        w.add_scalar("number", 2)
        w.add_scalar("double", torch.tensor(0.1, dtype=torch.float64), new_style=True, double_precision=True)
        w.add_tensor("weights", torch.arange(6.0).reshape(2, 3), 4)
        w.flush()
        seen = records(tmp_path)
    assert [(e.step, e.wall_time, e.summary.value[0].simple_value) for e in seen[:3]] == [(0, 100, 0), (1, 101, 0.5), (2, 102, 1)]
    by_tag = {e.summary.value[0].tag: e.summary.value[0] for e in seen}
    assert by_tag["half"].simple_value == 1.5 and by_tag["number"].simple_value == 2
    assert struct.unpack("<d", by_tag["double"].tensor.tensor_content) == (0.1,)
    assert by_tag["double"].metadata.plugin_data.plugin_name == "scalars"
    assert np.frombuffer(by_tag["weights"].tensor.tensor_content, np.float32).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(TypeError, match="add_tensor takes"):
        w.add_tensor("complex", torch.ones(1, dtype=torch.complex64))


def test_several_scalars(tmp_path):
    with SummaryWriter(str(tmp_path)) as w:
        w.add_scalars("losses", {"train": torch.tensor(1.0), "test": 2.0}, 7)
    for name, value in (("train", 1), ("test", 2)):
        event, = records(tmp_path / "losses" / name)
        assert (event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) == (7, "losses", value)


def test_histograms(tmp_path):
    with SummaryWriter(tmp_path) as w:
        w.add_histogram("plain", nn.Parameter(torch.arange(10.0)))
        w.add_histogram("low", torch.arange(10).bfloat16(), bins="auto")
        w.add_histogram_raw("raw", 0.0, 1.0, 2, 1.0, 1.0, torch.tensor([0.5, 1.0]), torch.tensor([1, 1]))
    seen = values(tmp_path)
    for tag in ("plain", "low"):
        h = seen[tag].histo
        assert (h.num, h.sum, h.min, h.max, h.sum_squares, sum(h.bucket)) == (10, 45, 0, 9, 285, 10)
    assert list(seen["raw"].histo.bucket_limit) == [0.5, 1]


def test_pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    picture = torch.zeros(3, 4, 5)
    picture[0] = 1
    with SummaryWriter(tmp_path) as w:
        w.add_image("red", picture.requires_grad_())
        w.add_image("grey", torch.full((4, 5), 0.5), dataformats="HW")
        w.add_images("four", torch.rand(4, 3, 4, 5))
        w.add_video("moving", torch.rand(3, 6, 3, 4, 5), fps=10)
    seen = values(tmp_path)

    def read(tag):
        return Image.open(io.BytesIO(seen[tag].image.encoded_image_string))

    assert np.asarray(read("red")).tolist() == [[[255, 0, 0]] * 5] * 4
    assert np.unique(np.asarray(read("grey"))).tolist() == [127]
    assert read("four").size == (5 * 4, 4) or read("four").size[0] >= 5
    moving = read("moving")
    assert moving.format == "GIF" and moving.n_frames == 6 and moving.size == (10, 8)
    with pytest.raises(ValueError, match="add_video takes"):
        w.add_video("flat", torch.rand(2, 3))


def test_figures(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    with SummaryWriter(tmp_path) as w:
        w.add_figure("plot", figure)
    assert values(tmp_path)["plot"].image.encoded_image_string.startswith(b"\x89PNG")


def test_sound_and_text(tmp_path):
    with SummaryWriter(tmp_path) as w:
        w.add_audio("beep", torch.sin(torch.arange(0, 100.0))[None], sample_rate=8000)
        w.add_text("note", "**all well**", 3)
    seen = values(tmp_path)
    with wave.open(io.BytesIO(seen["beep"].audio.encoded_audio_string)) as f:
        assert (f.getframerate(), f.getnframes(), f.getnchannels()) == (8000, 100, 1)
        assert struct.unpack("<2h", f.readframes(2)) == (0, int(np.sin(1.0) * 32767))
    assert seen["note/text_summary"].tensor.string_val[0] == b"**all well**"
    with pytest.raises(ValueError, match="one channel"):
        w.add_audio("two", torch.zeros(2, 100))


def test_curves_and_embeddings(tmp_path):
    with SummaryWriter(tmp_path) as w:
        w.add_pr_curve("pr", torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.9, 0.8, 0.3], requires_grad=True), num_thresholds=5)
        w.add_embedding(torch.eye(3).requires_grad_(), metadata=["a", "b", "c"], label_img=torch.rand(3, 3, 4, 4), tag="points")
    assert values(tmp_path)["pr"].metadata.plugin_data.plugin_name == "pr_curves"
    rows = (tmp_path / "00000" / "points" / "tensors.tsv").read_text().split("\n")
    assert [float(x) for x in rows[1].split("\t")] == [0, 1, 0]
    assert (tmp_path / "00000" / "points" / "metadata.tsv").read_text() == "a\nb\nc\n"
    assert 'tensor_name: "points:00000"' in (tmp_path / "projector_config.pbtxt").read_text()


def test_hyperparameters(tmp_path):
    with SummaryWriter(tmp_path) as w:
        w.add_hparams({"lr": torch.tensor(0.5), "kind": "adam", "wide": True}, {"accuracy": torch.tensor(0.75)},
                      {"kind": ["adam", "sgd"]}, run_name="first", global_step=2)
        with pytest.raises(TypeError, match="dictionary"):
            w.add_hparams([], {})
        with pytest.raises(TypeError, match="list of same type"):
            w.add_hparams({"lr": 1.0}, {}, {"lr": ["a"]})
    seen = values(tmp_path / "first")
    assert seen["accuracy"].simple_value == 0.75

    def content(tag):
        return plugin_hparams_pb2.HParamsPluginData.FromString(seen[tag].metadata.plugin_data.content)

    given = content("_hparams_/session_start_info").session_start_info.hparams
    assert (given["lr"].number_value, given["kind"].string_value, given["wide"].bool_value) == (0.5, "adam", True)
    domains = {i.name: list(i.domain_discrete) for i in content("_hparams_/experiment").experiment.hparam_infos}
    assert domains == {"lr": [], "kind": ["adam", "sgd"], "wide": []}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.5))
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x, scale):
        return self.head(self.norm(self.body(x))) * scale


def test_graphs(tmp_path, capsys):
    torch.manual_seed(0)
    net = Net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    with SummaryWriter(tmp_path) as w:
        w.add_graph(net, (torch.ones(5, 4), torch.tensor(2.0)), verbose=True)
    assert "Linear[head]" in capsys.readouterr().out
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    event, = records(tmp_path)
    graph = graph_pb2.GraphDef.FromString(event.graph_def)
    nodes = {n.name: n for n in graph.node}
    assert len(nodes) == len(graph.node)
    assert {"Net/Linear[head]/weight", "Net/Sequential[body]/Linear[0]/bias", "Net/BatchNorm1d[norm]/running_mean"} <= nodes.keys()
    linear = next(n for n in graph.node if n.op == "aten::linear" and n.name.startswith("Net/Linear[head]/"))
    assert list(linear.input)[1:] == ["Net/Linear[head]/weight", "Net/Linear[head]/bias"]
    assert [d.size for d in linear.attr["_output_shapes"].list.shape[0].dim] == [5, 2]
    assert b"test_tensorboard.py:" in linear.attr["attr"].s
    seen = set()
    for n in graph.node:
        assert {i.split(":")[0] for i in n.input} <= seen
        seen.add(n.name)
    mul = next(n for n in graph.node if n.op == "aten::mul" and n.name.count("/") == 1)
    output = nodes["output/output.1"]
    assert list(output.input) == [mul.name]
    assert sum(n.name.startswith("input/") for n in graph.node) >= 2


def test_tensorboards_own_reader_agrees(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with SummaryWriter(tmp_path) as w:
        for step in range(4):
            w.add_scalar("loss", torch.tensor(1.0 / (step + 1)), step)
        w.add_histogram("weights", torch.arange(10.0))
        w.add_graph(Net(), (torch.ones(5, 4), torch.tensor(2.0)))
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(i, pytest.approx(1 / (i + 1))) for i in range(4)]
    assert read.Histograms("weights")[0].histogram_value.num == 10
    assert any(n.op == "aten::linear" for n in read.Graph().node)


def test_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SummaryWriter(comment="_first") as w:
        w.add_scalar("x", 1.0)
    folder, = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_first")
    w.close()


def test_a_closed_writer_goes_on_in_another_file_and_purging_is_written(tmp_path):
    with SummaryWriter(tmp_path, purge_step=5, filename_suffix=".end") as w:
        w.add_scalar("x", 1.0, 5)
        w.add_scalars("many", {"a": torch.tensor(2.0)}, 6)
        w.export_scalars_to_json(tmp_path / "scalars.json")
    w.add_scalar("x", 2.0, 6)
    w.close()
    assert '6, 2.0]' in (tmp_path / "scalars.json").read_text()
    files = sorted(tmp_path.glob("events*"))
    assert len(files) == 2 and all(f.name.endswith(".end") for f in files)
    seen = records(tmp_path)
    assert any(e.session_log.status == event_pb2.SessionLog.START and e.step == 5 for e in seen)
    assert [v.simple_value for e in seen for v in e.summary.value] == [1.0, 2.0]


def test_what_is_waiting_is_written_when_the_program_ends(tmp_path):
    import subprocess
    import sys

    program = "from pellucid.utils.tensorboard import SummaryWriter; SummaryWriter(%r).add_scalar('x', 1.0)" % str(tmp_path)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(torch.__file__).parents[1])
    assert values(tmp_path)["x"].simple_value == 1
