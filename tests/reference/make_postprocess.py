"""Makes tests/fixtures/postprocess/corpus.jsonl.gz: texts, and transformers' results for them.

    pip install -r tests/reference/requirements.txt
    python tests/reference/make_postprocess.py

A line of the corpus is [task, text, [width, height], native result, options]: the options are those of
`post_processor_config` that differ from the default, the result is null where native raises an exception.
The seed is fixed; the same versions give the same file byte for byte.
"""

import gzip
import json
import random
import types
from pathlib import Path
from unittest import mock

from transformers.models.florence2.processing_florence2 import Florence2Processor
from transformers.processing_utils import ProcessorMixin

from pins import require

require("transformers")

OUT = Path(__file__).parent.parent / "fixtures" / "postprocess" / "corpus.jsonl.gz"

# As transformers' convert_florence2_original_pytorch_to_hf.py writes it to processor_config.json.
BANNED = [
    "it", "I", "me", "mine", "you", "your", "yours", "he", "him", "his", "she", "her", "hers", "they", "them",
    "their", "theirs", "one", "oneself", "we", "us", "our", "ours", "its", "myself", "yourself", "himself",
    "herself", "itself", "ourselves", "yourselves", "themselves", "this", "that", "these", "those", "who", "whom",
    "whose", "which", "what", "all", "another", "any", "anybody", "anyone", "anything", "each", "everybody",
    "everyone", "everything", "few", "many", "nobody", "none", "several", "some", "somebody", "someone",
    "something", "each other", "one another", "the image", "image", "images", "the", "a", "an", "a group",
    "other objects", "lots", "a set",
]  # fmt: skip

SIZES = [(1, 1), (13, 7), (640, 480), (768, 768), (1000, 1000), (999, 1001), (1, 4096), (333, 20000), (3840, 2160)]
USUAL_BINS = [0, 1, 62, 499, 500, 998, 999]
GROUNDING = "<CAPTION_TO_PHRASE_GROUNDING>"
OCR = "<OCR_WITH_REGION>"

NAMES = [
    "car", "a red door", "person", "traffic light", "wheel ", " dog", "the", "it", "image", "a group", "It", "one",
    "naïve café", "日本語の看板", "кошка", "قط", "e\u0301", "🚗 car", "\u00a0box\u3000", "\x1c\x1fx\x1e",
    "5 > 3", "100%", "a, b; c", "R&D", "\"quoted\"", "back\\slash", "loc_5", "tab\there", "", " ", "\u2028sep",
    "thé image", "été",
]  # fmt: skip
LINES = ["two\nlines", "\nlead", "trail\n", "\r\nwin", "a\x85b", "a\x0bb", "\n", "a\n\nb"]
ODD = [
    "<", ">", "<loc_", "<loc_>", "<loc_12", "loc_12>", "<loc_-1>", "<loc_ 5>", "<loc_5 >", "<loc_1.5>", "<LOC_5>",
    "<loc_abc>", "<loc_1000>", "<loc_65536>", "<loc_007>", "<loc_１２>", "<loc_٣٤>", "<loc_९>", "<loc_\U0001d7ce\U0001d7d9>",
    "<loc_²>", "<loc_16777217>", "<loc_4294967296>", "<loc_9223372036854775807>", "<loc_9223372036854775808>",
    "<loc_" + "9" * 30 + ">", "<loc_" + "0" * 40 + "7>", "<od>", "</od>", "<box>", "</box>", "<bbox>", "</bbox>",
    "<ground>", "<obj>", "<sep>", "<sep><sep>", "<sep>" * 4, "<poly>", "</poly>", "<poly></poly>", "</poly><poly>",
    "<s>", "</s>", "<pad>", "</s><s>", "<s><s><s>", "<<s>s>", "<s</s>>", "<p<pad>ad>", "</<s>s>", "<pad<s>>", "<unk>",
    "<mask>", "<and>", "<ncap>", "<region_cap>", "<time_3>", "\\d+", "{4,}", "\x00", "\ufffd", "<loc_5><",
]  # fmt: skip

