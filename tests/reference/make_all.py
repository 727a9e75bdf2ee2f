"""Makes every fixture. The same versions (`requirements.txt`) give the same bytes."""

import runpy
from pathlib import Path

# Scripts whose output others need come first; the rest in the order of their names.
FIRST = ["make_images.py", "make_checkpoints.py"]


def main():
    """Runs each `make_*.py` beside this file."""
    here = Path(__file__).parent
    rest = sorted(path.name for path in here.glob("make_*.py") if path.name not in FIRST + [Path(__file__).name])
    for name in FIRST + rest:
        print(name, flush=True)
        runpy.run_path(str(here / name), run_name="__main__")


if __name__ == "__main__":
    main()
