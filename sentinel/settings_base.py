"""What every part of the settings is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Section(BaseModel):
    """A part of the tree: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
