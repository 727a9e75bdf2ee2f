"""Answers of `base-like` under other generation settings, each of which changes something."""

from itertools import combinations

from PIL import Image

from common import GOLDEN, IMAGES, ROOT, load, versions, write_json
from generation import BEAMS, GREEDY, TooClose, generate
from prompts import all_prompts, any_inputs

IMAGE = IMAGES / "shapes-320x200.png"
UNFORCED = {"forced_bos_token_id": None, "forced_eos_token_id": None}
LONG = {"max_new_tokens": 24}

# Name, base, what differs from it. The cases of a group (the name's part before the first blank) are compared.
CASES = [
    *[(f"length_penalty {p}", BEAMS, dict(LONG, length_penalty=p)) for p in (0.2, 1.0, 2.0, -1.0)],
    *[(f"length_penalty_exhaustive {p}", BEAMS, dict(LONG, length_penalty=p, early_stopping="never"))
      for p in (0.2, 1.0, 2.0, -1.0)],
    *[(f"early_stopping {e}", BEAMS, dict(LONG, early_stopping=e, length_penalty=2.0)) for e in (False, True, "never")],
    *[(f"no_repeat_ngram_size {n}", BEAMS, dict(LONG, no_repeat_ngram_size=n)) for n in (0, 2, 3)],
    *[(f"greedy_no_repeat_ngram_size {n}", GREEDY, dict(LONG, no_repeat_ngram_size=n)) for n in (0, 2, 3)],
    *[(f"repetition_penalty {p}", BEAMS, dict(LONG, repetition_penalty=p)) for p in (1.0, 1.3)],
    *[(f"greedy_repetition_penalty {p}", GREEDY, dict(LONG, repetition_penalty=p)) for p in (1.0, 1.3)],
    *[(f"min_new_tokens {n}", BEAMS, dict(LONG, min_new_tokens=n)) for n in (0, 12)],
    *[(f"greedy_min_new_tokens {n}", GREEDY, dict(LONG, min_new_tokens=n)) for n in (0, 12)],
    *[(f"max_new_tokens {n}", BEAMS, dict(max_new_tokens=n)) for n in (1, 2, 3)],
    *[(f"greedy_max_new_tokens {n}", GREEDY, dict(max_new_tokens=n)) for n in (1, 2, 3)],
    *[(f"unforced_max_new_tokens {n}", BEAMS, dict(UNFORCED, max_new_tokens=n)) for n in (1, 2, 3, 8)],
    ("greedy_unforced 8", GREEDY, dict(UNFORCED, max_new_tokens=8)),
    ("num_return_sequences 3", BEAMS, dict(LONG, num_beams=4, num_return_sequences=3)),
    ("num_return_sequences never", BEAMS,
     dict(LONG, num_beams=4, num_return_sequences=4, early_stopping="never", length_penalty=0.2)),
    *[(f"num_beams {n}", BEAMS, dict(LONG, num_beams=n)) for n in (2, 3, 5)],
]
