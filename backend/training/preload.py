"""Import everything that a run needs, once, in a process that runs are then forked from.

Only imports: no CUDA context and no OpenMP team may exist in a process that is going to fork.
"""

from __future__ import annotations

import logging
import os
import warnings


def preload() -> None:
    """Import the trainer with torch, diffusers, transformers, peft, accelerate and what they would import later."""
    quieten()


def quieten() -> None:
    """Keep other libraries' bars and remarks out of a run's log."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import transformers.utils.logging

    transformers.utils.logging.disable_progress_bar()
