"""What the Data page asks for.

    GET  sets                    data sets and their folders
    POST sets/new                a data set with one empty image folder
    GET  sets/folder             pictures, captions and tag counts of a folder
    GET  sets/picture            one picture, made small
    POST sets/upload/{batch}     one file of an upload, as the body
    POST sets/take/{batch}       put what was uploaded into a folder
    POST sets/captions           captions of some pictures, as they are to be
    POST sets/edit               one change to all captions of a folder
    POST sets/rename             repeats and words of a folder
    POST sets/remove             pictures, a folder or a data set
    POST sets/check              problems, and the part of each picture that a training would see
    POST sets/sample             put the sample model and data set into the data folder

Every path is confined to `datasets/`. An upload arrives in a hidden folder of the data folder and is moved from there
when it is complete, so that half a file is never in a data set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app import datasets, folders, rights
from app.people import person_of
from backend import samples
from backend.errors import InvalidArgument, InvalidInput, LorapoolError, NotFound, TooLarge
from backend.paths import DATASETS
from backend.training.pictures import EXTENSIONS
from kohya_adapter.captions import CaptionEdit, edit_captions, read_captions, tag_counts, write_caption
from kohya_adapter.crops import Crop, crops
from kohya_adapter.dataset import CAPTIONS, take_in
from kohya_adapter.estimate import estimate
from kohya_adapter.form import Form
from kohya_adapter.resolve import absolute_paths

router = APIRouter(prefix="/sets")

LARGEST_FILE = 4 << 30
LEFT_FREE = 1 << 30
"""Bytes of the disk that no upload may take: trainings have to write, too."""

_UPLOADS = ".uploads"
_FORGOTTEN = 24 * 3600.0
_BATCH = re.compile(r"[A-Za-z0-9-]{8,64}")
_TAKEN = EXTENSIONS | CAPTIONS | {".zip"}
_LONGEST_SIDE = 2048
_FOREVER = {"cache-control": "private, max-age=604800, immutable"}


class NewSet(BaseModel):
    name: str
    words: str
    repeats: int = Field(default=10, ge=1, le=10_000)


class Rename(BaseModel):
    folder: str
    words: str
    repeats: int = Field(ge=1, le=10_000)


class Captions(BaseModel):
    """Paths of pictures -> their captions; an empty one removes the caption."""

    captions: dict[str, str] = Field(max_length=20_000)


class Edit(BaseModel):
    """The fields of `CaptionEdit`."""

    folder: str
    missing: str = ""
    find: str = ""
    replace: str = ""
    remove_tags: list[str] = []
    add_first: list[str] = []
    add_last: list[str] = []
    prefix: str = ""
    suffix: str = ""


class Removal(BaseModel):
    """Either pictures or a folder."""

    pictures: list[str] = []
    folder: str = ""


class Check(BaseModel):
    """The settings of the form that decide what is seen of a picture."""

    train_data_dir: str
    resolution: str = "512,512"
    enable_bucket: bool = True
    min_bucket_reso: int = 256
    max_bucket_reso: int = 2048
    bucket_reso_steps: int = 64
    bucket_no_upscale: bool = False

    def form(self) -> Form:
        values = self.model_dump(exclude={"resolution"})
        return Form({**values, "max_resolution": self.resolution, "caption_extension": ".txt"})


def _data_dir(request: Request) -> Path:
    data_dir: Path = request.app.state.data_dir
    return data_dir


@router.get("")
def data_sets(request: Request) -> Any:
    data_dir = _data_dir(request)
    sets = datasets.data_sets(data_dir)
    access = rights.access(request, [each.path for each in sets])
    viewer = person_of(request).role == "viewer"
    found = [
        {**dataclasses.asdict(each), "may_change": access[each.path] == "change" and not viewer}
        for each in sets
        if access[each.path] != "none"
    ]
    return {"sets": found, "may_make": not viewer, "models": len(folders.models(data_dir))}


@router.post("/new")
def new(request: Request, wanted: NewSet) -> Any:
    place = f"{DATASETS}/{datasets.plain_name('name', wanted.name)}"
    datasets.need_new(_data_dir(request), wanted.name)
    rights.claim(request, place)
    try:
        return {"folder": datasets.create(_data_dir(request), wanted.name, wanted.words, wanted.repeats)}
    except LorapoolError:
        rights.let_go(request, place)
        raise


@router.get("/folder")
def folder(request: Request, path: str) -> Any:
    data_dir = _data_dir(request)
    rights.need_read(request, path)
    shown = datasets.pictures(data_dir, path)
    captioned = {each.image.name: each for each in read_captions(data_dir, path)}
    return {
        "path": path,
        "pictures": [
            {
                **dataclasses.asdict(picture),
                "version": str(picture.version),
                "caption": captioned[picture.name].caption if picture.name in captioned else None,
            }
            for picture in shown
        ],
        "tags": tag_counts(captioned.values()),
    }


@router.get("/picture")
def picture(request: Request, path: str, longest: Annotated[int, Query(ge=16)] = 320) -> Response:
    rights.need_read(request, path)
    data = datasets.thumbnail(_data_dir(request), path, min(longest, _LONGEST_SIDE))
    return Response(data, media_type="image/webp", headers=_FOREVER)


@router.post("/upload/{batch}")
async def upload(request: Request, batch: str, name: str) -> Any:
    """One file, streamed to disk. What is neither picture, caption nor zip archive is refused before it is read."""
    person_of(request).need_writer()
    staging = _batch(request, batch)
    target = staging / datasets.plain_name("name", Path(name.replace("\\", "/")).name)
    if target.suffix.lower() not in _TAKEN:
        kinds = ", ".join(sorted(each[1:] for each in _TAKEN))
        raise InvalidInput(f"{target.name} was not taken: a data set takes {kinds}.")
    await run_in_threadpool(_make_room, staging)
    left = min(LARGEST_FILE, shutil.disk_usage(staging).free - LEFT_FREE)
    partial = staging / f".{target.name}.partial"
    try:
        with partial.open("wb") as file:
            async for block in request.stream():
                left -= len(block)
                if left < 0:
                    raise TooLarge(f"{target.name} is larger than fits; nothing of it was kept.")
                await run_in_threadpool(file.write, block)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return {"name": target.name}


def _batch(request: Request, batch: str) -> Path:
    """The folder of an upload: another's of the same name is another one."""
    if not _BATCH.fullmatch(batch):
        raise NotFound("There is no such upload.")
    whose = hashlib.sha256(person_of(request).name.encode()).hexdigest()[:12]
    return _data_dir(request) / _UPLOADS / f"{batch}.{whose}"


