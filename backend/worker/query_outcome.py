"""How a query is judged: pure, from what came back from the app.

A failure is tried again, on another instance where there is one, until the deliveries are used up; then the caller
gets an item with the tag `lastCode`. An empty answer is a success that leaves no item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.store.tasks import Answer
from backend.worker.app_request import Reply
from backend.worker.wish import Wish

LAST_CODE = "lastCode"


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """`verdict` is a final state of the task, or `returned`: back to the queue, `counted` as a delivery or not."""

    verdict: Literal["succeeded", "failed", "cancelled", "returned"]
    reason: str = ""
    answer: Answer | None = None
    counted: bool = False


def judge(reply: Reply | None, *, wish: Wish, deliveries: int, max_delivery: int) -> QueryOutcome:
    """Judge a query that is over.

    Args:
        reply: None when the app was not there to be asked.
        deliveries: how many earlier ones have failed.
    """
    if wish in ("stop", "save"):
        return QueryOutcome("cancelled", "stopped on request")
    if reply is not None and reply.good:
        return QueryOutcome("succeeded", answer=Answer(reply.body) if reply.body else None)
    if wish == "hand back":
        return QueryOutcome("returned", "its instance had to leave")
    if reply is None:
        return QueryOutcome("returned", "the app of its instance is down")
    if deliveries + 1 < max_delivery and not reply.final:
        return QueryOutcome("returned", reply.reason, counted=True)
    return failed(reply.status, reply.reason, body=reply.body, attempts=deliveries + 1)


def failed(status: int, reason: str, *, body: bytes = b"", attempts: int = 1) -> QueryOutcome:
    """A failure that is not tried again; the caller gets the app's own words, or ours."""
    told = reason if attempts == 1 else f"{reason} (in the last of {attempts} attempts)"
    return QueryOutcome("failed", told, Answer(body or reason.encode(), {LAST_CODE: str(status)}))
