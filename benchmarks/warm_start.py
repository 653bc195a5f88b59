"""From submission to the first optimizer step: a warm instance beside a cold `accelerate launch`.

The same trainer, command line, model and data set, in turn. Warm counts everything that a user waits for: the HTTP
submission, the checks, the dispatch, the fork, loading the model, caching latents. Cold is what kohya_ss does at every
click: `accelerate launch` of the same script.

The last line is the pause between two trainings that were queued together: from the end of the one to the first step
of the next, on the same instance.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backend.client import TaskHandle
from backend.training import train_network
from tests.support.box import ENVIRONMENT, Box, training

ROUNDS = 5
STEPS = 3


def main() -> None:
    """Measure, print a table."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "data").start()
        try:
            _warm(box, 0)  # the first one waits for the template's imports
            pairs = [(_cold(box, n), _warm(box, n)) for n in range(1, ROUNDS + 1)]
            pauses = [_pause(box, n) for n in range(1, ROUNDS + 1)]
        finally:
            box.stop()
    cold, warm = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [c / w for c, w in pairs]
    print("| | median s | of", ROUNDS, "rounds, min to max |\n|---|---|---|")
    for name, column in zip(
        ("cold accelerate launch", "warm instance"), zip(*pairs, strict=True), strict=True
    ):
        print(f"| {name} | {statistics.median(column):.2f} | {min(column):.2f} to {max(column):.2f} |")
    print(f"\nratio cold / warm: {cold / warm:.1f} (per round {min(ratios):.1f} to {max(ratios):.1f})")
    middle = statistics.median(pauses)
    print(f"pause between two queued trainings: {middle:.2f} s ({min(pauses):.2f} to {max(pauses):.2f})")


def _cold(box: Box, number: int) -> float:
    words = training(box, steps=STEPS, name=f"cold-{number}")
    arguments = words[words.index("train_network.py") + 1 :]
    script = str(Path(train_network.__file__))
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "accelerate.commands.launch",
                "--num_processes",
                "1",
                "--num_machines",
                "1",
            ),
            *("--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
            *(script, *arguments),
        ],
        env={**os.environ, **ENVIRONMENT, "LORAPOOL_DATA_DIR": str(box.data_dir), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    took, printed = 0.0, []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("step 1/") and not took:
            took = time.perf_counter() - began
    if process.wait() or not took:
        raise RuntimeError(f"the cold training failed:\n{''.join(printed)}")
    return took


def _warm(box: Box, number: int) -> float:
    argv = training(box, steps=STEPS, name=f"warm-{number}")
    took = 0.0
    with box.client() as client:
        began = time.perf_counter()
        task = client.service("kohya_job").submit(argv=argv)
        for name, _ in task.events():
            if name == "scalars" and not took:
                took = time.perf_counter() - began
        view = task.view()
    if view.state != "succeeded" or not took:
        raise RuntimeError(f"the warm training {view.state}: {view.reason}")
    return took


def _pause(box: Box, number: int) -> float:
    """Seconds from the end of one training to the first step of the one queued behind it."""
    with box.client() as client, ThreadPoolExecutor(1) as pool:
        service = client.service("kohya_job")
        first = service.submit(argv=training(box, steps=10, name=f"one-{number}"))
        second = service.submit(argv=training(box, steps=STEPS, name=f"two-{number}"))
        stepped = pool.submit(_first_step, second)
        for _ in first.events():
            ended = time.perf_counter()
        return stepped.result() - ended


def _first_step(task: TaskHandle) -> float:
    for name, _ in task.events():
        if name == "scalars":
            return time.perf_counter()
    raise RuntimeError(f"the training {task.state}: {task.reason}")


if __name__ == "__main__":
    main()
