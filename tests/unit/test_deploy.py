"""What is said when a service is deployed whose storage cannot be reached with what this machine has."""

from __future__ import annotations

from pathlib import Path

from backend.deploy import storage_warnings
from backend.service import Description, parse
from backend.settings import Settings

KEYS = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "key"}


def description(*places: str) -> Description:
    storage = [
        {"mount_path": f"/mnt/{n}", place.partition(":")[0]: {"path": place}}
        for n, place in enumerate(places)
    ]
    return parse({"metadata": {"name": "s", "type": "ScalableJob"}, "storage": storage}).description


def test_a_bucket_without_credentials_is_named_with_what_to_do(tmp_path: Path) -> None:
    wanted = description("oss://pictures/cats/", "s3://results/")
    here = Settings(data_dir=tmp_path, launcher="local")
    oss, s3 = storage_warnings(wanted, here, {})
    assert "oss://pictures/cats/" in oss and "OSS_ACCESS_KEY_ID" in oss and "storage.toml" in oss
    assert "s3://results/" in s3 and "AWS_ACCESS_KEY_ID" in s3 and "unless" not in s3
    (only,) = storage_warnings(wanted, here, KEYS)
    assert only == s3


def test_instances_elsewhere_may_have_their_own(tmp_path: Path) -> None:
    there = Settings(data_dir=tmp_path, launcher="kubernetes")
    (said,) = storage_warnings(description("s3://results/"), there, {})
    assert "unless the instances' machines have their own" in said


def test_what_needs_none_is_not_warned_of(tmp_path: Path) -> None:
    local = parse(
        {
            "metadata": {"name": "s", "type": "ScalableJob"},
            "storage": [{"mount_path": "/mnt/a", "local": {"path": str(tmp_path)}}],
        }
    ).description
    assert storage_warnings(local, Settings(data_dir=tmp_path), {}) == ()


def test_a_file_of_credentials_that_others_may_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    file = tmp_path / "store" / "storage.toml"
    file.write_text('["oss"]\naccess_key = "a"\nsecret_key = "b"\n')
    file.chmod(0o644)
    (said,) = storage_warnings(description("oss://b/"), Settings(data_dir=tmp_path), KEYS)
    assert "chmod 600" in said
    file.chmod(0o600)
    assert storage_warnings(description("oss://b/"), Settings(data_dir=tmp_path), {}) == ()
