"""The bars: the required figures, beside the measured ones."""

from dataclasses import dataclass
from typing import Callable

from measure import ANSWER_TOKENS
from peers import OPENVINO_BF16, OPENVINO_FP32, TRANSFORMERS_BF16, TRANSFORMERS_FP32, TRANSFORMERS_JS

PEAK_MEMORY = 700e6


@dataclass
class Bar:
    """A figure, its reference, and its upper limit; `value` returns None if it was not measured."""

    figure: str
    against: str
    limit: float
    value: Callable
    unit: str = "×"

    def row(self, figures, floors):
        """The cells of its row."""
        value = self.value(figures, floors)
        reached = "–" if value is None else f"{value:.3g} {self.unit}"
        verdict = "not measured" if value is None else "met" if value <= self.limit else "**not met**"
        return [self.figure, f"≤ {self.limit:g} {self.unit} {self.against}", reached, verdict]


def bars(fp32, int8):
    """The bars of our fp32 and int8 exports, given their names in the results."""

    def ratio(name, item, other, other_item=None):
        return lambda figures, _: figures.ratio(name, item, other, other_item)

    def floor(figures, floors):
        seconds = figures.median(int8, "step_3")
        return seconds and seconds / floors.step(int8)

    def memory(figures, _):
        peak = figures.alone(int8, "peak_memory")
        return peak and peak / 1e6

    def load(figures, _):
        ours = figures.alone(int8, "load_to_answer")
        theirs = [figures.alone(name, "load_to_answer") for name in (TRANSFORMERS_FP32, TRANSFORMERS_BF16)]
        return ours / min(theirs) if ours and all(theirs) else None

    def outside(figures, _):
        share = figures.outside(int8)
        return share and share * 100

    answer = f"end to end, {ANSWER_TOKENS} tokens, 3 beams, int8"
    return [
        Bar("vision, fp32", TRANSFORMERS_FP32, 0.5, ratio(fp32, "vision", TRANSFORMERS_FP32)),
        Bar("vision, fp32", OPENVINO_FP32, 1.0, ratio(fp32, "vision", OPENVINO_FP32)),
        Bar("vision, int8", TRANSFORMERS_BF16, 0.55, ratio(int8, "vision", TRANSFORMERS_BF16)),
        Bar("vision, int8", OPENVINO_BF16, 0.8, ratio(int8, "vision", OPENVINO_BF16)),
        Bar("text encoder with cross-KV, int8", f"{TRANSFORMERS_BF16}, encoder alone", 0.6,
            ratio(int8, "text_encoder", TRANSFORMERS_BF16)),
        Bar("decoder step, 3 beams, int8", TRANSFORMERS_BF16, 0.25, ratio(int8, "step_3", TRANSFORMERS_BF16)),
        Bar("decoder step, 3 beams, int8", "the memory floor", 2.0, floor),
        Bar(answer, TRANSFORMERS_BF16, 0.45, ratio(int8, "answer", TRANSFORMERS_BF16)),
        Bar(answer, TRANSFORMERS_FP32, 0.2, ratio(int8, "answer", TRANSFORMERS_FP32)),
        Bar(answer, f"{TRANSFORMERS_JS}, greedy", 0.5, ratio(int8, "answer", TRANSFORMERS_JS)),
        Bar("second task on the same image, int8", "the first", 0.25, ratio(int8, "second_task", int8, "answer")),
        Bar("our code outside `Session::run`, int8", "of end to end", 3, outside, "%"),
        Bar("peak RSS, end to end, int8", "", PEAK_MEMORY / 1e6, memory, "MB"),
        Bar("load to first answer, int8", "the faster transformers", 0.5, load),
    ]
