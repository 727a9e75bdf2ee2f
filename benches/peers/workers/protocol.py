"""The workers' side of the protocol: a JSON object per line on stdin, and one per line on stdout."""

import json
import os
import sys
import time


def serve(handlers):
    """Answers requests `{"do": NAME, ...}` with the dictionary that `handlers[NAME](...)` returns, until stdin ends."""
    # What libraries print goes to stderr, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
        except Exception as error:  # the driver reports any error
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def timed(work):
    """The result of `work()`, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
