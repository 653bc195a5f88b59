"""`kohya_gui.py` in its three roles, and front ends that a service description starts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.box import ENVIRONMENT, ROOT, Box, free_port, until

EAS_COMMAND = (
    "python -u kohya_gui.py --listen 0.0.0.0 --server_port {} --data-dir /workspace "
    "--headless --just-ui --job-service"
)
PATIENCE = 30.0


def integrated(name: str, port: int) -> dict[str, Any]:
    """An integrated deployment as the EAS documents describe it."""
    return {
        "cloud": {"computing": {"instance_type": "ecs.gn6i-c4g1.xlarge"}},
        "containers": [{"image": "a-registry/kohya_ss:2.2"}],
        "features": {"eas.aliyun.com/extra-ephemeral-storage": "30Gi"},
        "front_end": {"image": "a-registry/kohya_ss:2.2", "port": port, "script": EAS_COMMAND.format(port)},
        "metadata": {
            **{"cpu": 4, "enable_webservice": True, "gpu": 1, "instance": 1, "memory": 15000},
            **{"name": name, "type": "ScalableJobService"},
        },
        "storage": [
            {
                "mount_path": "/workspace",
                "oss": {"path": "oss://bucket/kohya/", "readOnly": False},
                "properties": {"resource_type": "model"},
            }
        ],
    }


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def gui(*arguments: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python kohya_gui.py` in the folder where it lies, as its users start it."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("LORAPOOL_", "REDIS_URL"))
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-u", "kohya_gui.py", *arguments],
            cwd=ROOT,
            env={**own, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def submitted(browser: httpx.Client, name: str, *, steps: int) -> str:
    """Start a training with the form's first values; the task's id."""
    values = browser.get("/train/start").json()["values"]
    values |= {
        "output_name": name,
        "max_train_steps": steps,
        "sample_every_n_steps": 0,
        "save_every_n_steps": 0,
    }
    answer = browser.post("/train/submit", json={"values": values}).json()
    assert answer.get("task"), answer
    task: str = answer["task"]["id"] if isinstance(answer["task"], dict) else answer["task"]
    return task


def state(browser: httpx.Client, task: str) -> str:
    said: str = browser.get(f"/live/tasks/{task}").json()["state"]
    return said


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(tmp_path_factory.mktemp("integrated") / "data").start()
    yield box
    box.stop()
    assert not box.processes()


def test_two_front_ends_two_users_one_pool_of_two(box: Box, tmp_path: Path) -> None:
    # given a shared service with two instances, and two front ends bound to it by endpoint, name and token
    box.install_samples()
    ports = {"ana": free_port(), "bob": free_port()}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(box.client())
        shared = client.create_service(
            {"metadata": {"name": "shared", "type": "ScalableJob"}, "autoscaler": {"min": 2, "max": 2}}
        )
        for name in ports:
            client.add_user(name, password=f"the password of {name}")
            stack.callback(client.remove_user, name)
        stack.callback(client.service("shared").delete)
        bound = {
            "LORAPOOL_ENDPOINT": box.endpoint,
            "LORAPOOL_TOKEN": shared.token or "",
            "LORAPOOL_SERVICE": "shared",
        }
        browsers = {}
        for name, port in ports.items():
            flags = (
                "--just-ui",
                "--job-service",
                "--server_port",
                str(port),
                "--data-dir",
                str(box.data_dir),
            )
            stack.enter_context(gui(*flags, log=tmp_path / f"{name}.log", **bound))
            url = f"http://127.0.0.1:{port}"
            until(lambda url=url: answers(url), "a front end answers", PATIENCE)  # type: ignore[misc]
            browsers[name] = stack.enter_context(
                httpx.Client(base_url=url, trust_env=False, follow_redirects=True, timeout=PATIENCE)
            )
            secret = {"username": name, "secret": f"the password of {name}"}
            assert browsers[name].post("/login", data=secret).status_code == 200
        until(lambda: client.service("shared").view().state == "Running", "an instance is up", PATIENCE)
        # when the one queues four trainings and the other one another
        tasks = {"ana": [submitted(browsers["ana"], f"ana{n}", steps=2) for n in range(4)]}
        tasks["bob"] = [submitted(browsers["bob"], f"bob{n}", steps=2) for n in range(1)]
        views = {
            name: [client.task(each).wait(PATIENCE * 3) for each in mine] for name, mine in tasks.items()
        }
        # then all are done, each for its user, on two instances
        for name, mine in views.items():
            assert {(view.state, view.user, view.service) for view in mine} == {("succeeded", name, "shared")}
        assert len({view.instance for mine in views.values() for view in mine}) == 2
        # and the one's many have not kept the other one's single one waiting to the end
        starts = {name: sorted(view.started_at or 0.0 for view in mine) for name, mine in views.items()}
        assert starts["bob"][0] < starts["ana"][3]
        # and neither may look into or end what is the other one's
        theirs = tasks["ana"][0]
        assert browsers["bob"].get(f"/live/tasks/{theirs}/log.txt").status_code == 403
        assert browsers["bob"].post(f"/live/tasks/{theirs}/cancel", json={"mode": "stop"}).status_code == 403


def test_a_front_end_leaves_with_its_service(box: Box) -> None:
    port = free_port()
    with box.client() as client:
        client.create_service(integrated("kohya_three", port))
        until(lambda: answers(f"http://127.0.0.1:{port}"), "its front end answers", PATIENCE)
        client.service("kohya_three").delete()
        until(lambda: not answers(f"http://127.0.0.1:{port}"), "it is gone", PATIENCE)


def test_alone_it_is_a_whole_installation(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    arguments = ("--server_port", str(port), "--data-dir", str(tmp_path / "data"), "--headless")
    with gui(*arguments, log=log) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url) and "ready:" in log.read_text(), "the form is up", PATIENCE)
        # Nobody else reaches it, so nobody is asked who he is
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as browser:
            until(lambda: "gradio" in browser.get("/").text, "the form is there", PATIENCE)
            assert browser.get("/train/services").json()["services"] == ["kohya_job"]
            # The folder was empty; with the sample in it a training runs to its end
            assert browser.post("/sets/sample", json={}).status_code == 200
            started = submitted(browser, "first", steps=2)
            ended = {"succeeded", "failed", "cancelled", "dead"}
            until(lambda: state(browser, started) in ended, "the training ends", 2 * PATIENCE)
            assert state(browser, started) == "succeeded"
            # and another one is at work when everything is stopped
            running = submitted(browser, "second", steps=5000)
            until(lambda: state(browser, running) == "running", "the second one runs", PATIENCE)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        until(lambda: not any(child.is_running() for child in children), "all have ended", PATIENCE)


def test_with_only_the_form_it_prints_commands_and_starts_nothing(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with gui("--server_port", str(port), "--data-dir", str(tmp_path), "--just-ui", log=log) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), "the form is up", PATIENCE)
        assert not psutil.Process(process.pid).children(recursive=True)
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as browser:
            until(lambda: "gradio" in browser.get("/").text, "the form is there", PATIENCE)
            printed = browser.post("/train/command", json={"values": {"output_name": "mine"}}).json()
            assert "train_network.py" in printed["command"]
            refused = browser.post("/train/submit", json={"values": {}})
            assert refused.status_code == 400
            assert "prints commands" in refused.json()["message"]
            page = browser.get("/").text
            assert "lp-prints" in page and ">Jobs<" not in page and "u003eJobs" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--username", "ana"), "belong together"),
        (("--just-ui", "--job-service"), "no token for the service"),
        (("--share", "--username", "ana"), "no tunnel is opened"),
        (("--data-dir", "/proc/there/is/none"), "cannot be made or written"),
    ],
)
def test_what_cannot_be_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    port = str(free_port())
    with gui("--server_port", port, "--data-dir", str(tmp_path), *arguments, log=tmp_path / "log") as process:
        assert process.wait(PATIENCE) == 2
    text = (tmp_path / "log").read_text()
    assert said in text
    assert "Traceback" not in text


def test_every_flag_of_kohya_is_known() -> None:
    from app.kohya_gui import parser

    known = parser().format_help()
    for flag in (
        *(
            "--config",
            "--debug",
            "--listen",
            "--username",
            "--password",
            "--server_port",
            "--inbrowser",
            "--share",
        ),
        *("--do_not_share", "--headless", "--language", "--use-ipex", "--use-rocm", "--do_not_use_shell"),
        *("--requirements", "--root_path", "--noverify", "--data-dir", "--just-ui", "--job-service"),
    ):
        assert re.search(rf"{flag}\b", known), flag


def test_a_bound_front_end_works_in_the_data_folder_of_its_deployment(tmp_path: Path) -> None:
    from app.kohya_gui import data_folder

    deployments, workspace = tmp_path / "data", tmp_path / "workspace"
    (deployments / "kohya").mkdir(parents=True)
    # where /workspace is not there, where it is another folder, and where it is a part of the data folder
    assert data_folder(str(workspace), str(deployments), bound=True) == deployments
    workspace.mkdir()
    assert data_folder(str(workspace), str(deployments), bound=True) == deployments
    assert data_folder(str(workspace), str(deployments)) == workspace
    assert data_folder(str(deployments / "kohya"), str(deployments), bound=True) == deployments / "kohya"
    assert data_folder("", str(deployments)) == deployments
