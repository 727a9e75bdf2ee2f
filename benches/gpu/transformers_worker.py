"""Hugging Face transformers at the work of `florence2 bench`, on a GPU (or, to try this out, a CPU): prints JSON.

    python transformers_worker.py CHECKPOINT --device cuda --dtype float16 --attention sdpa [--compile] ...

Times are wall-clock, with the device synchronised before and after. The pixels are random, since the time of the vision
encoder does not depend on them; reading and resizing an image is not timed.
"""

import argparse
import json
import time
from statistics import median, quantiles

import torch
import transformers
from transformers import AutoTokenizer, Florence2ForConditionalGeneration

PROMPT = "Locate the objects with category name in the image."
# A decoder step is the difference of a longer and a shorter search, per token.
SHORT, LONG = 10, 50


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--tokenizer", required=True, help="a folder with tokenizer.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--compile", action="store_true", help="compile the vision encoder, the encoder and the decoder's step")
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=20)
    return parser.parse_args()


class Bench:
    """A loaded model and its inputs."""

    def __init__(self, options):
        self.options, self.device = options, torch.device(options.device)
        self.model = Florence2ForConditionalGeneration.from_pretrained(
            options.checkpoint, dtype=getattr(torch, options.dtype), attn_implementation=options.attention
        ).eval().to(self.device)
        if options.compile:
            self.model.model.vision_tower.compile()
            self.model.get_encoder().compile()
            self.model.forward = torch.compile(self.model.forward, dynamic=True)
        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
        image = [self.model.config.image_token_id] * self.image_tokens()
        self.ids = torch.tensor([image + tokenizer(PROMPT).input_ids], device=self.device)
        self.mask = torch.ones_like(self.ids)
        torch.manual_seed(0)
        self.pixels = torch.randn(1, 3, options.side, options.side).to(self.device, self.model.dtype)

    def image_tokens(self):
        """The number of tokens of an image, including their mean."""
        stride = 1
        for factor in self.model.config.vision_config.patch_stride:
            stride *= factor
        return (self.options.side // stride) ** 2 + 1

    def features(self):
        return self.model.get_image_features(self.pixels).pooler_output

    def embeds(self):
        features = self.features()
        words = self.model.get_input_embeddings()(self.ids)
        mask = self.model.get_placeholder_mask(self.ids, inputs_embeds=words, image_features=features)
        return words.masked_scatter(mask, features.to(words.dtype))

    def encode(self):
        """Runs the vision encoder and the text encoder."""
        return self.model.get_encoder()(inputs_embeds=self.embeds(), attention_mask=self.mask)

    def generate(self, tokens):
        """Answers from pixels to tokens."""
        return self.model.generate(
            input_ids=self.ids, attention_mask=self.mask, pixel_values=self.pixels, num_beams=self.options.beams,
            min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False,
        )

    def seconds(self, work):
        """The seconds of each repetition after the warm-up."""
        found = []
        for number in range(self.options.warmup + self.options.repeat):
            self.synchronize()
            start = time.perf_counter()
            work()
            self.synchronize()
            if number >= self.options.warmup:
                found.append(time.perf_counter() - start)
        return found

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def summary(seconds):
    """Median, 95th percentile."""
    return {"median": median(seconds), "p95": quantiles(seconds, n=20, method="inclusive")[-1]}


@torch.inference_mode()
def main():
    options = arguments()
    transformers.utils.logging.set_verbosity_error()
    bench = Bench(options)
    short, long = (bench.seconds(lambda tokens=tokens: bench.generate(tokens)) for tokens in (SHORT, LONG))
    figures = {
        "vision_encoder": summary(bench.seconds(bench.features)),
        "encoders": summary(bench.seconds(bench.encode)),
        "token": {"median": (median(long) - median(short)) / (LONG - SHORT)},
        "end_to_end": summary(bench.seconds(lambda: bench.generate(options.tokens))),
    }
    peak = torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else None
    print(json.dumps({
        "name": f"transformers {options.dtype} {options.attention}" + (" compiled" if options.compile else ""),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "figures": figures, "device_memory": peak,
    }))


if __name__ == "__main__":
    main()
