"""Images to look at: grids, files, and drawings of boxes, masks, key points and optical flow.

In: image tensors (C, H, W), uint8 or float in 0..1. Out: image tensors of the same dtype, or a file. True always: the inputs are not
changed, and a file is either the old one or the complete new one. Pillow draws (the extra `vision`).
"""
from __future__ import annotations

import math
import os
import warnings
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

import pellucid as torch
from pellucid import Tensor
from pellucid.serialization.atomic import atomic_writer

from .pillow import from_array, pillow
from .transforms.functional import pil_to_tensor, to_dtype, to_pil_image

__all__ = ["draw_bounding_boxes", "draw_keypoints", "draw_segmentation_masks", "flow_to_image", "make_grid", "save_image"]

Colour = str | tuple[int, int, int]
Colours = Colour | list[Colour] | None


@torch.no_grad()
def make_grid(tensor: Tensor | list[Tensor], nrow: int = 8, padding: int = 2, normalize: bool = False,
              value_range: tuple[float, float] | None = None, scale_each: bool = False, pad_value: float = 0.0) -> Tensor:
    """One image of many: a batch (B, C, H, W) or a list of images, `nrow` in a row, `padding` pixels of `pad_value` between.

    Args:
        normalize: bring values to 0..1, from `value_range` or from the smallest and largest value.
        scale_each: take the smallest and largest of each image by itself.
    """
    if isinstance(tensor, list):
        for t in tensor:
            if not isinstance(t, Tensor):
                raise TypeError(f"tensor or list of tensors expected, got a list containing {type(t)}")
        tensor = torch.stack(tensor, dim=0)
    elif not isinstance(tensor, Tensor):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    if tensor.dim() == 2:
        tensor = tensor.unsqueeze(0)
    if tensor.dim() == 3:
        tensor = tensor.unsqueeze(0)
    if tensor.dim() == 4 and tensor.size(1) == 1:
        tensor = torch.cat((tensor, tensor, tensor), 1)
    if normalize:
        if value_range is not None and not isinstance(value_range, tuple):
            raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
        tensor = tensor.clone()
        for t in tensor if scale_each else (tensor,):
            low, high = (float(t.min()), float(t.max())) if value_range is None else value_range
            t.clamp_(min=low, max=high).sub_(low).div_(max(high - low, 1e-5))
    if tensor.size(0) == 1:
        return tensor.squeeze(0)
    count, channels, height, width = tensor.shape
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = height + padding, width + padding
    grid = tensor.new_full((channels, height * rows + padding, width * columns + padding), pad_value)
    for k, image in enumerate(tensor):
        y, x = k // columns * height + padding, k % columns * width + padding
        grid[:, y:y + height - padding, x:x + width - padding] = image
    return grid


@torch.no_grad()
def save_image(tensor: Tensor | list[Tensor], fp: str | os.PathLike | BinaryIO, format: str | None = None, **kwargs) -> None:
    """Save an image, or a batch as `make_grid(tensor, **kwargs)`. `format` is that of the file name unless given."""
    grid = make_grid(tensor, **kwargs)
    array = grid.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to("cpu", torch.uint8).numpy()
    image = from_array(np.ascontiguousarray(array))
    if hasattr(fp, "write"):
        image.save(fp, format=format)
        return
    if format is None:
        extension = os.path.splitext(fp)[1].lower()
        formats = pillow("to save an image").registered_extensions()
        if extension not in formats:
            raise ValueError(f"unknown file extension: {extension}")
        format = formats[extension]
    with atomic_writer(fp) as file:
        image.save(file, format=format)


def _check_image(image: Tensor, channels: tuple[int, ...], wrong_channels: str) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"The image must be a tensor, got {type(image)}")
    if not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise ValueError(f"The image dtype must be uint8 or float, got {image.dtype}")
    if image.dim() != 3:
        raise ValueError("Pass individual images, not batches")
    if image.size(0) not in channels:
        raise ValueError(wrong_channels)


def _drawing() -> ModuleType:
    """The package PIL, with the modules that drawing takes loaded."""
    pillow("to draw")
    import PIL.ImageColor
    import PIL.ImageDraw
    import PIL.ImageFont
    return PIL


def _to_pil(image: Tensor) -> Any:
    """(3, H, W) -> a Pillow image. Floats 0..1 become whole numbers as in torchvision: 1 is 255, equal steps below."""
    return to_pil_image(to_dtype(image.as_subclass(Tensor), torch.uint8, scale=True))


def _from_pil(image: Any, dtype: torch.dtype) -> Tensor:
    tensor = pil_to_tensor(image)
    return tensor.to(dtype).mul_(1.0 / 255) if dtype.is_floating_point else tensor


