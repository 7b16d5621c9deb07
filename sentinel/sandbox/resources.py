"""What the shop runs on, read from the AWS API as anyone would."""

from collections.abc import Mapping

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sentinel.errors import Unavailable
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Estate
from sentinel.sandbox.shop import Resources
from sentinel.sandbox.truth import BOOTS_TAG


class AwsResources:
    """Reads the estate's services and instances: two calls, whatever their number."""

    def __init__(self, url: str, estate: Estate) -> None:
        session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=estate.region)
        config = Config(retries={"total_max_attempts": 2}, connect_timeout=1, read_timeout=3)
        self._ecs = session.client("ecs", endpoint_url=url, config=config)
        self._ec2 = session.client("ec2", endpoint_url=url, config=config)
        self._estate = estate
        self._rolled_out: dict[str, str] = {}

    def read(self) -> Mapping[str, Resources]:
        """Every service's resources now. Raises Unavailable if AWS does not answer."""
        try:
            return {**self._services(), **self._instances()}
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"the AWS double does not answer: {error}") from None

    def close(self) -> None:
        """Release the connections."""
        self._ecs.close()
        self._ec2.close()

    def _services(self) -> dict[str, Resources]:
        # describe_services takes ten names at most; the shop has fewer.
        reply = self._ecs.describe_services(cluster=self._estate.cluster_arn, services=list(self._estate.services))
        found: dict[str, Resources] = {}
        for service in reply["services"]:
            name, newest = service["serviceName"], service["deployments"][0]
            # The old tasks serve until the rollout is complete, and so does what is wrong with them.
            if newest["rolloutState"] == "COMPLETED" or name not in self._rolled_out:
                self._rolled_out[name] = newest["id"]
            found[name] = Resources(
                running=service["runningCount"], desired=service["desiredCount"], incarnation=self._rolled_out[name]
            )
        return found

    def _instances(self) -> dict[str, Resources]:
        names = {instance: name for name, instance in self._estate.instances.items()}
        reply = self._ec2.describe_instances(InstanceIds=list(names))
        found: dict[str, Resources] = {}
        for instance in (each for reservation in reply["Reservations"] for each in reservation["Instances"]):
            tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
            found[names[instance["InstanceId"]]] = Resources(
                running=int(instance["State"]["Name"] == "running"),
                desired=1,
                incarnation=f"boot {tags.get(BOOTS_TAG, '0')}",
            )
        return found
