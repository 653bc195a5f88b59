"""Which keys kohya_ss writes into the configuration of sd-scripts, and from which field each one comes.

`config_keys.tsv` has a row for each: the model families that have it (`*`: all), the key, the field.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

NOISE_KEYS = {
    "Original": ("adaptive_noise_scale", "noise_offset", "noise_offset_random_strength"),
    "Multires": ("multires_noise_discount", "multires_noise_iterations"),
}
"""`noise_offset_type` -> the keys that go with it; the name of each is its field's."""

ZERO_MEANS_ZERO = (
    "discrete_flow_shift",
    "guidance_scale",
    "lr_scheduler_power",
    "max_grad_norm",
    "multires_noise_discount",
    "network_alpha",
    "prior_loss_weight",
)
"""Keys whose 0 has a meaning of its own. kohya_ss drops every 0, and the trainer's default takes its place."""


@cache
def copied_keys(family: str) -> Mapping[str, str]:
    """Configuration key -> form key, for every value that goes over as it is."""
    text = files("kohya_adapter").joinpath("config_keys.tsv").read_text(encoding="utf-8")
    lines = csv.DictReader(text.splitlines(), delimiter="\t")
    return {
        line["key"]: line["field"]
        for line in lines
        if family in line["families"].split() or line["families"] == "*"
    }