def _make_room(staging: Path) -> None:
    """Make the batch's folder, and take away what a page that was closed has left."""
    staging.mkdir(parents=True, exist_ok=True)
    for old in staging.parent.iterdir():
        if time.time() - old.stat().st_mtime > _FORGOTTEN:
            shutil.rmtree(old, ignore_errors=True)


@router.post("/take/{batch}")
def take(request: Request, batch: str, folder: str) -> Any:
    data_dir = _data_dir(request)
    staging = _batch(request, batch)
    rights.need_change(request, folder)
    target = datasets.existing_folder(data_dir, folder)
    files = sorted(staging.iterdir()) if staging.is_dir() else []
    try:
        taken = take_in(data_dir, files, str(target), upload_dir=staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"pictures": taken}


@router.post("/captions")
def captions(request: Request, wanted: Captions) -> Any:
    data_dir = _data_dir(request)
    for path in wanted.captions:
        datasets.in_datasets(data_dir, path, "picture")
    rights.need_change(request, *wanted.captions)
    for path, caption in wanted.captions.items():
        write_caption(data_dir, path, caption)
    return {"changed": len(wanted.captions)}


@router.post("/edit")
def edit(request: Request, wanted: Edit) -> Any:
    data_dir = _data_dir(request)
    rights.need_change(request, wanted.folder)
    datasets.existing_folder(data_dir, wanted.folder)
    change = CaptionEdit(**wanted.model_dump(exclude={"folder"}))
    return {"changed": edit_captions(data_dir, wanted.folder, change)}


@router.post("/rename")
def rename(request: Request, wanted: Rename) -> Any:
    rights.need_change(request, wanted.folder)
    return {"folder": datasets.rename(_data_dir(request), wanted.folder, wanted.words, wanted.repeats)}


@router.post("/remove")
def remove(request: Request, wanted: Removal) -> Any:
    data_dir = _data_dir(request)
    rights.need_change(request, *([wanted.folder] if wanted.folder else wanted.pictures))
    if wanted.folder:
        real = datasets.existing_folder(data_dir, wanted.folder)
        datasets.remove_folder(data_dir, wanted.folder)
        if real.parent.name == DATASETS:
            rights.let_go(request, f"{DATASETS}/{real.name}")
        return {"pictures": 0}
    return {"pictures": datasets.remove_pictures(data_dir, wanted.pictures)}


@router.post("/check")
def check(request: Request, wanted: Check) -> Any:
    data_dir = _data_dir(request)
    rights.need_read(request, wanted.train_data_dir)
    try:
        form = absolute_paths(wanted.form(), data_dir)
    except InvalidArgument as error:
        return {"problems": [{"severity": "error", "message": error.message}], "buckets": [], "crops": {}}
    report, problems = estimate(form, data_dir, sd_scripts=False)
    seen = _crops(wanted.form(), data_dir) if report is not None else []
    return {
        "problems": [{"severity": problem.severity, "message": problem.message} for problem in problems],
        "buckets": [dataclasses.asdict(bucket) for bucket in report.buckets] if report is not None else [],
        "crops": {crop.path.relative_to(data_dir).as_posix(): _as_shares(crop) for crop in seen},
    }


def _crops(form: Form, data_dir: Path) -> list[Crop]:
    try:
        return crops(form, data_dir)
    except LorapoolError:
        # What keeps it from being read is among the problems already.
        return []


def _as_shares(crop: Crop) -> dict[str, Any]:
    """The part that is kept as shares of the picture: left, top, width, height."""
    (width, height), (left, top, right, bottom) = crop.size, crop.box
    box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
    enlarged = crop.bucket[0] > right - left or crop.bucket[1] > bottom - top
    return {"bucket": crop.bucket, "box": [round(share, 4) for share in box], "enlarged": enlarged}


@router.post("/sample")
def sample(request: Request) -> Any:
    """The sample model and data set, for who has nothing yet."""
    person_of(request).need_writer()
    try:
        model, dataset = samples.install(_data_dir(request))
    except OSError as error:
        raise InvalidInput(
            f"The sample could not be copied: {error}. The data folder is as it was otherwise."
        ) from None
    return {"model": model.name, "dataset": dataset.name}


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `data_dir`."""
    app.include_router(router)
