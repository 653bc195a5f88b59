"""A stand-in for a checkout of kohya_ss, of our own writing: it starts, reads and stops a training as that one does.

Buttons are lines on standard input: `start CONFIG`, `stop`, `wait`, `utility`.
"""

import collections
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil


class Executor:
    """One training at a time: a child whose output is read line by line, and killed with all of its children."""

    def __init__(self):
        self.process = None
        self.stopped = False
        self.tail = collections.deque(maxlen=40)

    def start(self, command, **options):
        self.stopped = False
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            **options,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in iter(self.process.stdout.readline, ""):
            self.tail.append(line.rstrip("\n"))
            print(line, end="", flush=True)

    def stop(self):
        parent = psutil.Process(self.process.pid)
        for child in parent.children(recursive=True):
            child.kill()
        parent.kill()
        self.stopped = True

    def wait(self):
        self.process.wait()
        self.reader.join()
        print(f"ended: {'stopped' if self.stopped else self.process.returncode}", flush=True)


def main():
    executor = Executor()
    print("form is up", *sys.argv[1:], Path.cwd(), flush=True)
    for line in sys.stdin:
        button, _, rest = line.strip().partition(" ")
        if button == "start":
            options = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            accelerate = [str(Path.cwd() / "venv" / "bin" / "accelerate"), "launch", "--num_processes", "1"]
            script = str(Path.cwd() / "sd-scripts" / "train_network.py")
            executor.start([*accelerate, script, "--config_file", rest], env=options)
        elif button == "stop":
            executor.stop()
        elif button == "wait":
            executor.wait()
        elif button == "utility":
            done = subprocess.run(
                [sys.executable, "-c", "print('captioned')"], capture_output=True, text=True
            )
            print(done.stdout, end="", flush=True)


if __name__ == "__main__":
    main()
