"""Amazon SQS: a queue that SNS fills, for places where SNS cannot reach Sentinel's door.

SNS gives an HTTP delivery up after an hour at most; in a queue a message waits for days.
"""

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sentinel.adapters.aws import StaticCredentials, classify
from sentinel.ports import Queued

_BATCH = 10  # the most SQS gives at once
_LONGEST_POLL_S = 10
_CONNECT_S = 5.0


class SqsQueue:
    """Keeps `ports.AlarmQueue` with long polls; credentials come from boto3's own chain unless they are given."""

    def __init__(
        self,
        queue_url: str,
        region: str,
        *,
        endpoint_url: str = "",
        credentials: StaticCredentials | None = None,
        wait_s: int = _LONGEST_POLL_S,
    ) -> None:
        self._queue_url = queue_url
        self._wait_s = wait_s
        self._client: Any = boto3.client(
            "sqs",
            region_name=region,
            endpoint_url=endpoint_url or None,
            config=Config(connect_timeout=_CONNECT_S, read_timeout=wait_s + 10),
            aws_access_key_id=credentials.access_key_id if credentials else None,
            aws_secret_access_key=credentials.secret_access_key if credentials else None,
        )

    def receive(self) -> list[Queued]:
        try:
            answer = self._client.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=self._wait_s
            )
        except (ClientError, BotoCoreError) as error:
            raise classify(error, "sqs.receive_message", effect=False) from None
        return [Queued(receipt=each["ReceiptHandle"], body=each["Body"]) for each in answer.get("Messages", ())]

    def delete(self, receipt: str) -> None:
        try:
            self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)
        except (ClientError, BotoCoreError) as error:
            raise classify(error, "sqs.delete_message", effect=False) from None
