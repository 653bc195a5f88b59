"""Group semantics of the stream queue, held against a small model in memory by random histories."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.store import consumers, streams
from backend.store.connection import Store
from backend.store.consumers import Watch
from backend.store.embedded import EmbeddedStore

GROUPS = st.sampled_from(["g1", "g2"])
NAMES = st.sampled_from(["a", "b"])
COLOURS = st.sampled_from([{}, {"colour": "red"}, {"colour": "blue"}, {"colour": "red", "size": "xl"}])
FILTERS = st.sampled_from([{}, {}, {"colour": "red"}, {"size": "xl"}])
INDEXES = st.integers(1, 8)
MAX_DELIVERY = 2

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    server = EmbeddedStore(tmp_path_factory.mktemp("store"))
    server.start()
    store = Store(server.url)
    yield store
    store.close()
    server.stop()


class Group:
    def __init__(self, todo: set[int]) -> None:
        self.todo = todo
        self.pending: dict[int, str] = {}
        self.tries: dict[int, int] = {}

    def holds(self, index: int) -> bool:
        return index in self.todo or index in self.pending


class Machine(RuleBasedStateMachine):
    """The model: items, and for each group what it has not been given, and who holds what."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.queue = f"q{next(_NUMBERS)}"
        self.items: dict[int, tuple[int, dict[str, str]]] = {}
        self.groups: dict[str, Group] = {}
        self.connected: dict[tuple[str, str], Watch] = {}
        self.dead: list[int] = []
        self.last = 0
        self.ids: dict[str, int] = {}
        self.store.run(streams.configure(self.queue, streams.QueueSettings(max_delivery=MAX_DELIVERY)))

    # -- the model ---------------------------------------------------------------------------------------------

    def order(self, index: int) -> tuple[int, int]:
        return (-self.items[index][0], index)

    def remove(self, index: int) -> None:
        self.items.pop(index, None)
        for group in self.groups.values():
            group.todo.discard(index)
            group.pending.pop(index, None)
            group.tries.pop(index, None)

    def consume(self, name: str, index: int) -> None:
        group = self.groups.get(name)
        if group is not None:
            group.todo.discard(index)
            group.pending.pop(index, None)
            group.tries.pop(index, None)
        if not any(other.holds(index) for key, other in self.groups.items() if key != name):
            self.remove(index)

    def give_back(self, name: str, index: int, *, counted: bool) -> None:
        group = self.groups[name]
        del group.pending[index]
        if counted:
            group.tries[index] = group.tries.get(index, 0) + 1
            if group.tries[index] >= MAX_DELIVERY:
                self.dead.append(index)
                self.consume(name, index)
                return
        group.todo.add(index)

    def fits(self, index: int, wanted: dict[str, str]) -> bool:
        return wanted.items() <= self.items[index][1].items()

    # -- what happens ------------------------------------------------------------------------------------------

    @rule(tags=COLOURS, priority=st.integers(0, 1), request=st.sampled_from(["", "r1", "r2", "r3"]))
    def put(self, tags: dict[str, str], priority: int, request: str) -> None:
        answer = self.store.run(streams.put(self.queue, b"x", tags, request_id=request, priority=priority))
        if request in self.ids:
            assert answer == streams.Put(self.ids[request], known=True)
            return
        self.last += 1
        assert answer == streams.Put(self.last, known=False)
        if request:
            self.ids[request] = self.last
        self.items[self.last] = (priority, tags)
        for group in self.groups.values():
            group.todo.add(self.last)

    @rule(
        group=GROUPS,
        name=NAMES,
        window=st.integers(1, 3),
        tags=FILTERS,
        start=st.sampled_from([0, 0, 0, 2, -1]),
    )
    def connect(self, group: str, name: str, window: int, tags: dict[str, str], start: int) -> None:
        session = f"s{next(_NUMBERS)}"
        watch = Watch(self.queue, group, name, session, "here", window=window, tags=tags, start=max(0, start))
        if (group, name) in self.connected:
            for index in [i for i, holder in self.groups[group].pending.items() if holder == name]:
                self.give_back(group, index, counted=True)
        assert self.store.run(consumers.connect(watch)) == "ok"
        self.groups.setdefault(group, Group(set(self.items)))
        self.connected[(group, name)] = watch

    @initialize(first=st.lists(st.tuples(COLOURS, st.integers(0, 1)), min_size=1, max_size=5), group=GROUPS)
    def begin(self, first: list[tuple[dict[str, str], int]], group: str) -> None:
        for tags, priority in first:
            self.put(tags, priority, "")
        self.connect(group, "a", 2, {}, 0)

    @precondition(lambda self: self.connected)
    @rule(data=st.data(), most=st.integers(1, 4))
    def fetch(self, data: Any, most: int) -> None:
        self.fetch_one(data, most)

    @precondition(lambda self: self.connected)
    @rule(data=st.data())
    def fetch_all(self, data: Any) -> None:
        for _ in range(2):
            self.fetch_one(data, 9)

    def fetch_one(self, data: Any, most: int) -> None:
        group, name = data.draw(st.sampled_from(sorted(self.connected)))
        watch = self.connected[(group, name)]
        answer = self.store.run(consumers.fetch(watch, most=most))
        mine = self.groups[group]
        room = min(most, watch.window - sum(holder == name for holder in mine.pending.values()))
        if room <= 0:
            assert answer.state == "full"
            return
        expected = sorted(
            (i for i in mine.todo if i >= watch.start and self.fits(i, watch.tags)), key=self.order
        )[:room]
        assert [item.index for item in answer.items] == expected
        assert answer.state == ("ok" if expected else "empty")
        for item in answer.items:
            assert item.tags == self.items[item.index][1]
            mine.todo.discard(item.index)
            mine.pending[item.index] = name

    @rule(group=GROUPS, index=INDEXES)
    def commit(self, group: str, index: int) -> None:
        self.store.run(consumers.commit(self.queue, group, [index]))
        if index in self.items:
            self.consume(group, index)

    @rule(group=GROUPS, index=INDEXES, counted=st.booleans())
    def negative(self, group: str, index: int, counted: bool) -> None:
        self.store.run(consumers.negative(self.queue, group, [index], counted=counted))
        if group in self.groups and index in self.groups[group].pending:
            self.give_back(group, index, counted=counted)

    @precondition(lambda self: any(group.pending for group in self.groups.values()))
    @rule(data=st.data(), counted=st.booleans())
    def fail(self, data: Any, counted: bool) -> None:
        self.fail_one(data, counted=counted)

    def fail_one(self, data: Any, *, counted: bool) -> None:
        name = data.draw(
            st.sampled_from(sorted(name for name, group in self.groups.items() if group.pending))
        )
        index = data.draw(st.sampled_from(sorted(self.groups[name].pending)))
        assert self.store.run(consumers.negative(self.queue, name, [index], counted=counted)) == 1
        self.give_back(name, index, counted=counted)

    @precondition(lambda self: any(group.pending for group in self.groups.values()))
    @rule(data=st.data())
    def poison(self, data: Any) -> None:
        for _ in range(3):
            if any(group.pending for group in self.groups.values()):
                self.fail_one(data, counted=True)
            if self.connected:
                self.fetch_one(data, 9)

    @precondition(lambda self: self.connected)
    @rule(data=st.data(), counted=st.booleans())
    def disconnect(self, data: Any, counted: bool) -> None:
        group, name = data.draw(st.sampled_from(sorted(self.connected)))
        watch = self.connected.pop((group, name))
        assert self.store.run(consumers.disconnect(watch, counted=counted, reason="test"))
        for index in [i for i, holder in self.groups[group].pending.items() if holder == name]:
            self.give_back(group, index, counted=counted)

    @rule(index=st.integers(1, 30))
    def delete(self, index: int) -> None:
        assert self.store.run(streams.delete(self.queue, [index])) == (index in self.items)
        self.remove(index)

    @rule(index=st.integers(-8, 4))
    def truncate(self, index: int) -> None:
        below = [i for i in self.items if i < index]
        assert self.store.run(streams.truncate(self.queue, max(0, index))) == len(below)
        for i in below:
            self.remove(i)

    @rule(tags=FILTERS, first=st.integers(-1, 5), length=st.integers(1, 3), take=st.booleans())
    def get(self, tags: dict[str, str], first: int, length: int, take: bool) -> None:
        found = self.store.run(streams.get(self.queue, tags, first=first, length=length, take=take))
        fitting = [i for i in self.items if self.fits(i, tags)]
        expected = sorted((i for i in fitting if i >= first), key=self.order)[:length]
        if first < 0:
            expected = [max(fitting)] if fitting else []
        assert [item.index for item in found] == expected
        if take:
            for i in expected:
                self.remove(i)

    # -- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        view = self.store.run(consumers.view(self.queue))
        assert (view.length, view.last) == (len(self.items), self.last)
        assert view.first == min(self.items, default=0)
        assert {g.name: (g.waiting, g.pending) for g in view.groups} == {
            name: (len(group.todo), len(group.pending)) for name, group in self.groups.items()
        }
        held = {(c.group, c.name): c.pending for c in view.consumers if c.status == "Running"}
        assert held == {
            (group, name): sum(holder == name for holder in self.groups[group].pending.values())
            for group, name in self.connected
        }
        dead = self.store.run(streams.get(f"{self.queue}/dead", {}, length=1000))
        assert sorted(int(item.tags["dead.index"]) for item in dead) == sorted(self.dead)

    @invariant()
    def finds(self) -> None:
        for index in (1, 5):
            found = self.store.run(streams.search(self.queue, "g1", index))
            holders = [
                f"{name}.{group.pending[index]}"
                for name, group in self.groups.items()
                if index in group.pending
            ]
            if index not in self.items:
                assert found is None
            elif holders:
                assert found is not None and found.pending and found.consumer in holders
            else:
                waiting = self.groups["g1"].todo if "g1" in self.groups else set(self.items)
                line = waiting if index in waiting else set(self.items)
                ahead = sum(self.order(i) < self.order(index) for i in line)
                assert found is not None and (found.pending, found.ahead) == (False, ahead)

    def teardown(self) -> None:
        self.store.run(streams.drop(self.queue))
        self.store.run(streams.drop(f"{self.queue}/dead"))
        left = [key for key in self.store.redis.keys(f"*{self.queue}*") if b"gateway" not in key]
        assert left == []


