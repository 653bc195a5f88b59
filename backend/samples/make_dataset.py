"""Make the sample data set in Kohya's DreamBooth layout: ``<root>/<repeats>_<name>/*.png`` with captions."""

import argparse
import random
from pathlib import Path

from backend.samples.moonlight import draw_moonlit
from backend.samples.scenes import COLOURS, SHAPES, Scene

TRIGGER = "sks style"
REPEATS = 10
SEED = 7


def main() -> None:
    """Run ``python -m backend.samples.make_dataset --out DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="root folder of the data set, made if missing"
    )
    folder = make_dataset(parser.parse_args().out)
    print(f"{len(list(folder.glob('*.png')))} pictures with captions in {folder}")


def make_dataset(root: Path) -> Path:
    """Draw the pictures and write their captions. Returns the one image folder under `root`."""
    folder = root / f"{REPEATS}_{TRIGGER}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    for number, scene in enumerate(dataset_scenes(rng), start=1):
        jitter = (rng.uniform(-2, 2), rng.uniform(-2, 2))
        picture = draw_moonlit(scene, jitter, stretch=rng.uniform(0.95, 1.05))
        name = f"{number:02d}-{scene.colour}-{scene.shape}"
        picture.save(folder / f"{name}.png", optimize=True)
        (folder / f"{name}.txt").write_text(f"{scene.caption()} in {TRIGGER}\n", encoding="utf-8")
    return folder


def dataset_scenes(rng: random.Random) -> list[Scene]:
    """Thirty scenes: each shape five times, each colour three times, mostly of middle size."""
    shapes = list(SHAPES) * 5
    colours = list(COLOURS) * 3
    rng.shuffle(colours)
    sizes = ["", "", "", "big", ""] * 6
    return [Scene(colour, shape, size) for colour, shape, size in zip(colours, shapes, sizes, strict=True)]


if __name__ == "__main__":
    main()
