"""What every part of a description is: values that do not change, with the keys that are not known kept."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Unknown keys are kept, so that a warning can name them."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
