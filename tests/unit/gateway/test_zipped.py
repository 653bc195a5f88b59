"""Archives that are made while they are sent."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from backend.gateway.zipped import archive


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "one.safetensors", tmp_path / "zwei ◯.safetensors", tmp_path / "empty"]
    for file, size in zip(found, (5 << 20, 700, 0), strict=True):
        file.write_bytes(os.urandom(size))
    return found


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 600], ids=["small", "over the limit of plain zip"])
def test_an_archive_is_whole_and_never_in_memory_as_a_whole(
    files: list[Path], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    pieces = list(archive(files))

    assert max(map(len, pieces)) < 2 << 20
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as whole:
        assert whole.testzip() is None
        assert {name: whole.read(name) for name in whole.namelist()} == {
            f.name: f.read_bytes() for f in files
        }
        assert {entry.compress_type for entry in whole.infolist()} == {zipfile.ZIP_STORED}


def test_a_file_that_has_gone_meanwhile_is_left_out(files: list[Path]) -> None:
    pieces = archive(files)
    begun = next(pieces)
    files[1].unlink()
    with zipfile.ZipFile(io.BytesIO(begun + b"".join(pieces))) as whole:
        assert whole.namelist() == [files[0].name, files[2].name] and whole.testzip() is None
