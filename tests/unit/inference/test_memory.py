from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from backend.errors import InvalidArgument
from backend.inference import memory
from backend.inference.container_memory import Container, container
from backend.inference.model import LoadedModel
from backend.inference.shelf import Shelf
from tests.unit.inference.conftest import Studio

CPU = torch.device("cpu")
MB = 1 << 20


def groups(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("memory_", "memory.")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n")
    return folder


def test_a_container_may_take_its_limit_less_what_is_used_and_not_just_cached(tmp_path: Path) -> None:
    stat = f"anon {5 * MB}\ninactive_file {20 * MB}"
    of = groups(tmp_path, memory_max=str(100 * MB), memory_current=str(60 * MB), memory_stat=stat)
    assert container(of) == Container(100 * MB, 60 * MB)


def test_version_1_says_the_same_in_other_files(tmp_path: Path) -> None:
    of = groups(
        tmp_path,
        **{
            "memory__memory_limit_in_bytes": str(100 * MB),
            "memory__memory_usage_in_bytes": str(160 * MB),
            "memory__memory_stat": f"inactive_file 0\ntotal_inactive_file {10 * MB}",
        },
    )
    assert container(of) == Container(100 * MB, 0)


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_without_a_limit_there_is_none(tmp_path: Path, limit: str) -> None:
    assert container(tmp_path) is None
    assert container(groups(tmp_path, memory_max=limit, memory_current="1", memory_stat="anon 1")) is None


def test_pictures_have_what_is_free_and_no_more_than_the_container_and_the_budget_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(memory.BUDGET, raising=False)
    monkeypatch.setattr(memory, "container", lambda: Container(100 * MB, 50 * MB))
    assert memory.free(CPU, 10 * MB) == 50 * MB
    assert memory.budget(CPU) == 40 * MB
    monkeypatch.setattr(memory, "container", lambda: None)
    assert memory.free(CPU, 10 * MB) > 50 * MB
    assert memory.budget(CPU) == int(psutil.virtual_memory().total * 0.4)
    monkeypatch.setenv(memory.BUDGET, str(32 / 1024))
    assert memory.free(CPU, 10 * MB) == 22 * MB
    assert memory.free(CPU, 40 * MB) == 0


@pytest.mark.parametrize("said", ["much", "0", "-1", "nan", "inf"])
def test_a_budget_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(memory.BUDGET, said)
    with pytest.raises(InvalidArgument, match=f"{memory.BUDGET}: a number of gigabytes"):
        memory.budget(CPU)


def test_a_size_is_too_large_beyond_what_there_is(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = memory.of_picture(loaded, 512, 1024)
    assert memory.at_once(loaded, 512, 1024, need) == 1
    assert memory.at_once(loaded, 512, 1024, 100 * need) == 8
    with pytest.raises(
        InvalidArgument, match=r"height: 512×1024 takes about \d+ MB with tiny-shapes, and \d+ MB"
    ):
        memory.at_once(loaded, 512, 1024, need - 1)


def test_what_is_not_in_use_makes_room_for_a_picture(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a model in use, and LoRAs in memory beside it
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    parts = {f"{key}.lora_down.weight": torch.zeros(2048, 64), f"{key}.lora_up.weight": torch.zeros(64, 2048)}
    shelf, catalog = Shelf(), studio.engine._catalog
    entry = catalog.model("")
    in_use = shelf.model(entry, asked="")
    for name in ("old", "new"):
        shelf.lora(catalog.lora(studio.lora(name, parts), "loras"), asked=name, field="loras")
    shelf.tidy(in_use)
    monkeypatch.setattr(memory, "_unused", lambda where: 1 << 40)
    # When there is just too little beside them
    monkeypatch.setenv(memory.BUDGET, str((in_use.size + 2.5 * MB) / 2**30))
    # Then what was used longest ago goes, and nothing goes for what will not fit
    assert shelf.room_for(3 * MB, in_use) < 3 * MB and {"old", "new"} <= set(shelf.loaded)
    assert shelf.room_for(MB, in_use) >= MB
    assert "old" not in shelf.loaded and {"new", "tiny-shapes"} <= set(shelf.loaded)
