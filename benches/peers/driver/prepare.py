"""The inputs of the workers: programs, Python and npm packages, the checkpoint, its exports, the image. They are kept in
the work folder, and made again only if their ingredients have changed."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1]
ROOT = PEERS.parents[1]
RELEASE = ROOT / "target" / "release"
CLI = RELEASE / "florence2"
SEED = 20
# The side of the square images that the model takes.
SIDE = 768
PRECISIONS = ["fp32", "int8", "int4"]


def say(message):
    """Prints progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def run(*command, cwd=ROOT):
    """Runs a program with its output on stderr."""
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, stdout=sys.stderr)


def once(stamp, ingredients, make):
    """Calls `make` unless the file `stamp` records a call with the same ingredients."""
    digest = hashlib.sha256("\0".join(map(str, ingredients)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    make()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest)


def sources(*folders):
    """A digest of all source files in folders of the repository."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.rs")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build():
    """Builds our programs."""
    say("building")
    run("cargo", "build", "--release", "--quiet", "-p", "florence2-cli", "-p", "florence2-peers-worker")


def python(work):
    """Installs requirements.txt into a virtual environment in the work folder; returns its interpreter."""
    requirements, folder = PEERS / "requirements.txt", work / "venv"

    def make():
        say("installing Python packages")
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "--requirement", requirements)

    once(work / "venv.stamp", [requirements.read_text()], make)
    return folder / "bin" / "python"


def npm():
    """Installs transformers.js from package-lock.json."""
    lock = PEERS / "package-lock.json"

    def make():
        say("installing npm packages")
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=PEERS)

    once(PEERS / "node_modules" / "installed.stamp", [lock.read_text()], make)


def targets():
    """The export targets that our program supports."""
    message = subprocess.run([CLI, "export", "-", "--out", "-", "--target", "?"], capture_output=True, text=True).stderr
    found = re.search(r"the targets are ([\w, -]+)", message)
    if not found:
        raise RuntimeError(f"florence2 export does not list its targets:\n{message}")
    return found[1].split(", ")


def exports(work, tokenizer):
    """Makes the random base checkpoint and its exports; returns the checkpoint's folder and the exports' folders by name."""
    ingredients = [sources("export", "layout"), SEED, tokenizer]
    plain = work / "plain"
    checkpoint = plain / "checkpoint"
    folders = {"plain fp32": plain}

    def export(name, folder, *arguments):
        def make():
            say(f"exporting {name}")
            shutil.rmtree(folder, ignore_errors=True)
            run(CLI, "export", *arguments, "--out", folder, "--tokenizer", tokenizer)

        once(work / f"{folder.name}.stamp", [*ingredients, *arguments], make)

    export("plain fp32", plain, "--random", "base", "--seed", SEED)
    if "cpu" in targets():
        for precision in PRECISIONS:
            name, folder = f"cpu {precision}", work / f"cpu-{precision}"
            export(name, folder, checkpoint, "--target", "cpu", "--precision", precision)
            folders[name] = folder
    return checkpoint, folders


def images(work, interpreter):
    """Generates the photo; returns it and its copy at the model's size."""
    script = PEERS / "driver" / "draw_image.py"
    folder = work / "images"
    once(work / "images.stamp", [script.read_text(), SIDE], lambda: run(interpreter, script, folder, SIDE))
    return folder / "photo.jpg", folder / "model-size.png"
