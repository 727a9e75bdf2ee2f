"""Scenes: composition, visibility, and painting.

`compose` decides, `draw` paints at any size. Coordinates are those of the unit square: (0, 0) is the upper left corner of
the image and (1, 1) the lower right.

What is hidden: things may overlap, and later ones hide earlier ones. The box of a thing is that of its visible part,
known to 1/256 of the image where a side of it is hidden. No placement is made that leaves less than `LEAST_VISIBLE`
of a shape, or hides any of a sign; so no thing is ever mostly hidden, and every thing drawn is annotated. A thing is
`whole` if at most 1.5 % of it is hidden; only whole things have an outline.
"""

import math
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter, ImageOps

import signs
from backgrounds import background, develop
from reading import clear_order, clear_place, reading_order
from shapes import COLORS, OUTLINES, ROUND, SHAPES, Frame, bounds, drawn_outlines, rasterize

# Grid on which visibility is decided.
LAYOUT = (256, 256)
# Radii of small and large shapes; the gap between them makes "large" well defined.
SMALL, LARGE = (0.055, 0.09), (0.12, 0.24)
LEAST_VISIBLE = 0.55
WHOLE = 0.985
# Least distance in RGB between a thing's colour and its background.
CONTRAST = 70
ASPECTS = (3 / 4, 1, 1, 1, 4 / 3, 4 / 3, 3 / 2, 16 / 9)
# Rotations that leave a shape's first corner first, and a square a square.
TILT = math.radians(14)
SIGN_TILT = math.radians(5)
# Boards of signs and the colours that text on them can have.
BOARDS = {
    "white": ("black", "red", "blue", "green"), "black": ("white", "yellow"), "red": ("white",), "blue": ("white", "yellow"),
    "green": ("white",), "yellow": ("black",), "orange": ("black",),
}


@dataclass
class Thing:
    """A shape or the board of a sign, with how it is painted."""

    category: str
    color: str
    fill: tuple
    frame: Frame
    outline: list
    border: float
    border_fill: tuple
    shade: tuple
    shadow: tuple | None
    large: bool = False
    hole: list | None = None
    # Box of the visible part, and whether nothing of note is hidden.
    box: list = field(default_factory=list)
    whole: bool = True
    # Signs only: corners of the text's ink, clockwise from its upper left.
    text: str | None = None
    font: str | None = None
    text_fill: tuple = ()
    text_quad: list = field(default_factory=list)

    @property
    def description(self):
        """"red star"."""
        return f"{self.color} {self.category}"

    @property
    def corners(self):
        """The annotated outline, in its fixed order."""
        return self.frame.place(OUTLINES[self.category]) if self.text is None else self.outline


@dataclass
class Scene:
    """An image's contents, in reading order, and the parameters of its painting."""

    aspect: float
    things: list
    # Things from back to front.
    layers: list
    clutter: float
    wear: float
    seed: str

    def random(self, purpose):
        """Random numbers for one purpose, the same at every size of the image."""
        return random.Random(f"{self.seed}/{purpose}")


def _shade(rng, color):
    return tuple(min(255, max(0, value + rng.randint(-14, 14))) for value in COLORS[color])


def _manner(rng):
    """How a thing is painted: border, shading, shadow."""
    border = rng.uniform(1.0, 2.5) if rng.random() < 0.35 else 0.0
    border_fill = rng.choice(((20, 20, 20), (245, 245, 245), (90, 90, 90)))
    angle = rng.uniform(0, 2 * math.pi)
    strength = rng.uniform(0, 26) if rng.random() < 0.6 else 0.0
    shadow = (rng.uniform(-0.02, 0.02), rng.uniform(0.005, 0.025), rng.uniform(0.2, 0.5)) if rng.random() < 0.4 else None
    return dict(
        border=border, border_fill=border_fill, shade=(math.cos(angle) * strength, math.sin(angle) * strength), shadow=shadow
    )


def _middle(rng, reach, near, spread):
    """A coordinate at least `reach` from both edges; within `spread` of `near`, if that is given."""
    if near is None:
        return rng.uniform(reach, 1 - reach)
    return min(1 - reach, max(reach, near + rng.uniform(-spread, spread)))


