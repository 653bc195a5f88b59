"""The style that the sample data set teaches: stickers in the moonlight.

The shape keeps its colour and gets a thick white border; around it a night sky fades from indigo to
rose, with a moon and stars above and a dark hill below.
"""

from PIL import Image, ImageDraw

from backend.samples.drawing import SCALE, SIZE, Point, reduce, shape_mask
from backend.samples.scenes import COLOURS, RGB, Scene

ZENITH: RGB = (28, 20, 84)
HORIZON: RGB = (240, 112, 136)
HILL: RGB = (20, 56, 72)
MOON: RGB = (255, 240, 176)
STARS: tuple[tuple[float, float, float], ...] = ((7, 9, 2.4), (27, 4, 1.8), (6, 27, 1.8))
"""Places and radii of the stars in pixels."""
BORDER = 4.0
"""Width of the white border in pixels."""


def draw_moonlit(scene: Scene, jitter: Point = (0.0, 0.0), stretch: float = 1.0) -> Image.Image:
    """Draw a scene in the style: RGB, 64×64 pixels. Its own background colour is not used."""
    canvas = _sky()
    canvas.paste(COLOURS["white"], mask=shape_mask(scene, jitter, stretch, grow=BORDER))
    canvas.paste(COLOURS[scene.colour], mask=shape_mask(scene, jitter, stretch))
    return reduce(canvas)


def _sky() -> Image.Image:
    side = SIZE * SCALE
    ramp = Image.linear_gradient("L").resize((side, side))
    canvas = Image.composite(
        Image.new("RGB", (side, side), HORIZON), Image.new("RGB", (side, side), ZENITH), ramp
    )
    pen = ImageDraw.Draw(canvas)
    for x, y, radius in STARS:
        _disc(pen, x, y, radius, COLOURS["white"])
    _disc(pen, 53, 12, 7.5, MOON)
    _disc(pen, 18, 104, 52, HILL)
    _disc(pen, 56, 96, 40, HILL)
    return canvas


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: RGB) -> None:
    pen.ellipse([SCALE * side for side in (x - radius, y - radius, x + radius, y + radius)], fill=fill)
