"""What the arguments say about the LoRA: its shape, and which of its weights learn how fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.training.adapter import Dropouts
from backend.training.network import Halves, LoraNetwork, NetworkShape
from backend.training.training_arguments import TrainingArguments


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
    """Names, learning rates and parameter groups, text encoders first as in sd-scripts; a rate of 0 trains nothing.

    With LoRA+ (Hayou et al. 2024) the up weights are a group of their own, with a higher rate.
    """
    names, rates, groups = [], [], []
    for name, kind, rate, (down, up) in _parts(args, network):
        ratio = args.network_args.get(
            f"loraplus_{kind}_lr_ratio", args.network_args.get("loraplus_lr_ratio", 1.0)
        )
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


def _parts(args: TrainingArguments, network: LoraNetwork) -> Iterator[tuple[str, str, float, Halves]]:
    """Name, kind, rate and weights of each part; of two text encoders the second may have a rate of its own."""
    own = args.text_encoder_lr
    for index in range(network.text_encoders):
        name = "textencoder" if network.text_encoders == 1 else f"textencoder{index + 1}"
        rate = own[min(index, len(own) - 1)] if own else args.learning_rate
        yield name, "text_encoder", rate, network.text_parameters(index)
    unet = args.learning_rate if args.unet_lr is None else args.unet_lr
    yield "unet", "unet", unet, network.unet_parameters()
