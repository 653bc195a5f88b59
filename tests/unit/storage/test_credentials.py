"""Where the keys of an object store come from, and that they show nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.errors import InvalidArgument
from backend.service import ObjectPlace
from backend.settings import SECRETS
from backend.storage.credentials import Credentials, find, why_none


def place(path: str, **more: Any) -> ObjectPlace:
    return ObjectPlace(path=path, **more)


def secrets(data_dir: Path, text: str, mode: int = 0o600) -> None:
    file = data_dir / "store" / "storage.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
OSS = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "key"}


def test_from_the_environment(tmp_path: Path) -> None:
    found = find(place("s3://b/"), tmp_path, {**AWS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    assert found == Credentials("id", "key", endpoint="http://127.0.0.1:9000", addressing="path")
    assert find(place("s3://b/"), tmp_path, OSS) is None
    assert find(place("s3://b/"), tmp_path, {"AWS_ACCESS_KEY_ID": "id"}) is None
    assert "AWS_SECRET_ACCESS_KEY" in why_none(place("s3://b/"))


@pytest.mark.parametrize(
    ("endpoint", "region", "url"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "", "https://s3.oss-cn-hangzhou.aliyuncs.com"),
        (
            "https://oss-cn-beijing-internal.aliyuncs.com",
            "",
            "https://s3.oss-cn-beijing-internal.aliyuncs.com",
        ),
        ("", "cn-shanghai", "https://s3.oss-cn-shanghai.aliyuncs.com"),
        ("http://127.0.0.1:9000", "", "http://127.0.0.1:9000"),
    ],
)
def test_oss_is_spoken_to_in_s3(tmp_path: Path, endpoint: str, region: str, url: str) -> None:
    found = find(place("oss://b/", endpoint=endpoint, region=region), tmp_path, OSS)
    assert found is not None
    assert (found.endpoint, found.addressing) == (url, "virtual")


def test_the_section_that_fits_best_counts(tmp_path: Path) -> None:
    secrets(
        tmp_path,
        """
        ["s3"]
        access_key = "all"
        ["s3://bucket"]
        access_key = "bucket"
        ["s3://bucket/inner/"]
        access_key = "inner"
        endpoint = "http://h:1"
        addressing = "virtual"
        """,
    )
    keys = {
        path: found.access_key if (found := find(place(path), tmp_path, AWS)) else None
        for path in ("s3://bucket/inner/x", "s3://bucket/innermost", "s3://bucket2", "oss://bucket")
    }
    assert keys == {
        "s3://bucket/inner/x": "inner",
        "s3://bucket/innermost": "bucket",
        "s3://bucket2": "all",
        "oss://bucket": None,
    }
    inner = find(place("s3://bucket/inner/", endpoint="http://described:2"), tmp_path, {})
    assert inner is not None and (inner.endpoint, inner.addressing) == ("http://described:2", "virtual")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ('["s3"]\naccess_key = "k"', 0o640, "chmod 600"),
        ("[s3", 0o600, "is not TOML"),
        ('["s3"]\npassword = "k"', 0o600, "something else than"),
        ('["s3"]\naccess_key = 7', 0o600, "is no text"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, text: str, mode: int, said: str) -> None:
    secrets(tmp_path, text, mode)
    with pytest.raises(InvalidArgument, match=said):
        find(place("s3://b/"), tmp_path, {})


def test_keys_show_nowhere() -> None:
    shown = repr(Credentials("the id", "the key", "the token", endpoint="http://h"))
    assert "the " not in shown and "http://h" in shown
    assert {*AWS, *OSS} <= set(SECRETS)
