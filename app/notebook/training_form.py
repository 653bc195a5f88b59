"""The short form of a training: the basic fields of the table, problems at the field, and the start."""

from __future__ import annotations

from typing import Any

import ipywidgets

from app.notebook import words
from app.notebook.checking import Checker
from app.notebook.deployment import Pool
from app.notebook.fields import FieldRow
from app.notebook.task_monitor import TaskMonitor
from backend.client import TaskHandle
from backend.errors import InvalidArgument, LorapoolError
from kohya_adapter.argument_fields import problem_of
from kohya_adapter.fields import BASIC, Value
from kohya_adapter.form import Form
from kohya_adapter.presets import preset
from kohya_adapter.problems import Problem, Validation
from kohya_adapter.submission import submit

SAMPLE_PRESET = "tiny-shapes"


class TrainingForm:
    """Kohya's form, its basic part. What it does not show has the value of the preset.

    `values` are keys of the form by name, shown or not: `TrainingForm(pool, max_train_steps=200)`.

    Raises:
        InvalidArgument: a value's key is no field, or the value cannot be read as the field's type.
    """

    def __init__(
        self, pool: Pool, *, preset_name: str = SAMPLE_PRESET, user: str = "", **values: Value
    ) -> None:
        self._pool = pool
        self._user = user
        self._checker = Checker(pool)
        self._base = preset(preset_name).form.replace(values)
        self.task: TaskHandle | None = None
        self.monitor: TaskMonitor | None = None
        self.rows = {
            field.key: FieldRow(field, self._base[field.key], self._checker.choices(field.key), self.check)
            for field in BASIC
            if field.shown is not None
        }
        self._outlook: Any = ipywidgets.HTML()
        self._said: Any = ipywidgets.HTML()
        self._start: Any = ipywidgets.Button(
            description="Start training", button_style="primary", icon="play"
        )
        self._start.on_click(lambda _: self._clicked())
        self._live: Any = ipywidgets.VBox()
        grid = ipywidgets.GridBox(
            [row.widget for row in self.rows.values()],
            layout={"grid_template_columns": "repeat(auto-fill, minmax(330px, 1fr))", "grid_gap": "2px 24px"},
        )
        self.widget: Any = ipywidgets.VBox([grid, self._outlook, self._start, self._said, self._live])
        self.check()

    @property
    def form(self) -> Form:
        """The form as it is now; a field that cannot be read is taken as it was in the preset."""
        return self._read()[0]

    @property
    def problems(self) -> dict[str, str]:
        """What is said at the fields now."""
        return {key: row.problem for key, row in self.rows.items() if row.problem}

    def set(self, **values: Value) -> None:
        """Change fields by their keys, those that are not shown, too.

        Raises:
            InvalidArgument: a key is no field, or its value cannot be read; nothing was changed.
        """
        self._base = self._base.replace(values)
        for key, value in values.items():
            if key in self.rows:
                self.rows[key].value = value
        self.check()

    def click(self) -> None:
        """Press the start button."""
        self._start.click()

    def check(self) -> bool:
        """Look at the form; problems are shown at their fields. Whether it could be started."""
        form, problems = self._read()
        try:
            checked = self._checker.look(form)
        except LorapoolError as error:
            self._said.value = words.say(str(error), "bad")
            return False
        self._show([*problems, *checked.problems])
        self._outlook.value = words.say(_outlook(checked))
        return not problems and checked.ok

    def start(self) -> TaskHandle:
        """Queue the training, as the button does.

        Raises:
            InvalidArgument: something is wrong with a field; it is said there, too, and nothing was queued.
        """
        form, problems = self._read()
        checked = self._checker.look(form)
        errors = [*problems, *checked.errors]
        self._show([*problems, *checked.problems])
        if errors:
            raise InvalidArgument(errors[0].field, errors[0].message)
        try:
            task = submit(
                self._pool.client,
                self._checker.as_submitted(form),
                service=self._pool.service.name,
                data_dir=self._checker.data_dir,
                checked=checked,
                user=self._user,
            )
        except InvalidArgument as error:
            self._show([problem_of(error, form), *checked.problems])
            raise
        self.task = task
        return task

    def _clicked(self) -> None:
        self._start.disabled = True
        try:
            task = self.start()
        except InvalidArgument as error:
            elsewhere = "" if error.field in self.rows else f"{error.field}: {error.message}. "
            self._said.value = words.say(
                f"{elsewhere}Nothing was queued; see what is said at the fields.", "bad"
            )
        except LorapoolError as error:
            self._said.value = words.say(str(error), "bad")
        else:
            self._said.value = words.say(f"Queued as task {task.id}.")
            if self.monitor is not None:
                self.monitor.close()
            self.monitor = TaskMonitor(task)
            self._live.children = [self.monitor.widget]
        finally:
            self._start.disabled = False

    def _read(self) -> tuple[Form, list[Problem]]:
        values: dict[str, object] = dict(self._base)
        problems = []
        for key, row in self.rows.items():
            try:
                values[key] = Form({key: row.value})[key]
            except InvalidArgument as error:
                problems.append(Problem(error.field, error.message))
        return Form(values), problems

    def _show(self, problems: list[Problem]) -> None:
        for key, row in self.rows.items():
            row.tell([problem for problem in problems if problem.field == key])
        hidden = [problem for problem in problems if problem.field not in self.rows]
        self._said.value = words.block(
            "".join(
                words.say(
                    f"{problem.field}: {problem.message}", "bad" if problem.severity == "error" else "muted"
                )
                for problem in hidden
            )
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def _outlook(checked: Validation) -> str:
    """What the run will be, in a sentence."""
    report = checked.estimate
    if report is None:
        return ""
    epochs = f"{report.epochs} epoch" + ("s" if report.epochs != 1 else "")
    return f"This training: {report.pictures} pictures, {epochs}, {report.total_steps} steps."
