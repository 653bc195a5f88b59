from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from backend.errors import InvalidArgument
from backend.training.adapter import Dropouts
from backend.training.network import LoraNetwork, NetworkShape, shape_of_file
from backend.training.single_file import Family
from tests.support.models import true_text_encoders, true_unet

REAL = Path(__file__).with_name("data") / "lora_keys_sd15.tsv"


def small_unet() -> nn.Module:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )


def weights(network: LoraNetwork) -> list[nn.Parameter]:
    down, up = network.unet_parameters()
    for index in range(network.text_encoders):
        more = network.text_parameters(index)
        down, up = down + more[0], up + more[1]
    return down + up


def small_text_encoder() -> nn.Module:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50
    )
    return CLIPTextModel(config)


def test_names_and_shapes_are_those_of_a_real_sd15_file() -> None:
    # Given models of the true shape of Stable Diffusion 1.5, without memory for their weights
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
            )
        )
    # When they get a LoRA of rank 4
    network = LoraNetwork(unet, (text,), NetworkShape(4, 2.0))
    # Then its tensors are those of a file that sd-scripts wrote
    real = dict(line.split("\t") for line in REAL.read_text().split("\n") if line)
    assert len(real) == 792
    assert {name: "x".join(map(str, shape)) for name, shape in network.shapes().items()} == real


def test_with_convolutions_it_has_all_278_modules_of_sd15() -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    network = LoraNetwork(unet, (), NetworkShape(4, 2.0, conv_dim=8, conv_alpha=1.0))
    shapes = network.shapes()
    assert len(network) == 278
    assert shapes["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"] == (8, 320, 3, 3)
    assert shapes["lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight"] == (320, 8, 1, 1)
    assert shapes["lora_unet_down_blocks_1_resnets_0_conv_shortcut.lora_down.weight"] == (4, 320, 1, 1)
    assert shapes["lora_unet_up_blocks_0_upsamplers_0_conv.lora_down.weight"] == (8, 1280, 3, 3)
    assert shapes["lora_unet_down_blocks_0_downsamplers_0_conv.lora_down.weight"] == (8, 320, 3, 3)
    assert shapes["lora_unet_mid_block_resnets_0_time_emb_proj.lora_down.weight"] == (4, 1280)


def test_convolutions_keep_their_own_rank_and_alpha() -> None:
    shape = NetworkShape(4, 2.0, conv_dim=6, conv_alpha=3.0)
    network = LoraNetwork(small_unet(), (), shape)
    for weight in weights(network):
        nn.init.normal_(weight)
    saved = network.state_dict(torch.float32)
    assert float(saved["lora_unet_mid_block_resnets_0_conv1.alpha"]) == pytest.approx(3.0)
    assert float(saved["lora_unet_mid_block_attentions_0_proj_in.alpha"]) == pytest.approx(2.0)
    assert shape_of_file(saved) == shape
    LoraNetwork(small_unet(), (), shape).load(saved, "network_weights")


def test_a_fresh_lora_changes_nothing_and_only_its_weights_learn() -> None:
    unet = small_unet()
    before = unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 3, 16)).sample
    unet.requires_grad_(False)
    network = LoraNetwork(unet, (), NetworkShape(4, 4.0))
    assert torch.equal(unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 3, 16)).sample, before)
    learning = {id(weight) for weight in unet.parameters() if weight.requires_grad}
    assert learning == {id(weight) for weight in weights(network)}
    assert network.text_encoders == 0


def test_weights_stay_in_full_precision_on_a_half_precision_model() -> None:
    unet = small_unet().to(torch.bfloat16)
    network = LoraNetwork(unet, (), NetworkShape(4, 4.0))
    assert {weight.dtype for weight in weights(network)} == {torch.float32}


def test_what_is_saved_can_be_loaded_and_carries_rank_and_alpha() -> None:
    one = LoraNetwork(small_unet(), (small_text_encoder(),), NetworkShape(4, 2.0))
    for weight in weights(one):
        nn.init.normal_(weight)
    saved = one.state_dict(torch.float32)
    two = LoraNetwork(small_unet(), (small_text_encoder(),), NetworkShape(4, 2.0))
    two.load(saved, "network_weights")
    again = two.state_dict(torch.float32)
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    assert shape_of_file(saved) == NetworkShape(4, 2.0)


def test_a_file_of_another_shape_is_refused() -> None:
    saved = LoraNetwork(small_unet(), (), NetworkShape(8, 2.0)).state_dict(torch.float32)
    with pytest.raises(InvalidArgument, match="use the same rank"):
        LoraNetwork(small_unet(), (), NetworkShape(4, 2.0)).load(saved, "resume")
    with pytest.raises(InvalidArgument, match="another set of modules"):
        LoraNetwork(small_unet(), (small_text_encoder(),), NetworkShape(8, 2.0)).load(saved, "resume")


@pytest.mark.parametrize("kind", ["values", "ranks", "modules"])
def test_dropouts_act_in_training_only(kind: str) -> None:
    shape = NetworkShape(8, 8.0, Dropouts(**{kind: 0.5}))
    unet = small_unet()
    network = LoraNetwork(unet, (), shape)
    for weight in weights(network):
        nn.init.normal_(weight, std=0.2)

    def draw() -> torch.Tensor:
        with torch.no_grad():
            return unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 3, 16)).sample

    unet.eval()
    assert torch.equal(draw(), draw())
    unet.train()
    assert not torch.equal(draw(), draw())


