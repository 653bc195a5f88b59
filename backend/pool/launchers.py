"""Which launcher a deployment has."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from backend.errors import InvalidInput
from backend.paths import LOGS, STORE
from backend.pool.launcher import Launcher
from backend.pool.local import LocalLauncher
from backend.pool.others import NoLauncher
from backend.pool.templates import Templates
from backend.settings import Settings
from backend.store import pools
from backend.store.connection import Store
from backend.store.embedded import runtime_dir


def make(settings: Settings, store: Store, on_change: Callable[[], None]) -> Launcher:
    """The launcher that the settings name; `on_change` is called, from another thread, when it has news.

    Raises:
        InvalidInput: it needs something that is not installed, or settings that it was not given.
    """
    if settings.launcher == "none":
        return NoLauncher()
    if settings.launcher == "kubernetes":
        return _kubernetes(settings, store, on_change)
    if settings.launcher == "ray":
        return _ray(settings, store, on_change)
    templates = Templates(runtime_dir((settings.data_dir / STORE).resolve()), settings.data_dir / LOGS)
    return LocalLauncher(settings, templates, on_change)


def _ray(settings: Settings, store: Store, on_change: Callable[[], None]) -> Launcher:
    from backend.pool.ray.launcher import RayLauncher, need_ray

    need_ray()
    return RayLauncher(settings, lambda: _deployment(store), on_change)


def _deployment(store: Store) -> str:
    """What tells this deployment from others on the same cluster."""
    name: str = store.run_all(pools.deployment(uuid.uuid4().hex[:12]))[-1]
    return name


def _kubernetes(settings: Settings, store: Store, on_change: Callable[[], None]) -> Launcher:
    try:
        import kubernetes  # noqa: F401  (an extra; it takes a second)
    except ImportError:
        raise InvalidInput(
            "instances on Kubernetes need the extra `k8s`: pip install 'lorapool[k8s]'; nothing was started"
        ) from None
    if settings.redis_url.startswith("unix:"):
        raise InvalidInput(
            "pods cannot reach the store of this machine: name one that they reach in REDIS_URL (rediss://…); "
            "nothing was started"
        )
    from backend.pool.kubernetes.api import connect
    from backend.pool.kubernetes.launcher import KubernetesLauncher
    from backend.pool.kubernetes.pod import read_plan

    plan = read_plan(settings)
    return KubernetesLauncher(
        connect(settings),
        plan,
        deployment=lambda: _deployment(store),
        on_change=on_change,
    )