def _shape(rng, stage, aspect, near=None):
    """A shape somewhere in the image, or near a point."""
    category, color = rng.choice(SHAPES), rng.choice(list(COLORS))
    large = rng.random() >= stage.small
    radius = rng.uniform(*(LARGE if large else SMALL))
    reach_x, reach_y = radius / math.sqrt(aspect) + 0.01, radius * math.sqrt(aspect) + 0.01
    if max(reach_x, reach_y) >= 0.5:
        return None
    # A round thing's turn cannot be seen, and would move the first corner of its outline.
    tilt = 0.0 if category in ROUND else rng.uniform(-TILT, TILT)
    x, y = near or (None, None)
    frame = Frame(
        _middle(rng, reach_x, x, 1.5 * reach_x), _middle(rng, reach_y, y, 1.5 * reach_y), radius, tilt, aspect
    )
    outline, hole = drawn_outlines(category, frame)
    return Thing(category, color, _shade(rng, color), frame, outline, hole=hole, large=large, **_manner(rng))


def sign(rng, text, font, half, frame):
    """A sign whose board has half the size `half`, in heights of its letters; `frame` has its middle, and that height as
    radius."""
    (half_x, half_y), width = half, signs.proportion(text, font)
    color = rng.choice(list(BOARDS))
    return Thing(
        "sign", color, _shade(rng, color), frame,
        frame.place([(-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y)]),
        text=text, font=font, text_fill=_shade(rng, rng.choice(BOARDS[color])),
        text_quad=frame.place([(-width / 2, -0.5), (width / 2, -0.5), (width / 2, 0.5), (-width / 2, 0.5)]),
        **_manner(rng),
    )


def text_and_board(rng, stage):
    """Text and font of a sign, and half the size of its board, in heights of its letters."""
    text, font = signs.draw_text(rng, stage.letters, stage.words), rng.choice(signs.FONTS)
    pad_x, pad_y = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.5)
    return text, font, (signs.proportion(text, font) / 2 + pad_x, 0.5 + pad_y)


def _sign(rng, stage, aspect, near=None):
    """A sign somewhere in the image, or near a point."""
    text, font, half = text_and_board(rng, stage)
    half_x, half_y = half
    height = rng.uniform(stage.letter_height, max(0.2, stage.letter_height))
    # Too wide for the image: smaller letters, but never below the least height.
    height = min(height, 0.92 * math.sqrt(aspect) / (2 * half_x))
    if height < stage.letter_height * 0.98:
        return None
    tilt = sign_tilt(rng)
    reach = Frame(0, 0, height, tilt, aspect).place([(half_x, half_y), (half_x, -half_y)])
    reach_x, reach_y = max(abs(x) for x, _ in reach) + 0.008, max(abs(y) for _, y in reach) + 0.008
    if max(reach_x, reach_y) >= 0.5:
        return None
    x, y = near or (None, None)
    frame = Frame(
        _middle(rng, reach_x, x, reach_x), _middle(rng, reach_y, y, 2 * reach_y), height, tilt, aspect
    )
    return sign(rng, text, font, half, frame)


def sign_tilt(rng):
    """The rotation of a sign; many have none."""
    return rng.uniform(-SIGN_TILT, SIGN_TILT) if rng.random() < 0.6 else 0.0


class _Layout:
    """Which thing each pixel of the layout grid belongs to."""

    def __init__(self, backdrop):
        self.backdrop = np.asarray(backdrop)
        # 0: background; otherwise one more than the thing's index.
        self.owner = np.zeros(LAYOUT[::-1], np.uint8)
        self.things = []
        self.areas = []

    def add(self, thing, may_overlap):
        """Puts a thing on top, unless that breaks a rule of the module; returns whether it did."""
        thing.box = bounds(thing.outline)
        if not clear_place(thing.box) or not clear_order([*(other.box for other in self.things), thing.box]):
            return False
        if not may_overlap and any(_touch(thing.box, other.box) for other in self.things):
            return False
        mask, _ = rasterize(thing.outline, LAYOUT, thing.hole)
        window, solid = mask.window(), mask.solid()
        behind = self.backdrop[window][::3, ::3].reshape(-1, 3).mean(0)
        if np.linalg.norm(behind - thing.fill) < CONTRAST:
            return False
        covered = np.bincount(self.owner[window][solid], minlength=len(self.things) + 1)[1:]
        for other, area, hidden in zip(self.things, self.areas, covered):
            if hidden == 0:
                continue
            left = np.count_nonzero(self.owner == self.things.index(other) + 1) - hidden
            if other.text is not None or other.color == thing.color or left < LEAST_VISIBLE * area:
                return False
        self.things.append(thing)
        self.areas.append(int(solid.sum()))
        self.owner[window][solid] = len(self.things)
        return True

    def finish(self):
        """Sets whether things are fully visible, and moves the hidden sides of boxes."""
        for index, (thing, area) in enumerate(zip(self.things, self.areas), 1):
            seen = self.owner == index
            count = np.count_nonzero(seen)
            thing.whole = count >= WHOLE * area
            if count < area:
                thing.box = [
                    exact if abs(exact - side) <= 1 / LAYOUT[0] else side for exact, side in zip(thing.box, _extent(seen))
                ]


