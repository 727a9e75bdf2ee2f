"""Trains the demo model: `python train.py OUTPUT`. See README.md."""

import argparse
import copy
import math
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

import model as florence
import parallel
import tokenizer as tokenizer_builder
from annotations import BINS, location
from curriculum import FULL, WARM_BEGINS, stage
from data import loader
from evaluate import evaluate
from warm_start import warm_start

# Weight of the loss of `model.CellHead`; it falls to a fifth over the training.
CELL_WEIGHT = 1.0
# Weight of a location token's loss, where a word's is 1. Most of it cannot be reduced (a bin is a fifth of a pixel), and
# it would dominate the loss that tells a circle from a hexagon.
LOCATION_WEIGHT = 0.4
EMA_DECAY = 0.999
SAVE_MINUTES = 2.0


@dataclass
class Progress:
    """The progress of the training, kept by `--resume`."""

    step: int = 0
    minutes: float = 0.0
    samples: int = 0
    legs: int = 0


@dataclass
class Trainer:
    """The model in training and its optimizer state."""

    model: torch.nn.Module
    average: torch.nn.Module
    head: florence.CellHead
    optimizer: torch.optim.Optimizer
    device: torch.device
    # The token of the first location; the others follow it.
    first_location: int
    # The number of processes, and this one's rank.
    rank: int = 0
    processes: int = 1
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self):
        self.weights = [*self.model.parameters(), *self.head.parameters()]
        self.mean, self.std = (value.to(self.device) for value in florence.normalization())

    def losses(self, batch):
        """The loss of the answers and that of the cells."""
        pixels = (batch["pixels"].float() - self.mean) / self.std
        with torch.autocast(self.device.type, torch.bfloat16):
            # Each image is encoded once for all its questions.
            features = florence.image_features(self.model, pixels)
            parts = [self._answer_loss(features, part) for part in batch["parts"]]
        losses, weights = zip(*parts)
        return sum(losses) / sum(weights), self.head(features, batch["cells"])

    def _answer_loss(self, features, part):
        """The loss of one part's answers: a weighted sum over their tokens, and the weights' sum.

        A token weighs 1 / sqrt(its answer's length): the few letters of a sign would be lost among corners of outlines. Of
        locations, `LOCATION_WEIGHT` of that.
        """
        model, labels = self.model, part["labels"]
        words = model.get_input_embeddings()(part["ids"][:, florence.IMAGE_TOKENS :])
        encoded = model.model.language_model.encoder(
            attention_mask=part["mask"],
            inputs_embeds=torch.cat([features[part["images"]].to(words.dtype), words], 1),
        )
        logits = model(encoder_outputs=encoded, attention_mask=part["mask"], labels=labels).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="none"
        )
        asked = labels >= 0
        weights = asked / asked.sum(1, keepdim=True).sqrt()
        is_location = (labels >= self.first_location) & (labels < self.first_location + BINS)
        weights = torch.where(is_location, LOCATION_WEIGHT * weights, weights)
        return (losses * weights.flatten()).sum(), weights.sum()

    def step(self, batch, rate, cell_weight):
        """One step of the optimizer; returns both losses, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        answer, cell = self.losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        (answer + cell_weight * cell).backward()
        parallel.average([weight.grad for weight in self.weights if weight.grad is not None])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        self.progress.step += 1
        self.progress.samples += self.processes * sum(len(part["labels"]) for part in batch["parts"])
        return answer.detach(), cell.detach()

    @torch.no_grad()
    def _average(self):
        # The average starts with a short memory.
        decay = min(EMA_DECAY, (1 + self.progress.step) / (10 + self.progress.step))
        averages, weights = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def save(self, file):
        """Saves the state for `load`."""
        parts = {"model": self.model, "average": self.average, "head": self.head, "optimizer": self.optimizer}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"progress": vars(self.progress)}, f"{file}.new")
        os.replace(f"{file}.new", file)

    def load(self, file):
        """Restores a state of `save`."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])


