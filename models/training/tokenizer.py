"""Builds the tokenizer: BART-style byte-level BPE with Florence-2's added tokens. `python tokenizer.py FOLDER`.

The texts of signs are no part of the corpus: they stay spelled letter by letter, so that a random string is read as a word
is. The order of the added tokens is that of Microsoft's processor, `<image>` last, as in transformers' checkpoints.
"""

import random
import re
import shutil
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from annotations import BINS, PROCESSOR, WEIGHTS, ask
from curriculum import FULL
from scenes import compose

# Bytes, merges and `<s>`, `<pad>`, `</s>`, `<unk>`; the corpus, less the texts of signs, needs no more merges.
VOCABULARY = 600
CORPUS_SCENES = 400
ADDED = [
    "<od>", "</od>", "<ocr>", "</ocr>",
    *(f"<loc_{bin}>" for bin in range(BINS)),
    "<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>", "<seg>", "</seg>", "<sep>",
    "<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>", "<proposal>", "</proposal>",
    "<poly>", "</poly>", "<and>", "<image>",
]


def corpus():
    """Prompts and answers of a fixed set of scenes, without location tokens and the texts of signs."""
    rng = random.Random("tokenizer")
    for index in range(CORPUS_SCENES):
        scene, _ = compose(f"tokenizer/{index}", FULL)
        texts = [thing.text for thing in scene.things if thing.text]
        for sample in filter(None, (ask(rng, scene, task) for task in WEIGHTS)):
            for text in (sample.prompt, sample.answer):
                # Split where location tokens stood, so that no run of spaces earns merges.
                for piece in re.split(r"(?:<loc_\d+>)+", text):
                    for word in texts:
                        piece = piece.replace(word, "")
                    yield piece


def build():
    """The tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(
        [AddedToken("<mask>", lstrip=True)] + [AddedToken(token, normalized=False) for token in ADDED]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def write(folder):
    """Writes `tokenizer.json` and `tokenizer_config.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    shutil.copyfile(PROCESSOR / "tokenizer_config.json", folder / "tokenizer_config.json")


if __name__ == "__main__":
    write(sys.argv[1])
