"""What a service description says, as types. Values only: reading the text is `reading.py`'s."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from backend.service.part import Part as _Part
from backend.service.storage import Storage

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}", re.IGNORECASE)


class ServiceType(StrEnum):
    """What is deployed: a queue with a pool, the same with a front end, or plain queues."""

    SCALABLE_JOB = "ScalableJob"
    SCALABLE_JOB_SERVICE = "ScalableJobService"
    ASYNC = "Async"
    QUEUE = "Queue"

    @property
    def runs_tasks(self) -> bool:
        """Whether instances of ours work on its input queue."""
        return self in (ServiceType.SCALABLE_JOB, ServiceType.SCALABLE_JOB_SERVICE)


RESERVED_PORTS = (8080, 9090)
"""Ports that an app may not name: EAS keeps them for itself, so a description that used them would not move there."""


class Variable(_Part):
    """One variable of a container's environment.

    `value_from` (`valueFrom`) is Kubernetes' way to name a key of a Secret; only a pod can be given such a one.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True, populate_by_name=True)

    name: str = Field(min_length=1)
    value: str = ""
    value_from: dict[str, Any] | None = Field(default=None, alias="valueFrom")

    def in_a_pod(self) -> dict[str, Any]:
        """As a container of a pod has it."""
        if self.value_from is not None:
            return {"name": self.name, "valueFrom": self.value_from}
        return {"name": self.name, "value": self.value}


class Prepare(_Part):
    """Python packages that are installed before a service's first task, for that service alone.

    `requirements` are lines as pip takes them, `requirements_path` a file of such lines, often below a mount.
    """

    requirements: tuple[str, ...] = Field(default=(), alias="pythonRequirements")
    requirements_path: str = Field(default="", alias="pythonRequirementsPath")

    @field_validator("requirements")
    @classmethod
    def _one_line_each(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line or "\0" in line for line in lines):
            raise ValueError("one requirement in each entry is expected")
        return lines


class Container(_Part):
    """One container of the description; `image` is recorded, `command` or `script` is run.

    With a `port` it is the inference app of a service: an HTTP program that answers queries. `app` is `built-in` for
    the one that comes with lorapool, which needs neither. Without a port its command is an init command: it runs to
    its end on every instance before that takes its first task, and may take `init_deadline` seconds.
    """

    image: str = ""
    command: str = ""
    script: str = ""
    app: Literal["", "built-in"] = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    env: tuple[Variable, ...] = ()
    prepare: Prepare = Prepare()
    init_deadline: float = Field(default=600.0, gt=0)

    @field_validator("port")
    @classmethod
    def _not_reserved(cls, port: int | None) -> int | None:
        if port in RESERVED_PORTS:
            raise ValueError("ports 8080 and 9090 are reserved; let the app listen on another one")
        return port

    @property
    def answers_queries(self) -> bool:
        """Whether it is an app that can be started here."""
        return self.built_in or (self.port is not None and bool(self.command or self.script))

    @property
    def initialises(self) -> bool:
        """Whether its command is one that has to end before tasks are taken."""
        return not self.answers_queries and bool(self.command or self.script)

    @property
    def built_in(self) -> bool:
        """Whether it is the app that comes with lorapool: started with the first query, not with the instance."""
        return self.app == "built-in"


class QueueLimits(_Part):
    """Limits of one of the two queues. `capacity` 0 means none."""

    max_payload_size_kb: int = Field(default=8192, ge=1)
    capacity: int = Field(default=0, ge=0)
    auto_evict: bool = False


class QueueSettings(_Part):
    """`max_delivery`: how often a task is given out before it is a dead letter; `max_idle` 0 means no limit."""

    max_delivery: int = Field(default=5, ge=1)
    max_idle: float = Field(default=0, ge=0)
    source: QueueLimits = QueueLimits()
    sink: QueueLimits = QueueLimits(capacity=230_399)


class FrontEnd(_Part):
    """The front end that belongs to a `ScalableJobService`: `script` is run, and listens on `port`."""

    image: str = ""
    script: str = ""
    port: int = Field(default=8001, ge=1, le=65535)


