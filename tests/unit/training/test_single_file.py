from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.errors import InvalidArgument
from backend.training import checkpoint, clip_vocabulary, model, model_folder
from backend.training.single_file import Family, layout
from tests.support.models import small_file, small_folder


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_is_the_model_of_the_folder_it_was_made_from(family: Family, tmp_path: Path) -> None:
    # Given one model in both layouts
    folder = small_folder(tmp_path / "folder", family)
    file = small_file(tmp_path / "model.safetensors", family)
    # When both are loaded
    facts = model_folder.inspect(file)
    whole, one = (
        model.load(each, vae=None, dtype=torch.float32) for each in (model_folder.inspect(folder), facts)
    )
    # Then family, weights and what they compute are the same
    assert facts.family == model_folder.inspect(folder).family == family
    for ours, theirs in zip(
        (one.unet, one.vae, *one.text_encoders), (whole.unet, whole.vae, *whole.text_encoders), strict=True
    ):
        state = ours.state_dict()
        assert state.keys() == theirs.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in theirs.state_dict().items())
    assert [encoder.config.hidden_act for encoder in one.text_encoders] == [
        encoder.config.hidden_act for encoder in whole.text_encoders
    ]
    assert one.unet.config.attention_head_dim == whole.unet.config.attention_head_dim
    assert [t("a cat")["input_ids"] for t in one.tokenizers] == [[49406, 320, 2368, 49407]] * len(
        one.tokenizers
    )
    assert [t.pad_token_id for t in one.tokenizers] == [t.pad_token_id for t in whole.tokenizers]


def test_what_is_no_whole_model_is_refused(tmp_path: Path) -> None:
    file = small_file(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(file)
    without = {name: t for name, t in tensors.items() if not name.startswith("first_stage_model.")}
    save_file(without, tmp_path / "unet.safetensors")
    with pytest.raises(InvalidArgument, match="no whole Stable Diffusion"):
        model_folder.inspect(tmp_path / "unet.safetensors")
    assert layout({"lora_unet_x.alpha": ()}) is None
    (tmp_path / "old.ckpt").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="pickle"):
        model_folder.inspect(tmp_path / "old.ckpt")
    missing = {name: t for name, t in tensors.items() if "middle_block.0.in_layers.2" not in name}
    save_file(missing, tmp_path / "holes.safetensors")
    with pytest.raises(InvalidArgument, match="lacks weights"):
        model.load(model_folder.inspect(tmp_path / "holes.safetensors"), vae=None, dtype=torch.float32)


def test_a_vae_can_be_a_file_too(tmp_path: Path) -> None:
    file = small_file(tmp_path / "model.safetensors", "sd1")
    prefix = "first_stage_model."
    alone = {n.removeprefix(prefix): t for n, t in load_file(file).items() if n.startswith(prefix)}
    save_file(alone, tmp_path / "vae.safetensors")
    one, two = (
        checkpoint.load_vae(path, "sd1").state_dict() for path in (file, tmp_path / "vae.safetensors")
    )
    assert all(torch.equal(one[name], tensor) for name, tensor in two.items())
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InvalidArgument, match="holds no VAE"):
        checkpoint.load_vae(tmp_path / "other.safetensors", "sd1")


def test_the_vocabulary_is_that_of_clip() -> None:
    # Ids that transformers' documentation and CLIP's own code give for this sentence.
    tokenizer = clip_vocabulary.tokenizer()
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(tokenizer), tokenizer.model_max_length, tokenizer.pad_token_id) == (49408, 77, 49407)
    assert clip_vocabulary.tokenizer("!").pad_token_id == 0
