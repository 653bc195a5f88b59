"""Every error that lorapool raises on purpose.

    LorapoolError                  anything below; `str(error)` is fit for a person to read
    ├── InvalidInput               the caller asked for something that cannot be done as asked (400)
    │   ├── InvalidArgument        one named field or argument is wrong
    │   ├── PathOutsideDataFolder  a path leaves the data folder (or its link does)
    │   └── TooLarge               a payload is over its limit (413)
    ├── Unauthorized               no token, or a wrong one (401)
    ├── Forbidden                  a good token that does not cover this (403)
    ├── NotFound                   no such service, task, instance or file (404)
    ├── Conflict                   the thing is in a state that does not allow this (409)
    │   └── FormerName             a name was somebody's, or things are kept under it: it is given to nobody else
    ├── OverLimit                  an account has used up what it may have (429)
    ├── QueueFull                  a queue is at its capacity (450, as EAS answers)
    ├── StaleAttempt               a late word from an attempt that is no longer the task's current one
    ├── StoreUnavailable           the store does not answer; nothing acknowledged is lost (503)
    ├── StorageUnavailable     an object store does not answer or refuses us; files wait on this machine (503)
    └── RunFailed                  a training or command ended without what it promised

Each message says what happened, what is still safe, and what to do. An error carries its facts as
attributes, so that a front end can put them at the right field.
"""

from __future__ import annotations


class LorapoolError(Exception):
    """Base of all errors that are raised on purpose."""

    status = 500


class InvalidInput(LorapoolError):
    """The request cannot be done as asked; nothing was changed."""

    status = 400


class InvalidArgument(InvalidInput):
    """One named field or argument is wrong.

    `field` is the form key or argument name without dashes (`network_dim`).
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class PathOutsideDataFolder(InvalidInput):
    """A path that a user named does not lie under the data folder."""

    def __init__(self, path: str, field: str | None = None) -> None:
        where = f"{field}: " if field else ""
        super().__init__(
            f"{where}the path {path[:200]!r} is outside the data folder. Nothing was read or written there; "
            "move or copy the files into the data folder and name them from there."
        )
        self.path = path
        self.field = field


class TooLarge(InvalidInput):
    """A payload is over the limit of its queue."""

    status = 413


class Unauthorized(LorapoolError):
    """No token, or one that nobody has been given."""

    status = 401


class Forbidden(LorapoolError):
    """The token is known, but this is not its business."""

    status = 403


class NotFound(LorapoolError):
    """There is no such service, task, instance or file."""

    status = 404


class Conflict(LorapoolError):
    """The thing exists, but its state does not allow this."""

    status = 409


class FormerName(Conflict):
    """The name of a new account was that of another one, or something is kept under it."""


class QueueFull(LorapoolError):
    """The queue is at its capacity; what it holds is safe."""

    status = 450


class OverLimit(LorapoolError):
    """An account has as much as it may have; what it has goes on."""

    status = 429


class StaleAttempt(LorapoolError):
    """The task has been given to another attempt, or has ended: this one must stop and change nothing."""

    status = 409


class StoreUnavailable(LorapoolError):
    """The store does not answer. `in_doubt`: what was asked may have been done all the same."""

    status = 503

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt


class StorageUnavailable(LorapoolError):
    """An object store does not answer. `refused`: it did, and will not do what is asked, so that waiting is no help."""

    status = 503

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class RunFailed(LorapoolError):
    """A training or command ended without what it promised; `str(error)` is the reason in one line."""
