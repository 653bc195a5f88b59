"""What is said of a pod, from its status, as kubelet, scheduler and controllers write it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.instance import Instance, InstanceState
from backend.pool.kubernetes import wishes
from backend.pool.kubernetes.api import Refused
from backend.pool.kubernetes.wishes import Create, Delete, Mark, Wish, changed_marks, due
from backend.pool.kubernetes.words import look, refusal

Json = dict[str, Any]
NODE = {"nodeName": "gpu-7", "containers": [{"name": "instance", "resources": {"limits": {"memory": "8Gi"}}}]}


def pod(status: Json, *, leaving: bool = False, **metadata: Any) -> Json:
    given: Json = {"name": "p", "uid": "u", "annotations": {}, **metadata}
    if leaving:
        given["deletionTimestamp"] = "2026-11-22T05:00:00Z"
    return {"metadata": given, "spec": NODE, "status": status}


def container(**state: Any) -> Json:
    return {"containerStatuses": [{"name": "instance", "image": "i:1", "state": state}]}


def disrupted(reason: str, message: str = "") -> Json:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"phase": "Failed", "conditions": [condition]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (disrupted("PreemptionByScheduler"), "a pod of higher priority took its place (node gpu-7)"),
        (disrupted("EvictionByEvictionAPI"), "evicted, as when a node is drained (node gpu-7)"),
        (disrupted("DeletionByTaintManager"), "tainted"),
        (disrupted("SomethingNew", "of tomorrow"), "SomethingNew (node gpu-7): of tomorrow"),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node had disk pressure"}, "disk pressure"),
        ({"phase": "Failed", "reason": "OutOfnvidia.com/gpu", "message": "was 1"}, "OutOfnvidia.com/gpu"),
        ({"phase": "Failed", **container(terminated={"exitCode": 137, "reason": "OOMKilled"})}, "(8Gi)"),
        (
            {"phase": "Failed", **container(terminated={"exitCode": 128, "reason": "StartError"})},
            "image i:1 has no `lorapool`",
        ),
        (
            {"phase": "Failed", **container(terminated={"exitCode": 2, "message": "a\nerror: no store\n"})},
            "its process ended with exit code 2: error: no store",
        ),
        ({"phase": "Succeeded", **container(terminated={"exitCode": 0})}, "its process has ended"),
    ],
)
def test_why_it_ended(status: Json, words: str) -> None:
    found = look(pod(status))
    assert found.ended
    assert words in found.words


def test_one_that_is_leaving_has_not_ended_before_its_container_has() -> None:
    assert not look(pod({"phase": "Running", **container(running={})}, leaving=True)).ended
    assert look(pod({"phase": "Running", **container(terminated={"exitCode": 0})}, leaving=True)).ended
    # a node that is gone for good will never say so
    assert look(pod({"phase": "Running", "reason": "NodeLost", **container(running={})}, leaving=True)).ended
    assert not look(pod({"phase": "Pending"})).ended
    assert look(pod({"phase": "Pending"}, leaving=True)).ended, "its node may be dead: it will never begin"
    assert look(pod({"phase": "Pending", **container(waiting={})}, leaving=True)).ended


def test_a_node_that_is_silent_is_known_by_what_the_node_controller_says() -> None:
    """As Kubernetes 1.36 leaves the status of a pod whose node has gone: only its condition changes."""
    running = container(running={"startedAt": "2026-11-22T05:00:00Z"})
    running["containerStatuses"][0]["ready"] = True
    silent = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], **running}
    assert look(pod(silent)).words == "its node gpu-7 does not answer"
    assert look(pod(silent, leaving=True)).ended
    assert look(pod(silent, leaving=True)).words == "its node gpu-7 is lost"
    well = {**silent, "conditions": [{"type": "Ready", "status": "True"}]}
    assert look(pod(well)).words == "" and not look(pod(well, leaving=True)).ended
    # A kubelet's own word is another thing.
    gate = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}
    assert not look(pod({**silent, "conditions": [gate]}, leaving=True)).ended
    running["containerStatuses"][0]["ready"] = False
    assert not look(pod(silent, leaving=True)).ended


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ErrImagePull", "its image cannot be pulled (i:1): not found"),
        ("ImagePullBackOff", "its image cannot be pulled (i:1): not found"),
        ("InvalidImageName", "the name of its image is not valid (i:1): not found"),
        (
            "CreateContainerConfigError",
            "a Secret, ConfigMap or key that the pod names is not there: not found",
        ),
    ],
)
def test_why_it_cannot_begin(reason: str, words: str) -> None:
    waiting = container(waiting={"reason": reason, "message": "not found"})
    found = look(pod({"phase": "Pending", **waiting}))
    assert (found.hopeless, found.ended, found.words) == (True, False, words)


def test_why_there_is_no_room_and_nothing_of_preemption() -> None:
    """The message is that of a scheduler of Kubernetes 1.36."""
    message = (
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    assert look(pod({"phase": "Pending", "conditions": [condition]})).words == (
        "no node has room for it at present: 0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't "
        "match Pod's node affinity/selector."
    )


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_what_passes_by_itself_is_not_hopeless(reason: str) -> None:
    assert look(pod({"phase": "Pending", **container(waiting={"reason": reason})})) == look(pod({}))


@pytest.mark.parametrize(
    ("code", "reason", "message", "words"),
    [
        (401, "Unauthorized", "Unauthorized", "token is not valid"),
        (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q, requested: pods=1', "is used up"),
        (
            403,
            "Forbidden",
            'pods "x" is forbidden: failed quota: q: must specify limits.memory for: instance',
            "give the description its `cpu` and `memory`: failed quota: q: must specify limits.memory",
        ),
        (
            403,
            "Forbidden",
            'pods "x" is forbidden: violates PodSecurity "restricted:latest"',
            "security rules",
        ),
        (403, "Forbidden", 'pods is forbidden: User "u" cannot create resource "pods"', "Role of the chart"),
        (403, "Forbidden", "maximum memory usage per Container is 1Gi", "rules of namespace loras forbid it"),
        (404, "NotFound", 'namespaces "loras" not found', "there is no namespace loras"),
        (422, "Invalid", 'Pod "x" is invalid', "mend the description or the pod template"),
        (405, "MethodNotAllowed", "no", "405 MethodNotAllowed"),
    ],
)
def test_refusals(code: int, reason: str, message: str, words: str) -> None:
    said = refusal(Refused(code, reason, message), "loras")
    assert words in said
    assert "\n" not in said and len(said) <= 400


class TestWhatIsDue:
    def test_tries_come_later_and_later(self) -> None:
        wish = Wish("p", {})
        assert due({"i": wish}, {}, {}, 0.0, 0.0) == [Create("i")]
        pauses = []
        for _ in range(8):
            wish.failed(100.0, "away")
            pauses.append(wish.retry_at - 100.0)
        assert pauses == [0.5, 1, 2, 4, 8, 15, 15, 15]
        assert due({"i": wish}, {}, {}, 114.9, 0.0) == []
        wish.failed(100.0, "asked to wait", after=40.0)
        assert wish.retry_at == 140.0

    def test_a_shorter_grace_is_told_and_a_longer_one_is_not(self) -> None:
        there = {"i": pod({})}
        wish = Wish("p", asked=True)
        wish.leave(600)
        assert due({"i": wish}, there, {}, 0.0, 0.0) == [Delete("i", "p", "u", 600)]
        wish.told, wish.told_at = 600, 0.0
        assert due({"i": wish}, there, {}, 1.0, 0.0) == []
        wish.leave(wishes.NOW)
        wish.leave(600)
        assert due({"i": wish}, there, {}, 1.0, 0.0) == [Delete("i", "p", "u", wishes.NOW)]

    def test_what_no_node_answers_for_is_forgotten_in_the_end(self) -> None:
        wish = Wish("p", asked=True, grace=1, told=1, told_at=0.0)
        there = {"i": pod({}, leaving=True)}
        assert due({"i": wish}, there, {}, wishes.FORCE_AFTER, 0.0) == []
        assert due({"i": wish}, there, {}, wishes.FORCE_AFTER + 1.1, 0.0) == [Delete("i", "p", "u", 0)]

    def test_marks_follow_the_work_but_do_not_flutter(self) -> None:
        busy = Instance("i", "s", InstanceState.BUSY, 0.0, tasks=("t",))
        idle = Instance("i", "s", InstanceState.IDLE, 0.0, idle_since=100.0)
        unmarked = pod({})
        assert changed_marks(unmarked, busy, 100.0) == wishes.BUSY_MARKS
        marked = pod({}, annotations=dict(wishes.BUSY_MARKS))
        assert changed_marks(marked, busy, 100.0) == {}
        assert changed_marks(marked, idle, 100.0 + wishes.IDLE_AFTER - 1) == {}
        assert changed_marks(marked, idle, 100.0 + wishes.IDLE_AFTER) == wishes.IDLE_MARKS
        assert [type(each) for each in due({}, {"i": unmarked}, {"i": busy}, 0.0, 0.0)] == [Mark]
        assert due({}, {"i": pod({}, leaving=True)}, {"i": busy}, 0.0, 0.0) == []
