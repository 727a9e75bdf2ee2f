"""Backgrounds, and the artefacts of a camera and a file format."""

import functools
import io
import math

import numpy as np
from PIL import Image, ImageFilter

GRAIN_SIDE = 1024


@functools.lru_cache(maxsize=1)
def _grain():
    """White noise of unit variance; each image uses a part of it."""
    return np.random.default_rng(0).standard_normal((GRAIN_SIDE, GRAIN_SIDE, 3), dtype=np.float32)


def _grain_piece(rng, size):
    """A part [height, width, 3] of the noise, repeated in larger images."""
    width, height = size
    row, column = rng.randrange(256), rng.randrange(256)
    if row + height > GRAIN_SIDE or column + width > GRAIN_SIDE:
        return np.resize(_grain(), (height, GRAIN_SIDE, 3))[:, np.arange(width) % GRAIN_SIDE]
    return _grain()[row : row + height, column : column + width]


def _color(rng):
    """A muted colour."""
    gray = rng.uniform(50, 225)
    return tuple(round(min(255, max(0, gray + rng.uniform(-45, 45)))) for _ in range(3))


def _mix(first, second, share):
    """An image of colours between two, by a share [height, width] of the second."""
    share = Image.fromarray((np.clip(share, 0, 1) * 255).astype(np.uint8))
    return Image.composite(Image.new("RGB", share.size, second), Image.new("RGB", share.size, first), share)


def _grid(size):
    width, height = size
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return x[None, :], y[:, None]


def _clouds(rng, size, cells):
    """Smooth noise [height, width], about 0 to 1: random values at `cells` × `cells` points, interpolated."""
    values = np.array([[rng.random() for _ in range(cells)] for _ in range(cells)], np.float32)
    image = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _gradient(rng, size, first, second):
    x, y = _grid(size)
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)
    return _mix(first, second, along / 1.4 + 0.5)


def _vignette(rng, size, first, second):
    x, y = _grid(size)
    distance = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
    return _mix(first, second, distance * rng.uniform(0.8, 1.6))


def _cloudy(rng, size, first, second):
    return _mix(first, second, _clouds(rng, size, rng.choice((3, 5, 9))))


def _horizon(rng, size, first, second):
    """Two surfaces, each with a gradient: a wall and a table, sky and ground."""
    x, y = _grid(size)
    line = rng.uniform(0.3, 0.8)
    image = _mix(first, second, (y - line) * rng.choice((30, 200)) + 0.5 + 0 * x)
    return _light(image, rng.uniform(0, 70) * np.abs(y - line) + 0 * x)


def _stripes(rng, size, first, second):
    """Soft stripes in any direction: boards, cloth, blinds."""
    x, y = _grid(size)
    angle, waves = rng.uniform(0, math.pi), rng.uniform(4, 16)
    phase = (math.cos(angle) * x + math.sin(angle) * y) * waves * 2 * math.pi
    return _mix(first, second, 0.5 + 0.5 * np.tanh(np.sin(phase) * rng.choice((0.7, 4.0))))


def _wood(rng, size, first, second):
    """Drawn-out smooth noise: wood grain, brushed metal."""
    width, height = size
    values = np.array([rng.random() for _ in range(4 * 48)], np.float32).reshape((48, 4))
    if rng.random() < 0.5:
        values = values.T
    image = Image.fromarray(np.ascontiguousarray(values)).resize((width, height), Image.Resampling.BICUBIC)
    return _mix(first, second, np.asarray(image))


def _tiles(rng, size, first, second):
    """Tiles with joints."""
    x, y = _grid(size)
    tiles = rng.uniform(3, 8)
    joint = rng.uniform(0.03, 0.07)
    share = ((x * tiles + rng.random()) % 1 < joint) | ((y * tiles + rng.random()) % 1 < joint)
    return _mix(first, second, share.astype(np.float32))


STYLES = (_gradient, _vignette, _cloudy, _horizon, _stripes, _wood, _tiles)
SIMPLE_STYLES = (_gradient, _vignette)


def _light(image, levels):
    """An image with white laid over it, by levels [height, width] of 0 to 255."""
    image.paste((255, 255, 255), (0, 0), Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)))
    return image


def background(rng, size, clutter):
    """A background; `clutter`, 0 to 1, is how busy it may be."""
    first = _color(rng)
    reach = 20 + 35 * clutter
    second = tuple(round(min(255, max(0, value + rng.uniform(-reach, reach)))) for value in first)
    style = rng.choice(STYLES if rng.random() < clutter else SIMPLE_STYLES)
    image = style(rng, size, first, second)
    if rng.random() < 0.5 * clutter:
        # Stains and uneven light.
        image = _light(image, _clouds(rng, size, 6) * rng.uniform(8, 48))
    return image


def develop(rng, image, wear):
    """A drawn image, with the blur and noise of a camera, uneven exposure and JPEG's artefacts.

    `wear`, 0 to 1, bounds their strength.
    """
    if rng.random() < 0.6 * wear:
        unit = math.sqrt(image.width * image.height) / 256
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.1, 0.7) * unit))
    gain, shift = 1 + rng.uniform(-0.12, 0.12) * wear, rng.uniform(-12, 12) * wear
    noise = rng.uniform(0, 9) * wear if rng.random() < 0.8 else 0.0
    pixels = np.asarray(image).astype(np.float32)
    pixels *= gain
    pixels += 128 * (1 - gain) + shift
    if noise > 0.5:
        pixels += _grain_piece(rng, image.size) * np.float32(noise)
    image = Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
    if rng.random() < 0.5 * wear:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(35, 90))
        image = Image.open(file).convert("RGB")
    return image
