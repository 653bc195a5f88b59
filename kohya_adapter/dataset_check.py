"""A dataset folder, looked at before anything is trained on it: counts, buckets, tags, and what is odd about it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidArgument
from backend.paths import confined
from backend.training.checks import Report
from backend.training.pictures import EXTENSIONS, measure
from kohya_adapter.captions import Captioned, images_in, read_captions, tag_counts
from kohya_adapter.dataset import CAPTIONS, CONCEPT
from kohya_adapter.estimate import estimate
from kohya_adapter.form import Form
from kohya_adapter.problems import Severity
from kohya_adapter.resolve import absolute_paths

_DATASET_FIELDS = ("train_data_dir", "max_resolution", "enable_bucket", "bucket_reso_steps")
_FEW = 5
_TAGS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know; `where` is a folder or a file of the dataset."""

    where: str
    message: str
    severity: Severity = "warning"


@dataclass(frozen=True, slots=True)
class ConceptFacts:
    """One image folder: how often each picture is shown in an epoch, and how many have captions."""

    folder: str
    repeats: int
    pictures: int
    captioned: int

    @property
    def showings(self) -> int:
        """How often its pictures are shown in an epoch, all together."""
        return self.repeats * self.pictures


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset. `report` is None where it cannot be trained on as it is; `tags` are the most frequent ones."""

    concepts: tuple[ConceptFacts, ...]
    tags: tuple[tuple[str, int], ...]
    report: Report | None
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether it can be trained on."""
        return not any(finding.severity == "error" for finding in self.findings)


def look_at(
    data_dir: Path, folder: str, *, extension: str = ".txt", settings: Mapping[str, object] | None = None
) -> DatasetFacts:
    """Look at a `train_data_dir`. `settings` are form values that decide the buckets, such as `max_resolution`.

    Raises:
        InvalidArgument: there is no such folder, or a setting is none of the form's.
        PathOutsideDataFolder: it lies elsewhere.
    """
    root = confined(data_dir, folder, field="folder")
    if not root.is_dir():
        raise InvalidArgument("folder", f"there is no folder {folder} in the data folder")
    children = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = [path for path in children if CONCEPT.fullmatch(path.name) and int(path.name.split("_")[0]) >= 1]
    findings = list(_structure(root, children, named))
    concepts, captions = [], []
    for path in named:
        try:
            read = read_captions(data_dir, str(path), extension=extension)
        except InvalidArgument as error:
            findings.append(Finding(path.name, error.message, "error"))
            continue
        captions += read
        captioned = sum(each.caption is not None for each in read)
        concepts.append(ConceptFacts(path.name, int(path.name.split("_")[0]), len(read), captioned))
        findings += _files(path, extension)
        findings += _captions(path, read, extension)
    findings += _pictures([each.image for each in captions], root)
    findings += _balance(concepts)
    report = None
    if not any(finding.severity == "error" for finding in findings):
        form = Form({"train_data_dir": str(root), "caption_extension": extension, **(settings or {})})
        report, problems = estimate(absolute_paths(form, data_dir), data_dir, sd_scripts=False)
        findings += [
            Finding(root.name, problem.message, problem.severity)
            for problem in problems
            if problem.severity == "error" or problem.field in _DATASET_FIELDS
        ]
    return DatasetFacts(tuple(concepts), tuple(tag_counts(captions)[:_TAGS]), report, tuple(findings))


def _structure(root: Path, children: Sequence[Path], named: Sequence[Path]) -> Iterator[Finding]:
    wanted = "image folders are named <repeats>_<words>, such as 10_sks cat"
    if not named:
        loose = images_in(root)
        said = f"its {len(loose)} pictures lie in it directly" if loose else "it has no image folders"
        yield Finding(root.name, f"{said}; {wanted}. `lorapool dataset prepare` makes one", "error")
        return
    for path in children:
        if path not in named and images_in(path):
            yield Finding(path.name, f"is passed over with its {len(images_in(path))} pictures: {wanted}")
    loose = images_in(root)
    if loose:
        yield Finding(root.name, f"{len(loose)} pictures beside the image folders are passed over")


def _files(folder: Path, extension: str) -> Iterator[Finding]:
    """What lies there and is not used."""
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    stems = {path.stem for path in images_in(folder)}
    if not stems:
        yield Finding(folder.name, "has no pictures", "error")
    alone = [path.name for path in entries if path.suffix == extension and path.stem not in stems]
    if alone:
        yield Finding(folder.name, f"{_listed(alone)}: captions without a picture")
    below = [path.name for path in entries if path.is_dir() and images_in(path)]
    if below:
        yield Finding(folder.name, f"{_listed(below)}: folders within an image folder are passed over")
    known = EXTENSIONS | CAPTIONS | {extension, ".npz"}
    strange = [path.name for path in entries if path.is_file() and path.suffix.lower() not in known]
    if strange:
        yield Finding(folder.name, f"{_listed(strange)}: neither pictures nor captions")
    doubled = defaultdict(list)
    for image in images_in(folder):
        doubled[image.stem].append(image.name)
    shared = [" and ".join(names) for names in doubled.values() if len(names) > 1]
    if shared:
        yield Finding(folder.name, f"{_listed(shared)} share one caption file")


def _captions(folder: Path, read: Sequence[Captioned], extension: str) -> Iterator[Finding]:
    missing = [each.image.name for each in read if each.caption is None]
    if missing:
        words = folder.name.partition("_")[2]
        said = f"{len(missing)} of {len(read)} pictures have no {extension} caption, {_listed(missing)}"
        yield Finding(folder.name, f"{said}; {words!r} is used")
        for other in sorted(CAPTIONS - {extension}):
            count = sum((folder / name).with_suffix(other).is_file() for name in missing)
            if count:
                yield Finding(
                    folder.name, f"{count} of them have a {other} file: is that the ending you want?"
                )
    empty = [each.image.name for each in read if each.caption == ""]
    if empty:
        yield Finding(folder.name, f"{_listed(empty)}: the caption is empty")
    long = [each.image.name for each in read if each.caption and "\n" in each.caption]
    if long:
        yield Finding(folder.name, f"{_listed(long)}: only the first line of a caption is used")


def _pictures(images: Sequence[Path], root: Path) -> Iterator[Finding]:
    """Pictures that cannot be read, and those that are there twice."""
    seen: dict[tuple[int, str], Path] = {}
    for image in images:
        name = image.relative_to(root).as_posix()
        try:
            measure(image, "folder")
        except InvalidArgument as error:
            yield Finding(name, error.message.replace(f"{root}/", ""), "error")
            continue
        key = image.stat().st_size, hashlib.sha256(image.read_bytes()).hexdigest()
        if key in seen:
            yield Finding(name, f"is the same picture as {seen[key].relative_to(root).as_posix()}")
        seen.setdefault(key, image)


def _balance(concepts: Sequence[ConceptFacts]) -> Iterator[Finding]:
    shown = [concept for concept in concepts if concept.showings]
    if len(shown) < 2:
        return
    least, most = min(shown, key=lambda c: c.showings), max(shown, key=lambda c: c.showings)
    if most.showings > 3 * least.showings:
        said = f"its pictures are shown {most.showings} times in an epoch, those of {least.folder} {least.showings}"
        yield Finding(most.folder, f"{said}; `lorapool dataset balance` evens that out")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
