"""The machine's description and its limits. `python machine.py THREADS` measures the limits and prints JSON."""

import json
import os
import platform
import re
import sys
import time
from pathlib import Path

# f32 values: 256 MB, many times any cache.
VALUES = 64 << 20
# Rows, inner size and columns of matrix products as the vision encoder's third stage has them, 9 of its 12 blocks.
PRODUCTS = [(2304, 512, 2048), (2304, 2048, 512), (2304, 512, 512)]
REPETITIONS = 7


def description():
    """CPU, cores, memory, system."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    flags = set(re.search(r"flags\s*: (.*)", info)[1].split()) if "flags" in info else set()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if flag in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {', '.join(known)}; "
            f"{memory:.0f} GiB; {platform.system()} {platform.machine()}")


def cpu_seconds():
    """CPU seconds of all processes since boot, in user (nice or not) and system mode."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(map(int, fields[1:4])) / os.sysconf("SC_CLK_TCK")


def fastest(work):
    """The fewest seconds of several runs."""
    work()
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def limits(threads):
    """Bytes per second read, and moved (read and written) by a copy; operations per second of matrix products in f32, bf16
    and int8. Each is the best that torch (oneDNN) reaches."""
    import torch

    torch.set_num_threads(threads)
    values, copy = torch.ones(VALUES), torch.zeros(VALUES)
    size = values.nbytes
    found = {
        "read": size / fastest(values.sum),
        "copy": 2 * size / fastest(lambda: copy.copy_(values)),
        "fp32": 0, "bf16": 0, "int8": 0,
    }
    for rows, inner, columns in PRODUCTS:
        one, other = torch.randn(rows, inner), torch.randn(inner, columns)
        integers = [(tensor * 20).to(torch.int8) for tensor in (one, other)]
        half = [tensor.bfloat16() for tensor in (one, other)]
        operations = 2 * rows * inner * columns
        for name, product in [
            ("fp32", lambda: one @ other),
            ("bf16", lambda: half[0] @ half[1]),
            ("int8", lambda: torch._int_mm(*integers)),
        ]:
            found[name] = max(found[name], operations / fastest(product))
    return found


if __name__ == "__main__":
    print(json.dumps(limits(int(sys.argv[1]))))
