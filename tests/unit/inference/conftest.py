from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend import samples
from backend.inference import model
from backend.inference.catalog import Catalog
from backend.inference.engine import Engine
from backend.inference.model import LoadedModel
from backend.inference.request import parse
from backend.inference.ticket import Ticket

WAIT = 60.0

Lora = Callable[[str, Mapping[str, Tensor]], str]


class Studio:
    """An engine over a data folder of its own; `draw` waits for the pixels of a query."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.engine = Engine(Catalog(data_dir))

    def begin(self, **keys: Any) -> Ticket:
        return self.engine.submit(parse({"prompt": "a red circle", "steps": 3, "guidance": 3, **keys}), 1)

    def end(self, ticket: Ticket) -> Tensor:
        with ticket.changed:
            assert ticket.changed.wait_for(lambda: ticket.over, WAIT)
        if ticket.error is not None:
            raise ticket.error
        assert isinstance(ticket.drawn, Tensor)
        return ticket.drawn

    def draw(self, **keys: Any) -> Tensor:
        return self.end(self.begin(**keys))

    def lora(self, name: str, tensors: Mapping[str, Tensor]) -> str:
        """Write a LoRA file; its name."""
        folder = self.data_dir / "loras"
        folder.mkdir(exist_ok=True)
        save_file(dict(tensors), folder / f"{name}.safetensors")
        return name


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other make small models slow on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    yield made
    made.engine.close()


@pytest.fixture
def loaded() -> LoadedModel:
    """The model that comes with lorapool, freshly read."""
    (entry,) = Catalog(samples.MODEL.parent / "nowhere").models()
    return model.load(entry, torch.device("cpu"), torch.float32)
