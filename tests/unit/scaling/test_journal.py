"""The journal of decisions: what it says, what it folds, what it forgets."""

from __future__ import annotations

from backend.scaling import InstanceView, Journal, Memory, WaitingTask, decide
from backend.scaling.journal import Entry, folded
from tests.support.scaling_world import NOW, busy, idle, queue, running, snapshot, starting, waiting


def record(
    journal: Journal, *parts: WaitingTask | InstanceView, at: float = 0.0, **autoscaler: object
) -> Entry:
    seen = snapshot(*parts, now=NOW + at, autoscaler=dict(autoscaler), cold_start=60.0)
    return journal.record(seen, decide(seen, Memory())[0])


def test_it_reads_as_a_sentence() -> None:
    entry = record(Journal(), busy("b", running("r", left=600.0)), *queue(3, seconds=600.0), max=2)
    assert str(entry) == (
        "start 1, because of 3 tasks waiting, 3 would not be reached soon enough "
        "[3 tasks waiting, instances: 1 busy; not more: max is 2]"
    )


def test_leaving_it_as_it_is_again_and_again_is_one_entry() -> None:
    journal = Journal()
    for second in range(10):
        tasks = queue(second + 1, seconds=600.0)
        entry = record(journal, busy("b", running("r", left=600.0)), *tasks, at=second, max=1)
    assert len(journal) == 1
    assert (entry.at, entry.until, entry.times, entry.waiting) == (NOW, NOW + 9, 10, 10)
    assert "leave it at 1 (×10), because" in str(entry)


def test_another_reason_is_another_entry() -> None:
    journal = Journal()
    record(journal, busy("b", running("r", left=5.0)), waiting("t"))
    record(journal, busy("b", running("r", left=5.0)), at=1)
    record(journal, starting("s"), waiting("t"), at=2)
    assert [entry.times for entry in journal] == [1, 1, 1]


def test_what_changes_something_is_never_folded() -> None:
    journal = Journal()
    for second in range(3):
        record(journal, waiting("t"), at=second)
    assert [entry.decided for entry in journal] == ["start 1"] * 3


def test_every_act_is_named() -> None:
    journal = Journal()
    entry = record(journal, starting("s"), idle("i"), busy("b"), max=0)
    assert entry.decided == "cancel the start of 1 and stop 1 and drain 1"


def test_the_oldest_go_first() -> None:
    journal = Journal(size=2)
    for second in range(5):
        record(journal, waiting("t"), at=second)
    assert [entry.at - NOW for entry in journal] == [3, 4]


def test_what_was_stored_is_folded_as_well() -> None:
    journal = Journal()
    record(journal, waiting("t"))
    record(journal, starting("s"), waiting("t"), at=1)
    stored = [Entry.from_json(entry.to_json()) for entry in journal]
    assert stored == list(journal)
    shown = folded([*stored, stored[-1], stored[-1]])
    assert [entry.times for entry in shown] == [1, 3]


def test_an_entry_of_another_version_is_still_shown() -> None:
    assert str(Entry.from_json({"decided": "start 1", "why": "x", "odd": 3})) == "start 1, because x []"
