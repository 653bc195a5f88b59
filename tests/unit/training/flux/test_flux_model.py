from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.training import checks
from backend.training.arguments import parse
from backend.training.flux import checks as flux_checks
from backend.training.flux import layout, model, storage
from backend.training.flux.layout import Given
from backend.training.flux.text import FluxTextEncoders, FluxTokens
from backend.training.model import BaseModel
from backend.training.training_arguments import TrainingArguments
from tests.support.flux_models import small_flux_files, small_flux_folder, small_transformer

FLUX = ("--network_module", "networks.lora_flux")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_flux_folder(tmp_path_factory.mktemp("flux") / "folder")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_flux_files(tmp_path_factory.mktemp("flux") / "files")


@pytest.fixture
def asked(argv: list[str], folder: Path) -> Callable[..., TrainingArguments]:
    """A run for the folder, with more words after it."""

    def parsed(*more: str) -> TrainingArguments:
        return parse([*argv, "--pretrained_model_name_or_path", str(folder), *FLUX, *more], data_dir=None)

    return parsed


def given(files: dict[str, Path]) -> Given:
    return Given(files["clip_l"], files["t5xxl"], files["ae"])


def loaded(path: Path, parts: Given) -> BaseModel:
    facts = layout.inspect(path, parts)
    assert facts.flux is not None
    return model.load(facts.flux, torch.float32)


def test_four_files_of_the_original_are_the_folder(folder: Path, files: dict[str, Path]) -> None:
    one, other = loaded(folder, Given()), loaded(files["pretrained_model_name_or_path"], given(files))
    for part, same in zip((one.unet, one.vae), (other.unet, other.vae), strict=True):
        weights = same.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in part.state_dict().items())
    texts = []
    for base in (one, other):
        clip, t5 = base.text_encoders
        tokens = FluxTokens(base.tokenizers, 77, 16, masked=True)(["a red circle", "blue"])
        assert tokens.ids[0].shape == (2, 77) and tokens.ids[1].shape == (2, 16)
        assert tokens.mask is not None and tokens.mask.sum(dim=1).tolist() == [11, 5]
        texts.append(FluxTextEncoders(clip, t5)(tokens))
    torch.testing.assert_close(texts[0].states, texts[1].states)
    torch.testing.assert_close(texts[0].pooled, texts[1].pooled)
    facts = layout.inspect(files["pretrained_model_name_or_path"], given(files))
    assert facts.flux is not None and facts.flux.kind == "dev" and facts.side_step == 4


