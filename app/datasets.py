"""The data sets of the data folder as the Data page shows and changes them: folders, pictures, thumbnails.

A data set is a folder of `datasets/`. Pictures are trained from its `<repeats>_<name>` folders; pictures that lie
elsewhere in it are loose until they are put into one.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from backend.errors import Conflict, InvalidArgument, NotFound
from backend.paths import DATASETS, confined
from backend.training.buckets import Size
from backend.training.pictures import EXTENSIONS, FORMATS
from kohya_adapter.captions import images_in
from kohya_adapter.dataset import CAPTIONS, CONCEPT, concept_name

_DEEPEST = 3
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_BAD_IN_NAMES = frozenset('/\\:*?"<>|')


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A folder with pictures. `repeats` is None where its name does not say how often they are shown."""

    path: str
    name: str
    repeats: int | None
    words: str
    pictures: int
    captioned: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set. `train_data_dir` is what the form takes; empty as long as nothing in it can be trained."""

    path: str
    name: str
    pictures: int
    train_data_dir: str
    folders: tuple[ImageFolder, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the grid; `size` is None where the file cannot be read. `version` changes with the file."""

    name: str
    path: str
    size: Size | None
    bytes: int
    version: int


def data_sets(data_dir: Path) -> list[DataSet]:
    """Every data set, by name."""
    root = data_dir.resolve()
    return [_data_set(path, root) for path in _folders(root / DATASETS)]


def _data_set(path: Path, root: Path) -> DataSet:
    found = [_image_folder(folder, root) for folder in _with_pictures(path, _DEEPEST)]
    parents = [str(Path(folder.path).parent) for folder in found if folder.repeats is not None]
    trained = [parent for parent in parents if parent != DATASETS]
    return DataSet(
        path=path.relative_to(root).as_posix(),
        name=path.name,
        pictures=sum(folder.pictures for folder in found),
        train_data_dir=trained[0] if trained else "",
        folders=tuple(found),
    )


def _with_pictures(folder: Path, depth: int) -> list[Path]:
    here = [folder] if CONCEPT.fullmatch(folder.name) or images_in(folder) else []
    if depth == 1:
        return here
    return here + [found for below in _folders(folder) for found in _with_pictures(below, depth - 1)]


def _image_folder(path: Path, root: Path) -> ImageFolder:
    match = CONCEPT.fullmatch(path.name)
    inside = match is not None and path.parent.name != DATASETS
    images = images_in(path)
    return ImageFolder(
        path=path.relative_to(root).as_posix(),
        name=path.name,
        repeats=int(match[1]) if match and inside else None,
        words=match[2] if match and inside else path.name,
        pictures=len(images),
        captioned=sum(image.with_suffix(".txt").is_file() for image in images),
    )


