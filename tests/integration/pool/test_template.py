"""The template process: what a forked child is given, and what happens while the process is away."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.errors import RunFailed
from backend.instance import Place
from backend.pool.template import TemplateUnavailable, fork_child
from backend.processes import alive, wait_until
from tests.support.one_template import OneTemplate

PATIENCE = 60.0


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                continue


def line(descriptor: int) -> str:
    """The next line of a pipe; pytest's own time limit is the deadline."""
    text = b""
    while not text.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        text += byte
    return text.decode().rstrip("\n")


def fork(template: OneTemplate, target: str, descriptors: dict[str, int], **more: Any) -> Place:
    options: dict[str, Any] = {"environment": {"HOME": "/nowhere"}, "cwd": Path("/"), "deadline": PATIENCE}
    return fork_child(
        template.path,
        f"tests.support.children:{target}",
        {},
        descriptors=descriptors,
        **{**options, **more},
    )


def report(template: OneTemplate, **more: Any) -> tuple[Place, dict[str, Any]]:
    with pipe() as (read, write):
        place = fork(template, "report", {"out": write}, **more)
        return place, json.loads(line(read))


class TestChild:
    def test_it_has_the_environment_and_folder_of_the_request_and_nothing_else(
        self, template: OneTemplate, tmp_path: Path
    ) -> None:
        _, said = report(template, environment={"A": "b ä"}, cwd=tmp_path)
        assert said["environment"] == {"A": "b ä"}
        assert said["cwd"] == str(tmp_path.resolve())

    def test_it_leads_a_session_with_default_signals_and_no_input(self, template: OneTemplate) -> None:
        place, said = report(template)
        assert said["pid"] == said["session"] == place.pid
        assert said["stdin"] == ""
        assert said["term"]
        assert template.process is not None
        assert said["parent"] == template.process.pid

    def test_its_place_is_known_by_its_start(self, template: OneTemplate) -> None:
        with pipe() as (read, write), pipe() as (until, go):
            place = fork(template, "wait", {"out": write, "until": until})
            assert line(read) == "up"
            assert alive(place)
            os.close(go)
            os.close(until)
            assert line(read) == "over"
        assert wait_until(lambda: not alive(place), PATIENCE), "and nobody has to bury it"

    def test_its_output_goes_where_the_request_says(self, template: OneTemplate, tmp_path: Path) -> None:
        output = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
        with pipe() as (read, write):
            fork(template, "report", {"out": write, "stdout": output, "stderr": output})
            os.close(output)
            line(read)
            expected = ["said on stderr", "said on stdout"]
            found = tmp_path / "output"
            assert wait_until(lambda: sorted(found.read_text().splitlines()) == expected, PATIENCE)

    def test_the_caller_keeps_its_descriptors(self, template: OneTemplate) -> None:
        with pipe() as (read, write):
            fork(template, "report", {"out": write})
            os.write(write, b"mine\n")
            assert {line(read)[:4], line(read)[:4]} == {"mine", '{"ar'}

    def test_a_child_that_fails_says_so_where_its_output_goes(
        self, template: OneTemplate, tmp_path: Path
    ) -> None:
        output = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
        fork(template, "fail", {"stdout": output, "stderr": output})
        os.close(output)
        assert wait_until(lambda: "on purpose" in (tmp_path / "output").read_text(), PATIENCE)

    def test_a_target_or_folder_that_is_not_there_harms_only_the_child(
        self, template: OneTemplate, tmp_path: Path
    ) -> None:
        output = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
        fork(template, "nothing", {"stdout": output, "stderr": output})
        fork(template, "report", {"stdout": output, "stderr": output}, cwd=tmp_path / "nowhere")
        os.close(output)
        text = tmp_path / "output"
        assert wait_until(lambda: text.read_text().count("Traceback") == 2, PATIENCE)
        report(template)

    def test_the_caller_sees_the_end_of_a_pipe_when_the_child_ends(self, template: OneTemplate) -> None:
        with pipe() as (read, write), pipe() as (until, go):
            place = fork(template, "wait", {"out": write, "until": until})
            os.close(write)
            assert line(read) == "up"
            os.kill(place.pid, signal.SIGKILL)
            assert line(read) == "", "the template itself holds no end of it"
            os.close(go)

    def test_many_at_once_each_get_their_own(self, template: OneTemplate) -> None:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: report(template)[1]["pid"], range(40)))
        assert len(set(found)) == 40


class TestAway:
    def test_requests_wait_for_a_template_that_is_not_there_yet(self, own_template: OneTemplate) -> None:
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(report, own_template) for _ in range(3)]
            assert not any(each.done() for each in waiting)
            own_template.start()
            assert len({each.result(PATIENCE)[0].pid for each in waiting}) == 3

    def test_children_go_on_without_it_and_the_next_one_answers_on_the_same_socket(
        self, own_template: OneTemplate
    ) -> None:
        own_template.start()
        with pipe() as (read, write), pipe() as (until, go):
            place = fork(own_template, "wait", {"out": write, "until": until})
            os.close(until)
            assert line(read) == "up"
            own_template.kill()
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(report, own_template)
                own_template.start()
                waiting.result(PATIENCE)
            assert alive(place)
            os.close(go)
            assert line(read) == "over"

    def test_it_ends_when_whoever_started_it_is_gone(self, own_template: OneTemplate) -> None:
        own_template.start()
        report(own_template)
        assert own_template.process is not None and own_template.process.stdin is not None
        own_template.process.stdin.close()
        own_template.process.wait(PATIENCE)

    def test_a_deadline_ends_the_waiting(self, own_template: OneTemplate) -> None:
        with pytest.raises(TemplateUnavailable, match="does not answer"):
            report(own_template, deadline=0.3)

    def test_whoever_gives_up_need_not_wait_for_the_deadline(self, own_template: OneTemplate) -> None:
        given_up = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            waiting = pool.submit(report, own_template, give_up=given_up.is_set, deadline=10 * PATIENCE)
            given_up.set()
            with pytest.raises(TemplateUnavailable):
                waiting.result(PATIENCE)
            assert time.monotonic() - began < PATIENCE

    def test_a_socket_without_anybody(self, tmp_path: Path) -> None:
        with pytest.raises(TemplateUnavailable):
            fork_child(
                tmp_path / "no.sock", "x:y", {}, environment={}, cwd=tmp_path, descriptors={}, deadline=1.0
            )


class TestSocket:
    def test_only_its_owner_may_use_it(self, template: OneTemplate) -> None:
        assert stat.S_IMODE(template.path.stat().st_mode) == 0o600

    def test_a_request_that_is_too_long_fails_at_once(self, template: OneTemplate) -> None:
        with pytest.raises(RunFailed, match="over the limit"):
            report(template, environment={"A": "x" * (2 << 20)})
        report(template)

    @pytest.mark.parametrize(
        "noise", [b"", b"\x00", b"\xff" * 100, b"\x00\x00\x00\x05hello", b"\x00\x00\x00\x02{}"]
    )
    def test_noise_does_not_end_it(self, template: OneTemplate, noise: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(template.path))
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(PATIENCE)
            connection.recv(4096)
        report(template)
