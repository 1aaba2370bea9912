"""`SummaryWriter`: scalars, histograms, images, text, graphs and more, as TensorBoard's event files.

In: tensors (any dtype, wanting gradients or not), arrays, numbers. Out: event files, written by tensorboardX, whose `SummaryWriter` this
is; PyTorch's signatures where the two differ, and our own code for what tensorboardX leaves to torch (graphs) or to programs
that are not Python packages (sound, moving pictures). True always: values are read when a method is called, never later.
"""
from __future__ import annotations

import functools
import io
import itertools
import os
import time
import wave
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.errors import message
from ...tensor import Tensor
from . import graph as graphs

try:
    import tensorboardX
    from tensorboardX.proto import event_pb2, plugin_hparams_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.summary import hparams, scalar
    from tensorboardX.writer import FileWriter
except ImportError as error:
    raise ImportError(message("P4610", f"pellucid.utils.tensorboard needs tensorboardX ({error})",
                              fix="pip install 'pellucid[tensorboard]'")) from None

__all__ = ["SummaryWriter"]


def plain(x: Any) -> Any:
    """`x` with arrays for its tensors, in lists, tuples and dicts too. Dtypes that NumPy does not know become float32."""
    if isinstance(x, Tensor):
        x = x.detach()
        return (x.float() if x.is_floating_point() and x.element_size() < 4 else x).numpy()
    if type(x) in (list, tuple):
        return type(x)([plain(v) for v in x])
    if type(x) is dict:
        return {k: plain(v) for k, v in x.items()}
    return x


def _with_arrays(method: Callable) -> Callable:
    """A method of tensorboardX's writer that takes tensors."""
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *[plain(a) for a in args], **{k: plain(v) for k, v in kwargs.items()})
    return call


_numbers = itertools.count()


class _Events:
    """One event file, written at once. (tensorboardX's own hands events to a thread, whose `flush` does not wait for them.)"""

    def __init__(self, folder: str, max_queue: int, flush_secs: float, suffix: str):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.most, self.patience = folder, max_queue, flush_secs
        self.file = EventsWriter(os.path.join(folder, "events"), f".{os.getpid()}.{next(_numbers)}{suffix}")     # no two of one name
        self.waiting, self.flushed = 0, time.monotonic()

    def get_logdir(self) -> str:
        return self.folder

    def add_event(self, event: Any) -> None:
        self.file.write_event(event)
        self.waiting += 1
        if self.waiting >= self.most or time.monotonic() - self.flushed >= self.patience:
            self.flush()

    def flush(self) -> None:
        self.file.flush()
        self.waiting, self.flushed = 0, time.monotonic()

    def close(self) -> None:
        self.file.close()


class _FileWriter(FileWriter):
    """tensorboardX's, over `_Events`."""

    def __init__(self, folder: str, max_queue: int, flush_secs: float, filename_suffix: str):
        self.event_writer = _Events(folder, max_queue, flush_secs, filename_suffix)
        self._default_metadata: dict = {}
        finalizer = weakref.finalize(self, self.event_writer.close)     # at the latest when the program ends
        self.event_writer.close = finalizer


