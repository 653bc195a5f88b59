from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from backend import links
from backend.errors import Forbidden


def parts(link: str) -> tuple[str, str, str]:
    query = parse_qs(urlsplit(link).query)
    return urlsplit(link).path.removeprefix(links.PREFIX), query["expires"][0], query["signature"][0]


def test_a_link_is_good_until_it_expires_and_for_its_own_file(tmp_path: Path) -> None:
    secret = links.key(tmp_path)
    assert links.key(tmp_path) == secret
    assert (tmp_path / "store" / "link-key").stat().st_mode & 0o777 == 0o600
    path, expires, signature = parts(links.link(secret, "t1/00.png", now=1000.0, seconds=60))
    links.check(secret, path, expires, signature, now=1060.0)
    for wrong in (
        (path, expires, signature, 1061.0),
        ("t1/01.png", expires, signature, 1000.0),
        (path, "9999999999", signature, 1000.0),
        (path, expires, "", 1000.0),
        (path, "never", signature, 1000.0),
    ):
        with pytest.raises(Forbidden):
            links.check(secret, *wrong[:3], now=wrong[3])
    with pytest.raises(Forbidden):
        links.check(b"another", path, expires, signature, now=1000.0)
