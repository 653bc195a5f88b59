"""kohya_ss with its trainings sent to a pool. Runs in kohya_ss's own environment: standard library only, Python 3.10.

    python pool_process.py CHECKOUT [flags of kohya_gui.py]    the form, as ever; Start training queues a task
    python pool_process.py --relay COMMAND…                    what that form then runs in the training's place

kohya_ss starts `accelerate launch …` as a child and reads its output. In this process that child is a relay instead:
it queues the command, prints the task's log, and ends as the task does. When the form stops it (by killing it), the
task is cancelled. When the form itself is closed, the task stays: it is the pool's by then.

`LORAPOOL_ENDPOINT`, `LORAPOOL_TOKEN` and `LORAPOOL_SERVICE` say where the pool is; `LORAPOOL_MAP` has lines
`HERE=THERE` for folders that the pool has under another path; `LORAPOOL_USER` and `LORAPOOL_PRIORITY` are passed on.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path, PurePath
from typing import Any, NoReturn

RELAY = "--relay"
LEFT_RUNNING = 75
"""Exit code of a relay that was told to end without having ended its task."""
REFUSED = 2
_TASK = "LORAPOOL_RELAYED_TASK"
_SCRIPT = re.compile(r"(?:\w+_)?train(?:_\w+)?\.py")
_TOML_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LOOK_EVERY = 0.5
_LONGEST_PAUSE = 5.0
_FINAL = ("succeeded", "failed", "cancelled", "dead")


class Refused(Exception):
    """The pool does not want it, and says why."""


class Pool:
    """The gateway's control API, as much of it as a relay needs."""

    def __init__(self) -> None:
        self.endpoint = os.environ.get("LORAPOOL_ENDPOINT", "http://127.0.0.1:8000").rstrip("/")
        self.service = os.environ.get("LORAPOOL_SERVICE", "") or "kohya_job"
        self._token = os.environ.get("LORAPOOL_TOKEN", "")
        loopback = urllib.parse.urlsplit(self.endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        proxies = urllib.request.ProxyHandler({} if loopback else None)
        self._opener = urllib.request.build_opener(proxies)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request. OSError when nobody answers, Refused when the answer is no."""
        request = urllib.request.Request(
            f"{self.endpoint}/api/v1/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": self._token, "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            if error.code in (500, 502, 503, 504):
                raise OSError(f"it answered {error.code}") from None
            raise Refused(_message(error)) from None

    def patiently(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The same, repeated while nobody answers; what was queued stays queued meanwhile."""
        pause, told = _LOOK_EVERY, False
        while True:
            try:
                return self.ask(path, body)
            except OSError as error:
                if not told:
                    say(f"the pool at {self.endpoint} does not answer ({error}); trying again until it does")
                    told = True
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)


def _message(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}: {text[:500]}"


def say(text: str) -> None:
    """A line of our own, between those of the training."""
    print(f"lorapool: {text}", flush=True)


def is_training(command: Any) -> bool:
    """Whether a command line is one that kohya_ss starts a training by: `accelerate launch … train_network.py …`."""
    words = _words(command)
    if len(words) < 3 or PurePath(words[0].replace("\\", "/")).stem != "accelerate" or words[1] != "launch":
        return False
    return _script(words) is not None


def _words(command: Any) -> list[str]:
    """An argument list of it; older versions of kohya_ss give a shell line."""
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            return []
    return [os.fsdecode(word) for word in command] if isinstance(command, (list, tuple)) else []


def _script(words: list[str]) -> int | None:
    for position, word in enumerate(words):
        if word.endswith(".py"):
            return position if _SCRIPT.fullmatch(PurePath(word.replace("\\", "/")).name) else None
    return None


class RelayedPopen(subprocess.Popen):  # type: ignore[type-arg]
    """`subprocess.Popen`, with a relay in the place of a training."""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        if not is_training(args):
            super().__init__(args, *more, **options)
            return
        task = str(uuid.uuid4())
        environment = dict(options.pop("env", None) or os.environ)
        environment |= {name: text for name, text in os.environ.items() if name.startswith("LORAPOOL_")}
        environment[_TASK] = task
        options["shell"] = False
        relay = [sys.executable, "-E", str(Path(__file__).resolve()), RELAY, *_words(args)]
        super().__init__(relay, *more, **{**options, "env": environment})
        threading.Thread(target=self._end_with, args=(task,), name="lorapool-relay", daemon=True).start()

    def _end_with(self, task: str) -> None:
        """Cancel the task when its relay was killed, as the Stop button does it."""
        if self.wait() in (0, LEFT_RUNNING, REFUSED):
            return
        pool = Pool()
        try:
            if pool.ask(f"tasks/{task}")["state"] not in _FINAL:
                pool.ask(f"tasks/{task}/cancel", {"mode": "stop"})
                say(f"task {task} was stopped")
        except (OSError, Refused) as error:
            say(f"task {task} could not be stopped ({error}); `lorapool cancel {task}` does it")


