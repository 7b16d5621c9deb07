"""Amazon RDS: database instances."""

from sentinel.remediation.action import Action, Idempotency, Param, Shakes
from sentinel.remediation.catalog.place import PLACE

ACTIONS: tuple[Action, ...] = (
    Shakes(
        name="rds.reboot_instance",
        summary="reboot an RDS database instance, without failover",
        params={
            "db_instance": Param(meaning="the identifier of a DB instance", pattern=r"[a-z](-?[a-z0-9])*"),
            **PLACE,
        },
        example={"db_instance": "orders"},
        permissions=("cloudtrail:LookupEvents", "rds:DescribeDBInstances", "rds:RebootDBInstance"),
        target="{db_instance}",
        arn="arn:{partition}:rds:{region}:{account}:db:{db_instance}",
        noun="database",
        blast_radius="one database, away for a minute or more; every open connection is cut",
        idempotency=Idempotency.AT_MOST_ONCE,
        starts_from=("available",),
        rests_at="available",
        proof=("rebooting",),
    ),
)
