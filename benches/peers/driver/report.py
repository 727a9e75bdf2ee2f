"""The report, in Markdown."""

from bars import bars
from figures import Figures
from floors import Model
from measure import ANSWER_TOKENS, LONG, SHORT
from peers import TRANSFORMERS_FP32
from prepare import SIDE

# What each item is called; seconds are shown as milliseconds.
TITLES = {
    "vision": "vision",
    "text_encoder": "text encoder",
    "step_1": "decoder, a token, greedy",
    "step_3": "decoder, a token, 3 beams",
    "answer": "end to end",
    "second_task": "second task",
}
# From this share of the processor's time in other processes on, the report warns.
DISTURBED = 0.1

METHOD = f"""\
Each figure is the median over the rounds; a ratio is the median of the quotients within the rounds. Within a round, each
item is done by one peer right after the other, each in a process of its own, which is suspended while it is not its turn.

- vision: {SIDE}×{SIDE} pixel values to features, batch 1.
- text encoder: features and 13 prompt tokens to the encoder's states; in the `cpu` exports the cross-attention's keys and
  values of all decoder layers too.
- decoder: what {LONG} new tokens take more than {SHORT}, by token, the search included.
- end to end: a JPEG of 2 megapixels to a parsed answer of exactly {ANSWER_TOKENS} new tokens, 3 beams (transformers.js:
  greedy, it has no beams; ours and transformers choose among 3).
- second task: another task on an image whose features are at hand.
- The model has Florence-2-base's dimensions and random weights; the picture is drawn by a seed."""


class Floors:
    """The least that each of our stages could take on the machine."""

    def __init__(self, checkpoint, machine, precisions):
        self.model, self.machine, self.precisions = Model(checkpoint, SIDE), machine, precisions

    def step(self, name):
        """Of a decoder step: the bytes that it reads, at the memory's rate."""
        return self.model.step_bytes(self.precisions[name]) / self.machine["read"]

    def rows(self, name):
        """Stage, what its floor is made of, the floor in seconds, and the item to compare with."""
        precision, machine = self.precisions[name], self.machine
        for item, work in [("vision", self.model.vision()), ("text_encoder", self.model.text_encoder())]:
            total = (work.linear + work.rest) / 1e9
            yield item, f"{total:.0f} Gop", work.seconds(machine, precision)
        yield "step_3", f"{self.model.step_bytes(precision) / 1e6:.0f} MB", self.step(name)


def table(header, rows):
    """A Markdown table; the first column is text, the others numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def number(value, scale=1.0, unit=""):
    """Three significant digits, or a dash for what was not measured."""
    if value is None:
        return "–"
    value *= scale
    return (f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}") + unit


def stages(figures):
    """Medians."""
    rows = [[name] + [number(figures.median(name, item), 1e3) for item in TITLES] for name in figures.names()]
    return table(["ms", *TITLES.values()], rows)


def ratios(figures, ours):
    """How many times as long as we the others take."""
    rows = [[name] + [number(figures.ratio(name, item, ours), unit=" ×") for item in TITLES]
            for name in figures.names() if name != ours]
    return table([f"÷ {ours}", *TITLES.values()], rows)


def memory(figures):
    """What a process that answers once needs."""
    names = [name for name in figures.names() if figures.alone(name, "peak_memory")]
    rows = [[name, number(figures.alone(name, "peak_memory"), 1e-6), number(figures.alone(name, "load")),
             number(figures.alone(name, "load_to_answer")), number(figures.alone(name, "start_to_answer"))]
            for name in names]
    return table(["", "peak RSS, MB", "load, s", "load to first answer, s", "process start to first answer, s"], rows)


def limits(figures, floors):
    """How far our stages are from the machine's limits."""
    rows = []
    for name in floors.precisions:
        for item, work, floor in floors.rows(name):
            seconds = figures.median(name, item)
            if seconds:
                rows.append([f"{name}: {TITLES[item]}", work, number(floor, 1e3),
                             number(seconds, 1e3), number(seconds / floor, unit=" ×")])
    return table(["", "work", "floor, ms", "measured, ms", "of the floor"], rows)


def agreement(figures, ours):
    """How far the tokens are those of transformers in fp32."""
    sentences = []
    for item, search in [("step_1", "greedy"), ("step_3", "3 beams")]:
        for name in figures.names():
            found = figures.agreement(name, item, TRANSFORMERS_FP32)
            if found and name != TRANSFORMERS_FP32:
                sentences.append([name, search, f"{found[0]} of {found[1]}"])
    return table(["", "search", f"tokens before the first that is not {TRANSFORMERS_FP32}'s"], sentences)


def render(results, checkpoint):
    """The whole report."""
    figures = Figures(results)
    ours = [name for name in figures.names() if results["precisions"].get(name)]
    floors = Floors(checkpoint, results["machine"], {name: results["precisions"][name] for name in ours})
    by_name = {name.removeprefix("florence2 "): name for name in ours}
    fp32 = by_name.get("cpu fp32", by_name["plain fp32"])
    int8 = by_name.get("cpu int8", "florence2 cpu int8")
    main = by_name.get("cpu int8", fp32)
    machine, (spread, worst) = results["machine"], figures.spread()
    rates = ", ".join(f"{machine[name] / 1e12:.2f} Top/s {name}" for name in ("fp32", "bf16", "int8"))
    disturbance = f"Other processes took {results['disturbance']:.0%} of the processor's time meanwhile."
    if results["disturbance"] > DISTURBED:
        disturbance = f"**{disturbance} These figures are worth little; the ratios a little more.**"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
    return f"""\
# Side by side with other ways to run Florence-2 on a CPU

Made by `{results["command"]}` on {results["date"]}, commit {results["commit"]}.

{results["threads"]} threads each, {results["rounds"]} rounds. {results["description"]}.
{versions}; transformers with {results["attention"]} attention.
{disturbance}

## Bars

{table(["figure", "bar", "reached", ""], [bar.row(figures, floors) for bar in bars(fp32, int8)])}
## Medians

{stages(figures)}
Half the distance of the quartiles is {spread:.1%} of the median for the middle one of these figures, {worst:.1%} for the
least steady.

## Ratios

{ratios(figures, main)}
## Memory and loading

A fresh process that answers once; the files are in the page cache. Resident memory includes mapped files.

{memory(figures)}
## Limits of the machine

Measured with torch, {results["threads"]} threads: memory {machine["read"] / 1e9:.0f} GB/s read, {machine["copy"] / 1e9:.0f} GB/s copied (both
ways); matrix products {rates}. The floor of vision and text encoder is their products with weights at the rate of their
precision (int4: as int8) and all else at fp32's; that of a decoder step is the time to read its weights and the
cross-attention's keys and values once.

{limits(figures, floors)}
## Answers

The weights are random, so that tokens are closer to each other than a trained model's; `florence2 compare` and
`florence2 eval` judge precisions on real ones.

{agreement(figures, main)}
## Method

{METHOD}
"""
