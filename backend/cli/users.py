"""Commands about people: accounts, their tokens, and who did what."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.options import AsJson, asks_gateway, print_json, print_table
from backend.errors import InvalidInput

if TYPE_CHECKING:
    from backend.client import Client
    from backend.views import AccountView

app = typer.Typer(help="Accounts of the people who share a deployment.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens of accounts.", no_args_is_help=True)

User = Annotated[str, typer.Argument(help="The account's name.")]
Role = Annotated[str, typer.Argument(help="admin, member or viewer.")]
RoleOption = Annotated[str, typer.Option(help="admin, member or viewer.")]
Most = Annotated[str, typer.Option(help="The most at once; `none` for no limit.")]
Seconds = Annotated[str, typer.Option(help="GPU-seconds in a day (UTC); `none` for no limit.")]
WithPassword = Annotated[
    bool, typer.Option("--password", help="Ask for a password (or read it from LORAPOOL_NEW_PASSWORD).")
]
Services = Annotated[
    list[str] | None, typer.Option("--service", help="Only this service; may be given several times.")
]
Commands = Annotated[
    bool, typer.Option("--commands", help="May run any command, which can read the files of everybody.")
]
Mine = Annotated[str, typer.Option("--user", help="Whose; by default the token's own account.")]


@app.command("add")
@asks_gateway
def user_add(
    client: Client,
    name: User,
    role: RoleOption = "member",
    password: WithPassword = False,
    running: Most = "none",
    queued: Most = "none",
    gpu_seconds: Seconds = "none",
    service: Services = None,
    commands: Commands = False,
    returning: Annotated[
        bool,
        typer.Option("--returning", help="Whoever had this name comes back, and gets what is kept under it."),
    ] = False,
) -> None:
    """Make an account; without a password, print a token for it, which is shown this once."""
    secret = _new_password() if password else None
    limits = {"running": _whole(running), "queued": _whole(queued), "gpu_seconds": _number(gpu_seconds)}
    view = client.add_user(
        name,
        role=role,
        password=secret,
        limits=limits,
        services=service or (),
        commands=commands,
        returning=returning,
    )
    made = None if password else client.make_token(name, "the first")
    print(f"{view.name} is a {view.role}", file=sys.stderr)
    if made is not None:
        print(made.token)


@app.command("list")
@asks_gateway
def user_list(
    client: Client,
    as_json: AsJson = False,
) -> None:
    """List accounts, what they have and use, and their limits."""
    found = client.users()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (
            *(user.name, "disabled" if user.disabled else user.role),
            *(_of(user.usage.running, user.limits.running), _of(user.usage.queued, user.limits.queued)),
            *(_of(user.usage.gpu_seconds, user.limits.gpu_seconds), ", ".join(user.services or ["all"])),
        )
        for user in found
    ]
    head = ("USER", "ROLE", "RUNNING", "QUEUED", "GPU-SECONDS TODAY", "SERVICES")
    print_table(head, rows, empty="no accounts: whoever has the deployment's token may do everything")


@app.command("show")
@asks_gateway
def user_show(
    client: Client,
    name: Annotated[str, typer.Argument(help="The account's name; by default the token's own.")] = "me",
) -> None:
    """Show one account, whole, as JSON."""
    print_json(asdict(client.me() if name == "me" else client.user(name)))


@app.command("limit")
@asks_gateway
def user_limit(
    client: Client,
    name: User,
    running: Annotated[str | None, typer.Option(help="Tasks that run at once; `none`: no limit.")] = None,
    queued: Annotated[str | None, typer.Option(help="Tasks that wait; `none`: no limit.")] = None,
    gpu_seconds: Annotated[
        str | None, typer.Option(help="GPU-seconds in a day (UTC); `none`: no limit.")
    ] = None,
) -> None:
    """Set limits of an account; those that are not named stay."""
    limits: dict[str, Any] = asdict(client.user(name).limits)
    if running is not None:
        limits["running"] = _whole(running)
    if queued is not None:
        limits["queued"] = _whole(queued)
    if gpu_seconds is not None:
        limits["gpu_seconds"] = _number(gpu_seconds)
    _told(client.change_user(name, limits=limits))


@app.command("role")
@asks_gateway
def user_role(
    client: Client,
    name: User,
    role: Role,
    commands: Annotated[
        bool | None,
        typer.Option(
            "--commands/--no-commands", help="May run any command, which can read everybody's files."
        ),
    ] = None,
) -> None:
    """Make an account an admin, a member or a viewer."""
    changes: dict[str, Any] = {"role": role} | ({} if commands is None else {"commands": commands})
    _told(client.change_user(name, **changes))


@app.command("disable")
@asks_gateway
def user_disable(
    client: Client,
    name: User,
    enable: Annotated[bool, typer.Option("--enable", help="Take it back.")] = False,
) -> None:
    """Let an account's tokens and sessions open nothing any more, at once."""
    _told(client.change_user(name, disabled=not enable))


