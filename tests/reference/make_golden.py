"""Golden values of each checkpoint: stage by stage (`stages.*`) and whole answers (`answers.json`)."""

import shutil

import torch
from PIL import Image
from safetensors.torch import save_file

from common import DEMO, GOLDEN, IMAGES, ROOT, load, versions, write_json
from generation import BEAM_NOISE, BEAMS, GREEDY, TooClose, generate
from prompts import all_prompts, any_inputs, scene_inputs

SUBJECTS = {
    "base-like": dict(images=["shapes-320x200.png", "noise-61x97.png"], max_new_tokens=24),
    "large-like": dict(images=["shapes-320x200.png", "waves-131x87.png"], max_new_tokens=24),
    # As its generation config says: no n-gram is blocked. Some of its locations lie between two bins, but its logits
    # are within 2e-5 of another implementation's.
    "demo": dict(
        images=["zoo.png", "car.png", "open.png"], close=8, noise=1e-4,
        max_new_tokens=120, no_repeat_ngram_size=0,
    ),
}
# Of the prompts, those whose stages are recorded.
STAGED = ["<OD>", "<CAPTION_TO_PHRASE_GROUNDING>"]
# A tensor with more elements than this is sampled: every STRIDE-th in row-major order, from the first.
WHOLE, STRIDE = 2000, 17


def make(name, images, close=0, noise=BEAM_NOISE, **arguments):
    """Writes the golden folder of one checkpoint; `close` answers may be too close to call."""
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, processor = load(name)
    settings = {"greedy": GREEDY | arguments, "beams": BEAMS | arguments}
    tensors, shapes, answers = {}, {}, []
    for file in images:
        source = (DEMO / "scenes" if name == "demo" else IMAGES) / file
        image = Image.open(source).convert("RGB")
        resized(processor, image).save(folder / f"{source.stem}.resized.png", optimize=True)
        inputs = scene_inputs(source.with_suffix(".json")) if name == "demo" else any_inputs(image.size)
        prompts = all_prompts(processor, image.size, inputs)
        for prompt in prompts:
            if prompt.task in STAGED:
                for stage, tensor in stages(model, processor, image, prompt).items():
                    key = ".".join([source.stem, *stage])
                    shapes[key], tensors[key] = sample(tensor)
        answers.append({
            "image": str(source.relative_to(ROOT)),
            "size": list(image.size),
            "prompts": [answer(model, processor, image, prompt, settings, noise) for prompt in prompts],
        })
    save_file(tensors, folder / "stages.safetensors")
    write_json(folder / "stages.json", {"versions": versions(), "tensors": shapes})
    write_json(folder / "answers.json", {"versions": versions(), "settings": settings, "images": answers})
    check_answers(name, answers, close)


def resized(processor, image):
    """The resized 8-bit image, before rescaling and normalising."""
    pixels = processor.image_processor(image, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values
    assert pixels.min() >= 0 and pixels.max() <= 255 and (pixels == pixels.round()).all()
    return Image.fromarray(pixels[0].permute(1, 2, 0).to(torch.uint8).numpy())


@torch.no_grad()
def stages(model, processor, image, prompt):
    """The tensors between image and prompt and the first logits, by name, without the batch dimension."""
    inputs = processor(text=prompt.text, images=image, return_tensors="pt")
    start = torch.tensor([[2, 0]])
    output = model(**inputs, decoder_input_ids=start)
    task = prompt.task.strip("<>").lower()
    return {
        ("pixel_values",): inputs.pixel_values[0],
        ("image_features",): model.get_image_features(inputs.pixel_values).pooler_output[0],
        (task, "encoder_last_hidden_state"): output.encoder_last_hidden_state[0],
        # After `</s>`, and after `</s><s>`.
        (task, "logits"): output.logits[0],
    }


def sample(tensor):
    """Shape and stride for the index, and the values."""
    flat = tensor.detach().contiguous().flatten()
    stride = 1 if flat.numel() <= WHOLE else STRIDE
    return {"shape": list(tensor.shape), "stride": stride}, flat[::stride].clone()


def answer(model, processor, image, prompt, settings, noise):
    """A prompt's ids, and the model's answers under each of the settings."""
    inputs = processor(text=prompt.text, images=image, return_tensors="pt")
    image_tokens = processor.num_image_tokens
    ids = inputs.input_ids[0].tolist()
    assert ids[:image_tokens] == [processor.image_token_id] * image_tokens
    entry = {
        "task": prompt.task,
        "input": prompt.input,
        "region": prompt.region,
        "prompt": processor._construct_prompts(prompt.text)[0],
        "input_ids": ids[image_tokens:],
    }
    for name, arguments in settings.items():
        try:
            result = generate(model, inputs, arguments, noise)
        except TooClose:
            entry[name] = None
            continue
        raw = processor.batch_decode(result["sequences"], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        task = prompt.task or prompt.text
        result["raw"] = raw[0]
        result["result"] = processor.post_process_generation(raw[0], task=task, image_size=image.size)[task]
        entry[name] = result
    return entry


def check_answers(name, answers, close):
    """Checks that answers depend on image, prompt and search."""
    for search in ("greedy", "beams"):
        entries = [prompt[search] for image in answers for prompt in image["prompts"]]
        sequences = [tuple(entry["sequences"][0]) for entry in entries if entry]
        close -= len(entries) - len(sequences)
        different = len(set(sequences)) / len(sequences)
        assert different > 0.7, f"{name}: only {different:.0%} of the {search} answers differ"
        lengths = {len(sequence) for sequence in sequences}
        assert len(lengths) > 4, f"{name}: hardly a {search} answer ends by itself"
    assert close >= 0, f"{name}: {-close} answers more than allowed are too close to call"


if __name__ == "__main__":
    for each, arguments in SUBJECTS.items():
        make(each, **arguments)
