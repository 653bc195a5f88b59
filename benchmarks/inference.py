"""Pictures: the service beside a plain diffusers loop, a switch of LoRAs, a switch of base models.

Everything with the model that comes with lorapool (64×64, 20 steps, guidance 3) on the same threads, in one run.

* Images a second: a loop around diffusers' own pipeline, and queries through the gateway, queue and output queue of one
  instance, from one client and from eight. Loop and service take turns, so that a change of the machine hits both.
* LoRA switch: until the weights of a base model in memory have another LoRA: ours, and `unload_lora_weights` with
  `load_lora_weights`.
* First picture (1 step) after another base model was drawn with: kept in memory, and read from the disk.
"""

from __future__ import annotations

import base64
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import torch
from diffusers import DiffusionPipeline

from backend import samples
from backend.inference import lora_deltas
from backend.inference.catalog import Catalog
from backend.inference.engine import Engine
from backend.inference.model import Applied, LoadedModel
from backend.inference.request import parse
from backend.inference.ticket import Ticket
from backend.training import lora_file
from backend.training.network import LoraNetwork, NetworkShape
from backend.training.preload import make_quiet
from tests.support.box import Box

STEPS, GUIDANCE = 20, 3.0
ROUNDS, PICTURES, CLIENTS = 9, 12, 8
_EACH = 4  # pictures of each of the eight clients
SERVICE = "pictures"
_numbers = count()


def main() -> None:
    """Measure, print tables."""
    make_quiet()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _lora_switch(Path(folder) / "loras")
        _model_switch(Path(folder) / "models-only")
        _throughput(Path(folder) / "data")


def _throughput(data: Path) -> None:
    pipeline = _pipeline()
    box = Box(data, arguments=(str(_description(data.parent)),)).start()
    try:
        box.install_samples()
        with httpx.Client(
            base_url=box.endpoint, headers={"Authorization": box.token}, timeout=60.0
        ) as client:

            def query(seed: int) -> None:
                _query(client, seed)

            def plain(seed: int) -> None:
                generator = torch.Generator().manual_seed(seed)
                pipeline(_prompt(), num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator)

            def eight(_: int) -> None:
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(query, range(CLIENTS * _EACH)))

            for warm_up in (query, plain, eight):
                warm_up(0)
            rates: dict[str, list[float]] = {"plain loop": [], "one client": [], "eight clients": []}
            for _ in range(ROUNDS):
                rates["plain loop"].append(PICTURES / _timed(lambda: [plain(n) for n in range(PICTURES)]))
                rates["one client"].append(PICTURES / _timed(lambda: [query(n) for n in range(PICTURES)]))
                rates["eight clients"].append(CLIENTS * _EACH / _timed(lambda: eight(0)))
    finally:
        box.stop()
    print("\n| | images/s, median | min to max | beside the loop of the same round, median | min to max |")
    print("|---|---|---|---|---|")
    for name, values in rates.items():
        beside = [rate / loop for rate, loop in zip(values, rates["plain loop"], strict=True)]
        print(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} "
            f"| {statistics.median(beside):.2f}× | {min(beside):.2f} to {max(beside):.2f} |"
        )


def _description(folder: Path) -> Path:
    path = folder / "pictures.json"
    said = {
        "metadata": {"name": SERVICE, "type": "ScalableJob", "rpc.worker_threads": CLIENTS},
        "containers": [{"app": "built-in"}],
        "autoscaler": {"min": 1, "max": 1},
    }
    path.write_text(json.dumps(said))
    return path


def _prompt() -> str:
    """Another one for each picture: the service keeps what it has encoded, the loop does not."""
    return f"a red circle, number {next(_numbers)}"


def _query(client: httpx.Client, seed: int) -> None:
    body = {
        "prompt": _prompt(),
        "model": "tiny-shapes",
        "seed": seed,
        "steps": STEPS,
        "guidance": GUIDANCE,
    }
    put = client.post(f"/api/predict/{SERVICE}", params={"taskType": "query"}, json=body)
    request = put.raise_for_status().headers["X-Eas-Queueservice-Request-Id"]
    query = {"requestId": request, "_raw_": "false", "_auto_delete_": "true", "_timeout_": "50s"}
    (item,) = client.get(f"/api/predict/{SERVICE}/sink", params=query).raise_for_status().json()
    if len(json.loads(base64.b64decode(item["data"]))["images"]) != 1:
        raise RuntimeError("a query came back without its picture")


def _lora_switch(folder: Path) -> None:
    folder.mkdir()
    pipeline = _pipeline()
    files = [_lora(folder / f"lora{n}.safetensors", n) for n in range(2)]
    (entry,) = Catalog(folder).models()
    loaded = LoadedModel(entry, _pipeline(), torch.device("cpu"))
    device = torch.device("cpu")
    cached = [Applied(f.stem, lora_deltas.read(f, "loras", device), 1.0) for f in files]

    def ours(n: int) -> None:
        loaded.use([cached[n % 2]])

    def ours_from_file(n: int) -> None:
        loaded.use(
            [Applied(f"{files[n % 2].stem} {n}", lora_deltas.read(files[n % 2], "loras", device), 1.0)]
        )

    def theirs(n: int) -> None:
        pipeline.unload_lora_weights()
        pipeline.load_lora_weights(folder, weight_name=files[n % 2].name)

    times: dict[str, list[float]] = {}
    for name, switch in (
        ("unload + load_lora_weights", theirs),
        ("ours, cached", ours),
        ("ours, from the file", ours_from_file),
    ):
        switch(0)
        times[name] = [_timed(lambda n=n, switch=switch: switch(n)) for n in range(1, 9)]  # type: ignore[misc]
    base = statistics.median(times["unload + load_lora_weights"])
    print("| LoRA switch | ms, median | min to max | times as fast |\n|---|---|---|---|")
    for name, values in times.items():
        middle = statistics.median(values)
        low, high = min(values) * 1e3, max(values) * 1e3
        print(f"| {name} | {middle * 1e3:.1f} | {low:.1f} to {high:.1f} | {base / middle:.1f} |")


def _model_switch(data: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(samples.MODEL, data / "models" / name)
    engine = Engine(Catalog(data))

    def first(name: str) -> float:
        return _timed(lambda: _wait(engine.submit(parse({"prompt": "a", "model": name, "steps": 1}), 1)))

    try:
        first("one")
        first("two")
        kept = [first(name) for name in ("one", "two") * 5]
        read = []
        for _ in range(5):
            engine.unload()
            read.append(first("one"))
    finally:
        engine.close()
    print(
        "\n| first picture (1 step) after a switch of base models | ms, median | min to max |\n|---|---|---|"
    )
    for label, values in (("kept in memory", kept), ("read from the disk", read)):
        middle, low, high = (f(values) * 1e3 for f in (statistics.median, min, max))
        print(f"| {label} | {middle:.0f} | {low:.0f} to {high:.0f} |")


def _wait(ticket: Ticket) -> None:
    with ticket.changed:
        ticket.changed.wait_for(lambda: ticket.over)
    if ticket.error is not None:
        raise ticket.error


def _lora(path: Path, seed: int) -> Path:
    """A LoRA of rank 8 on the whole U-Net, its weights random."""
    torch.manual_seed(seed)
    network = LoraNetwork(_pipeline().unet, (), NetworkShape(8, 8.0))
    tensors = {name: torch.randn(shape) * 0.01 for name, shape in network.shapes().items() if shape}
    lora_file.write(path, tensors, {})
    return path


def _pipeline() -> Any:
    pipeline = DiffusionPipeline.from_pretrained(
        samples.MODEL,
        local_files_only=True,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
