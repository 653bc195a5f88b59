"""The pages that are not Gradio's, and the frame that all pages share."""

from __future__ import annotations

import html
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.languages import IN_ENGLISH, Catalogue, Languages
from app.people import person_of

STATIC = Path(__file__).parent / "static"

_PAGES = {
    "train": ("Train", ""),
    "data": ("Data", "data"),
    "jobs": ("Jobs", "jobs"),
    "generate": ("Generate", "generate"),
    "service": ("Service", "service"),
    "users": ("Users", "users"),
}
_NO_SCRIPT = "This page needs JavaScript."
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_ICONS = {
    "mark": '<path d="M5 4v13a3 3 0 0 0 3 3h11" /><circle cx="14.5" cy="9.5" r="4.5" />',
    "globe": '<circle cx="12" cy="12" r="8.5" /><path d="M3.5 12h17M12 3.5c5 5 5 12 0 17M12 3.5c-5 5-5 12 0 17" />',
    "theme": '<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z" />',
}

router = APIRouter()


def icon(name: str) -> str:
    """A line drawing of 24 units, in the colour of the text around it."""
    return f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{_ICONS[name]}</svg>'


def frame(
    active: str, root_path: str, languages: Languages, language: Catalogue, *, alone: bool = False
) -> str:
    """The bar at the top of every page; `alone` on a page that has no others beside it."""
    say = language.say
    links = "".join(
        f'<a href="{html.escape(root_path)}/{path}"{" aria-current=page" if key == active else ""}>'
        f"{html.escape(say(title))}</a>"
        for key, (title, path) in ({} if alone else _PAGES).items()
    )
    past = html.escape(say("To the page"))
    return (
        f'<a class="lp-skip" href="#{"lp-train" if active == "train" else "lp-page"}">'
        f"{past}</a>"
        f'<header class="lp-bar"><a class="lp-brand" href="{html.escape(root_path)}/" aria-label="lorapool">'
        f'{icon("mark")}<span>lorapool</span></a><nav aria-label="{html.escape(say("Pages"))}">{links}</nav>'
        f"{picker(languages, language)}"
        f'<button type="button" class="lp-theme" data-lp-theme aria-label="{html.escape(say("Light or dark"))}">'
        f'{icon("theme")}</button></header><div class="lp-banner" role="status" hidden></div>'
    )


def picker(languages: Languages, language: Catalogue) -> str:
    """A choice of the languages that there are; their names are said in themselves."""
    options = "".join(
        f'<option value="{each.code}" lang="{each.code}"{" selected" if each is language else ""}>'
        f"{html.escape(each.name)}</option>"
        for each in languages.known.values()
    )
    label = html.escape(language.say("Language"))
    return (
        f'<span class="lp-languages">{icon("globe")}'
        f'<select class="lp-language" data-lp-language aria-label="{label}">{options}</select></span>'
    )


def head(
    root_path: str,
    styles: tuple[str, ...],
    script: str = "",
    *,
    language: Catalogue = IN_ENGLISH,
    prints: bool = False,
) -> str:
    """What the head of every page holds: colours before the first paint, styles, the page's module.

    `prints` tells the module that there is no gateway: commands are shown, not queued.
    """
    base = f"{html.escape(root_path)}/ui"
    marked = '<meta name="lp-prints">' if prints else ""
    sheets = "".join(f'<link rel="stylesheet" href="{base}/css/{name}.css">' for name in styles)
    return (
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="lp-root" content="{html.escape(root_path)}">{marked}'
        f'<meta name="lp-language" content="{language.code}">'
        f'<link rel="icon" href="{base}/icon.svg" type="image/svg+xml">'
        f'<script src="{base}/js/theme.js"></script>{sheets}'
    ) + (f'<script type="module" src="{base}/js/{script}.js"></script>' if script else "")


def page(active: str, request: Request, styles: tuple[str, ...]) -> HTMLResponse:
    """A page that its module fills, in the language of who asks."""
    root_path: str = request.app.state.root_path
    languages: Languages = request.app.state.languages
    language = languages.wanted(request.headers)
    person = person_of(request)
    title, without = (html.escape(language.say(text)) for text in (_PAGES[active][0], _NO_SCRIPT))
    text = (
        f'<!doctype html><html lang="{language.code}"><head><meta charset="utf-8"><title>{title} · lorapool</title>'
        f"{head(root_path, styles, active, language=language)}"
        f'<meta name="lp-person" content="{html.escape(person.name)}">'
        f'<meta name="lp-role" content="{html.escape(person.role)}"></head>'
        f"<body>{frame(active, root_path, languages, language)}"
        f'<main id="lp-page" tabindex="-1"></main><noscript>{without}</noscript></body></html>'
    )
    varied = {"cache-control": "no-cache", "vary": "accept-language, cookie"}
    return HTMLResponse(text, headers={"content-security-policy": _POLICY, **varied})


def dead_end(request: Request, text: str, status: int) -> HTMLResponse:
    """A page for an address that leads nowhere: what is wrong, and the way back."""
    root_path: str = request.app.state.root_path
    languages: Languages = request.app.state.languages
    language = languages.wanted(request.headers)
    title = html.escape(language.say("This page cannot be shown"))
    back = html.escape(language.say("To the jobs"))
    body = (
        f'<!doctype html><html lang="{language.code}"><head><meta charset="utf-8"><title>{title} · lorapool</title>'
        f"{head(root_path, ('look',), language=language)}</head><body>{frame('', root_path, languages, language)}"
        f'<main id="lp-page"><div class="lp-card lp-empty"><h1>{title}</h1>{html.escape(language.said(text))}'
        f'<p class="acts"><a class="lp-button primary" href="{html.escape(root_path)}/jobs">{back}</a></p>'
        "</div></main></body></html>"
    )
    return HTMLResponse(
        body, status, headers={"content-security-policy": _POLICY, "cache-control": "no-store"}
    )


def wants_page(request: Request) -> bool:
    """Whether a person has opened the address, rather than a script asked for it or a link saves what is there."""
    going = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
    return going and request.method == "GET" and "text/html" in request.headers.get("accept", "")


def waiting(active: str, root_path: str, languages: Languages, language: Catalogue) -> str:
    """A page that asks again every second until there is something else at its address."""
    said = html.escape(language.say("The form is being made ready…"))
    return (
        f'<!doctype html><html lang="{language.code}"><head><meta charset="utf-8"><title>lorapool</title>'
        '<meta http-equiv="refresh" content="1">'
        f"{head(root_path, ('look',), language=language)}</head><body>{frame(active, root_path, languages, language)}"
        f'<p class="lp-empty">{said}</p></body></html>'
    )


@router.get("/jobs")
async def jobs(request: Request) -> HTMLResponse:
    return page("jobs", request, ("look", "rows", "jobs", "log", "lightbox"))


@router.get("/data")
async def data(request: Request) -> HTMLResponse:
    return page("data", request, ("look", "jobs", "data"))


@router.get("/generate")
async def generate(request: Request) -> HTMLResponse:
    return page("generate", request, ("look", "generate", "lightbox"))


@router.get("/service")
async def service(request: Request) -> HTMLResponse:
    return page("service", request, ("look", "service"))


@router.get("/users")
async def users(request: Request) -> HTMLResponse:
    return page("users", request, ("look", "users"))


class _Static(StaticFiles):
    """Our own files: asked for again each time, answered with "not modified" as a rule."""

    def file_response(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["cache-control"] = "no-cache"
        return answer


def install(app: FastAPI) -> None:
    """Add the pages and their files."""
    app.include_router(router)
    app.mount("/ui", _Static(directory=STATIC), name="ui")
