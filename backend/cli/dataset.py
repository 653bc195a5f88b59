"""`lorapool dataset …`: making, captioning and checking dataset folders of the data folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import InvalidArgument
from backend.paths import confined

if TYPE_CHECKING:
    from kohya_adapter.dataset_check import DatasetFacts

app = typer.Typer(help="Make, caption and check datasets of the data folder.", no_args_is_help=True)

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="LORAPOOL_DATA_DIR", help="The data folder that the datasets lie in."),
]
Folder = Annotated[str, typer.Argument(help="A folder of the data folder, such as datasets/cats.")]
Extension = Annotated[str, typer.Option("--extension", help="The ending of caption files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DATA = Path("data")
_SHOWN = 12


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Pictures, captions, zip archives; from anywhere.")],
    to: Annotated[str, typer.Option(help="The folder for them, such as 'datasets/cats/10_sks cat'.")],
    data_dir: DataDir = _DATA,
) -> None:
    """Copy pictures and captions into a dataset, archives unpacked; a name that is taken gets a number."""
    from kohya_adapter.dataset import take_in

    paths = [file.expanduser().resolve() for file in files]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InvalidArgument("files", f"there is no file {missing}; nothing was copied")
    taken = sum(take_in(data_dir, [path], to, upload_dir=path.parent) for path in paths)
    print(f"{taken} pictures were put into {to}")


@app.command()
def sample(data_dir: DataDir = _DATA) -> None:
    """Put the small model and the pictures that come with lorapool into the data folder."""
    from backend.samples import install

    for path in install(data_dir):
        print(path.relative_to(data_dir))


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="Pictures with their captions, in the data folder.")],
    destination: Annotated[str, typer.Argument(help="The folder to make.")],
    instance: Annotated[str, typer.Option(help="The trigger word, such as sks.")],
    class_: Annotated[str, typer.Option("--class", help="What it is one of, such as cat.")],
    repeats: Annotated[int, typer.Option(help="How often an epoch shows each picture.")] = 10,
    reg: Annotated[str, typer.Option(help="Regularisation pictures of the class.")] = "",
    reg_repeats: Annotated[int, typer.Option(help="How often an epoch shows each of those.")] = 1,
    data_dir: DataDir = _DATA,
) -> None:
    """Copy pictures into the folders that a training wants: img/<repeats>_<instance> <class>, reg/…"""
    from kohya_adapter.dataset import Concept, prepare

    concept = Concept(source, instance, class_, repeats)
    made = prepare(data_dir, concept, destination, reg_source=reg, reg_repeats=reg_repeats)
    print(f"train_data_dir: {made.train_data_dir} ({made.pictures} pictures)")
    if made.reg_data_dir:
        print(f"reg_data_dir: {made.reg_data_dir} ({made.reg_pictures} pictures)")


@app.command()
def balance(
    folder: Folder,
    showings: Annotated[
        int, typer.Option(help="About how often an epoch shows each folder's pictures.")
    ] = 1000,
    dry_run: DryRun = False,
    data_dir: DataDir = _DATA,
) -> None:
    """Rename the image folders so that an epoch shows each of them about equally often."""
    from kohya_adapter.dataset import balance, balance_plan, counts

    if dry_run:
        plan = balance_plan(counts(_existing(data_dir, folder)), showings)
        changes = {old: new for old, new in plan.items() if old != new}
    else:
        changes = balance(data_dir, folder, showings)
    for old, new in changes.items():
        print(f"{old} → {new}")
    if not changes:
        print("nothing to change")


@app.command()
def captions(
    folder: Folder,
    add_first: Annotated[list[str] | None, typer.Option(help="A tag to put in front.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A tag to put at the end.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to take out.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW, a tag by another.")] = None,
    find: Annotated[str, typer.Option(help="Text to replace.")] = "",
    replace: Annotated[str, typer.Option(help="What to put in its place.")] = "",
    prefix: Annotated[str, typer.Option(help="Text to put before every caption.")] = "",
    suffix: Annotated[str, typer.Option(help="Text to put behind every caption.")] = "",
    missing: Annotated[str, typer.Option(help="The caption of pictures that have none.")] = "",
    extension: Extension = ".txt",
    dry_run: DryRun = False,
    data_dir: DataDir = _DATA,
) -> None:
    """Change all captions of an image folder, or of every image folder in it; without options list the tags."""
    from kohya_adapter.captions import CaptionEdit, caption_changes, edit_captions, read_captions, tag_counts

    renamed = dict(_pair(text) for text in rename or ())
    edit = CaptionEdit(
        missing, find, replace, renamed, remove or (), add_first or (), add or (), prefix, suffix
    )
    folders = _image_folders(data_dir, folder)
    if edit == CaptionEdit():
        read = [each for path in folders for each in read_captions(data_dir, path, extension=extension)]
        for tag, count in tag_counts(read):
            print(f"{count:6}  {tag}")
        print(f"{len(read)} pictures, {sum(each.caption is not None for each in read)} with captions")
        return
    # All are read before any is changed.
    changes = [c for path in folders for c in caption_changes(data_dir, path, edit, extension=extension)]
    for change in changes if dry_run else ():
        print(f"{change.image.name}: {change.before or ''} → {change.after}")
    if not dry_run:
        for path in folders:
            edit_captions(data_dir, path, edit, extension=extension)
    print(f"{len(changes)} captions {'would be' if dry_run else 'were'} changed")


@app.command()
def check(
    folder: Folder,
    resolution: Annotated[str, typer.Option(help="As in the form, such as 512,512.")] = "512,512",
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 1,
    bucket: Annotated[bool, typer.Option("--bucket/--no-bucket", help="Sort into buckets.")] = True,
    upscale: Annotated[bool, typer.Option("--upscale/--no-upscale", help="Enlarge small pictures.")] = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="List what a training sees of each picture.")
    ] = False,
    extension: Extension = ".txt",
    as_json: AsJson = False,
    data_dir: DataDir = _DATA,
) -> None:
    """Counts, buckets, tags, and everything that is odd; the exit code is 1 when it cannot be trained on."""
    from kohya_adapter.crops import crops as crops_of
    from kohya_adapter.dataset_check import look_at
    from kohya_adapter.form import Form

    settings = {
        "max_resolution": resolution,
        "train_batch_size": batch_size,
        "enable_bucket": bucket,
        "bucket_no_upscale": not upscale,
    }
    facts = look_at(data_dir, folder, extension=extension, settings=settings)
    seen: list[dict[str, Any]] = []
    if crops and facts.report is not None:
        form = Form({"train_data_dir": folder, "caption_extension": extension, **settings})
        root = data_dir.resolve()
        seen = [{**asdict(c), "path": c.path.relative_to(root).as_posix()} for c in crops_of(form, data_dir)]
    if as_json:
        print(
            json.dumps({**asdict(facts), **({"crops": seen} if crops else {})}, indent=2, ensure_ascii=False)
        )
    else:
        _print_facts(facts, seen)
    if not facts.ok:
        raise typer.Exit(1)


def _print_facts(facts: DatasetFacts, crops: list[dict[str, Any]]) -> None:
    for concept in facts.concepts:
        print(
            f"{concept.folder}: {concept.pictures} pictures × {concept.repeats} = {concept.showings} an epoch, "
            f"{concept.captioned} with captions"
        )
    if facts.report is not None:
        buckets = ", ".join(f"{b.width}×{b.height}: {b.count}" for b in facts.report.buckets)
        print(f"buckets (showings an epoch): {buckets}")
        print(f"an epoch has {facts.report.steps_per_epoch} steps")
    if facts.tags:
        print("tags: " + ", ".join(f"{tag} ({count})" for tag, count in facts.tags[:_SHOWN]))
    for crop in crops:
        print(f"{crop['path']}: {crop['size']} → {crop['bucket']}, keeps {crop['box']}")
    for finding in facts.findings:
        print(f"{finding.severity}: {finding.where}: {finding.message}")


def _existing(data_dir: Path, folder: str) -> Path:
    path = confined(data_dir, folder, field="folder")
    if not path.is_dir():
        raise InvalidArgument("folder", f"there is no folder {folder} in the data folder")
    return path


def _image_folders(data_dir: Path, folder: str) -> list[str]:
    """The folder itself where pictures lie in it, else the image folders in it."""
    from kohya_adapter.captions import images_in

    path = _existing(data_dir, folder)
    if images_in(path):
        return [str(path)]
    below = [str(child) for child in sorted(path.iterdir()) if child.is_dir() and images_in(child)]
    if not below:
        raise InvalidArgument("folder", f"there are no pictures in {folder}")
    return below


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old.strip():
        raise InvalidArgument("rename", f"{text!r} is not OLD=NEW")
    return old.strip(), new.strip()
