"""The executor's own look at the words: a state, a row or a word made by hand proves nothing."""

from dataclasses import replace
from typing import Any

import pytest

from sentinel.incidents.nouns import Plan, PlanRecord, PlanState, Verdict
from sentinel.remediation.planner import digest_of
from sentinel.remediation.proof import unproven
from sentinel.remediation.sealing import seal_holds, sealed
from tests.unit.incidents.make import ANN, BOB, plan, scale, verdict

KEY, ANOTHER = b"k" * 32, b"x" * 32


def witness(plan_id: str, word: Verdict) -> str:
    return "" if seal_holds(KEY, plan_id, word) else "it does not bear our seal"


def record(on: Plan, *words: Verdict) -> PlanRecord:
    return PlanRecord(plan=on, state=PlanState.APPROVED, verdicts=words)


def word(on: Plan, key: bytes = KEY, **changes: Any) -> Verdict:
    return sealed(key, on.plan_id, verdict(on, **changes))


ONE, TWO = plan(), plan(approvals_required=2)


def test_sealed_words_of_as_many_as_are_asked_for_prove_it() -> None:
    assert unproven(record(ONE, word(ONE)), witness) == ""
    assert unproven(record(TWO, word(TWO), word(TWO, by=BOB)), witness) == ""


def redirected() -> Plan:
    changed = replace(ONE, steps=scale(5), digest="")
    return replace(changed, digest=digest_of(changed))


FORGED: dict[str, tuple[PlanRecord, str]] = {
    "nobody said anything": (record(ONE), "0 of 1 approvals"),
    "a word without a seal": (record(ONE, verdict(ONE)), "does not bear our seal"),
    "a word sealed with another key": (record(ONE, word(ONE, ANOTHER)), "does not bear our seal"),
    "one word where two are asked for": (record(TWO, word(TWO)), "1 of 2 approvals"),
    "one person twice": (record(TWO, word(TWO), word(TWO, reason="again")), "1 of 2 approvals"),
    "a rejection beside an approval": (record(ONE, word(ONE), word(ONE, by=BOB, decision="reject")), "Bob rejected it"),
    "a rejection made into an approval": (
        record(ONE, replace(word(ONE, decision="reject"), decision="approve")),
        "does not bear our seal",
    ),
    "a word moved to another person": (record(ONE, replace(word(ONE), principal=BOB)), "does not bear our seal"),
    "a word of another plan": (record(plan(attempt=2), word(ONE)), "0 of 1 approvals"),
    "a word of another plan, its digest put in": (
        record(plan(attempt=2), replace(word(ONE), digest=plan(attempt=2).digest)),
        "does not bear our seal",
    ),
    "a plan whose steps were changed": (record(replace(ONE, steps=scale(5)), word(ONE)), "not the one whose digest"),
    "a plan whose steps and digest were changed": (record(redirected(), word(ONE)), "it is on another digest"),
    "steps, digest and the word's digest changed": (
        record(redirected(), replace(word(ONE), digest=redirected().digest)),
        "does not bear our seal",
    ),
    "a plan that asks for nobody": (record(plan(approvals_required=0)), "asks for no approval"),
    "two asked for, made into one": (record(replace(TWO, approvals_required=1), word(TWO)), "not the one whose digest"),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_is_forged_does_not_run(case: str) -> None:
    forged, why = FORGED[case]
    assert why in unproven(forged, witness)


def test_every_field_of_a_word_is_under_its_seal() -> None:
    good = word(ONE)
    changes: dict[str, object] = {
        "principal": replace(ANN, name="Anna"), "digest": "0" * 64, "reason": "why not", "at_ms": 1, "evidence": "none",
        "method": "a guess", "shown": "elsewhere", "request": "r", "seal": "",
    }  # fmt: skip
    for name, value in changes.items():
        assert unproven(record(ONE, replace(good, **{name: value})), witness), name  # type: ignore[arg-type]


def test_more_words_than_are_asked_for_prove_it_as_well() -> None:
    assert unproven(record(ONE, word(ONE), word(ONE, by=BOB)), witness) == ""


OTHER_DIGESTS = ("0" * 64, "f" * 64)  # one on either side of any real one


@pytest.mark.parametrize("digest", OTHER_DIGESTS)
def test_a_stored_digest_that_is_not_the_plans_own_does_not_run(digest: str) -> None:
    assert "not the one whose digest" in unproven(record(replace(ONE, digest=digest), word(ONE)), witness)


@pytest.mark.parametrize("digest", OTHER_DIGESTS)
def test_a_sealed_word_on_another_digest_does_not_count(digest: str) -> None:
    elsewhere = sealed(KEY, ONE.plan_id, replace(verdict(ONE), digest=digest))
    assert "0 of 1 approvals" in unproven(record(ONE, elsewhere), witness)


@pytest.mark.parametrize("decision", ["abort", "approved", "reject", ""])
def test_only_the_word_approve_approves(decision: str) -> None:
    assert unproven(record(ONE, word(ONE, decision=decision)), witness)
    assert unproven(record(ONE, word(ONE), word(ONE, by=BOB, decision=decision)), witness)
