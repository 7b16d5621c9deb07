"""What a detection actor was last told to be. Ray restarts an actor as it was made, and not as it was told since."""

from dataclasses import dataclass

import msgspec
import structlog

from actors.shelves import Share
from sentinel.detection.config import DetectorConfig
from sentinel.errors import Invalid, Unavailable
from sentinel.ports import Checkpoints

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an actor judges, and which partitions it holds."""

    config: DetectorConfig
    share: Share


class StandingOrders:
    """The newest `Standing` of one actor, kept beside its checkpoints with the one it was made with.

    One that is made anew, with other settings, follows those.
    """

    def __init__(self, checkpoints: Checkpoints, name: str, made_with: Standing) -> None:
        self._checkpoints = checkpoints
        self._name = f"{name}.settings"
        self._made_with = made_with
        self.now = self._read() or made_with

    def change(self, standing: Standing) -> None:
        """Follow `standing` from now on, and after a restart. Raises Unavailable where it cannot be written."""
        if standing != self.now:
            self._checkpoints.save(self._name, msgspec.json.encode((self._made_with, standing)))
            self.now = standing

    def _read(self) -> Standing | None:
        try:
            blob = self._checkpoints.load(self._name)
            if blob is None:
                return None
            made_with, standing = msgspec.json.decode(blob, type=tuple[Standing, Standing])
        except (Invalid, Unavailable, msgspec.DecodeError) as error:
            log.error("what the actor was told is not known", name=self._name, error=str(error))
            return None
        return standing if made_with == self._made_with else None
