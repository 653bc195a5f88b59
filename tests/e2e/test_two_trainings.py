"""Two trainings put together on one instance: the second waits with a forecast, then starts at once, warm."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from tests.support.box import PATIENCE, Box, at_step, training, until


def test_the_second_says_when_and_follows_on_the_same_instance(box: Box) -> None:
    with box.client() as client:
        service = client.service("kohya_job")
        # given a training that has shown how fast it is
        first = service.submit(argv=training(box, name="first"), name="first", details={"steps": 60})
        second = service.submit(argv=training(box, name="second"), name="second", details={"steps": 60})
        at_step(first, 10)
        # then the other one says where it stands and when it should start
        until(lambda: second.position == 1 and second.expected_start is not None, "a position and a time")
        view = second.view()
        assert view.state == "waiting"
        assert view.expected_start is not None
        assert -5.0 < view.expected_start - time.time() < PATIENCE
        # when the first one ends
        one, two = first.wait(PATIENCE), second.wait(PATIENCE)
        # then the second one runs where the first one ran
        assert (one.state, two.state) == ("succeeded", "succeeded")
        assert two.instance == one.instance
        assert [attempt.number for attempt in two.attempts] == [1]
        # and it was given to the instance as soon as that was free
        assert one.finished_at is not None and two.started_at is not None
        assert one.finished_at <= two.started_at
        # and the two have made two files
        assert one.output != two.output
        assert Path(one.output).exists() and Path(two.output).exists()


def test_the_lora_is_kohyas_and_changes_the_picture(box: Box) -> None:
    # given a LoRA that was trained through the queue
    with box.client() as client:
        task = client.service("kohya_job").submit(argv=training(box, "--network_dim", "8", name="picture"))
        view = task.wait(PATIENCE)
    assert view.state == "succeeded", view.reason
    lora = Path(view.output)
    # then its hash is that of its data
    raw = lora.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert header["__metadata__"]["sshs_model_hash"] == hashlib.sha256(raw[8 + length :]).hexdigest()
    assert header["__metadata__"]["ss_network_dim"] == "8"
    # and its keys are kohya's
    names = set(header) - {"__metadata__"}
    assert all(name.startswith(("lora_unet_", "lora_te_")) for name in names)
    assert {name.partition(".")[2] for name in names} == {"lora_down.weight", "lora_up.weight", "alpha"}
    # and everybody may read the file
    assert lora.stat().st_mode & 0o777 == 0o644
    # and it changes what the base model draws
    pipe = StableDiffusionPipeline.from_pretrained(
        box.data_dir / "models" / "tiny-shapes", local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)

    def draw() -> torch.Tensor:
        generator = torch.Generator().manual_seed(5)
        drawn = pipe(
            "a yellow star in sks style", num_inference_steps=8, generator=generator, output_type="pt"
        )
        picture: torch.Tensor = drawn.images
        return picture

    before = draw()
    pipe.load_lora_weights(lora.parent, weight_name=lora.name)
    assert (draw() - before).abs().mean() > 0.02
