"""The settings of a deployment, from the environment and the flags of `lorapool`.

Every process of a deployment reads the same ones; `lorapool up` hands them down by environment, so that no secret
stands in an argument list that other users of the machine can see.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend import paths
from backend.errors import InvalidArgument


class Settings(BaseSettings):
    """`LORAPOOL_*` variables, and `REDIS_URL` and `SD_SCRIPTS_DIR` under their common names.

    Seconds: `lease_seconds` without a sign of life, and an instance is taken for lost; `start_deadline` for an
    instance to come up; `stop_grace` for a program to end by itself when it is stopped; `save_grace` for a training
    to save its state; `drain_deadline` for a draining instance to end its work, after which it saves that and hands it
    back (0: it may take as long as it takes). `keep_days` is how long the record and the log of a task that has ended
    stay in the store (0: for ever), and `keep_tasks` how many of them do (0: all); what they wrote into their job
    folders stays in any case. `audit_days` is how long the audit log reaches back (0: as far as its most entries do).
    `metrics_token` opens `/metrics` and nothing else. `log_format` json has each line of a process's log be one object.
    `storage_patience` is for how long an object store that does not answer is waited for,
    before a training for its inputs and after it until the last result is sent; `storage_cache_gb` what the fetched
    inputs of all tasks may take on this machine's disk. `retention` is what is kept of logs, pictures, states and job
    folders (see `storage/retention.py`); `files_of`, on a box that joins a deployment and does not see its data folder,
    is that folder: files come and go through the gateway; below `least_free_gb` on its disk an instance begins no task.

    `launcher` is where instances run ('none': others start them); `end_instances` says whether a supervisor that
    stops ends them, or leaves them to the next one. `ray_address`: the head of a cluster (`10.0.0.1:6379`; '': the
    one that runs here), and `ray_grows`: whether it adds nodes by itself, so that orders may wait for them.
    `kubernetes_…`: the namespace and the context of the kube-config ('': as found), a file with the pod that
    instances are made from, what owns the pods (`Deployment/NAME` or `ConfigMap/NAME`), and how a GPU is called.
    """

    model_config = SettingsConfigDict(env_prefix="LORAPOOL_", populate_by_name=True, extra="ignore")

    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    endpoint: str = ""
    redis_url: str = Field(default="", validation_alias="REDIS_URL")
    sd_scripts_dir: str = Field(default="", validation_alias="SD_SCRIPTS_DIR")
    lease_seconds: float = Field(default=10.0, ge=1.0)
    start_deadline: float = Field(default=120.0, gt=0)
    stop_grace: float = Field(default=3.0, ge=0)
    save_grace: float = Field(default=600.0, ge=0)
    drain_deadline: float = Field(default=0.0, ge=0)
    keep_days: float = Field(default=30.0, ge=0)
    keep_tasks: int = Field(default=100_000, ge=0)
    storage_patience: float = Field(default=600.0, ge=0)
    storage_cache_gb: float = Field(default=100.0, gt=0)
    retention: str = "logs=10GB"
    least_free_gb: float = Field(default=1.0, ge=0)
    files_of: str = ""
    launcher: Literal["local", "ray", "kubernetes", "none"] = "local"
    end_instances: bool = True
    ray_address: str = ""
    ray_grows: bool = False
    kubernetes_namespace: str = ""
    kubernetes_context: str = ""
    kubernetes_pod_template: str = ""
    kubernetes_owner: str = ""
    kubernetes_gpu: str = "nvidia.com/gpu"
    audit_days: float = Field(default=365.0, ge=0)
    metrics_token: str = ""
    log_format: Literal["text", "json"] = "text"

    def resolved(self) -> Settings:
        """The same with an absolute data folder."""
        return self.model_copy(update={"data_dir": self.data_dir.expanduser().resolve()})

    def environment(self) -> dict[str, str]:
        """These settings as variables for a child process."""
        values = {f"LORAPOOL_{name.upper()}": str(getattr(self, name)) for name in _PLAIN}
        return values | {"REDIS_URL": self.redis_url, "SD_SCRIPTS_DIR": self.sd_scripts_dir}


_PLAIN = (
    *("data_dir", "host", "port", "token", "endpoint"),
    *(
        "lease_seconds",
        "start_deadline",
        "stop_grace",
        "save_grace",
        "drain_deadline",
        "keep_days",
        "keep_tasks",
        "audit_days",
        "metrics_token",
        "log_format",
        "storage_patience",
        "storage_cache_gb",
        "retention",
        "least_free_gb",
        "files_of",
    ),
    *("launcher", "end_instances", "ray_address", "ray_grows"),
    *(f"kubernetes_{name}" for name in ("namespace", "context", "pod_template", "owner", "gpu")),
)


def read(**given: Any) -> Settings:
    """The settings of this process: what is given, else the environment, else the defaults.

    Raises:
        InvalidArgument: a variable does not hold what it should.
    """
    try:
        return Settings(**given).resolved()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"LORAPOOL_{name.upper()}"
        raise InvalidArgument(variable, f"{first['msg']} (it is {first['input']!r})") from None


SECRETS = (
    *("LORAPOOL_TOKEN", "LORAPOOL_FRONT_END_TOKEN", "LORAPOOL_METRICS_TOKEN"),
    *("REDIS_URL", "LORAPOOL_ENDPOINT"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
    *("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
"""Variables that a task's program is not given: it could act for everybody with them."""


def administrator_token(data_dir: Path) -> str:
    """The administrator's token: `LORAPOOL_TOKEN` if set, else the one in the data folder, made at the first start."""
    given = os.environ.get("LORAPOOL_TOKEN", "")
    if given:
        return given
    path = data_dir / "token"
    if not (path.exists() and path.read_text().strip()):
        keep_token(data_dir, secrets.token_urlsafe(24))
    return path.read_text().strip()


def keep_token(data_dir: Path, token: str) -> None:
    """Make this the administrator's token of a data folder that has none."""
    path = data_dir / "token"
    paths.create(data_dir)
    # Complete at once: a process killed in the middle must not leave an empty token behind.
    new = path.with_name(f"token.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    try:
        os.link(new, path)  # unless another process was faster: then its token counts
    except OSError:
        if not (path.exists() and path.read_text().strip()):
            new.replace(path)
    new.unlink(missing_ok=True)
