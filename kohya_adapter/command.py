"""Form -> the command that trains it: argv, configuration, prompts, environment. Pure: no file is touched."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kohya_adapter import toml_text
from kohya_adapter.config import Config, kohya_config, trainer_config
from kohya_adapter.form import Form
from kohya_adapter.launch import SCRIPTS, launcher, words
from kohya_adapter.script_arguments import script_arguments

ENVIRONMENT: Mapping[str, str] = {
    "COLUMNS": "200",
    "PYTHONUNBUFFERED": "1",
    "TERM": "dumb",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
"""For every run: lines at once, wide and without colours; TensorFlow, which TensorBoard may load, quiet."""

_SECRET_VARIABLES = {"huggingface_token": "HF_TOKEN", "wandb_api_key": "WANDB_API_KEY"}


@dataclass(frozen=True, slots=True)
class Command:
    """What trains a form. `secrets` are environment variables too, apart so that nobody writes or prints them."""

    argv: tuple[str, ...]
    config: Config
    prompts: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def config_toml(self) -> str:
        """The text of the `--config_file`."""
        return toml_text.dumps(self.config)

    @property
    def line(self) -> str:
        """The command as one would type it into a shell. For people to read: nothing is ever started from it."""
        return shlex.join(self.argv)


def command(
    form: Form,
    *,
    config_file: str,
    sample_prompts: str,
    script: str | None = None,
    accelerate: str = "accelerate",
    additional: Sequence[str] | None = None,
) -> Command:
    """The command we run, with paths as the form has them.

    Args:
        config_file: where `config_toml` will stand.
        sample_prompts: where `prompts` will stand.
        script: path of the trainer; None is its bare name, which an instance looks up in its sd-scripts checkout
            or runs built in.
        additional: the words of `additional_parameters` where they have been checked already.
    """
    known = script_arguments(form.family)
    more = words(form, "additional_parameters") if additional is None else list(additional)
    argv = [*launcher(form, accelerate), script or SCRIPTS[form.family], "--config_file", config_file, *more]
    return Command(
        argv=tuple(argv),
        config=trainer_config(form, known, sample_prompts=sample_prompts),
        prompts=prompt_file(form),
        secrets={variable: form.text(key) for key, variable in _SECRET_VARIABLES.items() if form.text(key)},
    )


def kohya_command(
    form: Form,
    *,
    config_file: str,
    sample_prompts: str,
    script: str,
    accelerate: str,
    repeated_images: int = 0,
) -> Command:
    """What kohya_ss itself would start and write for this form, secrets in the file and all. For comparison only."""
    more = form.text("additional_parameters").replace('"', "").split()
    argv = [*launcher(form, accelerate), script, "--config_file", config_file, *more]
    config = kohya_config(form, sample_prompts=sample_prompts, repeated_images=repeated_images)
    return Command(argv=tuple(argv), config=config, prompts=str(form["sample_prompts"]))


def prompt_file(form: Form) -> str:
    """The text of the prompt file: one prompt a line, ended by a newline; empty when there is none."""
    text = str(form["sample_prompts"]).strip()
    return f"{text}\n" if text else ""
