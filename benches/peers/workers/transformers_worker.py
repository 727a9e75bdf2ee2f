"""Hugging Face transformers on torch, as a worker (see README.md)."""

from copy import copy
from importlib.metadata import version

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Florence2ForConditionalGeneration, Florence2Processor
from transformers.utils import logging

from protocol import serve, timed

TASK = "<OD>"
# The task's row in the post-processor configuration of the published checkpoints.
ANSWERS = {"description_with_bboxes": {}}
logging.set_verbosity_error()
logging.disable_progress_bar()


class Worker:
    """A loaded model, and an image ready for any stage."""

    def load(self, model, processor, threads, dtype, attention):
        torch.set_num_threads(threads)
        _, seconds = timed(lambda: self.read(model, processor, getattr(torch, dtype), attention))
        return {"seconds": seconds, "versions": {name: version(name) for name in ("transformers", "torch")}}

    def read(self, model, processor, dtype, attention):
        self.model = Florence2ForConditionalGeneration.from_pretrained(
            model, dtype=dtype, attn_implementation=attention
        ).eval()
        self.dtype = dtype
        # The published tokenizers lack `<image>`, with which transformers marks the positions of image tokens.
        tokenizer = AutoTokenizer.from_pretrained(processor, extra_special_tokens={"image_token": "<image>"})
        images = AutoImageProcessor.from_pretrained(processor)
        self.processor = Florence2Processor(images, tokenizer, post_processor_config=ANSWERS)

    def inputs(self, path, task):
        """The image, and the inputs of `generate`."""
        image = Image.open(path).convert("RGB")
        inputs = self.processor(text=task, images=image, return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        return image, inputs

    def prepare(self, image):
        _, self.prepared = self.inputs(image, TASK)
        ids = self.prepared["input_ids"]
        features = self.features()
        embeds = self.model.get_input_embeddings()(ids)
        mask = self.model.get_placeholder_mask(ids, inputs_embeds=embeds, image_features=features)
        self.embeds = embeds.masked_scatter(mask, features)
        self.encoded = self.encode()
        return {}

    def features(self):
        return self.model.get_image_features(self.prepared["pixel_values"]).pooler_output

    def encode(self):
        encoder = self.model.get_encoder()
        return encoder(inputs_embeds=self.embeds, attention_mask=self.prepared["attention_mask"])

    def vision(self):
        features, seconds = timed(self.features)
        return {"seconds": seconds, "norm": float(features.float().norm())}

    def text_encoder(self):
        _, seconds = timed(self.encode)
        return {"seconds": seconds}

    def generate(self, beams, tokens):
        text = {name: self.prepared[name] for name in ("input_ids", "attention_mask")}
        # `generate` replaces the states in its argument by one copy per beam.
        encoded = copy(self.encoded)
        ids, seconds = timed(lambda: self.search(beams, tokens, encoder_outputs=encoded, **text))
        return {"seconds": seconds, "tokens": ids[0, 1:].tolist()}

    def search(self, beams, tokens, **inputs):
        return self.model.generate(**inputs, num_beams=beams, min_new_tokens=tokens, max_new_tokens=tokens)

    def answer(self, image, beams, tokens):
        def work():
            opened, inputs = self.inputs(image, TASK)
            ids = self.search(beams, tokens, **inputs)
            text = self.processor.batch_decode(ids, skip_special_tokens=False)[0]
            return ids, self.processor.post_process_generation(text=text, task=TASK, image_size=opened.size)

        (ids, _), seconds = timed(work)
        return {"seconds": seconds, "tokens": ids[0, 1:].tolist()}


worker = Worker()
with torch.inference_mode():
    serve({name: getattr(worker, name) for name in
           ("load", "prepare", "vision", "text_encoder", "generate", "answer")})
