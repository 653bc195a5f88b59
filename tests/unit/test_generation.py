"""What a client makes of a wish for pictures before it is queued, and of pictures once it has them.

What goes over the wire is tested with a real deployment in tests/integration/inference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import InvalidArgument
from backend.generation import GeneratedImages, request_of, saved_loras
from backend.inference.request import LoraChoice
from backend.views import FileView


def test_a_wish_may_say_it_the_short_way() -> None:
    request = request_of("a ring", {"loras": {"cat": 0.8}, "image": b"start", "seed": 5})
    assert request.loras == (LoraChoice("cat", 0.8),)
    assert (request.image, request.output, request.seed) == (b"start", "file", 5)
    assert request.to_json()["image"] == "c3RhcnQ="
    assert request_of("a ring", {"output": "base64"}).output == "base64"


def test_what_cannot_be_is_refused_before_anything_is_queued() -> None:
    with pytest.raises(InvalidArgument, match="multiple of 8"):
        request_of("a ring", {"width": 65})


def test_pictures_are_saved_by_the_name_of_their_task(tmp_path: Path) -> None:
    made = GeneratedImages([b"one", b"two"], [5, 6], 1.0, {}, task="0123456789")
    first, second = made.save(tmp_path / "new" / "folder")
    assert (first.name, first.read_bytes()) == ("01234567-00.png", b"one")
    assert (second.name, second.read_bytes()) == ("01234567-01.png", b"two")


def test_the_epochs_of_a_training_are_its_checkpoints_in_order() -> None:
    files = [
        FileView("checkpoint", "model/a-000002.safetensors", step=20, epoch=2, size=1),
        FileView("sample", "model/sample/x.png", step=10, size=1),
        FileView("checkpoint", "model/a-000001.safetensors", step=10, epoch=1, size=1),
        FileView("checkpoint", "model/gone.safetensors", step=5, epoch=0, size=None),
        FileView("checkpoint", "model/a-000003.safetensors", step=30, epoch=3, size=1),
        FileView("lora", "model/a.safetensors", step=30, epoch=3, size=1),
    ]
    assert [file.path for file in saved_loras(files)] == [
        f"model/{name}.safetensors" for name in ("a-000001", "a-000002", "a")
    ]