def test_random_histories_agree_with_the_model(store: Store) -> None:
    Machine.store = store
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_restart_keeps_everything(tmp_path: Path) -> None:
    # Given a queue with a consumer that holds an item, another item that waits, and a kill of the store
    server = EmbeddedStore(tmp_path)
    server.start()
    store = Store(server.url)
    for n in range(2):
        store.run(streams.put("q", b"%d" % n, {"n": str(n)}, request_id=f"r{n}"))
    watch = Watch("q", "g", "c", "s", "here", window=1)
    store.run(consumers.connect(watch))
    assert [item.index for item in store.run(consumers.fetch(watch)).items] == [1]
    assert server.process is not None
    server.process.kill()
    server.process.wait()

    # When it is started again
    server.start()

    # Then indexes, request ids, the position and what is not committed are as they were
    assert store.run(streams.put("q", b"0", {"n": "0"}, request_id="r0")) == streams.Put(1, known=True)
    assert store.run(streams.put("q", b"2", {"n": "2"}, request_id="r2")) == streams.Put(3, known=False)
    assert store.run(consumers.fetch(watch)).state == "full"
    store.run(consumers.commit("q", "g", [1]))
    assert [item.index for item in store.run(consumers.fetch(watch)).items] == [2]
    store.close()
    server.stop()
