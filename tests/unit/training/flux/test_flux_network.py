from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.training import allowed
from backend.training.adapter import Dropouts
from backend.training.flux import names, ranks
from backend.training.flux.ranks import Ranks
from backend.training.merge import merge
from backend.training.model import BaseModel
from backend.training.network import LoraNetwork, NetworkShape
from tests.support.flux_models import small_transformer, true_transformer
from tests.support.models import true_text_encoders

SHAPE = NetworkShape(4, 2.0, ranks=Ranks(4))


def answer(transformer: nn.Module) -> Tensor:
    chance = torch.Generator().manual_seed(3)
    said: Tensor = transformer(
        hidden_states=torch.randn(2, 8, 64, generator=chance),
        encoder_hidden_states=torch.randn(2, 5, 32, generator=chance),
        pooled_projections=torch.randn(2, 32, generator=chance),
        timestep=torch.tensor([0.2, 0.7]),
        guidance=torch.tensor([1.0, 1.0]),
        txt_ids=torch.zeros(5, 3),
        img_ids=torch.randn(8, 3, generator=chance).round(),
        return_dict=False,
    )[0]
    return said


def disturbed(network: LoraNetwork) -> dict[str, Tensor]:
    torch.manual_seed(4)
    for weight in network.unet_parameters()[1]:
        nn.init.normal_(weight, std=0.1)
    return network.state_dict(torch.float32)


def asked(*network_args: str) -> Ranks:
    numbers, texts = allowed.network_args("networks.lora_flux", network_args)
    return ranks.read(4, numbers, texts, doubles=19, singles=38)


@pytest.fixture(scope="module")
def true_shapes() -> tuple[dict[str, nn.Module], dict[str, tuple[int, ...]]]:
    """The modules of FLUX.1 dev's transformer, and the tensors of its LoRA of rank 16."""
    transformer = true_transformer()
    modules = dict(transformer.named_modules())
    return modules, LoraNetwork(transformer, (), NetworkShape(16, 8.0, ranks=Ranks(16))).shapes()


def test_true_flux_has_the_912_tensors_of_sd_scripts_under_its_names(
    true_shapes: tuple[dict[str, nn.Module], dict[str, tuple[int, ...]]],
) -> None:
    _, shapes = true_shapes
    assert len(shapes) == 3 * (19 * 10 + 38 * 3) == 912
    assert Counter(name.split("_")[2] for name in shapes) == {"double": 570, "single": 342}
    for name, down, up in (
        ("double_blocks_0_img_attn_qkv", (16, 3072), (9216, 16)),
        ("double_blocks_18_txt_attn_proj", (16, 3072), (3072, 16)),
        ("double_blocks_3_img_mlp_0", (16, 3072), (12288, 16)),
        ("double_blocks_3_txt_mlp_2", (16, 12288), (3072, 16)),
        ("double_blocks_3_img_mod_lin", (16, 3072), (18432, 16)),
        ("single_blocks_37_linear1", (16, 3072), (21504, 16)),
        ("single_blocks_0_linear2", (16, 15360), (3072, 16)),
        ("single_blocks_0_modulation_lin", (16, 3072), (9216, 16)),
    ):
        assert shapes[f"lora_unet_{name}.lora_down.weight"] == down
        assert shapes[f"lora_unet_{name}.lora_up.weight"] == up
    clip = LoraNetwork(None, true_text_encoders("sd1"), NetworkShape(4, 1.0), of_encoders=2).shapes()
    assert len(clip) == 216 and "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha" in clip


def test_diffusers_takes_every_tensor_of_true_size_to_the_module_it_was_trained_for(
    true_shapes: tuple[dict[str, nn.Module], dict[str, tuple[int, ...]]],
) -> None:
    modules, shapes = true_shapes
    ranks_of_one = {
        name: tuple(1 if side == 16 else side for side in shape) for name, shape in shapes.items()
    }
    file = {
        name: torch.arange(float(max(shape))).view(shape) if shape else torch.tensor(1.0)
        for name, shape in ((name, tuple(shape)) for name, shape in ranks_of_one.items())
    }
    pipeline: Any = FluxPipeline
    converted = pipeline.lora_state_dict(dict(file))
    ups = {name: tensor for name, tensor in converted.items() if name.endswith(".lora_B.weight")}
    assert len(ups) == 19 * 14 + 38 * 6 == len(converted) // 2
    for name, up in ups.items():
        module = modules[name.removeprefix("transformer.").removesuffix(".lora_B.weight")]
        assert isinstance(module, nn.Linear) and up.shape == (module.out_features, 1)
    third = ups["transformer.single_transformer_blocks.5.attn.to_k.lora_B.weight"]
    whole = file["lora_unet_single_blocks_5_linear1.lora_up.weight"]
    torch.testing.assert_close(third, whole[3072:6144])


