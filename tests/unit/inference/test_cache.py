from __future__ import annotations

from backend.inference.cache import MemoryCache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: MemoryCache[bytes] = MemoryCache(10, len)
    for name in "abc":
        cache.put(name, bytes(3))
    assert cache.get("a") is not None
    assert cache.make_room(3) == ["b"]
    assert [key for key, _ in cache.items()] == ["c", "a"]


def test_what_is_to_be_kept_stays_even_over_the_budget() -> None:
    cache: MemoryCache[bytes] = MemoryCache(10, len)
    cache.put("used", bytes(9))
    cache.put("other", bytes(1))
    assert cache.make_room(9, keep=["used"]) == ["other"]
    assert cache.get("other") is None and cache.size == 9


def test_a_value_that_has_grown_counts_as_it_is() -> None:
    grows = bytearray(2)
    cache: MemoryCache[bytearray] = MemoryCache(10, len)
    cache.put("grows", grows)
    cache.put("still", bytearray(2))
    grows.extend(bytes(10))
    assert cache.make_room(0) == ["grows"]
