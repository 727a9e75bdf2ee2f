"""Compares the program, on vision encoders traced at another image size, with transformers.

    python check_traced.py PROGRAM --checkpoint DIR [--images IMAGE ...] [--dtypes DTYPE ...] [--traced 224]
                           [--runtimes LIBRARY ...] [--form FORM=GRAPH ...] [--from-memory EXAMPLE]

Each form of `traced.py` (or a given graph) is made in each dtype by ONNX Runtime's own quantizers, and replaces the vision
encoder of the program's own export. From a folder (weights inside the graph, and beside it), from a hub's
cache (a folder of links) and from memory (the example `from_memory`: captions, compared with those from a folder), with
each ONNX Runtime, the tokens of three tasks' answers (3 beams) are compared with transformers'. The effect of the
dtype itself is shown by `own`, the program's own export in that dtype, and by the correct form, `eager`. Random weights
amplify it: use the demo checkpoint. Needs onnx, onnx_ir and onnxruntime; exits with 1 if an answer differs in fp32, or
from memory.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image
from tokenizers import Tokenizer
from traced import FORMS, florence2, traced

TASKS = {
    "<OD>": "Locate the objects with category name in the image.",
    "<CAPTION>": "What does the image describe?",
    "<OCR>": "What is the text in the image?",
}
IMAGES = 4
MAX_NEW_TOKENS = 24
GRAPH = "onnx/vision_encoder.onnx"


def quantized(graph, quant_type, folder):
    source, target = folder / "fp32.onnx", folder / "quantized.onnx"
    onnx.save(graph, source)
    # ONNX Runtime has no convolution of signed bytes on a CPU.
    operators = ["MatMul"] if quant_type == QuantType.QInt8 else None
    quantize_dynamic(source, target, weight_type=quant_type, op_types_to_quantize=operators)
    return onnx.load(target)


def four_bits(graph):
    quantizer = MatMulNBitsQuantizer(graph, block_size=32, is_symmetric=True)
    quantizer.process()
    return quantizer.model.model


def nf4(graph):
    quantizer = MatMulBnb4Quantizer(graph, MatMulBnb4Quantizer.NF4, 64)
    quantizer.process()
    return quantizer.model.model


DTYPES = {
    "fp32": lambda graph, _: graph,
    "fp16": lambda graph, _: convert_float_to_float16(graph, keep_io_types=True),
    "int8": lambda graph, folder: quantized(graph, QuantType.QInt8, folder),
    "uint8": lambda graph, folder: quantized(graph, QuantType.QUInt8, folder),
    "q4": lambda graph, _: four_bits(graph),
    "bnb4": lambda graph, _: nf4(graph),
}


def expected(checkpoint, images):
    """transformers' tokens, by image and task."""
    model = florence2.Florence2ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    image_token, mean, std = tokenizer.token_to_id("<image>"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    answers = {}
    for path in images:
        pixels = np.asarray(Image.open(path), np.float32) / 255
        pixels = ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)
        for task, prompt in TASKS.items():
            tokens = (pixels.shape[1] // 32) ** 2 + 1
            ids = torch.tensor([[image_token] * tokens + tokenizer.encode(prompt).ids])
            with torch.inference_mode():
                output = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.from_numpy(pixels)[None],
                    max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=3, early_stopping=True,
                    no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2, bos_token_id=0,
                    eos_token_id=2, pad_token_id=1, decoder_start_token_id=2,
                )
            answers[str(path), task] = trimmed(output[0].tolist())
    return answers


def trimmed(tokens):
    return [token for token in tokens if token > 2]


def answers(program, folder, images, options):
    """The program's tokens, by image and task."""
    command = [program, "run", "-m", folder, "-t", ",".join(TASKS), "--format", "jsonl", "--max-new-tokens",
               str(MAX_NEW_TOKENS), "-q", *options, *images]
    lines = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.splitlines()
    records = map(json.loads, lines)
    return {(record["path"], record["task"]): trimmed(record["token_ids"]) for record in records}


def equal(ours, theirs):
    return sum(ours[key] == tokens for key, tokens in theirs.items())


