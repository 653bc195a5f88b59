"""The Helm chart: it renders, its objects fit the schemas of Kubernetes, and it gives no more rights than are used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.pool.kubernetes.pod import build, read_plan
from backend.pool.launcher import Order
from backend.processes import wait_until
from backend.service import parse
from backend.settings import Settings
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.rules import check_object, fits_schema
from tests.support.kubernetes_world import KubernetesWorld

pytest.importorskip("helm_python", reason="Helm's engine comes as a wheel for Linux only")

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "lorapool"
Json = dict[str, Any]

EVERYTHING = {
    "cache": {"type": "hostPath"},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"people": "yes"}}}]},
    "instance": {
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "envFromSecrets": ["object-store"],
        "runtimeClassName": "nvidia",
        "resources": {"requests": {"cpu": "2"}},
        "extraEnv": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
    },
    "images": {"pullSecrets": [{"name": "registry"}]},
}
OWN_STORE = {"store": {"enabled": False}, "existingSecret": "ours", "data": {"existingClaim": "shared"}}


def helm(values: Json) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "render_chart.py"), str(CHART)],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=120,
    )


@cache
def rendered(values: str) -> list[Json]:
    done = helm(json.loads(values))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not said["lint"]["errors"], said["lint"]
    files = (text for name, text in said["files"].items() if name.endswith(".yaml"))
    return [each for text in files for each in yaml.safe_load_all(text) if each]


def objects(values: Json) -> list[Json]:
    return rendered(json.dumps(values))


def of_kind(values: Json, kind: str) -> dict[str, Json]:
    return {each["metadata"]["name"]: each for each in objects(values) if each["kind"] == kind}


def containers(values: Json) -> Iterator[tuple[Json, Json]]:
    for kind in ("Deployment", "StatefulSet"):
        for each in of_kind(values, kind).values():
            pod = each["spec"]["template"]["spec"]
            yield from ((pod, container) for container in pod["containers"])


@pytest.mark.parametrize("values", [{}, EVERYTHING, OWN_STORE], ids=["plain", "everything", "own store"])
def test_every_object_fits_the_schemas_of_kubernetes(values: Json) -> None:
    found = objects(values)
    assert len(found) > 10
    for each in found:
        fits_schema(each)
        check_object(f"{each['kind'].lower()}s", each, None)
    kinds = {each["kind"] for each in found}
    assert ("StatefulSet" in kinds) == (values is not OWN_STORE)
    assert ("Ingress" in kinds) == (values is EVERYTHING)


def test_instances_may_reach_a_store_of_one_s_own() -> None:
    def allowed(values: Json) -> list[Json]:
        policy = of_kind(values, "NetworkPolicy")["studio-lorapool-instance"]
        return [rule for rule in policy["spec"]["egress"] if "to" not in rule]

    own = allowed({**OWN_STORE, "store": {"enabled": False, "port": 6380}})
    assert {"ports": [{"port": 6380, "protocol": "TCP"}]} in own
    assert len(allowed({})) == len(own) - 1


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"cache": {"type": "ramdisk"}}, "cache"),
        ({"gatway": {}}, "gatway"),
        ({"store": {"enabled": False}}, "existingSecret"),
        ({"storePassword": "with / and @"}, "storePassword"),
    ],
)
def test_wrong_values_are_refused_by_name(values: Json, word: str) -> None:
    done = helm(values)
    assert done.returncode != 0
    assert word in done.stderr


def test_nobody_is_root_and_everybody_is_watched() -> None:
    for pod, container in containers(EVERYTHING):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
        # The supervisor listens on nothing; that it works is seen by its lease as the leader.
        assert "readinessProbe" in container or container["name"] == "supervisor"
        assert pod["automountServiceAccountToken"] is (container["name"] == "supervisor")


def test_secrets_are_only_referred_to() -> None:
    (secret,) = of_kind({}, "Secret").values()
    secrets = {value for name, value in secret["stringData"].items()}
    others = json.dumps([each for each in objects({}) if each["kind"] != "Secret"])
    assert not [value for value in secrets if value in others]


def plan_of_the_chart(tmp_path: Path, values: Json) -> Settings:
    template = tmp_path / "pod.yaml"
    template.write_text(of_kind(values, "ConfigMap")["studio-lorapool-instance"]["data"]["pod.yaml"])
    return Settings(kubernetes_pod_template=str(template))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_pods_that_it_has_made_fit_too(tmp_path: Path, values: Json) -> None:
    description = parse(
        {
            "metadata": {"name": "kohya_job", "type": "ScalableJob", "cpu": 4, "memory": 16384, "gpu": 1},
            "containers": [
                {
                    "image": "studio/kohya:1",
                    "command": "true",
                    "env": [{"name": "HF_HOME", "value": "/data/hub"}],
                }
            ],
            "storage": [
                {"mount_path": "/mnt/models", "nfs": {"server": "nas", "path": "/models", "readOnly": True}},
                {"mount_path": "/mnt/data", "oss": {"path": "oss://studio/loras/"}},
            ],
        }
    ).description
    settings = plan_of_the_chart(tmp_path, values)
    pod = build(Order("0123456789ab", "kohya_job", "", description), description, read_plan(settings), "d1")
    fits_schema(pod)
    check_object("pods", {**pod, "metadata": {**pod["metadata"]}}, None)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "16384Mi", "nvidia.com/gpu": "1"}
    assert {"name": "storage-0", "mountPath": "/mnt/models", "readOnly": True} in container["volumeMounts"]
    # network policies and the secret find it
    assert (
        pod["metadata"]["labels"].items()
        >= {
            "app.kubernetes.io/name": "lorapool",
            "app.kubernetes.io/instance": "studio",
            "app.kubernetes.io/component": "instance",
        }.items()
    )
    assert pod["spec"]["automountServiceAccountToken"] is False, "people's programs get no key to the cluster"


def test_it_may_do_what_the_launcher_does_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (role,) = of_kind({}, "Role").values()
    (supervisor,) = (each for name, each in of_kind({}, "Deployment").items() if name.endswith("-supervisor"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    cluster = Cluster(tmp_path / "cluster")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kube_config))
    cluster.objects.create("deployments", cluster.namespace, supervisor)
    cluster.secret("studio-lorapool", redis_url="redis://store")
    cluster.api.rules = role["rules"]
    settings = plan_of_the_chart(tmp_path, {})
    owner = f"Deployment/{supervisor['metadata']['name']}"
    world = KubernetesWorld(
        cluster, kubernetes_owner=owner, kubernetes_pod_template=settings.kubernetes_pod_template
    )
    try:
        # a whole life: made, owned, marked while busy, asked to leave
        instance = world.change(world.running(), tasks=("t1",))
        world.until(lambda: any(each.verb == "patch" for each in cluster.api.requests))
        pod = cluster.pod_of(instance.id)
        assert pod is not None
        (reference,) = pod["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["name"]) == ("Deployment", supervisor["metadata"]["name"])
        world.launcher.stop(instance)
        world.until(lambda: cluster.pods() == [])
        # an uninstall takes what is left
        world.running()
        cluster.objects.delete("deployments", cluster.namespace, supervisor["metadata"]["name"], {})
        assert wait_until(lambda: cluster.pods() == [], 10.0)
    finally:
        world.close()
        cluster.close()
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert cluster.api.calls() == allowed
