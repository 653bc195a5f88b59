"""The full state of a run on disk: what it takes to go on at the same step as if nothing had happened.

A folder with `model.safetensors` (the LoRA, full precision), `optimizer.safetensors` (its tensors), `optimizer.json`
(the rest of it) and `train_state.json`. Learning rates, data order and noise are functions of seed and step and need
no keeping.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.optim import Optimizer

from backend.errors import InvalidArgument
from backend.training import position as position_file
from backend.training.files import write_folder
from backend.training.lost_state import STATE_FILE
from backend.training.position import Position


def write(folder: Path, position: Position, network: dict[str, Tensor], optimizer: Optimizer) -> None:
    """Write the state folder, whole or not at all.

    Raises:
        OSError: it cannot be written; an older one of the same name is still there.
    """
    tensors, rest = _split(optimizer.state_dict())
    write_folder(
        folder,
        {
            "model.safetensors": (save(network),),
            "optimizer.safetensors": (save(tensors),),
            "optimizer.json": (json.dumps(rest).encode(),),
            STATE_FILE: (position_file.encode(position),),
        },
    )


def read_network(folder: Path) -> dict[str, Tensor]:
    """The LoRA of a state; raises as `position.read` does."""
    return _load(folder / "model.safetensors")


def restore_optimizer(folder: Path, optimizer: Optimizer) -> None:
    """Put the optimizer back where it was.

    Raises:
        InvalidArgument: the files cannot be read, or belong to another optimizer.
    """
    tensors = _load(folder / "optimizer.safetensors")
    try:
        rest = json.loads((folder / "optimizer.json").read_text(encoding="utf-8"))
        optimizer.load_state_dict(_join(tensors, rest))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument("resume", f"the optimizer in {folder} does not fit this run: {error}") from None


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except Exception as error:
        raise InvalidArgument("resume", f"cannot read {path}: {error}") from None


def _split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by `<parameter>.<name>`, and everything else as JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        plain[str(index)] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().clone().contiguous()
            else:
                plain[str(index)][name] = value
    groups = [{key: _plain(value) for key, value in group.items()} for group in state["param_groups"]]
    return tensors, {"state": plain, "param_groups": groups}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.dim() == 0 else value


def _join(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in rest["state"].items()}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": rest["param_groups"]}


def precision(name: str | None) -> torch.dtype:
    """The number type of a `save_precision` or `mixed_precision`."""
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(name or "", torch.float32)
