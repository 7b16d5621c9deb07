"""Checkpoints as objects in Amazon S3, or in a store that speaks its API: each PUT replaces one whole or not at all."""

from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sentinel.adapters.aws import StaticCredentials, classify
from sentinel.adapters.checkpoints import checked_name, is_name, unwrapped, wrapped
from sentinel.errors import Unavailable

_CONNECT_S, _READ_S = 5.0, 30.0
PAGE = 200  # names in one answer
_ATTEMPTS = 3  # a PUT that is sent twice leaves what one does
_HINT = "check the network, the credentials, executor.aws_region and detection.checkpoint_endpoint_url"
_GONE = frozenset({"NoSuchKey", "404"})


class S3Checkpoints:
    """Keeps `ports.Checkpoints` under `s3://BUCKET/PREFIX`; credentials come from boto3's chain unless they are given.

    It needs s3:GetObject and s3:PutObject on the prefix, and s3:ListBucket on the bucket. An object is what a file of
    `FileCheckpoints` is, checksum and all.
    """

    def __init__(
        self, url: str, region: str, *, endpoint_url: str = "", credentials: StaticCredentials | None = None
    ) -> None:
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/".removeprefix("/")
        self._client: Any = boto3.client(
            "s3",
            region_name=region,
            endpoint_url=endpoint_url or None,
            config=Config(
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                # Other stores than Amazon's seldom have a host name for each bucket.
                s3={"addressing_style": "path" if endpoint_url else "auto"},
            ),
            aws_access_key_id=credentials.access_key_id if credentials else None,
            aws_secret_access_key=credentials.secret_access_key if credentials else None,
        )

    def save(self, name: str, blob: bytes) -> None:
        """Replace the blob. Raises Invalid for a bad name, Unavailable if it cannot be written."""
        key = self._prefix + checked_name(name)
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=wrapped(blob))
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable("written", name, error, "s3:PutObject") from None

    def load(self, name: str) -> bytes | None:
        """The last blob, or None. Raises Invalid for a bad name or damaged bytes, Unavailable if it cannot be read."""
        key = self._prefix + checked_name(name)
        try:
            stored = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                return None
            raise self._unavailable("read", name, error, "s3:GetObject") from None
        except BotoCoreError as error:
            raise self._unavailable("read", name, error, "s3:GetObject") from None
        return unwrapped(stored, self._url(name))

    def names(self) -> frozenset[str]:
        """Every name under the prefix. Raises Unavailable if it cannot be listed."""
        found = []
        try:
            pages = self._client.get_paginator("list_objects_v2")
            listed = {"Bucket": self._bucket, "Prefix": self._prefix, "Delimiter": "/"}
            for page in pages.paginate(**listed, PaginationConfig={"PageSize": PAGE}):
                found += [each["Key"][len(self._prefix) :] for each in page.get("Contents", ())]
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable("listed", "", error, "s3:ListBucket") from None
        return frozenset(name for name in found if is_name(name))

    def _url(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def _unavailable(self, what: str, name: str, error: Exception, needs: str) -> Unavailable:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        if code == "NoSuchBucket":
            return Unavailable(f"checkpoint {self._url(name)} cannot be {what}: there is no bucket {self._bucket}")
        hint = f"it needs {needs}" if code == "AccessDenied" else _HINT
        said = str(classify(error, f"s3.{self._bucket}", effect=False)).partition(";")[0]
        return Unavailable(f"checkpoint {self._url(name)} cannot be {what}: {said}; {hint}")
