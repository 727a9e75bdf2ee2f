"""The versions of `requirements.txt`, which make the fixtures."""

from importlib.metadata import version
from pathlib import Path

LINES = (Path(__file__).parent / "requirements.txt").read_text().split()
PINS = dict(line.split("==") for line in LINES)


def require(*packages):
    """Exits if a package has another version than the pinned one."""
    for package in packages:
        found = version(package).split("+")[0]
        assert found == PINS[package], f"{package} {found} is installed, {PINS[package]} is pinned in requirements.txt"
