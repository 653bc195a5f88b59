"""What an API server refuses: schemas of the current version, and the rules that no schema can say."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import referencing
from kubernetes_validate.utils import schema_contents

from tests.support.cluster.objects import FINAL, Answer, Json, Objects

VERSION = kubernetes_validate.latest_version()
"""The newest version of Kubernetes whose schemas there are."""

_LABEL_NAME = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")


@cache
def _validator(kind: str, api_version: str) -> Any:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    name = "deleteoptions-meta-v1" if kind == "DeleteOptions" else f"{kind.lower()}-{group}"
    folder = f"kubernetes-json-schema/v{VERSION}-local-strict"
    schema = schema_contents(f"{folder}/{name}.json", VERSION)
    definitions = schema_contents(f"{folder}/_definitions.json", VERSION)
    registry = referencing.Registry().with_resources(
        (resource.id() or "", resource)
        for resource in map(referencing.Resource.from_contents, (schema, definitions))
    )
    return jsonschema.Draft202012Validator(schema, registry=registry)


def fits_schema(given: Json) -> None:
    """Check an object against the published schema of its kind; nothing that the schema does not name is allowed."""
    for error in _validator(given["kind"], given["apiVersion"]).iter_errors(given):
        where = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            raise Answer(
                400, "BadRequest", f"strict decoding error: unknown field at {where}: {error.message}"
            )
        raise _invalid(given, where, error.message)


def _invalid(given: Json, where: str, message: str) -> Answer:
    name = given.get("metadata", {}).get("name", "")
    return Answer(
        422,
        "Invalid",
        f'{given.get("kind")} "{name}" is invalid: {where}: {message}',
        {"name": name, "causes": [{"reason": "FieldValueInvalid", "message": message, "field": where}]},
    )


def check_object(resource: str, new: Json, old: Json | None) -> None:
    """Rules for every object, and for pods."""
    metadata = new["metadata"]
    if not _SUBDOMAIN.fullmatch(metadata["name"]) or len(metadata["name"]) > 253:
        raise _invalid(
            new, "metadata.name", f"a lowercase RFC 1123 subdomain is expected: {metadata['name']!r}"
        )
    for name, value in metadata.get("labels", {}).items():
        _check_key(new, "metadata.labels", name)
        if value and (len(value) > 63 or not _LABEL_NAME.fullmatch(value)):
            raise _invalid(new, "metadata.labels", f"a valid label must be an empty string or …: {value!r}")
    for name in metadata.get("annotations", {}):
        _check_key(new, "metadata.annotations", name)
    for owner in metadata.get("ownerReferences", []):
        if not owner.get("uid"):
            raise _invalid(new, "metadata.ownerReferences.uid", "must not be empty")
    if resource == "pods":
        _check_pod(new)
        if old is not None:
            _check_immutable(new, old)


def _check_key(given: Json, where: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if (slash and not _SUBDOMAIN.fullmatch(prefix)) or not _LABEL_NAME.fullmatch(name):
        raise _invalid(given, where, f"name part must consist of alphanumeric characters, …: {key!r}")


def _check_pod(pod: Json) -> None:
    spec = pod["spec"]
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    if len(volumes) != len(set(volumes)):
        raise _invalid(pod, "spec.volumes.name", "Duplicate value")
    for volume in spec.get("volumes", []):
        if not _DNS_LABEL.fullmatch(volume["name"]):
            raise _invalid(
                pod, "spec.volumes.name", f"a lowercase RFC 1123 label is expected: {volume['name']!r}"
            )
        if len([key for key in volume if key != "name"]) != 1:
            raise _invalid(pod, "spec.volumes", "must specify exactly one volume type")
    if not spec.get("containers"):
        raise _invalid(pod, "spec.containers", "Required value")
    for number, container in enumerate(spec["containers"]):
        where = f"spec.containers[{number}]"
        if not container.get("image"):
            raise _invalid(pod, f"{where}.image", "Required value")
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        if len(paths) != len(set(paths)):
            raise _invalid(pod, f"{where}.volumeMounts.mountPath", "must be unique")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                raise _invalid(pod, f"{where}.volumeMounts.name", f"Not found: {mount['name']!r}")
        for each in container.get("env", []):
            if "value" in each and "valueFrom" in each:
                raise _invalid(
                    pod, f"{where}.env.valueFrom", "may not be specified when `value` is not empty"
                )
        _check_resources(pod, f"{where}.resources", container.get("resources", {}))


def _check_resources(pod: Json, where: str, resources: Json) -> None:
    for kind in ("requests", "limits"):
        for name, quantity in resources.get(kind, {}).items():
            if not _QUANTITY.fullmatch(str(quantity)):
                raise _invalid(pod, f"{where}.{kind}[{name}]", f"quantities must match …: {quantity!r}")
            if "/" in name and resources.get("limits", {}).get(name) != quantity:
                raise _invalid(pod, f"{where}.requests", f"must be equal to {name} limit")


def _check_immutable(new: Json, old: Json) -> None:
    def fixed(pod: Json) -> Json:
        spec: Json = copy.deepcopy(pod["spec"])
        for container in spec["containers"]:
            container.pop("image", None)
        for allowed in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
            spec.pop(allowed, None)
        return spec

    if fixed(new) != fixed(old):
        raise _invalid(new, "spec", "Forbidden: pod updates may not change fields other than …")


class Quota:
    """A ResourceQuota of the namespace: `hard` as in its spec, `pods` and `requests.NAME`."""

    def __init__(self, objects: Objects, hard: dict[str, int], name: str = "compute") -> None:
        self._objects, self.hard, self._name = objects, hard, name

    def check(self, resource: str, new: Json, old: Json | None) -> None:
        if resource != "pods" or old is not None:
            return
        pods = [o for (r, _, _), o in self._objects.items.items() if r == "pods"]
        living = [pod for pod in pods if pod.get("status", {}).get("phase") not in FINAL]
        for name, most in self.hard.items():
            used, asked = sum(_amount(pod, name) for pod in living), _amount(new, name)
            if asked and used + asked > most:
                raise Answer(
                    403,
                    "Forbidden",
                    f'pods "{new["metadata"]["name"]}" is forbidden: exceeded quota: {self._name}, requested: '
                    f"{name}={asked}, used: {name}={used}, limited: {name}={most}",
                )


def _amount(pod: Json, name: str) -> int:
    if name == "pods":
        return 1
    kind, _, resource = name.partition(".")
    return sum(int(c.get("resources", {}).get(kind, {}).get(resource, 0)) for c in pod["spec"]["containers"])
