"""The measurements: first each peer alone in a fresh process, then all of them in turns."""

import os
import time
from collections import defaultdict
from contextlib import ExitStack
from statistics import median

from machine import cpu_seconds
from prepare import say
from worker import Worker

# New tokens of an answer.
ANSWER_TOKENS = 20
# A decoder step is the difference of a longer and a shorter search, per token: prompt, first step and set-up cancel out.
SHORT, LONG = 10, 50
# Relative tolerance of the norm of the image features, which quantization changes slightly.
TOLERANCE = 0.05


def step(worker, peer, beams):
    """Seconds per token, and the tokens of the longer search."""
    short = worker.ask("generate", beams=beams, tokens=SHORT)
    long = worker.ask("generate", beams=beams, tokens=LONG)
    return {"seconds": (long["seconds"] - short["seconds"]) / (LONG - SHORT), "tokens": long["tokens"]}


# The items by name, in the order of the tables.
ITEMS = {
    "vision": lambda worker, peer, photo: worker.ask("vision"),
    "text_encoder": lambda worker, peer, photo: worker.ask("text_encoder"),
    "step_1": lambda worker, peer, photo: step(worker, peer, 1),
    "step_3": lambda worker, peer, photo: step(worker, peer, 3),
    "answer": lambda worker, peer, photo: answer(worker, peer, photo),
    "second_task": lambda worker, peer, photo: worker.ask("second_task", beams=peer.beams, tokens=ANSWER_TOKENS),
}


def answer(worker, peer, photo):
    """An answer about the photo with exactly `ANSWER_TOKENS` tokens."""
    found = worker.ask("answer", image=str(photo), beams=peer.beams, tokens=ANSWER_TOKENS)
    if len(found["tokens"]) != ANSWER_TOKENS:
        raise RuntimeError(f"{peer.name} gave {len(found['tokens'])} tokens instead of {ANSWER_TOKENS}")
    return found


def alone(peers, photo, rounds):
    """Lists by peer: peak memory, seconds to load, from there to the first answer, and from the process start to it."""
    found = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for peer in (peer for peer in peers if "answer" in peer.items):
            say(f"alone {number + 1}/{rounds}: {peer.name}")
            with Worker(peer.name, peer.command, peer.environment) as worker:
                loaded = worker.ask("load", **peer.load)
                first = answer(worker, peer, photo)
                result = found[peer.name]
                result["start_to_answer"].append(worker.seconds_alive())
                result["load_to_answer"].append(loaded["seconds"] + first["seconds"])
                result["load"].append(loaded["seconds"])
                result["peak_memory"].append(worker.peak_memory())
    return found


def in_turns(peers, photo, resized, rounds):
    """All answers by peer and item, the versions, and the share of CPU time that other processes took meanwhile.

    Within a round, the peers run an item one after the other."""
    found, versions = defaultdict(lambda: defaultdict(list)), {}
    with ExitStack() as stack:
        workers = {}
        for peer in peers:
            say(f"loading: {peer.name}")
            worker = stack.enter_context(Worker(peer.name, peer.command, peer.environment))
            versions |= worker.ask("load", **peer.load)["versions"]
            worker.ask("prepare", image=str(resized))
            workers[peer.name] = worker
        start, others = time.perf_counter(), others_seconds(workers.values())
        # The first round warms up.
        for number in range(rounds + 1):
            for item, measure in ITEMS.items():
                say((f"round {number}/{rounds}" if number else "warming up") + f": {item}")
                # The order rotates.
                for index in range(len(peers)):
                    peer = peers[(index + number) % len(peers)]
                    if item in peer.items:
                        result = measure(workers[peer.name], peer, photo)
                        if number:
                            found[peer.name][item].append(result)
        others = others_seconds(workers.values()) - others
        disturbance = others / (time.perf_counter() - start) / os.cpu_count()
    check_features(found)
    return {"turns": {peer.name: found[peer.name] for peer in peers}, "versions": versions, "disturbance": disturbance}


def others_seconds(workers):
    """The CPU seconds of all processes but these."""
    return cpu_seconds() - sum(worker.cpu_seconds() for worker in workers)


def check_features(found):
    """Checks that all encoders did the same work: the norms of their features agree."""
    norms = {name: items["vision"][-1]["norm"] for name, items in found.items() if items["vision"]}
    middle = median(norms.values())
    for name, norm in norms.items():
        if not abs(norm / middle - 1) <= TOLERANCE:
            raise RuntimeError(f"{name}: its features' norm is {norm:.1f}, but the peers' median is {middle:.1f}")