HOSTILE = [
    "", " ", "\n", "\n\n", "\t \x1c", "</s><s></s>", "</s>", "<s>", "<pad>" * 5, "<sep>" * 60, "<poly>" * 40, "</poly>" * 40,
    "<poly></poly>" * 30, "<" * 300, ">" * 300, "<loc_" * 100, "<loc_1>" * 3, "<loc_1>" * 4, "<loc_1>" * 7,
    "<loc_1>" * 8, "<loc_1>" * 9, "<loc_1>" * 17, "<loc_1>" * 200, "a" * 800, "a<loc_1>" * 60, "a<loc_1><loc_2><loc_3>" * 30,
    "a<" * 150, "<loc_1" * 100, "<loc_" + "1" * 400, "x<loc_" + "1" * 400 + ">" + "<loc_2>" * 3,
    "x<loc_" + "1" * 4400 + ">" + "<loc_2>" * 8, " " * 500 + "<loc_1>" * 4, "\n" * 200 + "x" + "<loc_1>" * 8,
    "<loc_1>" * 5 + "<poly>" + "<loc_1>" * 5, "x<poly>" * 30 + "<loc_1>" * 8, "x" + "<loc_1><sep>" * 60,
    "x<poly>" + "<loc_1><loc_2><sep>" * 30 + "</poly>", "<s>" * 100 + "cat" + "<loc_9>" * 8,
    "x" + "<poly><loc_1><loc_2></poly>" * 30, "<<s>" * 40 + "s>" * 40, "<loc_5><sep><sep><sep><sep>",
    "</poly><sep><loc_1><loc_2><loc_3>", "x<sep></poly><loc_1><loc_2><loc_3>", "<loc_1></poly><sep><loc_2><loc_3>",
]  # fmt: skip


