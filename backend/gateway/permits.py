"""What an account that is no administrator may have run.

A command can read whatever the instance can: the files of others, and the store. So an account that was not given the
right to run any command (`commands`) trains, draws and uses the tools, with files that are its own or everybody's.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from backend import paths
from backend.accounts import Caller, ownership
from backend.errors import Conflict, Forbidden, InvalidArgument, PathOutsideDataFolder
from backend.gateway.context import Gateway
from backend.gateway.models import models_of
from backend.inference.catalog import Catalog
from backend.queue.contract import NewItem
from backend.queue.source import TASK_TYPE, kind_of
from backend.service import Description
from backend.store import accounts
from backend.store.tasks import NewTask
from backend.worker.command import training_script, words

_TOOLS = ("python", "-m", "backend.tools")
_TOOL_FILES = (("", ""), (f"{paths.LORAS}/", ""), (f"{paths.LORAS}/", ".safetensors"))
"""What a tool takes a name for: a file, one of `loras/`, the same without its suffix."""

_TEXTS = frozenset({".toml", ".txt", ".json", ".jsonl"})
"""Files that come with a training. A `.py` among them could be what it imports."""

_VARIABLES = frozenset(
    (
        *("COLUMNS", "PYTHONUNBUFFERED", "TERM", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"),
        *("HF_TOKEN", "WANDB_API_KEY"),
    )
)
"""Variables that the form sets. Others could make a program load what it should not."""

_LAUNCHER = re.compile(
    r"--(dynamo_\w+|gpu_ids|main_process_port|mixed_precision|multi_gpu|num_\w+)(=[\w.,-]*)?|[\w.,]+"
)
_CODE = {
    "network_module": re.compile(r"networks\.\w+|lycoris\.kohya|"),
    "optimizer_type": re.compile(r"\w*"),
    "lr_scheduler_type": re.compile(r"\w*"),
    "dataset_class": re.compile(r""),
}
"""Arguments that import what they name, and what they may name."""

_KNOWN_TOPS = frozenset(
    (paths.DATASETS, paths.LORAS, paths.JOBS, paths.STORE, paths.LOGS, ownership.OUTPUTS, "token", ".uploads")
)


def relative(data_dir: Path, path: str) -> str | None:
    """A path with its links resolved, relative to the data folder; None when it leads out of that."""
    try:
        return paths.confined(data_dir, path).relative_to(data_dir.resolve()).as_posix()
    except PathOutsideDataFolder:
        return None


def check_priority(caller: Caller, service: str, priority: int) -> None:
    """Raises Forbidden where a task is to overtake those of others; going behind them is everybody's right."""
    if priority > 0 and not caller.operates(service):
        raise Forbidden("only administrators let a task overtake others': give it priority 0 or less")


async def check_put(gateway: Gateway, caller: Caller, service: Description, item: NewItem) -> None:
    """`check` for a put of the queue protocol."""
    kind = kind_of({TASK_TYPE: item.tags.get(TASK_TYPE, "")})
    new = NewTask(item.task_id, service.name, kind, data=item.data, priority=item.priority, path=item.path)
    await check(gateway, caller, service, new, {})


async def check(
    gateway: Gateway, caller: Caller, service: Description, new: NewTask, files: Mapping[str, str]
) -> None:
    """Raises Forbidden when a task is not the caller's to queue; nothing was written or queued by then."""
    if caller.operates(service.name):
        return
    check_priority(caller, service.name, new.priority)
    data_dir = gateway.settings.data_dir
    owners = await gateway.store.run(accounts.owners([f"{paths.JOBS}/{new.id}"]))
    if owners or paths.job_dir(data_dir, new.id).exists():
        raise Conflict(f"the task id {new.id!r} is taken; nothing was queued")
    if caller.commands:
        return
    if new.kind == "command":
        named = _named(new, files, gateway.settings.sd_scripts_dir)
    else:
        named = await asyncio.to_thread(_drawn_with, data_dir, models_of(service, new.kind, new.data))
    await _need_all(gateway, caller, named, new.id)


