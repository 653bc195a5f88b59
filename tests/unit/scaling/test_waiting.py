"""The lines of waiting tasks, held against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.scaling import WaitingTask, WaitingTasks


def task(number: int, user: str = "", priority: int = 0, at: float = 0.0) -> WaitingTask:
    return WaitingTask(f"t{number}", "command", at, user=user, priority=priority, index=number)


steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from(["ana", "bob"]), st.integers(-1, 1))
)


@given(steps=steps, gone=st.sets(st.integers(0, 9)))
def test_what_is_put_and_taken_is_there_in_order(
    steps: list[tuple[bool, int, str, int]], gone: set[int]
) -> None:
    queue, plain = WaitingTasks[WaitingTask](), dict[str, WaitingTask]()
    for put, number, user, priority in steps:
        if put:
            queue.put(task(number, user, priority))
            plain[f"t{number}"] = task(number, user, priority)
        else:
            queue.take(f"t{number}")
            plain.pop(f"t{number}", None)
    kept = queue.copy()
    for left, held in (
        (plain, queue),
        (
            {name: t for name, t in plain.items() if t.index not in gone},
            queue.without(f"t{n}" for n in gone),
        ),
    ):
        ordered = sorted(left.values(), key=lambda t: t.index)
        assert list(held) == ordered
        assert (len(held), set(held.ids())) == (len(left), set(left))
        assert held.counts() == {u: n for u in ("ana", "bob") if (n := sum(t.user == u for t in ordered))}
        assert [held.find(f"t{n}") for n in range(10)] == [left.get(f"t{n}") for n in range(10)]
        for user in held.counts():
            mine = sorted((t for t in ordered if t.user == user), key=lambda t: (-t.priority, t.index))
            assert list(held.line(user, lambda entry: entry.priority)) == mine
    for name in list(plain):
        queue.take(name)
    assert list(queue) == [] and list(kept) == sorted(plain.values(), key=lambda t: t.index)


def test_the_newest_of_each_line_are_told() -> None:
    queue = WaitingTasks([task(n, "ana", at=float(n)) for n in range(5)] + [task(9, "bob", 3, at=9.0)])
    assert sorted(queue.newest(after=2.0, most=9)) == [3.0, 4.0, 9.0]
    assert sorted(queue.newest(after=-1.0, most=1)) == [4.0, 9.0]
    assert sorted(queue.without(["t4"]).newest(after=2.0, most=9)) == [3.0, 9.0]
    assert queue.top == 3


def test_a_task_is_made_when_it_is_looked_at() -> None:
    looked = []

    def view(entry: WaitingTask) -> WaitingTask:
        looked.append(entry.id)
        return entry

    queue = WaitingTasks([task(n) for n in range(1000)], view)
    assert next(queue.line("", lambda entry: 0)).id == "t0"
    assert looked == ["t0"]
