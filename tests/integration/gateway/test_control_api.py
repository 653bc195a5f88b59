"""The control API and its client: services, tasks, logs, files, streams."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from backend.cli.command import app
from backend.client import Client, GatewayUnavailable, TaskHandle
from backend.errors import Conflict, Forbidden, InvalidArgument, NotFound, QueueFull, TooLarge, Unauthorized
from backend.store import measures, tasks
from backend.store.connection import Store
from backend.store.tasks import NewTask
from backend.views import TaskView
from tests.support.gateway_box import TOKEN, Box, eventually, free_port
from tests.support.pretend import PretendInstance, progress, sample


def test_what_one_is_talking_to(box: Box, client: Client, name: str) -> None:
    box.create(name)

    info = client.info()

    assert name in info.services
    assert (info.trainer, info.data_dir) == ("built-in", str(box.data_dir))


def test_a_service_is_created_updated_shown_and_removed(
    box: Box, client: Client, name: str, tmp_path: Path
) -> None:
    description = {"metadata.name": name, "metadata.type": "ScalableJob", "autoscaler": {"min": 0, "max": 3}}
    created = client.create_service(description)
    updated = client.create_service({**description, "autoscaler": {"min": 0, "max": 5}, "oddity": 1})

    assert (created.type, created.min, created.max, created.state) == ("ScalableJob", 0, 3, "Creating")
    assert (updated.max, updated.token) == (5, created.token)
    assert updated.warnings == ["oddity: has no meaning here and is kept as it is"]
    assert client.service(name).view().description["autoscaler"] == {"min": 0, "max": 5}
    description["storage"] = [{"mount_path": "/mnt/data", "oss": {"path": "oss://no-such-bucket/"}}]
    (warning,) = client.service(name).update(description).warnings
    assert "no credentials for oss://no-such-bucket/" in warning
    file = tmp_path / "service.json"
    file.write_text(json.dumps(description))
    said = CliRunner().invoke(app, ["service", "create", str(file), "--endpoint", box.url, "--token", TOKEN])
    assert said.stderr == f"warning: {warning}\n" and said.stdout == f"{name} (ScalableJob) is Creating\n"
    task = client.service(name).submit(command="true")
    client.service(name).delete()
    assert name not in [service.name for service in client.services()]
    assert task.state == "cancelled"
    with pytest.raises(NotFound):
        client.service(name).submit(command="true")


def test_a_wrong_description_changes_nothing(box: Box, client: Client, name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.create_service({"metadata": {"name": name, "type": "Bakery"}})

    assert refused.value.field == "type"
    assert name not in [service.name for service in client.services()]


def test_a_task_is_submitted_once_per_id(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    service = client.service(name)

    first = service.submit(command="echo hi", id=f"{name}-once", name="mine", user="ann", tags={"a": "b"})
    again = service.submit(command="echo hi", id=f"{name}-once")

    assert first.id == again.id
    view = first.view()
    assert (view.index, view.state, view.position, view.kind) == (1, "waiting", 1, "command")
    assert (view.name, view.user, view.command, view.argv) == ("mine", "ann", "echo hi", None)
    assert len(client.tasks(name)) == 1


def test_files_are_written_before_it_is_queued_and_stay_in_its_folder(
    box: Box, client: Client, name: str
) -> None:
    box.create(name, "ScalableJob")

    task = client.service(name).submit(argv=["true"], files={"config.toml": "a = 1\n", "sub/x.txt": "é"})

    folder = box.data_dir / "jobs" / task.id
    assert (folder / "config.toml").read_text() == "a = 1\n"
    assert (folder / "sub" / "x.txt").read_text() == "é"
    for outside in ("../x", "/etc/x", "a/../../x"):
        before = sorted(path.name for path in (box.data_dir / "jobs").iterdir())
        with pytest.raises(InvalidArgument, match="outside"):
            client.service(name).submit(argv=["true"], files={outside: "x"})
        assert sorted(path.name for path in (box.data_dir / "jobs").iterdir()) == before


def test_a_training_that_cannot_work_is_refused_and_leaves_nothing(
    box: Box, client: Client, name: str
) -> None:
    box.create(name, "ScalableJob")
    jobs = box.data_dir / "jobs"
    before = sorted(jobs.iterdir()) if jobs.exists() else []

    with pytest.raises(InvalidArgument) as refused:
        client.service(name).submit(
            argv=["accelerate", "launch", "train_network.py", "--network_dim", "abc"],
            files={"config.toml": ""},
        )

    assert refused.value.field == "network_dim"
    assert client.tasks(name) == []
    assert sorted(jobs.iterdir()) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "argv"),
        ({"command": "x", "argv": ["x"]}, "command"),
        ({"data": "not base64!"}, "data"),
        ({"command": "x", "kind": "dance"}, "kind"),
        ({"command": "x", "id": "../x"}, "id"),
        ({"command": "x", "unknown": 1}, "unknown"),
        ({"command": "x", "priority": "high"}, "priority"),
        ({"argv": []}, "argv"),
    ],
)
def test_a_wrong_submission_names_the_field(
    box: Box, client: Client, name: str, body: Any, field: str
) -> None:
    box.create(name, "ScalableJob")

    with pytest.raises(InvalidArgument) as refused:
        client.post(f"services/{name}/tasks", body)

    assert refused.value.field == field
    assert client.tasks(name) == []


def test_limits_of_a_service(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob", queue={"source": {"capacity": 1, "max_payload_size_kb": 1}})
    service = client.service(name)

    with pytest.raises(TooLarge):
        service.submit(data=b"x" * 1025)
    service.submit(data=b"x" * 1024)
    with pytest.raises(QueueFull):
        service.submit(command="true")
    with pytest.raises(Conflict):
        box.create(f"{name}-q")
        client.service(f"{name}-q").submit(command="true")


def test_listings_filter_and_page(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    for n in range(5):
        client.service(name).submit(command=f"echo {n}", user="ann" if n % 2 else "bob")
    client.task(client.tasks(name)[0].id).cancel()

    assert [task.index for task in client.tasks(name)] == [5, 4, 3, 2, 1]
    assert [task.index for task in client.tasks(name, limit=2)] == [5, 4]
    assert [task.index for task in client.tasks(name, before=3)] == [2, 1]
    assert [task.index for task in client.tasks(name, user="ann")] == [4, 2]
    assert [task.index for task in client.tasks(name, state=["cancelled", "failed"])] == [5]
    assert [task.position for task in client.tasks(name, state="waiting")] == [4, 3, 2, 1]
    with pytest.raises(InvalidArgument, match="lost"):
        client.tasks(name, state="lost")


def test_priority_of_a_waiting_task(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    task = client.service(name).submit(command="true")

    assert task.set_priority(7).priority == 7
    task.cancel()
    with pytest.raises(Conflict):
        task.set_priority(1)


def test_a_run_is_seen_from_start_to_end(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    instance = PretendInstance(store, name)
    task = client.service(name).submit(command="true")
    holder = instance.take(task.id)
    picture = box.data_dir / "jobs" / task.id / "output" / "x.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    instance.say(holder, "one", "two", records=(progress(1), progress(2), sample(str(picture))))

    running = task.view()
    assert (running.state, running.instance, running.log_lines, running.position) == (
        "running",
        instance.name,
        2,
        None,
    )
    assert running.progress is not None and (running.progress.step, running.progress.loss) == (2, 0.5)
    assert list(task.logs()) == ["one", "two"] and list(task.logs(after=1)) == ["two"]
    assert task.log(limit=1).next == 1 and task.log().total == 2
    assert [point["step"] for point in task.scalars().points] == [1, 2]
    assert [point["n"] for point in task.scalars(after=1).points] == [2]
    (file,) = task.files()
    assert (file.kind, file.path, file.size) == ("sample", "output/x.png", 3)
    assert task.download(file.path, box.data_dir / "copy.png").read_bytes() == b"png"
    (shown,) = client.instances(name)
    assert (shown.id, shown.state, shown.tasks) == (instance.name, "busy", [task.id])

    instance.finish(holder, reason="done")
    ended = task.wait(10)
    assert (ended.state, ended.reason, ended.attempts[0].outcome) == ("succeeded", "done", "succeeded")
    assert task.cancel().state == "succeeded"


def test_only_files_of_the_job_folder_are_given_out(
    box: Box, client: Client, store: Store, name: str
) -> None:
    box.create(name, "ScalableJob")
    task = client.service(name).submit(command="true", files={"a.txt": "a"})
    link = box.data_dir / "jobs" / task.id / "link"
    link.symlink_to("/etc/hostname")

    with box.http() as http:
        for path in (
            "../../token",
            "..%2f..%2fstore%2fpassword",
            "link",
            "%00",
            "missing",
            "",
            "/etc/hostname",
        ):
            answer = http.get(f"/api/v1/tasks/{task.id}/files/{path}")
            assert answer.status_code in (400, 404) or path == "", path
            assert "hostname" not in answer.headers.get("content-disposition", "")
        assert http.get(f"/api/v1/tasks/{task.id}/files/a.txt").text == "a"


def test_a_retry_has_a_folder_of_its_own(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    task_id = f"{name}-first"
    folder = box.data_dir / "jobs" / task_id
    text = f'output_dir = "{folder}/output"\n'
    task = client.service(name).submit(
        argv=["prog", f"{folder}/config.toml"], files={"config.toml": text}, id=task_id
    )
    with pytest.raises(Conflict):
        task.retry()
    task.cancel()

    again = task.retry()

    new = box.data_dir / "jobs" / again.id
    view = again.view()
    assert view.argv == ["prog", f"{new}/config.toml"] and view.details["retry_of"] == task_id
    assert (new / "config.toml").read_text() == f'output_dir = "{new}/output"\n'
    assert (folder / "config.toml").read_text() == text


def test_the_log_as_a_file(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    task = client.service(name).submit(command="true", files={"log.txt": "one\ntwo\n"})

    assert task.download_log(box.data_dir / "copy.txt").read_text() == "one\ntwo\n"


def test_a_service_token_covers_its_own_service_only(box: Box, name: str) -> None:
    token, _ = box.create(name, "ScalableJob"), box.create(f"{name}-other", "ScalableJob")
    with box.client() as admin:
        foreign = admin.service(f"{name}-other").submit(command="true")
    with box.client(token) as own:
        task = own.service(name).submit(command="true")
        assert [each.id for each in own.tasks()] == [task.id]
        assert own.info().services == [name]
        assert own.service(name).view().token is None
        for forbidden in (
            own.service(f"{name}-other").view,
            own.task(foreign.id).view,
            own.task(foreign.id).cancel,
            own.service(name).delete,
            lambda: own.create_service({"metadata": {"name": "x", "type": "Queue"}}),
        ):
            with pytest.raises(Forbidden):
                forbidden()
    with box.client("wrong") as nobody, pytest.raises(Unauthorized):
        nobody.info()


def test_what_the_pool_did_is_in_the_metrics(box: Box, name: str) -> None:
    store = box.store()
    box.create(name, "ScalableJob")
    instance = PretendInstance(store, name)
    holder = instance.take(
        store.run(tasks.put(NewTask(id=f"{name}-1", service=name, kind="command", user="ana"))).id
    )
    instance.finish(holder)
    store.run(measures.observe(name, [("reaction", 0.15), ("reaction", 0.3)]))
    with box.http() as http:
        text = http.get("/metrics").text
    store.close()

    assert f'lorapool_instances{{service="{name}",state="idle"}} 1.0' in text
    assert f'lorapool_instances{{service="{name}",state="draining"}} 0.0' in text
    assert f'lorapool_dead_letters{{service="{name}"}} 0.0' in text
    assert f'lorapool_attempts_total{{outcome="succeeded",service="{name}"}} 1.0' in text
    assert f'lorapool_reaction_seconds_bucket{{le="0.2",service="{name}"}} 1.0' in text
    assert f'lorapool_reaction_seconds_bucket{{le="+Inf",service="{name}"}} 2.0' in text
    assert f'lorapool_wait_seconds_count{{service="{name}"}} 1.0' in text
    assert f'lorapool_gpu_seconds_total{{service="{name}",user="ana",what="run"}}' in text


def test_metrics_need_a_token_and_health_does_not(box: Box, name: str) -> None:
    box.create(name)
    with box.http() as http:
        http.post(f"/api/predict/{name}", content=b"x")
        text = http.get("/metrics").text

    assert f'lorapool_puts_total{{queue="{name}"}} 1.0' in text
    assert f'lorapool_waiting{{queue="{name}"}} 1.0' in text
    assert httpx.get(f"{box.url}/metrics").status_code == 401
    assert httpx.get(f"{box.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{box.url}/readyz").json() == {"status": "ready", "supervisor": "none"}


def test_unknown_paths_and_methods_are_json(box: Box) -> None:
    with box.http() as http:
        missing, wrong = http.get("/api/v1/nothing"), http.put("/api/v1/tasks")

    assert (missing.status_code, missing.json()["error"]) == (404, "NotFound")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "MethodNotAllowed")


class Follower(threading.Thread):
    """Follows a task as a page would, and keeps what it saw."""

    def __init__(self, task: TaskHandle) -> None:
        super().__init__(daemon=True)
        self.task = task
        self.events: list[tuple[str, Any]] = []
        self.start()

    def run(self) -> None:
        for event in self.task.events():
            self.events.append(event)

    def lines(self) -> list[list[Any]]:
        return [line for name, data in self.events if name == "log" for line in data["lines"]]

    def states(self) -> list[str]:
        states = [data.state for name, data in self.events if isinstance(data, TaskView)]
        return [state for state, _ in itertools.groupby(states)]


def test_a_stream_tells_everything_once_and_ends(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    instance = PretendInstance(store, name)
    task = client.service(name).submit(command="true")
    follower = Follower(task)
    eventually(lambda: follower.states() == ["waiting"])
    holder = instance.take(task.id)
    for n in range(30):
        instance.say(holder, f"line {n}", records=(progress(n + 1),))
    instance.say(holder, records=(sample("output/x.png"),))
    eventually(lambda: len(follower.lines()) == 30)
    instance.finish(holder)
    follower.join(20)

    assert not follower.is_alive()
    assert follower.lines() == [[n + 1, f"line {n}"] for n in range(30)]
    points = [point["n"] for name, data in follower.events if name == "scalars" for point in data["points"]]
    assert points == list(range(1, 31))
    files = [file["path"] for name, data in follower.events if name == "files" for file in data["files"]]
    assert files == ["output/x.png"]
    assert follower.states()[-2:] == ["running", "succeeded"]
    assert follower.events[-1][0] == "end"


def test_a_stream_goes_on_from_its_last_event(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    instance = PretendInstance(store, name)
    task = client.service(name).submit(command="true")
    holder = instance.take(task.id)
    instance.say(holder, "one", "two", records=(progress(1),))
    instance.finish(holder)

    with box.http() as http:
        url = f"/api/v1/tasks/{task.id}/events"
        whole = http.get(url).text
        rest = http.get(url, headers={"Last-Event-ID": "1.1.0"}).text
        asked = http.get(url, params={"log": 2, "scalars": 1}).text

    assert '[1,"one"]' in whole and "event: scalars" in whole and whole.endswith("event: end\ndata: {}\n\n")
    assert '"lines":[[2,"two"]]' in rest and "event: scalars" not in rest
    assert "event: log" not in asked


def test_a_waiting_task_hears_of_its_place(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    first, second = (client.service(name).submit(command="true") for _ in range(2))
    follower = Follower(second)
    eventually(lambda: follower.events)
    assert follower.events[0][1].position == 2

    first.cancel()

    eventually(lambda: follower.events[-1][1].position == 1)
    second.cancel()
    follower.join(20)


def test_changes_of_everything(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        heard = threading.Event()

        def listen() -> dict[str, str]:
            heard.set()
            return next(
                event for event in client.events() if event["service"] == name and event["kind"] == "task"
            )

        waiting = pool.submit(listen)
        heard.wait()
        ids = set()

        def submitted() -> bool:
            ids.add(client.service(name).submit(command="true").id)
            return waiting.done()

        eventually(submitted)
        assert waiting.result()["id"] in ids


def test_a_follower_does_not_notice_restarts(own_box: Box) -> None:
    # Given somebody who follows a running task
    own_box.create("svc", "ScalableJob")
    client, store = own_box.client(), own_box.store()
    instance = PretendInstance(store, "svc")
    task = client.service("svc").submit(command="true")
    holder = instance.take(task.id)
    follower = Follower(task)
    instance.say(holder, "one")
    eventually(lambda: follower.lines() == [[1, "one"]])

    # When gateway and store are killed and come back, and the task goes on
    own_box.gateway.kill()  # type: ignore[union-attr]
    own_box.gateway.wait()  # type: ignore[union-attr]
    instance.say(holder, "two")
    own_box.start_gateway()
    eventually(lambda: follower.lines()[-1] == [2, "two"])
    own_box.kill_store()
    with own_box.http() as http:
        answer = http.get(f"/api/v1/tasks/{task.id}")
        assert (answer.status_code, answer.json()["error"]) == (503, "StoreUnavailable")
        assert http.get("/healthz").status_code == 503
        assert http.get("/readyz").status_code == 503
    own_box.start_store()
    instance.say(holder, "three")
    instance.finish(holder)
    follower.join(30)

    # Then every line was told once
    assert follower.lines() == [[1, "one"], [2, "two"], [3, "three"]]
    assert follower.events[-1][0] == "end"
    client.close()
    store.close()


def test_a_gateway_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.client.connection.RECONNECT", 0.3)
    with Client(f"http://127.0.0.1:{free_port()}", "x") as client:
        with pytest.raises(GatewayUnavailable, match="does not answer"):
            client.info()
        with pytest.raises(GatewayUnavailable):
            next(client.events())


def test_the_log_of_a_gateway_holds_no_token(box: Box, name: str) -> None:
    token = box.create(name)
    with box.http("wrong-but-secret-token") as http:
        http.get(f"/api/predict/{name}")
        http.get("/api/v1/info")
    with box.http(token) as http:
        http.post(f"/api/predict/{name}", content=b"x")

    text = box.log.read_text()

    assert token not in text and "wrong-but-secret-token" not in text and "administrator-token" not in text