def test_what_is_wrong_with_a_model_is_said_at_its_argument(
    folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    transformer = files["pretrained_model_name_or_path"]

    def refused(path: Path, parts: Given, field: str, told: str) -> None:
        with pytest.raises(InvalidArgument, match=told) as error:
            layout.inspect(path, parts)
        assert error.value.field == field

    model_field = "pretrained_model_name_or_path"
    refused(tmp_path / "none", Given(), model_field, "does not exist")
    refused(files["ae"], given(files), model_field, "no FLUX.1 transformer in the original layout")
    refused(transformer, Given(), "clip_l", "is required where the model is a single file")
    swapped = dataclasses.replace(given(files), clip_l=files["t5xxl"])
    refused(transformer, swapped, "clip_l", "holds no CLIP-L text encoder")
    lonely = tmp_path / "t5xxl.safetensors"
    shutil.copy(files["t5xxl"], lonely)
    refused(
        transformer, dataclasses.replace(given(files), t5xxl=lonely), "t5xxl", "put the folder tokenizer_2"
    )
    tensors = load_file(transformer)
    del tensors["single_blocks.1.linear2.bias"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(InvalidArgument, match=r"lacks weights of a FLUX.1 model.*linear2.bias"):
        loaded(tmp_path / "less.safetensors", given(files))
    other = tmp_path / "sdxl"
    other.mkdir()
    (other / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    refused(other, Given(), model_field, "networks.lora_flux is for FLUX.1")


@pytest.mark.parametrize(
    ("words", "field", "told"),
    [
        (["--vae", "x"], "vae", "named by ae"),
        (["--weighted_captions"], "weighted_captions", "T5 reads plain language"),
        (["--loss_type", "huber"], "huber_schedule", "choose constant or exponential"),
        (["--model_type", "chroma"], "model_type", "not Chroma"),
        (["--split_mode"], "split_mode", "blocks_to_swap has replaced it"),
        (["--cpu_offload_checkpointing"], "cpu_offload_checkpointing", "fp8_base save memory"),
        (["--network_module", "networks.lora"], "guidance_scale", "is for FLUX.1"),
        (["--discrete_flow_shift", "0"], "discrete_flow_shift", "must be above 0"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    asked: Callable[..., TrainingArguments], words: list[str], field: str, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told) as error:
        asked("--guidance_scale", "1", *words)
    assert error.value.field == field


def test_what_flux_has_no_use_for_is_said(asked: Callable[..., TrainingArguments]) -> None:
    warnings = checks.check(
        asked("--min_snr_gamma", "5", "--clip_skip", "2", "--max_timestep", "1000")
    ).warnings
    told = [text for text in warnings if "no effect on FLUX" in text]
    assert [text.split()[0] for text in told] == ["min_snr_gamma", "clip_skip"]
    assert not any("GB of GPU memory" in text for text in warnings)
    with pytest.raises(InvalidArgument, match="66×66 is not divisible by 4, as FLUX needs"):
        checks.check(asked("--resolution", "66"))


def test_a_large_transformer_s_memory_is_said_until_something_saves_it(
    asked: Callable[..., TrainingArguments], folder: Path
) -> None:
    found = layout.inspect(folder, Given()).flux
    assert found is not None
    assert found.parameters == sum(weight.numel() for weight in small_transformer().parameters())
    large = dataclasses.replace(found, parameters=11_901_408_320)
    (said,) = flux_checks.warnings(asked("--mixed_precision", "bf16"), large)
    assert "24 GB of GPU memory" in said and "12 GB" in said
    assert not list(flux_checks.warnings(asked("--fp8_base"), large))


def answer(transformer: nn.Module, hidden: Tensor) -> Tensor:
    said: Tensor = transformer(
        hidden_states=hidden,
        encoder_hidden_states=torch.ones(1, 5, 32),
        pooled_projections=torch.ones(1, 32),
        timestep=torch.tensor([0.4]),
        guidance=torch.tensor([1.0]),
        txt_ids=torch.zeros(5, 3),
        img_ids=torch.zeros(8, 3),
        return_dict=False,
    )[0]
    return said


@pytest.mark.parametrize(("eight_bits", "swapped"), [(True, 0), (False, 3), (True, 3)])
def test_weights_in_8_bits_or_kept_away_answer_and_learn_as_the_same_weights_here(
    eight_bits: bool, swapped: int
) -> None:
    plain, small = small_transformer(4, 6), small_transformer(4, 6)
    if eight_bits:
        for name, module in plain.named_modules():
            if isinstance(module, nn.Linear) and "blocks" in name:
                module.weight.data = module.weight.data.to(torch.float8_e4m3fn).float()
    storage.keep(small, eight_bits=eight_bits, swapped=swapped)
    ways = []
    for transformer in (plain, small):
        transformer.requires_grad_(False)
        hidden = torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        said = answer(transformer, hidden)
        said.square().sum().backward()
        assert hidden.grad is not None
        ways.append((said.detach(), hidden.grad))
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    held = {name for name, weight in small.named_parameters() if weight.dtype == torch.float8_e4m3fn}
    gone = {name for name, _ in plain.named_parameters()} - {name for name, _ in small.named_parameters()}
    assert bool(held) == eight_bits
    # Three are one double block and twice two single ones.
    blocks = {".".join(name.split(".")[:2]) for name in gone}
    away = {"transformer_blocks.0", *(f"single_transformer_blocks.{number}" for number in range(4))}
    assert blocks == (away if swapped else set())


def test_more_blocks_than_can_be_swapped_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="of this model 0 and 0 can be swapped"):
        storage.keep(small_transformer(2, 2), eight_bits=False, swapped=2)
