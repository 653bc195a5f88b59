"""The pod of an instance: the template of the deployment with what its service's description asks for. Pure but for
reading the template.

The pod's one container runs `lorapool worker`, which is the instance: what the description has it run (the app, init
commands, tasks) are processes of its own, as on one machine. Its image is the first container's of the description,
else the template's. Secrets are never written into it: the template, and `valueFrom` in the description, refer to them.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from backend.errors import InvalidArgument
from backend.pool.kubernetes.api import Json
from backend.pool.kubernetes.wishes import IDLE_MARKS
from backend.pool.kubernetes.words import MAIN
from backend.pool.launcher import Order
from backend.service import Description
from backend.settings import SECRETS, Settings

DEPLOYMENT, SERVICE = "lorapool.internal/deployment", "lorapool.internal/service"
INSTANCE = "lorapool.internal/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
SUPERVISOR = "lorapool-supervisor"

DATA = "/data"
"""Where the data folder is in a pod, unless the template says otherwise."""

_SPARE = 30.0
_OWN = "LORAPOOL_INSTANCE"
_HANDED_ON = ("lease_seconds", "start_deadline", "stop_grace", "save_grace", "drain_deadline")
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9-]+")
_LONGEST_NAME = 63
_KINDS = {"Deployment": "apps/v1", "ConfigMap": "v1"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What all pods of a deployment have in common. `grace`: seconds in which an instance can save and hand back."""

    template: Json
    environment: dict[str, str]
    grace: int
    gpu: str
    owner: Owner | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that the pods go with when it is deleted."""

    kind: str
    name: str

    @property
    def version(self) -> str:
        return _KINDS[self.kind]

    def path(self, namespace: str) -> str:
        """Where it is read."""
        root = "/api/v1" if self.version == "v1" else f"/apis/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.kind.lower()}s/{self.name}"

    def reference(self, uid: str) -> Json:
        """How a pod names it. It is no controller of the pods: it does not make new ones."""
        return {"apiVersion": self.version, "kind": self.kind, "name": self.name, "uid": uid}


def read_plan(settings: Settings) -> Plan:
    """The plan of these settings.

    Raises:
        InvalidArgument: the template is not a pod, or the owner is of another kind than those that are allowed.
    """
    handed = settings.environment()
    return Plan(
        template=_template(settings.kubernetes_pod_template),
        environment={
            name: handed[name] for name in (f"LORAPOOL_{each.upper()}" for each in _HANDED_ON) if handed[name]
        },
        grace=math.ceil(settings.save_grace + settings.stop_grace + _SPARE),
        gpu=settings.kubernetes_gpu,
        owner=_owner(settings.kubernetes_owner),
    )


def _owner(text: str) -> Owner | None:
    if not text:
        return None
    kind, _, name = text.partition("/")
    if kind not in _KINDS or not name:
        raise InvalidArgument(
            "LORAPOOL_KUBERNETES_OWNER",
            f"{' or '.join(f'{each}/NAME' for each in _KINDS)} is expected (it is {text!r})",
        )
    return Owner(kind, name)


def _template(path: str) -> Json:
    if not path:
        return copy.deepcopy(DEFAULT_TEMPLATE)
    field = "LORAPOOL_KUBERNETES_POD_TEMPLATE"
    try:
        read: Any = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidArgument(field, f"cannot be read: {error}") from None
    if not isinstance(read, dict) or read.get("kind") != "Pod" or not _has_containers(read):
        raise InvalidArgument(field, f"{path} is not a Pod with a container")
    return read


def _has_containers(pod: Json) -> bool:
    spec = pod.get("spec")
    return isinstance(spec, dict) and isinstance(spec.get("containers"), list) and bool(spec["containers"])


DEFAULT_TEMPLATE: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # So that somebody buries the orphans of people's programs: the pod's own first process does.
        "shareProcessNamespace": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": MAIN,
                "image": "lorapool-instance",
                "env": [
                    {"name": "LORAPOOL_DATA_DIR", "value": DATA},
                    {
                        "name": "REDIS_URL",
                        "valueFrom": {"secretKeyRef": {"name": "lorapool", "key": "redis-url"}},
                    },
                ],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "data", "mountPath": DATA},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "lorapool-data"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    },
}
"""The pod of instances where no template is given: it expects a claim `lorapool-data` and a secret `lorapool`."""


def name_of(service: str, instance: str) -> str:
    """The name of an instance's pod: a DNS label that nobody else can have."""
    room = _LONGEST_NAME - len("lorapool--") - len(instance)
    slug = _NOT_IN_A_NAME.sub("-", service.lower()).strip("-")[:room].strip("-")
    return f"lorapool-{slug}-{instance}" if slug else f"lorapool-{instance}"


def label(text: str) -> str:
    """A text as the value of a label: letters, digits, `-`, `_`, `.`, up to 63."""
    return _NOT_IN_A_LABEL.sub("-", text)[:63].strip("-_.")


