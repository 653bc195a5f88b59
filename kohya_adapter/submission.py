"""Submitting a form: checked, made into a snapshot, queued.

One way for the pages, the notebooks and the command line.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.client import Client, TaskHandle
from backend.errors import InvalidArgument
from kohya_adapter import bring, fields
from kohya_adapter.form import Form
from kohya_adapter.problems import Capabilities, Validation
from kohya_adapter.snapshot import snapshot
from kohya_adapter.validate import validate


def submit(
    client: Client,
    form: Form,
    *,
    service: str,
    data_dir: Path,
    checked: Validation | None = None,
    capabilities: Capabilities | None = None,
    task_id: str = "",
    name: str = "",
    user: str = "",
    priority: int = 0,
) -> TaskHandle:
    """Queue a form as a training. `data_dir` is the data folder as the instances see it.

    `checked` is a validation of this form that the caller has made already; `task_id` makes a repeated submission
    the same one.

    Raises:
        InvalidArgument: the form's first error, at its field; nothing was queued.
    """
    checked = checked or validate(form, data_dir, capabilities)
    if checked.errors:
        raise InvalidArgument(checked.errors[0].field, checked.errors[0].message)
    task_id = task_id or str(uuid.uuid4())
    made = snapshot(form, task_id=task_id, data_dir=data_dir)
    details: dict[str, Any] = {
        "settings": {key: value for key, value in form.changed().items() if key not in fields.SECRETS},
        "model": form.text("pretrained_model_name_or_path"),
    }
    if checked.estimate is not None:
        details["steps"] = checked.estimate.total_steps
    return client.service(service).submit(
        argv=list(made.argv),
        name=name or form.text("output_name"),
        user=user,
        priority=priority,
        files=dict(made.files),
        environment={**made.environment, **made.secrets},
        details=details,
        id=task_id,
    )


def submit_file(
    client: Client,
    path: Path,
    *,
    service: str,
    name: str = "",
    user: str = "",
    priority: int = 0,
    warn: Callable[[str], None] = lambda _: None,
) -> TaskHandle:
    """Queue the training of a file (see `bring`) in the deployment that `client` talks to.

    `warn` is given what its reader should know: settings that were left out, files that were not found.
    """
    data_dir = Path(client.info().data_dir)
    loaded = bring.load(path, data_dir)
    for warning in loaded.warnings:
        warn(warning)
    return submit(
        client, loaded.form, service=service, data_dir=data_dir, name=name, user=user, priority=priority
    )
