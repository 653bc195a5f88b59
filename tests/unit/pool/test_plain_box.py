"""Which folder a box works in: the deployment's where it sees that, else one of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend import links
from backend.errors import Conflict
from backend.pool.plain_box import MARK, Folder, _data_folder, own_folder, sees

ENDPOINT = "http://10.0.0.1:8000"

There = Callable[..., dict[str, Any]]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> There:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def about(*, visible: bool) -> dict[str, Any]:
        theirs = tmp_path / "theirs"
        theirs.mkdir(exist_ok=True)
        if visible:
            (theirs / ".probe-1").write_text("abc")
        probe = {"name": ".probe-1", "text": "abc"}
        return {"data_dir": str(theirs), "probe": probe, "link_key": "00ff"}

    return about


def test_a_folder_that_it_sees_is_used_as_it_is(there: There, tmp_path: Path) -> None:
    about = there(visible=True)
    assert _data_folder(None, about, ENDPOINT) == Folder(tmp_path / "theirs", "")
    assert not (tmp_path / "theirs" / MARK).exists()


def test_without_it_the_box_has_one_of_its_own(there: There, tmp_path: Path) -> None:
    about = there(visible=False)
    found = _data_folder(None, about, ENDPOINT)
    assert found == Folder(tmp_path / "home" / "lorapool" / "10-0-0-1-8000", str(tmp_path / "theirs"))
    assert (found.path / MARK).read_text() == f"{ENDPOINT}\n"
    assert links.key(found.path) == b"\x00\xff", "links that are made here are good there"
    assert _data_folder(None, about, ENDPOINT) == found, "and it has it again the next time"


def test_a_folder_of_somebody_else_is_not_taken(there: There, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "models").mkdir(parents=True)
    with pytest.raises(Conflict, match="empty"):
        _data_folder(other, there(visible=False), ENDPOINT)
    inside = tmp_path / "theirs" / "box"
    with pytest.raises(Conflict, match="lies in"):
        _data_folder(inside, there(visible=False), ENDPOINT)
    assert sorted(path.name for path in other.iterdir()) == ["models"]


def test_a_copy_of_the_folder_is_not_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".probe-1").write_text("of yesterday")
    assert not sees(tmp_path, {"name": ".probe-1", "text": "abc"})
    assert own_folder("https://studio.example/pool/").name == "studio-example-pool"
