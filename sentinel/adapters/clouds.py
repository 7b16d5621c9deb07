"""Several clouds as one: an action goes to the cloud that its name begins with."""

from collections.abc import Mapping

from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.ports import Cloud
from sentinel.remediation.action import Observed, Window
from sentinel.remediation.trail import Trail


class Clouds:
    """Keeps `ports.Cloud`: `by_prefix` has a cloud for the first word of some actions, `aws` does the rest.

    `beside_aws` are those first words.
    """

    def __init__(self, aws: Cloud, by_prefix: Mapping[str, Cloud]) -> None:
        self.aws = aws
        self._by_prefix = dict(by_prefix)
        self.beside_aws = frozenset(by_prefix)

    def observe(self, step: Step) -> Observed:
        return self._of(step).observe(step)

    def send(self, step: Step, key: StepKey) -> str:
        return self._of(step).send(step, key)

    def rehearse(self, step: Step) -> str:
        return self._of(step).rehearse(step)

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        return self._of(step).trail(step, key, made)

    def _of(self, step: Step) -> Cloud:
        return self._by_prefix.get(step.action.partition(".")[0], self.aws)