class OnKubernetes(_Part):
    """What only the pods of a cluster have: where they may run, and what they carry for other tools to see."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    priority_class: str = ""
    runtime_class: str = ""


class OnRay(_Part):
    """What an instance asks of a Ray node beside `cpu`, `gpu` and `memory`: amounts of custom resources, and labels
    with their values (or Ray's `in(a,b)`, `!a`)."""

    resources: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class Rpc(_Part):
    """How queries are run on an instance. `keepalive` is the longest one may take, in milliseconds.

    `proxy_path` is the path of the app that a query without a path of its own goes to; an app is ready when
    `health_check_path` answers well, or, without one, when its port takes connections. Where `unload_path` is set, a
    POST to it makes the app give its device's memory back; else it is stopped before a command takes the instance.
    """

    worker_threads: int = Field(default=5, ge=1)
    keepalive: int = Field(default=600_000, ge=1)
    rate_limit: int = Field(default=0, ge=0)
    max_queue_size: int = Field(default=64, ge=0)
    proxy_path: str = "/"
    health_check_path: str = ""
    unload_path: str = ""


class Description(_Part):
    """One service, typed. `raw` is what was written, for showing and for later updates.

    `version` changes with whatever an instance is started by: see `version.py`.
    """

    name: str
    type: ServiceType
    instance: int = Field(default=1, ge=0)
    cpu: float | None = None
    gpu: int = Field(default=0, ge=0)
    memory: int | None = None
    token: str = ""
    containers: tuple[Container, ...] = ()
    queue: QueueSettings = QueueSettings()
    rpc: Rpc = Rpc()
    front_end: FrontEnd | None = None
    kubernetes: OnKubernetes = OnKubernetes()
    ray: OnRay = OnRay()
    autoscaler: dict[str, Any] = Field(default_factory=dict)
    cronscaler: dict[str, Any] = Field(default_factory=dict)
    write_log_to_queue: bool | None = None
    storage: tuple[Storage, ...] = ()
    version: str = ""
    raw: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                "a name starts with a letter and holds letters, digits, '_', '-' and '.', up to 63"
            )
        return name

    @field_validator("storage")
    @classmethod
    def _each_folder_once(cls, storage: tuple[Storage, ...]) -> tuple[Storage, ...]:
        folders = [each.mount_path for each in storage]
        if twice := next((folder for folder in folders if folders.count(folder) > 1), ""):
            raise ValueError(f"two of them have the mount_path {twice}")
        return storage

    @property
    def sink(self) -> str:
        """Name of the output queue."""
        return f"{self.name}/sink"

    @property
    def app(self) -> Container | None:
        """The container that answers queries, None when there is none."""
        return next((container for container in self.containers if container.answers_queries), None)

    @property
    def init_containers(self) -> tuple[Container, ...]:
        """Containers whose commands run to their end before the first task."""
        return tuple(container for container in self.containers if container.initialises)

    @property
    def preparation_deadline(self) -> float:
        """Seconds that an instance may spend on getting ready for its first task; 0 when there is nothing to do."""
        installs = [each for each in self.containers if each.prepare != Prepare()]
        whole = [each for each in self.storage if each.kind in ("object", "git", "empty")]
        limits = [each.init_deadline for each in (*self.init_containers, *installs)]
        return sum(limits) + (_FETCH_DEADLINE if whole else 0.0)

    def logs_to_queue(self, kind: str) -> bool:
        """Whether the log of a task of this kind also goes to the output queue (EAS: commands yes, queries no)."""
        return self.write_log_to_queue if self.write_log_to_queue is not None else kind == "command"


_FETCH_DEADLINE = 1800.0
"""Seconds in which code and repositories have to be there."""

DEFAULT_SERVICE = "kohya_job"


def default_description(*, most: int, token: str = "") -> dict[str, Any]:
    """The service that `lorapool up` deploys when it is given none: trainings and pictures, up to `most` instances.

    Nobody need read its output queue, so that one evicts its oldest items instead of holding trainings up.
    """
    return {
        "metadata": {
            "name": DEFAULT_SERVICE,
            "type": ServiceType.SCALABLE_JOB.value,
            "instance": 1,
            "rpc.worker_threads": 8,
        },
        "containers": [{"app": "built-in"}],
        "autoscaler": {"min": 1, "max": most},
        "queue": {"max_delivery": 3, "sink": {"auto_evict": True, "capacity": 20_000}},
        **({"token": token} if token else {}),
    }
