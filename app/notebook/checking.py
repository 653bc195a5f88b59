"""A form before it is queued: looked at here where the data folder can be read, else by the gateway alone."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path

from app import folders
from app.notebook.deployment import Pool
from app.pool import capabilities, installed
from kohya_adapter.form import Form
from kohya_adapter.problems import Capabilities, Validation
from kohya_adapter.rules import broken_rules
from kohya_adapter.validate import validate


class Checker:
    """Looks at forms for one pool."""

    def __init__(self, pool: Pool) -> None:
        info = pool.client.info()
        self.data_dir = Path(info.data_dir)
        self._sd_scripts = info.trainer == "sd-scripts"
        self._pool = pool

    def choices(self, key: str) -> list[str]:
        """What a field that names something in the data folder can name; nothing where it cannot be read from here."""
        if self._pool.data_dir is None:
            return []
        offered = {
            "pretrained_model_name_or_path": folders.models,
            "train_data_dir": folders.datasets,
        }
        return offered[key](self._pool.data_dir) if key in offered else []

    def look(self, form: Form) -> Validation:
        """All that is known about a form. Of a remote pool's files nothing: its gateway looks at them at the start."""
        if self._pool.data_dir is None:
            return Validation(tuple(broken_rules(form, sd_scripts=self._sd_scripts)))
        return validate(form, self._pool.data_dir, self._instances())

    def _instances(self) -> Capabilities:
        found = [asdict(instance) for instance in self._pool.client.instances()]
        here = platform.node()
        return capabilities(found, sd_scripts=self._sd_scripts, here=here, installed=installed())
