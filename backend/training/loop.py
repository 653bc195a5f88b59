"""The training loop: step after step, with samples and checkpoints where the plan puts them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from backend.errors import RunFailed
from backend.records import Progress
from backend.training.checkpoints import Checkpoints
from backend.training.feed import Feed, MicroBatch
from backend.training.frozen_text import Conditions
from backend.training.latents import Encoder
from backend.training.network import LoraNetwork
from backend.training.noise import sample_noise
from backend.training.objective import Objective, Shown
from backend.training.optimizers import averaged
from backend.training.plan import Plan
from backend.training.progress import Reporter
from backend.training.samples import Sampler
from backend.training.scalars import Scalars
from backend.training.schedules import LearningRateSchedule
from backend.training.seeds import derive, generator
from backend.training.stopping import SavedForLater, StopRequest
from backend.training.training_arguments import TrainingArguments
from backend.training.validation import FRACTIONS, Validation


@dataclass(slots=True)
class Machinery:
    """Everything a run needs while it steps."""

    args: TrainingArguments
    plan: Plan
    accelerator: Accelerator
    denoiser: nn.Module
    network: LoraNetwork
    optimizer: Optimizer
    base_rates: list[float]
    rate_names: list[str]
    schedule: LearningRateSchedule
    objective: Objective
    encoder: Encoder
    conditions: Conditions
    feed: Feed
    seed: int
    sampler: Sampler | None
    validation: Validation | None
    scalars: Scalars
    reporter: Reporter
    stop: StopRequest


class Loop:
    """Runs from one step to the last; `losses` are those of the last epoch's worth of steps."""

    def __init__(self, machinery: Machinery, checkpoints: Checkpoints, losses: deque[float]) -> None:
        self._m = machinery
        self._checkpoints = checkpoints
        self.losses = losses
        self._parameters = [p for group in machinery.optimizer.param_groups for p in group["params"]]
        self._waited = self._busy = 0.0

    def run(self, first: int) -> Path:
        """Train from step `first`; the path of the final LoRA.

        Raises:
            RunFailed: the loss is no number any more.
            SavedForLater: it was asked to stop, and has saved its state.
        """
        m = self._m
        self._sample_at_first(first)
        self._look_for_stop(first - 1)
        m.reporter.phase("training")
        m.reporter.start_steps()
        started = asked = perf_counter()
        for step, micro_batches in m.feed.steps(first):
            self._waited += perf_counter() - asked
            self._begin_epoch(step)
            rates = self._set_rates(step)
            loss = self._step(step, micro_batches)
            self._report(step, loss, rates)
            self._after(step)
            asked = perf_counter()
        self._busy = perf_counter() - started
        if self._busy:
            m.reporter.log(f"waited for data {100 * self._waited / self._busy:.1f} % of the time")
        if m.accelerator.is_main_process:
            self._checkpoints.finish(m.plan.total_steps)
        m.accelerator.wait_for_everyone()
        return self._checkpoints.final

    def _begin_epoch(self, step: int) -> None:
        plan = self._m.plan
        if (step - 1) % plan.steps_per_epoch == 0:
            self._m.reporter.log(f"epoch {plan.epoch_of(step)}/{plan.epochs}")

    def _set_rates(self, step: int) -> dict[str, float]:
        m = self._m
        factor = m.schedule.factor(step - 1)
        rates = {}
        for name, group, base in zip(m.rate_names, m.optimizer.param_groups, m.base_rates, strict=True):
            rates[name] = group["lr"] = base * factor
            if "d" in group:
                rates[f"d*lr/{name}"] = m.optimizer.param_groups[0]["d"] * group["lr"]
        return rates

    def _step(self, step: int, micro_batches: list[MicroBatch]) -> float:
        """One optimizer step over all micro-batches; the mean loss."""
        m = self._m
        total = torch.zeros((), device=m.accelerator.device)
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            torch.manual_seed(derive(m.seed, "step", step, number, m.accelerator.process_index))
            if last or m.accelerator.num_processes == 1:
                total += self._backward(step, number, batch, len(micro_batches))
            else:
                with m.accelerator.no_sync(m.denoiser):
                    total += self._backward(step, number, batch, len(micro_batches))
        if m.args.max_grad_norm:
            m.accelerator.clip_grad_norm_(self._parameters, m.args.max_grad_norm)
        loss = float(total)
        if not math.isfinite(loss):
            self._give_up(step)
        m.optimizer.step()
        m.optimizer.zero_grad(set_to_none=True)
        if m.args.scale_weight_norms:
            m.network.limit_norms(m.args.scale_weight_norms)
        return loss

    def _backward(self, step: int, number: int, batch: MicroBatch, count: int) -> Tensor:
        m = self._m
        chance = generator(m.seed, "noise", step, number, m.accelerator.process_index)
        shown = self._shown(batch, chance)
        noise = sample_noise(shown.latents, m.objective.noise, chance)
        timesteps = m.objective.draw(shown.latents, chance)
        with m.accelerator.autocast():
            found = m.objective.losses(m.denoiser, shown, noise, timesteps, chance)
        loss = (found * batch.weights.to(found.device)).mean() / count
        m.accelerator.backward(loss)
        return loss.detach()

    def _shown(self, batch: MicroBatch, chance: torch.Generator) -> Shown:
        m, device = self._m, self._m.accelerator.device
        with m.accelerator.autocast():
            text = m.conditions(batch.captions, device)
        masks = None if batch.masks is None else batch.masks.to(device)
        return Shown(self._latents(batch, chance), text, batch.sizes.to(device), masks)

    def _latents(self, batch: MicroBatch, chance: torch.Generator) -> Tensor:
        if batch.latents is not None:
            return batch.latents.to(self._m.accelerator.device, non_blocking=True)
        assert batch.pixels is not None
        return self._m.encoder(batch.pixels, lambda shape: torch.randn(shape, generator=chance))

    def _give_up(self, step: int) -> None:
        last = self._checkpoints.last
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint was written before"
        raise RunFailed(
            f"the loss is NaN since step {step}: the weights are beyond repair, nothing was saved from them; {kept}. "
            "Lower the learning rate, or train with mixed_precision bf16 or no"
        )

    def _report(self, step: int, loss: float, rates: dict[str, float]) -> None:
        m, plan = self._m, self._m.plan
        self.losses.append(loss)
        average = sum(self.losses) / len(self.losses)
        m.scalars.step(step, loss, average, rates)
        ends = plan.is_epoch_end(step)
        if ends:
            m.scalars.epoch(plan.epoch_of(step), average)
        rate = rates.get("unet", next(iter(rates.values())))
        progress = Progress(step, plan.total_steps, plan.epoch_of(step), plan.epochs, loss, rate)
        always = ends or step == 1 or self._samples_at(step) is not None
        m.reporter.step(progress, average=average, always=always)

    def _after(self, step: int) -> None:
        m = self._m
        by_epoch = self._samples_at(step)
        last = self._checkpoints.last
        if m.accelerator.is_main_process:
            self._checkpoints.after_step(step)
        validated = m.validation is not None and m.validation.is_due(step, m.plan)
        if validated:
            self._validate(step)
        if by_epoch is not None and m.sampler is not None and m.accelerator.is_main_process:
            with averaged(unwrap(m.optimizer)):
                m.sampler.draw(step=step, epoch=m.plan.epoch_of(step), by_epoch=by_epoch)
        paused = validated or by_epoch is not None or self._checkpoints.last != last
        if paused and step < m.plan.total_steps:
            m.reporter.phase("training")
            m.reporter.start_steps()
        self._look_for_stop(step)

    def _validate(self, step: int) -> None:
        """The loss on the pictures that are held back, at fixed timesteps with fixed noise, so that it compares."""
        m = self._m
        assert m.validation is not None
        m.reporter.phase("validating")
        found: list[float] = []
        training = m.denoiser.training
        m.denoiser.eval()
        with torch.no_grad(), averaged(unwrap(m.optimizer)):
            for number, batch in enumerate(m.validation.batches(m.feed)):
                for fraction in FRACTIONS:
                    found += self._validation_losses(number, batch, fraction)
        m.denoiser.train(training)
        average, usual = sum(found) / len(found), sum(self.losses) / len(self.losses)
        m.reporter.log(f"validation loss {average:.4f} after step {step} (training {usual:.4f})")
        m.scalars.validation(step, average, usual)

    def _validation_losses(self, number: int, batch: MicroBatch, fraction: float) -> list[float]:
        m = self._m
        chance = generator(m.seed, "validation", number, round(1000 * fraction))
        shown = self._shown(batch, chance)
        noise = sample_noise(shown.latents, m.objective.noise, chance)
        timesteps = m.objective.at(fraction, shown.latents)
        with m.accelerator.autocast():
            found = m.objective.losses(unwrap_model(m), shown, noise, timesteps, chance)
        return [float(loss) for loss in found]

    def _samples_at(self, step: int) -> bool | None:
        """Whether samples are due after this step, by epoch (True) or by steps (False); None when not."""
        args, plan = self._m.args, self._m.plan
        if self._m.sampler is None:
            return None
        if args.sample_every_n_epochs:
            due = plan.is_epoch_end(step) and plan.epoch_of(step) % args.sample_every_n_epochs == 0
            return True if due else None
        return False if args.sample_every_n_steps and step % args.sample_every_n_steps == 0 else None

    def _all_asked_to_stop(self) -> bool:
        """Several processes must leave at the same step, although the signal reaches them at different ones."""
        asked, accelerator = self._m.stop.save_and_stop, self._m.accelerator
        if accelerator.num_processes == 1:
            return asked
        return bool(accelerator.reduce(torch.tensor(float(asked), device=accelerator.device)) > 0)

    def _sample_at_first(self, first: int) -> None:
        m = self._m
        if m.sampler and m.args.sample_at_first and first == 1 and m.accelerator.is_main_process:
            m.sampler.draw(step=0, epoch=0, by_epoch=False)

    def _look_for_stop(self, step: int) -> None:
        if not self._all_asked_to_stop():
            return
        if step > 0 and step < self._m.plan.total_steps:
            if self._m.accelerator.is_main_process:
                self._checkpoints.save_now(step)
            raise SavedForLater
        if step == 0:
            raise SavedForLater


def unwrap_model(machinery: Machinery) -> nn.Module:
    """The denoiser without what makes several processes wait for each other."""
    model: nn.Module = machinery.accelerator.unwrap_model(machinery.denoiser)
    return model


def recent_losses(plan: Plan, before: tuple[float, ...] = ()) -> deque[float]:
    """The window that the average loss is taken over: one epoch."""
    return deque(before, maxlen=plan.steps_per_epoch)


def unwrap(optimizer: Any) -> Optimizer:
    """The optimizer inside accelerate's."""
    inner = getattr(optimizer, "optimizer", optimizer)
    assert isinstance(inner, Optimizer)
    return inner
