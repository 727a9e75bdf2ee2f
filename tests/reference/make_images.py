"""Input images of the random checkpoints: small PNGs of differing sizes and content, no two alike in statistics."""

import numpy as np
from PIL import Image, ImageDraw

from common import IMAGES


def shapes(width, height):
    """A gradient with filled shapes: large flat areas and sharp edges."""
    ramp = np.linspace(40, 215, width).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(np.tile(r, (height, 1))) for r in (ramp, ramp[::-1], ramp // 2)])
    draw = ImageDraw.Draw(image)
    draw.rectangle([width // 10, height // 8, width // 3, height // 2], fill=(220, 30, 40))
    draw.ellipse([width // 2, height // 4, width - 20, height - 30], fill=(20, 60, 230), outline=(255, 255, 0), width=5)
    draw.polygon([(30, height - 10), (90, height // 2), (150, height - 10)], fill=(10, 160, 60))
    draw.line([0, 0, width, height], fill=(255, 255, 255), width=3)
    return image


def noise(width, height):
    """White noise: every filter tap of a resize matters."""
    rng = np.random.Generator(np.random.PCG64(9))
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def waves(width, height):
    """Rings of three wavelengths, saturated in places so that bicubic overshoot is clipped."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = [np.hypot(x - width * cx, y - height * cy) / period for cx, cy, period in
                ((0.2, 0.3, 2.1), (0.8, 0.5, 3.7), (0.5, 0.9, 6.3))]
    values = np.stack([127.5 + 190 * np.sin(channel) for channel in channels], axis=-1)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def make():
    """Writes the images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for draw, width, height in ((shapes, 320, 200), (noise, 61, 97), (waves, 131, 87)):
        draw(width, height).save(IMAGES / f"{draw.__name__}-{width}x{height}.png", optimize=True)


if __name__ == "__main__":
    make()