def arguments():
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Trains the demo model on scenes drawn on the fly.")
    parser.add_argument("output", type=Path, help="folder of the run: the checkpoint, tokenizer, state and log")
    parser.add_argument("--minutes", type=float, default=24 if gpu else 240, help="minutes of training (%(default)s)")
    parser.add_argument(
        "--stop-after", type=float, default=math.inf, help="minutes after which this call stops, to be continued by --resume"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT")
    parser.add_argument(
        "--start-from", type=Path, help="checkpoint whose weights a new run begins with, past the first stages"
    )
    parser.add_argument("--images", type=int, default=96 if gpu else 10, help="images per step and process (%(default)s)")
    parser.add_argument("--prompts", type=int, default=8 if gpu else 6, help="questions per image (%(default)s)")
    parser.add_argument("--rate", type=float, default=8e-4 if gpu else 7e-4, help="highest learning rate (%(default)s)")
    parser.add_argument("--warmup", type=int, default=300 if gpu else 100, help="steps until the highest rate (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that draw scenes (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=None, help="torch's threads on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-steps", type=int, default=100 if gpu else 50)
    parser.add_argument(
        "--evaluate-minutes", type=float, default=6 if gpu else 15, help="time between evaluations (%(default)s)"
    )
    parser.add_argument("--evaluate-scenes", type=int, default=96 if gpu else 24, help="questions per task (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the vision encoder")
    return parser.parse_args()


def prepare(options, tokenizer, rank, processes):
    """The trainer of a new run, or of the run to resume."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = florence.build(tokenizer, options.seed)
    if options.start_from:
        warm_start(model, tokenizer, options.start_from)
    model.to(device)
    # torch's fused attention is slow backwards on a CPU: it took half of each step.
    model.set_attn_implementation("sdpa" if device.type == "cuda" else "eager")
    average = copy.deepcopy(model).requires_grad_(False)
    head = florence.CellHead().to(device)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *head.parameters()], lr=options.rate, betas=(0.9, 0.98), weight_decay=0.02,
        fused=True,
    )
    first_location = tokenizer.token_to_id(location(0.0))
    trainer = Trainer(model, average, head, optimizer, device, first_location, rank, processes)
    if options.resume:
        trainer.load(options.output / "state.pt")
    if options.compile:
        model.model.vision_tower.compile()
    return trainer


def to_device(batch, device):
    """A batch with all its tensors on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    return [to_device(value, device) for value in batch]


class Log:
    """Writes lines to the run's log and to standard output; only the first process does."""

    def __init__(self, file, rank):
        self.file, self.rank = file, rank

    def __call__(self, line):
        """Writes a line."""
        if self.rank > 0:
            return
        print(line, flush=True)
        with open(self.file, "a") as file:
            file.write(line + "\n")

    def scores(self, title, scores):
        """Writes scores by name."""
        self(f"{title}: " + ", ".join(f"{name} {score:.3f}" for name, score in scores.items()))


def learning_rate(options, step, done):
    """Linear warm-up by steps, then a cosine down to a fiftieth at the end; `done` is the share of the time spent."""
    return options.rate * min(1, (step + 1) / options.warmup) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


class Window:
    """The events since the last line of the log."""

    def __init__(self, samples):
        self.begin, self.samples, self.waited, self.losses = time.monotonic(), samples, 0.0, []

    def line(self, progress, rate):
        """Returns the line and starts a new window."""
        spent = time.monotonic() - self.begin
        answers, cells = torch.stack([torch.stack(pair) for pair in self.losses]).mean(0).tolist()
        return (
            f"{progress.minutes:6.2f} min  step {progress.step:6d}  answers {answers:.3f}  cells {cells:.3f}  "
            f"rate {rate:.1e}  {(progress.samples - self.samples) / spent:.0f} samples/s  "
            f"waiting for scenes {self.waited / spent:.0%}"
        )


def train(trainer, options, tokenizer, log):
    """Steps until the time is up."""
    progress = trainer.progress
    progress.legs += 1
    floor = WARM_BEGINS if options.start_from else 0.0
    # The curriculum's progress, read by the loader's processes.
    shared = multiprocessing.Value("d", floor)
    batches = iter(loader(
        f"train/{options.seed}/{progress.legs}/{trainer.rank}", options.images, options.prompts, shared,
        options.output / "tokenizer.json", options.workers, trainer.device.type == "cuda",
    ))
    begin, before = time.monotonic(), progress.minutes
    saved = evaluated = before
    window = Window(progress.samples)
    while True:
        progress.minutes = parallel.agree(before + (time.monotonic() - begin) / 60)
        done = min(1.0, progress.minutes / options.minutes)
        shared.value = max(floor, done)
        if done >= 1 or progress.minutes - before >= options.stop_after:
            return
        asked = time.monotonic()
        batch = to_device(next(batches), trainer.device)
        window.waited += time.monotonic() - asked
        rate = learning_rate(options, progress.step, done)
        window.losses.append(trainer.step(batch, rate, CELL_WEIGHT * (1 - 0.8 * done)))
        if progress.step % options.log_steps == 0:
            log(window.line(progress, rate))
            window = Window(progress.samples)
        if trainer.rank > 0:
            continue
        if progress.minutes - saved >= SAVE_MINUTES:
            trainer.save(options.output / "state.pt")
            saved = progress.minutes
        if progress.minutes - evaluated >= options.evaluate_minutes:
            measure(trainer, options, tokenizer, log, stage(shared.value))
            evaluated = before + (time.monotonic() - begin) / 60


def measure(trainer, options, tokenizer, log, now=FULL):
    """Logs the scores on held-out scenes: of the full difficulty, and of the present one if that is less."""
    for name, difficulty in {"full difficulty": FULL, "this stage": now}.items():
        if name == "full difficulty" or now is not FULL:
            scores = evaluate(trainer.average, tokenizer, options.evaluate_scenes, stage=difficulty)
            log.scores(f"{trainer.progress.minutes:6.2f} min  held out, {name}", scores)


def main():
    options = arguments()
    rank, processes = parallel.join()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = True
    if rank == 0 and not options.resume:
        tokenizer_builder.write(options.output)
    parallel.agree(0)
    tokenizer = Tokenizer.from_file(str(options.output / "tokenizer.json"))
    log = Log(options.output / "train.log", rank)
    trainer = prepare(options, tokenizer, rank, processes)
    size = sum(weight.numel() for weight in trainer.model.parameters())
    log(
        f"{size / 1e6:.2f} M parameters, {trainer.device}, torch {torch.__version__}, {processes} processes, "
        f"{options.workers} more to draw for each"
    )
    train(trainer, options, tokenizer, log)
    if rank == 0:
        trainer.save(options.output / "state.pt")
        florence.save(trainer.average, options.output / "checkpoint", options.output)
        measure(trainer, options, tokenizer, log)


if __name__ == "__main__":
    main()
