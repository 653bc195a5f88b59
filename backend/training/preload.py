"""Import everything that a run needs, once, in a process that runs are then forked from.

Only imports: no CUDA context and no OpenMP team may exist in a process that is going to fork.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings

_LATER = (
    "accelerate.optimizer",
    "numpy.ctypeslib",
    "peft.utils.transformers_weight_conversion",
    "backend.training.flux.recipe",
    "backend.training.run",
    "backend.training.train_network",
    "backend.inference.server",
    "diffusers.pipelines.flux.pipeline_flux",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "PIL.PngImagePlugin",
    "tensorboard.summary.writer.event_file_writer",
    "torch._dynamo",
    "transformers.models.clip.modeling_clip",
    "transformers.models.t5.modeling_t5",
)
"""What a run, or the built-in inference app, imports sooner or later."""


def preload() -> None:
    """Import the trainer with torch, diffusers, transformers, peft, accelerate and what they would import later."""
    make_quiet()
    for name in _LATER:
        importlib.import_module(name)
    _read_conversion_rules()


def _read_conversion_rules() -> None:
    """Let transformers compile its table of old weight names, which it keeps for the life of the process."""
    with contextlib.suppress(ImportError, AttributeError):
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("clip")


def make_quiet() -> None:
    """Before the first import of torch: no bars and remarks in the log, no network, no threads that spin in wait.

    OpenMP's threads burn a core while they wait, which makes a run on busy cores tens of times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()
    # Last, since importing diffusers imports parts of transformers, which remark on it.
    from diffusers.utils.logging import disable_progress_bar as disable_diffusers_progress_bar
    from diffusers.utils.logging import set_verbosity_error as set_diffusers_verbosity_error

    set_diffusers_verbosity_error()
    disable_diffusers_progress_bar()
