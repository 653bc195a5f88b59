"""What has become of a pod, and why, in words for a person: from its status, or from a refusal. Pure.

The reasons are those of the Kubernetes API: conditions of a pod (`PodScheduled`, `DisruptionTarget`), states of its
containers, and the `reason` of the pod itself, as kubelet, scheduler and the garbage collector set them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backend.pool.kubernetes.api import Json, Refused

MAIN = "instance"
"""Name of the container that runs the instance."""

_LONGEST = 400

_PREEMPTION = re.compile(r",? *(?:no new claims to deallocate, *)?preemption: .*", re.DOTALL)
"""What the scheduler adds to why a pod finds no place: that ending others would not help, node by node again."""


@dataclass(frozen=True, slots=True)
class Look:
    """A pod at a glance: `ended` for good; `hopeless`: it will not begin unless somebody mends something."""

    ended: bool = False
    hopeless: bool = False
    words: str = ""


def look(pod: Json) -> Look:
    """What is to be said of a pod; no words when all is well."""
    status = pod.get("status", {})
    if status.get("phase") in ("Succeeded", "Failed"):
        return Look(ended=True, words=_end(pod))
    if "deletionTimestamp" in pod["metadata"]:
        lost = _node_is_lost(status)
        states = [each.get("state", {}) for each in status.get("containerStatuses", [{}])]
        over = all("terminated" in state for state in states)
        # No kubelet starts what is being deleted; one on a dead node would never say so.
        never = status.get("phase") == "Pending" and not any("running" in state for state in states)
        return Look(ended=lost or over or never, words=_end(pod))
    if _node_is_lost(status):
        return Look(words=f"its node {_node(pod)} does not answer")
    return _beginning(pod)


def _beginning(pod: Json) -> Look:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message", condition.get("reason", ""))
            return Look(words=_short(f"no node has room for it at present: {_PREEMPTION.sub('', message)}"))
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting") or {}
        said = _WAITING.get(waiting.get("reason", ""))
        if said is not None:
            image = f" ({container['image']})" if "image" in said and container.get("image") else ""
            detail = f": {waiting['message']}" if waiting.get("message") else ""
            return Look(hopeless=True, words=_short(f"{said}{image}{detail}"))
    return Look()


_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "InvalidImageName": "the name of its image is not valid",
    "RegistryUnavailable": "the registry of its image does not answer",
    "CreateContainerConfigError": "a Secret, ConfigMap or key that the pod names is not there",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its container ends again and again",
}
"""Reasons for which a container waits, and which do not pass by themselves."""


def _containers(status: Json) -> Iterator[Json]:
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _end(pod: Json) -> str:
    """Why a pod has ended, or is ending."""
    status = pod.get("status", {})
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason == "Evicted":
        return _short(f"it was evicted from node {_node(pod)}: {message}")
    for condition in status.get("conditions", []):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            said = _DISRUPTIONS.get(condition.get("reason", ""), condition.get("reason", "it was disrupted"))
            detail = f": {condition['message']}" if condition.get("message") else ""
            return _short(f"{said} (node {_node(pod)}){detail}")
    if _node_is_lost(status):
        return f"its node {_node(pod)} is lost"
    for container in _containers(status):
        ended = container.get("state", {}).get("terminated") or {}
        if ended and (ended.get("exitCode") or ended.get("reason") in ("OOMKilled", "StartError")):
            return _short(_exit(pod, container, ended))
    if reason:
        return _short(f"the node refused it ({reason}): {message}" if message else reason)
    return "its pod was deleted" if "deletionTimestamp" in pod["metadata"] else "its process has ended"


_DISRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node was tainted so that it may not stay there",
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it, as when it shuts down or runs out of memory or disk",
}
"""Reasons of the condition `DisruptionTarget`."""


def _exit(pod: Json, container: Json, ended: Json) -> str:
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, container.get("name", ""))
        return f"it took more memory than it may{f' ({limit})' if limit else ''}: OOMKilled"
    if ended.get("reason") == "StartError" or ended.get("exitCode") in (126, 127, 128):
        detail = f": {ended['message'].strip()}" if ended.get("message") else ""
        return f"its image {container.get('image', '')} has no `lorapool` that could be started{detail}"
    who = "its process" if container.get("name") == MAIN else f"its container {container.get('name')}"
    last = ended.get("message", "").strip().splitlines()
    return f"{who} ended with exit code {ended.get('exitCode')}{f': {last[-1]}' if last else ''}"


def _memory_limit(pod: Json, container: str) -> str:
    for each in pod.get("spec", {}).get("containers", []):
        if each.get("name") == container:
            return str(each.get("resources", {}).get("limits", {}).get("memory", ""))
    return ""


def _node_is_lost(status: Json) -> bool:
    """Whether the node controller has not heard of the node for long: it then says so of the pod, the kubelet never.

    It takes the pod's readiness away and gives no reason, where a kubelet gives one; older versions told by the pod's
    phase or reason.
    """
    if status.get("reason") == "NodeLost" or status.get("phase") == "Unknown":
        return True
    containers = status.get("containerStatuses", [])
    unready = any(
        each.get("type") == "Ready" and each.get("status") != "True" and not each.get("reason")
        for each in status.get("conditions", [])
    )
    return unready and bool(containers) and all(_is_ready(each) for each in containers)


def _is_ready(container: Json) -> bool:
    return bool(container.get("ready")) and "running" in container.get("state", {})


def _node(pod: Json) -> str:
    return str(pod.get("spec", {}).get("nodeName", "?"))


def refusal(error: Refused, namespace: str) -> str:
    """Why the API server does not take a pod, and what to do about it."""
    said = error.message
    if error.code == 401:
        return _short(f"the API server does not know this supervisor: its token is not valid ({said})")
    if error.code == 403 and "exceeded quota" in said:
        return _short(f"the quota of namespace {namespace} is used up: {_after(said, 'exceeded quota')}")
    if error.code == 403 and "failed quota" in said:
        return _short(
            f"the quota of namespace {namespace} wants to know what a pod takes; give the description its `cpu` and "
            f"`memory`: {_after(said, 'failed quota')}"
        )
    if error.code == 403 and "violates PodSecurity" in said:
        return _short(
            f"the security rules of namespace {namespace} forbid such a pod: {_after(said, 'violates')}"
        )
    if error.code == 403 and "cannot " in said:
        return _short(
            f"this supervisor may not do that in namespace {namespace}: give its service account the Role of the "
            f"chart ({said})"
        )
    if error.code == 403:
        return _short(f"the rules of namespace {namespace} forbid it: {said}")
    if error.code == 404:
        return _short(f"there is no namespace {namespace}, or not what was asked for in it ({said})")
    if error.code in (400, 422):
        return _short(f"the API server finds the pod wrong; mend the description or the pod template: {said}")
    return _short(f"the API server refused it ({error.code} {error.reason}): {said}")


def _after(text: str, word: str) -> str:
    return text[text.index(word) :]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
