"""Images, and the results of Pillow, torchvision and transformers for them: the fixtures of tests/processing/preprocess.rs.

    python tests/reference/make_preprocess.py          # writes tests/fixtures/image

The same versions (`requirements.txt`) give the same bytes.
"""

import hashlib
import io
import itertools
import json
import shutil
import struct
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, TiffImagePlugin
from transformers.models.clip.image_processing_clip import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pins import require

require("pillow", "torch", "torchvision", "transformers")

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "image"
# Decoders of lossy formats round differently in their transforms and colour conversions.
LOSSY = 3

FLORENCE_2 = {
    "do_resize": True,
    "size": {"height": 768, "width": 768},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}


def scene(width, height, seed=1):
    """Tiles of noise, of a gradient and of hard edges, by a formula that the Rust test repeats. [h, w, 3] u8."""
    x = np.arange(width, dtype=np.uint32)[None, :, None]
    y = np.arange(height, dtype=np.uint32)[:, None, None]
    c = np.arange(3, dtype=np.uint32)[None, None, :]
    noise = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ ((c + np.uint32(seed)) * np.uint32(83492791))
    noise = (noise ^ (noise >> np.uint32(13))) * np.uint32(0x5BD1E995)
    noise = (noise ^ (noise >> np.uint32(15))) & np.uint32(255)
    gradient = (x * np.uint32(3) + y * np.uint32(2) + c * np.uint32(85)) & np.uint32(255)
    edges = np.where(((x ^ y) & np.uint32(4)) == 0, np.uint32(0), np.uint32(255)) + np.uint32(0) * c
    tile = (x // np.uint32(16) + y // np.uint32(16)) % np.uint32(3) + np.uint32(0) * c
    return np.choose(tile, [noise, gradient, edges]).astype(np.uint8)


def smooth(width, height):
    """Smooth content without hard edges, as in a photograph, for lossy codecs. [h, w, 3] u8."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    rgb = np.stack([np.sin(x * 2 + y), np.cos(x + y * 3), np.sin(x - y * 2)], axis=-1)
    return np.round(rgb * 110 + 128).astype(np.uint8)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def write(path, data):
    path = FIXTURES / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def save(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def resize_cases():
    """Hashes of resized scenes; small ones also as images, for inspection when a hash differs."""
    sizes = [
        ((1, 1), (768, 768)),
        ((13, 7), (24, 24)),
        ((13, 7), (768, 768)),
        ((1, 1000), (768, 768)),
        ((1, 1000), (24, 24)),
        ((9, 1000), (768, 24)),
        ((10, 1000), (24, 24)),
        ((1000, 1), (768, 768)),
        ((640, 480), (768, 768)),
        ((768, 768), (768, 768)),
        ((768, 500), (768, 768)),
        ((500, 768), (768, 768)),
        ((767, 769), (768, 768)),
        ((1920, 1080), (768, 768)),
        ((4000, 3000), (768, 768)),
        ((640, 480), (1, 1)),
        ((333, 777), (192, 96)),
        # Pillow 13 takes the vertical pass first where the height falls by more than twice what the width falls by:
        # portraits, ...
        ((1080, 2340), (768, 768)),
        ((97, 400), (160, 160)),
        ((768, 1000), (768, 768)),
        ((160, 161), (161, 160)),
        ((1, 60), (24, 24)),
        # ... one pixel short of the limit, at it and beyond it.
        ((280, 399), (160, 160)),
        ((280, 400), (160, 160)),
        ((280, 401), (160, 160)),
    ]
    cases = [(source, target, 3) for source, target in sizes]
    cases += [(source, (96, 64), resample) for source in [(640, 480), (31, 17)] for resample in [0, 1, 2, 4, 5]]
    cases += [((2, 500), (24, 24), 0), ((2, 500), (24, 24), 1), ((700, 300), (768, 768), 0)]
    cases += [((97, 400), (160, 160), resample) for resample in [1, 2, 4, 5]]
    for (width, height), target, resample in cases:
        resized = Image.fromarray(scene(width, height)).resize(target, resample)
        if target == (24, 24):
            write(f"resized/{width}x{height}_{resample}.png", save(resized, "PNG"))
        yield {"from": [width, height], "to": target, "resample": resample, "sha256": sha256(np.asarray(resized))}


def torchvision_cases():
    """Hashes of scenes as CLIPImageProcessor resizes them: torchvision's `resize` of 8-bit channels. It fails if the
    result is a single pixel."""
    sizes = [
        ((1, 1), (24, 24)),
        ((1, 2), (768, 768)),
        ((2, 1), (24, 24)),
        ((13, 7), (24, 24)),
        ((1, 1000), (24, 24)),
        ((1000, 1), (768, 768)),
        ((640, 480), (768, 768)),
        ((768, 768), (768, 768)),
        ((768, 500), (768, 768)),
        ((500, 768), (768, 768)),
        ((1920, 1080), (768, 768)),
        ((1080, 2340), (768, 768)),
        ((4000, 3000), (768, 768)),
        ((97, 400), (160, 160)),
        ((640, 480), (2, 1)),
        ((333, 777), (192, 96)),
    ]
    cases = [(source, target, 3) for source, target in sizes]
    cases += [(source, (96, 64), resample) for source in [(640, 480), (31, 17)] for resample in [0, 1, 2]]
    cases += [((700, 300), (768, 768), 0)]
    for (width, height), target, resample in cases:
        size = {"width": target[0], "height": target[1]}
        processor = CLIPImageProcessor(
            size=size, resample=resample, do_center_crop=False, do_rescale=False, do_normalize=False
        )
        (resized,) = processor(Image.fromarray(scene(width, height)), return_tensors="pt")["pixel_values"]
        resized = resized.permute(1, 2, 0).numpy()
        assert resized.dtype == np.uint8
        yield {"from": [width, height], "to": target, "resample": resample, "sha256": sha256(resized)}


def processor_cases():
    """Pixel values of both CLIP image processors: whole for small ones, as a hash for Florence-2's own setting."""
    small = {"height": 12, "width": 16}
    settings = {
        "florence2": {},
        "small": {"size": small},
        "crop": {"size": small, "do_center_crop": True, "crop_size": {"height": 7, "width": 9}},
        "crop_pads": {"size": small, "do_center_crop": True, "crop_size": {"height": 15, "width": 9}},
        "no_resize": {"do_resize": False},
        "no_rescale": {"size": small, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [50.0, 60.0, 70.0]},
        "no_normalize": {"size": small, "do_normalize": False},
        "bilinear": {"size": small, "resample": 2},
    }
    backends = {"pillow": CLIPImageProcessorPil, "torchvision": CLIPImageProcessor}
    for (backend, kind), (name, changes) in itertools.product(backends.items(), settings.items()):
        config = FLORENCE_2 | changes
        image = Image.fromarray(scene(37, 23))
        values = kind(**config)(image, return_tensors="np")["pixel_values"]
        assert values.dtype == np.float32
        file = name if backend == "pillow" else f"{backend}_{name}"
        if values.size < 10000:
            write(f"pixel_values/{file}.f32", values.astype("<f4").tobytes())
        yield {"name": file, "backend": backend, "config": config, "shape": values.shape, "sha256": sha256(values)}


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows):
    """A PNG of a kind that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def odd_images():
    """Yields name, bytes, and the tolerance in levels (0 unless the codec is lossy)."""
    width, height = 23, 17
    rgb = Image.fromarray(scene(width, height))
    photo = Image.fromarray(smooth(48, 32))
    alpha = Image.fromarray(np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    la = rgb.convert("L")
    la.putalpha(alpha)
    palette = rgb.quantize(17)

    yield "rgb.png", save(rgb, "PNG"), 0
    yield "grey.png", save(rgb.convert("L"), "PNG"), 0
    yield "bilevel.png", save(rgb.convert("1"), "PNG"), 0
    yield "rgba.png", save(rgba, "PNG"), 0
    yield "grey_alpha.png", save(la, "PNG"), 0
    yield "palette.png", save(palette, "PNG"), 0
    yield "palette_transparent.png", save(palette, "PNG", transparency=bytes(range(0, 255, 15))), 0
    yield "rgb_transparent.png", save(rgb, "PNG", transparency=tuple(scene(1, 1)[0, 0].tolist())), 0
    deep = (scene(width, height).astype(np.uint16) << 8) + scene(width, height, 2)
    yield "rgb16.png", png(width, height, 16, 2, [row.astype(">u2").tobytes() for row in deep]), 0
    deep = np.concatenate([deep, deep[..., :1]], axis=-1)
    yield "rgba16.png", png(width, height, 16, 6, [row.astype(">u2").tobytes() for row in deep]), 0
    yield "grey_alpha16.png", png(width, height, 16, 4, [row.astype(">u2").tobytes() for row in deep[..., :2]]), 0
    yield "grey16.png", png(width, height, 16, 0, [row.astype(">u2").tobytes() for row in deep[..., 0]]), 0
    yield "exif.png", save(rgb, "PNG", exif=exif(6)), 0
    frames = [Image.fromarray(scene(width, height, seed)) for seed in (3, 4)]
    yield "animated.png", save(rgb, "PNG", save_all=True, append_images=frames), 0

    yield "animated.gif", save(rgb, "GIF", save_all=True, append_images=frames), 0
    yield "transparent.gif", save(palette, "GIF", transparency=0), 0
    yield "rgb.webp", save(rgb, "WEBP", lossless=True), 0
    yield "rgba.webp", save(rgba, "WEBP", lossless=True, exact=True), 0
    yield "lossy.webp", save(photo, "WEBP", quality=90), 0
    yield "animated.webp", save(rgb, "WEBP", lossless=True, save_all=True, append_images=frames), 0
    yield "exif.webp", save(rgb, "WEBP", lossless=True, exif=exif(8)), 0

    yield "rgb.tiff", save(rgb, "TIFF"), 0
    yield "lzw.tiff", save(rgb, "TIFF", compression="tiff_lzw"), 0
    yield "bilevel.tiff", save(rgb.convert("1"), "TIFF"), 0
    yield "rgba.tiff", save(rgba, "TIFF"), 0
    yield "cmyk.tiff", save(rgb.convert("CMYK"), "TIFF"), 0
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    yield "orientation.tiff", save(rgb, "TIFF", tiffinfo=tags), 0
    yield "rgb.bmp", save(rgb, "BMP"), 0
    yield "palette.bmp", save(palette, "BMP"), 0
    yield "rgba.bmp", save(rgba, "BMP"), 0
    yield "rgb.ppm", save(rgb, "PPM"), 0
    yield "grey.pgm", save(rgb.convert("L"), "PPM"), 0
    yield "bilevel.pbm", save(rgb.convert("1"), "PPM"), 0
    yield "rgb.tga", save(rgb, "TGA"), 0
    yield "rgba.ico", save(rgba, "ICO", sizes=[(width, height)]), 0
    yield "rgb.qoi", save(rgb, "QOI"), 0

    yield "rgb.jpg", save(photo, "JPEG", quality=95, subsampling=0), LOSSY
    yield "subsampled.jpg", save(photo, "JPEG", quality=90, subsampling=2), LOSSY
    yield "progressive.jpg", save(photo, "JPEG", quality=90, progressive=True), LOSSY
    yield "grey.jpg", save(photo.convert("L"), "JPEG", quality=95), LOSSY
    yield "cmyk.jpg", save(photo.convert("CMYK"), "JPEG", quality=95, subsampling=0), LOSSY
    for orientation in range(1, 9):
        yield f"exif{orientation}.jpg", save(photo, "JPEG", quality=95, subsampling=0, exif=exif(orientation)), LOSSY
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "xmp.jpg", save(photo, "JPEG", quality=95, subsampling=0, xmp=xmp), LOSSY
    yield "trailing.jpg", save(photo, "JPEG", quality=90) + b"trailing bytes", LOSSY


def odd_cases():
    for name, data, tolerance in odd_images():
        write(f"odd/{name}", data)
        image = Image.open(io.BytesIO(data))
        expected = ImageOps.exif_transpose(image).convert("RGB")
        if image.mode == "I;16":
            # Pillow would clip; see preprocess::to_rgb8.
            expected = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        expected_name = f"odd_expected/{sha256(np.asarray(expected))[:12]}.png"
        write(expected_name, save(expected, "PNG"))
        yield {"file": name, "expected": expected_name, "tolerance": tolerance}


def bad_images():
    """Files that are not images, and truncated images."""
    rgb = Image.fromarray(scene(64, 48))
    photo = Image.fromarray(smooth(96, 64))
    yield "empty.png", b""
    yield "text.jpg", b"This is no picture.\n"
    yield "signature_only.png", b"\x89PNG\r\n\x1a\n"
    halves = {
        "half.jpg": save(photo, "JPEG"),
        "half_progressive.jpg": save(photo, "JPEG", progressive=True),
        "half.png": save(rgb, "PNG"),
        "half.gif": save(rgb, "GIF"),
        "half.webp": save(photo, "WEBP"),
        "half_lossless.webp": save(rgb, "WEBP", lossless=True),
        "half.tiff": save(rgb, "TIFF", compression="tiff_lzw"),
        "half.bmp": save(photo.resize((16, 12)), "BMP"),
        "half.ppm": save(photo.resize((16, 12)), "PPM"),
        "half.qoi": save(photo.resize((16, 12)), "QOI"),
        "half.ico": save(photo.resize((16, 12)), "ICO", sizes=[(16, 12)]),
    }
    for name, data in halves.items():
        yield name, data[: len(data) // 2]
    # The end marker of a thumbnail in the EXIF segment must not be taken for the image's own.
    thumbnail = save(photo.resize((8, 8)), "JPEG")
    whole = save(photo, "JPEG", exif=exif(1) + thumbnail)
    yield "no_end.jpg", whole[:-2]
    yield "half_thumbnail.jpg", whole[: len(whole) * 3 // 4]
    pixels = bytearray(save(rgb, "PNG"))
    pixels[len(pixels) // 2] ^= 0xFF
    yield "bad_checksum.png", bytes(pixels)
    # Whole, but of a kind that the decoder here does not know.
    yield "palette.tiff", save(rgb.quantize(17), "TIFF")
    yield "huge_header.png", png(20000, 20000, 8, 2, [])
    yield "large_header.png", png(13000, 13000, 8, 2, [])


def bad_cases():
    for name, data in bad_images():
        write(f"bad/{name}", data)
        try:
            Image.open(io.BytesIO(data)).convert("RGB")
            yield {"file": name, "pillow": "accepts"}
        except Exception as error:
            yield {"file": name, "pillow": type(error).__name__}


def main():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    cases = {
        "pillow": PIL.__version__,
        "torchvision": version("torchvision"),
        "scene_sha256": sha256(scene(61, 47)),
        "resize": list(resize_cases()),
        "torchvision_resize": list(torchvision_cases()),
        "processor": list(processor_cases()),
        "odd": list(odd_cases()),
        "bad": list(bad_cases()),
    }
    groups = {key: cases[key] for key in ("resize", "torchvision_resize", "processor", "odd", "bad")}
    lines = [f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n ]" for key, rows in groups.items()]
    heads = [f' "{key}": {json.dumps(cases[key])}' for key in ("pillow", "torchvision", "scene_sha256")]
    write("cases.json", ("{\n" + ",\n".join(heads + lines) + "\n}\n").encode())


if __name__ == "__main__":
    main()
