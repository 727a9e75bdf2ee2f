"""One table of what `gpu.sh` measured: `python gpu_table.py WORK` prints Markdown."""

import json
import sys
from pathlib import Path

COLUMNS = ["vision", "vision + encoder", "a token", "end to end", "p95"]
# Required seconds on an H100 at base size in fp16 with 3 beams, and the required speed-up over transformers in fp16.
BARS = {"vision + encoder": 12e-3, "a token": 0.8e-3, "end to end": 30e-3}
TIMES_AS_FAST = 5


def ours(run):
    """Name, entry and seconds by column of each configuration of `florence2 bench`."""
    for entry in run["configurations"]:
        model = Path(entry["model"]).name
        name = f"florence2 {model} {entry['device']}, {entry['num_beams']} beams, batch {entry['batch']}"
        measured = entry.get("measured")
        if measured is None:
            yield name, entry, {"error": entry["error"]}
            continue
        figures = measured["figures"]
        vision, text = (figures[key]["median"] for key in ("vision_encoder", "text_encoder"))
        yield name, entry, {
            "vision": vision, "vision + encoder": vision + text, "a token": figures["token"]["median"],
            "end to end": figures["end_to_end"]["median"], "p95": figures["end_to_end"]["p95"],
        }


def theirs(work):
    """Name and seconds by column of each setting of transformers, for 3 beams and one image."""
    for file in sorted(work.glob("transformers-*.json")):
        if text := file.read_text().strip():
            found = json.loads(text.splitlines()[-1])
            figures = found["figures"]
            yield found["name"], {
                "vision": figures["vision_encoder"]["median"], "vision + encoder": figures["encoders"]["median"],
                "a token": figures["token"]["median"], "end to end": figures["end_to_end"]["median"],
                "p95": figures["end_to_end"]["p95"],
            }


def line(cells):
    return "| " + " | ".join(cells) + " |"


def row(name, seconds):
    """A row of milliseconds, or the reason why there are none."""
    if "error" in seconds:
        return line([name, seconds["error"].replace("|", "/").replace("\n", " "), *[""] * (len(COLUMNS) - 1)])
    return line([name, *(f"{1e3 * seconds[column]:.3g}" for column in COLUMNS)])


def bars(best, peer):
    """A row for each bar: the figure reached, and whether it meets the bar."""
    for column, limit in BARS.items():
        verdict = "met" if best[column] <= limit else "**not met**"
        yield line([f"{column} ≤ {1e3 * limit:g} ms", f"{1e3 * best[column]:.3g} ms", verdict])
    if peer:
        times = peer["end to end"] / best["end to end"]
        yield line([f"end to end ≥ {TIMES_AS_FAST} × as fast as transformers", f"{times:.2g} ×",
                    "met" if times >= TIMES_AS_FAST else "**not met**"])


def main():
    work = Path(sys.argv[1])
    run = json.loads((work / "bench.json").read_text())
    rows, peers = list(ours(run)), list(theirs(work))
    print("# On a GPU\n")
    print("```json\n" + json.dumps(run["environment"], indent=1) + "\n```\n")
    print(line(["ms", *COLUMNS]) + "\n" + line(["---", *["---:"] * len(COLUMNS)]))
    for name, _, seconds in rows:
        print(row(name, seconds))
    for name, seconds in peers:
        print(row(name + ", 3 beams, batch 1", seconds))
    best = [seconds for name, entry, seconds in rows
            if (entry["num_beams"], entry["batch"]) == (3, 1) and "fp16" in entry["model"] and "error" not in seconds]
    if best:
        fastest = min(best, key=lambda seconds: seconds["end to end"])
        print("\n" + line(["bar (base, fp16, 3 beams, on an H100)", "reached", ""]) + "\n" + line(["---", "---:", "---"]))
        print("\n".join(bars(fastest, peers[0][1] if peers else None)))
    if (work / "parity.txt").exists():
        print("\n" + (work / "parity.txt").read_text())


if __name__ == "__main__":
    main()
