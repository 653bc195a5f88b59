"""What widgets say, as escaped HTML: everything that comes from a task or a user is text, never markup."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape

from backend.views import TaskView

_COLOURS = {
    "succeeded": "var(--lpn-good)",
    "failed": "var(--lpn-bad)",
    "dead": "var(--lpn-bad)",
    "running": "var(--lpn-accent)",
}


def duration(seconds: float) -> str:
    """A duration as one says it: 42 s, 7 min, 3 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def state(view: TaskView, now: float | None = None) -> str:
    """Where a task is, in one line: its state, and its place, progress or reason."""
    now = time.time() if now is None else now
    if view.state == "waiting" and view.waits_for:
        return f"waits: {view.waits_for}"
    if view.state == "waiting":
        start = f", starts in {duration(view.expected_start - now)}" if view.expected_start else ""
        return f"queued, position {view.position or 1}{start}"
    if view.final:
        return f"{view.state}: {view.reason}" if view.reason else view.state
    parts = [view.state if view.phase in ("", "training") else view.phase]
    if view.cancel:
        parts = ["stopping"]
    if view.progress is not None:
        parts.append(f"step {view.progress.step} of {view.progress.total}")
        if view.progress.eta is not None:
            parts.append(f"{duration(view.progress.eta)} left")
        if view.progress.loss is not None:
            parts.append(f"loss {view.progress.loss:.4f}")
    return " · ".join(parts)


def heading(view: TaskView) -> str:
    """A task's name and where it is."""
    colour = _COLOURS.get(view.state, "inherit")
    attempt = f" · attempt {view.attempt}" if view.attempt > 1 else ""
    return block(
        f"<b>{escape(view.name or view.kind)}</b> "
        f'<span style="color: {colour}">{escape(state(view))}</span>{attempt}'
    )


def made(view: TaskView) -> str:
    """What has come of a task, once it has ended."""
    if not view.output:
        return ""
    return block(f"The LoRA: <code>{escape(view.output)}</code>")


def block(html: str, kind: str = "") -> str:
    """HTML in the widgets' own type and colours; `kind` `bad` or `muted`."""
    colour = {"bad": "color: var(--lpn-bad)", "muted": "color: var(--lpn-muted)"}.get(kind, "")
    return f'<div class="lpn" style="{colour}">{html}</div>'


def say(text: str, kind: str = "") -> str:
    """A sentence."""
    return block(escape(text), kind) if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    """A table of texts; `empty` is said instead of one without rows."""
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    if not lines:
        return say(empty, "muted")
    top = "".join(f'<th style="text-align: left">{escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return block(
        f'<table style="border-spacing: 14px 2px; margin-left: -14px"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
