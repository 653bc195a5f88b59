"""Whether anything is kept under the name of an account that there is not: then a new account does not get that name.

Accounts that are removed are remembered (`accounts.remove`). Those of an older lorapool were not, and tasks may have
named a user before there were accounts: so what is kept is looked through, in pieces that keep the store from nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from backend.store import services
from backend.store.call import Call, command, script
from backend.store.connection import Store
from backend.store.keys import key

_AT_ONCE = 1000


def kept_under(store: Store, name: str) -> str:
    """What there is of this name, in words that follow `there are`; '' when there is nothing."""
    if _owns(store, name):
        return "data sets, LoRAs or tasks"
    ids = _tasks(store)
    while piece := list(islice(ids, _AT_ONCE)):
        if store.run(_of_user(name, piece)):
            return "tasks"
    return ""


def _owns(store: Store, name: str) -> bool:
    cursor: int | bytes = 0
    while True:
        cursor, found = store.run(command("HSCAN", key("owners"), cursor, "COUNT", _AT_ONCE))
        if name.encode() in (found.values() if isinstance(found, dict) else found[1::2]):
            return True
        if int(cursor) == 0:
            return False


def _tasks(store: Store) -> Iterator[str]:
    """Every task that is kept: those that have ended, wait, or are at work."""
    lists = [("ZRANGE", key("finished"))]
    for service in store.run(services.names()):
        lists.append(("LRANGE", key("rq_queue", service)))
        yield from _texts(store.run(command("SMEMBERS", key("active", service))))
    for read, where in lists:
        start = 0
        while piece := store.run(command(read, where, start, start + _AT_ONCE - 1)):
            yield from _texts(piece)
            start += _AT_ONCE


def _texts(found: list[bytes]) -> Iterator[str]:
    return (text.decode() for text in found)


def _of_user(name: str, tasks: list[str]) -> Call[bool]:
    return script("named", name, *tasks).then(bool)