def test_a_fused_adapter_is_what_merging_its_file_is_and_a_fresh_one_nothing() -> None:
    plain, adapted = small_transformer(), small_transformer()
    network = LoraNetwork(adapted, (), SHAPE)
    torch.testing.assert_close(answer(adapted), answer(plain), rtol=0, atol=0)
    file = disturbed(network)
    base = BaseModel((), (), plain, nn.Identity(), {})
    before = answer(plain)
    merge(file, base, 1.0)
    torch.testing.assert_close(answer(adapted), answer(plain), rtol=1e-4, atol=1e-5)
    assert float((answer(plain) - before).detach().abs().max()) > 1e-3
    other = LoraNetwork(small_transformer(), (), SHAPE)
    other.load(file, "network_weights")
    assert all(torch.equal(tensor, file[name]) for name, tensor in other.state_dict(torch.float32).items())


def test_query_key_and_value_meet_one_draw_of_dropout() -> None:
    transformer = small_transformer()
    dropouts = Dropouts(modules=0.5)
    network = LoraNetwork(transformer, (), NetworkShape(4, 2.0, dropouts, ranks=Ranks(4)))
    disturbed(network)
    attention = transformer.get_submodule("transformer_blocks.0.attn")
    plain = small_transformer().get_submodule("transformer_blocks.0.attn")
    seen = set()
    x = torch.randn(1, 3, 64)
    for _ in range(12):
        x = x.clone()
        parts = [
            bool((attention.get_submodule(path)(x) - plain.get_submodule(path)(x)).abs().max() > 1e-6)
            for path in ("to_q", "to_k", "to_v")
        ]
        assert len(set(parts)) == 1
        seen.add(parts[0])
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 304),
        (("train_blocks=single",), 38 * 3),
        (("train_blocks=double", "train_double_block_indices=0-3,7"), 50),
        (("single_mod_dim=0", "img_attn_dim=8"), 304 - 38),
        (("train_single_block_indices=none", "in_dims=[4,0,4,4,4]"), 190 + 6),
    ],
)
def test_network_args_choose_modules(words: tuple[str, ...], count: int) -> None:
    found = asked(*words)
    of = {module.name: found.of(module) for module in names.modules(19, 38, guided=True)}
    assert sum(rank > 0 for rank in of.values()) == count
    if "img_attn_dim=8" in words:
        assert (of["double_blocks.0.img_attn.qkv"], of["double_blocks.0.txt_attn.qkv"]) == (8, 4)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("train_blocks=some", "all, double, single"),
        ("in_dims=1,2", "five ranks"),
        ("train_double_block_indices=3-19", "from 0 to 18"),
        ("split_qkv=True", "query, key and value share one LoRA"),
        ("train_t5xxl=True", "T5 stays as it is"),
        ("ggpo_sigma=0.03", "GGPO is not built in"),
        ("conv_dim=4", "takes no 'conv_dim'"),
        ("img_mlp_dim=2.5", "wants a whole number"),
    ],
)
def test_what_it_cannot_do_is_said(word: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as refused:
        asked(word)
    assert refused.value.field == "network_args"


def test_the_ranks_of_a_file_are_those_of_each_of_its_modules() -> None:
    mixed = Ranks(4, {"img_mlp_dim": 2, "single_mod_dim": 0}, {"img_in": 3})
    file = disturbed(LoraNetwork(small_transformer(), (), NetworkShape(4, 2.0, ranks=mixed)))
    again = ranks.of_file({name: tensor.shape for name, tensor in file.items()})
    LoraNetwork(small_transformer(), (), NetworkShape(4, 2.0, ranks=again)).load(file, "network_weights")


def test_a_file_of_other_ranks_is_refused() -> None:
    file = disturbed(LoraNetwork(small_transformer(), (), SHAPE))
    fewer = copy.copy(file)
    for name in [name for name in file if "linear1" in name]:
        del fewer[name]
    with pytest.raises(InvalidArgument, match="another set of modules"):
        LoraNetwork(small_transformer(), (), SHAPE).load(fewer, "network_weights")
