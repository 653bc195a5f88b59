"""What to say of a training state that is to be gone on from and is not there: what became of it, what is left of its
training, what to do. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend import paths
from backend.worker.result_file import mark_of

STATE_FILE = "train_state.json"


def explain(state: Path) -> str:
    """Sentences for people about a state folder that does not exist. It is named by its absolute path."""
    job = _job_of(state)
    root = job.parents[1] if job is not None else state.parent
    name = _name(state, root)
    left = sorted((each for each in _states(state.parent) if each != state), key=_written)
    if job is None:
        said = f"There is no training state {name}: it was moved, renamed or deleted."
    elif job.is_dir():
        said = f"There is no training state {name} any more: it was cleared away, as when a later one took its place."
    else:
        said = f"There is no training state {name} any more: its job was deleted with its files."
    return f"{said} {_advice(root, left, _loras(state, job))}"


def _advice(root: Path, states: list[Path], loras: list[Path]) -> str:
    if states:
        return f"{_name(states[-1], root)} is still there: go on from that state."
    if loras:
        return (
            f"{_name(loras[-1], root)} is still there: name it in `network_weights` (Continue from LoRA) instead to go "
            "on from its weights, with a new optimizer."
        )
    return "Nothing else of that training is left: start without a state."


def _job_of(state: Path) -> Path | None:
    """The job folder that a state belongs to: `…/jobs/<task id>`."""
    for folder in state.parents:
        if folder.parent.name == paths.JOBS:
            return folder
    return None


def _states(folder: Path) -> Iterator[Path]:
    yield from (file.parent for file in folder.glob(f"*-state/{STATE_FILE}"))


def _loras(state: Path, job: Path | None) -> list[Path]:
    """What that training has made, the newest last: the finished LoRA under `loras/`, else its checkpoints."""
    finished = (
        [] if job is None else (job.parents[1] / paths.LORAS).glob(f"*-{mark_of(job.name)}.safetensors")
    )
    return sorted(finished, key=_written) or sorted(state.parent.glob("*.safetensors"), key=_written)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
