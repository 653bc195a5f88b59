from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from backend.training.colour import recoloured


def test_a_third_of_the_showings_are_slightly_recoloured() -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 40))
    changes = [
        np.abs(np.asarray(recoloured(image, Random(seed)), dtype=int) - np.asarray(image, dtype=int)).max()
        for seed in range(600)
    ]
    changed = sum(change > 0 for change in changes)
    assert 150 < changed < 250
    assert max(changes) < 60


def test_the_same_chance_gives_the_same_colours() -> None:
    image = Image.effect_noise((16, 16), 60).convert("RGB")
    seed = next(n for n in range(100) if recoloured(image, Random(n)) is not image)
    one, two = (recoloured(image, Random(seed)) for _ in range(2))
    assert np.array_equal(np.asarray(one), np.asarray(two))
