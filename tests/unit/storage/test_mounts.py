"""Paths below mounts become paths of this machine; what a task names is found in its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.service import NfsPlace, parse
from backend.storage.mounts import Mounts, mounted_at, mounts_of


def mounts(tmp_path: Path, *storage: dict[str, Any]) -> Mounts:
    tree = {"metadata": {"name": "svc", "type": "ScalableJob"}, "storage": list(storage)}
    return mounts_of(parse(tree).description, tmp_path)


BUCKET = {"mount_path": "/workspace", "oss": {"path": "oss://bucket/kohya/"}}


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("/workspace", "HERE"),
        ("/workspace/a b.png", "HERE/a b.png"),
        ("--output_dir=/workspace/out", "--output_dir=HERE/out"),
        ('cd "/workspace" && ls /workspace/x;', 'cd "HERE" && ls HERE/x;'),
        ("PYTHONPATH=/workspace:/workspace/lib", "PYTHONPATH=HERE:HERE/lib"),
        ('image_dir = "/workspace/d"\n', 'image_dir = "HERE/d"\n'),
        # what only looks like it
        ("/workspaces/x", "/workspaces/x"),
        ("/workspace2", "/workspace2"),
        ("/data/workspace/x", "/data/workspace/x"),
        ("https://example.org/workspace/x", "https://example.org/workspace/x"),
        ("./workspace/x", "./workspace/x"),
        ("/workspace-old/x", "/workspace-old/x"),
    ],
)
def test_texts_are_mapped(tmp_path: Path, text: str, mapped: str) -> None:
    found = mounts(tmp_path, BUCKET)
    assert found.text(text) == mapped.replace("HERE", str(found[0].folder))
    assert found[0].folder.is_relative_to(tmp_path / "mounts")


def test_the_innermost_mount_counts(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    found = mounts(tmp_path, BUCKET, {"mount_path": "/workspace/models", "path": str(tmp_path / "inner")})
    assert found.text("/workspace/models/x") == str(tmp_path / "inner" / "x")
    assert found.text("/workspace/other") == str(found[0].folder / "other")
    assert [(m.storage.mount_path, path) for m, path in found.named(["/workspace/models/x"])] == [
        ("/workspace/models", "x")
    ]


def test_what_a_task_names(tmp_path: Path) -> None:
    found = mounts(tmp_path, BUCKET)

    def named(*texts: str) -> list[str]:
        return [path for _, path in found.named(texts)]

    assert named("train.py", "--data=/workspace/my data/x", "/workspace/model/") == ["my data/x", "model"]
    assert named("cd /workspace/a && python run.py '/workspace/b'; echo done") == ["a", "b"]
    assert named("ls /workspace") == [""]
    # a path that leads out of the mount names nothing in it
    assert named("/workspace/../etc/passwd", "/other/x") == []


def test_the_same_bucket_is_the_same_folder_for_every_service(tmp_path: Path) -> None:
    one = mounts(tmp_path, BUCKET)[0]
    other = mounts(tmp_path, {"mount_path": "/data", "oss": {"path": "oss://bucket/kohya"}})[0]
    another = mounts(tmp_path, {"mount_path": "/data", "oss": {"path": "oss://bucket/kohya2"}})[0]
    assert one.folder == other.folder != another.folder


def test_nfs_is_found_where_it_is_mounted() -> None:
    table = {"nas:/export": "/mnt/nas", "nas:/": "/mnt/root", "other:/export": "/mnt/other"}
    assert mounted_at(NfsPlace(server="nas", path="/export/a/b"), table) == Path("/mnt/nas/a/b")
    assert mounted_at(NfsPlace(server="nas", path="/home"), table) == Path("/mnt/root/home")
    assert mounted_at(NfsPlace(server="nas2", path="/export"), table) is None


def test_what_cannot_be_mounted_says_why_and_maps_nothing(tmp_path: Path) -> None:
    found = mounts(
        tmp_path,
        {"mount_path": "/nas", "nfs": {"server": "nas.nowhere", "path": "/export"}},
        {"mount_path": "/gone", "path": str(tmp_path / "gone")},
        {"mount_path": "/eas", "dataset": {"id": "d"}},
    )
    assert [bool(mount.fault) for mount in found] == [True] * 3
    assert "only root can mount it" in found[0].fault
    assert found.text("/nas/x /gone/x /eas/x") == "/nas/x /gone/x /eas/x"
    assert found.folders == []
