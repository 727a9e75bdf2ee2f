"""The workers' end of the line protocol: a JSON object a line in, a JSON object a line out."""

import json
import os
import sys
import time


def serve(handlers):
    """Answers requests until stdin ends: `{"do": NAME, ...}` with `handlers[NAME](...)`, which gives a dictionary."""
    # Libraries may print: what they say goes to stderr, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
        except Exception as error:  # whatever it is, the driver reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def timed(work):
    """What `work()` gives, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
