"""The instances as a supervisor knows them: those that changed at once, the others in turn."""

from __future__ import annotations

from backend.instance import Instance, InstanceState
from backend.pool.roster import LOOK_EVERY, Roster
from backend.store import instances
from tests.support.hands import Hands
from tests.support.store_world import World


def mine(world: World, found: list[Instance]) -> list[Instance]:
    """Those of this test: others use the store too."""
    return [instance for instance in found if instance.service == world.service]


def states(world: World, found: list[Instance]) -> dict[str, InstanceState]:
    return {instance.id: instance.state for instance in mine(world, found)}


def test_what_changed_comes_at_once_and_the_others_in_time(world: World) -> None:
    hands = Hands()
    roster = Roster(world.store, hands)
    one, other = world.instance(), world.instance()
    assert states(world, roster.update(None)) == {one: InstanceState.IDLE, other: InstanceState.IDLE}
    # given changes of both, of which only one is heard
    world.assigned(one)
    world.assigned(other)
    assert states(world, roster.update({one})) == {one: InstanceState.BUSY, other: InstanceState.IDLE}
    hands.now += LOOK_EVERY
    assert states(world, roster.update(())) == {one: InstanceState.BUSY, other: InstanceState.BUSY}
    # who is new or gone is noticed without a word
    new = world.instance(ready=False)
    world.store.run(instances.gone(one, "", counted=False, max_delivery=0))
    assert states(world, roster.update(())) == {other: InstanceState.BUSY, new: InstanceState.STARTING}


def test_a_lease_that_may_be_over_is_looked_at(world: World) -> None:
    hands = Hands()
    roster = Roster(world.store, hands)
    name = world.instance(lease=0.3)
    (seen,) = mine(world, roster.update(None))
    assert seen.lease_left > 0
    world.expire_lease(name)
    assert mine(world, roster.update(()))[0].lease_left > 0
    hands.now += 0.3
    assert mine(world, roster.update(()))[0].lease_left == 0