def test_norms_are_limited() -> None:
    network = LoraNetwork(small_unet(), (), NetworkShape(4, 2.0))
    for weight in weights(network):
        nn.init.normal_(weight)
    scaled, mean = network.limit_norms(1.0)
    assert scaled == len(network)
    assert mean == pytest.approx(1.0)
    assert network.limit_norms(1.01)[0] == 0


def test_the_forward_and_its_gradients_are_those_of_peft() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    ours, theirs = small_unet(), small_unet()
    network = LoraNetwork(ours, (), NetworkShape(4, 2.0))
    targets = [name for name, module in ours.named_modules() if hasattr(module, "lora_A")]
    inject_adapter_in_model(
        LoraConfig(r=4, lora_alpha=2, target_modules=targets), theirs, adapter_name="lora"
    )
    torch.manual_seed(1)
    for weight in weights(network):
        nn.init.normal_(weight, std=0.1)
    theirs.load_state_dict(ours.state_dict())
    found = []
    for unet in (ours, theirs):
        out = unet(torch.ones(2, 4, 8, 8), 5, torch.ones(2, 3, 16)).sample
        out.square().sum().backward()
        gradients = {name: weight.grad for name, weight in unet.named_parameters() if "lora_" in name}
        found.append((out, gradients))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        assert torch.allclose(gradient, found[1][1][name], rtol=1e-3, atol=1e-3), name


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_it_computes_under_autocast_on_a_half_precision_model(half: torch.dtype) -> None:
    unet = small_unet().to(half)
    network = LoraNetwork(unet, (), NetworkShape(4, 2.0))
    with torch.autocast("cpu", dtype=half):
        out = unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 3, 16)).sample
    out.float().sum().backward()
    assert out.dtype == half
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in weights(network))


def test_of_sdxl_it_has_the_2958_tensors_of_sd_scripts() -> None:
    # Given models of SDXL's true shape, without memory for their weights
    unet, encoders = true_unet("sdxl"), true_text_encoders("sdxl")
    # When they get a LoRA
    shapes = LoraNetwork(unet, encoders, NetworkShape(4, 1.0)).shapes()
    # Then there are 72 modules of the first text encoder, 192 of the second, 722 of the U-Net
    assert len(shapes) == 2958
    modules = Counter(name.split("_")[1] for name in shapes if name.endswith(".alpha"))
    assert modules == {"te1": 72, "te2": 192, "unet": 722}
    blocks = Counter(
        re.match(r"lora_unet_((?:in|out)put_blocks_\d+_\d+|middle_block_\d+)_", name)[1]  # type: ignore[index]
        for name in shapes
        if name.startswith("lora_unet") and name.endswith(".alpha")
    )
    # The original code's U-Net: attention in blocks 4, 5 (depth 2), 7, 8 (10), the middle (10), and mirrored.
    assert blocks == {
        **dict.fromkeys(("input_blocks_4_1", "input_blocks_5_1"), 22),
        **dict.fromkeys(("output_blocks_3_1", "output_blocks_4_1", "output_blocks_5_1"), 22),
        **dict.fromkeys(("input_blocks_7_1", "input_blocks_8_1", "middle_block_1"), 102),
        **dict.fromkeys(("output_blocks_0_1", "output_blocks_1_1", "output_blocks_2_1"), 102),
    }
    for name, shape in {
        "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": (4, 640),
        "lora_unet_input_blocks_7_1_transformer_blocks_9_ff_net_0_proj.lora_up.weight": (10240, 4),
        "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048),
        "lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_out_0.lora_up.weight": (640, 4),
        "lora_te1_text_model_encoder_layers_11_mlp_fc1.lora_up.weight": (3072, 4),
        "lora_te2_text_model_encoder_layers_31_self_attn_q_proj.lora_down.weight": (4, 1280),
    }.items():
        assert shapes[name] == shape


@pytest.mark.parametrize(("family", "conv_dim"), [("sd1", None), ("sd1", 2), ("sdxl", None), ("sdxl", 2)])
def test_a_file_of_true_shape_loads_in_diffusers_with_no_key_left_over(
    family: Family, conv_dim: int | None
) -> None:
    # Given all names and shapes of a file of Stable Diffusion 1.5 or SDXL
    shape = NetworkShape(1, 1.0, conv_dim=conv_dim)
    shapes = LoraNetwork(true_unet(family), true_text_encoders(family), shape).shapes()
    assert len(shapes) == {"sd1": {None: 792, 2: 1050}, "sdxl": {None: 2958, 2: 3156}}[family][conv_dim]
    file = {name: torch.zeros(size) if size else torch.tensor(1.0) for name, size in shapes.items()}
    # When diffusers loads it into fresh models
    unet, encoders = true_unet(family), true_text_encoders(family)
    parts = {"vae": None, "unet": unet, "text_encoder": encoders[0], "tokenizer": None, "scheduler": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if family == "sdxl":
            pipeline = StableDiffusionXLPipeline(**parts, text_encoder_2=encoders[1], tokenizer_2=None)
        else:
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.load_lora_weights(file)  # refuses a file with names that it does not know
    # Then each of the file's modules has its adapter, and nothing else has one
    adapted = sum(isinstance(module, LoraLayer) for model in (unet, *encoders) for module in model.modules())
    assert 3 * adapted == len(shapes)
