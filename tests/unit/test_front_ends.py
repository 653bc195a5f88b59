"""Which front ends run beside a deployment."""

from __future__ import annotations

from dataclasses import replace

from backend.front_ends import front_end_of
from backend.service import parse
from backend.store.services import Deployed

DESCRIBED = {
    "metadata": {"name": "studio", "type": "ScalableJobService"},
    "front_end": {"script": "python kohya_gui.py", "port": 8801},
}
SERVICE = Deployed(parse(DESCRIBED).description, "token", 1.0, front_end_token="lpf_x")


def test_the_one_that_is_described() -> None:
    found = front_end_of(SERVICE)
    assert found is not None and found.port == 8801


def test_none_of_a_service_that_is_stopped() -> None:
    assert front_end_of(replace(SERVICE, stopped=True)) is None


def test_none_before_the_gateway_has_given_it_its_credential() -> None:
    assert front_end_of(replace(SERVICE, front_end_token="")) is None
