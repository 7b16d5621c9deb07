"""AWS Systems Manager: Automation."""

from sentinel.remediation.action import Action, Idempotency, Param, Replaces
from sentinel.remediation.catalog.place import PLACE

ACTIONS: tuple[Action, ...] = (
    Replaces(
        name="ssm.start_automation",
        summary="run a Systems Manager Automation document",
        params={
            "document": Param(meaning="the name of an Automation document", pattern=r"[A-Za-z0-9_.-]{3,128}"),
            "version": Param(meaning="a version of the document", pattern=r"[1-9]\d{0,8}"),
            "parameter": Param(
                meaning="the one parameter that the document takes", pattern=r"[A-Za-z0-9]{1,50}", required=False
            ),
            "value": Param(meaning="the value of that parameter", pattern=r"[A-Za-z0-9:/_.-]{1,256}", required=False),
            **PLACE,
        },
        example={"document": "Sentinel-RestartWorker", "version": "3"},
        permissions=("ssm:DescribeAutomationExecutions", "ssm:StartAutomationExecution"),
        target="{document}",
        arn="arn:{partition}:ssm:{region}:{account}:automation-definition/{document}:{version}",
        noun="document",
        blast_radius="whatever the document does: allow only documents that you wrote",
        idempotency=Idempotency.TOKEN,
        status="document",
        mark="execution_id",
        complete={"execution_status": ("Success",)},
    ),
)
