"""What the engine draws, held against diffusers' own pipelines."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from backend.errors import InvalidArgument
from backend.inference import delivery, schedulers
from backend.inference.model import LoadedModel
from backend.inference.request import SCHEDULERS
from tests.unit.inference.conftest import Studio

WITH_THIS_MODEL = ("default", "ddim", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "dpm++_sde", "unipc")


def plainly(pipeline: Any, seeds: list[int], **keys: Any) -> Tensor:
    """The same by a pipeline of diffusers: (n, height, width, 3), uint8."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = pipeline(
        prompt=["a red circle"] * len(seeds),
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=generators,
        output_type="np",
        **keys,
    ).images
    return (torch.from_numpy(drawn) * 255).round().to(torch.uint8)


def apart(one: Tensor, other: Tensor) -> int:
    """The largest difference of two pictures, of 255."""
    return int((one.int() - other.int()).abs().max())


def test_pictures_are_those_of_diffusers(studio: Studio, loaded: LoadedModel) -> None:
    own = loaded.pipeline.scheduler
    for name in WITH_THIS_MODEL:
        loaded.pipeline.scheduler = schedulers.make(name, own)
        expected = plainly(loaded.pipeline, [5, 6])
        assert apart(studio.draw(seed=5, count=2, scheduler=name), expected) <= 1, name


def test_a_scheduler_that_cannot_begin_at_a_signal_of_zero_is_refused(studio: Studio) -> None:
    for name in set(SCHEDULERS) - set(WITH_THIS_MODEL):
        with pytest.raises(InvalidArgument, match="use ddim"):
            studio.draw(scheduler=name)


def test_image_to_image_is_that_of_diffusers(studio: Studio, loaded: LoadedModel) -> None:
    start = Image.fromarray(studio.draw(seed=5)[0].numpy())
    pipeline = StableDiffusionImg2ImgPipeline(**loaded.pipeline.components, requires_safety_checker=False)
    expected = plainly(pipeline, [7], image=start, strength=0.7)
    file = io.BytesIO()
    start.save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    assert apart(studio.draw(seed=7, image=image, strength=0.7), expected) <= 1
    with pytest.raises(InvalidArgument, match="strength"):
        studio.draw(image=image, strength=0.1)


def test_a_picture_does_not_depend_on_what_joins_and_leaves_while_it_is_drawn(studio: Studio) -> None:
    alone = [studio.draw(seed=seed, steps=steps) for seed, steps in ((1, 30), (2, 5), (3, 12))]
    long = studio.begin(seed=1, steps=30)
    with long.changed:
        assert long.changed.wait_for(lambda: long.step >= 2, 60)
    others = [studio.begin(seed=2, steps=5), studio.begin(seed=3, steps=12, prompt="a red circle")]
    joined = [studio.end(ticket) for ticket in (long, *others)]
    assert max(apart(one, other) for one, other in zip(alone, joined, strict=True)) <= 2
    assert others[0].drawn is not None


def test_a_query_for_other_weights_waits_and_is_not_starved(studio: Studio) -> None:
    down, up = torch.randn(2, 64), torch.randn(64, 2)
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    studio.lora("mine", {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up})
    plain = studio.draw(seed=1)
    tickets = [
        studio.begin(seed=1, **({"loras": [{"name": "mine", "weight": 3.0}]} if n % 2 else {}))
        for n in range(6)
    ]
    drawn = [studio.end(ticket) for ticket in tickets]
    assert all(apart(each, plain) <= 1 for each in drawn[::2])
    assert all(apart(each, plain) > 8 for each in drawn[1::2])
    assert {"mine", "tiny-shapes"} <= set(studio.engine.loaded)


def test_a_cancelled_query_is_dropped_and_the_others_go_on(studio: Studio) -> None:
    long, short = studio.begin(seed=1, steps=1000), studio.begin(seed=2, steps=20)
    with long.changed:
        assert long.changed.wait_for(lambda: long.step >= 2, 60)
    long.set(cancelled=True)
    assert len(studio.end(short)) == 1
    assert not long.over
    assert len(studio.draw(seed=3)) == 1


def test_previews_come_between_the_steps(studio: Studio) -> None:
    ticket = studio.begin(seed=1, steps=6, preview_every=2)
    seen: set[int] = set()
    with ticket.changed:
        while not ticket.over:
            ticket.changed.wait(60)
            if ticket.preview is not None:
                seen.add(ticket.preview[0])
                assert ticket.preview[1].shape == (1, 64, 64, 3)
    assert seen and seen <= {2, 4}


