"""What who is at a page may do with files of the data folder, which this process reads itself.

Called from routes that run in threads; the gateway knows whose what is.
"""

from __future__ import annotations

from collections.abc import Iterable

from anyio import from_thread
from starlette.requests import Request

from app.gateway import Gateway
from app.people import gateway_of, person_of
from backend.errors import Forbidden, NotFound


def access(request: Request, paths: Iterable[str]) -> dict[str, str]:
    """Paths -> `change`, `read` or `none`."""
    wanted = sorted(set(paths))
    if person_of(request).operator or not wanted:
        return dict.fromkeys(wanted, "change")
    answer = from_thread.run(gateway_of(request).post, "access", {"paths": wanted})
    return {str(path): str(may) for path, may in answer["access"].items()}


def readable(request: Request, paths: Iterable[str]) -> set[str]:
    """Those of the paths that may be looked at."""
    return {path for path, may in access(request, paths).items() if may != "none"}


def need_read(request: Request, *paths: str) -> None:
    """Raises NotFound when one of them is another's: who may not look need not learn that it is there."""
    for path, may in access(request, paths).items():
        if may == "none":
            raise NotFound(f"There is no {path[:200]!r}. It may have been renamed; look at the list again.")


def need_change(request: Request, *paths: str) -> None:
    """Raises NotFound as `need_read`, and Forbidden when one is there to be looked at alone."""
    person_of(request).need_writer()
    need_read(request, *paths)
    for path, may in access(request, paths).items():
        if may != "change":
            raise Forbidden(
                f"{path[:200]} belongs to everybody: an administrator can change it. Nothing was changed; make a data "
                "set of your own."
            )


def claim(request: Request, place: str) -> None:
    """Make whoever asks the owner of a new place; raises Conflict's answer when it is another's."""
    person = person_of(request)
    person.need_writer()
    if person.name:
        own: Gateway = request.app.state.gateway
        from_thread.run(own.send, "PUT", "owners", {"place": place, "owner": person.name, "claim": True})


def let_go(request: Request, place: str) -> None:
    """Of a place that is gone: it is nobody's any more."""
    if person_of(request).name:
        from_thread.run(gateway_of(request).send, "PUT", "owners", {"place": place, "owner": ""})
