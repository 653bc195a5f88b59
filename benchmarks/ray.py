"""Twenty trainings on a Ray cluster of two nodes with two made-up GPUs each; the second node is killed in the middle.

From zero to four instances over both nodes, kill -9 to a raylet while every instance has a training, back to zero.
What runs on that node is not killed with it: its instances are given nothing more, and end or hand back what they have.
Both raylets, the store, the gateway and all trainings share this machine: what counts is that all trainings succeed,
none twice. Draws the course into docs/images/ray.svg. Needs the extra `ray`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks._plot import Bar, Row, timeline
from tests.support.ray_story import Story, tell

TRAININGS, STEPS = 20, 12
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "ray.svg"
_BOOT, _IDLE, _RUN, _LOST, _AFTER = "#b8b8b8", "#9ecae1", "#2b6cb0", "#c05621", "#2f855a"


def main() -> None:
    """Run, print, draw."""
    with tempfile.TemporaryDirectory() as folder:
        story = tell(Path(folder), gpus=(2, 2), trainings=TRAININGS, steps=STEPS)
    states = [task.state for task in story.tasks]
    firsts = sorted(life.ready - story.began for life in story.lives)
    print(f"  succeeded                      {states.count('succeeded'):8d} of {TRAININGS}")
    print(f"  run twice                      {len(story.doubled()):8d}")
    print(f"  begun again after the loss     {len(story.moved):8d}")
    print(f"  first instance up after        {firsts[0]:8.1f} s")
    print(f"  four instances up after        {firsts[3]:8.1f} s")
    print(f"  node killed after              {story.killed - story.began:8.1f} s")
    print(f"  back to zero after             {story.back_to_zero - story.began:8.1f} s")
    for task in story.moved:
        for attempt in task.attempts[:-1]:
            print(f"    {task.name or task.id}: attempt {attempt.number} {attempt.outcome}: {attempt.reason}")
    PICTURE.write_text(_draw(story))
    print(f"  drawn into docs/images/{PICTURE.name}")


def _draw(story: Story) -> str:
    rows = [Row(f"instance {n}", _bars(story, n - 1)) for n in range(1, len(story.lives) + 1)]
    lost = story.killed - story.began
    rows.append(Row("node 2", (Bar(0.0, lost, _IDLE, "alive"), Bar(lost, lost + 0.5, _LOST, "kill -9"))))
    legend = [
        (_BOOT, "starting"),
        (_IDLE, "idle"),
        (_RUN, "training"),
        (_LOST, "lost with its node"),
        (_AFTER, "begun again"),
    ]
    return timeline(f"{TRAININGS} trainings on two Ray nodes, one killed in the middle", rows, legend)


def _bars(story: Story, number: int) -> tuple[Bar, ...]:
    life = story.lives[number]
    bars = [
        Bar(life.ordered - story.began, life.ready - story.began, _BOOT, "starting"),
        Bar(life.ready - story.began, life.gone - story.began, _IDLE, "idle"),
    ]
    for n, task in enumerate(story.tasks, 1):
        for attempt in task.attempts:
            if attempt.instance != life.id or attempt.ended_at is None:
                continue
            again = attempt.number > task.attempts[0].number
            colour = _AFTER if again else _RUN if attempt.outcome == "succeeded" else _LOST
            start, end = attempt.started_at - story.began, attempt.ended_at - story.began
            bars.append(Bar(start, end, colour, f"training {n}, attempt {attempt.number}"))
    return tuple(bars)


if __name__ == "__main__":
    main()