def submission(words: list[str], task: str, data_dir: str) -> dict[str, Any]:
    """The task of a command line: its files as they are now, its paths as the pool has them.

    kohya_ss writes its sample prompts over those of the last start, so the task gets a copy of them and of its
    configuration, in its own job folder.
    """
    words = list(words)
    script = _script(words)
    assert script is not None
    words[0], words[script] = "accelerate", PurePath(words[script].replace("\\", "/")).name
    files: dict[str, str] = {}
    folder = f"{data_dir.rstrip('/')}/jobs/{task}"
    at = words.index("--config_file", script) + 1 if "--config_file" in words[script:] else len(words)
    if at < len(words):
        text = Path(words[at]).read_text(encoding="utf-8")
        for key, name in (("sample_prompts", "prompts.txt"), ("dataset_config", "dataset.toml")):
            text = _taken_along(text, key, name, folder, files)
        files["config.toml"] = _mapped_toml(text)
        words[at] = f"{folder}/config.toml"
    named = re.search(r'^output_name\s*=\s*"([^"]*)"', files.get("config.toml", ""), re.MULTILINE)
    return {
        "id": task,
        "kind": "command",
        "argv": [*words[: script + 1], *(mapped(word) for word in words[script + 1 :])],
        "files": files,
        "name": named[1] if named else "",
        "user": os.environ.get("LORAPOOL_USER", ""),
        "priority": int(os.environ.get("LORAPOOL_PRIORITY", "0") or 0),
        "tags": {"from": "kohya_ss"},
    }


def _taken_along(text: str, key: str, name: str, folder: str, files: dict[str, str]) -> str:
    """Have a file that the configuration names lie in the job folder."""
    found = re.search(rf'^{key}\s*=\s*("(?:[^"\\\n]|\\.)*")', text, re.MULTILINE)
    path = json.loads(found[1]) if found else ""
    if not found or not Path(path).is_file():
        return text
    content = Path(path).read_text(encoding="utf-8")
    files[name] = _mapped_toml(content) if name.endswith(".toml") else content
    return text[: found.start(1)] + json.dumps(f"{folder}/{name}") + text[found.end(1) :]


def _mapped_toml(text: str) -> str:
    """A TOML file with the paths in its strings as the pool has them; JSON's strings are TOML's basic ones."""

    def one(found: re.Match[str]) -> str:
        try:
            before = json.loads(found[0])
        except ValueError:
            return found[0]
        after = mapped(before)
        return found[0] if after == before else json.dumps(after, ensure_ascii=False)

    return _TOML_STRING.sub(one, text)


def mapped(word: str) -> str:
    """A path as the pool has it, by the first line of `LORAPOOL_MAP` that it begins with; anything else unchanged."""
    for line in os.environ.get("LORAPOOL_MAP", "").splitlines():
        here, _, there = line.partition("=")
        here, plain = here.replace("\\", "/").rstrip("/"), word.replace("\\", "/")
        if plain == here or plain.startswith(f"{here}/"):
            return there.rstrip("/") + plain[len(here) :]
    return word


def relay(words: list[str]) -> int:
    """Queue a training, print its log, and end as it ends; the exit code."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _left)
    pool, task = Pool(), os.environ.get(_TASK) or str(uuid.uuid4())
    try:
        info = pool.patiently("info")
        wanted = submission(words, task, str(info["data_dir"]))
        pool.patiently(f"services/{urllib.parse.quote(pool.service)}/tasks", wanted)
    except Refused as error:
        say(f"nothing was queued. {error}")
        return REFUSED
    except OSError as error:
        say(f"nothing was queued: {error}")
        return REFUSED
    say(f"task {task} is in the queue of {pool.service}")
    return follow(pool, task)


def follow(pool: Pool, task: str) -> int:
    """Print a task's log until it has ended; what the trained process itself would have returned."""
    told, position = 0, -1
    while True:
        view = pool.patiently(f"tasks/{task}")
        if view["state"] == "waiting" and view["position"] not in (None, position):
            position = view["position"]
            say(f"waiting, position {position}")
        while page := pool.patiently(f"tasks/{task}/log?after={told}&limit=1000")["lines"]:
            told = page[-1][0]
            print("\n".join(text for _, text in page), flush=True)
        if view["state"] in _FINAL:
            break
        time.sleep(_LOOK_EVERY)
    say(f"task {task}: {view['state']}" + (f", {view['reason']}" if view["reason"] else ""))
    if view["state"] == "succeeded":
        return 0
    code = int(view["exit_code"] or 1)
    return 1 if code in (REFUSED, LEFT_RUNNING) else code


def _left(*_: object) -> NoReturn:
    say("this window is closed; the training goes on in the pool")
    sys.stdout.flush()
    os._exit(LEFT_RUNNING)


def launch(checkout: str, flags: list[str]) -> None:
    """Run the checkout's `kohya_gui.py` in this process, with its trainings relayed."""
    subprocess.Popen = RelayedPopen  # type: ignore[misc]
    os.chdir(checkout)
    program = str(Path(checkout, "kohya_gui.py"))
    sys.argv = [program, *flags]
    sys.path[0] = checkout
    say(f"Start training queues at {Pool().endpoint}")
    runpy.run_path(program, run_name="__main__")


def main() -> int:
    """The form, or one relay."""
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    if sys.argv[1:2] == [RELAY]:
        return relay(sys.argv[2:])
    launch(sys.argv[1], sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
