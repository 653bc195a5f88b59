"""Hosts on one machine: network namespaces with addresses of their own, joined by links that can be cut.

    hub (10.77.n.1 on each link) ── link 1 ── host 1 (10.77.1.2), link 2 ── host 2 (10.77.2.2) …

All of it lives in a user namespace, needs no rights on the machine, and is gone with its processes.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence

_SLEEP = ("sleep", "infinity")


@functools.cache
def why_not() -> str:
    """Why namespaces cannot be had here; '' when they can."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"no {missing[0]} here"
    try:
        hosts = Hosts(1)
    except (subprocess.SubprocessError, OSError) as error:
        return f"network namespaces are not allowed here ({error})"
    hosts.close()
    return ""


class Hosts:
    """The hub and `count` hosts, each with a host name of its own."""

    def __init__(self, count: int) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        try:
            self._hub = self._hold(["unshare", "--map-root-user", "--net", "--uts"])
            self.hub_run("ip", "link", "set", "lo", "up")
            self._hosts = [self._add(number) for number in range(1, count + 1)]
        except BaseException:
            self.close()
            raise

    def _hold(self, prefix: Sequence[str]) -> int:
        """A process that keeps namespaces; its pid."""
        ready = [*prefix, "sh", "-c", 'echo up; exec "$@"', "sh", *_SLEEP]
        holder = subprocess.Popen(ready, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._holders.append(holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            raise subprocess.SubprocessError(f"{prefix[0]} failed")
        return holder.pid

    def _add(self, number: int) -> int:
        pid = self._hold([*self.hub, "unshare", "--net", "--uts"])
        link, net = f"link{number}", f"10.77.{number}"
        self.hub_run(
            *("ip", "link", "add", link, "type", "veth"), *("peer", "name", "eth0", "netns", str(pid))
        )
        self.hub_run("ip", "addr", "add", f"{net}.1/24", "dev", link)
        self.hub_run("ip", "link", "set", link, "up")
        inside = self._inside(pid)
        for command in (
            ("hostname", f"box-{number}"),
            ("ip", "link", "set", "lo", "up"),
            ("ip", "addr", "add", f"{net}.2/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
        ):
            subprocess.run([*inside, *command], check=True, timeout=20, capture_output=True)
        return pid

    @staticmethod
    def _inside(pid: int) -> list[str]:
        return ["nsenter", "--target", str(pid), "--user", "--preserve-credentials", "--net", "--uts", "--"]

    @property
    def hub(self) -> list[str]:
        """Words before a command that is to run on the hub."""
        return self._inside(self._hub)

    def host(self, number: int) -> list[str]:
        """Words before a command that is to run on host `number`, from 1."""
        return self._inside(self._hosts[number - 1])

    def hub_address(self, number: int) -> str:
        """The hub as host `number` sees it."""
        return f"10.77.{number}.1"

    def hub_run(self, *command: str) -> None:
        """A command on the hub, to its end."""
        subprocess.run([*self.hub, *command], check=True, timeout=20, capture_output=True)

    def cut(self, number: int) -> None:
        """Take the link of a host down: what is sent is lost, and nobody is told."""
        self.hub_run("ip", "link", "set", f"link{number}", "down")

    def mend(self, number: int) -> None:
        """And up again."""
        self.hub_run("ip", "link", "set", f"link{number}", "up")

    def close(self) -> None:
        """End the namespaces with the processes that keep them."""
        for holder in reversed(self._holders):
            holder.kill()
            holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()