def _parse_colours(colours: Colours, count: int, dtype: torch.dtype = torch.uint8) -> list[tuple]:
    """One RGB triple for each of `count` objects, in 0..255, or 0..1 for a float dtype."""
    if colours is None:
        palette = (2**25 - 1, 2**15 - 1, 2**21 - 1)
        colours = [tuple(i * p % 255 for p in palette) for i in range(count)]
    elif isinstance(colours, list):
        if len(colours) < count:
            raise ValueError(f"Number of colors must be equal or larger than the number of objects, but got {len(colours)} < {count}.")
    elif not isinstance(colours, (tuple, str)):
        raise ValueError(f"colors must be a tuple or a string, or a list thereof, but got {colours}.")
    elif isinstance(colours, tuple) and len(colours) != 3:
        raise ValueError(f"If passed as tuple, colors should be an RGB triplet, but got {colours}.")
    else:
        colours = [colours] * count
    triples = [_drawing().ImageColor.getrgb(c) if isinstance(c, str) else c for c in colours]
    return [tuple(v / 255 for v in c) for c in triples] if dtype.is_floating_point else triples


def _dashes(start: tuple[float, float], end: tuple[float, float], length: float = 5) -> list[list[tuple[float, float]]]:
    """A line as dashes with gaps between, all of `length`, the last one shorter."""
    (x1, y1), (x2, y2) = start, end
    total = math.hypot(x2 - x1, y2 - y1)
    angle = math.atan2(y2 - y1, x2 - x1)
    points, drawn, dashes, dash = (x1, y1), 0.0, [], True
    while drawn < total:
        step = min(total - drawn, length)
        reached = points[0] + math.cos(angle) * step, points[1] + math.sin(angle) * step
        if dash:
            dashes.append([points, reached])
        points, drawn, dash = reached, drawn + step, not dash
    return dashes


def _oriented_rectangle(draw: Any, corners: list[float], fill, outline, width: int) -> None:
    """Four corners (x1, y1, ..., x4, y4); the first side is dashed, which shows the orientation."""
    points = list(zip(corners[::2], corners[1::2]))
    for dash in _dashes(points[0], points[1]):
        draw.line(dash, outline, width)
    for i in range(1, 4):
        draw.line((points[i], points[(i + 1) % 4]), width=width, fill=outline)
    draw.polygon(corners, fill=fill, outline=None, width=0)


@torch.no_grad()
def draw_bounding_boxes(image: Tensor, boxes: Tensor, labels: list[str] | None = None, colors: Colours = None, fill: bool | None = False,
                        width: int = 1, font: str | None = None, font_size: int | None = None, label_colors: Colours = None,
                        label_background_colors: Colours = None, fill_labels: bool = False) -> Tensor:
    """Draw boxes (N, 4) as (xmin, ymin, xmax, ymax), or (N, 8) as four corners, on an image (1 or 3, H, W).

    Args:
        colors: one for all or one for each box, as Pillow names them or as RGB; default: different ones.
        fill: fill the boxes, partly transparent.
        font: a TrueType file, of `font_size` (default 10); without one Pillow's own font.
        label_colors: of the text; `fill_labels` puts it on `label_background_colors`. Both default to the boxes' colours.
    """
    _check_image(image, (1, 3), "Only grayscale and RGB images are supported")
    if boxes.shape[-1] == 4 and ((boxes[:, 0] > boxes[:, 2]).any() or (boxes[:, 1] > boxes[:, 3]).any()):
        raise ValueError("Boxes need to be in (xmin, ymin, xmax, ymax) format. Use torchvision.ops.box_convert to convert them")
    count = len(boxes)
    if count == 0:
        warnings.warn("boxes doesn't contain any box. No box was drawn")
        return image
    if labels is not None and len(labels) != count:
        raise ValueError(f"Number of boxes ({count}) and labels ({len(labels)}) mismatch. Please specify labels for each box.")
    box_colours = _parse_colours(colors, count)
    text_colours = _parse_colours(label_colors or "black", count) if label_colors or fill_labels else box_colours
    backgrounds = _parse_colours(label_background_colors, count) if fill_labels and label_background_colors else box_colours
    fonts = _drawing().ImageFont
    if font is not None:
        text_font = fonts.truetype(font=font, size=font_size or 10)
    else:
        if font_size is not None:
            warnings.warn("Argument 'font_size' will be ignored since 'font' is not set.")
        text_font = fonts.load_default()
    picture = _to_pil(image if image.size(0) == 3 else image.tile((3, 1, 1)))
    draw = _drawing().ImageDraw.Draw(picture, "RGBA" if fill else None)
    for i, box in enumerate(boxes.to(torch.int64).tolist()):
        inside = (*box_colours[i], 100) if fill else None
        if len(box) > 4:
            _oriented_rectangle(draw, box, inside, box_colours[i], width)
        else:
            draw.rectangle(box, width=width, outline=box_colours[i], fill=inside)
        if labels is not None and labels[i] is not None:
            place = (box[0] + width + 1, box[1] + width + 1)
            if fill_labels:
                left, top, right, bottom = draw.textbbox(place, labels[i], font=text_font)
                draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=backgrounds[i])
            draw.text(place, labels[i], fill=text_colours[i], font=text_font)
    return _from_pil(picture, image.dtype)


