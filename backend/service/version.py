"""Which version of its description an instance runs: what it is started by, and nothing else.

A changed scaling rule, token or front end concerns no instance; a changed container does, so that instances are
replaced one by one (see `backend/pool/rolling.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

READ_ANEW = frozenset(
    {
        *("name", "type", "instance", "token", "enable_webservice", "workspace_id", "metadata"),
        *("autoscaler", "cronscaler", "front_end", "queue", "scalable_job", "rpc"),
        *("labels", "features", "networking", "cloud", "options", "unit", "runtime", "eas", "enable_sigterm"),
    }
)
"""Parts that hold as soon as they are changed, or mean nothing to an instance."""

RPC = ("worker_threads", "health_check_path", "unload_path")
"""What of `rpc` an instance is started by; the rest is read with every query."""


def version_of(tree: Mapping[str, Any]) -> str:
    """A fingerprint of the parts of a description that an instance is started by.

    `tree` has its dotted keys spelled out; parts may stand in `metadata` or at the top.
    """
    metadata = tree.get("metadata")
    level = {**tree, **(metadata if isinstance(metadata, Mapping) else {})}
    parts: dict[str, Any] = {name: value for name, value in level.items() if name not in READ_ANEW}
    rpc = level.get("rpc")
    if isinstance(rpc, Mapping):
        parts |= {f"rpc.{name}": rpc[name] for name in RPC if name in rpc}
    said = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
