"""Golden results of generation: transformers' `generate` over synthetic logits.

The logits are a hash of the last tokens, exact in f32, so that the Rust tests (`src/generation/tests/`) compute the
very same ones without weights. The same versions (`requirements.txt`) give the same bytes. Makes:

    tests/fixtures/generation/searches.json    tokens and scores of greedy and beam search
    tests/fixtures/generation/processors.json  scores after the logits processors, sampling's among them
"""

import itertools
import json
import logging
import math
import random
import warnings
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PretrainedConfig,
    PreTrainedModel,
    SequenceBiasLogitsProcessor,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from pins import require

require("transformers", "torch")
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

FIXTURES = Path(__file__).parent.parent / "fixtures" / "generation"
START, PAD, EOS, BOS = 2, 1, 2, 0


def mix(x):
    """The finaliser of MurmurHash3, on u32."""
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def fake_logits(model, tokens):
    """`[vocabulary]` f32: multiples of 2^-21 in [0, 4), times a power of two, plus a bias of some tokens."""
    with np.errstate(over="ignore"):
        # The length, so that no two orders of the same tokens are equally likely.
        state = mix(np.array([model["seed"]], dtype=np.uint32) + np.uint32(len(tokens) << 8))
        for token in tokens[-model["context"] :]:
            state = mix((state ^ np.uint32(token)) * np.uint32(0x9E3779B1) + np.uint32(1))
        ids = np.arange(model["vocabulary"], dtype=np.uint32)
        hashes = mix(state ^ (ids * np.uint32(0x9E3779B1)))
    logits = (hashes >> np.uint32(9)).astype(np.float32) * np.float32(2.0**-21) * np.float32(model["scale"])
    for token, bias in model["bias"]:
        logits[token] += np.float32(bias)
    return logits


class FakeConfig(PretrainedConfig):
    model_type = "fake"


class FakeModel(PreTrainedModel, GenerationMixin):
    config_class = FakeConfig

    def __init__(self, model):
        super().__init__(FakeConfig(vocab_size=model["vocabulary"]))
        self.model = model
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.generation_config = GenerationConfig()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        logits = np.stack([fake_logits(self.model, row) for row in input_ids.tolist()])
        return CausalLMOutputWithPast(logits=torch.from_numpy(logits)[:, None])

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **kwargs):
        return {"input_ids": input_ids}


def config_of(settings):
    return GenerationConfig(pad_token_id=PAD, **settings)


def compact(number):
    return float(f"{number:.7g}")


