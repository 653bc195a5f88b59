"""Pictures and grids as a client asks for them, against a stand-in for the gateway that draws at once."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from backend import generation
from backend.client import Service
from backend.errors import InvalidArgument, RunFailed
from backend.inference.pictures import png
from backend.views import FileView


@dataclass
class Pretend:
    """Stands for the client and for its service: every query ends at once, one whose LoRA is `bad` failing."""

    name: str = "svc"
    queued: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def client(self) -> Pretend:
        return self

    def submit(self, *, data: bytes, kind: str, details: Mapping[str, Any], **_: Any) -> Any:
        assert kind == "query"
        task = f"t{len(self.queued)}"
        self.queued[task] = json.loads(data)
        self.details.append(details)
        return self.task(task)

    def task(self, task: str) -> Any:
        return SimpleNamespace(
            id=task,
            client=self,
            view=lambda: self._view(task),
            wait=lambda timeout: self._view(task),
            images=lambda: self._images(task),
        )

    def tasks(self, service: str, *, limit: int) -> list[Any]:
        assert service == self.name
        return [self._view(task) for task in reversed(self.queued)]

    def _images(self, task: str) -> Any:
        query = self.queued[task]
        return SimpleNamespace(
            images=[f"/{task}"], seeds=[query.get("seed", 1)], seconds=0.5, parameters=query
        )

    def fetch(self, link: str) -> bytes:
        number = int(link.removeprefix("/t"))
        return png(Image.new("RGB", (16, 16), (number * 20, 0, 0)))

    def _view(self, task: str) -> Any:
        names = [lora["name"] for lora in self.queued[task].get("loras", ())]
        failed = any("bad" in name for name in names)
        state = "failed" if failed else "succeeded"
        reason = "no such LoRA" if failed else ""
        return SimpleNamespace(id=task, state=state, final=True, reason=reason, instance=f"on {task}")


@pytest.fixture
def gateway() -> Pretend:
    return Pretend()


def asked(gateway: Pretend) -> Service:
    return cast(Service, gateway)


def generate(gateway: Pretend, **keys: Any) -> generation.Generation:
    return generation.generate(asked(gateway), "a ring", user="", priority=0, name="", keys=keys)


def test_a_query_goes_out_checked_and_its_pictures_come_back(gateway: Pretend, tmp_path: Path) -> None:
    found = generate(gateway, loras={"cat": 0.8}, image=b"start", seed=5).wait(1.0)
    (query,) = gateway.queued.values()
    assert query["loras"] == [{"name": "cat", "weight": 0.8}]
    assert (query["image"], query["output"]) == ("c3RhcnQ=", "file")
    assert (
        gateway.details[0]["generation"]["prompt"] == "a ring"
        and "image" not in gateway.details[0]["generation"]
    )
    (file,) = found.save(tmp_path / "new")
    assert Image.open(io.BytesIO(file.read_bytes())).size == (16, 16)


def test_what_cannot_be_is_not_queued(gateway: Pretend) -> None:
    with pytest.raises(InvalidArgument, match="multiple of 8"):
        generate(gateway, width=65)
    assert not gateway.queued


def test_a_query_that_fails_says_why(gateway: Pretend) -> None:
    with pytest.raises(RunFailed, match="no such LoRA"):
        generate(gateway, loras=["bad"]).wait(1.0)


def grid(gateway: Pretend, checkpoints: Sequence[str]) -> generation.GridRun:
    return generation.grid(
        asked(gateway), "a ring", checkpoints=checkpoints, weights=[0.6, 0.8, 1.0], user="", keys={"steps": 2}
    )


def test_a_grid_is_a_query_for_each_cell_and_comes_together(gateway: Pretend) -> None:
    run = grid(gateway, [f"jobs/t/{n}.safetensors" for n in ("one", "two", "three", "bad")])
    assert len(gateway.queued) == 12
    assert len({query["seed"] for query in gateway.queued.values()}) == 1
    arrived = list(run.arriving(5.0))
    assert {(cell.row, cell.column) for cell in arrived} == {
        (row, column) for row in range(4) for column in range(3)
    }
    assert [cell.error for cell in arrived if cell.image is None] == ["no such LoRA"] * 3
    assert {cell.instance for cell in arrived} == {f"on t{n}" for n in range(12)}
    first, last = run.cells[0, 0].image, run.cells[2, 2].image
    assert first == gateway.fetch("/t0") and last == gateway.fetch("/t8")
    sheet = run.sheet()
    assert sheet.width > 3 * 128 and sheet.height > 4 * 128


def test_the_epochs_of_a_training_are_its_checkpoints_in_order() -> None:
    files = [
        FileView("checkpoint", "model/a-000002.safetensors", step=20, epoch=2, size=1),
        FileView("sample", "model/sample/x.png", step=10, size=1),
        FileView("checkpoint", "model/a-000001.safetensors", step=10, epoch=1, size=1),
        FileView("checkpoint", "model/gone.safetensors", step=5, epoch=0, size=None),
        FileView("lora", "model/a.safetensors", step=30, epoch=3, size=1),
    ]
    task = cast(Any, SimpleNamespace(id="t9", files=lambda: files))
    assert generation.checkpoints_of(task) == [
        f"jobs/t9/model/{name}.safetensors" for name in ("a-000001", "a-000002", "a")
    ]