def _named(new: NewTask, files: Mapping[str, str], sd_scripts: str) -> list[str]:
    """Every text of a command that may name a file; raises Forbidden for a command that is none of ours."""
    strange = [name for name in files if Path(name).suffix not in _TEXTS] + [
        name for name in new.environment or {} if name not in _VARIABLES
    ]
    if strange:
        raise Forbidden(f"this account may not send {strange[0][:100]!r} with a task; nothing was queued")
    argv = new.argv if new.argv is not None else words(new.data) or ()
    if tuple(argv[:3]) == _TOOLS:
        return [f"{folder}{word}{end}" for word in argv[3:] for folder, end in _TOOL_FILES]
    script = training_script(argv, sd_scripts=sd_scripts)
    if script is None or not all(_LAUNCHER.fullmatch(word) for word in argv[1:script]):
        raise Forbidden(
            "this account trains, draws and uses the LoRA tools, but may not run any command: that could read what "
            "others have. Nothing was queued; an administrator can allow it (lorapool user add --commands)."
        )
    said = [*_options(argv[script + 1 :]), *(pair for item in files.items() for pair in _in_file(*item))]
    for name, text in said:
        # An option may be shortened as long as it is clear.
        if name and any(
            full.startswith(name) and not allowed.fullmatch(text) for full, allowed in _CODE.items()
        ):
            raise Forbidden(f"{name}: this account may not name code of its own; nothing was queued")
    return [text for _, text in said]


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of a command line; a value's name is the option before it."""
    name = ""
    for word in argv:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            yield (name, value) if value else ("", word)
        else:
            yield name, word


def _in_file(name: str, text: str) -> Iterator[tuple[str, str]]:
    """(key, text) of a TOML file; of others the words that may be paths."""
    if not name.endswith(".toml"):
        yield from (("", word) for word in text.split() if "/" in word)
        return
    try:
        yield from _pairs("", tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidArgument(f"files.{name}", f"is no TOML ({error}); nothing was queued") from None


def _pairs(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for inner, below in value.items():
            yield from _pairs(inner, below)
    elif isinstance(value, list):
        for below in value:
            yield from _pairs(key, below)


def _drawn_with(data_dir: Path, models: Iterable[str]) -> list[str]:
    """The files that the names of a query stand for; what stands for none is the app's to refuse."""
    catalog, found = Catalog(data_dir), []
    for name in list(models)[1:]:
        try:
            found.append(catalog.lora(name, "loras").path)
        except InvalidArgument:
            found.append(name)
    return found


async def _need_all(gateway: Gateway, caller: Caller, texts: Iterable[str], task: str) -> None:
    """Raises Forbidden when one of these texts names a file that is not the caller's to read."""
    own = f"{paths.JOBS}/{task}"
    found = await asyncio.to_thread(_paths, gateway.settings.data_dir, set(texts), own)
    places = sorted({place for path in found.values() if (place := ownership.place(path))})
    owners = await gateway.store.run(accounts.owners(places)) if places else {}
    for text, path in found.items():
        if not ownership.may_read(caller, path, {**owners, own: caller.user}):
            raise Forbidden(
                f"{text[:200]!r} is not yours to use; nothing was queued. Name a file of your own."
            )


def _paths(data_dir: Path, texts: Iterable[str], own: str) -> dict[str, str]:
    """The texts that name something of the data folder -> what. Relative ones start there, or in the job folder."""
    found = {}
    for text in texts:
        for start in ("", f"{own}/"):
            if start and text.startswith(("/", "~")):
                continue
            path = relative(data_dir, start + text) if text else None
            if path is None and _leads_out(text):
                raise Forbidden(f"{text[:200]!r} lies outside the data folder; nothing was queued")
            if path is not None and _exists(data_dir, path):
                found[start + text] = path
    return found


def _leads_out(text: str) -> bool:
    """Whether a text is written as a path that no data folder holds; a prompt or a number is not."""
    return text.startswith(("/", "~/")) or ".." in PurePosixPath(text).parts


def _exists(data_dir: Path, path: str) -> bool:
    return path.split("/")[0] in _KNOWN_TOPS or (data_dir / path).exists()
