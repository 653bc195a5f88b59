"""Which files a run writes and when: checkpoints by epochs and steps, states, the final LoRA; and which old ones go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from torch import Tensor

from backend.training import lora_file, state
from backend.training.files import remove_folder
from backend.training.metadata import Metadata
from backend.training.network import LoraNetwork
from backend.training.plan import Plan, save_every_n_epochs
from backend.training.progress import Reporter
from backend.training.training_arguments import TrainingArguments


class Checkpoints:
    """Writes into `output_dir`.

    `write_state` puts the full state of the run into a folder; in `averaged` the weights are those to save.
    """

    def __init__(
        self,
        args: TrainingArguments,
        plan: Plan,
        network: LoraNetwork,
        metadata: Metadata,
        reporter: Reporter,
        write_state: Callable[[Path, int], None],
        averaged: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._args, self._plan = args, plan
        self._network, self._metadata = network, metadata
        self._reporter, self._write_state, self._averaged = reporter, write_state, averaged
        self._every_epochs = save_every_n_epochs(args, plan.epochs)
        self.last: Path | None = None
        self._saved = (0, "", False)

    @property
    def final(self) -> Path:
        """The file that the run is for."""
        return self._path("")

    def after_step(self, step: int) -> None:
        """What `save_every_n_steps` and, at an epoch's end, `save_every_n_epochs` ask for."""
        args, every = self._args, self._args.save_every_n_steps
        if every and step % every == 0:
            self._save(f"-step{step:08d}", step, with_state=args.save_state)
            self._forget_steps(step, every)
        epoch = self._plan.epoch_of(step)
        ends = self._plan.is_epoch_end(step) and epoch < self._plan.epochs
        if ends and self._every_epochs and epoch % self._every_epochs == 0:
            self._save(f"-{epoch:06d}", step, with_state=args.save_state)
            self._forget_epochs(epoch, self._every_epochs)

    def save_now(self, step: int) -> None:
        """A checkpoint and the state, to go on from later; what was just saved of this step is not saved again."""
        saved, suffix, has_state = self._saved
        if saved != step:
            self._save(f"-step{step:08d}", step, with_state=True)
        elif not has_state:
            self._save_state(suffix, step)

    def finish(self, step: int) -> None:
        """The final LoRA, and its state when asked for."""
        args = self._args
        self._save("", step, with_state=args.save_state or args.save_state_on_train_end, final=True)

    def _path(self, suffix: str) -> Path:
        return self._args.output_dir / f"{self._args.output_name}{suffix}.safetensors"

    def _state_path(self, suffix: str) -> Path:
        return self._args.output_dir / f"{self._args.output_name}{suffix}-state"

    def _save(self, suffix: str, step: int, *, with_state: bool, final: bool = False) -> None:
        path, epoch = self._path(suffix), self._plan.epoch_of(step)
        self._reporter.phase("saving")
        lora_file.write(path, self._tensors(), self._metadata_at(step, epoch))
        self.last = path
        self._reporter.log(f"saved {path}")
        self._reporter.file("lora" if final else "checkpoint", path, step=step, epoch=epoch)
        if with_state:
            self._save_state(suffix, step)
        self._saved = (step, suffix, with_state)

    def _save_state(self, suffix: str, step: int) -> None:
        folder = self._state_path(suffix)
        self._write_state(folder, step)
        self._reporter.log(f"saved the state of step {step}: {folder}")
        self._reporter.file("state", folder, step=step, epoch=self._plan.epoch_of(step))

    def _tensors(self) -> dict[str, Tensor]:
        with self._averaged():
            return self._network.state_dict(state.precision(self._args.save_precision))

    def _metadata_at(self, step: int, epoch: int) -> dict[str, str]:
        plan = self._plan
        return self._metadata.of(
            steps=step,
            epoch=epoch,
            epochs=plan.epochs,
            total_steps=plan.total_steps,
            batches_per_epoch=plan.batches_per_epoch,
        )

    def _forget_epochs(self, epoch: int, every: int) -> None:
        args = self._args
        if args.save_last_n_epochs:
            self._path(f"-{epoch - every * args.save_last_n_epochs:06d}").unlink(missing_ok=True)
        if states := args.save_last_n_epochs_state or args.save_last_n_epochs:
            remove_folder(self._state_path(f"-{epoch - every * states:06d}"))

    def _forget_steps(self, step: int, every: int) -> None:
        args = self._args
        if args.save_last_n_steps:
            self._path(f"-step{_forgotten(step, every, args.save_last_n_steps):08d}").unlink(missing_ok=True)
        if states := args.save_last_n_steps_state or args.save_last_n_steps:
            remove_folder(self._state_path(f"-step{_forgotten(step, every, states):08d}"))


def _forgotten(step: int, every: int, last: int) -> int:
    """The newest checkpoint that is more than `last` steps old (sd-scripts counts steps here, not checkpoints)."""
    return max(step - last - 1, 0) // every * every