@torch.no_grad()
def draw_segmentation_masks(image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Colours = None) -> Tensor:
    """Tint an image (3, H, W) where boolean masks (N, H, W) or (H, W) are True; `alpha` 1 hides the image. Overlaps turn black."""
    _check_image(image, (3,), "Pass an RGB image. Other Image formats are not supported")
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3:
        raise ValueError("masks must be of shape (H, W) or (batch_size, H, W)")
    if masks.dtype != torch.bool:
        raise ValueError(f"The masks must be of dtype bool. Got {masks.dtype}")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError("The image and the masks must have the same height and width")
    if len(masks) == 0:
        warnings.warn("masks doesn't contain any mask. No mask was drawn")
        return image
    tinted = image.detach().clone()
    for mask, colour in zip(masks, _parse_colours(colors, len(masks), image.dtype)):
        tinted[:, mask] = torch.tensor(colour, dtype=image.dtype)[:, None]
    tinted[:, masks.sum(dim=0) > 1] = 0
    return (image * (1 - alpha) + tinted * alpha).to(image.dtype)


@torch.no_grad()
def draw_keypoints(image: Tensor, keypoints: Tensor, connectivity: list[tuple[int, int]] | None = None, colors: Colour | None = None,
                   radius: int = 2, width: int = 3, visibility: Tensor | None = None) -> Tensor:
    """Draw key points (N, K, 2) as (x, y) on an image (3, H, W), and lines between the pairs in `connectivity`.

    `visibility` (N, K): points that are False, and lines to them, are left out."""
    _check_image(image, (3,), "Pass an RGB image. Other Image formats are not supported")
    if keypoints.ndim != 3:
        raise ValueError("keypoints must be of shape (num_instances, K, 2)")
    if visibility is None:
        visibility = torch.ones(keypoints.shape[:-1], dtype=torch.bool)
    if visibility.ndim == 3:
        visibility = visibility.squeeze(-1)
    if visibility.ndim != 2:
        raise ValueError(f"visibility must be of shape (num_instances, K). Got ndim={visibility.ndim}")
    if visibility.shape != keypoints.shape[:-1]:
        raise ValueError("keypoints and visibility must have the same dimensionality for num_instances and K. "
                         f"Got {visibility.shape=} and {keypoints.shape=}")
    picture = _to_pil(image)
    draw = _drawing().ImageDraw.Draw(picture)
    for points, visible in zip(keypoints.to(torch.int64).tolist(), visibility.bool().tolist()):
        for (x, y), seen in zip(points, visible):
            if seen:
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colors, outline=None, width=0)
        for a, b in connectivity or ():
            if visible[a] and visible[b]:
                draw.line((tuple(points[a]), tuple(points[b])), width=width)
    return _from_pil(picture, image.dtype)


def _colour_wheel() -> Tensor:
    """(55, 3): the colours of directions (Baker et al. 2007, http://vision.middlebury.edu/flow/flowEval-iccv07.pdf)."""
    wheel = []
    # Between two colours one channel rises or falls in so many steps, while another is full.
    for steps, full, moving, rises in ((15, 0, 1, True), (6, 1, 0, False), (4, 1, 2, True), (11, 2, 1, False), (13, 2, 0, True),
                                       (6, 0, 2, False)):
        ramp = torch.floor(255 * torch.arange(steps) / steps)
        colours = torch.zeros(steps, 3)
        colours[:, full] = 255
        colours[:, moving] = ramp if rises else 255 - ramp
        wheel.append(colours)
    return torch.cat(wheel)


@torch.no_grad()
def flow_to_image(flow: Tensor) -> Tensor:
    """A flow (2, H, W) or (N, 2, H, W) of float32 as colours, uint8: the hue is the direction, white is no motion."""
    if flow.dtype != torch.float:
        raise ValueError(f"Flow should be of dtype torch.float, got {flow.dtype}.")
    shape = flow.shape
    if flow.ndim == 3:
        flow = flow[None]
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"Input flow should have shape (2, H, W) or (N, 2, H, W), got {shape}.")
    flow = flow / (flow.pow(2).sum(dim=1).sqrt().max() + torch.finfo(flow.dtype).eps)
    wheel = _colour_wheel()
    norm = flow.pow(2).sum(dim=1).sqrt()
    angle = torch.atan2(-flow[:, 1], -flow[:, 0]) / torch.pi
    place = (angle + 1) / 2 * (len(wheel) - 1)
    low = torch.floor(place).long()
    part = place - low
    image = torch.zeros((len(flow), 3, *flow.shape[2:]), dtype=torch.uint8)
    for c in range(3):
        colours = wheel[:, c] / 255.0
        colour = (1 - part) * colours[low] + part * colours[(low + 1) % len(wheel)]
        image[:, c] = torch.floor(255 * (1 - norm * (1 - colour)))
    return image if len(shape) == 4 else image[0]
