"""Drawing of scenes with PIL, three times larger than wanted and then reduced for smooth borders."""

import math

from PIL import Image, ImageDraw

from backend.samples.scenes import COLOURS, GREY, OFFSETS, RADII, Scene

SIZE = 64
"""Width and height of every picture in pixels."""
SCALE = 3

Point = tuple[float, float]


def draw(scene: Scene, jitter: Point = (0.0, 0.0), stretch: float = 1.0) -> Image.Image:
    """Draw a scene plainly: RGB, 64×64 pixels. Jitter is in pixels, stretch multiplies the radius."""
    canvas = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), COLOURS.get(scene.background, GREY))
    canvas.paste(COLOURS[scene.colour], mask=shape_mask(scene, jitter, stretch))
    return reduce(canvas)


def reduce(canvas: Image.Image) -> Image.Image:
    """Bring a large canvas to the final 64×64 pixels."""
    return canvas.resize((SIZE, SIZE), Image.Resampling.BOX)


def shape_mask(
    scene: Scene, jitter: Point = (0.0, 0.0), stretch: float = 1.0, grow: float = 0.0
) -> Image.Image:
    """The scene's shape as an L image of the large canvas, its border moved out by `grow` pixels."""
    dx, dy = OFFSETS[scene.place]
    centre = ((SIZE / 2 + dx + jitter[0]) * SCALE, (SIZE / 2 + dy + jitter[1]) * SCALE)
    radius = RADII[scene.size] * stretch * SCALE
    mask = Image.new("L", (SIZE * SCALE, SIZE * SCALE), 0)
    _fill(ImageDraw.Draw(mask), scene.shape, centre, radius, grow * SCALE)
    return mask


def _fill(pen: ImageDraw.ImageDraw, shape: str, centre: Point, radius: float, grow: float) -> None:
    if shape in ("circle", "ring"):
        _disc(pen, centre, radius + grow, 255)
        if shape == "ring":
            _disc(pen, centre, max(0.0, radius * 0.55 - grow), 0)
        return
    corners = [(centre[0] + x * radius, centre[1] + y * radius) for x, y in OUTLINES[shape]]
    pen.polygon(corners, fill=255)
    if grow:
        pen.line([*corners, *corners[:2]], fill=255, width=round(2 * grow))
        for corner in corners:
            _disc(pen, corner, grow, 255)


def _disc(pen: ImageDraw.ImageDraw, centre: Point, radius: float, fill: int) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _star() -> list[Point]:
    radii = [1.1 if corner % 2 == 0 else 0.5 for corner in range(10)]
    return [
        (r * math.sin(k * math.pi / 5), 0.06 - r * math.cos(k * math.pi / 5)) for k, r in enumerate(radii)
    ]


def _heart() -> list[Point]:
    """The heart curve x = 16 sin³t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t, scaled to radius one."""
    turns = [2 * math.pi * k / 60 for k in range(60)]
    return [
        (
            16 * math.sin(t) ** 3 / 16,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2.5) / 16,
        )
        for t in turns
    ]


OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "triangle": [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)],
    "star": _star(),
    "heart": _heart(),
}
"""Corners of the polygonal shapes around the origin; one is the radius, y points down."""
