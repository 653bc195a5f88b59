"""Commands that look after what lorapool keeps: backups, and what may go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import DEFAULT_DATA, AsJson, DataDir, print_json, print_table
from backend.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from backend.settings import Settings
    from backend.store.connection import Store


def backup(
    file: Annotated[Path, typer.Argument(help="Where to; it holds tokens, and is made for this user alone.")],
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Write everything the store knows into one file: services, accounts, tasks, logs, queues. While it runs, too.

    Data sets, models, LoRAs and job folders are files of the data folder: copy those with rsync.
    """
    from backend.settings import read
    from backend.store import backup as backups

    settings = read(data_dir=data_dir)
    with _opened(settings) as (store, alone):
        token = settings.data_dir / "token"
        kept = token.read_text().strip() if token.exists() else ""
        done = backups.write(store, file, token=kept, pause=not alone)
    waited = f"; changes waited for {done.paused * 1000:.0f} ms" if done.paused else ""
    print(f"{file}: {done.keys} keys, {done.bytes / 1e6:.1f} MB{waited}")


def restore(
    file: Annotated[Path, typer.Argument(help="What `lorapool backup` wrote.")],
    data_dir: DataDir = DEFAULT_DATA,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what the store holds at present.")
    ] = False,
) -> None:
    """Put a backup into the store of a data folder, or into the one that REDIS_URL names. Nothing may run on it.

    Tasks that ran when it was written go back to the queue.
    """
    from backend.paths import create
    from backend.settings import keep_token, read
    from backend.store import backup as backups

    settings = read(data_dir=data_dir)
    header, token = backups.check(file)
    create(settings.data_dir)
    with _opened(settings) as (store, alone):
        if not alone and not settings.redis_url:
            raise Conflict("lorapool runs on this data folder. Nothing was changed: stop it first.")
        count = backups.read_into(store, file, replace=replace)
    if token:
        keep_token(settings.data_dir, token)
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.at))
    print(
        f"{count} keys of {written} (lorapool {header.lorapool}) are in the store; start it with `lorapool up`"
    )


def clean(
    data_dir: DataDir = DEFAULT_DATA,
    keep: Annotated[
        str,
        typer.Option(
            envvar="LORAPOOL_RETENTION", help='Per kind days and size: "logs=90d,5GB pictures=180d".'
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is no longer kept of logs, pictures, states and jobs: never a LoRA, a data set or a model.

    Tasks that wait or run keep everything.
    """
    from backend.settings import read
    from backend.storage import housekeeping, retention

    rules = retention.limits(keep)
    if not rules:
        raise InvalidInput('say what is kept, as in --keep "logs=90d,5GB states=14d"; nothing was removed')
    settings = read(data_dir=data_dir)
    with _opened(settings) as (store, _):
        spared = housekeeping.at_work(store)
        gone = housekeeping.clean(settings.data_dir, rules, spared, dry_run=dry_run)
    if as_json:
        print_json([asdict(each) for each in gone])
        return
    rows = [(str(each.kind), str(each.count), f"{each.bytes / 1e6:.1f} MB") for each in gone]
    print_table(("KIND", "WOULD GO" if dry_run else "GONE", "SIZE"), rows, empty="nothing is too much")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, bool]]:
    """The store, and whether it was started for this alone: the embedded one of a deployment that does not run."""
    from backend.store.connection import Store
    from backend.store.embedded import EmbeddedStore

    embedded = None if settings.redis_url else EmbeddedStore(settings.data_dir)
    alone = False
    if embedded is not None and not embedded.answers:
        embedded.start()
        alone = True
    store = Store(settings.redis_url or (embedded.url if embedded is not None else ""))
    try:
        yield store, alone
    finally:
        store.close()
        if embedded is not None and alone:
            embedded.stop()
