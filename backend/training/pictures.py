"""The pictures of a folder: found, measured, checked, with their captions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from backend.errors import InvalidArgument
from backend.paths import confined
from backend.training.buckets import Placement, Size, crop_offset
from backend.training.dataset import Subset

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "AVIF", "GIF")
"""What a picture may be whatever its name says. Pillow goes by the content, and gives EPS to Ghostscript to be run."""
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_RESAMPLING = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on disk: its size as seen (turned as its EXIF says), the lines of its caption, the file of its mask."""

    path: Path
    size: Size
    caption: tuple[str, ...]
    has_caption_file: bool
    mask: Path | None = None


def read_folder(subset: Subset, *, field: str, data_dir: Path | None) -> list[Picture]:
    """The pictures of a subset by name, not looking into folders below.

    Raises:
        InvalidArgument: the folder is missing or has no pictures, or one of them or its caption cannot be read.
    """
    if not subset.image_dir.is_dir():
        raise InvalidArgument(field, f"the folder {subset.image_dir} does not exist")
    paths = sorted(path for path in subset.image_dir.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not paths:
        kinds = ", ".join(sorted(extension[1:] for extension in EXTENSIONS))
        raise InvalidArgument(field, f"there is no picture in {subset.image_dir} (looked for {kinds})")
    if data_dir is not None:
        for path in paths:
            confined(data_dir, path, field=field)
    masks = _masks(subset, paths, field, data_dir)
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda path: measure(path, field), paths))
    return [
        Picture(path, size, *_caption(path, subset, field, data_dir), masks.get(path.stem))
        for path, size in zip(paths, sizes, strict=True)
    ]


def _masks(subset: Subset, paths: list[Path], field: str, data_dir: Path | None) -> dict[str, Path]:
    """The masks of pictures by their stems."""
    folder = subset.mask_dir
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InvalidArgument("conditioning_data_dir", f"the folder {folder} does not exist")
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS}
    for path in paths:
        if path.stem not in found:
            raise InvalidArgument("conditioning_data_dir", f"{folder} has no mask for {path.name}")
        if data_dir is not None:
            confined(data_dir, found[path.stem], field=field)
    return found


def measure(path: Path, field: str) -> Size:
    """The size of a picture as seen, after proving that it is whole.

    Raises:
        InvalidArgument: it is broken, cut short, not a picture, or too large to be one.
    """
    try:
        stat = path.stat()
        return _measured(path, stat.st_mtime_ns, stat.st_size)
    except Exception as error:
        raise InvalidArgument(
            field, f"the picture {path} cannot be read ({_reason(error)}); replace it or take it out"
        ) from None


@lru_cache(maxsize=1 << 16)
def _measured(path: Path, changed: int, length: int) -> Size:
    """Remembered per file as it is now, since a form asks again with every change of a field."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            size: Size = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            # JPEG decodes at an eighth of its size, which is enough to see that nothing is missing.
            image.draft("RGB", (size[0] // 8, size[1] // 8))
            image.load()
    return (size[1], size[0]) if turned else size


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not a picture"
    return " ".join(str(error).split()) or type(error).__name__


def _caption(path: Path, subset: Subset, field: str, data_dir: Path | None) -> tuple[tuple[str, ...], bool]:
    extension = subset.caption_extension
    if "/" in extension:
        raise InvalidArgument("caption_extension", f"is {extension[:200]!r}; an ending like .txt is expected")
    file = path.with_name(path.stem + extension)
    if data_dir is not None:
        confined(data_dir, file, field=field)
    if not file.is_file():
        return ((subset.class_tokens,) if subset.class_tokens else ()), False
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            field, f"the caption {file} cannot be read ({error}); save it as UTF-8 text"
        ) from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    return (lines if subset.rules.wildcard else lines[:1]), True


def open_picture(path: Path) -> Image.Image:
    """The picture as seen, RGB; what is transparent becomes white.

    Raises:
        OSError: it cannot be read any more.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            return image.convert("RGB")


def open_mask(picture: Picture, *, alpha: bool) -> Image.Image | None:
    """How much each pixel of a picture counts, 0 to 255: its mask's red, or its own alpha; None where it has none.

    Raises:
        OSError: it cannot be read any more.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if picture.mask is not None:
            with Image.open(picture.mask, formats=FORMATS) as opened:
                return ImageOps.exif_transpose(opened).convert("RGB").getchannel("R").resize(picture.size)
        with Image.open(picture.path, formats=FORMATS) as opened:
            if alpha and opened.has_transparency_data:
                return ImageOps.exif_transpose(opened).convert("RGBA").getchannel("A")
    return None


def fitted(
    image: Image.Image, placement: Placement, interpolation: str | None, at: tuple[float, float]
) -> Image.Image:
    """The picture resized and cut as its placement says; `at` is where to cut, see `crop_offset`."""
    if image.size != placement.resized:
        shrinks = image.width > placement.resized[0]
        image = image.resize(
            placement.resized, _RESAMPLING[interpolation or ("area" if shrinks else "lanczos")]
        )
    left, top = crop_offset(placement, at)
    width, height = placement.bucket
    return image if image.size == placement.bucket else image.crop((left, top, left + width, top + height))


def tags(pictures: list[Picture], separator: str) -> Iterator[str]:
    """Every tag of every caption, for the tag counts in the file's metadata."""
    for picture in pictures:
        for line in picture.caption:
            yield from (tag.strip() for tag in line.split(separator) if tag.strip())