def build(order: Order, service: Description, plan: Plan, deployment: str, owner_uid: str = "") -> Json:
    """The pod of an ordered instance.

    Raises:
        InvalidArgument: the description asks for what is no part of a pod.
    """
    pod = copy.deepcopy(plan.template)
    pod["metadata"] = _metadata(pod.get("metadata", {}), order, service, plan, deployment, owner_uid)
    spec = pod["spec"]
    spec["restartPolicy"] = "Never"
    spec["terminationGracePeriodSeconds"] = plan.grace
    wanted = service.kubernetes
    spec["nodeSelector"] = {**spec.get("nodeSelector", {}), **wanted.node_selector}
    spec["tolerations"] = [*spec.get("tolerations", []), *wanted.tolerations]
    for key, value in (
        ("priorityClassName", wanted.priority_class),
        ("runtimeClassName", wanted.runtime_class),
    ):
        if value:
            spec[key] = value
    container = _main(spec)
    _fill(container, order, service, plan)
    _mount(spec, container, service)
    return pod


def _mount(spec: Json, container: Json, service: Description) -> None:
    """What of `storage[]` a node mounts: NFS, and folders of its own, at the path that they have on the node.

    The rest is the instance's: objects and repositories are fetched into the data folder, or into what the template
    mounts there to be each node's cache.
    """
    for number, storage in enumerate(service.storage):
        name, path = f"storage-{number}", storage.mount_path
        source: Json = {}
        if storage.local is not None:
            path = storage.local.path
            source = {"hostPath": {"path": path, "type": "Directory"}}
        elif storage.nfs is not None:
            place = storage.nfs
            folder = f"/{place.path.strip('/')}"
            source = {"nfs": {"server": place.server, "path": folder, "readOnly": place.read_only}}
        if source:
            spec["volumes"] = [*spec.get("volumes", []), {"name": name, **source}]
            mount = {"name": name, "mountPath": path, "readOnly": storage.read_only}
            container["volumeMounts"] = [*container.get("volumeMounts", []), mount]


def _metadata(
    template: Json, order: Order, service: Description, plan: Plan, deployment: str, owner_uid: str
) -> Json:
    marks = {name: value for name, value in IDLE_MARKS.items() if value is not None}
    metadata: Json = {
        "name": name_of(order.service, order.instance),
        "labels": {
            "app.kubernetes.io/name": "lorapool",
            "app.kubernetes.io/component": "instance",
            **template.get("labels", {}),
            **service.kubernetes.labels,
            MANAGED_BY: SUPERVISOR,
            DEPLOYMENT: deployment,
            SERVICE: label(order.service),
            INSTANCE: order.instance,
        },
        "annotations": {
            **template.get("annotations", {}),
            **service.kubernetes.annotations,
            SERVICE: order.service,
            **marks,
        },
    }
    if plan.owner is not None and owner_uid:
        metadata["ownerReferences"] = [plan.owner.reference(owner_uid)]
    return metadata


def _main(spec: Json) -> Json:
    """The container of the instance: the one that is called so, else the first."""
    containers: list[Json] = spec["containers"]
    return next((each for each in containers if each.get("name") == MAIN), containers[0])


def _fill(container: Json, order: Order, service: Description, plan: Plan) -> None:
    first = service.containers[0] if service.containers else None
    if first is not None and first.image:
        container["image"] = first.image
    container["command"] = container.get("command", ["lorapool"])
    container["args"] = ["worker", "--service", order.service]
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    container["env"] = _environment(container.get("env", []), order, service, plan)
    _resources(container, service, plan.gpu)


def _environment(template: list[Json], order: Order, service: Description, plan: Plan) -> list[Json]:
    """Our settings, then the template's, then the description's where they do not meddle with either."""
    variables: dict[str, Json] = {
        name: {"name": name, "value": value} for name, value in plan.environment.items()
    }
    variables |= {each["name"]: each for each in template}
    if service.containers:
        for each in service.containers[0].env:
            if each.name not in variables and each.name not in SECRETS:
                variables[each.name] = each.in_a_pod()
    variables[_OWN] = {"name": _OWN, "value": order.instance}
    return list(variables.values())


def _resources(container: Json, service: Description, gpu: str) -> None:
    """What the description asks for; memory and GPUs are limits as well, CPUs are not: they are shared when free."""
    requests, limits = {}, {}
    if service.cpu:
        requests["cpu"] = f"{round(service.cpu * 1000)}m"
    if service.memory:
        requests["memory"] = limits["memory"] = f"{service.memory}Mi"
    if service.gpu:
        requests[gpu] = limits[gpu] = str(service.gpu)
    given = container.get("resources", {})
    merged = {
        "requests": {**given.get("requests", {}), **requests},
        "limits": {**given.get("limits", {}), **limits},
    }
    container["resources"] = {kind: values for kind, values in merged.items() if values}
