"""The settings of a deployment, from the environment and the flags of `lorapool`.

Every process of a deployment reads the same ones; `lorapool up` hands them down by environment, so that no secret
stands in an argument list that other users of the machine can see.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend import paths


class Settings(BaseSettings):
    """`LORAPOOL_*` variables, and `REDIS_URL` and `SD_SCRIPTS_DIR` under their common names."""

    model_config = SettingsConfigDict(env_prefix="LORAPOOL_", populate_by_name=True, extra="ignore")

    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    endpoint: str = ""
    redis_url: str = Field(default="", validation_alias="REDIS_URL")
    sd_scripts_dir: str = Field(default="", validation_alias="SD_SCRIPTS_DIR")
    lease_seconds: float = 10.0
    start_deadline: float = 120.0
    stop_grace: float = 3.0
    save_grace: float = 600.0

    def resolved(self) -> Settings:
        """The same with an absolute data folder."""
        return self.model_copy(update={"data_dir": self.data_dir.expanduser().resolve()})

    def environment(self) -> dict[str, str]:
        """These settings as variables for a child process."""
        values = {f"LORAPOOL_{name.upper()}": str(getattr(self, name)) for name in _PLAIN}
        return values | {"REDIS_URL": self.redis_url, "SD_SCRIPTS_DIR": self.sd_scripts_dir}


_PLAIN = (
    *("data_dir", "host", "port", "token", "endpoint"),
    *("lease_seconds", "start_deadline", "stop_grace", "save_grace"),
)

SECRETS = ("LORAPOOL_TOKEN", "REDIS_URL", "LORAPOOL_ENDPOINT")
"""Variables that a task's program is not given: it could act for everybody with them."""


def administrator_token(data_dir: Path) -> str:
    """The administrator's token: `LORAPOOL_TOKEN` if set, else the one in the data folder, made at the first start."""
    given = os.environ.get("LORAPOOL_TOKEN", "")
    if given:
        return given
    path = data_dir / "token"
    if not path.exists():
        paths.create(data_dir)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()
