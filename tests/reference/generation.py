"""Runs `generate`, records its results, and checks that rounding cannot change them."""

import contextlib

import torch

from common import floats

# Florence-2's generation settings; `golden` and `settings` vary them.
FLORENCE = dict(do_sample=False, forced_bos_token_id=0, forced_eos_token_id=2, no_repeat_ngram_size=3)
GREEDY = dict(FLORENCE, num_beams=1)
BEAMS = dict(FLORENCE, num_beams=3, early_stopping=True)

# The random checkpoints' logits, of order 10, are within 5e-5 of f64's, and ONNX Runtime's within 1e-4 of these.
GREEDY_MARGIN = 1e-3
BEAM_NOISE, BEAM_TRIALS = 3e-4, 3


class TooClose(AssertionError):
    """Raised if two candidates are so close that another correct implementation might choose the other."""


@contextlib.contextmanager
def noisy_logits(model, noise, seed):
    """Uniform noise of ±`noise` on all logits."""
    generator = torch.Generator().manual_seed(seed)

    def perturb(_module, _inputs, logits):
        return logits + noise * (2 * torch.rand(logits.shape, generator=generator) - 1)

    hook = model.lm_head.register_forward_hook(perturb)
    try:
        yield
    finally:
        hook.remove()


def generate(model, inputs, settings, noise=BEAM_NOISE):
    """transformers' answer as a dictionary: whole decoder sequences, scores, per-token scores.

    Raises `TooClose` if two tokens of a greedy search are closer than GREEDY_MARGIN, or if `noise` on the logits
    changes what a beam search finds.
    """
    wanted = dict(return_dict_in_generate=True, output_scores=True, output_logits=True)
    output = model.generate(**inputs, **settings, **wanted)
    if settings["num_beams"] == 1:
        return greedy(model, output)
    for seed in range(BEAM_TRIALS):
        with noisy_logits(model, noise, seed):
            again = model.generate(**inputs, **settings)
        if again.shape != output.sequences.shape or (again != output.sequences).any():
            raise TooClose(f"beams change under noise of {noise}: {settings}")
    return beams(model, output)


def greedy(model, output):
    """Tokens, their scores, and the log-probabilities of the raw logits."""
    top = torch.stack([scores[0] for scores in output.scores]).topk(2).values
    margin = (top[:, 0] - top[:, 1]).min().item()
    if margin < GREEDY_MARGIN:
        raise TooClose(f"two tokens {margin:.1e} apart")
    scores = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    raw = torch.stack([logits[0] for logits in output.logits]).log_softmax(-1)
    chosen = output.sequences[0, 1:, None]
    return {
        "sequences": output.sequences.tolist(),
        "transition_scores": [floats(scores[0])],
        "logprobs": [floats(raw.gather(1, chosen)[:, 0])],
    }


def beams(model, output):
    """Sequences without the padding that follows `</s>`, best first."""
    scores = model.compute_transition_scores(output.sequences, output.scores, output.beam_indices)
    lengths = (output.beam_indices >= 0).sum(1).tolist()
    return {
        "sequences": [row[: 1 + n] for row, n in zip(output.sequences.tolist(), lengths)],
        "sequences_scores": floats(output.sequences_scores),
        "transition_scores": [floats(row[:n]) for row, n in zip(scores, lengths)],
    }
