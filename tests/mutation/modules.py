"""The modules whose mutants are run, with the tests that must notice; and the mutants that no test could."""

_UNIT = "tests/unit/remediation"

TESTS = {
    f"sentinel/remediation/{module}.py": tuple(f"{_UNIT}/test_{each}.py" for each in tests)
    for module, tests in {
        "proof": ("proof",),
        "sealing": ("binding", "proof"),
        "budget": ("budget", "budget_limits"),
        "stepper": ("stepper", "stepper_reasons"),
        "safety": ("safety", "allowed"),
        "approval": ("approval", "approval_policy", "provenance"),
        "approval_policy": ("approval_policy", "approval", "policy_sides"),
        "planner": ("planner", "binding"),
        "binding": ("binding",),
        "action": ("actions", "safety", "action_forms"),
    }.items()
}

# A part of the change, as it is printed -> why no test could tell.
EQUIVALENT: dict[str, dict[str, str]] = {
    "sentinel/remediation/budget.py": {
        "self.from_minute <= in_day / MINUTE_MS": "whole minutes lie below the same whole minutes",
    },
    "sentinel/remediation/approval_policy.py": {
        "fromtimestamp(at_ms // 1000": "only minutes are read of it",
        "strict=False": "both are made of the same steps",
        "if rule.hours > ": "of the three texts that there are, `any` is the least",
        'rule.hours <= "business"': "of the two that are left, it is the least",
        "is not (rule.hours ==": "both are truths",
    },
    "sentinel/remediation/action.py": {
        "self.idempotency == Idempotency.TOKEN": "each is one object",
        "self.idempotency >= Idempotency.TOKEN": "as a text it is the greatest of the four",
    },
}
