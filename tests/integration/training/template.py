"""A process with the trainer preloaded that forks a run for each line of JSON on standard input.

Answers with the pid when the run starts and with its exit code when it ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from backend.training.preload import preload


def child(job: dict[str, object]) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(str(job[name]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    records = os.open(str(job["records"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    limit = job["env"].get("TEST_FILE_LIMIT")  # type: ignore[attr-defined]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    os.environ.update({"PROGRESS_FD": str(records), **job["env"]})  # type: ignore[dict-item]
    before = set(sys.modules)
    from backend.training.train_network import main

    code = main(list(job["argv"]))  # type: ignore[call-overload]
    print("imported late:", *sorted(set(sys.modules) - before), flush=True)
    os._exit(code)


preload()
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        child(json.loads(line))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
