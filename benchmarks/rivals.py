"""The same burst, eight tasks of three seconds put at once, on four workers at the most, side by side in one run.

RQ's own worker pool, Celery with `--autoscale`, Ray Serve with its autoscaling, and lorapool. Celery and Ray live in
environments of their own under .cache/rivals, made by the first run. `last result` counts from the put;
`instance-seconds` are what workers, pool processes, replicas or instances existed in the forty seconds from the put on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis
from rq import Queue

from backend.store.embedded import server_binary
from benchmarks._pool import eventually, lives, ran, settle
from tests.support.box import Box, free_port

TASKS, SECONDS, MOST, WINDOW = 8, 3.0, 4, 40.0
PROGRAMS = Path(__file__).parent / "_rivals"
ENVIRONMENTS = Path(__file__).parents[1] / ".cache" / "rivals"
NEEDS = {"celery": "celery[redis]==5.7.0", "ray": "ray[serve]==2.60.0"}
_SAMPLE = 0.1

EAS = {
    "min": 0,
    "max": MOST,
    "strategies": {"avg_waiting_length": 1},
    "behavior": {"onZero": {"scaleDownGracePeriodSeconds": 5}},
}
RAY = {"min_replicas": 0, "max_replicas": MOST, "target_ongoing_requests": 1}
RAY_EAGER = {**RAY, "upscale_delay_s": 0, "downscale_delay_s": 5, "downscale_to_zero_delay_s": 5}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the put to the last result, and instance-seconds of the first `WINDOW` seconds."""

    last: float
    used: float
    most: int


