"""What every fact is."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A record that changes an incident."""

    kind: ClassVar[str] = "fact"