def _extent(seen):
    """The box around the pixels that are set."""
    (rows,), (columns,) = np.nonzero(seen.any(1)), np.nonzero(seen.any(0))
    width, height = LAYOUT
    return (
        float(columns[0]) / width, float(rows[0]) / height,
        float(columns[-1] + 1) / width, float(rows[-1] + 1) / height,
    )


def _touch(a, b, gap=0.012):
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def compose(seed, stage):
    """The scene of a seed (a string) at a stage, and its background at the layout's size, which `draw` can reuse."""
    rng = random.Random(seed)
    while True:
        scene, backdrop = _attempt(rng, f"{seed}/{rng.random()}", stage)
        if scene.things and clear_order([thing.box for thing in scene.things]):
            return scene, backdrop


def _attempt(rng, seed, stage):
    scene = Scene(rng.choice(ASPECTS), [], [], stage.clutter, stage.wear, seed)
    backdrop = background(scene.random("background"), LAYOUT, scene.clutter)
    layout = _Layout(backdrop)
    total = rng.randint(1, stage.things)
    sign_count = int(rng.random() < stage.sign)
    while 0 < sign_count < total and rng.random() < stage.more_signs:
        sign_count += 1
    makers = [_sign] * sign_count + [_shape] * (total - sign_count)
    rng.shuffle(makers)
    for make in makers:
        may_overlap = rng.random() < stage.overlap
        for attempt in range(25):
            # Half the tries of a thing that may lie over another go to its neighbourhood.
            beside = rng.choice(layout.things).frame if may_overlap and layout.things and attempt % 2 == 0 else None
            thing = make(rng, stage, scene.aspect, beside and (beside.x, beside.y))
            if thing and layout.add(thing, may_overlap):
                break
    layout.finish()
    scene.layers = layout.things
    scene.things = reading_order(layout.things)
    return scene, backdrop


def draw(scene, size, backdrop=None):
    """The image, RGB, of `size` (width, height)."""
    if backdrop is None or size != LAYOUT:
        backdrop = background(scene.random("background"), size, scene.clutter)
    image = backdrop.copy()
    unit = math.sqrt(size[0] * size[1]) / 256
    for thing in scene.layers:
        _paint(image, thing, unit)
    return develop(scene.random("camera"), image, scene.wear)


def _paint(image, thing, unit):
    """Paints one thing; `unit` is the size in pixels of what is one pixel at the layout's size."""
    mask, border = rasterize(thing.outline, image.size, thing.hole, thing.border * unit)
    if thing.shadow:
        _cast_shadow(image, mask, thing.shadow, unit)
    image.paste(_shaded(thing.fill, thing.shade, mask.coverage.size), mask.box, mask.coverage)
    if border:
        image.paste(thing.border_fill, border.box, border.coverage)
    if thing.text is not None:
        text = signs.rasterize_text(thing.text, thing.font, thing.text_quad, image.size)
        image.paste(thing.text_fill, text.box, text.coverage)


def _shaded(fill, shade, size):
    """A patch of a colour, lighter at one side."""
    if shade == (0.0, 0.0):
        return Image.new("RGB", size, fill)
    x = np.linspace(-shade[0], shade[0], size[0], dtype=np.float32)
    y = np.linspace(-shade[1], shade[1], size[1], dtype=np.float32)
    patch = np.asarray(fill, np.float32) + (x[None, :] + y[:, None])[..., None]
    return Image.fromarray(np.clip(patch, 0, 255).astype(np.uint8))


def _cast_shadow(image, mask, shadow, unit):
    """Darkens the background of a thing, shifted and softened."""
    shift_x, shift_y, strength = shadow
    soft = 2.5 * unit
    margin = math.ceil(2 * soft)
    coverage = ImageOps.expand(mask.coverage, margin).filter(ImageFilter.BoxBlur(soft))
    coverage = coverage.point([round(value * strength) for value in range(256)])
    left = mask.left - margin + round(shift_x * 256 * unit)
    top = mask.top - margin + round(shift_y * 256 * unit)
    image.paste((0, 0, 0), (left, top), coverage)