def place(deployment, graph, is_inline):
    """Replaces the vision encoder by another graph."""
    for path in (deployment / "onnx").glob("vision_encoder*"):
        path.unlink()
    path = deployment / GRAPH
    onnx.save(graph, path, save_as_external_data=not is_inline, location=f"{path.name}_data", size_threshold=1024)


def linked(deployment, cache):
    """The deployment as a hub's cache holds it: links to files named by their checksums."""
    shutil.rmtree(cache, ignore_errors=True)
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "1234"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in deployment.rglob("*") if path.is_file())):
        link = snapshot / path.relative_to(deployment)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / str(number))
        link.symlink_to(blobs / str(number))
    return snapshot


def caption(program, folder, image, options):
    """The program's caption, without a length limit."""
    command = [program, "run", "-m", folder, "-t", "caption", "--format", "json", "-q", *options, image]
    output = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    return json.loads(output)[0]["result"]["<CAPTION>"]


def caption_from_memory(example, folder, image, runtime):
    environment = {**os.environ, **({"ORT_DYLIB_PATH": runtime} if runtime else {})}
    run = subprocess.run([example, folder, image], check=True, capture_output=True, text=True, env=environment)
    return run.stdout.removesuffix("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", nargs="*", default=[])
    parser.add_argument("--dtypes", nargs="*", default=list(DTYPES))
    parser.add_argument("--traced", type=int, default=224)
    parser.add_argument("--runtimes", nargs="*", default=[])
    parser.add_argument("--form", nargs="*", default=[])
    parser.add_argument("--from-memory")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as work:
        sys.exit(check(args, Path(work)))


def check(args, work):
    """Prints a line for each case; returns whether one failed."""
    side = json.loads((args.checkpoint / "preprocessor_config.json").read_text())["size"]["height"]
    sources = [Image.open(path).convert("RGB") for path in args.images] or [
        Image.fromarray(np.random.RandomState(seed).randint(0, 256, (9, 9, 3), np.uint8)) for seed in range(IMAGES)
    ]
    images = [work / f"{number}.png" for number in range(len(sources))]
    for path, image in zip(images, sources):
        image.resize((side, side), Image.BICUBIC).save(path)
    reference = expected(args.checkpoint, images)
    deployment = work / "deployment"
    subprocess.run([args.program, "export", args.checkpoint, "--out", deployment, "-q"], check=True,
                   stdout=subprocess.DEVNULL)

    given = dict(form.split("=", 1) for form in args.form)
    graph = {form: onnx.load(given[form]) if form in given else traced(args.checkpoint, form, args.traced)
             for form in sorted(FORMS)}
    failed = False
    for dtype in args.dtypes:
        own = work / f"own-{dtype}"
        subprocess.run([args.program, "export", args.checkpoint, "--precision", dtype, "--out", own, "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        for form in ["own", *graph]:
            if form == "own":
                (file,) = (own / "onnx").glob("vision_encoder*.onnx")
                made = onnx.load(file)
            else:
                copy = onnx.ModelProto()
                copy.CopyFrom(graph[form])
                made = DTYPES[dtype](copy, work)
            for is_inline in (True, False):
                place(deployment, made, is_inline)
                for runtime in args.runtimes or [None]:
                    options = ["--ort-library", runtime] if runtime else []
                    folders = {"folder": deployment, "hub": linked(deployment, work / "cache")}
                    counts = {}
                    for name, folder in folders.items():
                        ours = answers(args.program, folder, images, options)
                        counts[name] = equal(ours, reference)
                    unrepaired = answers(args.program, deployment, images, [*options, "--no-repair"])
                    counts["as exported"] = equal(unrepaired, reference)
                    if args.from_memory:
                        captions = [(caption_from_memory(args.from_memory, deployment, image, runtime),
                                     caption(args.program, deployment, image, options)) for image in images]
                        counts["memory"] = sum(ours == folder for ours, folder in captions)
                        failed |= counts["memory"] < len(images)
                    failed |= dtype == "fp32" and any(counts[name] < len(reference) for name in folders)
                    weights = "inside" if is_inline else "beside"
                    version = Path(runtime).name.split(".so.")[-1] if runtime else "default"
                    print(f"{dtype:6} {form:9} {weights} {version:8}", counts, "of", len(reference), flush=True)
    return failed


if __name__ == "__main__":
    main()
