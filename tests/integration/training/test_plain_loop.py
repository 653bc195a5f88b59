"""The trainer learns what a plain diffusers and peft loop learns: the same chances give the same losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from backend.training import checks
from backend.training.arguments import parse
from backend.training.order import batches_of_epoch
from backend.training.seeds import generator
from benchmarks._plain_loop import Chances, PlainLoop, Task
from tests.integration.training.runs import MODEL, Trainer

SEED = 11


class TrainersChances(Chances):
    """What the trainer draws for a seed, in the order that it draws it."""

    def __init__(self, argv: list[str]) -> None:
        self._items = checks.prepare(parse(argv, data_dir=None)).items
        self._generator = torch.Generator()

    def batches(self, pictures: int, size: int) -> Iterator[Sequence[int]]:
        for epoch in range(1, 100):
            for batch in batches_of_epoch(self._items, [size], seed=SEED, epoch=epoch):
                yield [index for index, _ in batch]

    def posterior(self, indices: Sequence[int], shape: torch.Size) -> Tensor:
        drawn = [
            torch.randn(shape[1:], generator=generator(SEED, "latents", index, False)) for index in indices
        ]
        return torch.stack(drawn)

    def noise(self, step: int, shape: torch.Size) -> Tensor:
        self._generator = generator(SEED, "noise", step, 0, 0)
        return torch.randn(shape, generator=self._generator)

    def timesteps(self, step: int, count: int, total: int) -> Tensor:
        return torch.randint(0, total, (count,), generator=self._generator)


def _copied(weights: dict[str, Tensor], model: nn.Module, prefix: str) -> int:
    """Put the weights of a LoRA file into peft's adapters; how many there are."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for name, layer in layers.items():
        key = prefix + name.removeprefix("text_model.").replace(".", "_")
        layer.lora_A["default"].weight.data.copy_(weights[f"{key}.lora_down.weight"])
        layer.lora_B["default"].weight.data.copy_(weights[f"{key}.lora_up.weight"])
    return len(layers)


def test_its_loss_curve_lies_on_that_of_a_plain_loop(
    trainer: Trainer, arguments: list[str], pictures: Path, tmp_path: Path
) -> None:
    # Given a LoRA to start from, with nothing in it that is zero
    first = trainer.run(tmp_path / "first", *arguments, "--max_train_epochs", "1", "--network_alpha", "4")
    assert first.wait() == 0, first.errors
    start = tmp_path / "out" / "circles.safetensors"
    weights = load_file(start)
    # When the trainer goes on from it
    more = [*arguments, "--network_alpha", "4", "--network_weights", str(start)]
    run = trainer.run(tmp_path / "on", *more, "--output_name", "on", "--logging_dir", str(tmp_path / "log"))
    assert run.wait() == 0, run.errors
    (events,) = (tmp_path / "log").glob("*/network_train")
    ours = [event.value for event in EventAccumulator(str(events)).Reload().Scalars("loss/current")]
    # And a plain loop with the same chances does
    adapted: list[int] = []

    def prepare(unet: nn.Module, text: nn.Module) -> None:
        adapted.append(_copied(weights, unet, "lora_unet_"))
        adapted.append(_copied(weights, text, "lora_te_text_model_"))

    task = Task(MODEL, pictures / "2_sks style", 64, 3, 18, rank=4, rate=2e-3, with_text=True)
    plain = PlainLoop(task, TrainersChances(arguments), prepare).run()
    # Then both adapt the same modules, and lose the same at every step
    assert 3 * sum(adapted) == len(weights)
    worst = max(abs(a - b) for a, b in zip(ours, plain.losses, strict=True))
    print(f"greatest difference of the losses over 18 steps: {worst:.2e} (losses about {sum(ours) / 18:.2f})")
    assert ours == pytest.approx(plain.losses, abs=1e-5)
