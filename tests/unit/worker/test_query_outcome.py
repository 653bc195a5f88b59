"""How a query is judged by what came back."""

from __future__ import annotations

import pytest

from backend.worker.app_request import Reply
from backend.worker.query_outcome import QueryOutcome, judge
from backend.worker.wish import Wish

BAD = Reply(500, b"boom", "the app answered 500: boom")


def after(
    reply: Reply | None, *, wish: Wish = None, deliveries: int = 0, max_delivery: int = 3
) -> QueryOutcome:
    return judge(reply, wish=wish, deliveries=deliveries, max_delivery=max_delivery)


def test_a_good_answer_is_an_item_without_a_code() -> None:
    outcome = after(Reply(201, b"picture"))
    assert outcome.verdict == "succeeded"
    assert outcome.answer is not None
    assert (outcome.answer.data, dict(outcome.answer.tags)) == (b"picture", {})


def test_an_empty_answer_leaves_no_item() -> None:
    outcome = after(Reply(204))
    assert (outcome.verdict, outcome.answer) == ("succeeded", None)


@pytest.mark.parametrize("deliveries", [0, 1])
def test_a_failure_is_tried_again_and_counted(deliveries: int) -> None:
    outcome = after(BAD, deliveries=deliveries)
    assert (outcome.verdict, outcome.counted, outcome.answer) == ("returned", True, None)


def test_the_last_failure_is_told_with_its_code_in_the_words_of_the_app() -> None:
    outcome = after(BAD, deliveries=2)
    assert outcome.verdict == "failed"
    assert "500" in outcome.reason and "3 attempts" in outcome.reason
    assert outcome.answer is not None
    assert (outcome.answer.data, dict(outcome.answer.tags)) == (b"boom", {"lastCode": "500"})


def test_max_delivery_1_means_no_second_try() -> None:
    assert after(BAD, max_delivery=1).verdict == "failed"


def test_a_failure_without_a_body_tells_the_reason() -> None:
    outcome = after(Reply(408, reason="too late"), max_delivery=1)
    assert outcome.answer is not None
    assert (outcome.answer.data, dict(outcome.answer.tags)) == (b"too late", {"lastCode": "408"})


def test_an_app_that_was_not_there_is_not_the_querys_fault() -> None:
    outcome = after(None, max_delivery=1)
    assert (outcome.verdict, outcome.counted) == ("returned", False)


def test_a_stopped_query_leaves_nothing_even_when_it_was_answered() -> None:
    for reply in (None, BAD, Reply(200, b"picture")):
        assert after(reply, wish="stop") == QueryOutcome("cancelled", "stopped on request")


def test_a_query_that_is_handed_back_counts_only_when_it_was_answered() -> None:
    assert after(Reply(200, b"picture"), wish="hand back").verdict == "succeeded"
    outcome = after(Reply(502, reason="cut"), wish="hand back", max_delivery=1)
    assert (outcome.verdict, outcome.counted) == ("returned", False)
