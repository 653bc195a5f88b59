"""Dataset folders as sd-scripts wants them: made from loose pictures, balanced, filled from uploads and archives.

Everything stays in the data folder. What is new appears whole or not at all: it is built beside its place under a
name of its own and then renamed.
"""

from __future__ import annotations

import math
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backend.errors import Conflict, InvalidArgument, TooLarge
from backend.paths import confined
from backend.training.pictures import EXTENSIONS
from kohya_adapter.captions import images_in

CONCEPT = re.compile(r"(\d+)_(.+)")
"""Name of an image folder: repeats, and the words that are the caption of pictures without one."""

CAPTIONS = frozenset({".txt", ".caption", ".cap"})
_MOST_FILES = 20_000
_MOST_BYTES = 8 << 30
_BAD_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]+')


@dataclass(frozen=True, slots=True)
class Concept:
    """What one image folder is to teach: `instance` is the trigger, `noun` the class it belongs to."""

    source: str
    instance: str
    noun: str
    repeats: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where a prepared dataset stands, relative to the data folder, and what it holds."""

    train_data_dir: str
    reg_data_dir: str
    pictures: int
    reg_pictures: int


def prepare(
    data_dir: Path, concept: Concept, destination: str, *, reg_source: str = "", reg_repeats: int = 1
) -> Prepared:
    """Copy pictures and captions into `<destination>/img/<repeats>_<instance> <class>`, and regularisation pictures
    into `<destination>/reg/<repeats>_<class>`.

    Raises:
        InvalidArgument: no pictures, words that cannot name a folder, or folders that lie in one another.
        Conflict: the destination exists already; it was not changed.
        PathOutsideDataFolder: a folder lies elsewhere.
    """
    words = f"{_words('instance', concept.instance)} {_words('class', concept.noun)}"
    name = concept_name(concept.repeats, words)
    source = _source(data_dir, concept.source, "source")
    reg = _source(data_dir, reg_source, "reg_source") if reg_source else None
    reg_name = concept_name(reg_repeats, _words("class", concept.noun)) if reg else ""
    target = confined(data_dir, destination, field="destination")
    for folder in filter(None, (source, reg)):
        if folder == target or folder in target.parents or target in folder.parents:
            raise InvalidArgument(
                "destination", f"{destination} and {folder.name} lie in one another; choose another"
            )
    with _staged(target) as staging:
        pictures = _copy_pictures(source, staging / "img" / name)
        reg_pictures = _copy_pictures(reg, staging / "reg" / reg_name) if reg else 0
    relative = target.relative_to(data_dir.resolve()).as_posix()
    return Prepared(f"{relative}/img", f"{relative}/reg" if reg else "", pictures, reg_pictures)


def concept_name(repeats: int, words: str) -> str:
    """The name of an image folder."""
    if repeats < 1:
        raise InvalidArgument("repeats", "each picture is shown once or more")
    return f"{repeats}_{words.strip()}"


def counts(folder: Path) -> dict[str, int]:
    """Image folder -> how many pictures are in it."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and CONCEPT.fullmatch(path.name))
    return {path.name: len(images_in(path)) for path in found}


def balance_plan(pictures: Mapping[str, int], showings: int) -> dict[str, str]:
    """Old name -> new name, so that each folder is shown about `showings` times in an epoch.

    Raises:
        InvalidArgument: two folders would get the same name.
    """
    if showings < 1:
        raise InvalidArgument(
            "showings", "give how often the pictures of a folder are shown in an epoch, 1 or more"
        )
    plan = {}
    for name, count in pictures.items():
        match = CONCEPT.fullmatch(name)
        if match and count:
            plan[name] = f"{max(1, math.floor(showings / count))}_{match[2]}"
    if len(set(plan.values())) < len(plan):
        raise InvalidArgument("showings", "two folders would get the same name; rename one of them first")
    return plan


def balance(data_dir: Path, folder: str, showings: int) -> dict[str, str]:
    """Rename the image folders of a training folder by `balance_plan`; the names that changed."""
    parent = _source(data_dir, folder, "train_data_dir", with_pictures=False)
    plan = balance_plan(counts(parent), showings)
    changes = {old: new for old, new in plan.items() if old != new}
    taken = [new for new in changes.values() if (parent / new).exists() and new not in changes]
    if taken:
        raise Conflict(
            f"There is a folder {taken[0]} already; nothing was renamed. Rename or remove it first."
        )
    for old in changes:
        (parent / old).rename(parent / f".balancing-{old}")
    for old, new in changes.items():
        (parent / f".balancing-{old}").rename(parent / new)
    return changes


