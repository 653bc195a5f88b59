"""Commands about services: deploying them, looking at them, changing them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.options import AsJson, asks_gateway, print_json, print_table
from backend.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from backend.client import Client
    from backend.service.reading import Parsed
    from backend.views import ServiceView

app = typer.Typer(help="Deploy services and look at them.", no_args_is_help=True)


@app.command("create")
@asks_gateway
def service_create(
    client: Client,
    description: Annotated[Path, typer.Argument(help="The service description (JSON or YAML).")],
) -> None:
    """Deploy a service, or replace the description of one that exists."""
    view = client.create_service(_read_description(description).description.raw)
    _say_warnings(view.warnings)
    print(f"{view.name} ({view.type}) is {view.state}")


@app.command("list")
@asks_gateway
def service_list(client: Client, as_json: AsJson = False) -> None:
    """List services."""
    found = client.services()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (s.name, s.type, s.state, f"{s.instances} ({s.min}..{s.max})", str(s.waiting), str(s.running))
        for s in found
    ]
    print_table(("SERVICE", "TYPE", "STATE", "INSTANCES", "WAITING", "RUNNING"), rows, empty="no services")
    for service in found:
        if service.trouble:
            print(f"{service.name}: no instance comes up: {service.trouble}")


@app.command("show")
@asks_gateway
def service_show(client: Client, name: Annotated[str, typer.Argument(help="The service's name.")]) -> None:
    """Show one service, whole, as JSON."""
    print_json(asdict(client.service(name).view()))


@app.command("front-end-token")
@asks_gateway
def service_front_end_token(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    new: Annotated[bool, typer.Option("--new", help="Make another one; the present one is void.")] = False,
) -> None:
    """Print the credential with which a front end behind a proxy says who somebody is (LORAPOOL_FRONT_END_TOKEN)."""
    service = client.service(name)
    view = service.renew_front_end_token() if new else service.view()
    if not view.front_end_token:
        raise Forbidden("only an administrator's token is shown the credential of front ends")
    print(view.front_end_token)


@app.command("init-log")
@asks_gateway
def service_init_log(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    instance: Annotated[
        str, typer.Option(help="This instance; by default the last that prepared itself.")
    ] = "",
) -> None:
    """Print what an instance did before its first task: what it fetched, installed and ran, and how that ended."""
    found = client.service(name).init_log(instance)
    print("\n".join([f"instance {found.instance}", *found.lines]) if found.lines else "nothing was printed")


@app.command("history")
@asks_gateway
def service_history(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    hours: Annotated[float, typer.Option(help="How far back.", min=0.01, max=744)] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Show how long its queue was, and how many instances it had, over time."""
    found = client.service(name).history(hours)
    if as_json:
        print_json(asdict(found))
        return
    rows = [
        (
            time.strftime("%d %b %H:%M:%S", time.localtime(m.at)),
            *(str(n) for n in (m.waiting, m.running, m.starting, m.idle, m.busy, m.draining)),
        )
        for m in found.moments
    ]
    heads = ("FROM", "WAITING", "RUNNING", "STARTING", "IDLE", "BUSY", "DRAINING")
    print_table(heads, rows, empty="nothing has happened yet")


@app.command("usage")
@asks_gateway
def service_usage(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    as_json: AsJson = False,
) -> None:
    """Show the seconds of instances that each user has had: for tasks, for starts, and idle after a task."""
    found = client.service(name).usage()
    if as_json:
        print_json(asdict(found))
        return
    rows = [(u.user or "(nobody)", f"{u.run:.0f}", f"{u.boot:.0f}", f"{u.idle:.0f}") for u in found.users]
    print_table(("USER", "RUN s", "BOOT s", "IDLE s"), rows, empty="no instance has been used yet")


@app.command("delete")
@asks_gateway
def service_delete(client: Client, name: Annotated[str, typer.Argument(help="The service's name.")]) -> None:
    """Remove a service: its waiting tasks are cancelled, its running ones stopped."""
    view = client.service(name).delete()
    print(f"{view.name} is removed")


@app.command("update")
@asks_gateway
def service_update(
    client: Client, description: Annotated[Path, typer.Argument(help="The new description (JSON or YAML).")]
) -> None:
    """Replace the description of a service that exists. Instances change one by one, as they become idle."""
    wanted = _read_description(description).description
    _say_service(client.service(wanted.name).update(wanted.raw))


@app.command("stop")
@asks_gateway
def service_stop(client: Client, name: Annotated[str, typer.Argument(help="The service's name.")]) -> None:
    """Let its instances end what they run and leave. What is queued waits until it is started."""
    _say_service(client.service(name).stop())


@app.command("start")
@asks_gateway
def service_start(client: Client, name: Annotated[str, typer.Argument(help="The service's name.")]) -> None:
    """Let a stopped service work again."""
    _say_service(client.service(name).start())


@app.command("scale")
@asks_gateway
def service_scale(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    instances: Annotated[int, typer.Argument(help="How many.", min=0, max=1000)],
) -> None:
    """Keep exactly so many instances, until `autoscale` sets rules again."""
    _say_service(client.service(name).scale(instances))


@app.command("autoscale")
@asks_gateway
def service_autoscale(
    client: Client,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    least: Annotated[int, typer.Option("--min", help="Fewest instances.", min=0)] = 1,
    most: Annotated[int, typer.Option("--max", help="Most instances.", min=0)] = 10,
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="A metric and its threshold, avg_waiting_length=2; none: the rule by work."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="The rules as a description has them, instead of the options.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the rules.")] = False,
) -> None:
    """Set the rules by which the number of instances follows the queue."""
    from backend.service.text import read

    rules: dict[str, Any] | None = {"min": least, "max": most}
    if strategy and rules is not None:
        rules["strategies"] = dict(_threshold(each) for each in strategy)
    if file is not None:
        try:
            rules = read(file.read_bytes()).value
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}; nothing was changed") from None
        rules = rules.get("autoscaler", rules)
    _say_service(client.service(name).autoscale(None if remove else rules))


def _threshold(text: str) -> tuple[str, float]:
    """`metric=number`."""
    metric, _, number = text.rpartition("=")
    try:
        return metric, float(number)
    except ValueError:
        raise InvalidInput(f"--strategy {text!r}: metric=number is expected; nothing was changed") from None


def _say_service(view: ServiceView) -> None:
    """One line about a service that was changed, and what of its description has no effect."""
    _say_warnings(view.warnings)
    print(f"{view.name} ({view.type}) is {view.state}, {view.min} to {view.max} instances")


@app.command("check")
def service_check(
    description: Annotated[Path, typer.Argument(help="The service description (JSON or YAML).")],
) -> None:
    """Read a description without deploying it: what is wrong, what has no effect here."""
    from backend.deploy import scaling_warnings

    parsed = _read_description(description)
    found = parsed.description
    _say_warnings((*parsed.warnings, *scaling_warnings(found)))
    print(f"{found.name} ({found.type}) can be deployed")


@app.command("schema")
def service_schema() -> None:
    """Print the JSON schema of descriptions, for editors."""
    from backend.service.schema import schema

    print_json(schema())


def _say_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _read_description(path: Path) -> Parsed:
    """The description in a file."""
    from backend.service import parse

    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}; nothing was deployed") from None
