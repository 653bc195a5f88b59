"""What may be asked of a run while it runs, and which wish counts when there are several."""

from __future__ import annotations

from typing import Literal, TypeAlias

from backend.task import Stop

Wish: TypeAlias = Stop | Literal["hand back"] | None
"""`stop` now; `save` the state first; `hand back` when its instance has to leave."""

_STRENGTH: dict[Wish, int] = {None: 0, "hand back": 1, "save": 2, "stop": 3}


def stronger(new: Wish, old: Wish) -> bool:
    """Whether `new` replaces `old`: a run that is to be stopped is not saved for later after all."""
    return _STRENGTH[new] > _STRENGTH[old]
