from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.gateway.rate import Bucket


@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 20))
def test_no_second_and_its_burst_let_more_through_than_twice_the_rate(gaps: list[float], rate: int) -> None:
    bucket, now, taken = Bucket(float(rate), 0.0), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(rate, now):
            taken.append(now)
    for start in taken:
        assert sum(start <= at < start + 1.0 for at in taken) <= 2 * rate


def test_a_full_second_of_requests_passes_at_once_and_the_next_waits() -> None:
    bucket = Bucket(3.0, 0.0)

    assert [bucket.take(3, 0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(3, 0.34)
