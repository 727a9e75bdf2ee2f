"""Compares the whole chain with transformers at real size: python check_real_size.py base|large [options]

Makes a checkpoint of Florence-2's size with random weights, exports it, and compares on two images and four prompts:

- the checkpoint: transformers finds every weight in it, and no other;
- the graphs: `onnx.checker`, big weights in files beside them, and image features, encoder states and logits, each
  within 1e-4 of torch, relative to its largest magnitude;
- the program: tokens of greedy search and of 3 beams exactly, scores to 1e-4;
- with --transformers-js: the same greedy tokens from transformers.js (needs `npm ci --ignore-scripts` in
  tests/transformers_js first).

Prompts whose answer another correct implementation might not give are detected first, by transformers alone
(`generation.TooClose`: two tokens 1e-3 apart or less, or beams that change under noise on the logits). They are
listed, not compared; more than one in four such prompts is a failure.

The tokenizer is Florence-2's own, which is not in this repository: --tokenizer names the folder that has
tokenizer.json and tokenizer_config.json. Needs ONNX Runtime (ORT_DYLIB_PATH, or the program
fetches it), 4 GB of memory and disk for base, 12 GB for large; takes minutes.
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
import onnxruntime as ort
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Florence2ForConditionalGeneration, Florence2Processor
from transformers import GenerationConfig

from common import IMAGES, ROOT, write_json
from generation import BEAMS, GREEDY, TooClose, generate
from make_golden import resized
from prompts import FREE, Prompt, any_inputs, locations

SEED = 20
TOLERANCE = 1e-4
MAX_NEW_TOKENS = 20
FILES = ["shapes-320x200.png", "waves-131x87.png"]
TASKS = {"<OD>": "od", "<CAPTION_TO_PHRASE_GROUNDING>": "caption-to-phrase-grounding",
         "<REGION_TO_CATEGORY>": "region-to-category"}
QUESTION = FREE[2]
# The exporter's threshold: graphs with more bytes of weights keep the big ones beside them.
EXTERNAL = 100 << 20
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]


def cargo(package, *arguments):
    """Runs a program of the workspace and returns its stdout."""
    command = ["cargo", "run", "-q", "--release", "-p", package, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def make(size, work, tokenizer):
    """Makes the checkpoint and its export; returns both folders."""
    checkpoint, bundle = work / f"{size}-checkpoint", work / size
    cargo("florence2-export", "--example", "random_checkpoint", "--", size, checkpoint, SEED)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, checkpoint / name)
    cargo("florence2-cli", "--", "export", checkpoint, "--out", bundle, "--force")
    return checkpoint, bundle


def load(checkpoint, bundle):
    """transformers' model of the checkpoint, and its processor from the exported files, with Pillow's resize."""
    model, report = Florence2ForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    model.generation_config = GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2
    )
    # The published checkpoints lack `<image>`, transformers' placeholder for the image.
    tokenizer = AutoTokenizer.from_pretrained(bundle, extra_special_tokens={"image_token": "<image>"})
    assert tokenizer.image_token_id == model.config.image_token_id
    remember_images(model.eval())
    return model, Florence2Processor(AutoImageProcessor.from_pretrained(bundle, backend="pil"), tokenizer)


def remember_images(model):
    """Caches the image features, so that an image is encoded once, not for every prompt and search."""
    encode, seen = model.model.get_image_features, {}

    def remembered(pixel_values, **arguments):
        key = pixel_values.numpy().tobytes()
        if key not in seen:
            seen[key] = encode(pixel_values, **arguments)
        return seen[key]

    model.model.get_image_features = remembered


def check_files(bundle):
    """Checks the graphs with `onnx.checker`, and the files of their weights."""
    config = json.loads((bundle / "config.json").read_text())
    settings = config["transformers.js_config"]["use_external_data_format"]
    for path in sorted((bundle / "onnx").glob("*.onnx")):
        onnx.checker.check_model(str(path), full_check=True)
        data = path.with_suffix(".onnx_data")
        beside = data.stat().st_size if data.exists() else 0
        assert path.stat().st_size < EXTERNAL + (1 << 20), f"{path.name} carries its weights itself"
        assert bool(beside) == bool(settings.get(path.name)), f"config.json is wrong about {path.name}"
        print(f"  {path.name:30} {path.stat().st_size / 2**20:7.1f} MiB {beside / 2**20:8.1f} MiB beside it")


class Graphs:
    """The exported graphs in ONNX Runtime."""

    def __init__(self, bundle):
        names = ["vision_encoder", "embed_tokens", "encoder_model", "decoder_model"]
        self.sessions = {name: ort.InferenceSession(
            bundle / "onnx" / f"{name}.onnx", providers=["CPUExecutionProvider"]) for name in names}

    def call(self, name, **inputs):
        """The first output of a graph."""
        return self.sessions[name].run(None, inputs)[0]

    def stages(self, features, inputs, image_token, start):
        """Encoder states and logits."""
        ids = inputs.input_ids[inputs.input_ids != image_token][None].numpy()
        embeds = np.concatenate([features, self.call("embed_tokens", input_ids=ids)], 1)
        mask = np.ones(embeds.shape[:2], np.int64)
        states = self.call("encoder_model", attention_mask=mask, inputs_embeds=embeds)
        logits = self.call(
            "decoder_model", encoder_attention_mask=mask, encoder_hidden_states=states,
            inputs_embeds=self.call("embed_tokens", input_ids=start.numpy()),
        )
        return states, logits


@torch.no_grad()
def check_stages(graphs, model, features, inputs):
    """The largest relative error of each stage, given our image features."""
    start = torch.tensor([[2, 0]])
    output = model(**inputs, decoder_input_ids=start)
    states, logits = graphs.stages(features, inputs, model.config.image_token_id, start)
    return {
        "image features": error(features, model.get_image_features(inputs.pixel_values).pooler_output),
        "encoder states": error(states, output.encoder_last_hidden_state),
        "logits": error(logits, output.logits),
    }


def error(ours, theirs):
    """The largest difference, relative to the largest magnitude."""
    return float(np.abs(ours - theirs.numpy()).max() / theirs.abs().max())


def prompts_for(processor, image):
    """One prompt of each kind: a task without input, with a text, with a region, and a free prompt."""
    inputs = any_inputs(image.size)
    region = inputs["<REGION_TO_CATEGORY>"]
    return [
        Prompt("<OD>", ""),
        Prompt("<CAPTION_TO_PHRASE_GROUNDING>", inputs["<CAPTION_TO_PHRASE_GROUNDING>"]),
        Prompt("<REGION_TO_CATEGORY>", locations(processor, region, image.size), region),
        Prompt(None, QUESTION),
    ]


def our_answers(bundle, path, prompts, beams):
    """The program's answers, in the order of the prompts."""
    (text,) = [prompt.input for prompt in prompts if prompt.task and not prompt.region and prompt.input]
    (region,) = [prompt.region for prompt in prompts if prompt.region]
    lines = cargo(
        "florence2-cli", "--", "run", "--quiet", "--model", bundle,
        "--task", ",".join(TASKS[prompt.task] for prompt in prompts if prompt.task), "--text", text,
        "--region", ",".join(map(str, region)), "--prompt", QUESTION,
        "--num-beams", beams, "--max-new-tokens", MAX_NEW_TOKENS, "--format", "jsonl", path,
    )
    return [json.loads(line) for line in lines.splitlines()]


