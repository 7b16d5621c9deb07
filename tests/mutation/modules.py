"""The modules whose mutants are run, with the tests that must notice; and the mutants that no test could."""

_UNIT = "tests/unit/remediation"

TESTS = {
    f"sentinel/remediation/{module}.py": tuple(f"{_UNIT}/test_{each}.py" for each in tests)
    for module, tests in {
        "proof": ("proof",),
        "sealing": ("binding", "proof"),
        "budget": ("budget",),
        "stepper": ("stepper", "stepper_reasons"),
        "safety": ("safety", "allowed"),
        "approval": ("approval", "approval_policy", "provenance"),
        "approval_policy": ("approval_policy", "approval"),
        "planner": ("planner", "binding"),
        "binding": ("binding",),
        "action": ("actions", "safety"),
    }.items()
}

# A part of the change, as it is printed -> why no test could tell.
EQUIVALENT: dict[str, dict[str, str]] = {}
