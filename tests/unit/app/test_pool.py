"""What is taken to be on the instances."""

from __future__ import annotations

from typing import Any

from app.pool import capabilities

HERE = {"host": "box", "device": "cpu"}
INSTALLED = frozenset({"prodigyopt"})


def known(*instances: dict[str, Any]) -> tuple[bool, bool]:
    found = capabilities(instances, sd_scripts=False, here="box", installed=INSTALLED)
    return found.gpu, "bitsandbytes" in found.packages


def test_instances_of_this_machine_have_what_is_installed_here() -> None:
    assert known(HERE) == (False, False)


def test_of_other_machines_everything_is_taken_to_be_there() -> None:
    assert known(HERE, {"host": "other", "device": "cuda:0"}) == (True, True)


def test_without_an_instance_nothing_is_held_against_a_form() -> None:
    assert known() == known({"host": "box", "device": ""}) == (True, True)
