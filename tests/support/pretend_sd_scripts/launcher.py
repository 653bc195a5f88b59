"""What `accelerate launch` does with one process: start it, wait, and raise when it did not end well."""

from __future__ import annotations

import subprocess
import sys

words = sys.argv[1:]
script = next(n for n, word in enumerate(words) if word.endswith(".py"))
command = [sys.executable, *words[script:]]
process = subprocess.Popen(command)
process.wait()
if process.returncode != 0:
    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=command)
