"""The error tree: each class says what its caller does next."""

from enum import StrEnum
from typing import ClassVar


class NextStep(StrEnum):
    """What the one who catches an error should do."""

    RETRY = "retry"
    DO_NOT_RETRY = "do_not_retry"
    ASK_PEOPLE = "ask_people"


class SentinelError(Exception):
    """Any failure that Sentinel names. The message is one line that a user may read."""

    next_step: ClassVar[NextStep] = NextStep.DO_NOT_RETRY


class Invalid(SentinelError):
    """The input is wrong: names the field, the value and what was expected."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{field}: got {shown}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected

    def __reduce__(self) -> tuple[type["Invalid"], tuple[str, object, str]]:
        return (type(self), (self.field, self.value, self.expected))


class TooLarge(SentinelError):
    """The input is larger than the stated limit."""


class UnsupportedFormat(SentinelError):
    """The content type or encoding is not one that this door speaks."""


class NotFound(SentinelError):
    """No such incident, plan or series."""


class Forbidden(SentinelError):
    """The principal may not do this, or the target is outside the allow-list."""


class Held(Forbidden):
    """A limit or the kill switch stands in the way now: nothing was recorded, and later it may pass."""

    next_step = NextStep.RETRY


class Unauthenticated(SentinelError):
    """The caller did not prove who it is."""


class Conflict(SentinelError):
    """The state moved on: read it again, then decide anew."""


class IllegalTransition(Conflict):
    """The life has no such step from its present state; nothing was changed."""


class Overloaded(SentinelError):
    """A queue is full. Nothing was taken; the same call may be made again after `retry_after_s`."""

    next_step = NextStep.RETRY

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type["Overloaded"], tuple[str, int]]:
        return (type(self), (str(self), self.retry_after_s))


class Unavailable(SentinelError):
    """A part Sentinel needs does not answer: try again, after a look at what is there where the call had an effect."""

    next_step = NextStep.RETRY


class OutcomeUnknown(SentinelError):
    """The call may or may not have taken effect: look before doing anything else."""

    next_step = NextStep.ASK_PEOPLE
