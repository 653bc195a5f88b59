"""What whoever asks may do. docs/users.md has the table.

deployment's token, admin   everything
a service's token           everything in its service
a front end's credential    begins sessions for people that it has asked itself, and nothing else
member                      sees the rows of all tasks, and of its own everything; queues, ends and repeats its own
viewer                      sees what a member sees, and changes nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from backend.accounts.account import Role
from backend.errors import Forbidden


class Owned(Protocol):
    """What belongs to a service and to somebody: a task."""

    @property
    def service(self) -> str: ...
    @property
    def user(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: an account (`user`), or with '' the deployment's or a service's own token.

    `services` is what the token covers, None: all. `session` names the token of an account, '' for others. `commands`
    says whether tasks may be any command. `front_end`: by the credential of a service's front ends, which begins
    sessions and opens nothing else.
    """

    role: Role = Role.ADMIN
    services: frozenset[str] | None = None
    user: str = ""
    session: str = ""
    commands: bool = True
    front_end: bool = False

    @property
    def administrator(self) -> bool:
        """Whether everything is allowed."""
        return self.role is Role.ADMIN and self.services is None

    @property
    def writes(self) -> bool:
        """Whether this one may change anything."""
        return self.role is not Role.VIEWER

    def may_use(self, service: str) -> bool:
        """Whether this token covers a service."""
        return self.services is None or service in self.services

    def operates(self, service: str) -> bool:
        """Whether everything of a service is this one's business: all tasks, both queues."""
        return self.role is Role.ADMIN and self.may_use(service)

    def owns(self, thing: Owned) -> bool:
        """Whether the contents of a task are this one's to read."""
        mine = bool(self.user) and thing.user == self.user
        return self.operates(thing.service) or (mine and self.may_use(thing.service))

    def need(self, service: str) -> None:
        """Raises Forbidden when this token does not cover a service."""
        if not self.may_use(service):
            raise Forbidden(f"this token does not cover service {service}; nothing was changed")

    def need_operator(self, service: str) -> None:
        """Raises Forbidden unless this one has all rights in a service."""
        self.need(service)
        if not self.operates(service):
            raise Forbidden(
                f"this needs the token of service {service} or an administrator's: what lies in its queues is "
                "everybody's. Nothing was changed; see /api/v1/tasks for your own tasks."
            )

    def need_administrator(self) -> None:
        """Raises Forbidden unless this is an administrator."""
        if not self.administrator:
            raise Forbidden("this needs an administrator's token; nothing was changed")

    def need_word(self) -> None:
        """Raises Forbidden unless this one is believed when it says who somebody is.

        The token of a service is in the hands of everybody who uses its queue: none of them may act as an account.
        """
        if self.user or not (self.administrator or self.front_end):
            raise Forbidden(
                "this token is not believed when it says who somebody is: that takes the credential of a front end "
                "(LORAPOOL_FRONT_END_TOKEN; an administrator gets it with `lorapool service front-end-token`) or the "
                "deployment's own token. Nobody was let in; nothing was changed."
            )

    def need_writer(self) -> None:
        """Raises Forbidden for a viewer."""
        if not self.writes:
            raise Forbidden(f"{self.user} is a viewer and may change nothing; nothing was changed")

    def need_contents(self, task: Owned) -> None:
        """Raises Forbidden when a task's log, files and settings are another's."""
        self.need(task.service)
        if not self.owns(task):
            raise Forbidden("this task is another user's: only they and administrators may look into it")

    def need_change(self, task: Owned) -> None:
        """Raises Forbidden when a task is not this one's to change."""
        self.need_contents(task)
        self.need_writer()
