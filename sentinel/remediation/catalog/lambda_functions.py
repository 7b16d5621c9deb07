"""AWS Lambda: functions."""

from sentinel.remediation.action import Action, Idempotency, Param, Scaling, Sets
from sentinel.remediation.catalog.place import PLACE

ACTIONS: tuple[Action, ...] = (
    Sets(
        name="lambda.set_reserved_concurrency",
        summary="set how many invocations of a Lambda function may run at once",
        params={
            "function": Param(meaning="the name of a function", pattern=r"[A-Za-z0-9_-]{1,64}"),
            "concurrency": Param(meaning="how many may run at once", low=1, high=1000),
            **PLACE,
        },
        example={"function": "resize-images", "concurrency": 20},
        permissions=("lambda:GetFunction", "lambda:GetFunctionConcurrency", "lambda:PutFunctionConcurrency"),
        target="{function}",
        arn="arn:{partition}:lambda:{region}:{account}:function:{function}",
        noun="function",
        blast_radius="one function; what it reserves, the account's other functions lack",
        idempotency=Idempotency.ABSOLUTE,
        starts_from=("Active",),
        # Undone where a reservation was before; a function without one is not put back to none.
        reversible=True,
        scaling=Scaling(param="concurrency", live="concurrency"),
        param="concurrency",
        value="concurrency",
    ),
)
