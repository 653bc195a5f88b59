"""The true reason why a run of sd-scripts failed, in one line, found in what it printed."""

from __future__ import annotations

import re
import signal

_RANK = re.compile(r"^\[rank\d+\]: ?")
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$")
_FRAME = re.compile(r'^\s+File "([^"]+)", line (\d+)')
_LAUNCHER = ("CalledProcessError", "ChildFailedError", "ProcessRaisedException", "ProcessExitedException")
"""What `accelerate` raises when its child has failed: never the reason itself, unless a signal ended the child."""
_SIGNALLED = re.compile(r"died with <Signals\.(\w+): (\d+)>|Signal (\d+) \((\w+)\) received by PID")

_JAPANESE = re.compile(r"\s+/\s+\S*[^\x00-\x7f].*$", re.DOTALL)
"""sd-scripts says everything twice: in English, and behind a slash in Japanese."""
_LONGEST = 300

_EXPLAINED = (
    (
        re.compile(r"OutOfMemoryError|CUDA out of memory"),
        "the GPU ran out of memory; lower the batch size or the resolution, or turn on gradient checkpointing",
    ),
    (
        re.compile(r"No data found"),
        "no pictures were found; the training folder must be the parent of folders named <repeats>_<name>",
    ),
    (
        re.compile(r"No bitsandbytes|No module named 'bitsandbytes'"),
        "the optimizer needs bitsandbytes, which is not installed there; choose one that is not 8-bit or paged",
    ),
    (
        re.compile(r"No xformers|No module named 'xformers'"),
        "xformers is not installed there; choose sdpa as the attention",
    ),
    (re.compile(r"No space left on device"), "the disk is full"),
)


class FailureFinder:
    """Watches lines; knows the last exception that was not just passed on by the launcher."""

    def __init__(self) -> None:
        self._in_traceback = False
        self._frame = ""
        self._exception = ""
        self._error = ""
        self._killed = ""

    def line(self, text: str, level: str = "") -> None:
        """The next line; `level` is that of a log line."""
        text = _RANK.sub("", text)
        if signalled := _SIGNALLED.search(text):
            self._killed = _killed(signalled[1] or signalled[4], int(signalled[2] or signalled[3]))
        if "Traceback (most recent call last)" in text:
            self._in_traceback, self._frame = True, ""
        elif self._in_traceback:
            self._traceback_line(text)
        elif level in ("ERROR", "CRITICAL") or text.startswith("No data found"):
            self._error = text

    def _traceback_line(self, text: str) -> None:
        frame = _FRAME.match(text)
        if frame is not None:
            self._frame = f"{frame[1].rpartition('/')[2]}:{frame[2]}"
        elif text[:1].isspace() or text[:1] in "│╭╰":
            return
        else:
            self._in_traceback = False
            found = _EXCEPTION.match(text)
            if found is not None and not found[1].endswith(_LAUNCHER):
                self._exception = _said(found[1], found[2] or "", self._frame)

    def forget(self) -> None:
        """What was printed so far was overcome: the run went on to its end."""
        self._exception = self._error = self._killed = ""

    @property
    def reason(self) -> str:
        """The reason in one line, empty when nothing looked like a failure."""
        if self._killed:
            return self._killed
        raw = self._exception or _JAPANESE.sub("", self._error)
        for pattern, words in _EXPLAINED:
            if pattern.search(raw) or pattern.search(self._error):
                return _short(f"{words} ({raw})")
        return _short(raw)


def _killed(name: str, number: int) -> str:
    hint = "; the system may have run out of memory" if number == signal.SIGKILL else ""
    return f"the trainer was killed by signal {number} ({name}){hint}"


def _said(kind: str, message: str, frame: str) -> str:
    name = kind.rpartition(".")[2]
    message = _JAPANESE.sub("", message).strip()
    return f"{name}: {message}" if message else f"{name} at {frame}" if frame else name


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
