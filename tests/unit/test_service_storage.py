"""`storage[]` and `prepare` of a description: the printed forms are read, what is wrong is refused with its key."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import InvalidArgument
from backend.service import Description, Storage, parse


def described(*storage: dict[str, Any], **more: Any) -> Description:
    return parse(
        {"metadata": {"name": "svc", "type": "ScalableJob"}, "storage": list(storage), **more}
    ).description


def one(storage: dict[str, Any]) -> Storage:
    return described(storage).storage[0]


def test_an_object_store_as_the_documents_print_it() -> None:
    found = one(
        {
            "mount_path": "/workspace/",
            "oss": {"path": "oss://bucket/kohya/", "readOnly": False},
            "properties": {"resource_type": "model"},
        }
    )
    assert (found.kind, found.mount_path, found.read_only) == ("object", "/workspace", False)
    assert found.object is not None
    assert (found.object.protocol, found.object.bucket, found.object.prefix) == ("oss", "bucket", "kohya/")
    assert found.properties.resource_type == "model"


@pytest.mark.parametrize(
    ("given", "kind", "read_only"),
    [
        ({"s3": {"path": "s3://b", "endpoint": "http://127.0.0.1:9000", "readOnly": True}}, "object", True),
        ({"path": "oss://b/x", "readOnly": True}, "object", True),
        ({"path": "/mnt/disk"}, "local", False),
        ({"nfs": {"server": "nas.local", "path": "/export", "readOnly": True}}, "nfs", True),
        ({"git": {"repo": "https://example.org/code.git", "branch": "main"}}, "git", True),
        ({"empty_dir": {"medium": "memory"}}, "empty", False),
        ({"dataset": {"id": "d-1", "version": "v1"}}, "none", False),
    ],
)
def test_every_form(given: dict[str, Any], kind: str, read_only: bool) -> None:
    found = one({"mount_path": "/data", **given})
    assert (found.kind, found.read_only) == (kind, read_only)


def test_addresses_have_one_spelling() -> None:
    urls = {
        place.url
        for path in ("oss://b/a/c", "oss://b/a/c/", "oss://b//a/c//")
        if (place := one({"mount_path": "/w", "oss": {"path": path}}).object) is not None
    }
    assert urls == {"oss://b/a/c/"}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"mount_path": "workspace"}, "mount_path"),
        ({"mount_path": "/"}, "mount_path"),
        ({"mount_path": "/a/../b"}, "mount_path"),
        ({"mount_path": "/a", "oss": {"path": "bucket/x"}}, "oss.path"),
        ({"mount_path": "/a", "oss": {"path": "oss://b/../x"}}, "oss.path"),
        ({"mount_path": "/a", "oss": {"path": "oss://id:key@b/"}}, "oss.path"),
        ({"mount_path": "/a", "oss": {"path": "oss://b/", "accessKeySecret": "s"}}, "accessKeySecret"),
        ({"mount_path": "/a", "git": {"repo": "--upload-pack=x"}}, "git.repo"),
        ({"mount_path": "/a", "git": {"repo": "https://me:pw@example.org/x"}}, "git.repo"),
        ({"mount_path": "/a", "oss": {"path": "oss://b/"}, "nfs": {"server": "n"}}, "oss and nfs"),
    ],
)
def test_what_is_wrong_is_refused_with_its_key(given: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidArgument) as said:
        one(given)
    assert key in str(said.value)


def test_a_folder_may_be_mounted_once() -> None:
    with pytest.raises(InvalidArgument, match="two of them have the mount_path /a"):
        described({"mount_path": "/a", "path": "/x"}, {"mount_path": "/a/", "path": "/y"})


def test_what_only_eas_mounts_is_said() -> None:
    parsed = parse(
        {"name": "svc", "type": "ScalableJob", "storage": [{"mount_path": "/a", "dataset": {"id": "d"}}]}
    )
    assert any(warning.startswith("storage.0.dataset: recorded") for warning in parsed.warnings)


def test_a_command_without_a_port_is_an_init_command() -> None:
    found = described(
        containers=[
            {"command": "echo ready"},
            {"command": "python app.py", "port": 8000},
            {"image": "only/recorded"},
        ]
    )
    assert [container.command for container in found.init_containers] == ["echo ready"]
    assert found.app is not None and found.app.port == 8000
    assert found.preparation_deadline == 600


def test_requirements_are_read_and_give_an_instance_time() -> None:
    found = described(containers=[{"prepare": {"pythonRequirements": ["a==1"]}, "init_deadline": 30}])
    assert found.containers[0].prepare.requirements == ("a==1",)
    assert found.preparation_deadline == 30
    assert described().preparation_deadline == 0
