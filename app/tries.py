"""How often somebody was wrong at the login of late, by the address that the tries came from."""

from __future__ import annotations

import ipaddress

MOST, WITHIN = 20, 60.0
"""So many wrong tries within so many seconds; then none from there is looked at until they are over."""

_MOST_KNOWN = 10_000


class Tries:
    """A try is counted before it is looked at, so that many at once are no more than one after the other."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int]] = {}

    def begin(self, source: str, now: float) -> bool:
        """Count a try; whether it may be looked at."""
        whence = _network(source)
        since, count = self._known.get(whence, (now, 0))
        if now - since >= WITHIN:
            since, count = now, 0
        if count >= MOST:
            return False
        if len(self._known) >= _MOST_KNOWN:
            self._known = {key: each for key, each in self._known.items() if now - each[0] < WITHIN}
        self._known[whence] = (since, count + 1)
        return True

    def was_right(self, source: str) -> None:
        """Somebody came in: what was wrong before was a slip."""
        self._known.pop(_network(source), None)


def _network(source: str) -> str:
    """An address; of IPv6 the network that one household or machine has whole."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source[:64]
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
