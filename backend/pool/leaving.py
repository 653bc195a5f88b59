"""Who leaves when there are too many: what somebody started by hand is there to stay (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backend.instance import Instance, InstanceState

UP = (InstanceState.IDLE, InstanceState.BUSY)


def leaving(names: Iterable[str], present: Sequence[Instance], *, own: str, most: int) -> list[str]:
    """Of the instances that are to drain, those that do.

    `own` is the launcher whose instances the supervisor starts and ends. In the place of another's, an idle one of
    its own leaves, or nobody, as long as there are no more of the others than `most`.
    """
    named = list(names)
    others = {i.id for i in present if i.launcher != own}
    there = sum(i.launcher != own and i.state in UP for i in present)
    instead = [
        i.id for i in present if i.launcher == own and i.state is InstanceState.IDLE and i.id not in named
    ]
    chosen: list[str] = []
    for name in named:
        if name not in others or there > most:
            there -= name in others
            chosen.append(name)
        elif instead:
            chosen.append(instead.pop())
    return chosen