def search(model, settings):
    fake = FakeModel(model)
    output = fake.generate(
        torch.tensor([[START]]),
        attention_mask=torch.ones((1, 1), dtype=torch.long),
        generation_config=config_of(settings),
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    beams = settings.get("num_beams", 1) > 1
    # In f64: torch's f32 log-softmax across the vocabulary is only exact to 1e-5 here.
    transitions = fake.compute_transition_scores(
        output.sequences,
        tuple(scores.double() for scores in output.scores),
        output.beam_indices if beams else None,
        normalize_logits=not beams,
    )
    eos = settings["eos_token_id"]
    eos = eos if isinstance(eos, list) else [eos]
    found = []
    for index, sequence in enumerate(output.sequences[:, 1:].tolist()):
        if beams:
            length = int((output.beam_indices[index] >= 0).sum())
            score = output.sequences_scores[index].item()
        else:
            ends = [position for position, token in enumerate(sequence) if token in eos]
            length = ends[0] + 1 if ends else len(sequence)
            score = None
        # transformers' padding if there are fewer sequences than requested.
        if score is not None and score < -1e8:
            continue
        found.append(
            {
                "token_ids": sequence[:length],
                "token_log_probs": [compact(x) for x in transitions[index, :length].tolist()],
                "score": None if score is None else compact(score),
            }
        )
    return found


def model(seed, vocabulary, context=2, scale=2.0, bias=()):
    return {"seed": seed, "vocabulary": vocabulary, "context": context, "scale": scale, "bias": list(bias)}


MODELS = [
    model(1, 40, bias=[(EOS, 2.0)]),  # ends soon
    model(2, 40, scale=0.5, bias=[(EOS, 1.0)]),  # undecided
    model(3, 40, bias=[(EOS, 1.0), (7, 1.5)]),
    model(4, 3000, scale=4.0),  # hardly ever ends
    model(5, 3000, scale=4.0, bias=[(EOS, 6.0)]),
    model(6, 12, context=1, scale=1.0, bias=[(EOS, 0.5)]),  # vocabulary near the number of candidates
    model(7, 9, context=3, scale=1.0, bias=[(EOS, 1.0)]),
    model(8, 60, context=1, bias=[(BOS, 8.0)]),  # repeats <s> without end
    model(9, 60, scale=0.125, bias=[(EOS, -0.5)]),  # all much alike
    model(10, 200, context=4, scale=2.0, bias=[(EOS, 3.0), (5, 2.5)]),
]

GRID = {
    "num_beams": [1, 2, 3, 3, 5],
    "max_new_tokens": [1, 2, 3, 8, 20],
    "length_penalty": [-1.0, 0.0, 0.2, 1.0, 1.0, 2.0],
    "early_stopping": [False, True, "never"],
    "no_repeat_ngram_size": [0, 0, 1, 2, 3],
    "repetition_penalty": [1.0, 1.0, 1.3, 0.7],
    "min_new_tokens": [None, None, 1, 3, 9],
    "forced_bos_token_id": [None, BOS, BOS, 3],
    "forced_eos_token_id": [None, EOS],
    "eos_token_id": [EOS, EOS, [EOS, 5], [EOS, 5, 6]],
    "bad_words_ids": [None, None, [[3], [4, 8], [EOS]]],
    "suppress_tokens": [None, None, [7, 8]],
    "begin_suppress_tokens": [None, None, [EOS, 4]],
    "renormalize_logits": [None, None, True],
}


def settings_from_grid(rng, vocabulary):
    settings = {name: rng.choice(values) for name, values in GRID.items()}
    beams = settings["num_beams"]
    ends = settings["eos_token_id"]
    ends = len(ends) if isinstance(ends, list) else 1
    # Room for the beams once everything that may be banned is: transformers breaks ties between impossible
    # continuations in no particular order.
    if vocabulary < 30:
        settings["no_repeat_ngram_size"] = 0
        settings["suppress_tokens"] = settings["bad_words_ids"] = settings["begin_suppress_tokens"] = None
        if vocabulary - ends < beams:
            settings["eos_token_id"] = EOS
    if settings["no_repeat_ngram_size"] == 1:
        settings["max_new_tokens"] = min(settings["max_new_tokens"], 8)
    if beams == 1:
        settings["length_penalty"] = 1.0
        settings["early_stopping"] = False
    else:
        settings["num_return_sequences"] = rng.choice([1, 1, 2, beams])
    return {name: value for name, value in settings.items() if value is not None}


def searches():
    rng = random.Random(20260)
    cases = []
    for _ in range(600):
        index = rng.randrange(len(MODELS))
        settings = settings_from_grid(rng, MODELS[index]["vocabulary"])
        cases.append((index, settings))
    # The settings of Florence-2's checkpoints, and length penalties that change the winner.
    florence = {
        "num_beams": 3,
        "no_repeat_ngram_size": 3,
        "early_stopping": True,
        "forced_bos_token_id": BOS,
        "forced_eos_token_id": EOS,
        "eos_token_id": EOS,
    }
    for index in range(len(MODELS)):
        for beams in (1, 3):
            cases.append((index, florence | {"num_beams": beams, "max_new_tokens": 60}))
        for penalty in (-2.0, 0.0, 0.5, 1.0, 3.0):
            cases.append((index, {"num_beams": 4, "length_penalty": penalty, "max_length": 16, "eos_token_id": EOS}))
    results = [
        {"model": index, "settings": settings, "sequences": search(MODELS[index], settings)}
        for index, settings in cases
    ]
    # Settings that together leave no token to choose from (a forced end that is suppressed at the beginning, say)
    # make transformers go on with nonsense.
    return {"models": MODELS, "cases": [result for result in results if is_finite(result["sequences"])]}


def is_finite(sequences):
    return all(math.isfinite(x) for found in sequences for x in found["token_log_probs"] + [found["score"] or 0.0])


def processors():
    rng = random.Random(7)
    models = [model(21, 40), model(22, 500, scale=4.0), model(23, 500, scale=0.25)]
    warpers = [
        {"temperature": 0.7},
        {"temperature": 1.9},
        {"top_k": 5},
        {"top_k": 1000},
        {"top_p": 0.9},
        {"top_p": 0.05},
        {"top_p": 0.999},
        {"min_p": 0.1},
        {"typical_p": 0.3},
        {"typical_p": 0.95},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.8},
        {"temperature": 1.4, "top_k": 30, "top_p": 0.95, "min_p": 0.05, "typical_p": 0.9},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "top_k": 12},
        {"renormalize_logits": True, "top_k": 8},
        {"num_beams": 3, "eos_token_id": [2, 5], "top_p": 0.01},
        {"num_beams": 3, "eos_token_id": [2, 5], "top_k": 1, "min_p": 0.9},
        {"num_beams": 3, "eos_token_id": [2, 5], "typical_p": 0.02},
    ]
    # With a processor of the caller's, which adds 3 to the score of one token.
    biased = [
        {"repetition_penalty": 1.5, "temperature": 0.6, "bias": 3},
        {"suppress_tokens": [4], "top_k": 6, "bias": 4},
        {"num_beams": 3, "eos_token_id": [2, 5], "renormalize_logits": True, "top_p": 0.9, "bias": 7},
    ]
    cases = []
    for (index, fake), warper in [
        *itertools.product(enumerate(models), warpers),
        *itertools.product(enumerate(models), biased),
    ]:
        settings = {"do_sample": True, "max_new_tokens": 20, "eos_token_id": EOS, "top_k": 0} | warper
        bias = settings.pop("bias", None)
        tokens = [START] + [rng.randrange(12) for _ in range(rng.randrange(12))]
        config = config_of(settings)
        wrapper = FakeModel(fake)
        config, _ = wrapper._prepare_generation_config(config)
        wrapper._prepare_special_tokens(config)
        config.max_length = config.max_new_tokens + 1
        own = [] if bias is None else [SequenceBiasLogitsProcessor([[[bias], 3.0]])]
        rules = wrapper._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=1,
            logits_processor=LogitsProcessorList(own),
            device="cpu",
        )
        scores = torch.from_numpy(fake_logits(fake, tokens))[None]
        scores = rules(torch.tensor([tokens]), scores)[0].tolist()
        kept = [[token, compact(score)] for token, score in enumerate(scores) if score != -float("inf")]
        # Many tokens: the first, and how many.
        case = {"model": index, "settings": settings, "tokens": tokens, "kept": len(kept), "scores": kept[:40]}
        cases.append(case if bias is None else case | {"bias": bias})
    return {"models": models, "cases": cases}


def write(name, fixture):
    lists = {key: fixture[key] for key in ("models", "cases")}
    lines = [
        f'"{key}": [\n' + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"
        for key, items in lists.items()
    ]
    (FIXTURES / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    FIXTURES.mkdir(parents=True, exist_ok=True)
    write("searches.json", searches())
    write("processors.json", processors())
