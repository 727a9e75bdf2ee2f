"""The expected answers about a scene: prompt, answer and truth for each of the fifteen tasks.

Prompts are the task sentences of `processor/preprocessor_config.json`, answers are laid out as Florence-2's: labels followed
by location tokens, x before y, bin floor(1000 v) of the unit square. Answers list things in reading order.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from reading import place

PROCESSOR = Path(__file__).parent / "processor"
_CONFIG = json.loads((PROCESSOR / "preprocessor_config.json").read_text())
SENTENCES = _CONFIG["task_prompts_without_inputs"] | _CONFIG["task_prompts_with_input"]
BINS = 1000

# How often each task is asked in training, before a stage's `reading`.
WEIGHTS = {
    "<OD>": 7, "<DENSE_REGION_CAPTION>": 2, "<REGION_PROPOSAL>": 1,
    "<CAPTION>": 8, "<DETAILED_CAPTION>": 1, "<MORE_DETAILED_CAPTION>": 2,
    "<OCR>": 3, "<OCR_WITH_REGION>": 3, "<REGION_TO_OCR>": 4,
    "<CAPTION_TO_PHRASE_GROUNDING>": 4, "<OPEN_VOCABULARY_DETECTION>": 2,
    "<REFERRING_EXPRESSION_SEGMENTATION>": 3, "<REGION_TO_SEGMENTATION>": 2,
    "<REGION_TO_CATEGORY>": 3, "<REGION_TO_DESCRIPTION>": 1,
}
REGIONAL = {task: weight for task, weight in WEIGHTS.items() if task.startswith("<REGION_TO") and "SEGM" not in task}
READING = ("<OCR>", "<OCR_WITH_REGION>", "<REGION_TO_OCR>")


@dataclass
class Sample:
    """One question about a scene; coordinates are of the unit square."""

    task: str
    prompt: str
    # The expected text.
    answer: str
    # The same as data, in the form of `docs/evaluation.md`.
    truth: dict
    # The task's input besides the image.
    input: str | None = None
    region: list | None = None


def location(value):
    """The location token of a coordinate."""
    return f"<loc_{min(BINS - 1, max(0, int(value * BINS)))}>"


def locations(values):
    """The location tokens of coordinates."""
    return "".join(location(value) for value in values)


def _flat(points):
    return [value for point in points for value in point]


def _article(phrase):
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _capital(phrase):
    return phrase[0].upper() + phrase[1:]


def _enumerate(phrases):
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def caption(things):
    """One sentence that names things: "A red star and a white sign."."""
    return _capital(_enumerate([_article(thing.description) for thing in things])) + "."


def _detailed(things):
    return f"The image shows {_enumerate([f'{_article(t.description)} {place(t.box)}' for t in things])}."


def _paragraph(things):
    def sentence(thing):
        if thing.text is not None:
            return f"There is {_article(thing.description)} {place(thing.box)} that reads {thing.text}."
        size = "large" if thing.large else "small"
        return f"There is {_article(f'{size} {thing.description}')} {place(thing.box)}."

    count = f"{len(things)} object{'s' if len(things) > 1 else ''}"
    return " ".join([f"The image shows {count}.", *(sentence(thing) for thing in things)])


def _region_description(thing):
    return _article(thing.description) + (f" that reads {thing.text}" if thing.text is not None else "")


def _text(task, text, thing=None):
    """A plain answer; those about a region end with the region."""
    if thing is None:
        return Sample(task, SENTENCES[task], text, {"text": text})
    region = locations(thing.box)
    return Sample(
        task, SENTENCES[task].format(input=region), text + region, {"text": text}, region=thing.box
    )


def _boxes(task, named, input=None):
    """Names, each with the boxes of all its things."""
    answer = "".join(name + "".join(locations(thing.box) for thing in things) for name, things in named)
    instances = [{"label": name, "bbox": thing.box} for name, things in named for thing in things]
    return Sample(task, SENTENCES[task].format(input=input), answer, {"instances": instances}, input=input)


def _outline(task, thing, input=None, region=None):
    corners = _flat(thing.corners)
    shown = locations(region) if region else input
    return Sample(
        task, SENTENCES[task].format(input=shown), locations(corners), {"instances": [{"polygons": [corners]}]},
        input=input, region=region,
    )


def _alike(things, description):
    return [thing for thing in things if thing.description == description]


def ask(rng, scene, task):
    """A question of one task about a scene, or None if the scene gives none."""
    things = scene.things
    texts = [thing for thing in things if thing.text is not None]
    whole = [thing for thing in things if thing.whole]
    match task:
        case "<CAPTION>":
            return _text(task, caption(things))
        case "<DETAILED_CAPTION>":
            return _text(task, _detailed(things))
        case "<MORE_DETAILED_CAPTION>":
            return _text(task, _paragraph(things))
        case "<OCR>":
            return _text(task, " ".join(thing.text for thing in texts)) if texts else None
        case "<OCR_WITH_REGION>":
            return _ocr_with_region(task, texts) if texts else None
        case "<OD>":
            return _boxes(task, [(thing.category, [thing]) for thing in things])
        case "<DENSE_REGION_CAPTION>":
            return _boxes(task, [(thing.description, [thing]) for thing in things])
        case "<REGION_PROPOSAL>":
            return _boxes(task, [("", [thing]) for thing in things])
        case "<CAPTION_TO_PHRASE_GROUNDING>":
            return _grounding(rng, task, things)
        case "<OPEN_VOCABULARY_DETECTION>":
            phrase = rng.choice(things).description
            return _boxes(task, [(phrase, _alike(things, phrase))], input=phrase)
        case "<REFERRING_EXPRESSION_SEGMENTATION>":
            clear = [thing for thing in whole if len(_alike(things, thing.description)) == 1]
            thing = rng.choice(clear) if clear else None
            return _outline(task, thing, input=f"the {thing.description}") if thing else None
        case "<REGION_TO_SEGMENTATION>":
            thing = rng.choice(whole) if whole else None
            return _outline(task, thing, region=thing.box) if thing else None
        case "<REGION_TO_CATEGORY>":
            thing = rng.choice(things)
            return _text(task, thing.category, thing)
        case "<REGION_TO_DESCRIPTION>":
            thing = rng.choice(things)
            return _text(task, _region_description(thing), thing)
        case "<REGION_TO_OCR>":
            thing = rng.choice(texts) if texts else None
            return _text(task, thing.text, thing) if thing else None
    raise ValueError(f"no such task: {task}")


def _ocr_with_region(task, texts):
    answer = "".join(thing.text + locations(_flat(thing.text_quad)) for thing in texts)
    instances = [{"text": thing.text, "quad": _flat(thing.text_quad)} for thing in texts]
    return Sample(task, SENTENCES[task], answer, {"instances": instances})


def _grounding(rng, task, things):
    """Some things, in any order, each description once; all things of that description belong to the phrase."""
    descriptions = list(dict.fromkeys(thing.description for thing in things))
    chosen = rng.sample(descriptions, rng.randint(1, len(descriptions)))
    phrases = [_article(description) for description in chosen]
    named = [
        (_capital(phrase) if index == 0 else phrase, _alike(things, description))
        for index, (phrase, description) in enumerate(zip(phrases, chosen))
    ]
    return _boxes(task, named, input=_capital(_enumerate(phrases)) + ".")


def questions(rng, scene, count, reading=1.0, weights=WEIGHTS):
    """`count` different questions about a scene, by the tasks' `weights`, those of reading times `reading`. Each image
    gives ten or more."""
    tasks = list(weights)
    shares = [weights[task] * (reading if task in READING else 1) for task in tasks]
    asked = {}
    while len(asked) < count:
        sample = ask(rng, scene, rng.choices(tasks, shares)[0])
        if sample:
            asked[sample.prompt] = sample
    return list(asked.values())