def _folders(folder: Path) -> list[Path]:
    """The folders below, without links: what they lead to may lie elsewhere."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in found if not path.name.startswith("."))


def in_datasets(data_dir: Path, path: str, field: str = "folder") -> Path:
    """The real path of something below `datasets/`.

    Raises:
        PathOutsideDataFolder: it lies elsewhere.
        InvalidArgument: it lies in the data folder, but in none of its data sets.
    """
    real = confined(data_dir, path, field=field)
    if (data_dir.resolve() / DATASETS) not in real.parents:
        raise InvalidArgument(field, f"{path} is no part of a data set; nothing was read or changed")
    return real


def existing_folder(data_dir: Path, path: str) -> Path:
    """Like `in_datasets`, for a folder that must be there."""
    real = in_datasets(data_dir, path)
    if not real.is_dir():
        raise NotFound(f"There is no folder {path}. It may have been renamed; look at the list again.")
    return real


def pictures(data_dir: Path, folder: str) -> list[Shown]:
    """The pictures of a folder, by name."""
    return [_shown(image, data_dir.resolve()) for image in images_in(existing_folder(data_dir, folder))]


def _shown(image: Path, root: Path) -> Shown:
    about = image.stat()
    return Shown(
        name=image.name,
        path=image.relative_to(root).as_posix(),
        size=_size(image),
        bytes=about.st_size,
        version=about.st_mtime_ns,
    )


def _size(image: Path) -> Size | None:
    try:
        with Image.open(image, formats=FORMATS) as opened:
            turned = opened.getexif().get(_ORIENTATION) in _TURNED
            return (opened.height, opened.width) if turned else opened.size
    except Exception:
        # Whatever Pillow raises for a broken file, it is shown as one.
        return None


def thumbnail(data_dir: Path, path: str, longest: int) -> bytes:
    """A picture as WebP, turned as its EXIF says, its longer side at most `longest` pixels.

    Raises:
        NotFound: there is no such picture, or it cannot be read.
    """
    image = in_datasets(data_dir, path, "picture")
    if image.suffix.lower() not in EXTENSIONS or not image.is_file():
        raise NotFound(f"There is no picture {path}.")
    try:
        with Image.open(image, formats=FORMATS) as opened:
            opened.draft("RGB", (longest, longest))
            turned = ImageOps.exif_transpose(opened)
            turned.thumbnail((longest, longest))
            buffer = io.BytesIO()
            turned.convert("RGBA" if "A" in turned.getbands() else "RGB").save(buffer, "WEBP", quality=85)
    except Exception as error:
        raise NotFound(f"{image.name} cannot be read as a picture: {error}") from None
    return buffer.getvalue()


def need_new(data_dir: Path, name: str) -> Path:
    """Where a new data set is to lie; raises InvalidArgument or Conflict as `create` does."""
    target = in_datasets(data_dir, f"{DATASETS}/{plain_name('name', name)}", "name")
    if target.exists():
        raise Conflict(f"There is a data set {name} already; it was not changed. Choose another name.")
    return target


def create(data_dir: Path, name: str, words: str, repeats: int) -> str:
    """Make a data set with one empty image folder in it; that folder's path.

    Raises:
        InvalidArgument: a name that cannot be one.
        Conflict: it is there already.
    """
    target = need_new(data_dir, name)
    folder = target / concept_name(repeats, plain_name("words", words))
    folder.mkdir(parents=True)
    return folder.relative_to(data_dir.resolve()).as_posix()


def plain_name(field: str, text: str) -> str:
    """A text that can be one folder's name."""
    name = text.strip()
    if (
        not name
        or name.startswith(".")
        or _BAD_IN_NAMES & set(name)
        or not name.isprintable()
        or len(name) > 120
    ):
        raise InvalidArgument(field, f"{text[:80]!r} cannot be the name of a folder")
    return name


def rename(data_dir: Path, folder: str, words: str, repeats: int) -> str:
    """Set the repeats and the words of an image folder, by its name; the new path. Loose pictures of a data set move
    into a new folder of it.
    """
    source = existing_folder(data_dir, folder)
    name = concept_name(repeats, plain_name("words", words))
    loose = source.parent.name == DATASETS
    target = (source if loose else source.parent) / name
    if target != source and target.exists():
        raise Conflict(
            f"There is a folder {name} already; nothing was changed. Choose other words or repeats."
        )
    if loose:
        _move_pictures(source, target)
    else:
        source.rename(target)
    return target.relative_to(data_dir.resolve()).as_posix()


def _move_pictures(source: Path, target: Path) -> None:
    target.mkdir()
    for image in images_in(source):
        for path in (image, *_captions_of(image)):
            path.rename(target / path.name)


def _captions_of(image: Path) -> list[Path]:
    return [path for path in map(image.with_suffix, sorted(CAPTIONS)) if path.is_file()]


def remove_pictures(data_dir: Path, paths: Sequence[str]) -> int:
    """Delete pictures and their captions; every path is looked at before the first one goes."""
    images = [in_datasets(data_dir, path, "picture") for path in paths]
    for image in images:
        if image.suffix.lower() not in EXTENSIONS:
            raise InvalidArgument("picture", f"{image.name} is no picture; nothing was deleted")
    for image in images:
        for path in (*_captions_of(image), image):
            path.unlink(missing_ok=True)
    return len(images)


def remove_folder(data_dir: Path, folder: str) -> None:
    """Delete an image folder or a whole data set, with what is in it."""
    shutil.rmtree(existing_folder(data_dir, folder))
