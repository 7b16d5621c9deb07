"""Who is calling: bearer tokens, kept as SHA-256; without keys only this machine may call."""

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from typing import Literal

from starlette.requests import HTTPConnection

from sentinel.clock import iso
from sentinel.errors import Forbidden, Invalid, Unauthenticated
from sentinel.incidents.nouns import Principal
from sentinel.settings import LOOPBACK_HOSTS, Api, ApiKey

Scope = Literal["ingest", "read", "operate", "approve", "admin"]
LOCAL = Principal(id="api:local", name="local user", via="api")


def check_exposure(api: Api, host: str) -> None:
    """Raises Invalid where the door on `host` would be open to the network without keys."""
    if host not in LOOPBACK_HOSTS and not api.keys:
        raise Invalid("api.host", host, "127.0.0.1, or at least one key in api.keys: others could approve plans")


def authenticate(connection: HTTPConnection, keys: Sequence[ApiKey], scope: Scope, now_ms: int) -> Principal:
    """The principal that calls. Raises Unauthenticated for no, a wrong or an expired token, Forbidden for a scope."""
    if not keys:
        if connection.client is not None and not _loopback(connection.client.host):
            raise Forbidden("no api.keys are configured, so only this machine may call")
        return LOCAL
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated("Authorization: expected a bearer token")
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    # Every key is compared, so that the time taken does not tell which of them came near.
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if not found:
        raise Unauthenticated("Authorization: the token is not known")
    if found[0].expires_at_ms is not None and now_ms >= found[0].expires_at_ms:
        raise Unauthenticated(f"Authorization: the key {found[0].name} expired at {iso(found[0].expires_at_ms)}")
    if scope not in found[0].scopes and "admin" not in found[0].scopes:
        raise Forbidden(f"the key {found[0].name} lacks the scope {scope}")
    return Principal(id=f"api:{found[0].name}", name=found[0].name, via="api")


def _loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # No address is no network peer: an in-process test client or a Unix socket.
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