class Answers:
    """Generates texts of every kind of answer, well-formed and malformed."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def name(self) -> str:
        roll = self.rng.random()
        if roll < 0.06:
            return self.rng.choice(LINES)
        return self.rng.choice(NAMES)

    def location(self) -> str:
        return f"<loc_{self.rng.randrange(1000) if self.rng.random() < 0.6 else self.rng.choice(USUAL_BINS)}>"

    def locations(self, count: int) -> str:
        return "".join(self.location() for _ in range(count))

    def some(self, usual: int) -> int:
        """Returns `usual` mostly, now and then something else."""
        return usual if self.rng.random() < 0.7 else max(0, usual + self.rng.randint(-4, 5))

    def caption(self) -> str:
        return " ".join(self.name() for _ in range(self.rng.randint(1, 6))) + self.rng.choice(["", ".", ".\n"])

    def boxes(self) -> str:
        return "".join(
            self.name() + self.locations(self.some(4 * self.rng.randint(1, 3))) for _ in range(self.rng.randint(1, 4))
        )

    def proposals(self) -> str:
        return self.locations(self.some(4 * self.rng.randint(1, 6)))

    def quads(self) -> str:
        return "".join(self.name() + self.locations(self.some(8)) for _ in range(self.rng.randint(1, 4)))

    def polygon(self) -> str:
        return self.locations(self.some(2 * self.rng.randint(2, 5)))

    def instance(self) -> str:
        return "<sep>".join(self.polygon() for _ in range(self.rng.randint(1, 3)))

    def outlines(self) -> str:
        if self.rng.random() < 0.3:
            return self.instance()
        return "".join("<poly>" + self.instance() + "</poly>" for _ in range(self.rng.randint(1, 3)))

    def labelled_outlines(self) -> str:
        return "".join(self.name() + self.outlines() for _ in range(self.rng.randint(1, 3)))

    def soup(self) -> str:
        pieces = [self.name, self.location, lambda: self.locations(4), lambda: self.rng.choice(ODD), self.polygon]
        return "".join(self.rng.choice(pieces)() for _ in range(self.rng.randint(1, 14)))

    def framed(self, text: str) -> str:
        return self.rng.choice(["</s><s>", "</s><s>", "<s>", "", "</s><s><s><s>"]) + text + self.rng.choice(
            ["</s>", "</s>", "", "</s><pad><pad>"]
        )

    def broken(self, text: str) -> str:
        roll = self.rng.random()
        at = self.rng.randint(0, len(text))
        if roll < 0.35:
            return text[:at]
        if roll < 0.7:
            return text[:at] + self.rng.choice(ODD) + text[at:]
        if roll < 0.85:
            return text[:at] + text[at + self.rng.randint(1, 6) :]
        pieces = text.split(">")
        self.rng.shuffle(pieces)
        return ">".join(pieces)


def processor(config: dict) -> Florence2Processor:
    """The processor without a tokenizer, which post-processing of text does not need."""
    tokenizer = types.SimpleNamespace(all_special_tokens=[], image_token="<image>", image_token_id=51289)
    with mock.patch.object(ProcessorMixin, "__init__", lambda self, *args, **kwargs: None):
        return Florence2Processor(types.SimpleNamespace(image_seq_length=577), tokenizer, post_processor_config=config)


def native(task: str, text: str, size: tuple[int, int], options: dict):
    kinds = ["ocr", "phrase_grounding", "pure_text", "description_with_bboxes", "description_with_polygons"]
    kinds += ["polygons", "bboxes", "description_with_bboxes_or_polygons"]
    config = {kind: {} for kind in kinds}
    config["phrase_grounding"] = {"banned_grounding_tokens": options.get("banned", BANNED)}
    config["ocr"] = {"AREA_THRESHOLD": options.get("area", 0.0)}
    try:
        result = processor(config).post_process_generation(text, task=task, image_size=size)
    except (ValueError, RuntimeError):
        return None
    return saturated(result)


def saturated(value):
    """torch's float to int32 cast is undefined on overflow, and gives the lowest int32 on x86."""
    if isinstance(value, dict):
        return {key: saturated(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [saturated(inner) for inner in value]
    return 2**31 - 1 if value == -(2**31) and isinstance(value, int) else value


def cases():
    rng = random.Random(20231110)
    answers = Answers(rng)
    tasks = list(processor({}).tasks_answer_post_processing_type)
    shapes = {
        "<OCR_WITH_REGION>": answers.quads,
        "<OD>": answers.boxes,
        "<DENSE_REGION_CAPTION>": answers.boxes,
        GROUNDING: answers.boxes,
        "<REFERRING_EXPRESSION_SEGMENTATION>": answers.outlines,
        "<REGION_TO_SEGMENTATION>": answers.outlines,
        "<OPEN_VOCABULARY_DETECTION>": lambda: rng.choice([answers.boxes, answers.labelled_outlines])(),
        "<REGION_PROPOSAL>": answers.proposals,
    }

    def options(task):
        if task == GROUNDING and rng.random() < 0.25:
            return {"banned": rng.choice([[], ["car", "the image"]])}
        if task == OCR and rng.random() < 0.2:
            return {"area": rng.choice([0.01, 0.1, 0.5])}
        return {}

    for task in tasks:
        # The tasks that answer with text share their code.
        spatial = task in shapes
        shape = shapes.get(task, answers.caption)
        texts = [answers.framed(shape()) for _ in range(115 if spatial else 20)]
        texts += [answers.framed(answers.broken(shape())) for _ in range(150 if spatial else 20)]
        texts += [answers.framed(answers.soup()) for _ in range(100 if spatial else 20)]
        # Answers of other tasks.
        texts += [answers.framed(rng.choice(list(shapes.values()))()) for _ in range(25 if spatial else 8)]
        if spatial or task == "<CAPTION>":
            texts += HOSTILE
        for text in texts:
            yield task, text, rng.choice(SIZES), options(task)
    yield GROUNDING, "".join(f"{phrase}<loc_1><loc_2><loc_3><loc_4>" for phrase in BANNED), (640, 480), {}
    # Every bin once on each axis: one that rounds otherwise shows.
    for size in SIZES:
        yield "<REGION_PROPOSAL>", "".join(f"<loc_{bin}><loc_{bin}>" for bin in range(1000)), size, {}


def main():
    lines = []
    for task, text, size, options in cases():
        result = native(task, text, size, options)
        case = [task, text, size, result and result[task], options]
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write("\n".join(lines).encode())
    raised = sum(json.loads(line)[3] is None for line in lines)
    print(f"{len(lines)} cases, {raised} of which native refuses; {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
