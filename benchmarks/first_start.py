"""`python kohya_gui.py` alone, in an empty data folder: seconds until what a newcomer waits for.

The page answers, the form is there, tasks are taken, the first training (the sample, two steps) has ended, and, after
Ctrl-C, nothing of it runs any more. Each round has a data folder of its own.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tests.support.box import ENVIRONMENT, ROOT, free_port

ROUNDS = 3
STEPS = 2
PATIENCE = 120.0
POINTS = ("the page answers", "the form is there", "tasks are taken", "a training has ended", "all is gone")


def main() -> None:
    """Measure, print a table."""
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(_round(Path(folder)))
    print(f"| seconds until | median | of {ROUNDS} rounds, min to max |\n|---|---|---|")
    for name, column in zip(POINTS, zip(*rounds, strict=True), strict=True):
        print(f"| {name} | {statistics.median(column):.1f} | {min(column):.1f} to {max(column):.1f} |")


def _round(folder: Path) -> tuple[float, ...]:
    port, log = free_port(), folder / "log"
    own = {name: text for name, text in os.environ.items() if not name.startswith(("LORAPOOL_", "REDIS_URL"))}
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "kohya_gui.py", "--server_port", str(port), "--data-dir", str(folder / "data")],
            cwd=ROOT,
            env={**own, **ENVIRONMENT},
            stdout=out,
            stderr=out,
        )

    def after(true: Callable[[], bool]) -> float:
        while not _quietly(true):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError(log.read_text())
            time.sleep(0.02)
        return time.perf_counter() - began

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30.0) as browser:
            page = after(lambda: browser.get("/healthz").is_success)
            form = after(lambda: "gradio-app" in browser.get("/").text)
            ready = after(lambda: "ready:" in log.read_text())
            browser.post("/sets/sample", json={}).raise_for_status()
            task = _submit(browser)
            trained = after(lambda: _state(browser, task) == "succeeded")
        children = psutil.Process(process.pid).children(recursive=True)
        told = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        psutil.wait_procs(children, PATIENCE)
        return page, form, ready, trained, time.perf_counter() - told
    finally:
        process.kill()
        process.wait()


def _submit(browser: httpx.Client) -> str:
    values = browser.get("/train/start").json()["values"]
    values |= {
        "output_name": "first",
        "max_train_steps": STEPS,
        "sample_every_n_steps": 0,
        "save_every_n_steps": 0,
    }
    answer = browser.post("/train/submit", json={"values": values}).json()
    return str(answer["task"]["id"])


def _state(browser: httpx.Client, task: str) -> str:
    state = str(browser.get(f"/live/tasks/{task}").json()["state"])
    if state in ("failed", "cancelled", "dead"):
        raise RuntimeError(f"the training is {state}")
    return state


def _quietly(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
