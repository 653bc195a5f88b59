"""The course of a pool as an SVG picture: what waits above, instances by what they do below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 900, 360
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 56, 16, 44, 34, 26
COLUMNS = 800

BUSY, IDLE, STARTING, WAITING, INK, GRID = "#2f6f4f", "#a9d3b4", "#f0b429", "#7a4ea3", "#30343b", "#d9dce1"


@dataclass(frozen=True, slots=True)
class Sample:
    """How many tasks waited and how many instances there were from `at` (seconds) on; draining ones are busy."""

    at: float
    waiting: int
    starting: int
    idle: int
    busy: int


def timeline_svg(samples: Sequence[Sample], title: str, end: float | None = None) -> str:
    """An SVG document of `WIDTH` by `HEIGHT` pixels; `end` is the right edge in seconds, the last sample by default."""
    first = samples[0].at if samples else 0.0
    last = max(end if end is not None else (samples[-1].at if samples else 1.0), first + 1e-9)
    shown = _thin(samples, first, last)
    panel = (HEIGHT - TOP - BOTTOM - BETWEEN) / 2
    most = max((s.starting + s.idle + s.busy for s in shown), default=0)
    queue = _Panel(TOP, panel, max((s.waiting for s in shown), default=0), first, last)
    pool = _Panel(TOP + panel + BETWEEN, panel, most, first, last)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="600">{escape(title)}</text>',
        *queue.frame("tasks waiting"),
        queue.area(shown, lambda s: s.waiting, WAITING),
        *pool.frame("instances"),
        pool.area(shown, lambda s: s.busy + s.idle + s.starting, STARTING),
        pool.area(shown, lambda s: s.busy + s.idle, IDLE),
        pool.area(shown, lambda s: s.busy, BUSY),
        *_legend(),
        *_axis(first, last),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True)
class _Panel:
    top: float
    height: float
    most: int
    first: float
    last: float

    def x(self, at: float) -> float:
        share = (at - self.first) / (self.last - self.first)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0.0), 1.0)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / max(self.most, 1))

    def frame(self, name: str) -> Iterable[str]:
        for value in sorted({0, self.most}):
            y = self.y(value)
            yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{GRID}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        yield f'<text x="{LEFT + 4}" y="{self.top - 5:.1f}">{name}</text>'

    def area(self, samples: Sequence[Sample], value: Callable[[Sample], int], colour: str) -> str:
        points = [f"{self.x(self.first):.1f},{self.y(0):.1f}"]
        for sample, after in zip(samples, [*(s.at for s in samples[1:]), self.last], strict=True):
            y = self.y(value(sample))
            points += [f"{self.x(sample.at):.1f},{y:.1f}", f"{self.x(after):.1f},{y:.1f}"]
        points.append(f"{self.x(self.last):.1f},{self.y(0):.1f}")
        return f'<polygon points="{" ".join(points)}" fill="{colour}"/>'


def _thin(samples: Sequence[Sample], first: float, last: float) -> list[Sample]:
    """At most one sample a column: the one with most going on, so that no burst is lost."""
    width = (last - first) / COLUMNS
    columns: dict[int, Sample] = {}
    for sample in samples:
        column = int((sample.at - first) / width)
        kept = columns.get(column)
        if kept is None or _weight(sample) >= _weight(kept):
            columns[column] = sample
    return [columns[column] for column in sorted(columns)] if len(samples) > COLUMNS else list(samples)


def _weight(sample: Sample) -> tuple[int, int]:
    return sample.waiting, sample.starting + sample.idle + sample.busy


def _legend() -> Iterable[str]:
    for place, (name, colour) in enumerate((("busy", BUSY), ("idle", IDLE), ("starting", STARTING))):
        x = WIDTH - RIGHT - 210 + place * 70
        yield f'<rect x="{x}" y="11" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="20">{name}</text>'


def _axis(first: float, last: float) -> Iterable[str]:
    span = last - first
    unit, name = next(
        (u, n) for u, n in ((86_400, "days"), (3_600, "hours"), (60, "min"), (0, "s")) if span > 3 * u
    )
    for step in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / 4
        anchor = "start" if not step else "end" if step == 4 else "middle"
        label = f"{span * step / 4 / (unit or 1):.3g}" + (f" {name}" if step == 4 else "")
        yield f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{label}</text>'
