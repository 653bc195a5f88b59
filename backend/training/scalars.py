"""TensorBoard scalars under the names that sd-scripts uses."""

from __future__ import annotations

import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class Scalars:
    """Writes to `<logging_dir>/<log_prefix><stamp>/network_train`; x is the step, over every resume."""

    def __init__(self, logging_dir: Path | None, prefix: str) -> None:
        self._writer: SummaryWriter | None = None
        if logging_dir is not None:
            folder = logging_dir / f"{prefix}{time.strftime('%Y%m%d%H%M%S')}" / "network_train"
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(folder))

    def step(self, step: int, loss: float, average: float, rates: dict[str, float]) -> None:
        """The values of a step; `rates` maps `unet` and `textencoder` to their learning rates."""
        if self._writer is None:
            return
        self._writer.add_scalar("loss/current", loss, step)
        self._writer.add_scalar("loss/average", average, step)
        for name, rate in rates.items():
            self._writer.add_scalar(f"lr/{name}", rate, step)

    def epoch(self, epoch: int, average: float) -> None:
        """The mean loss of an epoch."""
        if self._writer is not None:
            self._writer.add_scalar("loss/epoch_average", average, epoch)

    def close(self) -> None:
        """Write out what is left."""
        if self._writer is not None:
            self._writer.close()
