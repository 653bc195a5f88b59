"""Drawings of measurements as SVG, by hand: a few rectangles and lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, ROW, GAP, TOP, BOTTOM = 880, 130, 20, 20, 6, 44, 40
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of a row, from `start` to `end` in seconds."""

    start: float
    end: float
    colour: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled row of bars."""

    label: str
    bars: tuple[Bar, ...]


def timeline(title: str, rows: Sequence[Row], legend: Sequence[tuple[str, str]]) -> str:
    """An SVG document: rows of bars over a common axis of seconds; `legend` pairs a colour with its meaning."""
    last = max(bar.end for row in rows for bar in row.bars)
    height = TOP + len(rows) * (ROW + GAP) + BOTTOM

    def x(seconds: float) -> float:
        return LEFT + seconds / last * (WIDTH - LEFT - RIGHT)

    parts = [_text(LEFT, 16, title, size=14, weight="600")]
    at = float(LEFT)
    for colour, meaning in legend:
        parts.append(f"<rect x='{at:.0f}' y='24' width='11' height='11' rx='2' fill='{colour}'/>")
        parts.append(_text(at + 16, 34, meaning))
        at += 34 + 6.4 * len(meaning)
    bottom = height - BOTTOM
    step = next(s for s in (1, 2, 5, 10, 20, 60, 120, 300, 3600) if last / s <= 14)
    for second in range(0, int(last) + 1, step):
        parts.append(
            f"<line x1='{x(second):.1f}' y1='{TOP}' x2='{x(second):.1f}' y2='{bottom}' stroke='#8884'/>"
        )
        parts.append(_text(x(second), bottom + 16, f"{second} s", anchor="middle"))
    for number, row in enumerate(rows):
        top = TOP + number * (ROW + GAP)
        parts.append(_text(LEFT - 8, top + 14, row.label, anchor="end"))
        for bar in row.bars:
            width = max(1.0, x(bar.end) - x(bar.start))
            parts.append(
                f"<rect x='{x(bar.start):.1f}' y='{top}' width='{width:.1f}' height='{ROW}' rx='2' "
                f"fill='{bar.colour}'><title>{escape(bar.label)}</title></rect>"
            )
            if bar.label and width > 7 * len(bar.label):
                parts.append(_text(x(bar.start) + 5, top + 14, bar.label, fill="#fff"))
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' "
        f"aria-label='{escape(title)}'>\n<rect width='100%' height='100%' fill='#fff'/>\n{body}\n</svg>\n"
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 11,
    weight: str = "400",
    anchor: str = "start",
    fill: str = "#333",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y}' {FONT} font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{fill}'>{escape(text)}</text>"
    )
