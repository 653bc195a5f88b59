"""FLUX as the trainer meets it: `family.Recipe` for FLUX.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from backend.training.family import Words
from backend.training.flux import flow, model, ranks, storage
from backend.training.flux.artist import FluxArtist
from backend.training.flux.layout import FluxLayout
from backend.training.flux.model import FluxDenoiser
from backend.training.flux.text import ClipPooled, FluxTextEncoders, FluxTokens
from backend.training.frozen_text import Conditions
from backend.training.model import BaseModel
from backend.training.model_folder import ModelFacts
from backend.training.network import NetworkShape, shape_of_file
from backend.training.network_arguments import asked_shape
from backend.training.objective import Objective
from backend.training.samples import Artist
from backend.training.training_arguments import TrainingArguments

_T5_LENGTHS = {"dev": 512, "schnell": 256}


@dataclass(frozen=True, slots=True)
class Flux:
    """FLUX.1 dev and schnell; of the text encoders CLIP may learn, T5 stays as it is."""

    args: TrainingArguments
    facts: ModelFacts

    @property
    def layout(self) -> FluxLayout:
        """The parts of the model."""
        assert self.facts.flux is not None
        return self.facts.flux

    def load(self, dtype: torch.dtype) -> BaseModel:
        """The frozen parts on the CPU."""
        return model.load(self.layout, dtype)

    def settle(self, base: BaseModel) -> None:
        """8 bits, and blocks in main memory."""
        args = self.args
        storage.keep(
            base.unet, eight_bits=args.fp8_base or args.fp8_base_unet, swapped=args.blocks_to_swap or 0
        )

    def shape(self) -> NetworkShape:
        """The LoRA that is asked for."""
        args, layout = self.args, self.layout
        asked = ranks.read(
            args.network_dim,
            args.network_args,
            args.network_texts,
            doubles=layout.doubles,
            singles=layout.singles,
        )
        return replace(asked_shape(args), ranks=asked)

    def shape_of(self, weights: Mapping[str, Tensor]) -> NetworkShape:
        """The LoRA of a file, each module with the rank it has there."""
        exact = ranks.of_file({name: tensor.shape for name, tensor in weights.items()})
        return replace(shape_of_file(weights), dropouts=self.shape().dropouts, ranks=exact)

    def words(self, base: BaseModel) -> Words:
        """Both encoders frozen, or T5 frozen beside a CLIP that learns."""
        args = self.args
        length = args.t5xxl_max_token_length or _T5_LENGTHS[self.layout.kind]
        clip, t5 = base.text_encoders
        positions = int(clip.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
        tokens = FluxTokens(base.tokenizers, positions, length, masked=args.apply_t5_attn_mask)
        if args.trains_text_encoder:
            return Words(tokens, FluxTextEncoders(None, t5), ClipPooled(clip), draw=True)
        return Words(tokens, FluxTextEncoders(clip, t5), None, draw=True)

    def denoiser(self, base: BaseModel, words: Words) -> nn.Module:
        """The transformer and, where it learns, CLIP."""
        assert words.learning is None or isinstance(words.learning, ClipPooled)
        return FluxDenoiser(
            base.unet, words.learning, self.args.guidance_scale if self.layout.guided else None
        )

    def objective(self, base: BaseModel, device: torch.device) -> Objective:
        """The way from latents to noise."""
        return flow.flow(self.args)

    def artist(self, base: BaseModel, conditions: Conditions, say: Callable[[str], None]) -> Artist:
        """Who draws samples."""
        return FluxArtist(base, conditions, side=self.facts.native_size, side_step=self.facts.side_step)
