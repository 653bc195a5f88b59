"""One task, live: state, progress, curve, samples, log; and a way to stop it."""

from __future__ import annotations

from typing import Any

import ipywidgets

from app.notebook import words
from app.notebook.curve import Curve, series
from app.notebook.deployment import Pool
from app.notebook.follow import follow
from app.notebook.log import Log, tail
from app.notebook.samples import Samples
from backend.client import TaskHandle
from backend.errors import LorapoolError

_HIDDEN: dict[str, Any] = {"display": "none"}


class TaskMonitor:
    """Shows a task until it has ended, from a thread: the kernel stays free for other cells.

    Made again for the same task (a cell that is run again, a kernel that was started again) it shows all that has
    been so far and goes on. `task` is a handle, or a task's id when `pool` is given.
    """

    def __init__(self, task: TaskHandle | str, pool: Pool | None = None) -> None:
        if isinstance(task, str):
            if pool is None:
                raise LorapoolError("a task's id alone does not say where it is: give the pool, too")
            task = pool.task(task)
        self.task = task
        self._follower = follow(task)
        self._heading: Any = ipywidgets.HTML()
        self._bar: Any = ipywidgets.FloatProgress(min=0.0, max=1.0, layout={"width": "100%"})
        self._note: Any = ipywidgets.HTML()
        self._curve = Curve()
        self._samples = Samples(task)
        self._log = Log()
        self._output: Any = ipywidgets.HTML()
        self._make_buttons()
        self.widget: Any = ipywidgets.VBox(
            [
                *(self._heading, self._bar, self._buttons, self._note, self._output),
                *(self._curve, self._samples.widget, self._log),
            ]
        )
        self.paint()
        self._follower.listen(self.paint)

    def _make_buttons(self) -> None:
        self._stop: Any = ipywidgets.Button(description="Stop…", icon="stop")
        self._sure: Any = ipywidgets.Button(description="Stop now", button_style="danger")
        self._save: Any = ipywidgets.Button(
            description="Save and stop", tooltip="Writes the LoRA as it is, and a state to go on from."
        )
        self._go_on: Any = ipywidgets.Button(description="Let it run")
        self._choice: Any = ipywidgets.HBox([self._sure, self._save, self._go_on], layout=_HIDDEN)
        self._buttons: Any = ipywidgets.HBox([self._stop, self._choice])
        self._stop.on_click(lambda _: self._ask(True))
        self._go_on.on_click(lambda _: self._ask(False))
        self._sure.on_click(lambda _: self.stop())
        self._save.on_click(lambda _: self.stop(save=True))

    def stop(self, *, save: bool = False) -> None:
        """End the task; with `save` a training saves its state first."""
        self._ask(False)
        try:
            self.task.cancel(save=save)
        except LorapoolError as error:
            self._note.value = words.say(str(error), "bad")

    def close(self) -> None:
        """Follow the task no longer; the task itself goes on."""
        self._follower.leave(self.paint)
        self.widget.close()

    def wait(self, timeout: float | None = None) -> str:
        """Until the task has ended and all of it is shown; its state. The kernel does nothing else meanwhile.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds; it goes on.
        """
        if not self._follower.ended.wait(timeout):
            raise TimeoutError(f"task {self.task.id} has not ended after {timeout} s; it goes on")
        self.paint()
        return self.task.state

    def paint(self) -> None:
        """Show what the follower knows; a follower's thread calls this."""
        known = self._follower
        self._note.value = words.say(known.note, "bad")
        if known.view is not None:
            self._heading.value = words.heading(known.view)
            self._output.value = words.made(known.view)
            progress = known.view.progress
            self._bar.value = progress.step / max(1, progress.total) if progress else 0.0
            self._bar.bar_style = {"succeeded": "success", "failed": "danger"}.get(known.view.state, "")
            self._buttons.layout.display = "none" if known.view.final else None
        self._curve.data = series(list(known.points))
        self._log.tail = tail(list(known.lines))
        self._samples.update(list(known.files))

    @property
    def points(self) -> int:
        """How many points the curve has now."""
        return len(self._curve.data["steps"])

    @property
    def lines(self) -> list[str]:
        """The lines of the log that are shown now."""
        shown: list[str] = self._log.tail["lines"]
        return shown

    def _ask(self, sure: bool) -> None:
        self._stop.disabled = sure
        self._choice.layout.display = None if sure else "none"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)
