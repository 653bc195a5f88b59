"""What the arguments say about the LoRA: its shape, and which of its weights learn how fast."""

from __future__ import annotations

from typing import Any

from backend.training.adapter import Dropouts
from backend.training.arguments import TrainingArguments
from backend.training.network import LoraNetwork, NetworkShape


def asked_shape(args: TrainingArguments) -> NetworkShape:
    """Ranks, alphas and dropouts."""
    conv_dim, conv_alpha = args.network_args.get("conv_dim"), args.network_args.get("conv_alpha", 1.0)
    return NetworkShape(
        args.network_dim,
        args.network_alpha,
        conv_dim=int(conv_dim) if conv_dim else None,
        conv_alpha=conv_alpha,
        dropouts=_dropouts(args),
    )


def _dropouts(args: TrainingArguments) -> Dropouts:
    return Dropouts(
        args.network_dropout or 0.0,
        args.network_args.get("rank_dropout", 0.0),
        args.network_args.get("module_dropout", 0.0),
    )


def parameter_groups(
    args: TrainingArguments, network: LoraNetwork
) -> tuple[list[str], list[float], list[dict[str, Any]]]:
    """Names, learning rates and parameter groups, text encoder first as in sd-scripts; a rate of 0 trains nothing.

    With LoRA+ (Hayou et al. 2024) the up weights are a group of their own, with a higher rate.
    """
    names, rates, groups = [], [], []
    both = args.network_args.get("loraplus_lr_ratio", 1.0)
    for name, part, own in (
        ("textencoder", "text_encoder", args.text_encoder_lr),
        ("unet", "unet", args.unet_lr),
    ):
        rate = args.learning_rate if own is None else own
        ratio = args.network_args.get(f"loraplus_{part}_lr_ratio", both)
        down, up = network.parameters(part)
        halves = (
            ((name, rate, [*down, *up]),)
            if ratio == 1
            else ((name, rate, down), (f"{name}_plus", rate * ratio, up))
        )
        for half, half_rate, parameters in halves:
            if parameters and rate:
                names.append(half)
                rates.append(half_rate)
                groups.append({"params": parameters, "lr": half_rate})
    return names, rates, groups
