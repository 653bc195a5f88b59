"""A clock that only a test moves, for the pool and for the scripts of a real store."""

from __future__ import annotations

from backend.store.call import source
from backend.store.connection import Store

_KEY = "tests:clock"
_OWN = """local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end"""
_GIVEN = f"local function now() return redis.call('GET', '{_KEY}') end"


class VirtualClock:
    """Both clocks of a `Clock`, and the store's; it stands still until `advance`."""

    def __init__(self, store: Store, start: float = 1_900_000_000.0) -> None:
        self._store = store
        self._now = start
        self.advance(0.0)

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._store.redis.set(_KEY, f"{self._now:.6f}")


class VirtualStore(Store):
    """Runs the scripts as they are, but for what they take for the time."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._known: dict[str, str] = {}

    def _sha(self, script: str) -> str:
        if script not in self._known:
            text = source(script)
            if "'TIME'" in text:
                assert _OWN in text
                text = text.replace(_OWN, _GIVEN)
            self._known[script] = str(self.redis.script_load(text))
        return self._known[script]
