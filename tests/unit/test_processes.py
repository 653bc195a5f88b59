"""Processes are known by pid and start; groups by their living members."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backend import processes
from backend.instance import Place
from backend.processes import alive, group_members, here, signal_group, start_time, wait_until

PATIENCE = 20.0


@contextmanager
def sleeper(**options: bool) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_this_process_is_here_and_alive() -> None:
    assert here().pid == os.getpid()
    assert alive(here())


def test_a_process_that_ended_is_not_alive() -> None:
    with sleeper() as process:
        place = here(process.pid)
        assert alive(place)
    assert not alive(place)


def test_a_zombie_is_not_alive() -> None:
    with sleeper() as process:
        place = here(process.pid)
        process.kill()
        # not waited for yet: it stays a zombie
        assert wait_until(lambda: not alive(place), PATIENCE)
        assert psutil.pid_exists(process.pid)


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    assert not alive(replace(here(), started_at=here().started_at - 1.0))


def test_a_process_of_another_host_may_not_be_asked() -> None:
    with pytest.raises(ValueError, match="not here"):
        alive(Place("another-host", 1, 0.0))


def test_nobody_has_a_start_who_does_not_run() -> None:
    with sleeper() as process:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        start_time(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere starts are times since the epoch")
def test_setting_the_clock_changes_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    place = here()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 0.0)
    assert here() == place


def test_a_name_with_parentheses_does_not_confuse_the_start(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        assert wait_until(lambda: psutil.Process(process.pid).name().startswith("a)"), PATIENCE)
        assert abs(start_time(process.pid) - start_time(os.getpid())) < 3600
    finally:
        process.kill()
        process.wait()


def test_a_group_has_its_living_members_and_is_signalled_whole() -> None:
    command = "sleep 60 & sleep 60 & wait"
    process = subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)
    try:
        assert wait_until(lambda: len(group_members(process.pid)) == 3, PATIENCE)
        assert signal_group(process.pid, signal.SIGKILL)
    finally:
        process.wait()
    assert wait_until(lambda: not group_members(process.pid), PATIENCE)
    # zombies stay until whoever inherits them looks
    assert wait_until(lambda: not signal_group(process.pid, signal.SIGKILL), PATIENCE)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_child_is_told_when_its_parent_dies() -> None:
    program = (
        "import subprocess, time\n"
        "from backend.processes import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    place = here(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: not alive(place), PATIENCE)


def test_waiting_ends_with_the_condition_or_the_deadline() -> None:
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), PATIENCE)
    assert not processes.wait_until(lambda: False, 0.0)
