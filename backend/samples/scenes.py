"""The little world of the sample model: which pictures exist and which captions name them."""

import random
from dataclasses import dataclass

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (226, 32, 32),
    "green": (24, 148, 44),
    "blue": (40, 72, 224),
    "yellow": (250, 214, 40),
    "purple": (144, 44, 190),
    "orange": (248, 140, 28),
    "black": (16, 16, 20),
    "white": (248, 248, 248),
    "pink": (250, 150, 196),
    "cyan": (44, 196, 226),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
RADII = {"small": 12.0, "": 18.0, "big": 24.0}
"""Outer radius of a shape in pixels of a 64 pixel picture, by the size word of its caption."""
OFFSETS = {"": (0, 0), "left": (-14, 0), "right": (14, 0), "top": (0, -14), "bottom": (0, 14)}
"""Distance of a shape's centre from the picture's centre in pixels (x, y), by the place word."""
GREY: RGB = (128, 128, 128)
"""The background of a caption that names none."""

OPENINGS = ("a photo of", "photo of", "a drawing of", "drawing of", "a picture of", "an image of", "the")
TRIGGERS = ("sks", "sks style", "zwx", "zwx style", "my style", "best quality", "masterpiece")
"""Words that change nothing in the base model, so that a LoRA is free to give them a meaning."""


@dataclass(frozen=True)
class Scene:
    """One shape on a plain background. Empty words are left out of the caption."""

    colour: str
    shape: str
    size: str = ""
    background: str = ""
    place: str = ""

    def caption(self) -> str:
        """The plain caption, such as ``a small red star on blue background at the left``."""
        words = ["a", self.size, self.colour, self.shape]
        if self.background:
            words += ["on", self.background, "background"]
        if self.place:
            words += ["at the", self.place]
        return " ".join(word for word in words if word)


def random_scene(rng: random.Random) -> Scene:
    """Draw a scene whose shape differs in colour from its background."""
    colour = rng.choice(list(COLOURS))
    size = rng.choice(("", "", "small", "big"))
    others = [name for name in COLOURS if name != colour]
    return Scene(
        colour=colour,
        shape=rng.choice(SHAPES),
        size=size,
        background=rng.choice(others) if rng.random() < 0.5 else "",
        # A big shape at the border would leave the picture.
        place=rng.choice(list(OFFSETS)) if size != "big" and rng.random() < 0.4 else "",
    )


def spoken_caption(scene: Scene, rng: random.Random) -> str:
    """The caption as people write it: about half get an opening, a trigger word or a made-up word."""
    caption = scene.caption()
    if rng.random() < 0.25:
        opening = rng.choice(OPENINGS)
        caption = caption.replace("a ", "the " if opening == "the" else f"{opening} a ", 1)
    elif rng.random() < 0.1:
        caption = caption.removeprefix("a ")
    if rng.random() < 0.4:
        trigger = rng.choice(TRIGGERS) if rng.random() < 0.8 else _made_up_word(rng)
        pattern = rng.choice(("{t}, {c}", "{t} {c}", "{c}, {t}", "{c} in {t}", "{c} and {t}"))
        caption = pattern.format(t=trigger, c=caption)
    return caption


def _made_up_word(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 5)))
