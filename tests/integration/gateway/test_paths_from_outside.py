"""Whatever path a request names, no file outside the data folder is opened, and the gateway answers below 500.

The gateway runs with an audit hook that notes each file it opens, lists, makes or removes. `LORAPOOL_FUZZ_EXAMPLES`
makes the run longer.
"""

from __future__ import annotations

import ast
import json
import mimetypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend import links, samples
from backend.training.argument_table import rows
from tests.support import gateway_box
from tests.support.gateway_box import TOKEN, Box

ROOT = Path(__file__).parents[3]
SECRET = "nobody-may-read-this"

_AUDITED = """
import os, sys
_book = os.open(os.environ["AUDIT_BOOK"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_EVENTS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link",
           "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree", "shutil.copyfile", "shutil.move"}
def _note(event, args):
    if event in _EVENTS and args and isinstance(args[0], (str, bytes)):
        os.write(_book, repr(os.fsdecode(args[0])).encode() + b"\\n")
sys.addaudithook(_note)
"""

FILES_OF_PYTHON = tuple(
    str(Path(folder).resolve()) for folder in (*filter(None, sys.path), sys.prefix, sys.base_prefix, ROOT)
)
"""Where the program itself and its libraries are read from."""


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway with a task, a folder next to its data folder, and a link from the task's folder to that."""

    box: Box
    http: httpx.Client
    book: Path
    outside: Path
    task: str
    training: tuple[str, ...]

    def opened(self) -> list[Path]:
        return [Path(ast.literal_eval(line)) for line in self.book.read_text().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("paths")
    book, outside = folder / "book", folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_BOOK", str(book))
        patch.setattr(gateway_box, "_RUN", _AUDITED + gateway_box._RUN)
        box = Box(folder / "data")
        try:
            box.start()
            box.create("svc", "ScalableJob", queue={"source": {"capacity": 1_000_000}})
            with box.client() as client:
                task = client.service("svc").submit(command="true", files={"a.txt": "a"}).id
            (box.data_dir / "outputs").mkdir(exist_ok=True)
            for inside in (box.data_dir / "jobs" / task, box.data_dir / "outputs"):
                (inside / "link").symlink_to(outside)
                (inside / "file-link").symlink_to(outside / "secret.txt")
            with box.http() as http:
                yield Place(box, http, book, outside, task, _training(box.data_dir))
        finally:
            box.close()


def _training(data_dir: Path) -> tuple[str, ...]:
    model, dataset = samples.install(data_dir)
    return (
        *("accelerate", "launch", "train_network.py", "--pretrained_model_name_or_path", str(model)),
        *("--train_data_dir", str(dataset), "--output_dir", str(data_dir / "out"), "--output_name", "x"),
        *("--network_module", "networks.lora", "--max_train_steps", "3", "--resolution", "64,64"),
    )


PARTS = st.one_of(
    st.sampled_from(
        [
            *("..", ".", "", "~", "~root", "link", "file-link", "secret.txt", "outside", "a.txt", "store"),
            *("password", "token", "\\..", "．．", "%2e%2e", "..%2f..", "a\0b", "\r\n", "CON", "x" * 300),
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
PATHS = st.one_of(
    st.sampled_from(
        [
            *("/etc/passwd", "/proc/self/environ", "file:///etc/passwd", "//etc/passwd", "link/secret.txt"),
            *("../../../outside/secret.txt", "../../token", "../../store/password", "x" * 5000, "\0"),
            *("@outside/secret.txt", "@data/../outside/secret.txt", "@outside/new/file", "~root/.bashrc"),
        ]
    ),
    st.lists(PARTS, min_size=1, max_size=7).map("/".join),
)


def _encoded(path: str) -> str:
    """Every byte escaped, so that no client on the way tidies the path up."""
    return "".join(f"%{byte:02x}" for byte in path.encode())


def _task_file(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{at.task}/files/{_encoded(path)}")


def _task_log(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{_encoded(path)}/log.txt")


def _task_events(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{_encoded(path)}/images")


def _output(at: Place, path: str) -> httpx.Response:
    """With a signature that fits, as if somebody had been given that link."""
    link = links.link(links.key(at.box.data_dir), path)
    return at.http.get(f"/api/v1/outputs/{_encoded(path)}?{link.partition('?')[2]}")


def _service(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/services/{_encoded(path)}")


def _queue(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/predict/{_encoded(path)}?_attrs_=true")


def _app(at: Place, path: str) -> httpx.Response:
    return at.http.post(f"/api/predict/svc/{_encoded(path)}?taskType=query", content=b"")


def _submit(at: Place, body: dict[str, object]) -> httpx.Response:
    return at.http.post("/api/v1/services/svc/tasks", json=body)


def _written(at: Place, path: str) -> httpx.Response:
    return _submit(at, {"command": "true", "files": {path: "written"}})


def _task_id(at: Place, path: str) -> httpx.Response:
    return _submit(at, {"command": "true", "id": path, "files": {"a.txt": "a"}})


def _argument(name: str) -> Callable[[Place, str], httpx.Response]:
    """A training that is right but for one argument."""
    return lambda at, path: _submit(at, {"argv": [*at.training, f"--{name}={path}"]})


def _shell_line(at: Place, path: str) -> httpx.Response:
    line = f"accelerate launch train_network.py --config_file {json.dumps(path)}"
    return at.http.post("/api/predict/svc?taskType=command", content=line.encode())


def _created(at: Place, path: str) -> httpx.Response:
    description = {"metadata": {"name": path, "type": "Queue"}, "storage": [{"mount_path": path}]}
    return at.http.post("/api/v1/services", json=description)


WAYS = [
    *(_task_file, _task_log, _task_events, _output, _service, _queue, _app, _written, _task_id, _created),
    _shell_line,
]
ARGUMENTS = [_argument(name) for name, row in rows().items() if row.kind in ("path", "str")]


@settings(
    max_examples=int(os.environ.get("LORAPOOL_FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.data())
def _ask(place: Place, data: st.DataObject) -> None:
    path = data.draw(PATHS).replace("@outside", str(place.outside)).replace("@data", str(place.box.data_dir))
    way = data.draw(st.one_of(st.sampled_from(WAYS), st.sampled_from(ARGUMENTS)))

    answer = way(place, path)

    assert answer.status_code < 500, answer.text
    assert SECRET not in answer.text and TOKEN not in answer.text and "root:x:0" not in answer.text


def test_no_path_leads_outside(place: Place) -> None:
    _ask(place)

    # One that does open a file, so that the hook is known to work.
    assert place.http.get(f"/api/v1/tasks/{place.task}/files/a.txt").text == "a"
    data_dir, outside = place.box.data_dir.resolve(), place.outside.resolve()
    opened = {path.resolve() for path in place.opened() if "\0" not in str(path)}
    assert data_dir / "jobs" / place.task / "a.txt" in opened
    own = Path("/proc/self").resolve()  # what the gateway counts about itself, resolved here
    allowed = {Path(known).resolve() for known in mimetypes.knownfiles}
    allowed |= {Path(os.devnull), Path("/proc/stat"), own / "stat", own / "limits", own / "fd"}
    strange = {
        path
        for path in opened - allowed
        if not path.is_relative_to(data_dir) and not str(path).startswith(FILES_OF_PYTHON)
    }
    assert strange | {path for path in opened if path.is_relative_to(outside)} == set()
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
