"""The actions that Sentinel brings, by API: declarations only."""

from sentinel.remediation.action import Action
from sentinel.remediation.catalog import autoscaling, ec2, ecs, kubernetes, lambda_functions, rds, ssm

DECLARED: tuple[Action, ...] = (
    *ecs.ACTIONS,
    *ec2.ACTIONS,
    *autoscaling.ACTIONS,
    *rds.ACTIONS,
    *lambda_functions.ACTIONS,
    *ssm.ACTIONS,
    *kubernetes.ACTIONS,
)
