"""The pod of an instance, from a description and a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import InvalidArgument, InvalidInput
from backend.pool import launchers
from backend.pool.kubernetes.pod import build, label, name_of, read_plan
from backend.pool.launcher import Order
from backend.service import parse
from backend.settings import Settings
from tests.support.cluster.rules import check_object, fits_schema

Json = dict[str, Any]


def pod_of(settings: Settings | None = None, **parts: Any) -> Json:
    """The pod of an instance of such a service; it is one that the API takes."""
    metadata = {"name": "Kohya.job_", "type": "ScalableJob", **parts.pop("metadata", {})}
    description = parse({"metadata": metadata, **parts}).description
    plan = read_plan(settings or Settings())
    pod = build(Order("0123456789ab", description.name, "", description), description, plan, "d1")
    fits_schema(pod)
    check_object("pods", pod, None)
    return pod


def container_of(pod: Json) -> Json:
    found: Json = pod["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("service", ["kohya_job", "A.b-", "x" * 63, "a" + "_" * 62])
def test_any_service_has_a_name_and_a_label(service: str) -> None:
    name = name_of(service, "0123456789ab")
    assert len(name) <= 63 and name.endswith("-0123456789ab")
    pod: Json = {"kind": "Pod", "metadata": {"name": name, "labels": {"x/y": label(service)}}}
    check_object("configmaps", pod, None)


def test_sizes_are_reserved_and_limited() -> None:
    pod = pod_of(metadata={"cpu": 1.5, "memory": 2048, "gpu": 2})
    assert container_of(pod)["resources"] == {
        "requests": {"cpu": "1500m", "memory": "2048Mi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "2048Mi", "nvidia.com/gpu": "2"},
    }


def test_no_secret_of_ours_is_written_into_it() -> None:
    settings = Settings(
        token="the-token", redis_url="redis://:the-password@store", metrics_token="the-other-token"
    )
    hijack = [{"name": "REDIS_URL", "value": "redis://elsewhere"}, {"name": "LORAPOOL_TOKEN", "value": "x"}]
    pod = pod_of(settings, containers=[{"image": "i", "env": hijack}])
    assert not [word for word in ("the-token", "the-password", "the-other") if word in json.dumps(pod)]
    env = {each["name"]: each for each in container_of(pod)["env"]}
    assert "secretKeyRef" in env["REDIS_URL"]["valueFrom"]
    assert "LORAPOOL_TOKEN" not in env
    assert env["LORAPOOL_INSTANCE"]["value"] == "0123456789ab"


def test_variables_of_the_description_by_value_and_by_reference() -> None:
    by_reference = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    pod = pod_of(containers=[{"image": "i:1", "env": [{"name": "A", "value": "1"}, by_reference]}])
    assert container_of(pod)["image"] == "i:1"
    assert [each for each in container_of(pod)["env"] if each["name"] in ("A", "HF_TOKEN")] == [
        {"name": "A", "value": "1"},
        by_reference,
    ]


def test_the_grace_is_longer_than_a_training_needs_to_save() -> None:
    pod = pod_of(Settings(save_grace=1200, stop_grace=5))
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 1205


def test_keys_with_dots_stay_whole() -> None:
    selector = {"nvidia.com/gpu.product": "A100", "topology.kubernetes.io/zone": "a"}
    pod = pod_of(kubernetes={"node_selector": selector, "annotations": {"example.com/a.b": "c"}})
    assert pod["spec"]["nodeSelector"] == selector
    assert pod["metadata"]["annotations"]["example.com/a.b"] == "c"


def test_mounts_are_what_the_instance_looks_for() -> None:
    pod = pod_of(
        storage=[
            {"mount_path": "/mnt/a", "local": {"path": "/srv/models"}},
            {"mount_path": "/mnt/b", "nfs": {"server": "nas", "path": "exports/b/", "readOnly": True}},
            {"mount_path": "/mnt/c", "s3": {"path": "s3://bucket/"}},
        ]
    )
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["storage-0"]["hostPath"] == {"path": "/srv/models", "type": "Directory"}
    assert volumes["storage-1"]["nfs"] == {"server": "nas", "path": "/exports/b", "readOnly": True}
    assert "storage-2" not in volumes
    mounts = {each["name"]: each["mountPath"] for each in container_of(pod)["volumeMounts"]}
    assert (mounts["storage-0"], mounts["storage-1"]) == ("/srv/models", "/mnt/b")


def test_a_template_is_filled_in_and_otherwise_left_alone(tmp_path: Path) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"labels": {"team": "loras"}},
                "spec": {
                    "hostNetwork": True,
                    "containers": [
                        {"name": "sidecar", "image": "proxy"},
                        {"name": "instance", "image": "mine"},
                    ],
                },
            }
        )
    )
    pod = pod_of(Settings(kubernetes_pod_template=str(template)))
    assert pod["spec"]["hostNetwork"] and pod["metadata"]["labels"]["team"] == "loras"
    sidecar, instance = pod["spec"]["containers"]
    assert sidecar == {"name": "sidecar", "image": "proxy"}
    assert (instance["image"], instance["args"][0]) == ("mine", "worker")


@pytest.mark.parametrize("text", ["", "[", "kind: Deployment", "kind: Pod\nspec: {containers: []}"])
def test_what_is_no_template_is_refused(tmp_path: Path, text: str) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(text)
    with pytest.raises(InvalidArgument, match="POD_TEMPLATE"):
        read_plan(Settings(kubernetes_pod_template=str(template)))


def test_an_owner_is_a_deployment_or_a_config_map() -> None:
    with pytest.raises(InvalidArgument, match="Deployment/NAME or ConfigMap/NAME"):
        read_plan(Settings(kubernetes_owner="Pod/x"))


def test_a_store_that_pods_cannot_reach_is_refused() -> None:
    settings = Settings(launcher="kubernetes", redis_url="unix:///tmp/x.sock")
    with pytest.raises(InvalidInput, match="REDIS_URL"):
        launchers.make(settings, None, lambda: None)  # type: ignore[arg-type]
