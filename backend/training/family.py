"""What differs between families of models, behind one face, `Recipe`: Stable Diffusion's is here, FLUX's in `flux`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from backend.training import model
from backend.training.frozen_text import Conditions
from backend.training.loss import loss_rules
from backend.training.model import BaseModel, Denoiser
from backend.training.model_folder import ModelFacts
from backend.training.network import NetworkShape, shape_of_file
from backend.training.network_arguments import asked_shape
from backend.training.noise import alphas_cumprod, noise_rules
from backend.training.objective import Diffusion, Objective
from backend.training.samples import Artist
from backend.training.stable_artist import StableArtist
from backend.training.text import CaptionTokens, TextEncoders, Tokenizer
from backend.training.training_arguments import TrainingArguments


@dataclass(frozen=True, slots=True)
class Words:
    """What reads captions: a tokenizer, the encoders that stay as they are, and those that learn.

    `draw` says that samples are drawn with what they say, not by encoders of their own.
    """

    tokens: Tokenizer
    frozen: nn.Module | None
    learning: nn.Module | None
    draw: bool = False


class Recipe(Protocol):
    """How the models of a family are loaded, adapted, told captions, taught and drawn with."""

    def load(self, dtype: torch.dtype) -> BaseModel:
        """The frozen parts on the CPU."""

    def settle(self, base: BaseModel) -> None:
        """Make the frozen parts as small as is asked for, before a LoRA is put in."""

    def shape(self) -> NetworkShape:
        """The LoRA that is asked for."""

    def shape_of(self, weights: Mapping[str, Tensor]) -> NetworkShape:
        """The LoRA of a file, with the dropouts that are asked for."""

    def words(self, base: BaseModel) -> Words:
        """What reads captions."""

    def denoiser(self, base: BaseModel, words: Words) -> nn.Module:
        """What learns, as one module: noisy latents, timesteps, text and sizes to a prediction."""

    def objective(self, base: BaseModel, device: torch.device) -> Objective:
        """What is learned."""

    def artist(self, base: BaseModel, conditions: Conditions, say: Callable[[str], None]) -> Artist:
        """Who draws samples; `say` is for remarks."""


@dataclass(frozen=True, slots=True)
class StableDiffusion:
    """Stable Diffusion 1.x, 2.x and SDXL."""

    args: TrainingArguments
    facts: ModelFacts

    def load(self, dtype: torch.dtype) -> BaseModel:
        """The frozen parts on the CPU."""
        return model.load(self.facts, vae=self.args.vae, dtype=dtype)

    def settle(self, base: BaseModel) -> None:
        """They stay as they are."""

    def shape(self) -> NetworkShape:
        """The LoRA that is asked for."""
        return asked_shape(self.args)

    def shape_of(self, weights: Mapping[str, Tensor]) -> NetworkShape:
        """The LoRA of a file."""
        return replace(shape_of_file(weights), dropouts=self.shape().dropouts)

    def words(self, base: BaseModel) -> Words:
        """Two encoders at most, which learn together or not at all."""
        args = self.args
        tokens = CaptionTokens(
            base.tokenizers, base.text_positions, args.max_token_length, weighted=args.weighted_captions
        )
        encoders = TextEncoders(base.text_encoders, args.clip_skip)
        learns = args.trains_text_encoder
        return Words(tokens, None if learns else encoders, encoders if learns else None)

    def denoiser(self, base: BaseModel, words: Words) -> nn.Module:
        """U-Net and text encoders."""
        assert words.learning is None or isinstance(words.learning, TextEncoders)
        return Denoiser(base.unet, words.learning)

    def objective(self, base: BaseModel, device: torch.device) -> Objective:
        """Noise or velocity."""
        args = self.args
        alphas = alphas_cumprod(base.scheduler_config, zero_terminal_snr=args.zero_terminal_snr)
        predicts_v = self.facts.predicts_v(args)
        return Diffusion(alphas.to(device), predicts_v, noise_rules(args), loss_rules(args))

    def artist(self, base: BaseModel, conditions: Conditions, say: Callable[[str], None]) -> Artist:
        """Who draws samples."""
        args = self.args
        return StableArtist(
            base,
            default_sampler=args.sample_sampler,
            side=self.facts.native_size,
            clip_skip=args.clip_skip,
            predicts_v=self.facts.predicts_v(args),
            zero_snr=args.zero_terminal_snr,
            say=say,
        )


def recipe(args: TrainingArguments, facts: ModelFacts) -> Recipe:
    """The recipe for a model."""
    if facts.flux is not None:
        from backend.training.flux.recipe import Flux

        return Flux(args, facts)
    return StableDiffusion(args, facts)