class SummaryWriter(tensorboardX.SummaryWriter):
    """Write event files into `log_dir` (by default runs/DATE_HOST and `comment`): `with SummaryWriter("runs/first") as w: ...`

    Args:
        log_dir: the folder; runs in folders side by side are shown side by side.
        comment: the end of the default folder's name.
        purge_step: TensorBoard forgets what an earlier writer wrote from this step on.
        max_queue, flush_secs: how many events, and for how long, wait before they are written.
        filename_suffix: the end of the files' names.
    """

    def __init__(self, log_dir: str | os.PathLike | None = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
                 flush_secs: int = 120, filename_suffix: str = ""):
        self._options = {"max_queue": max_queue, "flush_secs": flush_secs, "filename_suffix": filename_suffix}
        super().__init__(None if log_dir is None else os.fspath(log_dir), comment, purge_step, max_queue, flush_secs, filename_suffix)
        self.log_dir = self.logdir

    def get_logdir(self) -> str:
        """The folder that is written to."""
        return self.log_dir

    def _get_file_writer(self) -> _FileWriter:
        if self.all_writers is None or self.file_writer is None:
            self.file_writer = self._writer(self.logdir)
            if self.purge_step is not None:
                step = self.purge_step
                self.file_writer.add_event(event_pb2.Event(step=step, file_version="brain.Event:2"))
                self.file_writer.add_event(event_pb2.Event(step=step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)))
                self.purge_step = None
        return self.file_writer

    def _writer(self, folder: str) -> _FileWriter:
        """The writer of a folder's events, made when first asked for."""
        if self.all_writers is None:
            self.all_writers = {}
        if folder not in self.all_writers:
            self.all_writers[folder] = _FileWriter(folder, **self._options)
        return self.all_writers[folder]

    # ------------------------------------------------------------------------------------------------ scalars and tensors
    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
                   new_style: bool = False, double_precision: bool = False) -> None:
        """A number at a step. `new_style` writes it as a tensor, in double precision if asked for."""
        value = plain(scalar_value)
        if not new_style and not double_precision:
            return super().add_scalar(tag, value, global_step, walltime)
        value = np.asarray(value, np.float64 if double_precision else np.float32).reshape(())
        return self._write(tag, _tensor(value), "scalars", global_step, walltime)

    def add_scalars(self, main_tag: str, tag_scalar_dict: dict, global_step: int | None = None, walltime: float | None = None) -> None:
        """Several numbers at a step, in one plot: each in a folder of its own below this one."""
        walltime = time.time() if walltime is None else walltime
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self._get_file_writer().get_logdir(), main_tag, tag)
            value = plain(value)
            self._writer(folder).add_summary(scalar(main_tag, value), global_step, walltime)
            self.scalar_dict.setdefault(folder, []).append([walltime, global_step, float(value)])     # for export_scalars_to_json

    def add_tensor(self, tag: str, tensor: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """The values of a tensor at a step."""
        self._write(tag, _tensor(np.asarray(plain(tensor))), "tensor", global_step, walltime)

    def _write(self, tag: str, tensor: Any, plugin: str, step: int | None, walltime: float | None) -> None:
        metadata = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin))
        self._add(summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata), step, walltime)

    def _add(self, value: Any, step: int | None, walltime: float | None) -> None:
        self._get_file_writer().add_summary(summary_pb2.Summary(value=[value]), step, walltime)

    # ------------------------------------------------------------------------------------------------ hyperparameters
    def add_hparams(self, hparam_dict: dict, metric_dict: dict, hparam_domain_discrete: dict | None = None, run_name: str | None = None,
                    global_step: int | None = None) -> None:
        """A run's hyperparameters and what they led to, in a folder of its own below this one.

        `hparam_domain_discrete` says which values a hyperparameter may have. Raises TypeError for anything but dicts, or a domain of
        other types than its hyperparameter's.
        """
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        given = {k: v.item() if isinstance(v, (Tensor, np.generic)) else v for k, v in hparam_dict.items()}
        domains = hparam_domain_discrete or {}
        for k, values in domains.items():
            if k not in given or not isinstance(values, list) or not all(isinstance(v, type(given[k])) for v in values):
                raise TypeError(f"parameter: hparam_domain_discrete[{k}] should be a list of same type as hparam_dict[{k}].")
        experiment, start, end = hparams(given, metric_dict)
        data = experiment.value[0].metadata.plugin_data
        content = plugin_hparams_pb2.HParamsPluginData.FromString(data.content)
        for info in content.experiment.hparam_infos:
            info.domain_discrete.extend(domains.get(info.name, []))
        data.content = content.SerializeToString()
        folder = os.path.join(self._get_file_writer().get_logdir(), run_name or str(time.time()))
        with SummaryWriter(folder, **self._options) as w:
            for summary in (experiment, start, end):
                w._get_file_writer().add_summary(summary)
            for k, v in metric_dict.items():
                w.add_scalar(k, v, global_step)

    # ------------------------------------------------------------------------------------------------ graphs
    def add_graph(self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True) -> None:
        """The graph of a module, as `pellucid.trace` sees it when it is called with `input_to_model` (a tensor, or a tuple of
        arguments): operators in boxes by module, with their shapes and the user's lines.

        `use_strict_trace` changes nothing here: the trace takes any containers. Raises TraceError where the module needs a value.
        """
        nodes = graphs.nodes_of(model, input_to_model)
        if verbose:
            print("\n".join(map(str, nodes)))
        self._get_file_writer().add_event(event_pb2.Event(graph_def=graphs.definition(nodes).SerializeToString()))

    # ------------------------------------------------------------------------------------------------ sound, moving pictures
    def add_audio(self, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100,
                  walltime: float | None = None) -> None:
        """A sound: numbers from -1 to 1 of shape (length,), or (1, length)."""
        samples = np.asarray(plain(snd_tensor), np.float64).squeeze()
        if samples.ndim != 1:
            raise ValueError(f"add_audio takes one channel, of shape (length,) or (1, length), got {list(np.shape(snd_tensor))}")
        data = io.BytesIO()
        with wave.open(data, "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(2)
            f.setframerate(sample_rate)
            f.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
        audio = summary_pb2.Summary.Audio(sample_rate=sample_rate, num_channels=1, length_frames=len(samples),
                                          encoded_audio_string=data.getvalue(), content_type="audio/wav")
        self._add(summary_pb2.Summary.Value(tag=tag, audio=audio), global_step, walltime)

    def add_video(self, tag: str, vid_tensor: Any, global_step: int | None = None, fps: float = 4, walltime: float | None = None) -> None:
        """Moving pictures of shape (N, T, C, H, W), side by side: uint8, or numbers from 0 to 1. Needs Pillow."""
        from PIL import Image

        x = np.asarray(plain(vid_tensor))
        if x.ndim != 5:
            raise ValueError(f"add_video takes a tensor of shape (N, T, C, H, W), got {list(x.shape)}")
        if x.dtype != np.uint8:
            x = (x * 255.0).clip(0, 255).astype(np.uint8)
        n, t, c, h, w = x.shape
        places = 1 << (n - 1).bit_length()
        rows = 1 << (places.bit_length() - 1) // 2
        columns = places // rows
        x = np.concatenate([x, np.zeros((rows * columns - n, t, c, h, w), np.uint8)]).reshape(rows, columns, t, c, h, w)
        pictures = x.transpose(2, 0, 4, 1, 5, 3).reshape(t, rows * h, columns * w, c)
        first, *rest = [Image.fromarray(p[..., 0] if c == 1 else p).convert("RGB") for p in pictures]
        data = io.BytesIO()
        first.save(data, "GIF", save_all=True, append_images=rest, duration=1000 / fps, loop=0)
        image = summary_pb2.Summary.Image(height=rows * h, width=columns * w, colorspace=c, encoded_image_string=data.getvalue())
        self._add(summary_pb2.Summary.Value(tag=tag, image=image), global_step, walltime)


for _name, _method in vars(tensorboardX.SummaryWriter).items():
    if _name.startswith("add_") and _name not in vars(SummaryWriter):
        setattr(SummaryWriter, _name, _with_arrays(_method))


def _tensor(a: np.ndarray) -> Any:
    """An array as TensorBoard's TensorProto."""
    kinds = {"f4": types_pb2.DT_FLOAT, "f8": types_pb2.DT_DOUBLE, "i4": types_pb2.DT_INT32, "i8": types_pb2.DT_INT64,
             "u1": types_pb2.DT_UINT8, "b1": types_pb2.DT_BOOL}
    kind = a.dtype.str[1:]
    if kind not in kinds:
        raise TypeError(f"add_tensor takes tensors of float, double, int32, int64, uint8 or bool, got {a.dtype}")
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=n) for n in a.shape])
    return tensor_pb2.TensorProto(dtype=kinds[kind], tensor_shape=shape, tensor_content=np.ascontiguousarray(a).tobytes())
