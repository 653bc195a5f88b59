"""What the instances have, as far as it can be told from here: a form is checked against it before it is queued."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from app.gateway import Gateway, GatewayLost, GatewayRefused
from kohya_adapter.problems import Capabilities

_FRESH = 15.0
_PACKAGES = (
    *("bitsandbytes", "xformers", "lycoris", "prodigyopt", "prodigyplus", "dadaptation"),
    *("lion_pytorch", "pytorch_optimizer", "schedulefree"),
)


def capabilities(
    instances: Iterable[Mapping[str, Any]], *, sd_scripts: bool, here: str, installed: frozenset[str]
) -> Capabilities:
    """What instances as the gateway lists them have.

    Packages are known of instances on this very machine (`here`, with `installed`); of others everything is taken to
    be there, and so is a GPU as long as no instance has said what it runs on.
    """
    known = [instance for instance in instances if instance.get("device")]
    local = bool(known) and all(instance.get("host") == here for instance in known)
    return Capabilities(
        packages=installed if local else frozenset(_PACKAGES),
        gpu=not known or any(not str(instance["device"]).startswith("cpu") for instance in known),
        sd_scripts=sd_scripts,
    )


def installed() -> frozenset[str]:
    """Which of the packages that a form may ask for this machine has."""
    return frozenset(name for name in _PACKAGES if find_spec(name))


class Pool:
    """Asks the gateway, at most every few seconds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: Capabilities | None = None
        self._asked = float("-inf")

    async def capabilities(self) -> Capabilities | None:
        """None as long as nothing is known: the gateway looks at every submission again."""
        if time.monotonic() - self._asked < _FRESH:
            return self._known
        try:
            info = await self._gateway.get("info")
            instances = (await self._gateway.get("instances"))["instances"]
        except (GatewayLost, GatewayRefused):
            return self._known
        self._asked = time.monotonic()
        self._known = capabilities(
            instances,
            sd_scripts=info["trainer"] == "sd-scripts",
            here=platform.node(),
            installed=installed(),
        )
        return self._known
