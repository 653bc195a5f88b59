"""A whole cluster in this process, as a kube-config leads to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster.nodes import Nodes
from tests.support.cluster.objects import Json, Objects
from tests.support.cluster.rules import Quota, check_object
from tests.support.cluster.server import ApiDouble

TOKEN = "the-supervisor-s-token"


class Cluster:
    """`run`: containers are real processes. `images`: those that there are; None: all.

    `close` ends the server, the nodes and whatever they started.
    """

    def __init__(self, folder: Path, *, namespace: str = "studio", run: bool = False, **given: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.namespace = namespace
        self.folder = folder
        self.objects = Objects()
        self.objects.checks.append(check_object)
        certificate = make_certificate(folder)
        self.api = ApiDouble(self.objects, certificate, TOKEN, namespace)
        self.nodes = Nodes(self.objects, namespace, folder if run else None, given.get("images"))
        self.kube_config = folder / "kube-config"
        self.kube_config.write_text(yaml.safe_dump(self._config(certificate[0])))

    def _config(self, authority: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [
                {"name": "here", "context": {"cluster": "here", "user": "us", "namespace": self.namespace}}
            ],
            "clusters": [
                {"name": "here", "cluster": {"server": self.api.url, "certificate-authority": authority}}
            ],
            "users": [{"name": "us", "user": {"token": TOKEN}}],
        }

    def quota(self, **hard: int) -> Quota:
        """A ResourceQuota; change its `hard` to give way."""
        quota = Quota(self.objects, {name.replace("_", "."): most for name, most in hard.items()})
        self.objects.checks.append(quota.check)
        return quota

    def pods(self) -> list[Json]:
        return self.objects.list("pods", self.namespace)

    def pod_of(self, instance: str) -> Json | None:
        found = [
            p for p in self.pods() if p["metadata"]["labels"].get("lorapool.internal/instance") == instance
        ]
        return found[0] if found else None

    def name_of(self, instance: str) -> str:
        pod = self.pod_of(instance)
        assert pod is not None
        return str(pod["metadata"]["name"])

    def phase(self, instance: str) -> str:
        pod = self.pod_of(instance)
        return "" if pod is None else str(pod.get("status", {}).get("phase", ""))

    def secret(self, name: str, **values: str) -> None:
        data = {key.replace("_", "-"): value for key, value in values.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        self.objects.create("secrets", self.namespace, secret)

    def close(self) -> None:
        self.api.stop()
        self.nodes.close()
        assert self.api.broken == [], self.api.broken


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return str(certificate), str(key)
