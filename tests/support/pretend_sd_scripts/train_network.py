"""Prints, byte for byte, what a real sd-scripts run printed, and leaves the files that it speaks of; trains nothing.

The environment says how it goes: PRETEND_CONSOLE is the recorded console, PRETEND one of

    (empty)     to the end
    nan         every loss is no number, the file is saved all the same, exit 0
    no-file     to the end, but the LoRA is not written
    infinite    to the end, but the LoRA holds an infinity
    hang        from step 3 on nothing happens, with two workers that hear no signal
    late        nothing happens from step 7 on, after a state was saved; resumed, it goes to the end
    no-images   the message that sd-scripts has for it, exit 0
    no-library  the traceback of an optimizer that is not installed
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

RECORDED = b"/data/out9/tiny"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("worker", flush=True)
time.sleep(600)
"""


def main() -> None:
    way = os.environ.get("PRETEND", "")
    say = sys.stdout.buffer
    if way == "no-images":
        say.write(
            "No data found. Please verify arguments (train_data_dir must be the parent of folders with images) / "
            "画像がありません。引数指定を確認してください（train_data_dirには画像があるフォルダではなく、画像があるフォルダの"
            "親フォルダを指定する必要があります）\n".encode()
        )
        return
    if way == "no-library":
        raise ImportError("No bitsandbytes / bitsandbytesがインストールされていないようです")
    config = tomllib.loads(Path(sys.argv[sys.argv.index("--config_file") + 1]).read_text())
    output = Path(config["output_dir"], config["output_name"])
    console = Path(os.environ["PRETEND_CONSOLE"]).read_bytes().replace(RECORDED, str(output).encode())
    if way == "nan":
        console = re.sub(rb"avr_loss=[\d.]+", b"avr_loss=nan", console)
    resumed = "--resume" in sys.argv
    if resumed:
        console = resumed_console(console)
    for piece in re.split(rb"(?<=\n)|(?=\r)", console):
        say.write(piece)
        say.flush()
        left_behind(piece.decode().strip(), way)
        if way == "hang" and b" 3/10 " in piece and b"avr_loss=1.05" in piece:
            hang()
        if way == "late" and b" 7/10 " in piece and not resumed:
            hang()


def resumed_console(console: bytes) -> bytes:
    """The same from step 5 of 10 on: sd-scripts says what it skips, and draws a bar of its own."""
    console = console.replace(b"running training", b"skipping 5 steps\nrunning training", 1)
    first, last = console.partition(b"\nepoch 1/2")[0], console.partition(b"\nepoch 2/2")[2]
    bars = re.sub(
        rb" (\d+)/10 \[", lambda found: b" %d/5 [" % max(0, int(found[1]) - 5), first + b"\nepoch 2/2" + last
    )
    return bars


def left_behind(line: str, way: str) -> None:
    """Make the file that a line says is being written."""
    if line.startswith("saving checkpoint: "):
        path = Path(line.partition(": ")[2])
        if not (way == "no-file" and "-" not in path.stem):
            path.write_bytes(lora(b"\x00\x7c" if way == "infinite" else b"\x00\x3c"))
            path.chmod(0o600)
    elif line.startswith("Saving current state to "):
        folder = Path(line.removeprefix("Saving current state to "))
        folder.mkdir(exist_ok=True)
        (folder / "train_state.json").write_text('{"current_epoch": 1, "current_step": 5}')


def lora(value: bytes) -> bytes:
    """A safetensors file with one half precision number in it."""
    tensor = {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}
    header = json.dumps({"lora_unet_a.lora_down.weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + value


def hang() -> None:
    """Workers such as those of a data loader; the trainer itself dies of SIGTERM, as sd-scripts does."""
    workers = [subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    print("\nworkers are up", flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
