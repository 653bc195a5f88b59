"""One task, followed in a thread, for as many monitors as show it.

Cells are run again and monitors come and go; what is known of a task is kept once, so that a new monitor shows it at
once and the gateway is asked only for what is new.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from backend.client import GatewayUnavailable, TaskHandle
from backend.errors import LorapoolError
from backend.views import FileView, TaskView, read

LINES = 300
"""Lines of the log that are kept: what one looks at while a task runs. The whole log is on the server."""

_EVERY = 0.4
_RETRY = 3.0

Point = Mapping[str, Any]
Paint = Callable[[], None]

_FOLLOWERS: WeakValueDictionary[tuple[str, str], Follower] = WeakValueDictionary()


def follow(task: TaskHandle) -> Follower:
    """The follower of a task: the one there is, or a new one."""
    key = (task.client.endpoint, task.id)
    follower = _FOLLOWERS.get(key)
    if follower is None:
        follower = Follower(task)
        _FOLLOWERS[key] = follower
    return follower


class Follower:
    """What is known of a task, and who wants to hear of it.

    `lines` are (number, text), `points` those of the curve in the order of their steps, `note` says why nothing new
    comes, empty when all is well.
    """

    def __init__(self, task: TaskHandle) -> None:
        self.task = task
        self.view: TaskView | None = None
        self.lines: deque[tuple[int, str]] = deque(maxlen=LINES)
        self.points: list[Point] = []
        self.files: list[FileView] = []
        self.note = ""
        self.ended = threading.Event()
        self._scalars = 0
        self._listeners: list[Paint] = []
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._started = False

    def listen(self, paint: Paint) -> None:
        """Have `paint` called, from a thread, whenever there is news, at most a few times a second."""
        with self._lock:
            self._listeners.append(paint)
            start, self._started = not self._started, True
        if start:
            threading.Thread(target=self._read, name=f"read {self.task.id}", daemon=True).start()
            threading.Thread(target=self._tell, name=f"tell {self.task.id}", daemon=True).start()

    def leave(self, paint: Paint) -> None:
        """Have it called no more."""
        with self._lock:
            if paint in self._listeners:
                self._listeners.remove(paint)

    def take(self, name: str, data: Any) -> None:
        """One event of the task's stream."""
        match name:
            case "task":
                self.view = data
            case "log":
                self.lines.extend((int(number), str(text)) for number, text in data["lines"])
            case "scalars":
                add(self.points, data["points"])
                self._scalars = int(data["next"])
            case "files":
                self.files.extend(read(FileView, each) for each in data["files"])

    def _read(self) -> None:
        try:
            while not self._read_once():
                threading.Event().wait(_RETRY)
        finally:
            self.ended.set()
            self._news.set()

    def _read_once(self) -> bool:
        """Follow the stream; whether that was all there is."""
        try:
            self.view = self.task.view()
            log = self.lines[-1][0] if self.lines else max(0, self.view.log_lines - LINES)
            for name, data in self.task.events(log=log, scalars=self._scalars, files=len(self.files)):
                self.note = ""
                self.take(name, data)
                self._news.set()
        except GatewayUnavailable as error:
            self.note = str(error)
            self._news.set()
            return False
        except LorapoolError as error:
            self.note = str(error)
        return True

    def _tell(self) -> None:
        pause = threading.Event()
        while True:
            self._news.wait()
            self._news.clear()
            over = self.ended.is_set()
            with self._lock:
                listeners = list(self._listeners)
                if over:
                    self._listeners.clear()
                    self._started = False
            for paint in listeners:
                paint()
            if over:
                return
            pause.wait(_EVERY)


def add(points: list[Point], more: list[Point]) -> None:
    """Append points; a resumed run may go back to an earlier step, whose points are then replaced."""
    for point in more:
        step = point.get("step")
        if step is None:
            continue
        while points and points[-1]["step"] >= step:
            points.pop()
        points.append(point)
