"""Changing services: update, stop, start, scale, and their rules, by client and command line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

import pytest

from backend.client import Client
from backend.errors import Forbidden, InvalidArgument, InvalidInput, NotFound
from backend.instance import InstanceState
from backend.service import parse, with_part
from backend.store import instances, services
from tests.support.gateway_box import TOKEN, Box, eventually
from tests.support.pretend import PretendInstance


def described(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "type": "ScalableJob"}, **more}


def test_a_stopped_service_takes_tasks_and_says_what_it_is(box: Box, client: Client, name: str) -> None:
    service = client.service(client.create_service(described(name, autoscaler={"min": 0})).name)
    assert service.stop().state == "Stopped"
    task = service.submit(command="true")
    assert task.state == "waiting"
    assert service.stop().state == "Stopped"
    assert service.start().state == "Creating"
    store = box.store()
    assert not store.run(services.get(name)).stopped
    store.close()


def test_scaling_is_written_into_the_description(box: Box, client: Client, name: str) -> None:
    service = client.service(client.create_service(described(name, **{"autoscaler.min": 1})).name)
    scaled = service.scale(3)
    assert (scaled.min, scaled.max) == (3, 3)
    ruled = service.autoscale({"min": 0, "max": 5, "strategies": {"avg_waiting_length": 2}})
    assert (ruled.min, ruled.max) == (0, 5)
    assert service.view().description["autoscaler"]["strategies"] == {"avg_waiting_length": 2}
    plan = {"ScaleJobs": [{"Name": "evening", "Schedule": "0 0 18 * * *", "TargetSize": 2}]}
    assert service.cronscale(plan).description["cronscaler"] == plan
    assert "cronscaler" not in service.cronscale(None).description
    assert "autoscaler" not in service.autoscale(None).description


@pytest.mark.parametrize("rules", [{"min": 3, "max": 1}, {"min": "many"}, {"strategies": {"x": -1}}])
def test_wrong_rules_change_nothing(box: Box, client: Client, name: str, rules: dict[str, Any]) -> None:
    client.create_service(described(name, autoscaler={"min": 0, "max": 2}))
    with pytest.raises(InvalidArgument):
        client.service(name).autoscale(rules)
    assert client.service(name).view().max == 2


def test_an_update_keeps_the_token_and_is_of_this_service(box: Box, client: Client, name: str) -> None:
    made = client.create_service(described(name))
    updated = client.service(name).update(described(name, autoscaler={"min": 0, "max": 7}))
    assert (updated.max, updated.token) == (7, made.token)
    with pytest.raises(InvalidArgument, match="nothing was changed"):
        client.service(name).update(described("another-name"))
    with pytest.raises(NotFound):
        client.service("nobody").update(described("nobody"))
    with pytest.raises(NotFound):
        client.service("nobody").stop()
    with pytest.raises(InvalidInput):
        client.service(name).scale(-1)


def test_a_services_own_token_changes_nothing(box: Box, client: Client, name: str) -> None:
    token = client.create_service(described(name)).token
    with box.client(token or "") as own:
        service = own.service(name)
        for change in (
            service.stop,
            service.start,
            lambda: service.scale(1),
            lambda: service.autoscale({}),
            lambda: service.autoscale(None),
            lambda: service.update(described(name)),
            lambda: service.cronscale(None),
        ):
            with pytest.raises(Forbidden):
                change()


def test_the_command_line_does_the_same(box: Box, client: Client, name: str, tmp_path: Any) -> None:
    client.create_service(described(name))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "backend.cli", "service", *arguments),
                *("--endpoint", box.url, "--token", TOKEN),
            ],
            capture_output=True,
            text=True,
        )

    assert "2 to 2 instances" in run("scale", name, "2").stdout
    said = run("autoscale", name, "--min", "0", "--max", "4", "--strategy", "avg_waiting_length=3")
    assert "0 to 4 instances" in said.stdout, said.stderr
    assert client.service(name).view().description["autoscaler"]["strategies"] == {"avg_waiting_length": 3.0}
    (tmp_path / "rules.yaml").write_text("autoscaler:\n  min: 1\n  max: 6\n")
    assert "1 to 6 instances" in run("autoscale", name, "--file", str(tmp_path / "rules.yaml")).stdout
    wrong = run("autoscale", name, "--strategy", "fast")
    assert wrong.returncode == 2 and "metric=number is expected" in wrong.stderr
    assert "is Stopped" in run("stop", name).stdout
    assert "is Creating" in run("start", name).stdout
    new = f'{{"name": "{name}", "type": "ScalableJob", "autoscaler.max": 9,}}  # a comment'
    (tmp_path / "new.json").write_text(new)
    assert "1 to 9 instances" in run("update", str(tmp_path / "new.json")).stdout


@pytest.mark.parametrize(
    "raw",
    [
        {"autoscaler": {"min": 1}},
        {"autoscaler.min": 1, "autoscaler.behavior.onZero.scaleDownGracePeriodSeconds": 3},
        {"metadata": {"autoscaler": {"max": 2}}},
        {"metadata": {"autoscaler.max": 2}},
        {"metadata.autoscaler.max": 2, "metadata.autoscaler": {"min": 1}},
    ],
)
def test_a_part_is_replaced_however_it_was_spelled(raw: dict[str, Any]) -> None:
    base = {"name": "svc", "type": "ScalableJob", "rpc.keepalive": 5}
    found = parse(with_part(base | raw, "autoscaler", {"max": 3})).description
    assert found.autoscaler == {"max": 3}
    assert found.rpc.keepalive == 5
    assert parse(with_part(base | raw, "autoscaler", None)).description.autoscaler == {}


def test_a_service_says_how_it_is_in_eas_s_words(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob", containers=[{"image": "one"}])
    service, store = client.service(name), box.store()
    try:
        assert service.view().state == "Creating"
        store.run(services.note_served(name, ""))
        eventually(lambda: service.view().state == "Waiting")
        # when no instance comes up
        store.run(services.note_served(name, "the model is missing; the next start is tried in 4 s"))
        eventually(lambda: service.view().state == "Failed")
        assert "model is missing" in service.view().trouble
        listed = subprocess.run(
            [sys.executable, "-m", "backend.cli", "service", "list", "--endpoint", box.url, "--token", TOKEN],
            capture_output=True,
            text=True,
        )
        assert f"{name}: no instance comes up: the model is missing" in listed.stdout
        store.run(services.note_served(name, ""))
        # when one is up, by this description or by another
        instance = PretendInstance(store, name)
        version = store.run(services.get(name)).description.version
        store.run(instances.note_version(instance.name, version))
        eventually(lambda: service.view().state == "Running")
        client.service(name).update({**service.view().description, "containers": [{"image": "two"}]})
        assert service.view().state == "Updating"
        store.run(instances.enter(instance.name, InstanceState.DRAINING))
        service.stop()
        assert service.view().state == "Stopping"
        store.run(instances.gone(instance.name, "drained", counted=False, max_delivery=0))
        assert service.view().state == "Stopped"
    finally:
        store.close()
    # and nothing that is said of a service that was removed brings it back
    service.delete()
    with contextlib.closing(box.store()) as again:
        again.run(services.note_served(name, "late"))
        assert name not in again.run(services.names())
        with pytest.raises(NotFound):
            again.run(services.get(name))
