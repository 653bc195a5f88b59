"""The page on which one logs in, and those that say why one is not let in."""

from __future__ import annotations

import html
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app import pages
from app.languages import Catalogue, Languages
from app.sessions import Credentials

_LARGEST_FORM = 4096
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'"


@dataclass(frozen=True, slots=True)
class Look:
    """Where a page is and in which language: of `languages` the one that its browser wants."""

    root_path: str
    languages: Languages
    language: Catalogue


def form(
    look: Look,
    credentials: Credentials,
    back: str,
    *,
    accounts: bool,
    wrong: str = "",
    name: str = "",
    status: int = 401,
) -> Response:
    """The page; `accounts` says whether there are any, `wrong` what was wrong with the last try, of `name`."""
    say = look.language.say
    asks_name = credentials.by_name or accounts
    needed = credentials.by_name and not accounts
    # What was right is not typed twice; the cursor stands where something is to be typed.
    first = asks_name and not name
    who = _field("username", say("Name"), "text", "username", needed=needed, value=name, here=first)
    label = say("Token") if not asks_name else say("Password or token") if accounts else say("Password")
    secret = _field("secret", label, "password", "current-password", needed=True, here=not first)
    hint = f"<p>{_hint(look.language, credentials, accounts)}</p>" if accounts or not asks_name else ""
    problem = _problem(look.language.said(wrong)) if wrong else ""
    action = f"{html.escape(look.root_path)}/login?next={html.escape(quote(back))}"
    title = say("Log in")
    body = (
        f'<form method="post" action="{action}">{who if asks_name else ""}{secret}{hint}{problem}'
        f'<button type="submit" class="lp-button primary">{html.escape(title)}</button></form>'
    )
    return _page(look, title, body, status if wrong else 200)


def said(look: Look, text: str, status: int, *, again: bool = False) -> Response:
    """A page with one sentence; with `again` it looks every second whether there is something else."""
    title = look.language.say("Not let in")
    return _page(look, title, _problem(look.language.said(text)), status, again=again)


def _page(look: Look, title: str, body: str, status: int, *, again: bool = False) -> Response:
    refresh = '<meta http-equiv="refresh" content="1">' if again else ""
    language = look.language
    text = (
        f'<!doctype html><html lang="{language.code}"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)} · lorapool</title>{refresh}"
        f"{pages.head(look.root_path, ('look', 'login'), language=language)}</head><body>"
        f'<main class="lp-login"><h1>{pages.icon("mark")} lorapool'
        f"{pages.picker(look.languages, language)}</h1>{body}</main></body></html>"
    )
    headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
    return HTMLResponse(text, status_code=status, headers=headers)


def _problem(text: str) -> str:
    return f'<p class="lp-problem" role="alert">{html.escape(text)}</p>'


def _field(
    name: str, label: str, kind: str, filled_by: str, *, needed: bool, value: str = "", here: bool = False
) -> str:
    said = f' value="{html.escape(value)}"' if value else ""
    marks = "".join(mark for mark, wanted in ((" required", needed), (" autofocus", here)) if wanted)
    return (
        f'<label for="{name}">{html.escape(label)}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" autocomplete="{filled_by}"{said}{marks}>'
    )


def _hint(language: Catalogue, credentials: Credentials, accounts: bool) -> str:
    """Where people find what they are asked for."""
    say = language.say
    if accounts:
        return html.escape(
            say("With a token the name may stay empty. Accounts are made by an administrator.")
        )
    if credentials.service:
        command = f"<code>lorapool service show {html.escape(credentials.service)}</code>"
        return html.escape(say("{command} prints it.")).replace("{command}", command)
    said = html.escape(say("It is in the file {file} of the data folder."))
    return said.replace("{file}", "<code>token</code>")


def own_path(wanted: str) -> str:
    """Where to go after the login: a path of this front end, never another site."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if plain and wanted.isprintable() else "/"


async def posted(request: Request) -> dict[str, str]:
    """The fields of a posted form; nothing when it is larger than a login can be."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
