"""Every failure of boto3, classified once.

Whether a failed call may have had an effect is decided here and nowhere else. Error codes are those of the EC2
API reference ("Error codes for the Amazon EC2 API") and of the service models that botocore carries.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    LoginError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable

_THROTTLED = re.compile(
    r"Throttl|RequestLimitExceeded|TooManyRequests|BandwidthLimitExceeded|SlowDown|PriorRequestNotComplete"
    r"|Insufficient\w*Capacity"
)
_CREDENTIALS = re.compile(
    r"Signature|AuthFailure|AccessKeyId|AuthenticationToken|ClientTokenId|UnrecognizedClient|InvalidToken"
    r"|ExpiredToken|RequestExpired|OptInRequired"
)
_REFUSED = re.compile(r"AccessDenied|Unauthorized|NotFound|OperationNotPermitted|Blocked|PendingVerification")
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    LoginError,
    TokenRetrievalError,
)
_NOT_CONNECTED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_BOTO_ERRORS = (BotoCoreError, ClientError, ResponseParserError)

_CREDENTIALS_HINT = "check the AWS credentials of this process (role, profile or environment) and its clock"
CONNECT_HINT = "check the network, executor.aws_region and executor.aws_endpoint_url"


def classify(error: Exception, doing: str, *, effect: bool) -> SentinelError:
    """What a failure of boto3 means to the caller; `effect` says that a request with an effect may have gone out.

    Forbidden or Invalid: refused, for good. Unavailable: no effect, may be repeated. OutcomeUnknown: only with
    `effect`, where neither AWS's refusal nor a failure to connect proves that nothing happened.
    """
    if isinstance(error, ClientError):
        return _classify_answer(error, doing, effect=effect)
    if isinstance(error, _NO_CREDENTIALS):
        return Forbidden(f"{doing}: no usable AWS credentials ({type(error).__name__}); {_CREDENTIALS_HINT}")
    if isinstance(error, _NOT_CONNECTED):
        return Unavailable(f"{doing}: cannot connect to AWS ({type(error).__name__}); {CONNECT_HINT}")
    if isinstance(error, ParamValidationError):
        return Invalid(doing, _one_line(str(error)), "parameters of the form that the AWS API declares")
    # Everything left is a connection that broke, a reply that never came or one that could not be read.
    # boto3's own text is not shown: for connection errors it holds the endpoint's URL, user part and all.
    if effect:
        return OutcomeUnknown(f"{doing}: sent, but no readable answer came ({type(error).__name__})")
    return Unavailable(f"{doing}: no readable answer from AWS ({type(error).__name__}); {CONNECT_HINT}")


def _classify_answer(error: ClientError, doing: str, *, effect: bool) -> SentinelError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{code}: {_one_line(error.response.get('Error', {}).get('Message', ''))}"
    if status == 429 or _THROTTLED.search(code):
        return Unavailable(f"{doing}: AWS asks to wait ({code})")
    if _CREDENTIALS.search(code):
        # Not AWS's message: for a wrong signature it repeats signed headers, the session token among them.
        return Forbidden(f"{doing}: AWS does not accept the credentials ({code}); {_CREDENTIALS_HINT}")
    if _REFUSED.search(code):
        return Forbidden(f"{doing}: {said}")
    if 400 <= status < 500 and status != 408 and code != "RequestTimeout":
        return Invalid(doing, said, "a call that AWS accepts")
    if effect:
        return OutcomeUnknown(f"{doing}: AWS failed with {status} ({code}), and may have acted")
    return Unavailable(f"{doing}: AWS failed with {status} ({code})")


def _one_line(text: str) -> str:
    """AWS's words as one short line, without access key ids."""
    line = re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{8,}", r"\1…", " ".join(text.split()))
    return line if len(line) <= 240 else line[:239] + "…"


@contextmanager
def classified(doing: str, *, effect: bool) -> Iterator[None]:
    try:
        yield
    except _BOTO_ERRORS as error:
        raise classify(error, doing, effect=effect) from None


@contextmanager
def usable_endpoint(doing: str) -> Iterator[None]:
    """Raises Unavailable for what boto3 says of a malformed endpoint URL or region; the text may hold a password."""
    try:
        yield
    except ValueError as error:
        raise Unavailable(f"{doing}: no AWS endpoint can be made ({type(error).__name__}); {CONNECT_HINT}") from None
