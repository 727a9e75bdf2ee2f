#!/usr/bin/env python3
"""Fails if a tracked Rust, Python or Markdown file has a word of the project's former dialect; CONTRIBUTING.md has the words
to write instead. Identifiers are split by case and underscore. Usage: words.py [--ambiguous], in the repository."""
import re
import subprocess
import sys
from pathlib import Path

WORDS = [
    "picture", "whole number", "chooser", "rearranger", "side graph", "junction", "recording", "best logits", "best row",
    "gives way", "goes on", "so many", "essence", "is told", "is said",
]
# Words with a second, legitimate meaning: counted with --ambiguous, never an error.
AMBIGUOUS = ["place", "room", "said", "told", "claims", "blame", "odd", "what", "own", "cross"]
# (end of the path, text): uses of a word that must keep it.
ALLOWED = [
    (".md", "picture>"),  # HTML elements
    ("cli/src/commands/bench/record.rs", 'rename = "picture"'),  # a JSON key
    ("benches/gpu/README.md", "step/{recording,recordings}.rs"),  # files of an older commit
    ("tests/reference/prompts.py", "What is in this picture?"),  # a prompt of recorded answers
    ("tests/reference/make_preprocess.py", "This is no picture."),  # the contents of a fixture
]


def split(line):
    """Returns the line in lower case with identifiers split into words: `SideGraph::side_graph` has `side graph` twice."""
    line = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", line)
    return re.sub(r"[^a-z0-9']+", " ", line.lower())


def findings(words):
    """Yields (path, line number, word) for each occurrence. A phrase may continue on the next line."""
    pattern = re.compile(r"\b(" + "|".join(words) + r")s?\b")
    names = subprocess.run(["git", "ls-files", "*.rs", "*.py", "*.md"], capture_output=True, text=True, check=True)
    for path in sorted(set(names.stdout.split()) - {".ci/words.py"}):
        lines = [path, *Path(path).read_text(encoding="utf-8").splitlines()]  # Line 0 is the file's name.
        for allowed in (text for end, text in ALLOWED if path.endswith(end)):
            lines = [line.replace(allowed, "") for line in lines]
        ends, text = [], ""
        for line in lines:
            text += split(line).strip() + " "
            ends.append(len(text))
        number = 0
        for found in pattern.finditer(text):
            while ends[number] <= found.start():
                number += 1
            yield path, number, found[1]


def main():
    ambiguous = "--ambiguous" in sys.argv
    words = AMBIGUOUS if ambiguous else WORDS
    found = list(findings(words))
    for path, line, word in found if not ambiguous else []:
        print(f"{path}:{line}: {word}")
    print(", ".join(f"{word} {sum(of == word for *_, of in found)}" for word in words))
    sys.exit(bool(found) and not ambiguous)


main()