def take_in(data_dir: Path, uploads: Iterable[Path], destination: str, *, upload_dir: Path) -> int:
    """Copy uploaded pictures, captions and zip archives into a folder of the data folder; how many pictures came.

    `upload_dir` is where uploads arrive: what lies elsewhere is refused, whoever names it. A name that is taken gets a
    number, together with its caption.

    Raises:
        InvalidArgument: an archive is broken or holds what does not belong there.
        TooLarge: more than fits.
        PathOutsideDataFolder: an upload, or the destination, lies elsewhere.
    """
    target = confined(data_dir, destination, field="destination")
    sources = [confined(upload_dir, path, field="uploads") for path in uploads]
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".upload-") as temporary:
        staging = Path(temporary)
        for source in sources:
            if source.suffix.lower() == ".zip":
                extract(source, staging)
            elif source.suffix.lower() in EXTENSIONS | CAPTIONS:
                shutil.copyfile(source, _free(staging / _file_name(source.name)))
        target.mkdir(parents=True, exist_ok=True)
        return _merge(staging, target)


def extract(archive: Path, target: Path) -> int:
    """Take the pictures and captions out of a zip archive, all into one folder; how many files that were.

    Folders in the archive are left out: of `a/b/cat.png` only `cat.png` is kept. Other files and what macOS adds are
    passed over; links are refused.

    Raises:
        InvalidArgument: it is no zip archive, or holds a link.
        TooLarge: it would unpack to more than fits.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [entry for entry in opened.infolist() if _is_wanted(entry, archive)]
            if len(members) > _MOST_FILES or sum(entry.file_size for entry in members) > _MOST_BYTES:
                raise TooLarge(
                    f"{archive.name} unpacks to more than fits; nothing was taken from it. Split it."
                )
            for entry in members:
                _extract_one(opened, entry, target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise InvalidArgument("uploads", f"{archive.name} cannot be unpacked: {error}") from None
    return len(members)


def _is_wanted(entry: zipfile.ZipInfo, archive: Path) -> bool:
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise InvalidArgument(
            "uploads", f"{archive.name} holds a link, {entry.filename}; nothing was taken from it"
        )
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not entry.is_dir() and not hidden and path.suffix.lower() in EXTENSIONS | CAPTIONS


def _extract_one(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Never more bytes than the archive's directory promised, which is what the limit was checked on."""
    name = _file_name(PurePosixPath(entry.filename.replace("\\", "/")).name)
    with opened.open(entry) as source, _free(target / name).open("wb") as file:
        left = entry.file_size
        while block := source.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename} is larger than it says")
            file.write(block)


def _merge(staging: Path, target: Path) -> int:
    pictures = 0
    stems = sorted({path.stem for path in staging.iterdir()})
    for stem in stems:
        files = [path for path in sorted(staging.iterdir()) if path.stem == stem]
        free = _free_stem(target, stem, {path.suffix for path in files})
        for path in files:
            path.replace(target / f"{free}{path.suffix}")
            pictures += path.suffix.lower() in EXTENSIONS
    return pictures


def _free_stem(folder: Path, stem: str, suffixes: Iterable[str]) -> str:
    """A stem that no picture or caption of the folder has, so that no caption gets to a strange picture."""
    wanted = [*suffixes, *EXTENSIONS, *CAPTIONS]
    candidate, number = stem, 2
    while any((folder / f"{candidate}{suffix}").exists() for suffix in wanted):
        candidate, number = f"{stem}-{number}", number + 1
    return candidate


def _free(path: Path) -> Path:
    number = 2
    free = path
    while free.exists():
        free, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return free


def _file_name(name: str) -> str:
    clean = _BAD_IN_NAMES.sub("_", name).lstrip(".-")
    suffix = PurePosixPath(clean).suffix
    return clean.removesuffix(suffix)[:120] + suffix


def _words(field: str, text: str) -> str:
    words = text.strip()
    if not words or _BAD_IN_NAMES.search(words) or words.startswith("."):
        raise InvalidArgument(field, f"{text!r} cannot be part of a folder's name")
    return words


def _source(data_dir: Path, folder: str, field: str, *, with_pictures: bool = True) -> Path:
    path = confined(data_dir, folder, field=field)
    if not path.is_dir():
        raise InvalidArgument(field, f"there is no folder {folder} in the data folder")
    if with_pictures and not images_in(path):
        raise InvalidArgument(field, f"there are no pictures in {folder}")
    return path


def _copy_pictures(source: Path, target: Path) -> int:
    target.mkdir(parents=True)
    images = images_in(source)
    for image in images:
        captions = (image.with_suffix(suffix) for suffix in sorted(CAPTIONS))
        for path in (image, *filter(Path.is_file, captions)):
            shutil.copyfile(path, target / path.name)
    return len(images)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A folder to build in, which becomes `target` when all went well and is removed otherwise."""
    if target.exists():
        raise Conflict(f"{target.name} exists already and was not changed; choose another destination.")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield staging
        staging.chmod(0o755)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
