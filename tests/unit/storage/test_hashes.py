"""What the gateway knows of a file's hash without reading it again, and when it must not trust that."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from backend.storage.hashes import Hashes, Uploads
from backend.storage.incoming import Damaged, tag_of

SIZE = 1000
PARTS = [os.urandom(SIZE), os.urandom(SIZE), os.urandom(SIZE // 3)]
WHOLE = hashlib.sha256(b"".join(PARTS)).hexdigest()


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.storage.incoming.SPARE", 0)


async def put(uploads: Uploads, part: Path, *numbers: int) -> None:
    for number in numbers:
        md5 = hashlib.md5(PARTS[number]).hexdigest()
        await uploads.put_part(part, number * SIZE, PARTS[number], md5)


async def sha256(part: Path, *numbers: int) -> str:
    """What is known when these have come in this order."""
    uploads = Uploads()
    await put(uploads, part, *numbers)
    return await uploads.sha256(part)


@pytest.mark.parametrize(
    ("numbers", "known"),
    [((0, 1, 2), True), ((0, 1, 0, 1, 2), True), ((0, 1, 1, 2), False), ((0, 1, 2, 1, 2), False)],
)
def test_parts_that_come_in_order_are_hashed_as_they_come(
    tmp_path: Path, numbers: tuple[int, ...], known: bool
) -> None:
    part = tmp_path / "part"
    assert asyncio.run(sha256(part, *numbers)) == (WHOLE if known else "")
    assert part.read_bytes() == b"".join(PARTS)


def test_an_upload_that_a_gateway_before_this_one_began_goes_on(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(PARTS[0] + PARTS[1][:77])  # and it was killed in the middle of a part

    async def go_on() -> str:
        uploads = Uploads()
        assert await uploads.parts(part, SIZE) == [hashlib.md5(PARTS[0]).hexdigest()]
        await put(uploads, part, 1, 2)
        assert len(await uploads.parts(part, SIZE)) == 2, "asked again, what is known stays known"
        return await uploads.sha256(part)

    assert asyncio.run(go_on()) == WHOLE


@pytest.mark.parametrize("after", [1, 2, 3])
def test_what_somebody_else_wrote_in_between_makes_it_unknown(tmp_path: Path, after: int) -> None:
    part = tmp_path / "part"

    async def harmed() -> str:
        uploads = Uploads()
        await put(uploads, part, *range(after))
        with part.open("r+b") as file:
            file.write(b"other")
        os.utime(part, (1, 1))
        await put(uploads, part, *range(after, 3))
        return await uploads.sha256(part)

    assert asyncio.run(harmed()) == ""


def test_a_damaged_part_is_refused_and_the_next_try_counts(tmp_path: Path) -> None:
    part = tmp_path / "part"

    async def again() -> str:
        uploads = Uploads()
        await put(uploads, part, 0)
        with pytest.raises(Damaged):
            await uploads.put_part(part, SIZE, PARTS[1][::-1] + b"x", hashlib.md5(PARTS[1]).hexdigest())
        assert len(await uploads.parts(part, SIZE)) == 1
        await put(uploads, part, 1, 2)
        return await uploads.sha256(part)

    assert asyncio.run(again()) == WHOLE


def test_a_hash_is_of_one_version_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    hashes = Hashes()
    tag, of_one = asyncio.run(hashes.of(file))
    assert hashes.known(file, tag) == of_one == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    os.utime(file, (1, 1))
    assert hashes.known(file, tag_of(file.stat())) == ""
