"""Id types, and how each is derived from content. Nothing here is random."""

import hashlib
from collections.abc import Mapping
from typing import NewType

import msgspec

from sentinel.clock import day
from sentinel.errors import Invalid

Fingerprint = NewType("Fingerprint", str)
IncidentId = NewType("IncidentId", str)
PlanId = NewType("PlanId", str)
StepKey = NewType("StepKey", str)


def fingerprint(labels: Mapping[str, str]) -> Fingerprint:
    """First 16 hex digits of SHA-256 over the sorted labels; never of payload or time.

    Names and values are length-prefixed, so that no two different label sets hash alike by
    moving a separator from one to the other.
    """
    digest = hashlib.sha256()
    for name in sorted(labels):
        for part in (name, labels[name]):
            raw = part.encode()
            digest.update(len(raw).to_bytes(4, "big"))
            digest.update(raw)
    return Fingerprint(digest.hexdigest()[:16])


def incident_id(opened_at_ms: int, root: Fingerprint, n: int) -> IncidentId:
    """`inc-<yyyymmdd>-<fp8>-<n>`: the n-th incident of that day that `root` opened."""
    return IncidentId(f"inc-{day(opened_at_ms)}-{root[:8]}-{n}")


def plan_id(incident: IncidentId, attempt: int) -> PlanId:
    """`<incident_id>.p<attempt>`, attempts counted from 1."""
    return PlanId(f"{incident}.p{attempt}")


def incident_of_plan(plan: str) -> IncidentId:
    """The incident a plan id belongs to. Raises Invalid if the id has another form."""
    incident, separator, attempt = plan.rpartition(".p")
    if not separator or not incident or not attempt.isdigit():
        raise Invalid("plan_id", plan, "<incident_id>.p<attempt>")
    return IncidentId(incident)


def step_key(plan: PlanId, index: int) -> StepKey:
    """`<plan_id>.s<index>`: also the idempotency token where an API takes one."""
    return StepKey(f"{plan}.s{index}")


def canonical(value: object) -> bytes:
    """`value` (dataclasses, mappings, sequences, scalars) as JSON in one form only: keys sorted, no spaces."""
    return msgspec.json.encode(value, order="sorted")


def content_digest(value: object) -> str:
    """SHA-256 in hex over the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def client_token(key: StepKey) -> str:
    """The step key in the form of a UUID, for APIs that take no other token: version 8 of RFC 9562, from SHA-256."""
    digits = hashlib.sha256(key.encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
