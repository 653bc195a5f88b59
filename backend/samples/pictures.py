"""Varied pictures for the autoencoder, so that it can draw far more than the base captions name.

A LoRA can only show what the decoder is able to draw: gradients, stripes, outlines, dots, hills, in any
colours from night to pastel.
"""

import colorsys
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from backend.samples.drawing import SCALE, SIZE, draw, reduce, shape_mask
from backend.samples.scenes import COLOURS, RGB, random_scene

SIDE = SIZE * SCALE


def varied_picture(rng: random.Random) -> Image.Image:
    """One random picture: a third are scenes as the base captions name them, the rest are anything."""
    if rng.random() < 0.33:
        return draw(random_scene(rng), (rng.uniform(-4, 4), rng.uniform(-4, 4)), rng.uniform(0.8, 1.2))
    canvas = rng.choice(BACKGROUNDS)(rng)
    if rng.random() < 0.4:
        _dots(canvas, rng)
    if rng.random() < 0.3:
        _hill(canvas, rng)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        _shape(canvas, rng)
    return reduce(canvas)


def random_colour(rng: random.Random) -> RGB:
    """A base colour, or any other: dark, bright or pastel."""
    if rng.random() < 0.35:
        return rng.choice(list(COLOURS.values()))
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.random(), rng.random() ** 0.6)
    return round(red * 255), round(green * 255), round(blue * 255)


def _flat(rng: random.Random) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), random_colour(rng))


def _gradient(rng: random.Random) -> Image.Image:
    # Twice too large, so that the middle stays covered at any angle.
    ramp = (
        Image.linear_gradient("L")
        .resize((2 * SIDE, 2 * SIDE))
        .rotate(rng.choice((0, 90, rng.uniform(0, 360))))
    )
    start = rng.randint(0, SIDE // 2)
    return _blend(rng, ramp.crop((start, SIDE // 2, start + SIDE, SIDE // 2 + SIDE)))


def _glow(rng: random.Random) -> Image.Image:
    side = rng.randint(SIDE, 3 * SIDE)
    x, y = rng.randint(0, side - SIDE), rng.randint(0, side - SIDE)
    return _blend(rng, Image.radial_gradient("L").resize((side, side)).crop((x, y, x + SIDE, y + SIDE)))


def _stripes(rng: random.Random) -> Image.Image:
    mask = Image.new("L", (2 * SIDE, 2 * SIDE), 0)
    pen = ImageDraw.Draw(mask)
    width = rng.randint(3, 14) * SCALE
    for start in range(rng.randint(0, width), 2 * SIDE, 2 * width):
        pen.rectangle((start, 0, start + width - 1, 2 * SIDE), fill=255)
    turned = mask.rotate(rng.choice((0, 45, 90, rng.uniform(0, 180))))
    return _blend(rng, turned.crop((SIDE // 2, SIDE // 2, SIDE // 2 + SIDE, SIDE // 2 + SIDE)))


def _checks(rng: random.Random) -> Image.Image:
    cells = rng.randint(3, 12)
    mask = Image.new("L", (cells, cells))
    mask.putdata([255 * ((n + n // cells) % 2) for n in range(cells * cells)])
    return _blend(rng, mask.resize((SIDE, SIDE), Image.Resampling.NEAREST))


BACKGROUNDS: tuple[Callable[[random.Random], Image.Image], ...] = (
    _flat,
    _flat,
    _gradient,
    _gradient,
    _glow,
    _stripes,
    _checks,
)


def _blend(rng: random.Random, mask: Image.Image) -> Image.Image:
    one, other = (Image.new("RGB", (SIDE, SIDE), random_colour(rng)) for _ in range(2))
    return Image.composite(one, other, mask)


def _dots(canvas: Image.Image, rng: random.Random) -> None:
    pen = ImageDraw.Draw(canvas)
    colour = random_colour(rng)
    for _ in range(rng.randint(1, 14)):
        x, y, radius = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(0.8, 6) * SCALE
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _hill(canvas: Image.Image, rng: random.Random) -> None:
    pen = ImageDraw.Draw(canvas)
    colour = random_colour(rng)
    for _ in range(rng.randint(1, 2)):
        radius, x = rng.uniform(0.4, 2) * SIDE, rng.uniform(0, SIDE)
        y = rng.uniform(0.65, 0.95) * SIDE + radius
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _shape(canvas: Image.Image, rng: random.Random) -> None:
    scene = random_scene(rng)
    jitter, stretch = (rng.uniform(-14, 14), rng.uniform(-14, 14)), rng.uniform(0.5, 1.4)
    if rng.random() < 0.5:
        canvas.paste(random_colour(rng), mask=shape_mask(scene, jitter, stretch, grow=rng.uniform(1, 5)))
    mask = shape_mask(scene, jitter, stretch)
    if rng.random() < 0.2:
        canvas.paste(_gradient(rng), mask=mask)
    else:
        canvas.paste(random_colour(rng), mask=mask)
