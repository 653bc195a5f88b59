from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from backend.errors import InvalidArgument
from backend.inference.grid import Plan
from backend.inference.pictures import png
from backend.inference.request import parse


def planned(rows: int = 4, columns: int = 3, **keys: Any) -> Plan:
    checkpoints = [f"jobs/t/model/cat-{n:06d}.safetensors" for n in range(1, rows + 1)]
    return Plan.of("svc", "a cat", checkpoints, [0.6 + 0.2 * n for n in range(columns)], keys)


def test_every_cell_differs_by_checkpoint_and_weight_alone() -> None:
    plan = planned(steps=5, loras={"style": 0.5})
    assert len(plan.cells) == 12
    requests = [parse({"prompt": plan.prompt, **plan.keys_of(cell)}) for cell in plan.cells]
    assert len({request.seed for request in requests}) == 1 and requests[0].seed is not None
    assert {(request.steps, request.loras[1].name, request.loras[1].weight) for request in requests} == {
        (5, "style", 0.5)
    }
    assert len({request.loras[0] for request in requests}) == 12


def test_a_seed_that_was_given_is_kept() -> None:
    assert planned(seed=7).keys["seed"] == 7


def test_nothing_and_too_much_are_refused() -> None:
    for rows, columns in ((0, 3), (3, 0), (21, 20)):
        with pytest.raises(InvalidArgument):
            planned(rows, columns)


def test_the_sheet_shows_what_has_arrived_where_it_belongs() -> None:
    plan = planned(2, 2)
    red = png(Image.new("RGB", (128, 128), "red"))
    first, _, failed, last = plan.cells
    sheet = plan.sheet([last.filled(red, ""), failed.filled(None, "no memory")])
    empty = plan.sheet([])
    assert sheet.size == empty.size
    width, height = sheet.size
    assert sheet.getpixel((width - 72, height - 72)) == (255, 0, 0)
    assert sheet.getpixel((width - 72, height - 72 - 136)) != (255, 0, 0)
    assert (first.row, last.column) == (0, 1)
