from __future__ import annotations

import pytest

from backend.client.connection import server_sent
from backend.gateway.task_stream import Cursor, event


def test_a_cursor_is_read_back_from_its_text() -> None:
    assert Cursor.parse(str(Cursor(3, 20, 1))) == Cursor(3, 20, 1)


@pytest.mark.parametrize("text", ["", "1", "1.2", "1.2.x", "1.2.-3", "1.2.3.4", "1..3", "9" * 20 + ".1.1"])
def test_any_other_event_id_is_none(text: str) -> None:
    assert Cursor.parse(text) is None


def test_the_client_reads_what_the_gateway_writes() -> None:
    text = (
        ": ping\n\n"
        + event("log", {"lines": [[1, "a: b\n\u2028"]]}, cursor=Cursor(1, 0, 0))
        + event("end", {})
    )

    # The client's HTTP library ends lines where Unicode does, not at line feeds alone.
    found = list(server_sent(iter(text.splitlines()), ""))

    assert found == [("log", {"lines": [[1, "a: b\n\u2028"]]}, "1.0.0"), ("end", {}, "1.0.0")]
