"""Runs in Celery's own environment: `app` for the worker; as a program it puts the burst and prints what came of it.

python on_celery.py TASKS    with BROKER and SECONDS in the environment
"""

from __future__ import annotations

import json
import os
import sys
import time

from celery import Celery  # type: ignore[import-not-found]

app = Celery("rival", broker=os.environ["BROKER"], backend=os.environ["BROKER"])


@app.task
def work() -> float:
    """One task."""
    time.sleep(float(os.environ["SECONDS"]))
    return time.time()


def main() -> None:
    """Put the burst, wait for the results."""
    began = time.time()
    results = [work.delay() for _ in range(int(sys.argv[1]))]
    print(json.dumps({"put": began}), flush=True)
    for result in results:
        result.get(timeout=150)
    print(json.dumps({"last": time.time()}), flush=True)


if __name__ == "__main__":
    # Under the name that the worker knows, so that the task is the same one.
    import on_celery

    on_celery.main()
