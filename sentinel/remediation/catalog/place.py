"""The parameters that say where a resource is, shared by the actions whose ids do not say it."""

from collections.abc import Mapping

from sentinel.remediation.action import Param

PLACE: Mapping[str, Param] = {
    "region": Param(
        meaning="an AWS region, executor.aws_region if left out", pattern=r"[a-z]{2}(-[a-z]+)+-\d", required=False
    ),
    "account": Param(meaning="an AWS account, our own if left out", pattern=r"\d{12}", required=False),
}
