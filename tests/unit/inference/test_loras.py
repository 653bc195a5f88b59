"""LoRAs merged into a model's weights: as diffusers applies them, and gone without a trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import diffusers.loaders.lora_conversion_utils as conversion
import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.errors import InvalidArgument
from backend.inference import lora_deltas, lora_names
from backend.inference.lora_deltas import Factors
from backend.inference.model import Applied, LoadedModel

LINEAR = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
LINEAR_PATH = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "lora_unet_down_blocks_1_resnets_0_conv1"
CONV_PATH = "down_blocks.1.resnets.0.conv1"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def file_of(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> Applied:
    path = folder / f"{name}.safetensors"
    save_file(dict(tensors), path)
    return Applied(name, lora_deltas.read(path, "loras[0].name", torch.device("cpu")), 0.8, "loras[0].name")


def weights(loaded: LoadedModel) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": value.clone()
        for part in ("unet", "text_encoder")
        for name, value in getattr(loaded.pipeline, part).state_dict().items()
    }


def plain_lora(rank: int = 4) -> dict[str, Tensor]:
    return {
        f"{LINEAR}.lora_down.weight": noise(rank, 64),
        f"{LINEAR}.lora_up.weight": noise(64, rank),
        f"{LINEAR}.alpha": torch.tensor(2.0),
        f"{CONV}.lora_down.weight": noise(rank, 32, 3, 3),
        f"{CONV}.lora_up.weight": noise(64, rank, 1, 1),
        f"{CONV}.alpha": torch.tensor(2.0),
        f"{TEXT}.lora_down.weight": noise(rank, 64),
        f"{TEXT}.lora_up.weight": noise(64, rank),
        f"{TEXT}.alpha": torch.tensor(2.0),
    }


def test_a_kohya_lora_with_convolutions_draws_as_in_diffusers(loaded: LoadedModel, tmp_path: Path) -> None:
    def drawn() -> Tensor:
        picture: Tensor = torch.from_numpy(
            loaded.pipeline(
                "a red circle",
                num_inference_steps=3,
                guidance_scale=3,
                generator=torch.Generator().manual_seed(1),
                output_type="np",
            ).images
        )
        return picture

    # Given a LoRA on attention and convolutions, weak enough for pictures to stay pictures
    tensors = {k: v * (0.3 if v.dim() else 1) for k, v in plain_lora().items() if "lora_te" not in k}
    applied = file_of(tmp_path, "mine", tensors)
    plain = drawn()
    loaded.use([applied])
    ours = drawn()
    loaded.use([])
    assert torch.equal(drawn(), plain)

    # When diffusers applies it
    loaded.pipeline.load_lora_weights(tensors, adapter_name="theirs")
    loaded.pipeline.set_adapters(["theirs"], [0.8])
    theirs = drawn()

    # Then the pictures are the same, and others than without
    assert (ours - theirs).abs().max() < 2 / 255
    assert (ours - plain).abs().max() > 4 / 255


def test_going_back_restores_every_bit(loaded: LoadedModel, tmp_path: Path) -> None:
    before = weights(loaded)
    one = file_of(tmp_path, "one", plain_lora())
    two = file_of(tmp_path, "two", {k: v for k, v in plain_lora(8).items() if LINEAR in k})
    loaded.use([one])
    with_one = weights(loaded)
    changed = {name for name, value in with_one.items() if not torch.equal(before[name], value)}
    assert len(changed) == 3 and sum(name.startswith("text_encoder") for name in changed) == 1
    loaded.use([two, one])
    loaded.use([two])
    loaded.use([one])
    assert all(torch.equal(with_one[name], value) for name, value in weights(loaded).items())
    loaded.use([])
    assert all(torch.equal(before[name], value) for name, value in weights(loaded).items())


def test_two_loras_add_up(loaded: LoadedModel, tmp_path: Path) -> None:
    weight = loaded.pipeline.unet.get_submodule(LINEAR_PATH).weight
    base = weight.detach().clone()
    one = file_of(tmp_path, "one", plain_lora())
    two = file_of(tmp_path, "two", plain_lora(8))
    changes = []
    for chosen in (one, two):
        loaded.use([chosen])
        changes.append(weight.detach() - base)
    loaded.use([one, two])
    assert torch.allclose(weight.detach() - base, changes[0] + changes[1], atol=1e-4)


LINEAR_BASE, CONV_BASE = torch.zeros(6, 4), torch.zeros(6, 4, 3, 3)
A, B = noise(6, 2), noise(2, 4)
A2, B2 = noise(6, 2) + 1, noise(2, 4) + 1
CORE = noise(2, 2, 3, 3)


def test_a_convolution_with_a_core() -> None:
    parts = {
        "lora_up.weight": A[:, :, None, None],
        "lora_mid.weight": CORE,
        "lora_down.weight": B[:, :, None, None],
        "alpha": torch.tensor(1.0),
    }
    expected = torch.stack([A @ CORE[:, :, y, x] @ B for y in range(3) for x in range(3)], -1).reshape(
        6, 4, 3, 3
    )
    assert torch.allclose(Factors(parts).delta(CONV_BASE), expected / 2, atol=1e-5)


def test_loha() -> None:
    parts = {"hada_w1_a": A, "hada_w1_b": B, "hada_w2_a": A2, "hada_w2_b": B2, "alpha": torch.tensor(1.0)}
    assert torch.allclose(Factors(parts).delta(LINEAR_BASE), (A @ B) * (A2 @ B2) / 2)


def test_loha_with_cores() -> None:
    parts = {
        **{"hada_w1_a": A.T.contiguous(), "hada_w1_b": B, "hada_t1": CORE},
        **{"hada_w2_a": A2.T.contiguous(), "hada_w2_b": B2, "hada_t2": CORE + 1},
    }

    def half(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([a @ core[:, :, y, x] @ b for y in range(3) for x in range(3)], -1)

    expected = (half(CORE, A, B) * half(CORE + 1, A2, B2)).reshape(6, 4, 3, 3)
    assert torch.allclose(Factors(parts).delta(CONV_BASE), expected, atol=1e-4)


def test_lokr_whole_and_in_parts() -> None:
    left, right = noise(2, 2), noise(3, 2)
    whole = {"lokr_w1": left, "lokr_w2": right, "alpha": torch.tensor(7.0)}
    assert torch.allclose(Factors(whole).delta(LINEAR_BASE), torch.kron(left, right))
    a, b = noise(3, 1), noise(1, 2)
    in_parts = {"lokr_w1": left, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(0.5)}
    assert torch.allclose(Factors(in_parts).delta(LINEAR_BASE), torch.kron(left, a @ b) / 2)


def test_lokr_of_a_convolution() -> None:
    left, right = noise(2, 2), noise(3, 2, 3, 3)
    found = Factors({"lokr_w1": left, "lokr_w2": right}).delta(CONV_BASE)
    expected = torch.stack([torch.kron(left, right[:, :, y, x]) for y in range(3) for x in range(3)], -1)
    assert torch.allclose(found, expected.reshape(6, 4, 3, 3))
    flat_a, flat_b = noise(3, 1), noise(1, 18)
    flat = Factors({"lokr_w1": left, "lokr_w2_a": flat_a, "lokr_w2_b": flat_b}).delta(CONV_BASE)
    assert torch.allclose(
        flat, Factors({"lokr_w1": left, "lokr_w2": (flat_a @ flat_b).reshape(3, 2, 3, 3)}).delta(CONV_BASE)
    )


def lycoris_cases() -> dict[str, dict[str, Tensor]]:
    cases: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(Path(__file__).with_name("lycoris.safetensors")).items():
        case, _, name = key.partition("/")
        cases.setdefault(case, {})[name] = value
    return cases


@pytest.mark.parametrize("case", sorted(lycoris_cases()))
def test_what_lycoris_merges_is_merged_by_us(case: str) -> None:
    parts = lycoris_cases()[case]
    base, merged = parts.pop("base"), parts.pop("merged")
    assert torch.allclose(base + Factors(parts).delta(base), merged, atol=2e-5)


def test_dora_is_merged_as_peft_does(tmp_path: Path) -> None:
    layer = torch.nn.Linear(6, 5, bias=False)
    adapted = get_peft_model(
        torch.nn.Sequential(layer), LoraConfig(r=2, lora_alpha=3, target_modules=["0"], use_dora=True)
    )
    inner = adapted.base_model.model[0]
    with torch.no_grad():
        for part in (inner.lora_A, inner.lora_B):
            part["default"].weight.normal_()
        inner.lora_magnitude_vector["default"].weight.mul_(1.5)
    parts = {
        "lora_down.weight": inner.lora_A["default"].weight.detach(),
        "lora_up.weight": inner.lora_B["default"].weight.detach(),
        "alpha": torch.tensor(3.0),
        "lora_magnitude_vector": inner.lora_magnitude_vector["default"].weight.detach(),
    }
    base = inner.base_layer.weight.detach().clone()
    ours = base + Factors(parts).delta(base)
    assert torch.allclose(adapted.merge_and_unload()[0].weight.detach(), ours, atol=1e-6)


def test_dora_starts_from_the_original_weight_whatever_was_merged(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    weight = loaded.pipeline.unet.get_submodule(LINEAR_PATH).weight
    norms = weight.detach().norm(dim=1, keepdim=True) * 1.3
    tensors = {key: value for key, value in plain_lora().items() if LINEAR in key}
    dora = file_of(tmp_path, "dora", {**tensors, f"{LINEAR}.dora_scale": norms})
    loaded.use([dora])
    alone = weight.detach().clone()
    loaded.use([file_of(tmp_path, "other", plain_lora(8))])
    loaded.use([dora])
    assert torch.equal(weight.detach(), alone)


def test_lycoris_files_change_the_module_they_name(loaded: LoadedModel, tmp_path: Path) -> None:
    weight = loaded.pipeline.unet.get_submodule(CONV_PATH).weight
    base = weight.detach().clone()
    loha = {
        f"{CONV}.hada_w1_a": noise(64, 2),
        f"{CONV}.hada_w1_b": noise(2, 32 * 9),
        f"{CONV}.hada_w2_a": noise(64, 2),
        f"{CONV}.hada_w2_b": noise(2, 32 * 9),
    }
    lokr = {f"{CONV}.lokr_w1": noise(4, 4), f"{CONV}.lokr_w2": noise(16, 8, 3, 3)}
    for name, tensors in (("loha", loha), ("lokr", lokr), ("diff", {f"{CONV}.diff": noise(64, 32, 3, 3)})):
        applied = file_of(tmp_path, name, tensors)
        loaded.use([applied])
        expected = applied.lora.modules[CONV].delta(base) * 0.8
        assert torch.allclose(weight.detach() - base, expected, atol=1e-4), name


def test_diffusers_own_names_mean_the_same(loaded: LoadedModel, tmp_path: Path) -> None:
    weight = loaded.pipeline.unet.get_submodule(LINEAR_PATH).weight
    down, up = noise(4, 64), noise(64, 4)
    loaded.use([file_of(tmp_path, "k", {f"{LINEAR}.lora_down.weight": down, f"{LINEAR}.lora_up.weight": up})])
    ours = weight.detach().clone()
    theirs = {f"unet.{LINEAR_PATH}.lora_A.weight": down, f"unet.{LINEAR_PATH}.lora_B.weight": up}
    loaded.use([file_of(tmp_path, "d", theirs)])
    assert torch.equal(weight.detach(), ours)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {
                "lora_unet_nowhere.lora_down.weight": noise(2, 4),
                "lora_unet_nowhere.lora_up.weight": noise(4, 2),
            },
            "this model has no lora_unet_nowhere",
        ),
        ({f"{LINEAR}.lora_down.weight": noise(2, 640), f"{LINEAR}.lora_up.weight": noise(640, 2)}, "640×640"),
    ],
)
def test_a_lora_for_another_architecture_is_refused_and_changes_nothing(
    loaded: LoadedModel, tmp_path: Path, tensors: dict[str, Tensor], said: str
) -> None:
    before = weights(loaded)
    with pytest.raises(InvalidArgument, match="another architecture") as refused:
        loaded.use([file_of(tmp_path, "other", tensors)])
    assert said in refused.value.message and refused.value.field == "loras[0].name"
    assert all(torch.equal(before[name], value) for name, value in weights(loaded).items())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{LINEAR}.lora_down.weight": noise(2, 4)}, "not whole"),
        (
            {f"{LINEAR}.lora_down.weight": noise(2, 4) / 0, f"{LINEAR}.lora_up.weight": noise(4, 2)},
            "not finite",
        ),
        ({f"{LINEAR}.dora_scale": noise(64, 1)}, "not whole"),
        (
            {**plain_lora(), f"{LINEAR}.diff": noise(64, 64)},
            "ambiguous: of .+ it has .*diff, lora_down.weight",
        ),
        ({f"{LINEAR}.w_norm": noise(64)}, "trained norms"),
        ({"model.weight": noise(2, 4)}, "no LoRA of a kind"),
        ({}, "empty"),
    ],
)
def test_a_file_that_is_no_lora_is_refused(tmp_path: Path, tensors: dict[str, Tensor], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        file_of(tmp_path, "broken", tensors)


@pytest.mark.parametrize(
    ("down", "up", "alpha"),
    [
        ((0, 64), (64, 0), 1.0),  # of rank nothing
        ((4, 64), (64, 3), 1.0),
        ((4,), (4,), 1.0),
        ((), (), 1.0),
        ((4, 64), (64, 4), (1.0, 2.0)),
    ],
)
def test_factors_that_do_not_fit_each_other_are_refused_as_damaged(
    loaded: LoadedModel, tmp_path: Path, down: tuple[int, ...], up: tuple[int, ...], alpha: float
) -> None:
    tensors = {
        "lora_down.weight": torch.ones(down),
        "lora_up.weight": torch.ones(up),
        "alpha": torch.tensor(alpha),
    }
    with pytest.raises(InvalidArgument, match=r"loras\[0\].name: odd is damaged: what it has for lora_unet"):
        loaded.use([file_of(tmp_path, "odd", {f"{LINEAR}.{kind}": each for kind, each in tensors.items()})])


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file_of(tmp_path, "cut", plain_lora())
    path = tmp_path / "cut.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidArgument, match="copy it again"):
        lora_deltas.read(path, "loras[0].name", torch.device("cpu"))


def test_the_original_names_of_an_sdxl_unet_are_those_that_diffusers_knows() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3),
            use_linear_projection=True,
            cross_attention_dim=32,
        )
    paths = [n for n, m in unet.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    blocks = ("lora_unet_input_blocks", "lora_unet_middle_block", "lora_unet_output_blocks")
    table = lora_names.table({"unet": paths}, lora_names.UnetShape(2))
    original = {name: path for name, (_, path) in table.items() if name.startswith(blocks)}
    del original["lora_unet_input_blocks_0_0"]  # diffusers does not know that one
    halves = ("lora_down.weight", "lora_up.weight")
    file = {f"{name}.{half}": torch.zeros(1) for name in original for half in halves}

    mapped = conversion._maybe_map_sgm_blocks_to_diffusers(file, unet.config)
    converted, _ = conversion._convert_non_diffusers_lora_to_diffusers(mapped)

    theirs = {
        re.sub(r"^unet\.|\.processor|(_lora|\.lora)(_linear_layer)?\.down\.weight$", "", key)
        for key in converted
        if "down.weight" in key
    }
    assert theirs == {path.replace("to_out.0", "to_out") for path in original.values()}
    assert len(theirs) == 367
