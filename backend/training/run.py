"""One training run from checked arguments to the final file: loads, builds, resumes, and hands over to the loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.training import latent_cache, optimizers, position, state
from backend.training.checkpoints import Checkpoints
from backend.training.checks import Prepared
from backend.training.family import Words, recipe
from backend.training.feed import Feed
from backend.training.frozen_text import Conditions, FrozenText, TextDisk
from backend.training.latent_cache import DiskCache, LatentCache
from backend.training.latents import Encoder
from backend.training.loop import Loop, Machinery, recent_losses, unwrap
from backend.training.merge import merge
from backend.training.metadata import Metadata
from backend.training.model import BaseModel
from backend.training.network import LoraNetwork
from backend.training.network_arguments import parameter_groups
from backend.training.plan import plan
from backend.training.position import Position
from backend.training.progress import Reporter
from backend.training.samples import Sampler
from backend.training.scalars import Scalars
from backend.training.schedules import learning_rate_schedule
from backend.training.seeds import derive, draw
from backend.training.stopping import StopRequest
from backend.training.training_arguments import TrainingArguments
from backend.training.validation import Validation

_CACHE_DIR = "LORAPOOL_CACHE_DIR"


def train(args: TrainingArguments, prepared: Prepared, reporter: Reporter, stop: StopRequest) -> Path:
    """Train; the path of the final LoRA.

    Raises:
        InvalidArgument: a state or a file of weights does not fit this run.
        RunFailed: the run cannot reach its end; what was saved is kept.
        SavedForLater: it was asked to stop, and has saved its state.
    """
    return _Run(args, prepared, reporter, stop).train()


class _Run:
    def __init__(
        self, args: TrainingArguments, prepared: Prepared, reporter: Reporter, stop: StopRequest
    ) -> None:
        self.args, self.prepared, self.reporter, self.stop = args, prepared, reporter, stop
        self.precision = _usable_precision(args.mixed_precision, reporter)
        self.accelerator = Accelerator(mixed_precision=self.precision, kwargs_handlers=self._handlers())
        reporter.quiet = not self.accelerator.is_main_process
        self.device = self.accelerator.device
        self.dtype = state.precision(self.precision)
        self.vae_dtype = torch.float32 if args.no_half_vae else self.dtype
        self.resumed = position.read(args.resume) if args.resume else None
        self.seed = self._choose_seed()
        self.recipe = recipe(args, prepared.model)
        self.plan = plan(args, prepared.report.batches_per_epoch, self.accelerator.num_processes)

    def _handlers(self) -> list[Any]:
        """SDXL and clip_skip leave the last layers of the text encoders without a gradient."""
        partly = self.prepared.model.family == "sdxl" or (self.args.clip_skip or 1) > 1
        return [DistributedDataParallelKwargs(find_unused_parameters=True)] if partly else []

    def _choose_seed(self) -> int:
        asked = self.args.seed
        if self.resumed is not None:
            if asked is not None and asked != self.resumed.seed:
                self.reporter.log(
                    f"seed {asked} is left aside: the resumed run goes on with its own, {self.resumed.seed}"
                )
            return self.resumed.seed
        if asked is not None:
            return asked
        drawn = [draw()]
        broadcast_object_list(drawn)
        return drawn[0]

    def train(self) -> Path:
        self.reporter.phase("loading model")
        base = self.recipe.load(self.dtype)
        network = self._network(base)
        self._place(base)
        encoder = Encoder(base.vae, self.device, self.vae_dtype)
        cache = self._cache(base, encoder)
        machinery = self._machinery(base, network, encoder, cache)
        first = self._resume(machinery)
        self._announce(len(network))
        try:
            return self._loop(machinery).run(first)
        finally:
            machinery.scalars.close()

    def _network(self, base: BaseModel) -> LoraNetwork:
        args = self.args
        weights: dict[str, Tensor] = load_file(args.network_weights) if args.network_weights else {}
        shape = self.recipe.shape()
        if args.dim_from_weights:
            shape = self.recipe.shape_of(weights)
        for index, path in enumerate(args.base_weights):
            given = args.base_weights_multiplier
            merge(load_file(path), base, given[index] if index < len(given) else 1.0)
            self.reporter.log(f"merged {path} into the base model")
        self.recipe.settle(base)
        torch.manual_seed(derive(self.seed, "network"))
        network = LoraNetwork(
            base.unet if args.trains_unet else None,
            base.trainable_encoders if args.trains_text_encoder else (),
            shape,
            torch.bfloat16 if args.full_bf16 else torch.float32,
            of_encoders=len(base.text_encoders),
        )
        if weights:
            network.load(weights, "network_weights")
        return network

    def _place(self, base: BaseModel) -> None:
        args = self.args
        for encoder in base.text_encoders:
            learns = args.trains_text_encoder and encoder in base.trainable_encoders
            encoder.to(self.device).train(learns)
            if args.gradient_checkpointing and learns:
                encoder.gradient_checkpointing_enable()  # type: ignore[operator]
        base.vae.to(self.device)
        if self.vae_dtype != torch.float32:
            base.vae.to(self.vae_dtype)

    def _cache(self, base: BaseModel, encoder: Encoder) -> LatentCache | None:
        args, reporter = self.args, self.reporter
        if not (args.cache_latents or args.cache_latents_to_disk):
            return None
        reporter.phase("caching latents")
        disk = DiskCache(_cache_folder(args) / "latents", base.vae) if args.cache_latents_to_disk else None
        cache = latent_cache.build(
            [*self.prepared.items, *self.prepared.validation],
            encoder,
            seed=self.seed,
            batch_size=args.vae_batch_size,
            disk=disk,
            advance=lambda done, total: reporter.log(f"cached {done} of {total}"),
        )
        base.vae.to("cpu")
        return cache

    def _machinery(
        self, base: BaseModel, network: LoraNetwork, encoder: Encoder, cache: LatentCache | None
    ) -> Machinery:
        args = self.args
        names, rates, groups = parameter_groups(args, network)
        optimizer = optimizers.create(args.optimizer_type, args.optimizer_args, groups)
        feed = self._feed(cache)
        words = self.recipe.words(base)
        frozen = self._frozen_text(words, feed)
        conditions = Conditions(words.tokens, frozen, learns=words.learning is not None)
        denoiser = self._denoiser(base, words)
        prepared_denoiser, prepared_optimizer = self.accelerator.prepare(denoiser, optimizer)
        return Machinery(
            args=args,
            plan=self.plan,
            accelerator=self.accelerator,
            denoiser=prepared_denoiser,
            network=network,
            optimizer=prepared_optimizer,
            base_rates=rates,
            rate_names=names,
            schedule=learning_rate_schedule(args, self.plan.total_steps),
            objective=self.recipe.objective(base, self.device),
            encoder=encoder,
            conditions=conditions,
            feed=feed,
            seed=self.seed,
            sampler=self._sampler(base, conditions),
            validation=self._validation(),
            scalars=Scalars(args.logging_dir if self.accelerator.is_main_process else None, args.log_prefix),
            reporter=self.reporter,
            stop=self.stop,
        )

    def _denoiser(self, base: BaseModel, words: Words) -> nn.Module:
        """On the device only now: before, text encoders that have done their work by now may have needed the room."""
        base.unet.to(self.device).train()
        if self.args.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()  # type: ignore[operator]
        return self.recipe.denoiser(base, words)

    def _frozen_text(self, words: Words, feed: Feed) -> FrozenText | None:
        """With cached outputs every caption is encoded now, and the encoders leave the device."""
        args, reporter, encoders = self.args, self.reporter, words.frozen
        if encoders is None:
            return None
        frozen = FrozenText(encoders, words.tokens)
        on_disk = args.cache_text_encoder_outputs_to_disk
        if on_disk or args.cache_text_encoder_outputs:
            reporter.phase("caching text encoder outputs")
            disk = TextDisk(_cache_folder(args) / "text", encoders, args.clip_skip) if on_disk else None
            samples = self.prepared.prompts if words.draw else ()
            drawn = [text for prompt in samples for text in (prompt.prompt, prompt.negative)]
            with self.accelerator.autocast():
                frozen.remember(
                    list(dict.fromkeys([*feed.captions(), *drawn])),
                    disk,
                    lambda done, total: reporter.log(f"cached {done} of {total}"),
                )
            encoders.to("cpu")
        return frozen

    def _validation(self) -> Validation | None:
        args = self.args
        if not self.prepared.validation:
            return None
        return Validation(
            args.validate_every_n_steps, args.validate_every_n_epochs, args.max_validation_steps
        )

    def _feed(self, cache: LatentCache | None) -> Feed:
        return Feed(
            self.prepared.items,
            self.prepared.validation,
            self.prepared.batch_sizes,
            self.plan,
            seed=self.seed,
            reg_weight=self.args.prior_loss_weight,
            cache=cache,
            mask_factor=self._mask_factor,
            rank=self.accelerator.process_index,
            workers=self.args.max_data_loader_n_workers,
        )

    @property
    def _mask_factor(self) -> int | None:
        """Pixels per value of a mask, or None where no picture has one."""
        subsets = [subset for spec in self.prepared.specs for subset in spec.subsets]
        masked = any(subset.alpha_mask or (self.args.masked_loss and subset.mask_dir) for subset in subsets)
        return self.prepared.model.vae_factor if masked else None

    def _sampler(self, base: BaseModel, conditions: Conditions) -> Sampler | None:
        args = self.args
        if args.sample_prompts is None:
            return None
        return Sampler(
            args.sample_prompts,
            self.prepared.prompts,
            args.output_dir / "sample",
            args.output_name,
            self.recipe.artist(base, conditions, self.reporter.log),
            seed=self.seed,
            device=self.device,
            autocast=self.accelerator.autocast,
            reporter=self.reporter,
        )

    def _resume(self, machinery: Machinery) -> int:
        """Put network and optimizer back where a state has them; the first step to do."""
        if self.resumed is None or self.args.resume is None:
            return 1
        machinery.network.load(state.read_network(self.args.resume), "resume")
        state.restore_optimizer(self.args.resume, unwrap(machinery.optimizer))
        if self.accelerator.scaler is not None and self.resumed.scaler:
            self.accelerator.scaler.load_state_dict(self.resumed.scaler)
        if self.resumed.data != self._data_digest():
            self.reporter.log(
                "the data set is not the one of the saved state: the run goes on with what is there now"
            )
        self.reporter.log(f"resuming after step {self.resumed.current_step}")
        return self.resumed.current_step + 1

    def _data_digest(self) -> str:
        return position.data_digest(self.prepared.items, self.prepared.batch_sizes)

    def _loop(self, machinery: Machinery) -> Loop:
        losses = recent_losses(self.plan, self.resumed.losses if self.resumed else ())

        def write_state(folder: Path, step: int) -> None:
            scaler: Any = self.accelerator.scaler
            now = Position(
                step,
                self.plan.epoch_of(step),
                self.seed,
                self.plan.batches_per_epoch,
                self._data_digest(),
                tuple(losses),
                scaler.state_dict() if scaler is not None else {},
            )
            tensors = machinery.network.state_dict(torch.float32)
            state.write(folder, now, tensors, unwrap(machinery.optimizer))

        metadata = Metadata(self.args, self.prepared, self.seed, self.precision)
        checkpoints = Checkpoints(
            self.args,
            self.plan,
            machinery.network,
            metadata,
            self.reporter,
            write_state,
            lambda: optimizers.averaged(unwrap(machinery.optimizer)),
        )
        return Loop(machinery, checkpoints, losses)

    def _announce(self, modules: int) -> None:
        report, args, say = self.prepared.report, self.args, self.reporter.log
        say("running training")
        say(f"  num train images * repeats: {report.showings}")
        say(f"  num reg images: {report.reg_showings}")
        say(f"  num batches per epoch: {report.batches_per_epoch}")
        say(f"  num epochs: {self.plan.epochs}")
        say(f"  batch size per device: {', '.join(str(size) for size in self.prepared.batch_sizes)}")
        say(f"  gradient accumulation steps: {args.gradient_accumulation_steps}")
        say(f"  total optimization steps: {self.plan.total_steps}")
        say(f"  LoRA modules: {modules}, seed {self.seed}, device {self.device}, precision {self.precision}")


def _usable_precision(asked: str, reporter: Reporter) -> str:
    if asked == "fp16" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        reporter.log(
            "mixed_precision fp16 needs a GPU; this machine has none, so the run goes on in full precision"
        )
        return "no"
    return asked


def _cache_folder(args: TrainingArguments) -> Path:
    """Where latents and texts are kept: never in the data set."""
    if given := os.environ.get(_CACHE_DIR):
        return Path(given)
    if args.data_dir is not None:
        return args.data_dir / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorapool"
