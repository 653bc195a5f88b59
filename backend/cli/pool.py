"""Commands about instances and what is decided about them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import AsJson, asks_gateway, print_json, print_table

if TYPE_CHECKING:
    from backend.client import Client


@asks_gateway
def why(
    client: Client,
    service: Annotated[str, typer.Option("--service", "-s", help="Only this service.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 10,
    as_json: AsJson = False,
) -> None:
    """What the supervisor decided about instances, and why."""
    found = client.decisions(service, limit=limit)
    if as_json:
        print_json(found)
        return
    from backend.scaling.journal import Entry, folded

    for entry in folded(Entry.from_json(each) for each in reversed(found)):
        times = [time.strftime("%H:%M:%S", time.localtime(at)) for at in (entry.at, entry.until)]
        print("–".join(dict.fromkeys(times)), entry)
    if not found:
        print("nothing decided yet")


@asks_gateway
def instances(client: Client, as_json: AsJson = False) -> None:
    """List instances."""
    found = client.instances()
    if as_json:
        print_json([asdict(instance) for instance in found])
        return
    rows = [(i.id, i.service, i.state, i.device, str(i.completed), ", ".join(i.tasks)) for i in found]
    print_table(("INSTANCE", "SERVICE", "STATE", "DEVICE", "DONE", "TASKS"), rows, empty="no instances")
