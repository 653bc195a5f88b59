"""The keys of an object store: from a file that only this user may read, else from the environment.

# <data folder>/store/storage.toml, mode 0600; the section that fits the address best counts
["s3://results/"]
access_key = "…"
secret_key = "…"
endpoint = "https://minio.example.org:9000"
addressing = "path"                          # or "virtual"

["oss"]
access_key = "…"
secret_key = "…"
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.paths import STORE
from backend.service import ObjectPlace

FILE = "storage.toml"

_ENVIRONMENT: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": {
        "access_key": ("AWS_ACCESS_KEY_ID",),
        "secret_key": ("AWS_SECRET_ACCESS_KEY",),
        "session_token": ("AWS_SESSION_TOKEN",),
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    },
    "oss": {
        "access_key": ("OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID"),
        "secret_key": ("OSS_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        "session_token": ("OSS_SESSION_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN"),
        "endpoint": ("OSS_ENDPOINT",),
        "region": ("OSS_REGION",),
    },
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach one object store. The keys are left out of the text form. `addressing`: `path` or `virtual`."""

    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    endpoint: str = ""
    region: str = ""
    addressing: str = ""
    anonymous: bool = False


def find(place: ObjectPlace, data_dir: Path, environment: Mapping[str, str]) -> Credentials | None:
    """The credentials for a place; None when this machine has none. What the description says of the endpoint counts.

    Raises:
        InvalidArgument: the file is there but cannot be read, or others may read it.
    """
    found = _from_file(place, data_dir / STORE / FILE) or _from_environment(place.protocol, environment)
    if found is None:
        return None
    endpoint = _endpoint(place.protocol, place.endpoint or found.endpoint, place.region or found.region)
    virtual = place.protocol == "oss" or not endpoint or "amazonaws.com" in endpoint
    return replace(
        found,
        endpoint=endpoint,
        region=place.region or found.region,
        addressing=found.addressing or ("virtual" if virtual else "path"),
    )


def _from_environment(protocol: str, environment: Mapping[str, str]) -> Credentials | None:
    values = {
        key: next((environment[name] for name in names if environment.get(name)), "")
        for key, names in _ENVIRONMENT[protocol].items()
    }
    return Credentials(**values) if values["access_key"] and values["secret_key"] else None  # type: ignore[arg-type]


def _from_file(place: ObjectPlace, file: Path) -> Credentials | None:
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(FILE, f"{file} cannot be read ({error}); nothing was fetched or sent") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidArgument(FILE, f"other users may read {file}; run: chmod 600 {file}. It was not used")
    try:
        sections = tomllib.loads(text)
    except ValueError as error:
        raise InvalidArgument(FILE, f"{file} is not TOML ({error}); nothing was fetched or sent") from None
    fitting = [name for name in sections if name == place.protocol or place.url.startswith(_whole(name))]
    if not fitting:
        return None
    return _section(sections[max(fitting, key=len)], file)


def _whole(name: str) -> str:
    """An address that ends where a folder does: `s3://a` is not `s3://ab/`."""
    return name if name.endswith("/") else f"{name}/"


def _section(values: Any, file: Path) -> Credentials:
    known = Credentials.__slots__
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise InvalidArgument(FILE, f"a section of {file} holds something else than {', '.join(known)}")
    anonymous = values.get("anonymous", False) is True
    text = {name: value for name, value in values.items() if name != "anonymous"}
    if not all(isinstance(value, str) for value in text.values()):
        raise InvalidArgument(FILE, f"a value in {file} is no text; write it in quotes")
    return Credentials(**text, anonymous=anonymous)


def _endpoint(protocol: str, endpoint: str, region: str) -> str:
    """A URL. OSS speaks S3 under names of its own: https://help.aliyun.com/en/oss/developer-reference/use-aws-sdks-to-access-oss"""
    if protocol == "oss" and not endpoint and region:
        endpoint = f"oss-{region.removeprefix('oss-')}.aliyuncs.com"
    if not endpoint:
        return ""
    scheme, _, host = endpoint.rpartition("://")
    if host.startswith("oss-") and host.endswith(".aliyuncs.com"):
        host = f"s3.{host}"
    return f"{scheme or 'https'}://{host}"


def why_none(place: ObjectPlace) -> str:
    """What is missing, and where it goes."""
    names = _ENVIRONMENT[place.protocol]
    return (
        f"this machine has no credentials for {place.url}: set {names['access_key'][0]} and "
        f"{names['secret_key'][0]}, or write them into {STORE}/{FILE} of the data folder"
    )


def here() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ
