"""The report, in Markdown."""

from bars import bars
from figures import Figures
from floors import Model
from measure import ANSWER_TOKENS, LONG, SHORT
from peers import TRANSFORMERS_FP32
from prepare import SIDE

# Column titles by item; seconds are shown as milliseconds.
TITLES = {
    "vision": "vision",
    "text_encoder": "text encoder",
    "step_1": "decoder, a token, greedy",
    "step_3": "decoder, a token, 3 beams",
    "answer": "end to end",
    "second_task": "second task",
}
# The share of CPU time in other processes above which the report warns.
DISTURBED = 0.1

METHOD = f"""\
Each figure is the median over the rounds; a ratio is the median of the ratios within the rounds. Within a round, the peers
run each item one right after the other, each in its own process, which is suspended while the others run.

- vision: {SIDE}×{SIDE} pixel values to features, batch 1.
- text encoder: features and 13 prompt tokens to the encoder's states; in the `cpu` exports the cross-attention's keys and
  values of all decoder layers too.
- decoder: the time of {LONG} new tokens less that of {SHORT}, per token, including the search.
- end to end: a JPEG of 2 megapixels to a parsed answer of exactly {ANSWER_TOKENS} new tokens, 3 beams (transformers.js:
  greedy, since it has no beam search).
- second task: another task on an image that is already encoded.
- The model has Florence-2-base's dimensions and random weights; the image is generated from a seed."""


class Floors:
    """Lower bounds of the time of our stages on the machine."""

    def __init__(self, checkpoint, machine, precisions):
        self.model, self.machine, self.precisions = Model(checkpoint, SIDE), machine, precisions

    def step(self, name):
        """Seconds of a decoder step: the bytes that it reads at the memory bandwidth."""
        return self.model.step_bytes(self.precisions[name]) / self.machine["read"]

    def rows(self, name):
        """The item, its work, and its floor in seconds, for each stage."""
        precision, machine = self.precisions[name], self.machine
        for item, work in [("vision", self.model.vision()), ("text_encoder", self.model.text_encoder())]:
            total = (work.linear + work.rest) / 1e9
            yield item, f"{total:.0f} Gop", work.seconds(machine, precision)
        yield "step_3", f"{self.model.step_bytes(precision) / 1e6:.0f} MB", self.step(name)


def table(header, rows):
    """A Markdown table whose first column is left-aligned and whose others are right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def number(value, scale=1.0, unit=""):
    """Three significant digits, or a dash if `value` is None."""
    if value is None:
        return "–"
    value *= scale
    return (f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}") + unit


def stages(figures):
    """The table of medians."""
    rows = [[name] + [number(figures.median(name, item), 1e3) for item in TITLES] for name in figures.names()]
    return table(["ms", *TITLES.values()], rows)


def ratios(figures, ours):
    """The table of ratios to `ours`."""
    rows = [[name] + [number(figures.ratio(name, item, ours), unit=" ×") for item in TITLES]
            for name in figures.names() if name != ours]
    return table([f"÷ {ours}", *TITLES.values()], rows)


def memory(figures):
    """The table of memory and load times of processes that answer once."""
    names = [name for name in figures.names() if figures.alone(name, "peak_memory")]
    rows = [[name, number(figures.alone(name, "peak_memory"), 1e-6), number(figures.alone(name, "load")),
             number(figures.alone(name, "load_to_answer")), number(figures.alone(name, "start_to_answer"))]
            for name in names]
    return table(["", "peak RSS, MB", "load, s", "load to first answer, s", "process start to first answer, s"], rows)


def limits(figures, floors):
    """The table of our stages beside their floors."""
    rows = []
    for name in floors.precisions:
        for item, work, floor in floors.rows(name):
            seconds = figures.median(name, item)
            if seconds:
                rows.append([f"{name}: {TITLES[item]}", work, number(floor, 1e3),
                             number(seconds, 1e3), number(seconds / floor, unit=" ×")])
    return table(["", "work", "floor, ms", "measured, ms", "of the floor"], rows)


def agreement(figures, ours):
    """The table of tokens that agree with transformers in fp32."""
    rows = []
    for item, search in [("step_1", "greedy"), ("step_3", "3 beams")]:
        for name in figures.names():
            found = figures.agreement(name, item, TRANSFORMERS_FP32)
            if found and name != TRANSFORMERS_FP32:
                rows.append([name, search, f"{found[0]} of {found[1]}"])
    return table(["", "search", f"tokens before the first that differs from {TRANSFORMERS_FP32}"], rows)


def render(results, checkpoint):
    """The report of `results`."""
    figures = Figures(results)
    ours = [name for name in figures.names() if results["precisions"].get(name)]
    floors = Floors(checkpoint, results["machine"], {name: results["precisions"][name] for name in ours})
    by_name = {name.removeprefix("florence2 "): name for name in ours}
    fp32 = by_name.get("cpu fp32", by_name["plain fp32"])
    int8 = by_name.get("cpu int8", "florence2 cpu int8")
    main = by_name.get("cpu int8", fp32)
    machine, (spread, worst) = results["machine"], figures.spread()
    rates = ", ".join(f"{machine[name] / 1e12:.2f} Top/s {name}" for name in ("fp32", "bf16", "int8"))
    disturbance = f"Other processes took {results['disturbance']:.0%} of the CPU time meanwhile."
    if results["disturbance"] > DISTURBED:
        disturbance = f"**{disturbance} These figures are unreliable; the ratios are less affected.**"
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
Half the interquartile range is {spread:.1%} of the median for the median of these figures, {worst:.1%} for the least steady.

## Ratios

{ratios(figures, main)}
## Memory and loading

A fresh process that answers once; the files are in the page cache. Resident memory includes mapped files.

{memory(figures)}
## Limits of the machine

Measured with torch, {results["threads"]} threads: memory {machine["read"] / 1e9:.0f} GB/s read, {machine["copy"] / 1e9:.0f} GB/s copied (both
ways); matrix products {rates}. The floor of vision and text encoder is their products with weights at the rate of their
precision (int4: as int8) and all else at the rate of fp32; that of a decoder step is the time to read its weights and the
cross-attention cache once.

{limits(figures, floors)}
## Answers

The weights are random, so the scores of tokens are closer to each other than a trained model's; `florence2 compare` and
`florence2 eval` judge precisions on real ones.

{agreement(figures, main)}
## Method

{METHOD}
"""
