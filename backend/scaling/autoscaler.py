"""The `autoscaler` part of a service description: bounds, metric thresholds, windows, and our own dial.

Both spellings that PAI-EAS documents are read, the service JSON's

    {"min": 0, "max": 10, "strategies": {"avg_waiting_length": 2},
     "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0},
                  "scaleDown": {"stabilizationWindowSeconds": 1},
                  "onZero": {"scaleDownGracePeriodSeconds": 60, "scaleUpActivationReplicas": 1}}}

and the control API's `"scaleStrategies": [{"metricName": …, "threshold": …, "service": …}]`. Defaults are those of
a Scalable Job. Without any strategy our own rule applies, and these keys, which EAS does not have, shape it:

    {"min": 0, "max": 4, "preset": "economy"}        or "comfort": 0.0 … 1.0
    {"max_running_per_user": 2, "user_limits": {"ana": 4}}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backend.errors import InvalidArgument

PRESETS: dict[str, float] = {"economy": 0.0, "default": 0.5, "comfort": 1.0}
"""Named places on the dial from economy (work may wait) to comfort (instances may idle)."""

QUEUE_METRICS = ("avg_waiting_length", "queue[avgbacklog]")
"""Metrics of the queue's length per instance: two names of one thing."""

MEASURED = (*QUEUE_METRICS, "qps", "qps1k", "cpu", "gpu", "gpu[util]", "memory")
"""Every metric that has a value here: tasks put a second (or in a thousand), and loads in per cent, per instance."""

MAX_INSTANCES = 1000
"""The largest `max` that EAS documents."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Window(_Part):
    """How long, in seconds, a condition must hold without a break before it is acted on."""

    seconds: float = Field(default=0.0, ge=0, le=86_400, alias="stabilizationWindowSeconds")


class OnZero(_Part):
    """The way to zero instances and back. `interceptTraffic` is read and always on: a queue holds what waits."""

    grace: float = Field(default=60.0, ge=0, le=86_400, alias="scaleDownGracePeriodSeconds")
    activation: int = Field(default=1, ge=1, le=MAX_INSTANCES, alias="scaleUpActivationReplicas")
    intercept: bool = Field(default=True, alias="interceptTraffic")


class Behavior(_Part):
    """Delays of the EAS rule."""

    scale_up: Window = Field(default_factory=Window, alias="scaleUp")
    scale_down: Window = Field(
        default_factory=lambda: Window(stabilizationWindowSeconds=1.0), alias="scaleDown"
    )
    on_zero: OnZero = Field(default_factory=OnZero, alias="onZero")

    @field_validator("scale_down", mode="before")
    @classmethod
    def _own_default(cls, value: Any) -> Any:
        return {"stabilizationWindowSeconds": 1.0} if value == {} else value


class Strategy(_Part):
    """Ask for more instances when `metric`, a value per instance, is over `threshold`.

    `service` names another service whose metric counts, empty for the service itself.
    """

    metric: str = Field(alias="metricName", min_length=1)
    threshold: float = Field(gt=0, le=1e9, allow_inf_nan=False)
    service: str = ""


class Autoscaler(_Part):
    """Everything a service says about its number of instances.

    `count_running`: whether tasks being run count in the queue metrics; `comfort`: the dial of our own rule.
    """

    min: int = Field(default=1, ge=0, le=MAX_INSTANCES)
    max: int = Field(default=10, ge=0, le=MAX_INSTANCES)
    strategies: tuple[Strategy, ...] = ()
    behavior: Behavior = Field(default_factory=Behavior)
    count_running: bool = True
    comfort: float = Field(default=PRESETS["default"], ge=0, le=1)
    max_running_per_user: int | None = Field(default=None, ge=1)
    user_limits: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        return _one_spelling(dict(data)) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is greater than max ({self.max})")
        names = [(s.service, s.metric) for s in self.strategies]
        if len(set(names)) < len(names):
            raise ValueError("strategies: a metric is named twice")
        if any(limit < 0 for limit in self.user_limits.values()):
            raise ValueError("user_limits: a limit is below 0")
        return self

    def user_limit(self, user: str) -> int | None:
        """How many tasks of `user` may run at once; None for any number."""
        return self.user_limits.get(user, self.max_running_per_user)


def _one_spelling(data: dict[str, Any]) -> dict[str, Any]:
    """`strategies` as a mapping, `scaleStrategies` as a list: both become the list; a preset becomes its number."""
    strategies = data.pop("strategies", None)
    listed = data.pop("scaleStrategies", None)
    if strategies and listed:
        raise ValueError("strategies and scaleStrategies are two spellings of one thing: give one of them")
    if isinstance(strategies, dict):
        listed = [{"metricName": name, "threshold": value} for name, value in strategies.items()]
    elif strategies:
        listed = strategies
    data["strategies"] = listed or []
    if data.get("behavior") is None:
        data.pop("behavior", None)
    preset = data.pop("preset", None)
    if preset is None:
        return data
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown; there are {', '.join(PRESETS)}")
    if "comfort" in data:
        raise ValueError("preset and comfort set the same dial: give one of them")
    return data | {"comfort": PRESETS[preset]}


def unknown_parts(settings: Autoscaler, field: str = "autoscaler") -> tuple[str, ...]:
    """A sentence for each key that was read and means nothing here, and each metric that nobody here measures."""
    keys = [f"{path}: has no meaning here and is ignored" for path in _unknown_keys(settings, field)]
    metrics = [
        f"{field}.strategies.{s.metric}: is not measured here, so it never changes the number of instances"
        for s in settings.strategies
        if s.metric not in MEASURED or s.service
    ]
    return (*keys, *metrics)


def _unknown_keys(part: BaseModel, field: str) -> Iterator[str]:
    yield from (f"{field}.{key}" for key in part.model_extra or {})
    for name, info in type(part).model_fields.items():
        value = getattr(part, name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, BaseModel):
                yield from _unknown_keys(inner, f"{field}.{info.alias or name}")


def parse_autoscaler(data: Any, field: str = "autoscaler") -> Autoscaler:
    """Read the `autoscaler` value of a description (None: all defaults).

    Raises InvalidArgument that names the key below `field` and what is wrong with it.
    """
    try:
        return Autoscaler.model_validate({} if data is None else data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([field, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidArgument(path, f"{message}. The autoscaler was left as it was.") from error
