"""kill -9 of a process of the deployment every two seconds while tasks run; seeded.

`LORAPOOL_LONG=1` makes it two minutes and a hundred tasks.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import psutil

from backend.client import TaskHandle
from backend.store import streams
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.worker.patience import patiently
from tests.support.box import Box

LONG = bool(os.environ.get("LORAPOOL_LONG"))
SEED = 4
TASKS, RUN, SECONDS, EVERY = (100, 5, 120.0, 2.0) if LONG else (16, 3, 14.0, 2.0)
"""How many tasks; seconds that each runs, that killing goes on, and between two kills."""
PATIENCE = 180.0
ROLES = ("store", "gateway", "supervisor", "template", "instance", "run")


def test_every_task_has_one_result_whatever_is_killed(box: Box) -> None:
    with box.client() as client:
        client.create_service(
            {
                "metadata": {"name": "storm", "type": "ScalableJob"},
                "autoscaler": {"min": 0, "max": 4},
                # A run that is killed is a delivery: nobody is given up here.
                "queue": {"max_delivery": 50, "sink": {"capacity": 100_000}},
            }
        )
        service = client.service("storm")
        with killing(box) as killed:
            handles = [service.submit(command=f"sleep {RUN}; echo {n}") for n in range(TASKS)]
            ends = [handle.wait(PATIENCE) for handle in handles]
        assert {view.state for view in ends} == {"succeeded"}, Counter(view.state for view in ends)
        # each succeeded in exactly one of its attempts, the last
        for view in ends:
            outcomes = [attempt.outcome for attempt in view.attempts]
            assert outcomes[-1] == "succeeded" and outcomes.count("succeeded") == 1, outcomes
        # what the last attempt said is in the log, once
        for number, handle in enumerate(handles):
            assert list(handle.logs()).count(str(number)) >= 1
        assert results(box, handles) == {handle.id: 1 for handle in handles}
        # and nothing that ended is changed by what is killed afterwards
        assert [handle.view() for handle in handles] == ends
    print(
        f"seed {SEED}: killed {dict(killed)}; {sum(len(v.attempts) for v in ends)} attempts of {TASKS} tasks"
    )
    assert sum(killed.values()) >= SECONDS / EVERY / 2


def results(box: Box, handles: list[TaskHandle]) -> Counter[str]:
    """How often the output queue says of each task how it ended."""
    store = Store(EmbeddedStore(box.data_dir).url)
    try:
        found: Counter[str] = Counter()
        after = 0
        while items := patiently(
            lambda: store.run(streams.get("storm/sink", {}, first=after + 1, length=1000)),  # noqa: B023
            lambda: False,
        ):
            found.update(item.tags["requestId"] for item in items if "job.status" in item.tags)
            after = items[-1].index
        return found
    finally:
        store.close()


@contextlib.contextmanager
def killing(box: Box) -> Iterator[Counter[str]]:
    """Kill a process of a random role every few seconds, for so long or until the block ends."""
    chance, killed, over = random.Random(SEED), Counter[str](), threading.Event()

    def kill() -> None:
        for _ in range(int(SECONDS / EVERY)):
            if over.wait(EVERY):
                return
            found = {role: [pid for pid in box.processes() if role_of(box, pid) == role] for role in ROLES}
            role = chance.choice([role for role in ROLES if found[role]])
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(sorted(found[role])), signal.SIGKILL)
                killed[role] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def role_of(box: Box, pid: int) -> str:
    """What a process of the deployment is; '' for `lorapool up` itself, which nobody would start again."""
    assert box.process is not None
    try:
        process = psutil.Process(pid)
        line = " ".join(process.cmdline())
        if pid == box.process.pid:
            return ""
        if "-server" in line:
            return "store"
        for role in ("gateway", "supervisor"):
            if f"backend.cli {role}" in line:
                return role
        if "backend.pool.template" not in line:
            return "run"
        # Children of a template keep its command line; the template leads its session and is the supervisor's child.
        parent = process.parent()
        if parent is not None and "backend.cli supervisor" in " ".join(parent.cmdline()):
            return "template"
        return "instance"  # or the guard of a run, which is forked from a template too
    except (psutil.Error, OSError):
        return ""
