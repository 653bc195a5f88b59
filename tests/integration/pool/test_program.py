"""A run and its guard: what it says, how it ends, and that nothing of it is ever left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from backend.errors import StaleAttempt
from backend.processes import group_members, wait_until
from backend.records import Phase, Progress, Result
from backend.worker import program as program_module
from backend.worker.program import Ending
from tests.support.one_template import ROOT, OneTemplate
from tests.support.voices import PATIENCE, Listener

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have no way to follow such processes"
)


@pytest.fixture
def run(template: OneTemplate) -> Iterator[Listener]:
    """A run; whatever became of it, its group is empty at the end."""
    listener = Listener(template.path)
    yield listener
    if listener.program is not None:
        listener.program.close()
        group = listener.program.group
        assert wait_until(lambda: not group_members(group), PATIENCE), "something of the run is left"


class TestWords:
    def test_both_streams_come_in_the_order_in_which_they_were_written(self, run: Listener) -> None:
        run.shell("for n in 1 2 3; do echo out $n; echo err $n >&2; done")
        assert run.wait() == Ending(exit_code=0)
        assert run.lines == ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]

    def test_lines_come_while_it_runs(self, run: Listener) -> None:
        program = run.shell("echo ready; sleep 600")
        run.await_line("ready")
        program.stop(0.0)
        run.wait()

    def test_records_come_on_the_descriptor_that_the_environment_names(self, run: Listener) -> None:
        run.shell(
            """echo '{"type": "phase", "name": "x"}' >&"$PROGRESS_FD"; echo noise >&"$PROGRESS_FD"; echo line"""
        )
        run.wait()
        assert (run.records, run.lines) == ([Phase("x")], ["line"])

    def test_what_is_said_last_is_heard_too(self, run: Listener) -> None:
        count = 5000
        ending = run.run("a name", str(count), entry="tests.support.children:speak")
        assert ending == Ending(exit_code=7)
        assert run.records == [*(Progress(n, count) for n in range(count)), Result("/x")]
        assert run.lines == ["name a name"]

    def test_a_record_without_an_end_is_no_burden(
        self, run: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(program_module, "_LONGEST_RECORD", 1000)
        run.shell(
            "head -c 200000 /dev/zero | tr '\\0' x >&$PROGRESS_FD; echo >&$PROGRESS_FD; "
            """echo '{"type": "phase", "name": "x"}' >&$PROGRESS_FD"""
        )
        run.wait()
        assert run.records == [Phase("x")]


class TestEnds:
    @pytest.mark.parametrize(
        ("command", "ending"),
        [
            ("exit 0", Ending(exit_code=0)),
            ("exit 3", Ending(exit_code=3)),
            ("kill -9 $$", Ending(signal=9)),
            ("kill -SEGV $$", Ending(signal=11)),
        ],
    )
    def test_exit_codes_and_signals_are_told(self, run: Listener, command: str, ending: Ending) -> None:
        run.shell(command)
        assert run.wait() == ending

    def test_a_program_that_is_not_there(self, run: Listener) -> None:
        assert run.run("/nowhere/program") == Ending(exit_code=127)
        assert run.lines == ["error: cannot start '/nowhere/program': No such file or directory"]

    def test_a_word_that_no_program_can_be_given(self, run: Listener) -> None:
        assert run.run("echo", "a\0b") == Ending(exit_code=127)
        assert "cannot start 'echo'" in run.lines[0]

    def test_a_pipe_breaks_as_in_any_shell(self, run: Listener) -> None:
        run.shell("yes | head -n 1; trap '' PIPE; exit 0")
        assert run.wait() == Ending(exit_code=0)
        assert run.lines == ["y"]

    def test_it_has_no_descriptors_but_its_own(self, run: Listener) -> None:
        code = "import os; print(sorted(int(n) for n in os.listdir('/dev/fd')), os.environ['PROGRESS_FD'])"
        run.run(sys.executable, "-c", code)
        listed, _, progress = run.lines[0].rpartition("] ")
        numbers = {int(n) for n in listed.strip("[").split(", ")}
        assert {0, 1, 2, int(progress)} < numbers
        assert len(numbers) == 5, "and one is that of the listing itself"

    def test_it_has_the_environment_that_it_was_given(self, run: Listener) -> None:
        run.run("/usr/bin/env", environment={"PATH": "/bin", "A": "b"})
        names = {line.partition("=")[0] for line in run.lines}
        assert names == {"PATH", "A", "PROGRESS_FD"}

    def test_a_signal_to_its_whole_group_does_not_end_the_guard(self, run: Listener) -> None:
        for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
            run.lines.clear()
            run.shell(f"trap 'echo got; exit 5' {name}; kill -s {name} 0; sleep 600 & wait")
            assert run.wait() == Ending(exit_code=5)
            assert run.lines == ["got"]


class TestNothingIsLeft:
    """The fixture looks that the group is empty."""

    def test_background_processes_that_hold_the_output_are_ended_with_it(self, run: Listener) -> None:
        run.shell("sleep 600 & sleep 600 & echo done")
        assert run.wait() == Ending(exit_code=0)
        assert run.lines == ["done"]

    def test_what_a_background_process_says_in_its_last_moment_is_heard(self, run: Listener) -> None:
        run.shell("(sleep 0.2; echo late) & echo done")
        run.wait()
        assert run.lines == ["done", "late"]

    @linux
    def test_processes_that_left_the_group_are_ended_too(self, run: Listener) -> None:
        # as the workers of torchrun do
        run.shell("setsid sh -c 'echo $$ >&2; sleep 600' & sleep 0.3; echo done")
        run.await_line("done")
        run.wait()
        stray = int(next(line for line in run.lines if line.isdigit()))
        assert wait_until(lambda: not lives(stray), PATIENCE)

    @linux
    def test_and_those_that_lost_their_parent_on_the_way(self, run: Listener) -> None:
        program = run.shell("setsid sh -c 'setsid sleep 600 & echo $!' ; echo up; sleep 600")
        run.await_line("up")
        stray = int(next(line for line in run.lines if line.isdigit()))
        assert lives(stray)
        program.stop(0.0)
        run.wait()
        assert wait_until(lambda: not lives(stray), PATIENCE)

    def test_a_guard_that_is_killed_takes_the_run_with_it(self, run: Listener) -> None:
        program = run.shell("echo up; sleep 600")
        run.await_line("up")
        os.kill(program.place.pid, signal.SIGKILL)
        assert run.wait() == Ending()

    def test_an_error_while_listening_ends_the_run(self, run: Listener) -> None:
        def stale(line: str) -> None:
            raise StaleAttempt("over")

        run.on_line = stale
        run.shell("echo up; sleep 600")
        with pytest.raises(StaleAttempt):
            run.wait()

    def test_a_program_that_nobody_listened_to_is_ended_by_closing_it(self, run: Listener) -> None:
        run.start(["sleep", "600"])

    def test_an_agent_that_is_killed_leaves_nothing(self, template: OneTemplate) -> None:
        command = "trap '' TERM HUP INT; sleep 600 & sleep 600"
        code = "import sys; from tests.support.children import hold; hold(sys.argv[1:])"
        agent = subprocess.Popen(
            [sys.executable, "-c", code, str(template.path), "/bin/sh", "-c", command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert agent.stdout is not None
        group = int(agent.stdout.readline())
        assert wait_until(lambda: len(group_members(group)) == 4, PATIENCE), "guard, shell, two sleeps"
        agent.kill()
        agent.wait()
        agent.stdout.close()
        assert wait_until(lambda: not group_members(group), PATIENCE)

    def test_descriptors_are_given_back(self, template: OneTemplate) -> None:
        before = psutil.Process().num_fds()
        for _ in range(5):
            Listener(template.path).run("true")
        assert psutil.Process().num_fds() == before


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TestStop:
    def test_it_may_end_by_itself(self, run: Listener) -> None:
        program = run.shell("trap 'echo cleaning; exit 4' TERM; echo up; sleep 600 & wait")
        run.await_line("up")
        program.stop(PATIENCE)
        assert run.wait() == Ending(exit_code=4)
        assert run.lines == ["up", "cleaning"]

    def test_what_does_not_listen_is_killed_when_its_time_is_over(self, run: Listener) -> None:
        program = run.shell("trap '' TERM; echo up; while :; do sleep 1; done")
        run.await_line("up")
        program.stop(0.2)
        assert run.wait().exit_code is None

    def test_the_shorter_time_counts(self, run: Listener) -> None:
        program = run.shell("trap '' TERM USR1; echo up; while :; do sleep 1; done")
        run.await_line("up")
        program.save(10 * PATIENCE)
        program.stop(0.2)
        run.wait()

    def test_saving_is_asked_for_by_a_signal_of_its_own(self, run: Listener) -> None:
        program = run.shell("trap 'echo saving; exit 85' USR1; echo up; sleep 600 & wait")
        run.await_line("up")
        program.save(PATIENCE)
        assert run.wait() == Ending(exit_code=85)
        assert "saving" in run.lines

    def test_after_the_end_nobody_else_s_group_is_signalled(
        self, run: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = run.shell("true")
        run.wait()
        monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("a signal to a group that is over"))
        program.stop(0.0)
        program.save(0.0)
        program.close()

    def test_it_is_over_when_the_group_is_empty(self, run: Listener) -> None:
        program = run.shell("trap '' TERM; echo up; sleep 600 & sleep 600 & wait")
        run.await_line("up")
        began = time.monotonic()
        program.stop(0.1)
        run.wait()
        assert not group_members(program.group)
        assert time.monotonic() - began < PATIENCE
