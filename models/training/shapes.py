"""Shapes: their outlines, and anti-aliased masks of any polygon.

Outlines are in *shape space*: the centre is the origin, the radius is 1, x points right, y points down. A `Frame` takes
them into the unit square of an image, whose aspect ratio it knows, so that a circle is round in a wide image too.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

# Masks are drawn this many times larger and averaged.
SUPERSAMPLING = 4
# Corners in the annotated outline of a circle, and in the polygon that is drawn.
CIRCLE_CORNERS = 16
CIRCLE_DRAWN_CORNERS = 64
RING_HOLE = 0.55


def _regular(corners, start, radius=1.0):
    step = 2 * math.pi / corners
    return [(radius * math.cos(start + step * i), radius * math.sin(start + step * i)) for i in range(corners)]


def _star():
    tips = _regular(5, -math.pi / 2)
    notches = _regular(5, -math.pi / 2 + math.pi / 5, 0.42)
    return [corner for pair in zip(tips, notches) for corner in pair]


def _cross():
    t = 0.36
    return [(-t, -1), (t, -1), (t, -t), (1, -t), (1, t), (t, t), (t, 1), (-t, 1), (-t, t), (-1, t), (-1, -t), (-t, -t)]


def _heart():
    # The usual parametric heart, centred and scaled; it begins in the notch at the top.
    angles = [2 * math.pi * i / 16 for i in range(16)]
    curve = [
        (
            16 * math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)),
        )
        for a in angles
    ]
    return [(x / 17, (y - 2.5) / 17) for x, y in curve]


# Outline of each category, in the order in which an answer lists the corners.
OUTLINES = {
    "circle": _regular(CIRCLE_CORNERS, -math.pi / 2),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": _regular(3, -math.pi / 2),
    "star": _star(),
    "hexagon": _regular(6, -math.pi),
    "diamond": [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)],
    "cross": _cross(),
    "ring": _regular(CIRCLE_CORNERS, -math.pi / 2),
    "heart": _heart(),
    "arrow": [(1, 0), (0.15, 0.8), (0.15, 0.32), (-1, 0.32), (-1, -0.32), (0.15, -0.32), (0.15, -0.8)],
}
SHAPES = list(OUTLINES)
ROUND = ("circle", "ring")

COLORS = {
    "red": (212, 38, 38),
    "green": (44, 158, 52),
    "blue": (36, 82, 205),
    "yellow": (242, 205, 36),
    "purple": (132, 58, 180),
    "orange": (245, 130, 28),
    "black": (26, 26, 28),
    "white": (242, 242, 240),
}


@dataclass(frozen=True)
class Frame:
    """A location and size: centre and radius in the unit square, rotation in radians.

    `radius` is a fraction of the square root of the image's area; `aspect` is width / height.
    """

    x: float
    y: float
    radius: float
    rotation: float
    aspect: float

    def place(self, points):
        """Points of shape space, in the unit square."""
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        stretch = math.sqrt(self.aspect)
        return [
            (
                self.x + self.radius * (px * cos - py * sin) / stretch,
                self.y + self.radius * (px * sin + py * cos) * stretch,
            )
            for px, py in points
        ]


def drawn_outlines(category, frame):
    """The polygons that are drawn: outline, and hole or None."""
    if category not in ROUND:
        return frame.place(OUTLINES[category]), None
    outline = _regular(CIRCLE_DRAWN_CORNERS, -math.pi / 2)
    hole = frame.place([(RING_HOLE * x, RING_HOLE * y) for x, y in outline]) if category == "ring" else None
    return frame.place(outline), hole


def bounds(points):
    """The box [x1, y1, x2, y2] around points."""
    xs, ys = zip(*points)
    return [min(xs), min(ys), max(xs), max(ys)]


@dataclass
class Mask:
    """Coverage, 0 to 255, of a patch of the image; `left` and `top` are its corner in pixels."""

    left: int
    top: int
    coverage: Image.Image

    @property
    def box(self):
        """Pixel box of the patch: left, upper, right, lower."""
        width, height = self.coverage.size
        return self.left, self.top, self.left + width, self.top + height

    def window(self):
        """Index of the patch in an array [height, width, ...] of the image."""
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)

    def solid(self):
        """Boolean array: pixels covered by at least one half."""
        return np.asarray(self.coverage) > 127


def patch(box, size):
    """The pixels around a box of the unit square: left, top, width, height, cut at the image's edges."""
    width, height = size
    left, top = max(0, math.floor(box[0] * width)), max(0, math.floor(box[1] * height))
    right, bottom = min(width, math.ceil(box[2] * width)), min(height, math.ceil(box[3] * height))
    return left, top, max(1, right - left), max(1, bottom - top)


def rasterize(outline, size, hole=None, border=0.0):
    """Mask of a polygon of the unit square in an image of `size` (width, height), and mask of its border or None.

    `border` is the width of the border in pixels; the border lies inside the outline.
    """
    scale = SUPERSAMPLING
    left, top, width, height = patch(bounds(outline), size)

    def pixels(points):
        return [((x * size[0] - left) * scale - 0.5, (y * size[1] - top) * scale - 0.5) for x, y in points]

    large = Image.new("L", (width * scale, height * scale))
    draw = ImageDraw.Draw(large)
    draw.polygon(pixels(outline), fill=255)
    if hole:
        draw.polygon(pixels(hole), fill=0)
    mask = Mask(left, top, large.reduce(scale))
    if border <= 0:
        return mask, None
    line = Image.new("L", large.size)
    draw = ImageDraw.Draw(line)
    for points in filter(None, (outline, hole)):
        closed = pixels(points)
        draw.line(closed + closed[:2], fill=255, width=round(2 * border * scale), joint="curve")
    return mask, Mask(left, top, ImageChops.darker(line, large).reduce(scale))
