"""A picture that can be written twice: as PNG (Pillow) and as SVG (text that goes into an HTML page).

In: calls of `line`, `rectangle`, `text` and `digit`, in pixels, y downwards, colours as "#rrggbb".
Out: `PngCanvas.save(path)` or `SvgCanvas.render()`.
What stays true: both draw the same calls at the same places, so that a layout is described once (`report.py`).
"""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}  # SVG's text-anchor -> Pillow's, on the baseline


class Canvas(Protocol):
    """What a layout may draw with."""

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 1) -> None: ...

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None: ...

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = "#222222", anchor: str = "start"
    ) -> None: ...

    def digit(self, x: float, y: float, side: float, image: np.ndarray) -> None: ...


class PngCanvas:
    """Draws with Pillow, at twice the resolution, so that text stays crisp."""

    SCALE = 2

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width * self.SCALE, height * self.SCALE), "#ffffff")
        self.draw = ImageDraw.Draw(self.image)
        self.fonts: dict[float, object] = {}

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 1) -> None:
        scaled = [(x * self.SCALE, y * self.SCALE) for x, y in points]
        self.draw.line(scaled, fill=colour, width=round(width * self.SCALE), joint="curve")

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        left, top, right, bottom = (v * self.SCALE for v in (x, y, x + width, y + height))
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = "#222222", anchor: str = "start"
    ) -> None:
        place = (x * self.SCALE, y * self.SCALE)
        self.draw.text(place, words, fill=colour, font=self._font(size), anchor=ANCHORS[anchor])

    def digit(self, x: float, y: float, side: float, image: np.ndarray) -> None:
        from PIL import Image

        pixels = round(side * self.SCALE)
        picture = _grey(image).resize((pixels, pixels), Image.Resampling.NEAREST)
        self.image.paste(picture, (round(x * self.SCALE), round(y * self.SCALE)))

    def save(self, path: Path) -> None:
        self.image.save(path, optimize=True)

    def _font(self, size: float) -> object:
        from PIL import ImageFont

        if size not in self.fonts:
            self.fonts[size] = ImageFont.load_default(size * self.SCALE)
        return self.fonts[size]


class SvgCanvas:
    """Collects SVG elements; small images are inlined, so that the text needs no other file."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 1) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect {box} fill="{colour}"/>')

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = "#222222", anchor: str = "start"
    ) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
        self.parts.append(f"<text {place}>{escape(words)}</text>")

    def digit(self, x: float, y: float, side: float, image: np.ndarray) -> None:
        buffer = io.BytesIO()
        _grey(image).save(buffer, "PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        self.parts.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
        )

    def render(self) -> str:
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        body = "\n".join(self.parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n{body}\n</svg>'


def _grey(image: np.ndarray) -> Image.Image:
    """A float image between 0 (paper) and 1 (ink) as dark ink on white paper."""
    from PIL import Image

    return Image.fromarray((255 - np.clip(image, 0, 1) * 255).round().astype(np.uint8))
