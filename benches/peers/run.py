#!/usr/bin/env python3
"""Measures this engine side by side with other ways to run Florence-2 on a CPU, and writes benches/RESULTS.md.

Makes, in the work folder, a Python environment with the peers, a checkpoint of Florence-2-base's dimensions with random
weights, its exports and an image; then has the peers do the same work in turns. Requires Linux, cargo, node and npm, 12 GB
of memory and of disk, and the tokenizer of any Florence-2 checkpoint. README.md describes the method.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "driver"))
# ONNX Runtime reads this as it is loaded; the peers' processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import machine
import measure
import prepare
import report
from peers import ATTENTION, peers
from prepare import ROOT, say


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "peers", help="the folder for environments, exports and results")
    parser.add_argument("--out", type=Path, default=ROOT / "benches" / "RESULTS.md", help="the report")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds")
    parser.add_argument("--alone", type=int, default=3, help="fresh processes per peer, for memory and loading")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, default=ROOT.parent / "shared" / "data" / "tokenizer",
                        help="a folder with Florence-2's tokenizer.json [default: %(default)s]")
    parser.add_argument("--python", type=Path, help="a Python with the packages of requirements.txt, instead of one in the work folder")
    parser.add_argument("--openvino-python", type=Path, help="a Python with OpenVINO, if --python lacks it")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default=ATTENTION, help="transformers' attention")
    parser.add_argument("--only", help="peers whose names contain one of these, separated by commas")
    parser.add_argument("--report-only", action="store_true", help="write the report of the last run again")
    return parser.parse_args()


def library(interpreter):
    """The ONNX Runtime library of a Python environment, whose version is pinned."""
    script = "import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parent / 'capi')"
    found = subprocess.run([interpreter, "-c", script], capture_output=True, text=True)
    libraries = sorted(Path(found.stdout.strip()).glob("libonnxruntime.so.*")) if found.returncode == 0 else []
    return os.environ.get("ORT_DYLIB_PATH") or (libraries[0] if libraries else None)


def limits(interpreter, threads):
    """The machine's limits, measured in a separate process."""
    say("measuring the machine")
    found = subprocess.run([interpreter, HERE / "driver" / "machine.py", str(threads)], check=True,
                           stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)


def git(*command):
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def measured(options, checkpoint, exports, interpreter):
    """Measures everything that the report needs."""
    openvino = options.openvino_python or interpreter
    everyone = peers(checkpoint, exports, options.threads, interpreter, openvino, options.attention,
                     library(interpreter))
    wanted = options.only.split(",") if options.only else [""]
    chosen = [peer for peer in everyone if any(part in peer.name for part in wanted)]
    photo, resized = prepare.images(options.work, interpreter)
    before = limits(interpreter, options.threads)
    alone = measure.alone(chosen, photo, options.alone)
    in_turns = measure.in_turns(chosen, photo, resized, options.rounds)
    after = limits(interpreter, options.threads)
    return in_turns | {
        "command": "python benches/peers/run.py" + f" --rounds {options.rounds} --threads {options.threads}",
        "date": date.today().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else ""),
        "rounds": options.rounds, "threads": options.threads, "attention": options.attention,
        "description": machine.description(), "machine": {name: max(before[name], after[name]) for name in before},
        "precisions": {peer.name: peer.precision for peer in chosen if peer.precision},
        "alone": alone,
    }


def main():
    options = arguments()
    if not (options.tokenizer / "tokenizer.json").exists():
        sys.exit(f"no tokenizer.json in {options.tokenizer}; --tokenizer names the folder of a Florence-2 checkpoint")
    options.work = options.work.resolve()
    results = options.work / "results.json"
    checkpoint = options.work / "plain" / "checkpoint"
    if not options.report_only:
        prepare.build()
        prepare.npm()
        interpreter = options.python or prepare.python(options.work)
        checkpoint, exports = prepare.exports(options.work, options.tokenizer.resolve())
        results.write_text(json.dumps(measured(options, checkpoint, exports, interpreter), indent=1))
    text = report.render(json.loads(results.read_text()), checkpoint)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
