"""Whatever path a request names, no file outside the data folder is opened, and the gateway answers below 500.

The gateway runs with an audit hook that notes each file it opens, lists, makes or removes. `LORAPOOL_FUZZ_EXAMPLES`
makes the run longer.
"""

from __future__ import annotations

import json
import os
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
from tests.support.path_fuzz import AUDITED, PATHS, SECRET, encoded, links_out, opened, strange


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway with a task, a folder next to its data folder, and a link from the task's folder to that."""

    box: Box
    http: httpx.Client
    member: httpx.Client
    book: Path
    outside: Path
    task: str
    training: tuple[str, ...]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("paths")
    book, outside = folder / "book", folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_BOOK", str(book))
        patch.setattr(gateway_box, "_RUN", AUDITED + gateway_box._RUN)
        box = Box(folder / "data")
        try:
            box.start()
            box.create("svc", "ScalableJob", queue={"source": {"capacity": 1_000_000}})
            with box.client() as client:
                task = client.service("svc").submit(command="true", files={"a.txt": "a"}).id
                client.add_user("ana")
                member = client.make_token("ana").token or ""
            for inside in (box.data_dir / "jobs" / task, box.data_dir / "outputs"):
                links_out(inside, outside)
            with box.http() as http, box.http(member) as ana:
                yield Place(box, http, ana, book, outside, task, _training(box.data_dir))
        finally:
            box.close()


def _training(data_dir: Path) -> tuple[str, ...]:
    model, dataset = samples.install(data_dir)
    return (
        *("accelerate", "launch", "train_network.py", "--pretrained_model_name_or_path", str(model)),
        *("--train_data_dir", str(dataset), "--output_dir", str(data_dir / "out"), "--output_name", "x"),
        *("--network_module", "networks.lora", "--max_train_steps", "3", "--resolution", "64,64"),
    )


def _task_file(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{at.task}/files/{encoded(path)}")


def _task_log(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{encoded(path)}/log.txt")


def _task_events(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/tasks/{encoded(path)}/images")


def _output(at: Place, path: str) -> httpx.Response:
    """With a signature that fits, as if somebody had been given that link."""
    link = links.link(links.key(at.box.data_dir), path)
    return at.http.get(f"/api/v1/outputs/{encoded(path)}?{link.partition('?')[2]}")


def _service(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/services/{encoded(path)}")


def _queue(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/predict/{encoded(path)}?_attrs_=true")


def _app(at: Place, path: str) -> httpx.Response:
    return at.http.post(f"/api/predict/svc/{encoded(path)}?taskType=query", content=b"")


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


def _access(at: Place, path: str) -> httpx.Response:
    answer = at.member.post("/api/v1/access", json={"paths": [path]})
    said = answer.json().get("access", {}).get(path, "none")
    assert said == "none" or not path.startswith(
        ("..", "/etc", "/proc", str(at.outside), "link", "file-link")
    ), said
    return answer


def _owner(at: Place, path: str) -> httpx.Response:
    return at.http.put("/api/v1/owners", json={"place": path, "owner": "ana"})


def _user(at: Place, path: str) -> httpx.Response:
    return at.http.get(f"/api/v1/users/{encoded(path)}/tokens")


def _new_user(at: Place, path: str) -> httpx.Response:
    return at.http.post("/api/v1/users", json={"name": path[:64]})


def _members_tool(at: Place, path: str) -> httpx.Response:
    body = {"argv": ["python", "-m", "backend.tools", "verify", path]}
    return at.member.post("/api/v1/services/svc/tasks", json=body)


def _members_file(at: Place, path: str) -> httpx.Response:
    config = f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {json.dumps(path)}\n"
    body = {"argv": list(at.training), "files": {"config.toml": config}}
    return at.member.post("/api/v1/services/svc/tasks", json=body)


def _members_argument(at: Place, path: str) -> httpx.Response:
    answer = at.member.post("/api/v1/services/svc/tasks", json={"argv": [*at.training, f"--vae={path}"]})
    assert answer.status_code != 200 or not path.startswith(("/etc", "/proc", str(at.outside)))
    return answer


WAYS = [
    *(_access, _owner, _user, _new_user, _members_tool, _members_file, _members_argument),
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
    assert data_dir / "jobs" / place.task / "a.txt" in opened(place.book)
    assert strange(place.book, data_dir) == set()
    assert not any(path.is_relative_to(outside) for path in opened(place.book))
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
