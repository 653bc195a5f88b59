"""The contract of `backend.pool.launcher`, the same test for every launcher there is.

A launcher joins by a rig (`tests/support/launcher_rig.py`) in `RIGS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from backend.errors import LorapoolError
from backend.processes import wait_until
from backend.store.embedded import EmbeddedStore
from tests.support.kubernetes_rig import KubernetesRig
from tests.support.launcher_rig import PATIENCE, Rig
from tests.support.launcher_rigs import FakeRig, LocalRig, RayRig

RIGS: dict[str, Callable[[str], Rig]] = {
    "fake": FakeRig,
    "kubernetes": KubernetesRig,
    "local": LocalRig,
    "ray": RayRig,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store for all rigs."""
    server = EmbeddedStore(tmp_path_factory.mktemp("contract"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=list(RIGS))
def engine(request: pytest.FixtureRequest, server: EmbeddedStore) -> Iterator[Rig]:
    """One launcher on its engine, for all tests of it."""
    rig = RIGS[request.param](server.url)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def rig(engine: Rig) -> Iterator[Rig]:
    """The engine, empty before and after."""
    engine.told.clear()
    engine.stages.clear()
    yield engine
    engine.clean()


class TestStart:
    def test_what_is_ordered_comes_up_by_its_own_word(self, rig: Rig) -> None:
        instance = rig.up()
        assert rig.launcher.holds(instance.id)
        assert instance.host, "it says where it is"
        assert rig.launcher.adopt(instance)
        assert rig.traces() == {instance.id}
        assert rig.told == []
        assert rig.eventually(lambda: instance.id not in rig.launcher.progress()), "it is up"

    def test_the_same_order_twice_is_one_instance(self, rig: Rig) -> None:
        instance = rig.up()
        rig.again(instance)
        rig.look()
        assert rig.traces() == {instance.id}
        assert rig.ends_of(instance.id) == []

    def test_several_are_up_side_by_side(self, rig: Rig) -> None:
        several = {rig.order().id for _ in range(2)}
        for name in several:
            rig.comes_up(name)
        assert rig.eventually(lambda: all(rig.find(name).ready_at for name in several))
        assert rig.traces() == several

    def test_a_refusal_leaves_nothing(self, rig: Rig) -> None:
        with rig.refused():
            instance = rig.note()
            try:
                rig.again(instance)
            except LorapoolError as error:
                assert str(error)
            else:
                assert rig.eventually(lambda: rig.ends_of(instance.id) or rig.stages.get(instance.id))
            rig.forget(instance.id)
            assert rig.launcher.kill(instance)
        assert rig.eventually(lambda: not rig.traces())
        assert rig.eventually(lambda: not rig.launcher.holds(instance.id))

    def test_stages_of_a_start_go_forward(self, rig: Rig) -> None:
        instance = rig.up()
        stages = rig.stages.get(instance.id, [])
        assert all(stage.text and stage.since <= time.time() for stage in stages)
        assert [stage.since for stage in stages] == sorted(stage.since for stage in stages)

    def test_a_start_that_waits_says_what_for_and_can_be_taken_back(self, rig: Rig) -> None:
        if not rig.can_wait:
            pytest.skip("no start waits here")
        with rig.congested():
            instance = rig.order()
            assert rig.eventually(lambda: instance.id in rig.stages)
            assert rig.launcher.holds(instance.id)
            assert rig.stages[instance.id][-1].text
            rig.forget(instance.id)
            assert wait_until(lambda: rig.launcher.kill(instance), PATIENCE)
            assert rig.eventually(lambda: not rig.traces())
            assert instance.id not in rig.launcher.progress()

    def test_devices_are_counted_or_without_limit(self, rig: Rig) -> None:
        def free() -> int | None:
            found = rig.launcher.free_devices([i.device for i in rig.present()], rig.description)
            return None if found is None else len(found)

        assert rig.eventually(lambda: free() == rig.devices)
        rig.order()
        assert free() == (None if rig.devices is None else rig.devices - 1)


class TestEnd:
    def test_one_that_is_asked_leaves(self, rig: Rig) -> None:
        instance = rig.up()
        rig.launcher.stop(instance)
        rig.launcher.stop(instance)
        rig.obeys(instance.id)
        assert rig.eventually(lambda: not rig.traces())
        assert rig.eventually(lambda: instance.id not in {each.id for each in rig.present()})
        assert len(rig.ends_of(instance.id)) <= 1, "each end is told once"

    def test_a_kill_leaves_nothing_and_may_be_repeated(self, rig: Rig) -> None:
        instance = rig.up()
        assert wait_until(lambda: rig.launcher.kill(instance), PATIENCE)
        assert rig.eventually(lambda: not rig.traces())
        assert rig.launcher.kill(instance)
        assert rig.eventually(lambda: not rig.launcher.holds(instance.id))

    def test_one_that_dies_is_told_once_and_wakes_the_supervisor(self, rig: Rig) -> None:
        instance = rig.up()
        rig.changed.clear()
        rig.crash(instance.id)
        assert rig.changed.wait(PATIENCE)
        assert rig.eventually(lambda: rig.ends_of(instance.id))
        assert rig.eventually(lambda: not rig.launcher.holds(instance.id))
        for _ in range(3):
            rig.look()
        (reason,) = rig.ends_of(instance.id)
        assert reason
        assert wait_until(lambda: rig.launcher.kill(instance), PATIENCE)
        assert rig.eventually(lambda: not rig.traces())

    def test_unknown_ones_are_no_fault(self, rig: Rig) -> None:
        instance = rig.note()
        assert not rig.launcher.holds(instance.id)
        rig.launcher.stop(instance)
        assert rig.launcher.kill(instance)
        rig.launcher.stop(instance)
        assert rig.told == []

    def test_one_that_somebody_else_started_is_left_alone(self, rig: Rig) -> None:
        theirs = rig.note(launcher="manual", host="elsewhere", device="cuda:0")
        assert rig.launcher.adopt(theirs)
        rig.launcher.stop(theirs)
        assert rig.launcher.kill(theirs)
        rig.look()
        assert not rig.launcher.holds(theirs.id)


class TestSuccession:
    @pytest.mark.parametrize("killed", [True, False])
    def test_the_next_supervisor_finds_what_runs(self, rig: Rig, killed: bool) -> None:
        instance = rig.up()
        rig.abandon() if killed else rig.launcher.close()
        rig.next_supervisor()
        assert rig.eventually(lambda: rig.launcher.adopt(instance) and rig.launcher.holds(instance.id))
        for _ in range(5):
            rig.look()
        assert rig.traces() == {instance.id}, "what the store knows is no orphan: it goes on"
        assert rig.ends_of(instance.id) == []
        rig.crash(instance.id)
        assert rig.eventually(lambda: rig.ends_of(instance.id))
        assert rig.eventually(lambda: not rig.traces())

    def test_what_ended_in_between_is_surely_gone(self, rig: Rig) -> None:
        instance = rig.up()
        rig.abandon()
        rig.crash(instance.id)
        assert wait_until(lambda: not rig.traces(), PATIENCE)
        rig.next_supervisor()
        assert rig.eventually(lambda: not rig.launcher.adopt(instance) or rig.ends_of(instance.id))
        assert wait_until(lambda: rig.launcher.kill(rig.find(instance.id)), PATIENCE)

    def test_a_start_that_nobody_carried_out_is_told_from_one_that_is_under_way(self, rig: Rig) -> None:
        begun, never = rig.order(), rig.note(created_at=time.time() - 60)
        assert rig.eventually(lambda: begun.id in rig.traces())
        rig.abandon()
        rig.next_supervisor()
        assert rig.eventually(lambda: not rig.launcher.adopt(never))
        assert not rig.launcher.holds(never.id)
        assert rig.launcher.kill(never), "nothing is left of it"
        for _ in range(5):
            rig.look()
            assert rig.launcher.adopt(begun), "as it was when it was noted: it has said nothing yet"

    def test_an_orphan_is_ended(self, rig: Rig) -> None:
        instance = rig.up()
        rig.abandon()
        rig.forget(instance.id)
        rig.next_supervisor()
        assert rig.eventually(lambda: not rig.traces())
