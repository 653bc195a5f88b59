"""Scheduled scaling: how many instances there are at least from one hour to the next.

The `cronscaler` part of a description, as PAI-EAS documents it (six fields: second, minute, hour, day, month, weekday):

    {"ScaleJobs": [{"Name": "morning", "Schedule": "0 30 8 * * 1-5", "TargetSize": 2, "TimeZone": "Asia/Shanghai"},
                   {"Name": "evening", "Schedule": "0 0 20 * * *", "TargetSize": 0}],
     "ExcludeDates": ["* * * 1 1 *"]}

The job that fired last stands in for the autoscaler's `min` until another one fires, and raises `max` where it is
lower; in between the autoscaler works as ever. A job does not fire at a time that one of the `ExcludeDates` matches,
in the job's time zone. Only the calendar counts, not when the description was deployed: a supervisor that starts at
noon finds the morning's number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from backend.errors import InvalidArgument
from backend.scaling.autoscaler import MAX_INSTANCES

MOST_EXCLUDED = 500
"""How many excluded firings in a row are looked past for one that counts."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def _expression(text: str) -> str:
    if len(text.split()) != 6:
        raise ValueError("six fields are expected: second, minute, hour, day, month, weekday")
    try:
        croniter(text, 0.0, second_at_beginning=True).get_next()
    except CroniterError as error:
        raise ValueError(f"it names no time: {error}") from None
    return text


class ScaleJob(_Part):
    """At `schedule`, in `time_zone` (an IANA name, UTC by default), have at least `target` instances."""

    name: str = Field(alias="Name", default="")
    schedule: str = Field(alias="Schedule")
    target: int = Field(alias="TargetSize", ge=0, le=MAX_INSTANCES)
    time_zone: str = Field(alias="TimeZone", default="UTC")

    @field_validator("schedule")
    @classmethod
    def _six_fields(cls, text: str) -> str:
        return _expression(text)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            raise ValueError("no such time zone; names are like Europe/Berlin") from None
        return name

    def firings(self, at: float, *, back: bool) -> Iterator[datetime]:
        """When it fires: `back` from `at` on, the newest first, or after `at`, the next first."""
        zone = ZoneInfo(self.time_zone)
        start = datetime.fromtimestamp(math.floor(at) + (1 if back else 0), zone)
        times = croniter(self.schedule, start, ret_type=datetime, second_at_beginning=True)
        while True:
            try:
                yield times.get_prev() if back else times.get_next()
            except CroniterError:
                return


class CronScaler(_Part):
    """The jobs of a service, and the times at which none of them fires."""

    jobs: tuple[ScaleJob, ...] = Field(alias="ScaleJobs", default=())
    exclude: tuple[str, ...] = Field(alias="ExcludeDates", default=())

    @field_validator("exclude")
    @classmethod
    def _six_fields(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_expression(text) for text in texts)

    def excluded(self, at: datetime) -> bool:
        """Whether no job fires at `at`."""
        return any(croniter.match(text, at, second_at_beginning=True) for text in self.exclude)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What the calendar says from `since` up to, not including, `until` (times of the epoch).

    `target` is the least number of instances, None where no job has ever fired; `job` is the name of the one that did.
    """

    target: int | None
    job: str
    since: float
    until: float


def scheduled(scaler: CronScaler, at: float) -> Scheduled:
    """What `scaler` says at `at`: the newest firing decides, of two at once the job that stands later."""
    last, found = -math.inf, None
    for job in scaler.jobs:
        past = islice(job.firings(at, back=True), MOST_EXCLUDED)
        fired = next((time.timestamp() for time in past if not scaler.excluded(time)), None)
        if fired is not None and fired >= last:
            last, found = fired, job
    nexts = (next(job.firings(at, back=False), None) for job in scaler.jobs)
    until = min((time.timestamp() for time in nexts if time is not None), default=math.inf)
    return Scheduled(found.target if found else None, found.name if found else "", last, until)


class Calendar:
    """`scheduled`, asked again only when its answer has run out: reading a schedule takes milliseconds."""

    def __init__(self, scaler: CronScaler) -> None:
        self._scaler = scaler
        self._answer: Scheduled | None = None

    def at(self, now: float) -> Scheduled | None:
        """What holds at `now`; None where there are no jobs."""
        if not self._scaler.jobs:
            return None
        if self._answer is None or not self._answer.since <= now < self._answer.until:
            self._answer = scheduled(self._scaler, now)
        return self._answer


def parse_cronscaler(data: Any, field: str = "cronscaler") -> CronScaler:
    """Read the `cronscaler` value of a description (None: no jobs).

    Raises InvalidArgument that names the key below `field` and what is wrong with it.
    """
    try:
        return CronScaler.model_validate({} if data is None else data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([field, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidArgument(path, f"{message}. Scheduled scaling was left as it was.") from error
