"""A cloud that is not there: what the executor gets while no AWS endpoint is set for the sandbox."""

from sentinel.errors import Forbidden
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Observed, Window
from sentinel.remediation.trail import Trail

_WHY = (
    "no AWS is connected: set SENTINEL_EXECUTOR_BACKEND=aws, or SENTINEL_EXECUTOR_AWS_ENDPOINT_URL to a local sandbox"
)


class UnconnectedCloud:
    """Keeps `ports.Cloud` by refusing everything, with what to set."""

    def observe(self, step: Step) -> Observed:
        """Raises Forbidden."""
        raise Forbidden(_WHY)

    def send(self, step: Step, key: StepKey) -> str:
        """Raises Forbidden."""
        raise Forbidden(_WHY)

    def rehearse(self, step: Step) -> str:
        """Raises Forbidden."""
        raise Forbidden(_WHY)

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        """Raises Forbidden."""
        raise Forbidden(_WHY)
