"""Notebooks as the tests run them: copied, their parameters set, in a kernel that writes into one folder only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupyterlab
import nbformat
from nbclient import NotebookClient

from tests.support.box import ENVIRONMENT, PATIENCE, ROOT

NOTEBOOKS = ROOT / "notebooks"
SHARED = next(
    folder / "share" / "jupyter"
    for folder in Path(jupyterlab.__file__).parents
    if (folder / "share" / "jupyter" / "lab").is_dir()
)
"""Where the environment that JupyterLab was installed into keeps its pages and extensions."""


def environment(folder: Path) -> dict[str, str]:
    """What Jupyter runs with: nothing of the person's own is read or written."""
    own = {
        name: str(folder / name.lower())
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    mine = {name: text for name, text in os.environ.items() if not name.startswith("LORAPOOL_")}
    return {**mine, **ENVIRONMENT, **own, "JUPYTER_PATH": str(SHARED), "PYTHONPATH": str(ROOT)}


def with_parameters(name: str, parameters: Mapping[str, Any]) -> nbformat.NotebookNode:
    """A notebook with other values in its cell of parameters."""
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    for key, value in parameters.items():
        cell.source, count = re.subn(rf"(?m)^{key} = \S+", lambda _: f"{key} = {value!r}", cell.source)  # noqa: B023
        assert count == 1, f"{name} has no parameter {key}"
    return book


def run(name: str, folder: Path, **parameters: Any) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom; an error in a cell is an error here."""
    book = with_parameters(name, parameters)
    client = NotebookClient(
        book, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment(folder), cleanup_kc=True)
    return book


def printed(book: nbformat.NotebookNode) -> str:
    """What all its cells have printed."""
    outputs = (output for cell in book.cells for output in cell.get("outputs", []))
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def widgets(book: nbformat.NotebookNode) -> int:
    """How many widgets its cells show."""
    outputs = (output for cell in book.cells for output in cell.get("outputs", []))
    return sum("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs)


def pictures(book: nbformat.NotebookNode) -> list[str]:
    """The pictures that its cells have displayed, as base64."""
    outputs = (output for cell in book.cells for output in cell.get("outputs", []))
    return [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