class Counter:
    """Counts processes in the background, from the making of it for `WINDOW` seconds."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.seconds, self.most = 0.0, 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end = before = time.monotonic()
        end += WINDOW
        while before < end:
            time.sleep(_SAMPLE)
            now = time.monotonic()
            number = self._count()
            self.seconds += number * (min(now, end) - before)
            self.most = max(self.most, number)
            before = now

    def wait(self) -> None:
        """Until the window is over."""
        self._thread.join()


def main() -> None:
    """Run each in turn; print a table."""
    rows: list[tuple[str, str, Outcome | str]] = []
    for name, settings, run in _entries():
        try:
            rows.append((name, settings, run()))
        except Exception as error:  # a rival that does not start here is said so, the others still run
            rows.append((name, settings, f"did not run: {error!r}"))
        _say(*rows[-1])


def _entries() -> list[tuple[str, str, Callable[[], Outcome]]]:
    ours = json.dumps({"min": 0, "max": MOST})
    return [
        ("RQ worker-pool", f"rq worker-pool -n {MOST}", _rq),
        ("Celery", f"celery worker --autoscale={MOST},0 --prefetch-multiplier=1", _celery),
        ("Ray Serve", json.dumps(RAY) + ", max_ongoing_requests 1", lambda: _ray(RAY)),
        (
            "Ray Serve, no delays",
            json.dumps(RAY_EAGER) + ", max_ongoing_requests 1",
            lambda: _ray(RAY_EAGER),
        ),
        ("lorapool, our rule", ours, lambda: _lorapool({"min": 0, "max": MOST})),
        ("lorapool, EAS rule", json.dumps(EAS), lambda: _lorapool(EAS)),
    ]


def _say(name: str, settings: str, outcome: Outcome | str) -> None:
    if isinstance(outcome, str):
        print(f"{name:22} {outcome}\n    {settings}", flush=True)
        return
    print(
        f"{name:22} last result {outcome.last:6.2f} s   instance-seconds {outcome.used:6.1f}   "
        f"at most {outcome.most}\n    {settings}",
        flush=True,
    )


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """A plain valkey of its own; its URL."""
    port = free_port()
    argv = [str(server_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]
    with _running(argv, {}):
        client = redis.Redis(port=port)
        eventually(lambda: _answers(client), 10.0, "the server answers")
        client.close()
        yield f"redis://127.0.0.1:{port}/0"


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


@contextlib.contextmanager
def _running(
    argv: list[str], environment: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        argv,
        env={**os.environ, **environment},
        stdout=options.pop("stdout", subprocess.DEVNULL),
        stderr=subprocess.DEVNULL,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _rq() -> Outcome:
    with _server() as url:
        argv = [sys.executable, "-m", "rq.cli", "worker-pool", "-n", str(MOST), "--url", url, "burst"]
        with _running(argv, {}) as pool, redis.Redis.from_url(url) as connection:
            eventually(lambda: connection.scard("rq:workers") == MOST, 60.0, "RQ's workers are up")
            queue = Queue("burst", connection=connection)
            began = time.time()
            counter = Counter(lambda: len(psutil.Process(pool.pid).children()))
            jobs = [queue.enqueue(time.sleep, SECONDS) for _ in range(TASKS)]
            eventually(lambda: all(job.get_status(refresh=True) == "finished" for job in jobs), 150.0, "RQ")
            for job in jobs:
                job.refresh()
            last = max(job.ended_at.timestamp() for job in jobs if job.ended_at) - began
            counter.wait()
            return Outcome(last, counter.seconds, counter.most)


def _celery() -> Outcome:
    python = _environment("celery")
    with _server() as url:
        environment = {"BROKER": url, "SECONDS": str(SECONDS), "PYTHONPATH": str(PROGRAMS)}
        base = [str(python), "-m", "celery", "-A", "on_celery"]
        argv = [*base, "worker", f"--autoscale={MOST},0", "--prefetch-multiplier=1", "--loglevel=ERROR"]
        ping = [*base, "inspect", "ping", "--timeout", "2"]
        with _running(argv, environment) as worker:

            def up() -> bool:
                return (
                    subprocess.run(ping, env={**os.environ, **environment}, capture_output=True).returncode
                    == 0
                )

            eventually(up, 60.0, "Celery's worker is up")
            put = [str(python), str(PROGRAMS / "on_celery.py"), str(TASKS)]
            with _running(put, environment, stdout=subprocess.PIPE) as client:
                return _follow(client, lambda: len(psutil.Process(worker.pid).children()))


def _ray(autoscaling: Mapping[str, Any]) -> Outcome:
    python = _environment("ray")
    argv = [str(python), str(PROGRAMS / "on_ray.py"), str(TASKS), str(SECONDS), json.dumps(autoscaling)]
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    with _running(argv, environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as driver:
        return _follow(driver, _replicas)


def _replicas() -> int:
    return sum(
        "ServeReplica" in (process.info["name"] or "") + _title(process)
        for process in psutil.process_iter(["name"])
    )


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _follow(client: subprocess.Popen[str], count: Callable[[], int]) -> Outcome:
    """Read when a rival's client put and when it had the last result; count meanwhile and until the window is over."""
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise RuntimeError("its program ended before it put anything")
    began = json.loads(line)["put"]
    counter = Counter(count)
    line = client.stdout.readline()
    if not line:
        raise RuntimeError("its program ended without the results")
    last = json.loads(line)["last"] - began
    counter.wait()
    if client.stdin is not None:
        client.stdin.close()
        client.wait(60)
    return Outcome(last, counter.seconds, counter.most)


def _lorapool(autoscaler: Mapping[str, Any]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "data").start()
        try:
            with box.client() as client:
                description = {
                    "metadata": {"name": "burst", "type": "ScalableJob"},
                    "autoscaler": dict(autoscaler),
                }
                client.create_service(description)
                settle(box)
                service = client.service("burst")
                began = time.time()
                handles = [service.submit(command=f"sleep {SECONDS:g}") for _ in range(TASKS)]
                for handle in handles:
                    handle.wait(150.0)
                runs = [ran(handle) for handle in handles]
                eventually(lambda: not client.instances("burst"), 300.0, "back to zero")
                alive = lives(box, "burst")
        finally:
            box.stop()
    used = sum(min(life.gone, began + WINDOW) - life.ordered for life in alive)
    return Outcome(max(run.ended for run in runs) - began, used, len(alive))


def _environment(name: str) -> Path:
    """The Python of a rival's own environment, made when it is not there yet."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    mark = folder / "ready"
    if not mark.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", NEEDS[name]], check=True)
        mark.touch()
    return python


if __name__ == "__main__":
    main()
