"""The page on which one logs in, and those that say why one is not let in."""

from __future__ import annotations

import html
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app import pages
from app.sessions import Credentials

_LARGEST_FORM = 4096
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'"


def form(root_path: str, credentials: Credentials, back: str, *, accounts: bool, wrong: str = "") -> Response:
    """The page; `accounts` says whether there are any, `wrong` what was wrong with the last try."""
    asks_name = credentials.by_name or accounts
    needed = credentials.by_name and not accounts
    name = _field("username", "Name", "text", "username", needed=needed) if asks_name else ""
    label = "Token" if not asks_name else "Password or token" if accounts else "Password"
    secret = _field("secret", label, "password", "current-password", needed=True)
    hint = f"<p>{_hint(credentials, accounts)}</p>" if accounts or not asks_name else ""
    problem = f'<p class="lp-problem" role="alert">{html.escape(wrong)}</p>' if wrong else ""
    action = f"{html.escape(root_path)}/login?next={html.escape(quote(back))}"
    body = (
        f'<form method="post" action="{action}">{name}{secret}{hint}{problem}'
        '<button type="submit" class="lp-button primary">Log in</button></form>'
    )
    return _page(root_path, "Log in", body, 401 if wrong else 200)


def said(root_path: str, title: str, text: str, status: int, *, again: bool = False) -> Response:
    """A page with one sentence; with `again` it looks every second whether there is something else."""
    return _page(
        root_path, title, f'<p class="lp-problem" role="alert">{html.escape(text)}</p>', status, again=again
    )


def _page(root_path: str, title: str, body: str, status: int, *, again: bool = False) -> Response:
    refresh = '<meta http-equiv="refresh" content="1">' if again else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} · lorapool</title>{refresh}'
        f"{pages.head(root_path, ('look', 'login'))}</head><body>"
        f'<main class="lp-login"><h1>{pages.icon("mark")} lorapool</h1>{body}</main></body></html>'
    )
    headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
    return HTMLResponse(text, status_code=status, headers=headers)


def _field(name: str, label: str, kind: str, filled_by: str, *, needed: bool) -> str:
    return (
        f'<label for="{name}">{label}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" autocomplete="{filled_by}"{" required" if needed else ""}>'
    )


def _hint(credentials: Credentials, accounts: bool) -> str:
    """Where people find what they are asked for."""
    if accounts:
        return "With a token the name may stay empty. Accounts are made by an administrator."
    if credentials.service:
        return f"<code>lorapool service show {html.escape(credentials.service)}</code> prints it."
    return "It is in the file <code>token</code> of the data folder."


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
