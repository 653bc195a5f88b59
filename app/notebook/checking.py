"""A form before it is queued: looked at here where the data folder can be read, else by the gateway alone."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path

from app import folders
from app.notebook.deployment import Pool
from app.pool import capabilities, installed
from backend import paths
from kohya_adapter.form import Form
from kohya_adapter.problems import Capabilities, Validation
from kohya_adapter.resolve import path_fields
from kohya_adapter.rules import broken_rules
from kohya_adapter.validate import validate

_FOLDERS = frozenset((paths.DATASETS, paths.MODELS, paths.LORAS, paths.JOBS))


def placed(form: Form, data_dir: Path) -> Form:
    """The form with what it names in a data folder that cannot be seen from here made absolute.

    `models/sdxl` could be a model of the hub as well: who sees the folder looks there, who does not must be told.
    """
    named = {field.key: form.text(field.key) for field in path_fields(form)}
    inside = {key: text for key, text in named.items() if text.partition("/")[0] in _FOLDERS}
    return form.replace({key: str(data_dir / text) for key, text in inside.items()})


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

    def as_submitted(self, form: Form) -> Form:
        """The form as it goes to the pool."""
        return form if self._pool.data_dir is not None else placed(form, self.data_dir)

    def _instances(self) -> Capabilities:
        found = [asdict(instance) for instance in self._pool.client.instances()]
        here = platform.node()
        return capabilities(found, sd_scripts=self._sd_scripts, here=here, installed=installed())
