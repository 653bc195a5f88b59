"""What is kept in memory under a budget, least recently used out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

V = TypeVar("V")


class MemoryCache(Generic[V]):
    """Values by key. `size_of` is asked anew each time: a value may have grown. Not for sharing between threads."""

    def __init__(self, budget: int, size_of: Callable[[V], int]) -> None:
        self.budget = budget
        self._size_of = size_of
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """The value, now the one used last; None when it is not there."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value, as the one used last."""
        self._values[key] = value
        self._values.move_to_end(key)

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return sum(self._size_of(value) for value in self._values.values())

    def make_room(self, needed: int, *, keep: Iterable[Hashable] = ()) -> list[Hashable]:
        """Drop what was used longest ago until `needed` bytes more fit, or only `keep` is left; what was dropped."""
        kept, dropped = set(keep), []
        while self.size + needed > self.budget and (oldest := self.drop_oldest(keep=kept)) is not None:
            dropped.append(oldest)
        return dropped

    def drop_oldest(self, *, keep: Collection[Hashable] = ()) -> Hashable | None:
        """Drop what was used longest ago and is not in `keep`; which that was."""
        oldest = next((key for key in self._values if key not in keep), None)
        if oldest is not None:
            del self._values[oldest]
        return oldest

    def items(self) -> list[tuple[Hashable, V]]:
        """Everything, the one used last at the end."""
        return list(self._values.items())

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