def test_unloading_gives_everything_back_and_the_next_query_loads_again(studio: Studio) -> None:
    first = studio.draw(seed=1)
    studio.engine.unload()
    assert studio.engine.loaded == ()
    assert apart(studio.draw(seed=1), first) == 0
    studio.engine.unload()
    studio.engine.warm(["tiny-shapes", "nobody"])
    done = threading.Event()
    studio.engine._order(done.set)
    assert done.wait(60) and "tiny-shapes" in studio.engine.loaded


def test_other_pipelines_are_called_whole(studio: Studio) -> None:
    step_by_step = studio.draw(seed=1)
    model = studio.engine._model
    assert model is not None
    model.stepwise = False
    ticket = studio.begin(seed=1)
    with ticket.changed:
        assert ticket.changed.wait_for(lambda: ticket.over, 60)
    assert isinstance(ticket.drawn, list) and ticket.step == 3
    (image,) = ticket.drawn
    whole = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, 64, 64, 3)
    assert apart(whole, step_by_step) <= 1


def test_a_model_without_weights_is_refused_by_name(studio: Studio) -> None:
    broken = studio.data_dir / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InvalidArgument, match="broken cannot be loaded") as refused:
        studio.draw(model="broken")
    assert refused.value.field == "model"
    with pytest.raises(InvalidArgument, match="multiple of 4") as refused:
        ticket = studio.begin(model="tiny-shapes")
        ticket.request = ticket.request.__class__(**{**_fields(ticket.request), "width": 66})
        studio.end(ticket)


def _fields(request: Any) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__slots__}


@pytest.fixture
def tiny_sdxl(loaded: LoadedModel, tmp_path: Path) -> StableDiffusionXLPipeline:
    """A pipeline of SDXL's shape with random weights, saved as the model `xl`."""
    torch.manual_seed(0)
    parts = loaded.pipeline.components
    config = CLIPTextConfig(**{**parts["text_encoder"].config.to_dict(), "projection_dim": 32})
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
        cross_attention_dim=128,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=parts["tokenizer"],
        tokenizer_2=parts["tokenizer"],
        unet=unet,
        scheduler=parts["scheduler"],
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path / "models" / "xl")
    return pipeline


def test_sdxl_is_that_of_diffusers_and_takes_loras_in_its_original_names(
    studio: Studio, tiny_sdxl: StableDiffusionXLPipeline
) -> None:
    drawn = studio.draw(model="xl", seed=5, count=2)
    assert apart(drawn, plainly(tiny_sdxl, [5, 6], height=64, width=64, negative_prompt=["", ""])) <= 1
    unet, text = (
        "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1",
    )
    weights = {
        f"{unet}.lora_down.weight": torch.randn(2, 64),
        f"{unet}.lora_up.weight": torch.randn(64, 2),
        f"{text}.lora_down.weight": torch.randn(2, 64),
        f"{text}.lora_up.weight": torch.randn(256, 2),
    }
    studio.lora("xl-style", weights)
    assert apart(studio.draw(model="xl", seed=5, loras=["xl-style"]), drawn[:1]) > 4
    assert apart(studio.draw(model="xl", seed=5), drawn[:1]) <= 1
    with pytest.raises(InvalidArgument, match="another architecture than tiny-shapes"):
        studio.draw(model="tiny-shapes", loras=["xl-style"])


def test_a_lora_removed_before_its_turn_is_told_and_one_removed_after_it_does_no_harm(
    studio: Studio, tmp_path: Path
) -> None:
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    factors = {f"{key}.lora_down.weight": torch.randn(2, 64), f"{key}.lora_up.weight": torch.randn(64, 2)}
    studio.lora("brief", factors)
    file = studio.data_dir / "loras" / "brief.safetensors"
    drawn = studio.begin(loras=["brief"])
    studio.end(drawn)
    long = studio.begin(seed=1, steps=1000)
    waits = studio.begin(loras=["brief"])
    file.unlink()
    said = delivery.answer(drawn, 1.0, data_dir=tmp_path, task="t")
    assert len(said["images"]) == 1 and said["parameters"]["loras"][0]["name"] == "loras/brief.safetensors"
    long.set(cancelled=True)
    with pytest.raises(InvalidArgument, match=r"loras\[0\].name: brief has just been removed"):
        studio.end(waits)


def test_a_picture_beyond_all_numbers_is_told_and_not_drawn_black(studio: Studio) -> None:
    key = "lora_unet_conv_out"
    factors = {
        f"{key}.lora_down.weight": torch.full((1, 32, 3, 3), 1e19),
        f"{key}.lora_up.weight": torch.full((4, 1, 1, 1), 1e19),
    }
    with pytest.raises(InvalidArgument, match="loras: the picture grew beyond all numbers"):
        studio.draw(loras=[studio.lora("wild", factors)])
    assert len(studio.draw(seed=1)) == 1
