"""A worker: a process that does one peer's work, and is suspended while it is another's turn."""

import ctypes
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path


# An option of prctl: the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Has the kernel kill this process when the driver ends: a suspended worker would not see its input close."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class WorkerError(Exception):
    """A worker's error, or its death."""


class Worker:
    """A process that answers JSON lines. It is suspended between requests, since thread pools that spin would slow others."""

    def __init__(self, name, command, environment):
        self.name = name
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
            preexec_fn=die_with_parent,
        )

    def ask(self, do, **request):
        """The answer to a request."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps({"do": do} | request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.name}: ended during {do}, exit status {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {do}: {answer['error']}")
        return answer

    def seconds_alive(self):
        """Seconds since the process was started."""
        return time.perf_counter() - self.started

    def cpu_seconds(self):
        """CPU seconds of all threads so far, in user and system mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self):
        """The largest resident set so far, in bytes (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
