"""Captions beside pictures: read for a grid, changed one by one or all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import InvalidArgument
from backend.paths import confined
from backend.training.pictures import EXTENSIONS

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture and its caption; None where it has no caption file."""

    image: Path
    caption: str | None


@dataclass(frozen=True, slots=True)
class CaptionEdit:
    """What to do to many captions, in the order of the fields.

    `find` is plain text. Tags are what stands between commas: `rename_tags`, `remove_tags` and `add_first`/`add_last`
    compare and add them whole, and add none twice. `missing` is the caption of pictures that have none; empty leaves
    them without.
    """

    missing: str = ""
    find: str = ""
    replace: str = ""
    rename_tags: Mapping[str, str] = field(default_factory=dict)
    remove_tags: Sequence[str] = ()
    add_first: Sequence[str] = ()
    add_last: Sequence[str] = ()
    prefix: str = ""
    suffix: str = ""

    def apply(self, caption: str) -> str:
        """The caption after the edit, without blanks around it."""
        text = caption.replace(self.find, self.replace) if self.find else caption
        if self.rename_tags or self.remove_tags or self.add_first or self.add_last:
            text = self._tagged(text)
        return f"{self.prefix}{text}{self.suffix}".strip()

    def _tagged(self, text: str) -> str:
        unwanted = set(_tags(self.remove_tags))
        first = [tag for tag in _tags(self.add_first) if tag not in unwanted]
        renamed = _tags(self.rename_tags.get(tag, tag) for tag in _tags(text.split(",")))
        if self.rename_tags:
            renamed = list(dict.fromkeys(renamed))
        middle = [tag for tag in renamed if tag not in unwanted and tag not in first]
        last = [tag for tag in _tags(self.add_last) if tag not in unwanted and tag not in (*first, *middle)]
        return ", ".join((*first, *middle, *last))


def _tags(words: Iterable[str]) -> list[str]:
    return [word.strip() for word in words if word.strip()]


def images_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name, not looking into folders below."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())


def read_captions(data_dir: Path, folder: str, *, extension: str = ".txt") -> list[Captioned]:
    """The pictures of a folder with their captions.

    Raises:
        InvalidArgument: there is no such folder, or a caption is no text.
        PathOutsideDataFolder: the folder lies elsewhere.
    """
    _check_extension(extension)
    path = _folder(data_dir, folder)
    return [Captioned(image, _read(image.with_suffix(extension))) for image in images_in(path)]


def write_caption(data_dir: Path, image: str, caption: str, *, extension: str = ".txt") -> None:
    """Save the caption of one picture; an empty one removes the file.

    Raises:
        InvalidArgument: there is no such picture.
        PathOutsideDataFolder: the picture lies elsewhere.
    """
    _check_extension(extension)
    path = confined(data_dir, image, field="image")
    if path.suffix.lower() not in EXTENSIONS or not path.is_file():
        raise InvalidArgument("image", f"there is no picture {image}; no caption was changed")
    _write(path.with_suffix(extension), caption)


@dataclass(frozen=True, slots=True)
class CaptionChange:
    """What an edit does to one caption; `before` is None where there is no caption file."""

    image: Path
    before: str | None
    after: str


def caption_changes(
    data_dir: Path, folder: str, edit: CaptionEdit, *, extension: str = ".txt"
) -> list[CaptionChange]:
    """What an edit would change in a folder; nothing is written. Raises as `read_captions` does."""
    changes = []
    for captioned in read_captions(data_dir, folder, extension=extension):
        before = edit.missing if captioned.caption is None else captioned.caption
        if not before and captioned.caption is None:
            continue
        after = edit.apply(before)
        if after != captioned.caption:
            changes.append(CaptionChange(captioned.image, captioned.caption, after))
    return changes


def edit_captions(data_dir: Path, folder: str, edit: CaptionEdit, *, extension: str = ".txt") -> int:
    """Change all captions of a folder; the number of captions that are different now.

    Every caption is read before the first one is written, so that a broken file changes nothing.
    """
    changes = caption_changes(data_dir, folder, edit, extension=extension)
    for change in changes:
        _write(change.image.with_suffix(extension), change.after)
    return len(changes)


def tag_counts(captions: Iterable[Captioned]) -> list[tuple[str, int]]:
    """Every tag and in how many captions it is, the most frequent first."""
    counts: dict[str, int] = {}
    for captioned in captions:
        for tag in dict.fromkeys(_tags((captioned.caption or "").split(","))):
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _folder(data_dir: Path, folder: str) -> Path:
    path = confined(data_dir, folder, field="folder")
    if not path.is_dir():
        raise InvalidArgument("folder", f"there is no folder {folder} in the data folder")
    return path


def _check_extension(extension: str) -> None:
    if not _EXTENSION.fullmatch(extension) or extension.lower() in EXTENSIONS:
        raise InvalidArgument("caption_extension", f"{extension!r} cannot be the ending of caption files")


def _read(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("folder", f"the caption {path.name} cannot be read: {error}") from None


def _write(path: Path, caption: str) -> None:
    text = caption.strip()
    if not text:
        path.unlink(missing_ok=True)
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
