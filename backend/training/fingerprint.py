"""What weights are called in a cache: by their content."""

from __future__ import annotations

import hashlib

from torch import nn


def of_weights(*models: nn.Module) -> str:
    """A digest of names and values of all weights, the same at every precision that holds them."""
    digest = hashlib.blake2b(digest_size=16)
    for model in models:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
