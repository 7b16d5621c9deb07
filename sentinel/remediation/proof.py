"""Proof of approval: the executor's own look at the stored words before it acts. Pure.

What the journal's state says ("approved") is not believed: the digest is computed anew, and each word that counts must
bear a seal made with Sentinel's key, on this plan and this digest, by somebody who may approve. Who writes to the
database but lacks the key can forge a state, a row or a whole history whose hash chain verifies, but no word: such a
plan does not run. He can withhold (delete words, so that nothing runs), and he can bring back a whole true history
whose approval is not yet too old; the unique step keys in AWS and the ledger are then what is left.
"""

from collections.abc import Callable

from sentinel.incidents.nouns import PlanRecord, Verdict
from sentinel.remediation.planner import digest_of

Witness = Callable[[str, Verdict], str]
"""Why a word on the plan of that id does not count; empty if it does."""


def unproven(record: PlanRecord, witness: Witness) -> str:
    """Why the stored words do not prove that exactly this plan was approved; empty if they do."""
    plan = record.plan
    if digest_of(plan) != plan.digest:
        return "the plan is not the one whose digest was approved"
    if plan.approvals_required < 1:
        return "a plan that asks for no approval is no plan of ours"
    good: set[str] = set()
    bad: list[str] = []
    for verdict in record.verdicts:
        why = witness(plan.plan_id, verdict)
        if verdict.digest != plan.digest:
            why = "it is on another digest"
        if why:
            bad.append(f"the word of {verdict.principal.name} does not count: {why}")
        elif verdict.decision != "approve":
            return f"{verdict.principal.name} rejected it"
        else:
            good.add(verdict.principal.id)
    if len(good) >= plan.approvals_required:
        return ""
    return "; ".join((f"{len(good)} of {plan.approvals_required} approvals are on record", *bad))