def their_answer(model, inputs, search):
    """transformers' best tokens without the start token, and their score; None if they are too close to call."""
    try:
        answer = generate(model, inputs, search | dict(max_new_tokens=MAX_NEW_TOKENS))
    except TooClose as reason:
        print(f"    too close to call: {reason}")
        return None
    transitions = answer["transition_scores"][0]
    score = answer.get("sequences_scores", [sum(transitions) / len(transitions)])[0]
    return answer["sequences"][0][1:], score


def same(ours, theirs):
    """Compares tokens exactly and scores within the tolerance."""
    tokens, score = theirs
    return ours["token_ids"] == tokens and abs(ours["score"] - score) <= TOLERANCE * max(1, abs(score))


def check_answers(model, processor, bundle, golden):
    """Compares stages and answers; writes the expected answers of transformers.js to the folder `golden`."""
    graphs, worst, images = Graphs(bundle), {}, []
    compared, different, too_close, answers = 0, 0, 0, set()
    for file in FILES:
        image = Image.open(IMAGES / file).convert("RGB")
        resized(processor, image).save(golden / f"{Path(file).stem}.resized.png")
        prompts = prompts_for(processor, image)
        entries, features = [], None
        ours = {beams: our_answers(bundle, IMAGES / file, prompts, beams) for beams in (1, 3)}
        for index, prompt in enumerate(prompts):
            print(f"  {file} {prompt.text}")
            inputs = processor(text=prompt.text, images=image, return_tensors="pt")
            if features is None:
                features = graphs.call("vision_encoder", pixel_values=inputs.pixel_values.numpy())
            for name, value in check_stages(graphs, model, features, inputs).items():
                worst[name] = max(worst.get(name, 0.0), value)
            ids = inputs.input_ids[inputs.input_ids != processor.image_token_id].tolist()
            entry = {"task": prompt.task, "input": prompt.input, "input_ids": ids, "greedy": None}
            for search in (GREEDY, BEAMS):
                theirs = their_answer(model, inputs, search)
                if theirs is None:
                    too_close += 1
                    continue
                compared += 1
                answer = ours[search["num_beams"]][index]
                answers.add(tuple(theirs[0]))
                if search is GREEDY:
                    entry["greedy"] = {"sequences": [[2, *theirs[0]]]}
                if not same(answer, theirs):
                    different += 1
                    print(f"    ours   {answer['token_ids']} {answer['score']}\n    theirs {theirs[0]} {theirs[1]}")
            entries.append(entry)
        images.append({"image": file, "prompts": entries})
    write_json(golden / "answers.json", {"settings": {"greedy": GREEDY | dict(max_new_tokens=MAX_NEW_TOKENS)},
                                         "images": images})
    for name, value in worst.items():
        print(f"  {name:16} {value:.1e}")
    print(f"  {compared} answers compared, {len(answers)} of them distinct: {different} differ; "
          f"{too_close} are too close to call")
    wrong = [name for name, value in worst.items() if value > TOLERANCE]
    return not wrong and not different and too_close * 4 <= compared + too_close


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=["base", "large"])
    parser.add_argument("--work", type=Path, help="folder in which the files are kept")
    parser.add_argument("--tokenizer", type=Path, default=ROOT.parent / "shared" / "data" / "tokenizer",
                        help="Florence-2's tokenizer files [default: %(default)s]")
    parser.add_argument("--transformers-js", action="store_true", help="ask transformers.js too")
    arguments = parser.parse_args()
    if not (arguments.tokenizer / "tokenizer.json").exists():
        sys.exit(f"skipped: no tokenizer.json in {arguments.tokenizer}; --tokenizer names the folder with Florence-2's")
    torch.set_num_threads(os.cpu_count())
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        golden = work / f"{arguments.size}-golden"
        golden.mkdir(parents=True, exist_ok=True)
        print(f"{arguments.size}, seed {SEED}")
        checkpoint, bundle = make(arguments.size, work, arguments.tokenizer)
        check_files(bundle)
        passed = check_answers(*load(checkpoint, bundle), bundle, golden)
        if arguments.transformers_js:
            script = ROOT / "tests" / "transformers_js" / "greedy.mjs"
            passed &= subprocess.run(["node", script, bundle, golden]).returncode == 0
    sys.exit(0 if passed else "FAILED")


if __name__ == "__main__":
    main()
