"""Accounts, tokens, whose files are whose, and the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from backend.client.connection import Connection
from backend.views import AccessView, AccountView, AuditList, SessionView, TokenView, read


class People(Connection):
    """The part of `Client` about people."""

    def me(self) -> AccountView:
        """Whose the token is and what it may do; without a name where it is the deployment's or a service's."""
        return read(AccountView, self.get("me"))

    def users(self) -> list[AccountView]:
        """All accounts, by name."""
        return [read(AccountView, each) for each in self.get("users")["users"]]

    def user(self, name: str = "me") -> AccountView:
        """One account."""
        return read(AccountView, self.get(_user(name)))

    def add_user(
        self,
        name: str,
        *,
        role: str = "member",
        password: str | None = None,
        limits: Mapping[str, float | None] | None = None,
        services: Iterable[str] = (),
        commands: bool = False,
        returning: bool = False,
    ) -> AccountView:
        """Make an account. `limits` are running, queued and gpu_seconds (in a day); `services` none: all.

        `returning`: whoever had that name comes back, and gets the tasks, data and LoRAs that are kept under it.

        Raises:
            Conflict: there is one of that name, or there was, or something is kept under it.
        """
        body: dict[str, Any] = {"name": name, "role": role, "password": password, "commands": commands}
        body |= {"limits": dict(limits or {}), "services": list(services), "returning": returning}
        return read(AccountView, self.post("users", body))

    def change_user(self, name: str, **changes: Any) -> AccountView:
        """Change `role`, `limits` (all three), `services`, `commands` or `disabled` of an account."""
        return read(AccountView, self.patch(_user(name), changes))

    def remove_user(self, name: str) -> AccountView:
        """Remove an account and its tokens; its tasks and files stay, and nobody else gets its name."""
        return read(AccountView, self.delete(_user(name)))

    def set_password(self, name: str, password: str, *, old: str = "") -> AccountView:
        """Set a password; who is no administrator says the old one too."""
        return read(AccountView, self.put(_user(name, "/password"), {"password": password, "old": old}))

    def tokens(self, name: str = "me") -> list[TokenView]:
        """The tokens and sessions of an account, newest first, without the secrets."""
        return [read(TokenView, each) for each in self.get(_user(name, "/tokens"))["tokens"]]

    def make_token(
        self, name: str = "me", what_for: str = "a program", *, days: float | None = None
    ) -> TokenView:
        """A new token of an account; `token` of the answer is the secret, which nobody can show again."""
        return read(TokenView, self.post(_user(name, "/tokens"), {"name": what_for, "days": days}))

    def revoke_token(self, token_id: str, name: str = "me") -> TokenView:
        """Make a token void."""
        return read(TokenView, self.delete(_user(name, f"/tokens/{quote(token_id, safe='')}")))

    def log_in(
        self, *, name: str = "", password: str = "", token: str = "", proved: bool = False
    ) -> SessionView:
        """Begin a session for somebody, as a front end does with its own token; see docs/users.md.

        `proved` needs no password: this client's token has to be the credential of a service's front ends, or the
        deployment's.

        Raises:
            Unauthorized: name, password or token is wrong.
            Forbidden: this client's token begins no such session.
        """
        body = {"name": name, "password": password, "token": token, "proved": proved}
        return read(SessionView, self.post("sessions", body))

    def log_out(self) -> None:
        """Make the token of this client void."""
        self.delete("sessions/current")

    def access(self, paths: Iterable[str]) -> AccessView:
        """What may be done with paths of the data folder."""
        return read(AccessView, self.post("access", {"paths": list(paths)}, repeat=True))

    def set_owner(self, place: str, owner: str, *, claim: bool = False) -> AccessView:
        """Say whose `datasets/<name>` or `loras/<name>` is; '' makes it everybody's.

        Raises:
            Conflict: it is another's, and `claim` was to take it only from nobody.
        """
        return read(AccessView, self.put("owners", {"place": place, "owner": owner, "claim": claim}))

    def audit(self, *, who: str = "", limit: int = 100, before: str = "") -> AuditList:
        """Who did what to what, newest first."""
        return read(AuditList, self.get("audit", {"who": who, "limit": limit, "before": before}))


def _user(name: str, more: str = "") -> str:
    return f"users/{quote(name, safe='')}{more}"