@app.command("remove")
@asks_gateway
def user_remove(
    client: Client,
    name: User,
) -> None:
    """Remove an account and its tokens; its tasks and files stay, and nobody else gets its name."""
    client.remove_user(name)
    print(f"{name} was removed")


@app.command("password")
@asks_gateway
def user_password(
    client: Client,
    name: User,
) -> None:
    """Set the password of an account (asked for, or from LORAPOOL_NEW_PASSWORD); its sessions end."""
    client.set_password(name, _new_password())
    print(f"{name} has another password")


@tokens.command("create")
@asks_gateway
def token_create(
    client: Client,
    what_for: Annotated[str, typer.Argument(help="What it is for, so that one knows it again.")],
    user: Mine = "me",
    days: Annotated[
        float | None, typer.Option(help="Days that it is good for; by default until revoked.")
    ] = None,
) -> None:
    """Make a token and print it; nobody can show it again."""
    print(client.make_token(user, what_for, days=days).token)


@tokens.command("list")
@asks_gateway
def token_list(
    client: Client,
    user: Mine = "me",
    as_json: AsJson = False,
) -> None:
    """List the tokens and browser sessions of an account."""
    found = client.tokens(user)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (
            t.id,
            t.name,
            t.kind,
            _day(t.created_at),
            _day(t.expires_at),
            _day(t.used_at),
            ",".join(t.services or ["all"]),
        )
        for t in found
    ]
    head = ("ID", "NAME", "KIND", "MADE", "EXPIRES", "LAST USED", "SERVICES")
    print_table(head, rows, empty="no tokens")


@tokens.command("revoke")
@asks_gateway
def token_revoke(
    client: Client,
    token_id: Annotated[str, typer.Argument(help="The token's id, from the list.")],
    user: Mine = "me",
) -> None:
    """Make a token void, or end a browser's session."""
    view = client.revoke_token(token_id, user)
    print(f"{view.id} ({view.name}) opens nothing any more")


@asks_gateway
def audit(
    client: Client,
    user: Annotated[str, typer.Option("--user", help="Only what this account did.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Who did what, when, to what, from where; newest first. 401 and 403 were refused."""
    found = client.audit(who=user, limit=limit).entries
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [(_day(e.at), e.who or e.role or "nobody", e.did, e.to, e.source, str(e.status)) for e in found]
    print_table(("WHEN", "WHO", "DID", "TO", "FROM", "ANSWER"), rows, empty="nothing was changed yet")


def _told(view: AccountView) -> None:
    limits = view.limits
    said = [
        f"{what} at most {value:g}"
        for what, value in (
            ("running", limits.running),
            ("queued", limits.queued),
            ("GPU-seconds a day", limits.gpu_seconds),
        )
        if value is not None
    ]
    state = "is disabled" if view.disabled else f"is a {view.role}"
    print(f"{view.name} {state}" + (f"; {', '.join(said)}" if said else ""))


def _new_password() -> str:
    """From the environment for scripts, else asked for twice: an argument is seen by everybody on the machine."""
    given = os.environ.get("LORAPOOL_NEW_PASSWORD", "")
    return given or str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _whole(text: str) -> int | None:
    value = _number(text)
    if value is not None and value != int(value):
        raise InvalidInput(f"{text!r} is no whole number; nothing was changed")
    return None if value is None else int(value)


def _number(text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is neither a number nor `none`; nothing was changed") from None


def _of(used: float, limit: float | None) -> str:
    return f"{used:g}" if limit is None else f"{used:g} of {limit:g}"


def _day(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
