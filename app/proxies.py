"""Proxies that ask people who they are and say it in a header. Only those that are named are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from backend.errors import InvalidArgument

ADDRESSES, HEADER = "LORAPOOL_UI_PROXIES", "LORAPOOL_UI_PROXY_HEADER"
CREDENTIAL = "LORAPOOL_FRONT_END_TOKEN"
"""The variable with what the gateway believes when a proxy says who somebody is."""

USUAL = "x-forwarded-user"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


_PASSED_ON = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


def passed_on(headers: Headers) -> bool:
    """Whether a request has come through a proxy, as far as proxies say so: its browser may be anywhere."""
    return any(name in headers for name in _PASSED_ON)


@dataclass(frozen=True, slots=True)
class Proxies:
    """`networks` are the addresses of the proxies, none: nobody is believed. `header` holds the account's name."""

    networks: tuple[Network, ...] = field(default=())
    header: str = USUAL

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Proxies:
        """From `LORAPOOL_UI_PROXIES` (addresses and networks, commas between) and `LORAPOOL_UI_PROXY_HEADER`.

        Raises:
            InvalidArgument: one is no address.
        """
        networks = []
        for text in filter(None, map(str.strip, environment.get(ADDRESSES, "").split(","))):
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise InvalidArgument(ADDRESSES, f"{text!r} is no address; nothing was started") from None
        return cls(tuple(networks), environment.get(HEADER, "").strip().lower() or USUAL)

    def trusts(self, scope: Scope) -> bool:
        """Whether a request comes straight from one of them."""
        try:
            peer = ipaddress.ip_address(scope["client"][0]) if scope.get("client") else None
        except ValueError:
            return False
        return peer is not None and any(peer in network for network in self.networks)

    def named(self, scope: Scope, headers: Headers) -> str:
        """Whom the proxy says that it is; '' when it says nothing, or is none of ours."""
        names = headers.getlist(self.header) if self.trusts(scope) else []
        # Two of them, and one may be what the browser has sent.
        return names[0].strip() if len(names) == 1 else ""

    def source(self, scope: Scope, headers: Headers) -> str:
        """The address of the browser."""
        forwarded = headers.get("x-forwarded-for", "") if self.trusts(scope) else ""
        peer = str(scope["client"][0]) if scope.get("client") else ""
        return forwarded.rpartition(",")[2].strip() or peer
