"""Generates the image of the benchmark from a seed: python draw_image.py FOLDER SIDE

FOLDER gets photo.jpg, 2 megapixels with the statistics of a photo (noise whose amplitude falls with its frequency, as in
natural images, and edges), and model-size.png, the same image resized to the SIDE × SIDE pixels that the model takes.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SEED = 4
WIDTH, HEIGHT = 1632, 1224
SHAPES = 60
QUALITY = 90


def clouds(random):
    """Three channels of 1/f noise, 0 to 255."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    channels = []
    for _ in range(3):
        spectrum = np.fft.rfft2(random.standard_normal((HEIGHT, WIDTH))) / frequency
        noise = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
        channels.append(noise / noise.std() * 50 + 128)
    shared = sum(channels) / 3
    return np.stack([shared * 0.7 + channel * 0.3 for channel in channels], -1).clip(0, 255).astype(np.uint8)


def draw():
    random = np.random.default_rng(SEED)
    image = Image.fromarray(clouds(random))
    shapes = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(shapes)
    for _ in range(SHAPES):
        x, y = random.integers(WIDTH), random.integers(HEIGHT)
        width, height = random.integers(20, 400, 2)
        colour = (*random.integers(0, 256, 3).tolist(), int(random.integers(80, 255)))
        figure = pen.ellipse if random.random() < 0.5 else pen.rectangle
        figure((int(x), int(y), int(x + width), int(y + height)), fill=colour)
    image.paste(shapes, mask=shapes)
    return image


def main():
    folder, side = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    image = draw()
    image.save(folder / "photo.jpg", quality=QUALITY)
    image.resize((side, side), Image.Resampling.BICUBIC).save(folder / "model-size.png")


if __name__ == "__main__":
    main()
