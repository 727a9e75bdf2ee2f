"""Words of signs, their fonts, and masks of text."""

import functools
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from shapes import Mask, bounds, patch

FOLDER = Path(__file__).parent / "fonts"
# A change here changes the images of every data set.
FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSansMono-Bold.ttf", "Roboto-Black.ttf", "Roboto-Bold.ttf")
# Text is drawn this many times larger and averaged.
SUPERSAMPLING = 2
REFERENCE_SIZE = 64

WORDS = """
GO BUS CAR BAR TEA ZOO TAXI OPEN STOP EXIT SALE CAFE BANK PARK MENU FIRE SLOW NEWS BOOK SHOP FREE ZONE GATE EAST WEST HELP
PULL PUSH MILK RUST ONNX HOTEL NORTH SOUTH MUSIC PIZZA SCHOOL MARKET
""".split()
# Random strings omit characters that are ambiguous without context: I, O, 0, 1.
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
DIGITS = "23456789"
# The characters of signs; an auxiliary loss of the training has a class for each.
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def draw_text(rng, longest, words):
    """The text of a sign, at most `longest` characters: one of `WORDS`, at a share of `words`; otherwise one to three random
    letters, a number, or letters and digits."""
    if rng.random() < words:
        return rng.choice([word for word in WORDS if len(word) <= longest])
    length = rng.randint(1, min(3, longest))
    kind = rng.random()
    if kind < 0.5:
        return "".join(rng.choice(LETTERS) for _ in range(length))
    if kind < 0.8:
        return str(rng.randint(2, 10 ** length - 1))
    return "".join(rng.choice(LETTERS + DIGITS) for _ in range(length))


@functools.lru_cache(maxsize=512)
def face(name, size):
    """A face of `FONTS` at a size in pixels per em."""
    return ImageFont.truetype(FOLDER / name, size, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=256)
def _ink(text, font, size):
    """The text as an "L" image cut to its ink, and how far right of the pen's start the ink begins."""
    glyphs = face(font, size)
    # Pillow's box includes the advance of the last glyph: it is no ink box.
    left, top, right, bottom = glyphs.getbbox(text)
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=glyphs)
    ink = image.getbbox()
    return image.crop(ink), left + ink[0]


def proportion(text, font):
    """Width / height of the ink of a text."""
    image, _ = _ink(text, font, REFERENCE_SIZE)
    return image.width / image.height


def character_centers(text, font):
    """Where along the ink's width each character has its middle: 0 at the left edge, 1 at the right."""
    glyphs, (image, left) = face(font, REFERENCE_SIZE), _ink(text, font, REFERENCE_SIZE)
    ends = [glyphs.getlength(text[: i + 1]) for i in range(len(text))]
    starts = [0.0, *ends[:-1]]
    return [((start + end) / 2 - left) / image.width for start, end in zip(starts, ends)]


def rasterize_text(text, font, quad, size):
    """Mask of a text whose ink fills `quad` (upper left, upper right, lower right, lower left; a parallelogram of the
    unit square) in an image of `size`."""
    scale = SUPERSAMPLING
    left, top, width, height = patch(bounds(quad), size)
    (ox, oy), (ax, ay), _, (bx, by) = [((x * size[0] - left) * scale, (y * size[1] - top) * scale) for x, y in quad]
    target = max(4.0, ((bx - ox) ** 2 + (by - oy) ** 2) ** 0.5)
    reference, _ = _ink(text, font, REFERENCE_SIZE)
    flat, _ = _ink(text, font, max(8, round(REFERENCE_SIZE * target / reference.height)))
    # The affine map from the flat text to the quad, inverted: PIL maps each output pixel to its source.
    ux, uy = (ax - ox) / flat.width, (ay - oy) / flat.width
    vx, vy = (bx - ox) / flat.height, (by - oy) / flat.height
    det = ux * vy - uy * vx
    inverse = (
        vy / det, -vx / det, (vx * oy - vy * ox) / det,
        -uy / det, ux / det, (uy * ox - ux * oy) / det,
    )
    large = flat.transform(
        (width * scale, height * scale), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR
    )
    return Mask(left, top, large.reduce(scale))

