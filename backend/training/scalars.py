"""TensorBoard scalars under the names that sd-scripts uses."""

from __future__ import annotations

import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class Scalars:
    """Writes to `<logging_dir>/<log_prefix><stamp>/network_train`; x is the step, over every resume."""

    def __init__(self, logging_dir: Path | None, prefix: str) -> None:
        self._folder: Path | None = None
        self._opened: SummaryWriter | None = None
        if logging_dir is not None:
            self._folder = logging_dir / f"{prefix}{time.strftime('%Y%m%d%H%M%S')}" / "network_train"

    @property
    def _writer(self) -> SummaryWriter | None:
        """Opened with the first value, so that a run that never steps leaves no empty file."""
        if self._opened is None and self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._opened = SummaryWriter(str(self._folder))
        return self._opened

    def step(self, step: int, loss: float, average: float, rates: dict[str, float]) -> None:
        """The values of a step; `rates` maps `unet` and `textencoder` to their learning rates."""
        if (writer := self._writer) is None:
            return
        writer.add_scalar("loss/current", loss, step)
        writer.add_scalar("loss/average", average, step)
        for name, rate in rates.items():
            writer.add_scalar(f"lr/{name}", rate, step)

    def epoch(self, epoch: int, average: float) -> None:
        """The mean loss of an epoch."""
        if (writer := self._writer) is not None:
            writer.add_scalar("loss/epoch_average", average, epoch)

    def validation(self, step: int, average: float, training: float) -> None:
        """The mean loss of a validation, and how far it is from that of the training."""
        if (writer := self._writer) is not None:
            writer.add_scalar("loss/validation/step_average", average, step)
            writer.add_scalar("loss/validation/step_divergence", average - training, step)

    def close(self) -> None:
        """Write out what is left."""
        if self._opened is not None:
            self._opened.close()
