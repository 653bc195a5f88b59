"""`lorapool replay` and `lorapool workload`, from the command line on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

FIGURES = {"cost_ratio", "wait_mean", "wait_p50", "wait_p95", "wait_p99", "wait_max", "starts", "kills"}


def lorapool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from backend.cli import main; main()", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "work.csv.gz"
    made = lorapool("workload", "inference", path, "--tasks", "250", "--seed", "3")
    assert made.returncode == 0, made.stderr
    assert "250 tasks" in made.stdout
    return path


def autoscaler(folder: Path, value: Any) -> Path:
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_json_has_the_figures_and_a_picture_is_drawn(trace: Path, tmp_path: Path) -> None:
    said, plot = autoscaler(tmp_path, {"min": 0, "max": 10}), tmp_path / "course.svg"
    done = lorapool("replay", trace, "--autoscaler", said, "--cold-start", "60", "--plot", plot, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= FIGURES
    assert (found["tasks"], found["kills"]) == (250, 0)
    assert 0.7 < found["cost_ratio"] < 2
    assert "rivals" not in found
    assert ElementTree.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_table_has_a_row_for_every_rule(trace: Path, tmp_path: Path) -> None:
    description = {
        "metadata": {"name": "a", "type": "ScalableJob"},
        "autoscaler": {"min": 0, "max": 10, "strategies": {"avg_waiting_length": 2}},
    }
    done = lorapool("replay", trace, "-a", autoscaler(tmp_path, description), "--cold-start", "20")
    assert done.returncode == 0, done.stderr
    rows = {
        row[1].strip(): row[2:-1]
        for row in (line.split("|") for line in done.stdout.splitlines())
        if len(row) > 3
    }
    for name in (
        "this autoscaler",
        "EAS default, same bounds",
        "Ray Serve, target 2",
        "Knative KPA",
        "SkyPilot pool",
    ):
        assert len(rows[name]) == 8
    # The description says what the EAS default says, so the two rows are the same.
    assert rows["this autoscaler"] == rows["EAS default, same bounds"]


def test_affinity_is_compared(trace: Path) -> None:
    done = lorapool("replay", trace, "--affinity-compare", "20", "--json")
    assert done.returncode == 0, done.stderr
    normal, busy = json.loads(done.stdout)["loads"]
    assert (normal["load"], busy["load"]) == (1, 10)
    assert busy["regarded"]["switches"] < 0.6 * busy["without"]["switches"]
    assert busy["regarded"]["wait_mean"] < busy["without"]["wait_mean"]
    assert busy["regarded"]["overtaken"] <= 24


def test_a_workload_needs_no_file() -> None:
    done = lorapool("replay", "synthetic:training:60", "--json", "--speed", "3")
    assert json.loads(done.stdout)["tasks"] == 60


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("replay", "nothing.csv"), "cannot be read as a trace"),
    (("replay", "synthetic:video"), "inference and training"),
    (("replay", "synthetic:training:none"), "asks for 'none' tasks"),
    (("replay", "synthetic:training:9", "--autoscaler", "nothing.json"), "cannot be read as JSON"),
    (("replay", "synthetic:training:9", "--cold-start", "-1"), "0 or more seconds"),
    (("replay", "synthetic:training:9", "--cold-start", "nan"), "0 or more seconds"),
    (("replay", "synthetic:training:9", "--speed", "0"), "greater than 0"),
    (("replay", "synthetic:training:9", "--progress", "2"), "between 0 and 1"),
    (("replay", "synthetic:training:9", "--affinity-compare", "20"), "no column base_model"),
    (("replay", "synthetic:training:9", "--json", "--plot", "no/such/folder.svg"), "cannot be written"),
    (("workload", "video", "out.csv"), "inference and training"),
    (("workload", "training", "no/such/folder.csv"), "cannot be written"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from backend import cli

    before, sys.argv = sys.argv, ["lorapool", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = before
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert said in shown.err
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1


def test_an_autoscaler_that_contradicts_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from backend.errors import InvalidArgument
    from backend.scaling.report import read_autoscaler

    with pytest.raises(InvalidArgument, match="greater than max"):
        read_autoscaler(autoscaler(tmp_path, {"min": 3, "max": 1}))
    with pytest.raises(InvalidArgument, match="holds no object"):
        read_autoscaler(autoscaler(tmp_path, [1]))
